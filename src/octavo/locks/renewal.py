"""Renewing the leases of a client, and telling of their loss before the server forgets them.

One flow watches all leases of a client on an event loop, or in all threads; it is there only while
there are some. Those of a node that are due are renewed in one write, by a flow of their own: a
node that hangs must not keep the watch from what else there is to tell.
"""

from __future__ import annotations

import logging
import threading
import weakref
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from octavo.engine.command import CallUser, Command, Signal, Spawn, WaitFor
from octavo.engine.fork import mind_forks
from octavo.errors import NotReplicated, OctavoError
from octavo.locks import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.engine.command import Common
    from octavo.locks.grant import Grant, Held

log = logging.getLogger("octavo")

_LOOK = 1.0
"""Seconds between two looks at the clock, by which the sleep of a laptop is noticed."""
_LINGER = 5.0
"""Seconds for which the watch goes on when there is nothing to watch."""


class Renewals:
    """The leases that a client holds on one event loop, or in all its threads."""

    def __init__(self, common: Common) -> None:
        self._common = common
        self._held: dict[int, weakref.ref[Grant]] = {}
        self._begin()
        mind_forks(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._watching = False
        self._signal = Signal()
        self._wakes = 0.0

    async def watch(self, grant: Grant) -> None:
        """Renew a lease, as long as anybody has it and it is not released."""
        grant.keeper = self
        gone = partial(self._dropped, id(grant), grant.places.name)
        with self._lock:
            self._held[id(grant)] = weakref.ref(grant, gone)
            starts, self._watching = not self._watching, True
            hurries = not starts and min(grant.due, grant.until) < self._wakes
        if starts:
            try:
                await Spawn(self._watch)
            except BaseException:
                self._watching = False
                raise
        elif hurries:
            self._signal.set()

    def hurry(self, grant: Grant) -> None:
        """Take note that a lease may be due sooner than it was."""
        if min(grant.due, grant.until) < self._wakes:
            self._signal.set()

    def forget(self, grant: Grant) -> None:
        """Renew a lease no more."""
        self._held.pop(id(grant), None)

    def _dropped(self, number: int, name: str, _: object) -> None:
        if self._held.pop(number, None) is not None:
            log.warning("a lease of %r was dropped without release: it ends with its ttl", name)

    def after_fork(self) -> None:
        """In a forked child: the leases are the parent's."""
        self._begin()
        held, self._held = self._held, {}
        for each in held.values():
            if (grant := each()) is not None:
                grant.lose("a forked child does not hold its parent's leases")
                grant.given_back = False

    async def _watch(self) -> None:
        try:
            await self._watch_on()
        except BaseException:
            # Somebody has cancelled it: the next lease starts it again.
            self._watching = False
            raise

    async def _watch_on(self) -> None:
        idle_since = clock.now()
        while True:
            # In this order: whoever comes from here on sets the new signal.
            self._signal = signal = Signal()
            self._wakes = inf
            await self._round()
            if self._held:
                idle_since = clock.now()
            elif clock.now() - idle_since >= _LINGER:
                with self._lock:
                    if not self._held:
                        self._watching = False
                        return
            await WaitFor(signal, self._wakes - clock.now())

    # A step of its own: what it has had in its hands must not be kept while the watch waits.
    async def _round(self) -> None:
        now = clock.now()
        due, lost = self._look(now)
        for grants in due:
            try:
                await Spawn(self._renew, grants, now)
            except Exception as error:  # noqa: BLE001 - the client may be closed
                for grant in grants:
                    self._answered(grant, now, grant.lasts(now), error)
        for grant in lost:
            await self.tell(grant)

    def _look(self, now: float) -> tuple[list[list[Grant]], list[Grant]]:
        """Return what is to be renewed, by the write it goes in, and what was lost."""
        held, lost = self._sift(now)
        idle = [grant for grant in held if not grant.under_way]
        due: dict[object, list[Grant]] = {}
        for grant in idle:
            if grant.due <= now and now + grant.lasts(now) <= grant.until:
                grant.due = inf  # near its `max_hold`: a renewal would make it shorter
            elif grant.due <= now:
                due[self._write_of(grant)] = []
        wakes = min((grant.until for grant in held), default=now + _LOOK)
        for grant in idle:
            # Those that are due soon travel with those that are due.
            together = due.get(self._write_of(grant)) if grant.due <= now + grant.ttl / 6 else None
            if together is None:
                wakes = min(wakes, grant.due)
            else:
                together.append(grant)
                grant.sending(now, grant.lasts(now))
        self._wakes = min(wakes, now + _LOOK)
        return list(due.values()), lost

    def _sift(self, now: float) -> tuple[list[Grant], list[Grant]]:
        """Return what is held, and what was lost since the last look."""
        held: list[Grant] = []
        lost: list[Grant] = []
        for grant in [grant for each in list(self._held.values()) if (grant := each())]:
            if now >= grant.until:
                grant.lose("it could not be renewed in time")
            if grant.ended is None:
                held.append(grant)
                continue
            self.forget(grant)
            if grant.lost:
                lost.append(grant)
        return held, lost

    def _write_of(self, grant: Grant) -> object:
        # What replicas have to confirm is asked for on a connection of its own.
        alone = grant.places.terms.sync is not None
        return id(grant) if alone else self._common.topology.node_of(grant.places.keys)

    async def _renew(self, grants: list[Grant], asked: float) -> None:
        times = [grant.lasts(asked) for grant in grants]
        renewals = [
            grant.places.renewing(grant.owner, lasts)
            for grant, lasts in zip(grants, times, strict=True)
        ]
        replies: list[Any] = [None] * len(grants)
        try:
            sync = grants[0].places.terms.sync
            if sync is None:
                outcomes = tuple(replace(one, recover=_as_it_is) for one in renewals)
                replies = await Command[list[Any]]((), (), list, parts=outcomes)
            else:
                held, replicas = await grants[0].places.synced(renewals[0])
                few = NotReplicated(f"{replicas} replicas took the renewal, not {sync}")
                replies = [few if held and replicas < sync else held]
        except Exception as error:  # noqa: BLE001 - the client may be closed
            replies = [error] * len(grants)
        finally:
            for grant, lasts, reply in zip(grants, times, replies, strict=True):
                self._answered(grant, asked, lasts, reply)
            self._signal.set()

    def _answered(self, grant: Grant, asked: float, lasts: float, reply: Any) -> None:
        """Take the server's answer to a renewal, an error, or None for no answer."""
        renewed = reply == 1
        grant.sent(asked, lasts, renewed=renewed)
        if reply == 0:
            grant.lose("the server says that it has ended")
        elif not renewed:
            log.info("octavo could not renew a lease of %r: %r", grant.name, reply)
            grant.due = clock.now() + min(grant.ttl / 10, 1.0)

    async def tell(self, grant: Grant) -> None:
        """Tell the user that a lease is lost, once: a step of flows."""
        if grant.told:
            return
        grant.told = True
        log.warning("octavo: %s", grant.error())
        if grant.tell is not None:
            try:
                await Spawn(_call, grant.tell, grant)
            except RuntimeError as error:
                log.info("octavo could not tell of it: %s", error)


def _as_it_is(error: OctavoError) -> Any:
    return error


async def _call(tell: Callable[[Held], object], grant: Held) -> None:
    try:
        await CallUser[Any](tell, grant, context=grant.context)
    except Exception:
        log.exception("on_lost raised")


def renewals_of(common: Common) -> Renewals:
    """Return the leases of this client on this event loop, or in all threads."""
    places: dict[object, Renewals] = common.shared("locks.renewals", dict[object, Renewals])
    here = common.tracker.place()
    found = places.get(here)
    if found is None:
        # Event loops come and go.
        for loop in [loop for loop in places if getattr(loop, "is_closed", bool)()]:
            del places[loop]
        found = places.setdefault(here, Renewals(common))
    return found

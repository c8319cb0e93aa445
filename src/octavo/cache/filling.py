"""Getting values: one factory run per key, whoever asks, and no value stored that is out of date.

The first caller of a process who finds nothing flies a `Flight`, which all others of the process
join. The flight takes the lease of the key: a random mark in the place of the value, which only
one process gets. Whatever changes the key meanwhile (a delete, a set) replaces the mark, and what
the factory returns is stored by a script that looks for it first. This is the lease of Nishtala et
al., "Scaling Memcache at Facebook" (NSDI 2013), with a random mark in the place of a counter.

A value that is stale, or that XFetch (Vattani et al., PVLDB 8(8), 2015) refreshes early, stays in
its place while a second key holds the lease; its head, which no other entry has, is the mark then.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from octavo.cache import frame as frames
from octavo.cache.flights import Flight
from octavo.cache.layout import value_key
from octavo.cache.making import (
    PAUSED,
    UNABLE,
    claiming,
    forcing,
    new_lease,
    refresh_lease,
    refuse_to_wait_for_itself,
)
from octavo.cache.reading import Found, entry
from octavo.cache.records import Entry
from octavo.engine.breaker import OUT_OF_REACH
from octavo.engine.command import Command, Signal, Sleep, Spawn, WaitFor
from octavo.errors import FactoryTimeout

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from octavo.cache.making import Lease, Maker
    from octavo.cache.options import Options
    from octavo.cache.reading import Reader
    from octavo.cache.records import Written
    from octavo.cache.state import State
    from octavo.errors import OctavoError

log = logging.getLogger("octavo")

_QUIET = 0.25
"""Seconds for which nobody here tries to refresh what another process is refreshing."""
_AFTER_FAILURE = 1.0
"""Seconds for which nobody anywhere tries to refresh what could not be refreshed."""
_FIRST_POLL, _LONGEST_POLL = 0.01, 0.25
"""Seconds between two looks at another's lease, where its end is not told."""
_MOST_REFRESHES = 64
"""Refreshes that go on in a process at once while stale values are served."""
_LONGEST_WAIT = 5.0
"""Seconds between two looks at another's lease, where its end is told."""


Got = tuple[Entry[Any], Callable[[], Any] | None]
"""What a caller gets, and what gives another caller an object of its own."""


class Want(msgspec.Struct):
    """What a caller asks for.

    Attributes:
        key: the user's.
        factory: makes the value.
        options: how.
        since: when the caller began to wait, by `time.monotonic()`.
    """

    key: bytes
    factory: Callable[[], Any]
    options: Options
    since: float = msgspec.field(default_factory=monotonic)


class Filler:
    """Gets the values of one `Cache`, making those that are not there. Its methods are flows."""

    def __init__(self, state: State, reader: Reader, maker: Maker, *, bypass: bool) -> None:
        self._state = state
        self._reader = reader
        self._maker = maker
        self._bypass = bypass

    async def value(self, want: Want) -> Any:
        """Return the value of what `obtain` returns."""
        return (await self.obtain(want)).value

    async def obtain(self, want: Want) -> Entry[Any]:
        """Return what is there, or what the factory makes."""
        state = self._state
        refuse_to_wait_for_itself(state, want.key)
        while True:
            # Made before it is known whether it is needed: whenever an interrupt comes, it lands.
            flight = Flight(want.key)
            try:
                other = state.flights.join(self._reader.kind, flight)
                if other is None:
                    landed = await self._fly(flight, want)
                else:
                    state.joined += 1
                    landed = await self._landed(other, want)
            except BaseException as error:
                self._interrupted(flight, error)
                raise
            if landed is not None:
                return landed

    def _interrupted(self, flight: Flight, error: BaseException) -> None:
        """End a flight whose caller goes; one that is flown by itself goes on."""
        if not flight.detached:
            self._state.flights.land(flight, error=error)

    async def renew(self, want: Want) -> Any:
        """Return what the factory makes from now on, whatever is there or being made."""
        state = self._state
        refuse_to_wait_for_itself(state, want.key)
        head: bytes = state.nonces.head() or await state.ask_head()
        name = value_key(head, want.key)
        found = await self._reader.look(name, recover=False)
        if found.usable and found.frame is not None:
            flight = Flight((want.key, "refresh"))
            lease = refresh_lease(state, name, found.data, "refreshed")
        else:
            flight = Flight(want.key)
            lease = new_lease(state, name)
        try:
            # By force: whoever has begun before does not store what it makes.
            await forcing(lease, want.options.lease)
            state.flights.fly(self._reader.kind, flight)
            await self._run(self._make_under, flight, want, lease)
            landed = await self._landed(flight, want)
        except BaseException as error:
            self._interrupted(flight, error)
            if not flight.detached:
                await self._maker.give_up(lease)
            raise
        return await self.value(want) if landed is None else landed.value

    async def _make_under(self, flight: Flight, want: Want, lease: Lease) -> None:
        try:
            made = await self._maker.make([want.key], want.factory, want.options, lease)
        except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
            self._state.flights.land(flight, error=error)
            if lease.how != "created":
                await self._maker.give_up(lease)
            self._pass_on(flight, error)
        else:
            self._state.flights.land(flight, made.entry("refreshed"), again=made.again)

    async def _fly(self, flight: Flight, want: Want) -> Entry[Any] | None:
        name, found = await self._look(want)
        if found.usable:
            got, again = entry(found), self._reader.again(found)
            fresh = await self._kept_fresh(want, name, found)
            if fresh is not None:
                got, again = fresh
            self._state.flights.land(flight, got, again=again)
            return got
        await self._run(self._make, flight, want, name, found)
        return await self._landed(flight, want) or flight.own

    async def _run(self, step: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Run a step by itself, or here if the caller is a thread that waits for it anyway."""
        want: Want = args[1]
        if self._state.common.tasks or want.options.timeout is not None:
            await self._spawn(step, *args)
        else:
            await step(*args)

    async def _spawn(self, step: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        flight: Flight = args[0]
        flight.detached = True
        try:
            await Spawn(step, *args)
        except BaseException as error:
            self._state.flights.land(flight, error=error)
            raise

    @staticmethod
    def _pass_on(flight: Flight, error: BaseException) -> None:
        """Raise what interrupts this very thread or task, rather than the factory."""
        if not isinstance(error, Exception) and not (flight.detached and flight.error is error):
            raise error

    async def _landed(self, flight: Flight, want: Want) -> Entry[Any] | None:
        """Return what came of a flight; None means to start over."""
        seconds = want.options.timeout
        left = None if seconds is None else want.since + seconds - monotonic()
        if not flight.over and not await WaitFor(self._state.flights.landing(flight), left):
            raise FactoryTimeout(f"the factory has taken longer than {seconds:g} seconds")
        return flight.outcome()

    # Looking

    async def _look(self, want: Want) -> tuple[bytes, Found]:
        state, reader, key = self._state, self._reader, want.key
        sure = state.nonces.head()
        head = sure or state.last
        name = b"" if head is None else value_key(head, key)
        if state.circuits.broken and await self._bypassed(name):
            return name, Found("bypass")
        if sure is not None and reader.tier is not None:
            reader.remember(key, name, sure)
            if (item := reader.glance(name)) is not None:
                state.local_hits += 1
                return name, reader.found(item)
        try:
            if sure is not None:
                own = want.options.grace or want.options.beta
                timed = own or state.timed or reader.tier is not None
                found = await (reader.look if timed else reader.glimpse)(name, recover=False)
            else:
                name, found = await self._find(key, name)
        except OUT_OF_REACH as error:
            if not self._bypass:
                raise
            found = reader.bypass(error)
        state.count(found.kind)
        return name, found

    async def _find(self, key: bytes, tried: bytes) -> tuple[bytes, Found]:
        """Look at a key whose generation is not known for certain."""
        found: Found | None = None
        ask = self._state.ask_head()
        if tried:
            # In one wave with the question whether the generation is still the same.
            look = self._reader.look(tried, recover=False)
            head, found = await Command((), (), tuple, parts=(ask, look))
        else:
            head = await ask
        name = value_key(head, key)
        if found is None or name != tried:
            found = await self._reader.look(name, recover=False)
        return name, found

    async def _bypassed(self, name: bytes) -> bool:
        keys = (name or self._state.layout.generation,)
        circuit = self._state.circuits.state(keys) if self._bypass else "closed"
        if circuit == "half-open":
            # Nobody waits for what may take its time to fail.
            await Spawn(self._probe, keys)
        if circuit != "closed":
            self._state.bypassed += 1
        return circuit != "closed"

    async def _probe(self, keys: tuple[bytes, ...]) -> None:
        try:
            await Command((b"EXISTS", *keys), keys, bool, idempotent=True)
        except OUT_OF_REACH as error:
            self._state.circuits.failed(keys, error)
        else:
            self._state.circuits.succeeded(keys)

    # A value that is there

    async def _kept_fresh(self, want: Want, name: bytes, found: Found) -> Got | None:
        """Return what takes the place of what is there, if that is worth waiting for."""
        state, options = self._state, want.options
        stale = found.kind == "stale"
        if not stale and not _is_early(found, options):
            return None
        waits = stale and options.soft_timeout != 0
        quiet = (state.backoff.get(name) or 0.0) > monotonic()
        if not waits and (quiet or state.refreshing >= _MOST_REFRESHES):
            return None
        flight = Flight((want.key, "refresh"))
        try:
            other = state.flights.join(self._reader.kind, flight)
            if other is None:
                how: Written = "refreshed" if stale else "early"
                if waits and options.soft_timeout is None:
                    await self._run(self._refresh, flight, want, name, found, how)
                else:
                    await self._spawn(self._refresh, flight, want, name, found, how)
        except BaseException as error:
            self._interrupted(flight, error)
            raise
        return await self._waited_for(other or flight, options, name, found) if waits else None

    async def _waited_for(
        self, flight: Flight, options: Options, name: bytes, found: Found
    ) -> Got | None:
        """Return what takes the place of a stale value in time."""
        soft = options.soft_timeout
        until = monotonic() + (options.lease if soft is None else soft)
        try:
            if not flight.over and not await WaitFor(self._state.flights.landing(flight), soft):
                return None
            fresh = flight.outcome()
        except Exception as error:
            if not options.stale_on_error:
                raise
            log.info("octavo serves a stale value, since its factory failed: %r", error)
            return None
        if fresh is not None:
            return fresh, flight.again
        # Another process is making it, or has made it.
        now = await self.wait_for(name, but=found.data, seconds=until - monotonic())
        if not now.usable or now.data == found.data:
            return None
        return entry(now), self._reader.again(now)

    async def _refresh(
        self, flight: Flight, want: Want, name: bytes, found: Found, how: Written
    ) -> None:
        """Put a new value in the place of one that is there, if nobody else is doing so."""
        state = self._state
        lease = refresh_lease(state, name, found.data, how)
        state.refreshing += 1
        try:
            may = await self._may_refresh(lease, want.options)
            if may != "yes":
                state.flights.land(flight, entry(found) if may == "paused" else None)
                return
            made = await self._maker.make([want.key], want.factory, want.options, lease)
        except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
            state.backoff.set(name, monotonic() + _AFTER_FAILURE)
            waited_for = flight.landed is not None
            state.flights.land(flight, error=error)
            await self._maker.give_up(lease, paused=_AFTER_FAILURE)
            self._pass_on(flight, error)
            if not waited_for:
                log.warning("octavo could not refresh a value: its factory failed: %r", error)
        else:
            state.flights.land(flight, made.entry("refreshed"), again=made.again)
        finally:
            state.refreshing -= 1

    async def _may_refresh(self, lease: Lease, options: Options) -> Literal["yes", "no", "paused"]:
        """Take the lease of a value that is there, if it is still there and nobody has it."""
        lasts = b"%d" % math.ceil(options.lease * 1000)
        try:
            holder, head = await Command(
                (b"SET", lease.place, lease.data, b"NX", b"GET", b"PX", lasts),
                (lease.place, lease.name),
                tuple,
                behind=((b"GETRANGE", lease.name, b"0", b"%d" % (frames.MARK - 1)),),
            )
        except UNABLE as error:
            self._state.circuits.failed((lease.name,), error)
            log.info("octavo could not refresh a value: %s", error)
            return "paused"
        if holder not in (None, lease.data):
            self._state.backoff.set(lease.name, monotonic() + _QUIET)
            return "paused" if holder == PAUSED else "no"
        if head != lease.before:
            await self._maker.give_up(lease)
            return "no"
        return "yes"

    # A value that is not there

    async def _make(self, flight: Flight, want: Want, name: bytes, found: Found) -> None:
        """Make a value that is not there, or wait for whoever makes it."""
        state = self._state
        try:
            lease: Lease | None = None
            if found.kind != "bypass":
                lease, found = await self._claim(name, found, want.options)
            if found.usable:
                state.flights.land(flight, entry(found), again=self._reader.again(found))
                return
            made = await self._maker.make([want.key], want.factory, want.options, lease)
        except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
            state.flights.land(flight, error=error)
            self._pass_on(flight, error)
        else:
            flight.own = made.entry("created" if lease else "bypass")
            # Who has joined since the key was changed must not be given what was made before.
            got = flight.own if made.stands else None
            state.flights.land(flight, got, again=made.again)

    async def _claim(
        self, name: bytes, found: Found, options: Options
    ) -> tuple[Lease | None, Found]:
        """Take the lease of a key; without a lease there is a value, or no server to store it."""
        lease = new_lease(self._state, name)
        try:
            while True:
                if found.kind == "leased":
                    found = await self.wait_for(name)
                if found.usable:
                    return None, found
                there = await claiming(lease, found, options.lease)
                if there is None:
                    return lease, Found("miss")
                if there[0] == frames.LEASE:
                    found = Found("leased", data=there)
                else:
                    found = await self._reader.look(name, recover=False)
        except UNABLE as error:
            await self._maker.give_up(lease)
            if not self._bypass:
                raise
            return None, self._unable(error, name)
        except BaseException:
            await self._maker.give_up(lease)
            raise

    def _unable(self, error: OctavoError, name: bytes) -> Found:
        self._state.circuits.failed((name,), error)
        self._state.bypassed += 1
        return Found("bypass")

    async def wait_for(self, name: bytes, *, but: bytes = b"", seconds: float = math.inf) -> Found:
        """Wait until a key holds no lease, and nothing that begins as `but`; return what it holds.

        Or what it holds when the time is over, or when the lease should have ended.
        """
        tracker = self._state.tracker
        until, pause = monotonic() + seconds, _FIRST_POLL
        while True:
            changed, ticket = Signal(), tracker.ticket()
            tracker.wait_for(name, changed)
            try:
                found = await self._reader.watch(name, ticket)
                left = until - monotonic()
                if not _unchanged(found, but) or left <= 0:
                    return found
                # The end of a lease that nobody renews is not told before somebody looks.
                # And of one beside a value nothing is told: it may have ended with an error.
                ends = found.fresh + 0.001 if found.kind == "leased" else _AFTER_FAILURE
                if ticket.link is not None:
                    await WaitFor(changed, min(ends, left, _LONGEST_WAIT))
                else:
                    await Sleep(min(ends, left, random.uniform(pause / 2, pause)))  # noqa: S311
                    pause = min(2 * pause, _LONGEST_POLL)
            finally:
                tracker.wait_no_more(name, changed)
            if ticket.link is None:
                continue
            found = await self._reader.look(name, recover=False)
            if not _unchanged(found, but):
                return found


def _unchanged(found: Found, but: bytes) -> bool:
    """Whether there is a lease, or still what begins as `but`."""
    return found.kind == "leased" or (found.usable and found.data == but)


def _is_early(found: Found, options: Options) -> bool:
    """Whether XFetch says to refresh: the likelier, the less time is left and the more it costs."""
    cost = 0.0 if found.frame is None else found.frame.cost / 1000
    if not options.beta or not cost:
        return False
    return -options.beta * cost * math.log(1 - random.random()) >= found.fresh  # noqa: S311

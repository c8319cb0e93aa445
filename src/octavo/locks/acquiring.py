"""Getting a place, and waiting for one: the steps of flows, written once.

Whoever has to wait leaves a ticket in the queue, with the channel on which its process hears what
is said to it (`engine/mail.py`). Whoever frees a place gives it to the next in the same script, and
tells the winner alone. The message may be lost: who waits asks again when the holder's lease would
end, and every few seconds.
"""

from __future__ import annotations

import logging
import os
from binascii import hexlify
from math import inf
from typing import TYPE_CHECKING

from msgspec.structs import replace

from octavo.engine.command import Command, Spawn, WaitFor
from octavo.errors import ConfigMismatch, ConnectionLost, NotReplicated, OctavoError, Unavailable
from octavo.locks import clock
from octavo.locks.grant import Grant
from octavo.locks.places import CLAIM
from octavo.locks.renewal import renewals_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octavo.engine.mail import Mailbox
    from octavo.locks.places import Places

log = logging.getLogger("octavo")

_POLL, _FAR_POLL = 5.0, 15.0
"""Seconds between two questions of one who is told of its turn: near the head, and far from it."""
_UNTOLD_POLL = 0.05
"""Seconds between the first two questions of one who is not told; they grow to 20 times that."""
_NEAR = 10
"""How many stand at the head of a queue."""
_AFTER, _STAGGER = 0.005, 0.05
"""Seconds after the end of a lease when the next asks for it, and those behind, one by one."""


_UNHEARD = -1
"""Stands for a reply that did not come."""


class Ask:
    """One caller's way to a place."""

    def __init__(self, places: Places, weight: int, label: bytes = b"") -> None:
        self._places = places
        self._weight = weight
        self._label = label
        self._owner = hexlify(os.urandom(16))
        self._order = 0
        self._ahead = 0
        self._free_in = 0.0
        self._asked = 0.0
        self._answered = 0
        self._patience = _UNTOLD_POLL

    async def within(self, wait: float | None) -> Grant | None:
        """Return a grant, or None if there was none within so many seconds; None is no end."""
        deadline = inf if wait is None else clock.now() + wait
        try:
            # At first in the queue only where this process is told of its turn.
            address = None if wait == 0 else self._places.address(listen=False)
            grant = await self._ask(waits=address is not None, address=address, sure=True)
            if grant is None and wait != 0:
                grant = await self._in_turn(deadline)
            if grant is not None:
                await renewals_of(self._places.common).watch(grant)
        except ConnectionLost as lost:
            if lost.outcome == "unknown" or self._order:
                # Not here: it would take as long again.
                await Spawn(self.give_up)
            raise
        except Unavailable:  # nor here
            await Spawn(self.give_up)
            raise
        except ConfigMismatch:
            raise  # nothing was written
        except BaseException:
            await self.give_up()
            raise
        return grant

    async def _in_turn(self, deadline: float) -> Grant | None:
        with self._places.common.tracker.mail.box(self._owner) as box:
            while True:
                signal = box.listen()
                address = self._places.address(listen=True)
                if (grant := await self._ask(waits=True, address=address)) is not None:
                    return grant
                remaining = deadline - clock.now()
                if remaining <= 0:
                    # What was handed over meanwhile is taken; otherwise the ticket is.
                    return await self._ask(waits=False)
                await WaitFor(signal, min(remaining, self._pause(told=address is not None)))
                if (grant := await self._handed(box)) is not None:
                    return grant

    def _pause(self, *, told: bool) -> float:
        """Return for how many seconds to wait for a message."""
        if not told:
            self._patience = min(self._patience * 1.5, 20 * _UNTOLD_POLL)
            return self._patience
        poll = _POLL if self._ahead < _NEAR else _FAR_POLL
        return min(self._free_in + _AFTER + self._ahead * _STAGGER, poll)

    async def _handed(self, box: Mailbox) -> Grant | None:
        """Return the grant that a letter tells of, if enough is left of it to go without a word."""
        letter = box.take()
        if not letter or self._places.terms.sync is not None:
            return None
        lasts = min(self._places.terms.ttl, CLAIM)
        fence, asked = map(int, letter.split())
        if asked != self._answered:
            # So late that this process must have stood still: the others may have missed theirs.
            self._places.common.tracker.mail.look_up()
            return None
        # It was handed over after the last question was asked: that is what is certain.
        grant = self._grant(fence, self._asked, lasts)
        # What will not be renewed has to be confirmed, to last for its ttl.
        return grant if grant.due < inf and grant.until - clock.now() > lasts / 2 else None

    async def _ask(
        self, *, waits: bool, address: bytes | None = None, sure: bool = False
    ) -> Grant | None:
        """Ask for a place; `sure` asks for what replicas say in the same write."""
        asked = clock.now()
        command = self.command(waits=waits, address=address)
        sync = self._places.terms.sync
        if sync is None or not sure:
            reply = await command
            if reply[0] == 1 and sync is not None:
                return await self._ask(waits=waits, address=address, sure=True)
        else:
            reply, replicas = await self._places.synced(command)
            if reply[0] == 1 and replicas < sync:
                raise NotReplicated(f"{replicas} replicas took the grant in time, not {sync}")
        grant = self.answered(reply, asked)
        if grant is None or grant.valid:
            return grant
        # It may have ended before the reply came.
        await self._places.releasing(self._owner)
        return None

    async def confirm(self) -> Grant | None:
        """Return what was granted again, once replicas have it if they have to."""
        return await self._ask(waits=False, sure=True)

    def command(self, *, waits: bool = False, address: bytes | None = None) -> Command[list[int]]:
        """Return the Command that asks for a place."""
        return self._places.asking(
            self._owner,
            self._weight,
            waits=waits,
            order=self._order,
            address=address or b"",
            label=self._label,
        )

    def answered(self, reply: list[int], asked: float) -> Grant | None:
        """Return the grant that the reply tells of, or remember what else it says."""
        self._asked = asked
        if reply[0] == 1:
            return self._grant(reply[1], asked, self._places.terms.ttl)
        _, self._order, self._ahead, micros, self._answered = reply
        self._free_in = micros / 1_000_000
        return None

    def _grant(self, fence: int, asked: float, lasts: float) -> Grant:
        grant = Grant(self._places, self._owner, self._weight, fence)
        grant.renewed(asked, lasts)
        return grant

    async def give_up(self) -> None:
        """See to it that nothing is left behind, whatever the server did of what it was sent."""
        await self.giving_up()

    def giving_up(self) -> Command[int]:
        """Return the Command that does so, as far as the server can be reached."""
        return replace(self._places.giving_up(self._owner), recover=_left)


def _left(error: OctavoError) -> int:
    log.info("octavo could not give up a place, which ends by itself: %s", error)
    return 0


async def all_at_once(asks: Sequence[Ask]) -> list[Grant | None]:
    """Ask for several places, in one write per node; return what was granted of each."""
    asked = clock.now()
    try:
        parts = tuple(ask.command() for ask in asks)
        replies = await Command[list[list[int]]]((), (), list, parts=parts)
        grants = [ask.answered(reply, asked) for ask, reply in zip(asks, replies, strict=True)]
        for i, ask in enumerate(asks):
            if (grant := grants[i]) is not None and (grant.places.terms.sync or not grant.valid):
                grants[i] = grant = await ask.confirm()
            if grant is not None:
                await renewals_of(grant.places.common).watch(grant)
    except (ConnectionLost, Unavailable):
        await Spawn(_give_up_all, asks)
        raise
    except BaseException:
        await _give_up_all(asks)
        raise
    return grants


async def _give_up_all(asks: Sequence[Ask]) -> None:
    parts = tuple(ask.giving_up() for ask in asks)
    await Command[list[int]]((), (), list, parts=parts)


async def give_back_all(grants: Sequence[Grant]) -> bool:
    """Release several leases, in one write per node; return whether all were held until then."""
    held = True
    failure: BaseException | None = None
    first = [grant for grant in grants if not grant.releases]
    parts = tuple(replace(grant.giving_back(), recover=_unheard) for grant in first)
    try:
        replies = await Command[list[int]]((), (), list, parts=parts) if parts else []
        for grant, reply in zip(first, replies, strict=True):
            if reply != _UNHEARD:
                await grant.gave_back(reply)
    except BaseException as error:  # noqa: BLE001 - each is given back all the same
        failure = error
    for grant in grants:
        try:
            held &= await grant.give_back()
        except BaseException as error:  # noqa: BLE001 - the others are given back all the same
            failure = error
    if failure is not None:
        raise failure
    return held


def _unheard(error: OctavoError) -> int:
    log.info("octavo asks again whether a lease was given back: %s", error)
    return _UNHEARD

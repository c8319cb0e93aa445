"""The barrier: a number of parties wait until all of them have arrived, again and again.

Its keys share the hash tag of the barrier, or of its `tag=`. Both go 24 hours after their last use.

| key | Redis type | holds |
|---|---|---|
| `{base}:state` | string | parties, generation, and how each of the last 100 generations ended |
| `{base}:leases` | sorted set | who has arrived → when it is dead unless heard of (ms, server) |

Who waits reads `state`, which is written only when a generation ends. The lease of an arrival is
renewed for as long as its party waits. Whoever finds one that has run out (by arriving, or by
renewing its own) breaks the barrier: a party that was killed does not arrive in secret. So does
whoever finds that the server has lost its own, in a failover or otherwise.
"""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from octavo.engine.checks import millis, whole
from octavo.engine.command import Command, Job, M, as_it_is, flow, operation
from octavo.engine.script import Script
from octavo.errors import BrokenBarrier, ConfigMismatch, OctavoError
from octavo.locks.watching import Watches, until

if TYPE_CHECKING:
    from datetime import timedelta

    from octavo.engine.command import Engine
    from octavo.engine.tracking import Ticket

log = logging.getLogger("octavo")

_TTL = 30.0
"""Seconds after which a party that is not heard of any more is dead."""

_here = Path(__file__)
ARRIVE = Script(_here.with_name("barrier_arrive.lua"))
BREAK = Script(_here.with_name("barrier_break.lua"))
RESET = Script(_here.with_name("barrier_reset.lua"))
RENEW = Script(_here.with_name("barrier_renew.lua"), idempotent=True)
WAITING = Script(_here.with_name("barrier_waiting.lua"), idempotent=True)


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """How one came through a barrier.

    Attributes:
        index: how many had arrived before; so exactly one party has 0.
        generation: how many generations have ended before this one.
    """

    index: int
    generation: int


class Barrier(Job[M]):
    """A place where each of a number of parties waits until all have arrived.

        barrier = db.barrier("phase", 3)
        barrier.wait(timeout=60).index

    It is `threading.Barrier` for processes: when the last party arrives, all go on and the next
    generation begins. If one gives up, because its `timeout` is over or because it is cancelled,
    the barrier breaks: all who wait for that generation get `BrokenBarrier`, and so does whoever
    comes, until `reset`. A party that is killed or stopped while it waits has given up after 30
    seconds; those who wait are told within ten more. If none of them is left, whoever comes next
    begins anew. A barrier that nobody uses is forgotten after 24 hours.

    Args:
        engine: what carries the commands.
        base: what the barrier's keys begin with.
        parties: how many have to arrive.

    Raises:
        ConfigMismatch: from `wait` and `abort`: it exists with another number of parties.
    """

    def __init__(self, engine: Engine, base: str, parties: int) -> None:
        super().__init__(engine)
        self._parties = whole("parties", parties, 1, 2**31)
        self._state, self._leases = f"{base}:state".encode(), f"{base}:leases".encode()
        self._keys = (self._state, self._leases)

    @flow
    async def wait(self, timeout: float | timedelta | None = None) -> Arrival:
        """Wait until all parties have arrived.

        One round trip for the last one to arrive; two for the others, one more when they go on,
        and some every ten seconds.

        Args:
            timeout: seconds; None waits for as long as it takes.

        Raises:
            BrokenBarrier: it is broken, or it breaks before all have arrived, or time is over.
        """
        seconds = None if timeout is None else millis("timeout", timeout, least=0) / 1000
        deadline = None if seconds is None else monotonic() + seconds
        party = os.urandom(16).hex()
        try:
            arrival = await self._arrive(party)
            if arrival.index + 1 < self._parties:
                await self._wait_for_others(party, arrival.generation, deadline)
        except (BrokenBarrier, ConfigMismatch):
            raise
        except BaseException:
            await self._give_up(party)
            raise
        return arrival

    @operation
    def abort(self) -> Command[None]:
        """Break the barrier, for those who wait and whoever comes, until `reset`. O(1)."""
        return self._break("").map(lambda _: None)

    @operation
    def reset(self) -> Command[None]:
        """Make it what it was at first; who waits gets `BrokenBarrier`. O(1).

        The number of parties is forgotten too.
        """
        return RESET.once(self._keys, (), lambda _: None)

    @operation
    def n_waiting(self) -> Command[int]:
        """Return how many wait. O(log N)."""
        return WAITING((self._leases,), (), int)

    @operation
    def broken(self) -> Command[bool]:
        """Return whether it is broken. O(1)."""
        return Command(
            (b"GET", self._state),
            (self._state,),
            lambda state: state is not None and state.endswith(b"b"),
            idempotent=True,
        )

    def _arrive(self, party: str) -> Command[Arrival]:
        def read(reply: list[int]) -> Arrival:
            generation, index = reply
            if index < 0:
                raise BrokenBarrier("the barrier is broken")
            return Arrival(index, generation)

        return ARRIVE.once(self._keys, (self._parties, party, _ttl()), read)

    async def _wait_for_others(self, party: str, generation: int, deadline: float | None) -> None:
        watches = Watches.of(self._common)
        while True:
            left = math.inf if deadline is None else max(deadline - monotonic(), 0.0)
            pause = _TTL / 3
            state = await until(
                watches,
                self._state,
                self._look,
                lambda state: _end(state, generation) is not None,
                min(left, pause),
            )
            if state is None and left <= pause:
                state = await self._break(party)
            elif state is None:
                state = await RENEW(self._keys, (generation, party, _ttl()), as_it_is)
                if state is None:
                    continue
            if _end(state, generation) != b"t":
                what = "the barrier broke: a party gave up or died, or somebody broke it"
                raise BrokenBarrier(what, operation="barrier.wait", key=self._state.decode())
            return

    def _look(self, ticket: Ticket) -> Command[bytes | None]:
        words = (b"GET", self._state)
        return Command(words, (self._state,), as_it_is, idempotent=True, tracked=(ticket,))

    def _break(self, party: str) -> Command[bytes | None]:
        return BREAK.once(self._keys, (self._parties, party), as_it_is)

    async def _give_up(self, party: str) -> None:
        try:
            await self._break(party)
        except OctavoError as error:
            log.info("octavo could not leave a barrier, which will break by itself: %s", error)


def _ttl() -> int:
    return int(_TTL * 1000)


def _end(state: bytes | None, generation: int) -> bytes | None:
    """Return how a generation has ended; None where that it has is not known."""
    if not state:
        return None
    _, number, past = state.split(b" ")
    ago = int(number) - generation
    if ago <= 0:
        return None
    # Of what was too long ago nobody knows that all had arrived.
    return past[-ago:][:1] if ago <= len(past) else b"?"

"""How callers wait: for a turn that is booked, or for a place that somebody releases."""

from __future__ import annotations

import math
import threading
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from octavo.engine.command import Command, Signal, Sleep, Spawn, WaitFor
from octavo.engine.fork import mind_forks
from octavo.errors import OctavoError
from octavo.ratelimit.layout import own_key, own_keys

if TYPE_CHECKING:
    from octavo.engine.command import Common
    from octavo.ratelimit.deciding import Asked, Decider
    from octavo.ratelimit.decision import Decision
    from octavo.ratelimit.limits import Rule

    _Line = tuple[bytes, tuple[Rule, ...]]

_POLL = 0.1
"""Seconds between two questions for a place, while nobody would tell of it."""


class Waiting:
    """Waits for those who ask a limiter. Its methods are steps of a flow.

    Args:
        common: of the client.
        decider: is asked.
    """

    def __init__(self, common: Common, decider: Decider) -> None:
        self._common = common
        self._decider = decider
        self._lines: _Lines = common.shared("lines for places", _Lines)

    async def turn(self, asked: Asked, wait: int) -> Decision:
        """Book a turn at most so many microseconds from now, negative for any; wait for it."""
        decision = await self._booked(self._decider.decide(asked, wait=wait))
        if decision and decision.delay > 0:
            try:
                await Sleep(decision.delay)
            except BaseException:
                await self._decider.undo(decision)
                raise
        return decision

    async def _booked(self, booking: Command[Decision]) -> Decision:
        """Return what a booking says; of a task that is cancelled meanwhile, nothing stays."""
        if not self._common.tasks:
            return await booking
        answer = _Answer()
        await Spawn(self._book, booking, answer)
        try:
            await WaitFor(answer.is_there)
        except BaseException:
            await self._forgo(answer)
            raise
        if answer.error is not None:
            raise answer.error
        assert answer.decision is not None  # noqa: S101 - for checkers
        return answer.decision

    async def _book(self, booking: Command[Decision], answer: _Answer) -> None:
        try:
            answer.decision = await booking
        except BaseException as error:  # noqa: BLE001 - the caller's
            answer.error = error
        answer.is_there.set()
        if not answer.wanted and answer.decision is not None:
            await self._decider.undo(answer.decision)

    async def _forgo(self, answer: _Answer) -> None:
        try:
            await WaitFor(answer.is_there)
        except BaseException:
            answer.wanted = False
            raise
        if answer.decision is not None:
            await self._decider.undo(answer.decision)

    async def place(self, asked: Asked, wait: int) -> Decision:
        """Ask until there are places: when some are released, and when leases end.

        One caller of a process asks at a time, the first who came.
        """
        costs = zip(asked.rules, asked.costs, strict=True)
        if wait == 0 or any(cost > rule.most for rule, cost in costs):
            return await self._sure(asked, self._decider.decide(asked))
        until, turn = math.inf if wait < 0 else monotonic() + wait / 1e6, Signal()
        line = asked.keys[0], asked.rules
        self._lines.join(line, turn)
        try:
            await WaitFor(turn, None if until == math.inf else max(until - monotonic(), 0.0))
            while True:
                decision = await self._ask_and_wait(asked, until)
                if decision or decision.retry_after is None or monotonic() >= until:
                    return decision
        finally:
            self._lines.leave(line, turn)

    async def _ask_and_wait(self, asked: Asked, until: float) -> Decision:
        """Ask for places; if there are none, return when it is time to ask again."""
        tracker, changed = self._common.tracker, Signal()
        keys, ticket = (*asked.keys, *own_keys(asked.keys[0], asked.rules)), tracker.ticket()
        for key in keys:
            tracker.wait_for(key, changed)
        try:
            decision = await self._sure(asked, self._decider.decide(asked, ticket=ticket))
            if not decision and decision.retry_after is not None:
                longest = _POLL if ticket.link is None else math.inf
                left = max(until - monotonic(), 0.0)
                await WaitFor(changed, min(decision.retry_after, longest, left))
        finally:
            for key in keys:
                tracker.wait_no_more(key, changed)
        return decision

    async def _sure(self, asked: Asked, command: Command[Decision]) -> Decision:
        """Return what is said; of places that were granted and nobody heard of, none is kept."""
        try:
            return await command
        except BaseException:
            await Spawn(self._give_up, asked)
            raise

    async def _give_up(self, asked: Asked) -> None:
        places = [
            leave(own_key(asked.keys[0], rule), asked.holder, cost)
            for rule, cost in zip(asked.rules, asked.costs, strict=True)
            if rule.algorithm == "concurrency"
        ]
        with suppress(OctavoError, RuntimeError):  # the leases end by themselves
            await self._decider.together(places)


class _Answer:
    """What a task that may be cancelled is told by one that is not."""

    def __init__(self) -> None:
        self.is_there = Signal()
        self.wanted = True
        self.decision: Decision | None = None
        self.error: BaseException | None = None


class _Lines:
    """Those of a process who wait for places, in the order in which they came."""

    def __init__(self) -> None:
        self._begin()
        mind_forks(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[_Line, deque[Signal]] = {}

    def join(self, line: _Line, turn: Signal) -> None:
        """Have a signal set when it is its turn, which may be at once."""
        with self._lock:
            waiting = self._waiting.setdefault(line, deque())
            waiting.append(turn)
            first = waiting[0]
        first.set()

    def leave(self, line: _Line, turn: Signal) -> None:
        """Let the next one have its turn."""
        with self._lock:
            waiting = self._waiting.get(line, deque())
            with suppress(ValueError):  # it joined before a fork
                waiting.remove(turn)
            first = waiting[0] if waiting else None
            if first is None:
                self._waiting.pop(line, None)
        if first is not None:
            first.set()

    def after_fork(self) -> None:
        """In a forked child: nobody waits."""
        self._begin()


def leave(key: bytes, holder: bytes, cost: int) -> Command[int]:
    """Return the Command that gives back places."""
    places = (b"%b:%d" % (holder, i + 1) for i in range(cost))
    return Command((b"ZREM", key, *places), (key,), int, idempotent=True)

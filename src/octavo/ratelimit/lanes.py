"""What the script answers in short to what is asked for most, and what that comes to."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octavo.ratelimit.limits import Rule


class Passed(NamedTuple):
    """What is told of a call that is allowed.

    Attributes:
        now: when it was charged, in microseconds of the server's clock.
        binding: which rule has the least left.
        remaining: that.
        reset: microseconds until nothing is left of what it counts.
        marks: what the rules' states are told again by.
    """

    now: int
    binding: int
    remaining: int
    reset: int
    marks: tuple[int, ...]


class Lane:
    """How the script is asked about rules of one algorithm, and answers in short."""

    mode: bytes
    each: int
    """Numbers told of each rule."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._numbers = [rule.numbers() for rule in rules]
        self._reply = struct.Struct(f">B{len(rules) * self.each + 1}Q")

    def passed(self, reply: bytes) -> Passed | None:
        """Return what it says if the call is allowed."""
        allowed, now, *told = self._reply.unpack(reply)
        return self._passed(now, told) if allowed else None

    def full(self, reply: bytes, costs: tuple[int, ...]) -> list[int]:
        """Return the reply that it stands for."""
        allowed, now, *told = self._reply.unpack(reply)
        full = [allowed, now, 0, 0, max(costs)]
        for i, cost in enumerate(costs):
            full += self._state(i, allowed, now, told, cost)
        return full

    def _passed(self, now: int, told: list[int]) -> Passed:
        raise NotImplementedError

    def _state(self, i: int, allowed: int, now: int, told: list[int], cost: int) -> tuple[int, ...]:
        """Return what the script would say of a rule."""
        raise NotImplementedError


class Debts(Lane):
    """GCRA: of each rule the debt, the call included."""

    mode = b"debts"
    each = 1

    def _passed(self, now: int, told: list[int]) -> Passed:
        binding, least = 0, -1
        for i, (_, token, cap) in enumerate(self._numbers):
            room = (cap - told[i]) // token
            if room < least or least < 0:
                binding, least = i, room
        reset = -(-told[binding] // self._numbers[binding][0])
        return Passed(now, binding, least, reset, tuple(told))

    def _state(self, i: int, allowed: int, now: int, told: list[int], cost: int) -> tuple[int, ...]:
        debt, (rate, token, cap) = told[i], self._numbers[i]
        excess = 0 if allowed else debt - cap
        if not allowed:
            debt -= min(cost * token, cap + 1)
        room = max(0, cap - debt) // token
        wait = 0 if excess <= 0 else -(-excess // rate) if cost * token <= cap else -1
        refill = -(-(debt + (room + 1) * token - cap) // rate) if debt else 0
        return int(excess <= 0), room, wait, refill, -(-debt // rate), debt


class Counts(Lane):
    """Fixed windows: of each rule when its window has begun and what is used, the call included."""

    mode = b"counts"
    each = 2

    def _passed(self, now: int, told: list[int]) -> Passed:
        rooms = [limit - used for (limit, _), used in zip(self._numbers, told[1::2], strict=True)]
        least = min(rooms)
        binding = rooms.index(least)
        reset = told[2 * binding] + self._numbers[binding][1] - now
        return Passed(now, binding, least, reset, tuple(told[::2]))

    def _state(self, i: int, allowed: int, now: int, told: list[int], cost: int) -> tuple[int, ...]:
        (start, used), (limit, window) = told[2 * i : 2 * i + 2], self._numbers[i]
        fits = allowed or used <= limit
        before = used if allowed else used - cost
        rest = start + window - now if before else 0
        wait = 0 if fits else rest if cost <= limit else -1
        return int(fits), max(0, limit - before), wait, rest, rest, start


def lane_of(rules: Sequence[Rule]) -> Lane | None:
    """Return the lane that the script has for such rules; None for the way that takes all."""
    kinds = {rule.algorithm for rule in rules}
    if len(kinds) > 1 or any(rule.shadow or rule.limit == 0 for rule in rules):
        return None
    lane = {"gcra": Debts, "fixed": Counts}.get(kinds.pop())
    return None if lane is None else lane(rules)

"""What the script answers in short to what is asked for most, and what that comes to."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from octavo.ratelimit.meters import Bucket, Meter, Sliding, Window

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
    """How the script is asked about rules of one algorithm, and answers in short: by their meters.

    Args:
        rules: the rules.

    Attributes:
        mode: what it is asked for.
    """

    mode: bytes
    _each: int
    """Numbers told of each rule."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._most = [rule.most for rule in rules]
        self._numbers = [rule.numbers() for rule in rules]
        self._reply = struct.Struct(f">B{len(rules) * self._each + 1}Q")

    def passed(self, reply: bytes) -> Passed | None:
        """Return what it says if the call is allowed."""
        allowed, now, *told = self._reply.unpack(reply)
        if not allowed:
            return None
        binding, least, at = 0, -1, 0
        for i in range(len(self._numbers)):
            meter = self._meter(i, now, told, 0)
            room = meter.remaining(now)
            if room < least or least < 0:
                binding, least, at = i, room, meter.earliest(self._most[i], now)
        return Passed(now, binding, least, at - now, self._marks(told))

    def full(self, reply: bytes, costs: tuple[int, ...]) -> list[int]:
        """Return the reply that it stands for."""
        allowed, now, *told = self._reply.unpack(reply)
        full, marks = [allowed, now, 0, 0, max(costs)], self._marks(told)
        for i, (most, cost) in enumerate(zip(self._most, costs, strict=True)):
            meter = self._meter(i, now, told, 0 if allowed else cost)
            room = meter.remaining(now)
            wait = refill = 0
            if not allowed:
                wait = meter.earliest(cost, now) - now if cost <= most else -1
            if room < most:
                refill = meter.earliest(room + 1, now) - now
            reset = meter.earliest(most, now) - now
            full += (int(wait == 0), room, wait, refill, reset, marks[i])
        return full

    def _marks(self, told: list[int]) -> tuple[int, ...]:
        return tuple(told[:: self._each])

    def _meter(self, i: int, now: int, told: list[int], cost: int) -> Meter:
        """Return a rule's meter, without a cost that was not charged."""
        raise NotImplementedError


class Debts(Lane):
    """GCRA: of each rule the debt, the call included, and what was given back of it."""

    mode = b"debts"
    _each = 2

    def _marks(self, told: list[int]) -> tuple[int, ...]:
        return tuple(map(sum, zip(told[::2], told[1::2], strict=True)))

    def _meter(self, i: int, now: int, told: list[int], cost: int) -> Bucket:
        rate, token, cap = self._numbers[i]
        return Bucket(rate, token, cap, now, told[2 * i] - min(cost * token, cap + 1))


class Counts(Lane):
    """Fixed windows: of each rule when its window has begun and what is used, the call included."""

    mode = b"counts"
    _each = 2

    def _meter(self, i: int, now: int, told: list[int], cost: int) -> Window:
        limit, window = self._numbers[i]
        start, used = told[2 * i : 2 * i + 2]
        return Window(limit, window, start, used - cost)


class Weights(Lane):
    """Sliding windows: of each rule the same, and what was used in the window before."""

    mode = b"weights"
    _each = 3

    def _meter(self, i: int, now: int, told: list[int], cost: int) -> Sliding:
        limit, tick, ticks = self._numbers[i]
        start, used, before = told[3 * i : 3 * i + 3]
        return Sliding(limit, tick, ticks, start, used - cost, before)


_LANES: dict[str, Any] = {"gcra": Debts, "fixed": Counts, "sliding": Weights}


def lane_of(rules: Sequence[Rule]) -> Lane | None:
    """Return the lane that the script has for such rules; None for the way that takes all."""
    kinds = {rule.algorithm for rule in rules}
    if len(kinds) > 1 or any(rule.shadow or rule.limit == 0 for rule in rules):
        return None
    lane = _LANES.get(kinds.pop())
    return None if lane is None else lane(rules)

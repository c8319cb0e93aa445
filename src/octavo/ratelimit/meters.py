"""The algorithms: what a subject has used of a rule, and when more of it fits.

A meter is a value that is replaced, not changed. It says from when on a cost fits, how much fits
now, and what it is once that is charged. All else follows: nothing is used any more when everything
fits, and more is left when one unit more than now fits. Times are whole microseconds. What is
booked for later has everybody behind it wait until then. `meters.lua` is the same on the server.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING

import msgspec

from octavo.ratelimit.limits import Quota

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.engine.calendars import Periods
    from octavo.ratelimit.limits import Rule

_NEVER = -(2**60)


class Meter(msgspec.Struct, frozen=True, gc=False):
    """What a subject has used of one rule."""

    def earliest(self, cost: int, now: int) -> int:
        """Return from when on, at or after `now`, a cost fits that can ever fit."""
        return self._earliest(cost, max(now, self._since))

    def remaining(self, now: int) -> int:
        """Return the largest cost that fits now."""
        return max(0, self._left(now)) if now >= self._since else 0

    def charge(self, cost: int, at: int) -> Meter:
        """Return what it is once a cost is charged at a time."""
        return self._charged(cost, at)

    @property
    def _since(self) -> int:
        """The time that all others are at or after: what came last may be booked for later."""
        raise NotImplementedError

    def _earliest(self, cost: int, now: int) -> int:
        raise NotImplementedError

    def _left(self, now: int) -> int:
        raise NotImplementedError

    def _charged(self, cost: int, at: int) -> Meter:
        raise NotImplementedError


class Bucket(Meter, frozen=True, gc=False):
    """GCRA: a unit adds `token` to a debt of at most `cap`, which falls by `rate` all the time."""

    rate: int
    token: int
    cap: int
    at: int = 0
    debt: int = 0

    @property
    def _since(self) -> int:
        return 0  # what is booked is a larger debt

    def _owed(self, now: int) -> int:
        return max(0, self.debt - (now - self.at) * self.rate)

    def _earliest(self, cost: int, now: int) -> int:
        excess = self._owed(now) + cost * self.token - self.cap
        return now + -(-excess // self.rate) if excess > 0 else now

    def _left(self, now: int) -> int:
        return (self.cap - self._owed(now)) // self.token

    def _charged(self, cost: int, at: int) -> Bucket:
        return Bucket(self.rate, self.token, self.cap, at, self._owed(at) + cost * self.token)


class Window(Meter, frozen=True, gc=False):
    """Fixed: at most `limit` units in a window, which starts with the first of them."""

    limit: int
    window: int
    start: int = 0
    used: int = 0

    @property
    def _since(self) -> int:
        return self.start

    def _used(self, now: int) -> int:
        return self.used if now < self.start + self.window else 0

    def _earliest(self, cost: int, now: int) -> int:
        return now if self._used(now) + cost <= self.limit else self.start + self.window

    def _left(self, now: int) -> int:
        return self.limit - self._used(now)

    def _charged(self, cost: int, at: int) -> Window:
        used = self._used(at)
        return Window(self.limit, self.window, self.start if used else at, used + cost)


class Sliding(Meter, frozen=True, gc=False):
    """Two windows: of the one before counts the share of it that is less than a window ago."""

    limit: int
    tick: int
    ticks: int
    start: int = _NEVER
    used: int = 0
    before: int = 0

    @property
    def _since(self) -> int:
        return self.start

    def _at(self, now: int) -> Sliding:
        window = self.tick * self.ticks
        match (now - self.start) // window:
            case 0:
                return self
            case 1:
                start, before = self.start + window, self.used
                return Sliding(self.limit, self.tick, self.ticks, start, 0, before)
            case _:
                return Sliding(self.limit, self.tick, self.ticks, now)

    def _earliest(self, cost: int, now: int) -> int:
        then = self._at(now)
        start, before, room = then.start, then.before, self.limit - then.used - cost
        if room < 0:  # not before the next window
            start, before, room = start + self.tick * self.ticks, then.used, self.limit - cost
        over = self.ticks - room * self.ticks // before if before else 0
        return max(now, start + over * self.tick)

    def _left(self, now: int) -> int:
        then = self._at(now)
        ticks = self.ticks - (now - then.start) // self.tick
        return self.limit - then.used - -(-then.before * ticks // self.ticks)

    def _charged(self, cost: int, at: int) -> Sliding:
        then = self._at(at)
        used = then.used + cost
        return Sliding(self.limit, self.tick, self.ticks, then.start, used, then.before)


class Segmented(Meter, frozen=True, gc=False):
    """A count per segment: all those that a window can touch, one more than it has, must fit."""

    limit: int
    segment: int
    segments: int
    newest: int = 0
    counts: tuple[int, ...] = (0,)  # the newest first

    @property
    def _since(self) -> int:
        return self.newest * self.segment

    def _at(self, now: int) -> Segmented:
        newest = now // self.segment
        aged = min(newest - self.newest, self.segments + 1)
        counts = (0,) * aged + self.counts[: self.segments + 1 - aged]
        return Segmented(self.limit, self.segment, self.segments, newest, counts)

    def _earliest(self, cost: int, now: int) -> int:
        then = self._at(now)
        fitting = bisect_right(list(accumulate(then.counts)), self.limit - cost)
        if fitting == len(then.counts):
            return now
        return (then.newest + self.segments + 1 - fitting) * self.segment

    def _left(self, now: int) -> int:
        return self.limit - sum(self._at(now).counts)

    def _charged(self, cost: int, at: int) -> Segmented:
        then = self._at(at)
        counts = (then.counts[0] + cost, *then.counts[1:])
        return Segmented(self.limit, self.segment, self.segments, then.newest, counts)


class Log(Meter, frozen=True, gc=False):
    """The exact one: each cost counts until it is `window` old. So do places, for their lease."""

    limit: int
    window: int
    entries: tuple[tuple[int, int], ...] = ()  # times and costs, the newest last

    @property
    def _since(self) -> int:
        return self.entries[-1][0] if self.entries else 0

    def _live(self, now: int) -> tuple[tuple[int, int], ...]:
        over = bisect_right(self.entries, now - self.window, key=itemgetter(0))
        return self.entries[over:]

    def _earliest(self, cost: int, now: int) -> int:
        excess = cost - self._left(now)
        for at, units in self._live(now):
            if excess <= 0:
                break
            now = at + self.window
            excess -= units
        return now

    def _left(self, now: int) -> int:
        return self.limit - sum(units for _, units in self._live(now))

    def _charged(self, cost: int, at: int) -> Log:
        return Log(self.limit, self.window, (*self._live(at), (at, cost)))


class Calendar(Meter, frozen=True, gc=False):
    """A quota: at most `limit` units in each period of a calendar."""

    limit: int
    periods: Callable[[int], Periods]
    start: int = 0
    used: int = 0

    @property
    def _since(self) -> int:
        return self.start

    def _used(self, now: int) -> int:
        return self.used if self.periods(now)[0] == self.start else 0

    def _earliest(self, cost: int, now: int) -> int:
        return now if self._used(now) + cost <= self.limit else self.periods(now)[1]

    def _left(self, now: int) -> int:
        return self.limit - self._used(now)

    def _charged(self, cost: int, at: int) -> Calendar:
        return Calendar(self.limit, self.periods, self.periods(at)[0], self._used(at) + cost)


_METERS: dict[str, Callable[..., Meter]] = {
    "gcra": Bucket,
    "fixed": Window,
    "sliding": Sliding,
    "segmented": Segmented,
    "log": Log,
    "concurrency": Log,
}


def meter_of(rule: Rule) -> Meter:
    """Return the meter of a subject that has used nothing."""
    if isinstance(rule, Quota):
        return Calendar(rule.limit, rule.periods)
    return _METERS[rule.algorithm](*rule.numbers())

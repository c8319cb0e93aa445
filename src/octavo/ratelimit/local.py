"""Decisions without a server, for as long as it is out of reach; also the algorithms in short.

What a subject has used of a rule is a meter: a value that is replaced, not changed. It says from
when on a cost fits, how much fits now, and what it is once that is charged. All else follows:
nothing is used any more when everything fits, and more is left when one unit more than now fits.
Times are whole microseconds. What is booked for later has everybody behind it wait until then.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_right
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from octavo.engine.bounded import Bounded
from octavo.engine.fork import mind_forks
from octavo.ratelimit.decision import Decision, LimitState
from octavo.ratelimit.limits import Quota

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from octavo.ratelimit.calendars import Periods
    from octavo.ratelimit.limits import Rule

    Asked = tuple[Rule, str, int]
    Key = tuple[str, str, str]
    Clock = Callable[[], int]

_MOST_METERS = 100_000
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


class _Entry(NamedTuple):
    """One rule and one subject of a call; `now` is the time of the rule's clock."""

    rule: Rule
    key: Key
    meter: Meter
    now: int
    cost: int

    @property
    def delay(self) -> int | None:
        """Microseconds until the cost fits; None if it never does."""
        if self.cost > self.rule.most:
            return None
        return self.meter.earliest(self.cost, self.now) - self.now

    def fits(self, wait: int | None) -> bool:
        """Whether the cost fits within so many microseconds; None is for ever."""
        delay = self.delay
        return delay is not None and (wait is None or delay <= wait) and self.bookable(delay)

    def bookable(self, delay: int) -> bool:
        """Whether it can be booked so far ahead: a quota's present period and the next one can."""
        rule = self.rule
        return not isinstance(rule, Quota) or self.now + delay < rule.periods(self.now)[2]

    def charged(self, delay: int) -> _Entry:
        """Return what is so once the cost is charged, so many microseconds from now."""
        return self._replace(meter=self.meter.charge(self.cost, self.now + delay))

    def state(self, delay: int | None, *, allowed: bool) -> LimitState:
        """Return what is told of it, of which the arguments are what was so before the charge."""
        rule, meter, now = self.rule, self.meter, self.now
        window, remaining = rule.window, meter.remaining(now)
        if isinstance(rule, Quota):
            start, end, _ = rule.periods(now)
            window = (end - start) / 1e6
        more = meter.earliest(remaining + 1, now) - now if remaining < rule.most else 0
        return LimitState(
            name=rule.name,
            allowed=allowed,
            limit=rule.limit,
            remaining=remaining,
            retry_after=0.0 if allowed else None if delay is None else delay / 1e6,
            reset_after=(meter.earliest(rule.most, now) - now) / 1e6,
            refill_after=more / 1e6,
            window=window,
            unit="concurrent-requests" if rule.algorithm == "concurrency" else "requests",
            shadow=rule.shadow,
        )


class LocalLimiter:
    """Decides as the server does, for this process alone.

    It knows a limited number of subjects, of more of them those that come often. A forked child
    starts with none. A calendar put back across the start of a quota's period keeps its subjects
    out until it is there again. Nothing is given back: the server, back in reach, knows nothing of
    what was charged here.

    Args:
        clock: gives microseconds, and never goes back.
        calendar: gives the microseconds since 1970 that quotas go by.
    """

    def __init__(
        self,
        *,
        clock: Clock = lambda: time.monotonic_ns() // 1000,
        calendar: Clock = lambda: time.time_ns() // 1000,
    ) -> None:
        self._clock = clock
        self._calendar = calendar
        self._lock = threading.RLock()
        self._meters: Bounded[Key, tuple[Rule, Meter]] = Bounded(_MOST_METERS)
        mind_forks(self)

    def after_fork(self) -> None:
        """In a forked child: take no notice of the threads that are not there."""
        self._lock = threading.RLock()

    def decide(
        self,
        asked: Sequence[Asked],
        *,
        charge: bool = True,
        wait_us: int | None = 0,
        up_to: int | None = None,
    ) -> Decision:
        """Charge all that is asked for, or nothing.

        Args:
            asked: rules, subjects and costs.
            charge: whether to charge it, or only to say how things stand.
            wait_us: for how many microseconds the caller is ready to wait; None is for ever.
            up_to: if not None, the cost is as much as fits, up to this, whatever `asked` says.
        """
        with self._lock:
            entries = [self._entry(*each) for each in asked]
            cost = max(entry.cost for entry in entries)
            if up_to is not None:
                enforced = [entry for entry in entries if not entry.rule.shadow]
                cost = min([up_to, *(entry.meter.remaining(entry.now) for entry in enforced)])
                entries = [entry._replace(cost=cost or 1) for entry in entries]
            decision, charged = _decided(entries, wait_us, charge=charge)
            for entry in charged:
                self._meters.set(entry.key, (entry.rule, entry.meter))
        return msgspec.structs.replace(decision, cost=cost)

    def _entry(self, rule: Rule, subject: str, cost: int) -> _Entry:
        key = (subject, rule.name, rule.algorithm)
        now = self._calendar() if isinstance(rule, Quota) else self._clock()
        known, meter = self._meters.get(key) or (rule, meter_of(rule))
        if known != rule:
            meter = _carried(known, meter, rule, now)
        return _Entry(rule, key, meter, now, cost)


def _carried(known: Rule, meter: Meter, rule: Rule, now: int) -> Meter:
    """Return what is used of a rule whose numbers have changed, all of it as if used now."""
    used = known.most - meter.remaining(now)
    if rule.carry == "proportional":
        used = -(-used * rule.most // known.most)
    if rule.carry == "reset" or not used:
        return meter_of(rule)
    return meter_of(rule).charge(min(used, rule.most), now)


def _decided(
    entries: Sequence[_Entry], wait: int | None, *, charge: bool
) -> tuple[Decision, list[_Entry]]:
    """Return what is said to a call, and what is charged for it."""
    enforced = [entry for entry in entries if not entry.rule.shadow]
    latest = max((entry.delay or 0 for entry in enforced), default=0)
    allowed = all(entry.fits(wait) and entry.bookable(latest) for entry in enforced)
    due = latest if wait is None else min(latest, wait)
    charged = [entry.charged(due) for entry in entries if charge and allowed and entry.fits(due)]
    after = {entry.key: entry for entry in charged}
    states = {
        entry.rule.name: after.get(entry.key, entry).state(entry.delay, allowed=entry.fits(due))
        for entry in entries
    }
    binding = _binding(states.values())
    decision = Decision(
        allowed=allowed,
        limit=binding.limit,
        remaining=binding.remaining,
        retry_after=0.0 if allowed else binding.retry_after,
        reset_after=binding.reset_after,
        violated=tuple(s.name for s in states.values() if not (s.allowed or s.shadow)),
        degraded=True,
        delay=due / 1e6 if allowed else 0.0,
        limits=states,
    )
    return decision, charged


def _binding(states: Iterable[LimitState]) -> LimitState:
    enforced = [state for state in states if not state.shadow] or list(states)
    denying = [state for state in enforced if not (state.allowed or state.shadow)]
    if denying:
        return max(denying, key=lambda s: math.inf if s.retry_after is None else s.retry_after)
    return min(enforced, key=lambda state: state.remaining)

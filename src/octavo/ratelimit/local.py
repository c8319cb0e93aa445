"""Decisions without a server, for as long as it is out of reach."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from octavo.engine.bounded import Bounded
from octavo.engine.fork import mind_forks
from octavo.ratelimit.decision import Decision, LimitState
from octavo.ratelimit.limits import Quota
from octavo.ratelimit.meters import meter_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from octavo.ratelimit.limits import Rule
    from octavo.ratelimit.meters import Meter

    Asked = tuple[Rule, str, int]
    Key = tuple[str, str, str]
    Clock = Callable[[], int]

_MOST_METERS = 100_000


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
        return replace(decision, cost=cost)

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

"""What a limiter decides, in plain Python: slow, exact, and without a server.

Nothing is kept but all that was ever charged. What counts at a time follows from that, what passes
from what counts, and every other answer is the first time at which something passes, looked for.
Times are whole microseconds.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from octavo.ratelimit import Ban, Limit, Quota
    from octavo.ratelimit.limits import Rule

SECOND = 1_000_000


Key = tuple[str, str, str]
"""What is counted by itself: a subject, and a rule's name and algorithm."""


@dataclass
class Charge:
    """Units used at a time. What is given back later is taken off `units`."""

    at: int
    units: int


@dataclass(frozen=True)
class State:
    """What a rule says; see `LimitState`."""

    name: str
    allowed: bool
    limit: int
    remaining: int
    retry: int | None
    reset: int
    refill: int
    shadow: bool


@dataclass(frozen=True)
class Receipt:
    """What a call was charged, by one rule."""

    use: Use
    subject: str
    charge: Charge
    cost: int
    at: int
    level: Fraction
    refunded: int


@dataclass
class Verdict:
    """What a call is told; see `Decision`."""

    allowed: bool
    limit: int
    remaining: int
    retry: int | None
    reset: int
    violated: tuple[str, ...]
    banned: bool
    delay: int
    cost: int
    limits: dict[str, State]
    receipts: list[Receipt] = field(default_factory=list)
    settled: bool = False
    asked: list[Key] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self.allowed


def total(charges: Iterable[Charge]) -> Fraction:
    """Return how many units charges have."""
    return Fraction(sum(charge.units for charge in charges))


def rounded(at: int, units: Fraction) -> Charge:
    """Return a charge of whole units."""
    return Charge(at, math.ceil(units))


@dataclass
class Banned:
    """How a subject is kept out: until when, after how many denials since when, for which time."""

    until: int = 0
    denials: int = 0
    since: int = 0
    times: int = 0
    ends: int = 0
    seen: int = 0

    def put_back(self, now: int) -> Banned:
        """Return what it is at a time, which may be before it was seen last."""
        by = max(0, self.seen - now)
        return Banned(
            self.until - by, self.denials, self.since - by, self.times, self.ends - by, self.seen
        )

    def deny(self, now: int, policy: Ban) -> None:
        """Take note of a denial."""
        after, within, lasts, growth, longest, forget = policy.numbers()
        if now - self.since >= within:
            self.denials, self.since = 0, now
        self.denials += 1
        self.ends = max(self.ends, self.since + int(within))
        if self.denials >= after:
            self.until = now + math.floor(min(lasts * growth**self.times, longest))
            self.denials, self.times, self.ends = 0, self.times + 1, self.until + int(forget)


class Use:
    """What one rule has counted of one subject.

    Attributes:
        rule: its numbers count.
        charges: what was used.
        seen: when it was stored last.
        changed: whether it is to be stored, because the clock was put back or the numbers differ.
        refunded: what was given back of a debt.
    """

    refunded = 0

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.charges: list[Charge] = []
        self.seen = 0
        self.changed = False

    # What the kinds differ in

    def opens(self, now: int) -> int:
        """Return the first time at which anything may pass: what is booked comes first."""
        raise NotImplementedError

    def level(self, at: int) -> Fraction:
        """Return how many units count at a time, which is not before it opens."""
        raise NotImplementedError

    def bookable(self, now: int) -> float:
        """Return the last time for which anything can be booked already."""
        return math.inf

    def carried(self, rule: Rule, now: int) -> Use:
        """Return the same with another rule's numbers; it is the old rule that says what counts."""
        raise NotImplementedError

    def refund(self, now: int, receipt: Receipt, units: int) -> None:
        """Give units of a charge back, as far as time has not done so."""
        receipt.charge.units -= units

    # What follows

    def first(self, now: int, holds: Callable[[Fraction], bool]) -> int:
        """Return the first time at which a condition holds for the level, which only falls."""
        start, step = self.opens(now), 1
        while not holds(self.level(start + step)):
            step *= 2
        times = range(start, start + step + 1)
        return times[bisect_left(times, True, key=lambda at: holds(self.level(at)))]

    def earliest(self, now: int, cost: int) -> int | None:
        """Return the first time at which a cost would pass; None if it never will."""
        most = self.rule.most
        return None if cost > most else self.first(now, lambda level: level + cost <= most)

    def remaining(self, now: int) -> int:
        """Return the largest cost that would pass now."""
        if self.opens(now) > now:
            return 0
        return max(0, math.floor(self.rule.most - self.level(now)))

    def reset(self, now: int) -> int:
        """Return the time at which nothing of what was used counts any more."""
        return self.first(now, lambda level: level == 0)

    def refill(self, now: int) -> int:
        """Return the time at which more remains than now; now if all does."""
        return self.earliest(now, self.remaining(now) + 1) or now

    def charge(self, at: int, units: int) -> Charge:
        """Use units; at a time that is not before the earliest one for them."""
        charge = Charge(at, units)
        self.charges.append(charge)
        return charge

    def put_back(self, now: int) -> Use:
        """Return what it is to a clock that was put back: all was that much earlier."""
        use = type(self)(self.rule)
        use.charges = [Charge(self.moved(charge.at, now), charge.units) for charge in self.charges]
        return use

    def moved(self, at: int, now: int) -> int:
        """Return for when something counts once the clock was put back to a time."""
        return at - self.seen + now


class Bucket(Use):
    """GCRA: units are a debt, which is paid at an even rate. A charge's are parts of a unit."""

    rule: Limit

    @property
    def rate(self) -> tuple[int, int]:
        """How much of a debt is paid a microsecond, and how much a unit is."""
        assert self.rule.window is not None
        return Fraction(self.rule.limit, round(self.rule.window * SECOND)).as_integer_ratio()

    def opens(self, now: int) -> int:
        return now  # what is booked is a debt that is larger than may be

    def level(self, at: int) -> Fraction:
        # A queue's unfinished work: of the charges from the i-th on, as if the i-th had found an
        # empty queue, for the i that gives the most.
        rate, token = self.rate
        if not rate:
            return Fraction(0)  # nothing passes whatever is owed
        debt = most = 0
        for charge in reversed(self.charges):
            debt += charge.units
            most = max(most, debt - (at - charge.at) * rate)
        return Fraction(most, token)

    def charge(self, at: int, units: int) -> Charge:
        return super().charge(at, units * self.rate[1])

    def refund(self, now: int, receipt: Receipt, units: int) -> None:
        # Time pays the oldest part first; what was given back may have stood before this one.
        rate, token = self.rate
        own = receipt.cost * token
        before = max(0, int(receipt.level * token) - own - (self.refunded - receipt.refunded))
        unpaid = max(0, own - max(0, (now - receipt.at) * rate - before))
        back = min(units * token, unpaid, int(self.level(now) * token))
        self.charges.append(Charge(self.opens(now), -back))
        self.refunded += back

    def carried(self, rule: Rule, now: int) -> Use:
        use = type(self)(rule)
        at = self.opens(now)
        level = self.level(at)
        if rule.carry == "proportional":
            level *= Fraction(rule.most, self.rule.most or 1)
        if level and rule.carry != "reset":
            use.charges.append(Charge(at, math.ceil(level * use.rate[1])))
        return use


class Counted(Use):
    """Of what is counted per window."""

    def carried(self, rule: Rule, now: int) -> Use:
        use = type(self)(rule)
        if rule.carry == "reset" or self.reset(now) <= now:
            return use
        for charge in self.charges:
            use.charge(charge.at, charge.units)
        use.fold(self, now)
        return use

    def fold(self, old: Use, now: int) -> None:
        """Change what another use has left in the terms of this one."""

    def share(self, old: Use) -> Fraction:
        """Return by what each count is to be multiplied."""
        if self.rule.carry != "proportional":
            return Fraction(1)
        return Fraction(self.rule.most, old.rule.most) if old.rule.most else Fraction(0)

    @property
    def window(self) -> int:
        assert self.rule.window is not None
        return round(self.rule.window * SECOND)


class Started(Counted):
    """Of windows that start with what is used."""

    def charge(self, at: int, units: int) -> Charge:
        if not self.level(at):
            self.charges = []  # all of it was given back
        return super().charge(at, units)


class Fixed(Started):
    """Windows of which each starts with its first hit."""

    def current(self) -> list[Charge]:
        current: list[Charge] = []
        for charge in self.charges:
            if not current or charge.at >= current[0].at + self.window:
                current = []
            current.append(charge)
        return current

    def opens(self, now: int) -> int:
        return max([now, *(charge.at for charge in self.current()[:1])])

    def level(self, at: int) -> Fraction:
        current = self.current()
        over = not current or at >= current[0].at + self.window
        return Fraction(0) if over else total(current)

    def fold(self, old: Use, now: int) -> None:
        assert isinstance(old, Fixed)
        current = old.current()
        used = total(current)
        self.charges = [rounded(current[0].at, used * self.share(old))]


class Sliding(Started):
    """Two windows of a row that its first hit starts, of which the older one fades out."""

    @property
    def ticks(self) -> tuple[int, int]:
        """The length of a tick, and how many make a window."""
        _, tick, ticks = self.rule.numbers()
        return tick, ticks

    @property
    def window(self) -> int:
        tick, ticks = self.ticks
        return tick * ticks

    def start(self) -> int | None:
        """Return the start of the newest window."""
        start = None
        for charge in self.charges:
            if start is None or charge.at >= start + 2 * self.window:
                start = charge.at
            elif charge.at >= start + self.window:
                start += self.window
        return start

    def opens(self, now: int) -> int:
        return max(now, self.start() or now)

    def level(self, at: int) -> Fraction:
        start = self.start()
        if start is None or at >= start + 2 * self.window:
            return Fraction(0)
        if at >= start + self.window:
            start += self.window
        tick, ticks = self.ticks
        faded = Fraction((at - start) // tick, ticks)
        return self._in(start) + self._in(start - self.window) * (1 - faded)

    def _in(self, start: int) -> Fraction:
        end = start + self.window
        return total(charge for charge in self.charges if start <= charge.at < end)

    def fold(self, old: Use, now: int) -> None:
        assert isinstance(old, Sliding)
        start, share = old.start(), self.share(old)
        assert start is not None
        if old.ticks != self.ticks:
            at = old.opens(now)
            self.charges = [rounded(at, math.ceil(old.level(at)) * share)]
            return
        self.charges = [rounded(at, old._in(at) * share) for at in (start - self.window, start)]


class Segmented(Counted):
    """A window of whole segments, and the one that is passing out of it."""

    @property
    def segments(self) -> tuple[int, int]:
        """The length of a segment, and how many make a window."""
        _, segment, segments = self.rule.numbers()
        return segment, segments

    def moved(self, at: int, now: int) -> int:
        # So that nothing ends too early, what is older moves up where less of a segment is left.
        segment, segments = self.segments
        seen = self.seen // segment
        if max(seen, self.newest()) - at // segment > segments:
            return 0  # counted no more
        up = now % segment > self.seen % segment and (self.newest() > seen or at // segment < seen)
        return at + (now // segment - seen + up) * segment

    def newest(self) -> int:
        return max((charge.at // self.segments[0] for charge in self.charges), default=0)

    def opens(self, now: int) -> int:
        return max(now, self.newest() * self.segments[0])

    def level(self, at: int) -> Fraction:
        segment, segments = self.segments
        return total(
            charge for charge in self.charges if at // segment - charge.at // segment <= segments
        )

    def fold(self, old: Use, now: int) -> None:
        assert isinstance(old, Segmented)
        segment, _ = old.segments
        at, share = old.opens(now), self.share(old)
        if old.segments != self.segments:
            self.charges = [rounded(at, old.level(at) * share)]
            return
        counts: dict[int, Fraction] = {}
        for charge in old.charges:
            if at // segment - charge.at // segment <= old.segments[1]:
                number = charge.at // segment
                counts[number] = counts.get(number, Fraction(0)) + charge.units
        self.charges = [
            rounded(number * segment, count * share) for number, count in counts.items()
        ]


class Log(Counted):
    """Each unit, for the length of the window."""

    def opens(self, now: int) -> int:
        return max([now, *(charge.at for charge in self.charges if charge.units)])

    def level(self, at: int) -> Fraction:
        return total(charge for charge in self.charges if at - charge.at < self.window)

    def fold(self, old: Use, now: int) -> None:
        assert isinstance(old, Log)
        self.charges = [charge for charge in self.charges if now - charge.at < old.window]


class Calendar(Counted):
    """Periods of a calendar."""

    rule: Quota

    def period(self, at: int) -> tuple[int, int]:
        """Return the first moment of the period of a time and that of the one after it."""
        zone = ZoneInfo(self.rule.tz)
        seconds = at // SECOND
        if self.rule.unit == "hour":
            start = seconds - seconds % 3600  # of zones whole hours from UTC
            return start * SECOND, (start + 3600) * SECOND
        day = datetime.fromtimestamp(seconds, UTC).astimezone(zone)
        day = day.replace(hour=0, minute=0, second=0, fold=0)
        first = {
            "day": day,
            "week": day - timedelta(days=day.weekday()),
            "month": day.replace(day=1),
            "year": day.replace(month=1, day=1),
        }[self.rule.unit]
        beyond = {"day": 1, "week": 7, "month": 31, "year": 366}[self.rule.unit]
        after = first + timedelta(days=beyond)
        if self.rule.unit in {"month", "year"}:
            after = after.replace(day=1)
        return round(first.timestamp()) * SECOND, round(after.timestamp()) * SECOND

    def moved(self, at: int, now: int) -> int:
        first, end = self.period(self.seen)
        if at < first:
            return 0  # counted no more
        return min(at, now if at < end else self.period(now)[1])

    def opens(self, now: int) -> int:
        return max([now, *(self.period(charge.at)[0] for charge in self.charges)])

    def level(self, at: int) -> Fraction:
        start, end = self.period(at)
        return total(charge for charge in self.charges if start <= charge.at < end)

    def bookable(self, now: int) -> float:
        return self.period(self.period(now)[1])[1] - 1

    def fold(self, old: Use, now: int) -> None:
        at = old.opens(now)
        self.charges = [rounded(at, old.level(at) * self.share(old))]


class Places(Use):
    """Leases, each of which ends by itself: here a charge is made when its lease ends."""

    @property
    def lease(self) -> int:
        return self.rule.numbers()[1]

    def opens(self, now: int) -> int:
        return now

    def level(self, at: int) -> Fraction:
        return total(charge for charge in self.charges if charge.at > at)

    def charge(self, at: int, units: int) -> Charge:
        self.charges.append(Charge(at + self.lease, units))
        return self.charges[-1]

    def carried(self, rule: Rule, now: int) -> Use:
        use = Places(rule)
        use.charges = self.charges
        return use


Asked = tuple[Use, str, int]
"""What a rule has counted of a subject, and what a call costs."""

KINDS: dict[str, type[Use]] = {
    "gcra": Bucket,
    "fixed": Fixed,
    "sliding": Sliding,
    "segmented": Segmented,
    "log": Log,
    "quota": Calendar,
    "concurrency": Places,
}


class Model:
    """The reference of a limiter.

    Args:
        rules: the limits that its calls are held to, unless they name others.
        ban: who is kept out for having been denied.
    """

    def __init__(self, *rules: Rule, ban: Ban | None = None) -> None:
        self.rules = rules
        self._policy = ban
        self._uses: dict[Key, Use] = {}
        self._banned: dict[str, Banned] = {}

    # Deciding

    def hit(self, now: int, subject: str, cost: int | Mapping[str, int] = 1) -> Verdict:
        return self.check(now, self._all_of(subject), cost)

    def check(
        self, now: int, subjects: Mapping[str, str], cost: int | Mapping[str, int] = 1
    ) -> Verdict:
        return self._decide(now, self._asked(now, subjects, cost), 0)

    def peek(
        self, now: int, subject: str | Mapping[str, str], cost: int | Mapping[str, int] = 1
    ) -> Verdict:
        subjects = self._all_of(subject) if isinstance(subject, str) else subject
        return self._decide(now, self._asked(now, subjects, cost), 0, charge=False)

    def reserve(
        self, now: int, subject: str, cost: int | Mapping[str, int] = 1, wait: int | None = None
    ) -> Verdict:
        return self._decide(now, self._asked(now, self._all_of(subject), cost), wait)

    def take_up_to(self, now: int, subject: str, units: int) -> Verdict:
        asked = self._asked(now, self._all_of(subject), 1)
        left = [use.remaining(now) for use, _, _ in asked if not use.rule.shadow]
        granted = min([units, *left])
        verdict = self._decide(now, [(use, s, max(1, granted)) for use, s, _ in asked], 0)
        verdict.cost = granted if verdict else 0
        return verdict

    def _all_of(self, subject: str) -> dict[str, str]:
        return {rule.name: subject for rule in self.rules}

    def _asked(
        self, now: int, subjects: Mapping[str, str], cost: int | Mapping[str, int]
    ) -> list[Asked]:
        costs = cost if not isinstance(cost, int) else dict.fromkeys(subjects, cost)
        by_name = {rule.name: rule for rule in self.rules}
        return [
            (self.use(now, by_name[name], subject), subject, costs.get(name, 1))
            for name, subject in subjects.items()
        ]

    def use(self, now: int, rule: Rule, subject: str) -> Use:
        """Return what a rule has counted of a subject, in its present numbers."""
        known = use = self._uses.get((subject, rule.name, rule.algorithm))
        if use is not None and use.seen > now:
            use = use.put_back(now)
        if use is not None and use.reset(now) > now and use.rule.numbers() != rule.numbers():
            use = use.carried(rule, now)
        changed = use is not known
        if use is None or use.reset(now) <= now:  # what counts no more leaves nothing behind
            use = KINDS[rule.algorithm](rule)
        use.rule, use.changed = rule, changed
        return use

    def _ban_of(self, now: int, subject: str) -> Banned:
        ban = self._banned.get(subject, Banned()).put_back(now)
        return ban if ban.ends > now else Banned()

    def _decide(
        self, now: int, asked: Sequence[Asked], wait: int | None, *, charge: bool = True
    ) -> Verdict:
        bans = {subject: self._ban_of(now, subject) for _, subject, _ in asked}
        banned = any(ban.until > now for ban in bans.values())
        latest = math.inf if wait is None else now + wait
        times = [use.earliest(now, cost) for use, _, cost in asked]
        enforcing = [not use.rule.shadow for use, _, _ in asked]
        at = max(
            [now, *(time for time, counts in zip(times, enforcing, strict=True) if time and counts)]
        )
        due = min(at, latest)
        fitting = [
            time is not None and time <= due and (at if counts else due) <= use.bookable(now)
            for time, counts, (use, _, _) in zip(times, enforcing, asked, strict=True)
        ]
        denying = {
            subject
            for (_, subject, _), fits, counts in zip(asked, fitting, enforcing, strict=True)
            if counts and not fits
        }
        receipts = []
        if charge and not banned and not denying:
            for (use, subject, cost), fits in zip(asked, fitting, strict=True):
                if fits:
                    made = use.charge(at, cost)
                    level = use.level(at)
                    receipts.append(Receipt(use, subject, made, cost, at, level, use.refunded))
        if charge:
            changed = {receipt.subject for receipt in receipts}
            if self._policy and not banned:
                for subject in denying:
                    bans[subject].deny(now, self._policy)
                changed |= denying
            self._store(now, asked, bans, changed)
        limits = {
            use.rule.name: self._state(use, now, fits, time)
            for (use, _, _), fits, time in zip(asked, fitting, times, strict=True)
        }
        ends = [ban.until for ban in bans.values() if ban.until > now]
        passes = not banned and not denying
        return self._verdict(limits, passes, ends, now, at, asked, receipts)

    def _store(
        self, now: int, asked: Sequence[Asked], bans: Mapping[str, Banned], changed: set[str]
    ) -> None:
        """Keep what is known of subjects of which anything has changed."""
        late = {subject for subject in bans if self._banned.get(subject, Banned()).seen > now}
        written = changed | late | {subject for use, subject, _ in asked if use.changed}
        for subject in written:
            self._write_ban(now, subject, bans[subject])
        for use, subject, _ in asked:
            if subject in written:
                use.seen, use.changed = now, False
                self._uses[subject, use.rule.name, use.rule.algorithm] = use

    def _state(self, use: Use, now: int, fits: bool, time: int | None) -> State:
        return State(
            name=use.rule.name,
            allowed=fits,
            limit=use.rule.limit,
            remaining=use.remaining(now),
            retry=0 if fits else None if time is None else time - now,
            reset=use.reset(now) - now,
            refill=use.refill(now) - now,
            shadow=use.rule.shadow,
        )

    def _verdict(
        self,
        limits: dict[str, State],
        passes: bool,
        bans: list[int],
        now: int,
        at: int,
        asked: Sequence[Asked],
        receipts: list[Receipt],
    ) -> Verdict:
        every = list(limits.values())
        enforcing = [state for state in every if not state.shadow] or every
        denying = [state for state in enforcing if not (state.allowed or state.shadow)]
        if passes or not denying:
            binding = min(enforcing, key=lambda state: state.remaining)
        else:
            binding = max(denying, key=lambda s: math.inf if s.retry is None else s.retry)
        retry = binding.retry if denying else 0
        banned = ("ban",) if bans else ()
        return Verdict(
            allowed=passes,
            limit=binding.limit,
            remaining=binding.remaining,
            retry=None if retry is None else max([retry, *(end - now for end in bans)]),
            reset=binding.reset,
            violated=() if passes else (*banned, *(s.name for s in denying)),
            banned=bool(bans),
            delay=at - now if passes else 0,
            cost=max((cost for _, _, cost in asked), default=1),
            limits=limits,
            receipts=receipts,
            asked=[(subject, use.rule.name, use.rule.algorithm) for use, subject, _ in asked],
        )

    # Changing

    def refund(self, now: int, verdict: Verdict) -> bool:
        return self.settle(now, verdict, None)

    def settle(self, now: int, verdict: Verdict, actual: int | None) -> bool:
        """Have a call charged what it used; None is nothing, and no place."""
        if not verdict.allowed or verdict.settled:
            return False
        verdict.settled = True
        for receipt in verdict.receipts:
            used, rule = actual or 0, receipt.use.rule
            if actual is not None and isinstance(receipt.use, Places):
                continue
            if used > receipt.cost:
                use = self.use(now, rule, receipt.subject)
                use.charge(use.opens(now), used - receipt.cost)
                self._uses[receipt.subject, rule.name, rule.algorithm] = use
            elif receipt.use in self._uses.values():
                receipt.use.refund(now, receipt, receipt.cost - used)
        for key in verdict.asked:
            if key in self._uses:
                self._uses[key].seen = now
            self._write_ban(now, key[0], self._ban_of(now, key[0]))
        return True

    def renew(self, now: int, verdict: Verdict) -> bool:
        """Let places end later, if they have not ended."""
        held = [
            receipt
            for receipt in verdict.receipts
            if isinstance(receipt.use, Places)
            and receipt.use in self._uses.values()
            and receipt.charge.units
            and receipt.charge.at > now
        ]
        for receipt in held:
            receipt.charge.at = now + receipt.use.rule.numbers()[1]
        return bool(held)

    def is_over(self, now: int, subject: str) -> bool:
        """Whether something that was known of a subject counts no more."""
        ban = self._banned.get(subject)
        return (ban is not None and ban.ends <= now) or any(
            use.reset(now) <= now for key, use in self._uses.items() if key[0] == subject
        )

    def reset(self, subject: str) -> bool:
        gone = [key for key in self._uses if key[0] == subject]
        for key in gone:
            del self._uses[key]
        return self._banned.pop(subject, None) is not None or bool(gone)

    def ban(self, now: int, subject: str, lasts: int) -> bool:
        """Keep a subject out; 0 ends it. Return whether it was kept out."""
        ban = self._ban_of(now, subject)
        was = ban.until > now
        if lasts:
            ban.until = now + lasts
            ban.ends = max(ban.ends, ban.until)
        self._write_ban(now, subject, ban if lasts else Banned())
        return was

    def _write_ban(self, now: int, subject: str, ban: Banned) -> None:
        ban.seen = now
        self._banned[subject] = ban

    def change(self, *rules: Rule) -> None:
        """Take other rules from now on."""
        self.rules = rules

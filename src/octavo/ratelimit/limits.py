"""The definitions of limits, as users write them, and the numbers that scripts are told."""

from __future__ import annotations

import math
import re
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Literal, TypedDict, get_args

from octavo.engine import calendars
from octavo.engine.checks import Seconds, flag, millis, number, whole
from octavo.ratelimit.guarantees import UNITS, Guarantee, most_in, span

if TYPE_CHECKING:
    from typing import Unpack

Algorithm = Literal["gcra", "fixed", "sliding", "segmented", "log"]
Carry = Literal["as_is", "proportional", "reset"]

_SEGMENTS = 12
_MOST_LIMIT = 2**40
_MOST_LISTED = 10_000
_MOST_SEGMENTED = 2**32 - 1
_MOST_DEBT = 2**52
_MOST_MS = 400 * 86_400_000

_SHORT = {
    "s": "second",
    "sec": "second",
    "m": "minute",
    "min": "minute",
    "h": "hour",
    "hr": "hour",
    "d": "day",
    "w": "week",
}
_RATE = re.compile(r"([0-9]+(?:_[0-9]+)*)\s*(?:/|\bper\b)\s*([0-9]*)\s*([a-z]+)", re.IGNORECASE)
_CALENDAR_ONLY = ("month", "year")
_NAME = re.compile(r"[ -~]{1,64}")


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Rule:
    """What a subject is held to: a `Limit`, a `Concurrency` or a `Quota`.

    Two are equal if they mean the same, however they are spelled.

    Attributes:
        name: its name, which no other one of the same limiter has.
        algorithm: "gcra", "fixed", "sliding", "segmented", "log", "quota" or "concurrency".
        limit: units per window; for a `Concurrency`, places.
        most: the largest cost that can ever pass.
        window: seconds; None for a `Concurrency`, and for a `Quota`, whose periods differ.
        shadow: whether it only reports.
        carry: what becomes of what was used when the numbers change under the same name.
    """

    _call: tuple[tuple[str, object], ...]
    _numbers: tuple[int, ...] = field(compare=False)
    name: str = field(compare=False)
    algorithm: str = field(compare=False)
    limit: int = field(compare=False)
    most: int = field(compare=False)
    window: float | None = field(compare=False)
    shadow: bool = field(compare=False)
    carry: Carry = field(compare=False)

    def numbers(self) -> tuple[int, ...]:
        """Return what the scripts are told of it."""
        return self._numbers

    def guarantee(self, window: Seconds | None = None) -> Guarantee:
        """Return the most that can pass in any window of a length.

        Args:
            window: seconds or a timedelta, rounded up to a millisecond; its own by default.
        """
        length = self._length() if window is None else millis("window", window)
        if self.shadow:
            return Guarantee(None, length / 1000, "no bound: it only reports")
        return self._promise(length)

    def _length(self) -> int:
        """Return the milliseconds of the window that is meant if none is named."""
        raise NotImplementedError

    def _promise(self, length: int) -> Guarantee:
        """Return what it promises for windows of so many milliseconds."""
        raise NotImplementedError

    def _define(self, *call: tuple[str, object, object], **facts: object) -> None:
        """Set what it is, once: by the arguments that make it and their defaults, and the facts."""
        told = tuple((name, value) for name, value, default in call if value != default)
        for name, value in {"_call": told, **facts}.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        (_, first), *options = self._call
        told = (repr(first), *(f"{name}={value!r}" for name, value in options))
        return f"{type(self).__name__}({', '.join(told)})"


class LimitOptions(TypedDict, total=False):
    """The options of a `Limit`."""

    burst: int | None
    algorithm: Algorithm
    name: str | None
    segments: int
    shadow: bool
    carry: Carry


class Limit(Rule):
    """So many units per window: `Limit("100/minute")`, `Limit("5 per 10 seconds", name="burst")`.

    Args:
        rate: units and a window of 1 ms to 400 days: "10/s", "100 per minute", "5/10 seconds".
            A limit of 0 lets nothing pass.
        burst: with "gcra", how many units can pass at once; by default as many as the limit.
        algorithm: "gcra", a bucket that refills evenly; "fixed", a window that starts with its
            first hit; "sliding", the same with the window before weighted in; "segmented", which
            never passes more than the limit in any window; "log", which does so to the
            microsecond, but stores a time per unit.
        name: printable ASCII, up to 64 characters; "per-minute", "per-10-seconds" by default.
        segments: with "segmented", 2 to 60: the more, the sooner units return.
        shadow: only report, never deny.
        carry: what becomes of what was used when the numbers change under the same name: "as_is",
            as many units stay used; "proportional", the same share; "reset", none.
    """

    __slots__ = ()

    def __init__(
        self,
        rate: str,
        *,
        burst: int | None = None,
        algorithm: Algorithm = "gcra",
        name: str | None = None,
        segments: int = _SEGMENTS,
        shadow: bool = False,
        carry: Carry = "as_is",
    ) -> None:
        limit, length = _rate(rate)
        _one_of("algorithm", algorithm, Algorithm)
        _one_of("carry", carry, Carry)
        if (algorithm, carry) == ("log", "proportional"):
            raise ValueError("carry must not be 'proportional' with algorithm 'log'")
        if algorithm != "segmented" and segments != _SEGMENTS:
            raise ValueError(f"segments is for algorithm 'segmented', not for {algorithm!r}")
        most = _burst(burst, limit, algorithm)
        per = "per-" + span(length).replace(" ", "-")
        name = per if name is None else _name(name)
        rate = f"{limit}/{span(length)}"
        self._define(
            ("rate", rate, None),
            ("burst", most, limit),
            ("algorithm", algorithm, "gcra"),
            ("name", name, per),
            ("segments", whole("segments", segments, 2, 60), _SEGMENTS),
            ("shadow", flag("shadow", shadow), False),
            ("carry", carry, "as_is"),
            _numbers=_told(algorithm, rate, length * 1000, limit, most, segments),
            name=name,
            algorithm=algorithm,
            limit=limit,
            most=most,
            window=length / 1000,
            shadow=shadow,
            carry=carry,
        )

    @classmethod
    def per(cls, limit: int, window: Seconds, **options: Unpack[LimitOptions]) -> Limit:
        """Return the limit of so many units per window.

        Args:
            limit: how many units.
            window: seconds or a timedelta, rounded up to a millisecond.
            options: as for `Limit`.
        """
        most = whole("limit", limit, 0, _MOST_LIMIT)
        return cls(f"{most}/{_window('window', window)} ms", **options)

    def _length(self) -> int:
        return round((self.window or 0) * 1000)

    def _promise(self, length: int) -> Guarantee:
        most = most_in(self.algorithm, self._numbers, length * 1000)
        return Guarantee(most, length / 1000, f"at most {most:,} in any {span(length)}")


class Concurrency(Rule):
    """So many at once: `Concurrency(5)` of which each takes a place until it is released.

    Args:
        limit: how many places.
        lease: seconds or a timedelta after which a place ends that was not released or renewed.
        name: printable ASCII, up to 64 characters.
        shadow: only report, never deny.
    """

    __slots__ = ()

    def __init__(
        self,
        limit: int,
        *,
        lease: Seconds = 30,
        name: str = "concurrency",
        shadow: bool = False,
    ) -> None:
        places = whole("limit", limit, 0, _MOST_LISTED)
        length = _window("lease", lease)
        self._define(
            ("limit", places, None),
            ("lease", length / 1000, 30.0),
            ("name", _name(name), "concurrency"),
            ("shadow", flag("shadow", shadow), False),
            _numbers=(places, length * 1000),
            name=name,
            algorithm="concurrency",
            limit=places,
            most=places,
            window=None,
            shadow=shadow,
            carry="as_is",
        )

    def _length(self) -> int:
        return self._numbers[1] // 1000

    def _promise(self, length: int) -> Guarantee:
        lease = span(self._length())
        words = f"at most {self.limit:,} at once, if each ends or is renewed within the {lease}"
        return Guarantee(None, length / 1000, f"{words} of its lease")


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Quota(Rule):
    """So many units per period of a calendar: `Quota("10000/month", tz="Europe/Paris")`.

    Args:
        rate: units and one "hour", "day", "week" (from Monday), "month" or "year".
        tz: the IANA name of the zone whose calendar counts.
        name: printable ASCII, up to 64 characters; "per-month" by default.
        shadow: only report, never deny.
        carry: as for a `Limit`.

    Attributes:
        unit: the kind of period.
        tz: the name of the zone.
    """

    unit: calendars.Unit = field(compare=False)
    tz: str = field(compare=False)

    def __init__(
        self,
        rate: str,
        *,
        tz: str = "UTC",
        name: str | None = None,
        shadow: bool = False,
        carry: Carry = "as_is",
    ) -> None:
        limit, unit = _quota(rate)
        calendars.zone_of("tz", tz)
        _one_of("carry", carry, Carry)
        per = f"per-{unit}"
        name = per if name is None else _name(name)
        self._define(
            ("rate", f"{limit}/{unit}", None),
            ("tz", tz, "UTC"),
            ("name", name, per),
            ("shadow", flag("shadow", shadow), False),
            ("carry", carry, "as_is"),
            _numbers=(limit,),
            name=name,
            algorithm="quota",
            limit=limit,
            most=limit,
            window=None,
            shadow=shadow,
            carry=carry,
            unit=unit,
            tz=tz,
        )

    def periods(self, now_us: int) -> calendars.Periods:
        """Return when the period of a time starts and ends, and when the next one ends.

        Args:
            now_us: a time, in microseconds since 1970 as all that is returned.
        """
        return calendars.periods(self.unit, calendars.zone_of("tz", self.tz), now_us)

    def _length(self) -> int:
        return calendars.shortest(self.unit, calendars.zone_of("tz", self.tz)) * 1000

    def _promise(self, length: int) -> Guarantee:
        most = most_in(self.algorithm, (self.limit, self._length() * 1000), length * 1000)
        return Guarantee(
            most,
            length / 1000,
            f"at most {self.limit:,} in each {self.unit} of {self.tz},"
            f" {most:,} in any window of {span(length, 'one ')}",
        )


@dataclass(frozen=True, slots=True)
class Ban:
    """How long a subject is kept out that goes on after it was denied.

    The k-th ban in a row lasts `lasts * growth ** (k - 1)` seconds, but at most `longest`.

    Attributes:
        after: how many denials lead to a ban.
        within: seconds or a timedelta within which they count.
        lasts: seconds or a timedelta that the first ban lasts.
        growth: by how much each ban is longer than the one before it.
        longest: seconds or a timedelta that no ban exceeds.
        forget: seconds or a timedelta after the end of the last ban when all are forgotten.
    """

    after: int
    within: Seconds
    lasts: Seconds
    _: KW_ONLY
    growth: float = 1.0
    longest: Seconds = 86_400
    forget: Seconds = 86_400

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        whole("after", self.after, 1, _MOST_LISTED)
        _window("within", self.within)
        lasts = _window("lasts", self.lasts)
        if number("growth", self.growth) < 1:
            raise ValueError(f"growth must be at least 1, not {self.growth!r}")
        if _window("longest", self.longest) < lasts:
            raise ValueError(f"longest must be at least lasts, not {self.longest!r}")
        _window("forget", self.forget, 0)

    def numbers(self) -> tuple[float, ...]:
        """Return what the scripts are told: after, within, lasts, growth, longest and forget.

        All times are whole microseconds.
        """
        within, lasts, longest, forget = (
            _window(name, getattr(self, name), 0) * 1000
            for name in ("within", "lasts", "longest", "forget")
        )
        return self.after, within, lasts, float(self.growth), longest, forget


def _rate(rate: object) -> tuple[int, int]:
    limit, count, unit = _parts(rate)
    if unit in _CALENDAR_ONLY:
        raise ValueError(
            f"rate must not be per {unit}, which a Quota counts, not {rate!r}; days have one length"
        )
    if unit not in UNITS:
        raise ValueError(f"rate must be per {', '.join(reversed(UNITS))}, not {rate!r}")
    length = count * UNITS[unit]
    if not 1 <= length <= _MOST_MS:
        raise ValueError(f"rate must have a window of 1 ms to 400 days, not {rate!r}")
    return limit, length


def _quota(rate: object) -> tuple[int, calendars.Unit]:
    limit, count, unit = _parts(rate)
    for known in get_args(calendars.Unit):
        if (count, unit) == (1, known):
            return limit, known
    raise ValueError(f"rate must be per {', '.join(get_args(calendars.Unit))}, not {rate!r}")


def _parts(rate: object) -> tuple[int, int, str]:
    if not isinstance(rate, str):
        raise TypeError(f"rate must be a str such as '100/minute', not {rate!r}")
    found = _RATE.fullmatch(rate.strip())
    if found is None:
        several = ", of which each is a limit of its own" if len(_RATE.findall(rate)) > 1 else ""
        raise ValueError(f"rate must be one such as '100/minute'{several}, not {rate!r}")
    limit, count, unit = found.groups()
    unit = unit.lower()
    unit = unit if unit in {"s", "ms"} else unit.removesuffix("s")
    if int(limit) > _MOST_LIMIT:
        raise ValueError(f"rate must be at most {_MOST_LIMIT:,} units, not {rate!r}")
    return int(limit), int(count or 1), _SHORT.get(unit, unit)


def _window(parameter: str, value: object, least: int = 1) -> int:
    length = millis(parameter, value, least=least)
    if length > _MOST_MS:
        raise ValueError(f"{parameter} must be at most 400 days, not {value!r}")
    return length


def _burst(burst: object, limit: int, algorithm: Algorithm) -> int:
    if burst is None:
        return limit
    if algorithm != "gcra":
        raise ValueError(f"burst is for algorithm 'gcra', not for {algorithm!r}")
    return whole("burst", burst, min(limit, 1), _MOST_LIMIT if limit else 0)


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {name!r}")
    if not _NAME.fullmatch(name):
        raise ValueError(f"name must be 1 to 64 printable ASCII characters, not {name!r}")
    return name


def _one_of(parameter: str, value: object, choices: object) -> None:
    if value not in get_args(choices):
        raise ValueError(f"{parameter} must be one of {get_args(choices)}, not {value!r}")


def _told(  # noqa: PLR0917 - private
    algorithm: Algorithm, rate: str, window: int, limit: int, most: int, segments: int
) -> tuple[int, ...]:
    if algorithm == "gcra":
        return _bucket(rate, window, limit, most)
    if algorithm == "sliding":
        tick = max(1, -(-4 * limit * window // 2**53))
        return limit, tick, -(-window // tick)
    if algorithm == "segmented":
        _at_most(limit, _MOST_SEGMENTED, rate, "'sliding'")
        return limit, -(-window // segments), segments
    if algorithm == "log":
        _at_most(limit, _MOST_LISTED, rate, "'segmented'")
    return limit, window


def _bucket(rate: str, window: int, limit: int, burst: int) -> tuple[int, int, int]:
    if not limit:
        return 0, 1, 0
    common = math.gcd(limit, window)
    token = window // common
    if burst * token > _MOST_DEBT:
        raise ValueError(
            f"burst must be at most {_MOST_DEBT // token:,} for exact counts of {rate!r}, not"
            f" {burst!r}; a rounder limit allows more"
        )
    return limit // common, token, burst * token


def _at_most(limit: int, most: int, rate: str, other: str) -> None:
    if limit > most:
        raise ValueError(
            f"rate must be at most {most:,} units, not {rate!r}; algorithm {other} takes more"
        )

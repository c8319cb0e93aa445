"""The periods of a true calendar in a time zone, as absolute times."""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Unit = Literal["hour", "day", "week", "month", "year"]
Periods = tuple[int, int, int]

_HOUR = 3600
_LONGEST_SHIFT = 3 * _HOUR
_SHORTEST = {"hour": 1, "day": 24, "week": 7 * 24, "month": 28 * 24, "year": 365 * 24}
_latest: dict[tuple[Unit, ZoneInfo], Periods] = {}


def zone_of(parameter: str, name: str) -> ZoneInfo:
    """Return the zone of an IANA name, or refuse it."""
    if not isinstance(name, str):
        raise TypeError(f"{parameter} must be the name of a time zone, not {name!r}")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"{parameter} must be a time zone known here, such as 'Europe/Paris', not {name!r}"
            " (the package tzdata brings the zones where the system has none)"
        ) from None


def periods(unit: Unit, zone: ZoneInfo, now_us: int) -> Periods:
    """Return when the period of a time starts and ends, and when the next one ends.

    Each period starts when the one before it ends: days have 23 to 25 hours where clocks are
    changed, and a period of which the zone skips all does not occur. A period starts when its
    first wall-clock time, or the first one after it that exists, is reached for the first time.
    Hours have 60 minutes, but one grows where clocks shift by a part of an hour.

    Args:
        unit: what kind of period; weeks start on Monday.
        zone: where.
        now_us: a time, in microseconds since 1970 as all that is returned.
    """
    found = _latest.get((unit, zone))
    if found is not None and found[0] <= now_us < found[1]:
        return found
    period = _hour if unit == "hour" else _dated
    start, end = period(unit, zone, now_us // 1_000_000)
    found = start * 1_000_000, end * 1_000_000, period(unit, zone, end)[1] * 1_000_000
    _latest[unit, zone] = found
    return found


def shortest(unit: Unit, zone: ZoneInfo) -> int:
    """Return the least seconds that a period lasts, if no clock is put forward by over 3 hours."""
    moved = unit != "hour" and zone.utcoffset(None) is None
    return _SHORTEST[unit] * _HOUR - moved * _LONGEST_SHIFT


def _dated(unit: Unit, zone: ZoneInfo, at: int) -> tuple[int, int]:
    first = _first_day(unit, datetime.fromtimestamp(at, zone).date())
    start, end = _midnight(zone, first), _midnight(zone, after := _next_day(unit, first))
    while end <= at:  # put back across midnight, the clock shows the day before once more
        start, end = end, _midnight(zone, after := _next_day(unit, after))
    return start, end


def _first_day(unit: Unit, day: date) -> date:
    if unit == "week":
        return day - timedelta(days=day.weekday())
    if unit == "month":
        return day.replace(day=1)
    return day.replace(month=1, day=1) if unit == "year" else day


def _next_day(unit: Unit, first: date) -> date:
    longest = {"day": 1, "week": 7, "month": 31, "year": 366}[unit]
    return _first_day(unit, first + timedelta(days=longest))


def _midnight(zone: ZoneInfo, day: date) -> int:
    before, after = (
        int(datetime.combine(day, time(fold=fold), zone).timestamp()) for fold in (0, 1)
    )
    # Of a time that is skipped, fold=0 is the later reading, and the shift lies between the two.
    return before if before <= after else _shift(zone, after, before)


def _hour(_: Unit, zone: ZoneInfo, at: int) -> tuple[int, int]:
    start = _on_the_hour(zone, at)
    before = at - 2 * _HOUR
    if (_offset(zone, before) - _offset(zone, at)) % _HOUR:
        last = _on_the_hour(zone, _shift(zone, before, at) - 1)
        if at < _end_of_hour(zone, last):
            start = last
    return start, _end_of_hour(zone, start)


def _on_the_hour(zone: ZoneInfo, at: int) -> int:
    return at - (at + _offset(zone, at)) % _HOUR


def _end_of_hour(zone: ZoneInfo, start: int) -> int:
    end = start + _HOUR
    return end + -(end + _offset(zone, end)) % _HOUR


def _shift(zone: ZoneInfo, low: int, high: int) -> int:
    old = _offset(zone, low)
    return low + bisect_left(range(low, high), 1, key=lambda at: _offset(zone, at) != old)


def _offset(zone: ZoneInfo, at: int) -> int:
    offset = datetime.fromtimestamp(at, UTC).astimezone(zone).utcoffset()
    return int((offset or timedelta()).total_seconds())

"""When the periods of a calendar start and end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, get_args
from zoneinfo import ZoneInfo, available_timezones

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from octavo.engine import calendars
from octavo.engine.calendars import Periods, Unit, periods, shortest, zone_of

US = 1_000_000
HOUR = 3600 * US
UNITS: tuple[Unit, ...] = get_args(Unit)

SHIFTS = [
    ("Europe/Paris", "2026-03-29T01:00+00:00"),
    ("Europe/Paris", "2026-10-25T01:00+00:00"),
    ("America/Sao_Paulo", "2018-11-04T03:00+00:00"),  # from 00:00 to 01:00
    ("America/Sao_Paulo", "2018-02-18T02:00+00:00"),  # from 24:00 back to 23:00
    ("Asia/Beirut", "2022-03-26T22:00+00:00"),  # from 00:00 to 01:00
    ("America/Havana", "2026-11-01T05:00+00:00"),  # from 01:00 back to 00:00
    ("America/St_Johns", "2010-11-07T02:31+00:00"),  # from 00:01 back to 23:01
    ("America/Toronto", "1919-03-31T04:30+00:00"),  # from 23:30 to 00:30
    ("Australia/Lord_Howe", "2026-04-04T15:00+00:00"),  # by half an hour
    ("Australia/Lord_Howe", "2026-10-03T15:30+00:00"),
    ("Asia/Kathmandu", "1985-12-31T18:30+00:00"),  # by a quarter of an hour
    ("Asia/Pyongyang", "2018-05-04T15:00+00:00"),  # from 23:30 to 00:00
    ("America/Caracas", "2016-05-01T07:00+00:00"),  # from 02:30 to 03:00
    ("Pacific/Kiritimati", "1994-12-31T10:40+00:00"),  # by 24 hours and 40 minutes
    ("Pacific/Apia", "2011-12-30T10:00+00:00"),  # by a day
    ("Antarctica/Casey", "2009-10-17T18:00+00:00"),  # by three hours
    ("Antarctica/Vostok", "1994-01-31T17:00+00:00"),  # by seven hours, back
]


def at(text: str, tz: str = "UTC") -> int:
    found = datetime.fromisoformat(text)
    return round((found if found.tzinfo else found.replace(tzinfo=ZoneInfo(tz))).timestamp()) * US


def anywhere_since(day: str) -> st.SearchStrategy[tuple[str, int]]:
    zones = st.sampled_from(sorted(available_timezones()))
    return st.tuples(zones, st.integers(at(day), at("2100-01-01")))


near_a_shift = st.builds(
    lambda shift, later: (shift[0], at(shift[1]) + later),
    st.sampled_from(SHIFTS),
    st.integers(-30, 30).map(lambda hours: hours * HOUR) | st.integers(-30 * HOUR, 30 * HOUR),
)
moments = near_a_shift | anywhere_since("1970-01-02")
units = st.sampled_from(UNITS)


@pytest.fixture(autouse=True)
def nothing_found_before() -> None:
    calendars._latest.clear()


def walk(unit: Unit, tz: str, start: int, count: int) -> list[int]:
    """Return where periods meet, from the start of the one of a time."""
    zone = ZoneInfo(tz)
    edges = list(periods(unit, zone, start)[:2])
    while len(edges) <= count:
        edges.append(periods(unit, zone, edges[-1])[1])
    return edges


def hours(edges: list[int]) -> list[float]:
    return [(end - start) / HOUR for start, end in pairwise(edges)]


@pytest.mark.parametrize(
    ("unit", "tz", "now", "edges"),
    [
        ("hour", "UTC", "2026-05-05T10:59", "2026-05-05T10 2026-05-05T11 2026-05-05T12"),
        ("hour", "Asia/Kathmandu", "2026-05-05T10", "2026-05-05T10 2026-05-05T11 2026-05-05T12"),
        ("day", "UTC", "2026-05-05", "2026-05-05 2026-05-06 2026-05-07"),
        ("week", "UTC", "2026-05-03T23:59", "2026-04-27 2026-05-04 2026-05-11"),
        ("week", "UTC", "2026-05-04", "2026-05-04 2026-05-11 2026-05-18"),
        ("month", "UTC", "2024-01-31T12", "2024-01-01 2024-02-01 2024-03-01"),
        ("month", "UTC", "2026-11-01", "2026-11-01 2026-12-01 2027-01-01"),
        ("month", "Asia/Tokyo", "2026-05-01", "2026-05-01 2026-06-01 2026-07-01"),
        ("year", "UTC", "2027-12-31T23", "2027-01-01 2028-01-01 2029-01-01"),
        ("year", "America/New_York", "2026-07-01", "2026-01-01 2027-01-01 2028-01-01"),
    ],
)
def test_a_period_is_the_one_of_the_zones_calendar(
    unit: Unit, tz: str, now: str, edges: str
) -> None:
    found = periods(unit, ZoneInfo(tz), at(now, tz))
    assert found == tuple(at(edge, tz) for edge in edges.split())


@pytest.mark.parametrize(
    ("tz", "day", "lengths"),
    [
        ("Europe/Paris", "2026-03-28", [24, 23, 24]),
        ("Europe/Paris", "2026-10-24", [24, 25, 24]),
        ("Australia/Lord_Howe", "2026-04-04", [24, 24.5, 24]),
        ("Australia/Lord_Howe", "2026-10-03", [24, 23.5, 24]),
        ("America/Sao_Paulo", "2018-11-03", [24, 23, 24]),  # from 00:00 to 01:00
        ("America/Sao_Paulo", "2018-02-17", [25, 24, 24]),  # from 24:00 back to 23:00
        ("Asia/Beirut", "2022-03-26", [24, 23, 24]),  # from 00:00 to 01:00
        ("America/Havana", "2026-10-31", [24, 25, 24]),  # from 01:00 back to 00:00
        ("America/St_Johns", "2010-11-05", [24, 24, 25]),  # from 00:01 back to 23:01
        ("America/Toronto", "1919-03-29", [24, 23.5, 23.5]),  # from 23:30 to 00:30
        ("Pacific/Apia", "2011-12-28", [24, 24, 24]),  # without a 30th
        ("Antarctica/Casey", "2009-10-17", [24, 21, 24]),
    ],
)
def test_days_are_as_long_as_the_clocks_make_them(tz: str, day: str, lengths: list[float]) -> None:
    assert hours(walk("day", tz, at(day + "T12:00", tz), 3)) == lengths


def test_a_day_that_the_zone_skips_does_not_occur() -> None:
    _, end, next_end = periods("day", ZoneInfo("Pacific/Apia"), at("2011-12-29T12", "Pacific/Apia"))
    assert end == at("2011-12-31", "Pacific/Apia")
    assert next_end == at("2012-01-01", "Pacific/Apia")


def test_a_day_without_midnight_starts_when_the_clocks_have_been_put_forward() -> None:
    found = periods("day", ZoneInfo("America/Sao_Paulo"), at("2018-11-04T12-02:00"))
    assert found[0] == at("2018-11-04T01:00-02:00")


def test_a_day_whose_midnight_comes_twice_starts_at_the_first() -> None:
    found = periods("day", ZoneInfo("America/Havana"), at("2026-11-01T12-05:00"))
    assert found[0] == at("2026-11-01T00:00-04:00")


def test_a_day_that_was_left_and_entered_again_goes_on() -> None:
    zone = ZoneInfo("America/St_Johns")
    found = periods("day", zone, at("2010-11-07T00:00:30-02:30"))
    assert found == periods("day", zone, at("2010-11-06T23:30-03:30"))
    assert found[0] == at("2010-11-07T00:00-02:30")


@pytest.mark.parametrize(
    ("tz", "now", "lengths"),
    [
        ("Europe/Paris", "2026-03-29T00:30+00:00", [1, 1, 1]),
        ("Europe/Paris", "2026-10-25T00:30+00:00", [1, 1, 1]),
        ("Australia/Lord_Howe", "2026-04-04T14:30+00:00", [1.5, 1, 1]),
        ("Australia/Lord_Howe", "2026-04-04T15:10+00:00", [1.5, 1, 1]),
        ("Australia/Lord_Howe", "2026-10-03T15:00+00:00", [1.5, 1, 1]),
        ("Asia/Kathmandu", "1985-12-31T18:00+00:00", [1.75, 1, 1]),
        ("Asia/Pyongyang", "2018-05-04T14:00+00:00", [1, 1.5, 1]),
        ("America/Caracas", "2016-05-01T07:10+00:00", [1.5, 1, 1]),
    ],
)
def test_hours_are_true_hours_but_for_one_where_clocks_shift_by_less(
    tz: str, now: str, lengths: list[float]
) -> None:
    assert hours(walk("hour", tz, at(now), 3)) == lengths


@given(moments, units, st.integers(0, 40 * 24 * HOUR))
@settings(deadline=None, max_examples=300)
def test_every_time_is_in_one_period_and_the_next_one_follows(
    moment: tuple[str, int], unit: Unit, later: int
) -> None:
    (tz, now), afresh = moment, found_afresh
    start, end, next_end = found = afresh(unit, tz, now)
    assert start <= now < end < next_end
    assert afresh(unit, tz, start) == afresh(unit, tz, end - 1) == found
    assert afresh(unit, tz, end)[:2] == (end, next_end)
    assert afresh(unit, tz, start - 1)[1] == start
    assert afresh(unit, tz, now + later) >= found
    assert unit != "hour" or HOUR <= end - start < 2 * HOUR


@given(moments, units)
@settings(deadline=None, max_examples=200)
def test_what_was_found_before_changes_nothing(moment: tuple[str, int], unit: Unit) -> None:
    tz, now = moment
    expected = found_afresh(unit, tz, now)
    for other in (now - 24 * HOUR, now + HOUR, expected[1], expected[1] - 1, expected[0], now):
        periods(unit, ZoneInfo(tz), other)
        assert periods(unit, ZoneInfo(tz), now) == expected


@given(moments, units.filter(lambda unit: unit != "hour"))
@settings(deadline=None, max_examples=200)
def test_a_period_starts_when_its_first_day_is_reached_for_the_first_time(
    moment: tuple[str, int], unit: Unit
) -> None:
    tz, now = moment
    start, end, _ = found_afresh(unit, tz, now)
    first = label(unit, tz, start)
    assert all(label(unit, tz, start - ago) < first for ago in range(1, 40 * HOUR, HOUR // 4))
    assert all(label(unit, tz, end - ago) <= first for ago in range(1, 40 * HOUR, HOUR // 4))
    assert first < label(unit, tz, end)


def found_afresh(unit: Unit, tz: str, now: int) -> Periods:
    calendars._latest.clear()
    return periods(unit, ZoneInfo(tz), now)


def label(unit: str, tz: str, now: int) -> Any:
    day = datetime.fromtimestamp(now // US, ZoneInfo(tz)).date()
    week = day - timedelta(days=day.weekday())
    return {"day": day, "week": week, "month": (day.year, day.month), "year": day.year}[unit]


@given(anywhere_since("2012-01-01T00:00:01"), units)
@settings(deadline=None, max_examples=200)
def test_no_period_is_shorter_than_the_shortest(moment: tuple[str, int], unit: Unit) -> None:
    tz, now = moment
    start, end, next_end = found_afresh(unit, tz, now)
    assert min(end - start, next_end - end) >= shortest(unit, ZoneInfo(tz)) * US


def test_the_shortest_period_of_a_zone_without_shifts_is_not_shortened() -> None:
    found = [shortest(unit, ZoneInfo("UTC")) // 3600 for unit in UNITS]
    assert found == [1, 24, 168, 672, 8760]
    assert shortest("day", ZoneInfo("Europe/Paris")) == 21 * 3600


def test_while_a_period_lasts_it_is_not_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    zone = ZoneInfo("Europe/Paris")
    found = periods("month", zone, at("2026-05-05"))
    monkeypatch.setattr(calendars, "_dated", None)
    assert periods("month", zone, found[0]) is found
    assert periods("month", zone, found[1] - 1) is found
    with pytest.raises(TypeError):
        periods("month", zone, found[1])


@pytest.mark.parametrize("tz", ["Mars/Olympus", "", "America", "../etc/passwd", "/etc", "UTC\0"])
def test_an_unknown_zone_is_refused_with_a_hint(tz: str) -> None:
    with pytest.raises(ValueError, match=r"zone must be .*tzdata") as refused:
        zone_of("zone", tz)
    assert repr(tz) in str(refused.value)


@pytest.mark.parametrize("tz", [None, 1, UTC], ids=repr)
def test_a_zone_is_named_by_a_text(tz: Any) -> None:
    with pytest.raises(TypeError, match="zone must be"):
        zone_of("zone", tz)

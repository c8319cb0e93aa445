"""The replay: flights become writes to three live leaderboards, in order of simulated time."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from datetime import timedelta
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import octavo
from octavo.leaderboards import Events, Period

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from octavo.demo.flights import Flight
    from octavo.leaderboards import Entry, Event, Leaderboard

__all__ = ["BEST", "PERIODS", "Boards", "Minute", "Replay", "Standings", "by_minute", "moments"]

ON_TIME = 15
"""The most minutes late that count as on time, as the airlines' statistics have it."""

MINIMUM = 30
"""The flights a carrier must have landed before it is ranked."""

BEST = 3
"""The places of the day that the board of routes tells of."""

PERIODS = (
    Period("hour", zone="America/New_York", keep=math.inf),
    Period("day", zone="America/New_York", keep=math.inf),
    Period("week", zone="America/New_York", keep=math.inf),
)
"""The periods of the board of routes. Kept for good, as those of 2013 ended long ago."""

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)

Face = TypeVar("Face", octavo.Sync, octavo.Async, octavo.Batch)


class Boards(Generic[Face]):
    """The leaderboards of the demo, on a connection or in a batch.

    Attributes:
        routes: departures, by pair of airports; of all time and of each hour, day and week.
        carriers: the share of arrivals on time, then the number of arrivals, by carrier.
        aircraft: minutes of departure delay, by tail number.
    """

    def __init__(self, db: octavo.Octavo[Face]) -> None:
        self.routes: Leaderboard[Face] = db.leaderboard(
            "routes", keep="sum", periods=PERIODS, events=Events(top=BEST, of="day")
        )
        self.carriers: Leaderboard[Face] = db.leaderboard(
            "carriers", order=("desc", "desc"), keep="last"
        )
        self.aircraft: Leaderboard[Face] = db.leaderboard("aircraft", keep="sum")


class Minute(NamedTuple):
    """What happens in one simulated minute."""

    start: datetime
    departures: list[Flight]
    arrivals: list[Flight]


class Standings(NamedTuple):
    """The first rows of each board, as they stood at one moment.

    Attributes:
        routes: of the board of that name.
        carriers: of the board of that name.
        aircraft: of the board of that name.
        hour: of the routes in the hour of that moment.
        day: of the routes on its day.
        week: of the routes in its week.
    """

    routes: list[Entry]
    carriers: list[Entry]
    aircraft: list[Entry]
    hour: list[Entry]
    day: list[Entry]
    week: list[Entry]


class Replay:
    """Flights on their way to the boards.

    Attributes:
        first: the moment of the first departure.
        last: the moment of the last event.
        departures: flights that have left so far.
        arrivals: flights that have arrived so far.
        round_trips: round trips so far, on one server.
    """

    def __init__(self, db: octavo.Octavo[octavo.Sync], flights: Iterable[Flight]) -> None:
        self._db = db
        self._minutes = deque(by_minute(flights))
        self._landed = Counter[str]()
        self._on_time = Counter[str]()
        self._told = "0-0"
        self.first = self._now = self._minutes[0].start
        self.last = self._minutes[-1].start
        self.departures = self.arrivals = self.round_trips = 0

    def clear(self) -> None:
        """Empty the boards of an earlier replay, in the periods of this one as well."""
        hours = (self.first, *moments(self.first, self.last, _HOUR, math.inf))
        with self._db.batch() as batch:
            boards = Boards(batch)
            for moment in hours:
                for period in PERIODS:
                    boards.routes.period(period, at=moment).clear()
            boards.routes.clear()
            boards.carriers.clear()
            boards.aircraft.clear()
        self.round_trips += 1

    def advance(self, moment: datetime) -> None:
        """Play what has happened up to this moment, an hour at most in each round trip."""
        while self._minutes and self._minutes[0].start <= moment:
            until = min(self._minutes[0].start + _HOUR, moment)
            written = False
            with self._db.batch() as batch:
                boards = Boards(batch)
                while self._minutes and self._minutes[0].start <= until:
                    written |= self._play(self._minutes.popleft(), boards)
            # What writes nothing sends nothing.
            self.round_trips += written
        self._now = moment

    def _play(self, minute: Minute, boards: Boards[octavo.Batch]) -> bool:
        """Write what happens in a minute; return whether anything is to be written."""
        for flight in minute.departures:
            boards.routes.increment(flight.route, at=minute.start)
            if flight.tail and flight.departure_delay and flight.departure_delay > 0:
                boards.aircraft.increment(flight.tail, flight.departure_delay)
        ranked = [carrier for carrier in self._land(minute) if self._landed[carrier] >= MINIMUM]
        for carrier in ranked:
            landed = self._landed[carrier]
            boards.carriers.submit(carrier, (self._on_time[carrier] / landed, landed))
        self.departures += len(minute.departures)
        self.arrivals += len(minute.arrivals)
        return bool(minute.departures or ranked)

    def _land(self, minute: Minute) -> list[str]:
        """Count the arrivals and return their carriers, each once."""
        for flight in minute.arrivals:
            self._landed[flight.carrier] += 1
            self._on_time[flight.carrier] += (flight.arrival_delay or 0) <= ON_TIME
        return list(dict.fromkeys(flight.carrier for flight in minute.arrivals))

    def look(self, rows: int) -> tuple[Standings, list[Event]]:
        """Read the first rows of all boards, and what is new on the day's, in one round trip.

        At a full hour the periods are those that end with it.
        """
        now = self._now - _MINUTE
        with self._db.batch() as batch:
            boards = Boards(batch)
            tables = (
                boards.routes,
                boards.carriers,
                boards.aircraft,
                *(boards.routes.period(period, at=now) for period in PERIODS),
            )
            tops = [table.top(rows) for table in tables]
            news = boards.routes.events().read(self._told)
        self.round_trips += 1
        events = news.result()
        self._told = events[-1].id if events else self._told
        return Standings(*(top.result() for top in tops)), events


def by_minute(flights: Iterable[Flight]) -> list[Minute]:
    """Return what happens to these flights in order of time, without the empty minutes."""
    minutes: dict[datetime, Minute] = {}

    def at(start: datetime) -> Minute:
        return minutes.setdefault(start, Minute(start, [], []))

    for flight in flights:
        if flight.departed is not None:
            at(flight.departed).departures.append(flight)
        if flight.arrived is not None:
            at(flight.arrived).arrivals.append(flight)
    return [minutes[start] for start in sorted(minutes)]


def moments(first: datetime, last: datetime, step: timedelta, speed: float) -> Iterator[datetime]:
    """Yield simulated time in steps, each when it is due.

    It begins a step after the hour of `first` and ends with `last`.

    Args:
        first: the earliest moment of interest.
        last: the last moment, however short its step is.
        step: simulated time between two moments.
        speed: simulated seconds in a real one; infinity never waits.
    """
    began = time.monotonic()
    origin = moment = first.replace(minute=0, second=0, microsecond=0)
    while moment < last:
        moment = min(moment + step, last)
        due = began + (moment - origin).total_seconds() / speed
        time.sleep(max(0.0, due - time.monotonic()))
        yield moment

"""The replay: flights become writes to three live leaderboards, a simulated minute at a time."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import octavo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime, timedelta

    from octavo.demo.flights import Flight
    from octavo.leaderboards import Entry, Leaderboard

__all__ = ["Boards", "Minute", "Replay", "Standings", "by_minute", "moments"]

ON_TIME = 15
"""The most minutes late that count as on time, as the airlines' statistics have it."""

MINIMUM = 30
"""The flights a carrier must have landed before it is ranked."""

Face = TypeVar("Face", octavo.Sync, octavo.Async, octavo.Batch)


class Boards(Generic[Face]):
    """The leaderboards of the demo, on a connection or in a batch.

    Attributes:
        routes: departures, by pair of airports.
        carriers: the share of arrivals on time, then the number of arrivals, by carrier.
        aircraft: minutes of departure delay, by tail number.
    """

    def __init__(self, db: octavo.Octavo[Face]) -> None:
        self.routes: Leaderboard[Face] = db.leaderboard("routes", keep="sum")
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
    """The first rows of each board, as they stood at one moment."""

    routes: list[Entry]
    carriers: list[Entry]
    aircraft: list[Entry]


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
        self.first = self._minutes[0].start
        self.last = self._minutes[-1].start
        self.departures = self.arrivals = self.round_trips = 0

    def clear(self) -> None:
        """Empty the boards of an earlier replay."""
        with self._db.batch() as batch:
            boards = Boards(batch)
            boards.routes.clear()
            boards.carriers.clear()
            boards.aircraft.clear()
        self.round_trips += 1

    def advance(self, moment: datetime) -> None:
        """Play what has happened up to this moment, a minute in each round trip."""
        while self._minutes and self._minutes[0].start <= moment:
            self._play(self._minutes.popleft())

    def _play(self, minute: Minute) -> None:
        ranked = [carrier for carrier in self._land(minute) if self._landed[carrier] >= MINIMUM]
        with self._db.batch() as batch:
            boards = Boards(batch)
            for flight in minute.departures:
                boards.routes.increment(flight.route)
                if flight.tail and flight.departure_delay and flight.departure_delay > 0:
                    boards.aircraft.increment(flight.tail, flight.departure_delay)
            for carrier in ranked:
                landed = self._landed[carrier]
                boards.carriers.submit(carrier, (self._on_time[carrier] / landed, landed))
        self.departures += len(minute.departures)
        self.arrivals += len(minute.arrivals)
        # A minute that writes nothing sends nothing.
        self.round_trips += bool(minute.departures or ranked)

    def _land(self, minute: Minute) -> list[str]:
        """Count the arrivals and return their carriers, each once."""
        for flight in minute.arrivals:
            self._landed[flight.carrier] += 1
            self._on_time[flight.carrier] += (flight.arrival_delay or 0) <= ON_TIME
        return list(dict.fromkeys(flight.carrier for flight in minute.arrivals))

    def standings(self, rows: int) -> Standings:
        """Read the first rows of all boards in one round trip."""
        with self._db.batch() as batch:
            boards = Boards(batch)
            tops = [board.top(rows) for board in (boards.routes, boards.carriers, boards.aircraft)]
        self.round_trips += 1
        return Standings(*(top.result() for top in tops))


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

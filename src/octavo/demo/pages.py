"""The airport pages: costly to make, so they are cached until a flight leaves for the airport."""

from __future__ import annotations

import random
from collections import Counter, deque
from datetime import timedelta
from heapq import nlargest
from itertools import islice
from operator import attrgetter, itemgetter
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from octavo import Local
from octavo.cache import current_fill
from octavo.demo.flights import Airport, Flight, load_airports
from octavo.demo.replay import ON_TIME, Boards

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date, datetime

    import octavo

__all__ = ["AirportPage", "AirportPages", "Usage"]

_LISTED = 3
_BOARDING = 2
_PASSENGERS = 50
_SAMPLES = 1000
_SEED = 2013


class AirportPage(msgspec.Struct, frozen=True):
    """What the people who fly from New York to an airport want to know.

    Attributes:
        airport: where they go.
        today: the flights that have left for it on the page's day.
        departed: those that have left for it on all days.
        on_time: how many of them left on time.
        last: the latest of them, the last one first.
        next: the flights that leave next by the timetable.
        ranks: of its routes, on the board of the busiest routes.
    """

    airport: Airport
    today: int
    departed: int
    on_time: int
    last: list[Flight]
    next: list[Flight]
    ranks: dict[str, float]


class Usage(NamedTuple):
    """What the pages' cache has done.

    Attributes:
        local: requests answered from the tier in the process.
        server: requests answered by the server.
        stale: requests answered with a page past its time, which was then made anew.
        missed: requests that had to wait for the page to be made.
        made: pages made.
        hit_time: the median of the last requests that were not missed, in seconds.
        miss_time: the median of the last ones that were.
    """

    local: int
    server: int
    stale: int
    missed: int
    made: int
    hit_time: float
    miss_time: float

    @property
    def requests(self) -> int:
        """The requests in all."""
        return self.local + self.server + self.stale + self.missed


class AirportPages:
    """The pages of the airports that flights go to, and the passengers who ask for them.

    A page looks through all flights, and is out of date when one leaves for its airport: it has
    the airport's tag. The ranks in it depend on other flights too, and may be a second late.

    Attributes:
        busiest: the code of the airport to which most flights go.
    """

    def __init__(self, db: octavo.Octavo[octavo.Sync], flights: Iterable[Flight]) -> None:
        self._flights = sorted(flights, key=attrgetter("scheduled"))
        departures = ((flight.departed, flight) for flight in self._flights if flight.departed)
        self._coming = deque(sorted(departures, key=itemgetter(0)))
        destinations = Counter(flight.destination for _, flight in self._coming)
        self.busiest = destinations.most_common(1)[0][0]
        self._airports = load_airports()
        self._routes = Boards(db).routes
        self._cache = db.cache(
            "airport-pages", ttl=1, grace=10, type=AirportPage, local=Local(share=True)
        )
        self._page = self._cache.cached(key="{code} {day}")(self._make)
        self._passengers = random.Random(_SEED)  # noqa: S311 - the same in every replay
        self._now = self._coming[0][0] - timedelta(minutes=1)
        self._made = 0
        self._hit_times = deque[float](maxlen=_SAMPLES)
        self._miss_times = deque[float](maxlen=_SAMPLES)

    def clear(self) -> None:
        """Drop the pages of an earlier replay."""
        self._cache.clear()

    def advance(self, moment: datetime) -> None:
        """Void the pages of all airports for which flights have left up to this moment."""
        # Set before the pages are void: what is made of an earlier moment is then never kept.
        self._now = moment
        left = set[str]()
        while self._coming and self._coming[0][0] <= moment:
            left.add(self._coming.popleft()[1].destination)
        self._cache.invalidate_tags(*left)

    def serve(self) -> None:
        """Have passengers of the next flights ask for the pages of where they go."""
        if boarding := [flight.destination for _, flight in islice(self._coming, _BOARDING)]:
            for code in self._passengers.choices(boarding, k=_PASSENGERS):
                self.get(code)

    def get(self, code: str) -> AirportPage:
        """Return an airport's page of today, and note the time that takes."""
        made, began = self._made, perf_counter()
        page = self._page(code, self._now.date())
        times = self._hit_times if self._made == made else self._miss_times
        times.append(perf_counter() - began)
        return page

    def usage(self) -> Usage:
        """Return what the cache has done so far."""
        stats = self._cache.stats()
        return Usage(
            stats.local,
            stats.hits,
            stats.stale,
            stats.misses,
            stats.created,
            median(self._hit_times or [0]),
            median(self._miss_times or [0]),
        )

    def _make(self, code: str, day: date) -> AirportPage:
        current_fill().tags.add(code)
        now = self._now
        flights = [flight for flight in self._flights if flight.destination == code]
        gone = [flight for flight in flights if flight.departed and flight.departed <= now]
        coming = (flight for flight in flights if flight.departed and flight.departed > now)
        ranked = self._routes.ranks_of({flight.route for flight in flights})
        page = AirportPage(
            airport=self._airports[code],
            today=sum(1 for flight in gone if flight.departed and flight.departed.date() == day),
            departed=len(gone),
            on_time=sum((flight.departure_delay or 0) <= ON_TIME for flight in gone),
            last=nlargest(_LISTED, gone, key=attrgetter("departed")),
            next=list(islice(coming, _LISTED)),
            ranks={entry.member: entry.rank for entry in ranked},
        )
        self._made += 1
        return page

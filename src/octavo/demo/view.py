"""What the displays show: standings with names, units, shared ranks and movements."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

from octavo.demo.flights import NEW_YORK, load_airlines, load_airports
from octavo.demo.replay import BEST, Standings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from octavo.demo.api import Calls
    from octavo.demo.flights import Flight
    from octavo.demo.gates import Crew, GateUse, Wait
    from octavo.demo.pages import AirportPage, Usage
    from octavo.demo.replay import Replay
    from octavo.demo.week import Week
    from octavo.leaderboards import Entry, Event

__all__ = [
    "Card",
    "Movement",
    "Panel",
    "Row",
    "View",
    "api_card",
    "cards",
    "clock",
    "gates_card",
    "gates_taken",
    "page_card",
    "summary",
]

Movement = Literal["up", "down", "new", "same"]

_HOLD = 10
"""The refreshes for which a movement stays in sight."""

_TOLD = 3
"""The climbs that are told side by side."""

_WAITING = 2
"""The aircraft whose wait for a gate is shown."""


class Row(NamedTuple):
    """One line of a board; a shared rank begins with `=`."""

    rank: str
    movement: Movement
    member: str
    name: str
    score: str


class Panel(NamedTuple):
    """One board as it is shown."""

    title: str
    unit: str
    rows: list[Row]


class Card(NamedTuple):
    """What is shown below the boards: an airport's page, the gates, or the API."""

    title: str
    subtitle: str
    lines: list[tuple[str, str]]


class View:
    """Turns one refresh of the standings after another into panels."""

    def __init__(self, flights: Iterable[Flight]) -> None:
        self._airlines = load_airlines()
        self._airports = load_airports()
        self._operators = {flight.tail: flight.carrier for flight in flights}
        self._movements = [_Movements() for _ in Standings._fields]
        self._climbs: dict[str, str] = {}
        self._day = ""

    def panels(self, standings: Standings, rows: int) -> list[Panel]:
        """Return the boards, each cut to so many rows.

        One more row than that should be in the standings: it may share the last one's rank.
        """
        shown: tuple[tuple[str, str, Callable[[str], str], Callable[[Entry], str]], ...] = (
            ("Busiest routes", "departures", self._route, _count),
            ("Most punctual carriers", "on time (arrivals)", self._airline, _share),
            ("Most delayed aircraft", "minutes late in all", self._aircraft, _count),
            ("Routes this hour", "departures", self._route, _count),
            ("Routes today", "departures", self._route, _count),
            ("Routes this week", "departures", self._route, _count),
        )
        return [
            Panel(title, unit, _rows(entries, moves.update(entries), name, score)[:rows])
            for entries, moves, (title, unit, name, score) in zip(
                standings, self._movements, shown, strict=True
            )
        ]

    def climbs(self, events: Iterable[Event]) -> list[str]:
        """Return which routes climbed to the best of the day, the latest first."""
        for event in events:
            if event.table != self._day:
                self._day = event.table
                self._climbs.clear()
            if climb := _climb(event):
                self._climbs.pop(event.member, None)
                self._climbs[event.member] = climb
        return list(reversed(self._climbs.values()))[:_TOLD]

    def _route(self, member: str) -> str:
        return self._airports[member.partition("-")[2]].name

    def _airline(self, member: str) -> str:
        return self._airlines[member].name

    def _aircraft(self, member: str) -> str:
        return self._airlines[self._operators[member]].name


class _Movements:
    """Where the members of one board went, refresh by refresh."""

    def __init__(self) -> None:
        self._ranks: dict[str, float] = {}
        self._recent: dict[str, tuple[Movement, int]] = {}
        self._refresh = 0

    def update(self, entries: list[Entry]) -> dict[str, Movement]:
        """Compare the ranks with the last refresh; a movement is kept for some refreshes."""
        self._refresh += 1
        for entry in entries:
            before = self._ranks.get(entry.member)
            if before != entry.rank:
                movement = _movement(before, entry.rank)
                self._recent[entry.member] = (movement, self._refresh + _HOLD)
        self._ranks = {entry.member: entry.rank for entry in entries}
        return {
            member: movement
            for member, (movement, until) in self._recent.items()
            if until > self._refresh
        }


def _climb(event: Event) -> str | None:
    before, now = event.previous_rank, event.rank
    if event.kind != "changed" or before is None or now is None or not now < before or now > BEST:
        return None
    return f"{event.member} up {before - now:g} to no. {now:g}"


def _movement(before: float | None, now: float) -> Movement:
    if before is None:
        return "new"
    return "up" if now < before else "down"


def _rows(
    entries: list[Entry],
    moved: dict[str, Movement],
    name: Callable[[str], str],
    score: Callable[[Entry], str],
) -> list[Row]:
    sharing = Counter(entry.rank for entry in entries)
    return [
        Row(
            f"{'=' if sharing[entry.rank] > 1 else ''}{entry.rank:g}",
            moved.get(entry.member, "same"),
            entry.member,
            name(entry.member),
            score(entry),
        )
        for entry in entries
    ]


def _count(entry: Entry) -> str:
    return f"{entry.score:,.0f}"


def _share(entry: Entry) -> str:
    share, landed = entry.scores
    return f"{share:.1%} ({landed:,.0f})"


def cards(week: Week) -> list[Card]:
    """Return what is shown below the boards, what matters most first."""
    pages = week.pages
    return [
        page_card(pages.get(pages.busiest), pages.usage()),
        gates_card(week.gates.use),
        api_card(week.api.calls),
    ]


def page_card(page: AirportPage, usage: Usage) -> Card:
    """Return an airport's page, and what the cache has done for all pages."""
    airport = page.airport
    return Card(
        f"Airport page: {airport.code}  {airport.name}",
        f"{_degrees(airport.latitude, 'NS')}, {_degrees(airport.longitude, 'EW')}",
        [
            ("left", f"{page.today:,} today, {page.departed:,} in all; {_punctuality(page)}"),
            ("ranks", ", ".join(f"{route} no. {rank:g}" for route, rank in page.ranks.items())),
            ("last", ", ".join(f"{_flight(flight)} {_delay(flight)}" for flight in page.last)),
            ("next", ", ".join(map(_flight, page.next))),
            ("cache", _answers(usage)),
            ("time", _times(usage)),
        ],
    )


def _degrees(angle: float, signs: str) -> str:
    return f"{abs(angle):.2f} {signs[angle < 0]}"


def _punctuality(page: AirportPage) -> str:
    return f"{page.on_time / page.departed:.1%} on time" if page.departed else "none yet"


def _flight(flight: Flight) -> str:
    scheduled = flight.scheduled.astimezone(NEW_YORK)
    return f"{scheduled:%H:%M} {flight.origin} {flight.carrier} {flight.number}"


def _delay(flight: Flight) -> str:
    return f"{flight.departure_delay or 0:+}"


def _answers(usage: Usage) -> str:
    hits = 1 - usage.missed / max(usage.requests, 1)
    return (
        f"{usage.requests:,} requests, {hits:.1%} hits: {usage.local:,} local,"
        f" {usage.server:,} server, {usage.stale:,} stale"
    )


def _times(usage: Usage) -> str:
    hit, miss = (f"{seconds * 1e6:,.0f} us" for seconds in (usage.hit_time, usage.miss_time))
    return f"{hit} on a hit, {miss} on a miss; {usage.made:,} pages made"


def gates_card(use: GateUse) -> Card:
    """Return what happens at the gates."""
    return Card(
        "Gates",
        "a fair lock and a fence each",
        [
            ("taken", gates_taken(use)),
            ("queue", ", ".join(map(_wait, use.waiting[:_WAITING]))),
            ("turns", _turns(use)),
            ("fence", f"the newest is {_crew(use.newest)}" if use.newest else ""),
            ("stale", _refusals(use)),
        ],
    )


def gates_taken(use: GateUse) -> str:
    """Return how many gates are taken, and how many aircraft wait."""
    return f"{use.taken} of {use.gates}, {len(use.waiting)} wait"


def _wait(wait: Wait) -> str:
    minutes = wait.time // timedelta(minutes=1)
    return f"{wait.stay.aircraft} {minutes} min for {wait.stay.gate}"


def _turns(use: GateUse) -> str:
    longest = f"; longest {_wait(use.longest)}" if use.longest else ""
    return f"{use.served:,} aircraft, {use.handed_over:,} hand-overs{longest}"


def _refusals(use: GateUse) -> str:
    last = f"; the last was {_crew(use.last_refused)}" if use.last_refused else ""
    return f"{use.refused} refused{last}"


def _crew(crew: Crew) -> str:
    return f"{crew.fence}, of {crew.stay.aircraft} at {crew.stay.gate}"


def api_card(clients: Sequence[Calls]) -> Card:
    """Return what became of calls of the API, and what one is told that is denied."""
    denial = next((calls.denial for calls in clients if calls.denial is not None), None)
    fields = denial.headers() if denial is not None else {}
    return Card(
        "API of the boards",
        "customer, address and route in one check",
        [(calls.client.name, _calls(calls)) for calls in clients]
        + [("429" if not i else "", ": ".join(field)) for i, field in enumerate(fields.items())],
    )


def _calls(calls: Calls) -> str:
    promise = f"promised: at most {calls.promised:,} in {calls.last - calls.first:.1f} s"
    text = f"{calls.passed:,} of {calls.made:,} passed; {promise}"
    banned = calls.denial is not None and calls.denial.banned and calls.denial.retry_after
    return f"{text}; banned for {banned:.0f} s" if banned else text


def clock(moment: datetime) -> str:
    """Return simulated time as the displays show it."""
    return f"{moment:%a %d %b %Y %H:%M}"


def summary(replay: Replay) -> str:
    """Return what the replay has done so far."""
    return (
        f"{replay.departures:,} departures and {replay.arrivals:,} arrivals"
        f" in {replay.round_trips:,} round trips"
    )

from __future__ import annotations

import math
import time
from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import octavo
from octavo.demo.flights import NEW_YORK, Flight, load
from octavo.demo.replay import (
    MINIMUM,
    ON_TIME,
    PERIODS,
    Boards,
    Replay,
    by_minute,
    moments,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from octavo import Octavo, Sync
    from octavo.leaderboards import Entry
    from octavo.testing.proxy import WireProxy
    from tests.fix_servers import Server, Servers

S = TypeVar("S", float, tuple[float, ...])

DAY = datetime(2013, 7, 9, tzinfo=NEW_YORK)
ONE_DAY = load(DAY, DAY + timedelta(days=1))


def summed(changes: Iterable[tuple[str, int]]) -> dict[str, float]:
    """Sum up by member; who reached the sum first comes first."""
    sums: dict[str, float] = {}
    for member, by in changes:
        sums[member] = sums.pop(member, 0) + by
    return sums


def ranked(scores: dict[str, S]) -> list[tuple[float, str, S]]:
    """Rank by competition: one more than there are better ones."""
    return [
        (1 + sum(other > score for other in scores.values()), member, score)
        for member, score in sorted(scores.items(), key=lambda item: item[1], reverse=True)
    ]


def expected(flights: list[Flight]) -> tuple[list[object], list[object], list[object]]:
    """What the boards must hold in the end, from the flights alone."""
    left = sorted((f for f in flights if f.departed), key=lambda f: f.departed or f.scheduled)
    late = [(f.tail or "", f.departure_delay or 0) for f in left if (f.departure_delay or 0) > 0]
    arrivals = defaultdict[str, list[int]](list)
    for flight in flights:
        if flight.arrival_delay is not None:
            arrivals[flight.carrier].append(flight.arrival_delay)
    shares: dict[str, tuple[float, ...]] = {
        carrier: (sum(delay <= 15 for delay in delays) / len(delays), len(delays))
        for carrier, delays in arrivals.items()
        if len(delays) >= 30
    }
    return [*ranked(summed((f.route, 1) for f in left))], [*ranked(shares)], [*ranked(summed(late))]


def held(db: Octavo[Sync]) -> tuple[list[object], list[object], list[object]]:
    """All rows of the boards, as the server ranks them."""
    boards = Boards(db)
    return rows(boards.routes), rows(boards.carriers), rows(boards.aircraft)


def rows(entries: Iterable[Entry]) -> list[object]:
    return [(entry.rank, entry.member, entry.scores or entry.score) for entry in entries]


def departures_by(start: Callable[[datetime], datetime]) -> dict[datetime, list[object]]:
    """What the board of routes must hold in each of the week's periods, by when it starts."""
    periods = defaultdict[datetime, list[tuple[str, int]]](list)
    for minute in by_minute(load()):
        for flight in minute.departures:
            periods[start(minute.start)].append((flight.route, 1))
    return {start: [*ranked(summed(departures))] for start, departures in periods.items()}


def hour(moment: datetime) -> datetime:
    return moment.replace(minute=0)


def midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0)


def monday(moment: datetime) -> datetime:
    return midnight(moment) - timedelta(days=moment.weekday())


def test_a_full_replay_ends_with_the_boards_that_plain_python_computes(
    servers: Servers, prefix: str
) -> None:
    flights = load()

    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        replay = Replay(db, flights)
        replay.advance(replay.last)

        assert held(db) == expected(flights)
        board = Boards(db).routes
        for period, start in zip(PERIODS, (hour, midnight, monday), strict=True):
            routes = departures_by(start)
            assert {at: rows(board.period(period, at=at)) for at in routes} == routes
    assert replay.departures == sum(f.departed is not None for f in flights) == 6430
    assert replay.arrivals == sum(f.arrived is not None for f in flights) == 6352


def test_a_day_ends_the_same_on_every_kind_of_server(server: Server, prefix: str) -> None:
    with octavo.connect(server.url, prefix=prefix) as db:
        replay = Replay(db, ONE_DAY)
        replay.advance(replay.last)

        assert held(db) == expected(ONE_DAY)
        standings, _ = replay.look(10)
        assert standings.week == standings.routes != []


def test_the_week_has_shared_ranks_to_show() -> None:
    routes, _, aircraft = expected(load())

    for board in (routes, aircraft):
        assert len({row[0] for row in board}) < len(board)  # type: ignore[index]


def test_at_noon_the_boards_know_the_morning_only(servers: Servers, prefix: str) -> None:
    noon = DAY + timedelta(hours=12)

    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        replay = Replay(db, ONE_DAY)
        replay.advance(noon)

        departed = sum(entry.score for entry in Boards(db).routes)
    assert departed == replay.departures
    assert departed == sum(f.departed is not None and f.departed <= noon for f in ONE_DAY)
    assert replay.arrivals == sum(f.arrived is not None and f.arrived <= noon for f in ONE_DAY)


def test_the_periods_shown_are_those_of_the_moment(servers: Servers, prefix: str) -> None:
    noon = DAY + timedelta(hours=12)
    after = noon + timedelta(minutes=30)

    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        replay = Replay(db, load(DAY - timedelta(days=2), DAY + timedelta(days=1)))
        replay.advance(after)
        standings, _ = replay.look(1000)

    assert departed(standings.hour) == between(noon, after)
    assert departed(standings.day) == between(DAY, after)
    assert departed(standings.week) == between(DAY - timedelta(days=1), after)
    assert departed(standings.routes) == between(DAY - timedelta(days=2), after)


def departed(entries: list[Entry]) -> float:
    return sum(entry.score for entry in entries)


def between(first: datetime, last: datetime) -> int:
    """How many flights left in this time, its end included."""
    return sum(first <= flight.departed <= last for flight in load() if flight.departed)


def test_at_a_full_hour_the_one_that_is_over_is_shown(servers: Servers, prefix: str) -> None:
    noon = DAY + timedelta(hours=12)
    flights = [flight for flight in ONE_DAY if flight.departed != noon]

    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        replay = Replay(db, flights)
        replay.advance(noon)
        standings, _ = replay.look(1000)

    assert departed(standings.hour) > 0
    assert departed(standings.hour) == sum(
        noon - timedelta(hours=1) <= flight.departed < noon for flight in flights if flight.departed
    )


def test_every_departure_is_told_once(servers: Servers, prefix: str) -> None:
    left = [flight for minute in by_minute(ONE_DAY) for flight in minute.departures]
    told = list[str]()

    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        replay = Replay(db, ONE_DAY)
        for moment in hours(replay):
            replay.advance(moment)
            _, events = replay.look(1)
            told += [event.member for event in events if event.kind == "changed"]

    assert told == [flight.route for flight in left]


def hours(replay: Replay) -> Iterator[datetime]:
    return moments(replay.first, replay.last, timedelta(hours=1), math.inf)


def test_a_carrier_is_ranked_from_its_thirtieth_arrival_on(servers: Servers, prefix: str) -> None:
    delays = [0] * (MINIMUM - 2) + [ON_TIME, ON_TIME + 1]
    flights = [arrival("AA", minute, delay) for minute, delay in enumerate(delays)]

    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        replay = Replay(db, flights)
        board = Boards(db).carriers
        replay.advance(replay.last - timedelta(minutes=1))
        before = board.count()
        replay.advance(replay.last)

        assert before == 0
        assert [entry.scores for entry in board] == [((MINIMUM - 1) / MINIMUM, MINIMUM)]


def test_of_two_equally_punctual_carriers_the_larger_leads(servers: Servers, prefix: str) -> None:
    flights = [arrival("AA", minute, 0) for minute in range(MINIMUM)]
    flights += [arrival("UA", minute, 0) for minute in range(MINIMUM + 1)]

    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        replay = Replay(db, flights)
        replay.advance(replay.last)

        assert [(entry.rank, entry.member) for entry in Boards(db).carriers] == [
            (1, "UA"),
            (2, "AA"),
        ]


def arrival(carrier: str, minute: int, delay: int) -> Flight:
    arrived = DAY + timedelta(minutes=minute)
    return Flight(DAY, DAY, arrived, delay, carrier, 1, "N1", "JFK", "LAX", 340, 2475)


def test_a_new_replay_begins_with_empty_boards(servers: Servers, prefix: str) -> None:
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        earlier = Replay(db, ONE_DAY)
        earlier.advance(earlier.last)
        replay = Replay(db, ONE_DAY)
        replay.clear()

        board = Boards(db).routes
        assert held(db) == ([], [], [])
        assert board.events().read("0-0") == []
        with db.batch() as batch:
            routes = Boards(batch).routes
            counts = [
                routes.period(period, at=moment).count()
                for moment in (replay.first, *hours(replay))
                for period in PERIODS
            ]
        assert {count.result() for count in counts} == {0}


def test_an_hour_of_flights_and_a_look_at_all_boards_are_one_round_trip_each(
    proxy: WireProxy, prefix: str
) -> None:
    with octavo.connect(proxy.url, prefix=prefix) as db:
        replay = Replay(db, ONE_DAY)
        replay.clear()

        for moment in hours(replay):
            proxy.reset()
            before = replay.round_trips
            replay.advance(moment)
            # At night nothing may happen, or arrivals of carriers with too few of them.
            assert proxy.round_trips == 1 or moment.hour < 6
            replay.look(10)
            assert proxy.round_trips == replay.round_trips - before <= 2


def test_minutes_come_in_order_and_hold_every_departure_and_arrival_once() -> None:
    minutes = by_minute(ONE_DAY)

    starts = [minute.start for minute in minutes]
    assert starts == sorted(set(starts))
    assert sorted((f.number, f.carrier) for minute in minutes for f in minute.departures) == sorted(
        (f.number, f.carrier) for f in ONE_DAY if f.departed
    )
    assert all(f.arrived == minute.start for minute in minutes for f in minute.arrivals)
    assert sum(len(minute.arrivals) for minute in minutes) == sum(
        f.arrived is not None for f in ONE_DAY
    )


def test_moments_end_with_the_last_however_the_steps_fall() -> None:
    first, last = DAY + timedelta(minutes=56), DAY + timedelta(minutes=150)

    steps = list(moments(first, last, timedelta(hours=1), math.inf))

    assert steps == [DAY + timedelta(minutes=minutes) for minutes in (60, 120, 150)]


def test_moments_come_when_they_are_due() -> None:
    began = time.monotonic()

    for moment in moments(DAY, DAY + timedelta(hours=2), timedelta(minutes=20), 36_000):
        assert time.monotonic() - began >= (moment - DAY).total_seconds() / 36_000
    assert time.monotonic() - began < 2

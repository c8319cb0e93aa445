from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

import octavo
from octavo.demo.flights import NEW_YORK, Flight, load
from octavo.demo.pages import AirportPages, Usage
from octavo.demo.replay import Boards, Replay
from octavo.demo.view import page_card

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo import Octavo, Sync
    from tests.fix_servers import Server, Servers

DAY = datetime(2013, 7, 9, tzinfo=NEW_YORK)
TWO_DAYS = [f for f in load(DAY, DAY + timedelta(days=2)) if f.departed]
NOON = DAY + timedelta(hours=36)


@pytest.fixture
def db(servers: Servers, prefix: str) -> Iterator[Octavo[Sync]]:
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        yield db


def left(code: str, moment: datetime) -> list[Flight]:
    """The flights that have left for an airport, the last one first."""
    flights = [f for f in TWO_DAYS if f.destination == code and f.departed and f.departed <= moment]
    return sorted(flights, key=lambda f: f.departed or f.scheduled, reverse=True)


@pytest.mark.parametrize("code", ["LAX", "ORD", "ABQ"])
def test_a_page_says_what_plain_python_computes(db: Octavo[Sync], code: str) -> None:
    replay, pages = Replay(db, TWO_DAYS), AirportPages(db, TWO_DAYS)
    replay.advance(NOON)
    pages.advance(NOON)

    page = pages.get(code)

    gone = left(code, NOON)
    late = [f for f in gone if f.departed and f.departed - f.scheduled > timedelta(minutes=15)]
    rest = [f for f in TWO_DAYS if f.destination == code and f not in gone]
    assert (page.airport.code, page.departed) == (code, len(gone))
    assert page.today == sum(f.departed is not None and f.departed.day == 10 for f in gone)
    assert page.on_time == len(gone) - len(late)
    assert [f.departed for f in page.last] == [f.departed for f in gone[:3]]
    assert page.next == sorted(rest, key=lambda f: f.scheduled)[:3]
    assert page.ranks == {
        entry.member: entry.rank for entry in Boards(db).routes if entry.member.endswith(code)
    }


def test_pages_are_right_after_every_departure_on_every_kind_of_server(
    server: Server, prefix: str
) -> None:
    start, evening = DAY + timedelta(hours=6), DAY + timedelta(hours=18)

    with octavo.connect(server.url, prefix=prefix) as db:
        pages = AirportPages(db, TWO_DAYS)
        for moment in (start, start + timedelta(hours=1), evening):
            pages.advance(moment)
            for code in ("LAX", "BOS", "ABQ"):
                assert pages.get(code).departed == len(left(code, moment))


def test_a_departure_voids_the_pages_of_its_airport_only(db: Octavo[Sync]) -> None:
    flights = [flight("LAX", 0), flight("BOS", 0), flight("LAX", 10)]
    pages = AirportPages(db, flights)
    pages.advance(DAY)
    before = [pages.get(code).departed for code in ("LAX", "BOS")]

    pages.advance(DAY + timedelta(minutes=10))
    after = [pages.get(code).departed for code in ("LAX", "BOS")]

    assert (before, after) == ([1, 1], [2, 1])
    assert pages.usage().missed == 3


def test_a_new_day_has_a_new_page(db: Octavo[Sync]) -> None:
    pages = AirportPages(db, [flight("LAX", 0), flight("BOS", 3000)])
    pages.advance(DAY)
    first = pages.get("LAX")
    pages.advance(DAY + timedelta(days=1))

    assert (first.today, pages.get("LAX").today) == (1, 0)


def test_a_replay_begins_without_the_pages_of_an_earlier_one(db: Octavo[Sync]) -> None:
    AirportPages(db, [flight("LAX", 0)]).get("LAX")
    pages = AirportPages(db, [flight("LAX", 0), flight("LAX", 5)])
    pages.clear()

    assert len(pages.get("LAX").next) == 2


def flight(destination: str, minute: int) -> Flight:
    when = DAY + timedelta(minutes=minute)
    return Flight(when, when, None, None, "AA", 1, "N1", "JFK", destination, None, 2475)


def test_the_passengers_are_those_of_the_next_flights_and_the_same_in_every_replay(
    db: Octavo[Sync], monkeypatch: pytest.MonkeyPatch
) -> None:
    flights = [flight("ABQ", 0), flight("LAX", 10), flight("BOS", 20), flight("ORD", 30)]
    asked: list[str] = []
    monkeypatch.setattr(AirportPages, "get", lambda _, code: asked.append(code))
    for _ in range(2):
        pages = AirportPages(db, flights)
        pages.advance(DAY)
        pages.serve()

    assert set(asked) == {"LAX", "BOS"}
    assert asked[:50] == asked[50:]


def test_busy_airports_are_asked_for_more(
    db: Octavo[Sync], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Counter[str]()
    monkeypatch.setattr(AirportPages, "get", lambda _, code: asked.update([code]))
    pages = AirportPages(db, TWO_DAYS)
    for hour in range(48):
        pages.advance(DAY + timedelta(hours=hour))
        pages.serve()

    busy = {code for code, _ in Counter(f.destination for f in TWO_DAYS).most_common(20)}
    assert sum(asked[code] for code in busy) > asked.total() / 2


def test_nobody_asks_when_all_have_left(db: Octavo[Sync]) -> None:
    pages = AirportPages(db, [flight("LAX", 0)])
    pages.advance(DAY)
    pages.serve()

    assert pages.usage().requests == 0


def test_usage_counts_every_request_once_and_times_hits_against_misses(db: Octavo[Sync]) -> None:
    pages = AirportPages(db, TWO_DAYS)
    for hour in range(12, 24):
        pages.advance(DAY + timedelta(hours=hour))
        pages.serve()

    usage = pages.usage()
    assert usage.requests == 12 * 50
    # Two flights board at a time; a page that grew stale meanwhile is made in the background.
    assert 12 <= usage.missed <= 24
    assert usage.local > usage.missed
    assert 0 < usage.hit_time < usage.miss_time


def test_a_card_words_the_page_and_what_the_cache_has_done(db: Octavo[Sync]) -> None:
    late = Flight(
        DAY, DAY + timedelta(minutes=20), None, None, "B6", 523, "N1", "JFK", "LAX", None, 2475
    )
    flights = [late, flight("LAX", 15), flight("LAX", 600)]
    replay, pages = Replay(db, flights), AirportPages(db, flights)
    replay.advance(DAY + timedelta(hours=1))
    pages.advance(DAY + timedelta(hours=1))

    card = page_card(pages.get("LAX"), Usage(1200, 30, 4, 16, 17, 8e-6, 1.5e-3))

    assert (card.title, card.subtitle) == (
        "Airport page: LAX  Los Angeles Intl",
        "33.94 N, 118.41 W",
    )
    assert card.lines == [
        ("left", "2 today, 2 in all; 50.0% on time"),
        ("ranks", "JFK-LAX no. 1"),
        ("last", "00:00 JFK B6 523 +20, 00:15 JFK AA 1 +0"),
        ("next", "10:00 JFK AA 1"),
        ("cache", "1,250 requests, 98.7% hits: 1,200 local, 30 server, 4 stale"),
        ("time", "8 us on a hit, 1,500 us on a miss; 17 pages made"),
    ]


def test_a_card_is_fit_to_show_before_anything_has_left(db: Octavo[Sync]) -> None:
    pages = AirportPages(db, [flight("LAX", 0)])

    card = page_card(pages.get("LAX"), Usage(0, 0, 0, 0, 0, 0, 0))

    assert card.lines[0] == ("left", "0 today, 0 in all; none yet")

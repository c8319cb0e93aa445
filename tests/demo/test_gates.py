from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

import octavo
from octavo.demo import gates as module
from octavo.demo.flights import NEW_YORK, Flight, load
from octavo.demo.gates import Crew, Gates, GateUse, Stay, Wait, plan
from octavo.demo.view import gates_card
from octavo.testing.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Standalone
    from tests.fix_servers import Server, Servers

DAY = datetime(2013, 7, 9, tzinfo=NEW_YORK)
ONE_DAY = [f for f in load(DAY, DAY + timedelta(days=1)) if f.departed]
MORNING = DAY + timedelta(hours=7, minutes=40)
END = DAY + timedelta(days=2)
GATE = "JFK B6 1"


@pytest.fixture
def url(servers: Servers) -> str:
    return servers.get("embedded").url


@pytest.fixture
def db(url: str, prefix: str) -> Iterator[Octavo[Sync]]:
    with octavo.connect(url, prefix=prefix) as db:
        yield db


@contextmanager
def opened(url: str, prefix: str, flights: list[Flight], timeout: float = 5.0) -> Generator[Gates]:
    db = octavo.connect_async(url, prefix=prefix, timeout=timeout)
    with Gates(db, flights) as gates:
        yield gates


def at(minute: int) -> datetime:
    return DAY + timedelta(minutes=minute)


def flight(tail: str, due: int, left: int, carrier: str = "B6") -> Flight:
    return Flight(at(due), at(left), None, None, carrier, 1, tail, "JFK", "LAX", None, 2475)


# All are planned for one gate; the first is late, and the others find it there.
LATE = [flight("N1", 45, 180), flight("N2", 90, 190), flight("N3", 135, 200)]


def tails(waits: list[Wait]) -> list[str]:
    return [wait.stay.aircraft for wait in waits]


def holders(db: Octavo[Sync]) -> dict[str, int]:
    """Who waits where, as the server has it, by the gates that are held."""
    return {info.name: info.waiting for info in db.locks.list() if info.holders}


# The plan.


def test_every_flight_that_leaves_has_a_gate_of_its_airline_at_its_airport() -> None:
    flights = load(DAY, DAY + timedelta(days=1))

    stays = [stay for stays in plan(flights).values() for stay in stays]

    assert len(flights) > len(ONE_DAY)
    assert sorted((stay.aircraft, stay.leaves, stay.gate.rpartition(" ")[0]) for stay in stays) == (
        sorted((f.tail or "", f.departed or END, f"{f.origin} {f.carrier}") for f in ONE_DAY)
    )


def test_by_the_timetable_no_gate_has_two_aircraft_and_none_is_spare() -> None:
    punctual = [replace(f, departed=f.scheduled) for f in load() if f.departed]

    plans = plan(punctual)

    airlines = defaultdict[str, list[Stay]](list)
    for gate, stays in plans.items():
        assert all(before.leaves <= after.comes for before, after in pairwise(stays))
        airlines[gate.rpartition(" ")[0]] += stays
    most = (
        max(sum(a.comes <= b.comes < a.leaves for a in stays) for b in stays)
        for stays in airlines.values()
    )
    assert len(plans) == sum(most) == 131


# Coming, waiting and leaving.


def test_who_finds_the_gate_taken_gets_it_in_the_order_of_coming(url: str, prefix: str) -> None:
    assert list(plan(LATE)) == [GATE]
    with opened(url, prefix, LATE) as gates:
        use, seen = gates.use, list[tuple[int, list[str], int, int]]()
        for minute in (134, 135, 160, 179, 180, 189, 190, 199, 200):
            gates.advance(at(minute))
            seen.append((use.taken, tails(use.waiting), use.served, use.handed_over))

    assert seen == [
        (0, [], 0, 0),
        (1, [], 1, 0),
        (1, ["N2", "N3"], 1, 0),
        (1, ["N2", "N3"], 1, 0),
        (1, ["N3"], 2, 1),
        (1, ["N3"], 2, 1),
        (1, [], 3, 2),
        (1, [], 3, 2),
        (0, [], 3, 2),
    ]
    assert use.longest
    assert (use.longest.time, use.longest.stay.aircraft) == (timedelta(minutes=35), "N3")


def test_who_comes_just_when_another_leaves_does_not_wait(url: str, prefix: str) -> None:
    with opened(url, prefix, [flight("N1", 45, 45), flight("N2", 90, 90)]) as gates:
        gates.advance(at(90))

    assert (gates.use.served, gates.use.handed_over, gates.use.longest) == (2, 0, None)


def test_gates_of_other_airlines_are_others(url: str, prefix: str) -> None:
    with opened(url, prefix, [flight("N1", 45, 45), flight("N2", 45, 45, "DL")]) as gates:
        gates.advance(at(1))

        assert (gates.use.gates, gates.use.taken) == (2, 2)


def test_what_is_shown_is_what_every_kind_of_server_has(server: Server, prefix: str) -> None:
    with (
        octavo.connect(server.url, prefix=prefix) as db,
        opened(server.url, prefix, ONE_DAY) as gates,
    ):
        gates.advance(MORNING)

        use = gates.use
        queues = Counter(wait.stay.gate for wait in use.waiting)
        assert queues.total() > 2
        wait_until(lambda: +Counter(holders(db)) == queues, "all are in their queues")
        assert use.taken == len(holders(db)) > 50
        assert use.newest
        assert db.fence(use.newest.stay.gate).newest() == use.newest.fence


def test_a_day_ends_as_plain_python_computes_on_every_kind_of_server(
    server: Server, prefix: str
) -> None:
    waits = list[Wait]()
    for stays in plan(ONE_DAY).values():
        left = DAY
        for stay in sorted(stays):
            waits.append(Wait(max(left - stay.comes, timedelta()), stay))
            left = stay.leaves

    with opened(server.url, prefix, ONE_DAY) as gates:
        gates.advance(END)

    use = gates.use
    assert (use.served, use.taken, use.waiting) == (len(ONE_DAY), 0, [])
    assert use.handed_over == sum(bool(wait.time) for wait in waits) > 50
    assert use.longest == max(waits)


def test_it_is_the_same_in_any_steps(url: str, prefix: str) -> None:
    ends = list[tuple[object, ...]]()
    for step in (timedelta(minutes=7), timedelta(days=2)):
        with opened(url, prefix, ONE_DAY) as gates:
            moment = DAY
            while moment < END:
                gates.advance(moment := min(moment + step, END))
            use = gates.use
            ends.append((use.served, use.handed_over, use.longest, use.refused))

    assert ends[0] == ends[1]


def test_gates_are_used_side_by_side(proxy: WireProxy, prefix: str) -> None:
    with opened(proxy.url, prefix, ONE_DAY) as gates:
        gates.clear()
        proxy.reset()
        gates.advance(END)

        # Getting a gate, being admitted and leaving are one each, if nobody else is there.
        assert proxy.round_trips < len(ONE_DAY) / 2


# Crews that stop.


@pytest.fixture
def _all_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STOPS", 1)


@pytest.mark.usefixtures("_all_stop")
def test_a_crew_that_comes_back_to_anothers_gate_is_refused(
    db: Octavo[Sync], url: str, prefix: str
) -> None:
    with opened(url, prefix, [flight("N1", 45, 45), flight("N2", 100, 100)]) as gates:
        gates.advance(at(10))
        first = gates.use.newest
        gates.advance(at(50))
        before = gates.use.refused
        gates.advance(at(60))

        use = gates.use
        assert first
        assert use.newest
        assert (before, use.refused, use.last_refused) == (0, 1, first)
        assert use.newest.stay.aircraft == "N2"
        assert db.fence(GATE).newest() == use.newest.fence > first.fence


@pytest.mark.usefixtures("_all_stop")
def test_a_crew_that_stops_leaves_the_gate_to_its_lease(
    db: Octavo[Sync], url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STOPPED", 20.0)
    with opened(url, prefix, [flight("N1", 45, 45)]) as gates:
        gates.advance(at(45))

        holder = db.locks.holder(GATE)
        assert holder
        assert 10 < holder.remaining <= 20


@pytest.mark.usefixtures("_all_stop")
def test_a_crew_for_whose_gate_somebody_waits_gives_it_back(url: str, prefix: str) -> None:
    with opened(url, prefix, LATE) as gates:
        gates.advance(END)

    assert (gates.use.served, gates.use.refused) == (3, 0)


def test_some_crews_of_the_week_stop() -> None:
    stops = [stay for stays in plan(load()).values() for stay in stays if stay.stops]

    assert len(stops) == 12


# Beginnings and ends.


def test_nobody_is_at_a_gate_or_waits_when_it_is_left_early(
    db: Octavo[Sync], url: str, prefix: str
) -> None:
    for _ in range(20):
        with opened(url, prefix, LATE) as gates:
            gates.advance(at(160))
            wait_until(lambda: holders(db) == {GATE: 2}, "both wait")

        assert not db.locks.list()


def test_who_never_gets_the_gate_leaves_from_elsewhere(
    db: Octavo[Sync], url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    with db.lock(GATE) as stranger, opened(url, prefix, LATE[:1]) as gates:
        gates.advance(at(160))
        waiting = tails(gates.use.waiting), db.locks.waiters(GATE)
        gates.advance(END)

        assert (waiting[0], len(waiting[1])) == (["N1"], 1)
        assert (gates.use.served, gates.use.waiting) == (0, [])
        assert db.locks.waiters(GATE) == []
        assert stranger.valid


def test_a_server_that_is_gone_is_an_error(standalone: Standalone, prefix: str) -> None:
    with opened(standalone.url, prefix, ONE_DAY, timeout=0.5) as gates:
        gates.advance(MORNING)
        standalone.kill()

        with pytest.raises((octavo.OctavoError, octavo.BatchError)):
            gates.advance(END)


# What is shown.


def test_a_card_words_what_happens_at_the_gates() -> None:
    first, second, third = plan(LATE)[GATE]
    use = GateUse(
        131,
        61,
        [Wait(at(180) - stay.comes, stay) for stay in (first, second, third)],
        6430,
        531,
        Wait(timedelta(minutes=35), third),
        Crew(second, 1795420523521900),
        11,
        Crew(first, 1795420523327498),
    )

    card = gates_card(use)

    assert (card.title, card.subtitle) == ("Gates", "a fair lock and a fence each")
    assert card.lines == [
        ("taken", "61 of 131, 3 wait"),
        ("queue", "N1 45 min for JFK B6 1, N2 35 min for JFK B6 1"),
        ("turns", "6,430 aircraft, 531 hand-overs; longest N3 35 min for JFK B6 1"),
        ("fence", "the newest is 1795420523521900, of N2 at JFK B6 1"),
        ("stale", "11 refused; the last was 1795420523327498, of N1 at JFK B6 1"),
    ]


def test_a_card_is_fit_to_show_before_anybody_has_come() -> None:
    card = gates_card(GateUse(131))

    assert [line for _, line in card.lines] == [
        "0 of 131, 0 wait",
        "",
        "0 aircraft, 0 hand-overs",
        "",
        "0 refused",
    ]

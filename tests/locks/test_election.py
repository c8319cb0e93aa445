"""The election: one leader after another, and who is told of it."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import LockLost, LockTimeout
from octavo.locks.election import Leader
from octavo.locks.places import process_label
from octavo.testing.faults import Crew
from octavo.testing.waiting import wait_until
from tests.calls import Call
from tests.engine.lab import took
from tests.locks.cases import EMBEDDED, FLOWS
from tests.locks.meeting import wait_for_waiters
from tests.locks.test_round_trips import ONE, Sent

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Octavo, Sync
    from octavo.testing.faults import Line
    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect
    from tests.fix_servers import Server
    from tests.locks.cases import Outside


def stand(outside: Outside, db: Octavo[Sync], value: str) -> Call[Any]:
    """Have a thread campaign; return its call once it stands in the queue."""
    before = len(outside.queue)
    call: Call[Any] = Call(db.election("x").campaign, value, wait=20)
    outside.wait_for_queue(before + 1)
    return call


def observe(db: Any, many: int, seen: list[Leader | None]) -> Call[None]:
    """Have a thread observe so many changes."""

    def look() -> None:
        seen.extend(islice(db._face.iterate(db.election("x")._own.observe()), many))

    return Call(look)


# Leading.


@FLOWS
def test_candidates_lead_one_at_a_time_in_their_order_at_once_and_in_greater_terms(
    db: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    keys, election = outside("election"), db.election("x")
    assert election.leader() is None
    term = other.election("x").campaign("first")
    calls = [stand(keys, db, value) for value in ("second", "third")]
    terms = [term.term]
    for call, value in zip(calls, ("second", "third"), strict=True):
        assert election.leader() == Leader(term.value, term.term)
        with took(0, 5):
            assert term.resign() is True
            with pytest.raises(LockTimeout):
                db.election("x").campaign("no candidate until now", wait=0)
            term = call.result()
        assert term.value == value
        terms.append(term.term)
    assert term.term == term.fence
    assert terms == sorted(set(terms))
    assert [term.resign(), term.release()] == [True, True]
    assert election.leader() is None
    assert keys.idle


def lead(line: Line, url: str, prefix: str) -> None:
    """Lead until killed."""
    with (
        octavo.connect(url, prefix=prefix) as db,
        db.election("x", ttl=2).campaign("victim") as term,
    ):
        line.say(term.term)
        term.lost.wait(60)


@pytest.mark.slow
@FLOWS
@EMBEDDED
def test_the_next_candidate_follows_a_killed_leader_when_its_ttl_is_over(
    db: Octavo[Sync], server: Server, prefix: str, outside: Callable[..., Outside]
) -> None:
    keys = outside("election")
    with Crew() as crew:
        worker = crew.spawn(lead, server.url, prefix)
        first = worker.heard()
        call = stand(keys, db, "next")
        assert db.election("x").leader() == Leader("victim", first)
        worker.kill()
        killed = keys.now
        term = call.result()
    assert term.term > first
    # A term is the server's time of the election.
    assert term.term / 1e6 - killed < 2 + 2.5
    assert db.election("x").leader() == Leader("next", term.term)
    term.resign()


@FLOWS
@EMBEDDED
def test_a_candidate_that_waits_too_long_gets_an_error_and_is_forgotten(
    db: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    term = other.election("x").campaign("first")
    for wait in (0, 0.1):
        with pytest.raises(LockTimeout, match=r"'x' had another leader"):
            db.election("x").campaign("second", wait=wait)
    assert outside("election").queue == []
    assert db.election("x").leader() == Leader("first", term.term)
    assert term.resign() is True
    assert outside("election").idle


@FLOWS
@EMBEDDED
def test_a_leader_says_of_itself_what_it_wants(db: Octavo[Sync], other: Octavo[Sync]) -> None:
    term = db.election("x").campaign()
    assert term.value == process_label().decode()
    for value in ("a new one", "né à 7"):
        term.proclaim(value)
        assert term.value == value
        assert other.election("x").leader() == Leader(value, term.term)
    term.resign()
    with pytest.raises(LockLost):
        term.proclaim("late")
    assert other.election("x").leader() is None


@FLOWS
@EMBEDDED
def test_a_leader_that_is_deposed_is_told(
    connect: Connect, server: Server, other: Octavo[Sync]
) -> None:
    told = list[Any]()
    election = connect(server.url).election("x", ttl=0.6, on_lost=told.append)
    term = election.campaign("first")
    other.locks.break_("x", kind="election")
    assert term.lost.wait(10) is True
    with pytest.raises(LockLost):
        term.proclaim("still me")
    wait_until(lambda: told, "it is told")
    assert term.resign() is False
    assert [(type(one).__name__, one.value, one.term) for one in told] == [
        ("Term", "first", term.term)
    ]


@FLOWS
@EMBEDDED
def test_whose_term_has_run_out_leads_no_more(
    db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    term = db.election("x", ttl=0.2, renew=False).campaign("first")
    wait_until(lambda: not outside("election").leases, "it has run out")
    assert db.election("x").leader() is None
    then = db.election("x").campaign("second", wait=0)
    assert then.term > term.term
    assert [term.resign(), then.resign()] == [False, True]


@EMBEDDED
def test_a_block_leads(client: Octavo[Sync], outside: Callable[..., Outside]) -> None:
    with client.election("x").campaign("host") as term:
        assert client.election("x").leader() == Leader("host", term.term)
    assert outside("election").idle


@EMBEDDED
async def test_an_async_block_leads(
    server: Server, prefix: str, outside: Callable[..., Outside]
) -> None:
    async with (
        octavo.connect_async(server.url, prefix=prefix) as db,
        await db.election("x").campaign("host") as term,
    ):
        assert await db.election("x").leader() == Leader("host", term.term)
    assert outside("election").idle


# Watching.


@FLOWS
def test_observers_are_told_of_every_change(db: Octavo[Sync], other: Octavo[Sync]) -> None:
    seen = list[Leader | None]()
    call = observe(db, 4, seen)
    wait_for_waiters(db)
    term = other.election("x").campaign("one")
    expected = [None, Leader("one", term.term)]
    wait_until(lambda: seen == expected, "the leader is seen")
    term.proclaim("two")
    wait_until(lambda: seen[2:] == [Leader("two", term.term)], "the value is seen")
    term.resign()
    call.result()
    assert seen[3:] == [None]


@FLOWS
@EMBEDDED
@pytest.mark.usefixtures("quiet_links")
def test_observers_ask_nobody_while_nothing_changes_and_once_when_it_does(
    connect: Connect, proxy: WireProxy, other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    db, seen, keys = connect(proxy.url), list[Leader | None](), outside("election")
    term = other.election("x", ttl=300).campaign("one")
    db.election("x").leader()
    call = observe(db, 2, seen)
    wait_for_waiters(db)
    sent = Sent(proxy)

    def quiet() -> bool:
        sent()
        began = keys.now
        wait_until(lambda: keys.now - began > 1, "nothing happens")
        return not sent()[0]

    # At first, until there is a link on which it is told.
    wait_until(quiet, "nothing is asked")
    term.proclaim("two")
    call.result()
    assert sent() == ONE
    assert seen == [Leader("one", term.term), Leader("two", term.term)]
    term.resign()


@FLOWS
@EMBEDDED
def test_a_change_may_be_waited_for(db: Octavo[Sync], other: Octavo[Sync]) -> None:
    election = db.election("x")
    assert election.changed(None, timeout=0.05) is None
    term = other.election("x").campaign("one")
    leader = Leader("one", term.term)
    assert election.changed(None, timeout=10) == leader
    assert election.changed(leader, timeout=0) == leader
    call = Call(election.changed, leader, timeout=15)
    wait_for_waiters(db)
    term.resign()
    assert call.result() is None


# Bad input.


@FLOWS
@EMBEDDED
@pytest.mark.parametrize(
    ("value", "error"),
    [("", ValueError), ("\ud800", ValueError), (5, TypeError), (b"x", TypeError)],
    ids=ascii,
)
def test_a_bad_value_is_refused_by_name_before_anything_is_sent(
    value: Any, error: type[Exception], connect: Connect, proxy: WireProxy, server: Server
) -> None:
    with pytest.raises(error, match=r"^value "):
        connect(proxy.url).election("x").campaign(value)
    assert proxy.accepted == 0
    term = connect(server.url).election("x").campaign("good")
    with pytest.raises(error, match=r"^value "):
        term.proclaim(value)
    assert term.value == "good"
    term.resign()


@FLOWS
@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "5", True], ids=repr)
def test_bad_times_are_refused_by_name_before_anything_is_sent(
    seconds: Any, connect: Connect, proxy: WireProxy
) -> None:
    election = connect(proxy.url).election("x")
    with pytest.raises((TypeError, ValueError), match=r"^wait must be "):
        election.campaign(wait=seconds)
    with pytest.raises((TypeError, ValueError), match=r"^timeout must be "):
        election.changed(None, timeout=seconds)
    assert proxy.accepted == 0

"""Leagues whose members compete in cohorts of a limited size."""

from __future__ import annotations

import random
from collections import Counter
from operator import methodcaller as call
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo import ConfigMismatch, ConnectionLost, WrongType
from octavo.leaderboards import Tiers
from octavo.testing import faults
from tests.leaderboards.inside import raw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo import Octavo, Sync
    from octavo.testing.proxy import Action, WireProxy
    from tests.fix_faces import Connect
    from tests.fix_servers import Server, Servers

PROCESSES = 8
SIZE = 7


@pytest.fixture
def one(servers: Servers, prefix: str) -> Iterator[Octavo[Sync]]:
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        yield db


def test_members_fill_one_cohort_after_the_other(db: Octavo[Sync]) -> None:
    league = db.cohorts("x", size=2)
    assert league.count() == 0
    assert [league.join(member) for member in "abcde"] == [1, 1, 2, 2, 3]
    assert league.join("a") == 1
    assert league.count() == 3
    assert league.cohort_of("d") == 2
    assert league.cohort_of("nobody") is None


def test_a_submission_is_ranked_in_the_members_cohort(db: Octavo[Sync]) -> None:
    league = db.cohorts("x", size=2, keep="sum", rank="dense")
    for member, score in (("ada", 5), ("bob", 9), ("cyd", 1), ("ada", 5)):
        submission = league.submit(member, score, data={"of": member})
    assert (submission.score, submission.rank, submission.previous_rank) == (10, 1, 2)
    assert [(e.member, e.score, e.data) for e in league.board(1).top()] == [
        ("ada", 10, {"of": "ada"}),
        ("bob", 9, {"of": "bob"}),
    ]
    assert [entry.member for entry in league.board(2)] == ["cyd"]
    assert league.board(3).count() == 0


def test_who_leaves_is_in_no_cohort_and_on_no_board(db: Octavo[Sync]) -> None:
    league = db.cohorts("x", size=2)
    for member in "abcd":
        league.submit(member, 1)
    assert league.leave("nobody") is False
    assert league.leave("a") is True
    assert league.leave("a") is False
    assert league.cohort_of("a") is None
    assert [entry.member for entry in league.board(1)] == ["b"]
    # The place in an older cohort stays empty, the one in the newest is free.
    assert league.leave("d") is True
    assert [league.join(member) for member in "ead"] == [2, 3, 3]
    assert league.submit("a", 5).rank == 1
    assert [entry.member for entry in league.board(3)] == ["a"]


def test_a_cleared_league_begins_anew(db: Octavo[Sync], server: Server, prefix: str) -> None:
    league = db.cohorts("x", size=1)
    assert league.clear() == 0
    for member in "abc":
        league.submit(member, 1, data="here")
    assert league.clear() == 3
    with raw(server.node_of(f"{prefix}:cohorts:{{x}}:members")) as client:
        assert client.keys(f"{prefix}:*") == []
    assert league.count() == 0
    assert league.submit("c", 2).previous is None
    assert league.cohort_of("c") == 1


def test_a_size_counts_for_who_joins_from_then_on(one: Octavo[Sync]) -> None:
    assert [one.cohorts("x", size=3).join(member) for member in "abc"] == [1, 1, 1]
    assert [one.cohorts("x", size=2).join(member) for member in "de"] == [2, 2]
    assert [one.cohorts("x", size=4).join(member) for member in "fgh"] == [2, 2, 3]


def test_boards_of_a_league_have_its_options(one: Octavo[Sync]) -> None:
    league = one.cohorts("x", order="asc", ties="member", tiers=Tiers.by_rank(up=1))
    league.submit("ada", 3)
    assert league.submit("bob", 2).rank == 1
    assert [(tier.name, tier.count) for tier in league.board(1).tiers()] == [("up", 1)]
    with pytest.raises(ConfigMismatch):
        one.cohorts("x").submit("ada", 3)


def test_a_key_of_the_wrong_type_is_named(one: Octavo[Sync], servers: Servers, prefix: str) -> None:
    key = f"{prefix}:cohorts:{{x}}:members"
    with raw(servers.get("embedded").node_of(key)) as client:
        client.set(key, "a string")
    for ask in (call("join", "a"), call("submit", "a", 1), call("leave", "a"), call("count")):
        with pytest.raises(WrongType, match=key):
            ask(one.cohorts("x"))


def test_a_batch_refuses_a_score_before_anything_is_sent(one: Octavo[Sync]) -> None:
    with one.batch() as batch, pytest.raises(ValueError, match="score"):
        batch.cohorts("x").submit("ada", float("nan"))
    assert one.cohorts("x").cohort_of("ada") is None


def test_batches_may_hold_what_goes_to_several_cohorts(one: Octavo[Sync]) -> None:
    lease = one.lock("x", tag="t").acquire()
    kinds: list[dict[str, Any]] = [{}, {"atomic": True}, {"guard": lease}]
    for options in kinds:
        one.cohorts("x", tag="t", size=3).clear()
        with one.batch(**options) as batch:
            collected = batch.cohorts("x", tag="t", size=3)
            pending = [collected.submit(f"m{i}", i) for i in range(10)]
            left = collected.leave("m0")
        assert [one.result().member for one in pending] == [f"m{i}" for i in range(10)]
        assert left.result() is True
        league = one.cohorts("x", tag="t", size=3)
        assert league.count() == 4
        assert [league.board(n).count() for n in range(1, 5)] == [2, 3, 3, 1]
    lease.release()


def test_an_atomic_batch_writes_scores_in_its_transaction_alone(
    proxy: WireProxy, prefix: str
) -> None:
    sent: list[bytes] = []

    def note(words: list[bytes]) -> Action:
        sent.append(words[0])
        return "forward"

    with octavo.connect(proxy.url, prefix=prefix) as db:
        db.cohorts("x", size=1).join("gone")
        proxy.script(note)
        with db.batch(atomic=True) as batch:
            league = batch.cohorts("x", size=1)
            pending = [league.submit(f"m{i}", i) for i in range(3)]
            left = [league.leave("gone"), league.leave("m0"), league.leave("nobody")]
        assert [one.result().rank for one in pending] == [1, 1, 1]
        assert [one.result() for one in left] == [True, True, False]
        assert sent[-1] == b"EXEC"
        assert sent.count(b"MULTI") == 1


def test_who_is_known_to_a_client_costs_one_round_trip(connect: Connect, proxy: WireProxy) -> None:
    db = connect(proxy.url)
    league = db.cohorts("x", size=10)
    league.count()  # opens the connection
    proxy.reset()
    for member in "abc":
        league.submit(member, 1)  # comes into the cohort that is being filled
    for member in "abc":
        db.cohorts("x", size=10).submit(member, 2)
    league.leave("b")
    assert proxy.round_trips == 7
    proxy.reset()
    for i in range(9):
        league.submit(f"m{i}", 1)
    assert proxy.round_trips == 10  # one opened the next cohort
    other = connect(proxy.url).cohorts("x", size=10)
    other.count()
    proxy.reset()
    assert other.submit("m0", 2).previous == 1
    assert other.submit("m8", 2).previous == 1
    assert other.submit("m8", 3).previous == 2
    assert proxy.round_trips == 4


@pytest.mark.parametrize("ask", [call("submit", "ada", 5), call("leave", "bob")], ids=str)
def test_a_write_whose_reply_is_lost_is_made_once_if_asked(
    ask: Any, connect: Connect, proxy: WireProxy
) -> None:
    def league(once: bool) -> Any:
        return connect(proxy.url).cohorts(f"once {once}", keep="sum", once=once)

    for once in (True, False):
        league(once).submit("bob", 1)
        writer = league(once)
        writer.submit("ada", 5)
        writer.cohort_of("bob")
        proxy.reset()
        with faults.drop_replies(proxy):
            if once:
                ask(writer)
            else:
                with pytest.raises(ConnectionLost):
                    ask(writer)
    scores = [league(once).board(1).score("ada") for once in (True, False)]
    assert scores in ([10, 10], [5, 5])


def race(line: faults.Line, url: str, prefix: str, number: int) -> list[tuple[str, int]]:
    """Have members join, submit and leave who others have join, submit and leave too."""
    dice = random.Random(number)
    seen: list[tuple[str, int]] = []
    with octavo.connect(url, prefix=prefix, timeout=30) as db:
        league = db.cohorts("x", size=SIZE, keep="sum")
        line.meet()
        for step in range(80):
            shared = f"m{dice.randrange(60)}"
            league.submit(shared, 1)
            seen.append((shared, league.join(shared)))
            own = f"{number} {step}"
            league.submit(own, 1)
            if dice.random() < 0.3:
                assert league.leave(own)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["embedded", "redis-7", "cluster"])
def test_nobody_is_in_two_cohorts_and_none_is_too_large(
    kind: Any, servers: Servers, prefix: str
) -> None:
    server = servers.get(kind)
    with faults.Crew() as crew:
        for number in range(PROCESSES):
            crew.spawn(race, server.url, prefix, number)
        crew.meet()
        seen = {(member, cohort) for each in crew.results() for member, cohort in each}
    assert len({member for member, _ in seen}) == len(seen) == 60
    key = f"{prefix}:cohorts:{{x}}:members"
    with raw(server.node_of(key)) as client:
        members = {name.decode(): int(of) for name, of in client.hgetall(key).items() if name}
    assert dict(seen).items() <= members.items()
    sizes = Counter(members.values())
    with octavo.connect(server.url, prefix=prefix) as db:
        league = db.cohorts("x", size=SIZE, keep="sum")
        assert max(sizes) <= league.count()  # everybody may have left the newest
        assert max(sizes.values()) == SIZE
        for cohort in sizes:
            board = {entry.member: entry.score for entry in league.board(cohort)}
            assert board.keys() == {name for name, of in members.items() if of == cohort}
        total = sum(
            entry.score for n in sizes for entry in league.board(n) if entry.member[0] == "m"
        )
        assert total == PROCESSES * 80


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"size": 0}, "size.*0"),
        ({"order": "up"}, "order.*'up'"),
        ({"page_size": 0}, "page_size"),
        ({"tiers": Tiers.by_score(a=1, b=2)}, "tiers"),
    ],
)
def test_a_league_that_cannot_be_is_refused_by_name(options: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        octavo.connect("redis://127.0.0.1:1").cohorts("x", **options)


@pytest.mark.parametrize(
    ("ask", "complaint"),
    [
        (call("join", ""), "member"),
        (call("leave", ""), "member"),
        (call("cohort_of", ""), "member"),
        (call("submit", "", 1), "member"),
        (call("submit", "ada", float("nan")), "score"),
        (call("board", 0), "number.*0"),
    ],
)
def test_what_a_league_cannot_take_is_refused_by_name(ask: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ask(octavo.connect("redis://127.0.0.1:1").cohorts("x"))

"""Submissions made once more, as their reply was lost or somebody else makes them too."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from octavo import SubmissionRefused
from octavo.leaderboards import Events, Rules
from tests.leaderboards.whole.cases import DAY, OPTIONS, WRITES, prepare, write
from tests.leaderboards.whole.conftest import HANDS

if TYPE_CHECKING:
    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect
    from tests.fix_servers import Servers
    from tests.leaderboards.whole.conftest import Hands


def all_of(board: Any) -> list[Any]:
    """Return what a board shows in all its tables."""
    tables = [board, board.period(DAY), board.window(60)]
    return [[*map(list, tables)], board.banned(), [one.kind for one in board.audit()]]


def test_a_retried_submission_counts_once_and_says_the_same(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", keep="sum", **OPTIONS)
    first = board.submit("ada", 5, idempotency_key="game 1")
    assert board.submit("ada", 5, idempotency_key="game 1") == first
    assert board.increment("bob", 9, idempotency_key="game 1") == first
    assert [entry.score for entry in board] == [5]
    assert board.submit("ada", 5, idempotency_key="game 2").score == 10
    assert board.period(DAY).score("ada") == board.window(60).score("ada") == 10


def test_a_submission_whose_reply_was_lost_counts_once(
    connect: Connect, proxy: WireProxy, one: Octavo[Sync]
) -> None:
    board = connect(proxy.url).leaderboard("x", keep="sum", **OPTIONS)
    board.top(1)
    proxy.reset()
    proxy.drop_replies(1)
    found = board.submit("ada", 5, idempotency_key="game 1")
    assert (found.score, found.periods[DAY.name].score) == (5, 5)
    assert proxy.commands["EVAL"] == 2, "nothing was sent again: the fault did not happen"
    beside = one.leaderboard("x", keep="sum", **OPTIONS)
    assert beside.submit("ada", 5, idempotency_key="game 1") == found
    assert beside.score("ada") == beside.period(DAY).score("ada") == 5
    assert len(beside.audit()) == 1


@pytest.mark.slow
@pytest.mark.xdist_group("races")
def test_a_submission_made_by_eight_processes_at_once_counts_once(
    servers: Servers, hands: Hands, one: Octavo[Sync], prefix: str
) -> None:
    keys = [f"game {i}" for i in range(50)]
    hands.begin("repeat", url=servers.get("embedded").url, prefix=prefix, board="x", keys=keys)
    hands.go()
    told = hands.results()
    assert len(told) == HANDS
    assert all(each == told[0] for each in told)
    assert [score for score, *_ in told[0]] == [*range(1, 51)]
    board = one.leaderboard("x", periods=DAY, audit=1000)
    assert board.score("ada") == board.period(DAY).score("ada") == 50
    assert len(board.audit(1000)) == 50


@pytest.mark.parametrize("name", WRITES)
def test_a_once_write_runs_once_in_all_tables(
    name: str, connect: Connect, proxy: WireProxy, one: Octavo[Sync]
) -> None:
    for twin in ("with a fault", "without"):
        prepare(one.leaderboard(twin, keep="sum", **OPTIONS))
    board = connect(proxy.url).leaderboard("with a fault", keep="sum", once=True, **OPTIONS)
    board.top(1)
    hurt = one.leaderboard("with a fault", keep="sum", **OPTIONS)
    change = write(name, hurt)
    proxy.reset()
    proxy.drop_replies(1)
    found = change(board)
    assert proxy.commands["EVAL"] == 2, "nothing was sent again: the fault did not happen"
    unhurt = one.leaderboard("without", keep="sum", **OPTIONS)
    expected = write(name, unhurt)(unhurt)
    if name not in {"submit", "increment", "submit_many"}:  # which have ids
        assert found == expected
    assert all_of(hurt) == all_of(unhurt)


def test_what_was_refused_is_refused_again_and_nothing_else_is_kept(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", rules=Rules(highest=9), events=Events())
    for _ in range(2):
        with pytest.raises(SubmissionRefused) as raised:
            board.submit("ada", 10, idempotency_key="game 1")
        assert raised.value.refusals == [("ada", "highest")]
    assert board.count() == 0


def test_a_kept_reply_does_not_teach_the_time(
    connect: Connect, proxy: WireProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = connect(proxy.url).leaderboard("x", periods=("hour",))
    board.submit("ada", 5, idempotency_key="game 1")
    board.submit("ada", 5)
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 7200 * 10**9)
    board.submit("ada", 5)  # learns that its own clock is off
    board.submit("ada", 5, idempotency_key="game 1")
    proxy.reset()
    board.submit("ada", 5)
    assert proxy.round_trips == 1

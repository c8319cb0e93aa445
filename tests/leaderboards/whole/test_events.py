"""Events: few of them, and enough to know who is among the best and where the watched are."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from octavo import OctavoError
from octavo.leaderboards import Events
from octavo.leaderboards.ranking import RANK_METHODS
from octavo.testing import faults
from tests.leaderboards.whole.cases import DAY
from tests.leaderboards.whole.replay import Replay

if TYPE_CHECKING:
    from octavo import Octavo, Sync

TOP = 3


def told(board: Any, after: str) -> list[tuple[Any, ...]]:
    """Return what was told since."""
    return [
        (one.kind, one.member, one.score, one.rank, one.previous, one.previous_rank)
        for one in board.events().read(after)
    ]


def test_a_submission_tells_who_it_concerns(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", events=Events(top=2))
    board.submit_many({"ada": 10, "bob": 20, "cyd": 5, "dot": 4})
    board.watch("dot")
    last = board.events().newest()
    board.submit("cyd", 15)
    assert told(board, last) == [
        ("changed", "cyd", 15, 2, 5, 3),
        ("left", "ada", 10, 3, 10, 2),
        ("entered", "cyd", 15, 2, 5, 3),
    ]
    last = board.events().newest()
    board.submit("ada", 9)
    board.submit("eve", 4.5)
    assert told(board, last) == [
        ("changed", "eve", 4.5, 4, None, None),
        ("moved", "dot", 4, 5, 4, 4),
    ]


def test_several_scores_at_once_tell_where_all_end(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", events=Events(top=3))
    board.submit_many([("ada", 1), ("bob", 2), ("ada", 3), ("cyd", 4)])
    assert told(board, "0-0") == [
        ("changed", "ada", 3, 2, None, None),
        ("changed", "bob", 2, 3, None, None),
        ("changed", "cyd", 4, 1, None, None),
        ("entered", "ada", 3, 2, None, None),
        ("entered", "bob", 2, 3, None, None),
        ("entered", "cyd", 4, 1, None, None),
    ]


def test_iterating_waits_for_what_happens(one: Octavo[Sync]) -> None:
    board = one.leaderboard("x", events=Events())
    board.submit("ada", 1)
    events = iter(board.events("0-0"))
    assert [next(events).kind for _ in range(2)] == ["changed", "entered"]
    board.submit("ada", 2)
    found = next(events)
    assert (found.member, found.score, found.previous) == ("ada", 2, 1)


@pytest.mark.parametrize("rank", RANK_METHODS)
@pytest.mark.parametrize("order", ["asc", ("desc", "asc")])
def test_a_submission_tells_no_more_than_the_best_and_the_watched(
    one: Octavo[Sync], rank: Any, order: Any
) -> None:
    dice = random.Random(faults.run_seed())
    board = one.leaderboard(
        "x", order=order, rank=rank, keep="last", audit=1000, events=Events(top=TOP)
    )
    replay = Replay(board, TOP)
    watched = [f"m{i}" for i in range(4)]
    board.watch(*watched)
    replay.watch(watched)
    for _ in range(80):
        scores = [dice.randrange(6) for _ in range(2)]
        found = board.submit(f"m{dice.randrange(12)}", scores if order != "asc" else scores[0])
        assert len(replay.check()) <= 2 + 2 * TOP + len(watched)
        if dice.random() < 0.2:
            board.undo(str(found.id))
            replay.check()
        if dice.random() < 0.1:
            board.ban("m1")
            replay.check()
            board.unban("m1")
            replay.check()


def test_events_of_a_period_are_about_its_table(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", keep="sum", periods=DAY, events=Events(of=DAY, top=1))
    board.submit("ada", 5)
    events = board.events().read("0-0")
    assert [one.kind for one in events] == ["changed", "entered"]
    assert {one.table.partition(":")[0] for one in events} == {DAY.name}
    assert board.watch("ada") == 1
    assert board.watch("ada", "bob") == 1
    assert board.unwatch("ada", "nobody") == 1


def test_no_change_tells_nothing(one: Octavo[Sync]) -> None:
    board = one.leaderboard("x", audit=100, events=Events())
    board.submit("ada", 5)
    worse = board.submit("ada", 3)
    last = board.events().newest()
    board.submit("ada", 4)
    board.annotate("ada", "x")
    board.undo(str(worse.id))
    board.remove("nobody")
    board.ban("nobody")
    board.unban("nobody")
    board.trim(5)
    assert told(board, last) == []


def test_decayed_scores_are_told_as_they_are(one: Octavo[Sync]) -> None:
    board = one.leaderboard("x", half_life=3600, events=Events())
    board.submit("ada", 5)
    board.submit("ada", 8)
    changed = [one for one in board.events().read("0-0") if one.kind == "changed"]
    assert [one.score for one in changed] == pytest.approx([5, 8], rel=1e-2)
    assert changed[1].previous == pytest.approx(5, rel=1e-2)


def test_at_most_a_thousand_are_watched(one: Octavo[Sync]) -> None:
    board = one.leaderboard("x", events=Events())
    with pytest.raises(ValueError, match="members"):
        board.watch(*(f"m{i}" for i in range(1001)))
    assert board.watch(*(f"m{i}" for i in range(1000))) == 1000
    with pytest.raises(OctavoError, match="at most 1,000 watched"):
        board.watch("one more")
    assert board.watch("m7") == 0
    assert board.unwatch("m7") == 1
    assert board.watch("one more") == 1


def test_a_stream_is_kept_short(one: Octavo[Sync]) -> None:
    board = one.leaderboard("x", keep="last", audit=100, events=Events(most=100))
    for i in range(600):
        board.submit("ada", i)
    assert 100 <= len(board.events().read("0-0")) < 300
    assert 100 <= len(board.audit(1000)) < 300

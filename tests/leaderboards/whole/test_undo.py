"""Submissions taken back: what is left is as if they had not been made."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest

from octavo.leaderboards import Window
from tests.leaderboards.whole.cases import DAY
from tests.leaderboards.whole.model import Made, Table

if TYPE_CHECKING:
    from octavo import Octavo, Sync

EVERYWHERE: dict[str, Any] = {"periods": (DAY, Window(60)), "audit": 1000}


def tables(board: Any) -> list[Any]:
    """Return the tables of a board."""
    return [board, board.period(DAY), board.window(60)]


@pytest.mark.parametrize("keep", ["best", "last", "sum", "first"])
def test_an_undo_after_later_submissions_leaves_what_they_come_to(
    db: Octavo[Sync], keep: Any
) -> None:
    board = db.leaderboard("x", keep=keep, **EVERYWHERE)
    scores, done = (5, 9, 9, 2, 7), list[Made]()
    for i, score in enumerate(scores):
        data = f"game {i}" if i % 2 else None
        found = board.submit("ada", score, data=data)
        done.append(Made("ada", (score,), keep, data, 0, i + 1, found.id))
    for gone in (1, 2, 0, 4):
        assert board.undo(str(done[gone].id)) is True
        assert board.undo(str(done[gone].id)) is False
        done[gone] = Made("nobody", (0,), keep, None, 0, 0, None)
        expected = Table(keep=keep)
        expected.made = [one for one in done if one.id]
        expected.at(0)
        for table in tables(board):
            assert list(table) == expected.entries()
    assert board.undo(str(done[3].id)) is True
    assert [list(table) for table in tables(board)] == [[], [], []]


def test_undoing_all_in_any_order_leaves_nothing(
    one: Octavo[Sync], client: Any, prefix: str
) -> None:
    for i, order in enumerate(permutations(range(3))):
        board = one.leaderboard(f"x{i}", rank="dense", keep="sum", **EVERYWHERE)
        ids = [str(board.submit("ada", score, data=score).id) for score in (1, 2, 3)]
        for number in order:
            assert board.undo(ids[number])
        left = client.keys(f"{prefix}:leaderboard:{{x{i}}}:*")
        parts = {key.rpartition(b":")[2] for key in left}
        assert parts <= {b"entries", b"audit", b"rules"}


def test_a_tie_is_had_back_in_the_order_it_had(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", **EVERYWHERE)
    board.submit("ada", 5)
    board.submit("bob", 5)
    better = board.submit("ada", 6)
    assert board.undo(str(better.id))
    for table in tables(board):
        assert "".join(entry.member[0] for entry in table) == "ab"


def test_an_annotation_outlives_an_undo(one: Octavo[Sync]) -> None:
    board = one.leaderboard("x", **EVERYWHERE)
    board.submit("ada", 5, data="x")
    board.annotate("ada", "a note")
    later = board.submit("ada", 6, data="y")
    assert board.undo(str(later.id))
    for table in tables(board):
        assert [(entry.score, entry.data) for entry in table] == [(5, "a note")]


def test_only_the_last_hundred_of_a_member_can_be_undone(one: Octavo[Sync]) -> None:
    board = one.leaderboard("x", keep="sum", **EVERYWHERE)
    ids = [str(found.id) for found in board.submit_many([("ada", 1)] * 130)]
    assert [board.undo(id) for id in ids[:30]] == [False] * 30  # noqa: A001
    assert [board.undo(id) for id in (ids[30], ids[129], ids[77])] == [True] * 3  # noqa: A001
    assert [table.score("ada") for table in tables(board)] == [127, 127, 127]


def test_there_is_nothing_to_undo_of_who_was_removed(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", **EVERYWHERE)
    found = board.submit("ada", 5)
    board.remove("ada")
    assert board.undo(str(found.id)) is False
    assert board.undo("1763913600000-0") is False
    board.ban("ada")
    assert board.undo(board.audit()[0].id) is False


def test_the_audit_trail_says_what_was_undone(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", audit=100)
    found = board.submit("ada", 5)
    board.undo(str(found.id))
    undone, submitted = board.audit()
    assert (undone.kind, undone.member, undone.of) == ("undo", "ada", submitted.id)
    assert (submitted.score, submitted.keep, submitted.id) == (5, "best", found.id)
    assert board.audit(before=undone.id) == [submitted]
    assert board.audit(member="bob") == []
    assert board.audit(1) == [undone]

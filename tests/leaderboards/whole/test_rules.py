"""Which submissions count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo import SubmissionRefused
from octavo.leaderboards import Rules
from tests.fix_servers import set_clock
from tests.leaderboards.whole.cases import DAY
from tests.leaderboards.whole.conftest import dump
from tests.leaderboards.whole.model import SECOND

if TYPE_CHECKING:
    from octavo import Octavo, Sync
    from octavo.testing.servers import Standalone

START = round(datetime(2027, 1, 1, 2, 30, tzinfo=UTC).timestamp()) * SECOND


def reason(board: Any, member: str, score: float) -> str:
    """Return why a submission is refused; nothing if it is not."""
    try:
        board.submit(member, score)
    except SubmissionRefused as error:
        (refusal,) = error.refusals
        return str(refusal[1])
    return ""


@pytest.mark.parametrize("order", ["desc", "asc"])
def test_bounds_belong_to_what_is_allowed(db: Octavo[Sync], order: Any) -> None:
    board = db.leaderboard("x", order=order, keep="last", rules=Rules(lowest=-5, highest=10))
    found = [reason(board, "ada", score) for score in (-5, 10, -5.5, 10.5)]
    assert found == ["", "", "lowest", "highest"]
    assert board.score("ada") == 10


def test_bounds_are_those_of_a_sum(one: Octavo[Sync]) -> None:
    board = one.leaderboard("x", keep="sum", rules=Rules(highest=10))
    assert [reason(board, "ada", 6) for _ in range(2)] == ["", "highest"]
    assert reason(board, "ada", 4) == ""


def test_a_step_is_one_that_counts(one: Octavo[Sync]) -> None:
    board = one.leaderboard("x", rules=Rules(max_step=5))
    assert [reason(board, "ada", score) for score in (100, 106, 105, 3)] == ["", "max_step", "", ""]
    last = one.leaderboard("y", keep="last", rules=Rules(max_step=5))
    assert [reason(last, "ada", score) for score in (100, 94, 95)] == ["", "max_step", ""]


def test_an_interval_is_over_to_the_microsecond(still: Standalone, prefix: str) -> None:
    forward = set_clock(still, START)
    with octavo.connect(still.unix_url, prefix=prefix) as db:
        board = db.leaderboard("x", rules=Rules(min_interval=timedelta(seconds=2)))
        assert [reason(board, "ada", 1), reason(board, "bob", 1)] == ["", ""]
        forward(2 * SECOND - 1)
        assert reason(board, "ada", 2) == "min_interval"
        forward(1)
        assert [reason(board, "ada", 2), reason(board, "ada", 2)] == ["", "min_interval"]


def test_no_more_submissions_count_than_are_allowed(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", rules=Rules(max_submissions=2))
    with pytest.raises(SubmissionRefused) as raised:
        board.submit_many([("ada", 1), ("ada", 2), ("bob", 1), ("ada", 3)])
    assert raised.value.refusals == [("ada", "max_submissions")]
    assert [(one.member, one.score) for one in raised.value.submissions] == [
        ("ada", 1),
        ("ada", 2),
        ("bob", 1),
    ]
    assert board.score("ada") == 2


def test_what_was_undone_counts_for_no_rule(still: Standalone, prefix: str) -> None:
    set_clock(still, START)
    with octavo.connect(still.unix_url, prefix=prefix) as db:
        rules = Rules(min_interval=60, max_submissions=1)
        board = db.leaderboard("x", rules=rules, audit=10)
        first = board.submit("ada", 1)
        assert reason(board, "ada", 2) == "min_interval"
        assert board.undo(str(first.id))
        assert reason(board, "ada", 2) == ""


def test_a_refused_submission_changes_no_table(one: Octavo[Sync], client: Any, prefix: str) -> None:
    options: dict[str, Any] = {"periods": DAY, "rules": Rules(highest=10)}
    board = one.leaderboard("x", **options)
    board.submit("ada", 5, data="x")
    before = dump(client, prefix)
    for _ in range(2):
        assert reason(board, "ada", 11) == "highest"
        assert reason(board, "bob", 11) == "highest"
    assert dump(client, prefix) == before


def test_refusals_are_in_the_audit_trail(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", rules=Rules(lowest=0), audit=10)
    reason(board, "ada", -1)
    board.submit("ada", 1)
    assert [(one.kind, one.member, one.score, one.reason) for one in board.audit()] == [
        ("submitted", "ada", 1, ""),
        ("refused", "ada", -1, "lowest"),
    ]

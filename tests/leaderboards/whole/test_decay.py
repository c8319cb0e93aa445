"""Scores that lose half of their value in a time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

import octavo
from octavo.leaderboards import Period, Window
from tests.fix_servers import set_clock
from tests.leaderboards.whole.cases import DAY
from tests.leaderboards.whole.model import SECOND

if TYPE_CHECKING:
    from octavo import Octavo, Sync
    from octavo.testing.servers import Standalone

START = round(datetime(2027, 1, 1, 2, 30, tzinfo=UTC).timestamp()) * SECOND
HALF_LIFE = 60

histories = st.lists(
    st.tuples(st.integers(0, 90 * SECOND), st.sampled_from("abc"), st.integers(1, 10**6)),
    min_size=1,
    max_size=10,
)


def test_a_score_is_halved_in_every_half_life(still: Standalone, prefix: str) -> None:
    forward = set_clock(still, START)
    with octavo.connect(still.unix_url, prefix=prefix) as db:
        board = db.leaderboard("x", half_life=HALF_LIFE)
        assert board.submit("ada", 100).score == pytest.approx(100, rel=1e-7)
        for left in (50, 25, 12.5):
            forward(HALF_LIFE * SECOND)
            assert board.score("ada") == pytest.approx(left, rel=1e-7)
        assert board.submit("bob", 12).rank == 2
        assert board.submit("cyd", 13).rank == 1


def test_decayed_scores_order_as_on_all_servers(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", half_life=3600, periods=DAY, keep="sum")
    board.submit_many({"ada": 10, "bob": 20})
    board.submit("ada", 11)
    for table in (board, board.period(DAY)):
        assert [entry.member for entry in table] == ["ada", "bob"]
        assert [entry.score for entry in table] == pytest.approx([21, 20], rel=1e-2)


@pytest.mark.parametrize("keep", ["best", "last", "sum", "first"])
def test_every_score_is_what_is_left_of_what_was_submitted(
    still: Standalone, prefix: str, keep: Any
) -> None:
    made = 0

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(histories, st.integers(0, 600 * SECOND))
    def check(history: list[tuple[int, str, int]], after: int) -> None:
        nonlocal made
        made += 1
        forward, now = set_clock(still, START), START
        board = db.leaderboard(
            f"board {made}",
            keep=keep,
            half_life=HALF_LIFE,
            periods=(Period("year"), Window(3600)),
            audit=100,
        )
        kept: dict[str, float] = {}
        for pause, member, score in history:
            forward(pause)
            now += pause
            kept = {name: old * 0.5 ** (pause / HALF_LIFE / SECOND) for name, old in kept.items()}
            found = board.submit(member, score)
            kept[member] = after_it(keep, kept.get(member), score)
            assert found.score == pytest.approx(kept[member], rel=1e-6)
        forward(after)
        kept = {name: old * 0.5 ** (after / HALF_LIFE / SECOND) for name, old in kept.items()}
        for table in (board, board.period("year"), board.window(3600)):
            assert {one.member: one.score for one in table} == pytest.approx(kept, rel=1e-6)
            scores = [entry.score for entry in table]
            assert scores == sorted(scores, reverse=True)

    with octavo.connect(still.unix_url, prefix=prefix) as db:
        check()


def after_it(keep: str, old: float | None, new: float) -> float:
    """Return what a score comes to."""
    if old is None:
        return new
    return {"best": max(old, new), "last": new, "sum": old + new, "first": old}[keep]


def test_what_was_undone_leaves_no_trace(still: Standalone, prefix: str) -> None:
    forward = set_clock(still, START)
    with octavo.connect(still.unix_url, prefix=prefix) as db:
        board = db.leaderboard("x", half_life=HALF_LIFE, keep="sum", audit=10)
        board.submit("ada", 100)
        forward(HALF_LIFE * SECOND)
        wrong = board.submit("ada", 1000)
        board.submit("ada", 10)
        assert board.undo(str(wrong.id))
        assert board.score("ada") == pytest.approx(60, rel=1e-7)

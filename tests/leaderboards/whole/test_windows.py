"""Rolling windows: what was submitted within the last so many seconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

import octavo
from octavo.leaderboards import Window
from tests.fix_servers import set_clock
from tests.leaderboards.inside import raw
from tests.leaderboards.whole.model import SECOND, Made, Table

if TYPE_CHECKING:
    from octavo.testing.servers import Standalone

START = round(datetime(2027, 1, 1, 2, 30, tzinfo=UTC).timestamp()) * SECOND


def test_a_score_counts_to_the_microsecond(still: Standalone, prefix: str) -> None:
    forward = set_clock(still, START)
    with octavo.connect(still.unix_url, prefix=prefix) as db:
        board = db.leaderboard("x", periods=Window(60))
        window = board.window(60)
        board.submit("ada", 9)
        forward(30 * SECOND)
        board.submit("ada", 5)
        board.submit("bob", 7)
        forward(30 * SECOND - 1)
        assert [(entry.member, entry.score) for entry in window] == [("ada", 9), ("bob", 7)]
        forward(1)
        assert [(entry.member, entry.score) for entry in window] == [("bob", 7), ("ada", 5)]
        assert board.submit("cyd", 6).periods["last:60s"].rank == 2
        forward(30 * SECOND)
        assert [entry.member for entry in window] == ["cyd"]
        assert board.count() == 3


def test_scores_of_one_step_are_over_together_and_others_each_at_its_time(
    still: Standalone, prefix: str
) -> None:
    forward = set_clock(still, START)
    with octavo.connect(still.unix_url, prefix=prefix) as db:
        board = db.leaderboard("x", periods=Window(10, step=2), keep="sum")
        window = board.window(10)
        for pause in (0, 1, 4):  # at 0, 1 and 5 seconds
            forward(pause * SECOND)
            board.submit("ada", 1)
        forward(6 * SECOND - 1)
        assert window.score("ada") == 3
        forward(1)
        assert window.score("ada") == 1
        forward(4 * SECOND)
        assert window.score("ada") is None


def test_what_a_window_forgets_leaves_nothing_behind(still: Standalone, prefix: str) -> None:
    forward = set_clock(still, START)
    with octavo.connect(still.unix_url, prefix=prefix) as db, raw(still) as client:
        board = db.leaderboard("x", periods=Window(60), rank="dense")
        board.submit_many({f"m{i}": i % 7 for i in range(20)}, data={"m3": "x"})
        forward(60 * SECOND)
        assert board.window(60).count() == 0
        left = {key.rpartition(b":")[2] for key in client.keys(f"{prefix}:*:last:*")}
        assert left == {b"entries"}
        assert [*client.hgetall(f"{prefix}:leaderboard:{{x}}:last:60s:entries")] == [b""]


def test_data_goes_with_the_submission_that_brought_it(still: Standalone, prefix: str) -> None:
    forward = set_clock(still, START)
    with octavo.connect(still.unix_url, prefix=prefix) as db:
        board = db.leaderboard("x", periods=Window(60))
        window = board.window(60)
        board.submit("ada", 9, data="x")
        board.submit("bob", 3, data="old")
        forward(30 * SECOND)
        board.submit("ada", 5, data="y")
        board.submit("bob", 4)
        assert [entry.data for entry in window] == ["x", "old"]
        forward(30 * SECOND)
        assert [entry.data for entry in window] == ["y", None]


def test_many_that_are_over_at_once_are_all_gone(still: Standalone, prefix: str) -> None:
    forward = set_clock(still, START)
    with octavo.connect(still.unix_url, prefix=prefix, timeout=30) as db:
        board = db.leaderboard("x", periods=Window(60), keep="last")
        board.submit_many({f"m{i}": 1000 + i for i in range(2500)}, data={"m2499": "old"})
        forward(60 * SECOND)
        found = board.submit("m2499", 1).periods["last:60s"]
        assert (found.rank, found.previous) == (1, None)
        assert [(entry.member, entry.data) for entry in board.window(60)] == [("m2499", None)]


def test_a_sum_that_only_another_order_could_hold_does_not_stop_the_board(
    still: Standalone, prefix: str
) -> None:
    forward = set_clock(still, START)
    with octavo.connect(still.unix_url, prefix=prefix) as db:
        board = db.leaderboard("x", periods=Window(60, step=0.001), keep="sum")
        for score in (-1, 2**53, 1):
            board.submit("ada", score)
            forward(SECOND)
        forward(57 * SECOND)
        assert board.submit("bob", 5).periods["last:60s"].rank == 2
        assert board.window(60).score("ada") in {2**53, 2**53 + 1}


histories = st.lists(
    st.tuples(st.integers(0, 3_000_000), st.sampled_from("ab"), st.integers(1, 9)), max_size=12
)


@pytest.mark.parametrize("keep", ["best", "last", "sum", "first"])
def test_a_score_counts_for_the_length_of_a_window_and_at_most_a_step_longer(
    still: Standalone, prefix: str, keep: Any
) -> None:
    length, step = 10, 2
    made = 0

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(histories, st.integers(0, 12_000_000))
    def check(history: list[tuple[int, str, int]], after: int) -> None:
        nonlocal made
        made += 1
        forward = set_clock(still, START)
        board = db.leaderboard(f"board {made}", keep=keep, periods=Window(length, step=step))
        now, done = START, list[Made]()
        for pause, member, score in history:
            forward(pause)
            now += pause
            done.append(Made(member, (score,), keep, None, now, len(done) + 1, None))
            board.submit(member, score)
        forward(after)
        now += after
        found = {entry.member: entry.score for entry in board.window(length)}
        allowed: list[dict[str, float]] = []
        ends = {one.at + length * SECOND for one in done}
        for late in sorted({0, step * SECOND, *(now - end for end in ends)}):
            if 0 <= late <= step * SECOND:
                for exactly in (late, late + 1):
                    table = Table(length * SECOND, keep=keep)
                    table.made = [*done]
                    table.at(now - exactly)
                    allowed.append({name: row.scores[0] for name, row in table.rows.items()})
        for member in "ab":
            assert found.get(member) in [rows.get(member) for rows in allowed]

    with octavo.connect(still.unix_url, prefix=prefix) as db:
        check()

"""The three faces of every operation of a sharded leaderboard."""

# A coroutine given to `assert_type` is taken for one that nobody awaits.
# mypy: disable-error-code="unused-coroutine"
# pyright: reportUnusedCoroutine=false

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, assert_type

from octavo import Async, Batch, Octavo, Pending, Sync
from octavo.leaderboards import Bin, Entry, Page, ShardedLeaderboard, Submission, even_bounds


def making(db: Octavo[Sync]) -> None:
    board = db.sharded_leaderboard("world", bounds=even_bounds(0, 5000, 12), order="asc", homes=8)
    assert_type(board, ShardedLeaderboard[Sync])


def changing(
    s: ShardedLeaderboard[Sync], a: ShardedLeaderboard[Async], b: ShardedLeaderboard[Batch]
) -> None:
    assert_type(s.submit("ada", 1), Submission)
    assert_type(a.submit("ada", 1.5), Coroutine[Any, Any, Submission])
    assert_type(b.submit(member="ada", score=1), Pending[Submission])

    assert_type(s.submit_many({"ada": 1}), int)
    assert_type(a.submit_many([("ada", 1.5)]), Coroutine[Any, Any, int])

    assert_type(s.increment("ada"), Submission)
    assert_type(a.increment("ada", 2.5), Coroutine[Any, Any, Submission])
    assert_type(b.increment(member="ada", by=-1), Pending[Submission])

    assert_type(s.remove("ada", "bob"), int)
    assert_type(a.remove("ada"), Coroutine[Any, Any, int])
    assert_type(b.remove(), Pending[int])

    assert_type(s.clear(), bool)
    assert_type(a.clear(), Coroutine[Any, Any, bool])
    assert_type(b.clear(), Pending[bool])

    assert_type(s.repair(), int)
    assert_type(a.repair(older_than=5, thorough=True), Coroutine[Any, Any, int])


def members(
    s: ShardedLeaderboard[Sync], a: ShardedLeaderboard[Async], b: ShardedLeaderboard[Batch]
) -> None:
    assert_type(s.rank("ada"), float | None)
    assert_type(a.rank("ada"), Coroutine[Any, Any, float | None])
    assert_type(b.rank("ada"), Pending[float | None])

    assert_type(s.score("ada"), float | None)
    assert_type(a.score("ada"), Coroutine[Any, Any, float | None])
    assert_type(b.score("ada"), Pending[float | None])

    assert_type(s.entry("ada"), Entry | None)
    assert_type(a.entry("ada"), Coroutine[Any, Any, Entry | None])
    assert_type(b.entry("ada"), Pending[Entry | None])

    assert_type(s.percentile("ada"), float | None)
    assert_type(a.percentile("ada", kind="weak"), Coroutine[Any, Any, float | None])
    assert_type(b.percentile("ada", kind="rank"), Pending[float | None])

    assert_type(s.ranks_of(["ada", "bob"]), list[Entry])
    assert_type(a.ranks_of({"ada", "bob"}), Coroutine[Any, Any, list[Entry]])
    assert_type(b.ranks_of(("ada",)), Pending[list[Entry]])


def runs(
    s: ShardedLeaderboard[Sync], a: ShardedLeaderboard[Async], b: ShardedLeaderboard[Batch]
) -> None:
    assert_type(s.top(), list[Entry])
    assert_type(a.top(3), Coroutine[Any, Any, list[Entry]])
    assert_type(b.top(n=3), Pending[list[Entry]])

    assert_type(s.page(1), list[Entry])
    assert_type(a.page(1, size=10), Coroutine[Any, Any, list[Entry]])
    assert_type(b.page(n=1, size=None), Pending[list[Entry]])

    assert_type(s.around("ada"), list[Entry])
    assert_type(a.around("ada", 2), Coroutine[Any, Any, list[Entry]])
    assert_type(b.around("ada", n=2), Pending[list[Entry]])

    assert_type(s.between_scores(1, 10), list[Entry])
    assert_type(a.between_scores(low=1.5, high=10), Coroutine[Any, Any, list[Entry]])
    assert_type(b.between_scores(1, 10, limit=5), Pending[list[Entry]])

    assert_type(s.scan(), Page)
    assert_type(a.scan("cursor"), Coroutine[Any, Any, Page])
    assert_type(b.scan(limit=5), Pending[Page])


def whole(
    s: ShardedLeaderboard[Sync], a: ShardedLeaderboard[Async], b: ShardedLeaderboard[Batch]
) -> None:
    assert_type(s.count(), int)
    assert_type(a.count(1, 2.5), Coroutine[Any, Any, int])
    assert_type(b.count(low=1), Pending[int])

    assert_type(s.score_at(50), float | None)
    assert_type(a.score_at(99.9), Coroutine[Any, Any, float | None])
    assert_type(b.score_at(percentile=50), Pending[float | None])

    assert_type(s.histogram([0, 10]), list[Bin])
    assert_type(a.histogram([0, 10.5]), Coroutine[Any, Any, list[Bin]])
    assert_type(b.histogram(bins=[0, 10]), Pending[list[Bin]])

    assert_type(s.shards(), list[Bin])
    assert_type(a.shards(), Coroutine[Any, Any, list[Bin]])
    assert_type(b.shards(), Pending[list[Bin]])


def iteration(s: ShardedLeaderboard[Sync], a: ShardedLeaderboard[Async]) -> None:
    assert_type(iter(s), Iterator[Entry])
    assert_type(aiter(a), AsyncIterator[Entry])

"""The three faces of every operation of a leaderboard."""

# A coroutine given to `assert_type` is taken for one that nobody awaits.
# mypy: disable-error-code="unused-coroutine"
# pyright: reportUnusedCoroutine=false

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, assert_type

from octavo import Async, Batch, Pending, Sync
from octavo.leaderboards import Bin, Entry, Leaderboard, Page, Standings, Submission, Table


def submitting(s: Leaderboard[Sync], a: Leaderboard[Async], b: Leaderboard[Batch]) -> None:
    assert_type(s.submit("ada", 1), Submission)
    assert_type(a.submit("ada", 1.5, data={"level": 3}), Coroutine[Any, Any, Submission])
    assert_type(b.submit("ada", (1, 2.5)), Pending[Submission])

    assert_type(s.submit_many({"ada": 1}), list[Submission])
    assert_type(a.submit_many([("ada", 1.5)]), Coroutine[Any, Any, list[Submission]])
    assert_type(b.submit_many({"ada": (1, 2)}, data={"ada": 1}), Pending[list[Submission]])

    assert_type(s.increment("ada"), Submission)
    assert_type(a.increment("ada", 2.5), Coroutine[Any, Any, Submission])
    assert_type(b.increment(member="ada", by=-1), Pending[Submission])

    assert_type(s.annotate("ada", {"level": 3}), bool)
    assert_type(a.annotate("ada", None), Coroutine[Any, Any, bool])
    assert_type(b.annotate("ada", data=[1, 2]), Pending[bool])


def tables(s: Table[Sync], a: Table[Async], b: Table[Batch]) -> None:
    assert_type(s.remove("ada", "bob"), int)
    assert_type(a.remove("ada"), Coroutine[Any, Any, int])
    assert_type(b.remove(), Pending[int])

    assert_type(s.remove_between_scores(1, 2.5), int)
    assert_type(a.remove_between_scores(low=1, high=2), Coroutine[Any, Any, int])
    assert_type(b.remove_between_scores(-1, 1), Pending[int])

    assert_type(s.trim(100), int)
    assert_type(a.trim(keep=100), Coroutine[Any, Any, int])
    assert_type(b.trim(100), Pending[int])

    assert_type(s.clear(), bool)
    assert_type(a.clear(), Coroutine[Any, Any, bool])
    assert_type(b.clear(), Pending[bool])


def standings(s: Standings[Sync], a: Standings[Async], b: Standings[Batch]) -> None:
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

    assert_type(s.top(), list[Entry])
    assert_type(a.top(3), Coroutine[Any, Any, list[Entry]])
    assert_type(b.top(n=3), Pending[list[Entry]])

    assert_type(s.page(1), list[Entry])
    assert_type(a.page(1, size=10), Coroutine[Any, Any, list[Entry]])
    assert_type(b.page(n=1, size=None), Pending[list[Entry]])

    assert_type(s.page_of("ada"), int | None)
    assert_type(a.page_of("ada", size=10), Coroutine[Any, Any, int | None])
    assert_type(b.page_of(member="ada", size=None), Pending[int | None])

    assert_type(s.around("ada"), list[Entry])
    assert_type(a.around("ada", 2), Coroutine[Any, Any, list[Entry]])
    assert_type(b.around("ada", n=2), Pending[list[Entry]])

    assert_type(s.between_ranks(1, 10), list[Entry])
    assert_type(a.between_ranks(first=1, last=10), Coroutine[Any, Any, list[Entry]])
    assert_type(b.between_ranks(1, 10, limit=5), Pending[list[Entry]])

    assert_type(s.between_scores(1, 10), list[Entry])
    assert_type(a.between_scores(low=1.5, high=10), Coroutine[Any, Any, list[Entry]])
    assert_type(b.between_scores(1, 10, limit=5), Pending[list[Entry]])

    assert_type(s.scan(), Page)
    assert_type(a.scan("cursor"), Coroutine[Any, Any, Page])
    assert_type(b.scan(limit=5), Pending[Page])

    assert_type(s.count(), int)
    assert_type(a.count(1, 2.5), Coroutine[Any, Any, int])
    assert_type(b.count(low=1), Pending[int])

    assert_type(s.score_at(50), float | None)
    assert_type(a.score_at(99.9), Coroutine[Any, Any, float | None])
    assert_type(b.score_at(percentile=50), Pending[float | None])

    assert_type(s.histogram(), list[Bin])
    assert_type(a.histogram(20), Coroutine[Any, Any, list[Bin]])
    assert_type(b.histogram(bins=[0, 10, 100.5]), Pending[list[Bin]])


def iteration(s: Leaderboard[Sync], a: Leaderboard[Async]) -> None:
    assert_type(iter(s), Iterator[Entry])
    assert_type(aiter(a), AsyncIterator[Entry])

"""The three faces of merging, of tiers and of cohorts."""

# A coroutine given to `assert_type` is taken for one that nobody awaits.
# mypy: disable-error-code="unused-coroutine"
# pyright: reportUnusedCoroutine=false

from __future__ import annotations

from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from octavo import Async, Batch, Octavo, Pending, Sync
from octavo.leaderboards import (
    Cohorts,
    Entry,
    Leaderboard,
    Standings,
    Submission,
    Table,
    Tier,
    Tiers,
    TierStanding,
)


def factories(s: Octavo[Sync], a: Octavo[Async], b: Octavo[Batch]) -> None:
    assert_type(s.leaderboard("x", tiers=Tiers.by_score(gold=10, silver=0.5)), Leaderboard[Sync])
    assert_type(s.cohorts("spring"), Cohorts[Sync])
    assert_type(a.cohorts("spring", size=30, keep="sum", tag="x"), Cohorts[Async])
    assert_type(b.cohorts("spring", order=("desc", "asc")), Cohorts[Batch])


def tables(s: Table[Sync], a: Table[Async], b: Table[Batch]) -> None:
    assert_type(s.merge(s), int)
    assert_type(a.merge(a, a, aggregate="best"), Coroutine[Any, Any, int])
    assert_type(b.merge(b, weights=[1, 0.5]), Pending[int])

    assert_type(s.intersect(s), int)
    assert_type(a.intersect(a, s, aggregate="last"), Coroutine[Any, Any, int])
    assert_type(b.intersect(b, weights=(1, 2)), Pending[int])

    assert_type(s.expire(60), bool)
    assert_type(a.expire(timedelta(days=1)), Coroutine[Any, Any, bool])
    assert_type(b.expire(at=datetime.now(UTC)), Pending[bool])


def tiers(s: Standings[Sync], a: Standings[Async], b: Standings[Batch]) -> None:
    assert_type(s.tier("ada"), TierStanding | None)
    assert_type(a.tier("ada"), Coroutine[Any, Any, TierStanding | None])
    assert_type(b.tier(member="ada"), Pending[TierStanding | None])

    assert_type(s.tiers(), list[Tier])
    assert_type(a.tiers(), Coroutine[Any, Any, list[Tier]])
    assert_type(b.tiers(), Pending[list[Tier]])

    assert_type(s.in_tier("gold"), list[Entry])
    assert_type(a.in_tier("gold", limit=5), Coroutine[Any, Any, list[Entry]])
    assert_type(b.in_tier(tier="gold"), Pending[list[Entry]])


def cohorts(s: Cohorts[Sync], a: Cohorts[Async], b: Cohorts[Batch]) -> None:
    assert_type(s.join("ada"), int)
    assert_type(a.join("ada"), Coroutine[Any, Any, int])
    assert_type(b.join(member="ada"), Pending[int])

    assert_type(s.submit("ada", 1), Submission)
    assert_type(a.submit("ada", 1.5, data={"level": 3}), Coroutine[Any, Any, Submission])
    assert_type(b.submit("ada", (1, 2)), Pending[Submission])

    assert_type(s.leave("ada"), bool)
    assert_type(a.leave("ada"), Coroutine[Any, Any, bool])
    assert_type(b.leave("ada"), Pending[bool])

    assert_type(s.cohort_of("ada"), int | None)
    assert_type(a.cohort_of("ada"), Coroutine[Any, Any, int | None])
    assert_type(b.cohort_of("ada"), Pending[int | None])

    assert_type(s.count(), int)
    assert_type(a.count(), Coroutine[Any, Any, int])
    assert_type(b.count(), Pending[int])

    assert_type(s.clear(), int)
    assert_type(a.clear(), Coroutine[Any, Any, int])
    assert_type(b.clear(), Pending[int])

    assert_type(s.board(1), Leaderboard[Sync])
    assert_type(a.board(1), Leaderboard[Async])
    assert_type(b.board(number=2), Leaderboard[Batch])

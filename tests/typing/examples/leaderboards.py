"""The three faces of every operation of a leaderboard."""

# A coroutine given to `assert_type` is taken for one that nobody awaits.
# mypy: disable-error-code="unused-coroutine"
# pyright: reportUnusedCoroutine=false

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, assert_type

from octavo import Async, Batch, Pending, Sync
from octavo.leaderboards import (
    Bin,
    Change,
    Entry,
    Event,
    EventStream,
    Leaderboard,
    Page,
    Period,
    Season,
    SeasonInfo,
    Standings,
    Submission,
    Table,
)

if TYPE_CHECKING:
    from octavo.leaderboards.views import Counted, PeriodTable


def submitting(s: Leaderboard[Sync], a: Leaderboard[Async], b: Leaderboard[Batch]) -> None:
    assert_type(s.submit("ada", 1), Submission)
    assert_type(a.submit("ada", 1.5, data={"level": 3}), Coroutine[Any, Any, Submission])
    assert_type(b.submit("ada", (1, 2.5)), Pending[Submission])

    assert_type(s.record("ada", 1), bool)
    assert_type(a.record("ada", 1.5), Coroutine[Any, Any, bool])
    assert_type(b.record("ada", (1, 2.5)), Pending[bool])

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


def trust(s: Leaderboard[Sync], a: Leaderboard[Async], b: Leaderboard[Batch]) -> None:
    assert_type(s.ban("eve"), int)
    assert_type(a.ban("eve", "mal"), Coroutine[Any, Any, int])
    assert_type(b.ban(), Pending[int])

    assert_type(s.unban("eve"), int)
    assert_type(a.unban("eve", "mal"), Coroutine[Any, Any, int])
    assert_type(b.unban(), Pending[int])

    assert_type(s.banned(), list[str])
    assert_type(a.banned(), Coroutine[Any, Any, list[str]])
    assert_type(b.banned(), Pending[list[str]])

    assert_type(s.audit(), list[Change])
    assert_type(a.audit(10, before="1-0"), Coroutine[Any, Any, list[Change]])
    assert_type(b.audit(member="eve"), Pending[list[Change]])

    assert_type(s.undo("1-0"), bool)
    assert_type(a.undo("1-0"), Coroutine[Any, Any, bool])
    assert_type(b.undo(id="1-0"), Pending[bool])


def tables_in_time(s: Leaderboard[Sync], a: Leaderboard[Async], b: Leaderboard[Batch]) -> None:
    assert_type(s.period("day"), Standings[Sync])
    assert_type(a.period(Period("week", zone="Asia/Tokyo"), ago=1), Standings[Async])
    assert_type(b.period("day", at=date(2026, 11, 23)), Table[Batch])
    assert_type(s.window(3600), Standings[Sync])
    assert_type(a.season("spring"), Season[Async])

    assert_type(s.seasons(), list[SeasonInfo])
    assert_type(a.seasons(), Coroutine[Any, Any, list[SeasonInfo]])
    assert_type(b.seasons(), Pending[list[SeasonInfo]])


def seasons(s: Season[Sync], a: Season[Async], b: Season[Batch]) -> None:
    assert_type(s.open(), bool)
    assert_type(a.open(closes=datetime.now(UTC)), Coroutine[Any, Any, bool])
    assert_type(b.open(opens=datetime.now(UTC)), Pending[bool])

    assert_type(s.close(), bool)
    assert_type(a.close(), Coroutine[Any, Any, bool])
    assert_type(b.close(), Pending[bool])


def counts(s: Counted[Sync], a: Counted[Async], b: Counted[Batch]) -> None:
    assert_type(s.count(), int)
    assert_type(a.count(1, 2), Coroutine[Any, Any, int])
    assert_type(b.count(low=3), Pending[int])


def live(s: Leaderboard[Sync], a: Leaderboard[Async], b: Leaderboard[Batch]) -> None:
    assert_type(s.events(), EventStream[Sync])
    assert_type(a.events("1-0"), EventStream[Async])

    assert_type(s.watch("ada"), int)
    assert_type(a.watch("ada", "bob"), Coroutine[Any, Any, int])
    assert_type(b.watch(), Pending[int])

    assert_type(s.unwatch("ada"), int)
    assert_type(a.unwatch("ada", "bob"), Coroutine[Any, Any, int])
    assert_type(b.unwatch(), Pending[int])


def events(s: EventStream[Sync], a: EventStream[Async], b: EventStream[Batch]) -> None:
    assert_type(s.newest(), str)
    assert_type(a.newest(), Coroutine[Any, Any, str])
    assert_type(b.newest(), Pending[str])

    assert_type(s.read("0-0"), list[Event])
    assert_type(a.read("0-0", wait=1.5), Coroutine[Any, Any, list[Event]])
    assert_type(b.read("0-0", limit=10), Pending[list[Event]])

    assert_type(iter(s), Iterator[Event])
    assert_type(aiter(a), AsyncIterator[Event])


def annotated(s: Leaderboard[Sync], a: Leaderboard[Async], b: Leaderboard[Batch]) -> None:
    assert_type(s.remove("ada"), int)
    assert_type(a.remove("ada"), Coroutine[Any, Any, int])
    assert_type(b.remove("ada"), Pending[int])

    assert_type(s.trim(10), int)
    assert_type(a.trim(10), Coroutine[Any, Any, int])
    assert_type(b.trim(10), Pending[int])

    assert_type(s.clear(), bool)
    assert_type(a.clear(), Coroutine[Any, Any, bool])
    assert_type(b.clear(), Pending[bool])


def cleared(s: Season[Sync], a: Season[Async], b: Season[Batch]) -> None:
    assert_type(s.clear(), bool)
    assert_type(a.clear(), Coroutine[Any, Any, bool])
    assert_type(b.clear(), Pending[bool])


def of_a_period(s: PeriodTable[Sync], a: PeriodTable[Async], b: PeriodTable[Batch]) -> None:
    assert_type(s.clear(), bool)
    assert_type(a.clear(), Coroutine[Any, Any, bool])
    assert_type(b.clear(), Pending[bool])


def by_scores(s: Leaderboard[Sync], a: Leaderboard[Async], b: Leaderboard[Batch]) -> None:
    assert_type(s.remove_between_scores(0, 10), int)
    assert_type(a.remove_between_scores(0, 10), Coroutine[Any, Any, int])
    assert_type(b.remove_between_scores(low=0, high=10), Pending[int])


def expiring(s: Leaderboard[Sync], a: Leaderboard[Async], b: Leaderboard[Batch]) -> None:
    assert_type(s.expire(3600), bool)
    assert_type(a.expire(timedelta(days=1)), Coroutine[Any, Any, bool])
    assert_type(b.expire(None), Pending[bool])

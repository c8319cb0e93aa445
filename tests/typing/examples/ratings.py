"""The three faces of every operation of ratings."""

# A coroutine given to `assert_type` is taken for one that nobody awaits.
# mypy: disable-error-code="unused-coroutine"
# pyright: reportUnusedCoroutine=false

from __future__ import annotations

from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, assert_type

from octavo import Async, Batch, Octavo, Pending, Sync
from octavo.leaderboards import (
    Elo,
    Glicko2,
    MatchResult,
    OpenSkill,
    Rated,
    Rating,
    Ratings,
    Standings,
)


def factories(s: Octavo[Sync], a: Octavo[Async], b: Octavo[Batch]) -> None:
    assert_type(s.ratings("chess", system=Elo(k=20)), Ratings[Sync])
    assert_type(a.ratings("go", system=Glicko2(period=timedelta(days=7))), Ratings[Async])
    assert_type(b.ratings("duels", system=OpenSkill(), tag="league"), Ratings[Batch])


def operations(s: Ratings[Sync], a: Ratings[Async], b: Ratings[Batch]) -> None:
    assert_type(s.standings, Standings[Sync])
    assert_type(a.standings, Standings[Async])
    assert_type(b.standings, Standings[Batch])

    assert_type(s.match(["ada", "bob"]), MatchResult)
    assert_type(a.match([["ada", "bob"], "cyd"], ranks=[1, 1]), Coroutine[Any, Any, MatchResult])
    assert_type(b.match(["ada", "bob"], scores=(3, 1), match_id="1"), Pending[MatchResult])
    assert_type(s.match(["ada", "bob"]).players["ada"], Rated)
    assert_type(s.match(["ada", "bob"]).players["ada"].after, Rating)

    assert_type(s.adjust("ada", 1600), Rating)
    assert_type(a.adjust("ada", deviation=50), Coroutine[Any, Any, Rating])
    assert_type(b.adjust("ada", 1600, volatility=0.1), Pending[Rating])

    assert_type(s.rating("ada"), Rating | None)
    assert_type(a.rating(player="ada"), Coroutine[Any, Any, Rating | None])
    assert_type(b.rating("ada"), Pending[Rating | None])

    assert_type(s.ratings_of(["ada", "bob"]), dict[str, Rating])
    assert_type(a.ratings_of({"ada"}), Coroutine[Any, Any, dict[str, Rating]])
    assert_type(b.ratings_of(("ada",)), Pending[dict[str, Rating]])

    assert_type(s.predict(["ada", ["bob"]]), list[float])
    assert_type(a.predict(["ada", "bob"]), Coroutine[Any, Any, list[float]])
    assert_type(b.predict([("ada",), "bob"]), Pending[list[float]])

    assert_type(s.ban("ada", "bob"), int)
    assert_type(a.ban("ada"), Coroutine[Any, Any, int])
    assert_type(b.ban(), Pending[int])

    assert_type(s.unban("ada", "bob"), int)
    assert_type(a.unban("ada"), Coroutine[Any, Any, int])
    assert_type(b.unban(), Pending[int])

    assert_type(s.remove("ada", "bob"), int)
    assert_type(a.remove("ada"), Coroutine[Any, Any, int])
    assert_type(b.remove(), Pending[int])

    assert_type(s.banned(), list[str])
    assert_type(a.banned(), Coroutine[Any, Any, list[str]])
    assert_type(b.banned(), Pending[list[str]])

    assert_type(s.clear(), bool)
    assert_type(a.clear(), Coroutine[Any, Any, bool])
    assert_type(b.clear(), Pending[bool])

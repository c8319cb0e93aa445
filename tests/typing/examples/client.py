"""The faces of the client, which users never spell."""

# A coroutine given to `assert_type` is taken for one that nobody awaits.
# mypy: disable-error-code="unused-coroutine"
# pyright: reportUnusedCoroutine=false

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, assert_type

import octavo
from octavo import Async, Batch, Octavo, Pending, Sync
from octavo.doctor import Report
from octavo.leaderboards import Leaderboard, Submission

if TYPE_CHECKING:
    from octavo.engine.guard import Guard


def sync_code() -> None:
    with octavo.connect() as db:
        assert_type(db, Octavo[Sync])
        assert_type(db.leaderboard("season-1"), Leaderboard[Sync])
        with db.batch(atomic=True) as batch:
            assert_type(batch, Octavo[Batch])
            assert_type(batch.leaderboard("season-1"), Leaderboard[Batch])
            pending = batch.leaderboard("season-1").submit("ada", 1)
            assert_type(pending, Pending[Submission])
        assert_type(pending.result(), Submission)
        assert_type(db.close(), None)


async def async_code() -> None:
    async with octavo.connect_async() as db:
        assert_type(db, Octavo[Async])
        assert_type(db.leaderboard("season-1", tag="eu"), Leaderboard[Async])
        assert_type(await db.leaderboard("season-1").submit("ada", 1), Submission)
        async with db.batch(raise_on_error=False) as batch:
            assert_type(batch, Octavo[Batch])
        assert_type(await db.aclose(), None)


async def guarded(s: Octavo[Sync], a: Octavo[Async], guard: Guard) -> None:
    with s.batch(guard=guard) as batch:
        assert_type(batch, Octavo[Batch])
    async with a.batch(guard=guard, atomic=True, raise_on_error=False) as batch:
        assert_type(batch, Octavo[Batch])


def flows(s: Octavo[Sync], a: Octavo[Async]) -> None:
    assert_type(s.doctor(), Report)
    assert_type(a.doctor(), Coroutine[Any, Any, Report])

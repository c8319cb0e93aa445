"""The three faces of every operation that looks at locks."""

# A coroutine given to `assert_type` is taken for one that nobody awaits.
# mypy: disable-error-code="unused-coroutine"
# pyright: reportUnusedCoroutine=false

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, assert_type

import octavo
from octavo import Async, Batch, Pending, Sync
from octavo.locks import Holder, LockInfo, Locks, Waiter


def operations(s: Locks[Sync], a: Locks[Async], b: Locks[Batch]) -> None:
    assert_type(s.list(), list[LockInfo])
    assert_type(a.list(prefix="x"), Coroutine[Any, Any, list[LockInfo]])

    assert_type(s.holder("x"), Holder | None)
    assert_type(a.holder(name="x", kind="rwlock"), Coroutine[Any, Any, Holder | None])
    assert_type(b.holder("x", tag="t"), Pending[Holder | None])

    assert_type(s.holders("x", kind="semaphore"), list[Holder])
    assert_type(a.holders("x"), Coroutine[Any, Any, list[Holder]])
    assert_type(b.holders("x", kind="election"), Pending[list[Holder]])

    assert_type(s.waiters("x"), list[Waiter])
    assert_type(a.waiters("x", kind="lock"), Coroutine[Any, Any, list[Waiter]])
    assert_type(b.waiters("x"), Pending[list[Waiter]])

    assert_type(s.break_("x"), int)
    assert_type(a.break_("x", kind="rwlock", tag="t"), Coroutine[Any, Any, int])
    assert_type(b.break_("x"), Pending[int])


def factories() -> None:
    with octavo.connect() as db:
        assert_type(db.locks, Locks[Sync])
        with db.batch() as batch:
            assert_type(batch.locks, Locks[Batch])


async def async_factories() -> None:
    async with octavo.connect_async() as db:
        assert_type(db.locks, Locks[Async])

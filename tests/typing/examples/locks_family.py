"""The faces of what stands beside locks: latch, barrier, gate, election, several at once."""

# A coroutine given to `assert_type` is taken for one that nobody awaits.
# mypy: disable-error-code="unused-coroutine"
# pyright: reportUnusedCoroutine=false

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import timedelta
from typing import Any, assert_type

import octavo
from octavo import Async, Batch, Octavo, Pending, Sync
from octavo.locks import (
    Arrival,
    Barrier,
    Election,
    Gate,
    Latch,
    Leader,
    Lease,
    MultiLock,
    Redlock,
    Term,
)


def factories(s: Octavo[Sync], a: Octavo[Async], b: Octavo[Batch]) -> None:
    assert_type(s.latch("x", 3), Latch[Sync])
    assert_type(a.latch("x", count=3, tag="t"), Latch[Async])
    assert_type(b.latch("x", 3), Latch[Batch])
    assert_type(s.barrier("x", 3), Barrier[Sync])
    assert_type(a.barrier("x", parties=3, tag="t"), Barrier[Async])
    assert_type(b.barrier("x", 3), Barrier[Batch])
    assert_type(s.fence("x"), Gate[Sync])
    assert_type(a.fence("x", ttl=timedelta(days=1), tag="t"), Gate[Async])
    assert_type(b.fence("x", ttl=60), Gate[Batch])
    assert_type(s.election("x", ttl=10), Election[Sync])
    assert_type(a.election("x", sync=1, tag="t"), Election[Async])
    assert_type(s.multilock(["x", "y"], fair=True), MultiLock[Sync])
    assert_type(a.multilock({"x", "y"}, ttl=timedelta(seconds=5)), MultiLock[Async])
    assert_type(octavo.Redlock([s, s, s], "x", ttl=5), Redlock[Sync])
    assert_type(octavo.Redlock([a], "x", renew=False), Redlock[Async])


def latches(s: Latch[Sync], a: Latch[Async], b: Latch[Batch]) -> None:
    assert_type(s.count_down(), int)
    assert_type(a.count_down(id="x"), Coroutine[Any, Any, int])
    assert_type(b.count_down("x"), Pending[int])

    assert_type(s.count(), int)
    assert_type(a.count(), Coroutine[Any, Any, int])
    assert_type(b.count(), Pending[int])

    assert_type(s.reset(), None)
    assert_type(a.reset(), Coroutine[Any, Any, None])
    assert_type(b.reset(), Pending[None])

    assert_type(s.wait(), bool)
    assert_type(a.wait(timeout=timedelta(minutes=1)), Coroutine[Any, Any, bool])
    b.wait()  # error


def barriers(s: Barrier[Sync], a: Barrier[Async], b: Barrier[Batch]) -> None:
    assert_type(s.wait(), Arrival)
    assert_type(a.wait(timeout=60), Coroutine[Any, Any, Arrival])
    b.wait()  # error
    assert_type(s.wait().index, int)

    assert_type(s.abort(), None)
    assert_type(a.abort(), Coroutine[Any, Any, None])
    assert_type(b.abort(), Pending[None])

    assert_type(s.reset(), None)
    assert_type(a.reset(), Coroutine[Any, Any, None])
    assert_type(b.reset(), Pending[None])

    assert_type(s.n_waiting(), int)
    assert_type(a.n_waiting(), Coroutine[Any, Any, int])
    assert_type(b.n_waiting(), Pending[int])

    assert_type(s.broken(), bool)
    assert_type(a.broken(), Coroutine[Any, Any, bool])
    assert_type(b.broken(), Pending[bool])


def gates(s: Gate[Sync], a: Gate[Async], b: Gate[Batch], db: Octavo[Sync]) -> None:
    assert_type(s.admit(1), None)
    assert_type(a.admit(fence=1), Coroutine[Any, Any, None])
    assert_type(b.admit(1), Pending[None])

    assert_type(s.newest(), int | None)
    assert_type(a.newest(), Coroutine[Any, Any, int | None])
    assert_type(b.newest(), Pending[int | None])

    with db.batch(guard=s.guard(1)) as batch:
        assert_type(batch, Octavo[Batch])
    db.batch(guard=s)  # error


def elections(s: Election[Sync], a: Election[Async], b: Election[Batch]) -> None:
    assert_type(s.campaign(), Term[Sync])
    assert_type(a.campaign("me", wait=5), Coroutine[Any, Any, Term[Async]])
    b.campaign()  # error

    assert_type(s.leader(), Leader | None)
    assert_type(a.leader(), Coroutine[Any, Any, Leader | None])
    assert_type(b.leader(), Pending[Leader | None])

    assert_type(s.changed(None), Leader | None)
    assert_type(a.changed(seen=None, timeout=1), Coroutine[Any, Any, Leader | None])

    assert_type(s.observe(), Iterator[Leader | None])
    assert_type(a.observe(), AsyncIterator[Leader | None])


def terms(s: Term[Sync], a: Term[Async]) -> None:
    assert_type(s.proclaim("x"), None)
    assert_type(a.proclaim(value="x"), Coroutine[Any, Any, None])

    assert_type(s.resign(), bool)
    assert_type(a.resign(), Coroutine[Any, Any, bool])

    assert_type(s.term, int)
    assert_type(s.value, str)


def several(s: MultiLock[Sync], a: MultiLock[Async], b: MultiLock[Batch]) -> None:
    assert_type(s.acquire(), Lease[Sync])
    assert_type(a.acquire(wait=5), Coroutine[Any, Any, Lease[Async]])
    b.acquire()  # error

    assert_type(s.try_acquire(), Lease[Sync] | None)
    assert_type(a.try_acquire(), Coroutine[Any, Any, Lease[Async] | None])


def majorities(s: Redlock[Sync], a: Redlock[Async]) -> None:
    assert_type(s.acquire(wait=timedelta(seconds=5)), Lease[Sync])
    assert_type(a.acquire(5), Coroutine[Any, Any, Lease[Async]])

    assert_type(s.try_acquire(), Lease[Sync] | None)
    assert_type(a.try_acquire(), Coroutine[Any, Any, Lease[Async] | None])


def blocks(s: Election[Sync], m: MultiLock[Sync], r: Redlock[Sync]) -> None:
    with s.campaign(wait=5) as term:
        assert_type(term.lost.wait(1), bool)
    with m as lease:
        assert_type(lease, Lease[Sync])
    with r.acquire(wait=5) as lease:
        assert_type(lease, Lease[Sync])


async def async_blocks(s: Election[Async], m: MultiLock[Async], r: Redlock[Async]) -> None:
    async with await s.campaign(wait=5) as term:
        assert_type(await term.lost.wait(1), bool)
    async with m as lease:
        assert_type(lease, Lease[Async])
    async with r as lease:
        assert_type(lease, Lease[Async])


def decorated(s: Octavo[Sync], a: Octavo[Async]) -> None:
    @s.locked("x:{key}", wait=0)
    def load(key: str) -> int:
        return len(key)

    @s.locked("x:{key}", wait=0, on_busy="skip", ttl=5)
    def load_or_skip(key: str) -> int:
        return len(key)

    @a.locked("x:{key}", wait=timedelta(seconds=1), on_busy="raise")
    async def load_soon(key: str) -> int:
        return len(key)

    @a.locked("x:{key}", on_busy="skip")
    async def load_soon_or_skip(key: str) -> int:
        return len(key)

    assert_type(load("k"), int)
    assert_type(load_or_skip(key="k"), int | None)
    assert_type(load_soon("k"), Coroutine[Any, Any, int])
    assert_type(load_soon_or_skip("k"), Coroutine[Any, Any, int | None])
    check: Callable[[str], int] = load
    check("k")
    load(1)  # error
    s.locked("x", on_busy="wait")  # error

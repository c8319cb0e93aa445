"""The faces of locks, read-write locks and semaphores, and of the leases they grant."""

# A coroutine given to `assert_type` is taken for one that nobody awaits.
# mypy: disable-error-code="unused-coroutine"
# pyright: reportUnusedCoroutine=false

from __future__ import annotations

from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, assert_type

from octavo import Async, Batch, LockLost, Octavo, Pending, Sync
from octavo.locks import HoldOptions, Lease, Lock, Loss, RWLock, Semaphore, Side


def told(lease: Lease[Any]) -> None: ...


async def told_soon(lease: Lease[Any]) -> None: ...


def factories(s: Octavo[Sync], a: Octavo[Async], b: Octavo[Batch]) -> None:
    assert_type(s.lock("x"), Lock[Sync])
    assert_type(a.lock("x", ttl=timedelta(minutes=1), fair=True, on_lost=told_soon), Lock[Async])
    assert_type(s.lock("x", ttl=5, reentrant=True, tag="t", on_lost=told), Lock[Sync])
    assert_type(s.lock("x", max_hold=60.5, min_hold=0, lock_delay=1, renew=False), Lock[Sync])
    assert_type(s.rwlock("x", sync=1, sync_timeout=timedelta(seconds=1)), RWLock[Sync])
    assert_type(a.rwlock("x", reentrant=True, sync=None, max_hold=None), RWLock[Async])
    assert_type(s.rwlock("x").reader, Side[Sync])
    assert_type(a.rwlock("x").writer, Side[Async])
    assert_type(s.semaphore("x", 5), Semaphore[Sync])
    assert_type(a.semaphore("x", limit=5, ttl=10), Semaphore[Async])
    assert_type(b.semaphore("x", 5, tag="t"), Semaphore[Batch])
    options: HoldOptions = {"ttl": 5, "on_lost": told}
    assert_type(s.lock("x", fair=True, **options), Lock[Sync])


def locks(s: Lock[Sync], a: Lock[Async]) -> None:
    assert_type(s.acquire(), Lease[Sync])
    assert_type(a.acquire(wait=5), Coroutine[Any, Any, Lease[Async]])
    assert_type(s.try_acquire(), Lease[Sync] | None)
    assert_type(a.try_acquire(), Coroutine[Any, Any, Lease[Async] | None])
    assert_type(s.name, str)
    with s as lease:
        assert_type(lease, Lease[Sync])
    with s.acquire(timedelta(seconds=5)) as lease:
        assert_type(lease, Lease[Sync])


async def async_locks(a: Lock[Async]) -> None:
    async with a as lease:
        assert_type(lease, Lease[Async])
    async with await a.acquire(wait=None) as lease:
        assert_type(lease, Lease[Async])
    if (tried := await a.try_acquire()) is not None:
        assert_type(await tried.release(), bool)


def read_write_locks(s: RWLock[Sync], a: RWLock[Async], lease: Lease[Sync]) -> None:
    assert_type(s.downgrade(lease), None)
    assert_type(s.name, str)
    with s.reader as read, s.writer.acquire(wait=1) as written:
        assert_type((read, written), tuple[Lease[Sync], Lease[Sync]])


def async_read_write_locks(a: RWLock[Async], lease: Lease[Async]) -> None:
    assert_type(a.downgrade(lease), Coroutine[Any, Any, None])


def sides(s: Side[Sync], a: Side[Async]) -> None:
    assert_type(s.acquire(), Lease[Sync])
    assert_type(a.acquire(0.5), Coroutine[Any, Any, Lease[Async]])
    assert_type(s.try_acquire(), Lease[Sync] | None)
    assert_type(a.try_acquire(), Coroutine[Any, Any, Lease[Async] | None])


def semaphores(s: Semaphore[Sync], a: Semaphore[Async], b: Semaphore[Batch]) -> None:
    assert_type(s.acquire(), Lease[Sync])
    assert_type(a.acquire(2, wait=5), Coroutine[Any, Any, Lease[Async]])
    assert_type(s.try_acquire(permits=2), Lease[Sync] | None)
    assert_type(a.try_acquire(), Coroutine[Any, Any, Lease[Async] | None])
    assert_type(s.available(), int)
    assert_type(a.available(), Coroutine[Any, Any, int])
    assert_type(b.available(), Pending[int])
    with s as lease:
        assert_type(lease.weight, int)


def leases(s: Lease[Sync], a: Lease[Async]) -> None:
    assert_type(s.extend(), None)
    assert_type(a.extend(timedelta(minutes=5)), Coroutine[Any, Any, None])
    assert_type(s.release(), bool)
    assert_type(a.release(), Coroutine[Any, Any, bool])
    assert_type(a.check(), None)
    assert_type(a.remaining(), float)
    assert_type((s.name, s.owner, s.fence, s.valid), tuple[str, str, int, bool])
    assert_type(a.held_for, float)
    assert_type(s.lost, Loss[Sync])
    assert_type(a.lost, Loss[Async])


def losses(s: Loss[Sync], a: Loss[Async], error: LockLost) -> None:
    assert_type(s.wait(), bool)
    assert_type(a.wait(timeout=5), Coroutine[Any, Any, bool])
    assert_type(a.is_set(), bool)
    assert_type((error.name, error.fence, error.held_for), tuple[str, int, float])


def guards(s: Octavo[Sync], lease: Lease[Sync]) -> None:
    with s.batch(guard=lease) as batch:
        assert_type(batch.leaderboard("x").count(), Pending[int])


async def refused(
    s: Octavo[Sync], a: Octavo[Async], b: Semaphore[Batch], lease: Lease[Sync]
) -> None:
    s.lock(5)  # error
    s.lock("x", ttl="30")  # error
    s.lock("x", timeout=5)  # error: mypy pyright pyrefly
    s.lock("x", fair="yes")  # error
    s.lock("x").acquire(wait="5")  # error
    s.lock("x").acquire(blocking=False)  # error
    s.rwlock("x", fair=True)  # error: mypy pyright pyrefly
    s.rwlock("x").acquire()  # error
    s.semaphore("x")  # error
    s.semaphore("x", 2.5)  # error
    s.semaphore("x", 5).acquire("one")  # error
    s.lock("x").try_acquire().release()  # error
    lease.fence = 5  # error
    lease.extend("30")  # error
    b.acquire()  # error
    with a.lock("x"):  # error
        pass
    async with s.lock("x"):  # error
        pass
    await lease.release()  # error

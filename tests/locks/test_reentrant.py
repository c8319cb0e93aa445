"""Reentrant locks: whoever is inside comes in again, and nobody else."""

# ruff: noqa: PT012 - what whole blocks raise is what is tested

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import LockLost, LockTimeout
from octavo.testing.waiting import wait_until
from tests.calls import Call
from tests.locks.cases import EMBEDDED

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Async, Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from tests.fix_servers import Server
    from tests.locks.cases import Outside


def test_a_thread_that_is_inside_comes_in_again_with_the_same_fence(
    client: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lock = client.lock("x", reentrant=True)
    with lock as outer:
        fence = outer.fence
        with lock as middle, client.lock("x", reentrant=True) as inner:
            assert [middle.fence, inner.fence] == [fence, fence]
            assert outer.owner == middle.owner == inner.owner
            again, tried = lock.acquire(), lock.try_acquire()
            assert tried is not None
            assert again.fence == tried.fence == fence
            assert [again.release(), tried.release()] == [True, True]
            assert not again.valid
            assert outside().leases.keys() == {outer.owner}
        assert not inner.valid
        assert outer.valid
        assert outside().leases.keys() == {outer.owner}
    assert outside().idle
    with lock as then:
        assert then.fence > fence


async def test_a_task_that_is_inside_comes_in_again_with_the_same_fence(
    server: Server, prefix: str, outside: Callable[..., Outside]
) -> None:
    async with octavo.connect_async(server.url, prefix=prefix) as db:
        lock = db.lock("x", reentrant=True)
        async with lock as outer:
            fence = outer.fence
            async with lock as middle, db.lock("x", reentrant=True) as inner:
                assert [middle.fence, inner.fence] == [fence, fence]
                again, tried = await lock.acquire(), await lock.try_acquire()
                assert tried is not None
                assert again.fence == tried.fence == fence
                assert [await again.release(), await tried.release()] == [True, True]
            assert outer.valid
            assert outside().leases.keys() == {outer.owner}
        assert outside().idle
        async with lock as then:
            assert then.fence > fence


@EMBEDDED
def test_another_thread_is_not_let_in(client: Octavo[Sync]) -> None:
    lock = client.lock("x", reentrant=True)
    with lock:
        assert Call(lock.try_acquire).result() is None
        assert isinstance(Call(lock.acquire, wait=0.05).error(), LockTimeout)
        with lock:
            assert Call(lock.try_acquire).result() is None
        assert Call(lock.try_acquire).result() is None


@EMBEDDED
async def test_another_task_is_not_let_in_though_it_is_a_child(server: Server, prefix: str) -> None:
    async with octavo.connect_async(server.url, prefix=prefix) as db:
        lock = db.lock("x", reentrant=True)
        async with lock, asyncio.TaskGroup() as group:
            tried = group.create_task(lock.try_acquire())
            waits = asyncio.create_task(lock.acquire(wait=0.05))
            await asyncio.wait((waits,))
            assert isinstance(waits.exception(), LockTimeout)
        assert tried.result() is None


@EMBEDDED
def test_a_thread_that_comes_after_another_is_not_let_in(client: Octavo[Sync]) -> None:
    """Though it may have the same number."""
    lock = client.lock("x", reentrant=True)
    numbers = list[int]()

    def acquire() -> Any:
        numbers.append(threading.get_ident())
        return lock.acquire()

    def acquire_again() -> Any:
        numbers.append(threading.get_ident())
        return lock.try_acquire()

    lock.acquire().release()
    lease = Call(acquire).result()
    for _ in range(100):
        assert Call(acquire_again).result() is None
        if numbers[-1] == numbers[0]:
            break
    else:
        pytest.skip("no thread has got the number of the first")
    assert lease.release() is True


@EMBEDDED
async def test_a_task_that_comes_after_another_is_not_let_in(server: Server, prefix: str) -> None:
    async with octavo.connect_async(server.url, prefix=prefix) as db:
        lock = db.lock("x", reentrant=True)
        lease = await asyncio.create_task(lock.acquire())
        for _ in range(50):
            assert await asyncio.create_task(lock.try_acquire()) is None
        assert await lease.release() is True


@EMBEDDED
def test_it_is_free_when_the_last_handle_is_given_back_in_whatever_order(
    client: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lock = client.lock("x", reentrant=True)
    first, second, third = (lock.acquire() for _ in range(3))
    for lease in (first, third):
        assert [lease.release(), lease.release()] == [True, True]
        assert not lease.valid
        with pytest.raises(LockLost):
            lease.check()
    assert second.valid
    assert outside().leases.keys() == {second.owner}
    fourth = lock.acquire()
    assert fourth.fence == second.fence
    assert Call(second.release).result() is True
    assert outside().leases
    assert fourth.release() is True
    assert outside().idle


@EMBEDDED
def test_each_handle_extends_the_one_lease(
    client: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lock = client.lock("x", ttl=5, reentrant=True)
    with lock as outer:
        with lock as inner:
            inner.extend(50)
            assert 45 < outer.remaining() < 50
        assert 45 < outside().leases[outer.owner] < 50
        with pytest.raises(LockLost):
            inner.extend()
        assert outer.valid


@EMBEDDED
def test_who_is_inside_of_a_lost_lease_is_told(
    client: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lock = client.lock("x", ttl=1, reentrant=True)
    with pytest.raises(LockLost), lock as outer:
        outside().delete()
        outer.lost.wait()
        for acquire in (lock.acquire, lock.try_acquire):
            with pytest.raises(LockLost):
                acquire()
        with pytest.raises(LockLost), lock:
            pass
        with client.lock("x", reentrant=False).acquire(wait=1):
            pass  # by another name for the same, it is free
    with lock:
        pass


@EMBEDDED
async def test_all_blocks_of_a_lost_lease_end(
    server: Server, prefix: str, outside: Callable[..., Outside]
) -> None:
    ended = list[str]()
    async with octavo.connect_async(server.url, prefix=prefix) as db:
        lock = db.lock("x", ttl=1, reentrant=True)
        with pytest.raises(LockLost):
            async with lock:
                try:
                    async with lock:
                        outside().delete()
                        try:
                            await asyncio.sleep(20)
                        finally:
                            ended.append("inner")
                finally:
                    ended.append("outer")
        assert ended == ["inner", "outer"]
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        async with lock:
            await asyncio.sleep(0)


def test_coming_in_again_asks_nobody(proxy: WireProxy, prefix: str) -> None:
    with octavo.connect(proxy.url, prefix=prefix) as client:
        lock = client.lock("x", reentrant=True)
        with lock:
            proxy.reset()
            for _ in range(5):
                with lock, lock.acquire(wait=0):
                    pass
            assert proxy.commands == {}


@EMBEDDED
def test_a_lock_that_is_not_reentrant_is_the_same_lock(client: Octavo[Sync]) -> None:
    with client.lock("x", reentrant=True):
        assert client.lock("x").try_acquire() is None
        with pytest.raises(LockTimeout):
            client.lock("x").acquire(wait=0.01)
    with client.lock("x") as lease:
        with client.lock("x", reentrant=True) as again:
            assert again.fence == lease.fence
        assert lease.valid


# Read-write locks.


@EMBEDDED
def test_a_reader_reads_again_though_a_writer_waits(
    client: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    rw = client.rwlock("x", reentrant=True)
    with rw.reader as first:
        writer = Call(client.rwlock("x").writer.acquire, wait=10)
        outside("rwlock").wait_for_queue(1)
        with rw.reader as second:
            assert second.fence == first.fence
        assert not writer.over
    writer.result().release()
    assert outside("rwlock").idle


@EMBEDDED
def test_a_writer_reads_by_the_lease_it_has(
    client: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    rw = client.rwlock("x", reentrant=True)
    with rw.writer as writer:
        with rw.reader as reader, rw.writer as again:
            assert reader.fence == again.fence == writer.fence
        assert Call(rw.reader.try_acquire).result() is None
        assert writer.valid
    assert outside("rwlock").idle


# Many.


@EMBEDDED
async def test_tasks_that_come_in_again_are_inside_one_at_a_time(
    server: Server, prefix: str, outside: Callable[..., Outside]
) -> None:
    inside, count = 0, 0

    async def work(db: Octavo[Async]) -> None:
        nonlocal inside, count
        lock = db.lock("x", reentrant=True)
        for _ in range(5):
            async with lock as outer:
                inside += 1
                async with lock as inner:
                    assert inner.fence == outer.fence
                    await asyncio.sleep(0)
                assert inside == 1
                count += 1
                inside -= 1

    async with octavo.connect_async(server.url, prefix=prefix) as db, asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(work(db))
    assert count == 100
    wait_until(lambda: outside().idle, "all is given back")

"""The lock: granting it, giving it back, and what is left of it."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import LockLost, LockTimeout, WouldDeadlock
from octavo.testing.waiting import wait_until
from tests.calls import Call
from tests.engine.lab import took
from tests.locks.cases import EMBEDDED, EXCLUSIVES, FLOWS, SYNC, queue_up, waiting, writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Octavo, Sync
    from tests.fix_faces import Connect
    from tests.fix_servers import Server
    from tests.locks.cases import Make, Outside

DAY = 24 * 3600 * 1000


# On every server.


@FLOWS
def test_one_holds_it_another_waits_and_gets_it_a_third_gets_it_when_that_one_is_gone(
    db: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    first = db.lock("x", ttl=20).acquire()
    assert first.valid
    assert db.lock("x").try_acquire() is None
    assert other.lock("x").try_acquire() is None
    with pytest.raises(LockTimeout):
        db.lock("x").acquire(wait=0.01)
    assert outside().leases == {first.owner: pytest.approx(20, abs=2)}
    call = queue_up(outside(), db.lock("x", ttl=0.3, renew=False))
    with took(0, 4):
        first.release()
        second = call.result()
    assert second.fence > first.fence
    third = other.lock("x").acquire(wait=5)
    assert 0.3 <= (third.fence - second.fence) / 1e6 < 4
    assert [second.release(), third.release()] == [False, True]
    assert outside().idle


# Granting and giving back.


@FLOWS
@EMBEDDED
@EXCLUSIVES
def test_what_is_free_is_granted_and_nobody_else_gets_it(
    make: Make, job: str, db: Octavo[Sync], other: Octavo[Sync]
) -> None:
    lease = make(db).acquire()
    assert lease.valid
    assert make(other).try_acquire() is None
    assert make(db).try_acquire() is None
    assert lease.release() is True
    again = make(other).try_acquire()
    assert again.owner != lease.owner
    assert again.fence > lease.fence
    again.release()


@FLOWS
def test_a_lease_says_what_it_is(db: Octavo[Sync], outside: Callable[..., Outside]) -> None:
    lock = db.lock("x", ttl=20)
    before = time.time()
    lease = lock.acquire()
    assert (lock.name, lease.name, lease.weight) == ("x", "x", 1)
    assert list(outside().leases) == [lease.owner]
    assert before - 5 < lease.fence / 1e6 < time.time() + 5
    assert 18 < lease.remaining() < 20
    assert 0 <= lease.held_for < 5
    assert lease.lost.is_set() is False
    lease.check()
    assert outside().leases[lease.owner] == pytest.approx(20, abs=2)
    lease.release()


@FLOWS
@EMBEDDED
def test_it_shows_its_name_and_state(db: Any) -> None:
    lock = db._face.client.lock("x")
    assert repr(lock) == "<Lock 'x'>"
    lease = db.lock("x", ttl=10)._own.acquire()
    lease = db._face.finish(lease)
    assert re.fullmatch(rf"<Lease 'x' fence={lease.fence} \d\.\d s>", repr(lease))
    db._face.finish(lease.release())
    assert repr(lease) == f"<Lease 'x' fence={lease.fence} it was released>"


@FLOWS
@EMBEDDED
@EXCLUSIVES
def test_who_waits_too_long_gets_an_error_and_leaves_the_queue(
    make: Make, job: str, db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = make(db).acquire()
    for wait in (0, 0.1, timedelta(milliseconds=100)):
        with took(0.1 if wait else 0, 4), pytest.raises(LockTimeout, match=r"'x'.*0\.1|0 sec"):
            make(db).acquire(wait=wait)
        assert outside(job).queue == []
    assert isinstance(LockTimeout("x"), TimeoutError)
    assert lease.valid
    lease.release()
    assert outside(job).idle


@FLOWS
@EMBEDDED
@EXCLUSIVES
def test_who_waits_gets_it_as_soon_as_it_is_released(
    make: Make, job: str, db: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = make(other).acquire()
    for _ in range(3):
        call = queue_up(outside(job), make(db))
        time.sleep(0.06)  # who waits for less may be overtaken, if the lock is not fair
        began = time.monotonic()
        assert lease.release() is True
        lease = call.result()
        assert time.monotonic() - began < 4
        lease.check()
        assert list(outside(job).leases) == [lease.owner]
    lease.release()
    assert outside(job).idle


@FLOWS
@EMBEDDED
def test_a_lease_is_given_back_once(db: Octavo[Sync], other: Octavo[Sync]) -> None:
    first = db.lock("x").acquire()
    assert [first.release(), first.release()] == [True, True]
    assert not first.valid
    assert first.remaining() == 0
    assert first.lost.is_set() is False
    with pytest.raises(LockLost, match="it was released") as raised:
        first.check()
    assert (raised.value.name, raised.value.fence) == ("x", first.fence)
    second = other.lock("x").acquire()
    assert first.release() is True
    assert other.lock("x").try_acquire() is None, "it is the second one's"
    with pytest.raises(LockLost):
        first.extend()
    assert second.release() is True


@SYNC
@EMBEDDED
@EXCLUSIVES
def test_what_is_not_renewed_ends_with_its_ttl_and_no_sooner(
    make: Make, job: str, db: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = make(db, ttl=0.4, renew=False).acquire()
    then = make(other).acquire(wait=5)
    # A fence is the server's time of the grant.
    assert 0.4 <= (then.fence - lease.fence) / 1e6 < 4
    assert not lease.valid
    assert lease.release() is False
    assert then.valid
    assert list(outside(job).leases) == [then.owner]
    then.release()


@FLOWS
@EMBEDDED
def test_names_prefixes_tags_and_jobs_are_kept_apart(
    db: Octavo[Sync], connect: Connect, server: Server
) -> None:
    elsewhere = connect(server.url, prefix="elsewhere")
    leases: list[Any] = [
        holdable.try_acquire()
        for holdable in (
            *(db.lock(name) for name in ("x", "{x}", "x:leases", "é", "a b", "*", "%7B")),
            *(db.lock("x", tag="t"), db.lock("x", tag="u"), db.lock("t.x"), elsewhere.lock("x")),
            *(db.semaphore("x", 1), writer(db)),
        )
    ]
    assert [lease.release() for lease in leases if lease] == [True] * len(leases)


@FLOWS
@EMBEDDED
@EXCLUSIVES
def test_no_key_is_for_ever(
    make: Make, job: str, db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    keys = outside(job)
    for _ in range(2):
        lease = make(db).acquire()
        assert keys.keys == {"leases", "who"}
        assert all(ttl > 30_000 for ttl in keys.ttls.values())
        make(db).try_acquire()
        lease.extend()
        lease.release()
        assert keys.keys == {"who"}
        assert keys.ttls["who"] > DAY
        keys.client.hdel(keys.key("who"), "fence")


@FLOWS
def test_nothing_is_left_but_the_fence_and_every_key_has_an_end(
    db: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    keys = outside()
    lease = other.lock("x", ttl=20).acquire()
    with waiting(keys, db.lock("x")) as call:
        waits = keys.queue
        assert keys.keys == {"leases", "queue", "who"}
        assert keys.owners == {lease.owner, *waits}
        ttls = keys.ttls
        assert all(DAY < ttl < 3 * DAY for ttl in ttls.values())
        lease.release()
        assert [call.result().owner] == waits
    assert keys.idle
    assert keys.keys == {"who"}
    assert DAY < keys.ttls["who"] < 3 * DAY


# In blocks.


def test_a_block_holds_it(server: Server, prefix: str, outside: Callable[..., Outside]) -> None:
    with octavo.connect(server.url, prefix=prefix) as db:
        with db.lock("x") as lease:
            assert list(outside().leases) == [lease.owner]
            assert lease.valid
        assert outside().idle
        with db.lock("x").acquire(wait=5) as lease:
            assert list(outside().leases) == [lease.owner]
        assert outside().idle
        with pytest.raises(ZeroDivisionError), db.lock("x"):
            raise ZeroDivisionError
        assert outside().idle


async def test_an_async_block_holds_it(
    server: Server, prefix: str, outside: Callable[..., Outside]
) -> None:
    async with octavo.connect_async(server.url, prefix=prefix) as db:
        async with db.lock("x") as lease:
            assert list(outside().leases) == [lease.owner]
            assert lease.valid
        assert outside().idle
        async with await db.lock("x").acquire(wait=5) as lease:
            assert list(outside().leases) == [lease.owner]
        assert outside().idle
        with pytest.raises(ZeroDivisionError):
            async with db.lock("x"):
                raise ZeroDivisionError
        assert outside().idle


@EMBEDDED
def test_a_block_may_give_it_back_early(
    server: Server, prefix: str, outside: Callable[..., Outside]
) -> None:
    with octavo.connect(server.url, prefix=prefix) as db:
        with db.lock("x") as lease:
            assert lease.release() is True
            assert outside().idle
            with db.lock("x"):
                pass
        assert not lease.valid


@EMBEDDED
async def test_an_async_block_may_give_it_back_early(
    server: Server, prefix: str, outside: Callable[..., Outside]
) -> None:
    async with octavo.connect_async(server.url, prefix=prefix) as db:
        async with db.lock("x") as lease:
            assert await lease.release() is True
            assert outside().idle
            async with db.lock("x"):
                pass
        assert not lease.valid


@EMBEDDED
def test_threads_that_share_a_lock_are_inside_one_at_a_time(
    server: Server, prefix: str, outside: Callable[..., Outside]
) -> None:
    inside, count, fences = 0, 0, list[int]()
    with octavo.connect(server.url, prefix=prefix) as db:
        lock = db.lock("x")

        def work() -> None:
            nonlocal inside, count
            for _ in range(25):
                with lock as lease:
                    inside += 1
                    before = count
                    assert inside == 1
                    fences.append(lease.fence)
                    time.sleep(0.0001)
                    count = before + 1
                    inside -= 1

        calls = [Call(work) for _ in range(6)]
        for call in calls:
            call.result()
    assert count == len(fences) == 150
    assert fences == sorted(set(fences))
    assert outside().idle


@EMBEDDED
async def test_tasks_that_share_a_lock_are_inside_one_at_a_time(
    server: Server, prefix: str, outside: Callable[..., Outside]
) -> None:
    inside, fences = 0, list[int]()
    async with octavo.connect_async(server.url, prefix=prefix) as db:
        lock = db.lock("x")

        async def work() -> None:
            nonlocal inside
            for _ in range(15):
                async with lock as lease:
                    inside += 1
                    assert inside == 1
                    fences.append(lease.fence)
                    await asyncio.sleep(0)
                    inside -= 1

        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(work())
    assert len(fences) == 300
    assert fences == sorted(set(fences))
    assert outside().idle


@EMBEDDED
def test_who_is_inside_and_would_wait_for_ever_is_told(server: Server, prefix: str) -> None:
    with octavo.connect(server.url, prefix=prefix) as db, db.lock("x"):
        with pytest.raises(WouldDeadlock, match="'x'"):
            db.lock("x").acquire()
        with pytest.raises(WouldDeadlock), db.lock("x"):
            pass
        assert db.lock("x").try_acquire() is None
        with pytest.raises(LockTimeout):
            db.lock("x").acquire(wait=0.02)
        with db.lock("another"):
            pass
        assert Call(db.lock("x").acquire, wait=0.02).error().__class__ is LockTimeout


@EMBEDDED
async def test_a_task_that_is_inside_and_would_wait_for_ever_is_told(
    server: Server, prefix: str
) -> None:
    async with octavo.connect_async(server.url, prefix=prefix) as db, db.lock("x"):
        with pytest.raises(WouldDeadlock, match="'x'"):
            await db.lock("x").acquire()
        with pytest.raises(WouldDeadlock):
            async with db.lock("x"):
                pass
        assert await db.lock("x").try_acquire() is None
        waits = asyncio.create_task(db.lock("x").acquire(wait=0.02))
        with pytest.raises(LockTimeout):
            await waits


@EMBEDDED
def test_of_several_blocks_of_a_lock_each_ends_where_it_began(
    client: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    semaphore = client.semaphore("x", 2)
    with semaphore as first:
        second = Call(semaphore.__enter__).result()
        error = Call(semaphore.__exit__, None, None, None).error()
        assert isinstance(error, RuntimeError)
        assert "'x'" in str(error)
        assert first.valid
        assert second.valid
    assert not first.valid
    assert second.valid
    Call(semaphore.__exit__, None, None, None).result()
    assert not second.valid
    assert outside("semaphore").idle


# What may be had more of.


@FLOWS
@EMBEDDED
def test_what_is_released_too_soon_is_free_after_min_hold(
    db: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = db.lock("x", min_hold=1).acquire()
    assert lease.release() is True
    assert lease.release() is True
    assert not lease.valid
    assert db.lock("x").try_acquire() is None
    then = other.lock("x").acquire(wait=5)
    assert 1 <= (then.fence - lease.fence) / 1e6 < 5
    wait_until(lambda: other.lock("x").try_acquire() is None, "it is held")
    then.release()
    late = db.lock("x", min_hold=0.02).acquire()
    wait_until(lambda: late.held_for > 0.1, "min_hold is over")
    late.release()
    assert outside().idle


@FLOWS
@EMBEDDED
def test_a_lock_delay_keeps_what_ran_out_but_not_what_was_released(
    db: Octavo[Sync], other: Octavo[Sync]
) -> None:
    lease = db.lock("x", ttl=0.2, renew=False, lock_delay=0.4).acquire()
    then = other.lock("x").acquire(wait=5)
    assert 0.6 <= (then.fence - lease.fence) / 1e6 < 4
    assert not lease.valid
    then.release()
    lease = db.lock("x", lock_delay=5).acquire()
    assert lease.release() is True
    again = other.lock("x").try_acquire()
    assert again
    again.release()

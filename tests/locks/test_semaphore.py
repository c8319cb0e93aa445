"""The semaphore: never more permits than its limit, in the order in which they were asked for."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import ConfigMismatch, LockTimeout, WouldDeadlock
from octavo.testing.faults import Crew
from octavo.testing.waiting import wait_until
from tests.calls import Call
from tests.engine.lab import took
from tests.locks.cases import EMBEDDED, FLOWS, SYNC, queue_up
from tests.locks.lock_workers import hold

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Octavo, Sync
    from tests.fix_faces import Connect
    from tests.fix_servers import Server
    from tests.locks.cases import Outside


@pytest.fixture
def keys(outside: Callable[..., Outside]) -> Outside:
    return outside("semaphore")


def test_permits_are_granted_up_to_the_limit(
    db: Octavo[Sync], other: Octavo[Sync], keys: Outside
) -> None:
    mine, theirs = db.semaphore("x", 5), other.semaphore("x", 5)
    assert mine.available() == 5
    leases: list[Any] = [mine.acquire(), theirs.acquire(3)]
    assert [lease.weight for lease in leases] == [1, 3]
    assert mine.available() == 1
    assert mine.try_acquire(2) is None
    leases.append(mine.try_acquire(1))
    assert mine.available() == 0
    assert theirs.try_acquire() is None
    with pytest.raises(LockTimeout):
        theirs.acquire(2, wait=0.05)
    assert leases[1].release() is True
    assert mine.available() == 3
    assert [leases[0].release(), leases[2].release()] == [True, True]
    assert mine.available() == 5
    whole = mine.try_acquire(5)
    assert whole is not None
    assert mine.available() == 0
    assert whole.release() is True
    assert keys.idle


@FLOWS
@EMBEDDED
def test_who_wants_many_is_not_passed_by_those_who_want_few(
    db: Octavo[Sync], other: Octavo[Sync], keys: Outside
) -> None:
    mine, theirs = db.semaphore("x", 5), other.semaphore("x", 5)
    held = [mine.acquire(2), mine.acquire(2)]
    many = queue_up(keys, theirs, 4)
    few = queue_up(keys, mine, 1)
    assert mine.available() == 1
    assert theirs.try_acquire() is None
    held[0].release()
    assert mine.available() == 3
    assert theirs.try_acquire() is None
    assert not many.over
    assert not few.over
    held[1].release()
    with took(0, 4):
        leases = [many.result(), few.result()]
    assert leases[0].fence < leases[1].fence
    assert mine.available() == 0
    for lease in leases:
        lease.release()
    assert keys.idle


@FLOWS
@EMBEDDED
def test_what_comes_back_goes_to_as_many_as_it_is_enough_for(
    db: Octavo[Sync], other: Octavo[Sync], keys: Outside
) -> None:
    mine = db.semaphore("x", 6)
    held = mine.acquire(6)
    calls = [queue_up(keys, other.semaphore("x", 6), permits) for permits in (1, 2, 3, 1)]
    held.release()
    leases = [call.result() for call in calls[:3]]
    assert not calls[3].over
    assert mine.available() == 0
    leases[0].release()
    leases.append(calls[3].result())
    assert sum(lease.weight for lease in leases[1:]) == 6
    for lease in leases:
        lease.release()
    assert keys.idle


@FLOWS
@EMBEDDED
def test_who_gives_up_lets_the_next_one_have_what_is_free(db: Octavo[Sync], keys: Outside) -> None:
    semaphore = db.semaphore("x", 3)
    held = semaphore.acquire(2)
    many = queue_up(keys, semaphore, 3, wait=1.5)
    few = queue_up(keys, semaphore, 1)
    assert isinstance(many.error(), LockTimeout)
    with took(0, 4):
        lease = few.result()
    assert [held.release(), lease.release()] == [True, True]
    assert keys.idle


@FLOWS
def test_what_is_given_back_twice_comes_back_once(db: Octavo[Sync], keys: Outside) -> None:
    semaphore = db.semaphore("x", 3)
    held, gone = semaphore.acquire(2), db.semaphore("x", 3, ttl=0.1, renew=False).acquire(1)
    wait_until(lambda: semaphore.available() == 1, "one permit has come back by itself")
    assert [gone.release(), gone.release()] == [False, False]
    assert semaphore.available() == 1
    assert [held.release(), held.release()] == [True, True]
    assert semaphore.available() == 3
    assert keys.idle


# Limits.


@FLOWS
@EMBEDDED
@pytest.mark.parametrize(("limit", "another"), [(2, 3), (3, 2), (1, 5), (5, 1)])
def test_another_limit_is_refused_while_it_is_used(
    limit: int, another: int, db: Octavo[Sync], other: Octavo[Sync], keys: Outside
) -> None:
    lease = other.semaphore("x", limit).acquire(limit)
    calls: list[Any] = [
        db.semaphore("x", another).acquire,
        db.semaphore("x", another).try_acquire,
        db.semaphore("x", another).available,
    ]
    for call in calls:
        with pytest.raises(ConfigMismatch, match=f"{limit}.*{another}"):
            call()
    waits = queue_up(keys, other.semaphore("x", limit))
    with pytest.raises(ConfigMismatch):
        db.semaphore("x", another).acquire()
    lease.release()
    with pytest.raises(ConfigMismatch):
        db.semaphore("x", another).try_acquire()
    waits.result().release()
    for call in calls[:2]:
        assert call().release() is True
    assert db.semaphore("x", another).available() == another
    assert keys.idle


@FLOWS
@EMBEDDED
def test_a_limit_goes_with_those_who_used_it(
    db: Octavo[Sync], other: Octavo[Sync], keys: Outside
) -> None:
    """However long others who used it would have had it."""
    other.semaphore("x", 2, ttl=0.1, renew=False).acquire(2)
    wait_until(lambda: not keys.leases, "it ends")
    assert db.semaphore("x", 3).acquire(3).release() is True
    other.semaphore("x", 2, ttl=0.2, renew=False).acquire()
    assert other.semaphore("x", 2, ttl=30).acquire().release() is True
    wait_until(lambda: not keys.leases, "it ends")
    lease = db.semaphore("x", 3).try_acquire(3)
    assert lease is not None
    assert db.semaphore("x", 3).available() == 0
    lease.release()
    assert keys.idle


# Those who die.


@SYNC
@EMBEDDED
@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("permits", [1, 5])
def test_permits_of_a_killed_process_come_back_after_its_ttl(
    permits: int, waits: bool, db: Octavo[Sync], server: Server, prefix: str, keys: Outside
) -> None:
    semaphore = db.semaphore("x", 5)
    with Crew() as crew:
        worker = crew.spawn(hold, server.url, prefix, "semaphore", permits, 0.4)
        worker.heard()
        assert semaphore.available() == 5 - permits
        calls = [queue_up(keys, semaphore, 5)] if waits else []
        worker.kill()
        with took(0, 4):
            for call in calls:
                call.result().release()
            wait_until(lambda: semaphore.available() == 5, "all have come back")
    leases = [semaphore.try_acquire(2), semaphore.try_acquire(3)]
    assert semaphore.try_acquire() is None
    assert [lease.release() for lease in leases if lease] == [True, True]
    assert keys.idle


@FLOWS
@EMBEDDED
def test_what_ran_out_weighs_nothing_after_that(db: Octavo[Sync], keys: Outside) -> None:
    semaphore = db.semaphore("x", 5, ttl=0.05, renew=False)
    for permits in (5, 2, 4):
        semaphore.acquire(permits)
        wait_until(lambda: not keys.leases, "it ends")
        lease = db.semaphore("x", 5).acquire(2)
        assert semaphore.available() == 3
        assert lease.release() is True
        assert semaphore.available() == 5
        assert keys.idle


# In blocks.


@EMBEDDED
def test_a_block_holds_one_permit(server: Server, prefix: str, keys: Outside) -> None:
    with octavo.connect(server.url, prefix=prefix) as db:
        semaphore = db.semaphore("x", 2)
        with semaphore as first:
            with semaphore as second:
                assert first.owner != second.owner
                assert semaphore.available() == 0
            assert semaphore.available() == 1
            assert first.valid
        with semaphore.acquire(2) as both:
            assert both.weight == 2
    assert keys.idle


@EMBEDDED
def test_who_is_inside_and_would_wait_for_ever_is_told(server: Server, prefix: str) -> None:
    with octavo.connect(server.url, prefix=prefix) as db:
        semaphore = db.semaphore("x", 3)
        with semaphore:
            with pytest.raises(WouldDeadlock):
                semaphore.acquire(3)
            assert semaphore.try_acquire(3) is None
            with semaphore.acquire(2, wait=1), pytest.raises(LockTimeout):
                semaphore.acquire(wait=0.05)


@EMBEDDED
def test_who_is_inside_several_times_and_would_wait_for_ever_is_told(
    server: Server, prefix: str
) -> None:
    with octavo.connect(server.url, prefix=prefix) as db:
        semaphore = db.semaphore("x", 2)
        with semaphore as lease, semaphore:
            rescue = threading.Timer(1, lease.release)
            rescue.start()
            with pytest.raises(WouldDeadlock):
                semaphore.acquire()


# All of it at once.


@FLOWS
@EMBEDDED
def test_there_are_never_more_permits_than_the_limit(
    connect: Connect, server: Server, keys: Outside
) -> None:
    guard, inside, most = threading.Lock(), 0, 0
    clients = [connect(server.url) for _ in range(2)]

    def work(number: int) -> None:
        nonlocal inside, most
        dice = random.Random(number)
        for _ in range(15):
            permits = dice.randint(1, 4)
            lease = clients[number % 2].semaphore("x", 4).acquire(permits, wait=30)
            with guard:
                inside += permits
                most = max(most, inside)
            with guard:
                inside -= permits
            assert lease.release() is True

    calls = [Call(work, number) for number in range(6)]
    for call in calls:
        call.result()
    assert most == 4
    assert keys.idle


@EMBEDDED
async def test_tasks_never_have_more_permits_than_the_limit(
    server: Server, prefix: str, keys: Outside
) -> None:
    inside, most = 0, 0
    async with octavo.connect_async(server.url, prefix=prefix) as db:

        async def work(permits: int) -> None:
            nonlocal inside, most
            for _ in range(5):
                async with await db.semaphore("x", 10).acquire(permits):
                    inside += permits
                    most = max(most, inside)
                    await asyncio.sleep(0)
                    inside -= permits

        async with asyncio.TaskGroup() as group:
            for number in range(40):
                group.create_task(work(number % 4 + 1))
    assert most == 10
    assert keys.idle

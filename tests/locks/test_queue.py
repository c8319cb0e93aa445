"""Waiting for a lock: who is next, and what becomes of those who die or are not heard of."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.testing.faults import Crew, partition
from octavo.testing.waiting import wait_until
from tests.calls import Call
from tests.engine.lab import eventually, took
from tests.locks.cases import EMBEDDED, FLOWS, SYNC, haunt, queue_up
from tests.locks.lock_workers import take_turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect
    from tests.fix_servers import Server
    from tests.locks.cases import Outside

NOBODY = b"octavo:mail:{x}:nobody"  # a channel that nobody hears


# In turn.


@FLOWS
@pytest.mark.parametrize("fair", [True, False])
def test_those_who_wait_get_it_in_their_order(
    fair: bool, db: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    order = list[int]()

    def wait(number: int) -> None:
        lease = (db if number % 2 else other).lock("x", fair=fair).acquire(wait=20)
        order.append(number)
        lease.release()

    first = db.lock("x", fair=fair).acquire()
    calls = list[Call[None]]()
    for number in range(6):
        calls.append(Call(wait, number))
        outside().wait_for_queue(number + 1)
    time.sleep(0.06)  # who waits for less may be overtaken, if the lock is not fair
    first.release()
    for call in calls:
        call.result()
    assert order == [*range(6)]
    assert outside().idle


@FLOWS
@EMBEDDED
def test_a_fair_lock_is_not_taken_from_those_who_wait(
    db: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = db.lock("x", fair=True).acquire()
    ghost = haunt(other.lock("x", fair=True, ttl=1))
    assert lease.release() is True
    assert db.lock("x", fair=True).try_acquire() is None
    assert [*outside().leases] == [ghost]
    # It does not answer, and is not waited for any longer than a lease of its own lasts.
    then = db.lock("x", fair=True).acquire(wait=5)
    assert 1 <= (then.fence - lease.fence) / 1e6 < 4.5
    then.release()
    assert outside().idle


@SYNC
@EMBEDDED
def test_what_is_handed_over_is_kept_for_two_seconds_until_its_holder_answers(
    db: Octavo[Sync], other: Octavo[Sync]
) -> None:
    lease = db.lock("x", fair=True).acquire()
    haunt(other.lock("x", fair=True, ttl=30))
    lease.release()
    then = db.lock("x", fair=True).acquire(wait=5)
    assert 2 <= (then.fence - lease.fence) / 1e6 < 4.5
    then.release()


@FLOWS
@EMBEDDED
def test_a_lock_that_is_not_fair_is_had_by_whoever_comes_when_it_is_free(
    db: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    for _ in range(20):  # who has waited for some time is not overtaken: on a slow day try again
        lease = db.lock("x").acquire()
        ghost = haunt(other.lock("x", ttl=0.1))
        lease.release()
        taken = db.lock("x").try_acquire()
        if taken is not None:
            break
        wait_until(lambda: not outside().leases, "the ghost is gone")
    assert taken is not None
    assert outside().queue == [ghost]
    taken.release()


@FLOWS
@EMBEDDED
def test_who_has_been_patient_is_not_overtaken(
    db: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = db.lock("x").acquire()
    ghost = haunt(other.lock("x", ttl=1))
    (order,) = [order for _, order in outside().client.zscan_iter(outside().key("queue"))]
    wait_until(lambda: outside().now - order / 1e6 > 0.051, "it is patient")
    lease.release()
    assert db.lock("x").try_acquire() is None
    assert [*outside().leases] == [ghost]
    db.lock("x").acquire(wait=5).release()


@FLOWS
@EMBEDDED
def test_who_gives_up_lets_the_next_one_have_it(
    db: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    for fair in (True, False):
        lease = other.lock("x", fair=fair).acquire()
        impatient = queue_up(outside(), db.lock("x", fair=fair), wait=1)
        patient = queue_up(outside(), db.lock("x", fair=fair))
        assert impatient.error().__class__ is octavo.LockTimeout
        lease.release()
        with took(0, 4):
            assert patient.result().release() is True
        assert outside().idle


@FLOWS
@EMBEDDED
def test_who_waits_for_what_is_never_released_asks_when_it_ends(
    db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    first = db.lock("x", ttl=0.4, renew=False).acquire()
    calls = [queue_up(outside(), db.lock("x", fair=True, ttl=0.1, renew=False)) for _ in range(3)]
    fences = [first.fence, *(call.result().fence for call in calls)]
    times = [(fence - first.fence) / 1e6 for fence in fences]
    # Those who look for it every 5 s only would be later.
    assert all(at <= time < at + 3 for at, time in zip((0, 0.4, 0.5, 0.6), times, strict=True))


# Those who die, or do not hear.


@FLOWS
@EMBEDDED
@pytest.mark.parametrize("fair", [True, False])
def test_dead_waiters_are_passed_over_at_once(
    fair: bool, db: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = db.lock("x", fair=fair).acquire()
    for _ in range(20):
        haunt(other.lock("x", fair=fair), address=NOBODY)
    call = queue_up(outside(), db.lock("x", fair=fair))
    with took(0, 4):
        lease.release()
        lease = call.result()
    assert outside().queue == []
    haunt(other.lock("x", fair=fair), address=NOBODY)
    lease.release()
    with took(0, 4):
        again = db.lock("x", fair=fair).try_acquire()
    assert again is not None
    again.release()
    assert outside().idle


@FLOWS
@EMBEDDED
def test_processes_that_are_killed_while_they_wait_are_passed_over_at_once(
    db: Octavo[Sync], server: Server, prefix: str, outside: Callable[..., Outside]
) -> None:
    keys = outside()
    lease = db.lock("x", fair=True).acquire()
    with Crew() as crew:
        workers = list[Any]()
        for number in range(3):
            workers.append(crew.spawn(take_turns, server.url, prefix, f"{number}", 2, 30))
            keys.wait_for_queue(2 * number + 2)
        call = queue_up(keys, db.lock("x", fair=True))
        for worker in workers[:2]:
            worker.kill()
        lease.release()
        with took(0, 4):
            heard = [workers[2].heard()[0] for _ in range(2)]
            call.result().release()
        assert heard == ["2", "2"]
        assert [worker.said() for worker in workers[:2]] == [[], []]
    assert keys.idle


@SYNC
@EMBEDDED
def test_a_process_that_is_stopped_is_waited_for_once_and_comes_back(
    db: Octavo[Sync], server: Server, prefix: str, outside: Callable[..., Outside]
) -> None:
    keys, ttl = outside(), 0.5
    lease = db.lock("x", fair=True, ttl=ttl).acquire()
    with Crew() as crew:
        worker = crew.spawn(take_turns, server.url, prefix, "stopped", 6, ttl)
        keys.wait_for_queue(6)
        call = queue_up(keys, db.lock("x", fair=True))
        worker.pause()
        lease.release()
        then = call.result()
        # Once, and not six times; at the latest by a poll.
        assert ttl <= (then.fence - lease.fence) / 1e6 < 8
        worker.resume()
        then.release()
        fences = [worker.heard(10)[1] for _ in range(6)]
        assert sorted(fences) == fences
        assert fences[0] > then.fence
        worker.result()
    assert keys.idle


@FLOWS
@EMBEDDED
@pytest.mark.parametrize("fair", [True, False])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_waiter_whose_connections_are_cut_gets_its_turn(
    at_once: bool,
    fair: bool,
    connect: Connect,
    proxy: WireProxy,
    other: Octavo[Sync],
    outside: Callable[..., Outside],
) -> None:
    lock = connect(proxy.url).lock("x", fair=fair)
    for _ in range(3):
        lease = other.lock("x", fair=fair).acquire()
        call = queue_up(outside(), lock)
        proxy.reset()
        proxy.cut()
        if not at_once:
            wait_until(lambda: proxy.commands["SSUBSCRIBE"], "it listens again")
        lease.release()
        with took(0, 4.5):
            call.result().release()
    assert outside().idle


@FLOWS
@EMBEDDED
def test_what_is_handed_to_one_who_does_not_hear_of_it_goes_to_the_next(
    connect: Connect, proxy: WireProxy, other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = other.lock("x", fair=True, ttl=1.5).acquire()
    deaf = queue_up(outside(), connect(proxy.url).lock("x", fair=True, ttl=0.5))
    call = queue_up(outside(), other.lock("x", fair=True))
    with partition(proxy):
        lease.release()
        then = call.result()
        assert 0.5 <= (then.fence - lease.fence) / 1e6 < 4
    queue = outside().wait_for_queue(1)
    assert deaf.over is False
    then.release()
    late = deaf.result()
    assert [late.owner] == queue
    assert late.fence > then.fence
    late.release()
    assert outside().idle


# Many.


async def crowd(count: int, url: str, prefix: str, proxy: WireProxy, keys: Outside) -> None:
    """Have so many tasks wait for a lock, and get it."""
    got, last = 0, 0
    async with octavo.connect_async(url, prefix=prefix, timeout=30) as db:

        async def wait() -> None:
            nonlocal got, last
            async with db.lock("x", fair=True) as lease:
                assert lease.fence > last
                got, last = got + 1, lease.fence

        async with asyncio.TaskGroup() as group, db.lock("x", fair=True):
            for _ in range(count):
                group.create_task(wait())
            await eventually(lambda: keys.length == count, "all wait")
            assert proxy.connections <= 3
        assert got == count
        assert proxy.connections <= 3


@EMBEDDED
async def test_two_thousand_waiters_use_three_connections(
    proxy: WireProxy, prefix: str, outside: Callable[..., Outside]
) -> None:
    await crowd(2_000, proxy.url, prefix, proxy, outside())
    assert outside().idle


@pytest.mark.soak
@EMBEDDED
async def test_ten_thousand_waiters_use_three_connections(
    proxy: WireProxy, prefix: str, outside: Callable[..., Outside]
) -> None:
    await crowd(10_000, proxy.url, prefix, proxy, outside())
    assert outside().idle


@EMBEDDED
def test_waiting_threads_use_two_connections_more_than_those_who_ask(
    proxy: WireProxy, prefix: str, outside: Callable[..., Outside]
) -> None:
    with octavo.connect(proxy.url, prefix=prefix) as db:
        lease = db.lock("x").acquire()
        calls = [Call(lambda: db.lock("x").acquire(wait=20).release()) for _ in range(30)]
        outside().wait_for_queue(30)
        before = threading.active_count()
        lease.release()
        for call in calls:
            call.result()
        assert threading.active_count() < before
    assert outside().idle

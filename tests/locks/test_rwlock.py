"""The read-write lock: readers together, a writer alone, in the order in which they came."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import LockLost, LockTimeout, WouldDeadlock
from octavo.testing.faults import Crew
from octavo.testing.waiting import wait_until
from tests.calls import Call
from tests.engine.lab import took
from tests.locks.cases import EMBEDDED, FLOWS, SYNC, haunt, queue_up
from tests.locks.lock_workers import hold

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Octavo, Sync
    from tests.fix_servers import Server
    from tests.locks.cases import Outside


@pytest.fixture
def keys(outside: Callable[..., Outside]) -> Outside:
    return outside("rwlock")


@FLOWS
def test_readers_hold_it_together_and_a_writer_alone(
    db: Octavo[Sync], other: Octavo[Sync], keys: Outside
) -> None:
    mine, theirs = db.rwlock("x"), other.rwlock("x")
    readers: list[Any] = [mine.reader.acquire(), theirs.reader.acquire(), mine.reader.try_acquire()]
    assert len({reader.owner for reader in readers}) == 3
    assert set(keys.leases) == {reader.owner for reader in readers}
    assert mine.writer.try_acquire() is None
    with pytest.raises(LockTimeout):
        theirs.writer.acquire(wait=0.05)
    for reader in readers:
        assert reader.release() is True
    writer = mine.writer.acquire()
    for rw in (mine, theirs):
        assert rw.reader.try_acquire() is None
        assert rw.writer.try_acquire() is None
    assert writer.release() is True
    assert keys.idle


@FLOWS
def test_a_writer_who_waits_holds_up_the_readers_behind_it(
    db: Octavo[Sync], other: Octavo[Sync], keys: Outside
) -> None:
    mine, theirs = db.rwlock("x"), other.rwlock("x")
    order = list[str]()
    together = threading.Barrier(2)

    def take(side: Any, what: str) -> None:
        lease = side.acquire(wait=20)
        order.append(what)
        if what == "read":
            together.wait(10)  # both are inside
        lease.release()

    first = mine.reader.acquire()
    calls = list[Call[None]]()
    for length, (side, what) in enumerate(
        [
            *((theirs.writer, "write"), (mine.reader, "read"), (theirs.reader, "read")),
            *((mine.writer, "write"), (theirs.reader, "read"), (mine.reader, "read")),
        ],
        start=1,
    ):
        calls.append(Call(take, side, what))
        keys.wait_for_queue(length)
    assert mine.reader.try_acquire() is None
    assert order == []
    first.release()
    for call in calls:
        call.result()
    assert order == ["write", "read", "read"] * 2
    assert keys.idle


@FLOWS
@EMBEDDED
def test_a_writer_who_gives_up_lets_in_the_readers_behind_it(
    db: Octavo[Sync], keys: Outside
) -> None:
    rw = db.rwlock("x")
    first = rw.reader.acquire()
    writer = queue_up(keys, rw.writer, wait=2)
    readers = [queue_up(keys, rw.reader) for _ in range(3)]
    assert isinstance(writer.error(), LockTimeout)
    with took(0, 4):
        leases = [reader.result() for reader in readers]
    assert all(lease.valid for lease in [first, *leases])
    for lease in [first, *leases]:
        lease.release()
    assert keys.idle


@FLOWS
@EMBEDDED
def test_a_dead_writer_holds_up_nobody(
    db: Octavo[Sync], other: Octavo[Sync], keys: Outside
) -> None:
    first = db.rwlock("x").reader.acquire()
    haunt(other.rwlock("x").writer, weight=2**31, address=b"octavo:mail:{x}:nobody")
    second = db.rwlock("x").reader.try_acquire()
    assert second is not None
    assert keys.queue == []
    assert [first.release(), second.release()] == [True, True]


@FLOWS
@EMBEDDED
def test_the_lease_of_each_reader_ends_by_itself(
    db: Octavo[Sync], other: Octavo[Sync], keys: Outside
) -> None:
    gone = db.rwlock("x", ttl=0.3, renew=False).reader.acquire()
    stays = other.rwlock("x", ttl=0.9).reader.acquire()
    wait_until(lambda: keys.leases.keys() == {stays.owner}, "one of them ends", timeout=4)
    assert not gone.valid
    wait_until(lambda: stays.held_for > 1.2, "the other one is renewed")
    assert stays.valid
    assert db.rwlock("x").writer.try_acquire() is None
    assert gone.release() is False
    assert keys.leases.keys() == {stays.owner}
    assert stays.release() is True
    assert keys.idle


@SYNC
@EMBEDDED
@pytest.mark.parametrize(
    ("killed", "waits"), [("writer", "writer"), ("writer", "reader"), ("reader", "writer")]
)
def test_what_a_killed_process_held_comes_back_after_its_ttl(
    killed: str, waits: str, db: Octavo[Sync], server: Server, prefix: str, keys: Outside
) -> None:
    with Crew() as crew:
        worker = crew.spawn(hold, server.url, prefix, killed, 1, 0.4)
        worker.heard()
        calls = [queue_up(keys, getattr(db.rwlock("x"), waits)) for _ in range(2)]
        worker.kill()
        with took(0, 4):
            first = calls[0].result()
            if waits == "writer":
                first.release()
            second = calls[1].result()
    assert keys.leases.keys() == {second.owner} | ({first.owner} if waits == "reader" else set())
    first.release()
    second.release()
    assert keys.idle


@FLOWS
@EMBEDDED
def test_what_runs_out_with_nobody_there_weighs_nothing_after_that(
    db: Octavo[Sync], keys: Outside
) -> None:
    for first in ("writer", "reader"):
        getattr(db.rwlock("x", ttl=0.05, renew=False), first).acquire()
        wait_until(lambda: not keys.leases, "it ends")
        leases = [db.rwlock("x").reader.try_acquire() for _ in range(3)]
        assert [lease.release() for lease in leases if lease] == [True] * 3
        assert keys.idle


# From one side to the other.


@FLOWS
def test_a_writer_becomes_a_reader_and_nobody_writes_in_between(
    db: Octavo[Sync], other: Octavo[Sync], keys: Outside
) -> None:
    rw = db.rwlock("x")
    lease = rw.writer.acquire()
    fence = lease.fence
    readers = [queue_up(keys, other.rwlock("x").reader) for _ in range(2)]
    writer = queue_up(keys, other.rwlock("x").writer)
    late = queue_up(keys, rw.reader)
    with took(0, 4):
        rw.downgrade(getattr(lease, "_own", lease))
        inside = [reader.result() for reader in readers]
    assert lease.valid
    assert (lease.fence, lease.weight) == (fence, 1)
    assert keys.leases.keys() == {lease.owner, *(reader.owner for reader in inside)}
    for each in [lease, *inside]:
        assert not writer.over
        assert each.release() is True
    writer.result().release()
    late.result().release()
    assert keys.idle


@FLOWS
@EMBEDDED
def test_a_lease_made_lighter_goes_on_as_one(db: Octavo[Sync], keys: Outside) -> None:
    rw = db.rwlock("x", ttl=0.9)
    lease: Any = rw.writer.acquire()
    rw.downgrade(lease._own)
    rw.downgrade(lease._own)
    wait_until(lambda: lease.held_for > 1.2, "it is renewed")
    assert lease.valid
    rw.reader.acquire(wait=0).release()
    keys.delete("leases", "who")
    with pytest.raises(LockLost):
        rw.downgrade(lease._own)
    assert lease.lost.is_set()


@FLOWS
@EMBEDDED
def test_only_a_lease_of_its_own_is_made_lighter(db: Octavo[Sync]) -> None:
    rw = db.rwlock("x")
    for holdable in (db.lock("x"), db.rwlock("y").writer, db.semaphore("x", 2)):
        lease: Any = holdable.acquire()
        with pytest.raises(ValueError, match="'x'"):
            rw.downgrade(lease._own)
        assert lease.release() is True
    over: Any = rw.writer.acquire()
    over.release()
    with pytest.raises(LockLost):
        rw.downgrade(over._own)


@EMBEDDED
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_reader_who_wants_to_write_is_told_that_it_would_wait_for_itself(
    reentrant: bool, server: Server, prefix: str
) -> None:
    with octavo.connect(server.url, prefix=prefix) as db:
        rw = db.rwlock("x", reentrant=reentrant)
        with rw.reader:
            with pytest.raises(WouldDeadlock, match="'x'"):
                rw.writer.acquire()
            with pytest.raises(WouldDeadlock), rw.writer:
                pass
            with pytest.raises(WouldDeadlock):
                rw.writer.acquire(wait=30)
            assert rw.writer.try_acquire() is None
        with rw.writer:
            pass


@EMBEDDED
async def test_a_task_that_reads_and_wants_to_write_is_told_that_it_would_wait_for_itself(
    server: Server, prefix: str
) -> None:
    async with octavo.connect_async(server.url, prefix=prefix) as db:
        rw = db.rwlock("x")
        async with rw.reader:
            with pytest.raises(WouldDeadlock, match="'x'"):
                await rw.writer.acquire()
            with pytest.raises(WouldDeadlock):
                await rw.writer.acquire(wait=30)
            assert await rw.writer.try_acquire() is None
        async with rw.writer:
            with pytest.raises(WouldDeadlock):
                await rw.reader.acquire()


@EMBEDDED
def test_a_reader_inside_of_a_reader_would_wait_for_a_writer_between_them(
    server: Server, prefix: str
) -> None:
    with octavo.connect(server.url, prefix=prefix) as db:
        rw = db.rwlock("x")
        with rw.reader:
            with pytest.raises(WouldDeadlock):
                rw.reader.acquire()
            with rw.reader.acquire(wait=1):
                pass


@EMBEDDED
def test_it_shows_its_name(server: Server) -> None:
    with octavo.connect(server.url) as db:
        rw = db.rwlock("x")
        assert (repr(rw), rw.name) == ("<RWLock 'x'>", "x")
        assert (rw.reader.name, rw.writer.name) == ("x", "x")


# All of it at once.


@EMBEDDED
def test_no_reader_ever_meets_a_writer(server: Server, prefix: str, keys: Outside) -> None:
    guard = threading.Lock()
    inside = {"reader": 0, "writer": 0}
    most = 0
    with (
        octavo.connect(server.url, prefix=prefix) as one,
        octavo.connect(server.url, prefix=prefix) as two,
    ):

        def work(db: Octavo[Sync], side: str) -> None:
            nonlocal most
            for _ in range(20):
                with getattr(db.rwlock("x"), side):
                    with guard:
                        inside[side] += 1
                        most = max(most, inside["reader"])
                        assert inside["writer"] <= 1
                        assert not (inside["reader"] and inside["writer"])
                    with guard:
                        inside[side] -= 1

        calls = [
            Call(work, db, side) for db in (one, two) for side in ("reader",) * 3 + ("writer",)
        ]
        for call in calls:
            call.result()
    assert keys.idle

"""The fence of each grant is greater than that of every grant before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from octavo.testing.waiting import wait_until
from tests.fix_servers import redis_py
from tests.locks.cases import EMBEDDED, EXCLUSIVES, FLOWS, SYNC, Outside, queue_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Octavo, Sync
    from octavo.testing.servers import Standalone
    from tests.fix_faces import Connect
    from tests.locks.cases import Make

End = "Callable[[Any, Outside], object]"


def release(lease: Any, _: Outside) -> None:
    assert lease.release() is True


def expire(_: Any, outside: Outside) -> None:
    wait_until(lambda: not outside.leases, "it ends with its ttl")


def delete_all(_: Any, outside: Outside) -> None:
    outside.delete()


def delete_what_is_known(_: Any, outside: Outside) -> None:
    outside.delete("who")


def forget_the_fence(lease: Any, outside: Outside) -> None:
    outside.client.hdel(outside.key("who"), "fence")
    assert lease.release() is True


def forget_and_expire(_: Any, outside: Outside) -> None:
    outside.client.hdel(outside.key("who"), "fence")
    wait_until(lambda: not outside.leases, "it ends with its ttl")


def flush(_: Any, outside: Outside) -> None:
    outside.client.flushall()


ENDS = (release, expire, delete_all, delete_what_is_known, forget_the_fence, forget_and_expire)


@pytest.mark.parametrize("end", ENDS)
@EXCLUSIVES
@EMBEDDED
@SYNC
def test_the_next_fence_is_greater_however_the_lease_ends(
    make: Make, job: str, end: Any, db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    keys, fences = outside(job), list[int]()
    ttl = 30 if end in (release, forget_the_fence) else 0.1
    for _ in range(4):
        lease = make(db, ttl=ttl, renew=False).acquire(wait=5)
        fences.append(lease.fence)
        end(lease, keys)
    assert fences == sorted(set(fences))
    assert all(isinstance(fence, int) for fence in fences)


@SYNC
@pytest.mark.parametrize("end", [release, delete_all, forget_the_fence])
def test_the_next_fence_is_greater_on_every_server(
    end: Any, db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    fences = list[int]()
    for _ in range(3):
        lease = db.lock("x").acquire(wait=5)
        fences.append(lease.fence)
        end(lease, outside())
    assert fences == sorted(set(fences))


@FLOWS
def test_the_next_fence_is_greater_when_all_is_flushed(
    connect: Connect, standalone: Standalone, prefix: str
) -> None:
    db, fences = connect(standalone.url), list[int]()
    with redis_py(standalone.unix_url) as client:
        for _ in range(3):
            fences.append(db.lock("x").acquire(wait=5).fence)
            flush(None, Outside(client, prefix, f"{prefix}:lock:{{x}}"))
    assert fences == sorted(set(fences))


@EXCLUSIVES
@EMBEDDED
@SYNC
def test_the_next_fence_is_greater_when_it_is_broken(
    make: Make, job: str, db: Octavo[Sync], other: Octavo[Sync]
) -> None:
    fences = list[int]()
    for _ in range(4):
        fences.append(make(db).acquire(wait=1).fence)
        assert cast("Any", other).locks.break_("x", kind=job)
    assert fences == sorted(set(fences))


@EXCLUSIVES
@EMBEDDED
@FLOWS
def test_what_is_handed_over_has_a_greater_fence(
    make: Make, job: str, db: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = make(other).acquire()
    for _ in range(3):
        call = queue_up(outside(job), make(db))
        lease.release()
        then = call.result()
        assert then.fence > lease.fence
        lease = then
    lease.release()


@EMBEDDED
@FLOWS
def test_those_who_hold_at_the_same_time_have_fences_of_their_own(db: Octavo[Sync]) -> None:
    for holdable in (db.semaphore("x", 10), db.rwlock("x").reader):
        leases = [holdable.acquire() for _ in range(10)]
        fences = [lease.fence for lease in leases]
        assert fences == sorted(set(fences))
        for lease in leases:
            lease.release()


@EMBEDDED
@FLOWS
def test_a_lease_keeps_its_fence(db: Octavo[Sync]) -> None:
    lease = db.lock("x", ttl=0.9).acquire()
    fence = lease.fence
    wait_until(lambda: lease.held_for > 1.2, "it is renewed")
    lease.extend(5)
    assert lease.fence == fence
    lease.release()
    assert lease.fence == fence

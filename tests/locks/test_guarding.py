"""Batches that run only while a lease holds, or while a fence is the newest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from octavo.errors import LockLost, StaleFence
from octavo.testing.waiting import wait_until
from tests.locks.cases import EMBEDDED, FLOWS
from tests.locks.test_round_trips import ONE, Sent

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Octavo, Sync
    from octavo.locks.inspected import Kind
    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect

TAG = "t"


def acquire(db: Any, **options: Any) -> Any:
    return db.lock("x", tag=TAG, **options).acquire()


def write(db: Any, guard: Any, score: float) -> tuple[Any, Any]:
    """Write a leaderboard and a cache in one guarded batch; return what is pending."""
    with db.batch(guard=guard) as batch:
        return write_in(batch, score)


def write_in(batch: Any, score: float) -> tuple[Any, Any]:
    return (
        batch.leaderboard("b", tag=TAG, keep="last").submit("ada", score),
        batch.cache("c", ttl=60, tag=TAG).set("k", score),
    )


def written(db: Any) -> tuple[Any, Any]:
    """Return what the leaderboard and the cache have."""
    return (
        db.leaderboard("b", tag=TAG, keep="last").score("ada"),
        db.cache("c", ttl=60, tag=TAG).get("k"),
    )


# With a lease.


@FLOWS
def test_operations_of_several_jobs_run_while_the_lease_holds(db: Octavo[Sync]) -> None:
    lease: Any = acquire(db)
    for score in (10, 20):
        submitted, _ = write(db, lease._own, score)
        assert submitted.result().score == score
        assert written(db) == (score, score)
    assert lease.valid
    assert lease.release() is True


@FLOWS
def test_nothing_is_written_once_somebody_else_holds_it(
    db: Octavo[Sync], other: Octavo[Sync]
) -> None:
    lease: Any = acquire(db)
    write(db, lease._own, 10)
    other.locks.break_("x", tag=TAG)
    then = acquire(other)
    assert lease.valid, "its holder does not know yet"
    pending = list[Any]()
    with pytest.raises(LockLost, match="'x'") as raised, db.batch(guard=lease._own) as batch:
        pending += write_in(batch, 99)
    assert (raised.value.name, raised.value.fence) == ("x", lease.fence)
    assert [type(each.exception()) for each in pending] == [LockLost, LockLost]
    assert written(db) == (10, 10)
    assert (lease.valid, lease.lost.is_set(), lease.release()) == (False, True, False)
    write(other, then, 20)
    assert written(db) == (20, 20)
    assert then.release() is True


@FLOWS
@EMBEDDED
@pytest.mark.parametrize("how", ["it ran out", "it was released", "its keys are gone"])
def test_nothing_is_written_once_the_lease_has_ended(how: str, db: Octavo[Sync]) -> None:
    lease: Any = acquire(db, ttl=0.3, renew=False) if how == "it ran out" else acquire(db)
    if how == "it ran out":
        # Until somebody else may hold it, which is a little later than its holder thinks.
        wait_until(lambda: db.locks.holder("x", tag=TAG) is None, "it has run out")
    elif how == "it was released":
        lease.release()
    else:
        db.locks.break_("x", tag=TAG)
    with pytest.raises(LockLost):
        write(db, lease._own, 99)
    assert written(db) == (None, None)


@FLOWS
@EMBEDDED
def test_whoever_holds_it_anew_is_not_who_held_it(db: Octavo[Sync]) -> None:
    first: Any = acquire(db)
    first.release()
    second: Any = acquire(db)
    with pytest.raises(LockLost):
        write(db, first._own, 99)
    assert written(db) == (None, None)
    write(db, second._own, 1)
    second.release()


KINDS: dict[str, tuple[Callable[[Any], Any], Kind]] = {
    "reader": (lambda db: db.rwlock("x", tag=TAG).reader.acquire(), "rwlock"),
    "writer": (lambda db: db.rwlock("x", tag=TAG).writer.acquire(), "rwlock"),
    "semaphore": (lambda db: db.semaphore("x", 3, tag=TAG).acquire(2), "semaphore"),
    "election": (lambda db: db.election("x", tag=TAG).campaign(), "election"),
}


@FLOWS
@EMBEDDED
@pytest.mark.parametrize(("acquire", "kind"), KINDS.values(), ids=KINDS)
def test_every_kind_of_lease_guards(
    acquire: Callable[[Any], Any], kind: Kind, db: Octavo[Sync], other: Octavo[Sync]
) -> None:
    lease = acquire(db)
    write(db, lease._own, 10)
    assert other.locks.break_("x", kind=kind, tag=TAG) == 1
    with pytest.raises(LockLost):
        write(db, lease._own, 99)
    assert written(db) == (10, 10)
    lease.release()


@FLOWS
@pytest.mark.usefixtures("quiet_links")
def test_it_is_one_round_trip(connect: Connect, proxy: WireProxy) -> None:
    db = connect(proxy.url)
    lease: Any = acquire(db)
    sent = Sent(proxy)

    def sends() -> tuple[dict[str, int], int]:
        sent()
        write(db, lease._own, 2)
        return sent()

    # A cache asks for what its server is to tell it of, until there is a link.
    wait_until(lambda: sends() == ONE, "it is one round trip")
    assert sends() == ONE
    lease.release()


@FLOWS
def test_what_is_in_another_slot_is_refused_and_nothing_is_sent(
    connect: Connect, proxy: WireProxy
) -> None:
    db = connect(proxy.url)
    lease: Any = acquire(db)
    sent = Sent(proxy)
    with pytest.raises(ValueError, match="one slot"), db.batch(guard=lease._own) as batch:
        batch.leaderboard("b", tag="another").submit("ada", 1)
    assert sent()[0] == {}
    assert lease.valid
    lease.release()


@FLOWS
@EMBEDDED
def test_the_lease_of_several_locks_guards_nothing(db: Octavo[Sync]) -> None:
    lease: Any = db.multilock(["x", "y"], tag=TAG).acquire()
    with pytest.raises(TypeError, match="several locks"):
        write(db, lease._own, 99)
    assert written(db) == (None, None)
    assert lease.release() is True


# With a fence.


@FLOWS
def test_whose_fence_is_stale_writes_nothing(db: Octavo[Sync], other: Octavo[Sync]) -> None:
    gate = db.fence("r", tag=TAG)
    first: Any = db.lock("x").acquire()
    write(db, gate.guard(first.fence), 10)
    other.locks.break_("x")
    second = other.lock("x").acquire()
    write(db, gate.guard(first.fence), 11)
    write(other, other.fence("r", tag=TAG).guard(second.fence), 20)
    with pytest.raises(StaleFence) as raised:
        write(db, gate.guard(first.fence), 99)
    assert (raised.value.fence, raised.value.newest) == (first.fence, second.fence)
    assert written(db) == (20, 20)
    assert [first.release(), second.release()] == [False, True]


@FLOWS
@EMBEDDED
def test_a_fence_whose_slot_is_another_is_refused(db: Octavo[Sync]) -> None:
    with pytest.raises(ValueError, match="one slot"):
        write(db, db.fence("r").guard(5), 99)
    assert db.fence("r").newest() is None

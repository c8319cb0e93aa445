"""What octavo did not write under a lock's keys, and what somebody has taken away there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from octavo.errors import LockLost, OctavoError, ServerError, WrongType
from octavo.testing.waiting import wait_until
from tests.calls import Call
from tests.locks.cases import EMBEDDED, EXCLUSIVES, FLOWS, SYNC, lock, one_permit

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Octavo, Sync
    from tests.locks.cases import Make, Outside

PARTS = pytest.mark.parametrize("part", ["leases", "queue", "who"])


def spoil(keys: Outside, part: str) -> None:
    """Put something of a type under a key that none of ours has."""
    keys.client.delete(keys.key(part))
    keys.client.set(keys.key(part), "text")


@FLOWS
@EMBEDDED
@EXCLUSIVES
@PARTS
def test_a_key_of_the_wrong_type_is_named_and_stays(
    part: str, make: Make, job: str, db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    keys, holdable = outside(job), make(db)
    spoil(keys, part)
    if part == "queue" and make is lock:
        with pytest.raises(WrongType):  # who comes when it is free has nothing to do with it
            holdable.acquire().release()
        return
    for name in ("acquire", "try_acquire"):
        with pytest.raises(WrongType) as raised:
            getattr(holdable, name)()
        assert keys.base in str(raised.value)
        assert raised.value.operation is not None
        assert raised.value.operation.endswith(name)
        assert keys.client.get(keys.key(part)) == "text"
    keys.delete()
    assert holdable.acquire(wait=1).release() is True
    assert keys.idle


@FLOWS
@EMBEDDED
@PARTS
def test_a_lease_whose_key_is_of_the_wrong_type_is_not_given_back_in_silence(
    part: str, db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    keys = outside()
    lease = db.lock("x", ttl=30).acquire()
    spoil(keys, part)
    if part != "queue":
        with pytest.raises(WrongType):
            lease.extend()
        with pytest.raises(WrongType) as raised:
            lease.release()
        assert raised.value.operation == "lease.release"
    else:
        lease.extend()
        with pytest.raises(WrongType):
            lease.release()


@FLOWS
@EMBEDDED
@pytest.mark.parametrize("part", ["leases", "who"])
def test_a_lease_that_cannot_be_renewed_is_lost(
    part: str, db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = db.lock("x", ttl=0.3).acquire()
    spoil(outside(), part)
    assert lease.lost.wait(5) is True
    with pytest.raises(LockLost):
        lease.check()


@EMBEDDED
@PARTS
def test_what_is_available_is_not_known_if_a_key_is_of_the_wrong_type(
    part: str, db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    keys = outside("semaphore")
    db.semaphore("x", 5).acquire().release()
    spoil(keys, part)
    if part == "queue":
        assert db.semaphore("x", 5).available() == 5
        return
    with pytest.raises(WrongType) as raised:
        db.semaphore("x", 5).available()
    assert raised.value.operation == "semaphore.available"
    assert keys.base in str(raised.value)


@FLOWS
@EMBEDDED
def test_a_writer_whose_key_is_of_the_wrong_type_is_told(
    db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    rw = db.rwlock("x")
    lease: Any = rw.writer.acquire()
    spoil(outside("rwlock"), "who")
    with pytest.raises(WrongType) as raised:
        rw.downgrade(lease._own)
    assert raised.value.operation == "rwlock.downgrade"


@SYNC
@EMBEDDED
@pytest.mark.parametrize("garbage", ["", "text", "12 monkeys", "-1", "nan"])
@pytest.mark.parametrize("field", ["fence", "limit", "gone", "extra"])
def test_garbage_is_an_error_of_the_server_or_does_not_matter(
    field: str, garbage: str, db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    keys, semaphore = outside("semaphore"), db.semaphore("x", 5)
    semaphore.acquire(2).release()
    keys.client.hset(keys.key("who"), field, garbage)
    try:
        leases = [semaphore.try_acquire(2) for _ in range(3)]
    except ServerError as error:
        print(f"{garbage!r} as {field}: {error}")
    else:
        assert leases[2] is None
        for lease in leases[:2]:
            assert lease is not None
            lease.release()
    keys.delete()
    assert semaphore.acquire(5, wait=1).release() is True


# What somebody has taken away.


@SYNC
@EMBEDDED
@EXCLUSIVES
@pytest.mark.parametrize("parts", [("leases",), ("queue",), ("who",), ()], ids=str)
def test_whatever_keys_are_deleted_while_somebody_waits_it_is_had_in_the_end(
    parts: tuple[str, ...],
    make: Make,
    job: str,
    db: Octavo[Sync],
    other: Octavo[Sync],
    outside: Callable[..., Outside],
) -> None:
    keys = outside(job)
    lease = make(other, ttl=1.5).acquire()
    holders = list[set[str]]()

    def wait() -> None:
        then = make(db, ttl=1.5).acquire(wait=20)
        holders.append(set(keys.leases) - {then.owner})
        assert then.release() is True

    calls = [Call(wait) for _ in range(2)]
    keys.wait_for_queue(2)
    keys.delete(*parts)
    lease.release()
    for call in calls:
        call.result()
    assert holders == [set(), set()]
    assert keys.leases == {}


@SYNC
@EMBEDDED
@pytest.mark.parametrize(("make", "job"), [(lock, "lock"), (one_permit, "semaphore")])
@pytest.mark.parametrize("parts", [("leases",), ("who",), ()], ids=str)
def test_of_two_holders_of_what_was_deleted_only_the_later_one_goes_on(
    parts: tuple[str, ...],
    make: Make,
    job: str,
    db: Octavo[Sync],
    other: Octavo[Sync],
    outside: Callable[..., Outside],
) -> None:
    keys = outside(job)
    lease = make(db, ttl=1.2).acquire()
    keys.delete(*parts)
    then = make(other, ttl=1.2).acquire(wait=5)
    assert then.fence > lease.fence
    assert lease.lost.wait(5) is True
    wait_until(lambda: then.held_for > 1.5, "it is renewed")
    assert then.valid
    assert keys.leases.keys() == {then.owner}
    assert lease.release() is False
    assert then.release() is True
    assert keys.leases == {}


@FLOWS
@EMBEDDED
def test_a_lease_of_something_else_is_not_touched_by_what_happens_to_one(
    db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    good, bad = db.lock("x", ttl=1.2).acquire(), db.lock("y", ttl=1.2).acquire()
    spoil(outside(name="y"), "who")
    wait_until(bad.lost.is_set, "it is lost", timeout=4)
    wait_until(lambda: good.held_for > 1.5, "it is renewed")
    assert good.valid
    assert good.release() is True
    with pytest.raises(OctavoError):
        bad.release()

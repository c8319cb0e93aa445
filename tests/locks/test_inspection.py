"""Looking at what anyone holds, and taking it away."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import LockLost
from octavo.testing.proxy import WireProxy
from octavo.testing.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from octavo import Octavo, Sync
    from octavo.locks import Lease
    from octavo.testing.servers import Standalone
    from tests.fix_faces import Connect
    from tests.fix_servers import Server

NASTY = ["a:b", "{x}", "100%", "%7B", "a.b", "é", "*?[", "line\nfeed", "a}b:{c"]


@pytest.fixture
def locks(db: Octavo[Sync]) -> Any:
    """What is looked at, on each face."""
    return db.locks


@pytest.fixture
def user(server: Server, prefix: str) -> Iterator[Octavo[Sync]]:
    """A client that holds locks, of the same server and prefix."""
    with octavo.connect(server.url, prefix=prefix) as client:
        yield client


@contextmanager
def waiting(
    acquire: Callable[..., Lease[Sync]], locks: Any, name: str, then: Callable[[Any], object]
) -> Generator[None]:
    """Have a thread wait for a lock, and do something with its lease."""
    before = len(locks.waiters(name))
    thread = threading.Thread(target=lambda: then(acquire(wait=10)))
    thread.start()
    try:
        wait_until(lambda: len(locks.waiters(name)) > before, "it waits")
        yield
    finally:
        thread.join()


def test_what_is_held_is_listed_with_who_holds_it(
    locks: Any, user: Octavo[Sync], server: Server
) -> None:
    before = datetime.now(UTC)
    lease = user.lock("import", ttl=20).acquire()
    (info,) = locks.list()
    (holder,) = info.holders
    assert (info.kind, info.name, info.tag, info.waiting) == ("lock", "import", None, 0)
    assert (info.limit, info.kept) == (1, 0)
    assert (holder.owner, holder.fence, holder.weight) == (lease.owner, lease.fence, 1)
    assert before - timedelta(seconds=1) < holder.since < before + timedelta(seconds=5)
    assert 15 < holder.remaining <= 20
    host, _, process = holder.label.partition(":")
    assert host
    assert process.isdigit()


def test_read_write_locks_and_semaphores_are_listed_beside_locks(
    locks: Any, user: Octavo[Sync]
) -> None:
    held = [
        user.lock("x").acquire(),
        user.rwlock("x").writer.acquire(),
        user.semaphore("x", 5).acquire(2),
        user.semaphore("x", 5).acquire(3),
    ]
    lock, rwlock, semaphore = locks.list()
    assert [info.kind for info in (lock, rwlock, semaphore)] == ["lock", "rwlock", "semaphore"]
    assert rwlock.holders[0].weight == rwlock.limit
    assert semaphore.limit == 5
    assert [holder.weight for holder in semaphore.holders] == [2, 3]
    assert [holder.fence for holder in semaphore.holders] == [one.fence for one in held[2:]]
    assert locks.holder("x", kind="rwlock").fence == held[1].fence


def test_names_and_tags_are_listed_as_they_were_given(
    locks: Any, user: Octavo[Sync], prefix: str
) -> None:
    given = {(name, tag) for name in NASTY for tag in (None, *NASTY[:4])}
    held = [user.lock(name, tag=tag).acquire() for name, tag in given]
    assert {(info.name, info.tag) for info in locks.list()} == given
    owners = {lease.owner for lease in held}
    assert {locks.holder(name, tag=tag).owner for name, tag in given} == owners


def test_what_is_listed_may_be_narrowed_to_names_that_begin_so(
    locks: Any, user: Octavo[Sync]
) -> None:
    names = ["import:a", "import:b", "import", "export:a", "im*"]
    held = [user.lock(name).acquire() for name in names]
    assert [info.name for info in locks.list("import:")] == ["import:a", "import:b"]
    assert [info.name for info in locks.list("im*")] == ["im*"]
    assert len(locks.list()) == len(held)


def test_what_is_free_is_not_listed(locks: Any, user: Octavo[Sync]) -> None:
    with user.lock("x"), user.semaphore("s", 3):
        assert len(locks.list()) == 2
    assert locks.list() == []
    assert locks.holder("x") is None
    assert locks.holders("s", kind="semaphore") == []
    assert locks.waiters("x") == []


def test_other_prefixes_and_other_keys_are_left_out(
    locks: Any, connect: Connect, server: Server, prefix: str
) -> None:
    with octavo.connect(server.url, prefix=f"{prefix}-2") as other:
        held = other.lock("x").acquire()
        assert locks.list() == []
        assert [info.name for info in connect(server.url, prefix=f"{prefix}-2").locks.list()]
        held.release()
    for key in (
        "lock:x:leases",
        "lock:{}:queue",
        "lock:{x}y:leases",
        "cache:{x}:leases",
        "lock:{x}.:leases",
        "barrier:{x}:leases",
        "lock:{x}:lost",
    ):
        name = f"{prefix}:{key}"
        server.node_of(name).cli("ZADD", name, 9e15, "somebody")
    for key in ("lock:{text}:leases", "lock:{text}:queue"):
        server.node_of(f"{prefix}:{key}").cli("SET", f"{prefix}:{key}", "text")
    # What is left of a lease that has run out, while another of the semaphore goes on.
    server.node_of(f"{prefix}:lock:{{old}}:leases").cli(
        "ZADD", f"{prefix}:lock:{{old}}:leases", 1, "o"
    )
    assert locks.list() == []


def test_what_nobody_holds_is_listed_if_somebody_waits(
    locks: Any, user: Octavo[Sync], server: Server, prefix: str
) -> None:
    leases = f"{prefix}:lock:{{x}}:leases"
    found: list[Any] = []
    while not found:  # who waits may ask in this very moment, and get it
        lease = user.lock("x").acquire()
        with waiting(user.lock("x").acquire, locks, "x", lambda got: got.release()):
            server.node_of(leases).cli("DEL", leases)
            found = [info for info in locks.list() if info.waiting]
            lease.release()
    (info,) = found
    assert (info.name, info.waiting, info.holders) == ("x", 1, ())


def test_who_waits_is_told_in_order(locks: Any, user: Octavo[Sync]) -> None:
    lock = user.lock("x", fair=True)
    lease = lock.acquire()
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(waiting(lock.acquire, locks, "x", lambda got: got.release()))
        waiters = locks.waiters("x")
        assert len({waiter.owner for waiter in waiters}) == 3
        assert [waiter.since for waiter in waiters] == sorted(waiter.since for waiter in waiters)
        assert {(waiter.weight, waiter.label) for waiter in waiters} == {
            (1, locks.holder("x").label)
        }
        (info,) = locks.list()
        assert (info.waiting, len(info.holders)) == (3, 1)
        lease.release()


def test_holders_come_in_the_order_in_which_their_leases_end(
    locks: Any, user: Octavo[Sync]
) -> None:
    held = [user.semaphore("s", 9, ttl=ttl).acquire() for ttl in (30, 10, 20)]
    holders = locks.holders("s", kind="semaphore")
    assert [holder.fence for holder in holders] == [held[i].fence for i in (1, 2, 0)]
    assert locks.holder("s", kind="semaphore").fence == held[1].fence


def test_who_leads_is_listed_as_what_it_says_of_itself(locks: Any, user: Octavo[Sync]) -> None:
    term = user.election("scheduler").campaign("host é")
    (info,) = locks.list()
    assert (info.kind, info.name, info.holders[0].label) == ("election", "scheduler", "host é")
    assert info.holders[0].fence == term.term
    assert locks.break_("scheduler", kind="election") == 1
    assert user.election("scheduler").leader() is None


def test_what_is_kept_from_everybody_is_listed_without_a_holder(
    locks: Any, user: Octavo[Sync]
) -> None:
    user.lock("a", min_hold=60).acquire().release()
    lease = user.lock("b", ttl=0.05, renew=False, lock_delay=60).acquire()
    wait_until(lambda: locks.holder("b") is None, "the lease has ended")
    kept = {info.name: info for info in locks.list()}
    assert [*kept] == ["a", "b"]
    assert all(50 < info.kept <= 60 and not info.holders for info in kept.values())
    assert not lease.valid


def test_the_delay_after_a_lease_is_no_part_of_it(locks: Any, user: Octavo[Sync]) -> None:
    lease = user.lock("x", ttl=5, lock_delay=60).acquire()
    assert 3 < locks.holder("x").remaining <= 5
    lease.release()


def test_looking_changes_nothing(connect: Connect, standalone: Standalone, prefix: str) -> None:
    locks = connect(standalone.url).locks
    with octavo.connect(standalone.url, prefix=prefix) as user:
        lease = user.semaphore("s", 3).acquire()
        before = standalone.cli("DEBUG", "DIGEST")
        assert len(locks.list()) == 1
        locks.holders("s", kind="semaphore")
        locks.waiters("nothing")
        assert standalone.cli("DEBUG", "DIGEST") == before
        lease.release()


# Breaking


def test_a_broken_lock_is_free_and_its_holder_is_cut_off(locks: Any, user: Octavo[Sync]) -> None:
    lease = user.lock("x").acquire()
    assert locks.break_("x") == 1
    assert locks.holder("x") is None
    with pytest.raises(LockLost):
        lease.extend()
    again = user.lock("x").try_acquire()
    assert again is not None
    assert again.fence > lease.fence


def test_a_broken_lock_goes_to_who_waits(locks: Any, user: Octavo[Sync]) -> None:
    lease = user.lock("x").acquire()
    got: list[Any] = []
    with waiting(user.lock("x").acquire, locks, "x", got.append):
        assert locks.break_("x") == 1
    assert got[0].fence > lease.fence
    assert locks.holder("x").owner == got[0].owner
    assert (lease.release(), got[0].release()) == (False, True)


def test_all_leases_of_a_semaphore_are_broken(locks: Any, user: Octavo[Sync]) -> None:
    held = [user.semaphore("s", 5, tag="t").acquire(permits) for permits in (1, 2, 2)]
    assert locks.break_("s", kind="semaphore", tag="t") == 3
    assert user.semaphore("s", 5, tag="t").available() == 5
    assert [lease.release() for lease in held] == [False] * 3


def test_a_broken_semaphore_goes_to_who_waits_for_many_permits(
    locks: Any, user: Octavo[Sync]
) -> None:
    held = [user.semaphore("s", 5).acquire(2), user.semaphore("s", 5).acquire(3)]
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.append(user.semaphore("s", 5).acquire(5, 10)))
    waiting.start()
    wait_until(lambda: locks.waiters("s", kind="semaphore"), "it waits")
    assert locks.break_("s", kind="semaphore") == len(held)
    waiting.join()
    assert locks.holder("s", kind="semaphore").owner == got[0].owner


def test_a_broken_semaphore_may_be_used_with_another_limit(locks: Any, user: Octavo[Sync]) -> None:
    lease = user.semaphore("s", 5).acquire(2)
    locks.break_("s", kind="semaphore")
    assert user.semaphore("s", 6).available() == 6
    assert lease.release() is False


def test_a_lock_of_another_kind_or_tag_is_not_broken(locks: Any, user: Octavo[Sync]) -> None:
    held = [user.lock("x").acquire(), user.rwlock("x").reader.acquire(), user.lock("y").acquire()]
    assert locks.break_("x", tag="x") == 0
    assert locks.break_("x", kind="semaphore") == 0
    assert all(lease.release() for lease in held)


def test_breaking_what_is_kept_ends_that(locks: Any, user: Octavo[Sync]) -> None:
    user.lock("x", min_hold=60).acquire().release()
    assert locks.break_("x") == 0
    assert user.lock("x").try_acquire() is not None


# Cost and bad input


def test_five_hundred_locks_are_looked_at_in_a_round_trip(
    standalone: Standalone, prefix: str
) -> None:
    async def hold_and_look() -> int:
        async with octavo.connect_async(standalone.url, prefix=prefix) as client:
            held = await asyncio.gather(*(client.lock(f"x-{i}").acquire() for i in range(1200)))
            with WireProxy(standalone.address) as proxy:
                async with octavo.connect_async(proxy.url, prefix=prefix) as looking:
                    locks = looking.locks
                    await locks.holder("x-0")
                    proxy.reset()
                    assert len(await locks.list()) == len(held)
                    return proxy.round_trips

    # 4,800 keys and more are gone through, then 1,200 locks are looked at.
    assert asyncio.run(hold_and_look()) <= 10


@pytest.mark.parametrize("method", ["holder", "holders", "waiters", "break_"])
def test_a_name_or_a_kind_that_cannot_be_is_refused(connect: Connect, method: str) -> None:
    call = getattr(connect("redis://127.0.0.1:1").locks, method)
    with pytest.raises(
        ValueError, match="kind must be one of 'lock', 'rwlock', 'semaphore', 'election', not"
    ):
        call("x", kind="leaderboard")
    with pytest.raises(ValueError, match="name must not be empty"):
        call("")
    with pytest.raises(TypeError, match="name must be a str, not 5"):
        call(5)
    with pytest.raises(ValueError, match="tag must not be empty"):
        call("x", tag="")


def test_a_prefix_that_is_no_text_is_refused(connect: Connect) -> None:
    wrong: Any = b"x"
    with pytest.raises(TypeError, match="prefix must be a str, not b'x'"):
        connect("redis://127.0.0.1:1").locks.list(wrong)

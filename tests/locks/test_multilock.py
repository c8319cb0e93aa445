"""Several locks at once: all of them, or none."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import LockLost, LockTimeout, WouldDeadlock
from octavo.testing.waiting import wait_until
from tests.calls import Call
from tests.engine.lab import eventually
from tests.locks.cases import EMBEDDED, FLOWS, queue_up
from tests.locks.test_round_trips import NOTHING, Sent

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Cluster
    from tests.fix_faces import Connect
    from tests.fix_servers import Server
    from tests.locks.cases import Outside

NAMES = ["c", "a", "b"]
ALL = ({"script": 3}, 1)


def idle(outside: Callable[..., Outside], *names: str) -> bool:
    """Whether nobody holds any of them, nobody waits, and nothing is known of anybody."""
    keys = [outside("lock", name) for name in names or NAMES]
    return not any(one.leases or one.queue or one.owners for one in keys)


# All or none.


@FLOWS
def test_it_is_the_locks_of_these_names(
    db: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = db.multilock(NAMES).acquire()
    assert lease.valid
    assert [other.lock(name).try_acquire() for name in NAMES] == [None] * 3
    assert other.multilock(["b", "d"]).try_acquire() is None
    assert [lease.release(), lease.release()] == [True, True]
    assert not lease.lost.is_set()
    assert idle(outside, *NAMES, "d")


@FLOWS
@EMBEDDED
def test_a_lease_says_what_it_is(db: Octavo[Sync], outside: Callable[..., Outside]) -> None:
    before = db.lock("b").acquire()
    before.release()
    lock = db.multilock(NAMES, ttl=20)
    lease = lock.acquire()
    assert (lock.name, lease.name, lease.weight) == ("a, b, c", "a, b, c", 3)
    assert repr(lock._own) == "<MultiLock 'a, b, c'>"  # type: ignore[attr-defined]
    assert 18 < lease.remaining() < 20
    fences = [
        int(outside("lock", name).client.hget(outside("lock", name).key("who"), "fence"))
        for name in NAMES
    ]
    assert lease.fence == max(fences) > before.fence
    lease.extend(50)
    assert 48 < lease.remaining() < 50
    assert all(48 < max(outside("lock", name).leases.values()) < 51 for name in NAMES)
    lease.release()


@FLOWS
@pytest.mark.parametrize("busy", NAMES)
def test_who_does_not_get_all_of_them_holds_none(
    busy: str, db: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    held = other.lock(busy).acquire()
    assert db.multilock(NAMES).try_acquire() is None
    for wait in (0, 0.1):
        with pytest.raises(LockTimeout, match=r"'a, b, c'.*0"):
            db.multilock(NAMES).acquire(wait=wait)
    assert outside("lock", busy).queue == []
    assert idle(outside, *(name for name in NAMES if name != busy))
    assert held.release() is True
    assert idle(outside)


@FLOWS
def test_those_that_are_free_are_acquired_and_released_in_one_round_trip(
    connect: Connect, proxy: WireProxy
) -> None:
    locks = connect(proxy.url).multilock(NAMES)
    locks.acquire().release()
    sent = Sent(proxy)
    for acquire in (locks.acquire, locks.try_acquire):
        lease: Any = acquire()
        assert sent() == ALL
        assert lease.release() is True
        assert sent() == ALL
        assert lease.release() is True
        assert sent() == NOTHING


@FLOWS
def test_on_a_cluster_they_may_be_on_several_nodes(
    connect: Connect, cluster: Cluster, prefix: str
) -> None:
    names = [f"n{number}" for number in range(8)]
    assert len({cluster.node_of(f"{prefix}:lock:{{{name}}}") for name in names}) > 1
    db = connect(cluster.url)
    lease = db.multilock(names).acquire()
    assert [db.lock(name).try_acquire() for name in names] == [None] * 8
    assert lease.release() is True
    again = [db.lock(name).acquire(wait=0) for name in names]
    assert db.multilock(names).try_acquire() is None
    assert [one.release() for one in again] == [True] * 8


# Waiting.


@FLOWS
@EMBEDDED
def test_who_waits_for_one_holds_only_what_comes_before_it(
    db: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    held = other.lock("b").acquire()
    call = queue_up(outside("lock", "b"), db.multilock(NAMES))
    assert len(outside("lock", "a").leases) == 1
    last = other.lock("c").acquire(wait=0)
    held.release()
    outside("lock", "c").wait_for_queue(1)
    last.release()
    lease = call.result()
    assert lease.valid
    assert other.lock("a").try_acquire() is None
    lease.release()
    assert idle(outside)


@FLOWS
@EMBEDDED
def test_those_who_want_the_same_in_any_order_are_inside_one_at_a_time(
    db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    inside, done = 0, 0

    def work(names: list[str]) -> None:
        nonlocal inside, done
        for _ in range(15):
            lease = db.multilock(names).acquire(wait=15)
            inside += 1
            assert inside == 1
            done += 1
            inside -= 1
            assert lease.release() is True

    calls = [Call(work, names) for names in (NAMES, NAMES[::-1], ["b", "a"], ["c", "b"])]
    # Each of these two shares a lock with every other one.
    for call in calls:
        call.result()
    assert done == 60
    assert idle(outside)


@FLOWS
@EMBEDDED
def test_what_runs_out_while_it_waits_for_the_rest_is_acquired_anew(
    db: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    held = other.lock("b").acquire()
    call = queue_up(outside("lock", "b"), db.multilock(["a", "b"], ttl=1, renew=False))
    wait_until(lambda: not outside("lock", "a").leases, "it has run out")
    held.release()
    lease = call.result()
    assert lease.valid
    assert other.lock("a").try_acquire() is None
    assert lease.release() is True


# Losing one.


@FLOWS
@EMBEDDED
def test_the_loss_of_one_is_the_loss_of_all_and_told_once(
    connect: Connect, server: Server, other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    told = list[Any]()
    locks = connect(server.url).multilock(NAMES, ttl=1.5, on_lost=told.append)
    lease = locks.acquire()
    other.locks.break_("b")
    assert lease.lost.wait(10) is True
    assert not lease.valid
    with pytest.raises(LockLost, match="'b' was lost") as raised:
        lease.check()
    assert (raised.value.name, raised.value.fence) == ("a, b, c", lease.fence)
    other.locks.break_("a")
    wait_until(lambda: told, "it is told")
    assert [lease.release(), lease.release()] == [False, False]
    assert [(one.name, one.fence) for one in told] == [(lease.name, lease.fence)]
    assert idle(outside)


@FLOWS
@EMBEDDED
def test_who_gives_back_what_is_partly_gone_is_told(
    db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = db.multilock(NAMES).acquire()
    outside("lock", "c").delete("leases", "who")
    assert lease.release() is False
    assert lease.lost.is_set()
    assert idle(outside)


# In blocks.


@EMBEDDED
def test_a_block_holds_all_and_may_give_them_back_early(
    client: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    with client.multilock(NAMES) as lease:
        assert all(outside("lock", name).leases for name in NAMES)
        assert lease.release() is True
        assert idle(outside)
    with pytest.raises(ZeroDivisionError), client.multilock(NAMES):
        raise ZeroDivisionError
    assert idle(outside)


@EMBEDDED
async def test_an_async_block_is_cancelled_when_one_is_lost(
    server: Server, prefix: str, outside: Callable[..., Outside]
) -> None:
    async with octavo.connect_async(server.url, prefix=prefix) as db:
        async with db.multilock(NAMES) as lease:
            assert await lease.release() is True
        with pytest.raises(LockLost, match="'b' was lost"):  # noqa: PT012 - the whole block
            async with db.multilock(NAMES, ttl=1.5):
                await db.locks.break_("b")
                await asyncio.sleep(20)
    assert idle(outside)


@EMBEDDED
def test_who_is_inside_of_one_and_would_wait_for_it_is_told(client: Octavo[Sync]) -> None:
    with client.lock("b"):
        with pytest.raises(WouldDeadlock, match="'a, b, c'"):
            client.multilock(NAMES).acquire()
        assert client.multilock(NAMES).try_acquire() is None
    with client.multilock(NAMES):
        for own in (client.lock("b"), client.multilock(["b", "d"]), client.multilock(NAMES)):
            with pytest.raises(WouldDeadlock):
                own.acquire()
        with client.multilock(["d", "e"]):
            pass


@EMBEDDED
async def test_who_is_cancelled_leaves_nothing(
    server: Server, prefix: str, outside: Callable[..., Outside]
) -> None:
    async with octavo.connect_async(server.url, prefix=prefix) as db:
        held = await db.lock("b").acquire()
        task = asyncio.create_task(db.multilock(NAMES).acquire())
        await eventually(lambda: outside("lock", "b").queue, "it waits")
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()
        assert idle(outside, "a", "c")
        assert outside("lock", "b").queue == []
        await held.release()
        for _ in range(40):
            task = asyncio.create_task(db.multilock(NAMES).acquire())
            await asyncio.sleep(random.uniform(0, 0.003))
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                await task.result().release()
        assert idle(outside)


# Bad input.


@FLOWS
@pytest.mark.parametrize(
    ("names", "error"),
    [
        *(([], ValueError), (["a", "a"], ValueError), ([""], ValueError), ((), ValueError)),
        *((bad, TypeError) for bad in ("ab", b"ab", 5, None, [5], ["a", None])),
    ],
    ids=repr,
)
def test_bad_names_are_refused_by_name_before_anything_is_sent(
    names: Any, error: type[Exception], connect: Connect, proxy: WireProxy
) -> None:
    with pytest.raises(error, match=r"^names? must "):
        connect(proxy.url).multilock(names)
    assert proxy.accepted == 0

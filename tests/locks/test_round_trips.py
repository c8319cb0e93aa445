"""What each operation sends: one round trip, if nobody else is there."""

from __future__ import annotations

from collections import Counter
from operator import methodcaller as call
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.locks import Lease, Lock, Loss, RWLock, Semaphore, Side
from octavo.testing.waiting import wait_until
from tests.locks.cases import (
    EMBEDDED,
    FLOWS,
    Make,
    Outside,
    fair_lock,
    listen,
    lock,
    one_permit,
    queue_up,
    reader,
    writer,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect

pytestmark = pytest.mark.usefixtures("quiet_links")

SCRIPTS = ("EVAL", "EVALSHA")
ASIDE = {"HELLO", "CLIENT", "PING", "ROLE"}  # what the links and the making of connections say


def semaphore(db: Any, **options: Any) -> Any:
    return db.semaphore("x", 5, **options)


def reentrant(db: Any, **options: Any) -> Any:
    return db.lock("x", reentrant=True, **options)


MAKES: list[Make] = [lock, fair_lock, reentrant, reader, writer, one_permit, semaphore]
MADE = pytest.mark.parametrize("make", MAKES, ids=lambda make: make.__name__)


class Sent:
    """What is sent from its making on, without what the links say."""

    def __init__(self, proxy: WireProxy) -> None:
        self._proxy = proxy
        proxy.reset()

    def __call__(self) -> tuple[dict[str, int], int]:
        """Return what was sent since, and in how many round trips; begin anew."""
        commands, trips = self._proxy.commands, self._proxy.round_trips
        self._proxy.reset()
        sent = Counter[str]()
        for name, times in commands.items():
            sent["script" if name in SCRIPTS else name] += times
        return {name: n for name, n in sent.items() if name not in ASIDE}, trips

    def wait_for_scripts(self, times: int) -> None:
        """Wait until so many scripts were sent since."""
        wait_until(
            lambda: sum(self._proxy.commands[name] for name in SCRIPTS) >= times,
            f"{times} scripts were sent",
        )


NOTHING: tuple[dict[str, int], int] = ({}, 0)
ONE = ({"script": 1}, 1)


@FLOWS
@MADE
def test_what_is_free_is_acquired_and_released_in_one_round_trip_each(
    make: Make, connect: Connect, proxy: WireProxy
) -> None:
    holdable = make(connect(proxy.url))
    holdable.acquire().release()
    sent = Sent(proxy)
    lease = holdable.acquire()
    assert sent() == ONE
    assert lease.release() is True
    assert sent() == ONE
    assert lease.release() is True
    assert sent() == NOTHING
    lease = holdable.acquire(wait=5)
    assert sent() == ONE
    lease.release()
    sent()
    lease = holdable.try_acquire()
    assert sent() == ONE
    lease.release()
    assert sent() == ONE
    assert proxy.connections <= 2


@FLOWS
@MADE
@EMBEDDED
def test_what_is_held_is_found_so_in_one_round_trip(
    make: Make, connect: Connect, proxy: WireProxy, other: Octavo[Sync]
) -> None:
    if make is semaphore:
        held = other.semaphore("x", 5).acquire(5)
    elif make in (reader, writer):
        held = other.rwlock("x").writer.acquire()
    else:
        held = make(other).acquire()
    holdable = make(connect(proxy.url))
    holdable.try_acquire()
    sent = Sent(proxy)
    assert holdable.try_acquire() is None
    assert sent() == ONE
    with pytest.raises(octavo.LockTimeout):
        holdable.acquire(wait=0)
    assert sent() == ONE
    assert held.release() is True


@FLOWS
def test_the_first_use_of_a_script_sends_it_along(connect: Connect, proxy: WireProxy) -> None:
    db = connect(proxy.url)
    for scripts in ({"EVAL": 2}, {"EVALSHA": 2}):
        proxy.reset()
        db.lock("x").acquire().release()
        assert {name: n for name, n in proxy.commands.items() if name not in ASIDE} == scripts


@FLOWS
def test_what_is_done_with_a_lease_is_one_round_trip_or_none(
    connect: Connect, proxy: WireProxy
) -> None:
    rw: Any = connect(proxy.url).rwlock("x", ttl=300)
    lease = rw.writer.acquire()
    lease.extend()
    rw.downgrade(lease._own)
    sent = Sent(proxy)
    for operate, expected in (
        (call("extend"), ONE),
        (call("extend", 500), ONE),
        (call("check"), NOTHING),
        (call("remaining"), NOTHING),
        (call("release"), ONE),
        (call("release"), NOTHING),
    ):
        operate(lease)
        assert sent() == expected
    assert (lease.valid, lease.lost.is_set(), lease.lost.wait(0)) == (False, False, False)
    assert repr(lease._own)
    again = rw.writer.acquire()
    sent()
    rw.downgrade(again._own)
    assert sent() == ONE
    again.release()


def test_what_is_available_is_one_round_trip(connect: Connect, proxy: WireProxy) -> None:
    permits = connect(proxy.url).semaphore("x", 5)
    assert permits.available() == 5
    sent = Sent(proxy)
    assert permits.available() == 5
    assert sent() == ONE


@FLOWS
@EMBEDDED
@pytest.mark.parametrize("fair", [True, False])
def test_who_waits_asks_twice_and_not_again_when_its_turn_comes(
    fair: bool,
    connect: Connect,
    proxy: WireProxy,
    other: Octavo[Sync],
    outside: Callable[..., Outside],
) -> None:
    db, keys = connect(proxy.url), outside()
    waits = db.lock("x", fair=fair)
    lease = other.lock("x", fair=fair).acquire()
    listen(db, waits)
    for _ in range(3):
        sent = Sent(proxy)
        waiter = queue_up(keys, waits)
        ((_, order),) = keys.client.zrange(keys.key("queue"), 0, 0, withscores=True)
        wait_until(lambda: keys.now - order / 1e6 > 0.06, "it is patient")  # noqa: B023
        sent.wait_for_scripts(2)
        assert sent() == ({"script": 2}, 2)
        lease.release()
        lease = waiter.result()
        assert sent() == NOTHING
        lease.release()
        assert sent() == ONE
        lease = other.lock("x", fair=fair).acquire()
    lease.release()


@FLOWS
@EMBEDDED
def test_waiting_asks_nobody_while_nothing_happens(
    connect: Connect, proxy: WireProxy, other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    db = connect(proxy.url)
    lease = other.lock("x").acquire()
    listen(db, db.lock("x"))
    sent = Sent(proxy)
    waiters = [queue_up(outside(), db.lock("x")) for _ in range(5)]
    sent.wait_for_scripts(10)  # who waits asks twice
    sent()
    began = outside().now
    wait_until(lambda: outside().now - began > 1.2, "nothing happens")
    assert sent()[0] == {}
    lease.release()
    for waiter in waiters:
        waiter.result().release()


def test_every_flow_and_operation_is_counted() -> None:
    counted = {
        Lock: {"acquire", "try_acquire"},
        Side: {"acquire", "try_acquire"},
        Semaphore: {"acquire", "try_acquire", "available"},
        RWLock: {"downgrade"},
        Lease: {"extend", "release"},
        Loss: {"wait"},
    }
    for job, names in counted.items():
        assert names == {name for name, each in vars(job).items() if hasattr(each, "__octavo__")}

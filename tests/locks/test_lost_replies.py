"""What becomes of an operation that the server executed but whose reply was lost."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

import pytest

from octavo.errors import ConnectionLost, LockTimeout
from octavo.testing.waiting import wait_until
from tests.calls import Call
from tests.locks.cases import EMBEDDED, EXCLUSIVES, FLOWS, listen, lock, one_permit, queue_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Octavo, Sync
    from octavo.testing.proxy import Action, WireProxy
    from tests.fix_faces import Connect
    from tests.locks.cases import Make, Outside

SCRIPTS = (b"EVAL", b"EVALSHA")


class Loss:
    """Has one script executed but not answered, the first one from now or a later one.

    Args:
        proxy: what loses the reply.
        after: how many are answered before.
        times: how many are not.
        how: whether it is the reply that is lost, or the request as well.
    """

    def __init__(
        self, proxy: WireProxy, after: int = 0, times: int = 1, how: Action = "drop"
    ) -> None:
        self.lost = 0
        self._after = after
        self._times = times
        self._how: Action = how
        proxy.script(self._decide)

    def _decide(self, words: list[bytes]) -> Action:
        if words[0] not in SCRIPTS or self.lost == self._times:
            return "forward"
        self._after -= 1
        if self._after >= 0:
            return "forward"
        self.lost += 1
        return self._how


LOST = pytest.mark.parametrize("how", ["drop", "cut"])


@FLOWS
@LOST
@EMBEDDED
@EXCLUSIVES
@pytest.mark.parametrize("method", ["acquire", "try_acquire"])
def test_who_has_acquired_it_gets_it_though_that_is_not_told(
    method: str,
    make: Make,
    job: str,
    how: Action,
    connect: Connect,
    proxy: WireProxy,
    other: Octavo[Sync],
    outside: Callable[..., Outside],
) -> None:
    keys, holdable = outside(job), make(connect(proxy.url))
    for times in (1, 2):
        loss = Loss(proxy, times=times, how=how)
        lease = getattr(holdable, method)()
        assert loss.lost == times
        assert lease.valid
        assert keys.leases.keys() == {lease.owner}
        assert int(keys.client.hget(keys.key("who"), "fence")) == lease.fence
        assert make(other).try_acquire() is None
        assert lease.release() is True
        assert keys.idle


@FLOWS
@LOST
@EMBEDDED
@EXCLUSIVES
@pytest.mark.parametrize("times", [1, 2, 3])
def test_who_has_given_it_back_is_told_so_though_that_was_not_told(
    times: int,
    make: Make,
    job: str,
    how: Action,
    connect: Connect,
    proxy: WireProxy,
    outside: Callable[..., Outside],
) -> None:
    lease = make(connect(proxy.url)).acquire()
    loss = Loss(proxy, times=times, how=how)
    assert lease.release() is True
    assert loss.lost == times
    assert lease.lost.is_set() is False
    assert lease.release() is True
    assert outside(job).idle


@FLOWS
@EMBEDDED
def test_a_release_whose_reply_was_lost_frees_nobody_elses(
    connect: Connect, proxy: WireProxy, other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = connect(proxy.url).lock("x").acquire()
    waits = queue_up(outside(), other.lock("x"))
    loss = Loss(proxy)
    assert lease.release() is True
    assert loss.lost == 1
    then = waits.result()
    assert outside().leases.keys() == {then.owner}
    then.check()
    assert then.release() is True


@FLOWS
@LOST
@EMBEDDED
def test_an_extension_is_repeated(
    how: Action, connect: Connect, proxy: WireProxy, outside: Callable[..., Outside]
) -> None:
    lease = connect(proxy.url).lock("x", ttl=30).acquire()
    loss = Loss(proxy, how=how)
    lease.extend(60)
    assert loss.lost == 1
    left = outside().leases[lease.owner]
    assert 50 < lease.remaining() <= left <= 60
    assert lease.release() is True


@FLOWS
@LOST
def test_a_renewal_is_repeated(how: Action, connect: Connect, proxy: WireProxy) -> None:
    db = connect(proxy.url)
    leases = [db.lock(name, ttl=3).acquire() for name in "xyz"]
    for _ in range(2):
        loss = Loss(proxy, how=how)
        wait_until(lambda: loss.lost, "a renewal is lost")  # noqa: B023
        at = leases[0].held_for
        wait_until(lambda: leases[0].held_for > at + 2, "the next one is due")  # noqa: B023
    assert [lease.valid for lease in leases] == [True] * 3
    assert [lease.release() for lease in leases] == [True] * 3


@FLOWS
@LOST
@EMBEDDED
def test_a_writer_becomes_a_reader_once(
    how: Action, connect: Connect, proxy: WireProxy, other: Octavo[Sync]
) -> None:
    rw = connect(proxy.url).rwlock("x")
    lease: Any = rw.writer.acquire()
    loss = Loss(proxy, how=how)
    rw.downgrade(lease._own)
    assert loss.lost == 1
    assert other.rwlock("x").writer.try_acquire() is None
    other.rwlock("x").reader.acquire(wait=0).release()
    assert lease.release() is True
    other.rwlock("x").writer.acquire(wait=0).release()


@LOST
def test_what_is_available_is_asked_for_again(
    how: Action, connect: Connect, proxy: WireProxy
) -> None:
    semaphore = connect(proxy.url).semaphore("x", 5)
    loss = Loss(proxy, how=how)
    assert semaphore.available() == 5
    assert loss.lost == 1


# Those who wait.


@FLOWS
@LOST
@EMBEDDED
@EXCLUSIVES
@pytest.mark.parametrize("after", [0, 1])
def test_who_waits_does_so_once_and_gets_its_turn(
    after: int,
    make: Make,
    job: str,
    how: Action,
    connect: Connect,
    proxy: WireProxy,
    other: Octavo[Sync],
    outside: Callable[..., Outside],
) -> None:
    db, keys = connect(proxy.url), outside(job)
    lease = make(other).acquire()
    listen(db, make(db))
    loss = Loss(proxy, after=after, how=how)
    waits = Call(make(db).acquire, wait=20)
    wait_until(lambda: loss.lost, "a question is lost")
    (owner,) = keys.wait_for_queue(1)
    lease.release()
    then = waits.result()
    assert then.owner == owner
    assert keys.leases.keys() == {owner}
    assert then.release() is True
    assert keys.idle


@FLOWS
@LOST
@EMBEDDED
@pytest.mark.parametrize(("make", "job"), [(lock, "lock"), (one_permit, "semaphore")])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_who_gives_up_leaves_nothing_whatever_is_lost(
    after: int,
    make: Make,
    job: str,
    how: Action,
    connect: Connect,
    proxy: WireProxy,
    other: Octavo[Sync],
    outside: Callable[..., Outside],
) -> None:
    keys, lease = outside(job), make(other).acquire()
    Loss(proxy, after=after, how=how)
    with pytest.raises(LockTimeout):
        make(connect(proxy.url)).acquire(wait=0.1)
    assert keys.queue == []
    assert keys.owners == {lease.owner}
    assert lease.release() is True


@FLOWS
@EMBEDDED
@pytest.mark.parametrize("held", [True, False])
def test_who_does_not_hear_anything_any_more_leaves_nothing_for_long(
    held: bool,
    connect: Connect,
    proxy: WireProxy,
    other: Octavo[Sync],
    outside: Callable[..., Outside],
) -> None:
    keys = outside()
    lease = other.lock("x").acquire() if held else None
    db = connect(proxy.url, timeout=1)
    Loss(proxy, times=10_000)
    with pytest.raises(ConnectionLost) as raised:
        db.lock("x", ttl=20).acquire(wait=5)
    assert raised.value.outcome == "unknown"
    proxy.calm()
    owners = {lease.owner} if lease else set[str]()
    wait_until(lambda: keys.leases.keys() == owners, "it does not hold it any more", timeout=10)
    wait_until(lambda: not keys.queue, "it does not wait any more", timeout=10)
    if lease is not None:
        lease.release()
    db.lock("x").acquire(wait=1).release()


@FLOWS
def test_who_does_not_reach_the_server_says_so(connect: Connect, proxy: WireProxy) -> None:
    lock = connect(proxy.url, timeout=1).lock("x")
    lock.acquire().release()
    proxy.refuse()
    proxy.cut()
    for call in (lock.acquire, lock.try_acquire):
        with pytest.raises(ConnectionLost) as raised:
            call()
        assert raised.value.operation in ("lock.acquire", "lock.try_acquire")
    proxy.accept()
    lock.acquire(wait=1).release()


@FLOWS
@EMBEDDED
def test_a_release_that_does_not_arrive_may_be_tried_again(
    connect: Connect, proxy: WireProxy, outside: Callable[..., Outside]
) -> None:
    lease = connect(proxy.url, timeout=1).lock("x", ttl=20).acquire()
    proxy.refuse()
    proxy.cut()
    for _ in range(2):
        with pytest.raises(ConnectionLost):
            lease.release()
    assert not lease.valid
    proxy.accept()
    assert outside().leases.keys() == {lease.owner}
    assert lease.release() is True
    assert outside().idle


# Whatever happens.


@FLOWS
@EMBEDDED
@pytest.mark.parametrize("fair", [True, False])
def test_at_a_bad_line_there_is_one_holder_at_a_time(
    fair: bool, connect: Connect, proxy: WireProxy, outside: Callable[..., Outside]
) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    dice, guard, inside, fences = random.Random(seed), threading.Lock(), 0, list[int]()
    db = connect(proxy.url)

    def decide(words: list[bytes]) -> Action:
        if words[0] not in SCRIPTS:
            return "forward"
        return dice.choices(("forward", "drop", "cut"), (20, 1, 1))[0]

    def work() -> None:
        nonlocal inside
        for _ in range(12):
            lease = db.lock("x", fair=fair).acquire(wait=30)
            with guard:
                inside += 1
                assert inside == 1
                fences.append(lease.fence)
            with guard:
                inside -= 1
            assert lease.release() is True

    proxy.script(decide)
    calls = [Call(work) for _ in range(4)]
    for call in calls:
        call.result()
    proxy.calm()
    assert len(fences) == 48
    assert fences == sorted(set(fences))
    assert outside().idle

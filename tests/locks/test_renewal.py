"""Renewal: a lease lasts for as long as it is wanted, and no longer."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import ConnectionLost, LockLost
from octavo.locks import renewal
from octavo.locks.grant import Grant
from octavo.locks.renewal import Renewals
from octavo.testing.waiting import wait_until
from tests.calls import Call
from tests.engine.lab import eventually, took
from tests.locks.cases import EMBEDDED, FLOWS, SYNC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Cluster, Standalone
    from tests.fix_faces import Connect
    from tests.locks.cases import Outside


def held_by(db: Any, **options: Any) -> list[Any]:
    """Hold one of everything; return the leases."""
    return [
        db.lock("x", **options).acquire(),
        db.lock("y", fair=True, reentrant=True, **options).acquire(),
        db.rwlock("x", **options).reader.acquire(),
        db.rwlock("x", **options).reader.acquire(),
        db.rwlock("y", **options).writer.acquire(),
        db.semaphore("x", 5, **options).acquire(2),
    ]


# For as long as it is wanted.


def outlive(db: Any, ttl: float) -> None:
    leases = held_by(db, ttl=ttl)
    fences = [lease.fence for lease in leases]
    wait_until(lambda: leases[-1].held_for > 5 * ttl, "five ttls have passed")
    assert [lease.valid for lease in leases] == [True] * 6
    assert [lease.fence for lease in leases] == fences
    assert [lease.release() for lease in leases] == [True] * 6


@FLOWS
@EMBEDDED
def test_a_lease_outlives_five_ttls(db: Octavo[Sync]) -> None:
    outlive(db, 1.0)


@SYNC
@pytest.mark.parametrize("server", ["redis-7", "cluster", "sentinel"], indirect=True)
def test_a_lease_outlives_five_ttls_on_every_server(db: Octavo[Sync]) -> None:
    outlive(db, 1.0)


@FLOWS
@EMBEDDED
def test_all_leases_that_are_due_are_renewed_in_one_write(
    connect: Connect, proxy: WireProxy, outside: Callable[..., Outside]
) -> None:
    db = connect(proxy.url)
    leases = [db.lock(f"{number}", ttl=6).acquire() for number in range(100)]
    proxy.reset()
    wait_until(lambda: proxy.commands["EVALSHA"] >= 200, "each is renewed twice")
    assert proxy.round_trips <= 4
    assert proxy.connections <= 2
    assert [lease.release() for lease in leases] == [True] * 100


@SYNC
def test_all_leases_that_are_due_are_renewed_in_one_write_for_each_node(
    connect: Connect, proxied_cluster: Cluster
) -> None:
    db = connect(proxied_cluster.url)
    leases = [db.lock(f"{number}", ttl=6).acquire() for number in range(60)]
    for proxy in proxied_cluster.proxies:
        proxy.reset()

    def renewed(times: int) -> bool:
        return sum(proxy.commands["EVALSHA"] for proxy in proxied_cluster.proxies) >= 60 * times

    wait_until(lambda: renewed(2), "each is renewed twice")
    assert all(proxy.round_trips <= 4 for proxy in proxied_cluster.proxies)
    assert sum(proxy.round_trips > 0 for proxy in proxied_cluster.proxies) == 3
    assert [lease.release() for lease in leases] == [True] * 60


@FLOWS
def test_a_renewal_that_does_not_arrive_is_tried_again(connect: Connect, proxy: WireProxy) -> None:
    lease = connect(proxy.url, timeout=1).lock("x", ttl=3).acquire()
    for _ in range(2):
        proxy.refuse()
        proxy.cut()
        at = lease.held_for
        wait_until(lambda: lease.held_for > at + 1.5, "renewals do not arrive")  # noqa: B023
        proxy.accept()
        wait_until(lambda: lease.remaining() > 2.5, "it is renewed", timeout=4)
    assert lease.release() is True


@FLOWS
def test_a_renewal_survives_the_loss_of_the_scripts(
    connect: Connect, standalone: Standalone
) -> None:
    lease = connect(standalone.url).lock("x", ttl=0.9).acquire()
    while lease.held_for < 2:
        standalone.cli("SCRIPT", "FLUSH")
    assert lease.valid
    assert lease.release() is True


@FLOWS
def test_a_server_that_hangs_keeps_nobody_from_being_told(
    connect: Connect, standalone: Standalone
) -> None:
    db = connect(standalone.url)
    leases = [db.lock("x", ttl=0.5).acquire(), db.lock("y", ttl=1).acquire()]
    standalone.pause()
    for lease in leases:
        with took(0, 4):  # sooner than the client gives up, after 5 s
            assert lease.lost.wait(5) is True
        with pytest.raises(LockLost, match="not be renewed in time"):
            lease.check()
    standalone.resume()
    assert not any(lease.valid for lease in leases)
    assert [lease.release() for lease in leases] == [False] * 2


@FLOWS
def test_a_server_that_forgets_all_ends_all(connect: Connect, standalone: Standalone) -> None:
    db = connect(standalone.url, timeout=1)
    leases = held_by(db, ttl=1)
    standalone.kill()
    standalone.start()
    for lease in leases:
        assert lease.lost.wait(5) is True
    assert [lease.release() for lease in leases] == [False] * 6
    assert all(db.lock(name).try_acquire() for name in "xy")


# And no longer.


@FLOWS
@EMBEDDED
def test_nothing_is_renewed_any_more_after_max_hold(
    db: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = db.lock("x", ttl=1.2, max_hold=1.8).acquire()
    renewed = False
    while lease.valid:
        held, left = lease.held_for, lease.remaining()
        assert left == 0 or held + left <= 1.8
        renewed |= left > 0 and held > 1.3
    assert renewed
    then = other.lock("x").acquire(wait=5)
    assert 1.7 <= (then.fence - lease.fence) / 1e6 < 5
    assert lease.lost.wait(5) is True
    assert lease.release() is False
    assert outside().leases.keys() == {then.owner}
    then.release()


@FLOWS
def test_max_hold_is_reached_in_a_few_renewals(connect: Connect, proxy: WireProxy) -> None:
    db = connect(proxy.url)
    leases = [db.lock(f"{number}", ttl=0.9, max_hold=1.8).acquire() for number in range(20)]
    proxy.reset()
    for lease in leases:
        assert lease.lost.wait(5)
    assert 20 <= proxy.commands["EVALSHA"] <= 20 * 7  # three in a ttl


@FLOWS
def test_what_is_not_to_be_renewed_is_not(connect: Connect, proxy: WireProxy) -> None:
    lease = connect(proxy.url).lock("x", ttl=0.5, renew=False).acquire()
    proxy.reset()
    assert lease.lost.wait(5) is True
    assert proxy.commands == {}
    assert 0.4 < lease.held_for < 4


@FLOWS
def test_what_was_released_is_not_renewed(connect: Connect, proxy: WireProxy) -> None:
    lock = connect(proxy.url).lock("x", ttl=0.3)
    for _ in range(3):
        lease = lock.acquire()
        wait_until(lambda: lease.held_for > 0.15, "it is renewed")  # noqa: B023
        lease.release()

    def quiet() -> bool:
        proxy.reset()
        at = time.monotonic()
        wait_until(lambda: time.monotonic() > at + 0.5, "a renewal would be due")
        return not proxy.commands

    wait_until(quiet, "nothing is renewed")  # but what was under way


@FLOWS
@EMBEDDED
@pytest.mark.parametrize("how", ["delete", "break", "expire"])
def test_what_has_ended_does_not_come_back(
    how: str,
    connect: Connect,
    proxy: WireProxy,
    other: Octavo[Sync],
    outside: Callable[..., Outside],
) -> None:
    keys = outside()
    lease = connect(proxy.url, timeout=2).lock("x", ttl=0.4).acquire()
    if how == "delete":
        keys.delete()
    elif how == "break":
        other.locks.break_("x")
    else:
        proxy.hold()  # the renewals arrive too late
        wait_until(lambda: not keys.leases, "it ends")
        proxy.release()
    assert lease.lost.wait(5) is True
    for call in (lease.extend, lease.check):
        with pytest.raises(LockLost):
            call()
    assert keys.leases == {}
    assert lease.release() is False
    assert keys.leases == {}


@FLOWS
@EMBEDDED
def test_what_another_holds_by_now_is_left_alone(
    connect: Connect, proxy: WireProxy, other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = connect(proxy.url, timeout=2).lock("x", ttl=0.3).acquire()
    proxy.hold()
    then = other.lock("x", ttl=1.5).acquire(wait=5)
    proxy.release()
    assert lease.lost.wait(5) is True
    wait_until(lambda: then.held_for > 2, "it is renewed")
    assert outside().leases.keys() == {then.owner}
    assert [lease.release(), then.release()] == [False, True]


# Extending.


@FLOWS
def test_an_extension_replaces_what_is_left(
    db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = db.lock("x", ttl=30).acquire()
    ttls: Iterable[Any] = (100, 100, 100, 20, timedelta(seconds=5), 300)
    for ttl in ttls:
        lease.extend(ttl)
        seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
        left = outside().leases[lease.owner]
        assert seconds - 2 < left <= seconds
        assert seconds - 5.1 < lease.remaining() <= left
    lease.release()


@FLOWS
@EMBEDDED
def test_an_extension_without_a_ttl_begins_it_anew(
    db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = db.lock("x", ttl=2, renew=False).acquire()
    for _ in range(3):
        wait_until(lambda: lease.remaining() < 1.5, "some of it is over")
        lease.extend()
        left = outside().leases[lease.owner]
        assert 0 < lease.remaining() <= left <= 2
    lease.extend(5)
    lease.extend()
    assert 4 < lease.remaining() < 5
    assert lease.release() is True


@FLOWS
@EMBEDDED
def test_each_renewal_gives_it_what_the_extension_gave(
    db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = db.lock("x", ttl=30).acquire()
    lease.extend(0.9)
    wait_until(lambda: lease.held_for > 1.2, "it is renewed")
    assert lease.valid
    assert outside().leases[lease.owner] <= 0.9
    lease.extend(2.7)
    at = lease.held_for
    wait_until(lambda: lease.held_for > at + 1, "it is renewed")
    assert 0.9 < outside().leases[lease.owner] <= 2.7
    lease.release()


@FLOWS
@EMBEDDED
def test_an_extension_that_comes_too_late_says_so(
    connect: Connect, proxy: WireProxy, outside: Callable[..., Outside]
) -> None:
    lease = connect(proxy.url).lock("x", ttl=0.3, renew=False).acquire()
    wait_until(lambda: not outside().leases, "it ends")
    proxy.reset()
    with pytest.raises(LockLost):
        lease.extend(30)
    assert proxy.commands == {}, "that is known without asking"
    assert outside().leases == {}


@FLOWS
def test_an_extension_that_does_not_arrive_leaves_it_as_it_was(
    connect: Connect, proxy: WireProxy
) -> None:
    lease = connect(proxy.url, timeout=0.5).lock("x", ttl=4, renew=False).acquire()
    proxy.refuse()
    proxy.cut()
    with pytest.raises(ConnectionLost):
        lease.extend(1.5)
    assert lease.valid
    proxy.accept()
    proxy.reset()
    assert lease.lost.wait(5) is True
    assert lease.held_for < 4
    assert proxy.commands.keys().isdisjoint({"EVAL", "EVALSHA"}), "nobody renews it"


@SYNC
@EMBEDDED
def test_an_extension_and_a_renewal_at_the_same_time_promise_no_more_than_the_server(
    db: Any, outside: Callable[..., Outside], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the renewal is executed last, and the extension's reply is heard of last."""
    keys, renew, sent = outside(), Renewals._renew, Grant.sent
    grants = list[Any]()

    def left(least: float, most: float) -> Callable[[], bool]:
        return lambda: least < max(keys.leases.values(), default=0) < most

    async def renew_late(self: Renewals, *args: Any) -> None:
        grants.append(args)
        wait_until(left(30, 60), "it is extended")
        await renew(self, *args)

    def hear_late(self: Grant, asked: float, lasts: float, *, renewed: bool) -> None:
        if lasts == 60:
            wait_until(left(0, 1), "it is renewed")
        sent(self, asked, lasts, renewed=renewed)

    lease = db.lock("x", ttl=0.9).acquire()
    with monkeypatch.context() as patch:
        patch.setattr(Renewals, "_renew", renew_late)
        patch.setattr(Grant, "sent", hear_late)
        wait_until(lambda: grants, "the renewal is on its way")
        lease.extend(60)
    assert lease.valid
    assert lease.remaining() <= keys.leases[lease.owner] + 5
    wait_until(left(30, 60), "the next renewal sees to it")
    wait_until(lambda: lease.remaining() > 30, "and is heard of")
    assert lease.release() is True


# The watch.


@SYNC
@EMBEDDED
def test_a_short_lease_that_comes_while_the_watch_looks_is_renewed(
    db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sift, calls, ready = Renewals._sift, list[Call[Any]](), threading.Event()

    def meanwhile(self: Renewals, now: float) -> Any:
        found = sift(self, now)
        if ready.is_set() and self._common is db._face.client._common:
            ready.clear()
            calls.append(Call(db.lock("short", ttl=0.9).acquire))
            calls[0]._thread.join(0.2)  # it may have to wait for the end of the look
        return found

    monkeypatch.setattr(Renewals, "_sift", meanwhile)
    long = db.lock("long", ttl=30).acquire()
    ready.set()
    wait_until(lambda: calls, "the watch looks")
    short = calls[0].result()
    wait_until(lambda: short.held_for > 1.2, "it is renewed")
    assert short.valid
    assert [short.release(), long.release()] == [True, True]


@EMBEDDED
def test_no_thread_is_left_when_nothing_is_held(
    client: Octavo[Sync], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert renewal._LINGER == 5
    monkeypatch.setattr(renewal, "_LINGER", 0.3)
    before = set(threading.enumerate())

    def more() -> int:
        return len(set(threading.enumerate()) - before)

    for _ in range(2):
        lease = client.lock("x").acquire()
        assert more() == 1
        lease.release()
        with client.lock("y"):
            wait_until(lambda: more() == 1, "there is one watch")
        wait_until(lambda: more() == 0, "the watch ends", timeout=4)


@EMBEDDED
async def test_no_task_is_left_when_nothing_is_held(
    server: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "_LINGER", 0.3)
    async with octavo.connect_async(server.url, prefix=prefix) as db:
        before = asyncio.all_tasks()
        for _ in range(2):
            async with db.lock("x"), db.lock("y"):
                assert len(asyncio.all_tasks() - before) == 1
            await eventually(lambda: asyncio.all_tasks() == before, "the watch ends")


@EMBEDDED
def test_leases_of_event_loops_that_follow_each_other_are_renewed(server: Any, prefix: str) -> None:
    db = octavo.connect_async(server.url, prefix=prefix)

    async def hold() -> None:
        async with db.lock("x", ttl=0.6) as lease:
            await asyncio.sleep(1)
            lease.check()

    for _ in range(3):
        asyncio.run(hold())
    asyncio.run(db.aclose())


@FLOWS
@EMBEDDED
def test_a_cancelled_watch_starts_again(connect: Connect, server: Any) -> None:
    db: Any = connect(server.url)
    if db._face.__class__.__name__ == "AsyncFace":
        lease = db.lock("x", ttl=0.3).acquire()
        loop = db._face._loop.loop
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        wait_until(lambda: not lease.valid, "nobody renews it", timeout=4)
        lease.release()
    lease = db.lock("x", ttl=0.9).acquire(wait=5)
    wait_until(lambda: lease.held_for > 1.2, "it is renewed")
    assert lease.release() is True

"""The lease: how long it is good for, and what happens when it is lost."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import LockLost
from octavo.testing.waiting import wait_until
from tests.calls import Call
from tests.engine.lab import eventually, took
from tests.locks.cases import EMBEDDED, FLOWS

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect, FaceName
    from tests.fix_servers import Server
    from tests.locks.cases import Outside

SOON = 1.0  # a ttl


# How long it is good for.


@FLOWS
@EMBEDDED
def test_it_is_never_valid_when_the_server_has_freed_it(
    db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    keys = outside()
    lease = db.lock("x", ttl=SOON, renew=False).acquire()
    looks = 0
    while left := keys.leases.get(lease.owner):  # the server is asked first
        assert lease.remaining() <= left
        looks += lease.valid
    assert looks > 5
    assert not lease.valid
    assert lease.remaining() == 0
    with pytest.raises(LockLost):
        lease.check()


@FLOWS
@EMBEDDED
def test_it_is_never_valid_when_the_server_has_freed_it_and_renewals_do_not_arrive(
    connect: Connect, proxy: WireProxy, outside: Callable[..., Outside]
) -> None:
    keys = outside()
    lease = connect(proxy.url, timeout=1).lock("x", ttl=0.6).acquire()
    wait_until(lambda: lease.held_for > 0.7, "it is renewed")
    proxy.hold()
    while left := keys.leases.get(lease.owner):  # the server is asked first
        assert lease.remaining() <= left
    assert not lease.valid
    proxy.release()
    wait_until(lease.lost.is_set, "it is lost", timeout=4)
    assert keys.leases.keys() <= {lease.owner}
    assert lease.valid is False, "what arrives late makes it no better"
    lease.release()


@FLOWS
@EMBEDDED
def test_its_holder_is_told_before_the_server_forgets_it(
    connect: Connect, server: Server, outside: Callable[..., Outside]
) -> None:
    keys, left = outside(), list[float]()

    def told(lease: Any) -> None:
        left.append(keys.leases.get(lease.owner, 0))

    db = connect(server.url)
    for tries in range(1, 11):  # a hundredth of the ttl is not much on a busy machine
        lease = db.lock("x", ttl=1.5, renew=False, on_lost=told).acquire(wait=5)
        wait_until(lambda: len(left) == tries, "it is told")  # noqa: B023
        assert not lease.valid
        if 0 < left[-1] < 0.03:
            break
    assert 0 < left[-1] < 0.03


@FLOWS
@EMBEDDED
def test_what_was_handed_over_and_is_not_renewed_lasts_its_ttl(
    db: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = other.lock("x").acquire()
    call = Call(db.lock("x", ttl=20, renew=False).acquire, wait=5)
    outside().wait_for_queue(1)
    lease.release()
    handed = call.result()
    left = outside().leases[handed.owner]
    assert 10 < handed.remaining() <= left < 20
    handed.release()


# Being told.


@FLOWS
@EMBEDDED
def test_who_waits_for_the_loss_is_woken_by_it(db: Octavo[Sync]) -> None:
    lease = db.lock("x", ttl=SOON, renew=False).acquire()
    assert lease.lost.is_set() is False
    assert bool(lease.lost._own) is False  # type: ignore[attr-defined]
    assert lease.lost.wait(0) is False
    assert lease.lost.wait(0.05) is False
    with took(0, 4):
        assert lease.lost.wait() is True
    assert lease.lost.is_set() is True
    assert lease.lost.wait() is True
    kept = db.lock("x").acquire()
    waits = Call(kept.lost.wait, 0.3)
    kept.release()
    assert waits.result() is False, "what was released was not lost"


@FLOWS
@EMBEDDED
@pytest.mark.parametrize("how", ["delete", "delete leases", "delete who", "break"])
def test_who_holds_what_was_taken_away_is_told_by_the_next_renewal(
    how: str, db: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = db.lock("x", ttl=1.5).acquire()
    if how == "break":
        other.locks.break_("x")
    else:
        outside().delete(*how.split()[1:])
    with took(0, 4):
        assert lease.lost.wait(5) is True
    assert not lease.valid
    with pytest.raises(LockLost, match=r"'x'.*the server says") as raised:
        lease.check()
    assert (raised.value.name, raised.value.fence) == ("x", lease.fence)
    assert 0 < raised.value.held_for < 5
    assert lease.held_for == raised.value.held_for
    then = other.lock("x").acquire(wait=1)
    assert lease.release() is False
    assert then.release() is True


@FLOWS
@EMBEDDED
def test_a_callback_is_called_once_with_the_lease(
    connect: Connect, server: Server, face: FaceName, outside: Callable[..., Outside]
) -> None:
    told = list[Any]()
    here = threading.get_ident()

    async def soon(lease: Any) -> None:
        await asyncio.sleep(0)
        told.append(lease)

    def now(lease: Any) -> None:
        assert threading.get_ident() != here
        told.append(lease)

    callbacks: list[Any] = [now, soon] if face == "async" else [now]
    for callback in callbacks:
        told.clear()
        lease = connect(server.url).lock("x", ttl=SOON, on_lost=callback).acquire(wait=1)
        outside().delete()
        wait_until(lambda: told, "it is called")
        assert [(each.owner, each.valid, each.lost.is_set()) for each in told] == [
            (lease.owner, False, True)
        ]
        assert lease.release() is False
        kept = connect(server.url).lock("x", ttl=SOON, on_lost=callback).acquire()
        kept.release()
        assert len(told) == 1


@FLOWS
@EMBEDDED
def test_an_error_of_a_callback_is_logged(
    db: Octavo[Sync], caplog: pytest.LogCaptureFixture, outside: Callable[..., Outside]
) -> None:
    def fail(_: Any) -> None:
        raise ZeroDivisionError

    lease = db.lock("x", ttl=SOON, on_lost=fail).acquire()
    other = db.lock("y", ttl=SOON).acquire()
    outside().delete()
    outside("lock", "y")
    wait_until(lambda: "on_lost raised" in caplog.text, "it is logged")
    assert "ZeroDivisionError" in caplog.text
    assert lease.lost.is_set()
    other.check()


@FLOWS
@EMBEDDED
def test_a_loss_is_logged(
    db: Octavo[Sync], caplog: pytest.LogCaptureFixture, outside: Callable[..., Outside], prefix: str
) -> None:
    lease = db.lock(prefix, ttl=SOON).acquire()
    outside(name=prefix).delete()
    wait_until(lambda: f"the lease of {prefix!r} does not hold" in caplog.text, "it is logged")
    assert not lease.valid


@FLOWS
@EMBEDDED
def test_who_gives_back_what_is_gone_is_told(
    db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    told = list[Any]()
    lease = db.lock("x", on_lost=told.append).acquire()
    outside().delete()
    assert lease.release() is False
    assert lease.lost.is_set()
    with pytest.raises(LockLost, match="the server says"):
        lease.check()
    assert lease.release() is False


# Whose it is.


@FLOWS
@EMBEDDED
def test_it_may_be_given_back_by_another_thread_or_task(
    db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    for reentrant in (False, True):
        lease = db.lock("x", ttl=0.9, reentrant=reentrant).acquire()
        wait_until(lambda: lease.held_for > 1, "it is renewed")  # noqa: B023
        assert Call(lease.extend, 5).error() is None
        assert Call(lease.release).result() is True
        assert outside().idle


@EMBEDDED
def test_it_outlives_the_thread_that_acquired_it(
    client: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = Call(client.lock("x", ttl=0.9).acquire).result()
    wait_until(lambda: lease.held_for > 1.2, "it is renewed")
    assert lease.valid
    with lease:
        assert outside().leases
    assert outside().idle


@EMBEDDED
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_lease_that_is_dropped_ends_with_its_ttl_and_a_warning(
    reentrant: bool,
    client: Octavo[Sync],
    outside: Callable[..., Outside],
    caplog: pytest.LogCaptureFixture,
    prefix: str,
) -> None:
    lock = client.lock(prefix, ttl=SOON, reentrant=reentrant)
    lock.acquire()
    gc.collect()
    wait_until(lambda: not outside(name=prefix).leases, "it ends", timeout=4)
    assert f"a lease of {prefix!r} was dropped without release" in caplog.text
    caplog.clear()
    with lock, lock.acquire(wait=0.1) if reentrant else client.lock("y"):
        pass
    lock.acquire().release()
    gc.collect()
    assert prefix not in caplog.text


@EMBEDDED
@pytest.mark.parametrize("reentrant", [False, True])
async def test_a_lease_that_a_task_drops_ends_with_its_ttl_and_a_warning(
    reentrant: bool,
    server: Server,
    prefix: str,
    outside: Callable[..., Outside],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with octavo.connect_async(server.url, prefix=prefix) as db:
        await db.lock(prefix, ttl=0.3, reentrant=reentrant).acquire()
        gc.collect()
        await eventually(lambda: not outside(name=prefix).leases, "it ends")
    assert f"a lease of {prefix!r} was dropped without release" in caplog.text


@FLOWS
@EMBEDDED
def test_it_may_be_given_back_by_several_at_once(
    db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    for _ in range(10):
        lease = db.lock("x").acquire()
        calls = [Call(lease.release) for _ in range(4)]
        assert [call.result() for call in calls] == [True] * 4
    assert outside().idle


@EMBEDDED
async def test_it_may_be_given_back_by_several_tasks_at_once(server: Server, prefix: str) -> None:
    async with octavo.connect_async(server.url, prefix=prefix) as db:
        lease = await db.lock("x").acquire()
        assert await asyncio.gather(*(lease.release() for _ in range(3))) == [True] * 3


@EMBEDDED
def test_a_lease_of_a_closed_client_ends_with_its_ttl(
    server: Server, prefix: str, outside: Callable[..., Outside]
) -> None:
    client = octavo.connect(server.url, prefix=prefix)
    lease = client.lock("x", ttl=0.4).acquire()
    client.close()
    wait_until(lambda: not lease.valid, "it ends", timeout=4)
    wait_until(lambda: not outside().leases, "it ends at the server", timeout=4)

"""A forked child holds nothing of what its parent holds, and lets it be."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING

import pytest

import octavo
from octavo.errors import LockLost, LockTimeout
from octavo.testing.waiting import wait_until
from tests.locks.cases import EMBEDDED, waiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Octavo, Sync
    from tests.fix_servers import Server
    from tests.locks.cases import Outside

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


def forked(work: Callable[[], object]) -> Callable[[], None]:
    """Do something in a child; return what waits for its end and checks that it went well."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        status = 1
        try:
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - the parent is told
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(status)

    def check() -> None:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    return check


@EMBEDDED
def test_the_childs_lease_is_lost_and_the_parents_is_not(
    client: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = client.lock("x", ttl=1.2).acquire()
    lease.lost.wait(0)

    def child() -> None:
        assert not lease.valid
        assert lease.remaining() == 0
        assert lease.lost.is_set()
        assert lease.lost.wait(1) is True
        for call in (lease.check, lease.extend):
            with pytest.raises(LockLost, match="child"):
                call()
        assert lease.release() is False
        assert lease.release() is False

    forked(child)()
    assert lease.valid
    assert outside().leases.keys() == {lease.owner}
    wait_until(lambda: lease.held_for > 1.5, "it is renewed")
    assert lease.valid
    assert lease.release() is True
    assert outside().idle


@EMBEDDED
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_block_that_ends_in_the_child_leaves_the_parents_lease(
    reentrant: bool, client: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lock = client.lock("x", ttl=1.2, reentrant=reentrant)

    def child() -> None:
        with pytest.raises(LockLost, match="child"):
            lock.__exit__(None, None, None)

    with lock as lease:
        forked(child)()
        wait_until(lambda: lease.held_for > 1.5, "it is renewed")
        assert outside().leases.keys() == {lease.owner}
    assert outside().idle


@EMBEDDED
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_child_is_not_inside_of_what_its_parent_holds(
    reentrant: bool, client: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lock = client.lock("x", ttl=5, reentrant=reentrant)
    told, tell = os.pipe()

    def child() -> None:
        assert client.lock("x").try_acquire() is None
        with pytest.raises((LockTimeout, LockLost)):
            lock.acquire(wait=0.05)
        os.write(tell, b"x")
        with client.lock("x", ttl=0.9).acquire(wait=5) as lease:
            assert outside().leases.keys() == {lease.owner}
            wait_until(lambda: lease.held_for > 1.2, "it is renewed")
            assert lease.valid

    with lock:
        check = forked(child)
        os.read(told, 1)
    check()
    with lock as lease:
        assert lease.valid
    os.close(told)
    os.close(tell)
    assert outside().idle


@EMBEDDED
def test_a_child_waits_for_what_its_parent_holds(
    client: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = client.lock("x").acquire()
    checks = [forked(lambda: client.lock("x").acquire(wait=10).release()) for _ in range(3)]
    outside().wait_for_queue(3)
    lease.release()
    for check in checks:
        check()
    assert outside().idle


@EMBEDDED
def test_who_waits_in_the_parent_gets_its_turn_whatever_the_child_does(
    client: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lease = other.lock("x").acquire()

    def child() -> None:
        with client.lock("y"):
            assert client.lock("x").try_acquire() is None
        client.close()

    with waiting(outside(), client.lock("x")) as call:
        forked(child)()
        assert len(outside().queue) == 1
        lease.release()
        assert call.result().valid


@EMBEDDED
def test_a_callback_is_not_called_in_the_child(
    client: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    told = list[object]()
    lease = client.lock("x", ttl=1.2, on_lost=told.append).acquire()

    def child() -> None:
        with client.lock("y", ttl=0.9) as other:
            wait_until(lambda: other.held_for > 1.2, "the child's own watch has looked")
        assert told == []

    forked(child)()
    assert lease.valid
    outside().delete()
    wait_until(lambda: told, "it is called in the parent")


@EMBEDDED
def test_the_owners_of_parent_and_child_differ(
    server: Server, prefix: str, outside: Callable[..., Outside]
) -> None:
    with octavo.connect(server.url, prefix=prefix) as client:
        client.semaphore("x", 5).acquire().release()

        def child() -> None:
            client.semaphore("x", 5, ttl=20).acquire(2)

        checks = [forked(child) for _ in range(2)]
        lease = client.semaphore("x", 5, ttl=20).acquire()
        for check in checks:
            check()
        assert len(outside("semaphore").leases) == 3
        assert client.semaphore("x", 5).available() == 0
        assert lease.release() is True

"""Grants that replicas have to have: `sync=`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from octavo.errors import NotReplicated
from octavo.testing.servers import Standalone
from octavo.testing.waiting import wait_until
from tests.engine.lab import took
from tests.fix_servers import require
from tests.locks.cases import EMBEDDED, EXCLUSIVES, FLOWS, Outside, queue_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from octavo import Octavo, Sync
    from tests.fix_faces import Connect
    from tests.fix_servers import Server
    from tests.locks.cases import Make

REPLICAS = {"cluster": 1, "sentinel": 2}


@pytest.fixture
def replica(standalone: Standalone) -> Iterator[Standalone]:
    """The one replica of `standalone`."""
    standalone.cli("CONFIG", "SET", "repl-diskless-sync-delay", 0)
    with Standalone(require("valkey"), "--replicaof", "127.0.0.1", str(standalone.port)) as replica:
        wait_until(
            lambda: replica.cli("INFO")["master_link_status"] == "up", "the replica is linked"
        )
        yield replica


@pytest.fixture
def db_of_two(connect: Connect, standalone: Standalone, replica: Standalone) -> Octavo[Sync]:
    """A client of a server with one replica."""
    return connect(standalone.url)


@FLOWS
def test_a_grant_that_too_few_replicas_have_is_given_back(
    db: Octavo[Sync], server: Server, outside: Callable[..., Outside]
) -> None:
    few = REPLICAS.get(server.kind, 0)
    lock = db.lock("x", sync=few + 1, sync_timeout=0.5)
    for acquire in (lock.acquire, lock.try_acquire):
        with took(0.5, 5), pytest.raises(NotReplicated, match=f"{few} replicas"):
            acquire()
        assert outside().idle


@FLOWS
@EMBEDDED
@EXCLUSIVES
def test_what_was_handed_over_is_given_back_too(
    make: Make, job: str, db: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    held = make(db).acquire()
    call = queue_up(outside(job), make(db, sync=1, sync_timeout=0.1))
    held.release()
    assert isinstance(call.error(), NotReplicated)
    assert outside(job).idle


@FLOWS
def test_a_grant_that_replicas_have_is_good_and_renewed(
    db_of_two: Octavo[Sync], replica: Standalone, prefix: str
) -> None:
    db = db_of_two
    lease = db.lock("x", ttl=1.2, sync=1).acquire()
    assert replica.cli("ZRANGE", f"{prefix}:lock:{{x}}:leases", 0, -1) == [lease.owner]
    wait_until(lambda: lease.held_for > 1.5, "it is renewed")
    assert lease.valid
    waits = queue_up(
        Outside(replica._control, prefix, f"{prefix}:lock:{{x}}"), db.lock("x", sync=1)
    )
    assert lease.release() is True
    then = waits.result()
    assert replica.cli("ZRANGE", f"{prefix}:lock:{{x}}:leases", 0, -1) == [then.owner]
    then.release()


@FLOWS
def test_a_lease_that_replicas_do_not_renew_is_lost(
    db_of_two: Octavo[Sync], replica: Standalone
) -> None:
    lease: Any = db_of_two.lock("x", ttl=2, sync=1, sync_timeout=1).acquire()
    replica.pause()
    wait_until(lease.lost.is_set, "it is lost", timeout=8)
    assert lease.held_for < 6
    assert not lease.valid
    replica.resume()
    assert lease.release() is False
    assert db_of_two.lock("x", sync=1).acquire(wait=1).release() is True

"""Primaries that are replaced, and clocks that are moved, while locks are held and waited for."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import LockLost, NotReplicated, StaleFence
from octavo.locks.layout import Keys
from octavo.testing import faults
from octavo.testing.histories import load
from octavo.testing.waiting import wait_until
from tests.locks import race_workers
from tests.locks.campaign_records import Resource, examine, moves

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path

    from octavo import Octavo, Sync
    from octavo.testing.histories import Operation
    from octavo.testing.servers import Cluster, Standalone

PROCESSES = 8
FACES = "sync", "async"
PARTS = Keys._fields

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("races")]

soak = pytest.mark.soak


@pytest.mark.timeout(1000)
@pytest.mark.parametrize(
    ("options", "sections"),
    [
        ({}, 250),
        pytest.param({}, 2000, marks=soak),
        pytest.param({"fair": True}, 2000, marks=soak),
        pytest.param({"sync": 1}, 2000, marks=soak),
    ],
)
def test_a_failover_that_is_agreed_upon_loses_nothing(
    options: dict[str, Any], sections: int, cluster: Cluster, prefix: str, tmp_path: Path
) -> None:
    key = f"{prefix}:lock:{{x}}:leases"
    # Each every 200 ms; one after the other, because a failover holds up SCRIPT FLUSH too.
    both = [faults.failover(cluster, key), faults.script_flush(cluster)]
    nemesis = faults.Nemesis(both, calm=(0.05, 0.05), lasting=(0.0, 0.0))
    with faults.Crew() as crew:
        for number in range(PROCESSES):
            face = "async" if number % 2 else "sync"
            args = (cluster.url, prefix, str(tmp_path), face, sections, {"ttl": 10} | options)
            crew.spawn(race_workers.count_up, *args)
        crew.meet()
        began = time.monotonic()
        with nemesis:
            crew.results(timeout=600)
        took = time.monotonic() - began
    history = load(tmp_path)
    first, last = history[0].t_call, min(ends_of(history).values())
    during = [span for span in nemesis.spans if first < span[0] and span[1] < last]
    assert len(during) >= 5, "hardly any struck while all were at work"
    findings = examine(tmp_path, {"x": 1}, ttl=2.0, ok=0.9, contended=PROCESSES, during=during)
    resource = Resource(tmp_path / "x")
    struck = Counter(strike.name for strike in nemesis.strikes)
    print(f"{options}: {findings}; {dict(struck)} in {took:.1f} s")
    assert resource.count == PROCESSES * sections
    assert (resource.torn, resource.disorder) == (0, 0)
    assert findings.lost == 0


def ends_of(history: Iterable[Operation]) -> dict[str, float]:
    """Return when each process was last seen."""
    return {each.process: each.last_seen for each in history}


# A primary that dies with what it has not passed on.


@pytest.fixture
def db(proxied_cluster: Cluster, prefix: str) -> Iterator[Octavo[Sync]]:
    with octavo.connect(proxied_cluster.url, prefix=prefix, timeout=20.0) as db:
        yield db


@pytest.fixture
def other(proxied_cluster: Cluster, prefix: str) -> Iterator[Octavo[Sync]]:
    with octavo.connect(proxied_cluster.url, prefix=prefix, timeout=20.0) as other:
        yield other


@contextmanager
def forgotten(cluster: Cluster, key: str) -> Generator[None]:
    """Have what is written meanwhile die with its primary."""
    primary = cluster.node_of(key)
    with faults.unreplicated(cluster, primary):
        yield
        with faults.kill(primary, group=cluster):
            wait_until(
                lambda: cluster.node_of(key) is not primary, "its replica took over", timeout=30
            )


def test_whoever_gets_what_a_failover_has_lost_has_a_newer_fence(
    db: Octavo[Sync], other: Octavo[Sync], proxied_cluster: Cluster, prefix: str
) -> None:
    gate = db.fence("x")
    before = db.lock("x").acquire()
    assert before.release()
    with forgotten(proxied_cluster, f"{prefix}:lock:{{x}}:leases"):
        lost = db.lock("x", ttl=30, renew=False).acquire()
        gate.admit(lost.fence)
        renewed = db.lock("renewed", tag="x", ttl=3).acquire()
    newer = other.lock("x").acquire(wait=5)
    assert before.fence < lost.fence < newer.fence
    # What a failover can do to a lock whose grants no replica has to confirm: two hold it.
    assert lost.valid
    assert newer.valid
    gate.admit(newer.fence)
    with pytest.raises(StaleFence):
        gate.admit(lost.fence)
    with pytest.raises(LockLost), db.batch(guard=lost) as batch:
        batch.leaderboard("x").submit("ada", 1)
    assert other.leaderboard("x").count() == 0
    assert renewed.lost.wait(5), "who renews is told at the next renewal"


def test_a_grant_that_a_replica_has_confirmed_survives_its_primary(
    db: Octavo[Sync], other: Octavo[Sync], proxied_cluster: Cluster, prefix: str
) -> None:
    confirmed = db.lock("x", ttl=30, sync=1, sync_timeout=2).acquire()
    with forgotten(proxied_cluster, f"{prefix}:lock:{{x}}:leases"):
        with pytest.raises(NotReplicated):
            db.lock("y", tag="x", sync=1, sync_timeout=0.2).acquire()
        assert confirmed.valid
    assert confirmed.valid
    assert other.lock("x").try_acquire() is None
    assert other.lock("y", tag="x").try_acquire() is not None, "what was refused was granted"
    assert confirmed.release()
    assert other.lock("x").acquire(wait=5).fence > confirmed.fence


def test_nothing_is_granted_while_no_replica_can_confirm_it(
    proxied_cluster: Cluster, db: Octavo[Sync], prefix: str, tmp_path: Path
) -> None:
    key = f"{prefix}:lock:{{x}}:leases"
    options = {"ttl": 10, "sync": 1, "sync_timeout": 0.05}
    with faults.Crew() as crew:
        with faults.unreplicated(proxied_cluster, proxied_cluster.node_of(key)):
            for number in range(4):
                place = proxied_cluster.url, prefix, str(tmp_path), FACES[number % 2]
                crew.spawn(race_workers.count_up, *place, 20, options)
            crew.meet()
            wait_until(lambda: len(moves(load(tmp_path))) >= 40, "many have tried")
            assert {each.outcome for each in moves(load(tmp_path)) if each.t_return} == {"failed"}
        crew.results()
    findings = examine(tmp_path, {"x": 1}, ttl=2.0, ok=0.1)
    print(findings)
    assert findings.grants == 4 * 20
    wait_until(lambda: not db.locks.list(), "nobody holds or waits")


# Clocks. A fence is the greater of the last one plus 1 and the server's time.


@pytest.fixture
def clients(clocked: Standalone, prefix: str) -> Iterator[tuple[Octavo[Sync], Octavo[Sync]]]:
    """Two clients of that server."""
    with (
        octavo.connect(clocked.url, prefix=prefix) as one,
        octavo.connect(clocked.url, prefix=prefix) as other,
    ):
        yield one, other


def forget(server: Standalone, prefix: str) -> None:
    """Have a server lose all it knows of the lock `x`."""
    assert server.cli("DEL", *(f"{prefix}:lock:{{x}}:{part}" for part in PARTS))


def test_fences_increase_although_the_last_was_lost_unless_the_clock_is_behind_it(
    clocked: Standalone, clients: tuple[Octavo[Sync], Octavo[Sync]], prefix: str
) -> None:
    db, _ = clients
    fences: list[int] = []
    for _ in range(3):
        lease = db.lock("x").acquire()
        fences.append(lease.fence)
        lease.release()
        forget(clocked, prefix)
    assert fences == sorted({*fences})
    # The limit: what neither the count nor the clock knows of.
    with faults.move_clock(clocked, by=-60):
        older = db.lock("x").acquire()
        assert older.fence < fences[-1]
        gate = db.fence("x")
        gate.admit(fences[-1])
        with pytest.raises(StaleFence):
            gate.admit(older.fence)  # which costs availability, not safety


def test_a_clock_that_is_set_back_neither_repeats_a_fence_nor_frees_a_lease(
    clocked: Standalone, clients: tuple[Octavo[Sync], Octavo[Sync]]
) -> None:
    db, other = clients
    first = db.lock("x", ttl=1).acquire()
    with faults.move_clock(clocked, by=-60):
        assert other.lock("x").try_acquire() is None
        wait_until(lambda: first.held_for > 2, "it is renewed")
        assert first.valid
        assert first.release()
        fences = [first.fence]
        for _ in range(3):
            lease = other.lock("x").acquire(wait=5)
            fences.append(lease.fence)
            assert lease.release()
    assert fences == list(range(fences[0], fences[0] + 4))


def test_a_clock_that_is_set_forward_frees_leases_and_stale_holders_are_refused(
    clocked: Standalone, clients: tuple[Octavo[Sync], Octavo[Sync]]
) -> None:
    db, other = clients
    gate = db.fence("x")
    stale = db.lock("x", ttl=30).acquire()
    gate.admit(stale.fence)
    with faults.move_clock(clocked, by=60):
        newer = other.lock("x").acquire(wait=5)
        other.fence("x").admit(newer.fence)
        assert stale.valid, "nobody has told it, nor can its own clock know"
        with pytest.raises(StaleFence):
            gate.admit(stale.fence)
        with pytest.raises(LockLost), db.batch(guard=stale) as batch:
            batch.leaderboard("x").submit("ada", 1)
        assert other.leaderboard("x").count() == 0
        assert newer.fence > stale.fence + 59_000_000
        soon = db.lock("y", ttl=1).acquire()
    # Back again: the lease is longer by a minute, and the fences go on.
    assert soon.valid
    assert newer.release()
    assert other.lock("x").acquire(wait=5).fence > newer.fence


def test_a_holder_whose_lease_a_clock_has_ended_is_told_at_the_next_renewal(
    clocked: Standalone, clients: tuple[Octavo[Sync], Octavo[Sync]]
) -> None:
    db, other = clients
    stale = db.lock("x", ttl=6).acquire()
    with faults.move_clock(clocked, by=60):
        other.lock("x").acquire(wait=5)
        assert stale.lost.wait(4)

"""Callers that are killed, servers that fail, and what is counted then."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

import pytest

import octavo
from octavo.errors import ConnectionLost, OctavoError
from octavo.ratelimit import Concurrency, Limit, Quota
from octavo.testing import faults
from octavo.testing.waiting import wait_until
from tests.ratelimit import limit_workers
from tests.ratelimit.cases import left
from tests.ratelimit.limit_workers import MANY, PLACES, SLOW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo import Octavo, Sync
    from octavo.testing.servers import Cluster, Sentinels, Standalone
    from tests.fix_faces import Connect
    from tests.fix_servers import Server, Servers

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("races")]

FLOWS = pytest.mark.parametrize("face", ["sync", "async"])
RULES = [MANY, Limit("1000000/hour", burst=1000, name="bucket")]


def used(limiter: Any) -> int:
    """Return how often the first limit was charged."""
    return MANY.limit - left(limiter)[0]


# Callers.


@pytest.fixture
def server(servers: Servers) -> Server:
    return servers.get("embedded")


@pytest.fixture
def db(server: Server, prefix: str) -> Iterator[Octavo[Sync]]:
    with octavo.connect(server.url, prefix=prefix) as db:
        yield db


def test_a_killed_caller_is_charged_at_most_for_the_call_it_was_making(
    db: Octavo[Sync], server: Server, prefix: str
) -> None:
    limiter = db.limiter("api", MANY)
    with faults.Crew() as crew:
        workers = [
            crew.spawn(limit_workers.hit, server.url, prefix, face)
            for face in ("sync", "async", "sync", "async")
        ]
        crew.meet()
        said = 0
        for worker in workers[:3]:
            so_far = used(limiter)
            wait_until(lambda: used(limiter) > so_far + 50, "they are at work")  # noqa: B023
            worker.kill()
            said += max(worker.said())
        crew.stop()
        said += workers[3].result()
    assert said <= used(limiter) <= said + 3


def test_places_of_a_killed_caller_are_free_after_their_lease(
    db: Octavo[Sync], server: Server, prefix: str
) -> None:
    limiter = db.limiter("jobs", PLACES)
    with faults.Crew() as crew:
        workers = [crew.spawn(limit_workers.hold, server.url, prefix) for _ in range(2)]
        assert all(worker.heard() for worker in workers)
        for worker in workers:
            worker.kill()
        full = limiter.hit("ada", 2)
        assert not full
        assert full.retry_after is not None
        assert full.retry_after <= 1
        wait_until(lambda: limiter.hit("ada", 2), "the leases have ended")


def test_a_caller_killed_while_it_waits_keeps_its_turn_and_no_more(
    db: Octavo[Sync], server: Server, prefix: str
) -> None:
    limiter = db.limiter("api", SLOW)
    limiter.hit("ada")
    before = limiter.peek("ada").retry_after
    assert before is not None
    with faults.Crew() as crew:
        worker = crew.spawn(limit_workers.wait, server.url, prefix)
        wait_until(lambda: (limiter.peek("ada").retry_after or 0) > before, "it has booked")
        worker.kill()
    assert limiter.reserve("ada").delay == pytest.approx(before + 3600, abs=30)


# Servers.


@FLOWS
def test_a_killed_server_forgets_and_counts_anew(connect: Connect, standalone: Standalone) -> None:
    rules = [Limit("9/hour"), Quota("9/year"), Limit("9/day", algorithm="log"), Concurrency(9)]
    db = connect(standalone.url, timeout=20)
    limiter, hasty = (db.limiter("api", *rules, deadline=each) for each in (None, 0.3))
    before = limiter.hit("ada", 5)
    with faults.kill(standalone), pytest.raises(ConnectionLost):
        hasty.hit("ada")
    assert limiter.hit("ada", 2)
    assert left(limiter) == [7, 7, 7, 7]
    given = limiter.settle(before, 9), limiter.release(before), limiter.renew(before)
    assert given == (True, False, False)
    assert all(room <= 9 for room in left(limiter))


@FLOWS
def test_scripts_that_are_flushed_all_the_time_cost_no_count(
    connect: Connect, cluster: Cluster
) -> None:
    limiter = connect(cluster.url).limiter("api", *RULES, tag="t")
    done = threading.Event()

    def flush() -> None:
        while not done.is_set():
            faults.script_flush(cluster).strike()

    flushes = threading.Thread(target=flush)
    flushes.start()
    try:
        passed = sum(bool(limiter.hit("ada")) for _ in range(150))
        given = sum(limiter.refund(limiter.hit("ada")) for _ in range(20))
    finally:
        done.set()
        flushes.join()
    assert (passed, given) == (150, 20)
    assert used(limiter) == 150


class Load:
    """Hits from two threads while something happens.

    Attributes:
        passed: how many have.
        unknown: of how many it is not known.
    """

    def __init__(self, limiter: Any) -> None:
        self._limiter = limiter
        self._done = threading.Event()
        self._count = threading.Lock()
        self.passed = self.unknown = 0

    def _ask(self) -> None:
        while not self._done.is_set():
            try:
                passed = bool(self._limiter.hit("ada"))
            except OctavoError:
                with self._count:
                    self.unknown += 1
            else:
                with self._count:
                    self.passed += passed

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._ask) for _ in range(2)]
        for thread in self._threads:
            thread.start()
        self.wait()
        return self

    def wait(self) -> None:
        """Wait until some more have passed."""
        so_far = self.passed
        wait_until(lambda: self.passed > so_far + 20, "more pass", timeout=20)

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()


@FLOWS
def test_an_agreed_failover_of_a_cluster_forgets_nothing(
    connect: Connect, cluster: Cluster, prefix: str
) -> None:
    limiter = connect(cluster.url, timeout=20).limiter("api", *RULES)
    with Load(limiter) as load:
        for _ in range(2):
            faults.failover(cluster, f"{prefix}:limit:{{api:ada}}").strike()
            load.wait()
    assert load.passed <= used(limiter) <= load.passed + load.unknown


def test_a_failover_of_sentinels_is_lived_through(sentinels: Sentinels, prefix: str) -> None:
    with octavo.connect(sentinels.url, prefix=prefix, timeout=20) as db:
        limiter = db.limiter("api", *RULES)
        with Load(limiter) as load:
            faults.failover(sentinels).strike()
            load.wait()
        # The primary answers to the last, and what it then says may not be with its heir.
        assert 0 < used(limiter) <= load.passed + load.unknown


def test_a_primary_that_dies_takes_along_what_it_has_not_passed_on_and_no_more(
    proxied_cluster: Cluster, prefix: str
) -> None:
    key = f"{prefix}:limit:{{api:ada}}"
    with octavo.connect(proxied_cluster.url, prefix=prefix, timeout=20) as db:
        limiter = db.limiter("api", Limit("9/hour"), Limit("9/day", algorithm="log"))
        limiter.hit("ada", 4)
        primary = proxied_cluster.node_of(key)
        primary.cli("WAIT", 1, 5000)
        with faults.unreplicated(proxied_cluster, primary):
            lost = limiter.hit("ada", 5)
            assert not limiter.hit("ada")
            with faults.kill(primary, group=proxied_cluster):
                wait_until(
                    lambda: proxied_cluster.node_of(key) is not primary,
                    "it is replaced",
                    timeout=30,
                )
                assert left(limiter) == [5, 5]
                assert [limiter.hit("ada").allowed for _ in range(6)] == [True] * 5 + [False]
                assert limiter.refund(lost) is True
                assert all(room <= 5 for room in left(limiter))

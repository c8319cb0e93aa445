"""Servers that die under load: nothing acknowledged is lost, nothing runs twice."""

from __future__ import annotations

from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest

import octavo
from octavo.testing.servers import Standalone
from octavo.testing.waiting import wait_until
from tests.engine.lab import Lab
from tests.faults.ledger import Load
from tests.fix_servers import require

if TYPE_CHECKING:
    from octavo.testing.servers import Cluster, Sentinels

ROUNDS = pytest.mark.parametrize("rounds", [1, pytest.param(15, marks=pytest.mark.soak)])


@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.soak)])
def test_a_durable_server_killed_again_and_again(prefix: str, seed: int, rounds: int) -> None:
    options = "--appendonly", "yes", "--appendfsync", "always"
    with Standalone(require("valkey"), *options) as server:
        load = Load(server.url, prefix, seed=seed, timeout=20.0)
        with closing(load):
            with load as ledger:
                for _ in range(rounds):
                    ledger.fault()
                    server.kill()
                    server.start()
                    load.go_on()
            ledger.check(load.stored)


@pytest.mark.slow
@ROUNDS
def test_a_primary_of_a_cluster_killed(
    cluster: Cluster, prefix: str, seed: int, rounds: int
) -> None:
    load = Load(cluster.url, prefix, copies=1, seed=seed, timeout=20.0)
    with closing(load):
        with load as ledger:
            for _ in range(rounds):
                victim = cluster.node_of(load.key("n-{0}"))
                ledger.fault()
                cluster.kill(victim)
                load.go_on()
                wait_until(partial(lost_slots, cluster, victim), "its replica took over")
                load.go_on()
                cluster.heal()
        ledger.check(load.stored, lossless=False)


def lost_slots(cluster: Cluster, node: Standalone) -> bool:
    return node not in cluster.primaries


@pytest.mark.slow
@ROUNDS
def test_a_primary_of_a_cluster_handing_over(
    cluster: Cluster, prefix: str, seed: int, rounds: int
) -> None:
    load = Load(cluster.url, prefix, seed=seed, timeout=20.0)
    with closing(load):
        with load as ledger:
            for _ in range(rounds):
                ledger.fault()
                cluster.failover(cluster.node_of(load.key("n-{0}")))
                load.go_on()
        ledger.check(load.stored)
        assert not ledger.unknown, "what a node refuses is known not to have run"


@pytest.mark.slow
@ROUNDS
def test_a_primary_under_sentinels_killed(
    sentinels: Sentinels, prefix: str, seed: int, rounds: int
) -> None:
    load = Load(sentinels.url, prefix, copies=2, seed=seed, timeout=20.0)
    with closing(load):
        with load as ledger:
            for _ in range(rounds):
                ledger.fault()
                victim = sentinels.kill_primary()
                load.go_on()
                assert sentinels.primary is not victim
                sentinels.heal()
        ledger.check(load.stored, lossless=False)


@pytest.mark.slow
def test_a_primary_under_sentinels_replaced(sentinels: Sentinels, prefix: str, seed: int) -> None:
    load = Load(sentinels.url, prefix, seed=seed, timeout=20.0)
    with closing(load):
        with load as ledger:
            ledger.fault()
            sentinels.failover()
            load.go_on()
        ledger.check(load.stored, lossless=False)


@pytest.mark.slow
def test_a_primary_that_hangs_is_left_for_its_successor(sentinels: Sentinels, prefix: str) -> None:
    # The timeout is over before a connection to the hung primary is given up.
    with octavo.connect(sentinels.url, prefix=prefix, timeout=0.8, connect_timeout=2.0) as client:
        lab = Lab(client)
        lab.get("k")
        hung = sentinels.primary
        hung.pause()
        wait_until(lambda: sentinels.primary is not hung, "another was promoted", timeout=30)

        def works() -> bool:
            try:
                return lab.put("k", "v") == b"OK"
            except octavo.ConnectionLost:
                return False

        wait_until(works, "the client found the successor", timeout=4)


@pytest.mark.slow
async def test_a_primary_that_hangs_is_left_for_its_successor_by_tasks_too(
    sentinels: Sentinels, prefix: str
) -> None:
    async with octavo.connect_async(
        sentinels.url, prefix=prefix, timeout=0.8, connect_timeout=2.0
    ) as client:
        lab = Lab(client)
        await lab.get("k")
        hung = sentinels.primary
        hung.pause()
        wait_until(lambda: sentinels.primary is not hung, "another was promoted", timeout=30)
        for _ in range(5):
            with suppress(octavo.ConnectionLost):
                await lab.put("k", "v")
                return
        pytest.fail("the client did not find the successor")

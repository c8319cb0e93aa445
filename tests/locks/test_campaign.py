"""Campaigns of random faults; `OCTAVO_SEED=n` repeats one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from octavo.testing import faults
from octavo.testing.proxy import WireProxy
from octavo.testing.servers import Standalone
from tests.fix_servers import require
from tests.locks.campaign import Campaign

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from octavo.testing.servers import Cluster

BASES = "lock:{a}", "lock:{b}", "rwlock:{rw}", "semaphore:{s}"

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("races"), pytest.mark.timeout(900)]

STRIKES = pytest.mark.parametrize("strikes", [8, pytest.param(200, marks=pytest.mark.soak)])


@STRIKES
def test_one_server_and_its_network_and_its_clients_fail(
    strikes: int, prefix: str, tmp_path: Path
) -> None:
    durable = "--appendonly", "yes", "--appendfsync", "always"
    with Standalone(require("valkey"), *durable) as server, WireProxy(server.address) as proxy:
        campaign = Campaign(proxy.url, prefix, tmp_path)
        campaign.run(
            lambda: [
                faults.kill(campaign.any_worker),
                faults.pause(campaign.any_worker),
                faults.kill(server),
                faults.pause(server),
                faults.script_flush(server),
                faults.client_kill(server, "normal"),
                faults.client_kill(server, "pubsub"),
                faults.cut(proxy),
                faults.refuse(proxy),
                faults.partition(proxy),
                faults.delay(proxy, request=0.02, reply=0.02),
                faults.drop_replies(proxy, 5),
            ],
            strikes=strikes,
            calm=(0.1, 0.5),
            lasting=(0.1, 1.5),
        )


@STRIKES
def test_a_cluster_hands_over_while_clients_die(
    strikes: int, cluster: Cluster, prefix: str, tmp_path: Path
) -> None:
    campaign = Campaign(cluster.url, prefix, tmp_path)
    campaign.run(
        lambda: [
            *(faults.failover(cluster, f"{prefix}:{base}:leases") for base in BASES),
            faults.script_flush(cluster),
            faults.client_kill(cluster, "normal"),
            faults.client_kill(cluster, "pubsub"),
            faults.kill(campaign.any_worker),
            faults.pause(campaign.any_worker),
        ],
        strikes=strikes,
        calm=(0.1, 0.3),
        lasting=(0.1, 1.5),
    )


@pytest.mark.soak
@pytest.mark.parametrize("strikes", [12])
@pytest.mark.parametrize("options", [{}, {"sync": 1, "sync_timeout": 0.2}], ids=["async", "sync"])
def test_failovers_that_lose_what_was_acknowledged(
    options: dict[str, Any], strikes: int, proxied_cluster: Cluster, prefix: str, tmp_path: Path
) -> None:
    # Who renews is soon told. That a grant was lost is seen if it is held, and used, long after.
    kinds = dict.fromkeys("abcdef", "lock")
    options = {"ttl": 5.0, "renew": False} | options
    campaign = Campaign(proxied_cluster.url, prefix, tmp_path, kinds=kinds, hold=5.0, **options)

    @faults.fault
    def loss() -> Generator[object]:
        key = f"{prefix}:lock:{{{campaign.dice.choice(list(kinds))}}}:leases"
        with faults.lossy_failover(proxied_cluster, key, lag=1.0) as heir:
            yield heir

    safe = "sync" in options
    findings = campaign.run(lambda: [loss()], strikes=strikes, strict=safe, ok=0.3)
    if not safe:
        assert findings.together, "nothing was lost: that nothing is with sync=1 proves little"

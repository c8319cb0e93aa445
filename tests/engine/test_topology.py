"""Finding the nodes, and what it may cost."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.testing.servers import Cluster, Sentinels
from tests.engine.lab import Lab, command, lab_of, took
from tests.engine.test_retry import refusals
from tests.fix_servers import require

if TYPE_CHECKING:
    from octavo.testing.servers import Standalone
    from tests.fix_faces import Connect

pytestmark = pytest.mark.slow


def test_each_key_goes_straight_to_its_node(connect: Connect, cluster: Cluster) -> None:
    before = [refusals(node, "MOVED") for node in cluster.nodes]
    lab = lab_of(connect(cluster.url))
    assert [lab.add(f"n-{i}") for i in range(60)] == [1] * 60
    assert [refusals(node, "MOVED") for node in cluster.nodes] == before
    stored = [node for node in cluster.primaries for i in range(60) if stores(node, lab, f"n-{i}")]
    assert len(stored) == 60
    assert len(set(stored)) == 3


def stores(node: Standalone, lab: Any, name: str) -> bool:
    return lab.key(name).decode() in node.cli("KEYS", lab.key(name))


def test_a_node_that_is_dead_is_no_obstacle_to_finding_the_others(
    connect: Connect, cluster: Cluster
) -> None:
    dead = cluster.replicas_of(cluster.primaries[0])[0]
    cluster.kill(dead)
    others = [node.address for node in cluster.nodes if node is not dead]
    url = f"redis+cluster://{dead.address},{others[0]}"
    with took(0, 4):
        assert lab_of(connect(url)).add("n") == 1


def test_a_crowd_of_threads_discovers_once(proxied_cluster: Cluster, prefix: str) -> None:
    client = octavo.connect(proxied_cluster.url, prefix=prefix)
    together = threading.Barrier(30)

    def add(i: int) -> int:
        together.wait()
        return Lab(client).add(f"n-{i}")

    with ThreadPoolExecutor(30) as pool:
        assert list(pool.map(add, range(30))) == [1] * 30
    assert sum(proxy.commands["CLUSTER"] for proxy in proxied_cluster.proxies) == 1
    client.close()


async def test_a_crowd_of_tasks_discovers_once(proxied_cluster: Cluster, prefix: str) -> None:
    client = octavo.connect_async(proxied_cluster.url, prefix=prefix)
    lab = Lab(client)
    assert await asyncio.gather(*(lab.add(f"n-{i}") for i in range(200))) == [1] * 200
    assert sum(proxy.commands["CLUSTER"] for proxy in proxied_cluster.proxies) == 1
    # One shared connection to each primary, and the one that asked.
    assert sum(proxy.accepted for proxy in proxied_cluster.proxies) <= 4
    await client.aclose()


def test_a_cluster_that_hangs_ends_in_an_error_at_the_deadline(
    connect: Connect, cluster: Cluster
) -> None:
    for node in cluster.nodes:
        node.pause()
    try:
        lab = lab_of(connect(cluster.url, timeout=1.2, connect_timeout=4.0))
        with took(0.9, 2.3), pytest.raises(octavo.ConnectionLost) as caught:
            lab.add("n")
        assert caught.value.outcome == "not_sent"
    finally:
        for node in cluster.nodes:
            node.resume()


def test_a_sentinel_that_is_dead_is_no_obstacle(connect: Connect, sentinels: Sentinels) -> None:
    sentinels.sentinels[0].kill()
    with took(0, 1.8):
        assert lab_of(connect(sentinels.url)).add("n") == 1


def test_a_sentinel_that_hangs_costs_one_connect_timeout(
    connect: Connect, sentinels: Sentinels
) -> None:
    sentinels.sentinels[0].pause()
    with took(0, 2.5):
        assert lab_of(connect(sentinels.url, connect_timeout=1.0)).add("n") == 1


def test_sentinels_that_hang_end_in_an_error_at_the_deadline(
    connect: Connect, sentinels: Sentinels
) -> None:
    for one in sentinels.sentinels:
        one.pause()
    lab = lab_of(connect(sentinels.url, timeout=1.2, connect_timeout=4.0))
    with took(0.9, 2.3), pytest.raises(octavo.ConnectionLost) as caught:
        lab.add("n")
    assert caught.value.outcome == "not_sent"


def test_a_loop_ends_soon_although_its_sentinels_hang(sentinels: Sentinels) -> None:
    async def ask() -> None:
        async with asyncio.timeout(5):
            client = octavo.connect_async(sentinels.url, timeout=1.2, connect_timeout=4.0)
            with pytest.raises(octavo.ConnectionLost):
                await Lab(client).add("n")
            await client.aclose()

    for one in sentinels.sentinels:
        one.pause()
    with took(0.9, 3):
        asyncio.run(ask())


def test_a_database_behind_sentinels_is_used(connect: Connect, sentinels: Sentinels) -> None:
    lab = lab_of(connect(sentinels.url.removesuffix("/0") + "/2"))
    lab.put("k", "v")
    assert lab_of(connect(sentinels.url)).get("k") is None


def test_sentinels_and_the_primary_may_have_users_of_their_own(connect: Connect) -> None:
    with Sentinels(require("valkey"), sentinels=1, replicas=1) as group:
        watcher = group.sentinels[0]
        watcher.cli("ACL", "SETUSER", "watcher", "on", ">w", "~*", "&*", "+@all")
        watcher.cli("ACL", "SETUSER", "default", "off")
        group.primary.cli("ACL", "SETUSER", "me", "on", ">pw", "~*", "&*", "+@all")
        url = f"redis+sentinel://me:pw@{watcher.address}/octavo"
        login = "sentinel_username=watcher&sentinel_password"
        lab = lab_of(connect(f"{url}?{login}=w"))
        assert lab.send(command("ACL", None, "WHOAMI")) == b"me"
        wrong = lab_of(connect(f"{url}?{login}=x", timeout=0.5))
        with took(0, 3), pytest.raises(octavo.OctavoError):
            wrong.get("k")

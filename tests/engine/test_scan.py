"""Commands to a node by its name, and going through the keys of all primaries."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.engine import scan as scanning
from octavo.engine.command import Job, M, flow
from octavo.engine.scan import literal, scan
from octavo.testing.proxy import WireProxy
from octavo.testing.waiting import wait_until
from tests.engine.lab import Lab, command, lab_of, took, whole
from tests.fix_faces import Uniform
from tests.fix_servers import at_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Octavo, Sync
    from octavo.testing.servers import Cluster, Sentinels, Standalone
    from tests.fix_faces import Connect
    from tests.fix_servers import Server

FLOWS = pytest.mark.parametrize("face", ["sync", "async"])


class Scanner(Job[M]):
    """Goes through the keys behind the test's prefix."""

    def __init__(self, client: Octavo[M]) -> None:
        super().__init__(client._engine)  # pyright: ignore[reportPrivateUsage]
        self._prefix = client._prefix.encode() + b":"  # pyright: ignore[reportPrivateUsage]

    @flow
    async def names(self, pattern: bytes = b"*", kind: bytes | None = None) -> list[str]:
        """Return the names that match."""
        keys = await scan(self._common, literal(self._prefix) + pattern, kind)
        return [key.removeprefix(self._prefix).decode() for key in keys]


def scanner_of(client: Octavo[Sync]) -> Any:
    """Return a scanner of a client that the fixture `connect` made, and that knows its nodes."""
    lab_of(client).get("nothing")
    uniform: Any = client
    return Uniform(uniform._face, Scanner)


def topology_of(client: Octavo[Sync]) -> Any:
    uniform: Any = client
    return uniform._face.client._engine.topology


def fill(url: str, prefix: str, count: int) -> set[str]:
    """Store so many values; return their names."""
    names = {f"n-{i}" for i in range(count)}
    with octavo.connect(url, prefix=prefix) as client, client.batch() as batch:
        for name in names:
            Lab(batch).put(name, "v")
    return names


def after_the_first_step(
    client: Octavo[Sync], monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]
) -> None:
    """Have something happen between the first step of a scan and the second."""
    topology = topology_of(client)
    step = itertools.count(1)
    known = topology.primaries

    def primaries() -> Any:
        if next(step) == 2:
            act()
        return known()

    monkeypatch.setattr(topology, "primaries", primaries)


# To a node


def test_a_command_goes_to_the_node_it_names(connect: Connect, cluster: Cluster) -> None:
    client = connect(cluster.url)
    lab = lab_of(client)
    lab.get("nothing")
    nodes = topology_of(client).primaries()
    assert {node.address for node in nodes} == {node.address for node in cluster.primaries}
    asking = [command("CONFIG", None, "GET", "port", at=node) for node in nodes]
    ports = [node.address.partition(":")[2].encode() for node in nodes]
    assert [lab.send(ask)[b"port"] for ask in asking] == ports
    assert [reply[b"port"] for reply in lab.send(whole(*asking))] == ports


def test_a_command_to_a_node_is_not_sent_again_when_that_is_lost(
    connect: Connect, proxy: WireProxy
) -> None:
    client = connect(proxy.url)
    lab = lab_of(client)
    lab.put("k", "v")
    (node,) = topology_of(client).primaries()
    reading = command("GET", lab.key("k"), idempotent=True, at=node)
    proxy.reset()
    for asked in (reading, whole(reading)):
        proxy.drop_replies()
        with pytest.raises(octavo.ConnectionLost) as caught:
            lab.send(asked)
        assert caught.value.outcome == "unknown"
    assert proxy.commands["GET"] == 2
    assert lab.send(reading) == b"v"


# Through the keys


@FLOWS
def test_every_key_that_matches_is_found_once(
    connect: Connect, server: Server, prefix: str
) -> None:
    names = fill(server.url, prefix, 3000)
    scanner = scanner_of(connect(server.url))
    assert sorted(scanner.names()) == sorted(names)
    assert sorted(scanner.names(b"n-1?")) == [f"n-{i}" for i in range(10, 20)]


@FLOWS
def test_keys_of_another_type_are_left_out(connect: Connect, server: Server) -> None:
    client = connect(server.url)
    lab = lab_of(client)
    lab.put("text", "v")
    lab.send(command("ZADD", lab.key("sorted"), 1, "one"))
    assert scanner_of(client).names(kind=b"zset") == ["sorted"]


@FLOWS
def test_nothing_is_found_where_nothing_is(connect: Connect, server: Server) -> None:
    client = connect(server.url)
    # Nobody has asked for a node yet.
    uniform: Any = client
    assert Uniform(uniform._face, Scanner).names() == []


@FLOWS
def test_text_in_a_pattern_stands_for_itself(connect: Connect, standalone: Standalone) -> None:
    client = connect(standalone.url, prefix="a*[b]?\\c")
    lab_of(client).put("n", "v")
    lab_of(connect(standalone.url, prefix="a**b]?\\c")).put("n", "v")
    lab_of(connect(standalone.url, prefix="a*b?c")).put("n", "v")
    assert scanner_of(client).names() == ["n"]


@FLOWS
def test_a_node_takes_a_round_trip_for_a_thousand_keys(
    connect: Connect, standalone: Standalone, prefix: str
) -> None:
    fill(standalone.url, prefix, 3000)
    with WireProxy(standalone.address) as proxy:
        scanner = scanner_of(connect(proxy.url))
        proxy.reset()
        assert len(scanner.names()) == 3000
        assert proxy.round_trips <= 5


@FLOWS
def test_the_nodes_of_a_cluster_are_gone_through_side_by_side(
    connect: Connect, proxied_cluster: Cluster, prefix: str
) -> None:
    fill(proxied_cluster.url, prefix, 3000)
    scanner = scanner_of(connect(proxied_cluster.url))
    scanner.names()
    proxies = [proxied_cluster.proxy_of(node) for node in proxied_cluster.primaries]
    asked = at_once(proxies)
    assert len(scanner.names()) == 3000
    assert not asked.broken


@FLOWS
def test_a_node_whose_connection_was_lost_is_started_over(
    connect: Connect, standalone: Standalone, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = fill(standalone.url, prefix, 3000)
    with WireProxy(standalone.address, record=True) as proxy:
        client = connect(proxy.url)
        scanner = scanner_of(client)
        after_the_first_step(client, monkeypatch, proxy.drop_replies)
        found = scanner.names()
        cursors = [words[1] for words in proxy.requests if words[0] == b"SCAN"]
    assert sorted(found) == sorted(names)
    assert [i for i, cursor in enumerate(cursors) if cursor == b"0"] == [0, 2]


@FLOWS
def test_a_primary_handed_over_meanwhile_hides_nothing(
    connect: Connect, cluster: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = fill(cluster.url, prefix, 6000)
    client = connect(cluster.url)
    scanner = scanner_of(client)
    after_the_first_step(client, monkeypatch, lambda: cluster.failover(cluster.primaries[0]))
    assert sorted(scanner.names()) == sorted(names)


@FLOWS
def test_the_replica_that_took_over_is_gone_through_instead(
    connect: Connect, cluster: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = fill(cluster.url, prefix, 6000)
    client = connect(cluster.url)
    scanner = scanner_of(client)
    doomed = cluster.primaries[0]
    doomed.cli("WAIT", 1, 5000)

    def kill() -> None:
        cluster.kill(doomed)
        wait_until(lambda: doomed not in cluster.primaries, "a replica has taken over")

    after_the_first_step(client, monkeypatch, kill)
    assert sorted(scanner.names()) == sorted(names)


@FLOWS
def test_the_primary_that_the_sentinels_promote_is_gone_through_instead(
    connect: Connect, sentinels: Sentinels, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = fill(sentinels.url, prefix, 3000)
    client = connect(sentinels.url)
    scanner = scanner_of(client)
    sentinels.primary.cli("WAIT", 2, 5000)

    def kill() -> None:
        dead = sentinels.kill_primary()
        wait_until(lambda: sentinels.primary is not dead, "a replica was promoted")

    after_the_first_step(client, monkeypatch, kill)
    assert sorted(scanner.names()) == sorted(names)


@FLOWS
def test_a_node_that_stays_away_is_an_error_in_the_end(
    connect: Connect, standalone: Standalone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "_PAUSES", (0.01, 0.02))
    scanner = scanner_of(connect(standalone.url))
    standalone.kill()
    with took(0, 4), pytest.raises(octavo.ConnectionLost) as caught:
        scanner.names()
    assert caught.value.outcome == "not_sent"


@FLOWS
def test_a_node_that_hangs_is_an_error_at_the_deadline(
    connect: Connect, standalone: Standalone
) -> None:
    scanner = scanner_of(connect(standalone.url, timeout=1))
    standalone.pause()
    with took(0.9, 3), pytest.raises(octavo.DeadlineExceeded):
        scanner.names()


@FLOWS
def test_another_error_is_the_callers_at_once(connect: Connect, standalone: Standalone) -> None:
    scanner = scanner_of(connect(standalone.url))
    standalone.cli("ACL", "SETUSER", "default", "-scan")
    with took(0, 4), pytest.raises(octavo.AccessDenied):
        scanner.names()

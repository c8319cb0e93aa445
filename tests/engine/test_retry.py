"""What a server refuses before executing is sent again, unseen, until the deadline."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import redis

import octavo
from octavo.engine.command import Command
from octavo.engine.keys import slot
from octavo.testing.servers import Cluster, Standalone
from octavo.testing.waiting import wait_until
from tests.engine.lab import Lab, command, lab_of, took
from tests.fix_servers import require

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect
    from tests.fix_servers import Servers


def refusals(server: Standalone, code: str) -> int:
    """Return how often a server has answered with an error of this code."""
    stats = server.cli("INFO", "errorstats")
    return int(stats.get(f"errorstat_{code}", {"count": 0})["count"])


@contextmanager
def ended_after(server: Standalone, code: str, end: Callable[[], Any]) -> Generator[None]:
    """End a trouble in another thread once the server has refused something because of it."""
    before = refusals(server, code)

    def wait_and_end() -> None:
        wait_until(lambda: refusals(server, code) > before + 1, f"something met {code}")
        end()

    thread = threading.Thread(target=wait_and_end)
    thread.start()
    yield
    thread.join()


# One server.


@pytest.fixture
def lab(connect: Connect, standalone: Standalone) -> Any:
    """A lab on each face, to a server of its own."""
    lab = lab_of(connect(standalone.url, timeout=8.0))
    lab.bump("n", 0)
    return lab


def test_loading_is_waited_for(lab: Any, standalone: Standalone) -> None:
    standalone.cli("DEBUG", "POPULATE", 2000)
    standalone.cli(
        "CONFIG", "SET", "key-load-delay", 400, "loading-process-events-interval-bytes", 1024
    )
    thread = threading.Thread(target=standalone.cli, args=("DEBUG", "RELOAD"))
    thread.start()
    wait_until(lambda: standalone.cli("INFO", "persistence")["loading"], "it loads")
    assert lab.add("n") == 1
    assert lab.bump("n") == 2
    thread.join()
    assert refusals(standalone, "LOADING") > 0


def test_a_read_only_node_is_waited_for(lab: Any, standalone: Standalone) -> None:
    for work in (lab.add, lab.bump):
        standalone.cli("REPLICAOF", "127.0.0.1", "1")
        with ended_after(standalone, "READONLY", lambda: standalone.cli("REPLICAOF", "NO", "ONE")):
            work("n")
    assert lab.get("n") == b"2"


def test_a_read_only_node_loses_every_connection(
    connect: Connect, standalone: Standalone, proxy_of: Any
) -> None:
    proxy: WireProxy = proxy_of(standalone)
    lab = lab_of(connect(proxy.url, timeout=8.0))
    lab.get("nothing")
    standalone.cli("REPLICAOF", "127.0.0.1", "1")
    with ended_after(standalone, "READONLY", lambda: standalone.cli("REPLICAOF", "NO", "ONE")):
        assert lab.add("n") == 1
    assert proxy.accepted > 1
    wait_until(lambda: proxy.connections == 1, "the former connections are closed")


def test_a_replica_without_its_primary_is_waited_for(lab: Any, standalone: Standalone) -> None:
    standalone.cli("CONFIG", "SET", "replica-serve-stale-data", "no")
    standalone.cli("REPLICAOF", "127.0.0.1", "1")
    with ended_after(standalone, "MASTERDOWN", lambda: standalone.cli("REPLICAOF", "NO", "ONE")):
        assert lab.get("n") == b"0"


def test_a_script_that_keeps_the_server_busy_is_waited_for(
    lab: Any, standalone: Standalone
) -> None:
    standalone.cli("CONFIG", "SET", "busy-reply-threshold", 20)
    with octavo.connect(standalone.url, timeout=30.0) as client:
        endless = command("EVAL", None, "while true do end", 0, recover=lambda _: None)
        thread = threading.Thread(target=Lab(client).send, args=(endless,))
        thread.start()
        killer = threading.Timer(0.3, standalone.cli, args=("SCRIPT", "KILL"))
        killer.start()
        wait_until(lambda: busy(standalone), "the script keeps it busy")
        assert lab.add("n") == 1
        thread.join()
        killer.join()
    assert refusals(standalone, "BUSY") > 1


def busy(server: Standalone) -> bool:
    try:
        server.cli("PING")
    except redis.ResponseError as error:
        return str(error).startswith("BUSY")
    return False


def test_a_refusal_that_does_not_pass_ends_at_the_deadline(
    connect: Connect, standalone: Standalone
) -> None:
    lab = lab_of(connect(standalone.url, timeout=0.5))
    standalone.cli("REPLICAOF", "127.0.0.1", "1")
    with took(0.2, 2), pytest.raises(octavo.Unavailable) as caught:
        lab.add("n")
    assert caught.value.code == "READONLY"
    assert caught.value.operation == "lab.add"
    assert 2 < refusals(standalone, "READONLY") < 40


def test_an_outcome_is_unknown_if_any_try_may_have_arrived(
    connect: Connect, standalone: Standalone, proxy_of: Any
) -> None:
    proxy: WireProxy = proxy_of(standalone)
    lab = lab_of(connect(proxy.url, timeout=0.6))
    lab.get("nothing")
    proxy.drop_replies()
    proxy.refuse()
    with took(0.3, 2), pytest.raises(octavo.ConnectionLost) as caught:
        lab.put("k", "v")
    assert caught.value.outcome == "unknown"
    assert standalone.cli("GET", lab.key("k")) == "v"


def test_what_ended_the_try_before_a_late_one_is_told(connect: Connect, proxy: WireProxy) -> None:
    lab = lab_of(connect(proxy.url, timeout=0.6))
    lab.get("k")
    proxy.cut_before()
    with pytest.raises(octavo.DeadlineExceeded, match=r"before that: .*(closed|reset)"):
        lab.send(command("BLPOP", lab.key("nothing"), 10, idempotent=True))


def test_what_is_refused_for_good_is_not_sent_again(lab: Any, standalone: Standalone) -> None:
    lab.put("text", "x")
    before = refusals(standalone, "ERR")
    with pytest.raises(octavo.ServerError, match="not an integer"):
        lab.add("text")
    assert refusals(standalone, "ERR") == before + 1


def test_a_node_of_a_cluster_says_how_to_connect_to_it(connect: Connect, cluster: Cluster) -> None:
    lab = lab_of(connect(cluster.nodes[0].url))
    elsewhere = next(f"{i}" for i in range(100) if slot(lab.key(f"{i}")) > 8192)
    with pytest.raises(octavo.ServerError, match=r"connect with redis\+cluster://") as caught:
        lab.add(elsewhere)
    assert caught.value.operation == "lab.add"


# A cluster.


@pytest.fixture
def on_cluster(connect: Connect, cluster: Cluster) -> Any:
    """A lab on each face, to the session's cluster, which knows who has which slot."""
    lab = lab_of(connect(cluster.url, timeout=8.0))
    lab.get("nothing")
    return lab


def other_than(cluster: Cluster, node: Standalone) -> Standalone:
    return next(one for one in cluster.primaries if one is not node)


@pytest.mark.slow
def test_a_moved_slot_is_followed(on_cluster: Any, cluster: Cluster) -> None:
    key = on_cluster.key("n")
    on_cluster.bump("n")
    source = cluster.node_of(key)
    before = refusals(source, "MOVED")
    cluster.migrate(slot(key), other_than(cluster, source))
    assert on_cluster.bump("n") == 2
    assert on_cluster.add("n") == 3
    # Once it has been told, it asks there.
    assert refusals(source, "MOVED") == before + 1


@pytest.mark.slow
def test_a_key_that_has_gone_ahead_of_its_slot_is_asked_for(
    on_cluster: Any, cluster: Cluster
) -> None:
    gone, here, new = "{s}gone", "{s}here", "{s}new"
    for name in (gone, here):
        on_cluster.put(name, 1)
    source = cluster.node_of(on_cluster.key(gone))
    before = refusals(source, "ASK")
    with cluster.migrating(slot(on_cluster.key(gone)), other_than(cluster, source)) as move:
        move(on_cluster.key(gone).decode())
        for number in (2, 3):
            assert on_cluster.add(gone) == number
            assert on_cluster.bump(here) == number
        assert on_cluster.bump(gone) == 4
        assert on_cluster.add(new) == 1
        assert on_cluster.add(here) == 4
    assert refusals(source, "ASK") >= before + 4
    assert [on_cluster.get(name) for name in (gone, here, new)] == [b"4", b"4", b"1"]


@pytest.mark.slow
def test_keys_torn_apart_by_a_migration_are_waited_for(on_cluster: Any, cluster: Cluster) -> None:
    names = "{s}gone", "{s}here"
    keys = tuple(on_cluster.key(name) for name in names)
    for name in names:
        on_cluster.put(name, name)
    source = cluster.node_of(keys[0])
    target = other_than(cluster, source)
    with ExitStack() as stack:
        move = stack.enter_context(cluster.migrating(slot(keys[0]), target))
        move(keys[0].decode())
        both = Command((b"MGET", *keys), keys, list)
        with ended_after(source, "TRYAGAIN", stack.close):
            assert on_cluster.send(both) == [b"{s}gone", b"{s}here"]


@pytest.mark.slow
@pytest.mark.parametrize("atomic", [False, True], ids=["plain", "atomic"])
@pytest.mark.parametrize("face", ["sync", "async"])
def test_a_batch_goes_through_a_migration(connect: Connect, cluster: Cluster, atomic: bool) -> None:
    client: Any = connect(cluster.url, timeout=8.0)
    lab = lab_of(client)
    names = [f"{{b}}{i}" for i in range(6)]
    for name in names:
        lab.bump(name)
    source = cluster.node_of(lab.key(names[0]))
    keys = [lab.key(name).decode() for name in names]
    with cluster.migrating(slot(keys[0].encode()), other_than(cluster, source)) as move:
        move(*keys if atomic else keys[:3])
        with client.batch(atomic=atomic) as batch:
            pending = [Lab(batch).bump(name) for name in names]
            pending += [Lab(batch).add(name) for name in names]
        assert [one.result() for one in pending] == [2] * 6 + [3] * 6
    with client.batch(atomic=atomic) as batch:
        pending = [Lab(batch).add(name) for name in names]
    assert [one.result() for one in pending] == [4] * 6


@pytest.mark.slow
def test_a_slot_that_nobody_serves_is_waited_for(on_cluster: Any, cluster: Cluster) -> None:
    key = on_cluster.key("down")
    node = cluster.node_of(key)
    # Its replica would make the node forget again that it forgot.
    for one in cluster.nodes:
        one.cli("CONFIG", "SET", "cluster-require-full-coverage", "no")
    node.cli("CLUSTER", "DELSLOTS", slot(key))
    with ended_after(node, "CLUSTERDOWN", lambda: node.cli("CLUSTER", "ADDSLOTS", slot(key))):
        assert on_cluster.add("down") == 1
    wait_until(cluster.healthy, "all agree again")
    for one in cluster.nodes:
        one.cli("CONFIG", "SET", "cluster-require-full-coverage", "yes")


@pytest.fixture(scope="module")
def ring(servers: Servers) -> Iterator[Cluster]:
    """Two nodes, each of which says that the other has slot 0."""
    with Cluster(require("valkey"), primaries=2, replicas=0) as ring:
        first, second = ring.nodes
        ids = [node.cli("CLUSTER", "MYID") for node in ring.nodes]
        second.cli("CLUSTER", "SETSLOT", 0, "NODE", ids[0])
        first.cli("CLUSTER", "SETSLOT", 0, "NODE", ids[1])
        yield ring


@pytest.mark.slow
def test_a_ring_of_redirects_ends_at_the_deadline(connect: Connect, ring: Cluster) -> None:
    lab = lab_of(connect(ring.url, timeout=0.8))
    lab.send(command("ECHO", None, "connected"))
    name = next(f"{i}" for i in range(10**6) if slot(lab.key(f"{i}")) == 0)
    before = [refusals(node, "MOVED") for node in ring.nodes]
    ends = (octavo.Unavailable, octavo.DeadlineExceeded)  # if the last try was late
    with took(0.4, 2), pytest.raises(ends, match="MOVED") as caught:
        lab.add(name)
    assert getattr(caught.value, "code", "MOVED") == "MOVED"
    redirects = [
        refusals(node, "MOVED") - was for node, was in zip(ring.nodes, before, strict=True)
    ]
    assert min(redirects) >= 1
    assert 3 < sum(redirects) < 60

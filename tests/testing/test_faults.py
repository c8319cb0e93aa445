from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import redis

from octavo.testing import faults
from octavo.testing.servers import Sentinels
from octavo.testing.waiting import wait_until
from tests.fix_servers import redis_py, require

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from octavo.testing.faults import Fault
    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Cluster, Standalone
    from octavo.testing.servers.group import Group

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def client(standalone: Standalone) -> Iterator[Any]:
    with redis_py(standalone.url, socket_timeout=1) as client:
        client.ping()
        yield client


@pytest.fixture
def through(proxy: WireProxy) -> Iterator[Any]:
    """A client of the proxy's server."""
    with redis_py(proxy.url, socket_timeout=1) as client:
        client.ping()
        yield client


# What every fault does


def test_a_fault_strikes_and_heals_as_often_as_one_likes() -> None:
    seen: list[str] = []

    @faults.fault
    def trip(who: str) -> Generator[str]:
        seen.append("down")
        yield who
        seen.append("up")

    fall = trip("ada")
    assert repr(fall) == "<fault trip>"
    for _ in range(2):
        with fall as victim:
            assert victim == "ada"
            assert seen.pop() == "down"
        assert seen.pop() == "up"
    fall.strike()
    with pytest.raises(RuntimeError, match="trip has struck"):
        fall.strike()
    fall.heal()
    fall.heal()
    assert seen == ["down", "up"]


def test_a_fault_that_lasts_says_when_it_was() -> None:
    @faults.fault
    def nothing() -> Generator[int]:
        yield 7

    before = time.monotonic()
    strike = nothing().last(0.05)
    assert (strike.name, strike.victim) == ("nothing", 7)
    assert before <= strike.t0 <= strike.t1 - 0.05 <= time.monotonic() - 0.05


# Servers


def test_a_killed_server_is_dead_and_then_another_process(
    standalone: Standalone, client: Any
) -> None:
    pid = standalone.pid
    with faults.kill(standalone) as victim:
        assert victim is standalone
        with pytest.raises(redis.ConnectionError):
            client.ping()
    assert client.ping()
    assert standalone.pid != pid


def test_who_does_not_run_cannot_be_killed(standalone: Standalone) -> None:
    standalone.stop()
    with pytest.raises(RuntimeError, match="does not run"):
        faults.kill(standalone).strike()


def test_a_paused_server_says_nothing_and_then_goes_on(standalone: Standalone, client: Any) -> None:
    pid = standalone.pid
    with faults.pause(standalone), pytest.raises(redis.TimeoutError):
        client.ping()
    assert client.ping()
    assert standalone.pid == pid


def test_the_victim_may_be_found_when_the_fault_strikes(standalone: Standalone) -> None:
    with faults.pause(lambda: standalone) as victim:
        assert victim is standalone
        assert not standalone.responsive


def test_flushed_scripts_are_not_known(standalone: Standalone, client: Any) -> None:
    sha = client.script_load("return 1")
    with faults.script_flush(standalone):
        pass
    assert client.script_exists(sha) == [False]


@pytest.mark.slow
def test_every_node_of_a_cluster_forgets_its_scripts(cluster: Cluster) -> None:
    shas = {node: node.cli("SCRIPT", "LOAD", "return 1") for node in cluster.nodes}
    with faults.script_flush(cluster) as nodes:
        assert nodes == cluster.nodes
    assert not any(node.cli("SCRIPT", "EXISTS", sha)[0] for node, sha in shas.items())


def test_flushed_data_is_gone(standalone: Standalone, client: Any) -> None:
    client.set("k", "v")
    with faults.flush_all(standalone):
        assert client.get("k") is None


@pytest.mark.slow
def test_all_data_of_a_cluster_is_gone(cluster: Cluster) -> None:
    for key in "abcdef":
        cluster.node_of(key).cli("SET", key, "v")
    with faults.flush_all(cluster) as nodes:
        assert nodes == cluster.primaries
    assert not any(cluster.node_of(key).cli("EXISTS", key) for key in "abcdef")


def test_killed_connections_are_of_one_kind(standalone: Standalone, client: Any) -> None:
    with client.pubsub() as listener:
        listener.subscribe("news")
        me = client.client_id()
        assert listener.get_message(timeout=10)["type"] == "subscribe"
        with faults.client_kill(standalone, "pubsub") as killed:
            assert killed == 1
        with pytest.raises(redis.ConnectionError):
            listener.get_message(timeout=10)
        assert client.client_id() == me
        with faults.client_kill(standalone) as killed:
            assert killed >= 1
        assert client.client_id() > me, "on another connection"


# Networks


def test_who_is_cut_off_may_connect_again_at_once(proxy: WireProxy, through: Any) -> None:
    before = through.client_id()
    with faults.cut(proxy):
        assert proxy.connections == 0
        assert through.client_id() > before, "on another connection"


def test_who_is_refused_must_wait(proxy: WireProxy, through: Any) -> None:
    with faults.refuse(proxy):
        for _ in range(2):
            with pytest.raises(redis.ConnectionError):
                through.ping()
    assert through.ping()


def test_what_is_sent_into_a_partition_arrives_when_it_is_over(
    proxy: WireProxy, through: Any, prefix: str
) -> None:
    with faults.partition(proxy):
        with pytest.raises(redis.TimeoutError):
            through.set(prefix, "v")
        assert proxy.commands["SET"] == 0
    wait_until(lambda: through.get(prefix) == "v", "it has arrived")


def test_delays_add_up(proxy: WireProxy, through: Any) -> None:
    with faults.delay(proxy, request=0.05, reply=0.05):
        assert seconds(through) >= 0.1
    assert min(seconds(through) for _ in range(20)) < 0.1


def seconds(client: Any) -> float:
    began = time.monotonic()
    client.ping()
    return time.monotonic() - began


def test_a_dropped_reply_is_of_a_request_that_was_executed(
    proxy: WireProxy, through: Any, prefix: str
) -> None:
    with faults.drop_replies(proxy, 2):
        with pytest.raises(redis.ConnectionError):
            through.incr(prefix)
        assert proxy.commands["INCRBY"] == 1
    assert through.incr(prefix) == 2, "healing spares the second"


# Failovers


@pytest.mark.slow
def test_a_failover_of_a_cluster_loses_nothing(cluster: Cluster) -> None:
    before = cluster.node_of("k")
    before.cli("SET", "k", "v")
    with faults.failover(cluster, "k") as heir:
        assert cluster.node_of("k") is heir is not before
        assert heir.cli("GET", "k") == "v"
    assert before.alive


@pytest.mark.slow
def test_one_failover_may_follow_another_at_once(cluster: Cluster) -> None:
    primary = cluster.node_of("k")
    heirs = [faults.failover(cluster, "k").last().victim for _ in range(10)]
    assert heirs == [heirs[0], primary] * 5


@pytest.mark.slow
def test_a_takeover_needs_no_primary_that_agrees(proxied_cluster: Cluster) -> None:
    before = proxied_cluster.node_of("k")
    before.cli("SET", "k", "old")
    wait_until(lambda: before.cli("WAIT", 1, 100), "it is replicated")
    with faults.unreplicated(proxied_cluster, before):
        before.cli("SET", "k", "new")
        with faults.takeover(proxied_cluster, "k") as heir:
            assert heir is not before
            assert heir.cli("GET", "k") == "old"


@pytest.mark.slow
def test_sentinels_promote_another(sentinels: Sentinels) -> None:
    before = sentinels.primary
    with faults.failover(sentinels) as heir:
        assert sentinels.primary is heir is not before


@pytest.mark.slow
def test_a_killed_primary_of_sentinels_comes_back_as_a_replica(sentinels: Sentinels) -> None:
    with faults.kill(lambda: sentinels.primary, group=sentinels) as former:
        wait_until(lambda: sentinels.primary is not former, "a replica took over")
    assert former.cli("ROLE")[0] == "slave"
    assert sentinels.healthy()


@pytest.mark.slow
def test_a_primary_that_was_paused_too_long_comes_back_as_a_replica(cluster: Cluster) -> None:
    with faults.pause(lambda: cluster.node_of("k"), group=cluster) as former:
        wait_until(lambda: cluster.node_of("k") is not former, "its replica took over")
    assert former not in cluster.primaries
    assert cluster.healthy()


@pytest.fixture(scope="module")
def proxied_sentinels() -> Iterator[Sentinels]:
    with Sentinels(require("valkey"), proxied=True) as sentinels:
        yield sentinels


@pytest.mark.slow
def test_a_lossy_failover_of_a_cluster_loses_what_was_acknowledged(
    proxied_cluster: Cluster,
) -> None:
    loses_its_lag(proxied_cluster)


@pytest.mark.slow
@pytest.mark.xdist_group("sentinel")
def test_a_lossy_failover_of_sentinels_loses_what_was_acknowledged(
    proxied_sentinels: Sentinels,
) -> None:
    loses_its_lag(proxied_sentinels)


def loses_its_lag(group: Group) -> None:
    primary = group.node_of("k")
    primary.cli("DEL", "k")
    acks = counted_through(faults.lossy_failover(group, "k", lag=0.5), primary)
    heir = group.node_of("k")
    assert heir is not primary
    kept = int(heir.cli("GET", "k"))
    assert acks[-1] - acks[kept] > 0.4, "what it has lost it took so long to acknowledge"
    assert primary in group.replicas_of(heir)
    assert primary.cli("ROLE")[0] == "slave"
    assert group.healthy()


def counted_through(fault: Fault[Standalone], primary: Standalone) -> list[float]:
    """Count in one thread while a fault strikes in another; return when each was acknowledged."""
    acks: list[float] = []
    with (
        redis_py(primary.url) as client,
        faults.Nemesis([fault], calm=(0.2, 0.2), lasting=(0, 0)) as nemesis,
    ):
        with suppress(redis.ConnectionError):
            while True:
                client.incr("k")
                acks.append(time.monotonic())
        nemesis.wait(1)
    return acks


def test_what_is_not_proxied_cannot_be_unreplicated(cluster: Cluster) -> None:
    with pytest.raises(ValueError, match="proxied=False"):
        faults.unreplicated(cluster, cluster.nodes[0]).strike()

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import redis
from redis.crc import key_slot
from redis.exceptions import AskError, TryAgainError

from octavo.testing.servers import Cluster, Sentinels, Standalone
from octavo.testing.waiting import wait_until
from tests.fix_servers import redis_py, require

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(params=["valkey", "redis-7", "redis-8"])
def binary(request: pytest.FixtureRequest) -> Path:
    return require(request.param)


def test_a_server_serves_on_its_port_and_its_socket(binary: Path) -> None:
    with Standalone(binary) as server:
        assert server.cli("SET", "k", "v")
        for url in (server.url, server.unix_url):
            with redis_py(url) as client:
                assert client.get("k") == "v"


def test_a_closed_server_leaves_no_process_and_no_directory(binary: Path) -> None:
    with Standalone(binary) as server:
        pid = server.pid
    assert gone(pid)
    assert not server.home.exists()


def test_options_reach_the_server(binary: Path) -> None:
    with Standalone(binary, "--maxmemory", "50mb", unix=False) as server:
        assert server.cli("CONFIG", "GET", "maxmemory")["maxmemory"] == str(50 * 2**20)


def test_a_killed_server_comes_back_on_its_port_with_its_data(binary: Path) -> None:
    with Standalone(binary, "--appendonly", "yes", "--appendfsync", "always") as server:
        url = server.url
        server.cli("SET", "k", "v")
        server.kill()
        assert not server.alive
        server.start()
        assert server.cli("GET", "k") == "v"
        assert server.url == url
        server.restart()
        assert server.cli("GET", "k") == "v"


def test_a_paused_server_keeps_its_sockets_and_answers_nothing(standalone: Standalone) -> None:
    with redis_py(standalone.url, socket_timeout=0.2) as client:
        client.ping()
        standalone.pause()
        assert standalone.alive
        assert not standalone.responsive
        with pytest.raises(redis.TimeoutError):
            client.ping()
        standalone.resume()
        assert client.ping()


def test_a_paused_server_can_be_stopped_and_killed(standalone: Standalone) -> None:
    standalone.pause()
    standalone.stop()
    standalone.start()
    standalone.pause()
    standalone.kill()
    assert not standalone.alive


def test_a_server_that_cannot_start_says_why() -> None:
    with (
        pytest.raises(RuntimeError, match="no-such-option"),
        Standalone(require("valkey"), "--no-such-option", "1"),
    ):
        pass


def test_a_binary_reply_of_cli_loses_no_byte(standalone: Standalone) -> None:
    standalone.cli("SET", "k", b"\xff\x00\xfe")
    value = standalone.cli("GET", "k")
    assert value.encode(errors="surrogateescape") == b"\xff\x00\xfe"


def test_tls_is_all_the_port_speaks_and_its_authority_is_private() -> None:
    with Standalone(require("redis-7"), tls=True) as server:
        assert server.cli("CONFIG", "GET", "port") == {"port": "0"}
        with redis_py(server.url) as client:
            assert client.ping()
        for stranger in (f"rediss://{server.address}", f"redis://{server.address}"):
            with (
                redis_py(stranger) as client,
                pytest.raises(redis.ConnectionError),
            ):
                client.ping()


@pytest.mark.slow
def test_a_cluster_forms_fails_over_heals_and_moves_slots(binary: Path) -> None:
    with Cluster(binary) as cluster:
        pids = [node.pid for node in cluster.nodes]
        assert (len(cluster.primaries), len(cluster.nodes)) == (3, 6)

        before = cluster.node_of("k")
        before.cli("SET", "k", "v")
        after = cluster.failover(before)
        assert cluster.node_of("k") is after is not before
        assert after.cli("GET", "k") == "v"

        cluster.kill(after)
        wait_until(lambda: cluster.node_of("k") is before, "the replica took over")
        assert before.cli("GET", "k") == "v"
        cluster.heal()
        assert cluster.replicas_of(before) == [after]

        target = next(node for node in cluster.primaries if node is not before)
        cluster.migrate(slot("k"), target)
        assert cluster.node_of("k") is target
        assert target.cli("GET", "k") == "v"

        cluster.flush()
        assert target.cli("EXISTS", "k") == 0
    assert all(map(gone, pids))


@pytest.mark.slow
def test_a_migrating_slot_answers_ask_for_keys_that_have_moved(cluster: Cluster) -> None:
    source = cluster.node_of("{k}1")
    target = next(node for node in cluster.primaries if node is not source)
    for key in ("{k}1", "{k}2"):
        source.cli("SET", key, "v")
    with cluster.migrating(slot("k"), target) as move:
        move("{k}2")
        assert source.cli("GET", "{k}1") == "v"
        with pytest.raises(AskError) as asked:
            source.cli("GET", "{k}2")
        assert asked.value.port == target.port
        with pytest.raises(TryAgainError):
            source.cli("MGET", "{k}1", "{k}2")
    assert target.cli("MGET", "{k}1", "{k}2") == ["v", "v"]


@pytest.mark.slow
def test_clients_of_a_proxied_cluster_are_sent_through_the_proxies(
    proxied_cluster: Cluster,
) -> None:
    node = proxied_cluster.node_of("k")
    proxy = proxied_cluster.proxy_of(node)
    first = f"redis://{proxied_cluster.proxies[0].address}"
    with redis.RedisCluster.from_url(first) as client:
        client.set("k", "v")
    assert proxy.commands["SET"] == 1
    assert sum(one.commands["SET"] for one in proxied_cluster.proxies) == 1
    assert not any(one.commands["REPLCONF"] for one in proxied_cluster.proxies)


@pytest.mark.slow
def test_a_cluster_with_a_replica_that_does_not_replicate_is_not_healthy(
    proxied_cluster: Cluster,
) -> None:
    proxy = proxied_cluster.proxy_of(proxied_cluster.node_of("k"))
    proxy.hold("replicas")
    proxy.cut("replicas")
    wait_until(lambda: not proxied_cluster.healthy(), "the link is down")
    proxy.release("replicas")
    wait_until(proxied_cluster.healthy, "the link is up")


@pytest.mark.slow
def test_held_replication_loses_acknowledged_writes_at_a_failover(
    proxied_cluster: Cluster,
) -> None:
    primary = proxied_cluster.node_of("lost")
    heir = proxied_cluster.replicas_of(primary)[0]
    primary.cli("SET", "lost", "v")
    wait_until(lambda: cli_on_replica(heir, "lost") == "v", "it was replicated")
    proxied_cluster.proxy_of(primary).hold("replicas")
    primary.cli("SET", "lost", "newer")
    proxied_cluster.kill(primary)
    wait_until(lambda: proxied_cluster.node_of("lost") is heir, "the replica took over")
    assert heir.cli("GET", "lost") == "v"


def cli_on_replica(replica: Standalone, key: str) -> str | None:
    with redis_py(replica.url) as client:
        client.execute_command("READONLY")
        value: str | None = client.get(key)
        return value


@pytest.mark.slow
def test_sentinels_promote_a_replica_on_request_and_after_a_crash(binary: Path) -> None:
    with Sentinels(binary) as sentinels:
        pids = [node.pid for node in sentinels.nodes]
        before = sentinels.primary
        before.cli("SET", "k", "v")
        assert before.cli("WAIT", 2, 20_000) == 2
        after = sentinels.failover()
        assert after is sentinels.primary is not before
        assert after.cli("GET", "k") == "v"

        assert sentinels.kill_primary() is after
        wait_until(lambda: sentinels.primary is not after, "a replica took over")
        assert sentinels.primary.cli("GET", "k") == "v"
        sentinels.heal()
        assert after.cli("ROLE")[0] == "slave"

        sentinels.flush()
        assert sentinels.primary.cli("EXISTS", "k") == 0
    assert all(map(gone, pids))


STARTS_A_SERVER = """
import sys, time
from octavo.testing.servers import Standalone, binaries
server = Standalone(binaries()["valkey"])
server.start()
if "paused" in sys.argv:
    server.pause()
print(server.pid, server.home, flush=True)
{then}
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("state", ["running", "paused"])
def test_servers_go_with_the_process_that_started_them_however_it_ends(
    how: signal.Signals, state: str
) -> None:
    require("valkey")
    with starter("time.sleep(60)", state) as owner:
        pid, home = report(owner)
        assert not gone(pid)
        owner.send_signal(how)
        owner.wait(10)
    wait_until(lambda: gone(pid), "the server has gone")
    wait_until(lambda: not home.exists(), "its directory has gone")


def test_ctrl_c_in_a_terminal_reaches_neither_servers_nor_what_guards_them() -> None:
    require("valkey")
    with starter("time.sleep(60)") as owner:
        pid, home = report(owner)
        assert os.getpgid(pid) != os.getpgid(owner.pid)
        os.killpg(owner.pid, signal.SIGINT)
        owner.kill()
    wait_until(lambda: gone(pid), "the server has gone")
    wait_until(lambda: not home.exists(), "its directory has gone")


def test_servers_that_nobody_closed_go_at_the_end_of_the_program() -> None:
    require("valkey")
    with starter("") as owner:
        pid, home = report(owner)
        owner.wait(10)
        assert gone(pid)
        assert not home.exists()


def test_a_server_outlives_the_thread_that_started_it() -> None:
    with Standalone(require("valkey")) as server:
        server.stop()
        thread = threading.Thread(target=server.start)
        thread.start()
        thread.join()
        assert server.cli("PING")


def starter(then: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", STARTS_A_SERVER.format(then=then), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # a process group of its own, as in a terminal
    )


def report(owner: subprocess.Popen[str]) -> tuple[int, Path]:
    assert owner.stdout
    pid, home = owner.stdout.readline().split()
    return int(pid), Path(home)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def slot(key: str) -> int:
    return int(key_slot(key.encode()))

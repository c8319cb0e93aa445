"""A server that is out of reach: the cache goes on without it, and comes back by itself."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.testing.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Sync
    from octavo.cache import Cache
    from octavo.testing.servers import Cluster, Standalone
    from tests.fix_faces import Connect, FaceName

pytestmark = pytest.mark.slow

TIMEOUT = 0.2


@pytest.fixture(params=["sync", "async"])
def face(request: pytest.FixtureRequest) -> FaceName:
    face: FaceName = request.param
    return face


@pytest.fixture
def cache(connect: Connect, standalone: Standalone) -> Cache[Sync, Any]:
    cache = connect(standalone.url, timeout=TIMEOUT, connect_timeout=TIMEOUT).cache("x", ttl=60)
    cache.set("there", "value")
    wait_until(lambda: (cache.get("there"), cache.stats().links)[1], "it is linked")
    return cache


OUTAGES: dict[str, tuple[Callable[[Standalone], None], Callable[[Standalone], None]]] = {
    "killed": (lambda server: server.kill(), lambda server: server.start()),
    "hanging": (lambda server: server.pause(), lambda server: server.resume()),
}
OUTAGE = pytest.mark.parametrize("outage", OUTAGES)


@OUTAGE
def test_reads_miss_without_the_server_and_only_the_first_one_waits(
    outage: str, cache: Cache[Sync, Any], standalone: Standalone
) -> None:
    OUTAGES[outage][0](standalone)
    assert cache.get("there") is None
    began = time.monotonic()
    for number in range(50):
        assert cache.get("there", default=number) == number
        assert cache.fetch("there").outcome == "bypass"
        assert cache.get_or_create(f"k{number}", lambda: "made") == "made"
        assert cache.get_many(["there", "k1"]) == {}
    assert time.monotonic() - began < 3 * TIMEOUT, "more than one look waited"
    stats = cache.stats()
    assert stats.unreachable == (standalone.address,)
    assert stats.bypassed > 100
    OUTAGES[outage][1](standalone)


@OUTAGE
def test_without_the_server_one_factory_runs_per_key_for_all_threads(
    outage: str, cache: Cache[Sync, Any], standalone: Standalone
) -> None:
    OUTAGES[outage][0](standalone)
    runs: list[str] = []
    began = time.monotonic()

    def ask(key: str) -> Any:
        def factory() -> list[str]:
            runs.append(key)
            time.sleep(0.3)
            return [key]

        return cache.get_or_create(key, factory)

    with ThreadPoolExecutor(20) as pool:
        got = [*pool.map(ask, ["a", "b"] * 10)]
    assert got == [["a"], ["b"]] * 10
    assert sorted(runs) == ["a", "b"]
    assert time.monotonic() - began < 6 * TIMEOUT
    OUTAGES[outage][1](standalone)


@OUTAGE
def test_it_comes_back_by_itself_when_the_server_does(
    outage: str, cache: Cache[Sync, Any], standalone: Standalone
) -> None:
    end, begin = OUTAGES[outage]
    end(standalone)
    assert cache.get_or_create("k", lambda: "bypassed") == "bypassed"
    assert cache.stats().unreachable
    begin(standalone)

    def again() -> bool:
        value = cache.fetch_or_create("k", lambda: "made")
        return value.outcome in ("created", "hit")

    wait_until(again, "values are stored again", timeout=10)
    assert not cache.stats().unreachable
    assert cache.fetch("k").outcome == "hit"


@OUTAGE
def test_writes_raise_without_the_server(
    outage: str, cache: Cache[Sync, Any], standalone: Standalone
) -> None:
    OUTAGES[outage][0](standalone)
    writes: list[Callable[[], Any]] = [
        lambda: cache.set("k", 1),
        lambda: cache.delete("k"),
        lambda: cache.incr("k"),
        cache.clear,
        lambda: cache.invalidate_tags("t"),
    ]
    for write in writes:
        with pytest.raises((octavo.ConnectionLost, octavo.Unavailable)):
            write()
    OUTAGES[outage][1](standalone)


@OUTAGE
def test_reads_raise_too_if_they_are_told_to(
    outage: str, connect: Connect, standalone: Standalone
) -> None:
    db = connect(standalone.url, timeout=TIMEOUT, connect_timeout=TIMEOUT)
    cache = db.cache("x", ttl=60, on_error="raise")
    cache.set("k", "value")
    ran: list[str] = []

    def many(keys: list[str]) -> dict[str, str]:
        ran.extend(keys)
        return dict.fromkeys(keys, "made")

    OUTAGES[outage][0](standalone)
    reads: list[Callable[[], Any]] = [
        lambda: cache.get("k"),
        lambda: cache.fetch("k"),
        lambda: cache.get_many(["k"]),
        lambda: cache.get_or_create("k", lambda: ran.append("one")),
        lambda: cache.create_many(["k"], many),
    ]
    for read in reads:
        with pytest.raises((octavo.ConnectionLost, octavo.Unavailable)):
            read()
    assert not ran
    OUTAGES[outage][1](standalone)


def test_a_server_that_was_never_there_is_bypassed(connect: Connect) -> None:
    cache = connect("redis://127.0.0.1:1", timeout=TIMEOUT, connect_timeout=TIMEOUT).cache(
        "x", ttl=60
    )
    assert cache.get_or_create("k", lambda: "made") == "made"
    assert cache.get("k") is None
    began = time.monotonic()
    assert [cache.get_or_create("k", lambda: "made") for _ in range(20)] == ["made"] * 20
    assert time.monotonic() - began < 3 * TIMEOUT


@OUTAGE
def test_a_server_lost_while_a_value_is_made_costs_its_maker_one_wait(
    outage: str, cache: Cache[Sync, Any], standalone: Standalone
) -> None:
    returned: list[float] = []

    def factory() -> str:
        OUTAGES[outage][0](standalone)
        returned.append(time.monotonic())
        return "made"

    assert cache.get_or_create("k", factory) == "made"
    assert time.monotonic() - returned[0] < 3 * TIMEOUT
    began = time.monotonic()
    assert cache.get_or_create("k", lambda: "made again") == "made again"
    assert time.monotonic() - began < TIMEOUT / 2, "it waited a second time"
    OUTAGES[outage][1](standalone)


def test_a_stale_value_in_the_process_is_not_served_when_the_server_hangs(
    connect: Connect, standalone: Standalone
) -> None:
    db = connect(standalone.url, timeout=TIMEOUT, connect_timeout=TIMEOUT)
    cache = db.cache("x", ttl=60, local=octavo.Local(100))
    cache.set("k", "value")
    wait_until(lambda: (cache.get("k"), cache.stats().local)[1], "it is kept in the process")
    standalone.pause()
    paused = time.monotonic()
    wait_until(lambda: cache.get("k") is None, "the link is not trusted any more", timeout=10)
    assert time.monotonic() - paused < 6.0
    standalone.resume()


def test_a_dead_shard_leaves_the_others_alone(connect: Connect, cluster: Cluster) -> None:
    db = connect(cluster.url, timeout=TIMEOUT, connect_timeout=TIMEOUT)
    cache = db.cache("x", ttl=60)
    keys = [f"k{number}" for number in range(30)]
    cache.set_many({key: key for key in keys})
    wait_until(lambda: (cache.get_many(keys), cache.stats().links)[1], "it is linked")
    base = cluster.node_of("{x}")
    of_node = {key: cluster.node_of(cache.info(key).key) for key in keys}
    dead = next(node for node in cluster.primaries if node is not base)
    dead.pause()
    for replica in cluster.replicas_of(dead):
        replica.pause()
    lost = [key for key in keys if of_node[key] is dead]
    assert 3 < len(lost) < 20
    for key in lost:
        assert cache.get(key) is None
    for key in keys:
        if key not in lost:
            assert cache.fetch(key).outcome == "hit", key
    assert cache.stats().unreachable == (dead.address,)
    assert cache.get_or_create(lost[0], lambda: "made") == "made"
    with suppress(octavo.OctavoError):
        cluster.heal()


def test_a_refresh_that_cannot_be_stored_leaves_the_stale_value(
    cache: Cache[Sync, Any], standalone: Standalone
) -> None:
    cache.set("k", "older", ttl=0.001, grace=60)
    wait_until(lambda: cache.fetch("k").outcome == "stale", "it is stale")

    def factory() -> str:
        standalone.pause()
        return "newer"

    assert cache.get_or_create("k", factory, soft_timeout=None) == "newer"
    standalone.resume()
    wait_until(lambda: cache.fetch("k").value is not None, "the server is back")


def test_whoever_waits_for_another_process_when_the_server_dies_makes_the_value(
    connect: Connect, cache: Cache[Sync, Any], standalone: Standalone
) -> None:
    other = connect(standalone.url, timeout=TIMEOUT, connect_timeout=TIMEOUT).cache("x", ttl=60)
    running, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        running.set()
        go_on.wait(20)
        return "slow"

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(other.get_or_create, "k", slow)
        assert running.wait(20)
        second = pool.submit(cache.get_or_create, "k", lambda: "own")
        wait_until(lambda: cache.stats().misses >= 1, "it waits")
        standalone.kill()
        assert second.result(20) == "own"
        go_on.set()
        assert first.result(20) == "slow"

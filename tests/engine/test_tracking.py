"""Being told of changes: what was read and kept is dropped in time, by whoever changes it.

A cache with a tier in the process is what keeps reads; `kept` says whether one is answered here.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.engine.links import TRUST
from octavo.testing.waiting import wait_until
from tests.cache import keeping
from tests.cache.keeping import becomes, cache_of, keep, kept, outsider

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.engine.tracking import Ticket
    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Cluster, Sentinels, Standalone
    from tests.fix_faces import Connect
    from tests.fix_servers import Server

pushes = keeping.pushes

FLOWS = pytest.mark.parametrize("face", ["sync", "async"])
SYNC = pytest.mark.parametrize("face", ["sync"])
FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


# Changes.


@FLOWS
def test_a_kept_read_is_dropped_when_another_client_changes_it(
    connect: Connect, server: Server, prefix: str
) -> None:
    cache = cache_of(connect(server.url))
    with outsider(server.url, prefix) as other:
        changes: list[tuple[Callable[[], object], object]] = [
            (lambda: other.set("k", "second"), "second"),
            (lambda: other.delete("k"), None),
            (lambda: other.set("k", "third", tags=["t"]), "third"),
            (lambda: other.invalidate_tags("t"), None),
            (lambda: other.set("k", "fourth"), "fourth"),
            (other.clear, None),
        ]
        cache.set("k", "first")
        for change, value in changes:
            if cache.get("k") is not None:
                keep(cache)
            change()
            becomes(cache, value)


@FLOWS
def test_a_kept_read_is_dropped_when_any_program_changes_it(
    connect: Connect, server: Server
) -> None:
    cache = cache_of(connect(server.url))
    cache.set("k", 1)
    keep(cache)
    key = cache.info("k").key
    server.node_of(key).cli("INCRBY", key, 5)
    becomes(cache, 6)
    keep(cache)
    server.node_of(key).cli("DEL", key)
    becomes(cache, None)


@FLOWS
def test_a_change_is_told_again_after_each_read(
    connect: Connect, server: Server, prefix: str
) -> None:
    cache = cache_of(connect(server.url))
    with outsider(server.url, prefix) as other:
        for number in range(20):
            other.set("k", number)
            becomes(cache, number)
            keep(cache)


@pytest.mark.slow
@FLOWS
def test_each_primary_of_a_cluster_has_a_link(
    connect: Connect, cluster: Cluster, prefix: str
) -> None:
    cache = cache_of(connect(cluster.url))
    keys = [f"k-{i}" for i in range(30)]
    cache.set_many(dict.fromkeys(keys, "old"))
    for key in keys:
        keep(cache, key)
    assert cache.stats().links == 3
    with outsider(cluster.url, prefix) as other:
        other.set_many(dict.fromkeys(keys, "new"))
        wait_until(lambda: cache.get_many(keys) == dict.fromkeys(keys, "new"), "all are told")


@FLOWS
def test_emptying_the_server_drops_everything(connect: Connect, standalone: Standalone) -> None:
    cache = cache_of(connect(standalone.url))
    for command in ("FLUSHALL", "FLUSHDB"):
        cache.set("k", "v")
        keep(cache)
        standalone.cli(command)
        becomes(cache, None)


@FLOWS
def test_an_expired_or_evicted_key_is_dropped(connect: Connect, standalone: Standalone) -> None:
    cache = cache_of(connect(standalone.url))
    cache.set("k", "v")
    keep(cache)
    standalone.cli("PEXPIRE", cache.info("k").key, 1)
    becomes(cache, None)
    keys = [f"k-{i}" for i in range(50)]
    cache.set_many(dict.fromkeys(keys, "v" * 1000))
    for key in keys:
        keep(cache, key)
    assert cache.stats().entries == 50
    standalone.cli("CONFIG", "SET", "maxmemory-policy", "allkeys-random", "maxmemory", 1)
    with suppress(Exception):  # that nothing is left to evict
        standalone.cli("SET", "x", "y")
    wait_until(lambda: cache.stats().entries == 0, "all have been evicted, and told")


@FLOWS
def test_a_restarted_server_leaves_nothing_kept(
    connect: Connect, standalone: Standalone, prefix: str
) -> None:
    cache = cache_of(connect(standalone.url))
    for stop in (standalone.stop, standalone.kill):
        cache.set("k", "old")
        keep(cache)
        stop()
        standalone.start()
        wait_until(lambda: not kept(cache), "what was kept is dropped")
        assert cache.get("k") is None
        with outsider(standalone.url, prefix) as other:
            other.set("k", "new")
            becomes(cache, "new")
            keep(cache)
            other.set("k", "newer")
            becomes(cache, "newer")


# Overtaking.


@SYNC
@pytest.mark.parametrize("change", ["set", "delete", "clear", "invalidate_tags", "incr", "touch"])
def test_a_change_of_ours_overtakes_a_read_on_its_way(
    connect: Connect, standalone: Standalone, pushes: WireProxy, change: str
) -> None:
    cache = cache_of(connect(standalone.url))
    plain = change in ("incr", "touch")
    cache.set("k", 1, **{} if plain else {"tags": ["t"]})
    wait_until(lambda: cache.fetch("k").outcome and cache.stats().links, "a link is up")
    cache.set("k", 1, **{} if plain else {"tags": ["t"]})  # not kept now
    reads: list[Any] = []
    before = pushes.commands["GET"]
    pushes.delay(reply=0.6)
    thread = threading.Thread(target=lambda: reads.append(cache.get("k")))
    thread.start()
    wait_until(lambda: pushes.commands["GET"] > before, "the read is on its way")
    time.sleep(0.03)  # for it to be executed; its reply is held back for longer
    words = {"set": ("k", 2), "clear": (), "invalidate_tags": ("t",)}.get(change, ("k",))
    getattr(cache, change)(*words)
    pushes.delay()
    thread.join()
    # Whether its tag was void is asked after the value: a change in between counts.
    assert reads == [None if change == "invalidate_tags" else 1]
    assert not kept(cache)
    assert cache.get("k") == {"set": 2, "incr": 2, "touch": 1}.get(change)


def test_what_has_changed_since_a_read_set_out_is_not_kept(
    standalone: Standalone, prefix: str
) -> None:
    with octavo.connect(standalone.url, prefix=prefix) as client:
        cache = cache_of(client)
        cache.set("k", "v")
        keep(cache)
        tracker: Any = client._engine.common.tracker  # pyright: ignore[reportPrivateUsage]
        store: Any = cache._state.tier  # pyright: ignore[reportPrivateUsage]

        def stays(ticket: Ticket, key: bytes) -> bool:
            ticket.link = tracker.links[0]
            return bool(tracker.keep(ticket, key, store, "value"))

        for others in (0, 10, 9_999, 10_000, 25_000):
            before = tracker.ticket()
            tracker.changed([b"changed", *(b"other-%d" % i for i in range(others))])
            after = tracker.ticket()
            assert not stays(before, b"changed")
            assert stays(after, b"changed")
            # Of what came before the changes remembered nothing is known.
            assert stays(before, b"unchanged") == (others < 10_000)
        assert not tracker.keep(tracker.ticket(), b"no link", store, "value")


# Another primary.


@pytest.mark.slow
@FLOWS
def test_a_demoted_primary_is_not_trusted(connect: Connect, cluster: Cluster, prefix: str) -> None:
    cache = cache_of(connect(cluster.url))
    cache.set("k", "old")
    keep(cache)
    primary = cluster.node_of(cache.info("k").key)
    cluster.failover(primary)
    with outsider(cluster.url, prefix) as other:
        for number in range(3):
            other.set("k", number)
            becomes(cache, number)
            keep(cache)


@FLOWS
def test_a_replica_is_not_trusted(connect: Connect, standalone: Standalone) -> None:
    cache = cache_of(connect(standalone.url))
    cache.set("k", "v")
    keep(cache)
    standalone.cli("REPLICAOF", "127.0.0.1", 1)
    wait_until(lambda: not cache.stats().links, "the link has learned of it", timeout=TRUST)
    for _ in range(50):
        assert cache.fetch("k").outcome == "hit"
    standalone.cli("REPLICAOF", "NO", "ONE")
    keep(cache)


@pytest.mark.slow
@FLOWS
def test_a_key_whose_slot_has_moved_is_told_of_by_its_new_node(
    connect: Connect, cluster: Cluster, prefix: str
) -> None:
    cache = cache_of(connect(cluster.url))
    cache.set("k", "old")
    keep(cache)
    key = cache.info("k").key
    number = primary_slot(cluster, key)
    former = cluster.node_of(number)
    cluster.migrate(number, next(node for node in cluster.primaries if node is not former))
    with outsider(cluster.url, prefix) as other:
        for value in range(3):
            other.set("k", value)
            becomes(cache, value)
            keep(cache)


def primary_slot(cluster: Cluster, key: str) -> int:
    return int(cluster.nodes[0].cli("CLUSTER", "KEYSLOT", key))


@pytest.mark.slow
@FLOWS
def test_what_was_kept_under_a_primary_is_not_used_after_a_failover_by_sentinels(
    connect: Connect, sentinels: Sentinels, prefix: str
) -> None:
    cache = cache_of(connect(sentinels.url))
    cache.set("k", "old")
    keep(cache)
    sentinels.failover()
    with outsider(sentinels.url, prefix) as other:
        for number in range(3):
            other.set("k", number)
            becomes(cache, number)
        keep(cache)


# Users who may not do everything.


@FLOWS
@pytest.mark.parametrize(
    "denied", ["-client", "-client|tracking", "-client|caching", "-client|id", "-role", "-ping"]
)
def test_a_user_who_may_not_be_told_is_served_all_the_same(
    connect: Connect, standalone: Standalone, prefix: str, denied: str
) -> None:
    standalone.cli("ACL", "SETUSER", "ada", "on", ">pw", "~*", "&*", "+@all", denied)
    if denied == "-client":
        standalone.cli("ACL", "SETUSER", "ada", "+client|setname")
    cache = cache_of(connect(f"redis://ada:pw@{standalone.address}"))
    with outsider(standalone.url, prefix) as other:
        for number in range(20):
            other.set("k", number, tags=["t"])
            if denied in ("-client|id", "-role", "-ping"):
                becomes(cache, number)
                keep(cache)
            else:
                assert cache.get("k") == number
                assert not kept(cache)
        other.invalidate_tags("t")
        becomes(cache, None)

"""What each operation sends: one round trip, and for a hit one GET."""

from __future__ import annotations

from collections import Counter
from operator import methodcaller as call
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.cache import Local
from octavo.testing.waiting import wait_until
from tests.cache.cases import CALLS, OPERATIONS, prepare, warm

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Cluster
    from tests.fix_faces import Connect
    from tests.fix_servers import Servers

pytestmark = pytest.mark.usefixtures("quiet_links")

# What a warm client sends; scripts as EVALSHA.
SENT: dict[str, dict[str, int]] = {
    "set": {"SET": 1},
    "set_many": {"SET": 2},
    "add": {"EVALSHA": 1},
    "delete": {"UNLINK": 1},
    "delete_many": {"UNLINK": 1},
    "touch": {"EVALSHA": 1},
    "incr": {"EVALSHA": 1},
    "decr": {"EVALSHA": 1},
    "store": {"SET": 1},
    "clear": {"SET": 1},
    "invalidate_tags": {"EVALSHA": 1},
    "get": {"GET": 1},
    "fetch": {"PTTL": 1, "GET": 1},
    "get_str": {"GET": 1},
    "get_int": {"GET": 1},
    "get_float": {"GET": 1},
    "get_bytes": {"GET": 1},
    "get_many": {"MGET": 1},
    "info": {"PTTL": 3, "GET": 3},
    "stats": {},
    "calls": {"GET": 1},
    "history": {"XINFO": 1},
}
LINKS = {"ROLE", "PING", "HELLO"}
ASIDE = {*LINKS, "CLIENT"}


class Trips:
    """Counts the round trips of operations, without what the link's thread does."""

    def __init__(self, proxy: WireProxy) -> None:
        self._proxy = proxy

    def of(
        self, cache: Any, operate: Callable[[Any], Any], *, cold: bool = False
    ) -> tuple[dict[str, int], int]:
        """Return what an operation sends, and in how many round trips."""
        while True:
            self._proxy.reset()
            operate(cache)
            commands, trips = self._proxy.commands, self._proxy.round_trips
            if cold or not commands.keys() & LINKS:  # or else the link said something meanwhile
                return {name: n for name, n in commands.items() if name not in ASIDE}, trips


@pytest.fixture
def there(servers: Servers, prefix: str) -> None:
    """Something in the cache, put there by another client."""
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        prepare(db.cache("x", ttl=60))


@pytest.fixture
def trips(proxy: WireProxy) -> Trips:
    return Trips(proxy)


def test_every_operation_has_a_call() -> None:
    assert CALLS.keys() == OPERATIONS == SENT.keys()


@pytest.mark.parametrize("name", CALLS)
def test_an_operation_of_a_warm_client_is_one_round_trip(
    name: str, connect: Connect, proxy: WireProxy, there: None, trips: Trips
) -> None:
    cache = connect(proxy.url).cache("x", ttl=60)
    warm(cache)
    CALLS[name](cache)  # the script's first use, the tags' first meeting
    if name == "clear":
        warm(cache)
    operate = call("add", "another", "new", tags=["x"]) if name == "add" else CALLS[name]
    assert trips.of(cache, operate) == (SENT[name], 1 if SENT[name] else 0)


@pytest.mark.parametrize("name", CALLS)
def test_a_cold_client_asks_for_the_generation_first_and_for_tags_it_is_to_write(
    name: str, connect: Connect, proxy: WireProxy, there: None, trips: Trips
) -> None:
    wanted = Counter(SENT[name])
    if name not in ("clear", "invalidate_tags", "calls", "history", "stats"):
        wanted["GET"] += 1
    if name in ("set", "set_many", "add"):
        wanted["EVALSHA"] += 1
    wanted["EVAL"] = wanted.pop("EVALSHA", 0)
    commands, _ = trips.of(connect(proxy.url).cache("x", ttl=60), CALLS[name], cold=True)
    assert commands == +wanted


@pytest.mark.parametrize("value", ["text", 5, None, [1, 2], {"a": "b" * 5000}], ids=repr)
@pytest.mark.parametrize("tag", [None, "t"])
def test_a_hit_and_a_miss_are_one_get(
    tag: str | None, value: Any, connect: Connect, proxy: WireProxy, trips: Trips
) -> None:
    cache = connect(proxy.url).cache("x", ttl=60, tag=tag)
    warm(cache)
    assert trips.of(cache, call("get", "k")) == ({"GET": 1}, 1)
    cache.set("k", value)
    assert trips.of(cache, call("get", "k")) == ({"GET": 1}, 1)


def test_a_hit_with_tags_is_one_get_once_the_tags_are_known(
    connect: Connect, proxy: WireProxy, trips: Trips
) -> None:
    cache = connect(proxy.url).cache("x", ttl=60)
    warm(cache)
    for key in ("k", "l"):
        cache.set(key, "v", tags=["red", "blue"])
    cache.get("k")
    for key in ("k", "l"):
        assert trips.of(cache, call("get", key)) == ({"GET": 1}, 1)
    assert trips.of(cache, call("get_many", ["k", "l"])) == ({"MGET": 1}, 1)
    assert trips.of(cache, call("set", "m", "v", tags=["blue", "red"])) == ({"SET": 1}, 1)
    assert trips.of(cache, call("add", "m", "v", tags=["blue", "red"]))[1] == 1


def test_a_hit_with_grace_is_one_round_trip(
    connect: Connect, proxy: WireProxy, trips: Trips
) -> None:
    cache = connect(proxy.url).cache("x", ttl=60, grace=60)
    warm(cache)
    cache.set("k", "v")
    assert trips.of(cache, call("get", "k")) == ({"PTTL": 1, "GET": 1}, 1)
    other = connect(proxy.url).cache("x", ttl=60)  # which does not know of the grace
    warm(other)
    other.get("k")
    assert trips.of(other, call("get", "k")) == ({"PTTL": 1, "GET": 1}, 1)


def test_a_hundred_values_are_one_mget(connect: Connect, proxy: WireProxy, trips: Trips) -> None:
    cache = connect(proxy.url).cache("x", ttl=60)
    values = {f"k{i}": f"v{i}" for i in range(100)}
    warm(cache)
    assert trips.of(cache, call("set_many", values)) == ({"SET": 100}, 1)
    assert trips.of(cache, call("get_many", values)) == ({"MGET": 1}, 1)
    assert trips.of(cache, call("delete_many", values)) == ({"UNLINK": 1}, 1)


def test_many_values_are_one_round_trip_for_each_node_of_a_cluster(
    connect: Connect, proxied_cluster: Cluster
) -> None:
    cache = connect(proxied_cluster.url).cache("x", ttl=60)
    values = {f"k{i}": f"v{i}" for i in range(100)}
    cache.set_many(values)
    wait_until(lambda: cache.stats().links >= 1, "the links are up")
    cache.get_many(values)
    for operate in (
        call("set_many", values),
        call("get_many", values),
        call("delete_many", values),
    ):
        for proxy in proxied_cluster.proxies:
            proxy.reset()
        operate(cache)
        for proxy in proxied_cluster.proxies:
            quiet = sum(count for command, count in proxy.commands.items() if command in ASIDE)
            assert proxy.round_trips - quiet <= 1


@pytest.mark.parametrize("size", [1, 2000])
def test_clearing_and_invalidating_are_one_command_whatever_the_size(
    size: int, connect: Connect, proxy: WireProxy, trips: Trips
) -> None:
    cache = connect(proxy.url).cache("x", ttl=60)
    warm(cache)
    values = {f"k{i}": i for i in range(size)}
    cache.set_many(values, tags=["red"])
    cache.invalidate_tags("blue")
    assert trips.of(cache, call("invalidate_tags", "red")) == ({"EVALSHA": 1}, 1)
    cache.set_many(values)
    assert trips.of(cache, call("clear")) == ({"SET": 1}, 1)
    assert cache.get_many(values) == {}


def test_making_a_value_is_a_look_a_lease_and_a_fill(
    connect: Connect, proxy: WireProxy, trips: Trips
) -> None:
    cache = connect(proxy.url).cache("x", ttl=60)
    warm(cache)
    keys = iter(range(10))

    def make(cache: Any) -> None:
        cache.get_or_create(f"k{next(keys)}", lambda: "made", tags=["red"])

    for _ in range(2):
        make(cache)  # has the nonces of the tags known
    assert trips.of(cache, make) == ({"GET": 1, "SET": 1, "EVALSHA": 1}, 3)
    again = call("get_or_create", "k1", lambda: "never")
    assert trips.of(cache, again) == ({"GET": 1}, 1)


def test_what_needs_no_server_asks_none(connect: Connect, proxy: WireProxy) -> None:
    cache = connect(proxy.url).cache("x", ttl=60)
    assert (cache.get_many([]), cache.delete_many([]), cache.set_many({})) == ({}, 0, None)
    assert cache.invalidate_tags() is None
    assert cache.stats().hits == 0
    assert proxy.accepted == 0


@pytest.mark.parametrize("face", ["sync", "async"])  # a batch keeps the order of its operations
def test_a_local_hit_sends_nothing(connect: Connect, proxy: WireProxy, trips: Trips) -> None:
    cache = connect(proxy.url).cache("x", ttl=60, local=Local(100))
    warm(cache)
    cache.set("k", {"a": 1}, tags=["red"])
    cache.get("k")
    cache.get("k")
    for operate in (call("get", "k"), call("get_many", ["k"]), call("fetch", "k")):
        assert trips.of(cache, operate) == ({}, 0)

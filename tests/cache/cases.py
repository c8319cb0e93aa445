"""One call of every operation of a cache, for tests that go through all of them."""

from __future__ import annotations

from operator import methodcaller as call
from typing import TYPE_CHECKING, Any

from octavo.cache import Cache
from octavo.testing.waiting import wait_until
from tests.fix_servers import redis_py

if TYPE_CHECKING:
    from tests.fix_servers import Server

OPERATIONS = {
    name
    for name, attribute in vars(Cache).items()
    if getattr(attribute, "__octavo__", None) == "operation" and not name.startswith("_")
}


def counted() -> None:
    """Be a function whose calls are looked up."""


WRITES = {
    "set": call("set", "text", "new", tags=["x"]),
    "set_many": call("set_many", {"text": "new", "list": [3]}, tags=["x"]),
    "add": call("add", "added", "new", tags=["x"]),
    "delete": call("delete", "text"),
    "delete_many": call("delete_many", ["text", "list", "missing"]),
    "touch": call("touch", "text", 30),
    "incr": call("incr", "count", 3),
    "decr": call("decr", "count", 3),
    "store": call("store", "new"),
    "clear": call("clear"),
    "invalidate_tags": call("invalidate_tags", "x", "y"),
}

READS = {
    "get": call("get", "text"),
    "fetch": call("fetch", "text"),
    "get_str": call("get_str", "text"),
    "get_int": call("get_int", "count"),
    "get_float": call("get_float", "count"),
    "get_bytes": call("get_bytes", "text"),
    "get_many": call("get_many", ["text", "list", "missing"]),
    "info": call("info", "text"),
    "stats": call("stats"),
    "calls": call("calls", counted),
    "history": call("history", counted),
}

CALLS = WRITES | READS


def prepare(cache: Any) -> None:
    """Put into a cache what the calls look for."""
    cache.set_many({"text": "old", "list": [1, 2], "count": 5})
    cache.set("tagged", {"a": 1}, tags=["x", "y"])


def warm(cache: Any) -> None:
    """Have a client know what it is told of from then on: the generation, and the tags it met."""
    cache.get("nothing")
    wait_until(lambda: cache.stats().links, "the link is up")
    cache.get("nothing")
    cache.get("tagged")


def raw(server: Server, key: str) -> Any:
    """Return a client of the node that has a key, which gives replies as bytes."""
    return redis_py(server.node_of(key).unix_url, decode_responses=False)


def pttl(server: Server, key: str) -> int:
    """Return the milliseconds that a key still has, as the server knows them."""
    with raw(server, key) as client:
        stays: int = client.pttl(key)
    return stays

"""What octavo did not write under a cache's keys: garbage, other types, other clients' numbers."""

from __future__ import annotations

from operator import methodcaller as call
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo import PrecisionLost, ServerError, WrongType
from octavo.cache import Local, SignedPickle, frame
from octavo.engine.codec import MSGPACK
from octavo.testing.waiting import wait_until
from tests.cache.cases import CALLS, raw, warm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo import Octavo, Sync
    from tests.fix_servers import Server, Servers


def entry(payload: bytes, *, coding: int = MSGPACK, **options: Any) -> bytes:
    """Return the bytes of an entry."""
    return frame.write(coding, payload, written="set", mark=frame.stamp(), ttl=60_000, **options)


GARBAGE = {
    "empty": b"",
    "text": b"hello",
    "a number and more": b"12 monkeys",
    "a minus": b"-",
    "a float": b"1.5",
    "only the first byte": b"\x02",
    "only the first byte of a longer one": b"\x03",
    "a cut head": entry(b"\xc0")[:20],
    "no payload": entry(b""),
    "a cut payload": entry(b"\x92\x01"),
    "more than the payload": entry(b"\xc0\xc0"),
    "an unknown coding": entry(b"\xc0", coding=14),
    "an unknown compression": entry(b"\xc0", coding=0xF1),
    "no compressed data": entry(b"\xc0", coding=0x11),
    "another's codec": entry(b"\xc0", coding=15),
    "another's pickle": entry(SignedPickle(b"s" * 16).dumps(1), coding=7),
    "cut tags": entry(b"\xc0", tags={"red": b"nonce"})[:40],
    "tags that are no map": entry(b"\xc0", grace=5)[:33] + b"\xc0",
    "another kind": b"\x04" + entry(b"\xc0")[1:],
}
READS: dict[str, tuple[Any, Any]] = {
    "get": (call("get", "k"), None),
    "get with a default": (call("get", "k", default="none"), "none"),
    "get_str": (call("get_str", "k"), None),
    "get_bytes": (call("get_bytes", "k"), None),
    "get with a function": (call("get", "k", bytes), None),
    "get_many": (call("get_many", ["k", "l"]), {}),
}


@pytest.fixture
def one(servers: Servers, prefix: str) -> Iterator[Octavo[Sync]]:
    """A client that is not asked of every face and server."""
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        yield db


@pytest.fixture
def client(servers: Servers) -> Iterator[Any]:
    with raw(servers.get("embedded"), "") as client:
        yield client


def put(cache: Any, client: Any, data: bytes, key: str = "k") -> Any:
    """Put bytes under a key of a cache, as another client would; return the key."""
    name = cache.info(key).key
    client.set(name, data)
    return name


@pytest.mark.parametrize("options", [{}, {"grace": 60}, {"local": Local(10)}], ids=str)
@pytest.mark.parametrize("kind", GARBAGE)
def test_what_cannot_be_read_is_a_miss(
    kind: str, options: Any, one: Octavo[Sync], client: Any
) -> None:
    cache = one.cache("x", ttl=60, **options)
    put(cache, client, GARBAGE[kind])
    for operate, expected in READS.values():
        undecodable = cache.stats().undecodable
        assert operate(cache) == expected
        assert cache.stats().undecodable == undecodable + 1
    assert cache.fetch("k").outcome == "miss"
    assert cache.info("k").state == "void"


@pytest.mark.parametrize("options", [{}, {"grace": 60}, {"local": Local(10)}], ids=str)
@pytest.mark.parametrize("kind", GARBAGE)
def test_what_cannot_be_read_is_replaced(
    kind: str, options: Any, one: Octavo[Sync], client: Any
) -> None:
    cache = one.cache("x", ttl=60, **options)
    for replace in (
        call("get_or_create", "k", lambda: "new"),
        call("create_many", ["k"], lambda keys: dict.fromkeys(keys, "new")),
        call("set", "k", "new"),
    ):
        put(cache, client, GARBAGE[kind])
        replace(cache)
        assert cache.get("k") == "new"
        assert cache.stats().rejected == 0


@pytest.mark.parametrize("kind", GARBAGE)
def test_what_cannot_be_read_is_not_there_for_writes_either(
    kind: str, one: Octavo[Sync], client: Any
) -> None:
    cache = one.cache("x", ttl=60)
    put(cache, client, GARBAGE[kind])
    assert cache.touch("k") in (True, False)
    assert cache.add("k", "new") in (True, False)
    if cache.get("k") is None:
        with pytest.raises((PrecisionLost, WrongType)) as raised:
            cache.incr("k")
        assert raised.value.operation == "cache.incr"
    assert cache.delete("k") is True


def test_what_cannot_be_read_is_a_miss_on_all_servers(db: Octavo[Sync], server: Server) -> None:
    cache = db.cache("x", ttl=60)
    key = cache.info("k").key
    for kind in ("text", "a cut payload"):
        with raw(server, key) as client:
            client.set(key, GARBAGE[kind])
        assert cache.get("k", default="none") == "none"
        assert cache.get_many(["k"]) == {}
        assert cache.get_or_create("k", lambda: "new") == "new"
        assert cache.get("k") == "new"


def test_a_value_of_another_type_is_a_miss_and_replaced(db: Octavo[Sync]) -> None:
    db.cache("x", ttl=60).set_many({"a": "text", "b": [1], "c": 5, "d": 1.5})
    typed = db.cache("x", ttl=60, type=dict[str, int])
    assert typed.get_many(["a", "b", "c", "d"]) == {}
    assert [typed.get(key) for key in "abcd"] == [None] * 4
    assert typed.get_or_create("b", lambda: {"n": 1}) == {"n": 1}
    assert typed.get_or_create("c", lambda: {"n": 2}) == {"n": 2}
    assert typed.get_many(["b", "c"]) == {"b": {"n": 1}, "c": {"n": 2}}


OF_K: dict[str, tuple[Any, ...]] = {
    "get": ("k",),
    "fetch": ("k",),
    "get_str": ("k",),
    "info": ("k",),
    "touch": ("k",),
    "incr": ("k",),
    "add": ("k", 1),
    "get_or_create": ("k", lambda: "new"),
    "create_many": (["k"], lambda keys: dict.fromkeys(keys, "new")),
}


@pytest.mark.parametrize("name", OF_K)
def test_a_key_of_the_wrong_type_is_named_and_stays(
    name: str, one: Octavo[Sync], client: Any
) -> None:
    cache = one.cache("x", ttl=60)
    key = cache.info("k").key
    client.rpush(key, "a list")
    with pytest.raises(WrongType) as raised:
        getattr(cache, name)(*OF_K[name])
    assert key in str(raised.value)
    assert raised.value.operation == f"cache.{name}"
    assert client.lrange(key, 0, -1) == [b"a list"]


def test_a_key_of_the_wrong_type_is_a_miss_among_many_and_may_be_overwritten(
    db: Octavo[Sync], server: Server
) -> None:
    cache = db.cache("x", ttl=60)
    key = cache.info("k").key
    with raw(server, key) as client:
        client.rpush(key, "a list")
        assert cache.get_many(["k"]) == {}
        cache.set("k", "new")
        assert cache.get("k") == "new"
        client.delete(key)
        client.rpush(key, "a list")
        assert cache.delete("k") is True


NEED = {
    "generation": CALLS.keys() - {"clear", "invalidate_tags", "calls", "history", "stats"},
    "tag:x": {"set", "set_many", "add"},
    "calls:counted": {"calls"},
    "history:counted": {"history"},
}


@pytest.mark.parametrize(("part", "name"), [(part, name) for part in NEED for name in CALLS])
def test_what_is_beside_the_values_is_named_if_it_has_the_wrong_type(
    name: str, part: str, one: Octavo[Sync], client: Any, prefix: str
) -> None:
    key = f"{prefix}:cache:{{x}}:{part}"
    client.rpush(key, "a list")
    cache = one.cache("x", ttl=60)
    if name not in NEED[part]:
        CALLS[name](cache)
        return
    with pytest.raises(WrongType) as raised:
        CALLS[name](cache)
    assert key in str(raised.value)
    assert raised.value.operation == f"cache.{name}"


def test_a_value_without_a_ttl_is_one(db: Octavo[Sync], server: Server) -> None:
    cache = db.cache("x", ttl=60, grace=30)
    cache.set_many({"text": "v", "int": 5})
    for key in ("text", "int"):
        name = cache.info(key).key
        with raw(server, name) as client:
            client.persist(name)
        assert cache.get(key) == {"text": "v", "int": 5}[key]
        assert cache.fetch(key).outcome == "hit"
        assert cache.info(key).state == "fresh"
        assert cache.get_or_create(key, lambda: "never") != "never"
        assert cache.touch(key, 20) is True
        ttl = cache.fetch(key).ttl
        assert ttl is not None
        assert 10 < ttl <= 20


def test_another_clients_integers_are_read_and_counted(db: Octavo[Sync], server: Server) -> None:
    cache = db.cache("x", ttl=60)
    for number, text in enumerate((b"41", b"-7", b"0", b"00041", str(2**70).encode())):
        key = cache.info(f"k{number}").key
        with raw(server, key) as client:
            client.set(key, text)
        assert cache.get(f"k{number}") == int(text)
        assert cache.get_int(f"k{number}") == int(text)
        assert cache.fetch(f"k{number}").value == int(text)
    assert cache.incr("k0") == 42
    key = cache.info("k0").key
    with raw(server, key) as client:
        assert 50_000 < client.pttl(key) <= 60_000, "a count without a ttl has none to keep"
    for key in ("k3", "k4"):
        with pytest.raises(PrecisionLost):
            cache.incr(key)


def test_a_generation_that_was_deleted_is_another_one(db: Octavo[Sync], server: Server) -> None:
    cache = db.cache("x", ttl=60)
    warm(cache)
    cache.set("k", "v")
    base = cache.info("k").key.split(":")[0]
    name = f"{base}:cache:{{x}}:generation"
    with raw(server, name) as client:
        assert client.delete(name) == 1
    wait_until(lambda: cache.get("k") is None, "it is noticed")
    cache.set("k", "new")
    assert cache.get("k") == "new"


def test_a_tag_that_was_lost_voids_what_has_it(db: Octavo[Sync], server: Server) -> None:
    cache = db.cache("x", ttl=60)
    cache.set("k", "v", tags=["red"])
    name = f"{cache.info('k').key.split(':')[0]}:cache:{{x}}:tag:red"
    with raw(server, name) as client:
        assert client.pttl(name) > 60_000
        assert client.delete(name) == 1
    wait_until(lambda: cache.get("k") is None, "it is noticed")
    assert cache.get_or_create("k", lambda: "new", tags=["red"]) == "new"
    assert cache.get("k") == "new"


def test_an_error_of_the_server_is_not_a_miss(one: Octavo[Sync], client: Any) -> None:
    cache = one.cache("x", ttl=60)
    client.rpush(cache.info("k").key, "a list")
    made: list[int] = []
    with pytest.raises(ServerError):
        cache.get_or_create("k", lambda: made.append(1))
    assert made == []

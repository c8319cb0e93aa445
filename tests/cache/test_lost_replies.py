"""What becomes of an operation that the server executed but whose reply was lost."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo import ConnectionLost
from octavo.cache import Local
from octavo.testing.waiting import wait_until
from tests.cache.cases import READS, WRITES, prepare, warm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo.testing.proxy import Action, WireProxy
    from tests.fix_faces import Connect
    from tests.fix_servers import Servers

KEYS = ["text", "list", "count", "tagged", "added"]
# Repeated, they do the same: what was stored meanwhile may be deleted too.
REPEATED = ("delete", "delete_many")
ONCE = [name for name in WRITES if name not in REPEATED]
OPTIONS: dict[str, Any] = {"plain": {}, "local": {"local": Local(100)}, "grace": {"grace": 60}}


class Loss:
    """Has the next request executed but not answered, whatever the link's thread says."""

    def __init__(self, proxy: WireProxy) -> None:
        self.lost: list[bytes] = []
        proxy.script(self._decide)

    def _decide(self, words: list[bytes]) -> Action:
        if self.lost or words[0] in (b"PING", b"ROLE"):
            return "forward"
        self.lost.append(words[0])
        return "drop"


@pytest.fixture
def direct(servers: Servers, prefix: str) -> Iterator[Any]:
    """A cache of a client beside the proxy."""
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        cache = db.cache("x", ttl=60)
        prepare(cache)
        yield cache


@pytest.mark.parametrize("name", sorted(READS.keys() - {"stats", "info", "fetch"}))
@pytest.mark.parametrize("how", OPTIONS)
def test_a_read_is_repeated(
    name: str, how: str, connect: Connect, proxy: WireProxy, direct: Any
) -> None:
    cache = connect(proxy.url).cache("x", ttl=60, **OPTIONS[how])
    warm(cache)
    loss = Loss(proxy)
    assert READS[name](cache) == READS[name](direct)
    assert loss.lost
    assert cache.stats().bypassed == 0


def test_looking_in_is_repeated(connect: Connect, proxy: WireProxy, direct: Any) -> None:
    cache = connect(proxy.url).cache("x", ttl=60)
    warm(cache)
    for name in ("info", "fetch"):
        loss = Loss(proxy)
        seen, expected = getattr(cache, name)("text"), getattr(direct, name)("text")
        assert loss.lost
        assert seen.ttl == pytest.approx(expected.ttl, abs=5)


@pytest.mark.parametrize("name", REPEATED)
def test_a_deletion_is_repeated(name: str, connect: Connect, proxy: WireProxy, direct: Any) -> None:
    cache = connect(proxy.url).cache("x", ttl=60)
    warm(cache)
    loss = Loss(proxy)
    WRITES[name](cache)
    assert loss.lost == [b"UNLINK"]
    assert cache.get("text") is None
    assert direct.get("text") is None


@pytest.mark.parametrize("how", OPTIONS)
@pytest.mark.parametrize("name", ONCE)
def test_a_write_runs_once_and_says_that_its_outcome_is_unknown(
    name: str, how: str, connect: Connect, proxy: WireProxy, direct: Any
) -> None:
    cache = connect(proxy.url).cache("x", ttl=60, **OPTIONS[how])
    warm(cache)
    if name in ("set", "set_many", "add"):
        cache.set("first", 1, tags=["x"])  # has the nonce of the tag known
    cache.get_many(KEYS)
    cache.get_many(KEYS)
    loss = Loss(proxy)
    with pytest.raises(ConnectionLost) as raised:
        WRITES[name](cache)
    assert loss.lost
    assert raised.value.outcome == "unknown"
    assert raised.value.operation == f"cache.{name}"
    # Nobody here sees what was there before, with a tier in the process or without.
    found = cache.get_many(KEYS)
    wait_until(lambda: direct.get_many(KEYS) == found, "the other client has heard of it")
    if name not in ("touch", "store"):
        old = {"text": "old", "list": [1, 2], "count": 5, "tagged": {"a": 1}}
        assert direct.get_many(KEYS) != old
    assert direct.get("count") in (5, 8, 2, None)


@pytest.mark.parametrize("face", ["sync", "async"])  # a batch asks the server
@pytest.mark.parametrize("change", ["set", "delete", "clear", "invalidate_tags", "touch"])
def test_after_a_write_whose_reply_was_lost_nobody_here_sees_the_old_value(
    change: str, connect: Connect, proxy: WireProxy, direct: Any
) -> None:
    cache = connect(proxy.url).cache("x", ttl=60, local=Local(100))
    warm(cache)
    cache.set("k", "old", tags=["red"])

    def held() -> bool:
        cache.get("k")
        before: int = cache.stats().local
        return cache.get("k") == "old" and cache.stats().local == before + 1

    wait_until(held, "it is in the tier")
    loss = Loss(proxy)
    args = {
        "set": ("k", "new"),
        "delete": ("k",),
        "clear": (),
        "invalidate_tags": ("red",),
        "touch": ("k", 0.02),
    }[change]
    try:
        getattr(cache, change)(*args)
    except ConnectionLost as error:
        assert error.outcome == "unknown"  # noqa: PT017 - a deletion is repeated
    assert loss.lost
    if change == "touch":
        wait_until(lambda: cache.get("k") is None, "it ends with its new ttl")
    assert cache.get("k") == ("new" if change == "set" else None)


@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_a_value_is_made_and_stored_whichever_reply_is_lost(
    first: int, connect: Connect, proxy: WireProxy, direct: Any
) -> None:
    cache = connect(proxy.url).cache("x", ttl=60)
    warm(cache)
    made = itertools.count(1)
    lost: list[bytes] = []
    seen = 0

    def decide(words: list[bytes]) -> Action:
        nonlocal seen
        if lost or words[0] in (b"PING", b"ROLE"):
            return "forward"
        seen += 1
        if seen <= first:
            return "forward"
        lost.append(words[0])
        return "drop"

    proxy.script(decide)
    assert cache.get_or_create("k", lambda: next(made)) == 1
    assert (cache.get("k"), direct.get("k"), next(made)) == (1, 1, 2)
    assert lost
    assert cache.stats().rejected == 0


def test_an_atomic_batch_whose_reply_is_lost_has_an_unknown_outcome(
    connect: Connect, proxy: WireProxy, direct: Any
) -> None:
    db = connect(proxy.url)
    cache = db.cache("x", ttl=60, tag="t")
    warm(cache)
    cache.set("k", "old")
    scope = db.batch(atomic=True, raise_on_error=False)
    batch = scope.__enter__()
    result: Any = batch.cache("x", ttl=60, tag="t").set("k", "new")
    read: Any = batch.cache("x", ttl=60, tag="t").get("k")
    loss = Loss(proxy)
    scope.__exit__(None, None, None)
    assert loss.lost == [b"MULTI"]
    assert result.exception().outcome == "unknown"
    assert read.exception() is None or read.exception().outcome == "unknown"
    wait_until(lambda: cache.get("k") == "new", "the server is in reach again")


def test_a_call_is_counted_once_though_that_is_not_told(
    proxy: WireProxy, direct: Any, prefix: str
) -> None:
    with octavo.connect(proxy.url, prefix=prefix) as db:
        cache = db.cache("x", ttl=60)

        @cache.count_calls
        def function() -> None:
            raise AssertionError

        warm(cache)
        loss = Loss(proxy)
        with pytest.raises(ConnectionLost):
            function()
        assert loss.lost == [b"INCR"]
        assert direct.calls(function) == 1

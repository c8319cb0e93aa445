"""The tier in the process: what it answers, for how long, and that it is never behind its own."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.cache import Local
from octavo.testing.waiting import wait_until
from tests.cache.keeping import becomes, cache_of, keep, kept, outsider

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from octavo import Async, Octavo, Sync
    from octavo.cache import Cache
    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Standalone
    from tests.fix_faces import Connect

FLOWS = pytest.mark.parametrize("face", ["sync", "async"])
FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def cache(connect: Connect, proxy: WireProxy) -> Any:
    """A cache behind the proxy, with a link that is up."""
    cache = cache_of(connect(proxy.url))
    cache.set("up", 1)
    keep(cache, "up")
    return cache


def sent(proxy: WireProxy) -> dict[str, int]:
    """Return what was sent, but for the questions of links."""
    return {name: n for name, n in proxy.commands.items() if name not in ("ROLE", "PING")}


# What it answers.


@FLOWS
def test_a_kept_value_is_answered_without_the_server(db: Octavo[Sync]) -> None:
    cache = cache_of(db)
    for value in (None, 0, -(2**70), 1.5, True, "", "text", b"\x00", [1, [2]], {"a": None}):
        cache.set("k", value)
        keep(cache)
        before = cache.stats().hits
        for found in (cache.get("k", default="miss"), cache.get_many(["k"])["k"]):
            assert (found, type(found)) == (value, type(value))
        assert cache.fetch("k").value == value
        assert cache.stats().hits == before


@FLOWS
def test_nothing_is_sent_for_what_is_kept(cache: Any, proxy: WireProxy) -> None:
    cache.set("k", {"a": 1}, tags=["red"])
    cache.set("n", 5)
    keep(cache)
    keep(cache, "n")
    proxy.reset()
    for _ in range(3):
        assert cache.get("k") == {"a": 1}
        assert cache.get("k", bytes) == cache.get_bytes("k")
        assert (cache.get_int("n"), cache.get_str("n")) == (5, "5")
        assert cache.get_many(["k", "n"]) == {"k": {"a": 1}, "n": 5}
        assert cache.fetch("k").tags == ("red",)
    assert sent(proxy) == {}


@FLOWS
def test_making_uses_what_is_kept(cache: Any, proxy: WireProxy, face: str) -> None:
    calls: list[int] = []

    def make(number: int = 0) -> list[int]:
        calls.append(number)
        return [number]

    async def make_soon(number: int = 0) -> list[int]:
        return make(number)

    factory: Any = make if face == "sync" else make_soon
    assert cache.get_or_create("k", factory) == [0]
    keep(cache)
    cache.set("other", 1)
    proxy.reset()
    for _ in range(3):
        assert cache.get_or_create("k", factory) == [0]
        assert cache.fetch_or_create("k", factory).outcome == "local"
    assert sent(proxy) == {}
    assert calls == [0]


def test_a_decorated_function_is_answered_without_the_server(proxy: WireProxy, prefix: str) -> None:
    calls: list[int] = []
    with octavo.connect(proxy.url, prefix=prefix) as client:
        cache: Cache[Sync, Any] = cache_of(client)

        @cache.cached(name="double")
        def double(number: int) -> int:
            calls.append(number)
            return 2 * number

        assert double(4) == 8
        keep(cache, double.key(4))
        assert double(4) == 8
        proxy.reset()
        assert [double(4), double(number=4), double.get(4)] == [8, 8, 8]
        assert sent(proxy) == {}
        double.invalidate(4)
        assert double(4) == 8
    assert calls == [4, 4]


async def soon(steps: Any) -> object:
    """Run a coroutine that must not wait for anything."""
    try:
        steps.send(None)
    except StopIteration as stop:
        return stop.value
    steps.close()
    raise AssertionError("it gave its turn away")


def test_a_kept_value_costs_no_turn_of_the_event_loop(proxy: WireProxy, prefix: str) -> None:
    async def scenario() -> None:
        async with octavo.connect_async(proxy.url, prefix=prefix) as client:
            cache: Cache[Async, Any] = cache_of(client)

            @cache.cached()
            async def double(number: int) -> int:
                return 2 * number

            async def never() -> None:
                raise AssertionError

            await cache.set("k", ["v"])
            assert await double(4) == 8
            async with asyncio.timeout(10):
                for key in ("k", double.key(4)):
                    while (await cache.fetch(key)).outcome != "local":
                        await asyncio.sleep(0.005)
            await cache.get("k")
            await double(4)
            hits = [
                cache.get("k"),
                cache.get_many(["k"]),
                cache.fetch("k"),
                cache.get_or_create("k", never),
                double(4),
            ]
            values = [await soon(hit) for hit in hits]
            assert values[:2] == [["v"], {"k": ["v"]}]
            assert values[3:] == [["v"], 8]

    asyncio.run(scenario())


@FLOWS
def test_each_caller_gets_a_value_of_its_own(cache: Any) -> None:
    cache.set("k", {"list": [1]})
    keep(cache)
    reads: list[Callable[[], Any]] = [
        lambda: cache.get("k"),
        lambda: cache.get_many(["k"])["k"],
        lambda: cache.fetch("k").value,
        lambda: cache.get_or_create("k", dict),
    ]
    for read in reads:
        value = read()
        assert value == {"list": [1]}
        value["list"].append(2)
        value["more"] = 3
    assert cache.get("k") == {"list": [1]}


@FLOWS
def test_what_is_stored_is_not_what_is_kept(cache: Any) -> None:
    value = {"list": [1]}
    cache.set("k", value)
    value["list"].append(2)
    keep(cache)
    assert cache.get("k") == {"list": [1]}


@pytest.mark.parametrize("face", ["sync", "async"])
def test_a_shared_value_is_one_object_for_all_callers(connect: Connect, proxy: WireProxy) -> None:
    cache = cache_of(connect(proxy.url), local=Local(share=True))
    cache.set("k", {"list": [1]})
    keep(cache)
    first = cache.get("k")
    assert first == {"list": [1]}
    assert cache.get("k") is cache.fetch("k").value is cache.get_many(["k"])["k"] is first
    assert cache.get_or_create("k", dict) is first


# Bounds and lifetimes.


@FLOWS
def test_it_holds_no_more_than_its_bounds(connect: Connect, proxy: WireProxy) -> None:
    client: Any = connect(proxy.url)
    few = cache_of(client, local=Local(max_entries=10))
    small = client.cache("small", ttl=100, local=Local(max_bytes=1_000))
    for cache in (few, small):
        cache.set_many({f"k-{i}": f"{i:0100}" for i in range(40)})
        keep(cache, "k-0")
        for i in range(40):
            keep(cache, f"k-{i}")
            assert 0 < cache.stats().entries <= 10
        assert cache.stats().evicted >= 30
        assert cache.get_many([f"k-{i}" for i in range(40)])["k-39"] == f"{39:0100}"
    small.set("huge", "x" * 2_000)
    assert small.get("huge") == small.get("huge") == "x" * 2_000
    assert not kept(small, "huge")


@FLOWS
def test_the_bounds_of_one_cache_are_said_once(connect: Connect, proxy: WireProxy) -> None:
    client: Any = connect(proxy.url)
    cache_of(client, local=Local(10))
    cache_of(client, local=Local(10))
    cache_of(client, local=None)
    with pytest.raises(ValueError, match=r"local is Local\(max_entries=10.* already, not"):
        cache_of(client, local=Local(11))
    with pytest.raises(TypeError, match="local must be a Local, not 10"):
        cache_of(client, local=10)
    client.cache("other", ttl=1, local=Local(11))
    cache_of(connect(proxy.url), local=Local(11))


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"max_entries": 0}, ValueError),
        ({"max_entries": True}, TypeError),
        ({"max_entries": 1.5}, TypeError),
        ({"max_bytes": 0}, ValueError),
        ({"max_bytes": "1"}, TypeError),
    ],
)
def test_bounds_that_hold_nothing_are_refused(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(wrong))):
        Local(**wrong)


@FLOWS
def test_nothing_is_kept_for_longer_than_it_lives(cache: Any) -> None:
    for value in ("text", 7):
        began = looked = time.monotonic()
        cache.set("k", value, ttl=1.5)
        ends = time.monotonic() + 1.5
        keep(cache)
        while cache.get("k") == value:
            assert looked < ends + 0.1
            looked = time.monotonic()
        assert time.monotonic() - began >= 1.45


@FLOWS
def test_what_is_kept_knows_how_long_it_lives(cache: Any) -> None:
    cache.set("k", "v", ttl=50)
    keep(cache)
    entry = cache.fetch("k")
    assert entry.outcome == "local"
    assert 0 <= entry.age < 15
    assert entry.ttl <= 50 - entry.age + 0.01


@FLOWS
def test_a_stale_value_is_not_kept(connect: Connect, proxy: WireProxy) -> None:
    cache = cache_of(connect(proxy.url), grace=60)
    cache.set("up", 1)
    keep(cache, "up")
    cache.set("k", "v", ttl=1.5)
    keep(cache)
    wait_until(lambda: cache.fetch("k").outcome == "stale", "it is stale")
    for _ in range(3):
        assert cache.fetch("k").outcome == "stale"
        assert cache.get("k") is None


@FLOWS
def test_another_ttl_by_another_client_is_heard_of(
    cache: Any, proxy: WireProxy, prefix: str
) -> None:
    cache.set("k", "v")
    keep(cache)
    with outsider(proxy.url, prefix) as other:
        assert other.touch("k", 0.1)
        wait_until(lambda: cache.get("k") is None, "it has ended")


# Its own changes.


def changes(cache: Any) -> list[tuple[str, Callable[[], object], object]]:
    return [
        ("set", lambda: cache.set("k", 2), 2),
        ("set_many", lambda: cache.set_many({"k": 3, "x": 1}), 3),
        ("incr", lambda: cache.incr("k"), 4),
        ("decr", lambda: cache.decr("k", 2), 2),
        ("touch", lambda: cache.touch("k", 50), 2),
        ("delete", lambda: cache.delete("k"), None),
        ("add", lambda: cache.add("k", 5, tags=["t"]), 5),
        ("invalidate_tags", lambda: cache.invalidate_tags("t"), None),
        ("add", lambda: cache.add("k", 6), 6),
        ("delete_many", lambda: cache.delete_many(["k", "x"]), None),
        ("set", lambda: cache.set("k", 7), 7),
        ("clear", cache.clear, None),
    ]


@FLOWS
def test_a_change_is_seen_as_soon_as_it_returns(db: Octavo[Sync]) -> None:
    cache = cache_of(db)
    cache.set("k", 1)
    for name, change, value in changes(cache):
        if cache.get("k") is not None:
            keep(cache)
        change()
        assert cache.get("k") == value, name
        assert cache.get_many(["k"]).get("k") == value, name


@FLOWS
@pytest.mark.parametrize("atomic", [False, True], ids=["plain", "atomic"])
def test_a_batch_is_answered_in_its_order(connect: Connect, proxy: WireProxy, atomic: bool) -> None:
    client: Any = connect(proxy.url)
    cache = client.cache("c", ttl=9, local=Local(), tag="T")
    cache.set("k", "old")
    keep(cache)
    with client.batch(atomic=atomic) as batch:
        inside = batch.cache("c", ttl=9, local=Local(), tag="T")
        before = inside.get("k")
        inside.set("k", "new")
        after, many, entry = inside.get("k"), inside.get_many(["k"]), inside.fetch("k")
    assert before.result() == "old"
    assert (after.result(), many.result(), entry.result().value) == ("new", {"k": "new"}, "new")
    assert cache.get("k") == "new"


def test_making_caches_disturbs_nobody_who_changes_one(proxy: WireProxy, prefix: str) -> None:
    failed: list[Exception] = []
    made = threading.Event()
    with octavo.connect(proxy.url, prefix=prefix) as client:
        cache = cache_of(client)

        def change() -> None:
            while not made.is_set():
                try:
                    cache.delete("k")
                except RuntimeError as error:
                    failed.append(error)
                    return

        thread = threading.Thread(target=change)
        thread.start()
        for number in range(3_000):
            client.cache(f"c-{number}", ttl=1, local=Local(5))
        made.set()
        thread.join()
    assert not failed


# Forks, and others.


@pytest.fixture
def busy() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Has threads call something again and again until the test ends."""
    stop, threads = threading.Event(), list[threading.Thread]()

    def start(call: Callable[[], object]) -> None:
        def work() -> None:
            while not stop.is_set():
                call()

        threads.append(threading.Thread(target=work))
        threads[-1].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join()


@FORKS
def test_a_fork_in_the_middle_of_a_change_leaves_the_child_free(
    standalone: Standalone, prefix: str, busy: Callable[[Callable[[], object]], None]
) -> None:
    with octavo.connect(standalone.url, prefix=prefix) as client:
        cache = cache_of(client, local=Local(20))
        cache.set_many({f"k-{i}": i for i in range(60)})
        keep(cache, "k-0")
        tier = cache._state.tier  # the lock of which a thread is to hold at the fork
        for _ in range(2):
            busy(lambda: [tier.set(b"%d" % i, None) for i in range(50)])
        for _ in range(5):
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                status = 1
                try:
                    first = kept(cache, "k-0")
                    keep(cache, "k-0")
                    cache.delete("k-1")
                    cache.set("k-0", 0)
                    status = int(first)
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_the_delay_of_a_push_is_measured(standalone: Standalone) -> None:
    with (
        octavo.connect(standalone.url, prefix="p") as client,
        outsider(standalone.url, "p") as other,
    ):
        cache, delays = cache_of(client), list[float]()
        for number in range(100):
            other.set("k", number)
            becomes(cache, number)
            keep(cache)
            other.set("k", -1)
            began = time.perf_counter()
            while cache.get("k") != -1:
                pass
            delays.append(time.perf_counter() - began)
    delays.sort()
    print(f"\none push: median {delays[50] * 1e6:.0f} us, worst {delays[-1] * 1e6:.0f} us")

"""Changes that meet a value in the making: whatever is changed, the old value is not stored."""

from __future__ import annotations

import inspect
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from octavo.cache import current_fill
from octavo.testing.proxy import WireProxy
from octavo.testing.waiting import wait_until
from tests.cache import workers
from tests.cache.crew import Crew, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from octavo import Sync
    from octavo.cache import Cache
    from octavo.testing.proxy import Action
    from tests.fix_faces import Connect, FaceName, LoopThread
    from tests.fix_servers import Server, Servers

    Change = Callable[[Cache[Sync, Any]], Any]

PROCESSES = 4

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("races")]


@pytest.fixture(scope="module")
def processes() -> Iterator[Crew]:
    with Crew(PROCESSES) as crew:
        yield crew


@pytest.fixture
def crew(processes: Crew) -> Crew:
    return processes.fresh()


@pytest.fixture(params=["embedded", "redis-7", "cluster"])
def server(request: pytest.FixtureRequest, servers: Servers) -> Server:
    return servers.get(request.param)


@pytest.fixture
def place(server: Server, prefix: str) -> Place:
    return Place(server.url, prefix)


@pytest.fixture
def other(place: Place) -> Iterator[Cache[Sync, Any]]:
    """The cache as another client sees it."""
    with place.open() as cache:
        yield cache


@pytest.fixture(params=["sync", "async"])
def face(request: pytest.FixtureRequest) -> FaceName:
    """Making a value has no batch face."""
    face: FaceName = request.param
    return face


# What each change leaves under the key: these values, and no other.
CHANGES: dict[str, tuple[Change, set[Any]]] = {
    "delete": (lambda cache: cache.delete("k"), {None}),
    "delete_many": (lambda cache: cache.delete_many(["k", "l"]), {None}),
    "set": (lambda cache: cache.set("k", "new"), {"new"}),
    "set_many": (lambda cache: cache.set_many({"k": "new"}), {"new"}),
    "add": (lambda cache: cache.add("k", "new"), {"new"}),
    "incr": (lambda cache: cache.incr("k", 7), {7}),
    "invalidate_tags": (lambda cache: cache.invalidate_tags("t"), {None}),
    "clear": (lambda cache: cache.clear(), {None}),
}
CHANGED = pytest.mark.parametrize("change", CHANGES)


@CHANGED
def test_what_another_process_was_making_is_not_stored(
    change: str, crew: Crew, place: Place, other: Cache[Sync, Any], face: FaceName
) -> None:
    act, left = CHANGES[change]
    maker = crew.members[0]
    maker.do(workers.ask, place, "k", face, {"tags": ("t", "u")})
    assert maker.heard() == "running"
    act(other)
    maker.tell("old")
    made = maker.result()
    assert made.value == "old"
    assert other.get("k") in left
    with place.open() as third:
        assert third.get("k") in left
    if change not in ("clear", "invalidate_tags"):  # which leave it to readers to know
        assert made.rejected == 1


@CHANGED
def test_what_another_thread_of_the_process_was_making_is_not_stored(
    change: str, connect: Connect, server: Server, face: FaceName
) -> None:
    act, left = CHANGES[change]
    cache = connect(server.url).cache("x", ttl=60)
    running, go_on, got = threading.Event(), threading.Event(), list[str]()

    def factory() -> str:
        running.set()
        assert go_on.wait(20)
        return "old"

    maker = threading.Thread(
        target=lambda: got.append(cache.get_or_create("k", factory, tags=["t"]))
    )
    maker.start()
    assert running.wait(20)
    act(cache)
    # Nor does anybody who asks from now on get it.
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(cache.get_or_create, "k", lambda: "later")
        if change != "invalidate_tags":  # which leaves the lease to whoever has it
            assert asked.result(10) in (left - {None} or {"later"})
        go_on.set()
        later = asked.result(10)
    maker.join()
    assert got == ["old"]
    assert later in (left - {None} or {"later"})
    assert cache.get("k") == later


@CHANGED
def test_what_changes_the_key_from_inside_its_factory_wins(
    change: str, connect: Connect, server: Server, face: FaceName
) -> None:
    act, left = CHANGES[change]
    cache = connect(server.url).cache("x", ttl=60)

    def factory() -> str:
        act(cache)
        return "old"

    assert cache.get_or_create("k", factory, tags=["t"]) == "old"
    assert cache.get("k") in left


FILLS = [
    pytest.param(how, change, id=f"{how}-{change}")
    for how in ("missing", "stale", "refreshed")
    for change in CHANGES
    if how == "missing" or change not in ("add", "incr")  # which leave a value alone
]


@pytest.mark.parametrize(("how", "change"), FILLS)
def test_no_request_of_a_fill_is_a_bad_moment_for_a_change(
    how: str,
    change: str,
    connect: Connect,
    servers: Servers,
    face: FaceName,
    prefix: str,
    loop_thread: LoopThread,
) -> None:
    act, left = CHANGES[change]
    # What was made of the changed source may well be stored where a delete came first.
    allowed = left | {"new"} if None in left else left
    source: list[str] = []
    valkey = servers.get("embedded")
    with (
        WireProxy(valkey.url.removeprefix("unix://")) as proxy,
        Place(valkey.url, prefix).open() as outside,
    ):
        cache = connect(proxy.url).cache("x", ttl=60)
        wait_until(lambda: (cache.get("warm"), cache.stats().links)[1], "it is linked")

        @cache.cached(key="k", tags=["t"], soft_timeout=None)
        def made() -> str:
            return source[-1]

        def change_it() -> None:
            source.append("new")
            act(outside)

        moments = 0
        while True:
            source[:] = ["old"]
            outside.delete("k")
            if how != "missing":
                outside.set("k", "older", ttl=0.001, grace=60, tags=["t"])
                wait_until(lambda: outside.fetch("k").outcome == "stale", "it is stale")
            act_before(proxy, moments + 1, change_it)
            value: Any = made.refresh() if how == "refreshed" else made()
            if inspect.iscoroutine(value):
                value = loop_thread.run(value)
            assert value in {"older", "old", "new", 7}
            if source == ["old"]:
                break
            moments += 1
            assert outside.get("k") in allowed, f"before request {moments}"
        assert moments >= 3, "there was no fill"


def act_before(proxy: WireProxy, nth: int, act: Callable[[], object]) -> None:
    """Act just before the nth request from now reaches the server."""
    requests = 0

    def decide(words: list[bytes]) -> Action:
        nonlocal requests
        requests += words[0] not in (b"ROLE", b"PING")
        if words[0] not in (b"ROLE", b"PING") and requests == nth:
            act()
        return "forward"

    proxy.script(decide)


def test_a_caller_who_finds_a_lease_just_taken_waits_for_its_owner(
    connect: Connect, servers: Servers, prefix: str, face: FaceName
) -> None:
    valkey = servers.get("embedded")
    runs: list[str] = []
    running = threading.Event()

    def slow() -> str:
        runs.append("slow")
        running.set()
        time.sleep(0.3)
        return "slow"

    with (
        WireProxy(valkey.url.removeprefix("unix://")) as proxy,
        Place(valkey.url, prefix).open() as other,
        ThreadPoolExecutor(1) as pool,
    ):
        cache = connect(proxy.url).cache("x", ttl=60)
        wait_until(lambda: (cache.get("warm"), cache.stats().links)[1], "it is linked")

        def decide(words: list[bytes]) -> Action:
            if words[0] == b"SET" and not running.is_set():
                pool.submit(other.get_or_create, "k", slow)
                assert running.wait(10)
            return "forward"

        proxy.script(decide)
        assert cache.get_or_create("k", lambda: runs.append("own")) == "slow"
        assert runs == ["slow"]


def test_a_tag_that_a_factory_adds_holds_unless_a_tag_was_invalidated_meanwhile(
    connect: Connect, server: Server, face: FaceName, other: Cache[Sync, Any]
) -> None:
    cache = connect(server.url).cache("x", ttl=60)

    def factory(disturb: bool) -> str:
        if disturb:
            other.invalidate_tags("late")
        current_fill().tags.add("late")
        return "old"

    assert cache.get_or_create("k", lambda: factory(disturb=True)) == "old"
    assert other.get("k") is None
    assert cache.stats().rejected == 1
    assert cache.get_or_create("k", lambda: factory(disturb=False)) == "old"
    assert other.fetch("k").tags == ("late",)
    other.invalidate_tags("late")
    assert other.get("k") is None


def test_touching_what_is_being_made_changes_nothing(
    connect: Connect, server: Server, face: FaceName, other: Cache[Sync, Any]
) -> None:
    cache = connect(server.url).cache("x", ttl=60, jitter=0)
    touched: list[bool] = []

    def factory() -> str:
        touched.append(other.touch("k", 1))
        return "made"

    assert cache.get_or_create("k", factory) == "made"
    assert touched == [False]
    ttl = other.fetch("k").ttl
    assert ttl is not None
    assert 50 < ttl <= 60


def test_a_touch_during_a_refresh_does_not_keep_the_new_value_out(
    connect: Connect, server: Server, face: FaceName, other: Cache[Sync, Any]
) -> None:
    cache = connect(server.url).cache("x", ttl=60, grace=60, jitter=0)
    other.set("k", "older", ttl=0.001, grace=60)
    wait_until(lambda: other.fetch("k").outcome == "stale", "it is stale")

    def factory() -> str:
        assert other.touch("k", 30)
        return "made"

    assert cache.get_or_create("k", factory, soft_timeout=None) == "made"
    entry = other.fetch("k")
    assert entry.value == "made"
    assert entry.ttl is not None
    assert 50 < entry.ttl <= 60


# Many values at once


def test_four_processes_make_each_of_many_keys_once(
    crew: Crew, place: Place, face: FaceName
) -> None:
    keys = [f"k{number}" for number in range(30)]
    none = [f"no{number}" for number in range(3)]
    created = crew.all(workers.create_overlapping, place, keys + none, 1.0, face)
    made = [key for keys_of, _ in created for key in keys_of if key in keys]
    assert sorted(made) == sorted(keys)
    assert sum(bool(keys_of) for keys_of, _ in created) > 1, "one process made everything"
    values = [got for _, got in created]
    assert all(got.keys() == set(keys) for got in values)
    assert all(got == values[0] for got in values)


# Stale values


def test_of_four_processes_that_find_a_stale_value_one_refreshes_it(
    crew: Crew, place: Place, other: Cache[Sync, Any]
) -> None:
    place = place.with_(grace=60)
    other.set("k", "older", ttl=0.001, grace=60)
    seen = crew.all(workers.hammer, place, ["k"], 0, 3.0, {"cost": 1.0})
    assert sum(len(made) for made, _, _ in seen) == 1
    (refreshed,) = (when for made, _, _ in seen for _, when in made)
    for _, _, values in seen:
        during = {value for when, value in values if when < refreshed + 0.9}
        assert during == {"older"}, "somebody waited, or the processes never met"
        after = [value for when, value in values if when > refreshed + 1.0]
        assert after[-1] == "new"
    assert other.fetch("k").outcome == "hit"


def test_a_refresh_that_fails_is_tried_again_only_after_a_pause(
    crew: Crew, servers: Servers, prefix: str
) -> None:
    place = Place(servers.get("embedded").url, prefix, cache={"grace": 60})
    with place.open() as other:
        other.set("k", "older", ttl=0.001)
    seen = crew.all(workers.hammer, place, ["k"], 200, 2.6, {"cost": 0.0, "fails": True})
    tries = sorted(when for made, _, _ in seen for _, when in made)
    assert 2 <= len(tries) <= 3
    assert all(later - sooner > 0.9 for sooner, later in pairwise(tries))
    assert {value for _, _, values in seen for _, value in values} == {"older"}


def test_early_refreshes_happen_once_per_expiry_and_about_when_xfetch_says(
    crew: Crew, place: Place
) -> None:
    ttl, cost, rate = 6.0, 0.4, 10.0
    keys = [f"k{number}" for number in range(16)]
    place = place.with_(grace=60, beta=1.0)
    born = crew.members[0]
    born.do(workers.create_at_once, place, keys, cost, ttl)
    ends = born.heard()
    born.result()
    seen = crew.all(workers.hammer, place, keys, rate, ttl, {"cost": cost})
    born_late = max(ends.values()) - min(ends.values())
    assert born_late < cost, "the values were not made at once"
    early = [(key, ends[key] - when) for made, _, _ in seen for key, when in made]
    assert len(early) == len(keys) == len(dict(early)), "not one refresh for each key"
    leads = sorted(lead for _, lead in early)
    expected = cost * (math.log(PROCESSES * rate * cost) + 0.577)
    assert leads[0] > 0
    assert expected / 2 < sum(leads) / len(leads) < expected * 2
    assert leads[-1] - leads[0] > cost / 2, "all were refreshed at the same time"

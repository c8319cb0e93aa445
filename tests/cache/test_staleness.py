"""Fresh, stale, gone: what is served when, and who makes what takes its place.

Time passes by bringing the ends of values nearer, from outside.
"""

from __future__ import annotations

import math
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from octavo import FactoryTimeout
from octavo.cache import Local, current_fill
from octavo.testing.waiting import wait_until
from tests.cache.pair import Outside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from octavo import Octavo, Sync
    from octavo.cache import Cache
    from octavo.testing.servers import Standalone
    from tests.fix_faces import Connect
    from tests.fix_servers import Server

TTL, GRACE = 1000.0, 500.0
FAST = pytest.mark.parametrize("server", ["embedded"], indirect=True)


@pytest.fixture
def outside(server: Server) -> Iterator[Outside]:
    with Outside(server) as outside:
        yield outside


@pytest.fixture
def cache(db: Octavo[Sync]) -> Cache[Sync, Any]:
    return db.cache("x", ttl=TTL, grace=GRACE, jitter=0)


@pytest.fixture
def age(outside: Outside, cache: Cache[Sync, Any]) -> Callable[[float], None]:
    """Let so many seconds pass for the value of "k"."""
    return lambda seconds: outside.pass_time(cache, ["k"], seconds)


class Gate:
    """A factory that waits until it is let through."""

    def __init__(self, value: object = "new") -> None:
        self.value = value
        self.started = threading.Event()
        self.open = threading.Event()
        self.runs = 0

    def __call__(self) -> Any:
        self.runs += 1
        self.started.set()
        assert self.open.wait(20), "nobody let this factory through"
        return self.value


def fails() -> Any:
    raise LookupError("no source")


def takes_a_while() -> Any:
    time.sleep(0.005)
    return "v"


def about(found: float | None, expected: float) -> bool:
    """Whether a time is what it was, but for what the test has taken."""
    return found is not None and abs(found - expected) < 30


# Fresh, stale, gone


def test_a_value_is_fresh_then_stale_then_gone(
    cache: Cache[Sync, Any], age: Callable[[float], None]
) -> None:
    cache.set("k", ["v"])
    fresh = cache.fetch("k")
    assert (fresh.value, fresh.outcome, fresh.found) == (["v"], "hit", True)
    assert about(fresh.ttl, TTL)
    assert about(fresh.age, 0)
    age(TTL + 100)
    stale = cache.fetch("k")
    assert (stale.value, stale.outcome, stale.found) == (["v"], "stale", True)
    assert about(stale.ttl, -100)
    assert about(stale.age, TTL + 100)
    assert cache.get("k", default="none") == "none"
    assert cache.get_many(["k"]) == {}
    age(GRACE)
    gone = cache.fetch("k")
    assert (gone.value, gone.outcome, gone.found) == (None, "miss", False)
    assert (gone.age, gone.ttl) == (None, None)


def test_an_integer_in_digits_has_no_grace(
    cache: Cache[Sync, Any], age: Callable[[float], None]
) -> None:
    cache.set("k", 5)
    assert about(cache.fetch("k").ttl, TTL)
    age(TTL + 30)
    assert cache.fetch("k").outcome == "miss"


def test_an_integer_that_was_made_has_grace(
    cache: Cache[Sync, Any], age: Callable[[float], None]
) -> None:
    assert cache.get_or_create("k", lambda: 5) == 5
    age(TTL + 100)
    assert (cache.fetch("k").outcome, cache.fetch("k").value) == ("stale", 5)


def test_a_touch_makes_a_stale_value_fresh(
    cache: Cache[Sync, Any], age: Callable[[float], None]
) -> None:
    cache.set("k", "v")
    age(TTL + 100)
    assert cache.touch("k", 50)
    assert (cache.get("k"), about(cache.info("k").ttl, 50)) == ("v", True)
    assert about(cache.info("k").grace, GRACE)
    age(50 + GRACE - 30)
    assert cache.fetch("k").outcome == "stale"


@FAST
@pytest.mark.parametrize("reader", ["grace", "none", "local"])
@pytest.mark.parametrize("value", ["v", 5, None])
def test_grace_is_that_of_the_value_not_of_the_reader(
    connect: Connect, server: Server, age: Callable[[float], None], reader: str, value: object
) -> None:
    grace, local = GRACE if reader == "grace" else 0, Local() if reader == "local" else None
    other = connect(server.url).cache("x", ttl=TTL, grace=grace, jitter=0, local=local)
    writer = connect(server.url).cache("x", ttl=TTL, grace=GRACE, jitter=0)
    writer.get_or_create("k", lambda: value)
    for _ in range(2):
        assert other.get("k", default="none") == value
        assert other.get_many(["k"]) == {"k": value}
    age(TTL + 100)
    wait_until(lambda: other.fetch("k").outcome == "stale", "its tier has heard of it")
    assert other.get("k", default="none") == "none"
    assert other.get_many(["k"]) == {}
    assert other.fetch("k").value == value


@FAST
def test_a_value_without_grace_is_never_stale_for_a_reader_with_grace(
    connect: Connect, server: Server, cache: Cache[Sync, Any], age: Callable[[float], None]
) -> None:
    plain = connect(server.url).cache("x", ttl=TTL, jitter=0)
    plain.set("k", "v")
    assert about(cache.fetch("k").ttl, TTL)
    age(TTL - 100)
    assert cache.fetch("k").outcome == "hit"
    age(200)
    assert cache.fetch("k").outcome == "miss"


# Making what takes its place


def test_a_stale_value_is_returned_at_once_and_refreshed_behind(
    cache: Cache[Sync, Any], age: Callable[[float], None]
) -> None:
    cache.set("k", "old")
    age(TTL + 100)
    gate = Gate()
    assert cache.get_or_create("k", gate) == "old"
    assert gate.started.wait(10)
    assert cache.get_or_create("k", gate) == "old"
    gate.open.set()
    wait_until(lambda: cache.get("k") == "new", "the refresh has ended")
    assert (gate.runs, cache.info("k").written) == (1, "refreshed")


def test_a_caller_without_soft_timeout_waits_for_the_refresh(
    cache: Cache[Sync, Any], age: Callable[[float], None]
) -> None:
    cache.set("k", "old")
    age(TTL + 100)
    entry = cache.fetch_or_create("k", lambda: "new", soft_timeout=None, tags=["red"])
    assert (entry.value, entry.outcome, entry.tags) == ("new", "refreshed", ("red",))


def test_a_soft_timeout_is_how_long_a_stale_value_is_held_back(
    cache: Cache[Sync, Any], age: Callable[[float], None]
) -> None:
    cache.set("k", "old")
    age(TTL + 100)
    gate, began = Gate(), time.monotonic()
    assert cache.get_or_create("k", gate, soft_timeout=0.05) == "old"
    assert 0.05 <= time.monotonic() - began < 10
    gate.open.set()
    wait_until(lambda: cache.get("k") == "new", "the refresh has ended")
    age(TTL + 100)
    assert cache.get_or_create("k", lambda: "newer", soft_timeout=20) == "newer"


def test_a_stale_value_takes_the_place_of_an_error(
    cache: Cache[Sync, Any], age: Callable[[float], None]
) -> None:
    cache.set("k", "old")
    age(TTL + 100)
    entry = cache.fetch_or_create("k", fails, soft_timeout=None)
    assert (entry.value, entry.outcome) == ("old", "stale")


def test_an_error_is_raised_if_no_stale_value_may_take_its_place(
    cache: Cache[Sync, Any], age: Callable[[float], None]
) -> None:
    cache.set("k", "old")
    age(TTL + 100)
    with pytest.raises(LookupError, match="no source"):
        cache.get_or_create("k", fails, soft_timeout=None, stale_on_error=False)
    assert cache.fetch("k").value == "old"


def test_an_error_without_a_stale_value_is_raised_and_nothing_is_left(
    cache: Cache[Sync, Any],
) -> None:
    with pytest.raises(LookupError, match="no source"):
        cache.get_or_create("k", fails)
    assert (cache.info("k").state, cache.info("k").lease) == ("missing", None)
    assert cache.get_or_create("k", lambda: "v") == "v"


def test_after_a_refresh_that_failed_nobody_tries_for_a_while(
    cache: Cache[Sync, Any], age: Callable[[float], None], outside: Outside
) -> None:
    cache.set("k", "old")
    age(TTL + 100)
    assert cache.get_or_create("k", fails, soft_timeout=None) == "old"
    gate, began = Gate(), time.monotonic()
    gate.open.set()
    assert cache.get_or_create("k", gate, soft_timeout=None) == "old"
    assert (gate.runs, time.monotonic() - began < 5) == (0, True)
    outside.forget_failure(cache, "k")
    assert cache.get_or_create("k", gate, soft_timeout=None) == "new"


def test_a_factory_past_its_timeout_goes_on_and_its_value_is_stored(
    cache: Cache[Sync, Any],
) -> None:
    gate = Gate()
    with pytest.raises(FactoryTimeout, match=r"0\.05 seconds"):
        cache.get_or_create("k", gate, timeout=0.05)
    with pytest.raises(TimeoutError):
        cache.get_or_create("k", gate, timeout=0.05)
    assert cache.get("k") is None
    gate.open.set()
    wait_until(lambda: cache.get("k") == "new", "the value is there")
    assert gate.runs == 1


# What a factory decides


@pytest.mark.parametrize("stale", [False, True])
def test_a_factory_decides_ttl_grace_and_tags(
    cache: Cache[Sync, Any], age: Callable[[float], None], *, stale: bool
) -> None:
    def factory() -> str:
        fill = current_fill()
        assert (fill.ttl, fill.grace, fill.tags, fill.store) == (TTL, GRACE, {"red"}, True)
        fill.ttl, fill.grace = 200, 100
        fill.tags.add("blue")
        return "v"

    if stale:
        cache.set("k", "old")
        age(TTL + 100)
    assert cache.get_or_create("k", factory, tags=["red"], soft_timeout=None) == "v"
    info = cache.info("k")
    assert (about(info.ttl, 200), info.grace) == (True, 100)
    assert sorted(info.tags) == ["blue", "red"]
    cache.invalidate_tags("blue")
    assert cache.info("k").state == "void"


def test_a_factory_may_keep_its_value_from_being_stored(
    cache: Cache[Sync, Any], age: Callable[[float], None]
) -> None:
    def factory() -> str:
        current_fill().store = False
        return "v"

    assert cache.get_or_create("k", factory) == "v"
    assert (cache.info("k").state, cache.info("k").lease) == ("missing", None)
    cache.set("k", "old")
    age(TTL + 100)
    assert cache.get_or_create("k", factory, soft_timeout=None) == "v"
    wait_until(lambda: cache.info("k").lease is None, "nothing is held in its place")
    assert cache.fetch("k").outcome == "miss"


def test_only_a_factory_that_runs_may_decide() -> None:
    with pytest.raises(RuntimeError, match="factories"):
        current_fill()


def test_each_call_may_override_what_the_cache_does(cache: Cache[Sync, Any]) -> None:
    cache.get_or_create("k", lambda: "v", ttl=100, grace=50, tags=["red"])
    info = cache.info("k")
    assert (about(info.ttl, 100), info.grace, info.tags) == (True, 50, ("red",))
    cache.set("k", "v", ttl=200, grace=20)
    assert (about(cache.info("k").ttl, 200), cache.info("k").grace) == (True, 20)
    assert cache.add("j", "v", ttl=300)
    assert (about(cache.info("j").ttl, 300), cache.info("j").grace) == (True, GRACE)


# Spreading the work


@FAST
def test_jitter_takes_a_share_of_the_ttl_and_no_more(db: Octavo[Sync]) -> None:
    cache: Cache[Sync, Any] = db.cache("x", ttl=1000, grace=100, jitter=0.4)
    keys = [str(number) for number in range(200)]
    cache.create_many(keys, lambda missing: dict.fromkeys(missing, "v"))
    ttls = [cache.fetch(key).ttl or 0 for key in keys]
    assert 590 < min(ttls) < 700
    assert 900 < max(ttls) <= 1000
    cache.set_many(dict.fromkeys(keys, "v"))
    assert all(about(cache.fetch(key).ttl, 1000) for key in keys[:20])
    made = cache.fetch_or_create("exact", lambda: "v", jitter=0)
    assert made.ttl == 1000


@FAST
def test_early_refreshes_are_those_that_xfetch_draws(cache: Cache[Sync, Any]) -> None:
    """That is: -beta * cost * ln(random) is at least what is left of the ttl."""
    drawn = []
    for seed in range(60):
        key = str(seed)
        cache.get_or_create(key, takes_a_while)
        info = cache.info(key)
        assert info.cost is not None
        assert info.ttl is not None
        beta = info.ttl / info.cost
        draw = -math.log(1 - random.Random(seed).random())
        if abs(draw - 1) < 0.05:
            continue  # too near to tell, since time passes
        gate = Gate()
        gate.open.set()
        random.seed(seed)
        assert cache.get_or_create(key, gate, beta=beta) == "v"
        if draw > 1:
            wait_until(lambda: cache.info(key).written == "early", "refreshed ahead of time")  # noqa: B023
        assert gate.runs == (draw > 1)
        drawn.append(draw > 1)
    assert 5 < sum(drawn) < 40


@FAST
def test_many_callers_refresh_a_value_early_once(cache: Cache[Sync, Any]) -> None:
    cache.get_or_create("k", takes_a_while)
    gate = Gate()
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(cache.get_or_create, "k", gate, beta=1e9) for _ in range(40)]
        assert {call.result() for call in calls} == {"v"}
        assert gate.started.wait(10)
        gate.open.set()
    wait_until(lambda: cache.get("k") == "new", "the refresh has ended")
    assert gate.runs == 1


@FAST
def test_without_beta_nothing_is_refreshed_early(cache: Cache[Sync, Any]) -> None:
    cache.get_or_create("k", takes_a_while)
    for _ in range(50):
        assert cache.get_or_create("k", fails) == "v"


# What is told of it


def test_the_outcome_says_how_a_value_came_about(
    cache: Cache[Sync, Any], age: Callable[[float], None]
) -> None:
    entry = cache.fetch_or_create("k", lambda: "v", tags=["red"])
    assert (entry.value, entry.outcome, entry.tags) == ("v", "created", ("red",))
    assert (entry.age, entry.ttl) == (0, TTL)
    entry = cache.fetch_or_create("k", fails)
    assert (entry.value, entry.outcome, entry.tags) == ("v", "hit", ("red",))
    age(TTL + 100)
    assert cache.fetch_or_create("k", fails).outcome == "stale"
    cache.delete("k")
    assert cache.fetch("k").outcome == "miss"


@FAST
def test_the_outcome_says_that_a_value_was_at_hand(db: Octavo[Sync]) -> None:
    cache: Cache[Sync, Any] = db.cache("near", ttl=TTL, local=Local())
    cache.set("k", ["v"])

    def at_hand() -> Any:
        entry = cache.fetch_or_create("k", fails)
        return entry if entry.outcome == "local" else None

    entry = wait_until(at_hand, "the link is up")
    assert (entry.value, about(entry.ttl, TTL)) == (["v"], True)
    assert cache.stats().local > 0


def test_the_outcome_says_that_the_server_was_passed_by(
    connect: Connect, standalone: Standalone
) -> None:
    cache: Cache[Sync, Any] = connect(standalone.url, timeout=0.5).cache("x", ttl=TTL)
    cache.set("k", "v")
    standalone.kill()
    entry = cache.fetch_or_create("k", lambda: "made")
    assert (entry.value, entry.outcome) == ("made", "bypass")


def test_info_tells_each_stage_of_a_value(
    cache: Cache[Sync, Any], age: Callable[[float], None]
) -> None:
    missing = cache.info("k")
    assert (missing.state, missing.size, missing.lease) == ("missing", 0, None)
    gate = Gate("first")
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(cache.get_or_create, "k", gate, lease=20)
        assert gate.started.wait(10)
        making = cache.info("k")
        assert (making.state, making.size) == ("missing", 0)
        assert making.lease is not None
        assert 0 < making.lease.remaining <= 20
        gate.open.set()
        made.result()
    fresh = cache.info("k")
    assert (fresh.state, fresh.written, fresh.lease) == ("fresh", "created", None)
    assert (about(fresh.ttl, TTL), about(fresh.age, 0), fresh.grace) == (True, True, GRACE)
    assert fresh.size > len("first")
    assert fresh.cost is not None
    age(TTL + 100)
    assert (cache.info("k").state, about(cache.info("k").ttl, -100)) == ("stale", True)
    gate = Gate("second")
    assert cache.get_or_create("k", gate, tags=["red"], lease=20) == "first"
    assert gate.started.wait(10)
    refreshing = cache.info("k")
    assert (refreshing.state, refreshing.written) == ("stale", "created")
    assert refreshing.lease is not None
    gate.open.set()
    wait_until(lambda: cache.info("k").written == "refreshed", "the refresh has ended")
    refreshed = cache.info("k")
    assert (refreshed.state, refreshed.tags, refreshed.lease) == ("fresh", ("red",), None)
    cache.invalidate_tags("red")
    assert (cache.info("k").state, cache.info("k").size > 0) == ("void", True)
    cache.set("k", 5)
    digits = cache.info("k")
    assert (digits.state, digits.size, digits.age, digits.written) == ("fresh", 1, None, None)

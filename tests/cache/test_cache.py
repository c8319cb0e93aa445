"""What a cache does, on every face and every kind of server."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.cache import Entry, Local
from octavo.testing.waiting import wait_until
from tests.cache.cases import pttl, raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Octavo, Sync
    from octavo.cache import Info
    from tests.fix_faces import Connect
    from tests.fix_servers import Server

ODD = ("{a}", "}{", "}", "{", "a:b", "a}:l", "ключ", "🏆", "nul\0", "\r\n", " ", ".", "~", "%7B")


# Reading


def test_a_miss_gives_the_default_and_a_stored_none_does_not(db: Octavo[Sync]) -> None:
    cache = db.cache("x", ttl=60)
    assert cache.get("k") is None
    assert cache.get("k", default=7) == 7
    cache.set("k", None)
    assert cache.get("k", default=7) is None


def test_fetching_says_what_was_found(db: Octavo[Sync]) -> None:
    cache = db.cache("x", ttl=60, grace=10)
    assert cache.fetch("k") == Entry(None, "miss")
    assert not cache.fetch("k").found
    cache.set("k", None, tags=["a", "b"])
    entry = cache.fetch("k")
    assert (entry.value, entry.outcome, entry.tags, entry.found) == (None, "hit", ("a", "b"), True)
    assert entry.age is not None
    assert entry.ttl is not None
    assert 0 <= entry.age < 10
    assert entry.age + entry.ttl == pytest.approx(60, abs=0.002)
    cache.set("n", 5)
    plain = cache.fetch("n")
    assert (plain.value, plain.outcome, plain.age, plain.tags) == (5, "hit", None, ())
    assert plain.ttl is not None
    assert 50 < plain.ttl <= 60


# Many keys


def test_many_values_are_stored_read_and_deleted_wherever_they_are(db: Octavo[Sync]) -> None:
    cache = db.cache("x", ttl=60)
    values = {f"k{i}": i if i % 2 else [i] for i in range(300)}
    cache.set_many(values)
    asked = ["missing", *reversed(values)]
    found = cache.get_many(asked)
    assert found == values
    assert list(found) == asked[1:]
    assert cache.get_many(f"k{i}" for i in range(3)) == {"k0": [0], "k1": 1, "k2": [2]}
    assert cache.delete_many([*values, "missing", "k1"]) == 300
    assert cache.get_many(values) == {}
    assert (cache.get_many([]), cache.delete_many([])) == ({}, 0)
    cache.set_many({})


def test_many_values_may_be_tagged_and_have_a_ttl(db: Octavo[Sync], server: Server) -> None:
    cache = db.cache("x", ttl=60)
    values = {f"k{i}": i for i in range(20)}
    cache.set_many(values, ttl=7, tags=["t"])
    cache.set("k0", 0)
    assert 0 < pttl(server, cache.info("k5").key) <= 7000
    assert cache.get_many(values) == values
    cache.invalidate_tags("t")
    assert cache.get_many(values) == {"k0": 0}


# Time


@pytest.mark.parametrize(
    ("ttl", "stays"), [(60, 60_000), (timedelta(minutes=2), 120_000), (90.25, 90_250)]
)
def test_values_stay_exactly_as_long_as_said(
    ttl: Any, stays: int, db: Octavo[Sync], server: Server
) -> None:
    by_default, by_call = db.cache("a", ttl=ttl), db.cache("b", ttl=1000)
    began = time.time() * 1000
    by_default.set_many({"int": 1, "text": "a"})
    by_default.add("added", [1])
    by_default.incr("count", 5)
    stored = by_default.store("foo")
    by_call.set("int", 1, ttl=ttl)
    by_call.set("text", "a", ttl=ttl)
    by_call.set_many({"many": 1.5}, ttl=ttl)
    by_call.add("added", 1, ttl=ttl)
    by_call.decr("count", ttl=ttl)
    ended = time.time() * 1000
    keys = [by_default.info(key).key for key in ("int", "text", "added", "count", stored)]
    keys += [by_call.info(key).key for key in ("int", "text", "many", "added", "count")]
    for key in keys:
        with raw(server, key) as client:
            assert began - 2 <= client.pexpiretime(key) - stays <= ended + 2, key


def test_grace_is_added_to_the_ttl_of_all_but_integers(db: Octavo[Sync], server: Server) -> None:
    cache = db.cache("x", ttl=100, grace=1000)
    cache.set_many({"text": "a", "int": 5})
    cache.set("own", "a", ttl=10, grace=20)
    cache.set("none", "a", grace=0)
    stays = [pttl(server, cache.info(key).key) for key in ("text", "int", "own", "none")]
    assert stays == pytest.approx([1_100_000, 100_000, 30_000, 100_000], abs=8000)


def test_a_value_is_fresh_for_its_ttl_then_stale_for_its_grace_then_gone(db: Octavo[Sync]) -> None:
    cache = db.cache("x", ttl=60)
    cache.set("k", "v", ttl=1.5, grace=60, tags=["t"])
    assert cache.get("k") == "v"
    wait_until(lambda: cache.get("k", default="none") == "none", "it is stale")
    entry = cache.fetch("k")
    assert (entry.value, entry.outcome, entry.tags) == ("v", "stale", ("t",))
    assert entry.ttl is not None
    assert -60 <= entry.ttl <= 0
    assert entry.age is not None
    assert entry.age >= 1.5
    assert cache.get_many(["k"]) == {}
    assert cache.get_str("k") is None
    assert cache.info("k").state == "stale"
    cache.set("k", "v", ttl=0.05, grace=0.1, tags=["t"])
    wait_until(lambda: not cache.fetch("k").found, "it is gone")


def test_a_value_ends_with_its_ttl(db: Octavo[Sync]) -> None:
    for local in (None, Local(10)):
        cache = db.cache(f"x{local}", ttl=0.15, local=local)
        cache.set_many({"a": 1, "b": "two"})
        assert cache.get_many(["a", "b"]) in ({"a": 1, "b": "two"}, {})
        wait_until(lambda: not cache.get_many(["a", "b"]), "they are gone")  # noqa: B023


def test_touching_gives_a_value_another_ttl_from_now_on(db: Octavo[Sync], server: Server) -> None:
    cache = db.cache("x", ttl=10, grace=100)
    assert cache.touch("k") is False
    cache.set_many({"text": "a", "int": 5})
    cache.set("plain", "a", grace=0)
    assert [cache.touch(key, 30) for key in ("text", "int", "plain")] == [True] * 3
    stays = [pttl(server, cache.info(key).key) for key in ("text", "int", "plain")]
    assert stays == pytest.approx([130_000, 30_000, 30_000], abs=8000)
    for key in ("text", "int", "plain"):
        ttl = cache.fetch(key).ttl
        assert ttl is not None
        assert 20 < ttl <= 30
    assert cache.touch("text") is True
    assert cache.get("text") == "a"
    assert pttl(server, cache.info("text").key) == pytest.approx(110_000, abs=8000)
    cache.set("tagged", "v", tags=["t"])
    assert cache.touch("tagged", 30) is True
    cache.invalidate_tags("t")
    assert cache.touch("tagged", 30) is False


def test_touching_makes_a_stale_value_fresh(db: Octavo[Sync]) -> None:
    cache = db.cache("x", ttl=0.05, grace=60)
    cache.set("k", "v")
    wait_until(lambda: cache.fetch("k").outcome == "stale", "it is stale")
    assert cache.touch("k", 60)
    assert cache.get("k") == "v"
    age = cache.fetch("k").age
    assert age is not None
    assert age < 30


# Writing


def test_adding_stores_only_where_there_is_nothing(db: Octavo[Sync]) -> None:
    cache = db.cache("x", ttl=60)
    for old in (None, 0, "", "text", [1]):
        cache.delete("k")
        assert cache.add("k", old) is True
        assert cache.add("k", "new") is False
        assert cache.get("k", default="none") == old


def test_adding_leaves_a_stale_value_and_replaces_a_void_one(db: Octavo[Sync]) -> None:
    cache = db.cache("x", ttl=60)
    cache.set("k", "old", ttl=0.02, grace=60)
    wait_until(lambda: cache.get("k") is None, "it is stale")
    assert cache.add("k", "new") is False
    for value in ("tagged", 5, None):
        cache.set("k", value, tags=["t", "u"])
        assert cache.add("k", "new", tags=["t"]) is False
        cache.invalidate_tags("u")
        assert cache.add("k", "new", tags=["t"]) is True
        assert cache.fetch("k").tags == ("t",)
        assert cache.add("k", "newer") is False
        assert cache.get("k") == "new"


def test_what_is_being_made_is_not_there_and_may_be_written(
    connect: Connect, server: Server, prefix: str
) -> None:
    cache = connect(server.url).cache("x", ttl=60)
    with octavo.connect(server.url, prefix=prefix) as db:
        other = db.cache("x", ttl=60)
        meanwhile: dict[str, tuple[Callable[[str], object], object]] = {
            "add": (lambda key: other.add(key, "added"), True),
            "touch": (lambda key: other.touch(key, 30), False),
            "incr": (lambda key: other.incr(key, 3), 3),
            "get": (lambda key: other.get(key, default="none"), "none"),
            "delete": (other.delete, True),
        }
        left = {"add": "added", "touch": "made", "incr": 3, "get": "made", "delete": None}
        for key, (operate, expected) in meanwhile.items():
            results: list[object] = []

            def make() -> str:
                results.append(operate(key))  # noqa: B023 - it is called at once
                return "made"

            assert cache.get_or_create(key, make) == "made"
            assert results == [expected]
            assert cache.get(key) == other.get(key) == left[key]
    assert cache.stats().rejected == 3


def test_deleting_says_whether_there_was_a_value(db: Octavo[Sync]) -> None:
    cache = db.cache("x", ttl=60, grace=10)
    assert cache.delete("k") is False
    cache.set("k", None)
    assert cache.delete("k") is True
    assert cache.delete("k") is False
    assert cache.fetch("k").outcome == "miss"


def test_clearing_leaves_other_caches_and_jobs_alone(db: Octavo[Sync]) -> None:
    mine = db.cache("x", ttl=60)
    others = [db.cache("y", ttl=60), db.cache("x", ttl=60, tag="x"), db.cache("x:y", ttl=60)]
    board = db.leaderboard("x")
    board.submit("ada", 1)
    for cache in (mine, *others):
        cache.set_many({"k": "v", "n": 1})
    mine.clear()
    assert mine.get_many(["k", "n"]) == {}
    assert mine.incr("n") == 1
    assert [cache.get_many(["k", "n"]) for cache in others] == [{"k": "v", "n": 1}] * 3
    assert board.score("ada") == 1
    mine.clear()
    mine.clear()
    assert mine.get("n") is None


# Tags


def test_a_tag_voids_what_has_it_and_nothing_else(db: Octavo[Sync]) -> None:
    cache, other = db.cache("x", ttl=60), db.cache("y", ttl=60)
    for each in (cache, other):
        each.set("both", [1], tags=["red", "blue"])
        each.set("red", 5, tags=["red"])
        each.set("none", "v")
    cache.invalidate_tags("blue", "never used")
    assert cache.get_many(["both", "red", "none"]) == {"red": 5, "none": "v"}
    assert cache.get("both", default="none") == "none"
    assert cache.fetch("both").outcome == "miss"
    assert cache.get_str("both") is None
    assert cache.info("both").state == "void"
    assert other.get("both") == [1]
    cache.set("both", [2], tags=["red", "blue"])
    cache.set("blue", 6, tags=["blue"])
    assert cache.fetch("both").tags == ("red", "blue")
    cache.invalidate_tags("red", "blue")
    assert cache.get_many(["both", "red", "blue", "none"]) == {"none": "v"}
    cache.invalidate_tags()


def test_any_text_is_a_tag(db: Octavo[Sync]) -> None:
    cache = db.cache("x", ttl=60)
    for tag in ODD:
        cache.set(tag, "v", tags=[tag, tag, "t" * 2000])
        assert cache.fetch(tag).tags == (tag, "t" * 2000)
    for tag in ODD:
        cache.invalidate_tags(tag + "'")
        assert cache.get(tag) == "v"
        cache.invalidate_tags(tag)
        assert cache.get(tag) is None


# Keys and names


def test_any_text_and_bytes_are_a_key(db: Octavo[Sync]) -> None:
    cache = db.cache("x", ttl=60)
    long = ["k" * size for size in (200, 1023, 1024, 1025, 5000)]
    long += ["ü" * 3000, "k" * 5000 + "l", "}" * 2000]
    keys = [*ODD, *long]
    cache.set_many({key: [key] for key in keys})
    for key in keys:
        assert cache.get(key) == [key]
        assert cache.get(key.encode()) == [key]
    assert cache.get_many(keys) == {key: [key] for key in keys}
    assert len(cache.info("k" * 100_000).key) < 600
    assert cache.delete_many(keys) == len(keys)
    cache.set(b"\xff\xfe", 1)
    assert cache.incr(b"\xff\xfe") == 2
    assert cache.get("\ufffe") is None


def test_caches_of_different_names_and_tags_are_different(db: Octavo[Sync]) -> None:
    caches = [db.cache(name, ttl=60) for name in ODD]
    caches += [db.cache(name, ttl=60, tag="t") for name in ODD]
    caches += [db.cache("t", ttl=60, tag=tag) for tag in ODD]
    for number, cache in enumerate(caches):
        cache.set("k", number)
    assert [cache.get("k") for cache in caches] == [*range(len(caches))]


# Looking in


def test_info_tells_what_there_is_to_know(db: Octavo[Sync]) -> None:
    cache = db.cache("x", ttl=60, grace=10)
    missing = cache.info("k")
    assert (missing.state, missing.ttl, missing.size, missing.lease) == ("missing", None, 0, None)
    cache.set("k", "value", tags=["red"])
    info = cache.info("k")
    assert (info.state, info.grace, info.tags, info.written) == ("fresh", 10, ("red",), "set")
    assert info.cost is None
    assert info.lease is None
    assert info.key.endswith("{.k}")
    assert info.size > len("value")
    assert info.ttl is not None
    assert 50 < info.ttl <= 60
    assert info.age is not None
    assert 0 <= info.age < 10
    cache.set("n", 5)
    plain = cache.info("n")
    assert (plain.state, plain.age, plain.grace, plain.size) == ("fresh", None, None, 1)


def test_info_tells_who_makes_a_value_and_what_it_cost(
    connect: Connect, server: Server, prefix: str
) -> None:
    cache = connect(server.url).cache("x", ttl=60, grace=10, lease=7)
    meanwhile: list[Info] = []

    def make() -> str:
        with octavo.connect(server.url, prefix=prefix) as other:
            meanwhile.append(other.cache("x", ttl=60).info("k"))
        return "made"

    assert cache.get_or_create("k", make, tags=["red"]) == "made"
    (making,) = meanwhile
    assert making.state == "missing"
    assert making.lease is not None
    assert making.lease.owner.endswith(f":{os.getpid()}")
    assert 0 < making.lease.remaining <= 7
    made = cache.info("k")
    assert (made.state, made.written, made.tags, made.lease) == ("fresh", "created", ("red",), None)
    assert made.cost is not None
    assert 0 < made.cost < 5


def test_stats_count_what_came_of_reads(db: Octavo[Sync]) -> None:
    cache = db.cache("x", ttl=60)
    before = cache.stats()
    assert (before.hits, before.misses, before.links) == (0, 0, before.links)
    cache.set_many({"a": 1, "b": "two"})
    cache.get("a")
    cache.get("missing")
    cache.get_many(["a", "b", "missing"])
    cache.fetch("b")
    cache.get_str("b")
    cache.get_or_create("c", lambda: "made")
    cache.get_or_create("c", lambda: "again")
    after = cache.stats()
    assert (after.hits, after.misses, after.created, after.stale) == (6, 3, 1, 0)
    assert (after.entries, after.bypassed, after.undecodable, after.unreachable) == (0, 0, 0, ())

"""Random histories of two clients, at each step of which a cache says what the model says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,  # pyright: ignore[reportUnknownVariableType]
)

from octavo import PrecisionLost, WrongType
from octavo.cache import Local
from tests.cache.model import Model
from tests.cache.pair import Outside, Pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from octavo.cache import Cache
    from tests.fix_faces import Connect, LoopThread
    from tests.fix_servers import Server

# Finding the shortest history that fails takes longer than running them all.
pytestmark = pytest.mark.timeout(600)

who = st.sampled_from([0, 1])
keys = st.sampled_from(["a", "ab", "ü}{\0\r\n"])
values = st.sampled_from([
    None, 0, 1, -5, 2**63 - 1, 2**100, "", "x", "7", b"", b"\0y", True, False, 1.5, -0.0,
    [], [1, "ü", None], {"a": {"b": b"c"}}, "long " * 1000,
])  # fmt: skip
# What passes is a multiple of 100, so that nothing ends at the moment it is looked at.
ttls = st.sampled_from([150, 250, 450])
graces = st.sampled_from([0, 0, 100, 300])
tags = st.lists(st.sampled_from(["red", "green", "ü {}"]), max_size=2, unique=True)
several = st.lists(keys, max_size=4, unique=True)
SLACK = 60
"""Seconds that a history may really take."""


class Failed(Exception):
    """What a factory raises."""


class Histories(RuleBasedStateMachine):
    """Does the same to a pair of caches and to the model."""

    pair: Pair
    made = 0

    @initialize(
        kept=st.tuples(ttls, ttls),
        graced=st.tuples(graces, graces),
        local=st.sampled_from([Local(), Local(1), Local(share=True)]),
        tagged=tags,
    )
    def make(
        self, kept: tuple[int, int], graced: tuple[int, int], local: Local, tagged: list[str]
    ) -> None:
        Histories.made += 1
        name = f"cache {self.made}"
        self.ttls, self.graces, self.tagged = kept, graced, tagged
        self.shared = local.share
        self.model = Model()
        self.result: object = None
        self.ran = 0
        self.caches: list[Cache[Any, Any]] = [
            db.cache(name, ttl=ttl, grace=grace, jitter=0, local=tier)
            for db, ttl, grace, tier in zip(self.pair.dbs, kept, graced, (local, None), strict=True)
        ]

        def price(product: str) -> object:
            return self.factory()

        self.prices: list[Any] = [
            cache.cached(key="price {product}", tags=tagged, soft_timeout=None)(price)
            for cache in self.caches
        ]
        self.keys = {"a", "ab", "ü}{\0\r\n", *map(self.prices[0].key, "pq")}

    def factory(self) -> object:
        self.ran += 1
        if isinstance(self.result, Failed):
            raise self.result
        return self.result

    def changed(self) -> None:
        self.pair.settle()

    def lasts(
        self, i: int, ttl: float | None = None, grace: float | None = None
    ) -> tuple[float, float]:
        return (
            self.ttls[i] if ttl is None else ttl,
            self.graces[i] if grace is None else grace,
        )

    # Writing

    @rule(i=who, key=keys, value=values, ttl=st.none() | ttls, grace=st.none() | graces, names=tags)
    def set(self, i: int, key: str, value: Any, ttl: Any, grace: Any, names: list[str]) -> None:
        self.caches[i].set(key, value, ttl=ttl, grace=grace, tags=names)
        self.model.set(key, value, *self.lasts(i, ttl, grace), names)
        same(self.caches[i].get(key, default="none"), self.model.get(key, "none"))
        self.changed()

    @rule(i=who, chosen=several, value=values, ttl=st.none() | ttls, names=tags)
    def set_many(self, i: int, chosen: list[str], value: Any, ttl: Any, names: list[str]) -> None:
        self.caches[i].set_many(dict.fromkeys(chosen, value), ttl=ttl, tags=names)
        self.model.set_many(chosen, value, *self.lasts(i, ttl), names)
        same(self.caches[i].get_many(chosen), self.model.get_many(chosen))
        self.changed()

    @rule(i=who, value=values, ttl=st.none() | ttls)
    def store(self, i: int, value: Any, ttl: Any) -> None:
        key = self.caches[i].store(value, ttl=ttl)
        self.model.set(key, value, *self.lasts(i, ttl))
        self.keys.add(key)
        self.changed()

    @rule(i=who, key=keys, value=values, ttl=st.none() | ttls, names=tags)
    def add(self, i: int, key: str, value: Any, ttl: Any, names: list[str]) -> None:
        same(
            self.caches[i].add(key, value, ttl=ttl, tags=names),
            self.model.add(key, value, *self.lasts(i, ttl), names),
        )
        same(self.caches[i].get(key), self.model.get(key))
        self.changed()

    @rule(i=who, key=keys)
    def delete(self, i: int, key: str) -> None:
        same(self.caches[i].delete(key), self.model.delete(key))
        same(self.caches[i].get(key), None)
        self.changed()

    @rule(i=who, chosen=several)
    def delete_many(self, i: int, chosen: list[str]) -> None:
        same(self.caches[i].delete_many(chosen), sum(map(self.model.delete, chosen)))
        self.changed()

    @rule(i=who, key=keys, ttl=st.none() | ttls)
    def touch(self, i: int, key: str, ttl: Any) -> None:
        kept, _ = self.lasts(i, ttl)
        same(self.caches[i].touch(key, ttl), self.model.touch(key, kept))
        same(self.caches[i].get(key), self.model.get(key))
        self.changed()

    @rule(i=who, key=keys, n=st.sampled_from([1, 0, -3, 2**63 - 1]), ttl=st.none() | ttls)
    def incr(self, i: int, key: str, n: int, ttl: Any) -> None:
        kept, _ = self.lasts(i, ttl)
        same(
            outcome(lambda: self.caches[i].incr(key, n, ttl=ttl)),
            outcome(lambda: self.model.incr(key, n, kept)),
        )
        same(self.caches[i].get(key), self.model.get(key))
        same(
            outcome(lambda: self.caches[i].decr(key, 2, ttl=ttl)),
            outcome(lambda: self.model.incr(key, -2, kept)),
        )
        self.changed()

    @rule(i=who)
    def clear(self, i: int) -> None:
        self.caches[i].clear()
        self.model.clear()
        same(self.caches[i].get_many(sorted(self.keys)), {})
        self.changed()

    @rule(i=who, names=tags)
    def invalidate_tags(self, i: int, names: list[str]) -> None:
        self.caches[i].invalidate_tags(*names)
        self.model.invalidate_tags(*names)
        self.look_at_all(i)
        self.changed()

    @rule(seconds=st.sampled_from([100, 100, 200, 400]))
    def pass_time(self, seconds: int) -> None:
        self.pair.outside.pass_time(self.caches[1], sorted(self.keys), seconds)
        self.model.pass_time(seconds)
        self.changed()

    # Reading

    @rule(i=who)
    def spoil(self, i: int) -> None:
        """What a caller gets is its own."""
        shared = self.shared and i == 0
        for key in sorted(self.keys):
            found = self.caches[i].get(key)
            if isinstance(found, list) and not shared:
                found.append("mine")
            same(self.caches[i].get(key), self.model.get(key))

    @rule(i=who, key=keys)
    def get(self, i: int, key: str) -> None:
        same(self.caches[i].get(key, default="none"), self.model.get(key, "none"))
        value = self.model.get(key)
        if type(value) in (str, bytes, int):
            plain = value if isinstance(value, bytes) else str(value).encode()
            same(self.caches[i].get_bytes(key), plain)
            same(self.caches[i].get(key, len), len(plain))
        if type(value) is int:
            same(self.caches[i].get_int(key), value)

    @rule(i=who, chosen=several)
    def get_many(self, i: int, chosen: list[str]) -> None:
        same(self.caches[i].get_many(chosen), self.model.get_many(chosen))

    @rule(i=who, key=keys)
    def fetch(self, i: int, key: str) -> None:
        self.check_fetch(i, key)

    @rule(i=who, key=keys)
    def info(self, i: int, key: str) -> None:
        found, state = self.caches[i].info(key), self.model.state(key)
        assert (found.state, found.lease) == (state, None)
        assert (found.size > 0) == (state != "missing")
        value = self.model.value(key)
        if value:
            self.check_times(found, key)
            assert found.grace == (None if value.plain else value.grace)
            assert sorted(found.tags) == sorted(value.tags)
            assert found.written == (None if value.plain else value.written)

    @rule(i=who)
    def look_at_all(self, i: int) -> None:
        for key in sorted(self.keys):
            self.check_fetch(i, key)

    def check_fetch(self, i: int, key: str) -> None:
        found, state = self.caches[i].fetch(key), self.model.state(key)
        value = self.model.value(key)
        if value is None:
            assert (found.value, found.outcome, found.found) == (None, "miss", False)
            return
        same(found.value, value.value)
        allowed = {"stale"} if state == "stale" else {"hit"} if i else {"hit", "local"}
        assert found.outcome in allowed
        assert sorted(found.tags) == sorted(value.tags)
        self.check_times(found, key)

    def check_times(self, found: Any, key: str) -> None:
        value = self.model.value(key)
        assert value is not None
        left = self.model.left(value)
        assert left - SLACK < found.ttl < left + 0.1
        if value.plain:
            assert found.age is None
        else:
            assert value.ttl - left - 0.1 < found.age < value.ttl - left + SLACK

    # Making

    @rule(
        i=who,
        key=keys,
        value=values | st.builds(Failed),
        ttl=st.none() | ttls,
        grace=st.none() | graces,
        names=tags,
    )
    def get_or_create(
        self, i: int, key: str, value: Any, ttl: Any, grace: Any, names: list[str]
    ) -> None:
        options = {"ttl": ttl, "grace": grace, "tags": names, "soft_timeout": None}
        self.makes(
            i,
            key,
            value,
            lambda: self.caches[i].get_or_create(key, self.factory, **options),
            names,
            self.lasts(i, ttl, grace),
        )

    @rule(i=who, product=st.sampled_from("pq"), value=values | st.builds(Failed))
    def call_cached(self, i: int, product: str, value: Any) -> None:
        self.makes(
            i,
            self.prices[i].key(product),
            value,
            lambda: self.pair.done(self.prices[i](product)),
            self.tagged,
            self.lasts(i),
        )

    @rule(i=who, product=st.sampled_from("pq"), value=values)
    def refresh_cached(self, i: int, product: str, value: Any) -> None:
        self.result, self.ran = value, 0
        same(self.pair.done(self.prices[i].refresh(product)), value)
        assert self.ran == 1
        making = self.model.begin(self.prices[i].key(product), self.tagged, renew=True)
        assert self.model.end(making, value, *self.lasts(i))
        same(self.pair.done(self.prices[i].get(product)), value)
        self.changed()

    @rule(i=who, product=st.sampled_from("pq"), value=values)
    def set_cached(self, i: int, product: str, value: Any) -> None:
        self.pair.done(self.prices[i].set(value, product))
        self.model.set(self.prices[i].key(product), value, *self.lasts(i), self.tagged)
        self.changed()

    @rule(i=who, product=st.sampled_from("pq"))
    def invalidate_cached(self, i: int, product: str) -> None:
        same(
            self.pair.done(self.prices[i].invalidate(product)),
            self.model.delete(self.prices[i].key(product)),
        )
        self.changed()

    def makes(
        self,
        i: int,
        key: str,
        value: Any,
        call: Callable[[], Any],
        names: Iterable[str],
        lasts: tuple[float, float],
    ) -> None:
        """Check a call that runs the factory if there is nothing fresh."""
        self.result, self.ran = value, 0
        found, stale = outcome(call), self.model.value(key)
        if self.model.state(key) == "fresh":
            same(found, self.model.get(key))
            assert self.ran == 0
            return
        assert self.ran == 1
        making = self.model.begin(key, names)
        if isinstance(value, Failed):
            self.model.fail(making)
            same(found, stale.value if stale else "Failed")
            self.pair.outside.forget_failure(self.caches[1], key)
        else:
            same(found, value)
            assert self.model.end(making, value, *lasts)
            same(self.caches[i].get(key), value)
        self.changed()

    @rule(i=who, chosen=several, made=several, value=values, ttl=st.none() | ttls, names=tags)
    def create_many(
        self, i: int, chosen: list[str], made: list[str], value: Any, ttl: Any, names: list[str]
    ) -> None:
        asked: list[str] = []

        def factory(missing: list[str]) -> dict[str, Any]:
            asked.extend(missing)
            return dict.fromkeys(made, value)

        found = self.caches[i].create_many(chosen, factory, ttl=ttl, tags=names)
        missing = [key for key in chosen if self.model.state(key) != "fresh"]
        assert sorted(asked) == sorted(missing)
        for key in missing:
            self.model.delete(key)
            if key in made:
                self.model.end(self.model.begin(key, names), value, *self.lasts(i, ttl))
        same(found, self.model.get_many(chosen))
        self.changed()

    def teardown(self) -> None:
        self.look_at_all(0)
        self.look_at_all(1)


def outcome(function: Callable[[], Any]) -> Any:
    """Return a result, or what there was instead."""
    try:
        return function()
    except (WrongType, PrecisionLost, Failed) as error:
        return type(error).__name__


def same(found: object, expected: object) -> None:
    """Assert equality, down to the sign of a zero and the types."""
    assert found == expected
    assert repr(found) == repr(expected)


def run(connect: Connect, server: Server, loop: LoopThread, histories: int, steps: int) -> None:
    class Run(Histories):
        pass

    with Outside(server) as outside:
        dbs = [connect(server.url), connect(server.url)]
        Run.pair = Pair(server, outside, dbs, loop)
        run_state_machine_as_test(  # pyright: ignore[reportUnknownMemberType]
            Run,
            settings=settings(
                max_examples=histories,
                stateful_step_count=steps,
                deadline=None,
                report_multiple_bugs=False,
                phases=[Phase.reuse, Phase.generate, Phase.shrink],
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            ),
        )


@pytest.mark.parametrize("server", ["embedded", "cluster"], indirect=True)
def test_a_cache_says_what_the_model_says(
    connect: Connect, server: Server, loop_thread: LoopThread
) -> None:
    run(connect, server, loop_thread, histories=15, steps=30)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_cache_says_what_the_model_says_for_long(
    connect: Connect, server: Server, loop_thread: LoopThread
) -> None:
    run(connect, server, loop_thread, histories=400, steps=50)

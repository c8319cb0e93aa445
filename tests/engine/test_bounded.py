"""A mapping of limited size."""

from __future__ import annotations

import itertools
import random
import sys
import threading
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from octavo.engine.bounded import Bounded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Reference:
    """S3-FIFO as its paper tells it, with one bit per entry, in lists and without haste."""

    max_entries: int
    max_bytes: int
    evicted: int = 0
    values: dict[int, tuple[int, int]] = field(default_factory=dict)
    visited: set[int] = field(default_factory=set)
    small: list[int] = field(default_factory=list)
    main: list[int] = field(default_factory=list)
    ghosts: list[int] = field(default_factory=list)

    def get(self, key: int) -> int | None:
        if key not in self.values:
            return None
        self.visited.add(key)
        return self.values[key][0]

    def pop(self, key: int) -> int | None:
        if key not in self.values:
            return None
        self.visited.discard(key)
        (self.small if key in self.small else self.main).remove(key)
        return self.values.pop(key)[0]

    def clear(self) -> None:
        for part in (self.values, self.visited, self.small, self.main, self.ghosts):
            part.clear()

    def set(self, key: int, value: int, size: int) -> None:
        enters_main = key in self.main or key in self.ghosts
        self.pop(key)
        if size > self.max_bytes:
            return
        while self.values and not self.has_room_for(size):
            self.evict()
        if key in self.ghosts:
            self.ghosts.remove(key)
        (self.main if enters_main else self.small).append(key)
        self.values[key] = (value, size)

    def has_room_for(self, size: int) -> bool:
        used = sum(held for _, held in self.values.values())
        return len(self.values) < self.max_entries and used + size <= self.max_bytes

    def evict(self) -> None:
        count = len(self.values)
        while True:
            small = len(self.small) >= count / 10
            key = (self.small if small else self.main)[0]
            if key not in self.visited:
                break
            self.visited.remove(key)
            (self.small if small else self.main).remove(key)
            self.main.append(key)
        if small:
            self.ghosts = [*self.ghosts, key][-count:]
        self.pop(key)
        self.evicted += 1


def used_by(bounded: Bounded[int, int]) -> int:
    """Return the bytes in use, having checked that all parts tell of the same entries."""
    assert {**bounded._small, **bounded._main} == bounded._entries
    assert len(bounded._small) + len(bounded._main) == len(bounded)
    assert bounded._bytes == sum(entry.size for entry in bounded._entries.values())
    return bounded._bytes


keys = st.integers(0, 40)


class Histories(RuleBasedStateMachine):
    """Does the same to the mapping and to the reference."""

    @initialize(max_entries=st.integers(1, 25), max_bytes=st.one_of(st.none(), st.integers(0, 30)))
    def start(self, max_entries: int, max_bytes: int | None) -> None:
        self.bounded = Bounded[int, int](max_entries, max_bytes)
        self.reference = Reference(max_entries, sys.maxsize if max_bytes is None else max_bytes)

    @rule(key=keys)
    def get(self, key: int) -> None:
        assert self.bounded.get(key) == self.reference.get(key)

    @rule(key=keys, value=st.integers(), size=st.sampled_from([0, 1, 2, 12]))
    def set(self, key: int, value: int, size: int) -> None:
        self.bounded.set(key, value, size)
        self.reference.set(key, value, size)

    @rule(first=keys, count=st.integers(1, 30))
    def scan(self, first: int, count: int) -> None:
        for key in range(first, first + count):
            self.get(key)
            if key not in self.reference.values:
                self.set(key, key, 1)

    @rule(key=keys)
    def pop(self, key: int) -> None:
        assert self.bounded.pop(key) == self.reference.pop(key)

    @rule()
    def clear(self) -> None:
        self.bounded.clear()
        self.reference.clear()

    @invariant()
    def they_are_the_same_and_within_the_limits(self) -> None:
        assert self.bounded.evicted == self.reference.evicted
        assert len(self.bounded) == len(self.reference.values) <= self.reference.max_entries
        assert used_by(self.bounded) <= self.reference.max_bytes
        for queue in ("small", "main", "ghosts"):
            assert list(getattr(self.bounded, f"_{queue}")) == getattr(self.reference, queue)


Histories.TestCase.settings = settings(max_examples=100, stateful_step_count=60)
TestHistories = Histories.TestCase


def test_without_a_size_a_value_takes_an_entry_and_no_bytes() -> None:
    bounded = Bounded[int, str](2, max_bytes=0)
    bounded.set(1, "one")
    bounded.set(2, "two")
    assert (bounded.get(1), bounded.get(2), bounded.evicted) == ("one", "two", 0)


def test_a_value_too_large_takes_the_old_one_away_and_nothing_else() -> None:
    bounded = Bounded[int, str](10, max_bytes=5)
    bounded.set(1, "one", 2)
    bounded.set(2, "two", 2)
    bounded.set(2, "much", 6)
    assert (bounded.get(1), bounded.get(2), bounded.evicted) == ("one", None, 0)


def with_a_hot_set(max_entries: int, hot: range) -> Bounded[int, int]:
    bounded = Bounded[int, int](max_entries)
    for key in (*hot, *hot):
        if bounded.get(key) is None:
            bounded.set(key, key)
    return bounded


def test_a_scan_leaves_the_hot_set_where_it_is() -> None:
    hot = range(50)
    bounded = with_a_hot_set(100, hot)
    for key in range(1000, 2000):
        bounded.set(key, key)
    assert [bounded.get(key) for key in hot] == list(hot)


def test_a_scan_that_comes_again_and_again_does_not_get_the_better_of_the_hot_set() -> None:
    bounded = with_a_hot_set(100, range(50))
    chance = random.Random(1)
    scan = itertools.cycle(range(1000, 1400))
    hits = 0
    for _ in range(20_000):
        key = chance.randrange(50)
        for wanted in (key, *itertools.islice(scan, 2)):
            if bounded.get(wanted) is None:
                bounded.set(wanted, wanted)
            else:
                hits += wanted == key
    assert hits > 19_800


def test_a_new_hot_set_takes_the_place_of_the_old_one() -> None:
    bounded = with_a_hot_set(100, range(80))
    for key in list(range(1000, 1080)) * 4:
        if bounded.get(key) is None:
            bounded.set(key, key)
    assert [bounded.get(key) for key in range(1000, 1080)] == list(range(1000, 1080))


class Thing:
    """A key or a value that can be watched."""


def by_pop(bounded: Bounded[Thing, Thing], key: Thing) -> None:
    bounded.pop(key)


def by_clear(bounded: Bounded[Thing, Thing], key: Thing) -> None:
    bounded.clear()


def by_eviction(bounded: Bounded[Thing, Thing], key: Thing) -> None:
    for _ in range(2):
        bounded.set(Thing(), Thing())


def by_replacement(bounded: Bounded[Thing, Thing], key: Thing) -> None:
    bounded.set(key, Thing())


@pytest.mark.parametrize("remove", [by_pop, by_clear, by_eviction])
def test_what_is_removed_is_freed_at_once(
    remove: Callable[[Bounded[Thing, Thing], Thing], None],
) -> None:
    bounded = Bounded[Thing, Thing](2)
    key, value = Thing(), Thing()
    gone = weakref.ref(key), weakref.ref(value)
    bounded.set(key, value)
    remove(bounded, key)
    assert bounded.get(key) is None
    del key, value
    assert [reference() for reference in gone] == [None, None]


def test_a_value_that_is_replaced_is_freed_at_once() -> None:
    bounded = Bounded[Thing, Thing](2)
    key, value = Thing(), Thing()
    gone = weakref.ref(value)
    bounded.set(key, value)
    by_replacement(bounded, key)
    del value
    assert gone() is None


@pytest.mark.parametrize("remove", [by_pop, by_clear, by_eviction, by_replacement])
def test_others_can_go_on_while_a_removed_value_is_finalized(
    remove: Callable[[Bounded[Thing, Thing], Thing], None],
) -> None:
    bounded = Bounded[Thing, Thing](2)
    went_on: list[bool] = []

    def let_another_go_on() -> None:
        other = threading.Thread(target=bounded.pop, args=(Thing(),), daemon=True)
        other.start()
        other.join(5)
        went_on.append(not other.is_alive())

    key, value = Thing(), Thing()
    weakref.finalize(value, let_another_go_on)
    bounded.set(key, value)
    del value
    remove(bounded, key)
    assert went_on == [True]


def test_a_finalizer_that_runs_within_an_operation_can_come_back() -> None:
    bounded = Bounded[int, int](20)

    def finalize(*_: object) -> None:
        bounded.set(-1, -1)
        bounded.pop(-1)

    def work() -> None:
        sys.setprofile(finalize)  # runs at every call and return
        for key in range(100):
            bounded.set(key, key)
        sys.setprofile(None)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(10)
    assert not worker.is_alive()
    assert bounded.get(99) == 99
    used_by(bounded)


@pytest.fixture
def switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("switching_often")
def test_threads_at_the_same_keys_leave_it_whole() -> None:
    bounded = Bounded[int, int](40, max_bytes=300)
    wrong: list[object] = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        try:
            for _ in range(4000):
                key = chance.randrange(120)
                die = chance.randrange(20)
                found = bounded.pop(key) if die == 0 else bounded.get(key)
                if die > 10:
                    bounded.set(key, key * 1000 + seed, key % 13)
                elif die == key == 1:
                    bounded.clear()
                if (found is not None and found // 1000 != key) or len(bounded) > 40:
                    wrong.append((key, found, len(bounded)))
        except Exception as problem:  # noqa: BLE001 - told by the assertion below
            wrong.append(problem)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert used_by(bounded) <= 300

"""What a cache does, in plain Python: without a server, without bytes, and in a time of its own.

A `Model` is what several caches share on the server; what it says is what any of them says, once
it has heard of what the others did. Times are seconds, and pass only by `pass_time`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from octavo import PrecisionLost, WrongType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from octavo.cache.records import Written

State = Literal["fresh", "stale", "void", "missing"]


@dataclass(eq=False)
class Lease:
    """What a key holds while a value is made that was not there."""


@dataclass(eq=False)
class Value:
    """What a key holds: two are the same if they are one object."""

    value: Any
    ttl: float
    grace: float
    tags: dict[str, int]
    ends: float
    written: Written

    @property
    def plain(self) -> bool:
        """Whether it is stored in digits, which leaves no room for anything else."""
        return type(self.value) is int and not self.tags and not self.grace


@dataclass(frozen=True)
class Making:
    """A factory that runs: what its key held when it began, and how old the tags were."""

    key: str
    slot: Lease | Value
    versions: Mapping[str, int]
    changes: int


@dataclass
class Model:
    """The reference."""

    now: float = 0.0
    changes: int = 0
    slots: dict[str, Lease | Value] = field(default_factory=dict)
    versions: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for key, slot in list(self.slots.items()):
            if isinstance(slot, Value) and slot.ends <= self.now:
                del self.slots[key]

    # Looking

    def state(self, key: str) -> State:
        slot = self.slots.get(key)
        if not isinstance(slot, Value):
            return "missing"
        if any(self.versions[tag] != version for tag, version in slot.tags.items()):
            return "void"
        return "fresh" if self.left(slot) > 0 else "stale"

    def left(self, value: Value) -> float:
        """The seconds until it is stale."""
        return value.ends - value.grace - self.now

    def value(self, key: str) -> Value | None:
        """What is there for readers, fresh or stale."""
        slot = self.slots.get(key)
        there = self.state(key) in ("fresh", "stale")
        return slot if there and isinstance(slot, Value) else None

    def get(self, key: str, default: object = None) -> Any:
        value = self.value(key)
        return value.value if value and self.state(key) == "fresh" else default

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        return {key: self.get(key) for key in keys if self.state(key) == "fresh"}

    # Writing

    def set(
        self,
        key: str,
        value: object,
        ttl: float,
        grace: float = 0,
        tags: Iterable[str] = (),
        written: Written = "set",
    ) -> None:
        versions = {tag: self.versions[tag] for tag in tags}
        self._put(key, Value(value, ttl, grace, versions, 0, written))

    def _put(self, key: str, value: Value) -> None:
        if type(value.value) is int and not value.tags and value.written == "set":
            value = replace(value, grace=0)
        self.slots[key] = replace(value, ends=self.now + value.ttl + value.grace)

    def set_many(
        self, keys: Iterable[str], value: object, ttl: float, grace: float, tags: Iterable[str] = ()
    ) -> None:
        for key in keys:
            self.set(key, value, ttl, grace, tags)

    def add(
        self, key: str, value: object, ttl: float, grace: float, tags: Iterable[str] = ()
    ) -> bool:
        if self.value(key):
            return False
        self.set(key, value, ttl, grace, tags)
        return True

    def delete(self, key: str) -> bool:
        return self.slots.pop(key, None) is not None

    def touch(self, key: str, ttl: float) -> bool:
        value = self.value(key)
        if value:
            # It stays the same one: a factory that refreshes it goes on.
            value.ttl, value.ends = ttl, self.now + ttl + value.grace
        return value is not None

    def incr(self, key: str, n: int, ttl: float) -> int:
        value = self.value(key)
        if value is None:
            value = Value(0, ttl, 0, {}, self.now + ttl, "set")
        if not value.plain:
            raise WrongType(key)
        total = value.value + n
        if not all(-(2**63) <= number < 2**63 for number in (value.value, total)):
            raise PrecisionLost(key)
        self.slots[key] = replace(value, value=total)
        return int(total)

    def clear(self) -> None:
        self.slots.clear()

    def invalidate_tags(self, *tags: str) -> None:
        self.changes += 1
        for tag in tags:
            self.versions[tag] += 1

    # Making

    def begin(self, key: str, tags: Iterable[str] = (), *, renew: bool = False) -> Making:
        """A factory begins to run, because there is nothing fresh, or all the same."""
        value = self.value(key)
        assert value is None or renew or self.state(key) == "stale"
        slot: Lease | Value = value if value and not value.plain else Lease()
        self.slots[key] = slot
        return Making(key, slot, {tag: self.versions[tag] for tag in tags}, self.changes)

    def end(
        self,
        making: Making,
        value: object,
        ttl: float,
        grace: float,
        *,
        late: Iterable[str] = (),
        store: bool = True,
    ) -> bool:
        """It has returned; whether the value was stored."""
        if self.slots.get(making.key) is not making.slot:
            return False
        late = set(late) - making.versions.keys()
        if not store:
            del self.slots[making.key]
            return False
        if late and making.changes != self.changes:
            self.fail(making)
            return False
        tags = {**making.versions, **{tag: self.versions[tag] for tag in late}}
        written: Written = "created" if isinstance(making.slot, Lease) else "refreshed"
        self._put(making.key, Value(value, ttl, grace, tags, 0, written))
        return True

    def fail(self, making: Making) -> None:
        """It has raised, or its value is not to be stored."""
        if isinstance(making.slot, Lease) and self.slots.get(making.key) is making.slot:
            del self.slots[making.key]

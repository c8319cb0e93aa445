"""Objects that are atomic, and random histories of their use; they know nothing of the models."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from octavo.testing.histories import History, Operation, Outcome

if TYPE_CHECKING:
    import random

    Call = tuple[str, tuple[Any, ...]]

VALUES = (None, 1, 2, 3)


@dataclass
class Register:
    value: Any = None

    def call(self, rng: random.Random, process: str, number: int) -> Call:
        return rng.choice(
            [
                ("read", ()),
                ("write", (rng.choice(VALUES),)),
                ("cas", (rng.choice(VALUES), rng.choice(VALUES))),
            ]
        )

    def read(self) -> Any:
        return self.value

    def write(self, value: Any) -> None:
        self.value = value

    def cas(self, old: Any, new: Any) -> bool:
        swaps = bool(self.value == old)
        self.value = new if swaps else self.value
        return swaps


@dataclass
class Counter:
    count: int = 0

    def call(self, rng: random.Random, process: str, number: int) -> Call:
        return rng.choice([("read", ()), ("add", (rng.randint(1, 2),))])

    def read(self) -> int:
        return self.count

    def add(self, n: int) -> int:
        self.count += n
        return self.count


@dataclass
class Queue:
    items: deque[Any] = field(default_factory=deque)

    def call(self, rng: random.Random, process: str, number: int) -> Call:
        return rng.choice([("dequeue", ()), ("enqueue", (f"{process}-{number}",))])

    def enqueue(self, item: Any) -> None:
        self.items.append(item)

    def dequeue(self) -> Any:
        return self.items.popleft() if self.items else None


@dataclass
class Set:
    elements: set[Any] = field(default_factory=set)

    def call(self, rng: random.Random, process: str, number: int) -> Call:
        name = rng.choice(["add", "remove", "contains", "read"])
        return name, () if name == "read" else (rng.randint(1, 3),)

    def add(self, element: Any) -> bool:
        size = len(self.elements)
        self.elements.add(element)
        return len(self.elements) > size

    def remove(self, element: Any) -> bool:
        size = len(self.elements)
        self.elements.discard(element)
        return len(self.elements) < size

    def contains(self, element: Any) -> bool:
        return element in self.elements

    def read(self) -> list[Any]:
        return list(self.elements)


@dataclass
class Lock:
    limit: int = 1
    owners: set[str] = field(default_factory=set)
    fence: int = 0

    def call(self, rng: random.Random, process: str, number: int) -> Call:
        return (
            ("release", (f"{process}-{number - 1}",))
            if number % 2
            else ("acquire", (f"{process}-{number}",))
        )

    def acquire(self, owner: str) -> int | None:
        if len(self.owners) == self.limit:
            return None
        self.owners.add(owner)
        self.fence += 1
        return self.fence

    def release(self, owner: str) -> bool:
        held = owner in self.owners
        self.owners.discard(owner)
        return held


def history_of(
    made: Any, rng: random.Random, *, processes: int = 4, each: int = 5, unknown: float = 0.1
) -> History:
    """Have each operation take effect at one moment while it is in progress.

    One of unknown outcome takes effect then, much later, or never.
    """
    moments: list[tuple[float, Operation]] = []
    for process in (f"p{number}" for number in range(processes)):
        clock = 0.0
        for number in range(each):
            t_call = clock + rng.random()
            effect = t_call + rng.random() * 2
            clock = effect + rng.random()
            outcome: Outcome = "unknown" if rng.random() < unknown else "ok"
            if outcome == "unknown":
                effect += rng.choice([0, each, 1e9])
            name, args = made.call(rng, process, number)
            operation = Operation(process, name, args, t_call, clock, outcome)
            moments.append((effect, operation))
    done: list[Operation] = []
    for effect, operation in sorted(moments, key=lambda moment: moment[0]):
        result = getattr(made, operation.name)(*operation.args) if effect < 1e9 else None
        done.append(replace(operation, result=result if operation.outcome == "ok" else None))
    return History(done)


def contended_lock(rng: random.Random, operations: int, processes: int, ttl: float) -> History:
    """Have processes wait for a lock, hold it and wait again; now and then one crashes.

    A crash comes before the grant, which then happens or not, or while the lock is held.
    """
    history: list[Operation] = []
    free_at, fence = 0.0, 0
    asked = dict.fromkeys(range(processes), 0.0)
    while len(history) < operations:
        number = len(history)
        process = rng.choice([*asked])
        owner, t_call, fate = f"p{process}-{number}", asked[process], rng.random()
        if fate > 0.02:
            fence += rng.randint(1, 5)
            free_at = max(free_at, t_call) + rng.random() / 2
            seen = free_at + rng.random() / 2
            history.append(Operation(f"p{process}", "acquire", (owner,), t_call, seen, "ok", fence))
        else:
            history.append(Operation(f"p{process}", "acquire", (owner,), t_call, None, "unknown"))
            seen = free_at
            if fate > 0.01:
                asked[process] = free_at
                continue
        if fate < 0.04:
            free_at += ttl
        else:
            free_at = seen + rng.random()
            release = Operation(
                f"p{process}", "release", (owner,), seen, free_at + 0.5, "ok", result=True
            )
            history.append(release)
        asked[process] = free_at + 0.5
    return History(history)

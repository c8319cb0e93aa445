"""What objects do when operations come one at a time: the measure of what they do under load."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from octavo.testing.histories.operations import Operation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "UNKNOWN",
    "Counter",
    "Holder",
    "Model",
    "Mutex",
    "Queue",
    "Register",
    "Semaphore",
    "Set",
    "Unknown",
    "expirations",
]

S = TypeVar("S", bound=Hashable)


class Unknown(Enum):
    """The type of `UNKNOWN`."""

    UNKNOWN = auto()


UNKNOWN = Unknown.UNKNOWN
"""What stands for the result of an operation whose caller has not learned it."""


class Model(Protocol[S]):
    """A sequential specification of one object; its states are values that can be hashed."""

    def initial(self) -> S:
        """Return the state before the first operation."""
        ...

    def step(self, state: S, op: str, args: tuple[Any, ...], result: Any) -> Sequence[S]:
        """Return the states an operation may lead to, or none if it cannot return `result` now.

        If the result is `UNKNOWN`, it may be anything the operation can return now.
        """
        ...


class _Deterministic(ABC, Generic[S]):
    """A model in which the state decides what an operation returns and leads to."""

    @abstractmethod
    def initial(self) -> S: ...

    @abstractmethod
    def apply(self, state: S, op: str, args: tuple[Any, ...]) -> tuple[Any, S]:
        """Return the result and the next state."""

    def step(self, state: S, op: str, args: tuple[Any, ...], result: Any) -> Sequence[S]:
        returned, after = self.apply(state, op, args)
        return [after] if result is UNKNOWN or result == returned else []


class Register(_Deterministic[Hashable]):
    """A register: `read()` returns its value, `write(value)` None, `cas(old, new)` a bool."""

    def __init__(self, value: Hashable = None) -> None:
        self._value = value

    def initial(self) -> Hashable:
        """Return the first value."""
        return self._value

    def apply(self, state: Hashable, op: str, args: tuple[Any, ...]) -> tuple[Any, Hashable]:
        """Read, write, or write if the value is the old one."""
        match op, args:
            case "read", ():
                return state, state
            case "write", (value,):
                return None, value
            case "cas", (old, new):
                return state == old, new if state == old else state
            case _:
                raise _no_such(op, args)


class Counter(_Deterministic[float]):
    """A counter from zero: `add(n)` returns the new count, `read()` the count."""

    def initial(self) -> float:
        """Return zero."""
        return 0

    def apply(self, state: float, op: str, args: tuple[Any, ...]) -> tuple[Any, float]:
        """Add, or read the count."""
        match op, args:
            case "add", (n,):
                return state + n, state + n
            case "read", ():
                return state, state
            case _:
                raise _no_such(op, args)


class Queue(_Deterministic[tuple[Hashable, ...]]):
    """A FIFO queue: `enqueue(item)` returns None, `dequeue()` an item, or None if it is empty."""

    def initial(self) -> tuple[Hashable, ...]:
        """Return an empty queue."""
        return ()

    def apply(
        self, state: tuple[Hashable, ...], op: str, args: tuple[Any, ...]
    ) -> tuple[Any, tuple[Hashable, ...]]:
        """Append an item, or take the first."""
        match op, args:
            case "enqueue", (item,):
                return None, (*state, item)
            case "dequeue", ():
                return (state[0] if state else None), state[1:]
            case _:
                raise _no_such(op, args)


class Set(_Deterministic[frozenset[Hashable]]):
    """A set: `add(x)`, `remove(x)` return whether they changed it, `contains(x)`, `read()`."""

    def initial(self) -> frozenset[Hashable]:
        """Return the empty set."""
        return frozenset()

    def apply(
        self, state: frozenset[Hashable], op: str, args: tuple[Any, ...]
    ) -> tuple[Any, frozenset[Hashable]]:
        """Change the set, or look into it."""
        match op, args:
            case "add", (element,):
                return element not in state, state | {element}
            case "remove", (element,):
                return element in state, state - {element}
            case "contains", (element,):
                return element in state, state
            case "read", ():
                return state, state
            case _:
                raise _no_such(op, args)

    def step(
        self, state: frozenset[Hashable], op: str, args: tuple[Any, ...], result: Any
    ) -> Sequence[frozenset[Hashable]]:
        """Take a list of the elements, as a recorder writes it, for what `read` returned."""
        if op == "read" and result is not UNKNOWN:
            result = frozenset(result)
        return super().step(state, op, args, result)


class Holder(NamedTuple):
    """The state of a mutex: who holds it, and the newest fence known."""

    owner: Hashable
    fence: int


class Mutex:
    """A lock whose every grant has a higher fence than those before it.

    `acquire(owner)` returns the fence, or None if somebody holds the lock. `release(owner)`
    returns whether that owner held it. `expire(owner)` is what the server does to a lease whose
    time is up (see `expirations`). An owner stands for one attempt, not for a process: a late
    `release` of unknown outcome must not free what the same process acquired after it.
    """

    def initial(self) -> Holder:
        """Return a free lock, before the fence 1."""
        return Holder(owner=None, fence=0)

    def step(self, state: Holder, op: str, args: tuple[Any, ...], result: Any) -> Sequence[Holder]:
        """Grant only a free lock, under a new fence; free it only for its owner."""
        match op, args:
            case "acquire", (_,) if result is None:
                return [] if state.owner is None else [state]
            case "acquire", (owner,):
                if state.owner is not None:
                    return []
                if result is UNKNOWN:
                    # Its fence, which nobody saw, is taken for the old one. That a number lies
                    # between two known fences is not checked, but nobody else's need change.
                    return [state._replace(owner=owner)]
                return [Holder(owner, result)] if result > state.fence else []
            case (("release" | "expire"), (owner,)):
                held = state.owner == owner
                after = state._replace(owner=None) if held else state
                return [after] if result is UNKNOWN or result is held else []
            case _:
                raise _no_such(op, args)


class Semaphore:
    """Permits under a limit, as `Mutex` but for the fence; also a reader-writer lock.

    `acquire(owner, permits=1)` returns anything but None if granted, and None if that many
    permits were not free. A writer is somebody who takes as many as there are.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def initial(self) -> frozenset[tuple[Hashable, int]]:
        """Return a semaphore that nobody holds."""
        return frozenset()

    def step(
        self,
        state: frozenset[tuple[Hashable, int]],
        op: str,
        args: tuple[Any, ...],
        result: Any,
    ) -> Sequence[frozenset[tuple[Hashable, int]]]:
        """Grant only what is free; free only what its owner holds."""
        match op, args:
            case "acquire", (owner, *rest):
                permits = rest[0] if rest else 1
                fits = sum(taken for _, taken in state) + permits <= self._limit
                if result is None:
                    return [] if fits else [state]
                return [state | {(owner, permits)}] if fits else []
            case (("release" | "expire"), (owner,)):
                after = frozenset(holder for holder in state if holder[0] != owner)
                return [after] if result is UNKNOWN or result is (after != state) else []
            case _:
                raise _no_such(op, args)


def expirations(history: Iterable[Operation], ttl: float) -> list[Operation]:
    """Return what the server may have done by itself to the leases that were not released.

    A holder that is killed, or too slow, releases nothing; its lease ends some time after `ttl`
    seconds. Check a history of a `Mutex` or a `Semaphore` together with these.
    """
    operations = list(history)
    released = {
        (each.key, each.args[0])
        for each in operations
        if each.name == "release" and each.outcome == "ok" and each.result
    }
    return [
        Operation(
            each.process, "expire", each.args[:1], each.t_call + ttl, None, "unknown", key=each.key
        )
        for each in operations
        if each.name == "acquire"
        and (each.outcome == "unknown" or (each.outcome == "ok" and each.result is not None))
        and (each.key, each.args[0]) not in released
    ]


def _no_such(op: str, args: tuple[Any, ...]) -> ValueError:
    return ValueError(f"op must be one that the model has, not {op} with arguments {args}")

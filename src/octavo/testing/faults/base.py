"""What a fault is."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, TypeAlias, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager

__all__ = ["Fault", "Now", "Strike", "fault", "now"]

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Now: TypeAlias = T | Callable[[], T]
"""A value, or what to call for it when the fault strikes: who the primary is changes."""


class Strike(NamedTuple):
    """A fault that has happened.

    Attributes:
        name: the fault.
        victim: whom it hit.
        t0: when it began, on `time.monotonic()`.
        t1: when all was well again.
    """

    name: str
    victim: object
    t0: float
    t1: float


class Fault(Generic[T_co]):
    """Something that goes wrong and is put right again, as often as one likes.

        with kill(server):
            ...  # it is dead

    Args:
        name: what it is.
        happening: makes a context manager that strikes, tells whom, and heals.
    """

    def __init__(self, name: str, happening: Callable[[], AbstractContextManager[T_co]]) -> None:
        self.name = name
        self._happening = happening
        self._going_on: AbstractContextManager[T_co] | None = None

    def strike(self) -> T_co:
        """Do it, and return whom it hit once it has taken effect.

        Raises:
            RuntimeError: it has struck and is not healed.
        """
        if self._going_on:
            raise RuntimeError(f"{self.name} has struck and is not healed")
        happening = self._happening()
        victim = happening.__enter__()
        self._going_on = happening
        return victim

    def heal(self) -> None:
        """Undo it, and return when all is well; nothing happens if it has not struck."""
        happening, self._going_on = self._going_on, None
        if happening:
            happening.__exit__(None, None, None)

    def last(self, seconds: float = 0.0, *, unless: threading.Event | None = None) -> Strike:
        """Strike, let it last, heal, and return when that was.

        Args:
            seconds: how long it lasts.
            unless: heals it before that.
        """
        t0 = time.monotonic()
        with self as victim:
            (unless or threading.Event()).wait(seconds)
        return Strike(self.name, victim, t0, time.monotonic())

    def __enter__(self) -> T_co:
        """Strike."""
        return self.strike()

    def __exit__(self, *exc: object) -> None:
        """Heal."""
        self.heal()

    def __repr__(self) -> str:
        """Show the name."""
        return f"<fault {self.name}>"


def fault(function: Callable[P, Generator[T]]) -> Callable[P, Fault[T]]:
    """Make faults of a generator function, which strikes, yields whom it hit, and heals."""
    happening = contextmanager(function)

    @functools.wraps(function)
    def make(*args: P.args, **kwargs: P.kwargs) -> Fault[T]:
        return Fault(function.__name__, functools.partial(happening, *args, **kwargs))

    return make


def now(value: Now[T]) -> T:
    """Return the value, or what it returns when called."""
    found: Any = value() if callable(value) else value
    return cast("T", found)

"""What a forked child does with what it inherits."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

T = TypeVar("T")


class Inherited(Protocol):
    """Anything with connections that a child must not share with its parent."""

    def after_fork(self) -> None:
        """Let go of the parent's connections, without a word to the server."""


_inherited: weakref.WeakSet[Inherited] = weakref.WeakSet()


def mind_forks(engine: Inherited) -> None:
    """Have `after_fork` called in every child, for as long as the engine lives."""
    _inherited.add(engine)


def _after_fork() -> None:
    for engine in list(_inherited):
        engine.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class lazy(Generic[T]):  # noqa: N801 - it is a decorator
    """A property that is made at its first use, and kept.

    It has no lock: that of `functools.cached_property` in Python 3.11, which all objects of a class
    share, stays held for good in a child that is forked while another thread is in there.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, of: None, owner: type) -> Self: ...
    @overload
    def __get__(self, of: object, owner: type | None = None) -> T: ...
    def __get__(self, of: object | None, owner: type | None = None) -> Self | T:
        if of is None:
            return self
        value = vars(of)[self._name] = self._make(of)
        return value

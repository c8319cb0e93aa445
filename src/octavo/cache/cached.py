"""Functions whose results are cached by their arguments."""

from __future__ import annotations

import functools
import inspect
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, TypeVar, cast

from octavo.cache.calls import mark_async
from octavo.cache.filling import Want
from octavo.engine.command import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.cache.cache import Cache
    from octavo.cache.naming import CallKeys
    from octavo.cache.options import Options

P = ParamSpec("P")
T = TypeVar("T")


async def soon(value: T) -> T:
    """Return a value from a coroutine."""
    return value


class Ways(NamedTuple):
    """How a cached function reaches its cache.

    Attributes:
        cache: for everything but calls.
        obtain: gets a value, making it if need be.
        renew: makes a value, whatever is there.
        near: looks into the tier in the process; None where there is none.
        tasks: whether values are to be awaited.
    """

    cache: Cache[Any, Any]
    obtain: Callable[[Want], Any]
    renew: Callable[[Want], Any]
    near: Callable[[bytes], Any] | None
    tasks: bool


class Cached(Generic[P, T]):
    """A function whose results are cached; on the async face, one to await.

    Its methods take the function's own arguments. They return what the cache's return: on the
    async face coroutines.

    Attributes:
        original: the function itself.
    """

    def __init__(
        self, function: Callable[P, T], keys: CallKeys, options: Options, ways: Ways
    ) -> None:
        functools.update_wrapper(self, function)
        self.original = function
        self._keys = keys
        self._options = options
        self._cache, self._obtain, self._renew, self._near, self._tasks = ways
        if self._tasks:
            mark_async(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what is cached for these arguments, or what the function returns."""
        key = self._keys(args, kwargs).encode()
        if self._near is not None and (value := self._near(key)) is not MISSING:
            return cast("T", soon(value) if self._tasks else value)
        function = partial(self.original, *args, **kwargs)
        return cast("T", self._obtain(Want(key, function, self._options)))

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Bind a method to its object."""
        return self if instance is None else Bound(self, instance)

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key of a call in the cache."""
        return self._keys(args, kwargs)

    def get(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Return what is cached for a call, if it is fresh; else None."""
        return self._cache.get(self._keys(args, kwargs))

    def set(self, value: Any, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Store a value for a call."""
        options = self._options
        return self._cache.set(
            self._keys(args, kwargs),
            value,
            ttl=options.ttl / 1000,
            grace=options.grace / 1000,
            tags=options.tags,
        )

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function, store what it returns in the place of what is cached, return it."""
        function = partial(self.original, *args, **kwargs)
        want = Want(self._keys(args, kwargs).encode(), function, self._options)
        return cast("T", self._renew(want))

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Delete what is cached for a call; return whether there was anything."""
        return self._cache.delete(self._keys(args, kwargs))

    def info(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Return what there is to know about a call's value: an `Info`."""
        return self._cache.info(self._keys(args, kwargs))

    def __repr__(self) -> str:
        """Show the function's name."""
        return f"<Cached {self._keys.name}>"


class Bound:
    """A cached method of one object: the same methods, with that object as the first argument."""

    def __init__(self, cached: Cached[..., Any], instance: Any) -> None:
        self.__wrapped__ = cached.original
        self._cached = cached
        self._instance = instance
        if inspect.iscoroutinefunction(cached.original):
            mark_async(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what is cached for these arguments, or what the method returns."""
        return self._cached(self._instance, *args, **kwargs)

    def set(self, value: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Store a value for a call."""
        return self._cached.set(value, self._instance, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """Return one of the cached function's methods, bound; or what else it has."""
        attribute = getattr(self._cached, name)
        return partial(attribute, self._instance) if name in _BOUND else attribute


_BOUND = ("get", "info", "invalidate", "key", "original", "refresh")

"""Functions whose results are cached by their arguments."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from octavo.cache.filling import Want
from octavo.cache.layout import key_bytes
from octavo.cache.naming import CallKeys
from octavo.engine.command import MISSING

if TYPE_CHECKING:
    from octavo.cache.cache import Cache
    from octavo.cache.options import Options

P = ParamSpec("P")
T = TypeVar("T")


async def soon(value: T) -> T:
    """Return a value from a coroutine."""
    return value


class Cached(Generic[P, T]):
    """A function whose results are cached; on the async face, one to await.

    Its methods take the function's own arguments. They return what the cache's return: on the
    async face coroutines.

    Attributes:
        original: the function itself.
    """

    def __init__(
        self, cache: Cache[Any, Any], function: Callable[P, T], keys: CallKeys, options: Options
    ) -> None:
        functools.update_wrapper(self, function)
        self.original = function
        self._cache = cache
        self._keys = keys
        self._options = options
        self._obtain = cache._filler.value  # noqa: SLF001 - the cache's own decorator
        self._drive = cache._drive  # noqa: SLF001
        self._near = cache._near  # noqa: SLF001
        self._soon = soon if cache._common.tasks else None  # noqa: SLF001

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what is cached for these arguments, or what the function returns."""
        key = self._keys(args, kwargs).encode()
        if self._near is not None and (value := self._near(key)) is not MISSING:
            return cast("T", self._soon(value) if self._soon else value)
        function = partial(self.original, *args, **kwargs)
        want = Want(key, function, self._options)
        return cast("T", self._drive("cache.cached", self._obtain, want))

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
        want = Want(key_bytes(self._keys(args, kwargs)), function, self._options)
        renew = self._cache._filler.renew  # noqa: SLF001 - the cache's own decorator
        return cast("T", self._drive("cache.refresh", renew, want))

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
        self.original = partial(cached.original, instance)
        self.key = partial(cached.key, instance)
        self.get = partial(cached.get, instance)
        self.refresh = partial(cached.refresh, instance)
        self.invalidate = partial(cached.invalidate, instance)
        self.info = partial(cached.info, instance)
        self._cached = cached
        self._instance = instance

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what is cached for these arguments, or what the method returns."""
        return self._cached(self._instance, *args, **kwargs)

    def set(self, value: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Store a value for a call."""
        return self._cached.set(value, self._instance, *args, **kwargs)


def decorate(
    cache: Cache[Any, Any],
    options: Options,
    *,
    key: str | Callable[..., str] | None,
    name: str | None,
    ignore: str | Iterable[str],
    version: str | int | None,
) -> Callable[[Callable[P, T]], Cached[P, T]]:
    """Return the decorator that `Cache.cached` describes."""

    def decorator(function: Callable[P, T]) -> Cached[P, T]:
        if isinstance(function, staticmethod | classmethod):
            raise TypeError(f"cached goes below {type(function).__name__}, on the function itself")
        cache._check(function)  # noqa: SLF001 - the cache's own decorator
        keys = CallKeys(function, key=key, name=name, ignore=ignore, version=version)
        return Cached(cache, function, keys, options)

    return decorator

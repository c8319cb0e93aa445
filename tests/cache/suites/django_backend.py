"""A cache back end for Django, to run Django's own tests of back ends against our cache.

tests/runtests.py of Django's source, with CACHES = {"default": {
    "BACKEND": "tests.cache.suites.django_backend.OctavoCache", "LOCATION": "redis://..."}}
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

# Django, which only the benchmarks install, has no types.
from django.conf import settings  # type: ignore[import-not-found,import-untyped,unused-ignore]
from django.core.cache.backends.base import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
    DEFAULT_TIMEOUT,
    BaseCache,
)

from octavo.cache import SignedPickle
from tests.cache.suites.clients import client

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_FOR_EVER = 10 * 365 * 86_400


@contextmanager
def _as_pickle_says() -> Iterator[None]:
    """Raise what pickle raised, as Django's back ends do, instead of our TypeError about it."""
    try:
        yield
    except TypeError as error:
        raise (error.__cause__ or error) from None


class OctavoCache(BaseCache):  # type: ignore[misc]
    """Django's names for what our cache does.

    Django's caches of one location share their keys, which differ by prefix and version. A timeout
    of None is for ever, and one of 0 or less deletes.
    """

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        prefix = params.get("OPTIONS", {}).get("prefix", "octavo")
        codec = SignedPickle(settings.SECRET_KEY.encode().ljust(16, b"."))
        self._cache: Any = client(location, prefix).cache("django", ttl=300, codec=codec)

    def add(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        key, ttl = self.make_and_validate_key(key, version), self._ttl(timeout)
        if ttl is None:
            return not self._cache.fetch(key).found
        with _as_pickle_says():
            return bool(self._cache.add(key, value, ttl=ttl))

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        return self._cache.get(self.make_and_validate_key(key, version), default=default)

    def set(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        self.set_many({key: value}, timeout, version)

    def touch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        key, ttl = self.make_and_validate_key(key, version), self._ttl(timeout)
        return bool(self._cache.delete(key) if ttl is None else self._cache.touch(key, ttl))

    def delete(self, key: str, version: int | None = None) -> bool:
        return bool(self._cache.delete(self.make_and_validate_key(key, version)))

    def has_key(self, key: str, version: int | None = None) -> bool:
        return bool(self._cache.fetch(self.make_and_validate_key(key, version)).found)

    def incr(self, key: str, delta: int = 1, version: int | None = None) -> int:
        made = self.make_and_validate_key(key, version)
        if not self._cache.fetch(made).found:
            raise ValueError(f"Key '{key}' not found")
        return int(self._cache.incr(made, delta))

    def get_many(self, keys: Iterable[str], version: int | None = None) -> dict[str, Any]:
        made = {self.make_and_validate_key(key, version): key for key in keys}
        return {made[key]: value for key, value in self._cache.get_many(made).items()}

    def set_many(
        self, data: Mapping[str, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> list[str]:
        made = {self.make_and_validate_key(key, version): data[key] for key in data}
        ttl = self._ttl(timeout)
        if ttl is None:
            self._cache.delete_many(made)
        else:
            with _as_pickle_says():
                self._cache.set_many(made, ttl=ttl)
        return []

    def delete_many(self, keys: Iterable[str], version: int | None = None) -> None:
        self._cache.delete_many([self.make_and_validate_key(key, version) for key in keys])

    def clear(self) -> None:
        self._cache.clear()

    def _ttl(self, timeout: Any) -> float | None:
        """Return seconds, or None for what ends at once."""
        if timeout is DEFAULT_TIMEOUT:
            timeout = self.default_timeout
        if timeout is None:
            return _FOR_EVER
        return timeout if timeout > 0 else None

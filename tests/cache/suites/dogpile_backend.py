"""A back end for dogpile.cache: its own suites then say whether our cache holds what they ask."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

from dogpile.cache import register_backend
from dogpile.cache.api import NO_VALUE, BytesBackend, CacheMutex

from tests.cache.suites.clients import client

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class OctavoBackend(BytesBackend):
    """Stores the bytes that a region makes of values; the region itself decides what is stale.

    Args:
        arguments: `url` and `prefix` of the server; `ttl` of what is stored;
            `distributed_lock`, whether factories exclude each other across processes.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        db = client(arguments["url"], arguments["prefix"])
        self._cache: Any = db.cache("dogpile", ttl=arguments.get("ttl", 3600))
        self._locks: Any = db.cache("dogpile locks", ttl=60)
        self._distributed = arguments.get("distributed_lock", False)

    def get_mutex(self, key: str) -> CacheMutex | None:
        return Mutex(self._locks, key) if self._distributed else None

    def get_serialized(self, key: str) -> Any:
        return self._cache.get(key, default=NO_VALUE)

    def get_serialized_multi(self, keys: Iterable[str]) -> list[Any]:
        wanted = list(keys)
        found = self._cache.get_many(wanted)
        return [found.get(key, NO_VALUE) for key in wanted]

    def set_serialized(self, key: str, value: bytes) -> None:
        self._cache.set(key, value)

    def set_serialized_multi(self, mapping: Mapping[str, bytes]) -> None:
        self._cache.set_many(mapping)

    def delete(self, key: str) -> None:
        self._cache.delete(key)

    def delete_multi(self, keys: Iterable[str]) -> None:
        self._cache.delete_many(keys)


class Mutex(CacheMutex):
    """A lock that is a key which only one can add."""

    def __init__(self, locks: Any, key: str) -> None:
        self._locks = locks
        self._key = key
        self._token = str(uuid.uuid4())

    def acquire(self, wait: bool = True) -> bool:
        while not self._locks.add(self._key, self._token):
            if not wait:
                return False
            time.sleep(0.005)
        return True

    def release(self) -> None:
        if self._locks.get(self._key) == self._token:
            self._locks.delete(self._key)

    def locked(self) -> bool:
        return bool(self._locks.fetch(self._key).found)


register_backend("octavo", __name__, "OctavoBackend")  # type: ignore[no-untyped-call]

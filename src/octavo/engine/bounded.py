"""A mapping of limited size that a scan does not empty.

The policy is S3-FIFO (Yang et al., SOSP 2023) with one bit per entry. A new key enters the *small*
queue, which holds about a tenth of the entries. One that was visited by the time it leaves goes on
to the *main* queue; one that was not is evicted, and its hash becomes a *ghost*. So what is visited
once passes through the small queue and pushes nothing out of the main one. A key that is set while
its ghost is remembered enters the main queue at once. What leaves the main queue visited enters it
again, unvisited.

A visit sets a bit and moves nothing, which is why `get` needs no lock.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from dataclasses import dataclass
from threading import RLock
from typing import Generic, TypeVar

from octavo.engine.fork import mind_forks

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True, eq=False)
class _Entry(Generic[V]):
    """A value, and what the policy knows of it."""

    value: V
    size: int
    visited: bool = False


class Bounded(Generic[K, V]):
    """A mapping of limited size for any number of threads.

    Args:
        max_entries: The most entries there can be; at least 1.
        max_bytes: The most that the sizes given to `set` can add up to; None for no limit.

    Attributes:
        evicted: How many entries these limits pushed out.
    """

    def __init__(self, max_entries: int, max_bytes: int | None = None) -> None:
        self.evicted = 0
        self._max_entries = max_entries
        self._max_bytes = sys.maxsize if max_bytes is None else max_bytes
        self._bytes = 0
        self._entries: dict[K, _Entry[V]] = {}
        # A plain dict would keep the order too, but finds its first key by walking over every key
        # deleted before it.
        self._small: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._main: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._ghosts: OrderedDict[int, None] = OrderedDict()  # hashes, to keep no key alive
        # Reentrant: the garbage collector may run a finalizer in here that comes back.
        self._lock = RLock()
        mind_forks(self)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Return the value of a key, or None when it is not there."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        entry.visited = True
        return entry.value

    def set(self, key: K, value: V, size: int = 0) -> None:
        """Store a value and evict what it leaves no room for.

        A value larger than `max_bytes` is not stored. While a value is replaced, another thread
        may find neither the old one nor the new one.
        """
        with self._lock:
            queue = self._main if key in self._main or hash(key) in self._ghosts else self._small
            dropped = [self._remove(key)]
            if size <= self._max_bytes:
                while self._is_full(size) and (entry := self._evict()):
                    dropped.append(entry)
                self._ghosts.pop(hash(key), None)
                self._entries[key] = queue[key] = _Entry(value, size)
                self._bytes += size
        del dropped  # not before the lock is free, because a value may have a finalizer

    def pop(self, key: K) -> V | None:
        """Remove a key and return its value, or None when it is not there."""
        with self._lock:
            entry = self._remove(key)
        return None if entry is None else entry.value

    def clear(self) -> None:
        """Remove every key, and forget those that were there."""
        with self._lock:
            for queue in (self._small, self._main, self._ghosts):
                queue.clear()
            dropped, self._entries, self._bytes = self._entries, {}, 0
        del dropped  # see `set`

    def after_fork(self) -> None:
        """In a forked child: forget everything, which another thread may have been changing."""
        self._lock = RLock()
        self._bytes = 0
        self._entries = {}
        self._small, self._main, self._ghosts = OrderedDict(), OrderedDict(), OrderedDict()

    def _is_full(self, size: int) -> bool:
        return len(self._entries) >= self._max_entries or self._bytes + size > self._max_bytes

    def _remove(self, key: K) -> _Entry[V] | None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._small.pop(key, None)
            self._main.pop(key, None)
            self._bytes -= entry.size
        return entry

    def _evict(self) -> _Entry[V] | None:
        while queue := self._next_queue():
            key, entry = queue.popitem(last=False)
            if entry.visited:
                entry.visited = False
                self._main[key] = entry
                continue
            if queue is self._small:
                self._ghosts[hash(key)] = None
                while len(self._ghosts) > len(self._entries):
                    self._ghosts.popitem(last=False)
            self.evicted += 1
            return self._remove(key)
        return None

    def _next_queue(self) -> OrderedDict[K, _Entry[V]]:
        return self._small if len(self._small) * 10 >= len(self._entries) else self._main

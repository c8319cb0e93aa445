"""Which leases a thread or task is inside of.

Whose a lease is hangs on its random owner alone; this only tells which of them a `with` block that
ends has to release, and what a caller who waits is holding itself.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from octavo.engine.command import Common
    from octavo.locks.lease import Lease

    Spot = tuple[bytes, object]
    # A block `with lock:` has nothing else that keeps its lease; a lease that somebody was given
    # and has dropped is to end.
    Entry = tuple[weakref.ref[Lease[Any]], Lease[Any] | None]


class Entered:
    """The leases that each thread or task of a client is inside of, by key, the last one last."""

    def __init__(self, *, tasks: bool) -> None:
        self._tasks = tasks
        self._local = threading.local()
        self._entries: dict[Spot, list[Entry]] = {}

    def _here(self) -> object:
        if self._tasks:
            return asyncio.current_task()
        # Not its number, which another thread has after its end.
        token: object = getattr(self._local, "token", None)
        if token is None:
            token = self._local.token = object()
        return token

    def last(self, key: bytes) -> Lease[Any] | None:
        """Return the lease that this thread or task entered last, of those not released."""
        if not self._entries:
            return None
        for reference, _ in reversed(self._entries.get((key, self._here()), ())):
            lease = reference()
            if lease is not None and not lease.released:
                return lease
        return None

    def block(self, key: bytes) -> Lease[Any] | None:
        """Return the lease of the block `with lock:` that this thread or task entered last."""
        entries = self._entries.get((key, self._here()), ())
        return next((kept for _, kept in reversed(entries) if kept is not None), None)

    def enter(self, key: bytes, lease: Lease[Any], *, keep: bool) -> Spot:
        """Note that this thread or task is inside; return what `leave` takes.

        Args:
            key: what tells apart what is held.
            lease: the lease.
            keep: whether nobody else has the lease.
        """
        spot = key, self._here()
        entry = weakref.ref(lease), lease if keep else None
        self._entries.setdefault(spot, []).append(entry)
        return spot

    def leave(self, spot: Spot, lease: Lease[Any]) -> None:
        """Note that it is not inside any more."""
        left = [entry for entry in self._entries.pop(spot, ()) if entry[0]() not in (lease, None)]
        if left:
            self._entries[spot] = left


def entered_of(common: Common) -> Entered:
    """Return where this client's threads or tasks are."""
    return common.shared("locks.entered", lambda: Entered(tasks=common.tasks))

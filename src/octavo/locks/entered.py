"""Which leases a thread or task is inside of.

Whose a lease is hangs on its random owner alone. This only tells which of them the end of a block
`with lock:` has to release, and what a caller who waits is holding itself.
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


class Entered:
    """The leases that each thread or task of a client is inside of, by key, the last one last."""

    def __init__(self, *, tasks: bool) -> None:
        self._tasks = tasks
        self._local = threading.local()
        # A lease that is dropped is to end.
        self._leases: dict[Spot, list[weakref.ref[Lease[Any]]]] = {}

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
        for reference in reversed(self._leases.get(self.spot(key), ())) if self._leases else ():
            lease: Lease[Any] | None = reference()
            if lease is not None and not lease.released:
                return lease
        return None

    def spot(self, key: bytes) -> Spot:
        """Return what tells this thread or task, and a key, from all others."""
        return key, self._here()

    def enter(self, key: bytes, lease: Lease[Any]) -> Spot:
        """Note that this thread or task is inside; return what `leave` takes."""
        spot = self.spot(key)
        self._leases.setdefault(spot, []).append(weakref.ref(lease))
        return spot

    def leave(self, spot: Spot, lease: Lease[Any]) -> None:
        """Note that it is not inside any more."""
        left = [each for each in self._leases.pop(spot, ()) if each() not in (lease, None)]
        if left:
            self._leases[spot] = left


def entered_of(common: Common) -> Entered:
    """Return where this client's threads or tasks are."""
    return common.shared("locks.entered", lambda: Entered(tasks=common.tasks))

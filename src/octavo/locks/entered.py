"""Which leases a thread or task is inside of.

Whose a lease is hangs on its random owner alone; this only tells which of them a `with` block that
ends has to release, and what a caller who waits is holding itself.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from octavo.engine.command import Common
    from octavo.locks.lease import Lease

    Spot = tuple[bytes, object]


class Entered:
    """The leases that each thread or task of a client is inside of, by key, the last one last."""

    def __init__(self, *, tasks: bool) -> None:
        self._here = asyncio.current_task if tasks else threading.get_ident
        self._leases: dict[Spot, list[Lease[Any]]] = {}

    def last(self, key: bytes) -> Lease[Any] | None:
        """Return the lease that this thread or task entered last."""
        leases = self._leases.get((key, self._here())) if self._leases else None
        return leases[-1] if leases else None

    def enter(self, key: bytes, lease: Lease[Any]) -> Spot:
        """Note that this thread or task is inside; return what `leave` takes."""
        spot = key, self._here()
        self._leases.setdefault(spot, []).append(lease)
        return spot

    def leave(self, spot: Spot, lease: Lease[Any]) -> None:
        """Note that it is not inside any more."""
        leases = self._leases.get(spot, [])
        if lease in leases:
            leases.remove(lease)
        if not leases:
            self._leases.pop(spot, None)


def entered_of(common: Common) -> Entered:
    """Return where this client's threads or tasks are."""
    return common.shared("locks.entered", lambda: Entered(tasks=common.tasks))

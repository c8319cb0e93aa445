"""Which leases a thread or task is inside of.

Whose a lease is hangs on its random owner alone. This only tells which of them the end of a block
`with lock:` has to release, and what a caller who waits is holding itself.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from octavo.engine.command import Common
    from octavo.locks.lease import Lease


class Entered:
    """The leases that each thread or task of a client is inside of, the last one last."""

    def __init__(self, *, tasks: bool) -> None:
        self._tasks = tasks
        self._local = threading.local()
        # A lease that is dropped is to end.
        self._leases: dict[object, list[weakref.ref[Lease[Any]]]] = {}

    def here(self) -> object:
        """Return what tells this thread or task from all others."""
        if self._tasks:
            return asyncio.current_task()
        # Not its number, which another thread has after its end.
        token: object = getattr(self._local, "token", None)
        if token is None:
            token = self._local.token = object()
        return token

    def leases(self, keys: tuple[bytes, ...]) -> list[Lease[Any]]:
        """Return the leases of any of these that were entered here, and are not released."""
        references = self._leases.get(self.here(), ()) if self._leases else ()
        found = [lease for each in references if (lease := each()) and not lease.released]
        return [lease for lease in found if not set(keys).isdisjoint(lease.grant.keys)]

    def enter(self, lease: Lease[Any]) -> object:
        """Note that this thread or task is inside; return what `leave` takes."""
        here = self.here()
        reference = weakref.ref(lease, partial(self._drop, here))
        self._leases.setdefault(here, []).append(reference)
        return here

    def _drop(self, where: object, reference: weakref.ref[Lease[Any]]) -> None:
        left = [each for each in self._leases.pop(where, ()) if each is not reference]
        if left:
            self._leases[where] = left

    def leave(self, where: object, lease: Lease[Any]) -> None:
        """Note that it is not inside any more."""
        left = [each for each in self._leases.pop(where, ()) if each() not in (lease, None)]
        if left:
            self._leases[where] = left


def entered_of(common: Common) -> Entered:
    """Return where this client's threads or tasks are."""
    return common.shared("locks.entered", lambda: Entered(tasks=common.tasks))

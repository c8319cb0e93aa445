"""Mutual exclusion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from octavo.engine.checks import flag
from octavo.engine.command import M, flow
from octavo.locks.holdable import Holdable
from octavo.locks.options import HoldOptions, check_terms
from octavo.locks.places import Places

if TYPE_CHECKING:
    from octavo.engine.command import Engine
    from octavo.locks.lease import Lease
    from octavo.locks.options import Seconds


class Lock(Holdable[M]):
    """A lock that one holder has at a time, in any process.

    It is a context manager that waits for a lease as long as it takes.

    Args:
        engine: carries its commands.
        name: what users call it.
        base: what its keys begin with.
        fair: grant it in the order in which it was asked for. Otherwise whoever comes just when it
            is free gets it, before somebody who has waited for less than 5 ms.
        reentrant: a thread or task that holds it gets it again, at once.
        options: see `HoldOptions`.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        base: str,
        *,
        fair: bool = False,
        reentrant: bool = False,
        **options: Unpack[HoldOptions],
    ) -> None:
        terms = check_terms(**options)
        fair = flag("fair", fair)
        places = Places(engine.common, name, base, limit=1, fair=fair, terms=terms)
        super().__init__(engine, places, reentrant=flag("reentrant", reentrant))

    @flow
    async def acquire(self, wait: Seconds | None = None) -> Lease[M]:
        """Return a lease, waiting for it if need be.

        One round trip if it is free. Otherwise one more, or two, to stand in the queue, and one
        when its turn comes, or none if that is within a second. A cancelled call leaves nothing
        behind.

        Args:
            wait: for how many seconds, or a timedelta; None is as long as it takes.

        Raises:
            LockTimeout: it was not free within `wait`.
            NotReplicated: fewer replicas than `sync` took the grant.
            WouldDeadlock: the caller is inside of a lease of the very lock, which is not reentrant.
        """
        return await self._within(1, wait)

    @flow
    async def try_acquire(self) -> Lease[M] | None:
        """Return a lease if the lock is free, or None. One round trip.

        Raises:
            NotReplicated: fewer replicas than `sync` took the grant.
        """
        return await self._try(1)

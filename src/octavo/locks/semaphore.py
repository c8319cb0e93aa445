"""A number of permits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from octavo.engine.checks import whole
from octavo.engine.command import M, flow, operation
from octavo.locks.holdable import Holdable
from octavo.locks.options import HoldOptions, check_terms
from octavo.locks.places import Places
from octavo.locks.scripts import AVAILABLE

if TYPE_CHECKING:
    from octavo.engine.command import Command, Engine
    from octavo.locks.lease import Lease
    from octavo.locks.options import Seconds

_MOST = 1_000_000


class Semaphore(Holdable[M]):
    """A number of permits that holders have among them, each for the time of a lease.

    Permits are granted in the order in which they were asked for: who wants many is not passed by
    those who want few. It is a context manager that waits for one permit as long as it takes.

    Args:
        engine: carries its commands.
        name: what users call it.
        base: what its keys begin with.
        limit: how many permits there are; while any is held or waited for, all have to say so.
        options: see `HoldOptions`.
    """

    def __init__(
        self, engine: Engine, name: str, base: str, limit: int, **options: Unpack[HoldOptions]
    ) -> None:
        terms = check_terms(**options)
        limit = whole("limit", limit, 1, _MOST)
        places = Places(engine.common, name, base, limit=limit, fair=True, terms=terms)
        super().__init__(engine, places, reentrant=False)

    @flow
    async def acquire(self, permits: int = 1, wait: Seconds | None = None) -> Lease[M]:
        """Return a lease of so many permits, waiting for them if need be.

        Round trips as for `Lock.acquire`.

        Args:
            permits: how many, from 1 to the limit.
            wait: for how many seconds, or a timedelta; None is as long as it takes.

        Raises:
            LockTimeout: they were not free within `wait`.
            ConfigMismatch: the semaphore is in use with another limit.
            NotReplicated: fewer replicas than `sync` took the grant.
            WouldDeadlock: the leases that the caller is inside of leave too few.
        """
        return await self._within(whole("permits", permits, 1, self._places.limit), wait)

    @flow
    async def try_acquire(self, permits: int = 1) -> Lease[M] | None:
        """Return a lease of so many permits if they are free now, or None. One round trip.

        Raises:
            ConfigMismatch: the semaphore is in use with another limit.
        """
        return await self._try(whole("permits", permits, 1, self._places.limit))

    @operation
    def available(self) -> Command[int]:
        """Return how many permits nobody holds; those who wait may be given them first. O(log n).

        Raises:
            ConfigMismatch: the semaphore is in use with another limit.
        """
        return AVAILABLE(self._places.keys, (str(self._places.limit),), int)

"""Many readers or one writer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from octavo.engine.checks import flag
from octavo.engine.command import Job, M, flow
from octavo.locks.grant import Grant
from octavo.locks.holdable import Holdable
from octavo.locks.lease import Lease
from octavo.locks.options import HoldOptions, check_terms
from octavo.locks.places import MOST_READERS, Places

if TYPE_CHECKING:
    from octavo.engine.command import Engine
    from octavo.locks.options import Seconds


class Side(Holdable[M]):
    """One side of a read-write lock: `RWLock.reader` or `RWLock.writer`.

    It is a context manager that waits for a lease as long as it takes.
    """

    def __repr__(self) -> str:
        """Show the name, and which side it is."""
        return f"<{'reader' if self._weight == 1 else 'writer'} of {self.name!r}>"

    def _fits_beside(self, weight: int, held: int) -> bool:
        # Not even beside another reader: a writer may wait between the two.
        return False

    @flow
    async def acquire(self, wait: Seconds | None = None) -> Lease[M]:
        """Return a lease, waiting for it if need be. Round trips as for `Lock.acquire`.

        Args:
            wait: for how many seconds, or a timedelta; None is as long as it takes.

        Raises:
            LockTimeout: it was not free within `wait`.
            NotReplicated: fewer replicas than `sync` took the grant.
            WouldDeadlock: the caller is inside of the other side, or of this one, and would wait
                for itself.
        """
        return await self._within(self._weight, wait)

    @flow
    async def try_acquire(self) -> Lease[M] | None:
        """Return a lease if there is a place now, or None. One round trip."""
        return await self._try(self._weight)


class RWLock(Job[M]):
    """A lock that any number of readers have at a time, or one writer.

    Phase-fair: whoever waits gets it in the order in which it was asked for, and readers who stand
    beside each other get it together. A waiting writer holds up the readers behind it, so that
    neither side starves. Each reader has a lease of its own.

    Attributes:
        reader: the side of those who read.
        writer: the side of who writes.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        base: str,
        *,
        reentrant: bool = False,
        **options: Unpack[HoldOptions],
    ) -> None:
        super().__init__(engine)
        terms = check_terms(**options)
        flag("reentrant", reentrant)
        places = Places(engine.common, name, base, limit=MOST_READERS, fair=True, terms=terms)
        self.name = name
        self.reader: Side[M] = Side(engine, places, reentrant=reentrant)
        self.writer: Side[M] = Side(engine, places, reentrant=reentrant, weight=MOST_READERS)

    @flow
    async def downgrade(self, lease: Lease[M]) -> None:
        """Make a writer's lease a reader's, and let in readers who wait. One round trip.

        The lease goes on; nobody else can write in between.

        Raises:
            LockLost: it had ended.
            ConnectionLost: it may be a reader's already: write no more.
        """
        if not isinstance(lease, Lease):
            raise TypeError(f"lease must be a Lease, not {lease!r}")
        grant = lease.grant
        if not isinstance(grant, Grant) or grant.keys != self.writer.keys:
            raise ValueError(f"lease must be one of {self!r}, not {lease!r}")
        lease.check()
        await grant.lighten(1)

    def __repr__(self) -> str:
        """Show the name."""
        return f"<RWLock {self.name!r}>"

"""What locks, the two sides of read-write locks, and semaphores have in common."""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from octavo.engine.command import Job, M
from octavo.errors import LockTimeout, OctavoError, WouldDeadlock
from octavo.locks.acquiring import Ask
from octavo.locks.entered import entered_of
from octavo.locks.lease import Lease
from octavo.locks.options import wait_seconds

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

    from octavo.engine.command import Async, Engine, Sync
    from octavo.locks.grant import Held
    from octavo.locks.options import Seconds
    from octavo.locks.places import Places


class Holdable(Job[M]):
    """Something of which leases are granted."""

    def __init__(self, engine: Engine, places: Places, *, reentrant: bool, weight: int = 1) -> None:
        super().__init__(engine)
        self._engine = engine
        self._places = places
        self._reentrant = reentrant
        self._weight = weight
        self._open: list[Lease[Any]] = []

    @property
    def keys(self) -> tuple[bytes, ...]:
        """What tells it apart from everything else that can be held."""
        return (self._places.keys.leases,)

    @property
    def name(self) -> str:
        """The name it was asked for by."""
        return self._places.name

    async def _try(self, weight: int) -> Lease[M] | None:
        """Return a lease if there is a place now."""
        if (again := self._again(weight, wait=0.0)) is not None:
            return again
        held = await self._ask(weight, 0.0)
        return None if held is None else await self._lease(held)

    async def _within(self, weight: int, wait: Seconds | None) -> Lease[M]:
        """Return a lease, waiting for it."""
        seconds = wait_seconds(wait)
        if (again := self._again(weight, seconds)) is not None:
            return again
        held = await self._ask(weight, seconds)
        if held is None:
            raise LockTimeout(f"{self.name!r} was not free within {seconds:g} seconds")
        return await self._lease(held)

    def _ask(self, weight: int, wait: float | None) -> Coroutine[Any, Any, Held | None]:
        """Return what is granted within so many seconds; None is no end."""
        return Ask(self._places, weight).within(wait)

    def _again(self, weight: int, wait: float | None) -> Lease[M] | None:
        """Return another handle of what the caller is inside of, if it is reentrant.

        Raises:
            WouldDeadlock: the caller would wait for itself.
            LockLost: what it is inside of is lost.
        """
        leases = entered_of(self._common).leases(self.keys)
        if not leases:
            return None
        grant = leases[-1].grant
        upgrade = weight > grant.weight
        if self._reentrant and not upgrade:
            grant.check()
            grant.handles += 1
            return self._handle(grant)
        for_ever = wait is None or (upgrade and wait > 0)
        held = sum({lease.grant: lease.grant.weight for lease in leases}.values())
        if for_ever and grant.valid and not self._fits_beside(weight, held):
            raise WouldDeadlock(f"{self.name!r} is held by the very caller who would wait for it")
        return None

    def _fits_beside(self, weight: int, held: int) -> bool:
        """Whether somebody who holds so much may get this too."""
        return weight + held <= self._places.limit

    async def _lease(self, grant: Held) -> Lease[M]:
        try:
            if (on_lost := self._places.terms.on_lost) is not None:
                engine = self._engine
                grant.tell_by(lambda grant: on_lost(Lease(engine, grant)), copy_context())
            return self._handle(grant)
        except BaseException:
            await grant.give_back()
            raise

    def _handle(self, grant: Held) -> Lease[M]:
        lease: Lease[M] = Lease(self._engine, grant)
        if self._reentrant:
            lease.enter()
        return lease

    def __enter__(self: Holdable[Sync]) -> Lease[Sync]:
        """Wait for a lease, and hold it until the end of the block."""
        lease: Lease[Sync] = self._drive("lock.acquire", self._within, self._weight, None)
        try:
            self._open.append(lease)
            return lease.__enter__()
        except BaseException:
            self._open.remove(lease)
            lease.release()
            raise

    def __exit__(
        self: Holdable[Sync],
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release it; see `Lease`."""
        lease: Lease[Sync] | None = None
        try:
            lease = self._block()
            lease.__exit__(kind, error, traceback)
        except (OctavoError, RuntimeError):
            raise
        except BaseException:
            # An interrupt, wherever it has struck.
            (lease or self._block()).release()
            raise
        finally:
            if lease is not None:
                self._open.remove(lease)

    async def __aenter__(self: Holdable[Async]) -> Lease[Async]:
        """Wait for a lease, and hold it until the end of the block."""
        lease: Lease[Async] = await self._drive("lock.acquire", self._within, self._weight, None)
        self._open.append(lease)
        return await lease.__aenter__()

    async def __aexit__(
        self: Holdable[Async],
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release it; see `Lease`."""
        lease = self._block()
        self._open.remove(lease)
        await lease.__aexit__(kind, error, traceback)

    def _block(self) -> Lease[Any]:
        """Return the lease of the block that ends here."""
        here = entered_of(self._common).here()
        mine = [lease for lease in self._open if lease.block == here]
        # A block may end in another thread or task than it began in, if it is the only one.
        if not mine and len(self._open) == 1:
            mine = self._open
        if not mine:
            raise RuntimeError(
                f"a block that holds {self.name!r} ends in another thread or task than it began "
                "in, and there are several: hold the lease that acquire() returns instead"
            )
        return mine[-1]

    def __repr__(self) -> str:
        """Show what it is, and the name."""
        return f"<{type(self).__name__} {self.name!r}>"

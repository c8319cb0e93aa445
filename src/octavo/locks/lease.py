"""What one holds."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, TypeVar

from octavo.engine.command import Job, M, WaitFor, flow
from octavo.errors import OctavoError
from octavo.locks import clock
from octavo.locks.entered import entered_of
from octavo.locks.options import lease_seconds, wait_seconds

if TYPE_CHECKING:
    from types import TracebackType

    from octavo.engine.command import Async, Command, Engine, Sync
    from octavo.errors import LockLost
    from octavo.locks.grant import Held
    from octavo.locks.options import Seconds

log = logging.getLogger("octavo")

SyncLease = TypeVar("SyncLease", bound="Lease[Sync]")
AsyncLease = TypeVar("AsyncLease", bound="Lease[Async]")


class Loss(Job[M]):
    """The event that a lease is lost: `lease.lost`."""

    def __init__(self, engine: Engine, grant: Held) -> None:
        super().__init__(engine)
        self._grant = grant

    def is_set(self) -> bool:
        """Return whether it was lost. No I/O."""
        return self._grant.lost

    __bool__ = is_set

    @flow
    async def wait(self, timeout: Seconds | None = None) -> bool:
        """Wait until it is lost; return False if `timeout` seconds passed first. No I/O."""
        return await WaitFor(self._grant.signal, wait_seconds(timeout, "timeout"))


class _Body:
    """The task that is inside of an `async with` block, to be cancelled when the lease is lost."""

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"  # noqa: S101
        self._task = task
        self._cancelling = task.cancelling()
        self._cancelled = False
        self._over = False

    def cancel(self) -> None:
        """Have it cancelled, unless it ends by itself before anything else happens."""
        # Whoever finds the loss out may be the task itself, or another thread.
        self._task.get_loop().call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if not (self._over or self._cancelled):
            self._cancelled = True
            self._task.cancel()

    def leave(self, error: BaseException | None) -> bool:
        """End; return whether the error is no other's than our own cancellation."""
        self._over = True
        if not self._cancelled:
            return False
        ours = self._task.uncancel() <= self._cancelling
        return ours and isinstance(error, asyncio.CancelledError)


class Lease(Job[M]):
    """The right to what was granted, from the grant until it is released or lost.

    It is a context manager that releases it. Leaving the block raises `LockLost` if the lease was
    lost meanwhile, unless another error is on its way; in async code the block is cancelled at that
    moment. Whoever has the object has the lease: it may go to another thread or task, not to
    another process. It is renewed for as long as the object is there; dropped without release, it
    ends with its ttl.

    Attributes:
        name: the name of what is held.
        owner: the random name under which it is held, for those who look from outside.
        fence: its fencing token, greater than that of every grant before it.
        released: whether it was given back.
        block: the thread or task in which its block began.
    """

    def __init__(self, engine: Engine, grant: Held) -> None:
        super().__init__(engine)
        self._engine = engine
        self._grant = grant
        self.released = False
        self._spot: object = None
        self.block: object = None
        self._body: _Body | None = None

    @property
    def grant(self) -> Held:
        """What is known of it."""
        return self._grant

    @property
    def name(self) -> str:
        """The name of what is held."""
        return self._grant.name

    @property
    def owner(self) -> str:
        """The random name under which it is held."""
        return self._grant.owner.decode()

    @property
    def fence(self) -> int:
        """The fencing token: microseconds since 1970 at the grant, or one more than the last."""
        return self._grant.fence

    @property
    def weight(self) -> int:
        """How much of what can be held it takes: the permits of a semaphore."""
        return self._grant.weight

    @property
    def valid(self) -> bool:
        """Whether it is certain to be held at this moment. No I/O.

        It goes by a clock that does not stop while the machine sleeps, from before the server was
        asked, and leaves 1 % of the ttl and 2 ms for the difference between clocks.
        """
        return not self.released and self._grant.valid

    def remaining(self) -> float:
        """Return for how many seconds it is certain to be held, if it is not renewed. No I/O."""
        return max(self._grant.until - clock.now(), 0.0) if self.valid else 0.0

    @property
    def held_for(self) -> float:
        """Seconds since it was asked for, until it ended. No I/O."""
        return self._grant.held_for

    @property
    def lost(self) -> Loss[M]:
        """An event: that it is not held any more although it was not released."""
        return Loss(self._engine, self._grant)

    def check(self) -> None:
        """Return if it is certain to be held at this moment. No I/O.

        Raises:
            LockLost: it is not.
        """
        if self.released:
            raise self._grant.error()
        self._grant.check()

    @flow
    async def extend(self, ttl: Seconds | None = None) -> None:
        """Have it last `ttl` seconds from now on, and with each renewal. One round trip.

        Args:
            ttl: seconds or a timedelta, 10 ms to 24 hours; None is the ttl it has.

        Raises:
            LockLost: it had ended.
        """
        seconds = self._grant.ttl if ttl is None else lease_seconds("ttl", ttl)
        self.check()
        await self._grant.extend(seconds)

    @flow
    async def release(self) -> bool:
        """Give it back; return False if it had been lost. Once released, nothing more is sent.

        One round trip. If the reply is lost, it is asked for again; a cancelled release is
        finished all the same.

        Raises:
            ConnectionLost: the server was not reached. It may be called again; otherwise the lease
                ends with its ttl.
        """
        return await self.end()

    async def end(self) -> bool:
        """Give it back: a step of flows."""
        self.leave()
        if not self.released:
            self._grant.handles -= 1
            self.released = True
        if self._grant.handles:
            return self._grant.valid
        return await self._grant.give_back()

    def guard_command(self) -> Command[bool]:
        """Return the Command by which a batch with this guard finds out if the lease holds."""
        return self._grant.holding()

    def guard_error(self) -> LockLost:
        """Return what a batch raises if the lease does not hold."""
        self._grant.lose("the server says that it has ended")
        return self._grant.error()

    def enter(self) -> None:
        """Note that this thread or task is inside of it."""
        self.leave()
        self._spot = entered_of(self._common).enter(self)

    def leave(self) -> None:
        """Note that nobody is inside of it any more."""
        if self._spot is not None:
            entered_of(self._common).leave(self._spot, self)
            self._spot = None

    def __enter__(self: SyncLease) -> SyncLease:  # noqa: PYI019 - of a sync one only
        """Hold it until the end of the block, if it is held."""
        self.check()
        self.enter()
        self.block = self._spot
        return self

    def __exit__(
        self: Lease[Sync],
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release it.

        Raises:
            LockLost: it was lost, and the block did not end in an error.
        """
        try:
            held = self.release()
        except (OctavoError, RuntimeError) as unreleased:  # the client may be closed
            held = self._unreleased(unreleased)
        except BaseException:
            self.release()
            raise
        if not held and error is None:
            raise self._grant.error()

    async def __aenter__(self: AsyncLease) -> AsyncLease:  # noqa: PYI019
        """Hold it until the end of the block, which is cancelled if it is lost."""
        self.check()
        self.enter()
        self.block = self._spot
        self._body = body = _Body()
        self._grant.on_loss.append(body.cancel)
        return self

    async def __aexit__(
        self: Lease[Async],
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release it.

        Raises:
            LockLost: it was lost, and the block did not end in an error of its own.
        """
        cancelled = False
        if (body := self._body) is not None:
            cancelled = body.leave(error)
            self._grant.on_loss.remove(body.cancel)
        try:
            held = await self.release()
        except (OctavoError, RuntimeError) as unreleased:  # the client may be closed
            held = self._unreleased(unreleased)
        if not held and (error is None or cancelled):
            raise self._grant.error() from error

    def _unreleased(self, why: Exception) -> bool:
        """Return whether it was held to the end although nobody heard of its release."""
        log.warning("octavo could not release %r, which ends with its ttl: %s", self.name, why)
        return not self._grant.lost

    def __repr__(self) -> str:
        """Show the name, the fence and how long it is good for."""
        state = f"{self.remaining():.1f} s" if self.valid else self._grant.ended or "over"
        return f"<Lease {self.name!r} fence={self.fence} {state}>"

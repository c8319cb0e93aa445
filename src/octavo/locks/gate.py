"""The gate: the side of a resource in fencing.

Its key has the hash tag of the gate, or of its `tag=`.

| key | Redis type | holds | TTL |
|---|---|---|---|
| `{base}:newest` | string | the newest fence admitted | none, or `ttl=` since it was |
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from octavo.engine.checks import millis, whole
from octavo.engine.command import Command, Job, M, operation
from octavo.engine.script import Script
from octavo.errors import StaleFence

if TYPE_CHECKING:
    from datetime import timedelta

    from octavo.engine.command import Engine

ADMIT = Script(Path(__file__).with_name("gate_admit.lua"), idempotent=True)
"""Admitting a fence again changes nothing."""


class Gate(Job[M]):
    """What lets the holders of a lock at a resource, and nobody who has lost the lock.

        gate = db.fence("report")
        with db.lock("report") as lease:
            gate.admit(lease.fence)

    A holder that was stopped for longer than its lease does not know that it has lost the lock.
    But its fence is older than that of whoever has got the lock since, and a gate that has seen
    a newer one refuses it. Admit the fence before you read what you are going to change: until then
    the gate does not know of it. What is written in octavo's own keys is best guarded in one step,
    by `db.batch(guard=gate.guard(lease.fence))`.

    Args:
        engine: what carries the commands.
        base: what the gate's key begins with.
        ttl: seconds after which the newest fence is forgotten, counted from when it was last
            admitted; None keeps it for ever. Make it longer than anybody can be late.
    """

    def __init__(self, engine: Engine, base: str, *, ttl: float | timedelta | None = None) -> None:
        super().__init__(engine)
        self._key = f"{base}:newest".encode()
        self._ttl = 0 if ttl is None else millis("ttl", ttl)

    @operation
    def admit(self, fence: int) -> Command[None]:
        """Admit a fence that is at least as new as every one admitted before. O(1).

        Args:
            fence: `Lease.fence`, or any positive whole number below 2^63.

        Raises:
            StaleFence: a newer one has been admitted.
        """
        passage = self.guard(fence)

        def check(admitted: bool) -> None:  # noqa: FBT001 - what the command found out
            if not admitted:
                raise passage.guard_error()

        return passage.guard_command().map(check)

    def guard(self, fence: int) -> Passage:
        """Return what `db.batch(guard=...)` takes: its operations run if the fence is admitted.

        Both happen in one step, so that nobody comes between them. What is written must be in the
        gate's slot: give both the same `tag=`. A batch that is refused raises `StaleFence`.
        """
        return Passage(self._key, whole("fence", fence, 1, 2**63 - 1), self._ttl)

    @operation
    def newest(self) -> Command[int | None]:
        """Return the newest fence admitted; None before the first. O(1)."""
        return Command(
            (b"GET", self._key),
            (self._key,),
            lambda newest: None if newest is None else int(newest),
            idempotent=True,
        )


class Passage:
    """A fence at a gate: what `db.batch(guard=...)` takes."""

    def __init__(self, key: bytes, fence: int, ttl: int) -> None:
        self._key = key
        self._fence = fence
        self._ttl = ttl
        self._newest = fence

    def guard_command(self) -> Command[bool]:
        """Return the Command that admits the fence."""
        return ADMIT((self._key,), (self._fence, self._ttl), self._read)

    def guard_error(self) -> StaleFence:
        """Return what is raised when it has not been admitted."""
        what = f"fence {self._fence} is stale: {self._newest} has been admitted since"
        return StaleFence(what, fence=self._fence, newest=self._newest)

    def _read(self, reply: int | bytes) -> bool:
        if reply == 1:
            return True
        self._newest = int(reply)
        return False

    def __repr__(self) -> str:
        """Show the fence."""
        return f"<Passage {self._fence}>"

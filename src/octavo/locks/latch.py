"""The latch: many wait until something has been counted down.

Its keys share the hash tag of the latch, or of its `tag=`. Both go 24 hours after the last
`count_down`, or `reset`.

| key | Redis type | holds |
|---|---|---|
| `{base}:counted` | hash | each id counted → nothing; empty field → count. No ids once it is open |
| `{base}:opened` | string | when it opened (us, server); negative if it was reset since |

Who waits reads `opened`, which is written only when the latch opens or is closed again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from octavo.engine.checks import millis, whole
from octavo.engine.command import Command, Job, M, flow, operation
from octavo.engine.keys import name_bytes
from octavo.engine.script import Script
from octavo.errors import ConfigMismatch
from octavo.locks.watching import Watches, until

if TYPE_CHECKING:
    from datetime import timedelta

    from octavo.engine.command import Engine
    from octavo.engine.tracking import Ticket

    # The count that is stored, and when the latch opened.
    Seen = tuple[int | None, int]

_here = Path(__file__)
COUNT = Script(_here.with_name("latch_count.lua"), idempotent=True)
# An id that is counted again does not count.
COUNT_DOWN = Script(_here.with_name("latch_count_down.lua"), idempotent=True)
RESET = Script(_here.with_name("latch_reset.lua"))


class Latch(Job[M]):
    """A gate that opens when it has been counted down, and stays open.

        latch = db.latch("shards loaded", 8)
        latch.count_down("shard-3")
        latch.wait(timeout=60)

    Everyone who waits goes on when the last of `count` has been counted. A latch exists from the
    first `count_down` on, and is forgotten 24 hours after the last one.

    Args:
        engine: what carries the commands.
        base: what the latch's keys begin with.
        count: how many have to be counted.

    Raises:
        ConfigMismatch: from any method but `reset`: it exists with another count.
    """

    def __init__(self, engine: Engine, base: str, count: int) -> None:
        super().__init__(engine)
        self._count = whole("count", count, 1, 2**53)
        self._keys = (f"{base}:counted".encode(), f"{base}:opened".encode())

    @operation
    def count_down(self, id: str | None = None) -> Command[int]:  # noqa: A002 - what it is
        """Count one down; return how many are left, 0 once it is open. O(1); O(N) when it opens.

        Args:
            id: who or what is counted: an id that is counted again, by whomever, does not count.
                None counts in any case, and once though the command is sent again because its
                reply was lost.
        """
        counted = os.urandom(16).hex().encode() if id is None else name_bytes("id", id)
        return COUNT_DOWN(self._keys, (self._count, counted), int)

    @operation
    def count(self) -> Command[int]:
        """Return how many are left to be counted, 0 once it is open. O(1)."""
        return COUNT(self._keys, (self._count,), int)

    @operation
    def reset(self) -> Command[None]:
        """Close it and forget what was counted, and the count. O(1), freed in the background.

        Who waits goes on waiting, but for those who have not yet seen that it was open.
        """
        return RESET.once(self._keys, (), lambda _: None)

    @flow
    async def wait(self, timeout: float | timedelta | None = None) -> bool:
        """Wait until it is open; return whether it is, or has been since the call.

        One round trip if it is open, and one or two more when it opens.

        Args:
            timeout: seconds; None waits for as long as it takes.
        """
        seconds = None if timeout is None else millis("timeout", timeout, least=0) / 1000
        first: int | None = None

        def has_opened(seen: Seen) -> bool:
            nonlocal first
            count, opened = seen
            if count not in (None, self._count):
                what = f"the latch was made with count={count}, not with count={self._count}"
                raise ConfigMismatch(what, operation="latch.wait", key=self._keys[0].decode())
            first = abs(opened) if first is None else first
            return opened > 0 or -opened > first

        watches = Watches.of(self._common)
        return await until(watches, self._keys[1], self._look, has_opened, seconds) is not None

    def _look(self, ticket: Ticket) -> Command[Seen]:
        counted, opened = self._keys
        return Command(
            (b"HGET", counted, b""),
            self._keys,
            _seen,
            idempotent=True,
            behind=((b"GET", opened),),
            tracked=(ticket,),
        )


def _seen(reply: list[Any]) -> Seen:
    count, opened = reply
    return None if count is None else int(count), int(opened or 0)

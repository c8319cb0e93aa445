"""What the processes of a `Crew` do, in a module that they can import."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import octavo
from octavo.testing.waiting import wait_until
from tests.engine.lab import eventually
from tests.locks.meeting import latch, waiters

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.testing.faults import Line


def count_down(line: Line, url: str, prefix: str, count: int) -> list[int]:
    """Count a latch down with three others; return what was left each time."""
    with octavo.connect(url, prefix=prefix) as db:
        shards = latch(db, count)
        line.meet()
        return [shards.count_down() for _ in range(count // 4)]


def wait_for_latch(line: Line, url: str, prefix: str, face: str) -> bool:
    """Wait for a latch, saying so; return what waiting returns."""
    line.meet()
    return bool(_waiting(line, url, prefix, face, lambda db: latch(db, 1).wait()))


def _waiting(line: Line, url: str, prefix: str, face: str, wait: Callable[[Any], Any]) -> Any:
    """Call what waits, and say "waits" as soon as it does."""

    async def main() -> Any:
        async with octavo.connect_async(url, prefix=prefix) as db:
            task = asyncio.create_task(wait(db))
            await eventually(lambda: waiters(db), "it waits")
            line.say("waits")
            return await task

    if face == "async":
        return asyncio.run(main())

    def tell() -> None:
        wait_until(lambda: waiters(db), "it waits")
        line.say("waits")

    with octavo.connect(url, prefix=prefix) as db:
        teller = threading.Thread(target=tell)
        teller.start()
        outcome = wait(db)
        teller.join()
        return outcome

"""What the processes of a `Crew` do, in a module that they can import."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import octavo
from octavo.errors import BrokenBarrier, StaleFence
from octavo.locks import barrier as module
from octavo.testing.waiting import wait_until
from tests.engine.lab import eventually
from tests.locks.meeting import waiters

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.locks.barrier import Arrival
    from octavo.testing.faults import Line


def count_down(line: Line, url: str, prefix: str, count: int) -> list[int]:
    """Count a latch down with three others; return what was left each time."""
    with octavo.connect(url, prefix=prefix) as db:
        shards = db.latch("x", count)
        line.meet()
        return [shards.count_down() for _ in range(count // 4)]


def wait_for_latch(line: Line, url: str, prefix: str, face: str) -> bool:
    """Wait for a latch, saying so; return what waiting returns."""
    line.meet()
    return bool(_waiting(line, url, prefix, face, lambda db: db.latch("x", 1).wait()))


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


def wait_at_barrier(
    line: Line, url: str, prefix: str, parties: int, face: str, ttl: float
) -> list[int] | str:
    """Wait at a barrier, saying so; return the index and generation, or "broken"."""
    module._TTL = ttl  # pyright: ignore[reportPrivateUsage]
    try:
        arrival = _waiting(line, url, prefix, face, lambda db: db.barrier("x", parties).wait())
    except BrokenBarrier:
        return "broken"
    return [arrival.index, arrival.generation]


def meet_again(
    line: Line, url: str, prefix: str, parties: int, face: str, generations: int
) -> list[tuple[int, int, float, float]]:
    """Pass a barrier again and again; return which ones, and when it came and went."""
    passages: list[tuple[int, int, float, float]] = []

    def note(came: float, arrival: Arrival) -> None:
        passages.append((arrival.generation, arrival.index, came, time.monotonic()))

    async def main() -> None:
        async with octavo.connect_async(url, prefix=prefix) as db:
            line.meet()
            for _ in range(generations):
                note(time.monotonic(), await db.barrier("x", parties).wait(30))

    if face == "async":
        asyncio.run(main())
        return passages
    with octavo.connect(url, prefix=prefix) as db:
        line.meet()
        for _ in range(generations):
            note(time.monotonic(), db.barrier("x", parties).wait(30))
    return passages


def write_fences(
    line: Line, url: str, prefix: str, number: int, steps: int
) -> list[tuple[int, float | None]]:
    """Write one fence after another where another was; return those admitted, and those others."""
    dice = random.Random(number)
    written: list[tuple[int, float | None]] = []
    with octavo.connect(url, prefix=prefix) as db:
        door = db.fence("x", tag="t")
        line.meet()
        for step in range(steps):
            fence = step * 10 + dice.randrange(1, 100)
            with suppress(StaleFence), db.batch(guard=door.guard(fence)) as batch:
                done = batch.leaderboard("b", tag="t", keep="last").submit("ada", fence)
            if done.exception() is None:
                written.append((fence, done.result().previous))
    return written

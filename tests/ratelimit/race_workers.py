"""What the processes of a race do, in a module that they can import."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, cast

import octavo
from octavo.ratelimit import Limit

if TYPE_CHECKING:
    from octavo.ratelimit.limits import Algorithm
    from octavo.testing.faults import Line

SIZES = {
    "gcra": 2000,
    "fixed": 2160,
    "sliding": 2400,
    "segmented": 2500,
    "log": 2700,
    "gcra 2": 3000,
    "gcra 3": 3200,
    "gcra 4": 3600,
}
# So slow that no unit comes back during a race.
LIMITS = {
    name: Limit.per(
        size, 400 * 86_400, algorithm=cast("Algorithm", name.split(maxsplit=1)[0]), name=name
    )
    for name, size in SIZES.items()
}


def cost(number: int) -> int:
    """Return the cost of a caller: most of them ask for one unit."""
    return 3 if number % 5 == 0 else 1


def threads(line: Line, url: str, prefix: str, names: list[str], callers: int) -> list[int]:
    """Have threads call once each, all at the same time; return what each was granted."""
    ready = Barrier(callers + 1)
    with octavo.connect(url, prefix=prefix, timeout=50) as db, ThreadPoolExecutor(callers) as pool:
        limiter = db.limiter("race", *(LIMITS[name] for name in names), deadline=None)

        def call(number: int) -> int:
            ready.wait()
            decision = limiter.hit("ada", cost(number))
            return decision.cost if decision else 0

        calls = [pool.submit(call, number) for number in range(callers)]
        line.meet()
        ready.wait()
        return [each.result() for each in calls]


def tasks(line: Line, url: str, prefix: str, names: list[str], callers: int) -> list[int]:
    """Have tasks do so."""

    async def call_all() -> list[int]:
        async with octavo.connect_async(url, prefix=prefix, timeout=50) as db:
            limiter = db.limiter("race", *(LIMITS[name] for name in names), deadline=None)

            async def call(number: int) -> int:
                decision = await limiter.hit("ada", cost(number))
                return decision.cost if decision else 0

            line.meet()
            return await asyncio.gather(*map(call, range(callers)))

    return asyncio.run(call_all())

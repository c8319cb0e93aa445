"""What the processes of a crew do with limits, in a module that they can import."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import octavo
from octavo.ratelimit import Concurrency, Limit

if TYPE_CHECKING:
    from octavo.testing.faults import Line

MANY = Limit("1000000/day", algorithm="fixed", name="many")
SLOW = Limit("1/hour", name="slow")
PLACES = Concurrency(2, lease=1.0)


def hit(line: Line, url: str, prefix: str, face: str) -> int:
    """Hit until told to stop; say so after each, and return how often."""
    times = 0

    async def tasks() -> int:
        nonlocal times
        async with octavo.connect_async(url, prefix=prefix) as db:
            limiter = db.limiter("api", MANY, deadline=None)
            while not line.stopped:
                assert await limiter.hit("ada")
                times += 1
                line.say(times)
        return times

    line.meet()
    if face == "async":
        return asyncio.run(tasks())
    with octavo.connect(url, prefix=prefix) as db:
        limiter = db.limiter("api", MANY, deadline=None)
        while not line.stopped:
            assert limiter.hit("ada")
            times += 1
            line.say(times)
    return times


def hold(line: Line, url: str, prefix: str) -> None:
    """Take a place, say so, and keep it."""
    with octavo.connect(url, prefix=prefix) as db:
        line.say(db.limiter("jobs", PLACES, deadline=None).hit("ada").allowed)
        line.hear()


def wait(line: Line, url: str, prefix: str) -> None:
    """Book a turn, and wait for it."""
    with octavo.connect(url, prefix=prefix) as db:
        line.say("waits")
        db.limiter("api", SLOW, deadline=None).acquire("ada")

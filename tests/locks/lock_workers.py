"""What processes do that hold locks, or wait for them."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import octavo
from octavo.errors import LockLost
from octavo.locks import clock
from tests.calls import Call
from tests.locks.cases import listen

if TYPE_CHECKING:
    from octavo.locks import Lease
    from octavo.testing.faults import Line


def take_turns(line: Line, url: str, prefix: str, name: str, count: int, ttl: float) -> None:
    """Wait for a fair lock, which is held, in some threads; each says when it is its turn."""
    with octavo.connect(url, prefix=prefix) as db:
        lock = db.lock("x", fair=True, ttl=ttl)

        def take() -> None:
            with lock as lease:
                line.say([name, lease.fence])

        listen(db, lock)
        calls = [Call(take) for _ in range(count)]
        for call in calls:
            call.result()


def hold(line: Line, url: str, prefix: str, what: str, permits: int, ttl: float) -> None:
    """Hold permits of a semaphore of 5, or a side of a read-write lock, until killed."""
    with octavo.connect(url, prefix=prefix) as db:
        if what == "semaphore":
            lease = db.semaphore("x", 5, ttl=ttl).acquire(permits)
        else:
            lease = getattr(db.rwlock("x", ttl=ttl), what).acquire()
        line.say(lease.fence)
        line.hear()


def notice(line: Line, url: str, prefix: str, face: str, ttl: float) -> float:
    """Hold a lock, and say when it is lost; return when it was last seen to be valid."""
    seen = 0.0
    over = threading.Event()

    def look(lease: Lease[Any]) -> None:
        nonlocal seen
        while not over.is_set():
            if lease.valid:
                seen = clock.now()
            over.wait(0.001)

    async def main() -> None:
        async with octavo.connect_async(url, prefix=prefix) as db:
            try:
                async with db.lock("x", ttl=ttl) as lease:
                    watcher.append(Call(look, lease))
                    line.say([lease.fence, clock.now()])
                    await asyncio.sleep(30)
            except LockLost:
                line.say(["lost", clock.now()])

    watcher = list[Call[None]]()
    if face == "async":
        asyncio.run(main())
    else:
        with octavo.connect(url, prefix=prefix) as db:
            lease = db.lock("x", ttl=ttl).acquire()
            watcher.append(Call(look, lease))
            line.say([lease.fence, clock.now()])
            lease.lost.wait(30)
            line.say(["lost", clock.now()])
    over.set()
    watcher[0].result()
    return seen

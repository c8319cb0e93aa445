"""What processes do that hold locks, or wait for them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import octavo
from octavo.errors import LockTimeout
from tests.locks.meeting import Call

if TYPE_CHECKING:
    from octavo.testing.faults import Line


def take_turns(line: Line, url: str, prefix: str, name: str, count: int, ttl: float) -> None:
    """Wait for a fair lock, which is held, in some threads; each says when it is its turn."""
    with octavo.connect(url, prefix=prefix) as db:
        lock = db.lock("x", fair=True, ttl=ttl)

        def take() -> None:
            with lock as lease:
                line.say([name, lease.fence])

        while lock._places.address(listen=False) is None:  # until it hears of its turn
            with suppress(LockTimeout):
                lock.acquire(wait=0.05)
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

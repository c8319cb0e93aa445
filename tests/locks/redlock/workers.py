"""What the processes do that contend for a Redlock, in a module that they can import."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import octavo
from octavo.errors import ConnectionLost, LockTimeout
from octavo.testing.histories import Recorder

if TYPE_CHECKING:
    from octavo.testing.faults import Line


def contend(
    line: Line, number: int, urls: list[str], prefix: str, directory: str, sections: int
) -> list[tuple[float, float]]:
    """Enter sections until there were enough, or it is stopped; return when each was held."""
    held: list[tuple[float, float]] = []
    with ExitStack() as stack:
        clients = [stack.enter_context(octavo.connect(url, prefix=prefix)) for url in urls]
        failed_on = (LockTimeout, ConnectionLost)
        recorder = stack.enter_context(Recorder(directory, str(number), failed_on=failed_on))
        lock = octavo.Redlock(clients, "x", ttl=1)
        line.meet()
        while len(held) < sections and not line.stopped:
            try:
                with recorder.operation("acquire", key="x") as attempt:
                    lease = lock.acquire(wait=1)
                    attempt.result = lease.fence
            except (LockTimeout, ConnectionLost):
                continue
            began = time.monotonic()
            lasts = lease.remaining()
            time.sleep(0.001)  # in which another could come in
            held.append((began, min(time.monotonic(), began + lasts)))
            lease.release()
    return held

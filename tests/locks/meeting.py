"""Those who have looked, and wait for news."""

from __future__ import annotations

from typing import Any

from octavo.testing.waiting import wait_until
from tests.fix_faces import Uniform


def waiters(client: Any) -> int:
    """Return how many have looked and wait for news, of a client of any face."""
    common = (client._face.client if isinstance(client, Uniform) else client)._common
    watches = common._shared.get("watches")
    if watches is None:
        return 0
    signals = [one.news for some in list(watches._waiters.values()) for one in list(some)]
    signals += [one for some in list(common.tracker._waiting.values()) for one in list(some)]
    return sum(bool(signal._threads or signal._tasks) for signal in signals)


def wait_for_waiters(client: Any, count: int = 1) -> None:
    """Wait until so many have looked and wait for news."""
    wait_until(lambda: waiters(client) == count, f"{count} wait")

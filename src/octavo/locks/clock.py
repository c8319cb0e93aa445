"""The clock by which a holder knows how long its lease is good for."""

from __future__ import annotations

import time

# It goes on while a laptop sleeps, which Linux's monotonic clock does not.
_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Return seconds that never go back and never stand still."""
    return time.clock_gettime(_CLOCK)


def valid_until(asked: float, lasts: float) -> float:
    """Return until when a lease is certain to be good that was asked for then.

    The server may count from the moment it was asked at the earliest. Its clock may run faster by
    1 %, and it ends keys to the millisecond: the allowance of Redlock's authors.
    """
    return asked + lasts - (lasts * 0.01 + 0.002)

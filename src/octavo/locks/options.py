"""What users may set, and how it is checked."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec

from octavo.engine.checks import flag, millis, whole

if TYPE_CHECKING:
    from octavo.locks.lease import Lease

Seconds = float | timedelta
OnLost = Callable[["Lease[Any]"], object] | Callable[["Lease[Any]"], Coroutine[Any, Any, object]]

_LEAST_TTL = 10
_MOST_TTL = 86_400_000


class HoldOptions(TypedDict, total=False):
    """How anything is held.

    Attributes:
        ttl: seconds or a timedelta, of 10 ms to 24 hours, for which a lease lasts without renewal.
        renew: whether leases are renewed, every third of `ttl`, until they are released.
        max_hold: seconds after which a lease is no longer renewed.
        min_hold: seconds for which nobody else is granted what was released sooner.
        lock_delay: seconds for which nobody is granted what was not released but ran out.
        sync: how many replicas must have a grant; with fewer it is given back.
        sync_timeout: seconds to wait for these replicas; who asks in vain may wait as long.
        on_lost: called with the lease when it is lost: by a thread of its own in sync code; it may
            be a coroutine function in async code.
    """

    ttl: Seconds
    renew: bool
    max_hold: Seconds | None
    min_hold: Seconds
    lock_delay: Seconds
    sync: int | None
    sync_timeout: Seconds
    on_lost: OnLost | None


class Terms(msgspec.Struct, frozen=True):
    """`HoldOptions`, checked; times in seconds."""

    ttl: float
    renew: bool
    max_hold: float | None
    min_hold: float
    lock_delay: float
    sync: int | None
    sync_timeout: float
    on_lost: OnLost | None


def check_terms(
    *,
    ttl: Seconds = 30,
    renew: bool = True,
    max_hold: Seconds | None = None,
    min_hold: Seconds = 0,
    lock_delay: Seconds = 0,
    sync: int | None = None,
    sync_timeout: Seconds = 1.0,
    on_lost: OnLost | None = None,
) -> Terms:
    """Return options as they are used, or refuse them by name."""
    lasts = lease_seconds("ttl", ttl)
    longest = None if max_hold is None else millis("max_hold", max_hold) / 1000
    if longest is not None and longest < lasts:
        raise ValueError(f"max_hold must be at least ttl ({ttl!r}), not {max_hold!r}")
    if on_lost is not None and not callable(on_lost):
        raise TypeError(f"on_lost must be callable, not {on_lost!r}")
    return Terms(
        lasts,
        flag("renew", renew),
        longest,
        _pause("min_hold", min_hold),
        _pause("lock_delay", lock_delay),
        None if sync is None else whole("sync", sync, 1, 100),
        millis("sync_timeout", sync_timeout) / 1000,
        on_lost,
    )


def lease_seconds(parameter: str, value: Seconds) -> float:
    """Return the seconds that a lease lasts, or refuse them."""
    lasts = millis(parameter, value)
    if not _LEAST_TTL <= lasts <= _MOST_TTL:
        raise ValueError(f"{parameter} must be 10 ms to 24 hours, not {value!r}")
    return lasts / 1000


def _pause(parameter: str, value: Seconds) -> float:
    lasts = millis(parameter, value, least=0)
    if lasts > _MOST_TTL:
        raise ValueError(f"{parameter} must be at most 24 hours, not {value!r}")
    return lasts / 1000


def wait_seconds(wait: Seconds | None, parameter: str = "wait") -> float | None:
    """Return for how many seconds to wait, or refuse them; None is as long as it takes."""
    return None if wait is None else millis(parameter, wait, least=0) / 1000

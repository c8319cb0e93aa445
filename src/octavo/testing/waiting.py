"""Waiting for a condition, never for an amount of time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["wait_until"]

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, *, timeout: float = 15.0) -> T:
    """Poll `condition` until it is true and return its value.

    Raises:
        TimeoutError: it was not true within `timeout` seconds; the message says `what`.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout} s: {what}")
        time.sleep(0.01)
    return value

"""What a limit promises: the most that it lets pass in any window of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

Numbers = tuple[int, ...]

UNITS = {
    "week": 7 * 86_400_000,
    "day": 86_400_000,
    "hour": 3_600_000,
    "minute": 60_000,
    "second": 1000,
    "ms": 1,
}


class Guarantee(msgspec.Struct, frozen=True):
    """The most units that can pass in any window of a length; its text says so in words.

    Units booked by `reserve` and `acquire` count when they are due, refunded ones do not count, and
    those overdrawn by `settle` stand outside.

    Attributes:
        most: how many units; None where there is no bound.
        window: the length in seconds; a window does not include the microsecond at its end.
        words: the promise.
    """

    most: int | None
    window: float
    words: str

    def __str__(self) -> str:
        return self.words


def span(length: int, one: str = "") -> str:
    """Return a number of milliseconds in words: `minute`, `10 seconds`.

    Args:
        length: how many.
        one: what to say before a single unit.
    """
    unit, size = next(found for found in UNITS.items() if length % found[1] == 0)
    several = "" if unit == "ms" else "s"
    return one + unit if length == size else f"{length // size} {unit}{several}"


def most_in(algorithm: str, numbers: Numbers, window: int) -> int:
    """Return the most units that an algorithm can pass in any window of so many microseconds."""
    return _MOST[algorithm](numbers, window)


def _gcra(numbers: Numbers, window: int) -> int:
    rate, token, cap = numbers
    return (cap + (window - 1) * rate) // token


def _fixed(numbers: Numbers, window: int) -> int:
    limit, length = numbers
    return limit * _touched(window, length)


def _log(numbers: Numbers, window: int) -> int:
    limit, length = numbers
    return limit * -(-window // length)


def _sliding(numbers: Numbers, window: int) -> int:
    limit, tick, ticks = numbers
    windows = _touched(window, tick * ticks)
    # What was used in a window costs the next one a unit at least. So in a row of windows each but
    # the first stays below the limit, unless the one before it is empty.
    return max(windows * (limit - 1) + 1, (windows + 1) // 2 * limit)


def _segmented(numbers: Numbers, window: int) -> int:
    limit, segment, segments = numbers
    return limit * -(-_touched(window, segment) // (segments + 1))


def _touched(window: int, length: int) -> int:
    """Return how many periods, one after the other, a window can have a part of."""
    return 2 + (window - 2) // length


_MOST: dict[str, Callable[[Numbers, int], int]] = {
    "gcra": _gcra,
    "fixed": _fixed,
    "log": _log,
    "sliding": _sliding,
    "segmented": _segmented,
    "quota": _fixed,
}

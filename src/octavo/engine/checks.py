"""Checks of plain arguments: each returns what it was given in one form, or refuses it by name."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")
Seconds = float | timedelta

_LONGEST = 100 * 365 * 86_400


def millis(parameter: str, value: object, *, least: int = 1) -> int:
    """Return whole milliseconds, rounded up, of seconds or a timedelta; refuse anything else."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"{parameter} must be a number of seconds or a timedelta, not {value!r}")
    if not math.isfinite(seconds) or seconds > _LONGEST:
        raise ValueError(f"{parameter} must be at most {_LONGEST} seconds, not {value!r}")
    if seconds < 0 or (seconds == 0 and least):
        wanted = "more than 0" if least else "at least 0"
        raise ValueError(f"{parameter} must be {wanted}, not {value!r}")
    return math.ceil(round(seconds * 1000, 3))  # 0.07 * 1000 is a little more than 70


def number(parameter: str, value: object) -> float:
    """Return a finite number that is not negative; refuse anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{parameter} must be a number, not {value!r}")
    if not 0 <= value < math.inf:
        raise ValueError(f"{parameter} must be at least 0 and finite, not {value!r}")
    return float(value)


def share(parameter: str, value: object) -> float:
    """Return a number from 0 to below 1; refuse anything else."""
    found = number(parameter, value)
    if found >= 1:
        raise ValueError(f"{parameter} must be less than 1, not {value!r}")
    return found


def whole(parameter: str, value: object, least: int | None = 1, most: int | None = None) -> int:
    """Return a whole number within bounds, of which None is none; refuse anything else."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{parameter} must be an int, not {value!r}")
    if least is not None and value < least:
        raise ValueError(f"{parameter} must be at least {least}, not {value!r}")
    if most is not None and value > most:
        raise ValueError(f"{parameter} must be at most {most:,}, not {value!r}")
    return int(value)


def several(parameter: str, values: Iterable[T]) -> list[T]:
    """Return several values; refuse a single text, and what is not several of anything."""
    if isinstance(values, str | bytes):
        raise TypeError(f"{parameter} must be several, not the one text {values!r}")
    try:
        return list(values)
    except TypeError:
        raise TypeError(f"{parameter} must be several, not {values!r}") from None


def flag(parameter: str, value: object) -> bool:
    """Return True or False; refuse anything else."""
    if not isinstance(value, bool):
        raise TypeError(f"{parameter} must be True or False, not {value!r}")
    return value

"""What users may set, and how it is checked."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import msgspec

from octavo.engine.keys import check_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

T = TypeVar("T")
Seconds = float | timedelta

_LONGEST = 100 * 365 * 86_400


class Choices(TypedDict, total=False):
    """What may be chosen for one value; None takes the cache's, but for the timeouts."""

    ttl: Seconds | None
    grace: Seconds | None
    tags: Iterable[str]
    jitter: float | None
    beta: float | None
    timeout: Seconds | None
    soft_timeout: Seconds | None
    stale_on_error: bool
    lease: Seconds | None


class Options(msgspec.Struct, frozen=True):
    """How a value is made and kept; ttl and grace in milliseconds, everything else in seconds."""

    ttl: int
    grace: int
    jitter: float
    beta: float
    lease: float
    tags: tuple[str, ...] = ()
    timeout: float | None = None
    soft_timeout: float | None = 0.0
    stale_on_error: bool = True

    @property
    def stays(self) -> int:
        """Milliseconds for which a value is there, fresh or stale."""
        return self.ttl + self.grace

    def but(self, changes: Mapping[str, Any]) -> Options:
        """Return the same options with these instead, where they are not None.

        Raises:
            TypeError: there is no such option, or it has the wrong type.
            ValueError: it is out of its range.
        """
        if unknown := changes.keys() - _CHECKS.keys():
            raise TypeError(f"unknown option {unknown.pop()!r}: choose from {', '.join(_CHECKS)}")
        chosen = {
            name: _CHECKS[name](name, value)
            for name, value in changes.items()
            if value is not None or name in ("timeout", "soft_timeout")
        }
        return msgspec.structs.replace(self, **chosen)


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
    return math.ceil(round(seconds * 1000, 6))  # 0.07 * 1000 is a little more than 70


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


def tag_names(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the names of tags, each once, or refuse them."""
    return tuple(dict.fromkeys(check_name("tags", tag) for tag in several("tags", tags)))


def several(parameter: str, values: Iterable[T]) -> list[T]:
    """Return several values; refuse a single text, and what is not several of anything."""
    if isinstance(values, str | bytes):
        raise TypeError(f"{parameter} must be several, not the one text {values!r}")
    try:
        return list(values)
    except TypeError:
        raise TypeError(f"{parameter} must be several, not {values!r}") from None


def _or_none(parameter: str, value: object) -> float | None:
    return None if value is None else millis(parameter, value, least=0) / 1000


def _flag(parameter: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{parameter} must be True or False, not {value!r}")
    return value


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "ttl": millis,
    "grace": lambda parameter, value: millis(parameter, value, least=0),
    "tags": lambda _, value: tag_names(value),
    "jitter": share,
    "beta": number,
    "timeout": _or_none,
    "soft_timeout": _or_none,
    "stale_on_error": _flag,
    "lease": lambda parameter, value: millis(parameter, value) / 1000,
}

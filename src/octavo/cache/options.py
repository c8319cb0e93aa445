"""What users may set, and how it is checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

import msgspec

from octavo.engine.checks import Seconds, flag, millis, number, several, share
from octavo.engine.keys import check_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


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


def tag_names(tags: Iterable[str]) -> tuple[str, ...]:
    """Return the names of tags, each once, or refuse them."""
    return tuple(dict.fromkeys(check_name("tags", tag) for tag in several("tags", tags)))


def _or_none(parameter: str, value: object) -> float | None:
    return None if value is None else millis(parameter, value, least=0) / 1000


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "ttl": millis,
    "grace": lambda parameter, value: millis(parameter, value, least=0),
    "tags": lambda _, value: tag_names(value),
    "jitter": share,
    "beta": number,
    "timeout": _or_none,
    "soft_timeout": _or_none,
    "stale_on_error": flag,
    "lease": lambda parameter, value: millis(parameter, value) / 1000,
}

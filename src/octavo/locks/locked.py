"""`db.locked`: functions that run while they hold a lock."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from octavo.engine.templates import check_function, naming
from octavo.errors import LockTimeout
from octavo.locks.options import wait_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.locks.lock import Lock
    from octavo.locks.options import Seconds

P = ParamSpec("P")
T = TypeVar("T")

OnBusy = Literal["raise", "skip"]


def decorator(
    lock_of: Callable[[str], Lock[Any]],
    template: str,
    wait: Seconds | None,
    on_busy: OnBusy,
    *,
    tasks: bool,
) -> Callable[[Callable[P, Any]], Callable[P, Any]]:
    """Return what makes a function hold the lock that the template and its arguments name."""
    wait_seconds(wait)
    if on_busy not in ("raise", "skip"):
        raise ValueError(f"on_busy must be 'raise' or 'skip', not {on_busy!r}")
    lock_of(template)  # whatever is wrong with the options is wrong here, not at the first call

    def decorate(function: Callable[P, Any]) -> Callable[P, Any]:
        check_function(function, tasks=tasks)
        name_of = naming(template, function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Any:
            try:
                lease = lock_of(name_of(args, kwargs)).acquire(wait)
            except LockTimeout:
                if on_busy == "skip":
                    return None
                raise
            with lease:
                return function(*args, **kwargs)

        @functools.wraps(function)
        async def call_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            try:
                lease = await lock_of(name_of(args, kwargs)).acquire(wait)
            except LockTimeout:
                if on_busy == "skip":
                    return None
                raise
            async with lease:
                return await function(*args, **kwargs)

        return call_async if tasks else call

    return decorate

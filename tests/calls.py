"""Calls that wait, in threads of a test."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PATIENCE = 20.0


class Call(Generic[T]):
    """A call that goes on in a thread."""

    def __init__(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> None:
        self._outcome: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run, args=(function, args, kwargs), daemon=True
        )
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether it has returned or raised."""
        return not self._thread.is_alive()

    def result(self) -> T:
        """Wait for what it returns, or raise what it raises."""
        self._thread.join(PATIENCE)
        assert self.over, "it goes on"
        if self._error is not None:
            raise self._error
        return self._outcome[0]

    def error(self) -> BaseException | None:
        """Wait until it is over; return what it raises."""
        self._thread.join(PATIENCE)
        assert self.over, "it goes on"
        return self._error

    def _run(self, function: Callable[..., T], args: Any, kwargs: Any) -> None:
        try:
            self._outcome.append(function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - the test wants to see it
            self._error = error

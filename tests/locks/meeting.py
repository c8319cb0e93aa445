"""Calls that wait, in threads of a test."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from octavo.testing.waiting import wait_until
from tests.fix_faces import Uniform

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

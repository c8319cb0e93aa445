"""What has to happen every so often while a thread is busy with something else."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

log = logging.getLogger("octavo")

_LINGER = 5.0
"""Seconds for which the thread stays when it has nothing to do."""


class Beat:
    """One thing to do, and when."""

    __slots__ = ("act", "due", "seconds")

    def __init__(self, seconds: float, act: Callable[[], object]) -> None:
        self.seconds = seconds
        self.act = act
        self.due = monotonic() + seconds


class Beats:
    """One thread for all of them, there only while there are some."""

    def __init__(self) -> None:
        # Callers hold the plain lock only: a Condition is Python code, in the middle of which a
        # signal handler's exception would leave it held.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._beats: set[Beat] = set()
        self._thread: threading.Thread | None = None
        self._wakes = 0.0

    @contextmanager
    def every(self, seconds: float, act: Callable[[], object]) -> Generator[None]:
        """Act every so many seconds until the `with` block ends; an error is logged."""
        beat = Beat(seconds, act)
        try:
            with self._lock:
                self._beats.add(beat)
                if self._thread is None:
                    run = threading.Thread(target=self._run, name="octavo-beats", daemon=True)
                    self._thread = run
                    run.start()
                elif beat.due < self._wakes:
                    self._changed.notify()
            yield
        finally:
            with self._lock:
                self._beats.discard(beat)

    def _run(self) -> None:
        while (due := self._next()) is not None:
            for beat in due:
                try:
                    beat.act()
                except Exception as error:  # noqa: BLE001 - the next beat may do better
                    log.info("octavo could not act in time: %r", error)
                beat.due = monotonic() + beat.seconds

    def _next(self) -> list[Beat] | None:
        """Wait for the next beats that are due; None when there have been none for a while."""
        with self._changed:
            idle_since = monotonic()
            while True:
                now = monotonic()
                if self._beats:
                    idle_since = now
                elif now - idle_since >= _LINGER:
                    self._thread = None
                    return None
                if due := [beat for beat in self._beats if beat.due <= now]:
                    return due
                self._wakes = min((beat.due for beat in self._beats), default=now + _LINGER)
                self._changed.wait(self._wakes - now)

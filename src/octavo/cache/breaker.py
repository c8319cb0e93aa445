"""What keeps callers from waiting, one after another, for a node that does not answer."""

from __future__ import annotations

from time import monotonic

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
"""Seconds between two looks at a node that is out of reach."""


class Breaker:
    """A node that is out of reach: it is left alone, but for a look now and then."""

    def __init__(self) -> None:
        self.opened = monotonic()
        self.pause = _FIRST_PAUSE
        self.due = self.opened + self.pause
        self._looking = False

    def failed(self) -> None:
        """Take note of a failure; it counts if it is that of the look that was let through."""
        if not self._looking:
            return
        self._looking = False
        self.opened = monotonic()
        self.pause = min(2 * self.pause, _LONGEST_PAUSE)
        self.due = self.opened + self.pause

    def lets_through(self) -> bool:
        """Whether one caller may have a look; the next one waits for the next turn."""
        now = monotonic()
        if now < self.due:
            return False
        self.due = now + self.pause
        self._looking = True
        return True

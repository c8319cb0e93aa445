"""What keeps callers from waiting, one after another, for a node that does not answer."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Literal

from octavo.engine.links import TRUST
from octavo.errors import ConnectionLost, DeadlineExceeded, Unavailable

if TYPE_CHECKING:
    from octavo.engine.command import Common
    from octavo.engine.topology import Endpoint
    from octavo.errors import OctavoError

OUT_OF_REACH = (ConnectionLost, Unavailable)
"""What says that a node could not be reached, or does not serve."""

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


class Circuits:
    """A job's breakers, by node.

    Attributes:
        broken: the nodes taken for out of reach, or that were.
    """

    def __init__(self, common: Common) -> None:
        self._topology = common.topology
        self._tracker = common.tracker
        self.broken: dict[Endpoint | None, Breaker] = {}

    def open(self, keys: tuple[bytes, ...]) -> bool:
        """Whether the node of these keys is to be left alone; see `state`."""
        return bool(self.broken) and self.state(keys) == "open"

    def state(self, keys: tuple[bytes, ...]) -> Literal["closed", "open", "half-open"]:
        """Return how it stands with the node of these keys: open for one that is out of reach.

        It is half-open for one caller now and then, who is to have a look.
        """
        node = self._topology.node_of(keys)
        breaker = self.broken.get(node)
        if breaker is None:
            return "closed"
        if self._is_back(node, breaker):
            self.broken.pop(node, None)
            return "closed"
        return "half-open" if breaker.lets_through() else "open"

    @property
    def unreachable(self) -> tuple[str, ...]:
        """The nodes taken for out of reach."""
        broken = list(self.broken.items())
        return tuple(node.address for node, b in broken if node and not self._is_back(node, b))

    def failed(self, keys: tuple[bytes, ...], error: OctavoError) -> None:
        """Take note of an error, in case it says that the node of these keys is out of reach."""
        one_reply = isinstance(error, ConnectionLost) and error.outcome == "unknown"
        if not isinstance(error, OUT_OF_REACH) or (
            one_reply and not isinstance(error, DeadlineExceeded)
        ):
            return
        node = self._topology.node_of(keys)
        breaker = self.broken.get(node)
        if breaker is None:
            self.broken[node] = Breaker()
        else:
            breaker.failed()

    def succeeded(self, keys: tuple[bytes, ...]) -> None:
        """Take note that the node of these keys answers."""
        if self.broken:
            self.broken.pop(self._topology.node_of(keys), None)

    def _is_back(self, node: Endpoint | None, breaker: Breaker) -> bool:
        link = None if node is None else self._tracker.link(node)
        return link is not None and link.trusted_until - TRUST > breaker.opened

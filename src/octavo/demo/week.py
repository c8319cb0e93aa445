"""The week: all that is replayed, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octavo.demo.api import Api
from octavo.demo.pages import AirportPages
from octavo.demo.replay import Replay

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from octavo import Octavo, Sync
    from octavo.demo.flights import Flight
    from octavo.demo.gates import Gates

__all__ = ["Week"]


class Week:
    """Flights on their way to the boards, and those who are interested in them.

    Attributes:
        replay: the boards.
        pages: the airports' pages.
        gates: where the aircraft are.
        api: who else wants to know.
    """

    def __init__(self, db: Octavo[Sync], gates: Gates, flights: Sequence[Flight]) -> None:
        self.replay = Replay(db, flights)
        self.pages = AirportPages(db, flights)
        self.gates = gates
        self.api = Api(db)

    def clear(self) -> None:
        """Forget an earlier replay."""
        self.replay.clear()
        self.pages.clear()
        self.gates.clear()
        self.api.clear()

    def advance(self, moment: datetime) -> None:
        """Play what has happened up to this moment, and have pages and boards asked for."""
        self.replay.advance(moment)
        self.pages.advance(moment)
        self.pages.serve()
        self.gates.advance(moment)
        self.api.serve()

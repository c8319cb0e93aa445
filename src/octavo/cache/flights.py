"""Values in the making, and all in this process who wait for them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec

from octavo.engine.command import Signal
from octavo.engine.fork import mind_forks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from octavo.cache.records import Entry

    # A user's key; with "refresh" for a value that takes the place of one that is there.
    Name = bytes | tuple[bytes, str]


class Flight:
    """One value in the making.

    Attributes:
        name: what it is about.
        detached: whether it is flown by itself, and not by one of those who wait for it.
        over: whether it has ended.
        landed: set at its end; made when somebody first waits.
        entry: the outcome; None means that whoever waits starts over.
        error: what the factory raised.
        own: the outcome for whoever flies it, where others start over.
        again: gives another waiter an object of its own.
    """

    __slots__ = (
        "again", "detached", "entry", "error", "here", "landed", "name", "over", "own", "traceback",
    )  # fmt: skip

    def __init__(self, name: Name) -> None:
        self.name = name
        self.here: dict[Name, Flight] = {}
        self.detached = False
        self.over = False
        self.landed: Signal | None = None
        self.entry: Entry[Any] | None = None
        self.error: BaseException | None = None
        self.traceback: Any = None
        self.own: Entry[Any] | None = None
        self.again: Callable[[], Any] | None = None

    def outcome(self) -> Entry[Any] | None:
        """Return what came of it; None means to start over."""
        if self.error is not None:
            raise self.error.with_traceback(self.traceback)
        if self.entry is None or self.again is None:
            return self.entry
        return msgspec.structs.replace(self.entry, value=self.again())


class Flights:
    """The flights of one cache in a client. Safe for threads and forks.

    Nobody waits for a flight of another event loop, which may stand still, nor for one whose
    values are read as another type; the lease keeps their factories from running at once.
    """

    def __init__(self, place: Callable[[], object]) -> None:
        self._place = place
        self.after_fork()
        mind_forks(self)

    def after_fork(self) -> None:
        """In a forked child: what the parent's threads were making is not made here."""
        self._lock = threading.Lock()
        self._flights: dict[object, dict[Name, Flight]] = {}

    def join(self, kind: int, mine: Flight) -> Flight | None:
        """Return the flight under a name to wait for; None if the caller's own is flown there."""
        with self._lock:
            here = self._here(kind)
            flight = here.get(mine.name)
            if flight is None:
                mine.here = here
                here[mine.name] = mine
                return None
            if flight.landed is None:
                flight.landed = Signal()
        return flight

    def fly(self, kind: int, mine: Flight) -> None:
        """Have the caller's own flight flown under its name, whoever flies there already."""
        with self._lock:
            mine.here = self._here(kind)
            mine.here[mine.name] = mine

    def _here(self, kind: int) -> dict[Name, Flight]:
        place = self._place(), kind
        here = self._flights.get(place)
        if here is None:
            # Event loops come and go.
            self._flights = {where: some for where, some in self._flights.items() if some}
            here = self._flights[place] = {}
        return here

    def landing(self, flight: Flight) -> Signal:
        """Return the signal of a flight's end."""
        with self._lock:
            if flight.landed is None:
                flight.landed = Signal()
                if flight.over:
                    flight.landed.set()
            return flight.landed

    def land(
        self,
        flight: Flight,
        entry: Entry[Any] | None = None,
        *,
        error: BaseException | None = None,
        again: Callable[[], Any] | None = None,
    ) -> None:
        """End a flight; only the first end counts.

        Without an entry, and without an error of the kind that is everyone's (an interrupt is
        not), whoever waits starts over.
        """
        with self._lock:
            if flight.here.get(flight.name) is flight:
                del flight.here[flight.name]
            if flight.over:
                return
            flight.entry, flight.again = entry, again
            if isinstance(error, Exception) or (flight.detached and isinstance(error, SystemExit)):
                flight.error, flight.traceback = error, error.__traceback__
            flight.over = True
            landed = flight.landed
        if landed is not None:
            landed.set()

    def forget(self, keys: Iterable[bytes]) -> None:
        """Have nobody else join the flights of these keys."""
        keys = tuple(keys)
        for here in list(self._flights.values()):
            for key in keys:
                here.pop(key, None)
                here.pop((key, "refresh"), None)

    def forget_all(self) -> None:
        """Have nobody else join any flight."""
        for here in list(self._flights.values()):
            here.clear()

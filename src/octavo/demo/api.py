"""The API of the boards: its clients may call so often, and are told so when they do more often.

It goes by the server's clock, not by simulated time: what a client is promised holds at any speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, NamedTuple

from octavo import Ban, Limit
from octavo.demo.replay import Boards

if TYPE_CHECKING:
    from collections.abc import Mapping

    from octavo import Octavo, Sync
    from octavo.ratelimit import Decision

__all__ = ["CLIENTS", "Api", "Calls", "Client"]

_LISTED = 3

_ADDRESS = Limit("200/second", name="ip")
_ROUTE = Limit("900/second", name="route")


class Client(NamedTuple):
    """Who calls the API, and what counts the calls.

    Attributes:
        name: its plan, or what it is after.
        subjects: a customer, an address and a route, by the limits that each is held to.
        calls: how many it makes at a time, whatever it is told.
        ban: what becomes of those that go on after they were denied.
    """

    name: str
    subjects: Mapping[Limit, str | IPv4Address]
    calls: int
    ban: Ban | None = None


CLIENTS = (
    Client(
        "free",
        {
            Limit("10/minute", name="plan"): "ann",
            _ADDRESS: IPv4Address("192.0.2.10"),
            _ROUTE: "GET /boards",
        },
        calls=5,
    ),
    Client(
        "pro",
        {
            Limit("1000/minute", burst=100, name="plan"): "skyways",
            _ADDRESS: IPv4Address("198.51.100.20"),
            _ROUTE: "GET /boards",
        },
        calls=10,
    ),
    Client(
        "login",
        {
            Limit("20/hour", name="account"): "root",
            Limit("5/minute", name="ip"): IPv4Address("203.0.113.30"),
            _ROUTE: "POST /login",
        },
        calls=5,
        ban=Ban(after=5, within=60, lasts=600),
    ),
)
"""Two that have more to ask than their plans allow, and one that guesses passwords."""


@dataclass
class Calls:
    """What became of a client's calls so far.

    Attributes:
        client: who has made them.
        made: how many.
        passed: how many of them were answered; the others were denied.
        first: when the first of them was decided, by the server's clock, in seconds.
        last: when the last one was.
        denial: the decision about the last one that was denied.
    """

    client: Client
    made: int = 0
    passed: int = 0
    first: float = 0.0
    last: float = 0.0
    denial: Decision | None = None

    @property
    def promised(self) -> int:
        """The most that all of the client's limits let pass in any time as long as it took."""
        window = self.last - self.first + 0.001  # which does not include its end
        guarantees = [limit.guarantee(window).most for limit in self.client.subjects]
        return min(most for most in guarantees if most is not None)

    def note(self, decision: Decision) -> None:
        """Count a call."""
        self.first, self.last = self.first or decision.at, decision.at
        self.made += 1
        self.passed += decision.allowed
        if not decision:
            self.denial = decision


class Api:
    """Answers calls with the busiest routes, if customer, address and route have all room for one.

    Attributes:
        calls: what became of them, of each client.
    """

    def __init__(self, db: Octavo[Sync]) -> None:
        self._db = db
        self._board = Boards(db).routes
        self._limiters = [
            db.limiter(_name(client), ban=client.ban, deadline=None) for client in CLIENTS
        ]
        self.calls = [Calls(client) for client in CLIENTS]

    def clear(self) -> None:
        """Forget the calls of an earlier replay, and end its bans."""
        with self._db.batch() as batch:
            for client in CLIENTS:
                limiter = batch.limiter(_name(client))
                for subject in client.subjects.values():
                    limiter.reset(subject)

    def serve(self) -> None:
        """Have all clients call."""
        for calls, limiter in zip(self.calls, self._limiters, strict=True):
            for _ in range(calls.client.calls):
                decision = limiter.check(calls.client.subjects)
                calls.note(decision)
                if decision:
                    self._board.top(_LISTED)


def _name(client: Client) -> str:
    """Return the name of the limiter: only some of those that are denied are to be banned."""
    return "api" if client.ban is None else "logins"

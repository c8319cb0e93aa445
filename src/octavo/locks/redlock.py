"""A lock on a majority of several independent servers.

Each server is asked at the same time for the lock of that name, in the name of one random owner.
Whoever is granted it by a quorum, a majority of all servers, has a lease until the first moment in
which a quorum may not grant it any more: any two quorums have a server in common, and that server
grants the lock to one owner at a time. Validity is counted for each server from before it was
asked, as for any lease. Each server is asked for renewal by its own client.

**Fences.** Each server mints a fence of its own with its grant: one more than the last that it
knows, or its time in microseconds if that is more. The lease's fence F is the greatest of those. It
is written back to all who have granted with a smaller one (`redlock_fence.lua`), and the lease is
returned when a quorum W has stored F or more while the owner held the lock there. Take a later
lease, granted by the quorum Q. Q and W have a server s in common, on which the two owners held the
lock one after the other. The later one got it there after F was stored: had it got it and lost it
before, its lease would have ended before this one began. So s minted at least F + 1 for it, and the
greatest of Q's fences is greater than F. This goes by no clock. It needs servers to keep what they
have stored; where all that Q and W have in common have not, their clocks take over, as on a single
server.
"""

from __future__ import annotations

import random
from math import inf
from typing import TYPE_CHECKING, Protocol

from octavo.engine.batch import Collector
from octavo.engine.checks import several
from octavo.engine.command import Job, M, Sleep, flow
from octavo.errors import ConnectionLost
from octavo.locks import clock
from octavo.locks.holdable import Holdable
from octavo.locks.redlock_votes import Server, Votes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octavo.locks.lease import Lease
    from octavo.locks.lock import Lock
    from octavo.locks.options import OnLost, Seconds

_PATIENCE = 0.5
"""Seconds to wait for servers without which there is no quorum, unless a tenth of the ttl is less.

Where there is one without them, nobody waits for them.
"""
_PAUSE, _LONGEST_PAUSE = 0.02, 0.25
"""Seconds before the second try, at most, which double with each; and where that ends."""


class Client(Protocol[M]):
    """What a Redlock wants of a client: `octavo.connect()` or `octavo.connect_async()`."""

    def lock(
        self,
        name: str,
        *,
        ttl: Seconds,
        renew: bool,
        max_hold: Seconds | None,
        on_lost: OnLost | None,
    ) -> Lock[M]:
        """Return the lock of that name."""
        ...


class Redlock(Holdable[M]):
    """A lock that one holder has at a time: whoever a majority of independent servers grants it.

    On each server it is the lock that `db.lock(name)` gives there. It is held while servers die,
    hang or are cut off, as long as a majority is left: one of three, two of five. Four bear no more
    than three do, and two no more than one. Nobody stands in a queue: who waits asks again and
    again, at random intervals of up to 0.25 s.

    It is safe as long as the servers' clocks run equally fast, within 1 %, and none of them forgets
    what it has granted: one that restarts without its data within `ttl`, or whose replica takes
    over, can grant it to another.

    It is a context manager that waits for a lease as long as it takes.

    Args:
        clients: one client of each server, all sync or all async.
        name: what users call it.
        ttl: seconds or a timedelta, of 10 ms to 24 hours, for which a lease lasts without renewal.
        renew: whether leases are renewed, every third of `ttl`, until they are released.
        max_hold: seconds after which a lease is no longer renewed.
        on_lost: called with the lease when it is lost; see `HoldOptions`.
    """

    def __init__(
        self,
        clients: Sequence[Client[M]],
        name: str,
        *,
        ttl: Seconds = 30,
        renew: bool = True,
        max_hold: Seconds | None = None,
        on_lost: OnLost | None = None,
    ) -> None:
        locks = [
            client.lock(name, ttl=ttl, renew=renew, max_hold=max_hold, on_lost=on_lost)
            for client in _clients(clients)
        ]
        self._servers = [Server(lock._engine, lock._places) for lock in locks]  # noqa: SLF001 - kin
        _check_independent(self._servers)
        home = self._servers[0]
        super().__init__(home.engine, home.places, reentrant=False)
        self._patience = min(_PATIENCE, home.places.terms.ttl / 10)

    @property
    def keys(self) -> tuple[bytes, ...]:
        """What tells it apart from everything else that can be held."""
        return tuple(b"redlock " + key for key in super().keys)

    @flow
    async def acquire(self, wait: Seconds | None = None) -> Lease[M]:
        """Return a lease, trying again and again if need be.

        Two round trips to each server, to all at the same time. A cancelled call leaves nothing
        behind.

        Args:
            wait: for how many seconds, or a timedelta; None is as long as it takes.

        Raises:
            LockTimeout: it was not free on a majority of the servers within `wait`.
            ConnectionLost: at the end of `wait`, a majority did not answer.
            WouldDeadlock: the caller is inside of a lease of the very lock.
        """
        return await self._within(1, wait)

    @flow
    async def try_acquire(self) -> Lease[M] | None:
        """Return a lease if a majority of the servers grants it at once, or None.

        Two who try at the same moment may both get None.

        Raises:
            ConnectionLost: a majority did not answer.
        """
        return await self._try(1)

    async def _ask(self, weight: int, wait: float | None) -> Votes | None:
        deadline = inf if wait is None else clock.now() + wait
        pause = _PAUSE
        while True:
            unreached: ConnectionLost | None = None
            try:
                if (votes := await self._canvass()) is not None:
                    return votes
            except ConnectionLost as error:
                unreached = error
            if (remaining := deadline - clock.now()) <= 0:
                break
            # At random: two who got half of the servers each must not meet again.
            await Sleep(min(random.uniform(0, pause), remaining))  # noqa: S311
            pause = min(2 * pause, _LONGEST_PAUSE)
        if unreached is not None:
            raise unreached
        return None

    async def _canvass(self) -> Votes | None:
        """Ask all servers once.

        Raises:
            ConnectionLost: a majority did not answer.
        """
        votes = Votes(self._places, self.keys, len(self._servers), self._patience)
        servers = [server for server in self._servers if not server.silent(self._patience)]
        try:
            said = list((await votes.gather(servers)).values())
            if said.count(True) >= votes.quorum and await votes.agree() and votes.valid:
                return votes
        except BaseException:
            await votes.give_back()
            raise
        await votes.give_back()
        errors = [answer for answer in said if isinstance(answer, Exception)]
        answered = len(said) - len(errors)
        if answered >= votes.quorum:
            return None
        for error in errors:
            if not isinstance(error, ConnectionLost):
                raise error
        raise ConnectionLost(
            f"{answered} of {len(self._servers)} servers answered in time, not {votes.quorum}",
            outcome="unknown",
        ) from next(iter(errors), None)


def _clients(clients: Sequence[Client[M]]) -> list[Client[M]]:
    """Return several clients, or refuse them."""
    found = several("clients", clients)
    if not found:
        raise ValueError("clients must be at least one, not none")
    for client in found:
        if not isinstance(client, Job) or not hasattr(client, "lock"):
            raise TypeError(f"clients must be what octavo.connect() returns, not {client!r}")
    return found


def _check_independent(servers: list[Server]) -> None:
    """Refuse clients that are not of one face, or not of different servers."""
    if any(isinstance(server.engine, Collector) for server in servers):
        raise TypeError("clients must not be batches: several steps have no batch form")
    if len({server.engine.common.tasks for server in servers}) > 1:
        raise TypeError("clients must be all sync or all async, not some of each")
    targets = [server.engine.common.topology.target for server in servers]
    places = [id(target) if target.ephemeral else str(target) for target in targets]
    for target, place in zip(targets, places, strict=True):
        if places.count(place) > 1:
            raise ValueError(f"clients must be of different servers, not several of {target}")

"""One leader among many candidates, for one term after another."""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Unpack, cast, overload

import msgspec

from octavo.engine.command import Async, Command, Job, M, Sync, flow, operation
from octavo.engine.keys import name_bytes
from octavo.errors import LockTimeout
from octavo.locks.acquiring import Ask
from octavo.locks.lease import Lease
from octavo.locks.options import HoldOptions, check_terms, wait_seconds
from octavo.locks.places import Places, process_label
from octavo.locks.scripts import LEADER
from octavo.locks.watching import Watches, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from octavo.engine.command import Engine
    from octavo.engine.tracking import Ticket
    from octavo.locks.grant import Grant
    from octavo.locks.options import Seconds


class Leader(msgspec.Struct, frozen=True, gc=False):
    """Who leads.

    Attributes:
        value: what the leader says of itself.
        term: the number of its term, greater than that of every term before it: a fencing token.
    """

    value: str
    term: int


class Term(Lease[M]):
    """The lease of a leader. It goes on until it is resigned from, or lost."""

    def __init__(self, engine: Engine, grant: Grant, value: bytes) -> None:
        super().__init__(engine, grant)
        self._place = grant
        self._value = value

    @property
    def term(self) -> int:
        """The number of the term: its fence."""
        return self.fence

    @property
    def value(self) -> str:
        """What the leader says of itself."""
        return self._value.decode()

    @flow
    async def proclaim(self, value: str) -> None:
        """Say something else of oneself, which `observe` tells everybody. One round trip.

        Raises:
            LockLost: the term had ended.
        """
        label = name_bytes("value", value)
        self.check()
        await self._place.proclaim(label)
        self._value = label

    @flow
    async def resign(self) -> bool:
        """Have another candidate lead, as `release`."""
        return await self.end()


class Election(Job[M]):
    """An election that goes on for as long as there are candidates.

        with db.election("scheduler").campaign("host-1") as term:
            run_until(term.lost)

    Candidates lead in the order in which they came. A leader that dies is followed by the next
    when its `ttl` is over, one that resigns at once.

    Args:
        engine: carries its commands.
        name: what users call it.
        base: what its keys begin with.
        options: see `HoldOptions`.
    """

    def __init__(
        self, engine: Engine, name: str, base: str, **options: Unpack[HoldOptions]
    ) -> None:
        super().__init__(engine)
        self._engine = engine
        terms = check_terms(**options)
        self._places = Places(engine.common, name, base, limit=1, fair=True, terms=terms)
        self._keys = (self._places.keys.leases, self._places.keys.who)
        self.name = name

    @flow
    async def campaign(self, value: str | None = None, wait: Seconds | None = None) -> Term[M]:
        """Return a term once elected, waiting for it. Round trips as for `Lock.acquire`.

        Args:
            value: what to say of oneself; None is the host and the number of the process.
            wait: for how many seconds, or a timedelta; None is as long as it takes.

        Raises:
            LockTimeout: somebody else led for all of `wait`.
            NotReplicated: fewer replicas than `sync` know of the term.
        """
        label = process_label() if value is None else name_bytes("value", value)
        seconds = wait_seconds(wait)
        grant = await Ask(self._places, 1, label).within(seconds)
        if grant is None:
            raise LockTimeout(f"{self.name!r} had another leader for {seconds:g} seconds")
        engine = self._engine
        if (on_lost := self._places.terms.on_lost) is not None:
            grant.tell_by(lambda _: on_lost(Term(engine, grant, label)), copy_context())
        return Term(engine, grant, label)

    @operation
    def leader(self) -> Command[Leader | None]:
        """Return who leads, or None. O(1)."""
        return LEADER(self._keys, (), _leader)

    @flow
    async def changed(self, seen: Leader | None, timeout: Seconds | None = None) -> Leader | None:
        """Wait until somebody leads other than `seen`, or says something else; return who leads.

        No polling: one round trip at first, and one for each change that the server tells of.

        Args:
            seen: who led as far as the caller knows; None for nobody.
            timeout: seconds or a timedelta after which who leads by then is returned.
        """
        watches = Watches.of(self._common)
        seconds = wait_seconds(timeout, "timeout")
        key = self._places.keys.who
        found = await until(watches, key, self._look, lambda found: found != (seen,), seconds)
        return seen if found is None else found[0]

    def _look(self, ticket: Ticket) -> Command[tuple[Leader | None]]:
        command = LEADER(self._keys, (), lambda reply: (_leader(reply),))
        return msgspec.structs.replace(command, tracked=(ticket,))

    @overload
    def observe(self: Election[Sync]) -> Iterator[Leader | None]: ...
    @overload
    def observe(self: Election[Async]) -> AsyncIterator[Leader | None]: ...
    def observe(self) -> object:
        """Go through who leads, from now on: at once who does, then every change, without end.

        None is nobody. What changes while the caller is busy may be left out, but never the last.
        That a leader has died is told when the next candidate leads; if there is none, it is
        noticed within five seconds after the end of its lease.
        """
        return self._observe_async() if self._common.tasks else self._observe_sync()

    def _observe_sync(self) -> Iterator[Leader | None]:
        election = cast("Election[Sync]", self)
        leader = election.leader()
        while True:
            yield leader
            leader = election.changed(leader)

    async def _observe_async(self) -> AsyncIterator[Leader | None]:
        election = cast("Election[Async]", self)
        leader = await election.leader()
        while True:
            yield leader
            leader = await election.changed(leader)

    def __repr__(self) -> str:
        """Show the name."""
        return f"<Election {self.name!r}>"


def _leader(reply: list[bytes] | None) -> Leader | None:
    return None if not reply else Leader(reply[0].decode(), int(reply[1]))

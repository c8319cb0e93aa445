"""What all objects of one cache share in a client: nonces, flights, the local tier, the breaker."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from octavo.cache.bounded import Bounded
from octavo.cache.scripts import MINT
from octavo.engine.command import Command, Signal
from octavo.engine.fork import mind_forks
from octavo.engine.tracking import TRUST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from octavo.cache.layout import Layout
    from octavo.cache.reading import Kind
    from octavo.cache.records import Entry, Local
    from octavo.engine.command import Common
    from octavo.engine.topology import Endpoint
    from octavo.engine.tracking import Link

    FlightName = bytes | tuple[bytes, str]

_TAGS = 100_000
"""Nonces of tags held."""
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
"""Seconds between two tries to reach a node that is out of reach."""
_AN_HOUR = 3_600_000


class Flight:
    """One value in the making, and all in this process who wait for it.

    Attributes:
        landed: set at its end; made when somebody first waits.
        apart: whether it is flown by itself, and not by one of those who wait for it.
        over: whether it has ended.
        entry: the outcome; None means that whoever waits starts over.
        error: what the factory raised.
        again: gives another waiter an object of its own.
    """

    __slots__ = ("again", "apart", "entry", "error", "landed", "over", "traceback")

    def __init__(self) -> None:
        self.apart = False
        self.landed: Signal | None = None
        self.over = False
        self.entry: Entry[Any] | None = None
        self.error: BaseException | None = None
        self.traceback: Any = None
        self.again: Callable[[], Any] | None = None

    def outcome(self) -> Entry[Any] | None:
        """Return what came of it; None means to start over."""
        if self.error is not None:
            raise self.error.with_traceback(self.traceback)
        if self.entry is None or self.again is None:
            return self.entry
        return msgspec.structs.replace(self.entry, value=self.again())


class Nonces:
    """The nonces that this client holds for as long as it is told of their changes.

    Attributes:
        held: what keys begin with in this generation, where its end would be told, and the keys
            of values that were in the tier in the process, by the users' keys.
    """

    def __init__(self, generation: bytes, cleared: Callable[[], None]) -> None:
        self._generation = generation
        self._cleared = cleared
        self._tags: Bounded[bytes, tuple[bytes, Link]] = Bounded(_TAGS)
        self.held: tuple[bytes, Link, dict[str | bytes, bytes]] | None = None

    def head(self) -> bytes | None:
        """Return what keys begin with in this generation, if that is known for certain."""
        held = self.held
        return held[0] if held is not None and monotonic() < held[1].trusted_until else None

    def nonce(self, key: bytes) -> bytes | None:
        """Return the nonce of a tag, if it is known for certain."""
        held = self._tags.get(key)
        return held[0] if held is not None and monotonic() < held[1].trusted_until else None

    def set(self, key: bytes, value: Any, size: int = 0) -> None:
        """Hold a nonce, or the head of a generation."""
        if key == self._generation:
            self.held = value
        else:
            self._tags.set(key, value)

    def pop(self, key: bytes) -> None:
        """Forget a nonce."""
        if key == self._generation:
            self.held = None
            self._cleared()
        else:
            self._tags.pop(key)


class Breaker:
    """A node that is out of reach: it is left alone, but for a look now and then."""

    def __init__(self) -> None:
        self.opened = monotonic()
        self.pause = _FIRST_PAUSE
        self.due = self.opened + self.pause

    def failed(self) -> None:
        """Take note that the look was in vain."""
        self.opened = monotonic()
        self.pause = min(2 * self.pause, _LONGEST_PAUSE)
        self.due = self.opened + self.pause

    def lets_through(self) -> bool:
        """Whether one caller may have a look; the next one waits for the next turn."""
        now = monotonic()
        if now < self.due:
            return False
        self.due = now + self.pause
        return True


class State:
    """What is shared. Its counters are as `Stats` describes them."""

    def __init__(self, common: Common, layout: Layout) -> None:
        self.common = common
        self.layout = layout
        self.tracker = common.tracker
        self.identity = f"{common.topology.target} {layout.base}"
        self.owner = f"{socket.gethostname()}:{os.getpid()}"
        self.nonces = Nonces(layout.generation, self.cleared)
        self.tracker.attach(self.nonces)
        self.local: Local | None = None
        self.tier: Bounded[bytes, Any] | None = None
        self.last: bytes | None = None
        self.timed = False
        self.stays: Bounded[bytes, float] = Bounded(_TAGS)
        self.quiet: Bounded[bytes, float] = Bounded(10_000)
        self.broken: dict[Endpoint | None, Breaker] = {}
        self.refreshing = 0
        self.hits = self.local_hits = self.stale = self.misses = self.joined = 0
        self.created = self.rejected = self.failed = self.bypassed = self.undecodable = 0
        self._begin()
        mind_forks(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self.flights: dict[FlightName, Flight] = {}

    def after_fork(self) -> None:
        """In a forked child: what the parent's threads were making is not made here."""
        self.owner = f"{socket.gethostname()}:{os.getpid()}"
        self._begin()

    def keep_local(self, local: Local) -> None:
        """Have a tier in the process with these bounds.

        Raises:
            ValueError: there is one with other bounds.
        """
        if self.local is None:
            self.local = local
            self.tier = Bounded(local.max_entries, local.max_bytes)
            self.tracker.attach(self.tier)
        elif self.local != local:
            raise ValueError(f"local is {self.local!r} for this cache already, not {local!r}")

    def count(self, kind: Kind) -> None:
        """Count what a look has found."""
        match kind:
            case "hit":
                self.hits += 1
            case "local":
                self.local_hits += 1
            case "stale":
                self.stale += 1
            case "bypass":
                self.bypassed += 1
            case _:
                self.misses += 1

    # The generation and the nonces of tags

    def ask_head(self, then: Callable[[bytes], Command[Any]] | None = None) -> Command[Any]:
        """Read the generation, making one if there is none; the result is the keys' head."""
        key = self.layout.generation
        ticket = self.tracker.ticket()

        def known(nonce: bytes) -> bytes:
            self.last = self.layout.head(nonce)
            return self.last

        def read(nonce: bytes | None) -> bytes | None:
            if nonce is None:
                return None
            head = known(nonce)
            self.tracker.keep(ticket, key, self.nonces, (head, ticket.link, {}))
            return head

        def follow(head: bytes | None) -> Command[Any] | None:
            if head is not None:
                return None if then is None else then(head)
            made = MINT((key,), ("0", "0", fresh_nonce()), lambda reply: known(reply[0]))
            return msgspec.structs.replace(made, then=then, opening=then is not None)

        return Command(
            (b"GET", key),
            (key,),
            cast("Any", read),
            idempotent=True,
            tracked=(ticket,),
            then=cast("Any", follow),
            opening=then is not None,
        )

    def ask_nonces(self, keys: tuple[bytes, ...]) -> Command[dict[bytes, bytes | None]]:
        """Read nonces, from the server, as they are."""
        ticket = self.tracker.ticket()

        def read(reply: list[bytes | None]) -> dict[bytes, bytes | None]:
            for key, nonce in zip(keys, reply, strict=True):
                if nonce is not None:
                    self.tracker.keep(ticket, key, self.nonces, (nonce, ticket.link))
            return dict(zip(keys, reply, strict=True))

        return Command((b"MGET", *keys), keys, read, idempotent=True, tracked=(ticket,))

    def held(self, keys: tuple[bytes, ...], needed: int) -> dict[bytes, bytes] | None:
        """Return nonces if they are known for certain, and stay for so many milliseconds."""
        until = monotonic() + needed / 1000
        held: dict[bytes, bytes] = {}
        for key in keys:
            nonce = self.nonces.nonce(key)
            if nonce is None or (self.stays.get(key) or 0.0) < until:
                return None
            held[key] = nonce
        return held

    def prepare(
        self,
        keys: tuple[bytes, ...],
        needed: int,
        then: Callable[[dict[bytes, bytes]], Command[Any]] | None = None,
    ) -> Command[Any]:
        """Find out, or make, what `held` could not tell."""
        until = monotonic() + needed / 1000
        mint = msgspec.structs.replace(self.mint(keys, needed), then=then, opening=then is not None)
        if any((self.stays.get(key) or 0.0) < until for key in keys):
            return mint

        def follow(nonces: dict[bytes, bytes | None]) -> Command[Any] | None:
            if None in nonces.values():
                return mint
            return None if then is None else then(cast("dict[bytes, bytes]", nonces))

        asked = self.ask_nonces(keys)
        return msgspec.structs.replace(asked, then=follow, opening=then is not None)

    def mint(self, keys: tuple[bytes, ...], needed: int) -> Command[dict[bytes, bytes]]:
        """Read nonces, making those that are not there, and have them stay long enough."""
        asked = monotonic()

        def read(reply: list[Any]) -> dict[bytes, bytes]:
            for key, stays in zip(keys, reply[1::2], strict=True):
                self.stays.set(key, asked + int(stays) / 1000)
            return dict(zip(keys, reply[::2], strict=True))

        ttl = tag_ttl(needed)
        return MINT(keys, (needed, ttl, *(fresh_nonce() for _ in keys)), read)

    # Flights

    def join(self, name: FlightName) -> tuple[Flight, bool]:
        """Return the flight under a name, and whether the caller is the one to fly it."""
        with self._lock:
            flight = self.flights.get(name)
            if flight is None:
                self.flights[name] = flight = Flight()
                return flight, True
            if flight.landed is None:
                flight.landed = Signal()
        return flight, False

    def fly(self, name: FlightName) -> Flight:
        """Return a new flight under a name, whoever flies there already."""
        with self._lock:
            self.flights[name] = flight = Flight()
        return flight

    def landing(self, flight: Flight) -> Signal:
        """Return the signal of its end."""
        with self._lock:
            if flight.landed is None:
                flight.landed = Signal()
                if flight.over:
                    flight.landed.set()
            return flight.landed

    def land(
        self,
        name: FlightName,
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
            if self.flights.get(name) is flight:
                del self.flights[name]
            if flight.over:
                return
            flight.entry, flight.again = entry, again
            if isinstance(error, Exception) or (flight.apart and isinstance(error, SystemExit)):
                flight.error, flight.traceback = error, error.__traceback__
            flight.over = True
            landed = flight.landed
        if landed is not None:
            landed.set()

    def changed(self, keys: Iterable[bytes], names: Iterable[bytes]) -> None:
        """Take note that this client has changed something: nobody here is to see what was.

        Args:
            keys: the users' keys; whoever asks for them from now on joins no flight from before.
            names: the keys on the server.
        """
        for key in keys:
            self.flights.pop(key, None)
        self.tracker.changed(names)

    def cleared(self) -> None:
        """Take note that there is another generation: no flight from before is joined any more."""
        self.flights = {}

    # The breaker

    def leaves(self, keys: tuple[bytes, ...]) -> Literal["no", "yes", "look"]:
        """Whether the node of these keys is to be left alone; "look": its turn has come again."""
        node = self.common.topology.node_of(keys)
        breaker = self.broken.get(node)
        if breaker is None:
            return "no"
        link = None if node is None else self.tracker.link(node)
        if link is not None and link.trusted_until - TRUST > breaker.opened:
            self.broken.pop(node, None)
            return "no"
        return "look" if breaker.lets_through() else "yes"

    def lost(self, keys: tuple[bytes, ...]) -> None:
        """Take note that the node of these keys could not be reached."""
        node = self.common.topology.node_of(keys)
        breaker = self.broken.get(node)
        if breaker is None:
            self.broken[node] = Breaker()
        else:
            breaker.failed()

    def reached(self, keys: tuple[bytes, ...]) -> None:
        """Take note that the node of these keys answers."""
        if self.broken:
            self.broken.pop(self.common.topology.node_of(keys), None)


def fresh_nonce() -> str:
    """Return a nonce that no other will ever be."""
    return secrets.token_urlsafe(9)


def tag_ttl(needed: int) -> int:
    """Return for how long the nonce of a tag is kept whose entries may live so long, in ms."""
    return 2 * needed + _AN_HOUR

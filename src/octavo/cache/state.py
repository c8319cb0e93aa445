"""What all objects of one cache share in a client: nonces, flights, the local tier, breakers."""

from __future__ import annotations

import os
import secrets
import socket
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import msgspec

from octavo.cache.flights import Flights
from octavo.cache.scripts import MINT
from octavo.engine.bounded import Bounded
from octavo.engine.breaker import Circuits
from octavo.engine.command import Command
from octavo.engine.fork import mind_forks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from octavo.cache.layout import Layout
    from octavo.cache.reading import Kind
    from octavo.cache.records import Local
    from octavo.engine.command import Common
    from octavo.engine.links import Link

_TAGS = 100_000
"""Nonces of tags held."""
_MOST_KINDS = 100
"""Settings of one cache told apart; with more, values are decoded anew."""
_numbers = count()
_AN_HOUR = 3_600_000


class Nonces:
    """The nonces that this client holds for as long as it is told of their changes.

    Attributes:
        held: what keys begin with in this generation, where its end would be told, and the keys
            of values that were in the tier in the process, by the users' keys.
    """

    def __init__(self, generation: bytes, cleared: Callable[[], None]) -> None:
        self._generation = generation
        self._cleared = cleared
        self._tags: Bounded[bytes, tuple[bytes, Link, float]] = Bounded(_TAGS)
        self.held: tuple[bytes, Link, dict[str | bytes, bytes]] | None = None

    def head(self) -> bytes | None:
        """Return what keys begin with in this generation, if that is known for certain."""
        held = self.held
        return held[0] if held is not None and monotonic() < held[1].trusted_until else None

    def nonce(self, key: bytes, until: float = 0.0) -> bytes | None:
        """Return the nonce of a tag, if it is known for certain, and to stay until then."""
        held = self._tags.get(key)
        if held is None or monotonic() >= held[1].trusted_until or held[2] < until:
            return None
        return held[0]

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
        elif self._tags.pop(key) is not None:
            self._cleared()


class State:
    """What is shared. Its counters are as `Stats` describes them."""

    def __init__(self, common: Common, layout: Layout) -> None:
        self.common = common
        self.layout = layout
        self.tracker = common.tracker
        self.identity = f"{common.topology.target} {layout.base}"
        self.owner = f"{socket.gethostname()}:{os.getpid()}"
        self.flights = Flights(self.tracker.place)
        self.nonces = Nonces(layout.generation, self.flights.forget_all)
        self.tracker.attach(self.nonces, layout.base.encode())
        self.local: Local | None = None
        self.tier: Bounded[bytes, Any] | None = None
        self.last: bytes | None = None
        self.timed = False
        self.backoff: Bounded[bytes, float] = Bounded(10_000)
        self.circuits = Circuits(common)
        self.refreshing = 0
        self._kinds: dict[object, int] = {}
        self.hits = self.local_hits = self.stale = self.misses = self.joined = 0
        self.created = self.rejected = self.failed = self.bypassed = self.undecodable = 0
        mind_forks(self)

    def after_fork(self) -> None:
        """In a forked child: another process holds the leases, and runs the factories."""
        self.refreshing = 0
        self.owner = f"{socket.gethostname()}:{os.getpid()}"

    def keep_local(self, local: Local) -> None:
        """Have a tier in the process with these bounds.

        Raises:
            ValueError: there is one with other bounds.
        """
        if self.local is None:
            self.local = local
            self.tier = Bounded(local.max_entries, local.max_bytes)
            self.tracker.attach(self.tier, self.layout.values)
        elif self.local != local:
            raise ValueError(f"local is {self.local!r} for this cache already, not {local!r}")

    def kind(self, settings: object) -> int:
        """Return a number for settings: objects with the same ones share what they have decoded."""
        try:
            found = self._kinds.get(settings)
        except TypeError:
            settings = repr(settings)  # a type with something in it that has no hash
            found = self._kinds.get(settings)
        if found is None:
            if len(self._kinds) >= _MOST_KINDS:
                self._kinds = {}
            found = self._kinds[settings] = next(_numbers)
        return found

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
            nonces = dict(zip(keys, reply, strict=True))
            for key, nonce in nonces.items():
                if nonce is not None:
                    self.tracker.keep(ticket, key, self.nonces, (nonce, ticket.link, 0.0))
            return nonces

        return Command((b"MGET", *keys), keys, read, idempotent=True, tracked=(ticket,))

    def held(self, keys: tuple[bytes, ...], stays: int) -> dict[bytes, bytes] | None:
        """Return nonces if they are known for certain, and to stay for so many milliseconds."""
        until = monotonic() + stays / 1000
        held = {key: nonce for key in keys if (nonce := self.nonces.nonce(key, until)) is not None}
        return held if len(held) == len(keys) else None

    def mint(
        self,
        keys: tuple[bytes, ...],
        stays: int,
        then: Callable[[dict[bytes, bytes]], Command[Any]] | None = None,
    ) -> Command[Any]:
        """Read nonces, making those that are not there, and have them stay long enough."""
        ticket, asked = self.tracker.ticket(), monotonic()

        def read(reply: list[Any]) -> dict[bytes, bytes]:
            nonces = dict(zip(keys, reply[::2], strict=True))
            for (key, nonce), lasts in zip(nonces.items(), reply[1::2], strict=True):
                until = asked + int(lasts) / 1000
                self.tracker.keep(ticket, key, self.nonces, (nonce, ticket.link, until))
            return nonces

        minted = MINT(keys, (stays, tag_ttl(stays), *(fresh_nonce() for _ in keys)), read)
        return msgspec.structs.replace(
            minted, tracked=(ticket,), then=then, opening=then is not None
        )

    def changed(self, keys: Iterable[bytes], names: Iterable[bytes]) -> None:
        """Take note that this client has changed something: nobody here is to see what was.

        Args:
            keys: the users' keys; whoever asks for them from now on joins no flight from before.
            names: the keys on the server.
        """
        self.flights.forget(keys)
        self.tracker.changed(names)


def fresh_nonce() -> str:
    """Return a nonce that no other will ever be."""
    return secrets.token_urlsafe(9)


def tag_ttl(needed: int) -> int:
    """Return for how long the nonce of a tag is kept whose entries may live so long, in ms."""
    return 2 * needed + _AN_HOUR

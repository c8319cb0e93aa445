"""The commands of one object whose places can be held: a lock, a read-write lock, a semaphore.

All of them are one thing: `limit` is the weight that can be held at once, and each lease has a
weight. A lock has one place. Of a read-write lock's many a reader takes one, and a writer all.
"""

from __future__ import annotations

import os
import socket
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import msgspec

from octavo.engine.command import as_it_is
from octavo.locks.layout import Keys
from octavo.locks.scripts import ACQUIRE, DOWNGRADE, GIVE_UP, HELD, PROCLAIM, RELEASE, RENEW

if TYPE_CHECKING:
    from octavo.engine.command import Command, Common
    from octavo.locks.options import Terms

MOST_READERS = 2**31
"""The limit of a read-write lock."""
CLAIM = 2.0
"""Seconds for which what was handed over is kept for whoever waited for it (`places.lua`)."""


class Places:
    """What can be held, and how.

    Attributes:
        common: what the jobs of the client share.
        name: what users call it.
        keys: its keys.
        limit: the weight that can be held at once.
        terms: how it is held.
    """

    def __init__(
        self, common: Common, name: str, base: str, *, limit: int, fair: bool, terms: Terms
    ) -> None:
        if not common.tasks and iscoroutinefunction(terms.on_lost):
            raise TypeError(f"on_lost of a sync client is a plain function, not {terms.on_lost!r}")
        self.common = common
        self.name = name
        self.keys = Keys.of(base)
        self.limit = limit
        self.terms = terms
        self._held = (self.keys.leases, self.keys.who)
        self._limit = str(limit)
        self._fair = b"1" if fair else b"0"
        self._lasts = (
            micros(terms.ttl),
            micros(terms.lock_delay),
            micros(terms.min_hold),
            self._fair,
        )

    def asking(
        self,
        owner: bytes,
        weight: int,
        *,
        waits: bool = False,
        order: int = 0,
        address: bytes = b"",
        label: bytes = b"",
    ) -> Command[list[int]]:
        """Return the Command that asks for a place."""
        args = (
            *(owner, self._limit, str(weight), *self._lasts, label or process_label()),
            *(b"1" if waits else b"0", str(order), address),
        )
        return ACQUIRE.run(self.keys, args, as_it_is)

    def synced(self, command: Command[Any]) -> Command[list[Any]]:
        """Return the same command, with how many replicas took what it wrote behind its reply."""
        milliseconds = str(round(self.terms.sync_timeout * 1000))
        return msgspec.structs.replace(
            command,
            read=as_it_is,
            behind=((b"WAIT", str(self.terms.sync), milliseconds),),
            block=self.terms.sync_timeout,
        )

    def renewing(self, owner: bytes, seconds: float) -> Command[int]:
        """Return the Command that has a lease begin anew; 0 says that it has ended."""
        return RENEW.run(self._held, (owner, micros(seconds)), int)

    def downgrading(self, owner: bytes, weight: int) -> Command[int]:
        """Return the Command that makes a lease lighter; 0 says that it has ended."""
        return DOWNGRADE(self.keys, (owner, str(weight)), int)

    def proclaiming(self, owner: bytes, label: bytes) -> Command[int]:
        """Return the Command that has a holder shown otherwise; 0 says that its lease has ended."""
        return PROCLAIM(self._held, (owner, label), int)

    def releasing(self, owner: bytes) -> Command[int]:
        """Return the Command that ends a lease; 0 says that it has ended before."""
        return RELEASE.run(self.keys, (owner, self._fair, b"0"), int)

    def releasing_again(self, owner: bytes) -> Command[int]:
        """Return the Command that ends a lease which may have been ended by the one before."""
        return GIVE_UP.run(self.keys, (owner, self._fair, b"0"), int)

    def giving_up(self, owner: bytes) -> Command[int]:
        """Return the Command that ends whatever an owner has or waits for."""
        return GIVE_UP.run(self.keys, (owner, self._fair, b"1"), int)

    def holding(self, owner: bytes) -> Command[bool]:
        """Return the Command that tells whether a lease has not ended."""
        return HELD(self._held, (owner,), bool)

    def address(self, *, listen: bool) -> bytes | None:
        """Return the channel on which this process is told of its turn, if it listens there.

        Args:
            listen: begin to, if it does not.
        """
        endpoint = self.common.topology.node_of(self.keys)
        if endpoint is None:
            return None
        return self.common.tracker.address(endpoint, self.keys.leases, listen=listen)


def micros(seconds: float) -> str:
    """Return seconds as whole microseconds."""
    return str(round(seconds * 1_000_000))


_labels: dict[int, bytes] = {}


def process_label() -> bytes:
    """Return what tells people who this process is: its host and its number there."""
    pid = os.getpid()
    if pid not in _labels:
        _labels[pid] = f"{socket.gethostname()}:{pid}".encode()
    return _labels[pid]

"""Being told when keys that were read have changed: server-assisted client-side caching.

Reads whose results are kept travel on a link with `CLIENT TRACKING ON OPTIN`, on which the server
then says, once, that the key has changed. What is kept of a read is good for as long as

- nothing was heard about its key since before it was asked for (`Tracker.keep`), and
- its link has lately shown that it is alive, and that its node is still a primary (`Link.trusted`).

Tracking hangs on the very connection that reads: were the reads sent on others, with `REDIRECT` to
the link, the server would fall silent about the keys of one that it closes, and nobody would know.

https://redis.io/docs/latest/develop/reference/client-side-caching/
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from octavo.engine.fork import mind_forks
from octavo.engine.mail import Mail, new_channel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from octavo.engine.command import Signal
    from octavo.engine.links import Link
    from octavo.engine.topology import Endpoint

    # The node, the event loop, and whether it is subscribed to a channel.
    Where = tuple[Endpoint, object, bool]

log = logging.getLogger("octavo")

_REMEMBERED = 10_000
"""Changes remembered, for reads that are on their way when they are heard of."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
"""Seconds between two tries to open a link."""


class Ticket:
    """One read on its way.

    Attributes:
        since: how many changes had been heard when it set out.
        link: what it travels on; None if its key's change is not told. Set when it is sent.
    """

    __slots__ = ("link", "since")

    def __init__(self, since: int) -> None:
        self.since = since
        self.link: Link | None = None


class Store(Protocol):
    """Something that holds what was read, by key."""

    def pop(self, key: bytes, /) -> object:
        """Forget a key, if it is there."""

    def set(self, key: bytes, value: Any, size: int = 0, /) -> None:
        """Hold a value."""


class Tracker:
    """The links of one client, and what was heard on them. Safe for threads and forks.

    Args:
        open_link: begins to open a link, given the channel to subscribe to, if any.
        doubt: told of nodes whose links have ended, that they may not be what they were.
        place: says where links opened now live: on which event loop, or None for threads.

    Attributes:
        mail: what others have to say to this process.
    """

    def __init__(
        self,
        open_link: Callable[[Tracker, Endpoint, bytes | None], Link],
        place: Callable[[], object],
        doubt: Callable[[Endpoint], None],
    ) -> None:
        self._open = open_link
        self._doubt = doubt
        self.place = place
        self._stores: dict[bytes, weakref.WeakSet[Any]] = {}
        self._lengths: frozenset[int] = frozenset()
        self._begin()
        mind_forks(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self.mail = Mail()
        self._links: dict[Where, Link] = {}
        self._pauses: dict[Where, tuple[float, float]] = {}
        self._heard = 0
        self._forgotten = 0
        self._changes: OrderedDict[bytes, int] = OrderedDict()
        self._waiting: dict[bytes, set[Signal]] = {}
        self._closed = False

    def link(self, endpoint: Endpoint) -> Link | None:
        """Return the node's link for reads, if it is there; otherwise have it opened. No I/O."""
        return self._link((endpoint, self.place(), False), None)

    def address(self, endpoint: Endpoint, near: bytes, *, listen: bool) -> bytes | None:
        """Return the channel on which this process hears the node, if it does. Does no I/O.

        Args:
            endpoint: the node.
            near: a key on the node, in whose slot a new channel is.
            listen: if it does not, have a link opened that does.
        """
        where = endpoint, self.place(), True
        if not listen and where not in self._links:
            return None
        link = self._link(where, near)
        return None if link is None else link.channel

    def _link(self, where: Where, near: bytes | None) -> Link | None:
        link = self._links.get(where)
        if link is not None:
            return link if link.trusted else None
        with self._lock:
            until, _ = self._pauses.get(where, (0.0, 0.0))
            if where not in self._links and not self._closed and monotonic() >= until:
                self._forget_closed_loops()
                channel = None if near is None else new_channel(near)
                self._links[where] = self._open(self, where[0], channel)
        return None

    def _forget_closed_loops(self) -> None:
        for where in [where for where in (*self._pauses, *self._links) if _is_closed(where[1])]:
            self._pauses.pop(where, None)
            self._links.pop(where, None)

    def attach(self, store: Store, prefix: bytes = b"") -> None:
        """Have changed keys that begin so removed from a store, for as long as it lives."""
        with self._lock:
            self._stores.setdefault(prefix, weakref.WeakSet()).add(store)
            self._lengths |= {len(prefix)}

    def ticket(self) -> Ticket:
        """Return a ticket for a read that is about to set out."""
        return Ticket(self._heard)

    def keep(self, ticket: Ticket, key: bytes, store: Store, value: Any, size: int = 0) -> bool:
        """Put what a read has found into a store, unless its key may have changed since."""
        if ticket.link is None or not ticket.link.trusted:
            return False
        with self._lock:
            if ticket.since < self._forgotten or self._changes.get(key, 0) > ticket.since:
                return False
            store.set(key, value, size)
        return True

    def changed(self, keys: Iterable[bytes]) -> None:
        """Remove keys from every store, and wake who waits for them."""
        woken: set[Signal] = set()
        with self._lock:
            for key in keys:
                self._heard += 1
                self._changes[key] = self._heard
                self._changes.move_to_end(key)
                for length in self._lengths:
                    for store in self._stores.get(key[:length], ()):
                        store.pop(key)
                woken |= self._waiting.pop(key, set())
            while len(self._changes) > _REMEMBERED:
                self._forgotten = self._changes.popitem(last=False)[1]
        for signal in woken:
            signal.set()

    def wait_for(self, key: bytes, signal: Signal) -> None:
        """Have a signal set when the key changes, or when it would not be told."""
        with self._lock:
            self._waiting.setdefault(key, set()).add(signal)

    def wait_no_more(self, key: bytes, signal: Signal) -> None:
        """End `wait_for`."""
        with self._lock:
            if (signals := self._waiting.get(key)) is not None:
                signals.discard(signal)
                if not signals:
                    del self._waiting[key]

    def came_up(self, link: Link) -> None:
        """Take note that a link is to be trusted from now on."""
        if link.channel is not None:
            self.mail.look_up()

    def ended(self, link: Link, why: BaseException | None) -> None:
        """Take note that a link has ended; the next read has another one opened."""
        where = link.endpoint, link.place, link.channel is not None
        with self._lock:
            if self._links.get(where) is not link:
                return
            del self._links[where]
            _, pause = self._pauses.get(where, (0.0, 0.0))
            # One that had been up is opened again at once.
            pause = 0.0 if link.was_up else min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
            self._pauses[where] = (monotonic() + pause, pause)
            waiting: dict[bytes, set[Signal]] = {}
            if link.channel is None:
                waiting, self._waiting = self._waiting, {}
        if why is not None:
            self._doubt(link.endpoint)
            log.info("octavo does not hear of changes at %s: %s", link.endpoint.address, why)
        for signals in waiting.values():
            for signal in signals:
                signal.set()
        if link.channel is not None:
            self.mail.look_up()

    @property
    def links(self) -> list[Link]:
        """The links for reads that are up, of all places."""
        links = list(self._links.values())
        return [link for link in links if link.trusted and link.channel is None]

    def close(self) -> None:
        """Close every link."""
        with self._lock:
            self._closed = True
            links, self._links = self._links, {}
        for link in links.values():
            link.close()
        self.mail.look_up()

    def after_fork(self) -> None:
        """In a forked child: no link of the parent's is ours, nor what was read under it."""
        for link in self._links.values():
            link.abandon()
        self._begin()


def _is_closed(place: object) -> bool:
    closed: Callable[[], bool] = getattr(place, "is_closed", bool)
    return closed()

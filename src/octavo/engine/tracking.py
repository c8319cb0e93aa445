"""Being told when keys that were read have changed: server-assisted client-side caching.

A client reads a key on any of its connections with `CLIENT TRACKING ... REDIRECT` to a *link*: one
RESP3 connection per node, with a thread that does nothing but listen. The server then says on the
link, once, that the key has changed. What is kept of the read is good for as long as

- nothing was heard about its key since before it was asked for (`Tracker.keep`), and
- its link has lately shown that it is alive, and that its node is still a primary (`Link.trusted`).

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
from octavo.engine.retry import Lost, ReplyError
from octavo.engine.wire import Push, pack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from octavo.engine.command import Signal
    from octavo.engine.sync import Wire
    from octavo.engine.topology import Endpoint

log = logging.getLogger("octavo")

HEARTBEAT = 1.0
"""Seconds between two questions on a link whether its node is there and a primary."""
TRUST = 3.0
"""Seconds after an answered question for which a link is believed to have told everything."""
_REMEMBERED = 10_000
"""Changes remembered, for reads that are on their way when they are heard of."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
"""Seconds between two tries to open a link."""

_ROLE, _PING, _CLIENT_ID = pack((b"ROLE",)), pack((b"PING",)), pack((b"CLIENT", b"ID"))


class Ticket:
    """One read on its way.

    Attributes:
        since: how many changes had been heard when it set out.
        link: where its key's change would be told; None if it would not be. Set when it is sent.
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


class Link:
    """A connection on which a node tells what has changed.

    Attributes:
        id: the connection's id on the server, once it is open.
        was_up: whether it has ever been trusted.
        trusted_until: until when (`time.monotonic()`) what was read under it may be used.
    """

    def __init__(self, tracker: Tracker, endpoint: Endpoint, timeout: float) -> None:
        self.id = b""
        self.trusted_until = 0.0
        self.was_up = False
        self.endpoint = endpoint
        self._tracker = weakref.ref(tracker)
        self._timeout = timeout
        self._wire: Wire | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="octavo-link", daemon=True)
        self._thread.start()

    @property
    def trusted(self) -> bool:
        """Whether what was read under it may be used."""
        return monotonic() < self.trusted_until

    def close(self) -> None:
        """End; what was read under it is not used any more."""
        self._closed = True
        self.trusted_until = 0.0
        if self._wire is not None:
            self._wire.shut()

    def abandon(self) -> None:
        """In a forked child: let go of the parent's connection."""
        self._closed = True
        self.trusted_until = 0.0
        if self._wire is not None:
            self._wire.close()

    def _run(self) -> None:
        from octavo.engine.sync import Wire  # noqa: PLC0415 - which imports this module

        why: Exception | None = None
        try:
            self._wire = Wire(self.endpoint.connect(self._timeout), HEARTBEAT / 2)
            self._listen(self._wire)
        except Exception as error:  # noqa: BLE001 - whatever it was, the link has ended
            why = error
        finally:
            self.trusted_until = 0.0
            if self._wire is not None:
                self._wire.close()
            if (tracker := self._tracker()) is not None:
                tracker.ended(self, None if self._closed else why)

    def _listen(self, wire: Wire) -> None:
        deadline = monotonic() + TRUST
        wire.send(_CLIENT_ID, deadline)
        self.id = str(wire.receive(deadline)).encode()
        question, asked, due = _ROLE, 0.0, 0.0
        while not self._closed and self._tracker() is not None:
            now = monotonic()
            if not asked and now >= due:
                wire.send(question, now + TRUST)
                asked = now
            elif asked and now - asked > TRUST:
                raise Lost("no sign of life", sent=False)
            reply = wire.hear()
            if type(reply) is Push:
                self._told(reply)
            elif type(reply) is ReplyError and question is _ROLE:
                question, asked = _PING, 0.0  # who may not ask for the role asks for life
            elif reply is not None:
                self._answered(reply, asked)
                asked, due = 0.0, asked + HEARTBEAT

    def _answered(self, reply: Any, asked: float) -> None:
        if type(reply) is ReplyError or (type(reply) is list and reply[0] != b"master"):
            raise Lost(f"the node is no primary: {reply!r}", sent=False)
        if not self._closed:
            self.was_up = True
            self.trusted_until = asked + TRUST

    def _told(self, push: Any) -> None:
        tracker = self._tracker()
        if tracker is None or push[0] != b"invalidate":
            return
        if push[1] is None:
            # FLUSHALL or FLUSHDB.
            raise Lost("the server was emptied", sent=False)
        tracker.changed(push[1])

    def __repr__(self) -> str:
        """Show the node."""
        return f"<Link {self.endpoint.address}>"


class Tracker:
    """The links of one client, and what was heard on them. Safe for threads and forks."""

    def __init__(self, connect_timeout: float) -> None:
        self._timeout = connect_timeout
        self._stores: weakref.WeakSet[Any] = weakref.WeakSet()
        self._begin()
        mind_forks(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._links: dict[Endpoint, Link] = {}
        self._pauses: dict[Endpoint, tuple[float, float]] = {}
        self._heard = 0
        self._forgotten = 0
        self._changes: OrderedDict[bytes, int] = OrderedDict()
        self._waiting: dict[bytes, set[Signal]] = {}
        self._closed = False

    def link(self, endpoint: Endpoint) -> Link | None:
        """Return the node's link, if it is there; otherwise have it opened. Does no I/O."""
        link = self._links.get(endpoint)
        if link is not None:
            return link if link.trusted else None
        with self._lock:
            until, _ = self._pauses.get(endpoint, (0.0, 0.0))
            if endpoint not in self._links and not self._closed and monotonic() >= until:
                self._links[endpoint] = Link(self, endpoint, self._timeout)
        return None

    def attach(self, store: Store) -> None:
        """Have changed keys removed from a store, for as long as it lives."""
        self._stores.add(store)

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
                for store in self._stores:
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

    def ended(self, link: Link, why: Exception | None) -> None:
        """Take note that a link has ended; the next read has another one opened."""
        with self._lock:
            if self._links.get(link.endpoint) is not link:
                return
            del self._links[link.endpoint]
            _, pause = self._pauses.get(link.endpoint, (0.0, 0.0))
            # One that had been up is opened again at once.
            pause = 0.0 if link.was_up else min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
            self._pauses[link.endpoint] = (monotonic() + pause, pause)
            waiting, self._waiting = self._waiting, {}
        if why is not None:
            log.info("octavo does not hear of changes at %s: %s", link.endpoint.address, why)
        for signals in waiting.values():
            for signal in signals:
                signal.set()

    @property
    def links(self) -> list[Link]:
        """The links that are up."""
        return [link for link in list(self._links.values()) if link.trusted]

    def close(self) -> None:
        """Close every link."""
        with self._lock:
            self._closed = True
            links, self._links = self._links, {}
        for link in links.values():
            link.close()

    def after_fork(self) -> None:
        """In a forked child: no link of the parent's is ours, nor what was read under it."""
        for link in self._links.values():
            link.abandon()
        self._begin()

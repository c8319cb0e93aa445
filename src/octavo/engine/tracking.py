"""Being told when keys that were read have changed: server-assisted client-side caching.

Reads whose results are kept travel on a *link*: a RESP3 connection per node with `CLIENT TRACKING
ON OPTIN`, on which the server then says, once, that the key has changed. A thread listens to it
for sync code; for async code each event loop has a link of its own. What is kept of a read is good
for as long as

- nothing was heard about its key since before it was asked for (`Tracker.keep`), and
- its link has lately shown that it is alive, and that its node is still a primary (`Link.trusted`).

Tracking hangs on the very connection that reads: were the reads sent on others, with `REDIRECT` to
the link, the server would fall silent about the keys of one that it closes, and nobody would know.

https://redis.io/docs/latest/develop/reference/client-side-caching/
"""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from collections import OrderedDict, deque
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from octavo.engine.fork import mind_forks
from octavo.engine.retry import Lost, ReplyError
from octavo.engine.wire import NOTHING, Push, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from octavo.engine.aio import Channel
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

_ROLE, _PING = pack((b"ROLE",)), pack((b"PING",))
_TRACKING = pack((b"CLIENT", b"TRACKING", b"ON", b"OPTIN"))


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


class Link:
    """A connection on which a node tells what has changed of what was read on it.

    Attributes:
        endpoint: the node.
        place: the event loop it lives on; None for a thread's.
        trusted_until: until when (`time.monotonic()`) what was read on it may be used.
        was_up: whether it has ever been trusted.
    """

    def __init__(self, tracker: Tracker, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.place = tracker.place()
        self.trusted_until = 0.0
        self.was_up = False
        self.closed = False
        self.tracker = weakref.ref(tracker)
        self._question = _ROLE

    @property
    def trusted(self) -> bool:
        """Whether what was read on it may be used."""
        return monotonic() < self.trusted_until

    @property
    def question(self) -> bytes:
        """What to ask the node for as a sign of life, packed."""
        return self._question

    def answered(self, reply: Any, asked: float) -> None:
        """Take the node's answer to the question.

        Raises:
            Lost: it is not one to trust.
        """
        if type(reply) is ReplyError and self._question is _ROLE:
            self._question = _PING  # who may not ask for the role asks for life
            return
        if type(reply) is ReplyError or (type(reply) is list and reply[0] != b"master"):
            raise Lost(f"the node is no primary: {reply!r}", sent=False)
        if not self.closed:
            self.was_up = True
            self.trusted_until = asked + TRUST

    def told(self, push: Any) -> None:
        """Take what the node says unasked.

        Raises:
            Lost: there is nothing left to trust.
        """
        tracker = self.tracker()
        if tracker is None or push[0] != b"invalidate":
            return
        if push[1] is None:
            raise Lost("the server was emptied", sent=False)
        tracker.changed(push[1])

    def ended(self, why: BaseException) -> None:
        """Take note that it has ended: nothing read on it is used any more."""
        self.trusted_until = 0.0
        if (tracker := self.tracker()) is not None:
            tracker.ended(self, None if self.closed else why)

    def close(self) -> None:
        """End."""
        self.closed = True
        self.trusted_until = 0.0

    def abandon(self) -> None:
        """In a forked child: let go of the parent's connection."""
        self.close()

    def __repr__(self) -> str:
        """Show the node."""
        return f"<Link {self.endpoint.address}>"


class Loan:
    """A thread's turn on a link: what it has sent, and the replies to that.

    It behaves as a `Wire` with one exchange to make.
    """

    def __init__(self, link: ThreadLink) -> None:
        self._link = link
        self._replies: deque[Any] = deque()
        self._left = 0
        self._ready = threading.Lock()
        self._ready.acquire()
        self._lost: Exception | None = None

    def send(self, data: bytes, deadline: float, count: int) -> None:
        """Send commands that bring so many replies."""
        self._left = count
        self._link.send(data, deadline, self)

    def take(self, reply: Any) -> bool:
        """Take a reply, or the reason why there is none; return whether it was the last one."""
        if isinstance(reply, Lost):
            self._lost, self._left = reply, 1
        else:
            self._replies.append(reply)
        self._left -= 1
        if self._left == 0:
            self._ready.release()
        return self._left == 0

    def receive(self, deadline: float) -> Any:
        """Return the next reply."""
        if not self._replies:
            if not self._ready.acquire(timeout=max(deadline - monotonic(), 0.001)):
                raise Lost("no reply within the timeout", sent=True, late=True)
            self._ready.release()
            if self._lost is not None:
                raise Lost(self._lost, sent=True)
        return self._replies.popleft()

    def close(self) -> None:
        """Leave: what still comes is nobody's."""


class ThreadLink(Link):
    """A link for threads: one of its own listens, any of them send."""

    def __init__(self, tracker: Tracker, endpoint: Endpoint, timeout: float) -> None:
        super().__init__(tracker, endpoint)
        self._timeout = timeout
        self._wire: Wire | None = None
        self._sending = threading.Lock()
        self._expected: deque[Loan | float] = deque()
        threading.Thread(target=self._run, name="octavo-link", daemon=True).start()

    def lend(self) -> Loan:
        """Return a turn."""
        return Loan(self)

    def give(self, loan: Loan) -> None:
        """Take back a turn; nothing is left of it."""

    def send(self, data: bytes, deadline: float, expecting: Loan | float) -> None:
        """Send, and have the replies given to a loan; a time marks our own question."""
        # Not acquire() and try: an interrupt between them would leave it held.
        with self._sending:
            if self._wire is None or self.closed:
                raise Lost("the link has ended", sent=False)
            try:
                self._expected.append(expecting)
                self._wire.send(data, deadline, whole=False)
            except BaseException:
                # Half a command may have left: nothing can follow it, and no reply be told.
                self.closed = True
                self.trusted_until = 0.0
                self._wire.shut()
                raise

    def close(self) -> None:
        """End."""
        super().close()
        if self._wire is not None:
            self._wire.shut()

    def abandon(self) -> None:
        """In a forked child: let go of the parent's connection."""
        super().close()
        if self._wire is not None:
            self._wire.close()

    def _run(self) -> None:
        from octavo.engine.sync import Wire  # noqa: PLC0415 - which imports this module

        why: Exception = Lost("the link was closed", sent=True)
        try:
            wire = Wire(self.endpoint.connect(self._timeout), HEARTBEAT / 2)
            self._wire = wire
            wire.send(_TRACKING, monotonic() + TRUST)
            reply = wire.receive(monotonic() + TRUST)
            if type(reply) is not ReplyError:
                self._listen(wire)
            else:
                why = reply
        except Exception as error:  # noqa: BLE001 - whatever it was, the link has ended
            why = error
        finally:
            self.ended(why)
            with self._sending:
                if self._wire is not None:
                    self._wire.close()
                self._wire = None
                expected, self._expected = self._expected, deque()
            for each in expected:
                if isinstance(each, Loan):
                    each.take(Lost(why, sent=True))

    def _listen(self, wire: Wire) -> None:
        asked, due = 0.0, 0.0
        while not self.closed and self.tracker() is not None:
            now = monotonic()
            if not asked and now >= due:
                asked = now
                self.send(self.question, now + TRUST, asked)
            elif asked and now - asked > TRUST:
                raise Lost("no sign of life", sent=False)
            reply = wire.hear()
            if type(reply) is Push:
                self.told(reply)
            elif reply is not NOTHING:
                first = self._expected[0]
                if isinstance(first, Loan):
                    if first.take(reply):
                        self._expected.popleft()
                else:
                    self._expected.popleft()
                    self.answered(reply, asked)
                    asked, due = 0.0, asked + HEARTBEAT


class TaskLink(Link):
    """A link for the tasks of one event loop.

    Attributes:
        channel: the connection, once it is open.
    """

    def __init__(
        self,
        tracker: Tracker,
        endpoint: Endpoint,
        connect: Callable[[TaskLink], Coroutine[Any, Any, Channel]],
    ) -> None:
        super().__init__(tracker, endpoint)
        self.channel: Channel | None = None
        self._loop = asyncio.get_running_loop()
        self._opening = self._loop.create_task(self._open(connect))

    def close(self) -> None:
        """End."""
        super().close()
        self._opening.cancel()
        if self.channel is not None:
            self.channel.fail(Lost("the client was closed", sent=True))

    async def _open(self, connect: Callable[[TaskLink], Coroutine[Any, Any, Channel]]) -> None:
        try:
            channel = await connect(self)
            reply = await channel.send(_TRACKING, self._loop.time() + TRUST)
        except BaseException as error:
            self.ended(error)
            if not isinstance(error, Exception):
                raise
        else:
            self.channel = channel
            if type(reply) is ReplyError:
                self._fail(reply)
            else:
                self._ask()

    # Timers, not a task: an event loop that ends does not complain of them.
    def _ask(self) -> None:
        if self.channel is None or self.channel.closed:
            return
        if self.tracker() is None:
            self.close()
            return
        answer = self.channel.send(self.question, self._loop.time() + TRUST)
        answer.add_done_callback(partial(self._take, monotonic()))

    def _take(self, asked: float, answer: asyncio.Future[Any]) -> None:
        if answer.cancelled() or answer.exception() is not None:
            return  # the channel has failed, and has said so
        try:
            self.answered(answer.result(), asked)
        except Lost as lost:
            self._fail(lost)
        else:
            self._loop.call_later(HEARTBEAT, self._ask)

    def _fail(self, why: Exception) -> None:
        if self.channel is not None:
            self.channel.fail(Lost(why, sent=True))


class Tracker:
    """The links of one client, and what was heard on them. Safe for threads and forks.

    Args:
        open_link: begins to open a link.
        doubt: told of nodes whose links have ended, that they may not be what they were.
        place: says where links opened now live: on which event loop, or None for threads.
    """

    def __init__(
        self,
        open_link: Callable[[Tracker, Endpoint], Link],
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
        self._links: dict[tuple[Endpoint, object], Link] = {}
        self._pauses: dict[Endpoint, tuple[float, float]] = {}
        self._heard = 0
        self._forgotten = 0
        self._changes: OrderedDict[bytes, int] = OrderedDict()
        self._waiting: dict[bytes, set[Signal]] = {}
        self._closed = False

    def link(self, endpoint: Endpoint) -> Link | None:
        """Return the node's link, if it is there; otherwise have it opened. Does no I/O."""
        where = endpoint, self.place()
        link = self._links.get(where)
        if link is not None:
            return link if link.trusted else None
        with self._lock:
            until, _ = self._pauses.get(endpoint, (0.0, 0.0))
            if where not in self._links and not self._closed and monotonic() >= until:
                self._links[where] = self._open(self, endpoint)
        return None

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

    def ended(self, link: Link, why: BaseException | None) -> None:
        """Take note that a link has ended; the next read has another one opened."""
        with self._lock:
            if self._links.get((link.endpoint, link.place)) is not link:
                return
            del self._links[link.endpoint, link.place]
            _, pause = self._pauses.get(link.endpoint, (0.0, 0.0))
            # One that had been up is opened again at once.
            pause = 0.0 if link.was_up else min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
            self._pauses[link.endpoint] = (monotonic() + pause, pause)
            waiting, self._waiting = self._waiting, {}
        if why is not None:
            self._doubt(link.endpoint)
            log.info("octavo does not hear of changes at %s: %s", link.endpoint.address, why)
        for signals in waiting.values():
            for signal in signals:
                signal.set()

    @property
    def links(self) -> list[Link]:
        """The links that are up, of all places."""
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

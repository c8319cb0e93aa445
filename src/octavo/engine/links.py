"""Connections on which a node says things unasked, for as long as they are there.

A *link* is a RESP3 connection per node. A thread listens on it for sync code; for async code each
event loop has a link of its own. There are two kinds, by what is sent first:

- with `CLIENT TRACKING ON OPTIN`, reads whose results are kept travel on it, and the server says
  on it, once, that a key has changed (`tracking.py`);
- with `SSUBSCRIBE channel` it hears what others say to this process and nobody else (`mail.py`).

Either is good for as long as it has lately shown that it is alive, and that its node is still a
primary (`Link.trusted`).
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from octavo.engine.retry import Lost, ReplyError
from octavo.engine.wire import NOTHING, Push, pack

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from octavo.engine.aio import Channel
    from octavo.engine.sync import Wire
    from octavo.engine.topology import Endpoint
    from octavo.engine.tracking import Tracker

HEARTBEAT = 1.0
"""Seconds between two questions on a link whether its node is there and a primary."""
TRUST = 3.0
"""Seconds after an answered question for which a link is believed to have told everything."""

_ROLE, _PING = pack((b"ROLE",)), pack((b"PING",))
_TRACKING = pack((b"CLIENT", b"TRACKING", b"ON", b"OPTIN"))


class Link:
    """A connection on which a node says things unasked.

    Attributes:
        endpoint: the node.
        channel: the channel it is subscribed to; None for one that tells of changed keys.
        place: the event loop it lives on; None for a thread's.
        trusted_until: until when (`time.monotonic()`) what was read on it may be used.
        was_up: whether it has ever been trusted.
    """

    def __init__(self, tracker: Tracker, endpoint: Endpoint, channel: bytes | None) -> None:
        self.endpoint = endpoint
        self.channel = channel
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
    def opening(self) -> bytes:
        """What to send first, packed; it brings one reply, or an error first."""
        # A subscription is confirmed by a push, which is no reply.
        return _TRACKING if self.channel is None else pack((b"SSUBSCRIBE", self.channel)) + _PING

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
            self.trusted_until = asked + TRUST
            if not self.was_up:
                self.was_up = True
                if (tracker := self.tracker()) is not None:
                    tracker.came_up(self)

    def told(self, push: Any) -> None:
        """Take what the node says unasked.

        Raises:
            Lost: there is nothing left to trust.
        """
        tracker = self.tracker()
        if tracker is None:
            return
        match push[0]:
            case b"invalidate":
                if push[1] is None:
                    raise Lost("the server was emptied", sent=False)
                tracker.changed(push[1])
            case b"smessage":
                tracker.mail.deliver(push[2])
            case b"sunsubscribe":
                raise Lost("the channel's slot has left the node", sent=False)
            case _:
                pass

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
        """Show the node, and what it is for."""
        return f"<Link {self.endpoint.address} {'reads' if self.channel is None else 'mail'}>"


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

    def __init__(
        self, tracker: Tracker, endpoint: Endpoint, channel: bytes | None, timeout: float
    ) -> None:
        super().__init__(tracker, endpoint, channel)
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
            wire.send(self.opening, monotonic() + TRUST)
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
        connection: what it travels on, once it is open.
    """

    def __init__(
        self,
        tracker: Tracker,
        endpoint: Endpoint,
        channel: bytes | None,
        connect: Callable[[TaskLink], Coroutine[Any, Any, Channel]],
    ) -> None:
        super().__init__(tracker, endpoint, channel)
        self.connection: Channel | None = None
        self._loop = asyncio.get_running_loop()
        self._opening = self._loop.create_task(self._open(connect))

    def close(self) -> None:
        """End."""
        super().close()
        self._opening.cancel()
        if self.connection is not None:
            self.connection.fail(Lost("the client was closed", sent=True))

    async def _open(self, connect: Callable[[TaskLink], Coroutine[Any, Any, Channel]]) -> None:
        connection: Channel | None = None
        try:
            connection = await connect(self)
            reply = await connection.send(self.opening, self._loop.time() + TRUST)
        except BaseException as error:
            if connection is not None:
                connection.fail(Lost("the link was not opened", sent=True))
            self.ended(error)
            if not isinstance(error, Exception):
                raise
        else:
            self.connection = connection
            if type(reply) is ReplyError:
                self._fail(reply)
            else:
                self._ask()

    # Timers, not a task: an event loop that ends does not complain of them.
    def _ask(self) -> None:
        if self.connection is None or self.connection.closed:
            return
        if self.tracker() is None:
            self.close()
            return
        answer = self.connection.send(self.question, self._loop.time() + TRUST)
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
        if self.connection is not None:
            self.connection.fail(Lost(why, sent=True))

"""Waiting for news of a key without asking for it again and again.

Those of a client who wait for the same key, on one event loop or in threads, have one of them look
for all: the first. It reads the key on the link, on which the server then tells that it has
changed, reads it again, and tells the others what it has found. When it goes, the next one looks.

What the server does not tell is found out anyway: every five seconds, and where there is no link,
after 10 ms, then less and less often. So a lost wake-up costs time and nothing else.
"""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from octavo.engine.command import MISSING, Command, Signal, WaitFor
from octavo.engine.fork import mind_forks
from octavo.errors import OctavoError

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.engine.command import Common
    from octavo.engine.tracking import Ticket, Tracker

T = TypeVar("T")

_FIRST_POLL, _LONGEST_POLL = 0.01, 0.25
"""Seconds between two looks where changes are not told."""
_LONGEST_WAIT = 5.0
"""Seconds between two looks where they are."""


class Waiter:
    """One who waits for news of a key.

    Attributes:
        where: the event loop, if it is not a thread, and the key.
        news: set when something has been told, or when it is this one's turn to look.
    """

    __slots__ = ("_told", "news", "where")

    def __init__(self, where: tuple[object, bytes]) -> None:
        self.where = where
        self.news = Signal()
        self._told: Any = MISSING

    def tell(self, found: Any) -> None:
        """Say what has been found, or why nothing could be."""
        self._told = found
        self.news.set()

    def told(self) -> Any:
        """Return what was told last; `MISSING` if nothing was."""
        # In this order: what is told meanwhile is news again.
        self.news = Signal()
        told = self._told
        if isinstance(told, OctavoError):
            raise told
        return told


class Watches:
    """Who of one client waits for news of which key. Safe for threads and forks."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.after_fork()
        mind_forks(self)

    @classmethod
    def of(cls, common: Common) -> Watches:
        """Return those of a client."""
        return common.shared("watches", lambda: cls(common.tracker))

    def after_fork(self) -> None:
        """In a forked child: nobody waits here yet."""
        self._lock = threading.Lock()
        self._waiters: dict[tuple[object, bytes], OrderedDict[Waiter, None]] = {}

    def join(self, key: bytes) -> Waiter:
        """Return a new waiter, behind all others."""
        waiter = Waiter((self.tracker.place(), key))
        with self._lock:
            self._waiters.setdefault(waiter.where, OrderedDict())[waiter] = None
        return waiter

    def leads(self, waiter: Waiter) -> bool:
        """Whether it is this one's turn to look."""
        with self._lock:
            return next(iter(self._waiters.get(waiter.where, (waiter,)))) is waiter

    def tell(self, waiter: Waiter, found: Any) -> None:
        """Tell all others what one has found, if that is the one who looks."""
        with self._lock:
            first, *others = self._waiters.get(waiter.where, (waiter,))
        if first is waiter:
            for other in others:
                other.tell(found)

    def leave(self, waiter: Waiter) -> None:
        """End waiting; it is the next one's turn to look, if it was this one's."""
        with self._lock:
            here = self._waiters.get(waiter.where) or OrderedDict()
            here.pop(waiter, None)
            heir = next(iter(here), None)
            if heir is None:
                self._waiters.pop(waiter.where, None)
        if heir is not None:
            heir.news.set()


async def until(
    watches: Watches,
    key: bytes,
    look: Callable[[Ticket], Command[T]],
    done: Callable[[T], bool],
    timeout: float | None = None,
) -> T | None:
    """Wait until what is found is what the caller waits for; return it, or None if time is over.

    A step of a flow. It looks at least once, at the beginning, and once more when time is over.

    Args:
        watches: of the client.
        key: what the look reads, and nobody writes but to say that it has happened.
        look: gives the Command that looks; the same to everyone who waits for the key. Reading
            the key is its last command, tracked by the ticket.
        done: whether this is what the caller waits for. It may see something old after something
            newer, but in the end sees the newest; what it raises, the caller gets.
        timeout: seconds; None waits for as long as it takes.
    """
    deadline = None if timeout is None else monotonic() + timeout
    waiter = watches.join(key)
    try:
        # Who looks for all may have looked before this call began.
        if not watches.leads(waiter) and done(found := await look(watches.tracker.ticket())):
            return found
        while not watches.leads(waiter) and await WaitFor(waiter.news, _left(deadline)):
            found = waiter.told()
            if found is not MISSING and done(found):
                return found
        return await _look_for_all(watches, waiter, look, done, deadline)
    finally:
        watches.leave(waiter)


async def _look_for_all(
    watches: Watches,
    waiter: Waiter,
    look: Callable[[Ticket], Command[T]],
    done: Callable[[T], bool],
    deadline: float | None,
) -> T | None:
    tracker, (_, key) = watches.tracker, waiter.where
    before: Any = MISSING
    pause = _FIRST_POLL
    while True:
        changed, ticket = Signal(), tracker.ticket()
        tracker.wait_for(key, changed)
        try:
            try:
                found = await look(ticket)
            except OctavoError as error:
                watches.tell(waiter, error)
                raise
            if found != before:
                watches.tell(waiter, found)
                before = found
            left = _left(deadline)
            if done(found):
                return found
            if left == 0:
                return None
            longest = _LONGEST_WAIT
            if ticket.link is None:
                longest = random.uniform(pause / 2, pause)  # noqa: S311 - spreads load
                pause = min(2 * pause, _LONGEST_POLL)
            await WaitFor(changed, longest if left is None else min(left, longest))
        finally:
            tracker.wait_no_more(key, changed)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(deadline - monotonic(), 0.0)

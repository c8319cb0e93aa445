"""What this process knows to be denied: who asks again is told so, without a server.

The first denial of a subject is only noted. The next call travels on a link, on which the server
tells when the subject's key changes, and its denial is remembered until it would pass: a refund, a
reset, an unban or a call that passes ends it at once in every process, and so does the end of the
link. Who is not denied twice costs nothing.
"""

from __future__ import annotations

import math
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from octavo.engine.bounded import Bounded
from octavo.engine.command import answer

if TYPE_CHECKING:
    from octavo.engine.command import Command, Common
    from octavo.engine.links import Link
    from octavo.engine.tracking import Ticket, Tracker
    from octavo.ratelimit.deciding import Asked
    from octavo.ratelimit.decision import Decision
    from octavo.ratelimit.rules import RuleSet

T = TypeVar("T")

_MOST = 100_000
_GRAIN = 0.001
"""Seconds for which the same answer is given, whose times are that much too long by the end."""


class Denial:
    """A call that was denied, and will be until its time comes or its subject's key changes.

    Args:
        asked: what it asked for.
        known: the rules.
        reply: what the script said.
        wait: seconds until the call would pass; None if it never would.
        at: when it was asked, by `time.monotonic()`.
        link: where a change of the key is told; None if nowhere, so that it is only a note.

    Attributes:
        cost: what is denied of each rule, if it is the same.
        until: when the call would pass.
    """

    def __init__(
        self,
        asked: Asked,
        known: RuleSet,
        reply: list[int],
        *,
        wait: float | None,
        at: float,
        link: Link | None,
    ) -> None:
        self.asked = asked
        self.known = known
        self.cost = asked.costs[0] if len(set(asked.costs)) == 1 else None
        self.link = link
        self._reply = reply
        self._at = at
        self.until = math.inf if wait is None else at + wait
        self._fresh = 0.0
        self._answer: Command[Decision] | None = None

    def answer(self) -> Command[Decision] | None:
        """Return what is to be said as long as it holds."""
        now = monotonic()
        if now >= self._fresh:
            link = self.link
            until = 0.0 if link is None else min(self.until, link.trusted_until)
            if now >= until:
                self._answer = None
            else:
                self._fresh = min(now + _GRAIN, until)
                reply = self.known.later(self._reply, int((now - self._at) * 1e6))
                self._answer = answer(self.known.decision(reply, (), None, b""))
        return self._answer


class Denials:
    """The denials that a client remembers."""

    def __init__(self, common: Common, prefix: str) -> None:
        self._tracker = common.tracker
        self.by_key: Bounded[bytes, Denial] = Bounded(_MOST)
        self._tracker.attach(self.by_key, f"{prefix}:limit:".encode())

    def of_one(self, key: bytes, known: RuleSet | None, cost: int) -> Command[Decision] | None:
        """Return the same about a call of one subject, of the same cost for each rule."""
        denial = self.by_key.get(key)
        if denial is None or denial.known is not known or denial.cost != cost:
            return None
        return denial.answer()

    def known(self, asked: Asked) -> Command[Decision] | None:
        """Return the answer to a call that is known to be denied."""
        for key in asked.keys:
            denial = self.by_key.get(key)
            if denial is not None and denial.asked[:3] == asked[:3]:
                return denial.answer()
        return None

    def ticket(self, keys: tuple[bytes, ...]) -> Ticket | None:
        """Return a ticket for a call that may well be denied again, to have that remembered."""
        now = monotonic()
        for key in keys:
            denial = self.by_key.get(key)
            if denial is not None and now < denial.until:
                return self._tracker.ticket()
        return None

    def note(
        self,
        asked: Asked,
        known: RuleSet,
        reply: list[int],
        *,
        wait: float | None,
        at: float,
        ticket: Ticket | None,
    ) -> None:
        """Remember a denial, if its end would be told; or that there was one. See `Denial`."""
        key = asked.keys[0]
        if len(asked.keys) > 1:
            binding = known.binding(reply)
            if binding is None:
                return
            key = asked.keys[binding]
        link = None if ticket is None else ticket.link
        denial = Denial(asked, known, reply, wait=wait, at=at, link=link)
        if ticket is None or not self._tracker.keep(ticket, key, self.by_key, denial):
            denial.link = None
            self.by_key.set(key, denial)


def changing(tracker: Tracker, key: bytes, command: Command[T]) -> Command[T]:
    """Return a Command that changes a subject's key, and has this process know it at once.

    What the server tells of it comes on another connection, maybe later than the reply.
    """
    # Now for who is asked about in the same batch, and then for what is on its way.
    tracker.changed((key,))

    def changed(value: T) -> T:
        tracker.changed((key,))
        return value

    return command.map(changed)

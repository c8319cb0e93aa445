"""Units taken ahead: a process asks for many at once, and hands them out without asking."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from octavo.engine.bounded import Bounded
from octavo.engine.command import Command, answer, as_it_is
from octavo.engine.fork import mind_forks
from octavo.ratelimit.rules import States

if TYPE_CHECKING:
    from octavo.engine.command import Common
    from octavo.ratelimit.deciding import Asked, Decider
    from octavo.ratelimit.decision import Decision
    from octavo.ratelimit.limits import Rule

_MOST_SUBJECTS = 10_000
_MOST_BACKS = 16
"""Lots given back with one question."""
_ASKING = 1.0
"""Seconds after which somebody who asks for more is not waited for, if there is no deadline."""


class Lot:
    """Units that the server has granted at once.

    Args:
        decider: has asked for them.
        granted: the server's decision.
        until: until when they may be handed out, by `time.monotonic()`.

    Attributes:
        until: the same; 0.0 once it is closed.
    """

    def __init__(self, decider: Decider, granted: Decision, until: float) -> None:
        self.until = until
        self._decider = decider
        self._granted = granted
        self._left = granted.cost
        self._lock = threading.Lock()

    def take(self, cost: int) -> Decision | None:
        """Let a call pass that was not sent, if there are units for it."""
        with self._lock:
            if self._left < cost or monotonic() >= self.until:
                return None
            return self._handed_out(cost)

    def first(self, cost: int) -> Decision:
        """Let the call pass that was sent."""
        with self._lock:
            return self._handed_out(cost)

    def put_back(self, units: int) -> bool:
        """Have units that were handed out and not used handed out again, if any still are."""
        with self._lock:
            if monotonic() >= self.until:
                return False
            self._left += units
        return True

    def close(self) -> Command[bool] | None:
        """Hand out nothing any more; return the Command that gives back what is left."""
        with self._lock:
            left, self._left, self.until = self._left, 0, 0.0
        if left == 0:
            return None
        return self._decider.undo(self._granted, self._granted.cost - left)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as None: another process has nothing of it."""
        return type(None), ()

    def _handed_out(self, cost: int) -> Decision:
        self._left -= cost
        (receipt,) = self._granted.receipts
        costs = tuple(cost if units else 0 for units in receipt.costs)
        own = replace(receipt, costs=costs, settled=False, lot=self)
        left, limits = self._left, self._granted.limits
        return replace(
            self._granted,
            cost=cost,
            remaining=self._granted.remaining + left,
            limits=limits.holding(left) if isinstance(limits, States) else limits,
            receipts=(own,),
        )


class _Subject:
    """What a process has of one subject's units.

    Args:
        rules: what they are granted under.
    """

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self.rules = rules
        self.lot: Lot | None = None
        self._asking = 0.0
        self._lock = threading.Lock()

    def take(self, asked: Asked) -> Decision | None:
        """Let a call pass that was not sent, if there are units for it."""
        if self.lot is None or self.rules != asked.rules:
            return None
        return self.lot.take(asked.costs[0])

    def may_ask(self, seconds: float) -> bool:
        """Whether the caller is the one to ask for more, which nobody else is for some seconds."""
        with self._lock:
            now = monotonic()
            if now < self._asking:
                return False
            self._asking = now + seconds
            return True

    def has_asked(self) -> None:
        """End that."""
        self._asking = 0.0


class Lots:
    """The lots of a client's limiters of one name: by the keys of their subjects, and by age."""

    def __init__(self) -> None:
        self.by_key: Bounded[bytes, _Subject] = Bounded(_MOST_SUBJECTS)
        self._by_age: deque[Lot] = deque()
        mind_forks(self)

    def add(self, lot: Lot) -> None:
        """Remember to give back what will be left of it."""
        self._by_age.append(lot)

    def lapsed(self) -> list[Command[bool]]:
        """Return the Commands that give back what is left of lots that are over."""
        now = monotonic()
        backs: list[Command[bool]] = []
        with suppress(IndexError):
            while len(backs) < _MOST_BACKS and self._by_age[0].until <= now:
                if (back := self._by_age.popleft().close()) is not None:
                    backs.append(back)
        return backs

    def last(self) -> Command[Any] | None:
        """Return the Command that gives back what was not handed out, when the client closes."""
        parts = tuple(back for lot in list(self._by_age) if (back := lot.close()) is not None)
        return Command((), (), as_it_is, parts=parts) if parts else None

    def after_fork(self) -> None:
        """In a forked child: what was taken is the parent's."""
        self._by_age = deque()


class Ahead:
    """Decides about hits, most of them by what was taken ahead.

    Args:
        common: of the client.
        name: of the limiter.
        decider: asks for more.
        most: units to ask for at once.
        seconds: for how long they may be handed out.
    """

    def __init__(
        self, common: Common, name: str, decider: Decider, most: int, seconds: float
    ) -> None:
        self._common = common
        self._decider = decider
        self._most = most
        self._seconds = seconds
        self._lots: Lots = common.shared(f"lots of limits of {name}", Lots)

    def hit(self, asked: Asked) -> Command[Decision]:
        """Return the Command that decides about a hit, of the same cost for each rule."""
        (key,), cost = asked.keys, asked.costs[0]
        subject = self._lots.by_key.get(key)
        if subject is None:
            subject = _Subject(asked.rules)
            self._lots.by_key.set(key, subject)
        if (decision := subject.take(asked)) is not None:
            return answer(decision)
        if cost > self._most:
            return self._decider.decide(asked)
        if subject.may_ask(self._decider.within or _ASKING):
            if (decision := subject.take(asked)) is None:
                return self._more(subject, asked, cost)
            subject.has_asked()
            return answer(decision)
        # Who asks for more may have been given all there is.
        return self._decider.decide(asked).map(lambda said: said or subject.take(asked) or said)

    def close(self, key: bytes) -> Command[bool] | None:
        """Hand out nothing more to a subject; return the Command that gives back what is left."""
        subject = self._lots.by_key.get(key)
        return None if subject is None or subject.lot is None else subject.lot.close()

    def _more(self, subject: _Subject, asked: Asked, cost: int) -> Command[Decision]:
        """Return the Command that takes more, and gives back what is left of what is over."""
        until = monotonic() + self._seconds
        backs = self._lots.lapsed()
        if subject.lot is not None and (back := subject.lot.close()) is not None:
            backs.append(back)

        def read(said: Decision) -> Decision:
            if said.receipts:
                lot = Lot(self._decider, said, until)
                subject.rules, subject.lot = asked.rules, lot
                self._lots.add(lot)
                self._common.at_close(self._lots.last)
                said = lot.first(cost)
            subject.has_asked()
            return said

        more = self._decider.decide(asked, "ahead", most=self._most)
        return self._decider.behind(backs, more.map(read))

"""What the server has granted, and how long that is certain."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import inf
from typing import TYPE_CHECKING, Any
from weakref import WeakMethod

from octavo.engine.command import Signal
from octavo.errors import ConnectionLost, LockLost, OctavoError
from octavo.locks import clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from octavo.engine.command import Command
    from octavo.locks.places import Places
    from octavo.locks.renewal import Renewals


class Held(ABC):
    """What a lease is a handle of; several may share one. Its coroutines are steps of flows.

    Attributes:
        name: the name of what is held.
        keys: what tells it apart from everything else that a thread or task is inside of.
        owner: the random name under which it is held.
        fence: its fencing token.
        weight: how much of what can be held it takes.
        ttl: seconds that each renewal gives it.
        since: when it was asked for, by `clock.now()`.
        handles: how many `Lease` objects have not released it.
        ended: why it is not held any more.
        lost: whether it ended although nobody had released it.
        on_loss: called at once when it is lost.
        tell: the user's function to call when it is lost.
        context: the context variables that the function sees.
    """

    def __init__(self, name: str, keys: tuple[bytes, ...], owner: bytes, ttl: float) -> None:
        self.name = name
        self.keys = keys
        self.owner = owner
        self.ttl = ttl
        self.fence = 0
        self.weight = 1
        self.since = 0.0
        self.handles = 1
        self.ended: str | None = None
        self.lost = False
        self.on_loss: list[Callable[[], object]] = []
        self.tell: Callable[[Held], object] | None = None
        self.context: Context | None = None
        self._signal: Signal | None = None
        self._ended_at = 0.0

    @property
    @abstractmethod
    def until(self) -> float:
        """Until when it is certain to be held, by `clock.now()`."""

    @abstractmethod
    async def extend(self, seconds: float) -> None:
        """Have it last so long from now on, and with each renewal, or raise `LockLost`."""

    @abstractmethod
    async def give_back(self) -> bool:
        """Release it; return whether it was held until then."""

    @abstractmethod
    def holding(self) -> Command[bool]:
        """Return the Command that tells whether it has not ended."""

    @property
    def valid(self) -> bool:
        """Whether it is certain to be held now."""
        return self.ended is None and clock.now() < self.until

    @property
    def held_for(self) -> float:
        """Seconds from when it was asked for to its end, or to now."""
        return (self._ended_at if self.ended else clock.now()) - self.since

    @property
    def signal(self) -> Signal:
        """What is set when it is lost."""
        if self._signal is None:
            self._signal = Signal()
            if self.lost:
                self._signal.set()
        return self._signal

    def end(self, why: str, *, lost: bool = False) -> bool:
        """Take note that it is not held any more; return whether that was news."""
        if self.ended is not None:
            return False
        self._ended_at = clock.now()
        self.lost = lost
        self.ended = why
        return True

    def tell_by(self, tell: Callable[[Held], object], context: Context) -> None:
        """Have the user's function called when it is lost, with these context variables."""
        self.tell, self.context = tell, context

    def lose(self, why: str) -> None:
        """Take note that it is lost, and tell whoever has to know."""
        if self.end(why, lost=True):
            if self._signal is not None:
                self._signal.set()
            for tell in self.on_loss:
                tell()

    def found_gone(self, why: str) -> None:
        """Take note that it was lost before it was released."""
        self.ended = None
        self.lose(why)

    def check(self) -> None:
        """Raise `LockLost` unless it is certain to be held."""
        if not self.valid:
            self.lose("it was not renewed in time")
            raise self.error()

    def error(self) -> LockLost:
        """Return the error that says why it is not held."""
        return LockLost(
            f"the lease of {self.name!r} does not hold: {self.ended or 'it was released'}",
            name=self.name,
            fence=self.fence,
            held_for=self.held_for,
        )


class Grant(Held):
    """A place that the server has granted to one owner.

    Attributes:
        places: what it is a place of.
        due: when it is to be renewed.
        under_way: how many renewals were sent and not answered.
        keeper: what renews it.
        told: whether the user was told of its loss.
        releases: how often the server was asked to take it back.
        given_back: what it said to that: whether it was held until then.
    """

    def __init__(self, places: Places, owner: bytes, weight: int, fence: int) -> None:
        super().__init__(places.name, (places.keys.leases,), owner, places.terms.ttl)
        self.places = places
        self.weight = weight
        self.fence = fence
        self.due = inf
        self.under_way = 0
        self._alone = True
        self._least = inf
        self.keeper: Renewals | None = None
        self.told = False
        self.given_back: bool | None = None
        self.releases = 0
        self._until = 0.0

    @property
    def until(self) -> float:
        """Until when it is certain to be held, by `clock.now()`."""
        return self._until

    def renewed(self, asked: float, lasts: float) -> None:
        """Take note that it lasts so many seconds from when that was asked for."""
        self.since = self.since or asked
        self._until = clock.valid_until(asked, lasts)
        longest = self.places.terms.max_hold
        stops = longest is not None and asked + lasts >= self.since + longest
        self.due = inf if stops or not self.places.terms.renew else asked + lasts / 3

    def sending(self, asked: float, lasts: float) -> None:
        """Take note that a renewal is about to be sent."""
        # Of several that are under way at once any may be the last: the least is believed.
        self._least = min(self._least, lasts) if self.under_way else lasts
        self._alone = self.under_way == 0
        self.under_way += 1
        self._until = min(self._until, clock.valid_until(asked, lasts))
        if self.due < inf:
            self.due = min(self.due, asked + lasts / 3)

    def sent(self, asked: float, lasts: float, *, renewed: bool) -> None:
        """Take note of what has come of it; without a reply nothing has, as far as is known."""
        self.under_way -= 1
        if renewed and self._alone:
            self.renewed(asked, lasts)
        elif renewed:
            self.renewed(asked, self._least)
            if self.due < inf:
                self.due = asked

    def lasts(self, now: float) -> float:
        """Return for how many seconds it may be renewed."""
        longest = self.places.terms.max_hold
        return self.ttl if longest is None else min(self.ttl, self.since + longest - now)

    async def extend(self, seconds: float) -> None:
        """Have it last so long from now on, and with each renewal, or raise `LockLost`."""
        asked = clock.now()
        self.sending(asked, seconds)
        held = 0
        try:
            held = await self.places.renewing(self.owner, seconds)
        finally:
            self.sent(asked, seconds, renewed=bool(held))
        self._confirm(held)
        self.ttl = seconds
        if self.keeper is not None:
            self.keeper.hurry(self)

    async def lighten(self, weight: int) -> None:
        """Have it weigh less, or raise `LockLost`."""
        # Without a reply the less is believed.
        self.weight = weight
        self._confirm(await self.places.downgrading(self.owner, weight))

    async def proclaim(self, label: bytes) -> None:
        """Have it shown under another label, or raise `LockLost`."""
        self._confirm(await self.places.proclaiming(self.owner, label))

    def _confirm(self, held: int) -> None:
        if not held:
            self.lose("the server says that it has ended")
            raise self.error()

    def holding(self) -> Command[bool]:
        """Return the Command that tells whether it has not ended."""
        return self.places.holding(self.owner)

    async def give_back(self) -> bool:
        """Release it; return whether it was held until then."""
        if self.given_back is not None:
            return self.given_back
        try:
            held = await self.giving_back()
        except ConnectionLost as lost:
            if lost.outcome == "not_sent":
                self.releases -= 1
                raise
            self.releases += 1
            held = await self.places.releasing_again(self.owner)
        except OctavoError:
            raise
        except BaseException:
            await self.places.releasing_again(self.owner)
            self.given_back = not self.lost
            raise
        return await self.gave_back(held)

    def giving_back(self) -> Command[int]:
        """Return the Command that releases it, and take note that it is held no more."""
        if self.keeper is not None:
            self.keeper.forget(self)
        self.end("it was released")
        self.releases += 1
        return self.places.releasing(self.owner)

    async def gave_back(self, held: int) -> bool:
        """Take note of the server's answer; return whether it was held until its release."""
        # Of several releases one finds it, and it does not matter which.
        if not held and self.releases == 1 and not self.lost:
            self.found_gone("the server says that it had ended")
        if self.lost and self.keeper is not None:
            await self.keeper.tell(self)
        self.given_back = not self.lost
        return self.given_back


def weakly(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a call of the method that does nothing once its object is gone."""
    # What is dropped must go at once, not when cycles are looked for: until then it is renewed.
    reference = WeakMethod(method)

    def call(*args: object) -> Any:
        bound = reference()
        return None if bound is None else bound(*args)

    return call

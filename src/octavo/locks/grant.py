"""What the server has granted to one owner, and how long that is certain."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from octavo.engine.command import Signal
from octavo.errors import LockLost
from octavo.locks import clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.locks.places import Places
    from octavo.locks.renewal import Renewals

RELEASED = "it was released"


class Grant:
    """A lease as the client knows it; several handles may share one.

    Attributes:
        places: what it is a lease of.
        owner: the random name under which it is held.
        weight: how much of the limit it takes.
        fence: its fencing token.
        ttl: seconds that each renewal gives it.
        since: when it was asked for, by `clock.now()`.
        until: until when it is certain to be held.
        due: when it is to be renewed.
        renewing: whether a renewal is on its way.
        handles: how many `Lease` objects have not released it.
        ended: why it is not held any more.
        lost: whether it ended although nobody had released it.
        given_back: what the server said to its release: whether it was held until then.
        on_loss: called at once when it is lost.
        tell: the user's function to call when it is lost.
        keeper: what renews it.
    """

    __slots__ = (
        "__weakref__",
        "_ended_at",
        "_signal",
        "due",
        "ended",
        "fence",
        "given_back",
        "handles",
        "keeper",
        "lost",
        "on_loss",
        "owner",
        "places",
        "renewing",
        "since",
        "tell",
        "ttl",
        "until",
        "weight",
    )  # fmt: skip

    def __init__(self, places: Places, owner: bytes, weight: int, fence: int) -> None:
        self.places = places
        self.owner = owner
        self.weight = weight
        self.fence = fence
        self.ttl = places.terms.ttl
        self.since = 0.0
        self.until = 0.0
        self.handles = 1
        self.renewing = False
        self.ended: str | None = None
        self.lost = False
        self.given_back: bool | None = None
        self.on_loss: list[Callable[[], object]] = []
        self.tell: Callable[[Grant], object] | None = None
        self.keeper: Renewals | None = None
        self._signal: Signal | None = None
        self._ended_at = 0.0

    @property
    def valid(self) -> bool:
        """Whether it is certain to be held now."""
        return self.ended is None and clock.now() < self.until

    @property
    def held_for(self) -> float:
        """Seconds from the grant to its end, or to now."""
        return (self._ended_at if self.ended else clock.now()) - self.since

    @property
    def signal(self) -> Signal:
        """What is set when it is lost."""
        if self._signal is None:
            self._signal = Signal()
            if self.lost:
                self._signal.set()
        return self._signal

    def renewed(self, asked: float, lasts: float) -> None:
        """Take note that it lasts so many seconds from when that was asked for."""
        self.since = self.since or asked
        self.until = clock.valid_until(asked, lasts)
        longest = self.places.terms.max_hold
        stops = longest is not None and asked + lasts >= self.since + longest
        self.due = inf if stops or not self.places.terms.renew else asked + lasts / 3

    def lasts(self, now: float) -> float:
        """Return for how many seconds it may be renewed."""
        longest = self.places.terms.max_hold
        return self.ttl if longest is None else min(self.ttl, self.since + longest - now)

    def end(self, why: str, *, lost: bool = False) -> bool:
        """Take note that it is not held any more; return whether that was news."""
        if self.ended is not None:
            return False
        self._ended_at = clock.now()
        self.lost = lost
        self.ended = why
        return True

    def lose(self, why: str) -> None:
        """Take note that it is lost, and tell whoever has to know."""
        if self.end(why, lost=True):
            if self._signal is not None:
                self._signal.set()
            for tell in self.on_loss:
                tell()

    def check(self) -> None:
        """Raise `LockLost` unless it is certain to be held."""
        if not self.valid:
            self.lose("it was not renewed in time")
            raise self.error()

    def error(self) -> LockLost:
        """Return the error that says why it is not held."""
        return LockLost(
            f"the lease of {self.places.name!r} does not hold: {self.ended}",
            name=self.places.name,
            fence=self.fence,
            held_for=self.held_for,
        )

"""Several locks at once: all of them, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from octavo.engine.checks import flag, several
from octavo.engine.command import M, flow
from octavo.locks import clock
from octavo.locks.acquiring import Ask, all_at_once, give_back_all
from octavo.locks.grant import Grant, Held, weakly
from octavo.locks.holdable import Holdable
from octavo.locks.options import check_terms
from octavo.locks.places import Places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextvars import Context

    from octavo.engine.command import Command, Engine
    from octavo.locks.lease import Lease
    from octavo.locks.options import HoldOptions, Seconds


class Grants(Held):
    """Leases of several locks, held as one; its fence is the greatest of theirs."""

    def __init__(self, name: str, grants: Sequence[Grant]) -> None:
        keys = tuple(key for grant in grants for key in grant.keys)
        super().__init__(name, keys, grants[0].owner, grants[0].ttl)
        self.grants = grants
        self.fence = max(grant.fence for grant in grants)
        self.weight = len(grants)
        self.since = min(grant.since for grant in grants)
        self._untold = True
        for grant in grants:
            grant.on_loss.append(weakly(self._lose_with_one))
            grant.tell = weakly(self._tell)
            if grant.lost:
                self._lose_with_one()

    def tell_by(self, tell: Callable[[Held], object], context: Context) -> None:
        """Have the user's function called when it is lost, with these context variables."""
        super().tell_by(tell, context)
        for grant in self.grants:
            grant.context = context

    def _lose_with_one(self) -> None:
        names = ", ".join(repr(grant.name) for grant in self.grants if grant.lost)
        if not self.lost:
            self.found_gone(f"{names} was lost")

    def _tell(self, _: Held) -> object:
        tell, self._untold = self._untold and self.tell, False
        return tell(self) if tell else None

    @property
    def until(self) -> float:
        """Until when all of them are certain to be held."""
        return min(grant.until for grant in self.grants)

    async def extend(self, seconds: float) -> None:
        """Have all of them last so long from now on, or raise `LockLost`."""
        for grant in self.grants:
            await grant.extend(seconds)
        self.ttl = seconds

    async def give_back(self) -> bool:
        """Release all of them; return whether all were held until then."""
        self.end("it was released")
        await give_back_all(self.grants)
        return not self.lost

    def holding(self) -> Command[bool]:
        """Refuse: they may be on several nodes."""
        raise TypeError(
            "the lease of several locks guards no batch: take the lock of that slot alone"
        )


class MultiLock(Holdable[M]):
    """Several locks that one holder has at a time: all of them, or none.

    They are the locks that `db.lock` gives by these names. Whoever waits for one of them holds only
    such as come before it in the alphabet, so that two who want the same do not wait for each
    other. It is a context manager that waits for a lease as long as it takes.

    Args:
        engine: carries its commands.
        bases: what the keys of each lock begin with, by its name.
        fair: see `Lock`.
        options: see `HoldOptions`.
    """

    def __init__(
        self,
        engine: Engine,
        names: Iterable[str],
        base: Callable[[str], str],
        *,
        fair: bool = False,
        **options: Unpack[HoldOptions],
    ) -> None:
        terms = check_terms(**options)
        flag("fair", fair)
        wanted = several("names", names)
        bases = {name: base(name) for name in wanted}
        if not wanted or len(bases) < len(wanted):
            raise ValueError(f"names must be at least one, and each once, not {wanted!r}")
        self._all = [
            Places(engine.common, name, bases[name], limit=1, fair=fair, terms=terms)
            for name in sorted(bases)
        ]
        super().__init__(engine, self._all[0], reentrant=False)

    @property
    def name(self) -> str:
        """The names of all locks."""
        return ", ".join(places.name for places in self._all)

    @property
    def keys(self) -> tuple[bytes, ...]:
        """What tells it apart from everything else that can be held."""
        return tuple(places.keys.leases for places in self._all)

    @flow
    async def acquire(self, wait: Seconds | None = None) -> Lease[M]:
        """Return a lease of all of them, waiting for those that are not free.

        One round trip if all are free, however many there are; on a cluster the nodes are asked at
        the same time. Its fence is the greatest of theirs.

        Args:
            wait: for how many seconds, or a timedelta; None is as long as it takes.

        Raises:
            LockTimeout: one of them was not free within `wait`; none is held.
            NotReplicated: fewer replicas than `sync` took a grant; none is held.
            WouldDeadlock: the caller is inside of a lease of the very same.
        """
        return await self._within(1, wait)

    @flow
    async def try_acquire(self) -> Lease[M] | None:
        """Return a lease of all of them if all are free, or None. One round trip, or two."""
        return await self._try(1)

    async def _ask(self, weight: int, wait: float | None) -> Grants | None:
        deadline = None if wait is None else clock.now() + wait
        held: list[Grant] = []
        try:
            while len(held) < len(self._all):
                found = await all_at_once([Ask(places, 1) for places in self._all[len(held) :]])
                taken = found.index(None) if None in found else len(found)
                held += [grant for grant in found[:taken] if grant]
                # Whoever waits holds only what comes before what it waits for.
                await give_back_all([grant for grant in found[taken:] if grant])
                if len(held) < len(self._all):
                    remaining = None if deadline is None else max(deadline - clock.now(), 0.0)
                    grant = (
                        await Ask(self._all[len(held)], 1).within(remaining) if wait != 0 else None
                    )
                    if grant is None:
                        await give_back_all(held)
                        return None
                    held.append(grant)
                if not all(grant.valid for grant in held):
                    # Lost while it waited for the rest.
                    await give_back_all(held)
                    held.clear()
            return Grants(self.name, held)
        except BaseException:
            await give_back_all(held)
            raise

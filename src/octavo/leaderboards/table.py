"""A table: standings whose entries can be taken off."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from octavo.engine.command import Command, M, answer, operation
from octavo.engine.keys import name_bytes
from octavo.engine.script import Script
from octavo.leaderboards.definition import counted
from octavo.leaderboards.layout import Layout
from octavo.leaderboards.merging import (
    Aggregate,
    check_slots,
    expiring,
    merged,
    sources_of,
)
from octavo.leaderboards.rows import plain_rank, plainly, ranked_by_name
from octavo.leaderboards.standings import Standings
from octavo.leaderboards.tables import Clock, asked_again

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from octavo.engine.checks import Seconds
    from octavo.engine.script import Argument
    from octavo.leaderboards.records import Entry
    from octavo.leaderboards.tables import Late

T = TypeVar("T")

_TRIES = 5

_here = Path(__file__)
REMOVE = Script(_here.with_name("remove.lua"))
REMOVE_SCORES = Script(_here.with_name("remove_scores.lua"))
TRIM = Script(_here.with_name("trim.lua"))


class Table(Standings[M]):
    """One table of a board: its standings, and what changes them other than a submission."""

    @operation
    def remove(self, *members: str) -> Command[int]:
        """Take members off the table; return how many were on it. O(M log N)."""
        return self._removed(members)

    def _removed(self, members: tuple[str, ...]) -> Command[int]:
        if not members:
            return answer(0)
        names = [name_bytes("members", member) for member in members]
        _, prefix, columns = self._ranking()
        return self._change(REMOVE, (prefix, columns, *names), int)

    @operation
    def remove_between_scores(self, low: float, high: float) -> Command[int]:
        """Take off who scores from `low` to `high`; return how many it were. O(M log N).

        Both bounds are included and may be infinite. Of several columns the first counts.
        """
        return self._removed_between(self._bounds(low, high))

    def _removed_between(self, bounds: tuple[float, float]) -> Command[int]:
        _, prefix, _ = self._ranking()
        return self._change(REMOVE_SCORES, (prefix, *bounds), int)

    @operation
    def trim(self, keep: int) -> Command[int]:
        """Keep the best `keep` entries; return how many were taken off. O(M log N)."""
        return self._trimmed(keep)

    def _trimmed(self, keep: int) -> Command[int]:
        _, prefix, columns = self._ranking()
        return self._change(TRIM, (prefix, columns, counted("keep", keep, 0)), int)

    @operation
    def clear(self) -> Command[bool]:
        """Delete the table; return whether there was one. O(1), freed in the background."""
        return Command((b"UNLINK", *self._keys), self._keys, bool)

    @operation
    def expire(self, at: Seconds | datetime | None) -> Command[bool]:
        """Have the server delete the table at some time; return whether there is one. O(1).

        Args:
            at: in so many seconds or a timedelta, at a moment (aware of its time zone), or None:
                never.
        """
        return expiring(self._definition, self._keys, at)

    @operation
    def merge(
        self,
        *others: Standings[Any],
        aggregate: Aggregate = "sum",
        weights: Sequence[float] | None = None,
    ) -> Command[int]:
        """Replace the table by the union of others; return how many are on it. O(M log N).

        The others are tables of the same `order` and `ties`, in the same cluster slot: periods of
        one board, or boards made with the same `tag=`. This table is replaced, its data too; it
        stays in the result if it is among the others. Who is banned here is left out. The server
        does nothing else meanwhile. Rolling windows among the others cost a round trip more.

        Args:
            others: what to merge.
            aggregate: what a member has who is on several: the sum of the scores, the best, the
                worst, or the score reached first or last. With the score come its time, which for
                a sum is the latest, and its data, or those of another if it has none. Where
                `ties="member"`, no times are known: the tables count as made in their order here.
            weights: what to multiply the scores of each table by.

        Raises:
            PrecisionLost: a float64 cannot hold a new score; nothing was changed.
        """
        return self._merged(others, "any", (aggregate, weights))

    @operation
    def intersect(
        self,
        *others: Standings[Any],
        aggregate: Aggregate = "sum",
        weights: Sequence[float] | None = None,
    ) -> Command[int]:
        """Replace the table by those who are on all of the others; as `merge`. O(M log N)."""
        return self._merged(others, "all", (aggregate, weights))

    def _rank(self, name: bytes) -> Command[float | None]:
        season = self._config != self._definition.config
        if season or not self._confirmed or not ranked_by_name(self._definition):
            return super()._rank(name)
        return plain_rank(self._keys, name)

    def _places(self, first: int, last: int) -> Command[list[Entry]]:
        asked = super()._places(first, last)
        season = self._config != self._definition.config
        if season or not self._dataless:
            return asked
        return plainly(self._keys, self._definition, first, last, asked)

    def _merged(
        self,
        others: tuple[Standings[Any], ...],
        of: Literal["any", "all"],
        how: tuple[Aggregate, Sequence[float] | None],
        *,
        tries: int = _TRIES,
    ) -> Command[int]:
        sources = sources_of("others", others)
        check_slots(self._keys, sources)
        asked = merged(self._definition, self._keys, sources, of, how, timed=tries > 0)

        def again(value: Late) -> Command[int]:
            self._common.shared("leaderboards.clock", Clock).learn(value.at)
            return self._merged(others, of, how, tries=tries - 1)

        command = asked_again(asked, again)
        evictions = tuple(source.eviction for source in sources if source.eviction is not None)
        if not evictions:
            return command

        def evicted(more: Any) -> Command[int]:
            return self._merged(others, of, how) if more else command

        return Command((), (), any, parts=evictions, then=evicted, opening=True)

    def _change(
        self,
        script: Script,
        args: Sequence[Argument],
        read: Callable[[Any], T],
        keys: int = len(Layout._fields),
    ) -> Command[T]:
        """Return the Command that changes the table, at most once if the board is asked to."""
        chosen = script.once if self._definition.once else script
        return chosen(self._keys[:keys], (self._definition.config, *args), read)

"""Standings of tables that are other ones as time goes by."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from octavo.engine.command import Command, M, answer, operation
from octavo.engine.keys import name_bytes
from octavo.engine.script import Script
from octavo.leaderboards.definition import counted
from octavo.leaderboards.layout import Layout, table_keys
from octavo.leaderboards.merging import Source
from octavo.leaderboards.standings import Standings
from octavo.leaderboards.table import Table
from octavo.leaderboards.tables import Late, asked_again, window_board

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from octavo.engine.command import Engine
    from octavo.engine.script import Argument
    from octavo.leaderboards.definition import Definition
    from octavo.leaderboards.periods import Period, Span, Window
    from octavo.leaderboards.scores import Scale
    from octavo.leaderboards.tables import Tables

T = TypeVar("T")

_TRIES = 5
# Each of these takes a thousand members off.
_EVICTIONS = 10_000

_here = Path(__file__)
COUNT = Script(_here.with_name("count.lua"), idempotent=True)
EVICT = Script(_here.with_name("evict.lua"), idempotent=True)


class Counted(Standings[M]):
    """Standings whose members are counted by a script, which sees that it is the right table."""

    @operation
    def count(self, low: float = -math.inf, high: float = math.inf) -> Command[int]:
        """Return how many members are on the table, or score from `low` to `high`. O(log N)."""
        bounds = ("-inf", "inf")
        if (low, high) != (-math.inf, math.inf):
            places = (self._bound("low", low), self._bound("high", high))
            if low > high:
                raise ValueError(f"high must not be less than low={low!r}, not {high!r}")
            bounds = (repr(min(places)), repr(max(places)))
        return self._ask(COUNT, bounds, lambda reply, _: int(reply), 2)


class PeriodStandings(Counted[M]):
    """The standings of the present period, or of one so many before it, by the server's clock.

    A client whose clock is wrong asks once more, the first time.
    """

    def __init__(
        self, engine: Engine, definition: Definition, tables: Tables, period: Period, ago: int
    ) -> None:
        self._tables = tables
        self._period = period
        self._ago = ago
        super().__init__(engine, self._keys_at(tables.clock.now()), definition)

    def _ask(
        self,
        script: Script,
        args: Sequence[Argument],
        read: Callable[[Any, Scale], T],
        keys: int = len(Layout._fields),
    ) -> Command[T]:
        return self._ask_at(script, args, read, keys)

    def _ask_at(
        self,
        script: Script,
        args: Sequence[Argument],
        read: Callable[[Any, Scale], T],
        keys: int,
        *,
        tries: int = _TRIES,
        at: int | None = None,
    ) -> Command[T]:
        clock = self._tables.clock
        span = self._period.span(clock.now() if at is None else at)
        scale, config = self._definition.scale, self._definition.config

        def read_timed(reply: list[Any]) -> T:
            now: int = reply[0]
            if not (span.starts <= now < span.ends) and tries > 1:
                return cast("T", Late(now))
            found: T = read(reply[1], scale.at(now))
            return found

        def again(value: Late) -> Command[T]:
            clock.learn(value.at)
            return self._ask_at(script, args, read, keys, tries=tries - 1, at=value.at)

        table = self._keys_of(span)[:keys]
        return asked_again(script.timed(table, (config, *args), read_timed), again)

    def _source(self) -> Source:
        span = self._period.span(self._tables.clock.now())
        return Source(self._keys_of(span), span.starts, span.ends)

    def _keys_at(self, now: int) -> Layout:
        return self._keys_of(self._period.span(now))

    def _keys_of(self, span: Span) -> Layout:
        for _ in range(self._ago):
            span = self._period.span(span.starts - 1)
        return Layout.of(self._tables.base_of(self._period, span))


class PeriodTable(Table[M]):
    """The table of a certain period, whose changes mind all that is kept beside it."""

    def __init__(
        self, engine: Engine, keys: Layout, definition: Definition, tables: Tables
    ) -> None:
        super().__init__(engine, keys, definition)
        self._tables = tables

    @operation
    def clear(self) -> Command[bool]:
        """Delete the table; return whether there was one. O(1), freed in the background."""
        return self._tables.alter(("clear",), bool)

    def _removed(self, members: tuple[str, ...]) -> Command[int]:
        names = dict.fromkeys(name_bytes("members", member) for member in members)
        return self._tables.alter(("remove", *names), int) if names else answer(0)

    def _removed_between(self, bounds: tuple[float, float]) -> Command[int]:
        return self._tables.alter(("remove_scores", *bounds), int)

    def _trimmed(self, keep: int) -> Command[int]:
        return self._tables.alter(("trim", str(counted("keep", keep, 0))), int)


class WindowStandings(Counted[M]):
    """The standings of a rolling window.

    What is over is taken off in the same round trip; where that is more than a thousand members
    since the window was last used, in one more for each thousand.
    """

    def __init__(
        self, engine: Engine, definition: Definition, tables: Tables, window: Window
    ) -> None:
        base = tables.base_of(window)
        super().__init__(engine, Layout.of(base), definition)
        self._all_keys = table_keys(base)
        self._board = window_board(definition, window)

    def _ask(
        self,
        script: Script,
        args: Sequence[Argument],
        read: Callable[[Any, Scale], T],
        keys: int = len(Layout._fields),
    ) -> Command[T]:
        return self._ask_after(script, args, read, keys, _EVICTIONS)

    def _ask_after(
        self,
        script: Script,
        args: Sequence[Argument],
        read: Callable[[Any, Scale], T],
        keys: int,
        tries: int,
    ) -> Command[T]:
        asked = super()._ask(script, args, read, keys)
        evicted = self._evict()

        def answered(results: list[Any]) -> T:
            more, result = results
            if more and tries > 1:
                return cast("T", Late(0))
            answer: T = result
            return answer

        both: Command[T] = Command((), (), answered, parts=(evicted, asked))
        return asked_again(both, lambda _: self._ask_after(script, args, read, keys, tries - 1))

    def _evict(self) -> Command[bool]:
        return EVICT(self._all_keys, (self._board,), bool)

    def _source(self) -> Source:
        return Source(self._keys, eviction=self._evict())

"""The standings: one table of members, ranked by score, and everything that can be asked of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from octavo.engine.checks import several, whole
from octavo.engine.codec import decode
from octavo.engine.command import Command, M, answer, operation
from octavo.engine.keys import name_bytes
from octavo.engine.script import Script
from octavo.leaderboards.definition import MOST, Definition, counted, option
from octavo.leaderboards.iteration import Scanned
from octavo.leaderboards.layout import Layout
from octavo.leaderboards.merging import Source
from octavo.leaderboards.ranking import RankMethod, ranks
from octavo.leaderboards.records import Bin, Entry, Page
from octavo.leaderboards.scores import Scale, exact
from octavo.leaderboards.tiers import TIER, TIERS, Tier, Tiers, TierStanding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from octavo.engine.command import Engine
    from octavo.engine.script import Argument

T = TypeVar("T")

Percentile = Literal["mean", "weak", "strict", "rank"]

_SCAN = 500
# More would hold up the server for milliseconds.
_MOST_BINS = 10_000

_PAIR = 2
"""How many keys a script takes that needs the scores and the entries."""
_RANKED = 3
"""How many it takes if it needs ranks too."""

_here = Path(__file__)
LOOKUP = Script(_here.with_name("lookup.lua"), idempotent=True)
WINDOW = Script(_here.with_name("window.lua"), idempotent=True)
HISTOGRAM = Script(_here.with_name("histogram.lua"), idempotent=True)
QUANTILE = Script(_here.with_name("quantile.lua"), idempotent=True)


class Standings(Scanned[M]):
    """Members ranked by score, best first: what can be asked of one table of a board.

    Every method is atomic and one round trip. Costs below are for N members, of which M are
    returned or changed.
    """

    def __init__(self, engine: Engine, keys: Layout, definition: Definition) -> None:
        super().__init__(engine)
        self._engine = engine
        self._keys = keys
        self._definition = definition
        self._config = definition.config
        # Whether there was no data when entries were last read: then rows alone may do.
        self._dataless = False
        # Whether a rank has been found by a script, which makes sure of the configuration.
        self._confirmed = False

    def __repr__(self) -> str:
        """Show the kind of standings, and where they are."""
        return f"<{type(self).__name__} {self._keys.base}>"

    # One member

    @operation
    def rank(self, member: str) -> Command[float | None]:
        """Return the rank of a member, 1 for the best; None for no member. O(log N)."""
        return self._rank(name_bytes("member", member))

    @operation
    def score(self, member: str) -> Command[float | None]:
        """Return the score of a member (of the first column); None for no member. O(1)."""

        def read(reply: list[Any], scale: Scale) -> float | None:
            return None if reply[1] is None else scale.score(reply[1][1])

        return self._lookup([name_bytes("member", member)], read, method="")

    @operation
    def entry(self, member: str) -> Command[Entry | None]:
        """Return a member with its score, rank and data; None for no member. O(log N)."""

        def read(reply: list[Any], scale: Scale) -> Entry | None:
            return None if reply[1] is None else self._entry(scale, *reply[1])

        return self._lookup([name_bytes("member", member)], read, wants="data")

    @operation
    def percentile(self, member: str, *, kind: Percentile = "mean") -> Command[float | None]:
        """Return the percentage of members that a member is ahead of; None for no member. O(log N).

        Args:
            member: who.
            kind: what equal scores count: "mean" half, "strict" nothing, "weak" all of them (the
                member itself included), "rank" the average of their ranks; as in
                `scipy.stats.percentileofscore`.
        """
        methods: dict[str, RankMethod] = {"weak": "competition", "strict": "modified"}
        bonus = {"mean": 0.5, "weak": 1.0, "strict": 0.0, "rank": 1.0}
        option("kind", kind, get_args(Percentile))

        def read(reply: list[Any], _: Scale) -> float | None:
            if reply[1] is None:
                return None
            members, rank = int(reply[0]), rank_of(reply[1][2])
            return 100 * (members - rank + bonus[kind]) / members

        name = name_bytes("member", member)
        method = methods.get(kind, "fractional")
        return self._lookup([name], read, method=method, wants="count")

    @operation
    def ranks_of(self, members: Iterable[str]) -> Command[list[Entry]]:
        """Return those of the members that are on the board, best first. O(M log N)."""
        wanted = several("members", members)
        names = list(dict.fromkeys(name_bytes("members", member) for member in wanted))
        if not names:
            return answer([])

        def read(reply: list[Any], scale: Scale) -> list[Entry]:
            found = [row for row in reply[1:] if row is not None]
            found.sort(key=lambda row: (float(row[1]), row[0]))
            return [self._entry(scale, *row) for row in found]

        return self._lookup(names, read, wants="data")

    # Runs of entries

    @operation
    def top(self, n: int = 10) -> Command[list[Entry]]:
        """Return the best `n` entries. O(log N + M)."""
        return self._places(0, counted("n", n) - 1)

    @operation
    def page(self, n: int, *, size: int | None = None) -> Command[list[Entry]]:
        """Return page `n`, the first being 1; empty behind the last. O(log N + M)."""
        size = self._definition.page_size if size is None else counted("size", size)
        first = min((counted("n", n) - 1) * size, MOST)
        return self._places(first, first + size - 1)

    @operation
    def page_of(self, member: str, *, size: int | None = None) -> Command[int | None]:
        """Return the page that a member is on, the first being 1; None for no member. O(log N)."""
        size = self._definition.page_size if size is None else counted("size", size)

        def read(reply: list[Any], _: Scale) -> int | None:
            return None if reply[1] is None else (int(reply[1][2]) - 1) // size + 1

        return self._lookup([name_bytes("member", member)], read, method="ordinal")

    @operation
    def around(self, member: str, n: int = 5) -> Command[list[Entry]]:
        """Return a member with `n` neighbours on each side; empty for no member. O(log N + M).

        Near the ends the window slides, so that it keeps its size: the best with `n=2` gets the
        best five.
        """
        return self._window("around", name_bytes("member", member), counted("n", n, 0))

    @operation
    def between_ranks(
        self, first: int, last: int, *, limit: int | None = None
    ) -> Command[list[Entry]]:
        """Return the entries ranked from `first` to `last`, both included. O(log N + M)."""
        first = counted("first", first)
        last = counted("last", last)
        if last < first:
            raise ValueError(f"last must not be less than first={first}, not {last!r}")
        return self._window("ranks", first, last, limit=_limit(limit))

    @operation
    def between_scores(
        self, low: float, high: float, *, limit: int | None = None
    ) -> Command[list[Entry]]:
        """Return the entries scored from `low` to `high`, best first. O(log N + M).

        Both bounds are included and may be infinite. Of several columns the first counts.
        """
        return self._window("scores", *self._bounds(low, high), limit=_limit(limit))

    @operation
    def scan(self, cursor: str | None = None, *, limit: int = _SCAN) -> Command[Page]:
        """Return up to `limit` entries behind a cursor, best first. O(log N + M).

        The cursor is a place in the order, not a number of entries: what enters or leaves before
        it neither repeats nor hides an entry.
        """
        limit = counted("limit", limit)
        first: Argument
        last: Argument
        select, first, last = ("places", 0, limit - 1)
        if cursor is not None:
            select, (first, last) = "after", _parse_cursor(cursor)

        def read(reply: list[Any], scale: Scale) -> Page:
            entries = self._read_window(reply, scale)
            if len(entries) < limit:
                return Page(entries, None)
            key, place = reply[4][-2:]
            return Page(entries, f"{place.decode()}:{key.hex()}")

        return self._ask(WINDOW, (*self._ranking(), select, first, last, limit), read)

    # The board as a whole

    @operation
    def count(self, low: float = -math.inf, high: float = math.inf) -> Command[int]:
        """Return how many members are on the board, or score from `low` to `high`. O(log N)."""
        best, worst = self._bounds(low, high)
        keys = self._keys[:1]
        if (low, high) == (-math.inf, math.inf):
            return Command((b"ZCARD", *keys), keys, int, idempotent=True)
        words = (b"ZCOUNT", *keys, repr(best), repr(worst))
        return Command(words, keys, int, idempotent=True)

    @operation
    def score_at(self, percentile: float) -> Command[float | None]:
        """Return the score below which that percentage of members lies; None when empty. O(log N).

        0 is the worst, 50 the median, 100 the best; between two members it is interpolated, as
        `numpy.percentile` does.
        """
        percentile = exact("percentile", percentile)
        if not 0 <= percentile <= 100:
            raise ValueError(f"percentile must be from 0 to 100, not {percentile!r}")

        def read(reply: list[bytes] | None, scale: Scale) -> float | None:
            if reply is None:
                return None
            score, worse = scale.score(reply[0]), scale.score(reply[1])
            part = float(reply[2])
            return score if part == 0 else score * (1 - part) + worse * part

        return self._ask(QUANTILE, (100 - percentile,), read, _PAIR)

    @operation
    def histogram(self, bins: int | Sequence[float] = 10) -> Command[list[Bin]]:
        """Return how many members score in each interval, lowest first. O(bins log N).

        Args:
            bins: how many intervals of equal width from the lowest to the highest score, or their
                bounds in ascending order; at most 10,000. Of several columns the first counts.
        """
        first = self._definition.scale.first
        number, edges = "", []
        if isinstance(bins, int):
            number = str(whole("bins", bins))
        else:
            edges = [self._bound("bins", edge) for edge in several("bins", bins)]
            if not edges[1:] or sorted({*edges}) != edges[:: int(first)]:
                raise ValueError(f"bins must be two or more ascending bounds, not {bins!r}")
        if max(int(number or 0), len(edges) - 1) > _MOST_BINS:
            raise ValueError(f"bins must be at most {_MOST_BINS:,}, not {bins!r}")

        def read(reply: list[Any], scale: Scale) -> list[Bin]:
            bounds = [scale.score(edge) for edge in reply[0]]
            if first > 0:
                return [Bin(*row) for row in zip(bounds, bounds[1:], reply[1], strict=False)]
            return [Bin(*row) for row in zip(bounds[1:], bounds, reply[1], strict=False)][::-1]

        order = self._definition.scale.orders[0]
        return self._ask(HISTOGRAM, (number, order, *edges[:: int(first)]), read, _PAIR)

    # Tiers

    @operation
    def tier(self, member: str) -> Command[TierStanding | None]:
        """Return a member's tier and rank in it; None for who is not on the board. O(log N).

        None too for who is in no tier, where the last of them does not take in all.

        Raises:
            ValueError: from this and the next two: the board was made without `tiers`.
        """
        tiers, places = self._tiers()

        def read(reply: list[Any] | None, scale: Scale) -> TierStanding | None:
            return tiers.standing(member, reply, scale)

        args = (*self._ranking(), tiers.by, name_bytes("member", member), *places)
        return self._ask(TIERS, args, read, _RANKED)

    @operation
    def tiers(self) -> Command[list[Tier]]:
        """Return all tiers, best first, with how many members each has. O(log N) each."""
        tiers, places = self._tiers()
        return self._ask(TIERS, (*self._ranking(), tiers.by, "", *places), tiers.now, _RANKED)

    @operation
    def in_tier(self, tier: str, *, limit: int | None = None) -> Command[list[Entry]]:
        """Return the entries of a tier, best first, ranked as on the board. O(log N + M)."""
        tiers, places = self._tiers()
        bounds = tiers.bounds("tier", tier, places)
        args = (*self._ranking(), tiers.by, *bounds, _limit(limit))
        return self._ask(TIER, args, self._read_window)

    # What the operations share

    def _tiers(self) -> tuple[Tiers, list[float]]:
        tiers = self._definition.tiers
        if tiers is None:
            raise ValueError("tiers must be given when the board is made: leaderboard(..., tiers=)")
        return tiers, tiers.places(self._bound)

    def _source(self) -> Source:
        """Return what the table is for a merge."""
        return Source(self._keys)

    def _ask(
        self,
        script: Script,
        args: Sequence[Argument],
        read: Callable[[Any, Scale], T],
        keys: int = len(Layout._fields),
    ) -> Command[T]:
        """Return the Command that runs a script on the table, with the first of its keys."""
        scale, table = self._definition.scale, self._keys[:keys]
        words = (self._config, *args)
        if scale.decays:
            return script.timed(table, words, lambda reply: read(reply[1], scale.at(reply[0])))
        return script(table, words, lambda reply: read(reply, scale))

    def _lookup(
        self,
        members: Sequence[bytes],
        read: Callable[[list[Any], Scale], T],
        *,
        method: RankMethod | Literal[""] | None = None,
        wants: Literal["data", "count", ""] = "",
    ) -> Command[T]:
        own, prefix, columns = self._ranking()
        chosen = own if method is None else method
        return self._ask(LOOKUP, (chosen, prefix, columns, wants, *members), read)

    def _window(
        self, select: str, first: Argument, last: Argument, *, limit: Argument = ""
    ) -> Command[list[Entry]]:
        args = (*self._ranking(), select, first, last, limit)
        return self._ask(WINDOW, args, self._read_window)

    def _rank(self, name: bytes) -> Command[float | None]:
        def read(reply: list[Any], _: Scale) -> float | None:
            if reply[1] is None:
                return None
            self._confirmed = True
            return rank_of(reply[1][2])

        return self._lookup([name], read)

    def _places(self, first: int, last: int) -> Command[list[Entry]]:
        return self._window("places", first, last)

    def _ranking(self) -> tuple[RankMethod, int, int]:
        return self._definition.method, self._definition.prefix, self._definition.columns

    def _entry(
        self, scale: Scale, key: bytes, place: bytes, rank: Any, data: bytes | None
    ) -> Entry:
        return Entry(
            key[self._definition.prefix :].decode(),
            scale.score(place),
            rank_of(rank),
            None if data is None else decode(data),
            scale.scores(place, key),
        )

    def _read_window(self, reply: list[Any], scale: Scale) -> list[Entry]:
        first, better, up_to, dense, rows, data = reply
        self._dataless = data is None
        keys: list[bytes] = rows[::2]
        places: list[bytes] = rows[1::2]
        method, prefix, columns = self._ranking()
        found = ranks(
            method,
            [(place, key[:columns]) for place, key in zip(places, keys, strict=True)]
            if columns
            else places,
            first=first,
            better=better,
            up_to=up_to,
            dense=dense or 0,
        )
        if scale.plain and not data:
            # The hot path of pages, a third of whose time is spent here.
            sign = scale.first
            return [
                Entry(key[prefix:].decode(), float(place) * sign + 0.0, rank)
                for key, place, rank in zip(keys, places, found, strict=True)
            ]
        data = data or [None] * len(keys)
        rows = zip(keys, places, found, data, strict=True)
        return [self._entry(scale, *row) for row in rows]

    def _bounds(self, low: float, high: float) -> tuple[float, float]:
        """Return the place scores of two scores, the better one first."""
        bounds = (self._bound("low", low), self._bound("high", high))
        if low > high:
            raise ValueError(f"high must not be less than low={low!r}, not {high!r}")
        return min(bounds), max(bounds)

    def _bound(self, parameter: str, value: float) -> float:
        scale = self._definition.scale
        if isinstance(value, float) and math.isinf(value):
            return float(value) * scale.first
        return scale.place(parameter, value)


def rank_of(raw: bytes | float) -> float:
    """Return a rank of a reply: fractional ones are text, as a script's numbers are integers."""
    return float(raw) if isinstance(raw, bytes) else raw


def _limit(value: int | None) -> Argument:
    return "" if value is None else counted("limit", value)


def _parse_cursor(cursor: str) -> tuple[float, bytes]:
    if not isinstance(cursor, str):
        raise TypeError(f"cursor must be a str, not {cursor!r}")
    place, _, key = cursor.rpartition(":")
    try:
        return exact("cursor", float(place)), bytes.fromhex(key)
    except ValueError:
        raise ValueError(f"cursor must be one that scan() gave, not {cursor!r}") from None

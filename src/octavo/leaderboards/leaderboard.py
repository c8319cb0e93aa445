"""The leaderboard."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_args

from octavo.engine.checks import several, whole
from octavo.engine.codec import decode, encode
from octavo.engine.command import Async, Command, Job, M, Sync, answer, operation
from octavo.engine.keys import name_bytes
from octavo.engine.script import Script
from octavo.leaderboards.layout import Layout
from octavo.leaderboards.ranking import RANK_METHODS, RankMethod, ranks
from octavo.leaderboards.records import Bin, Entry, Page, Submission
from octavo.leaderboards.scores import Order, Scale, Score, exact

if TYPE_CHECKING:
    from octavo.engine.command import Engine
    from octavo.engine.script import Argument

T = TypeVar("T")

Keep = Literal["best", "last", "sum", "first"]
Ties = Literal["earliest", "latest", "member"]
Percentile = Literal["mean", "weak", "strict", "rank"]

_STAMP = 7
_COLUMN = 8
_SCAN = 500
# More would hold up the server for milliseconds.
_MOST_BINS = 10_000
# No board has as many members, and a script can count this far.
_MOST = 2**53

_here = Path(__file__)
SUBMIT = Script(_here.with_name("submit.lua"))
ANNOTATE = Script(_here.with_name("annotate.lua"))
REMOVE = Script(_here.with_name("remove.lua"))
TRIM = Script(_here.with_name("trim.lua"))
LOOKUP = Script(_here.with_name("lookup.lua"), idempotent=True)
WINDOW = Script(_here.with_name("window.lua"), idempotent=True)
HISTOGRAM = Script(_here.with_name("histogram.lua"), idempotent=True)
QUANTILE = Script(_here.with_name("quantile.lua"), idempotent=True)


class Leaderboard(Job[M]):
    """Members ranked by score, best first.

        board = db.leaderboard("season-1")
        board.submit("ada", 120).rank
        board.around("ada", 2)

    Every method is atomic and one round trip. A board takes what one sorted set takes: hundreds
    of millions of members; costs below are for N members, of which M are returned or changed.
    Equal scores are ordered by `ties` and ranked by `rank`.

    Args:
        engine: what carries the commands.
        base: what the board's keys begin with.
        order: "desc": higher is better. A tuple makes a board of several columns, compared one
            after the other: `("desc", "asc")` for points, then time. Scores are then tuples.
        keep: which score of a member counts: its best, its last, the sum of all, its first.
        rank: how equal scores are ranked: competition 1 2 2 4, dense 1 2 2 3, ordinal 1 2 3 4,
            modified 1 3 3 4, fractional 1 2.5 2.5 4.
        ties: who comes first among equal scores: who reached it earliest, by the server's clock
            and exactly, or latest, or by name.
        page_size: entries on a page.
        once: run each write but `clear` at most once although its reply is lost: it is then sent
            again and answered with the first run's reply. Costs one SET and a key of about 150
            bytes for a minute, per write.

    Raises:
        ConfigMismatch: from any operation but `count` and `clear`: the board was made with
            another `order` or `ties`, or one of the two is ranked "dense" and the other is not.
        WrongType: from any operation: a key of the board holds something else.
    """

    def __init__(
        self,
        engine: Engine,
        base: str,
        *,
        order: Order | tuple[Order, ...] = "desc",
        keep: Keep = "best",
        rank: RankMethod = "competition",
        ties: Ties = "earliest",
        page_size: int = 25,
        once: bool = False,
    ) -> None:
        super().__init__(engine)
        self._keys = Layout.of(base)
        self._scale = Scale(order)
        self._keep: Keep = _option("keep", keep, get_args(Keep))
        self._method: RankMethod = _option("rank", rank, RANK_METHODS)
        self._ties: Ties = _option("ties", ties, get_args(Ties))
        self._page_size = _count("page_size", page_size)
        self._once = once
        self._columns = _COLUMN * (self._scale.width - 1)
        self._prefix = self._columns + (0 if ties == "member" else _STAMP)
        density = "dense" if rank == "dense" else "sparse"
        self._config = f"{','.join(self._scale.orders)} {ties} {density}"

    # Writing

    @operation
    def submit(self, member: str, score: Score, *, data: object = None) -> Command[Submission]:
        """Record a score and say where the member now stands. O(log N).

        Args:
            member: who.
            score: a number that a float64 holds exactly; several on a board of several columns.
            data: anything msgpack can hold, stored beside the score if that is accepted.

        Raises:
            PrecisionLost: `keep="sum"`, and a float64 cannot hold the sum; nothing was changed.
        """
        return self._submit(self._keep, [(member, score)], lambda _: data, _only)

    @operation
    def submit_many(
        self,
        scores: Mapping[str, Score] | Iterable[tuple[str, Score]],
        *,
        data: Mapping[str, object] | None = None,
    ) -> Command[list[Submission]]:
        """Record many scores, all or none, as if submitted one after another. O(M log N).

        Args:
            scores: the members and their scores, in order.
            data: for some of the members, what to store beside their scores.
        """
        beside: Mapping[str, object] = {} if data is None else data
        if not isinstance(beside, Mapping):
            raise TypeError(f"data must be a mapping of members, not {data!r}")
        pairs = _pairs(scores)
        command = self._submit(self._keep, pairs, beside.get, list)
        unknown = beside.keys() - {member for member, _ in pairs}
        if unknown:
            raise ValueError(f"data names members without a score: {unknown!r}")
        return command if pairs else answer([])

    @operation
    def increment(self, member: str, by: Score = 1, *, data: object = None) -> Command[Submission]:
        """Add to a member's score, whatever `keep` says; a new member starts at 0. O(log N).

        Raises:
            PrecisionLost: a float64 cannot hold the sum; nothing was changed.
        """
        return self._submit("sum", [(member, by)], lambda _: data, _only, "by")

    @operation
    def annotate(self, member: str, data: object) -> Command[bool]:
        """Replace the data of a member, or forget it with None; False for no member. O(1)."""
        args = (self._config, self._prefix, name_bytes("member", member), _payload(data))
        keys = (self._keys.scores, self._keys.entries, self._keys.data)
        return self._once_if_asked(ANNOTATE)(keys, args, bool)

    @operation
    def remove(self, *members: str) -> Command[int]:
        """Take members off the board; return how many were on it. O(M log N)."""
        if not members:
            return answer(0)
        names = [name_bytes("members", member) for member in members]
        args: tuple[Argument, ...] = (self._config, self._prefix, self._columns, *names)
        return self._once_if_asked(REMOVE)(self._keys, args, int)

    @operation
    def trim(self, keep: int) -> Command[int]:
        """Keep the best `keep` entries; return how many were taken off. O(M log N)."""
        args = (self._config, self._prefix, self._columns, _count("keep", keep, 0))
        return self._once_if_asked(TRIM)(self._keys, args, int)

    @operation
    def clear(self) -> Command[bool]:
        """Delete the board; return whether there was one. O(1), freed in the background."""
        return Command((b"UNLINK", *self._keys), self._keys, bool)

    # One member

    @operation
    def rank(self, member: str) -> Command[float | None]:
        """Return the rank of a member, 1 for the best; None for no member. O(log N)."""
        return self._lookup([name_bytes("member", member)], _rank_of_only)

    @operation
    def score(self, member: str) -> Command[float | None]:
        """Return the score of a member (of the first column); None for no member. O(1)."""
        scale = self._scale

        def read(reply: list[Any]) -> float | None:
            return None if reply[1] is None else scale.score(reply[1][1])

        return self._lookup([name_bytes("member", member)], read, method="")

    @operation
    def entry(self, member: str) -> Command[Entry | None]:
        """Return a member with its score, rank and data; None for no member. O(log N)."""
        name = name_bytes("member", member)
        return self._lookup([name], lambda reply: self._found(reply[1]), wants="data")

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
        _option("kind", kind, get_args(Percentile))

        def read(reply: list[Any]) -> float | None:
            if reply[1] is None:
                return None
            members, rank = int(reply[0]), _rank(reply[1][2])
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

        def read(reply: list[Any]) -> list[Entry]:
            found = [row for row in reply[1:] if row is not None]
            found.sort(key=lambda row: (float(row[1]), row[0]))
            return [self._entry(*row) for row in found]

        return self._lookup(names, read, wants="data")

    # Runs of entries

    @operation
    def top(self, n: int = 10) -> Command[list[Entry]]:
        """Return the best `n` entries. O(log N + M)."""
        return self._window("places", 0, _count("n", n) - 1)

    @operation
    def page(self, n: int, *, size: int | None = None) -> Command[list[Entry]]:
        """Return page `n`, the first being 1; empty behind the last. O(log N + M)."""
        size = self._page_size if size is None else _count("size", size)
        first = min((_count("n", n) - 1) * size, _MOST)
        return self._window("places", first, first + size - 1)

    @operation
    def around(self, member: str, n: int = 5) -> Command[list[Entry]]:
        """Return a member with `n` neighbours on each side; empty for no member. O(log N + M).

        Near the ends the window slides, so that it keeps its size: the best with `n=2` gets the
        best five.
        """
        return self._window("around", name_bytes("member", member), _count("n", n, 0))

    @operation
    def between_ranks(
        self, first: int, last: int, *, limit: int | None = None
    ) -> Command[list[Entry]]:
        """Return the entries ranked from `first` to `last`, both included. O(log N + M)."""
        first = _count("first", first)
        last = _count("last", last)
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
        bounds = (self._bound("low", low), self._bound("high", high))
        if low > high:
            raise ValueError(f"high must not be less than low={low!r}, not {high!r}")
        return self._window("scores", min(bounds), max(bounds), limit=_limit(limit))

    @operation
    def scan(self, cursor: str | None = None, *, limit: int = _SCAN) -> Command[Page]:
        """Return up to `limit` entries behind a cursor, best first. O(log N + M).

        The cursor is a place in the order, not a number of entries: what enters or leaves before
        it neither repeats nor hides an entry.
        """
        limit = _count("limit", limit)
        first: Argument
        last: Argument
        select, first, last = ("places", 0, limit - 1)
        if cursor is not None:
            select, (first, last) = "after", _parse_cursor(cursor)

        def read(reply: list[Any]) -> Page:
            entries = self._read_window(reply)
            if len(entries) < limit:
                return Page(entries, None)
            key, place = reply[4][-2:]
            return Page(entries, f"{place.decode()}:{key.hex()}")

        return WINDOW(self._keys, (*self._context(), select, first, last, limit), read)

    def __iter__(self: Leaderboard[Sync]) -> Iterator[Entry]:
        """Go through the board, best first, 500 entries a round trip."""
        page = self.scan()
        yield from page.entries
        while page.cursor is not None:
            page = self.scan(page.cursor)
            yield from page.entries

    async def __aiter__(self: Leaderboard[Async]) -> AsyncIterator[Entry]:
        """Go through the board, best first, 500 entries a round trip."""
        page = await self.scan()
        for entry in page.entries:
            yield entry
        while page.cursor is not None:
            page = await self.scan(page.cursor)
            for entry in page.entries:
                yield entry

    # The board as a whole

    @operation
    def count(self, low: float = -math.inf, high: float = math.inf) -> Command[int]:
        """Return how many members are on the board, or score from `low` to `high`. O(log N)."""
        bounds = (self._bound("low", low), self._bound("high", high))
        if low > high:
            raise ValueError(f"high must not be less than low={low!r}, not {high!r}")
        keys = (self._keys.scores,)
        if (low, high) == (-math.inf, math.inf):
            return Command((b"ZCARD", *keys), keys, int, idempotent=True)
        words = (b"ZCOUNT", *keys, repr(min(bounds)), repr(max(bounds)))
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
        scale = self._scale

        def read(reply: list[bytes] | None) -> float | None:
            if reply is None:
                return None
            score, worse = scale.score(reply[0]), scale.score(reply[1])
            part = float(reply[2])
            return score if part == 0 else score * (1 - part) + worse * part

        keys = (self._keys.scores, self._keys.entries)
        return QUANTILE(keys, (self._config, 100 - percentile), read)

    @operation
    def histogram(self, bins: int | Sequence[float] = 10) -> Command[list[Bin]]:
        """Return how many members score in each interval, lowest first. O(bins log N).

        Args:
            bins: how many intervals of equal width from the lowest to the highest score, or their
                bounds in ascending order; at most 10,000. Of several columns the first counts.
        """
        first = self._scale.first
        number, edges = "", []
        if isinstance(bins, int):
            number = str(whole("bins", bins))
        else:
            edges = [self._bound("bins", edge) for edge in several("bins", bins)]
            if not edges[1:] or sorted({*edges}) != edges[:: int(first)]:
                raise ValueError(f"bins must be two or more ascending bounds, not {bins!r}")
        if max(int(number or 0), len(edges) - 1) > _MOST_BINS:
            raise ValueError(f"bins must be at most {_MOST_BINS:,}, not {bins!r}")

        def read(reply: list[Any]) -> list[Bin]:
            bounds = [self._scale.score(edge) for edge in reply[0]]
            if first > 0:
                return [Bin(*row) for row in zip(bounds, bounds[1:], reply[1], strict=False)]
            return [Bin(*row) for row in zip(bounds[1:], bounds, reply[1], strict=False)][::-1]

        keys = (self._keys.scores, self._keys.entries)
        return HISTOGRAM(
            keys, (self._config, number, self._scale.orders[0], *edges[:: int(first)]), read
        )

    # What the operations share

    def _submit(
        self,
        keep: Keep,
        pairs: Sequence[tuple[str, Score]],
        data_of: Callable[[str], object],
        read: Callable[[list[Submission]], T],
        parameter: str = "score",
    ) -> Command[T]:
        width = self._scale.width
        args: list[Argument] = [self._config, keep, self._method, self._ties, width]
        for member, score in pairs:
            name = name_bytes("member", member)
            places = self._scale.places(parameter, score)
            args += (name, *places, _payload(data_of(member)))
        return self._once_if_asked(SUBMIT)(
            self._keys, args, lambda reply: read([self._submission(*row) for row in reply])
        )

    def _submission(  # noqa: PLR0917 - the columns of a reply
        self,
        accepted: int,
        key: bytes,
        place: bytes,
        rank: Any,
        old_key: bytes | None,
        old_place: bytes | None,
        old_rank: Any,
    ) -> Submission:
        scale = self._scale
        member = key[self._prefix :].decode()
        if old_key is None or old_place is None:
            score, scores = scale.score(place), scale.scores(place, key)
            return Submission(member, True, score, None, _rank(rank), None, True, scores)  # noqa: FBT003
        before = (float(old_place), old_key[: self._columns])
        return Submission(
            member,
            accepted == 1,
            scale.score(place),
            scale.score(old_place),
            _rank(rank),
            _rank(old_rank),
            (float(place), key[: self._columns]) < before,
            scale.scores(place, key),
            scale.scores(old_place, old_key),
        )

    def _lookup(
        self,
        members: Sequence[bytes],
        read: Callable[[list[Any]], T],
        *,
        method: RankMethod | Literal[""] | None = None,
        wants: Literal["data", "count", ""] = "",
    ) -> Command[T]:
        config, own, prefix, columns = self._context()
        chosen = own if method is None else method
        args: tuple[Argument, ...] = (config, chosen, prefix, columns, wants, *members)
        return LOOKUP(self._keys, args, read)

    def _found(self, row: list[Any] | None) -> Entry | None:
        return None if row is None else self._entry(*row)

    def _entry(self, key: bytes, place: bytes, rank: Any, data: bytes | None) -> Entry:
        return Entry(
            key[self._prefix :].decode(),
            self._scale.score(place),
            _rank(rank),
            None if data is None else decode(data),
            self._scale.scores(place, key),
        )

    def _window(
        self,
        select: str,
        first: Argument,
        last: Argument,
        *,
        limit: Argument = "",
    ) -> Command[list[Entry]]:
        args = (*self._context(), select, first, last, limit)
        return WINDOW(self._keys, args, self._read_window)

    def _read_window(self, reply: list[Any]) -> list[Entry]:
        first, better, up_to, dense, rows, data = reply
        keys: list[bytes] = rows[::2]
        places: list[bytes] = rows[1::2]
        found = ranks(
            self._method,
            [(place, key[: self._columns]) for place, key in zip(places, keys, strict=True)]
            if self._columns
            else places,
            first=first,
            better=better,
            up_to=up_to,
            dense=dense or 0,
        )
        if self._columns or data:
            data = data or [None] * len(keys)
            return [self._entry(*row) for row in zip(keys, places, found, data, strict=True)]
        # The hot path of pages, a third of whose time is spent here.
        prefix, sign = self._prefix, self._scale.first
        return [
            Entry(key[prefix:].decode(), float(place) * sign + 0.0, rank)
            for key, place, rank in zip(keys, places, found, strict=True)
        ]

    def _context(self) -> tuple[str, RankMethod, int, int]:
        return self._config, self._method, self._prefix, self._columns

    def _once_if_asked(self, script: Script) -> Script:
        return script.once if self._once else script

    def _bound(self, parameter: str, value: float) -> float:
        if isinstance(value, float) and math.isinf(value):
            return float(value) * self._scale.first
        return self._scale.place(parameter, value)


def _only(submissions: list[Submission]) -> Submission:
    return submissions[0]


def _rank(raw: bytes | float) -> float:
    # Fractional ranks come as text: a script's numbers arrive as integers.
    return float(raw) if isinstance(raw, bytes) else raw


def _rank_of_only(reply: list[Any]) -> float | None:
    return None if reply[1] is None else _rank(reply[1][2])


def _payload(data: object) -> bytes:
    return b"" if data is None else encode("data", data)


def _pairs(
    scores: Mapping[str, Score] | Iterable[tuple[str, Score]],
) -> list[tuple[str, Score]]:
    try:
        given: Any = scores
        pairs: Any = cast("Any", given).items() if isinstance(given, Mapping) else given
        return [(member, score) for member, score in pairs]
    except (TypeError, ValueError) as error:
        raise TypeError(f"scores must be pairs of member and score: {error}") from error


def _option(parameter: str, value: T, known: Sequence[object]) -> T:
    if value not in known:
        raise ValueError(f"{parameter} must be one of {', '.join(map(repr, known))}, not {value!r}")
    return value


def _count(parameter: str, value: int, least: int = 1) -> int:
    return min(whole(parameter, value, least), _MOST)


def _limit(value: int | None) -> Argument:
    return "" if value is None else _count("limit", value)


def _parse_cursor(cursor: str) -> tuple[float, bytes]:
    if not isinstance(cursor, str):
        raise TypeError(f"cursor must be a str, not {cursor!r}")
    place, _, key = cursor.rpartition(":")
    try:
        return exact("cursor", float(place)), bytes.fromhex(key)
    except ValueError:
        raise ValueError(f"cursor must be one that scan() gave, not {cursor!r}") from None

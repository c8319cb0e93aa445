"""The leaderboard that is sharded by score over the nodes of a cluster."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_args

from octavo.engine.checks import flag, millis, several, whole
from octavo.engine.command import Command, M, answer, flow, operation
from octavo.engine.keys import name_bytes
from octavo.leaderboards.definition import MOST, Keep, counted, option
from octavo.leaderboards.iteration import Scanned
from octavo.leaderboards.ranking import RANK_METHODS, RankMethod
from octavo.leaderboards.records import Bin, Entry, Page, Submission
from octavo.leaderboards.scores import Order, Scale, exact
from octavo.leaderboards.sharded import repair
from octavo.leaderboards.sharded.bounds import Sharding, checked_bounds
from octavo.leaderboards.sharded.layout import ShardedLayout
from octavo.leaderboards.sharded.moves import GRACE, Index, followed, together
from octavo.leaderboards.sharded.runs import Cursor, Known, Reader
from octavo.leaderboards.standings import Percentile

if TYPE_CHECKING:
    from datetime import timedelta

    from octavo.engine.command import Engine
    from octavo.leaderboards.sharded.moves import Change, Decide, Size, Standing

T = TypeVar("T")

ShardedTies = Literal["earliest", "latest"]

_SCAN = 500
_CHUNK = 5000
_MOST_HOMES = 1024


class ShardedLeaderboard(Scanned[M]):
    """Members ranked by score, best first, on all nodes of a cluster.

        board = db.sharded_leaderboard("world", bounds=even_bounds(0, 5000, 12))
        board.submit("ada", 1200).rank
        board.page(40_000)

    A member's score lives at its home, one of `homes` hashes. The scores are also in shards, one
    sorted set for each range between `bounds`, which a change is told after the home. While nothing
    changes, all answers are exact. A change that is under way may be missing from what others
    read, or be there twice: a rank is off by at most the number of changes under way.

    Each method says how many round trips it takes; each goes to all nodes concerned at once.

    Args:
        engine: what carries the commands.
        prefix: what all keys begin with.
        name: of the board.
        bounds: between the shards, ascending: `even_bounds`, `sample_bounds`, or numbers of yours.
            Four shards for each primary are enough.
        order: "desc": higher is better.
        keep: which score of a member counts: its best, its last, the sum of all, its first.
        rank: how equal scores are ranked: competition 1 2 2 4, dense 1 2 2 3, ordinal 1 2 3 4,
            modified 1 3 3 4, fractional 1 2.5 2.5 4.
        ties: who comes first among equal scores: who reached it earliest, or latest, by the clock
            of its home's node.
        page_size: entries on a page.
        homes: over how many hashes the members are spread.
        once: see `octavo.leaderboards.Leaderboard`. Telling the shards is repeated without it, too;
            `previous_rank` may then be that of a moment later.

    Raises:
        ConfigMismatch: from any operation that asks a home or reads a run: the board was made with
            other `bounds`, `homes`, `order` or `ties`, or one of the two is ranked "dense".
        ConnectionLost: from a change, with `outcome="unknown"`: its home may have taken it. The
            member's next change, or `repair`, tells the shards if it has.
    """

    def __init__(
        self,
        engine: Engine,
        prefix: str,
        name: str,
        *,
        bounds: Iterable[float],
        order: Order = "desc",
        keep: Keep = "best",
        rank: RankMethod = "competition",
        ties: ShardedTies = "earliest",
        page_size: int = 25,
        homes: int = 32,
        once: bool = False,
    ) -> None:
        super().__init__(engine)
        self._scale = Scale(option("order", order, get_args(Order)))
        self._keep: Keep = option("keep", keep, get_args(Keep))
        self._page_size = counted("page_size", page_size)
        self._sharding = Sharding(checked_bounds(bounds), self._scale.first)
        option("rank", rank, RANK_METHODS)
        option("ties", ties, get_args(ShardedTies))
        shards, homes = self._sharding.number, whole("homes", homes, 1, _MOST_HOMES)
        density = "dense" if rank == "dense" else "sparse"
        self._index = Index(
            ShardedLayout.of(prefix, name, homes, shards),
            self._sharding,
            f"{order} {ties} {density},homes={homes},bounds={self._sharding.digest()}",
            method=rank,
            ties=ties,
            once=flag("once", once),
        )
        known: Known = self._common.shared(
            f"sharded {prefix} {name} {self._index.config}", lambda: Known(shards)
        )
        self._reader = Reader(self._index, self._scale, known)

    # Writing

    @operation
    def submit(self, member: str, score: float) -> Command[Submission]:
        """Record a score and say where the member now stands. Three round trips.

        Two if the member had the score, or keeps a better one.

        Args:
            member: who.
            score: a number that a float64 holds exactly.

        Raises:
            PrecisionLost: `keep="sum"`, and a float64 cannot hold the sum; nothing was changed.
        """
        return self._submit(self._keep, member, self._scale.place("score", score))

    @operation
    def increment(self, member: str, by: float = 1) -> Command[Submission]:
        """Add to a member's score, whatever `keep` says; a new member starts at 0.

        Three round trips.

        Raises:
            PrecisionLost: a float64 cannot hold the sum; nothing was changed.
        """
        return self._submit("sum", member, self._scale.place("by", by))

    @flow
    async def submit_many(self, scores: Mapping[str, float] | Iterable[tuple[str, float]]) -> int:
        """Record many scores, and return how many the board took. Three round trips for 5,000.

        They are taken one part after the other, from a generator too; each part is checked before
        it is sent. It is not all or none.

        Args:
            scores: the members and their scores, in order.
        """
        accepted = 0
        part: dict[bytes, float | None] = {}
        for member, score in _pairs(scores):
            name, place = name_bytes("members", member), self._scale.place("scores", score)
            if len(part) == _CHUNK or name in part:
                accepted += await self._index.change(self._keep, [*part.items()], _accepted)
                part.clear()
            part[name] = place
        return accepted + await self._index.change(self._keep, [*part.items()], _accepted)

    @operation
    def remove(self, *members: str) -> Command[int]:
        """Take members off the board; return how many were on it. Three round trips."""
        names = dict.fromkeys(name_bytes("members", member) for member in members)
        return self._index.change("remove", [(name, None) for name in names], _accepted)

    @operation
    def clear(self) -> Command[bool]:
        """Delete the board; return whether there was one. One round trip; not one step.

        What is submitted meanwhile may stay, or half of it: then `repair(thorough=True)`.
        """
        parts = [
            Command((b"UNLINK", *keys), tuple(keys), bool)
            for keys in (*self._index.keys.homes, *self._index.keys.shards)
        ]
        return together(parts, any)

    @flow
    async def repair(self, *, older_than: float | timedelta = GRACE, thorough: bool = False) -> int:
        """Finish what others have left half done, and return for how many members.

        Run it every minute or so, and thoroughly after a failover. It may run at any time, and in
        several places.

        Args:
            older_than: seconds after which a change is taken to be left.
            thorough: compare every entry of all shards with the homes, too, in pages of 500: that
                finds what a failover has lost on either side.
        """
        grace = millis("older_than", older_than, least=0) / 1000
        thorough = flag("thorough", thorough)
        done = await repair.finish(self._index, grace)
        return done + await repair.compare(self._index) if thorough else done

    # One member

    @operation
    def rank(self, member: str) -> Command[float | None]:
        """Return the rank of a member, 1 for the best; None for no member. As `entry`."""

        def make(standing: Standing) -> Command[float | None]:
            return self._reader.ranked([standing], lambda ranks, _: ranks[0])

        return self._reader.of_one(name_bytes("member", member), make, answer)

    @operation
    def score(self, member: str) -> Command[float | None]:
        """Return the score of a member; None for no member. One round trip, and always exact."""
        found = self._reader.find([name_bytes("member", member)])
        return found.map(lambda one: None if one[0] is None else self._score(one[0].place))

    @operation
    def entry(self, member: str) -> Command[Entry | None]:
        """Return a member with its score and rank; None for no member.

        Two round trips; one if this client has seen or submitted the score that the member has.
        """

        def make(standing: Standing) -> Command[Entry | None]:
            def read(ranks: list[float], _: list[Size]) -> Entry | None:
                return Entry(member, self._score(standing.place), ranks[0])

            return self._reader.ranked([standing], read)

        return self._reader.of_one(name_bytes("member", member), make, answer)

    @operation
    def percentile(self, member: str, *, kind: Percentile = "mean") -> Command[float | None]:
        """Return the percentage of members that a member is ahead of; None for no member.

        Round trips as `entry`.

        Args:
            member: who.
            kind: what equal scores count: see `octavo.leaderboards.Leaderboard.percentile`.
        """
        methods: dict[str, RankMethod] = {"weak": "competition", "strict": "modified"}
        bonus = {"mean": 0.5, "weak": 1.0, "strict": 0.0, "rank": 1.0}
        option("kind", kind, get_args(Percentile))

        def read(ranks: list[float], sizes: list[Size]) -> float | None:
            members = max(sum(size.members for size in sizes), 1)
            return 100 * (members - ranks[0] + bonus[kind]) / members

        def make(standing: Standing) -> Command[float | None]:
            method = methods.get(kind, "fractional")
            return self._reader.ranked([standing], read, method=method, whole=True)

        return self._reader.of_one(name_bytes("member", member), make, answer)

    @operation
    def ranks_of(self, members: Iterable[str]) -> Command[list[Entry]]:
        """Return those of the members that are on the board, best first. Two round trips."""
        wanted = several("members", members)
        names = list(dict.fromkeys(name_bytes("members", member) for member in wanted))
        if not names:
            return answer([])

        def then(found: list[Standing | None]) -> Command[list[Entry]]:
            there = {s: n for n, s in zip(names, found, strict=True) if s is not None}
            standings = sorted(there)
            if not standings:
                return answer([])

            def read(ranks: list[float], _: list[Size]) -> list[Entry]:
                return [
                    Entry(there[standing].decode(), self._score(standing.place), rank)
                    for standing, rank in zip(standings, ranks, strict=True)
                ]

            return self._reader.ranked(standings, read)

        return followed(self._reader.find(names), then)

    # Runs of entries

    @operation
    def top(self, n: int = 10) -> Command[list[Entry]]:
        """Return the best `n` entries. One round trip, mostly: see `page`."""
        return self._reader.span(0, counted("n", n) - 1)

    @operation
    def page(self, n: int, *, size: int | None = None) -> Command[list[Entry]]:
        """Return page `n`, the first being 1; empty behind the last.

        One round trip if the sizes of the shards are about as they were when this client last
        heard of them; otherwise two or more.
        """
        size = self._page_size if size is None else counted("size", size)
        first = min((counted("n", n) - 1) * size, MOST)
        return self._reader.span(first, first + size - 1)

    @operation
    def around(self, member: str, n: int = 5) -> Command[list[Entry]]:
        """Return a member with `n` neighbours on each side; empty for no member.

        Round trips as `entry`, and one more where they are in several shards. Near the ends the
        window slides, so that it keeps its size.
        """
        n = counted("n", n, 0)

        def make(standing: Standing) -> Command[tuple[int, int, list[Entry] | None]]:
            return self._reader.around(standing, n)

        name = name_bytes("member", member)
        return self._reader.of_one(name, make, self._reader.spread).map(_or_none)

    @operation
    def between_scores(
        self, low: float, high: float, *, limit: int | None = None
    ) -> Command[list[Entry]]:
        """Return the entries scored from `low` to `high`, best first. One round trip.

        Both bounds are included and may be infinite.
        """
        low, high = self._range(low, high)
        places = sorted((low * self._scale.first, high * self._scale.first))
        most = None if limit is None else counted("limit", limit)
        return self._reader.between(places, self._sharding.between(low, high), most)

    @operation
    def scan(self, cursor: str | None = None, *, limit: int = _SCAN) -> Command[Page]:
        """Return up to `limit` entries behind a cursor, best first. A round trip for each shard.

        The cursor is a place in the order: what enters or leaves before it neither repeats nor
        hides an entry. A member whose score changes meanwhile may be met twice, or not.
        """
        limit = counted("limit", limit)
        start = Cursor(0, 0.0, b"")
        if cursor is not None:
            start = Cursor.parse(cursor, self._sharding.number)
        return self._reader.scan(start, limit, [])

    # The board as a whole

    @operation
    def count(self, low: float = -math.inf, high: float = math.inf) -> Command[int]:
        """Return how many members are on the board, or score from `low` to `high`.

        One round trip.
        """
        low, high = self._range(low, high)
        return together(self._counting(low, high), sum)

    @operation
    def score_at(self, percentile: float) -> Command[float | None]:
        """Return the score below which that percentage of members lies; None when empty.

        0 is the worst, 50 the median, 100 the best; between two members it is interpolated. Two
        round trips.
        """
        percentile = exact("percentile", percentile)
        if not 0 <= percentile <= 100:
            raise ValueError(f"percentile must be from 0 to 100, not {percentile!r}")

        def then(members: int) -> Command[float | None]:
            at = max(members - 1, 0) * (100 - percentile) / 100
            place, part = math.floor(at), at % 1
            return self._reader.span(place, place + 1).map(lambda found: _mixed(found, part))

        return followed(self._reader.total(), then)

    @operation
    def histogram(self, bins: Sequence[float]) -> Command[list[Bin]]:
        """Return how many members score in each interval, lowest first. One round trip.

        Args:
            bins: the bounds of the intervals in ascending order; at most 10,000. Only the last
                interval holds its upper bound.
        """
        edges = [exact("bins", edge) for edge in several("bins", bins)]
        if not 1 < len(edges) <= 10_001 or any(low >= high for low, high in pairwise(edges)):
            raise ValueError(f"bins must be 2 to 10,001 ascending bounds, not {bins!r}")
        intervals = list(pairwise(edges))
        parts: list[Command[int]] = []
        ends: list[int] = [0]
        for low, high in intervals:
            parts += self._counting(low, high, last=high == edges[-1])
            ends.append(len(parts))

        def read(counts: list[int]) -> list[Bin]:
            counted = (sum(counts[start:end]) for start, end in pairwise(ends))
            return [Bin(*pair, count) for pair, count in zip(intervals, counted, strict=True)]

        return together(parts, read)

    @operation
    def shards(self) -> Command[list[Bin]]:
        """Return how many members each shard has, lowest scores first. One round trip.

        A shard with far more than others asks for a board with other bounds.
        """
        intervals = self._sharding.intervals()

        def read(sizes: list[Size]) -> list[Bin]:
            bins = [Bin(*pair, size.members) for pair, size in zip(intervals, sizes, strict=True)]
            return sorted(bins, key=lambda one: one.low)

        return together([self._index.size(i) for i in range(self._sharding.number)], read)

    # What the operations share

    def _submit(self, keep: Keep | Decide, member: str, place: float) -> Command[Submission]:
        def read(changes: list[Change]) -> Submission:
            change = changes[0]
            before, after = change.before, change.after
            assert after is not None  # noqa: S101 - for checkers
            assert change.rank is not None  # noqa: S101
            self._reader.see(change.member, after)
            return Submission(
                member,
                change.accepted,
                self._score(after.place),
                None if before is None else self._score(before.place),
                change.rank,
                change.previous_rank,
                before is None or after.place < before.place,
            )

        name = name_bytes("member", member)
        return self._index.change(keep, [(name, place)], read, ranked=True)

    def _counting(self, low: float, high: float, *, last: bool = True) -> list[Command[int]]:
        """Return the Commands that count the scores from `low` to `high`, that included if `last`.

        Of the shards that lie in between, all members are counted.
        """
        sign = self._scale.first
        words = [repr(low * sign), ("" if last else "(") + repr(high * sign)]
        least, most = words[:: int(sign)]
        shards = self._sharding.between(low, high)
        commands: list[Command[int]] = []
        for shard in shards:
            scores = self._index.keys.shards[shard].scores
            inner = shards[0] < shard < shards[-1] or (low, high) == (-math.inf, math.inf)
            count = (b"ZCARD", scores) if inner else (b"ZCOUNT", scores, least, most)
            commands.append(Command(count, (scores,), int, idempotent=True))
        return commands

    def _range(self, low: float, high: float) -> tuple[float, float]:
        bounds = [
            float(bound)
            if isinstance(bound, float) and math.isinf(bound)
            else exact(parameter, bound)
            for parameter, bound in (("low", low), ("high", high))
        ]
        if low > high:
            raise ValueError(f"high must not be less than low={low!r}, not {high!r}")
        return bounds[0], bounds[1]

    def _score(self, place: float) -> float:
        return place * self._scale.first + 0.0


def _accepted(changes: list[Change]) -> int:
    return sum(change.accepted for change in changes)


def _pairs(
    scores: Mapping[str, float] | Iterable[tuple[str, float]],
) -> Iterator[tuple[str, float]]:
    given: Any = scores
    if not isinstance(given, Iterable) or isinstance(given, str | bytes):
        raise TypeError(f"scores must be pairs of member and score, not {given!r}")
    pairs: Any = cast("Any", given).items() if isinstance(given, Mapping) else cast("Any", given)
    for pair in pairs:
        try:
            member, score = pair
        except (TypeError, ValueError):
            raise TypeError(f"scores must be pairs of member and score, not {pair!r}") from None
        yield member, score


def _or_none(entries: list[Entry] | None) -> list[Entry]:
    return [] if entries is None else entries


def _mixed(entries: list[Entry], part: float) -> float | None:
    """Return the score between the first entry and the one behind it."""
    if not entries:
        return None
    score = entries[0].score
    return score if part == 0 else score * (1 - part) + entries[-1].score * part

"""What a leaderboard does, in plain Python: slow, short, and without a server.

Everything follows from the rows and their order; nothing is kept that could get out of step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from octavo import PrecisionLost
from octavo.leaderboards import Bin, Entry, Submission

if TYPE_CHECKING:
    from collections.abc import Mapping

    from octavo.leaderboards import Keep, Order, Percentile, RankMethod, Score, Ties

Place = tuple[tuple[float, ...], int | bytes]
"""What sorts a row: its scores, lower for the better, then what breaks a tie."""


@dataclass(frozen=True)
class Row:
    """What a board knows about a member."""

    scores: tuple[float, ...]
    arrival: int
    data: object = None


class Model:
    """The reference."""

    def __init__(
        self,
        *,
        order: Order | tuple[Order, ...] = "desc",
        keep: Keep = "best",
        rank: RankMethod = "competition",
        ties: Ties = "earliest",
    ) -> None:
        self.orders = (order,) if isinstance(order, str) else order
        self.keep: Keep = keep
        self.method: RankMethod = rank
        self.ties: Ties = ties
        self.rows: dict[str, Row] = {}
        self._arrivals = itertools.count(1)

    # Writing

    def submit(self, member: str, score: Score, data: object = None) -> Submission:
        return self._submit(self.keep, [(member, score)], {member: data})[0]

    def submit_many(
        self, pairs: Iterable[tuple[str, Score]], data: Mapping[str, object]
    ) -> list[Submission]:
        return self._submit(self.keep, pairs, data)

    def increment(self, member: str, by: Score) -> Submission:
        return self._submit("sum", [(member, by)], {})[0]

    def annotate(self, member: str, data: object) -> bool:
        if member in self.rows:
            self.rows[member] = replace(self.rows[member], data=data)
        return member in self.rows

    def remove(self, *members: str) -> int:
        return sum(self.rows.pop(member, None) is not None for member in members)

    def remove_between_scores(self, low: float, high: float) -> int:
        return self.remove(*(each.member for each in self.entries() if low <= each.score <= high))

    def trim(self, keep: int) -> int:
        return self.remove(*self.standing()[keep:])

    def clear(self) -> None:
        self.rows.clear()

    def _submit(
        self, keep: Keep, pairs: Iterable[tuple[str, Score]], data: Mapping[str, object]
    ) -> list[Submission]:
        before = dict(self.rows)
        try:
            return [
                self._submit_one(keep, member, self._columns(score), data.get(member))
                for member, score in pairs
            ]
        except PrecisionLost:
            self.rows = before
            raise

    def _submit_one(
        self, keep: Keep, member: str, scores: tuple[float, ...], data: object
    ) -> Submission:
        old = self.rows.get(member)
        old_rank = None if old is None else self.rank(member)
        accepted, scores = self._decide(keep, old, scores)
        if old is None or scores != old.scores:
            self.rows[member] = Row(scores, next(self._arrivals), old.data if old else None)
        if accepted and data is not None:
            self.annotate(member, data)
        rank = self.rank(member)
        assert rank is not None
        return Submission(
            member=member,
            accepted=accepted,
            score=scores[0],
            previous=old.scores[0] if old else None,
            rank=rank,
            previous_rank=old_rank,
            is_best=old is None or self._places(scores) < self._places(old.scores),
            scores=self._shown(scores),
            previous_scores=self._shown(old.scores) if old else (),
        )

    def _decide(
        self, keep: Keep, old: Row | None, scores: tuple[float, ...]
    ) -> tuple[bool, tuple[float, ...]]:
        if old is None or keep == "last":
            return True, scores
        if keep == "sum":
            return True, tuple(_sum(*pair) for pair in zip(old.scores, scores, strict=True))
        better = keep == "best" and self._places(scores) < self._places(old.scores)
        return (True, scores) if better else (False, old.scores)

    # Reading

    def count(self, low: float = -math.inf, high: float = math.inf) -> int:
        return len(self.between_scores(low, high))

    def score(self, member: str) -> float | None:
        return self.rows[member].scores[0] if member in self.rows else None

    def rank(self, member: str) -> float | None:
        if member not in self.rows:
            return None
        mine = self._places(self.rows[member].scores)
        others = [self._places(row.scores) for row in self.rows.values()]
        better, equal = sum(place < mine for place in others), others.count(mine)
        match self.method:
            case "competition":
                return better + 1
            case "modified":
                return better + equal
            case "fractional":
                return better + (equal + 1) / 2
            case "dense":
                return len({place for place in others if place < mine}) + 1
            case "ordinal":
                return self.standing().index(member) + 1

    def entry(self, member: str) -> Entry | None:
        rank = self.rank(member)
        if rank is None:
            return None
        row = self.rows[member]
        return Entry(member, row.scores[0], rank, row.data, self._shown(row.scores))

    def percentile(self, member: str, kind: Percentile) -> float | None:
        """As SciPy's `percentileofscore` defines it, on a scale where better is higher."""
        if member not in self.rows:
            return None
        mine = self._places(self.rows[member].scores)
        others = [self._places(row.scores) for row in self.rows.values()]
        left, right = sum(place > mine for place in others), sum(place >= mine for place in others)
        share = {
            "rank": Fraction(left + right + (left < right), 2),
            "weak": Fraction(right),
            "strict": Fraction(left),
            "mean": Fraction(left + right, 2),
        }[kind]
        return float(100 * share / len(others))

    def standing(self) -> list[str]:
        """The members, best first."""
        return sorted(self.rows, key=self.place)

    def entries(self) -> list[Entry]:
        return [entry for member in self.standing() if (entry := self.entry(member))]

    def ranks_of(self, members: Iterable[str]) -> list[Entry]:
        wanted = set(members)
        return [entry for entry in self.entries() if entry.member in wanted]

    def top(self, n: int) -> list[Entry]:
        return self.entries()[:n]

    def page(self, n: int, size: int) -> list[Entry]:
        return self.entries()[(n - 1) * size : n * size]

    def page_of(self, member: str, size: int) -> int | None:
        return self.standing().index(member) // size + 1 if member in self.rows else None

    def around(self, member: str, n: int) -> list[Entry]:
        if member not in self.rows:
            return []
        size = min(2 * n + 1, len(self.rows))
        at = self.standing().index(member)
        windows = [range(first, first + size) for first in range(len(self.rows) - size + 1)]
        window = min(windows, key=lambda window: abs(window[0] + n - at))
        return [self.entries()[place] for place in window]

    def between_ranks(self, first: int, last: int, limit: int | None = None) -> list[Entry]:
        return [entry for entry in self.entries() if first <= entry.rank <= last][:limit]

    def between_scores(self, low: float, high: float, limit: int | None = None) -> list[Entry]:
        return [entry for entry in self.entries() if low <= entry.score <= high][:limit]

    def scan(self, after: Place | None, limit: int) -> tuple[list[Entry], Place | None]:
        """The next entries behind a place, and the place of the last if there may be more."""
        rest = [
            entry for entry in self.entries() if after is None or self.place(entry.member) > after
        ][:limit]
        return rest, self.place(rest[-1].member) if len(rest) == limit else None

    def score_at(self, percentile: Fraction) -> float | None:
        """As `numpy.percentile` interpolates linearly, exactly, from the worst to the best."""
        if not self.rows:
            return None
        scores = [Fraction(self.rows[member].scores[0]) for member in reversed(self.standing())]
        at = (len(scores) - 1) * percentile / 100
        low, part = scores[math.floor(at)], at % 1
        return float(low + (scores[math.ceil(at)] - low) * part)

    def histogram(self, edges: Sequence[float]) -> list[Bin]:
        """As `numpy.histogram` counts: of the bounds of a bin only the very last belongs to it."""
        scores = [row.scores[0] for row in self.rows.values()]
        bins = [
            Bin(low, high, sum(low <= score < high for score in scores))
            for low, high in itertools.pairwise(edges)
        ]
        low, high = bins[-1].low, bins[-1].high
        return [*bins[:-1], Bin(low, high, sum(low <= score <= high for score in scores))]

    # What all of it follows from

    def place(self, member: str) -> Place:
        row = self.rows[member]
        tie_break: dict[Ties, int | bytes] = {
            "earliest": row.arrival,
            "latest": -row.arrival,
            "member": member.encode(),
        }
        return self._places(row.scores), tie_break[self.ties]

    def _places(self, scores: tuple[float, ...]) -> tuple[float, ...]:
        signs = (-1 if order == "desc" else 1 for order in self.orders)
        return tuple(score * sign for score, sign in zip(scores, signs, strict=True))

    def _columns(self, score: Score) -> tuple[float, ...]:
        columns = tuple(score) if isinstance(score, Sequence) else (score,)
        assert len(columns) == len(self.orders)
        return tuple(float(column) + 0.0 for column in columns)

    def _shown(self, scores: tuple[float, ...]) -> tuple[float, ...]:
        return scores if len(scores) > 1 else ()


def _sum(old: float, by: float) -> float:
    total = old + by
    if not math.isfinite(total) or (by and total == old):
        raise PrecisionLost(f"{old!r} + {by!r}")
    return total

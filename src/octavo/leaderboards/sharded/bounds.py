"""Which shard a score belongs to, and where to put the bounds between shards."""

from __future__ import annotations

import math
from bisect import bisect_right
from hashlib import blake2s
from itertools import pairwise
from typing import TYPE_CHECKING

from octavo.engine.checks import several, whole
from octavo.leaderboards.scores import exact

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST_SHARDS = 1000


class Sharding:
    """How a range of scores is divided. Shards are numbered from the best, each a run of places.

    Args:
        bounds: between the shards, ascending; each is the lowest score of the shard above it.
        sign: by which a score becomes a place score.
    """

    def __init__(self, bounds: Sequence[float], sign: float) -> None:
        self._bounds = bounds
        self._sign = sign
        self.number = len(bounds) + 1

    def of(self, place: float) -> int:
        """Return the shard of a place score."""
        below = bisect_right(self._bounds, place * self._sign)
        return below if self._sign > 0 else self.number - 1 - below

    def between(self, low: float, high: float) -> range:
        """Return the shards of the scores from `low` to `high`, best first."""
        ends = self.of(low * self._sign), self.of(high * self._sign)
        return range(min(ends), max(ends) + 1)

    def intervals(self) -> list[tuple[float, float]]:
        """Return the lowest score of each shard and the bound above it, best first."""
        ascending = list(pairwise((-math.inf, *self._bounds, math.inf)))
        return ascending if self._sign > 0 else ascending[::-1]

    def digest(self) -> str:
        """Return a short name of the bounds."""
        return blake2s(repr(self._bounds).encode(), digest_size=6).hexdigest()


def checked_bounds(bounds: Iterable[float]) -> tuple[float, ...]:
    """Return bounds as numbers, or refuse what divides nothing or crosses."""
    given = several("bounds", bounds)
    numbers = tuple(exact(f"bounds[{i}]", bound) for i, bound in enumerate(given))
    if not 1 <= len(numbers) < MOST_SHARDS:
        raise ValueError(f"bounds must be 1 to {MOST_SHARDS - 1} numbers, not {len(numbers)}")
    for lower, upper in pairwise(numbers):
        if lower >= upper:
            raise ValueError(f"bounds must ascend, and {upper!r} comes after {lower!r}")
    return numbers


def even_bounds(low: float, high: float, shards: int) -> tuple[float, ...]:
    """Return bounds that divide the scores from `low` to `high` into ranges of one width.

    Args:
        low: the lowest score that is usual. The first shard has what is lower, too.
        high: the highest score that is usual. The last shard has what is higher, too.
        shards: how many, at least 2.
    """
    low, high = exact("low", low), exact("high", high)
    shards = whole("shards", shards, 2, MOST_SHARDS)
    if low >= high:
        raise ValueError(f"high must be more than low={low!r}, not {high!r}")
    return checked_bounds(low * (1 - i / shards) + high * (i / shards) for i in range(1, shards))


def sample_bounds(sample: Iterable[float], shards: int) -> tuple[float, ...]:
    """Return bounds that divide a sample of scores into about as many for each shard.

    Scores that are frequent can make fewer: equal scores are never divided.

    Args:
        sample: scores; a thousand for each shard make the shards even to some percent.
        shards: how many, at least 2.
    """
    shards = whole("shards", shards, 2, MOST_SHARDS)
    scores = sorted(exact("sample", score) for score in several("sample", sample))
    cuts = {scores[len(scores) * i // shards] for i in range(1, shards)} if scores else set[float]()
    cuts -= set(scores[:1])
    if not cuts:
        raise ValueError(f"sample must have different scores, to be divided by {shards}")
    return tuple(sorted(cuts))

"""The five ways to rank members with equal scores, for a run of entries.

For places 1 to 4 where the second and the third tie: ordinal 1 2 3 4, competition 1 2 2 4, dense
1 2 2 3, modified 1 3 3 4, fractional 1 2.5 2.5 4. Nothing here does I/O: the server says what lies
beyond the run, and the rest follows from the entries themselves.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

RankMethod = Literal["competition", "dense", "ordinal", "modified", "fractional"]
RANK_METHODS: tuple[RankMethod, ...] = (
    "competition",
    "dense",
    "ordinal",
    "modified",
    "fractional",
)


def ranks(
    method: RankMethod,
    ties: Sequence[object],
    *,
    first: int,
    better: int,
    up_to: int,
    dense: int,
) -> list[float]:
    """Return the rank of each entry of a run.

    Args:
        method: how equal scores are ranked.
        ties: what each entry ties on, best first; equal neighbours tie.
        first: places before the run.
        better: places before the first entry's tie, which may begin before the run.
        up_to: places up to the end of the last entry's tie, which may end behind the run.
        dense: the dense rank of the first entry.
    """
    if method == "ordinal":
        return list(range(first + 1, first + 1 + len(ties)))
    found: list[float] = []
    place, before = first, better
    for _, tie in groupby(ties):
        size = sum(1 for _ in tie)
        place += size
        behind = place if place < first + len(ties) else up_to
        if method == "competition":
            rank: float = before + 1
        elif method == "dense":
            rank = dense
        else:
            rank = behind if method == "modified" else (before + 1 + behind) / 2
        found += [rank] * size
        before, dense = place, dense + 1
    return found

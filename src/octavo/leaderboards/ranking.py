"""The five ways to rank members with equal scores, for a run of entries.

For places 1 to 4 where the second and the third tie: ordinal 1 2 3 4, competition 1 2 2 4, dense
1 2 2 3, modified 1 3 3 4, fractional 1 2.5 2.5 4. Nothing here does I/O: the server says what lies
beyond the run, and the rest follows from the entries themselves.
"""

from __future__ import annotations

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
    if method == "competition":
        return _starts(ties, first, better)
    if method == "modified":
        return _ends(ties, first, up_to)
    if method == "fractional":
        both = zip(_starts(ties, first, better), _ends(ties, first, up_to), strict=True)
        return [(start + end) / 2 for start, end in both]
    rank, last = dense, ties[0] if ties else None
    found: list[float] = []
    for tie in ties:
        if tie != last:
            rank, last = rank + 1, tie
        found.append(rank)
    return found


def _starts(ties: Sequence[object], first: int, better: int) -> list[float]:
    """Return the place at which the tie of each entry begins."""
    start, last = better + 1, ties[0] if ties else None
    found: list[float] = []
    for place, tie in enumerate(ties, first + 1):
        if tie != last:
            start, last = place, tie
        found.append(start)
    return found


def _ends(ties: Sequence[object], first: int, up_to: int) -> list[float]:
    """Return the place at which the tie of each entry ends."""
    end, last = up_to, ties[-1] if ties else None
    found: list[float] = []
    for place in range(len(ties) - 1, -1, -1):
        if ties[place] != last:
            end, last = first + place + 1, ties[place]
        found.append(end)
    return found[::-1]

"""What the operations of a leaderboard return."""

from __future__ import annotations

from typing import Any

import msgspec


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A member on the board.

    Attributes:
        member: its name.
        score: its score; the first one on a board of several columns.
        rank: 1 for the best; a multiple of 0.5 with `rank="fractional"`, otherwise an int.
        data: what was stored beside the score, or None.
        scores: all its scores on a board of several columns; empty on others.
    """

    member: str
    score: float
    rank: float
    data: Any = None
    scores: tuple[float, ...] = ()


class Submission(msgspec.Struct, frozen=True, gc=False):
    """What a submission did.

    Attributes:
        member: its name.
        accepted: whether the board took the score; False when the one it had was to be kept.
        score: the member's score now.
        previous: the member's score before; None for a new member.
        rank: the member's rank now.
        previous_rank: the member's rank before; None for a new member.
        is_best: whether the score is better than the one before, or the first.
        scores: all scores now, on a board of several columns.
        previous_scores: all scores before, on a board of several columns.
    """

    member: str
    accepted: bool
    score: float
    previous: float | None
    rank: float
    previous_rank: float | None
    is_best: bool
    scores: tuple[float, ...] = ()
    previous_scores: tuple[float, ...] = ()


class Page(msgspec.Struct, frozen=True):
    """A run of entries, and where the next one begins.

    Attributes:
        entries: best first.
        cursor: give it to `scan` for the next page; None at the end of the board.
    """

    entries: list[Entry]
    cursor: str | None


class Bin(msgspec.Struct, frozen=True, gc=False):
    """An interval of scores: `low` belongs to it; `high` does only in the last one.

    Attributes:
        low: the lower bound.
        high: the upper bound.
        count: how many members have a score in it.
    """

    low: float
    high: float
    count: int

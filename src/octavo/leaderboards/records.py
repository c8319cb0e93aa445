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
        id: names the submission in the audit trail, and for `undo`; None on boards without.
        periods: what the submission did in the tables of the board's periods and windows, by name.
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
    id: str | None = None
    periods: dict[str, Submission] = {}

    @property
    def climbed(self) -> float:
        """How many ranks the member has gained; 0 for a new one."""
        return 0 if self.previous_rank is None else self.previous_rank - self.rank


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


class Change(msgspec.Struct, frozen=True, gc=False):
    """A line of a board's audit trail.

    Attributes:
        id: names it; what `undo` takes, of a submission.
        at: when, in seconds since 1970 by the server's clock.
        kind: "submitted", "refused", "remove", "trim", "ban", "unban" or "undo".
        member: whom it was about.
        score: what was submitted; None for other kinds.
        keep: which score was to count: "best", "last", "sum" or "first"; empty for other kinds.
        reason: why it was refused, or empty.
        of: the id of the submission that was undone, or empty.
        scores: all that was submitted, on a board of several columns.
    """

    id: str
    at: float
    kind: str
    member: str
    score: float | None = None
    keep: str = ""
    reason: str = ""
    of: str = ""
    scores: tuple[float, ...] = ()


class Event(msgspec.Struct, frozen=True, gc=False):
    """A change of the standings.

    Attributes:
        id: its place in the stream.
        kind: "changed" for the member of a submission; "entered", "left" or "moved" for who is
            concerned by it: among the best, or watched; "removed" for who was taken off.
        member: who.
        score: the score now; None for who is not on the table any more.
        rank: the rank now.
        previous: the score before; None for who was not on the table.
        previous_rank: the rank before; None also for who came up from below the best.
        table: which table: empty for that of all time, or such as "day:2026-11-23".
    """

    id: str
    kind: str
    member: str
    score: float | None
    rank: float | None
    previous: float | None
    previous_rank: float | None
    table: str = ""


class SeasonInfo(msgspec.Struct, frozen=True, gc=False):
    """What is known of a season.

    Attributes:
        name: its name.
        opens: from when it takes scores, in seconds since 1970 by the server's clock.
        closes: from when it does not any more; None while that is not known.
    """

    name: str
    opens: float
    closes: float | None

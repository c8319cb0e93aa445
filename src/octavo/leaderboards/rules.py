"""What a board asks of scores before it takes them, and what it tells of its changes."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from octavo.engine.checks import Seconds, millis, whole
from octavo.leaderboards.periods import Period
from octavo.leaderboards.scores import exact

if TYPE_CHECKING:
    from octavo.engine.calendars import Unit


_MOST = 1_000_000_000


@dataclass(frozen=True)
class Rules:
    """Which submissions count. The others raise `SubmissionRefused` and change nothing.

        db.leaderboard("game", rules=Rules(lowest=0, highest=1_000_000, max_step=5_000))

    They look at the table of all time, and of several columns at the first. A member's first score
    is bound by `lowest` and `highest`, not by `max_step`, nor is one that would not count anyway.

    Args:
        lowest: the least score that a member may have.
        highest: the greatest.
        max_step: how far the score of a member may change at once.
        min_interval: seconds, or a timedelta, between two submissions of a member.
        max_submissions: how many submissions of a member count on the board.
    """

    _: KW_ONLY
    lowest: float | None = None
    highest: float | None = None
    max_step: float | None = None
    min_interval: Seconds | None = None
    max_submissions: int | None = None

    def __post_init__(self) -> None:
        """Check the arguments."""
        for name in ("lowest", "highest", "max_step"):
            if (value := getattr(self, name)) is not None:
                exact(name, value)
        if None not in (self.lowest, self.highest) and self.lowest > self.highest:  # type: ignore[operator]
            raise ValueError(
                f"highest must not be less than lowest={self.lowest!r}, not {self.highest!r}"
            )
        if self.max_step is not None and self.max_step <= 0:
            raise ValueError(f"max_step must be more than 0, not {self.max_step!r}")
        if self.min_interval is not None:
            millis("min_interval", self.min_interval)
        if self.max_submissions is not None:
            whole("max_submissions", self.max_submissions, most=_MOST)

    def packed(self) -> dict[str, Any]:
        """Return what the script needs to know: times in microseconds."""
        interval = self.min_interval
        bounds = {
            name: None if value is None else exact(name, value)
            for name, value in (
                ("lowest", self.lowest),
                ("highest", self.highest),
                ("max_step", self.max_step),
            )
        }
        return {
            **bounds,
            "min_interval": None if interval is None else 1000 * millis("min_interval", interval),
            "max_submissions": self.max_submissions,
        }


@dataclass(frozen=True)
class Events:
    """Which changes of a board are told, in one stream of limited length.

    A submission tells of its member, of those who enter, leave or move within the best `top`, and
    of watched members whom it concerns.

    Args:
        top: how many of the best are looked at, at most 1,000.
        of: the period whose table is looked at; None for that of all time.
        most: how many events are kept, about.
    """

    _: KW_ONLY
    top: int = 10
    of: Unit | Period | None = None
    most: int = 10_000

    def __post_init__(self) -> None:
        """Check the arguments."""
        if not isinstance(self.of, str | Period | None):
            raise TypeError(f"of must be a unit, a Period or None, not {self.of!r}")
        whole("top", self.top, most=1000)
        whole("most", self.most, most=_MOST)

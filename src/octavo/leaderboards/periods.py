"""Periods and rolling windows: the times for which a board keeps tables of their own."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple, cast, get_args

from octavo.engine.calendars import Unit, periods, zone_of
from octavo.engine.checks import Seconds, millis, several
from octavo.leaderboards.definition import option

if TYPE_CHECKING:
    from collections.abc import Iterable
    from zoneinfo import ZoneInfo

_LABELS = {"day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m", "year": "%Y"}
_KEPT = 30
_STEPS = 60
_MICRO = 1_000_000
_LAST_YEAR = 9000


class Span(NamedTuple):
    """One period: its label, and when it starts and ends, in microseconds since 1970."""

    label: str
    starts: int
    ends: int


def micros(parameter: str, at: object) -> int:
    """Return a moment in microseconds since 1970, or refuse what is none."""
    if not isinstance(at, datetime):
        raise TypeError(f"{parameter} must be a datetime, not {at!r}")
    if at.tzinfo is None:
        raise ValueError(f"{parameter} must have a time zone, not {at!r}")
    if not 1970 <= at.year < _LAST_YEAR:
        raise ValueError(f"{parameter} must be from 1970 to {_LAST_YEAR}, not {at!r}")
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@dataclass(frozen=True)
class Period:
    """Tables of each hour, day, week, month or year of a calendar.

        db.leaderboard("game", periods=("day", Period("week", zone="America/New_York")))

    Args:
        unit: "hour", "day", "week", "month" or "year". Weeks start on Monday.
        zone: the IANA name of the time zone whose clocks say when a period starts; where they are
            changed, a day has 23 or 25 hours.
        keep: seconds, or a timedelta, for which a table can be read after its period's end; None
            for thirty periods, `math.inf` for good.
    """

    unit: Unit
    _: KW_ONLY
    zone: str = "UTC"
    keep: Seconds | None = None
    _zone: ZoneInfo = field(init=False, repr=False, compare=False)
    _keep: int | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the arguments."""
        option("unit", self.unit, get_args(Unit))
        object.__setattr__(self, "_zone", zone_of("zone", self.zone))
        keep = self.keep
        known = None if keep is None or keep == math.inf else millis("keep", keep, least=0)
        object.__setattr__(self, "_keep", known)

    @property
    def name(self) -> str:
        """What the period is called in `Submission.periods`, and in keys."""
        return self.unit if self.zone == "UTC" else f"{self.unit}@{self.zone}"

    def span(self, at: int) -> Span:
        """Return the period of a time, all in microseconds since 1970."""
        starts, ends, _ = periods(self.unit, self._zone, at)
        first = datetime.fromtimestamp(starts // _MICRO, self._zone)
        if self.unit == "hour":
            # An hour that occurs twice differs by its offset.
            form = "%Y-%m-%dT%H" if self.zone == "UTC" else "%Y-%m-%dT%H%z"
            return Span(first.strftime(form), starts, ends)
        return Span(first.strftime(_LABELS[self.unit]), starts, ends)

    def expires(self, span: Span) -> int | None:
        """Return when a table goes, in milliseconds since 1970; None for never."""
        if self.keep == math.inf:
            return None
        kept = self._keep
        if kept is None:
            kept = _KEPT * (span.ends - span.starts) // 1000
        return span.ends // 1000 + kept

    def moment(self, at: datetime | date) -> int:
        """Return a time in microseconds since 1970; of a date, its noon in the period's zone."""
        if isinstance(at, date) and not isinstance(at, datetime):
            if self.unit == "hour":
                raise ValueError(f"at must be a datetime to name an hour, not {at!r}")
            at = datetime.combine(at, time(12), self._zone)
        return micros("at", at)


@dataclass(frozen=True)
class Window:
    """A table of what was submitted within a time that moves on: "the last 24 hours".

    Args:
        length: seconds, or a timedelta.
        step: submissions of a member within one step may count as long as the last of them: up to
            a step longer. By default a sixtieth of the length.
    """

    length: Seconds
    _: KW_ONLY
    step: Seconds | None = None
    _length: int = field(init=False, repr=False, compare=False)
    _step: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the arguments."""
        length = millis("length", self.length)
        step = max(1, length // _STEPS) if self.step is None else millis("step", self.step)
        if step > length:
            raise ValueError(f"step must be at most length={self.length!r}, not {self.step!r}")
        object.__setattr__(self, "_length", length * 1000)
        object.__setattr__(self, "_step", step * 1000)

    @property
    def name(self) -> str:
        """What the window is called in `Submission.periods`, and in keys."""
        seconds, rest = divmod(self._length, _MICRO)
        return f"last:{self._length // 1000}ms" if rest else f"last:{seconds}s"

    @property
    def micros(self) -> tuple[int, int]:
        """Its length and its step, in microseconds."""
        return self._length, self._step


def periods_of(
    parameter: str, given: Unit | Period | Window | Iterable[Unit | Period | Window]
) -> list[Period | Window]:
    """Return one or several periods and windows, or refuse what is none, or is there twice."""
    some = [given] if isinstance(given, str | Period | Window) else several(parameter, given)
    kinds: list[Period | Window] = []
    for one in some:
        if isinstance(one, str):
            kinds.append(Period(_unit(parameter, one)))
        elif isinstance(one, Period | Window):
            kinds.append(one)
        else:
            raise TypeError(f"{parameter} must be units, Periods or Windows, not {one!r}")
    if len({kind.name for kind in kinds}) < len(kinds):
        raise ValueError(f"{parameter} must differ in unit, zone or length: {some!r}")
    return kinds


def _unit(parameter: str, name: str) -> Unit:
    return cast("Unit", option(parameter, name, get_args(Unit)))

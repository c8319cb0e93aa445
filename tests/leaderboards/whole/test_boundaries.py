"""Periods end while eight processes submit, whose own clocks are days off."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.leaderboards import Period
from octavo.testing import faults

if TYPE_CHECKING:
    from octavo.testing.servers import Standalone
    from tests.leaderboards.whole.conftest import Hands

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("races")]

NEW_YORK, LORD_HOWE = "America/New_York", "Australia/Lord_Howe"

# A moment, the periods of a board, and of which of these it is a boundary.
MOMENTS: dict[str, tuple[datetime, dict[tuple[str, str], bool]]] = {
    "New Year": (
        datetime(2027, 1, 1, tzinfo=UTC),
        {
            ("hour", "UTC"): True,
            ("day", "UTC"): True,
            ("week", "UTC"): False,
            ("month", "UTC"): True,
            ("year", "UTC"): True,
        },
    ),
    "New York has an hour once more": (
        datetime(2026, 11, 1, 6, tzinfo=UTC),
        {("hour", NEW_YORK): True, ("day", NEW_YORK): False, ("day", "UTC"): False},
    ),
    "a day of 25 hours ends in New York": (
        datetime(2026, 11, 2, 5, tzinfo=UTC),
        {("day", NEW_YORK): True, ("week", NEW_YORK): True, ("month", NEW_YORK): False},
    ),
    "New York skips an hour": (
        datetime(2026, 3, 8, 7, tzinfo=UTC),
        {("hour", NEW_YORK): True, ("day", NEW_YORK): False},
    ),
    "Lord Howe has half an hour once more": (
        datetime(2026, 4, 4, 15, tzinfo=UTC),
        {("hour", LORD_HOWE): False, ("hour", "UTC"): True, ("day", LORD_HOWE): False},
    ),
    "an hour of 90 minutes ends on Lord Howe": (
        datetime(2026, 4, 4, 15, 30, tzinfo=UTC),
        {("hour", LORD_HOWE): True, ("hour", "UTC"): False, ("day", LORD_HOWE): False},
    ),
    "a day of 24 hours and a half ends on Lord Howe": (
        datetime(2026, 4, 5, 13, 30, tzinfo=UTC),
        {("day", LORD_HOWE): True, ("hour", LORD_HOWE): True, ("hour", "UTC"): False},
    ),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_boundary_loses_nothing_and_counts_nothing_twice(
    moment: str, clocked: Standalone, hands: Hands, prefix: str
) -> None:
    at, ends = MOMENTS[moment]
    kinds = {Period(unit, zone=zone).name: (unit, zone) for unit, zone in ends}  # type: ignore[arg-type]
    boundary = at.timestamp()
    faults.move_clock(clocked, by=boundary - 60 - time.time()).strike()
    hands.begin(
        "add",
        url=clocked.unix_url,
        prefix=prefix,
        board=moment,
        periods=[*kinds.values()],
        until=round(boundary) + 1,
    )
    faults.move_clock(clocked, by=boundary - 0.3 - time.time()).strike()
    told = hands.results()
    with octavo.connect(clocked.unix_url, prefix=prefix) as db:
        periods = [Period(unit, zone=zone, keep=10**9) for unit, zone in ends]  # type: ignore[arg-type]
        board = db.leaderboard(moment, periods=periods)
        before = datetime.fromtimestamp(boundary - 1, UTC)
        for number, sums in enumerate(told):
            member = f"m{number}"
            made = len(sums[""])
            assert sums[""] == [*range(1, made + 1)]
            assert board.score(member) == made
            for period, ended in zip(periods, ends.values(), strict=True):
                parts = runs(sums[period.name])
                assert len(parts) == 1 + ended, period.name
                tables = [board.period(period, at=when) for when in (before, at)[-len(parts) :]]
                assert [table.score(member) for table in tables] == parts
        acknowledged = sum(len(sums[""]) for sums in told)
        for period, ended in zip(periods, ends.values(), strict=True):
            tables = [board.period(period, at=before), board.period(period, at=at)][1 - ended :]
            assert sum(entry.score for table in tables for entry in table) == acknowledged


def runs(sums: list[Any]) -> list[int]:
    """Return how far each run of 1, 2, 3, ... goes of which there are one or several."""
    starts = [0, *(i for i, (old, new) in enumerate(pairwise(sums), 1) if new == 1), len(sums)]
    parts = [end - start for start, end in pairwise(starts)]
    assert sums == [1 + i for part in parts for i in range(part)]
    return parts

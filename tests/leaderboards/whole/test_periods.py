"""Tables of hours, days, weeks, months and years, for as long as they are kept."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.leaderboards import Events, Period, Rules
from octavo.testing import faults
from tests.fix_servers import set_clock
from tests.leaderboards.inside import raw
from tests.leaderboards.whole.cases import DAY
from tests.leaderboards.whole.model import SECOND

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Octavo, Sync
    from octavo.engine.calendars import Unit
    from octavo.testing.servers import Sentinels, Standalone

HOUR = 3600 * SECOND
# Half past two in the night of a Friday, in UTC.
START = datetime(2027, 1, 1, 2, 30, tzinfo=UTC)


CHANGES: list[Callable[[Any], Any]] = [
    lambda board: board.submit("ada", 5),
    lambda board: board.submit("ada", 6),  # whoever is alone leaves no place behind
    lambda board: board.submit("ada", 8, data="x"),
    lambda board: board.annotate("ada", "y"),
    lambda board: board.watch("ada"),
    lambda board: board.submit("ada", 9),
    lambda board: board.ban("ada"),
    lambda board: board.submit("bob", 3, data="x"),
    lambda board: board.remove("bob"),
    lambda board: board.unban("ada"),
    lambda board: board.ban("ada"),
    lambda board: board.submit("cyd", 3, data="x"),
    lambda board: board.unban("ada"),
    lambda board: board.ban("cyd"),
    lambda board: board.undo(board.audit(member="ada")[-1].id),
]


def begin(server: Standalone) -> Any:
    """Set a server's clock to the start."""
    return set_clock(server, round(START.timestamp()) * SECOND)


def test_a_submission_goes_to_all_periods_in_one_step(db: Octavo[Sync]) -> None:
    units: tuple[Unit, ...] = ("hour", "day", "week", "month", "year")
    board = db.leaderboard("x", keep="sum", periods=[Period(unit, zone=DAY.zone) for unit in units])
    board.submit("ada", 5)
    found = board.submit("ada", 2, data="late")
    assert [(there.score, there.previous) for there in found.periods.values()] == [(7, 5)] * 5
    for unit in units[1:]:
        (entry,) = board.period(unit)
        assert (entry.member, entry.score, entry.data) == ("ada", 7, "late")
        assert list(board.period(unit, ago=1)) == []


def test_periods_are_named_as_people_name_them(still: Standalone, prefix: str) -> None:
    begin(still)
    kinds = ["hour", "day", "week", "month", "year", Period("day", zone="America/New_York")]
    with octavo.connect(still.unix_url, prefix=prefix) as db, raw(still) as client:
        board = db.leaderboard("x", periods=kinds)  # type: ignore[arg-type]
        board.submit("ada", 5)
        base = f"{prefix}:leaderboard:{{x}}"
        tables = [key.decode()[len(base) + 1 : -7] for key in client.keys(f"{base}:*:scores")]
        assert sorted(tables) == [
            "day:2027-01-01",
            "day@America/New_York:2026-12-31",
            "hour:2027-01-01T02",
            "month:2027-01",
            "week:2026-W53",
            "year:2027",
        ]
        new_york = Period("day", zone="America/New_York")
        for at in (date(2026, 12, 31), START):
            assert [entry.member for entry in board.period(new_york, at=at)] == ["ada"]
        assert board.period("day", at=date(2026, 12, 31)).count() == 0


def test_a_period_moves_on_with_the_clock_of_the_server(still: Standalone, prefix: str) -> None:
    forward = begin(still)
    with octavo.connect(still.unix_url, prefix=prefix) as db:
        board = db.leaderboard("x", periods="hour")
        hour, before = board.period("hour"), board.period("hour", ago=1)
        board.submit("ada", 5)
        forward(HOUR // 2)
        assert (hour.top(1), [entry.member for entry in before.top(1)]) == ([], ["ada"])
        board.submit("bob", 5)
        assert [table.count() for table in (board, hour, before)] == [2, 1, 1]
        forward(HOUR)
        assert [table.count() for table in (board, hour, before)] == [2, 0, 1]
        assert before.rank("bob") == board.period("hour", ago=2).rank("ada") == 1


@pytest.mark.parametrize("keep", [None, 5, timedelta(days=3), 0, math.inf])
def test_every_key_of_a_period_goes_when_its_time_is_over(
    keep: Any, still: Standalone, prefix: str
) -> None:
    """Whenever and by whatever it was made."""
    forward = begin(still)
    period = Period("hour", keep=keep)
    with octavo.connect(still.unix_url, prefix=prefix) as db, raw(still) as client:
        board = db.leaderboard(
            "x",
            periods=period,
            rank="dense",
            audit=100,
            events=Events(of=period),
            rules=Rules(highest=99),
        )
        kept = {None: 30 * 3600, 5: 5, 0: 0, math.inf: None}.get(keep, 3 * 86400)
        ends = round(START.timestamp()) + 1800
        expected = -1 if kept is None else (ends + kept) * 1000
        parts = set[bytes]()
        for change in CHANGES:
            change(board)
            keys = client.keys(f"{prefix}:*:hour:*")
            parts |= {key.rpartition(b":")[2] for key in keys}
            assert {key: client.pexpiretime(key) for key in keys} == dict.fromkeys(keys, expected)
        assert parts == {
            *(b"scores", b"entries", b"ties", b"data", b"past", b"banned", b"watched"),
        }
        hour, ago = board.period(period, at=START), board.period(period, ago=1)
        forward(HOUR // 2 + (kept or 0) * SECOND - SECOND // 1000)
        assert hour.count() == 1
        forward(2 * SECOND // 1000)
        assert hour.count() == (1 if kept is None else 0)
        if kept == 0:
            assert ago.count() == 0


@pytest.mark.parametrize("ties", ["earliest", "member"])
def test_every_key_of_a_board_with_nothing_but_periods_goes_too(
    still: Standalone, prefix: str, ties: Any
) -> None:
    begin(still)
    with octavo.connect(still.unix_url, prefix=prefix) as db, raw(still) as client:
        board = db.leaderboard("x", periods=Period("hour", keep=5), ties=ties)
        for score in (6, 7):
            board.submit("ada", score)
        board.remove("ada")
        board.submit("ada", 8, data="x")
        keys = client.keys(f"{prefix}:*:hour:*")
        assert {key.rpartition(b":")[2] for key in keys} == {b"scores", b"entries", b"data"}
        ends = round(START.timestamp()) + 1805
        assert [client.pexpiretime(key) for key in keys] == [ends * 1000] * 3
        assert client.pexpiretime(f"{prefix}:leaderboard:{{x}}:scores") == -1


def test_a_late_submission_goes_to_the_periods_of_its_time(still: Standalone, prefix: str) -> None:
    forward = begin(still)
    with octavo.connect(still.unix_url, prefix=prefix) as db:
        board = db.leaderboard("x", keep="sum", periods=("hour", "day"), audit=10)
        forward(HOUR)
        late = board.submit("ada", 5, at=START)
        board.submit("ada", 2)
        hours = [board.period("hour", ago=ago).score("ada") for ago in (0, 1)]
        assert (hours, board.period("day").score("ada"), board.score("ada")) == ([2, 5], 7, 7)
        assert board.undo(str(late.id))
        hours = [board.period("hour", ago=ago).score("ada") for ago in (0, 1)]
        assert (hours, board.period("day").score("ada"), board.score("ada")) == ([2, None], 2, 2)


@pytest.mark.slow
def test_periods_and_the_order_of_arrival_survive_a_failover(
    sentinels: Sentinels, prefix: str
) -> None:
    with octavo.connect(sentinels.url, prefix=prefix, timeout=30) as db:
        board = db.leaderboard("x", periods=DAY, audit=10)
        for member in "ab":
            board.submit(member, 7)
        with faults.failover(sentinels):
            for member in "cd":
                board.submit(member, 7)
            for table in (board, board.period(DAY)):
                assert "".join(entry.member for entry in table) == "abcd"
            assert board.undo(board.audit()[-1].id)
            assert "".join(entry.member for entry in board.period(DAY)) == "bcd"

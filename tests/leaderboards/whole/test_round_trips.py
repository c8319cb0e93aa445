"""What it costs to have more than one table: nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from octavo.leaderboards import Leaderboard, Window
from tests.leaderboards import cases as of_one_table
from tests.leaderboards.whole.cases import DAY, OPTIONS, READS, WRITES, last, prepare, write

if TYPE_CHECKING:
    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect

HOUR = 3600 * 10**9
YEAR = 366 * 24 * HOUR

SPECIAL = {"seasons", "ban", "unban", "banned", "audit", "undo", "watch", "unwatch"}


def test_every_special_operation_has_a_call() -> None:
    operations = {
        name
        for name in dir(Leaderboard)
        if getattr(getattr(Leaderboard, name), "__octavo__", None) == "operation"
    }
    tiers = {"tier", "tiers", "in_tier"}
    assert operations - tiers - of_one_table.OPERATIONS == SPECIAL
    assert not SPECIAL - {name.split()[0] for name in WRITES | READS}


@pytest.mark.parametrize("name", WRITES)
def test_a_change_of_all_tables_is_one_round_trip(
    name: str, connect: Connect, proxy: WireProxy, one: Octavo[Sync]
) -> None:
    beside = one.leaderboard("x", **OPTIONS)
    prepare(beside)
    board = connect(proxy.url).leaderboard("x", **OPTIONS)
    board.top(1)
    change = write(name, beside)
    for _ in ("with a cold cache of scripts", "with a warm one"):
        proxy.reset()
        change(board)
        assert proxy.round_trips == 1


@pytest.mark.parametrize("name", READS)
def test_a_look_at_any_table_is_one_round_trip(
    name: str, connect: Connect, proxy: WireProxy, one: Octavo[Sync]
) -> None:
    prepare(one.leaderboard("x", **OPTIONS))
    board = connect(proxy.url).leaderboard("x", **OPTIONS)
    board.top(1)
    proxy.reset()
    READS[name](board)
    assert proxy.round_trips == 1


@pytest.mark.parametrize("off", [-YEAR, -HOUR, HOUR, YEAR])
@pytest.mark.parametrize("only_periods", [False, True])
def test_a_client_whose_clock_is_off_asks_at_most_once_more_and_only_once(
    off: int,
    only_periods: bool,
    connect: Connect,
    proxy: WireProxy,
    one: Octavo[Sync],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options: dict[str, Any] = (
        {"periods": ("hour", DAY)}
        if only_periods
        else {**OPTIONS, "periods": ("hour", DAY, Window(60))}
    )
    now = time.time_ns
    right = one.leaderboard("x", **options)
    right.submit("bob", 1)
    monkeypatch.setattr(time, "time_ns", lambda: now() + off)
    board = connect(proxy.url).leaderboard("x", **options)
    board.top(1)
    proxy.reset()
    found = board.submit("ada", 5)
    assert proxy.round_trips == (2 if abs(off) == YEAR else 1)  # the next ones are offered too
    assert [there.rank for there in found.periods.values()] == [1] * len(found.periods)
    proxy.reset()
    board.submit("ada", 6)
    board.period("hour").top(2)
    assert proxy.round_trips == 2
    monkeypatch.setattr(time, "time_ns", now)
    for table in (right, right.period("hour"), right.period(DAY)):
        assert [(entry.member, entry.score) for entry in table] == [("ada", 6), ("bob", 1)]


@pytest.mark.parametrize("name", ["clear", "undo", "period"])
def test_what_a_client_whose_clock_is_off_does_first_is_done_right(
    name: str, one: Octavo[Sync], connect: Connect, proxy: WireProxy, monkeypatch: Any
) -> None:
    options: dict[str, Any] = {"periods": "hour", "audit": 100}
    right = one.leaderboard("x", **options)
    right.submit("bob", 1)
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + YEAR)
    board = connect(proxy.url).leaderboard("x", **options)
    match name:
        case "clear":
            assert board.clear() is True
        case "undo":
            assert board.undo(last(right)) is True
        case _:
            assert [entry.member for entry in board.period("hour")] == ["bob"]
    monkeypatch.setattr(time, "time_ns", now)
    left = [entry.member for entry in right.period("hour")]
    assert left == (["bob"] if name == "period" else [])


def test_what_needs_no_server_asks_none(connect: Connect, proxy: WireProxy) -> None:
    board = connect(proxy.url).leaderboard("x", **OPTIONS)
    assert board.submit_many({}) == []
    for change in (board.remove, board.ban, board.unban, board.watch, board.unwatch):
        assert change() == 0
    assert proxy.accepted == 0

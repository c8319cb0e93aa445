"""Bad input is refused by name before anything is sent: these clients have no server."""

from __future__ import annotations

import math
import socket
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo import ConnectionLost, DeadlineExceeded, SeasonNotFound
from octavo.leaderboards import Events, Period, Rules, Window
from tests.leaderboards.whole.cases import DAY, OPTIONS, READS, WRITES

if TYPE_CHECKING:
    from collections.abc import Iterator

NAIVE = datetime(2027, 1, 1)  # noqa: DTZ001 - that is what is wrong with it
AWARE = NAIVE.replace(tzinfo=UTC)
ID = "1763913600000-0"
UNREACHABLE = (ConnectionLost, DeadlineExceeded)


@pytest.fixture(scope="module")
def lost() -> Iterator[Any]:
    """A client that could not send anything: nothing listens on its port, nor can."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{held.getsockname()[1]}"
        db = octavo.connect(url, timeout=0.05)
        yield db
        db.close()


BAD_BOARDS: list[tuple[str, Any]] = [
    ("periods", "decade"),
    ("periods", ["day", "days"]),
    ("periods", [60]),
    ("periods", 60),
    ("periods", None),
    ("periods", ["day", "day"]),
    ("periods", [Window(60), Window(60, step=2)]),
    ("half_life", 0),
    ("half_life", -1),
    ("half_life", timedelta(0)),
    ("half_life", math.nan),
    ("half_life", math.inf),
    ("half_life", "60"),
    ("half_life", True),
    ("rules", {"lowest": 0}),
    ("rules", "strict"),
    ("audit", -1),
    ("audit", 1.5),
    ("audit", True),
    ("audit", None),
    ("events", 10),
    ("events", True),
    ("keep", "worst"),
    ("order", "up"),
    ("rank", "olympic"),
    ("ties", "random"),
]


@pytest.mark.parametrize(("parameter", "value"), BAD_BOARDS, ids=str)
def test_a_board_of_bad_arguments_is_not_made(lost: Any, parameter: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=parameter):
        lost.leaderboard("x", **{parameter: value})


def test_a_decaying_board_has_one_column_of_which_more_is_better(lost: Any) -> None:
    for order in ("asc", ("desc", "desc")):
        with pytest.raises(ValueError, match="order"):
            lost.leaderboard("x", order=order, half_life=60)


def test_events_are_of_a_period_that_the_board_has(lost: Any) -> None:
    bad: Any
    for bad in ("hour", Period("day", zone="Europe/Paris")):
        with pytest.raises(ValueError, match="of must"):
            lost.leaderboard("x", periods=DAY, events=Events(of=bad))
    for bad in (Window(60), 60, "last:60s"):
        with pytest.raises((ValueError, TypeError), match="of"):
            lost.leaderboard("x", periods=Window(60), events=Events(of=bad))


BAD_PARTS: list[tuple[Any, dict[str, Any], str]] = [
    (Period, {"unit": "decade"}, "unit"),
    (Period, {"unit": None}, "unit"),
    (Period, {"unit": "day", "zone": "Mars/Olympus"}, "zone"),
    (Period, {"unit": "day", "zone": ""}, "zone"),
    (Period, {"unit": "day", "zone": UTC}, "zone"),
    (Period, {"unit": "day", "keep": -1}, "keep"),
    (Period, {"unit": "day", "keep": "1d"}, "keep"),
    (Period, {"unit": "day", "keep": math.nan}, "keep"),
    (Window, {"length": 0}, "length"),
    (Window, {"length": -60}, "length"),
    (Window, {"length": math.inf}, "length"),
    (Window, {"length": "60"}, "length"),
    (Window, {"length": 60, "step": 0}, "step"),
    (Window, {"length": 60, "step": 61}, "step"),
    (Rules, {"lowest": 2, "highest": 1}, "highest"),
    (Rules, {"lowest": math.nan}, "lowest"),
    (Rules, {"lowest": "0"}, "lowest"),
    (Rules, {"highest": math.inf}, "highest"),
    (Rules, {"max_step": 0}, "max_step"),
    (Rules, {"max_step": -1}, "max_step"),
    (Rules, {"min_interval": 0}, "min_interval"),
    (Rules, {"min_interval": -1}, "min_interval"),
    (Rules, {"max_submissions": 0}, "max_submissions"),
    (Rules, {"max_submissions": 1.5}, "max_submissions"),
    (Events, {"top": 0}, "top"),
    (Events, {"top": 1001}, "top"),
    (Events, {"top": 1.5}, "top"),
    (Events, {"most": 0}, "most"),
]


@pytest.mark.parametrize(("part", "given", "parameter"), BAD_PARTS, ids=str)
def test_a_part_of_bad_arguments_is_not_made(
    part: Any, given: dict[str, Any], parameter: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=parameter):
        part(**given)


BAD_CALLS: list[tuple[str, Any]] = [
    ("which", lambda board: board.period("hour")),
    ("which", lambda board: board.period("decade")),
    ("which", lambda board: board.period(Window(60))),
    ("which", lambda board: board.period(None)),
    ("which", lambda board: board.window(61)),
    ("length", lambda board: board.window(0)),
    ("ago", lambda board: board.period(DAY, ago=-1)),
    ("ago", lambda board: board.period(DAY, ago=1.5)),
    ("ago", lambda board: board.period(DAY, ago=10**6)),
    ("ago", lambda board: board.period(DAY, ago=1, at=AWARE)),
    ("at", lambda board: board.period(DAY, at=NAIVE)),
    ("at", lambda board: board.period(DAY, at="2027-01-01")),
    ("at", lambda board: board.period(DAY, at=0)),
    ("at", lambda board: board.period(DAY, at=date.max)),
    ("at", lambda board: board.period(DAY, at=datetime.min.replace(tzinfo=timezone.max))),
    ("at", lambda board: board.submit("ada", 1, at=AWARE)),
    ("name", lambda board: board.season("")),
    ("name", lambda board: board.season(None)),
    ("name", lambda board: board.season(5)),
    ("opens", lambda board: board.season("x").open(opens=NAIVE)),
    ("opens", lambda board: board.season("x").open(opens=0)),
    ("closes", lambda board: board.season("x").open(closes=NAIVE)),
    ("closes", lambda board: board.season("x").open(opens=AWARE, closes=AWARE)),
    ("members", lambda board: board.ban("ada", "")),
    ("member", lambda board: board.unban(5)),
    ("shadow", lambda board: board.ban("ada", shadow="yes")),
    ("member", lambda board: board.watch(None)),
    ("members", lambda board: board.watch(*map(str, range(1001)))),
    ("id", lambda board: board.undo("")),
    ("id", lambda board: board.undo("ada")),
    ("id", lambda board: board.undo("5")),
    ("id", lambda board: board.undo("5-")),
    ("id", lambda board: board.undo("-5-1")),
    ("id", lambda board: board.undo("٣-1")),
    ("id", lambda board: board.undo("9" * 30 + "-0")),
    ("id", lambda board: board.undo(None)),
    ("id", lambda board: board.undo(5)),
    ("limit", lambda board: board.audit(0)),
    ("limit", lambda board: board.audit(1.5)),
    ("before", lambda board: board.audit(before="yesterday")),
    ("before", lambda board: board.audit(before="9" * 30 + "-0")),
    ("member", lambda board: board.audit(member=5)),
    ("last", lambda board: board.events("now")),
    ("after", lambda board: board.events().read("now")),
    ("limit", lambda board: board.events().read(ID, limit=0)),
    ("wait", lambda board: board.events().read(ID, wait=-1)),
    ("idempotency_key", lambda board: board.submit("ada", 1, idempotency_key="")),
    ("idempotency_key", lambda board: board.submit("ada", 1, idempotency_key=5)),
    ("high", lambda board: board.period(DAY).between_scores(2, 1)),
    ("high", lambda board: board.period(DAY).count(2, 1)),
    ("high", lambda board: board.window(60).count(2, 1)),
    ("high", lambda board: board.remove_between_scores(2, 1)),
]


@pytest.mark.parametrize("number", range(len(BAD_CALLS)))
def test_a_bad_argument_is_refused_by_its_name(lost: Any, number: int) -> None:
    parameter, make = BAD_CALLS[number]
    board = lost.leaderboard("x", **OPTIONS)
    with pytest.raises((ValueError, TypeError), match=rf"\b{parameter.removesuffix('s')}s?\b"):
        make(board)


def test_what_a_board_was_not_made_with_is_named(lost: Any) -> None:
    board = lost.leaderboard("x", periods="day")
    ask: Any
    for ask in (lambda: board.undo(ID), board.audit):
        with pytest.raises(ValueError, match="audit must be given"):
            ask()
    for ask in (board.events, lambda: board.watch("ada"), lambda: board.unwatch("ada")):
        with pytest.raises(ValueError, match="events must be given"):
            ask()


def test_scores_that_decay_are_more_than_0_and_have_no_bounds(lost: Any) -> None:
    board = lost.leaderboard("x", half_life=60)
    for score in (0, -1):
        with pytest.raises(ValueError, match="score"):
            board.submit("ada", score)
    with pytest.raises(ValueError, match="low"):
        board.between_scores(1, 2)


@pytest.mark.parametrize("name", [name for name in WRITES if name != "undo"])
def test_good_input_is_sent(lost: Any, name: str) -> None:
    with pytest.raises(UNREACHABLE):
        WRITES[name](lost.leaderboard("x", **OPTIONS))


@pytest.mark.parametrize("name", READS)
def test_a_good_question_is_sent(lost: Any, name: str) -> None:
    with pytest.raises(UNREACHABLE):
        READS[name](lost.leaderboard("x", **OPTIONS))


def test_a_season_that_nobody_has_opened_is_not_found(one: Any) -> None:
    season = one.leaderboard("x", **OPTIONS).season("never")
    ask: Any
    for ask in (
        lambda: season.submit("ada", 1),
        lambda: season.top(1),
        season.count,
        season.close,
        lambda: season.ban("ada"),
        lambda: season.remove("ada"),
    ):
        with pytest.raises(SeasonNotFound):
            ask()

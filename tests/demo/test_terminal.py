from __future__ import annotations

import io
import math
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from rich.cells import cell_len
from rich.console import Console

import octavo
from octavo.demo import terminal
from octavo.demo.flights import NEW_YORK, load
from octavo.demo.gates import Gates
from octavo.demo.view import Card, Panel, Row, View
from octavo.demo.week import Week

if TYPE_CHECKING:
    from tests.fix_servers import Servers

PANELS = [
    Panel(
        title,
        "departures",
        [
            Row("1", "new", "JFK-LAX", "Los Angeles Intl", "225"),
            Row("=2", "up", "LGA-ATL", "Hartsfield Jackson Atlanta Intl", "184"),
            Row("=2", "down", "LGA-ORD", "Chicago Ohare Intl", "184"),
        ],
    )
    for title in (
        "Busiest routes",
        "Most punctual carriers",
        "Most delayed aircraft",
        "Routes this hour",
        "Routes today",
        "Routes this week",
    )
]
HEAD = ["Tue 09 Jul 2013 12:00", "3 events/s", "Today: JFK-LAX up 2 to no. 1"]


PAGE = Card(
    "Airport page: LAX  Los Angeles Intl",
    "33.94 N, 118.41 W",
    [
        ("left", "28 today, 344 in all; 64.2% on time"),
        ("ranks", "JFK-LAX no. 1, EWR-LAX no. 8"),
        ("last", "22:45 JFK B6 623 +17, 21:50 JFK AA 185 +3, 20:49 JFK B6 523 +49"),
        ("next", "06:00 JFK UA 703"),
        ("cache", "1,268,570 requests, 96.8% hits: 1,215,879 local, 446 server, 23 stale"),
        ("time", "8 us on a hit, 1,105 us on a miss; 546 pages made"),
    ],
)


GATES = Card(
    "Gates",
    "a fair lock and a fence each",
    [
        ("taken", "61 of 131, 3 wait"),
        ("queue", "N238JB 45 min for JFK B6 10, N16571 12 min for EWR EV 10"),
        ("turns", "6,430 aircraft, 531 hand-overs; longest N16571 45 min for EWR EV 10"),
        ("fence", "the newest is 1795420523521900, of N662JB at JFK B6 10"),
        ("stale", "11 refused; the last was 1795420523327498, of N186US at LGA US 10"),
    ],
)

API = Card(
    "API of the boards",
    "customer, address and route in one check",
    [
        ("free", "24 of 4,300 passed; promised: at most 24 in 86.0 s"),
        ("pro", "1,533 of 8,600 passed; promised: at most 1,533 in 86.0 s"),
        ("login", "5 of 4,300 passed; promised: at most 12 in 86.0 s; banned for 514 s"),
        ("429", 'RateLimit-Policy: "plan";q=10;w=60, "ip";q=200;w=1, "route";q=900;w=1'),
        ("", 'RateLimit: "plan";r=0;t=6, "ip";r=199;t=1, "route";r=899;t=1'),
        ("", "Retry-After: 6"),
    ],
)
CARDS = [PAGE, GATES, API]


def drawn(width: int, *, encoding: str = "utf-8", panels: list[Panel] = PANELS) -> str:
    console = Console(
        file=io.TextIOWrapper(io.BytesIO(), encoding), width=width, height=24, force_terminal=True
    )
    with console.capture() as capture:
        console.print(terminal.render(HEAD, panels, CARDS, console))
    return capture.get()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[\dm", "", text)


@pytest.fixture(autouse=True)
def _no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")


def test_a_wide_terminal_has_three_boards_side_by_side() -> None:
    text = drawn(150)
    rows = [line for line in text.splitlines() if "JFK-LAX  " in line]

    assert all(panel.title in text for panel in PANELS)
    assert [row.count("JFK-LAX  Los Angeles Intl") for row in rows[:2]] == [3, 3]


def test_a_narrow_terminal_has_them_one_below_the_other() -> None:
    titles = re.findall("─ (Most|Busiest|Routes) [^─]+ ─+╮\n", drawn(60))

    assert len(titles) == len(PANELS)


def test_the_head_is_above_them() -> None:
    assert [line.rstrip() for line in plain(drawn(60)).splitlines()[:3]] == HEAD


@pytest.mark.parametrize("width", [12, 20, 40, 71, 72, 80, 120, 250])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    assert max(cell_len(line) for line in plain(drawn(width)).splitlines()) <= width


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.title)
def test_a_card_has_its_lines_whole_on_80_columns(card: Card) -> None:
    text = drawn(80)

    assert all(line in text for _, line in card.lines)
    assert card.title in text
    assert card.subtitle in text


@pytest.mark.parametrize(
    ("width", "height", "boards", "cards"),
    [
        (150, 45, 6, CARDS),
        (80, 36, 6, CARDS),
        (80, 30, 6, [PAGE, GATES]),
        (80, 24, 6, [PAGE]),
        (80, 13, 6, []),
        (80, 12, 3, []),
        (50, 60, 6, CARDS),
        (50, 33, 6, []),
        (50, 32, 3, [PAGE]),
        (50, 24, 3, []),
    ],
)
def test_a_low_terminal_has_fewer_cards_and_a_lower_one_fewer_boards(
    width: int, height: int, boards: int, cards: list[Card]
) -> None:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)

    fit = terminal.fit(CARDS, console)

    assert (fit.boards, fit.cards) == (boards, cards)


def test_ranks_ties_and_movements_show() -> None:
    text = drawn(150)

    assert all(sign in text for sign in ("●   1 ", "▲  =2 ", "▼  =2 "))


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    without = drawn(150)
    monkeypatch.delenv("NO_COLOR")

    assert "\x1b[3" not in without
    assert "\x1b[32m" in drawn(150)


def test_a_terminal_without_unicode_gets_signs_it_can_show() -> None:
    narrow, text = drawn(60, encoding="ascii"), drawn(150, encoding="ascii")

    assert (narrow + text).isascii()
    assert all(sign in text for sign in ("*   1 ", "^  =2 ", "v  =2 "))


def test_boards_may_be_empty() -> None:
    assert "Busiest routes" in drawn(80, panels=[panel._replace(rows=[]) for panel in PANELS])


@pytest.mark.parametrize(
    ("width", "height"), [(80, 24), (80, 13), (200, 50), (50, 24), (50, 20), (72, 6), (72, 19)]
)
def test_the_screen_is_never_taller_than_the_terminal(width: int, height: int) -> None:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)
    boards, rows, cards = terminal.fit(CARDS, console)
    many = [panel._replace(rows=panel.rows[:1] * rows) for panel in PANELS[:boards]]

    with console.capture() as capture:
        console.print(terminal.render(HEAD, many, cards, console))

    assert len(capture.get().splitlines()) <= height


def test_the_last_boards_stay_when_the_replay_is_over(servers: Servers, prefix: str) -> None:
    start = datetime(2013, 7, 9, tzinfo=NEW_YORK)
    flights = load(start, start + timedelta(hours=8))
    url = servers.get("embedded").url
    console = Console(file=io.StringIO(), width=120, height=30, force_terminal=True)

    with (
        octavo.connect(url, prefix=prefix) as db,
        Gates(octavo.connect_async(url, prefix=prefix), flights) as gates,
        console.capture() as all_,
    ):
        terminal.play(Week(db, gates, flights), View(flights), math.inf, console=console)

    live, _, left = all_.get().rpartition("\x1b[?1049l")
    assert "\x1b[?25h" in live
    assert "Busiest routes" in left
    assert "Routes this hour" in left
    assert re.search(r"^Today: \w{3}-\w{3} up \d+ to no. [123], ", left, re.MULTILINE)
    assert "Airport page: " in left
    assert "% hits: " in left
    assert " hand-overs; longest " in left
    assert f"{sum(f.departed is not None for f in flights)} departures" in left

"""The demo on a terminal: live boards with movements, and the clock they follow."""

from __future__ import annotations

import time
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console, Group, OverflowMethod, RenderableType
from rich.live import Live
from rich.panel import Panel as Frame
from rich.table import Table
from rich.text import Text

from octavo.demo.replay import Standings, moments
from octavo.demo.view import cards, clock, summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octavo.demo.view import Card, Movement, Panel, View
    from octavo.demo.week import Week

__all__ = ["play"]

_REFRESHES = 10
"""Refreshes in a second."""

_HURRY = 3600
"""The simulated seconds between two refreshes when nothing paces them."""

_SIDE_BY_SIDE = 72
"""The columns from which on the boards stand side by side."""

_MOST_ROWS = 20

_COLUMNS = 3
_HEAD = 3
_FRAME = 2
_FEW_ROWS = 3
"""The rows that a board has at least where there are cards, or boards of periods, too."""

_HEAD_STYLES = ("bold", "dim", "")
_STYLES: dict[Movement, str] = {"up": "green", "down": "red", "new": "cyan", "same": ""}
_SIGNS: dict[Movement, str] = {"up": "▲", "down": "▼", "new": "●", "same": " "}
_ASCII_SIGNS: dict[Movement, str] = {"up": "^", "down": "v", "new": "*", "same": " "}


class Fit(NamedTuple):
    """What there is room for on a terminal.

    Attributes:
        boards: how many of them.
        rows: the rows that each may have.
        cards: those to be shown below them.
    """

    boards: int
    rows: int
    cards: list[Card]


def play(week: Week, view: View, speed: float, *, console: Console | None = None) -> None:
    """Show boards and cards live; leave the last ones standing, also after an interruption."""
    console = console or Console()
    replay = week.replay
    step = timedelta(seconds=min(_HURRY, speed / _REFRESHES))
    rate = _Rate()
    screen: RenderableType = ""
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            for moment in moments(replay.first, replay.last, step, speed):
                week.advance(moment)
                boards, rows, below = fit(cards(week), console)
                standings, events = replay.look(rows + 1)
                panels = view.panels(standings, rows)[:boards]
                flights = rate.update(replay.departures + replay.arrivals)
                head = [
                    clock(moment),
                    f"{summary(replay)}, {flights:,.0f} events/s",
                    f"Today: {', '.join(view.climbs(events))}",
                ]
                screen = render(head, panels, below, console)
                live.update(screen, refresh=True)
    finally:
        console.print(screen)


def render(
    head: Sequence[str], panels: Sequence[Panel], cards: Sequence[Card], console: Console
) -> RenderableType:
    """Lay the boards and the cards out for the size of the console."""
    ascii_only = console.options.ascii_only
    lines = Table.grid(expand=True)
    lines.add_column(no_wrap=True, overflow=_overflow(ascii_only=ascii_only))
    for text, style in zip(head, _HEAD_STYLES, strict=True):
        lines.add_row(Text(text, style=style))
    height = max(len(panel.rows) for panel in panels) + _FRAME
    frames = [_frame(panel, height, ascii_only=ascii_only) for panel in panels]
    below = [_card(card, ascii_only=ascii_only) for card in cards]
    if console.width < _SIDE_BY_SIDE:
        return Group(lines, *frames, *below)
    grid = Table.grid(expand=True)
    for _ in range(_COLUMNS):
        grid.add_column(ratio=1)
    for first in range(0, len(frames), _COLUMNS):
        grid.add_row(*frames[first : first + _COLUMNS])
    return Group(lines, grid, *below)


def _frame(panel: Panel, height: int, *, ascii_only: bool) -> Frame:
    overflow = _overflow(ascii_only=ascii_only)
    signs = _ASCII_SIGNS if ascii_only else _SIGNS
    table = Table.grid(padding=(0, 1, 0, 0), expand=True)
    table.add_column(width=1)
    table.add_column(justify="right", min_width=3, no_wrap=True, overflow=overflow)
    table.add_column(ratio=1, min_width=6, no_wrap=True, overflow=overflow)
    table.add_column(justify="right", no_wrap=True, overflow=overflow)
    for row in panel.rows:
        name = f"{row.member}  {row.name}"
        style = _STYLES[row.movement]
        table.add_row(signs[row.movement], row.rank, name, row.score, style=style)
    return Frame(table, title=panel.title, subtitle=panel.unit, height=height)


def _card(card: Card, *, ascii_only: bool) -> Frame:
    overflow = _overflow(ascii_only=ascii_only)
    table = Table.grid(padding=(0, 1, 0, 0), expand=True)
    table.add_column(min_width=5, style="dim", no_wrap=True, overflow=overflow)
    table.add_column(ratio=1, no_wrap=True, overflow=overflow)
    for label, text in card.lines:
        table.add_row(label, text)
    return Frame(table, title=card.title, subtitle=card.subtitle)


def _overflow(*, ascii_only: bool) -> OverflowMethod:
    """Say how to shorten text: rich's ellipsis is a character that ASCII lacks."""
    return "crop" if ascii_only else "ellipsis"


def fit(cards: Sequence[Card], console: Console) -> Fit:
    """Choose the boards that there is room for, and then the cards, the first ones of each."""
    every = len(Standings._fields)
    boards = every if _room(console, every, []) >= _FEW_ROWS else _COLUMNS
    fitting: list[Card] = []
    for card in cards:
        if _room(console, boards, [*fitting, card]) < _FEW_ROWS:
            break
        fitting.append(card)
    return Fit(boards, max(1, min(_MOST_ROWS, _room(console, boards, fitting))), fitting)


def _room(console: Console, boards: int, cards: Sequence[Card]) -> int:
    stacked = boards // _COLUMNS if console.width >= _SIDE_BY_SIDE else boards
    height = console.height - _HEAD - sum(len(card.lines) + _FRAME for card in cards)
    return height // stacked - _FRAME


class _Rate:
    """Events in a second, over about the last second."""

    def __init__(self) -> None:
        self._samples = deque([(time.monotonic(), 0)], maxlen=_REFRESHES)

    def update(self, events: int) -> float:
        """Note the events so far and return their rate."""
        self._samples.append((time.monotonic(), events))
        (then, before), (now, after) = self._samples[0], self._samples[-1]
        return (after - before) / max(now - then, 1e-9)

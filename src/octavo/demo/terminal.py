"""The demo on a terminal: live boards with movements, and the clock they follow."""

from __future__ import annotations

import time
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console, Group, OverflowMethod, RenderableType
from rich.live import Live
from rich.panel import Panel as Frame
from rich.table import Table
from rich.text import Text

from octavo.demo.replay import moments
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

_HEAD = 2
_FRAME = 2
_FEW_ROWS = 2
"""The rows that a board has at least where there are cards too."""

_STYLES: dict[Movement, str] = {"up": "green", "down": "red", "new": "cyan", "same": ""}
_SIGNS: dict[Movement, str] = {"up": "▲", "down": "▼", "new": "●", "same": " "}
_ASCII_SIGNS: dict[Movement, str] = {"up": "^", "down": "v", "new": "*", "same": " "}


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
                fitting = cards_that_fit(cards(week), console)
                rows = rows_that_fit(console, fitting)
                panels = view.panels(replay.standings(rows + 1), rows)
                events = rate.update(replay.departures + replay.arrivals)
                status = f"{summary(replay)}, {events:,.0f} events/s"
                screen = render(panels, fitting, clock(moment), status, console)
                live.update(screen, refresh=True)
    finally:
        console.print(screen)


def render(
    panels: Sequence[Panel], cards: Sequence[Card], now: str, status: str, console: Console
) -> RenderableType:
    """Lay the boards and the cards out for the size of the console."""
    ascii_only = console.options.ascii_only
    head = Table.grid(expand=True)
    head.add_column(no_wrap=True, overflow=_overflow(ascii_only=ascii_only))
    head.add_row(Text(now, style="bold"))
    head.add_row(Text(status, style="dim"))
    height = max(len(panel.rows) for panel in panels) + _FRAME
    frames = [_frame(panel, height, ascii_only=ascii_only) for panel in panels]
    below = [_card(card, ascii_only=ascii_only) for card in cards]
    if console.width < _SIDE_BY_SIDE:
        return Group(head, *frames, *below)
    row = Table.grid(expand=True)
    for _ in frames:
        row.add_column(ratio=1)
    row.add_row(*frames)
    return Group(head, row, *below)


def _frame(panel: Panel, height: int, *, ascii_only: bool) -> Frame:
    overflow = _overflow(ascii_only=ascii_only)
    signs = _ASCII_SIGNS if ascii_only else _SIGNS
    table = Table.grid(padding=(0, 1, 0, 0), expand=True)
    table.add_column(width=1)
    table.add_column(justify="right", min_width=3, no_wrap=True, overflow=overflow)
    table.add_column(ratio=1, min_width=6, no_wrap=True, overflow=overflow)
    table.add_column(justify="right", no_wrap=True, overflow=overflow)
    for row in panel.rows:
        style = _STYLES[row.movement]
        table.add_row(signs[row.movement], row.rank, row.name, row.score, style=style)
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


def cards_that_fit(cards: Sequence[Card], console: Console) -> list[Card]:
    """Return the first ones for which there is room beside the head and a few rows of boards."""
    fitting: list[Card] = []
    for card in cards:
        if _room(console, [*fitting, card]) < _FEW_ROWS:
            break
        fitting.append(card)
    return fitting


def rows_that_fit(console: Console, cards: Sequence[Card]) -> int:
    """Return the rows a board may have beside the head, the frames, and the cards."""
    return max(1, min(_MOST_ROWS, _room(console, cards)))


def _room(console: Console, cards: Sequence[Card]) -> int:
    boards = 1 if console.width >= _SIDE_BY_SIDE else 3
    height = console.height - _HEAD - sum(len(card.lines) + _FRAME for card in cards)
    return height // boards - _FRAME


class _Rate:
    """Events in a second, over about the last second."""

    def __init__(self) -> None:
        self._samples = deque([(time.monotonic(), 0)], maxlen=_REFRESHES)

    def update(self, events: int) -> float:
        """Note the events so far and return their rate."""
        self._samples.append((time.monotonic(), events))
        (then, before), (now, after) = self._samples[0], self._samples[-1]
        return (after - before) / max(now - then, 1e-9)

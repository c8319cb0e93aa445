"""The demo as lines of text: for logs, pipes and terminals that can do no more."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from octavo.demo.replay import moments
from octavo.demo.view import cards, clock, gates_taken, summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo.demo.view import Panel, View
    from octavo.demo.week import Week

__all__ = ["lines"]

_STEP = 6 * 3600
_PAUSE = 10
_ROWS = 10


def lines(week: Week, view: View, speed: float) -> Iterator[str]:
    """Play, and yield who leads every six simulated hours or ten real seconds, then the boards.

    With each of them comes the last route that climbed to the best of its day.

    At the same speed the same flights give the same lines, however long it takes; but for what goes
    by the real clock: the airport's page at the end, what its cache has done, the fences, and the
    limits of the API.
    """
    replay = week.replay
    step = timedelta(seconds=min(_STEP, speed * _PAUSE))
    panels: list[Panel] = []
    yield (
        "time | busiest route | most punctual carrier | most delayed aircraft"
        " | this hour | today | this week | up today | gates"
    )
    for moment in moments(replay.first, replay.last, step, speed):
        week.advance(moment)
        standings, events = replay.look(_ROWS + 1)
        panels = view.panels(standings, _ROWS)
        climb = next(iter(view.climbs(events)), "-")
        leaders = map(_leader, panels)
        yield " | ".join([clock(moment), *leaders, climb, gates_taken(week.gates.use)])
    for panel in panels:
        if not panel.rows:
            continue
        yield ""
        yield f"{panel.title} ({panel.unit})"
        names = [f"{row.member}  {row.name}" for row in panel.rows]
        width = max(map(len, names))
        for row, name in zip(panel.rows, names, strict=True):
            yield f"{row.rank:>4}  {name:<{width}}  {row.score:>14}"
    for card in cards(week):
        yield ""
        yield f"{card.title} ({card.subtitle})"
        for label, text in card.lines:
            yield f"  {label:<5}  {text}"
    yield ""
    yield summary(replay)


def _leader(panel: Panel) -> str:
    return f"{panel.rows[0].member}: {panel.rows[0].score}" if panel.rows else "-"

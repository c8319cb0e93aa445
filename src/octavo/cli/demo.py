"""`octavo demo`: real flights, ranked live, with cached pages, locked gates and a limited API."""

from __future__ import annotations

import math
import os
import sys
from datetime import datetime
from typing import Annotated

import typer

import octavo
from octavo.cli.options import Url
from octavo.demo.flights import NEW_YORK, load
from octavo.demo.gates import Gates
from octavo.demo.plain import lines
from octavo.demo.view import View
from octavo.demo.week import Week

__all__ = ["demo"]

_PREFIX = "octavo-demo"


def _speed(value: str | float) -> float:
    """Read simulated seconds per real second, or `max`; typer passes the default through too."""
    if value == "max":
        return math.inf
    try:
        speed = float(value)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise typer.BadParameter(f"{value!r} is neither a number above 0 nor 'max'")
    return speed


def _moment(value: str) -> datetime:
    """Read an ISO date or time; without an offset it is New York's."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise typer.BadParameter(
            f"{value!r} is no ISO date or time such as 2013-07-10 or 2013-07-10T18:00"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=NEW_YORK)


def demo(
    *,
    speed: Annotated[
        float,
        typer.Option(
            parser=_speed,
            metavar="N|max",
            help="Simulated seconds per real second.",
            show_default="7200, the week in 86 seconds",
        ),
    ] = 7200.0,
    start: Annotated[
        datetime | None,
        typer.Option(
            "--from",
            parser=_moment,
            metavar="TIME",
            help="Replay flights scheduled from this ISO date or time on, in New York's time.",
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(
            parser=_moment, metavar="TIME", help="Replay flights scheduled before this one."
        ),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Print lines; the default where there is no terminal.")
    ] = False,
    url: Url = None,
) -> None:
    """Replay a week of real flights from New York onto live leaderboards.

    The busiest routes are ranked in all, and by hour, day and week of the flights' own time.

    Passengers ask for the pages of the airports they fly to, which are cached. Aircraft wait for
    gates, which are locks. Clients call an API of the boards, which has limits.

    All is kept under the prefix `octavo-demo`, which a new replay clears.

    Ctrl-C ends it with exit code 130.
    """
    flights = [flight for flight in load(start, until) if flight.departed]
    if not flights:
        raise typer.BadParameter(
            "no flight leaves between them; the data is of 7 to 13 July 2013",
            param_hint="'--from' / '--until'",
        )
    try:
        connection = octavo.connect(url, prefix=_PREFIX)
        gates = Gates(octavo.connect_async(url, prefix=_PREFIX), flights)
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(str(error), param_hint="'--url'") from error
    try:
        with connection as db, gates:
            typer.echo(f"{len(flights):,} flights, ranked on {db!r}", err=True)
            week = Week(db, gates, flights)
            week.clear()
            _show(week, View(flights), speed, plain=plain)
    except (octavo.OctavoError, octavo.BatchError) as error:
        cause = error.exceptions[0] if isinstance(error, octavo.BatchError) else error
        typer.echo(f"octavo demo: {cause}", err=True)
        raise typer.Exit(1) from error


def _show(week: Week, view: View, speed: float, *, plain: bool) -> None:
    """Draw on a terminal; print lines where that was asked for, or where there is none."""
    if plain or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        for line in lines(week, view, speed):
            typer.echo(line)
    else:
        from octavo.demo import terminal  # noqa: PLC0415 - the only part that needs rich

        terminal.play(week, view, speed)

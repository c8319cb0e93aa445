"""Merging, intersecting and expiring tables: what is asked for, checked and sent."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from octavo.engine.checks import millis, several
from octavo.engine.keys import slot
from octavo.engine.script import Script
from octavo.leaderboards.definition import option
from octavo.leaderboards.layout import Layout
from octavo.leaderboards.scores import exact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octavo.engine.checks import Seconds
    from octavo.engine.command import Command
    from octavo.engine.script import Argument
    from octavo.leaderboards.definition import Definition

Aggregate = Literal["sum", "best", "worst", "first", "last"]

MERGE = Script(Path(__file__).with_name("merge.lua"))


def tables_of(parameter: str, boards: Sequence[object]) -> list[Layout]:
    """Return the keys of boards, or refuse what is none."""
    for board in boards:
        if not isinstance(getattr(board, "_keys", None), Layout):
            raise TypeError(f"{parameter} must be boards or tables of boards, not {board!r}")
    return [cast("Any", board)._keys for board in boards]  # noqa: SLF001 - kin


def check_slots(table: Layout, others: Sequence[Layout]) -> None:
    """Refuse tables that one script cannot reach."""
    if not others:
        raise ValueError("others must be at least one table")
    for other in others:
        if slot(other.scores) != slot(table.scores):
            raise ValueError(
                f"others must share the cluster slot of {table.scores.decode()}, as boards made "
                f"with the same tag= do; {other.scores.decode()} does not"
            )


def merged(
    own: Definition,
    tables: Sequence[Layout],
    of: Literal["any", "all"],
    aggregate: Aggregate,
    weights: Sequence[float] | None,
) -> Command[int]:
    """Return the Command that replaces the first table by what is on any, or all, of the others."""
    table, *others = tables
    option("aggregate", aggregate, get_args(Aggregate))
    factors = [1.0] * len(others)
    if weights is not None:
        factors = [exact("weights", weight) for weight in several("weights", weights)]
        if len(factors) != len(others):
            raise ValueError(f"weights must be one for each of others, not {weights!r}")
    sources = [key for other in others for key in (other.scores, other.entries, other.data)]
    script = MERGE.once if own.once else MERGE
    args: list[Argument] = [own.config, own.prefix, own.columns, of, aggregate, *factors]
    target = (table.scores, table.entries, table.ties, table.data)
    return script((*target, *sources), args, int)


def expiry(parameter: str, at: Seconds | datetime | None) -> tuple[str, int]:
    """Return the command that sets when a key expires, and its milliseconds."""
    if at is None:
        return "", 0
    if not isinstance(at, datetime):
        return "PEXPIRE", millis(parameter, at)
    if at.tzinfo is None:
        raise ValueError(f"{parameter} must be aware of its time zone, not {at!r}")
    return "PEXPIREAT", max(0, int(at.timestamp() * 1000))

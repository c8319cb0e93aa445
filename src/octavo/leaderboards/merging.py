"""Merging and intersecting tables: what is asked for, as one Command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from octavo.engine.checks import several
from octavo.engine.keys import slot
from octavo.engine.script import Script
from octavo.leaderboards.definition import option
from octavo.leaderboards.scores import exact

if TYPE_CHECKING:
    from octavo.engine.command import Command
    from octavo.leaderboards.definition import Definition
    from octavo.leaderboards.layout import Layout

Aggregate = Literal["sum", "best", "worst", "first", "last"]

MERGE = Script(Path(__file__).with_name("merge.lua"))


def merged(
    own: Definition,
    table: Layout,
    others: Sequence[Layout],
    of: Literal["any", "all"],
    aggregate: Aggregate,
    weights: Sequence[float] | None,
) -> Command[int]:
    """Return the Command that replaces a table by what is on any, or on all, of others."""
    if not others:
        raise ValueError("others must be at least one table")
    for other in others:
        if slot(other.scores) != slot(table.scores):
            raise ValueError(
                f"others must share the cluster slot of {table.scores.decode()}, as boards made "
                f"with the same tag= do; {other.scores.decode()} does not"
            )
    option("aggregate", aggregate, get_args(Aggregate))
    factors = [1.0] * len(others)
    if weights is not None:
        factors = [exact("weights", weight) for weight in several("weights", weights)]
        if len(factors) != len(others):
            raise ValueError(f"weights must be one for each of others, not {weights!r}")
    sources = [key for other in others for key in (other.scores, other.entries, other.data)]
    script = MERGE.once if own.once else MERGE
    args = (own.config, own.prefix, own.columns, of, aggregate, *factors)
    return script((*table, *sources), args, int)

"""Merging, intersecting and expiring tables: what is asked for, checked and sent."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, get_args

from octavo.engine.checks import millis, several
from octavo.engine.keys import slot
from octavo.engine.script import Script
from octavo.leaderboards.definition import MOST, option
from octavo.leaderboards.layout import Layout, table_keys
from octavo.leaderboards.scores import exact
from octavo.leaderboards.tables import Late, told_to_ask_again

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octavo.engine.checks import Seconds
    from octavo.engine.command import Command
    from octavo.engine.script import Argument
    from octavo.leaderboards.definition import Definition

Aggregate = Literal["sum", "best", "worst", "first", "last"]

_here = Path(__file__)
MERGE = Script(_here.with_name("merge.lua"))
EXPIRE = Script(_here.with_name("expire.lua"))


class Source(NamedTuple):
    """The keys of a table; between which times it is what was asked for; and what goes first."""

    keys: Layout
    starts: int = 0
    ends: int = MOST
    eviction: Command[bool] | None = None


def sources_of(parameter: str, others: Sequence[object]) -> list[Source]:
    """Return what boards are for a merge, or refuse what is none."""
    for other in others:
        if not callable(getattr(other, "_source", None)):
            raise TypeError(f"{parameter} must be boards or tables of boards, not {other!r}")
    return [cast("Any", other)._source() for other in others]  # noqa: SLF001 - kin


def check_slots(table: Layout, sources: Sequence[Source]) -> None:
    """Refuse tables that one script cannot reach."""
    if not sources:
        raise ValueError("others must be at least one table")
    for source in sources:
        if slot(source.keys.scores) != slot(table.scores):
            raise ValueError(
                f"others must share the cluster slot of {table.scores.decode()}, as boards made "
                f"with the same tag= do; {source.keys.scores.decode()} does not"
            )


def merged(
    own: Definition,
    table: Layout,
    sources: Sequence[Source],
    of: Literal["any", "all"],
    how: tuple[Aggregate, Sequence[float] | None],
    *,
    timed: bool,
) -> Command[Any]:
    """Return the Command that replaces a table by what is on any, or on all, of others.

    Its result is how many members that are, or when the server's clock is not that of the sources.
    """
    aggregate, weights = how
    option("aggregate", aggregate, get_args(Aggregate))
    factors = [1.0] * len(sources)
    if weights is not None:
        factors = [exact("weights", weight) for weight in several("weights", weights)]
        if len(factors) != len(sources):
            raise ValueError(f"weights must be one for each of others, not {weights!r}")
        if own.scale.decays and min(factors) <= 0:
            raise ValueError(f"weights must be more than 0 where scores decay, not {weights!r}")
    keys = [key for (other, *_) in sources for key in (other.scores, other.entries, other.data)]
    starts, ends = 0, MOST
    if timed:
        starts, ends = max(one.starts for one in sources), min(one.ends for one in sources)
    args: list[Argument] = [own.config, own.prefix, own.columns, of, aggregate, starts, ends]
    script = MERGE.once if own.once else MERGE
    return script((*table_keys(table.base), *keys), (*args, *factors), _count_or_time)


def _count_or_time(reply: Any) -> int | Late:
    return Late(reply[1]) if told_to_ask_again(reply) else int(reply)


def expiring(
    own: Definition, table: Layout, at: Seconds | datetime | None, *more: bytes
) -> Command[bool]:
    """Return the Command that has a table expire, or not any more, and some keys beside it."""
    args: tuple[str, str, int] = (own.config, "", 0)
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise ValueError(f"at must be aware of its time zone, not {at!r}")
        args = (own.config, "PEXPIREAT", max(0, int(at.timestamp() * 1000)))
    elif at is not None:
        args = (own.config, "PEXPIRE", millis("at", at))
    scores, entries, *others = table_keys(table.base)
    script = EXPIRE.once if own.once else EXPIRE
    return script((entries, scores, *others, *more), args, bool)

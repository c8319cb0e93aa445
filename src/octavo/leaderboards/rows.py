"""Entries by plain commands: a third of the time that a script takes for the same rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from octavo.engine.command import Command
from octavo.leaderboards.records import Entry

if TYPE_CHECKING:
    from octavo.leaderboards.definition import Definition
    from octavo.leaderboards.layout import Layout

_BEFORE = {"ordinal": 0, "competition": 8}
"""How many rows are read before the first, to see where its tie begins, by the rank method."""


def ranked_by_name(own: Definition) -> bool:
    """Whether the place in the sorted set is the rank, whatever else the table was made as."""
    return own.method == "ordinal" and not own.prefix and own.scale.plain


def plain_rank(keys: Layout, name: bytes) -> Command[float | None]:
    """Return the Command that gives the rank of a member of such a table."""
    return Command((b"ZRANK", keys.scores, name), (keys.scores,), _next, idempotent=True)


def _next(place: int | None) -> int | None:
    return None if place is None else place + 1


def plainly(
    keys: Layout, own: Definition, first: int, last: int, asked: Command[list[Entry]]
) -> Command[list[Entry]]:
    """Return the Command that gives the entries of some places.

    Args:
        keys: of the table.
        own: its definition.
        first: the first place, from 0.
        last: the last one.
        asked: the script that gives the same, for where rows never tell the ranks. It is asked
            after them if a tie begins before all that were read, if there is data by now, and for
            the error if the table was made otherwise.
    """
    if own.columns or not own.scale.plain or own.method not in _BEFORE:
        return asked
    start = max(0, first - _BEFORE[own.method])
    config = f"{own.config} ".encode()

    def read(reply: list[Any]) -> list[Entry] | None:
        rows, meta, data = reply
        if data or not (meta is None or meta.startswith(config)):
            return None
        if rows and isinstance(rows[0], bytes):  # in RESP2's form
            rows = [(key, float(place)) for key, place in zip(rows[::2], rows[1::2], strict=True)]
        return _ranked(own, rows, start, first)

    def then(entries: list[Entry] | None) -> Command[Any] | None:
        return asked if entries is None else None

    command: Command[Any] = Command(
        (b"ZRANGE", keys.scores, str(start), str(last), b"WITHSCORES"),
        (keys.scores, keys.entries, keys.data),
        read,
        idempotent=True,
        behind=((b"HGET", keys.entries, b""), (b"EXISTS", keys.data)),
        then=then,
    )
    return command


def _ranked(
    own: Definition, rows: list[tuple[bytes, float]], start: int, first: int
) -> list[Entry] | None:
    """Return the entries from a place on; None if its tie may begin before the rows."""
    ties = own.method == "competition"
    if start and ties and rows[first - start :] and rows[0][1] == rows[first - start][1]:
        return None
    prefix, sign = own.prefix, own.scale.first
    rank, tie = 0, math.nan
    entries: list[Entry] = []
    for at, (key, place) in enumerate(rows, start + 1):
        if place != tie or not ties:
            rank, tie = at, place
        if at > first:
            entries.append(Entry(key[prefix:].decode(), place * sign + 0.0, rank))
    return entries

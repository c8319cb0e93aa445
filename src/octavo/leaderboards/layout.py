"""Every key of a leaderboard. All share the hash tag of the board, or of its `tag=`.

A board has a table for all time, at `{base}`. It may have more of them: at `{base}:day:2026-11-23`
and `{base}:week@Europe/Paris:2026-W48` for periods, `{base}:last:86400s` for a rolling window,
`{base}:season:spring` for a season, which is a board of its own. The keys of a table:

| key | Redis type | holds | TTL |
|---|---|---|---|
| `{table}:scores` | sorted set | `prefix + member` → place score | a period's: its end and `keep` |
| `{table}:entries` | hash | member → prefix; empty field → configuration, last stamp | the same |
| `{table}:ties` | sorted set | distinct scores, of boards ranked `dense` only | the same |
| `{table}:data` | hash | member → encoded data | the same |
| `{table}:past` | hash | member → its submissions, for `undo` and windows | the same |
| `{table}:due` | sorted set | member → when the first of them leaves the window, in us | none |
| `{table}:banned` | hash | member → what it had | as scores |
| `{table}:watched` | sorted set | those of the watched who are on the table, as in scores | none |

The keys of a board as a whole:

| key | Redis type | holds | TTL |
|---|---|---|---|
| `{base}:rules` | hash | member → time and number of its submissions | none |
| `{base}:audit` | stream | the last changes | none |
| `{base}:events` | stream | the last events | none |
| `{base}:watching` | hash | who is watched | none |
| `{base}:seasons` | hash | season → when it opens and closes, in us | none |
| `{base}:submitted:KEY` | string | the reply to a submission with an idempotency key | a day |

A league has `{base}:members`, a hash: member → number of its cohort; empty field → the newest
cohort and how many are in it. Cohort 7 has a table at `{base}:7`.

A *place score* is lower for the better: the score itself on an ascending board, its negative on a
descending one, so that the sorted set stands best first and one direction serves both. With
`half_life=` it is the negative of log2(score) + time / half-life. The *prefix* orders what ties on
it: 8 bytes for each further column, then a 7-byte stamp. A board with one column and
`ties="member"` has no prefixes and no fields but the empty one in its entries.
"""

from __future__ import annotations

from typing import NamedTuple


class Layout(NamedTuple):
    """The keys of one table, in the order in which the scripts that read it take them."""

    scores: bytes
    entries: bytes
    ties: bytes
    data: bytes

    @classmethod
    def of(cls, base: str) -> Layout:
        """Return the keys that begin with `base`."""
        return cls(*(f"{base}:{part}".encode() for part in cls._fields))

    @property
    def base(self) -> str:
        """What the keys begin with."""
        return self.scores.decode().removesuffix(":scores")


TABLE_FIELDS = (*Layout._fields, "past", "due", "banned", "watched")
"""All keys of a table, in the order in which the scripts that change it take them."""


def some_keys(base: str, fields: tuple[str, ...]) -> tuple[bytes, ...]:
    """Return some keys of a table."""
    return tuple(f"{base}:{field}".encode() for field in fields)


def table_keys(base: str) -> tuple[bytes, ...]:
    """Return all keys of a table."""
    return some_keys(base, TABLE_FIELDS)


class BoardKeys(NamedTuple):
    """The keys of a board as a whole that its scripts take behind those of the tables."""

    rules: bytes
    audit: bytes
    events: bytes
    watching: bytes


def board_keys(base: str) -> BoardKeys:
    """Return the keys of a board as a whole."""
    return BoardKeys(*some_keys(base, BoardKeys._fields))


def every_key(base: str) -> tuple[bytes, ...]:
    """Return the keys of a board and of its table of all time."""
    return (*board_keys(base), *table_keys(base))


def members_key(base: str) -> bytes:
    """Return the key that says in which cohort the members of a league are."""
    return f"{base}:members".encode()


def cohort_base(base: str, number: int) -> str:
    """Return what the keys of a cohort's board begin with."""
    return f"{base}:{number}"


def seasons_key(base: str) -> bytes:
    """Return the key that holds the names of a board's seasons."""
    return f"{base}:seasons".encode()


def submitted_key(base: str, idempotency_key: bytes) -> bytes:
    """Return the key that holds the reply to a submission with that idempotency key."""
    return f"{base}:submitted:".encode() + idempotency_key

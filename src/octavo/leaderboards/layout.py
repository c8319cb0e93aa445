"""Every key of a leaderboard. All four share the hash tag of the board, or of its `tag=`.

| key | Redis type | holds | TTL |
|---|---|---|---|
| `{base}:scores` | sorted set | `prefix + member` → place score | none |
| `{base}:entries` | hash | member → prefix; empty field → configuration and last stamp | none |
| `{base}:ties` | sorted set | distinct scores, of boards ranked `dense` only | none |
| `{base}:data` | hash | member → encoded data | none |

A *place score* is lower for the better: the score itself on an ascending board, its negative on a
descending one, so that the sorted set stands best first and one direction serves both. The
*prefix* orders what ties on it: 8 bytes for each further column, then a 7-byte stamp. A board with
one column and `ties="member"` has no prefixes and no fields but the empty one in its entries.
"""

from __future__ import annotations

from typing import NamedTuple


class Layout(NamedTuple):
    """The keys of one board, in the order in which its scripts take them."""

    scores: bytes
    entries: bytes
    ties: bytes
    data: bytes

    @classmethod
    def of(cls, base: str) -> Layout:
        """Return the keys that begin with `base`."""
        return cls(*(f"{base}:{part}".encode() for part in cls._fields))

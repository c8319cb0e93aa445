"""Every key of a sharded leaderboard, and how they are spread over the slots of a cluster.

| key | Redis type | holds | TTL |
|---|---|---|---|
| `{home}:members` | hash | member → entry; empty field → configuration and last stamp | none |
| `{home}:moves` | hash | member → moves that are under way, 37 bytes each | none |
| `{shard}:scores` | sorted set | stamp + member → place score | none |
| `{shard}:ties` | sorted set | distinct scores, of boards ranked `dense` only | none |
| `{shard}:config` | string | configuration | none |

A home is `{prefix}:sharded:{name/h0.2}`, a shard `{prefix}:sharded:{name/s0.5}`. The number behind
the point is chosen so that homes and shards lie evenly over the slots, neighbours far apart. An
*entry* is 15 bytes: the place score as a float64, then the stamp. A *move* is its own stamp, the
entry before and the entry afterwards, zeros for none.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import count
from typing import NamedTuple

from octavo.engine.keys import key_base, slot

_SLOTS = 16_384
_GOLDEN = (math.sqrt(5) - 1) / 2


class Home(NamedTuple):
    """The keys of a home, in the order in which its scripts take them."""

    members: bytes
    moves: bytes


class Shard(NamedTuple):
    """The keys of a shard, in the order in which its scripts take them."""

    scores: bytes
    ties: bytes
    config: bytes


class ShardedLayout(NamedTuple):
    """The keys of a board."""

    homes: tuple[Home, ...]
    shards: tuple[Shard, ...]

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, prefix: str, name: str, homes: int, shards: int) -> ShardedLayout:
        """Return the keys of a board of that many homes and shards."""
        return cls(
            tuple(
                Home(*(f"{base}:{field}".encode() for field in Home._fields))
                for base in _spread(prefix, f"{name}/h", homes)
            ),
            tuple(
                Shard(*(f"{base}:{field}".encode() for field in Shard._fields))
                for base in _spread(prefix, f"{name}/s", shards)
            ),
        )


def _spread(prefix: str, name: str, number: int) -> list[str]:
    """Return what the keys of each begin with: one in each of as many equal parts of the slots."""
    stride = round(number * _GOLDEN)
    while math.gcd(stride, number) != 1:
        stride += 1

    def base(i: int) -> str:
        attempts = (key_base(prefix, "sharded", f"{name}{i}.{n}", None) for n in count())
        part = i * stride % number
        return next(base for base in attempts if slot(base.encode()) * number // _SLOTS == part)

    return [base(i) for i in range(number)]

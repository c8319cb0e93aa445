"""What the keys of a board hold, read without octavo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import redis

from octavo.leaderboards.layout import Layout

if TYPE_CHECKING:
    from octavo.testing.servers import Standalone
    from tests.fix_servers import Server


def raw(node: Standalone) -> Any:
    """Return a client that gives replies as bytes."""
    make = cast("Any", redis.Redis)
    return make.from_url(node.unix_url)


def layout(prefix: str, name: str) -> Layout:
    """Return the keys of an untagged board."""
    return Layout.of(f"{prefix}:leaderboard:{{{name}}}")


class Contents(NamedTuple):
    """A copy of the four keys of a board."""

    scores: list[tuple[bytes, float]]
    entries: dict[bytes, bytes]
    ties: list[tuple[bytes, float]]
    data: dict[bytes, bytes]

    @classmethod
    def of(cls, client: Any, keys: Layout) -> Contents:
        """Read them at one moment."""
        with client.pipeline(transaction=True) as pipeline:
            pipeline.zrange(keys.scores, 0, -1, withscores=True)
            pipeline.hgetall(keys.entries)
            pipeline.zrange(keys.ties, 0, -1, withscores=True)
            pipeline.hgetall(keys.data)
            scores, entries, ties, data = pipeline.execute()
        return cls([*map(tuple, scores)], entries, [*map(tuple, ties)], data)

    @classmethod
    def on(cls, server: Server, keys: Layout) -> Contents:
        """Read them on a server of any kind."""
        with raw(server.node_of(keys.scores.decode())) as client:
            return cls.of(client, keys)

    def check(self) -> None:
        """Assert that the keys agree with each other."""
        entries = dict(self.entries)
        orders, ties, density = entries.pop(b"", b"desc member sparse 0").split()[:3]
        columns = 8 * orders.count(b",")
        width = columns + (0 if ties == b"member" else 7)
        members = {key[width:] for key, _ in self.scores}
        assert len(members) == len(self.scores), "a member stands on the board twice"
        if width:
            prefixes = {key[width:]: key[:width] for key, _ in self.scores}
            assert entries == prefixes, "entries and scores disagree"
        else:
            assert not entries, "a board without prefixes has entries"
        assert self.data.keys() <= members, "data outlives its member"
        distinct = {(score, key[:columns]) for key, score in self.scores}
        known = {(score, name[:columns]) for name, score in self.ties}
        assert len(known) == len(self.ties), "a tie is known twice"
        assert known == (distinct if density == b"dense" else set()), "ties and scores disagree"

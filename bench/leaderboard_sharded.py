"""A board sharded by score over a cluster of six nodes, beside one in a slot and raw commands."""

from __future__ import annotations

from bisect import bisect_right
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast
from zlib import crc32

import redis

import octavo
from bench.harness import (
    Bar,
    Comparison,
    Contender,
    Options,
    Result,
    Table,
    calls,
    compare,
    private,
)
from bench.workload import EACH_SIDE, PAGE, Workload
from octavo.leaderboards import even_bounds
from octavo.testing.servers import Cluster, binaries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from octavo import Sync
    from octavo.leaderboards import Leaderboard, ShardedLeaderboard

    Calls = dict[str, Callable[[], object]]

TITLES = {
    "rank": "rank of a member",
    "around": f"{PAGE} around a member",
    "page": f"page of {PAGE}",
    "percentile": "percentile of a member",
    "submit": "submit of a better score",
}
SHARDED, ONE = "octavo, 12 shards", "octavo, one slot"
RAW, BY_HAND = "raw redis-py, one slot", "raw redis-py, 12 shards by hand"
SHARDS = 12
CHUNK = 5000


async def run(options: Options) -> AsyncIterator[Result | Table]:
    """Fill the boards, compare every operation, and say what they weigh."""
    seconds = options.seconds(len(TITLES))
    work = Workload(options.members)
    with private(Cluster(binaries()["valkey"]), options.cores) as cluster:
        client: Any = cast("Any", redis.RedisCluster).from_url(cluster.nodes[0].url)
        with octavo.connect(cluster.url, timeout=30) as db, client:
            one = db.leaderboard("bench")
            highest = options.members // 4
            sharded = db.sharded_leaderboard("bench", bounds=even_bounds(0, highest, SHARDS))
            by_hand = ByHand(client, even_bounds(0, highest, SHARDS))
            took = fill(client, one, sharded, by_hand, work)
            check(one, sharded, by_hand)
            yield weights(cluster, options.members, took)
            field: dict[str, Calls] = {
                RAW: _raw(client, Workload(options.members)),
                BY_HAND: _by_hand(by_hand, Workload(options.members)),
                SHARDED: _octavo(sharded, Workload(options.members)),
                ONE: _octavo(one, Workload(options.members)),
            }
            for operation, what in TITLES.items():
                title = f"{what}, {options.members:,} members, cluster of six"
                contenders = [Contender(name, calls(field[name][operation])) for name in field]
                bars = () if operation == "submit" else (Bar(SHARDED, BY_HAND, 1.0),)
                yield await compare(Comparison(title, contenders, bars), seconds)


class ByHand:
    """What one writes with redis-py: scores in a hash, and a sorted set for each range of them.

    It has none of what octavo promises: no policy, no order among equals, no rank with a
    submission, and what is stopped half way stays so.
    """

    def __init__(self, client: Any, bounds: tuple[float, ...]) -> None:
        self.client = client
        self.bounds = bounds
        self.shards = [f"hand:{{{i}}}" for i in range(len(bounds) + 1)]

    def home(self, member: str) -> str:
        """Return the hash that has the member's score."""
        return f"hand:{{h{crc32(member.encode()) % 32}}}"

    def shard(self, score: float) -> int:
        """Return the number of a score's shard."""
        return bisect_right(self.bounds, score)

    def rank(self, member: str) -> int:
        """Return the ordinal rank from 1."""
        score = float(self.client.hget(self.home(member), member))
        shard = self.shard(score)
        pipeline = self.client.pipeline(transaction=False)
        pipeline.zrevrank(self.shards[shard], member)
        for better in self.shards[shard + 1 :]:
            pipeline.zcard(better)
        place, *sizes = pipeline.execute()
        return sum(map(int, sizes), int(place) + 1)

    def page(self, start: int, size: int = PAGE) -> list[Any]:
        """Return the entries from a place on."""
        pipeline = self.client.pipeline(transaction=False)
        for shard in self.shards:
            pipeline.zcard(shard)
        ahead, found = 0, list[Any]()
        for shard, members in reversed([*zip(self.shards, pipeline.execute(), strict=True)]):
            low, high = max(start - ahead, 0), min(start + size - ahead, members) - 1
            if low <= high:
                found += self.client.zrange(shard, low, high, desc=True, withscores=True)
            ahead += members
        return found

    def percentile(self, member: str) -> float:
        """Return the percentage of members that a member is ahead of."""
        pipeline = self.client.pipeline(transaction=False)
        for shard in self.shards:
            pipeline.zcard(shard)
        members: int = sum(pipeline.execute())
        return 100 * (members - self.rank(member)) / members

    def submit(self, member: str, score: float) -> None:
        """Set a score."""
        home = self.home(member)
        old = self.client.hget(home, member)
        pipeline = self.client.pipeline(transaction=False)
        if old is not None:
            pipeline.zrem(self.shards[self.shard(float(old))], member)
        pipeline.hset(home, member, score)
        pipeline.zadd(self.shards[self.shard(score)], {member: score})
        pipeline.execute()


def _octavo(board: Leaderboard[Sync] | ShardedLeaderboard[Sync], work: Workload) -> Calls:
    return {
        "rank": lambda: board.rank(next(work.names)),
        "around": lambda: board.around(next(work.names), EACH_SIDE),
        "page": lambda: board.page(next(work.offsets) // PAGE + 1),
        "percentile": lambda: board.percentile(next(work.names)),
        "submit": lambda: board.submit(*next(work.submissions)),
    }


def _by_hand(board: ByHand, work: Workload) -> Calls:
    return {
        "rank": lambda: board.rank(next(work.names)),
        "around": lambda: board.page(max(board.rank(next(work.names)) - 1 - EACH_SIDE, 0)),
        "page": lambda: board.page(next(work.offsets)),
        "percentile": lambda: board.percentile(next(work.names)),
        "submit": lambda: board.submit(*next(work.submissions)),
    }


def _raw(client: Any, work: Workload) -> Calls:
    def page(start: int) -> object:
        return client.zrange("raw", start, start + PAGE - 1, desc=True, withscores=True)

    def around() -> object:
        return page(max(client.zrevrank("raw", next(work.names)) - EACH_SIDE, 0))

    return {
        "rank": lambda: client.zrevrank("raw", next(work.names)),
        "around": around,
        "page": lambda: page(next(work.offsets)),
        "percentile": lambda: client.zrevrank("raw", next(work.names)) / client.zcard("raw"),
        "submit": lambda: client.zadd("raw", dict((next(work.submissions),))),
    }


def fill(
    client: Any,
    one: Leaderboard[Sync],
    sharded: ShardedLeaderboard[Sync],
    by_hand: ByHand,
    work: Workload,
) -> dict[str, float]:
    """Put every member on every board, and return how many seconds that took."""

    def raw() -> None:
        for chunk in _chunks(work.initial()):
            client.zadd("raw", dict(chunk))

    def hand() -> None:
        for chunk in _chunks(work.initial()):
            pipeline = client.pipeline(transaction=False)
            for member, score in chunk:
                pipeline.hset(by_hand.home(member), member, score)
                pipeline.zadd(by_hand.shards[by_hand.shard(score)], {member: score})
            pipeline.execute()

    def single() -> None:
        for chunk in _chunks(work.initial()):
            one.submit_many(chunk)

    def many() -> None:
        sharded.submit_many(work.initial())

    took: dict[str, float] = {}
    for name, put in {RAW: raw, BY_HAND: hand, ONE: single, SHARDED: many}.items():
        started = perf_counter()
        put()
        took[name] = perf_counter() - started
    return took


def check(one: Leaderboard[Sync], sharded: ShardedLeaderboard[Sync], by_hand: ByHand) -> None:
    """Stop unless all boards say the same."""
    for place in (1, 1000):
        scores = [entry.score for entry in one.page(place)]
        wanted = [(entry.score, entry.rank) for entry in one.page(place)]
        if [(entry.score, entry.rank) for entry in sharded.page(place)] != wanted:
            raise SystemExit(f"the sharded board has another page {place}")
        if [score for _, score in by_hand.page((place - 1) * PAGE)] != scores:
            raise SystemExit(f"what is sharded by hand has another page {place}")


def weights(cluster: Cluster, members: int, took: dict[str, float]) -> Table:
    """Return what the boards weigh, how that lies on the nodes, and how long filling them took."""
    patterns = {
        RAW: "raw",
        BY_HAND: "hand:*",
        SHARDED: "octavo:sharded:*",
        ONE: "octavo:leaderboard:*",
    }
    rows: list[tuple[str, ...]] = []
    for name, pattern in patterns.items():
        nodes = [_weight(node.url, pattern) for node in cluster.primaries]
        total = sum(nodes)
        rows.append(
            (
                name,
                f"{total / members:.0f}",
                " / ".join(f"{100 * node / total:.0f}%" for node in nodes),
                f"{members / took[name]:,.0f}",
            )
        )
    title = f"{members:,} members, cluster of six: memory and bulk loading"
    return Table(title, ("board", "bytes a member", "on the nodes", "loaded a second"), rows)


def _weight(url: str, pattern: str) -> int:
    make: Any = redis.Redis
    with make.from_url(url) as node:
        keys = node.scan_iter(match=pattern, count=1000)
        return sum(node.memory_usage(key, samples=1000) for key in keys)


def _chunks(pairs: Iterable[tuple[str, float]]) -> Iterator[list[tuple[str, float]]]:
    pairs = iter(pairs)
    while chunk := list(islice(pairs, CHUNK)):
        yield chunk

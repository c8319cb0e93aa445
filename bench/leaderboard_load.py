"""Boards of millions of members, loaded as the bytes that submitting them would have stored."""

from __future__ import annotations

from contextlib import closing
from itertools import chain, islice
from time import perf_counter
from typing import TYPE_CHECKING, Any

import redis

import octavo
from bench.harness import Table
from bench.workload import PAGE, Workload
from octavo.engine.codec import encode
from octavo.engine.keys import key_base
from octavo.leaderboards.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Words = list[object]

PLAIN_KEY = "leaderboard:bench"
"""The sorted set of all who have but one: redis-infra says what it is called."""
OLD_DENSE_KEY = "bench:old-dense"

EARLIEST, BY_NAME, DENSE, WITH_DATA = "earliest", "by-name", "dense", "with-data"
BOARDS: dict[str, dict[str, Any]] = {
    EARLIEST: {},
    BY_NAME: {"ties": "member"},
    DENSE: {"ties": "member", "rank": "dense"},
    WITH_DATA: {},
}
DATA = {"country": "NL", "level": 7}

CHUNK = 1_000
AT_ONCE = 20
SAMPLE = 2_000
FIRST_STAMP = 1_700_000_000_000_000


def load(url: str, size: int) -> Table:
    """Put every member on every board; tell how long that took and what a member weighs."""
    rows: list[tuple[str, ...]] = []
    with redis.Redis.from_url(url, socket_timeout=300) as client:
        for name, fill, keys in loads(client, Workload(size)):
            before, started = _used(client), perf_counter()
            fill()
            taken, used = perf_counter() - started, _used(client) - before
            usage = sum(client.memory_usage(key, samples=0) or 0 for key in keys)
            cells = (f"{usage / size:.0f} B", f"{used / size:.0f} B", f"{taken:.1f} s")
            rows.append((name, *cells))
    header = ("board", "MEMORY USAGE", "used_memory", "loaded in")
    return Table(f"leaderboards: memory of each of {size:,} members", header, rows)


def loads(client: Any, work: Workload) -> Iterator[tuple[str, Callable[[], None], list[Any]]]:
    """Yield each board's name, what fills it, and its keys."""
    yield (
        "a sorted set: raw, redis-infra, walrus, leaderboard 3.7.3",
        lambda: _send(client, _plain(work)),
        [PLAIN_KEY],
    )
    yield (
        "leaderboard 3.7.3, TieRankingLeaderboard",
        lambda: _send(client, _old_dense(client, work)),
        [OLD_DENSE_KEY, f"{OLD_DENSE_KEY}:ties"],
    )
    makers = {BY_NAME: _by_name, DENSE: _dense, EARLIEST: _earliest, WITH_DATA: _with_data}
    for name, make in makers.items():
        keys = keys_of(name)
        yield (
            f"octavo, {name}",
            lambda make=make, keys=keys: _send(client, make(client, keys, work)),  # type: ignore[misc]
            list(keys),
        )


def keys_of(name: str) -> Layout:
    """Return the keys of one of octavo's boards."""
    return Layout.of(key_base("octavo", "leaderboard", name, None))


def _used(client: Any) -> int:
    return int(client.info("memory")["used_memory"])


def _send(client: Any, commands: Iterable[Words]) -> None:
    with client.pipeline(transaction=False) as pipe:
        for some in _chunks(commands, AT_ONCE):
            for words in some:
                pipe.execute_command(*words)
            pipe.execute()


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    items = iter(items)
    while chunk := list(islice(items, size)):
        yield chunk


def _many(command: str, key: object, pairs: Iterable[tuple[object, object]]) -> Iterator[Words]:
    """Yield commands that take any number of pairs."""
    for chunk in _chunks(pairs, CHUNK):
        yield [command, key, *chain.from_iterable(chunk)]


# Scores are whole here, so that an int is their shortest text.


def _plain(work: Workload) -> Iterator[Words]:
    return _many("ZADD", PLAIN_KEY, ((int(score), name) for name, score in work.best_first()))


def _old_dense(client: Any, work: Workload) -> Iterator[Words]:
    client.copy(PLAIN_KEY, OLD_DENSE_KEY)
    scores = ((score, str(score)) for score in work.scores())
    return _many("ZADD", f"{OLD_DENSE_KEY}:ties", scores)


def _by_name(_: Any, keys: Layout, work: Workload) -> Iterator[Words]:
    yield from _many(
        "ZADD", keys.scores, ((-int(score), name) for name, score in work.best_first())
    )
    yield ["HSET", keys.entries, "", "desc member sparse 0"]


def _dense(client: Any, keys: Layout, work: Workload) -> Iterator[Words]:
    client.copy(keys_of(BY_NAME).scores, keys.scores)
    ties = ((-int(score), f":{-int(score)}") for score in work.scores())
    yield from _many("ZADD", keys.ties, ties)
    yield ["HSET", keys.entries, "", "desc member dense 0"]


def _earliest(_: Any, keys: Layout, work: Workload) -> Iterator[Words]:
    stamp = FIRST_STAMP
    for chunk in _chunks(work.best_first(), CHUNK):
        scores: Words = ["ZADD", keys.scores]
        entries: Words = ["HSET", keys.entries]
        for name, score in chunk:
            stamp += 1
            member, prefix = name.encode(), stamp.to_bytes(7, "big")
            scores += (-int(score), prefix + member)
            entries += (member, prefix)
        yield scores
        yield entries
    yield ["HSET", keys.entries, "", f"desc earliest sparse {stamp}"]


def _with_data(client: Any, keys: Layout, work: Workload) -> Iterator[Words]:
    client.copy(keys_of(EARLIEST).scores, keys.scores)
    client.copy(keys_of(EARLIEST).entries, keys.entries)
    payload = encode("data", DATA)
    return _many("HSET", keys.data, ((name, payload) for name, _ in work.best_first()))


def check(url: str) -> None:
    """Stop unless what `load` makes of a sample is what submitting it makes."""
    work = Workload(SAMPLE)
    with (
        closing(redis.Redis.from_url(url)) as client,
        octavo.connect(url) as db,
        octavo.connect(url, prefix="submitted") as other,
    ):
        load(url, SAMPLE)
        for name, options in BOARDS.items():
            loaded, submitted = db.leaderboard(name, **options), other.leaderboard(name, **options)
            for some in _chunks(work.best_first(), CHUNK):
                data = dict.fromkeys(dict(some), DATA) if name == WITH_DATA else None
                submitted.submit_many(some, data=data)
            if list(loaded) != list(submitted):
                raise SystemExit(f"{name} is loaded otherwise than submitted")
            for key in keys_of(name):
                twin = key.replace(b"octavo", b"submitted", 1)
                if _kind(client, key) != _kind(client, twin):
                    raise SystemExit(f"{key!r} is loaded otherwise than submitted")
        client.flushall()


def _kind(client: Any, key: bytes) -> tuple[object, ...]:
    kind = client.type(key)
    if kind == b"none":
        return (kind,)
    sizes = {b"zset": client.zcard, b"hash": client.hlen}
    return kind, client.object("encoding", key), sizes[kind](key)


def compare_with_raw(url: str) -> None:
    """Stop unless octavo's boards say what the raw sorted set says."""
    with redis.Redis.from_url(url) as client, octavo.connect(url) as db:
        best: Any = client.zrange(PLAIN_KEY, 0, PAGE - 1, desc=True, withscores=True)
        scores = [score for _, score in best]
        for name, options in BOARDS.items():
            board = db.leaderboard(name, **options)
            page = board.page(1)
            rank = len(set(scores)) if name == DENSE else 1 + scores.index(scores[-1])
            found = [entry.score for entry in page], board.rank(page[-1].member)
            if found != (scores, rank):
                raise SystemExit(f"{name} says {found} instead of {scores, rank}")

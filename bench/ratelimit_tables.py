"""What a decision costs the client and the server, and how much memory a subject takes."""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from itertools import repeat
from time import process_time
from typing import TYPE_CHECKING, Any

import redis

import octavo
from bench.harness import Table, missing
from bench.ratelimit_peers import (
    ALGORITHMS,
    CHECK,
    DEADLINE,
    FOUR,
    GCRA,
    HEADERS,
    RATE,
    RAW,
    RAW_GET,
    SYNC,
    Rate,
    octavo_limits,
    ours,
    partial,
)
from octavo.testing.proxy import WireProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.ratelimit_peers import Hit, Limits, Peer

    Operation = Callable[[], Any]
    One = Callable[[Peer, Limits], Operation]
    """Makes what hits one limit out of a contender."""

BATCH = [f"user:{number:04d}" for number in range(200)]
COUNTED = 50
"""The decisions by which round trips are counted."""
SERVER_BAR = 1.6
SUBJECTS = 5
LONG = 100
"""The hits after which memory is measured again."""


def client_costs(url: str, one: One, *, quick: bool) -> Table:
    """Measure the CPU time of client and server for a decision, and its round trips."""
    rounds, hits = (3, 300) if quick else (7, 1_000)
    rows: list[tuple[str, ...]] = []
    for name, peer in SYNC.items():
        if note := missing(peer.module):
            rows.append((name, "", "", "", note))
            continue
        try:
            trips = _round_trips(url, one, peer)
            own, servers = _cpu(url, one, peer, rounds, hits)
        except Exception as error:  # noqa: BLE001 - a peer's failure is a row, not the end
            rows.append((name, "", "", "", f"failed: {error!r}"))
        else:
            rows.append((name, f"{trips:.2f}", f"{own:.1f} us", f"{servers:.1f} us", ""))
    header = ("contender", "round trips", "client CPU", "server CPU", "note")
    return Table("limits: what a decision costs, one thread", header, rows)


def _round_trips(url: str, one: One, peer: Peer) -> float:
    with WireProxy(url.removeprefix("redis://").split("/")[0]) as proxy, ExitStack() as stack:
        operation = one(peer, peer.connect(proxy.url, stack))
        for _ in BATCH:
            operation()  # connects, loads its script, and meets every subject
        proxy.reset()
        for _ in repeat(None, COUNTED):
            operation()
        return proxy.round_trips / COUNTED


def _cpu(url: str, one: One, peer: Peer, rounds: int, hits: int) -> tuple[float, float]:
    """Return the microseconds of CPU time that client and server spend on a decision."""
    own: list[float] = []
    servers: list[float] = []
    with redis.Redis.from_url(url) as client, ExitStack() as stack:
        operation = one(peer, peer.connect(url, stack))
        for done in range(rounds + 1):
            before, of_server = process_time(), _server_seconds(client)
            for _ in repeat(None, hits):
                operation()
            if done:  # the first round makes keys
                servers.append(_server_seconds(client) - of_server)
                own.append(process_time() - before)
    return statistics.median(own) / hits * 1e6, statistics.median(servers) / hits * 1e6


def _server_seconds(client: Any) -> float:
    used = client.info("cpu")
    return float(used["used_cpu_sys_main_thread"] + used["used_cpu_user_main_thread"])


def server_costs(url: str, *, quick: bool) -> Table:
    """Measure how long scripts run, sent a batch at a time so that the server never waits."""
    with redis.Redis.from_url(url) as client, octavo.connect(url) as db:
        client.flushall()
        runs: dict[str, Callable[[Sequence[Rate]], None]] = {
            RAW: partial(_raw, client, client.script_load(GCRA)),
            **{ours(each): partial(_packed, db, each) for each in ALGORITHMS},
            f"{CHECK} of four subjects": partial(_scattered, db),
        }
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for done in range(4 if quick else 10):
            for name, run in runs.items():
                times = (_script_time(client, run, (RATE,)), _script_time(client, run, FOUR))
                if done:  # the first round makes keys
                    spent[name].append(times)
    rows = [_server_row(name, times) for name, times in spent.items()]
    header = ("contender", "one limit", "four limits", "four, times one", "bar")
    return Table("limits: server time of a decision, by INFO commandstats", header, rows)


def _raw(client: Any, sha: str, rates: Sequence[Rate]) -> None:
    with client.pipeline(transaction=False) as pipe:
        for name in BATCH:
            for each in rates:
                pipe.evalsha(sha, 1, each.key(name), each.interval, each.most, 1)
        pipe.execute()


def _packed(db: Any, algorithm: str, rates: Sequence[Rate]) -> None:
    limits = octavo_limits(algorithm, *rates)
    with db.batch() as batch:
        limiter = batch.limiter(f"{algorithm}-{len(limits)}", *limits, deadline=DEADLINE)
        for name in BATCH:
            limiter.hit(name)


def _scattered(db: Any, rates: Sequence[Rate]) -> None:
    limits = octavo_limits("gcra", *rates)
    with db.batch() as batch:
        limiter = batch.limiter(f"scattered-{len(limits)}", *limits, deadline=DEADLINE)
        for name in BATCH:
            limiter.check({each: f"{each.name}:{name}" for each in limits})


def _script_time(
    client: Any, run: Callable[[Sequence[Rate]], None], rates: Sequence[Rate]
) -> float:
    before = script_stats(client)[1]
    run(rates)
    return (script_stats(client)[1] - before) / len(BATCH)


def script_stats(client: Any) -> tuple[int, int]:
    """Return how many scripts were called, and the microseconds they took."""
    stats = client.info("commandstats")
    of_scripts = [stats[name] for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats]
    return sum(each["calls"] for each in of_scripts), sum(each["usec"] for each in of_scripts)


def _server_row(name: str, times: list[tuple[float, float]]) -> tuple[str, ...]:
    one, four = map(statistics.median, zip(*times, strict=True))
    ratio = statistics.median(b / a for a, b in times)
    verdict = "met" if ratio <= SERVER_BAR else "MISSED"
    bar = f"at most {SERVER_BAR:g}x: {verdict}" if name == ours("gcra") else ""
    return name, f"{one:.1f} us", f"{four:.1f} us", f"{ratio:.2f}x", bar


def memory(url: str) -> Table:
    """Measure what a subject takes, by MEMORY USAGE of all its keys."""
    rows: list[tuple[str, ...]] = []
    for name, peer in SYNC.items():
        if name in {RAW_GET, HEADERS} or name.startswith("limit:"):
            continue
        try:
            cells = ("", "", "", "", note) if (note := missing(peer.module)) else _stored(url, peer)
        except Exception as error:  # noqa: BLE001 - a peer's failure is a row, not the end
            cells = ("", "", "", "", f"failed: {error!r}")
        rows.append((name, *cells))
    header = ("contender", "one hit", f"{LONG} hits", "four limits", "their keys", "note")
    return Table("limits: memory of a subject, keys included", header, rows)


def _stored(url: str, peer: Peer) -> tuple[str, ...]:
    with redis.Redis.from_url(url) as client, ExitStack() as stack:
        limits = peer.connect(url, stack)
        hit = limits(RATE)
        client.flushall()
        few, _ = _after(client, [hit], 1)
        many, _ = _after(client, [hit], LONG - 1)
        client.flushall()
        hits = [limits(*FOUR)] if peer.several else [limits(each) for each in FOUR]
        several, keys = _after(client, hits, 1)
    return f"{few:,.0f} B", f"{many:,.0f} B", f"{several:,.0f} B", f"{keys:g}", ""


def _after(client: Any, hits: Sequence[Hit], times: int) -> tuple[float, float]:
    """Return the bytes and the keys of a subject, after so many more hits of each."""
    for name in BATCH[:SUBJECTS]:
        for hit in hits:
            for _ in repeat(None, times):
                hit(name)
    keys = list(client.scan_iter(count=1_000))
    usage = sum(client.memory_usage(key, samples=0) for key in keys)
    return usage / SUBJECTS, len(keys) / SUBJECTS

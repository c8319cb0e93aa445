"""What is not a speed: a cold key wanted by all at once, and a tag of many entries."""

from __future__ import annotations

import asyncio
import json
import secrets
import statistics
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

import redis

import octavo
from bench.cache_peers import TTL, Place, cashews_cache
from bench.cache_stampede_worker import CALLERS, FACTORY_SECONDS
from bench.harness import Table, missing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Ends = tuple[Callable[[], Awaitable[object]], Callable[[], Awaitable[object]]]
    """What drops the tag, and what gets the first of its entries."""
    Prepare = Callable[[str, int, AsyncExitStack], Awaitable[Ends]]

PROCESSES = 4
START_IN = 0.3
"""Seconds until the start gun, by when every process has read when that is."""
SLACK = 0.05
COMMANDS = 40
TIMEOUT = 120.0
ENTRIES = 100_000
CHUNK = 1000
TAG = "all"
OF_CONNECTIONS = ("hello", "auth", "select", "ping", "role", "command", "client|")
"""What begins, or checks, a connection; but CLIENT CACHING belongs to a read."""
OURS = ("info", "echo", "monitor")

STAMPEDE = {
    "octavo": ("octavo", "get_or_create, tasks"),
    "octavo_threads": ("octavo", "get_or_create, threads"),
    "dogpile": ("dogpile.cache", "get_or_create, distributed lock, threads"),
    "cashews": ("cashews", "@cache(lock=True), tasks"),
    "aiocache": ("aiocache", "@cached_stampede, tasks"),
}
"""The workers' contenders: the package and what of it is used."""


@dataclass(frozen=True)
class Counts:
    """What a server has counted up to a moment, without what asking it costs.

    Attributes:
        commands: sent by clients; what a script runs is not counted again.
    """

    commands: int
    of_connections: int
    sockets: int

    def __sub__(self, before: Counts) -> Counts:
        return Counts(
            self.commands - before.commands,
            self.of_connections - before.of_connections,
            self.sockets - before.sockets,
        )


class Meter:
    """Reads what a server counts."""

    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self._client = stack.enter_context(redis.Redis.from_url(url))
        self._monitor = stack.enter_context(self._client.monitor())
        self._scripted = 0

    def read(self) -> Counts:
        """Read the counters."""
        counted: Any = self._client.info("commandstats")
        sockets: int = self._client.info("stats")["total_connections_received"]
        self._scripted += self._run_by_scripts()
        commands = of_connections = 0
        for stat, figures in counted.items():
            name = stat.removeprefix("cmdstat_")
            if name == "client|caching" or not name.startswith((*OF_CONNECTIONS, *OURS)):
                commands += figures["calls"]
            elif name not in OURS:
                of_connections += figures["calls"]
        return Counts(commands - self._scripted, of_connections, sockets)

    def _run_by_scripts(self) -> int:
        """Return how many of the commands since the last time were run by scripts."""
        end = secrets.token_hex()
        self._client.echo(end)
        lines = iter(self._monitor.next_command, None)
        until_end = takewhile(lambda line: not line["command"].endswith(end), lines)
        return sum(line["client_type"] == "lua" for line in until_end)


@dataclass(frozen=True)
class Burst:
    """One stampede: what the workers and the server tell of it."""

    runs: int
    slowest: float
    counts: Counts


async def stampede(url: str, rounds: int) -> Table:
    """Have every caller of every process want the same cold key at the same moment."""
    rows = []
    async with AsyncExitStack() as stack:
        meter = Meter(url, stack)
        for kind, (package, what) in STAMPEDE.items():
            name = f"{package} {what}"
            if note := missing(package):
                rows.append((name, *[""] * 5, note))
                continue
            try:
                bursts = [await _burst(meter, kind, url, f"cold:{each}") for each in range(rounds)]
            except Exception as error:  # noqa: BLE001 - a peer's failure is a row, not the end
                rows.append((name, *[""] * 5, f"failed: {error!r}"))
            else:
                rows.append((name, *_row(bursts, barred=package == "octavo")))
    return Table(
        f"cold stampede, {PROCESSES} processes x {CALLERS} callers, a factory of"
        f" {FACTORY_SECONDS * 1e3:.0f} ms (median of {rounds})",
        ("contender", "factory runs", "slowest", "commands", "of connections", "sockets", "bar"),
        rows,
    )


def _row(bursts: Sequence[Burst], *, barred: bool) -> tuple[str, ...]:
    runs = max(burst.runs for burst in bursts)
    slowest = statistics.median(burst.slowest for burst in bursts)
    commands, of_connections, sockets = (
        round(statistics.median(getattr(burst.counts, name) for burst in bursts))
        for name in ("commands", "of_connections", "sockets")
    )
    asked = {
        "1 run": runs == 1,
        f"slowest at most {(FACTORY_SECONDS + SLACK) * 1e3:.0f} ms": (
            slowest <= FACTORY_SECONDS + SLACK
        ),
        f"at most {COMMANDS} commands": commands <= COMMANDS,
    }
    told = (f"{bar}: {'met' if met else 'MISSED'}" for bar, met in asked.items() if barred)
    figures = (runs, f"{slowest * 1e3:.0f} ms", commands, of_connections, sockets)
    return (*map(str, figures), "; ".join(told))


async def _burst(meter: Meter, kind: str, url: str, key: str) -> Burst:
    """Start the processes, wait until each has read another key, and let them go together."""
    born = meter.read()
    async with AsyncExitStack() as stack, asyncio.timeout(TIMEOUT):
        workers = [await _worker(stack, kind, url, f"{kind}:{key}") for _ in range(PROCESSES)]
        for worker in workers:
            await _line(worker)
        before, start = meter.read(), time() + START_IN
        for worker in workers:
            if worker.stdin:
                worker.stdin.write(f"{start}\n".encode())
        told = [json.loads(await _line(worker)) for worker in workers]
        after = meter.read()
    counts = replace(after - before, sockets=(after - born).sockets)
    return Burst(sum(each["runs"] for each in told), max(each["slowest"] for each in told), counts)


async def _worker(stack: AsyncExitStack, *arguments: str) -> asyncio.subprocess.Process:
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.cache_stampede_worker", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    )

    async def end() -> None:
        if worker.returncode is None:
            worker.kill()
        await worker.wait()

    stack.push_async_callback(end)
    return worker


async def _line(worker: asyncio.subprocess.Process) -> bytes:
    line = await worker.stdout.readline() if worker.stdout else b""
    if not line:
        raise RuntimeError("a process of the stampede died")
    return line


async def invalidation(url: str, *, quick: bool) -> Table:
    """Drop a tag of many entries."""
    rows = [await _row_of("octavo invalidate_tags", ENTRIES, url, _octavo_tag, barred=True)]
    if note := missing("cashews"):
        rows.append(("cashews delete_tags", "", "", "", note))
    else:
        entries = ENTRIES // 10 if quick else ENTRIES
        rows.append(await _row_of("cashews delete_tags", entries, url, _cashews_tag))
    header = ("contender", "entries", "commands", "time", "bar")
    return Table("invalidating a tag of many entries", header, rows)


async def _row_of(
    name: str, entries: int, url: str, prepare: Prepare, *, barred: bool = False
) -> tuple[str, ...]:
    try:
        commands, seconds = await _dropped(url, entries, prepare)
    except Exception as error:  # noqa: BLE001 - a peer's failure is a row, not the end
        return (name, f"{entries:,}", "", "", f"failed: {error!r}")
    bar = f"1 command: {'met' if commands == 1 else 'MISSED'}" if barred else ""
    return (name, f"{entries:,}", f"{commands:,}", f"{seconds * 1e3:.1f} ms", bar)


async def _dropped(url: str, entries: int, prepare: Prepare) -> tuple[int, float]:
    """Return how many commands and seconds it took to drop the tag of the entries."""
    async with AsyncExitStack() as stack:
        drop, get = await prepare(url, entries, stack)
        meter = Meter(url, stack)
        kept, before = await get(), meter.read()
        started = perf_counter()
        await drop()
        seconds = perf_counter() - started
        commands = (meter.read() - before).commands
        if kept != 0 or await get() is not None:
            raise RuntimeError("the entries were not there, or still are")
    return commands, seconds


async def _octavo_tag(url: str, entries: int, stack: AsyncExitStack) -> Ends:
    db = await stack.enter_async_context(octavo.connect_async(url))
    cache = db.cache("tag", ttl=TTL)
    for start in range(0, entries, CHUNK):
        await cache.set_many({str(start + each): each for each in range(CHUNK)}, tags=(TAG,))
    return (lambda: cache.invalidate_tags(TAG), lambda: cache.get("0"))


async def _cashews_tag(url: str, entries: int, stack: AsyncExitStack) -> Ends:
    cache = await cashews_cache(Place("tcp", url, url), stack)
    for start in range(0, entries, CHUNK):
        pairs = {f"tagged:{start + each}": each for each in range(CHUNK)}
        # What its set(..., tags=) does key by key, in thousandfold fewer round trips.
        await cache.set_many(pairs, expire=TTL)
        await cache.set_add(f"_tag:{TAG}", *pairs, expire=TTL)
    return (lambda: cache.delete_tags(TAG), lambda: cache.get("tagged:0"))

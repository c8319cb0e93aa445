"""Leaderboards of a million members and more, against the raw commands and every Python peer."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio

import octavo
from bench import leaderboard_sharded
from bench.harness import (
    Bar,
    Comparison,
    Contender,
    Options,
    Result,
    Table,
    compare,
    private_server,
    worker,
)
from bench.leaderboard_load import OLD_DENSE_KEY, PLAIN_KEY, check, compare_with_raw, load
from bench.leaderboard_peers import (
    AT_ONCE,
    CALLERS,
    CLASSES,
    OCTAVO,
    TITLES,
    TWINS,
    WALRUS,
    async_field,
    one_by_one,
    period_field,
    sync_field,
    tasks,
    threads,
    walrus_calls,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from bench.harness import Round, Worker

OLD_PACKAGES = ("leaderboard==3.7.3", "redis==2.10.6", "setuptools")
OLD_FOLDER = Path(__file__).with_name(".peers") / "leaderboard"
OLD_KEYS = (PLAIN_KEY, PLAIN_KEY, OLD_DENSE_KEY)


async def run(options: Options) -> AsyncIterator[Result | Table]:
    """Fill the boards, and compare every operation on every transport."""
    if options.sharded:
        async for result in leaderboard_sharded.run(options):
            yield result
        return
    size, comparisons = options.members, len(TITLES) + 2 * len(AT_ONCE) + 1
    seconds = options.seconds(comparisons * len(options.transports))
    with private_server(options.cores) as urls:
        check(urls["unix"])
        yield load(urls["unix"], size)
        compare_with_raw(urls["unix"])
        for transport in options.transports:
            async with AsyncExitStack() as stack:
                bench = await Bench.begin(urls[transport], size, stack)
                where = f"{size:,} members, {transport}"
                for operation, what in TITLES.items():
                    field = bench.one_by_one(operation)
                    yield await compare(_comparison(f"{what}, {where}", field), seconds)
                for operation in AT_ONCE:
                    title = f"{TITLES[operation]}, {CALLERS} at once, {where}"
                    field = bench.at_once(operation)
                    yield await compare(_comparison(title, field, CALLERS), 2 * seconds)
                title = f"a better score into all time, the hour, the day and the week, {transport}"
                yield await compare(_comparison(title, bench.periods()), seconds)


class Bench:
    """The contenders, connected to the server by one transport."""

    def __init__(self, url: str, size: int, stack: AsyncExitStack) -> None:
        self._url = url
        self._size = size
        self._stack = stack
        self._client = stack.enter_context(redis.Redis.from_url(url))
        self._db = stack.enter_context(octavo.connect(url))
        self._field = one_by_one(sync_field(url, self._db, self._client, size))
        self._async_client: Any = redis.asyncio.Redis.from_url(url, max_connections=CALLERS)
        self._async_db = octavo.connect_async(url)
        self._old: Worker | str = ""

    @classmethod
    async def begin(cls, url: str, size: int, stack: AsyncExitStack) -> Bench:
        """Return it with what has to be awaited first."""
        bench = cls(url, size, stack)
        stack.push_async_callback(bench._async_client.aclose)
        await stack.enter_async_context(bench._async_db)
        bench._old = _install_old()
        if not bench._old:
            arguments = ("bench.leaderboard_worker", url, str(size), *OLD_KEYS)
            running = worker(*arguments, packages=OLD_FOLDER)
            bench._old = await stack.enter_async_context(running)
        return bench

    def one_by_one(self, operation: str) -> list[Contender]:
        """Return the contenders that make one call after the other."""
        field = [_contender(name, rounds, operation) for name, rounds in self._field.items()]
        return [*field, *(self._olds(kind, operation) for kind in CLASSES)]

    def at_once(self, operation: str) -> list[Contender]:
        """Return the contenders of whom a hundred tasks or threads call at once."""
        field = async_field(self._async_client, self._async_db, self._size)
        found = [
            Contender(name, None, calls)
            if isinstance(calls, str)
            else Contender(f"{name}, tasks", tasks(calls[operation]))
            for name, calls in field.items()
        ]
        by_threads = walrus_calls(self._url, self._size)[operation]
        found.append(Contender(f"{WALRUS}, threads", threads(by_threads, self._stack)))
        return [*found, self._olds(CLASSES[0], f"{operation}@{CALLERS}", ", threads")]

    def periods(self) -> list[Contender]:
        """Return what has a score count on four boards."""
        field = period_field(self._url, self._db, self._client, self._size)
        return [
            *(_contender(name, rounds, "periods") for name, rounds in one_by_one(field).items()),
            self._olds(CLASSES[0], "periods"),
        ]

    def _olds(self, kind: str, operation: str, how: str = "") -> Contender:
        name = f"leaderboard 3.7.3, {kind}{how}"
        if isinstance(self._old, str):
            return Contender(name, None, self._old)
        return Contender(name, self._old.round(f"{kind}.{operation}"))


def _contender(name: str, rounds: Mapping[str, Round] | str, operation: str) -> Contender:
    if isinstance(rounds, str):
        return Contender(name, None, rounds)
    return Contender(name, rounds.get(operation), "" if operation in rounds else "has none")


def _comparison(title: str, field: list[Contender], operations: int = 1) -> Comparison:
    """Return a comparison in which each peer is held against the board that does what it does."""
    there = {each.name for each in field if each.round}
    bars = []
    for each in field:
        twin = TWINS.get(each.name.partition(", t")[0]) if each.round else None
        of = next((name for name in (twin, f"{twin}, tasks") if name in there), OCTAVO)
        if twin:
            bars.append(Bar(of, each.name, 1.0))
    return Comparison(title, field, tuple(bars), operations, 0.25 if operations > 1 else 0.05)


def _install_old() -> str:
    """Install the packages that only the worker uses; return why that failed, or nothing."""
    if OLD_FOLDER.exists():
        return ""
    fresh = OLD_FOLDER.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    command = (sys.executable, "-m", "pip", "install", "--quiet", "--target", fresh, *OLD_PACKAGES)
    pip = subprocess.run(command, capture_output=True, text=True, check=False)
    if pip.returncode:
        return f"not installed: {(pip.stderr.strip() or 'pip failed').splitlines()[-1]}"
    fresh.rename(OLD_FOLDER)
    return ""

"""How long a program waits for its first reply: the import, and the embedded server."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING

from bench.harness import Bar, Comparison, Contender, compare
from octavo.testing.servers import Standalone, binaries

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from bench.harness import Options, Result, Round

IMPORT = """
from time import perf_counter
started = perf_counter()
import {module}
print(perf_counter() - started, flush=True)
"""
REDIS_REPLY = """
import sys
from time import perf_counter
import redis
started = perf_counter()
redis.Redis.from_url(sys.argv[1]).zcard("first")
print(perf_counter() - started, flush=True)
"""
OCTAVO_REPLY = """
import sys
from time import perf_counter
import octavo
started = perf_counter()
with octavo.connect(sys.argv[1]) as db:
    db.leaderboard("first").count()
    print(perf_counter() - started, flush=True)
    sys.stdin.read()
"""
TIMEOUT = 60.0
RUNNING = "octavo, server running"
SHARED = "octavo, shared server"
EPHEMERAL = "octavo, ephemeral server"


async def run(options: Options) -> AsyncIterator[Result]:
    """Run the three comparisons; every turn is a process of its own."""
    seconds = options.seconds(3)
    yield await compare(imports(), seconds)
    yield await compare(from_nothing(), seconds)
    with _directory() as folder, Standalone(_server()) as server:
        async with _program(OCTAVO_REPLY, f"embedded://{folder}"):
            yield await compare(attached(f"embedded://{folder}", server.unix_url), seconds)


def imports() -> Comparison:
    """Import each package in a new interpreter."""
    contenders = [
        Contender(f"import {module}", _first_line(IMPORT.format(module=module)))
        for module in ("redis", "octavo")
    ]
    bars = (Bar("import octavo", "import redis", 1.3, measure="time"),)
    return Comparison("import in a new process", contenders, bars, turn=0)


def from_nothing() -> Comparison:
    """Start a server and get its first reply."""

    async def alone(_: int) -> float:
        started = perf_counter()
        with Standalone(_server()):
            return perf_counter() - started

    async def shared(_: int) -> float:
        # With its directory goes the server: its keeper sees to that.
        with _directory() as folder:
            return await _first_line(OCTAVO_REPLY, f"embedded://{folder}")(1)

    contenders = [
        Contender("the server alone, until it answers", alone),
        Contender(SHARED, shared),
        Contender(EPHEMERAL, _first_line(OCTAVO_REPLY, "embedded://?ephemeral")),
    ]
    bars = tuple(Bar(name, name, 0.3, measure="seconds") for name in (SHARED, EPHEMERAL))
    return Comparison("first reply from nothing, after the import", contenders, bars, turn=0)


def attached(embedded: str, plain: str) -> Comparison:
    """Get a first reply from a server that runs."""
    contenders = [
        Contender("redis-py, server running", _first_line(REDIS_REPLY, plain)),
        Contender(RUNNING, _first_line(OCTAVO_REPLY, embedded)),
    ]
    bars = (Bar(RUNNING, RUNNING, 0.05, measure="seconds"),)
    return Comparison("first reply of a running server, after the import", contenders, bars, turn=0)


def _first_line(code: str, *arguments: str) -> Round:
    """Return rounds of a program that measures itself: the seconds are its first line."""

    async def run(_: int) -> float:
        async with _program(code, *arguments) as seconds:
            return seconds

    return run


@asynccontextmanager
async def _program(code: str, *arguments: str) -> AsyncGenerator[float]:
    """Run a program until its standard input ends; give the number that it prints first."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            output = await process.stdout.readline() if process.stdout else b""
        yield float(output)
    finally:
        if process.stdin:
            process.stdin.close()
        await process.wait()


def _directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="octavo-bench-", ignore_cleanup_errors=True)


def _server() -> Path:
    return next(iter(binaries().values()))

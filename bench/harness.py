"""Contenders measured in interleaved rounds of one run.

A machine's speed drifts by more than the differences of interest, so no two contenders are
compared across time: each round gives every contender a turn, in an order that rotates, and what
is reported is the median of the ratios taken inside each round.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import json
import os
import statistics
import sys
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from time import perf_counter
from typing import Literal, TypeVar

from octavo.testing.servers import Cluster, Standalone, binaries

Server = TypeVar("Server", Standalone, Cluster)
Round = Callable[[int], Awaitable[float]]
"""Does that many steps and returns the seconds they took."""

MIN_ROUNDS = 5
MAX_ROUNDS = 200
WORKER_TIMEOUT = 120.0


@dataclass(frozen=True)
class Options:
    """What the command line asked for."""

    quick: bool
    transports: tuple[str, ...]
    members: int
    cores: str
    sharded: bool = False

    def seconds(self, comparisons: int) -> float:
        """Return one comparison's share of the time a bench may measure for."""
        return (8.0 if self.quick else 45.0) / comparisons


@dataclass(frozen=True)
class Contender:
    """One of those compared; without a round, its note says why it is absent."""

    name: str
    round: Round | None
    note: str = ""


@dataclass(frozen=True)
class Bar:
    """What the project asks of a contender, against another one or, in seconds, alone.

    Attributes:
        measure: "speed" is at least `limit` times the other's speed, "time" at most `limit`
            times the other's time, "seconds" at most `limit` seconds.
        aim: what the project hopes for beyond the limit.
    """

    of: str
    against: str
    limit: float
    aim: float | None = None
    measure: Literal["speed", "time", "seconds"] = "speed"


@dataclass(frozen=True)
class Comparison:
    """Contenders that do the same thing; the first one is the baseline.

    Attributes:
        operations: how many operations one step of a round is.
        turn: about how long a contender's turn in a round takes, in seconds; zero is one step.
    """

    title: str
    contenders: list[Contender]
    bars: tuple[Bar, ...] = ()
    operations: int = 1
    turn: float = 0.05


@dataclass(frozen=True)
class Verdict:
    """How a bar stands; without a figure it was not measured."""

    bar: Bar
    figure: float | None
    met: bool


@dataclass
class Row:
    """What was measured of one contender: per round, seconds an operation and times the speed."""

    name: str
    note: str
    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)


@dataclass(frozen=True)
class Result:
    """A comparison that has run."""

    title: str
    rows: list[Row]


@dataclass(frozen=True)
class Table:
    """Figures that are not the speed of one operation."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


async def compare(comparison: Comparison, seconds: float) -> Result:
    """Run a comparison for about that long, and no fewer than `MIN_ROUNDS` rounds."""
    rows = {each.name: Row(each.name, each.note) for each in comparison.contenders}
    runs = {each.name: each.round for each in comparison.contenders if each.round}
    turn = min(comparison.turn, seconds / (2 * MIN_ROUNDS * max(1, len(runs))))
    steps: dict[str, int] = {}
    order = deque(runs)

    async def attempt(name: str) -> None:
        try:
            if name not in steps:
                steps[name] = await _warm_up(runs[name], turn)
            else:
                taken = await _undisturbed(runs[name], steps[name])
                rows[name].seconds.append(taken / steps[name] / comparison.operations)
        except Exception as error:  # noqa: BLE001 - a peer's failure is a row, not the end
            rows[name].note = f"failed: {error!r}"
            rows[name].seconds.clear()
            order.remove(name)

    for name in runs:
        await attempt(name)
    gc.collect()
    gc.freeze()  # what exists by now is not looked at again, in rounds or between them
    deadline = perf_counter() + seconds
    for done in range(MAX_ROUNDS):
        if done >= MIN_ROUNDS and perf_counter() > deadline:
            break
        # Now forwards, now backwards: else each would always come after the same other one.
        for name in tuple(reversed(order) if done % 2 else order):
            await attempt(name)
        order.rotate(-1)
    return _judged(comparison, rows)


async def _warm_up(run: Round, turn: float) -> int:
    """Return how many steps take about `turn` seconds, having done as many."""
    await run(1)  # connects, loads scripts: nothing to judge by
    steps = 1
    while (taken := await run(steps)) < turn / 2:
        steps = min(steps * 10, 1 + round(steps * turn / taken))
    return steps


async def _undisturbed(run: Round, steps: int) -> float:
    gc.collect()
    gc.disable()
    try:
        return await run(steps)
    finally:
        gc.enable()


def _judged(comparison: Comparison, rows: dict[str, Row]) -> Result:
    baseline = rows[comparison.contenders[0].name]
    for row in rows.values():
        row.ratios = _times(row, baseline)
    for bar in comparison.bars:
        # Against a peer the verdict stands in that peer's row: there one looks for it.
        told = bar.of if bar.against == baseline.name else bar.against
        rows[told].verdicts.append(_verdict(bar, rows[bar.of], rows[bar.against]))
    return Result(comparison.title, list(rows.values()))


def _times(row: Row, other: Row) -> list[float]:
    """Return how many times the other's speed it had, round by round."""
    if not row.seconds or not other.seconds:
        return []
    return [theirs / own for own, theirs in zip(row.seconds, other.seconds, strict=True)]


def _verdict(bar: Bar, row: Row, other: Row) -> Verdict:
    if not row.seconds or not other.seconds:
        return Verdict(bar, None, met=False)
    if bar.measure == "speed":
        figure = statistics.median(_times(row, other))
        return Verdict(bar, figure, met=figure >= bar.limit)
    figure = statistics.median(row.seconds if bar.measure == "seconds" else _times(other, row))
    return Verdict(bar, figure, met=figure <= bar.limit)


def calls(operation: Callable[[], object]) -> Round:
    """Return rounds that call a function one time after the other."""

    async def run(steps: int) -> float:
        started = perf_counter()
        for _ in repeat(None, steps):
            operation()
        return perf_counter() - started

    return run


def awaits(operation: Callable[[], Awaitable[object]]) -> Round:
    """Return rounds in which one task awaits one operation after the other."""

    async def run(steps: int) -> float:
        started = perf_counter()
        for _ in repeat(None, steps):
            await operation()
        return perf_counter() - started

    return run


def callers(operation: Callable[[], Awaitable[object]], count: int) -> Round:
    """Return rounds in which `count` tasks do so at once; a step is one operation of each."""
    return together([operation] * count)


def together(operations: Sequence[Callable[[], Awaitable[object]]]) -> Round:
    """Return rounds in which each operation has a task of its own; a step is one of each."""

    async def caller(operation: Callable[[], Awaitable[object]], steps: int) -> None:
        for _ in repeat(None, steps):
            await operation()

    async def run(steps: int) -> float:
        started = perf_counter()
        await asyncio.gather(*(caller(operation, steps) for operation in operations))
        return perf_counter() - started

    return run


@contextlib.contextmanager
def private_server(cores: str) -> Generator[dict[str, str]]:
    """Start a server that persists nothing, and give its URL by transport."""
    with private(Standalone(next(iter(binaries().values()))), cores) as server:
        yield {"tcp": server.url, "unix": server.unix_url}


@contextlib.contextmanager
def private(server: Server, cores: str) -> Generator[Server]:
    """Start a server or a cluster, and say where it and its clients run.

    Where server and client run decides more than the client does: on one core a reply needs no
    wake-up of another one. Left to itself the kernel tosses a coin, and sticks to it for one
    contender and not for the next; so both are told where to run.

    Args:
        server: what to start.
        cores: "apart" is the server on one core and the clients on the others, "shared" is
            all on one, "any" leaves it to the kernel.
    """
    available = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
    first, others = available[:1], available[1:]
    _run_on(available if cores == "any" else first)
    try:
        with server:
            _run_on(others or first if cores == "apart" else ())
            yield server
    finally:
        _run_on(available)


def _run_on(cores: Sequence[int]) -> None:
    """Keep this process, and those it starts from now on, to some cores; none is no change."""
    if sys.platform == "linux" and cores:
        os.sched_setaffinity(0, cores)


def missing(module: str) -> str:
    """Return the note for a peer that cannot be imported, or nothing when it can."""
    return "" if importlib.util.find_spec(module) else "not installed"


class Worker:
    """A process of its own, for peers that need other packages than octavo does.

    It reads lines `["operation", steps]` and answers each with `{"seconds": ...}`, or with
    `{"error": ...}`.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def round(self, operation: str) -> Round:
        """Return rounds of one of the operations that the worker knows."""

        async def run(steps: int) -> float:
            if self._process.stdin is None or self._process.stdout is None:
                raise RuntimeError("the worker has no pipes")
            self._process.stdin.write(json.dumps([operation, steps]).encode() + b"\n")
            async with asyncio.timeout(WORKER_TIMEOUT):
                answer = await self._process.stdout.readline()
            reply = json.loads(answer or '{"error": "the worker died"}')
            if "error" in reply:
                raise RuntimeError(reply["error"])
            return float(reply["seconds"])

        return run


@contextlib.asynccontextmanager
async def worker(module: str, *arguments: str, packages: Path) -> AsyncGenerator[Worker]:
    """Start a module as a worker that finds the packages of a folder first; then end it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "PYTHONPATH": str(packages)},
    )
    try:
        yield Worker(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

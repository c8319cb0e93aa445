"""Workers, as threads of this process or as processes, that use the same lock.

The main process tells them what to do with which contender, and each answers when it is done.
"""

from __future__ import annotations

import multiprocessing
import threading
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from bench.locks_peers import WAITING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection

    from bench.cache_peers import Place
    from bench.locks_peers import Locks, Pair

    Shared = Any
    """An array of integers in memory that all workers share, without any lock of its own."""

Kind = Literal["threads", "processes"]
SPAWN = multiprocessing.get_context("spawn")
SECTIONS, FENCE = 0, 1
"""What the shared integers are: the sections that were counted, and the last fence."""
HOLD = 0.002
ANSWER_IN = 60.0
END_IN = 5.0


class Field:
    """The contenders of one process: each connects once, when it is first asked for."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._stack = ExitStack()
        self._guard = threading.Lock()
        self._locks: dict[str, Locks] = {}

    def pair(self, contender: str) -> Pair:
        """Return one caller's pair for the lock that is named after its contender."""
        with self._guard:
            if contender not in self._locks:
                connect = WAITING[contender].connect
                self._locks[contender] = connect(self._place, self._stack)
            return self._locks[contender](contender.replace(" ", "-"))

    def close(self) -> None:
        """Close all connections."""
        self._stack.close()


@dataclass
class Share:
    """What one worker did in a burst.

    Attributes:
        sections: how many it went through.
        counted: those that it entered between the start and the end.
        longest: the longest that it waited for one, in seconds, since the start.
        stale: how many of its fences were not above the last one.
    """

    sections: int = 0
    counted: int = 0
    longest: float = 0.0
    stale: int = 0


def ready(_: Pair, __: Shared) -> None:
    """Do nothing: the worker has its pair by now."""


def contend(pair: Pair, shared: Shared, start: float, end: float) -> Share:
    """Enter sections from now to the end, each of which is counted carelessly by who is in it."""
    share = Share()
    while (asked := perf_counter()) < end:
        fence = pair.acquire()
        taken = perf_counter()
        seen = shared[SECTIONS]
        sleep(HOLD)
        # Whoever was in here as well has counted too, and one of the two counts is lost.
        shared[SECTIONS] = seen + 1
        if fence is not None:
            share.stale += fence <= shared[FENCE]
            shared[FENCE] = fence
        pair.release()
        share.sections += 1
        if taken >= start:
            share.counted += taken < end
            share.longest = max(share.longest, taken - asked)
    return share


def wait(pair: Pair, _: Shared) -> tuple[float, float]:
    """Wait for the lock; return when that began, and when it had it."""
    asked = perf_counter()
    pair.acquire()
    taken = perf_counter()
    pair.release()
    return asked, taken


class Worker(NamedTuple):
    """A thread or a process, and this end of the pipe to it."""

    runner: Any
    orders: Connection

    def fit(self) -> bool:
        """Whether it is still there to take orders."""
        return self.runner.is_alive() and not self.orders.closed


class Crew:
    """So many workers of one kind, and a pair for the main process itself."""

    def __init__(self, kind: Kind, size: int, place: Place) -> None:
        self.kind = kind
        self.shared: Shared = SPAWN.RawArray("Q", 2)
        self._place = place
        self._field = Field(place)
        self._pairs: dict[str, Pair] = {}
        self._workers = [self._hire() for _ in range(size)]
        self._told: Sequence[Worker] = ()

    def pair(self, contender: str) -> Pair:
        """Return the main process's own pair."""
        if contender not in self._pairs:
            self._pairs[contender] = self._field.pair(contender)
        return self._pairs[contender]

    def tell(
        self, task: Callable[..., object], contender: str, *arguments: float, alone: bool = False
    ) -> None:
        """Have all workers, or one alone, carry out a task with their pair of a contender."""
        self._workers = [each if each.fit() else self._hire() for each in self._workers]
        self._told = self._workers[:1] if alone else self._workers
        for each in self._told:
            each.orders.send((task, contender, *arguments))

    def answers(self) -> Sequence[Any]:
        """Return what the task returned in each worker told; raise if it failed in one of them."""
        told = [answer(each.orders) for each in self._told]
        for each in told:
            if isinstance(each, Exception):
                raise each
        return told

    def __enter__(self) -> Self:
        """Return the crew, which already waits for orders."""
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._workers:
            with suppress(OSError):
                each.orders.send(None)
        for each in self._workers:
            each.runner.join(END_IN)
            if self.kind == "processes":
                each.runner.kill()
        self._field.close()

    def _hire(self) -> Worker:
        ours, theirs = SPAWN.Pipe()
        runner: Any = (
            threading.Thread(target=_serve, args=(self._field, theirs, self.shared))
            if self.kind == "threads"
            else SPAWN.Process(target=_process, args=(self._place, theirs, self.shared))
        )
        runner.daemon = True
        runner.start()
        return Worker(runner, ours)


def answer(orders: Connection) -> Any:
    """Return what a worker says, or the error that kept it from doing so."""
    if not orders.poll(ANSWER_IN):
        orders.close()  # lest its answer be taken for the next one
        return TimeoutError("a worker did not answer")
    try:
        return orders.recv()
    except EOFError:
        orders.close()
        return RuntimeError("a worker died")


def _process(place: Place, orders: Connection, shared: Shared) -> None:
    with closing(Field(place)) as field:
        _serve(field, orders, shared)


def _serve(field: Field, orders: Connection, shared: Shared) -> None:
    pairs: dict[str, Pair] = {}
    while order := orders.recv():
        task, contender, *arguments = order
        try:
            if contender not in pairs:
                pairs[contender] = field.pair(contender)
            orders.send(task(pairs[contender], shared, *arguments))
        except Exception as error:  # noqa: BLE001 - a peer's failure is a row, not the end
            orders.send(RuntimeError(repr(error)))  # the error itself may not survive the pipe

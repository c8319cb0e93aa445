"""What the processes of a `Crew` do, in a module that they can import."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from octavo.testing.waiting import wait_until
from tests.cache.crew import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from octavo import Async
    from octavo.cache import Cache
    from tests.cache.crew import Line, Place

_time = time.time


def shift_clock(_: Line, hours: int) -> None:
    """Have the clock of the process tell another time of day."""
    time.time = lambda: _time() + hours * 3600


@dataclass(frozen=True)
class Outcome:
    """What came of a call in another process."""

    value: Any
    runs: int
    seconds: float
    rejected: int
    failed: int = 0
    bypassed: int = 0


# One caller, whose factory a test holds in its hand.


def ask(line: Line, place: Place, key: str, face: str, how: dict[str, Any]) -> Outcome:
    """Call `get_or_create` with a factory that says "running" and waits for its value.

    Args:
        line: to the test.
        place: the cache.
        key: of the value.
        face: "sync" or "async".
        how: for `get_or_create`, and `value`: what the factory returns without waiting;
            `announce`: say "asking" before the call.
    """
    gated = "value" not in how
    value = how.pop("value", None)
    announce = how.pop("announce", False)
    runs: list[None] = []

    def factory() -> Any:
        runs.append(None)
        line.say("running")
        heard = line.hear() if gated else value
        if isinstance(heard, Exception):
            raise heard
        return heard

    async def factory_of_task() -> Any:
        return await asyncio.to_thread(factory)

    def told(began: float, got: Any, stats: Any) -> Outcome:
        seconds = time.monotonic() - began
        return Outcome(got, len(runs), seconds, stats.rejected, stats.failed, stats.bypassed)

    async def task(cache: Cache[Async, Any]) -> Outcome:
        if announce:
            line.say("asking")
        began = time.monotonic()
        got = await cache.get_or_create(key, factory_of_task, **how)
        return told(began, got, await cache.stats())

    if face == "async":
        outcome: Outcome = place.run(task)
        return outcome
    with place.open() as cache:
        if announce:
            line.say("asking")
        began = time.monotonic()
        return told(began, cache.get_or_create(key, factory, **how), cache.stats())


def nap(line: Line, place: Place, key: str, seconds: float, face: str) -> Outcome:
    """Call `get_or_create` with a factory that takes so long."""
    runs: list[None] = []

    def factory() -> int:
        runs.append(None)
        line.say("running")
        time.sleep(seconds)
        return os.getpid()

    async def factory_of_task() -> int:
        runs.append(None)
        line.say("running")
        await asyncio.sleep(seconds)
        return os.getpid()

    async def task(cache: Cache[Async, Any]) -> Outcome:
        got = await cache.get_or_create(key, factory_of_task)
        return Outcome(got, len(runs), 0.0, (await cache.stats()).rejected)

    if face == "async":
        outcome: Outcome = place.run(task)
        return outcome
    with place.open() as cache:
        got = cache.get_or_create(key, factory)
        return Outcome(got, len(runs), 0.0, cache.stats().rejected)


# Many callers at once.


@dataclass(frozen=True)
class Rush:
    """What one process saw of a stampede, in seconds after its start.

    Attributes:
        made: when each run of the factory ended.
    """

    made: list[float]
    first_began: float
    slowest: float
    values: frozenset[Any]


def rush_of_tasks(line: Line, _: int, place: Place, key: str, callers: int, cost: float) -> Rush:
    """Have so many tasks want one key at the same moment."""
    made: list[float] = []
    begin: list[float] = []

    async def factory() -> str:
        await asyncio.sleep(cost)
        made.append(time.monotonic() - begin[0])
        return f"value of {os.getpid()}"

    async def rush(cache: Cache[Async, Any]) -> Rush:
        line.say("ready")
        start = await asyncio.to_thread(line.hear)
        begin.append(start)

        async def caller() -> tuple[Any, float, float]:
            await asyncio.sleep(start - time.monotonic())
            began = time.monotonic()
            value = await cache.get_or_create(key, factory)
            return value, began - start, time.monotonic() - start

        got = await asyncio.gather(*(caller() for _ in range(callers)))
        return _rush(made, got)

    rushed: Rush = place.run(rush)
    return rushed


def rush_of_threads(line: Line, _: int, place: Place, key: str, callers: int, cost: float) -> Rush:
    """Have so many threads want one key at the same moment."""
    made: list[float] = []
    begin: list[float] = []

    def factory() -> str:
        time.sleep(cost)
        made.append(time.monotonic() - begin[0])
        return f"value of {os.getpid()}"

    there = threading.Barrier(callers + 1)

    with place.open() as cache, ThreadPoolExecutor(callers) as pool:

        def caller() -> tuple[Any, float, float]:
            there.wait(PATIENCE)
            there.wait(PATIENCE)
            time.sleep(max(0.0, begin[0] - time.monotonic()))
            began = time.monotonic()
            value = cache.get_or_create(key, factory)
            return value, began - begin[0], time.monotonic() - begin[0]

        futures = [pool.submit(caller) for _ in range(callers)]
        there.wait(PATIENCE)
        line.say("ready")
        begin.append(line.hear())
        there.wait(PATIENCE)
        return _rush(made, [future.result() for future in futures])


def _rush(made: list[float], got: list[tuple[Any, float, float]]) -> Rush:
    values, begun, ended = zip(*got, strict=True)
    return Rush(made, min(begun), max(ended), frozenset(values))


def hammer(
    line: Line,
    number: int,
    place: Place,
    keys: list[str],
    rate: float,
    seconds: float,
    how: dict[str, Any],
) -> tuple[list[tuple[str, float]], int, list[Any]]:
    """Ask for keys again and again; return when which was made, how often they were asked for.

    Args:
        line: to the test.
        number: the seed.
        place: the cache.
        keys: the keys.
        rate: how often a second each is asked for; 0 is as often as can be.
        seconds: for how long.
        how: `cost`: how long the factory takes; `fails`: whether it raises then.
    """
    dice = random.Random(number)
    random.seed(number)
    made: list[tuple[str, float]] = []
    seen: list[Any] = []
    asked = 0

    async def work(cache: Cache[Async, Any]) -> None:
        line.say("ready")
        start = await asyncio.to_thread(line.hear)

        async def one(key: str) -> None:
            nonlocal asked

            async def factory() -> str:
                made.append((key, time.monotonic()))
                await asyncio.sleep(how["cost"])
                if how.get("fails"):
                    raise RuntimeError("on purpose")
                return "new"

            await asyncio.sleep(start - time.monotonic())
            while time.monotonic() < start + seconds:
                asked += 1
                value = await cache.get_or_create(key, factory)
                if len(keys) == 1:
                    seen.append((time.monotonic(), value))
                await asyncio.sleep(dice.expovariate(rate) if rate else 0)

        await asyncio.gather(*(one(key) for key in keys))

    place.run(work)
    return made, asked, seen


def create_at_once(line: Line, place: Place, keys: list[str], cost: float, ttl: float) -> None:
    """Make values at the same time, and tell when each is going to be stale."""

    async def work(cache: Cache[Async, Any]) -> None:
        ends: dict[str, float] = {}

        async def one(key: str) -> None:
            async def factory() -> str:
                await asyncio.sleep(cost)
                return "old"

            await cache.get_or_create(key, factory, ttl=ttl)
            ends[key] = time.monotonic() + ttl

        await asyncio.gather(*(one(key) for key in keys))
        line.say(ends)

    place.run(work)


def create_overlapping(
    line: Line, number: int, place: Place, keys: list[str], cost: float, face: str
) -> tuple[list[str], dict[str, Any]]:
    """Create many keys, in an order of the process's own; return which it made, and all values."""
    mine = list(keys)
    random.Random(number).shuffle(mine)
    made: list[str] = []

    def values(missing: list[str]) -> dict[str, str]:
        made.extend(missing)
        return {key: f"{key} by {number}" for key in missing if not key.startswith("no")}

    def factory(missing: list[str]) -> dict[str, str]:
        time.sleep(cost)
        return values(missing)

    async def factory_of_task(missing: list[str]) -> dict[str, str]:
        await asyncio.sleep(cost)
        return values(missing)

    async def task(cache: Cache[Async, Any]) -> tuple[list[str], dict[str, Any]]:
        line.say("ready")
        start = await asyncio.to_thread(line.hear)
        await asyncio.sleep(start - time.monotonic())
        halves = [mine[: len(mine) * 2 // 3], mine[len(mine) // 3 :]]
        got = await asyncio.gather(*(cache.create_many(half, factory_of_task) for half in halves))
        return made, {**got[0], **got[1]}

    if face == "async":
        created: tuple[list[str], dict[str, Any]] = place.run(task)
        return created
    with place.open() as cache:
        line.say("ready")
        time.sleep(max(0.0, line.hear() - time.monotonic()))
        return made, cache.create_many(mine, factory)


# Makers that are interrupted, and that fork.


def be_interrupted(line: Line, place: Place, key: str, others: int) -> tuple[bool, list[Any], int]:
    """Make a value in the main thread, which SIGINT ends, while other threads wait for it."""
    runs: list[None] = []
    interrupted = False

    def factory() -> str:
        runs.append(None)
        if len(runs) == 1:
            wait_until(lambda: cache.stats().joined >= others, "others wait")
            line.say("running")
            time.sleep(PATIENCE)
        time.sleep(0.1)
        return "made"

    with place.open() as cache, ThreadPoolExecutor(others) as pool:
        waiting: list[Any] = []

        def begin() -> str:
            waiting.extend(pool.submit(cache.get_or_create, key, factory) for _ in range(others))
            return factory()

        try:
            cache.get_or_create(key, begin)
        except KeyboardInterrupt:
            interrupted = True
        return interrupted, [each.result(PATIENCE) for each in waiting], len(runs)


def be_interrupted_often(_: Line, place: Place, rounds: int) -> tuple[int, list[str]]:
    """Interrupt a maker at random moments; return how often, and whom that left without value."""
    dice = random.Random(rounds)
    interrupted = 0
    stuck: list[str] = []

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with place.with_(lease=0.5).open() as cache, ThreadPoolExecutor(1) as pool:
            takes = 0.001
            for number in range(rounds):
                key, began = f"k{number}", time.monotonic()
                try:
                    signal.setitimer(signal.ITIMER_REAL, dice.uniform(0.1, 1.0) * takes)
                    cache.get_or_create(key, lambda: "made")
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    takes = time.monotonic() - began
                except KeyboardInterrupt:
                    interrupted += 1
                    takes *= 1.2  # later, until one comes too late
                try:
                    pool.submit(cache.get_or_create, key, lambda: "made").result(20)
                except TimeoutError:
                    stuck.append(key)
                    os._exit(1)  # the thread never ends
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return interrupted, stuck


def fork_in_flight(_: Line, place: Place) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fork while a thread makes a value; return what parent and child found."""
    running, go_on = threading.Event(), threading.Event()

    def factory() -> str:
        running.set()
        assert go_on.wait(PATIENCE)
        return "made"

    def lost() -> str:
        raise RuntimeError("on purpose")

    def slow() -> str:
        time.sleep(2.0)  # which takes renewals
        return "child's"

    with place.with_(lease=0.9).open() as cache:
        maker = threading.Thread(target=cache.get_or_create, args=("k", factory))
        maker.start()
        assert running.wait(PATIENCE)

        def child() -> dict[str, Any]:
            other = cache.get_or_create("other", lambda: "other")
            own = cache.get_or_create("own", slow)
            rejected = cache.stats().rejected
            cache.delete("own")
            made = cache.get_or_create("k", lost)
            return {"other": other, "own": own, "k": made, "rejected": rejected}

        pid, pipe = _forked(child)
        # The child comes to wait for this one's value, or finds it.
        pipe.poll(1.0)
        go_on.set()
        maker.join()
        got = pipe.recv()
        os.waitpid(pid, 0)
        return {"k": cache.get("k"), "own": cache.get("own")}, got


def fork_under_load(_: Line, place: Place, forks: int) -> list[int]:
    """Fork while threads use the cache; return which children were stuck."""
    over = threading.Event()
    stuck: list[int] = []

    def work(number: int) -> None:
        dice = random.Random(number)
        while not over.is_set():
            key = f"k{dice.randrange(50)}"
            cache.get_or_create(key, lambda: "x" * 100, ttl=0.05, grace=1)
            if dice.random() < 0.1:
                cache.delete(key)

    with place.open() as cache:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for number in range(forks):

            def child() -> str:
                for key in range(50):
                    cache.get_or_create(f"k{key}", lambda: "x" * 100)
                return "done"

            pid, pipe = _forked(child)
            if not pipe.poll(30):
                stuck.append(number)
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        over.set()
        for thread in threads:
            thread.join()
    return stuck


def _forked(work: Callable[[], Any]) -> tuple[int, Connection]:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    pid = os.fork()
    if not pid:
        try:
            theirs.send(work())
        except BaseException as error:  # noqa: BLE001 - the parent wants to see it
            theirs.send(error)
        finally:
            os._exit(0)
    theirs.close()
    return pid, ours

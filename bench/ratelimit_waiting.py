"""Thirty that wait for one limit at once: how often they ask, and who comes first."""

from __future__ import annotations

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from datetime import timedelta
from itertools import combinations
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio

import octavo
from bench.harness import Table, missing
from bench.locks_peers import settled
from bench.ratelimit_peers import DEADLINE, Peer, Rate, octavo_limits, pyrate_limiter
from bench.ratelimit_tables import script_stats

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Wait = Callable[[str], Any]
    """Returns when it is a subject's turn; awaited on an async contender."""

WAITERS = 30
EACH = 0.025
"""Seconds for one unit."""
STEP = 0.005
"""Seconds between one that asks and the next: less, and nobody could say who was first."""
PATIENCE = 60
RATE = Rate(40, 1, burst=1)
OURS = ("octavo, threads", "octavo, tasks")
partial = functools.partial


def octavo_threads(url: str, stack: ExitStack) -> Wait:
    """Return octavo's acquire."""
    db = stack.enter_context(octavo.connect(url))
    limiter = db.limiter("waiters", *octavo_limits("gcra", RATE), deadline=DEADLINE)
    return partial(limiter.acquire, wait=PATIENCE)


async def octavo_tasks(url: str, stack: AsyncExitStack) -> Wait:
    """Return octavo's acquire."""
    db = await stack.enter_async_context(octavo.connect_async(url))
    limiter = db.limiter("waiters", *octavo_limits("gcra", RATE), deadline=DEADLINE)
    return partial(limiter.acquire, wait=PATIENCE)


def throttled_threads(url: str, stack: ExitStack) -> Wait:
    """Return throttled-py's limit with a timeout."""
    from throttled import RedisStore, Throttled
    from throttled.rate_limiter import per_duration

    store = RedisStore(server=url)
    stack.callback(store._backend.get_client().close)  # noqa: SLF001 - it has no other way
    quota = per_duration(timedelta(seconds=RATE.seconds), RATE.limit, RATE.most)
    throttle = Throttled(using="gcra", quota=quota, store=store, timeout=PATIENCE)
    return throttle.limit


async def throttled_tasks(url: str, stack: AsyncExitStack) -> Wait:
    """Return throttled-py's limit with a timeout."""
    from throttled.asyncio import RedisStore, Throttled
    from throttled.rate_limiter import per_duration

    store = RedisStore(server=url)
    stack.push_async_callback(store._backend.get_client().aclose)  # noqa: SLF001 - no other way
    quota = per_duration(timedelta(seconds=RATE.seconds), RATE.limit, RATE.most)
    throttle = Throttled(using="gcra", quota=quota, store=store, timeout=PATIENCE)
    return throttle.limit


def pyrate_threads(url: str, stack: ExitStack, *, gcra: bool) -> Wait:
    """Return pyrate-limiter's try_acquire, which waits."""
    client = stack.enter_context(redis.Redis.from_url(url))
    limiter = pyrate_limiter(client, (RATE if gcra else Rate(1, EACH),), gcra=gcra)
    stack.callback(limiter.close)
    wait: Wait = limiter.try_acquire
    return wait


async def pyrate_tasks(url: str, stack: AsyncExitStack, *, gcra: bool) -> Wait:
    """Return pyrate-limiter's try_acquire_async."""
    from pyrate_limiter.buckets.redis_bucket import LuaScript

    client = await stack.enter_async_context(redis.asyncio.Redis.from_url(url))
    sha = await client.script_load(LuaScript.PUT_ITEM)
    limiter = pyrate_limiter(client, (RATE if gcra else Rate(1, EACH),), gcra=gcra, sha=sha)
    stack.callback(limiter.close)
    wait: Wait = limiter.try_acquire_async
    return wait


async def self_limiters(url: str, stack: AsyncExitStack) -> Wait:  # noqa: ARG001 - as all
    """Return the token bucket of self-limiters."""
    from self_limiters import TokenBucket

    async def wait(subject: str) -> None:
        async with TokenBucket(
            name=subject,
            capacity=1,
            refill_frequency=EACH,
            refill_amount=1,
            redis_url=url,
            max_sleep=PATIENCE,
        ):
            pass

    return wait


async def aiolimiter(url: str, stack: AsyncExitStack) -> Wait:  # noqa: ARG001 - as all
    """Return aiolimiter's, which asks no server."""
    from aiolimiter import AsyncLimiter

    limiters: dict[str, Any] = {}

    async def wait(subject: str) -> None:
        await limiters.setdefault(subject, AsyncLimiter(1, EACH)).acquire()

    return wait


THREADS = {
    OURS[0]: Peer(octavo_threads, "octavo"),
    "throttled-py gcra, threads": Peer(throttled_threads, "throttled"),
    "pyrate-limiter log, threads": Peer(partial(pyrate_threads, gcra=False), "pyrate_limiter"),
    "pyrate-limiter GCRA, threads": Peer(partial(pyrate_threads, gcra=True), "pyrate_limiter"),
}
TASKS = {
    OURS[1]: Peer(octavo_tasks, "octavo"),
    "throttled-py gcra, tasks": Peer(throttled_tasks, "throttled"),
    "pyrate-limiter log, tasks": Peer(partial(pyrate_tasks, gcra=False), "pyrate_limiter"),
    "pyrate-limiter GCRA, tasks": Peer(partial(pyrate_tasks, gcra=True), "pyrate_limiter"),
    "self-limiters TokenBucket, tasks": Peer(self_limiters, "self_limiters"),
    "in process: aiolimiter, tasks": Peer(aiolimiter, "aiolimiter"),
}


async def waiting(url: str) -> Table:
    """Have all contenders keep thirty waiting, one contender after the other."""
    rows: list[tuple[str, ...]] = []
    with redis.Redis.from_url(url) as client:
        for peers, crew in ((THREADS, _threads), (TASKS, _tasks)):
            for name, peer in peers.items():
                if note := missing(peer.module):
                    rows.append((name, "", "", "", note))
                    continue
                try:
                    rows.append(await _kept(client, url, name, peer, crew))
                except Exception as error:  # noqa: BLE001 - a peer's failure is a row
                    rows.append((name, "", "", "", f"failed: {error!r}"))
    least = (WAITERS - 1) * EACH
    title = f"limits: {WAITERS} waiters, one each {EACH * 1e3:.0f} ms (at least {least:.2f} s)"
    return Table(title, ("contender", "script calls", "came out of order", "took", "bar"), rows)


async def _kept(
    client: Any,
    url: str,
    name: str,
    peer: Peer,
    crew: Callable[[Wait], Awaitable[list[float]]],
) -> tuple[str, ...]:
    async with AsyncExitStack() as stack:
        wait = await settled(peer.connect(url, stack))
        await settled(wait("the first one"))  # connects, and loads the script
        before, started = script_stats(client)[0], perf_counter()
        turns = await crew(partial(wait, "waiters"))
        took, calls = perf_counter() - started, script_stats(client)[0] - before
    inversions = sum(earlier > later for earlier, later in combinations(turns, 2))
    pairs = WAITERS * (WAITERS - 1) // 2
    verdict = "met" if (calls, inversions) == (WAITERS, 0) else "MISSED"
    bar = f"{WAITERS} calls, in order: {verdict}" if name in OURS else ""
    return name, str(calls), f"{inversions} of {pairs} pairs", f"{took:.2f} s", bar


async def _threads(wait: Callable[[], Any]) -> list[float]:
    start = perf_counter() + 0.05

    def waiter(number: int) -> float:
        sleep(max(0.0, start + number * STEP - perf_counter()))
        wait()
        return perf_counter()

    with ThreadPoolExecutor(WAITERS) as pool:
        loop = asyncio.get_running_loop()
        work = [loop.run_in_executor(pool, waiter, number) for number in range(WAITERS)]
        return await asyncio.gather(*work)


async def _tasks(wait: Callable[[], Any]) -> list[float]:
    start = perf_counter() + 0.05

    async def waiter(number: int) -> float:
        await asyncio.sleep(max(0.0, start + number * STEP - perf_counter()))
        await wait()
        return perf_counter()

    return await asyncio.gather(*map(waiter, range(WAITERS)))

"""One process of a stampede: many callers, as tasks or as threads, that want one cold key.

Arguments: the contender, the server's URL and the key. It connects, reads another key and prints
a line; then it reads the time to start at, and prints how often its factory ran and when, in
seconds after the start, the last caller had its value.
"""

from __future__ import annotations

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from time import sleep, time
from typing import TYPE_CHECKING, Any

import octavo
from bench.cache_peers import TTL, VALUE, Place, cashews_cache, dogpile_region

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Read = Callable[[str], Any]
    Call = Callable[[], Any]

CALLERS = 100
FACTORY_SECONDS = 0.5
OTHER = "another key"


class Factory:
    """Takes its time, and counts how often it is asked to."""

    runs = 0

    def __call__(self) -> dict[str, Any]:
        """Make the value in a thread."""
        self.runs += 1
        sleep(FACTORY_SECONDS)
        return VALUE

    async def in_a_task(self) -> dict[str, Any]:
        """Make the value in a task."""
        self.runs += 1
        await asyncio.sleep(FACTORY_SECONDS)
        return VALUE


async def main(contender: str, url: str, key: str) -> None:
    """Take part in one stampede."""
    factory = Factory()
    async with AsyncExitStack() as stack:
        if contender in THREADS:
            call = THREADS[contender](Place("tcp", url, url), key, factory, stack)
            slowest = await asyncio.to_thread(_threads, call)
        else:
            call = await TASKS[contender](Place("tcp", url, url), key, factory.in_a_task, stack)
            slowest = await _tasks(call)
    print(json.dumps({"runs": factory.runs, "slowest": slowest}), flush=True)
    sys.stdin.read()  # so that no connection closes before the server is asked what it counted


def _start() -> float:
    print("ready", flush=True)
    return float(sys.stdin.readline())


def _threads(call: Call) -> float:
    with ThreadPoolExecutor(CALLERS) as pool:
        # All threads exist before the start.
        list(pool.map(sleep, [0.1] * CALLERS))
        start = _start()

        def caller() -> float:
            sleep(max(0.0, start - time()))
            return _checked(call()) - start

        return max(each.result() for each in [pool.submit(caller) for _ in range(CALLERS)])


async def _tasks(call: Call) -> float:
    start = await asyncio.to_thread(_start)

    async def caller() -> float:
        await asyncio.sleep(start - time())
        return _checked(await call()) - start

    return max(await asyncio.gather(*(caller() for _ in range(CALLERS))))


def _checked(value: object) -> float:
    if value != VALUE:
        raise RuntimeError(f"a caller got {value!r}")
    return time()


def _octavo_threads(place: Place, key: str, factory: Call, stack: AsyncExitStack) -> Call:
    cache = stack.enter_context(octavo.connect(place.url)).cache("stampede", ttl=TTL)
    cache.get(OTHER)
    return lambda: cache.get_or_create(key, factory)


def _dogpile(place: Place, key: str, factory: Call, _: AsyncExitStack) -> Call:
    region = dogpile_region(place)
    region.get(OTHER)
    return lambda: region.get_or_create(key, factory)


async def _octavo(place: Place, key: str, factory: Call, stack: AsyncExitStack) -> Call:
    db = await stack.enter_async_context(octavo.connect_async(place.url))
    cache = db.cache("stampede", ttl=TTL)
    await cache.get(OTHER)
    return lambda: cache.get_or_create(key, factory)


async def _cashews(place: Place, key: str, factory: Call, stack: AsyncExitStack) -> Call:
    cache = await cashews_cache(place, stack)
    await cache.get(OTHER)
    return cache(ttl=TTL, key=key, lock=True)(factory)


async def _aiocache(place: Place, key: str, factory: Call, stack: AsyncExitStack) -> Call:
    import aiocache

    host, port = place.address
    decorate = aiocache.cached_stampede(
        ttl=TTL, key=key, cache=aiocache.RedisCache, endpoint=host, port=port
    )
    call = decorate(factory)
    stack.push_async_callback(call.cache.close)
    await call.cache.get(OTHER)
    return call


THREADS: dict[str, Callable[..., Call]] = {"octavo_threads": _octavo_threads, "dogpile": _dogpile}
TASKS: dict[str, Callable[..., Awaitable[Call]]] = {
    "octavo": _octavo,
    "cashews": _cashews,
    "aiocache": _aiocache,
}

if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

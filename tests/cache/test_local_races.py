"""One changes a cache, many read it: what a change has replaced is not seen once it returned."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from tests.cache.keeping import cache_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.testing.proxy import WireProxy


class Hammer:
    """One who changes and many who read; a reader must not see what was changed before it began.

    Every value is a number greater than all before it. `floors` has for each key the least
    number that may still be seen; to see nothing is always allowed.
    """

    KEYS = ("a", "b", "c")

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.number = 0
        self.floors: dict[str, int] = dict.fromkeys(self.KEYS, 0)
        self.tagged: set[str] = set()
        self.wrong: list[object] = []
        self.seen = 0
        self.ended = False

    def next_change(self, cache: Any) -> tuple[Any, Callable[[], None]]:
        """Return a call that changes something, and what to note when it has returned."""
        self.number += 1
        number, key = self.number, self.random.choice(self.KEYS)
        how = self.random.choice(("set", "set", "tagged", "delete", "clear", "invalidate", "add"))

        def note(*keys: str) -> Callable[[], None]:
            return lambda: self.floors.update(dict.fromkeys(keys, number))

        match how:
            case "set":
                self.tagged.discard(key)
                return cache.set(key, number), note(key)
            case "tagged":
                self.tagged.add(key)
                return cache.set(key, number, tags=["t"]), note(key)
            case "delete":
                self.tagged.discard(key)
                return cache.delete(key), note(key)
            case "clear":
                self.tagged.clear()
                return cache.clear(), note(*self.KEYS)
            case "invalidate":
                tagged = tuple(self.tagged)
                self.tagged.clear()
                return cache.invalidate_tags("t"), note(*tagged)
            case _:
                return cache.add(key, number), lambda: None

    def check(self, key: str, floor: int, value: int | None) -> None:
        if value is not None:
            self.seen += 1
            if value < floor:
                self.wrong.append((key, floor, value))


SECONDS = 1.0


@pytest.mark.parametrize("seed", [1, 2])
def test_threads_never_see_what_was_changed_before_they_asked(
    proxy: WireProxy, prefix: str, seed: int
) -> None:
    hammer = Hammer(seed)
    with octavo.connect(proxy.url, prefix=prefix) as client:
        cache = cache_of(client)

        def change() -> None:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                for _ in range(hammer.random.randrange(4)):
                    cache.get(hammer.random.choice(hammer.KEYS))
                _, note = hammer.next_change(cache)
                note()
            hammer.ended = True

        def read(number: int) -> None:
            while not hammer.ended:
                for key in hammer.KEYS:
                    floor = hammer.floors[key]
                    value = cache.get(key) if number else cache.get_many([key]).get(key)
                    hammer.check(key, floor, value)

        threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
        threads.append(threading.Thread(target=change))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert cache.stats().local > 100
    assert not hammer.wrong
    assert hammer.seen > 100


@pytest.mark.parametrize("seed", [1, 2])
def test_tasks_of_two_event_loops_never_see_what_was_changed_before_they_asked(
    proxy: WireProxy, prefix: str, seed: int
) -> None:
    hammer = Hammer(seed)
    client = octavo.connect_async(proxy.url, prefix=prefix)
    cache = cache_of(client)

    async def change() -> None:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for _ in range(hammer.random.randrange(4)):
                await cache.get(hammer.random.choice(hammer.KEYS))
                await asyncio.sleep(0)
            changing, note = hammer.next_change(cache)
            await changing
            note()
        hammer.ended = True

    async def read() -> None:
        while not hammer.ended:
            for key in hammer.KEYS:
                floor = hammer.floors[key]
                hammer.check(key, floor, await cache.get(key))
            await asyncio.sleep(0)

    async def work(*more: Any) -> None:
        await asyncio.gather(*more, *(read() for _ in range(4)))

    other = threading.Thread(target=lambda: asyncio.run(work()))
    other.start()

    async def all_of_it() -> None:
        await work(change())
        await asyncio.to_thread(other.join)
        assert (await cache.stats()).local > 100
        await client.aclose()

    asyncio.run(all_of_it())
    assert not hammer.wrong
    assert hammer.seen > 100

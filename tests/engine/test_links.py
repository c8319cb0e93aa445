"""The links on which servers tell of changes: when they break, hang, lag, and end."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

import octavo
from octavo.cache import Local
from octavo.engine.links import TRUST
from octavo.testing.waiting import wait_until
from tests.cache import keeping
from tests.cache.keeping import becomes, cache_of, keep, kept, outsider
from tests.engine.lab import eventually
from tests.engine.test_sync import TimeLimit, time_limit

if TYPE_CHECKING:
    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Standalone
    from tests.fix_faces import Connect

pushes = keeping.pushes

FLOWS = pytest.mark.parametrize("face", ["sync", "async"])
SYNC = pytest.mark.parametrize("face", ["sync"])
FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


# The link.


@FLOWS
def test_nothing_kept_is_used_when_the_link_has_broken_and_another_one_is_opened(
    connect: Connect, standalone: Standalone, prefix: str
) -> None:
    cache = cache_of(connect(standalone.url))
    with outsider(standalone.url, prefix) as other:
        for number in range(5):
            other.set("k", number)
            becomes(cache, number)
            keep(cache)
            kill_links(standalone)
            other.set("k", -1)
            # Well before the trust in the link would have lapsed by itself.
            wait_until(lambda: cache.get("k") == -1, "nothing kept is used", timeout=TRUST - 0.5)


def kill_links(server: Standalone) -> None:
    for line in server.cli("CLIENT", "LIST").splitlines():
        about = dict(field.split("=", 1) for field in line.split())
        if "t" in about["flags"]:
            server.cli("CLIENT", "KILL", "ID", about["id"])


@SYNC
def test_without_a_link_every_read_is_the_servers(
    connect: Connect, standalone: Standalone, pushes: WireProxy, prefix: str
) -> None:
    cache = cache_of(connect(standalone.url))
    pushes.refuse()
    with outsider(standalone.url, prefix) as other:
        for number in range(50):
            other.set("k", number)
            assert cache.get("k") == number
            assert cache.get_many(["k"]) == {"k": number}
        assert cache.stats().links == 0
        pushes.accept()
        wait_until(lambda: kept(cache), "a link is opened")
        pushes.refuse()
        pushes.cut()
        wait_until(lambda: not cache.stats().links, "the link is gone")
        other.set("k", "new")
        assert cache.get("k") == "new"
        other.clear()
        assert cache.get("k") is None


@FLOWS
def test_nothing_kept_is_used_for_longer_than_trust_when_the_server_hangs(
    connect: Connect, standalone: Standalone
) -> None:
    cache = cache_of(connect(standalone.url, timeout=1))
    cache.set("k", "v")
    keep(cache)
    standalone.pause()
    paused = looked = time.monotonic()
    while cache.get("k", default="unreached") == "v":
        assert looked - paused <= TRUST
        looked = time.monotonic()
    standalone.resume()
    becomes(cache, "v")
    keep(cache)


@SYNC
def test_nothing_kept_is_used_for_longer_than_trust_when_the_link_alone_hangs(
    connect: Connect, standalone: Standalone, pushes: WireProxy, prefix: str
) -> None:
    cache = cache_of(connect(standalone.url, timeout=1))
    cache.set("k", "old")
    keep(cache)
    with outsider(standalone.url, prefix) as other:
        pushes.hold()
        other.set("k", "new")
        held = looked = time.monotonic()
        while cache.get("k", default="unreached") == "old":
            assert looked - held <= TRUST
            looked = time.monotonic()
        wait_until(lambda: cache.get("k") == "new", "reads go another way")
        pushes.release()
        keep(cache)
        assert cache.get("k") == "new"


@SYNC
def test_a_link_that_lagged_behind_has_told_everything_before_it_is_trusted_again(
    connect: Connect, standalone: Standalone, pushes: WireProxy, prefix: str
) -> None:
    cache = cache_of(connect(standalone.url))
    cache.set("k", "old")
    keep(cache)
    with outsider(standalone.url, prefix) as other:
        pushes.delay(reply=0.4)
        other.set("k", "new")
        becomes(cache, "new")
        for _ in range(20):
            assert cache.get("k") == "new"


@SYNC
def test_a_crowd_of_threads_opens_one_link(
    connect: Connect, standalone: Standalone, pushes: WireProxy
) -> None:
    cache = cache_of(connect(standalone.url))
    threads = [threading.Thread(target=keep, args=(cache,)) for _ in range(30)]
    cache.set("k", "v")
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pushes.accepted == 1


# Ends.


def links_alive() -> int:
    return sum(thread.name == "octavo-link" for thread in threading.enumerate())


def connections(server: Standalone) -> int:
    return len(server.cli("CLIENT", "LIST").splitlines()) - 1


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("end", ["close", "collect"])
def test_a_client_that_has_ended_leaves_no_thread_and_no_connection(
    standalone: Standalone, end: str
) -> None:
    before = links_alive()
    client = octavo.connect(standalone.url)
    cache = cache_of(client)
    cache.set("k", "v")
    keep(cache)
    if end == "close":
        client.close()
        wait_until(lambda: links_alive() <= before, "the thread has ended")
    del client, cache
    gc.collect()
    wait_until(lambda: links_alive() <= before, "the thread has ended")
    wait_until(lambda: connections(standalone) == 0, "the connections are closed")


async def test_an_async_client_that_has_ended_leaves_no_connection(
    standalone: Standalone,
) -> None:
    for end in ("close", "collect"):
        client = octavo.connect_async(standalone.url)
        cache = cache_of(client)
        await cache.set("k", "v")
        async with asyncio.timeout(10):
            while (await cache.fetch("k")).outcome != "local":
                await asyncio.sleep(0.005)
        if end == "close":
            await client.aclose()
        del client, cache
        gc.collect()
        await eventually(lambda: connections(standalone) == 0, "the connections are closed")


def test_what_was_kept_on_an_event_loop_is_not_used_when_that_has_ended(
    standalone: Standalone, prefix: str
) -> None:
    client = octavo.connect_async(standalone.url, prefix=prefix)
    cache = cache_of(client)

    async def see(value: str) -> None:
        async with asyncio.timeout(10):
            assert await cache.get("k") == value
            while (await cache.fetch("k")).outcome != "local":
                await asyncio.sleep(0.005)

    with outsider(standalone.url, prefix) as other:
        for value in ("first", "second", "third"):
            other.set("k", value)
            asyncio.run(see(value))
    asyncio.run(client.aclose())


@FORKS
def test_a_forked_child_keeps_nothing_and_has_a_link_of_its_own(
    standalone: Standalone, prefix: str
) -> None:
    with (
        octavo.connect(standalone.url, prefix=prefix) as client,
        outsider(standalone.url, prefix) as other,
    ):
        cache = cache_of(client)
        cache.set("k", "old")
        keep(cache)
        told, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.read(told, 1)
                assert cache.get("k") == "new"
                keep(cache)
                cache.set("child", "here")
                becomes(cache, "newer")
                status = 0
            finally:
                os._exit(status)
        assert kept(cache)
        other.clear()
        other.set("k", "new")
        os.write(tell, b"x")
        becomes(cache, "new")
        wait_until(lambda: other.get("child"), "the child keeps the new value")
        keep(cache)
        other.set("k", "newer")
        becomes(cache, "newer")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        os.close(told)
        os.close(tell)


# Interrupts.


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_time_limit_at_any_moment_never_shifts_a_reply(
    standalone: Standalone, prefix: str
) -> None:
    wrong, stop = list[object](), threading.Event()
    with octavo.connect(standalone.url, prefix=prefix, timeout=2.0) as client:
        cache = cache_of(client, local=Local(max_entries=1), on_error="raise")

        def read(keys: list[str]) -> None:
            wrong.extend((key, found) for key in keys if (found := cache.get(key)) != key)

        def hammer(keys: list[str]) -> None:
            while not stop.is_set():
                read(keys)

        shelves = [[f"k-{i}-{j}" for j in range(20)] for i in range(3)]
        for keys in shelves:
            cache.set_many({key: key for key in keys})
        threads = [threading.Thread(target=hammer, args=(keys,)) for keys in shelves[1:]]
        for thread in threads:
            thread.start()
        try:
            for number in range(120):
                # Only on a link that is up: while redis-py logs in, it may crash hiredis.
                wait_until(lambda: kept(cache, "k-0-0") or cache.stats().links, "a link is up")
                read(shelves[0])
                with suppress(TimeLimit), time_limit() as arm:
                    arm(0.00005 + number % 97 * 0.00001)
                    hammer(shelves[0])
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert not wrong

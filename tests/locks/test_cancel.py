"""Whoever is cancelled or interrupted leaves nothing behind, whatever it was doing."""

from __future__ import annotations

import asyncio
import random
import signal
import traceback
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import LockTimeout
from octavo.testing.waiting import wait_until
from tests.engine.lab import eventually
from tests.locks.cases import EMBEDDED, EXCLUSIVES

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import FrameType

    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from tests.fix_servers import Server
    from tests.locks.cases import Make, Outside

SEED = random.randrange(1_000_000)


@pytest.fixture(autouse=True)
def dice() -> random.Random:
    """Random numbers, whose seed a failure shows."""
    print(f"seed {SEED}")
    return random.Random(SEED)


# Tasks.


async def cancelled(task: asyncio.Task[Any]) -> bool:
    """Cancel a task and wait for its end; return whether it was in time."""
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
    return task.cancelled()


@EMBEDDED
@EXCLUSIVES
async def test_acquiring_what_is_held_leaves_nothing_when_it_is_cancelled(
    make: Make,
    job: str,
    server: Server,
    prefix: str,
    dice: random.Random,
    outside: Callable[..., Outside],
) -> None:
    keys = outside(job)
    async with octavo.connect_async(server.url, prefix=prefix) as db:
        lease = await make(db).acquire()
        for _ in range(100):
            task = asyncio.create_task(make(db).acquire())
            await asyncio.sleep(dice.uniform(0, 0.003))
            assert await cancelled(task)
        assert keys.queue == []
        assert keys.leases.keys() == keys.owners == {lease.owner}
        assert await lease.release() is True
    assert keys.idle


@EMBEDDED
@EXCLUSIVES
async def test_acquiring_what_is_free_leaves_nothing_when_it_is_cancelled(
    make: Make,
    job: str,
    server: Server,
    prefix: str,
    dice: random.Random,
    outside: Callable[..., Outside],
) -> None:
    keys, late = outside(job), 0

    async def hold() -> None:
        async with make(db):
            await asyncio.sleep(0.0005)

    async with octavo.connect_async(server.url, prefix=prefix) as db:
        for _ in range(300):
            task = asyncio.create_task(hold())
            await asyncio.sleep(dice.uniform(0, 0.003))
            late += not await cancelled(task)
        assert keys.idle
    assert 0 < late < 300, "some are cancelled, and some are not"


@EMBEDDED
@pytest.mark.parametrize("fair", [True, False])
async def test_many_who_pass_it_on_to_each_other_leave_nothing_when_they_are_cancelled(
    fair: bool, server: Server, prefix: str, dice: random.Random, outside: Callable[..., Outside]
) -> None:
    inside, done = 0, 0

    async def work() -> None:
        nonlocal inside, done
        async with db.lock("x", fair=fair):
            inside += 1
            try:
                assert inside == 1
                await asyncio.sleep(0.0001)
            finally:
                inside -= 1
            done += 1

    async def trouble() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(dice.uniform(0, 0.3))
        await cancelled(task)

    async with octavo.connect_async(server.url, prefix=prefix) as db:
        for _ in range(3):
            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                for _ in range(100):
                    group.create_task(trouble())
            assert outside().idle
    assert 0 < done < 300


@EMBEDDED
async def test_releasing_is_finished_when_it_is_cancelled(
    server: Server, prefix: str, dice: random.Random, outside: Callable[..., Outside]
) -> None:
    async with octavo.connect_async(server.url, prefix=prefix) as db:
        for _ in range(100):
            lease = await db.lock("x").acquire()
            task = asyncio.create_task(lease.release())
            await asyncio.sleep(dice.choice((0, 0, dice.uniform(0, 0.001))))
            await cancelled(task)
            assert outside().leases == {}
            assert await lease.release() is True
        assert outside().idle


async def test_what_is_cancelled_several_times_leaves_nothing(
    proxy: WireProxy, prefix: str, servers: Any
) -> None:
    async with octavo.connect_async(proxy.url, prefix=prefix) as db:
        await (await db.lock("x").acquire()).release()
        proxy.delay(reply=0.02)
        for hold in (True, False):
            for _ in range(5):
                lease = await db.lock("x").acquire() if hold else None
                call = db.lock("x").try_acquire() if lease is None else lease.release()
                task: asyncio.Task[Any] = asyncio.create_task(call)
                for _ in range(4):
                    await asyncio.sleep(0.005)
                    task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                assert (again := await db.lock("x").try_acquire()) is not None  # noqa: RUF018
                await again.release()
        proxy.calm()


@EMBEDDED
async def test_a_timeout_leaves_nothing(
    server: Server, prefix: str, outside: Callable[..., Outside]
) -> None:
    async with octavo.connect_async(server.url, prefix=prefix) as db:
        async with db.lock("x"):
            for _ in range(10):
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.005):
                        await asyncio.create_task(db.lock("x").acquire())
                with suppress(TimeoutError):
                    await asyncio.wait_for(db.lock("x").acquire(wait=5), 0.005)
            await eventually(lambda: outside().queue == [], "nobody waits")
        assert outside().idle


@EMBEDDED
async def test_a_client_that_is_still_connecting_leaves_nothing(
    server: Server, prefix: str, dice: random.Random, outside: Callable[..., Outside]
) -> None:
    for _ in range(30):
        db = octavo.connect_async(server.url, prefix=prefix)
        task = asyncio.create_task(db.lock("x").acquire())
        await asyncio.sleep(dice.uniform(0, 0.003))
        await cancelled(task)
        if not task.cancelled():
            await task.result().release()
        await db.aclose()
    assert outside().idle


@EMBEDDED
async def test_a_program_that_ends_leaves_no_one_waiting(
    server: Server, prefix: str, outside: Callable[..., Outside]
) -> None:
    async def program() -> None:
        async with octavo.connect_async(server.url, prefix=prefix) as db:
            tasks = [asyncio.create_task(db.lock("x").acquire()) for _ in range(20)]
            await eventually(lambda: len(outside().queue) == 19, "all wait")
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for task in tasks:
                if not task.cancelled():
                    await task.result().release()

    await asyncio.to_thread(asyncio.run, program())
    assert outside().idle


# Threads: an exception that a signal raises at any moment.


STRUCK = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
BY_THREAD = pytest.mark.timeout(60, method="thread")  # the other method needs the signal


class Interrupt(BaseException):
    """What a signal raises, as Ctrl-C raises KeyboardInterrupt."""


@contextmanager
def interrupted_in(seconds: float) -> Generator[None]:
    """Raise `Interrupt` so many seconds from now, unless the block is over by then."""

    def interrupt(_: int, __: FrameType | None) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def struck(error: BaseException, *functions: str) -> bool:
    """Whether it struck in one of these functions, or in what they have called."""
    frames = [frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)]
    return not set(functions).isdisjoint(frames)


def struck_first(error: BaseException, function: str) -> bool:
    """Whether it struck before a function could do anything: Python itself has no remedy."""
    *_, (frame, line), _handler = traceback.walk_tb(error.__traceback__)
    return frame.f_code.co_name == function and line == frame.f_code.co_firstlineno


@EMBEDDED
@BY_THREAD
@STRUCK
@pytest.mark.parametrize("held", [True, False])
def test_acquiring_leaves_nothing_when_it_is_interrupted(
    held: bool,
    client: Octavo[Sync],
    other: Octavo[Sync],
    dice: random.Random,
    outside: Callable[..., Outside],
) -> None:
    keys, times = outside(), 0
    for _ in range(150):
        holder = other.lock("x").acquire() if held else None
        lease = None
        try:
            with interrupted_in(dice.uniform(0.00001, 0.005 if held else 0.0008)):
                lease = client.lock("x", ttl=1).acquire(wait=0.003 if held else None)
        except LockTimeout:
            pass
        except Interrupt as error:
            if struck(error, "within"):
                times += 1
                assert keys.leases.keys() == ({holder.owner} if holder else set())
                assert keys.queue == []
        if lease is not None:
            lease.release()
        if holder is not None:
            holder.release()
        wait_until(lambda: not keys.leases, "one that its caller has not got ends", timeout=4)
    assert times > 10
    assert keys.idle


@EMBEDDED
@BY_THREAD
@STRUCK
def test_a_release_that_was_interrupted_is_finished_or_may_be_called_again(
    client: Octavo[Sync], dice: random.Random, outside: Callable[..., Outside]
) -> None:
    keys, times = outside(), 0
    for _ in range(200):
        lease = client.lock("x", ttl=2).acquire(wait=3)
        try:
            with interrupted_in(dice.uniform(0.00001, 0.0005)):
                lease.release()
        except Interrupt as error:
            if struck(error, "give_back") and struck(error, "_reply"):
                times += 1
                assert keys.leases == {}
        assert lease.release() is True
        assert keys.leases == {}
    assert times > 10
    assert keys.idle


@EMBEDDED
@BY_THREAD
@STRUCK
def test_a_client_that_was_interrupted_goes_on(client: Octavo[Sync], dice: random.Random) -> None:
    fences = list[int]()
    for _ in range(200):
        lease = None
        try:
            with interrupted_in(dice.uniform(0.00001, 0.003)):
                for _ in range(50):  # an exception in a finalizer is lost
                    lease = client.lock("x", ttl=0.1).acquire(wait=3)
                    fences.append(lease.fence)
                    lease.release()
        except Interrupt:
            if lease is not None:
                lease.release()
    fences.append(client.lock("x").acquire(wait=3).fence)
    assert fences == sorted(set(fences))
    assert len(fences) > 100


@EMBEDDED
@BY_THREAD
@STRUCK
def test_a_block_that_is_interrupted_gives_it_back(
    client: Octavo[Sync], dice: random.Random, outside: Callable[..., Outside]
) -> None:
    lock, times = client.lock("x", ttl=0.2), 0
    for _ in range(500):
        try:
            with interrupted_in(dice.uniform(0.00001, 0.001)):
                for _ in range(50):  # an exception in a finalizer is lost
                    with lock:
                        pass
        except Interrupt as error:
            times += struck(error, "__enter__", "__exit__")
            if struck_first(error, "__exit__"):
                with suppress(RuntimeError):  # it may have been the lease's own
                    lock.__exit__(None, None, None)
        wait_until(lambda: not outside().leases, "it is given back, or ends", timeout=4)
    assert times > 100
    assert outside().idle

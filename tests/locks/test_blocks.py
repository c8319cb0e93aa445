"""Blocks that hold a lease, and how they end when it is lost."""

# ruff: noqa: PT012 - what whole blocks raise is what is tested

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import LockLost
from octavo.testing.waiting import wait_until
from tests.locks.cases import EMBEDDED

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Async, Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from tests.fix_servers import Server
    from tests.locks.cases import Outside

SOON = 1.0  # a ttl


# Of threads.


@EMBEDDED
def test_a_block_that_ends_without_the_lease_raises(
    client: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    lock = client.lock("x", ttl=SOON)
    for take in (lambda: lock, lock.acquire):
        with pytest.raises(LockLost, match="'x'") as raised, take() as lease:
            outside().delete()
            assert lease.lost.wait(5)
        assert raised.value.fence == lease.fence
        assert raised.value.operation is None or "lock" in raised.value.operation
    with pytest.raises(LockLost), client.lock("x", ttl=60) as lease:
        outside().delete()
    with pytest.raises(LockLost), client.lock("x", ttl=60) as lease:
        outside().delete()
        lease.extend()


@EMBEDDED
def test_a_block_keeps_its_own_error(client: Octavo[Sync], outside: Callable[..., Outside]) -> None:
    with pytest.raises(ZeroDivisionError), client.lock("x", ttl=SOON) as lease:
        outside().delete()
        lease.lost.wait(5)
        raise ZeroDivisionError


def test_a_block_ends_though_the_server_is_gone(
    proxy: WireProxy, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = octavo.connect(proxy.url, prefix=prefix, timeout=1)
    with client.lock("x", ttl=5) as lease:
        proxy.refuse()
        proxy.cut()
    assert not lease.valid
    assert "could not release 'x', which ends with its ttl" in caplog.text
    client.close()
    proxy.accept()


# Of tasks.


@pytest.fixture
def url(server: Server) -> str:
    return server.url


async def sleep_on() -> None:
    await asyncio.sleep(20)
    raise AssertionError("it was not cancelled")


def cancelling() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


@EMBEDDED
async def test_a_body_is_cancelled_when_the_lease_is_lost_and_the_block_says_so(
    url: str, prefix: str, outside: Callable[..., Outside]
) -> None:
    seen = list[type[BaseException]]()
    async with octavo.connect_async(url, prefix=prefix) as db:
        lock = db.lock("x", ttl=SOON)
        for hold in (lambda: lock, lock.acquire):
            began = time.monotonic()
            with pytest.raises(LockLost, match="'x'") as raised:
                held: Any = hold()
                async with held if held is lock else await held as lease:
                    outside().delete()
                    try:
                        await sleep_on()
                    except BaseException as error:
                        seen.append(type(error))
                        raise
            assert time.monotonic() - began < 5
            assert raised.value.fence == lease.fence
            assert isinstance(raised.value.__cause__, asyncio.CancelledError)
            assert cancelling() == 0
            await asyncio.sleep(0)  # which it may again
    assert seen == [asyncio.CancelledError] * 2


@EMBEDDED
@pytest.mark.parametrize("how", ["check", "extend", "thread", "check and go on"])
async def test_a_body_that_finds_out_itself_ends_in_the_same_way(
    how: str, url: str, prefix: str, outside: Callable[..., Outside]
) -> None:
    asyncio.get_running_loop().set_debug(enabled=True)
    async with octavo.connect_async(url, prefix=prefix) as db:
        lock = db.lock("x", ttl=0.1 if "check" in how or how == "thread" else 60, renew=False)
        for _ in range(3):
            with pytest.raises(LockLost):
                async with lock as lease:
                    if how == "extend":
                        outside().delete()
                        await lease.extend()
                    elif how == "thread":
                        await asyncio.to_thread(time.sleep, 0.05)
                        await asyncio.to_thread(poll, lease)
                    elif how == "check":
                        poll(lease)
                    else:
                        with pytest.raises(LockLost):
                            poll(lease)
                        await sleep_on()
            assert cancelling() == 0
            await asyncio.sleep(0)


def poll(lease: Any) -> None:
    """Check until it is lost, without a turn of the loop."""
    while True:
        lease.check()
        time.sleep(0.005)


@EMBEDDED
async def test_a_body_without_an_await_ends_in_the_same_way(
    url: str, prefix: str, outside: Callable[..., Outside]
) -> None:
    async with octavo.connect_async(url, prefix=prefix) as db:
        lock = db.lock("x", ttl=0.1, renew=False)
        with pytest.raises(LockLost):
            async with lock:
                wait_until(lambda: not outside().leases, "it ends")
        lease = await lock.acquire()
        await lease.lost.wait()
        with pytest.raises(LockLost):
            async with lease:
                pass
        with pytest.raises(LockLost):
            async with lease:
                await sleep_on()
        assert cancelling() == 0
        await asyncio.sleep(0)


@EMBEDDED
async def test_a_body_keeps_its_own_error(
    url: str, prefix: str, outside: Callable[..., Outside]
) -> None:
    async with octavo.connect_async(url, prefix=prefix) as db:
        with pytest.raises(ZeroDivisionError):
            async with db.lock("x", ttl=SOON):
                outside().delete()
                try:
                    await sleep_on()
                finally:
                    raise ZeroDivisionError
        assert cancelling() == 0
        with pytest.raises(ZeroDivisionError):
            async with db.lock("x", ttl=SOON) as lease:
                outside().delete()
                try:
                    await sleep_on()
                except asyncio.CancelledError:
                    await asyncio.sleep(0.05)
                    assert lease.lost
                    raise ZeroDivisionError from None
        assert cancelling() == 0


@EMBEDDED
async def test_a_body_that_swallows_the_cancellation_ends_in_the_same_way(
    url: str, prefix: str, outside: Callable[..., Outside]
) -> None:
    async with octavo.connect_async(url, prefix=prefix) as db:
        with pytest.raises(LockLost):
            async with db.lock("x", ttl=SOON):
                outside().delete()
                with suppress(asyncio.CancelledError):
                    await sleep_on()
        assert cancelling() == 0


@EMBEDDED
async def test_a_timeout_around_the_block_stays_a_timeout(
    url: str, prefix: str, outside: Callable[..., Outside]
) -> None:
    async with octavo.connect_async(url, prefix=prefix) as db:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), db.lock("x"):
                await sleep_on()
        assert outside().idle
        with pytest.raises(LockLost):
            async with asyncio.timeout(10), db.lock("x", ttl=SOON):
                outside().delete()
                await sleep_on()
        assert cancelling() == 0


@EMBEDDED
async def test_a_timeout_inside_of_the_block_stays_a_timeout(
    url: str, prefix: str, outside: Callable[..., Outside]
) -> None:
    async with octavo.connect_async(url, prefix=prefix) as db:
        async with db.lock("x"):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await sleep_on()
        assert outside().idle
        with pytest.raises(LockLost):
            async with db.lock("x", ttl=SOON), asyncio.timeout(10):
                outside().delete()
                await sleep_on()
        assert cancelling() == 0


@EMBEDDED
async def test_a_task_that_is_cancelled_is_cancelled_though_the_lease_is_lost_as_well(
    url: str, prefix: str, outside: Callable[..., Outside]
) -> None:
    ready = asyncio.Event()

    async def work(db: Octavo[Async]) -> None:
        async with db.lock("x", ttl=SOON) as lease:
            outside().delete()
            ready.set()
            try:
                await sleep_on()
            except asyncio.CancelledError:
                await lease.lost.wait()
                raise

    async with octavo.connect_async(url, prefix=prefix) as db:
        task = asyncio.create_task(work(db))
        await ready.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()


@EMBEDDED
async def test_a_loss_ends_a_task_group_as_an_error_does(
    url: str, prefix: str, outside: Callable[..., Outside]
) -> None:
    others = list[str]()

    async def work(db: Octavo[Async]) -> None:
        async with db.lock("x", ttl=SOON):
            outside().delete()
            await sleep_on()

    async def another() -> None:
        try:
            await sleep_on()
        except asyncio.CancelledError:
            others.append("cancelled")
            raise

    async with octavo.connect_async(url, prefix=prefix) as db:
        with pytest.raises(ExceptionGroup) as raised:
            async with asyncio.TaskGroup() as group:
                group.create_task(another())
                group.create_task(work(db))
        assert [type(error) for error in raised.value.exceptions] == [LockLost]
        assert others == ["cancelled"]
        others.clear()
        before = cancelling()  # Python 3.11 counts the group's own cancellation for ever
        with pytest.raises(LockLost):
            async with db.lock("x", ttl=SOON), asyncio.TaskGroup() as group:
                group.create_task(another())
                outside().delete()
        assert others == ["cancelled"]
        assert cancelling() == before


@EMBEDDED
@pytest.mark.parametrize("lost", ["outer", "inner", "both"])
async def test_of_nested_blocks_the_one_whose_lease_is_lost_says_so(
    lost: str, url: str, prefix: str, outside: Callable[..., Outside]
) -> None:
    ended = list[str]()
    async with octavo.connect_async(url, prefix=prefix) as db:
        with pytest.raises(LockLost, match="'outer'" if lost != "inner" else "'inner'"):
            async with db.lock("outer", ttl=SOON):
                try:
                    async with db.lock("inner", ttl=SOON):
                        for name in ("outer", "inner") if lost == "both" else (lost,):
                            outside(name=name).delete("leases", "who")
                        await sleep_on()
                except BaseException as error:
                    ended.append(type(error).__name__)
                    raise
        assert cancelling() == 0
        assert ended[0] in ("LockLost", "CancelledError")
        assert (ended[0] == "CancelledError") == (lost == "outer") or lost == "both"
        for name in ("outer", "inner"):
            assert outside(name=name).leases == {}


@EMBEDDED
async def test_what_has_been_held_is_forgotten(url: str, prefix: str) -> None:
    async with octavo.connect_async(url, prefix=prefix) as db:
        async with db.lock("x", reentrant=True) as lease:
            for _ in range(20):
                async with db.lock("x", reentrant=True):
                    pass
            assert len(lease.grant.on_loss) <= 1
        assert lease.grant.on_loss == []

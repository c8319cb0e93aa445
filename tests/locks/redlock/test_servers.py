"""A Redlock while servers die, hang and forget."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import ConnectionLost, LockLost
from octavo.testing import faults
from octavo.testing.waiting import wait_until
from tests.engine.lab import eventually, took
from tests.locks.cases import FLOWS
from tests.locks.redlock.rack import (
    THREE_AND_FIVE,
    async_clients,
    granting,
    grants_all,
    redlock,
)

if TYPE_CHECKING:
    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect
    from tests.locks.redlock.rack import Rack


@FLOWS
@THREE_AND_FIVE
@pytest.mark.usefixtures("patient")
def test_a_minority_that_is_down_is_not_waited_for(
    clients: list[Any], others: list[Any], rack: Rack
) -> None:
    for server in rack.servers[: (len(clients) - 1) // 2]:
        server.kill()
    with took(0, 0.9):
        lease = redlock(clients).try_acquire()
    assert lease.valid
    assert redlock(others).try_acquire() is None
    with took(0, 0.9):
        assert lease.release() is True
    assert redlock(others).acquire(wait=5).release() is True


@FLOWS
def test_without_a_majority_it_is_an_error_that_tells_how_many_answered(
    clients: list[Any], rack: Rack
) -> None:
    for server in rack.servers[:2]:
        server.kill()
    with pytest.raises(ConnectionLost, match="1 of 3 servers answered in time, not 2"):
        redlock(clients).try_acquire()
    with took(0.2, 4), pytest.raises(ConnectionLost, match="1 of 3 servers answered"):
        redlock(clients).acquire(wait=0.2)
    for server in rack.servers[1:]:
        server.stop()
    with pytest.raises(ConnectionLost, match="0 of 3 servers answered"):
        redlock(clients).try_acquire()
    healing = threading.Timer(0.3, rack.heal)
    healing.start()
    assert redlock(clients).acquire(wait=10).release() is True
    healing.join()


@FLOWS
@pytest.mark.usefixtures("patient")
def test_a_server_that_hangs_is_not_waited_for_and_is_not_asked_again_and_again(
    connect: Connect, proxies: list[WireProxy], others: list[Any], rack: Rack
) -> None:
    lock = redlock([connect(proxy.url, timeout=10) for proxy in proxies])
    lock.acquire(wait=5).release()
    with faults.pause(rack.servers[1]):
        with took(0, 2.5):
            lease = lock.try_acquire()
        assert lease.valid
        assert redlock(others).try_acquire() is None
        assert lease.release() is True
        wait_until(lambda: lock._own._servers[1].silent(3.0), "it has been silent for long")
        proxies[1].reset()
        for _ in range(10):
            lock.acquire(wait=5).release()
            if not lock._own._servers[1].silent(3.0):
                break
        assert sum(proxies[1].commands.values()) < 5
    rack.wait_until_idle()

    def takes_part() -> bool:
        with_all = lock.acquire(wait=5)
        time.sleep(0.02)  # for the last of three
        count = granting(with_all)
        with_all.release()
        return count == 3

    wait_until(takes_part, "it takes part again")


@FLOWS
@pytest.mark.usefixtures("patient")
def test_a_majority_that_hangs_is_waited_for_a_moment(connect: Connect, rack: Rack) -> None:
    clients = [connect(url, timeout=20) for url in rack.urls]
    lock = redlock(clients)
    lock.acquire(wait=5).release()
    with faults.pause(rack.servers[0]), faults.pause(rack.servers[2]):
        for within in (10, 2.5):  # the second time they are known to hang
            with took(0, within), pytest.raises(ConnectionLost, match="1 of 3"):
                lock.try_acquire()
        with took(0, 2.5), pytest.raises(ConnectionLost, match="1 of 3"):
            redlock(clients, ttl=1).try_acquire()
    assert lock.acquire(wait=10).release() is True
    rack.wait_until_idle()


@FLOWS
def test_a_grant_that_comes_late_joins_the_others(
    connect: Connect, proxies: list[WireProxy], rack: Rack
) -> None:
    lock = redlock([connect(proxy.url) for proxy in proxies], ttl=3)
    lock.acquire(wait=5).release()
    proxies[0].delay(reply=0.8)
    with took(0, 0.7):
        lease = lock.acquire(wait=5)
    assert granting(lease) == 2
    wait_until(lambda: granting(lease) == 3, "the third grant has come")
    proxies[0].calm()
    rack.servers[1].kill()
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 3.5 or not lease.valid, "it is renewed")
    assert lease.valid
    assert lease.release() is True


@FLOWS
@pytest.mark.parametrize("where", ["request", "reply"])
def test_a_grant_that_comes_after_the_release_is_given_back(
    where: str, connect: Connect, proxies: list[WireProxy], rack: Rack
) -> None:
    lock = redlock([connect(proxy.url) for proxy in proxies])
    lock.acquire(wait=5).release()
    proxies[0].delay(**{where: 0.3})
    lock.acquire(wait=5).release()
    proxies[0].calm()
    wait_until(lambda: not lock._own._servers[0].silent(0.0), "it has answered")
    rack.wait_until_idle()


@FLOWS
def test_a_grant_whose_reply_is_lost_is_given_up(
    connect: Connect, proxies: list[WireProxy], rack: Rack
) -> None:
    lock = redlock([connect(proxy.url) for proxy in proxies])
    lock.acquire(wait=5).release()
    for count in (1, 2, 3):
        for proxy in proxies[:count]:
            proxy.drop_replies()
        if count == 1:
            lock.try_acquire().release()
        else:
            with pytest.raises(ConnectionLost):
                lock.try_acquire()
        rack.wait_until_idle()


@FLOWS
@THREE_AND_FIVE
def test_it_is_held_while_a_minority_dies_and_lost_before_its_end_with_a_majority(
    clients: list[Any], rack: Rack
) -> None:
    lost: list[Any] = []
    lease = redlock(clients, ttl=2, on_lost=lost.append).acquire(wait=5)
    wait_until(lambda: granting(lease) == len(clients), "all servers grant it")
    some = (len(clients) - 1) // 2
    for server in rack.servers[:some]:
        server.kill()
    began = time.monotonic()
    wait_until(lambda: not lease.valid or time.monotonic() - began > 2.5, "it is renewed")
    assert lease.valid
    assert not lease.lost.is_set()
    rack.servers[some].kill()
    with took(0.5, 5):
        assert lease.lost.wait(5) is True
    assert not lease.valid
    with pytest.raises(LockLost, match=f"only {some} of {len(clients)} servers grant it"):
        lease.check()
    wait_until(lambda: lost, "the user is told")
    assert [each.owner for each in lost] == [lease.owner]
    assert lease.release() is False
    with pytest.raises(LockLost):
        lease.check()


@FLOWS
def test_the_user_is_told_of_a_loss_once(clients: list[Any], others: list[Any]) -> None:
    told: list[Any] = []
    lease = redlock(clients, ttl=1.5, on_lost=told.append).acquire(wait=5)
    wait_until(partial(grants_all, lease), "all servers grant it")
    for other in others:
        other.locks.break_("x")
    assert lease.lost.wait(5) is True
    wait_until(lambda: granting(lease) == 0, "all have refused it")
    wait_until(lambda: told, "the user is told")
    time.sleep(0.1)  # in which it could be told again
    assert len(told) == 1


@FLOWS
def test_a_lease_that_a_majority_had_ended_is_found_lost_at_its_release(
    clients: list[Any], others: list[Any], rack: Rack
) -> None:
    told: list[Any] = []
    lock = redlock(clients, on_lost=told.append)
    for number, held in ((1, True), (2, False)):
        lease = lock.acquire(wait=5)
        wait_until(partial(grants_all, lease), "all servers grant it")
        for other in others[:number]:
            other.locks.break_("x")
        assert [lease.release(), lease.release()] == [held, held]
        assert lease.lost.is_set() is not held
    with pytest.raises(LockLost, match="2 of 3 servers say that it had ended"):
        lease.check()
    wait_until(lambda: told, "the user is told")
    assert [each.owner for each in told] == [lease.owner]
    rack.wait_until_idle()


def test_a_body_in_async_code_is_cancelled_at_the_loss(rack: Rack, prefix: str) -> None:
    async def main() -> None:
        async with async_clients(rack.urls, prefix) as clients:
            told: list[Any] = []

            async def tell(lease: Any) -> None:
                told.append(lease)

            lock = octavo.Redlock(clients, "x", ttl=0.6, on_lost=tell)

            async def body() -> None:
                async with lock:
                    for server in rack.servers[:2]:
                        server.kill()
                    await asyncio.sleep(10)

            with pytest.raises(LockLost, match="of 3 servers grant it"):
                await body()
            await eventually(lambda: told, "the user is told")

    with took(0.1, 6):
        asyncio.run(main())


def test_a_server_that_forgets_lets_nobody_else_in(others: list[Any], rack: Rack) -> None:
    lock = redlock(others, ttl=2)
    lease = lock.acquire(wait=5)
    wait_until(partial(grants_all, lease), "all servers grant it")
    rack.servers[0].kill()
    rack.heal()
    assert lock.try_acquire() is None
    wait_until(lambda: granting(lease) == 2, "its loss is noticed")
    assert lease.valid
    assert lock.try_acquire() is None
    assert lease.release() is True


def test_a_majority_that_forgets_lets_another_in_with_a_greater_fence(
    others: list[Any], rack: Rack
) -> None:
    lease = redlock(others, ttl=2).acquire(wait=5)
    for server in rack.servers[:2]:
        server.kill()
    rack.heal()
    second = redlock(others, ttl=2).acquire(wait=5)
    assert second.fence > lease.fence
    assert lease.lost.wait(5) is True
    assert second.release() is True

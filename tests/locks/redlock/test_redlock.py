"""The lock on a majority of independent servers: granting it, and what that costs."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import AccessDenied, LockTimeout, WouldDeadlock
from octavo.locks import redlock_votes
from octavo.testing.waiting import wait_until
from tests.engine.lab import took
from tests.fix_servers import at_once
from tests.locks.cases import FLOWS
from tests.locks.redlock.rack import (
    THREE_AND_FIVE,
    async_clients,
    granting,
    grants_all,
    redlock,
    taken,
)

if TYPE_CHECKING:
    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect
    from tests.locks.redlock.rack import Rack

pytestmark = pytest.mark.usefixtures("patient")


# What is refused.


@pytest.mark.parametrize(
    ("clients", "error", "says"),
    [
        ((), ValueError, "clients must be at least one"),
        ("redis://a", TypeError, "clients must be several, not the one text"),
        (5, TypeError, "clients must be several"),
        (["redis://a"], TypeError, "clients must be what octavo.connect"),
        ([None], TypeError, "clients must be what octavo.connect"),
    ],
)
def test_what_are_not_clients_is_refused(clients: Any, error: Any, says: str) -> None:
    with pytest.raises(error, match=says):
        octavo.Redlock(clients, "x")


def test_clients_that_are_not_independent_are_refused() -> None:
    one, two = octavo.connect("redis://a:1"), octavo.connect("redis://b:1")
    for again in (one, octavo.connect("redis://a:1/2"), octavo.connect("valkey://x:y@a:1")):
        with pytest.raises(ValueError, match="different servers, not several of standalone a:1"):
            octavo.Redlock([one, two, again], "x")
    private = [octavo.connect("embedded://?ephemeral") for _ in range(2)]
    octavo.Redlock([*private, one, two], "x")
    with pytest.raises(ValueError, match="different servers"):
        octavo.Redlock([*private, private[0]], "x")


def test_clients_of_several_faces_or_none_are_refused() -> None:
    one, two = octavo.connect("redis://a"), octavo.connect_async("redis://b")
    with pytest.raises(TypeError, match="clients must be all sync or all async"):
        octavo.Redlock([one, two], "x")  # type: ignore[arg-type]
    with one.batch() as batch, pytest.raises(TypeError, match="clients must not be batches"):
        octavo.Redlock([batch], "x")


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"ttl": 0.001}, ValueError, "ttl must be 10 ms"),
        ({"ttl": "5"}, TypeError, "ttl must be"),
        ({"name": ""}, ValueError, "name must not be empty"),
        ({"max_hold": 1, "ttl": 2}, ValueError, "max_hold must be at least ttl"),
        ({"on_lost": 5}, TypeError, "on_lost must be callable"),
        ({"renew": 1}, TypeError, "renew must be True or False"),
    ],
)
def test_bad_options_are_refused_by_name(options: dict[str, Any], error: Any, says: str) -> None:
    with pytest.raises(error, match=says):
        octavo.Redlock([octavo.connect("redis://a")], **{"name": "x"} | options)


def test_a_wait_that_is_none_is_refused(others: list[Any]) -> None:
    with pytest.raises(ValueError, match="wait must be"):
        redlock(others).acquire(wait=-1)


def test_what_a_server_refuses_for_good_is_an_error_at_once(rack: Rack, prefix: str) -> None:
    def wrong(url: str) -> Any:
        return octavo.connect(url.replace("//", "//nobody:wrong@"), prefix=prefix)

    clients = [wrong(url) for url in rack.urls]
    with took(0, 4), pytest.raises(AccessDenied):
        redlock(clients).acquire(wait=5)
    # One server is not a majority.
    clients[1:] = [octavo.connect(url, prefix=prefix) for url in rack.urls[1:]]
    assert redlock(clients).acquire(wait=5).release() is True
    for client in clients:
        client.close()


# Granting and giving back.


@FLOWS
@THREE_AND_FIVE
def test_one_has_it_at_a_time(clients: list[Any], others: list[Any], rack: Rack) -> None:
    lease = redlock(clients).acquire(wait=5)
    assert lease.valid
    assert redlock(others).try_acquire() is None
    assert redlock(clients).try_acquire() is None
    assert lease.release() is True
    assert not lease.valid
    again = redlock(others).acquire(wait=5)
    assert again.owner != lease.owner
    assert again.fence > lease.fence
    assert again.release() is True
    assert [lease.release(), again.release()] == [True, True]
    rack.wait_until_idle()


@FLOWS
def test_a_lease_says_what_it_is(clients: list[Any], rack: Rack) -> None:
    lock = redlock(clients, ttl=20)
    began = time.time()
    lease = lock.acquire(wait=5)
    assert (lock.name, lease.name, lease.weight) == ("x", "x", 1)
    wait_until(lambda: rack.owners == [[lease.owner]] * 3, "all servers grant it")
    assert began - 5 < lease.fence / 1e6 < time.time() + 5
    assert 18 < lease.remaining() < 20
    assert 0 <= lease.held_for < 5
    assert lease.lost.is_set() is False
    assert lease.check() is None
    assert lease.release()
    assert repr(lock._own) == "<Redlock 'x'>"
    assert repr(lease._own) == f"<Lease 'x' fence={lease.fence} it was released>"


def test_it_is_a_context_manager_on_both_faces(others: list[Any], rack: Rack, prefix: str) -> None:
    with redlock(others) as lease:
        assert lease.valid
        with pytest.raises(WouldDeadlock):
            redlock(others).acquire()
        assert redlock(others).try_acquire() is None
    assert not lease.valid
    with redlock(others).acquire(wait=5) as lease:
        assert lease.valid

    async def main() -> None:
        async with async_clients(rack.urls, prefix) as clients:
            async with octavo.Redlock(clients, "x") as lease:
                assert lease.valid
                with pytest.raises(WouldDeadlock):
                    await octavo.Redlock(clients, "x").acquire()
            async with await octavo.Redlock(clients, "x").acquire(wait=5) as again:
                assert again.fence > lease.fence

    asyncio.run(main())
    rack.wait_until_idle()


@FLOWS
def test_on_each_server_it_is_the_lock_of_that_name(
    clients: list[Any], others: list[Any], rack: Rack
) -> None:
    lease = redlock(clients).acquire(wait=5)
    wait_until(partial(grants_all, lease), "all servers grant it")
    for other in others:
        assert other.lock("x").try_acquire() is None
        assert other.locks.holder("x").owner == lease.owner
    lease.release()


@FLOWS
@THREE_AND_FIVE
def test_a_majority_is_enough_and_less_is_not(
    clients: list[Any], others: list[Any], rack: Rack
) -> None:
    most = (len(others) - 1) // 2
    numbers = range(len(others))
    for some in itertools.combinations(numbers, most):
        with taken(others, some):
            assert redlock(clients).try_acquire().release() is True
    for some in itertools.combinations(numbers, most + 1):
        with taken(others, some):
            assert redlock(clients).try_acquire() is None
            owners = [rack.owners[number] for number in numbers if number not in some]
            assert owners == [[]] * (len(others) - most - 1)
    rack.wait_until_idle()


def test_one_server_is_a_majority(rack: Rack, prefix: str) -> None:
    with octavo.connect(rack.urls[0], prefix=prefix) as client:
        lease = redlock([client]).acquire(wait=5)
        assert redlock([client]).try_acquire() is None
        assert lease.release() is True


@FLOWS
def test_who_waits_gets_it_soon_after_it_is_released(
    clients: list[Any], others: list[Any], rack: Rack
) -> None:
    first = redlock(others).acquire(wait=5)
    releasing = threading.Timer(0.3, first.release)
    releasing.start()
    with took(0.2, 6):
        lease = redlock(clients).acquire(wait=10)
    releasing.join()
    assert lease.fence > first.fence
    lease.release()
    rack.wait_until_idle()


@FLOWS
def test_who_waits_too_long_gets_an_error_and_leaves_nothing(
    clients: list[Any], others: list[Any], rack: Rack
) -> None:
    lease = redlock(others).acquire(wait=5)
    wait_until(partial(grants_all, lease), "all servers grant it")
    for wait in (0, 0.2):
        with took(wait, wait + 4), pytest.raises(LockTimeout, match="'x' was not free within 0"):
            redlock(clients).acquire(wait=wait)
    assert rack.owners == [[lease.owner]] * 3
    lease.release()
    rack.wait_until_idle()


# What it costs.


@FLOWS
def test_it_takes_two_round_trips_to_each_server_and_one_to_release(
    connect: Connect, proxies: list[WireProxy]
) -> None:
    clients = [connect(proxy.url) for proxy in proxies]
    lock = redlock(clients)
    for _ in range(3):  # connects, and has every connection know the scripts
        lease = lock.acquire(wait=5)
        wait_until(partial(grants_all, lease), "all servers grant it")
        lease.release()
    for proxy in proxies:
        proxy.reset()
    lease = lock.acquire(wait=5)
    wait_until(partial(grants_all, lease), "all servers grant it")
    trips = [proxy.round_trips for proxy in proxies]
    # The server with the greatest fence knows it, and of the others one is enough.
    assert min(trips) == 1
    assert max(trips) == 2
    lease.release()
    # A server may have been told of the fence after that.
    assert sum(trips) + 3 <= sum(proxy.round_trips for proxy in proxies) <= 3 * 2 + 3


@FLOWS
@THREE_AND_FIVE
def test_all_servers_are_asked_at_the_same_time(connect: Connect, proxies: list[WireProxy]) -> None:
    clients = [connect(proxy.url) for proxy in proxies]
    redlock(clients).acquire(wait=5).release()
    asked = at_once(proxies)
    lease = redlock(clients).acquire(wait=5)
    wait_until(lambda: granting(lease) == len(proxies), "all servers grant it")
    told = at_once(proxies)
    assert lease.release() is True
    assert not asked.broken
    assert not told.broken


def test_the_threads_that_ask_end_when_there_is_nothing_to_ask(
    others: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def threads() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name == "redlock"}

    monkeypatch.setattr(redlock_votes, "_LINGER", 2.0)
    before = threads()
    lock = redlock(others)
    for _ in range(5):
        lock.acquire(wait=5).release()
        assert 0 < len(threads() - before) <= 9
    wait_until(lambda: not threads() - before, "the threads have ended")
    lock.acquire(wait=5).release()

"""The lock on a majority of independent servers."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import random
import threading
import time
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import AccessDenied, ConnectionLost, LockLost, LockTimeout, WouldDeadlock
from octavo.locks import redlock_votes
from octavo.testing import faults
from octavo.testing.histories import Interval, exclusive, fences_increase, load
from octavo.testing.proxy import WireProxy
from octavo.testing.servers import Standalone
from octavo.testing.waiting import wait_until
from tests.engine.lab import eventually, took
from tests.fix_faces import Uniform
from tests.fix_servers import redis_py, require
from tests.locks.cases import FLOWS, Outside
from tests.locks.redlock_workers import contend

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator
    from pathlib import Path

    from octavo import Async, Octavo
    from tests.fix_faces import Connect

HOUR = 3600


class Rack:
    """Servers of which none knows of the others, and what they hold, as seen from outside."""

    def __init__(self, servers: list[Standalone], prefix: str) -> None:
        self.servers = servers
        self._prefix = prefix
        self._base = f"{prefix}:lock:{{x}}"
        clients = [redis_py(server.unix_url) for server in servers]
        self.outside = [Outside(client, prefix, self._base) for client in clients]

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self.servers]

    @property
    def owners(self) -> list[list[str]]:
        """Who holds the lock on each server."""
        return [list(outside.leases) for outside in self.outside]

    @property
    def fences(self) -> list[int]:
        """The last fence that each server knows."""
        key = f"{self._base}:who"
        return [int(each.client.hget(key, "fence") or 0) for each in self.outside]

    def all_know(self, fence: int) -> bool:
        """Whether every server knows a fence, or a greater one."""
        return min(self.fences) >= fence

    def all_last(self, owner: str, seconds: object) -> bool:
        """Whether the lease lasts so long on every server."""
        return all(each.leases[owner] == seconds for each in self.outside)

    def set_fence(self, number: int, ahead: float) -> None:
        """Have a server know a fence so many seconds ahead of the time."""
        fence = round((time.time() + ahead) * 1e6)
        self.outside[number].client.hset(f"{self._base}:who", "fence", fence)

    def forget(self, number: int) -> None:
        """Have a server know nothing."""
        self.outside[number].client.flushall()

    def wait_until_idle(self) -> None:
        """Wait until no server has anything but the last fence."""
        wait_until(
            lambda: all(each.keys == set() or each.idle for each in self.outside),
            "nothing is left behind",
        )

    def heal(self) -> None:
        for server in self.servers:
            if not server.responsive:
                server.heal()

    def close(self) -> None:
        for outside in self.outside:
            outside.client.close()


@pytest.fixture(scope="module")
def five() -> Iterator[list[Standalone]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Standalone(require("valkey"))) for _ in range(5)]


@pytest.fixture(params=[3])
def rack(five: list[Standalone], prefix: str, request: pytest.FixtureRequest) -> Iterator[Rack]:
    """Three servers, or as many as the parameter says."""
    rack = Rack(five[: request.param], prefix)
    yield rack
    rack.heal()
    rack.close()


THREE_AND_FIVE = pytest.mark.parametrize("rack", [3, 5], indirect=True)


@pytest.fixture
def clients(connect: Connect, rack: Rack) -> list[Any]:
    """A client of each server, on the face."""
    return [connect(url, timeout=1) for url in rack.urls]


@pytest.fixture
def others(rack: Rack, prefix: str) -> Iterator[list[Any]]:
    """Other clients of the servers: sync ones."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(octavo.connect(url, prefix=prefix, timeout=1)) for url in rack.urls
        ]


@pytest.fixture
def proxies(rack: Rack) -> Iterator[list[WireProxy]]:
    """A proxy before each server."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(WireProxy(server.address, record=True)) for server in rack.servers
        ]


def redlock(clients: list[Any], name: str = "x", **options: Any) -> Any:
    """Return a Redlock of clients of any face, as it would be on the sync one."""
    if not isinstance(clients[0], Uniform):
        return octavo.Redlock(clients, name, **options)
    own = [client._own for client in clients]
    return Uniform(clients[0]._face, lambda _: octavo.Redlock(own, name, **options))


@asynccontextmanager
async def async_clients(urls: list[str], prefix: str) -> AsyncGenerator[list[Octavo[Async]]]:
    """Connect async clients on this event loop."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(octavo.connect_async(url, prefix=prefix, timeout=1))
            for url in urls
        ]


def granting(lease: Any) -> int:
    """Return how many servers grant a lease, as far as its holder knows."""
    return len(lease._own.grant._counted if isinstance(lease, Uniform) else lease.grant._counted)


def grants_all(lease: Any) -> bool:
    """Whether all three servers grant a lease."""
    return granting(lease) == 3


@contextmanager
def taken(clients: list[Any], numbers: tuple[int, ...]) -> Generator[None]:
    """Have others hold the lock of some servers."""
    leases = [clients[number].lock("x").acquire(wait=5) for number in numbers]
    yield
    for lease in leases:
        lease.release()


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
    with took(0, 1), pytest.raises(AccessDenied):
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
    with took(0.2, 1.5):
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
        with took(wait, wait + 1), pytest.raises(LockTimeout, match="'x' was not free within 0"):
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
    assert sum(proxy.round_trips for proxy in proxies) == sum(trips) + 3


@FLOWS
@THREE_AND_FIVE
def test_all_servers_are_asked_at_the_same_time(connect: Connect, proxies: list[WireProxy]) -> None:
    clients = [connect(proxy.url) for proxy in proxies]
    redlock(clients).acquire(wait=5).release()
    for proxy in proxies:
        proxy.delay(reply=0.2)
    with took(0.4, 0.75):
        lease = redlock(clients).acquire(wait=5)
    with took(0.2, 0.55):
        lease.release()


def test_the_threads_that_ask_end_when_there_is_nothing_to_ask(
    others: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def threads() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name == "redlock"}

    monkeypatch.setattr(redlock_votes, "_LINGER", 0.05)
    before = threads()
    lock = redlock(others)
    for _ in range(5):
        lock.acquire(wait=5).release()
        assert 0 < len(threads() - before) <= 9
    wait_until(lambda: not threads() - before, "the threads have ended")
    lock.acquire(wait=5).release()


# Fences.


@FLOWS
@THREE_AND_FIVE
def test_a_quorum_knows_the_fence_before_the_lease_is_there(
    clients: list[Any], others: list[Any], rack: Rack
) -> None:
    for number in range(len(clients)):
        rack.set_fence(number, HOUR * (number + 1))
        lease = redlock(clients).acquire(wait=5)
        assert sum(fence >= lease.fence for fence in rack.fences) > len(clients) / 2
        shown = [holder.fence for each in others if (holder := each.locks.holder("x"))]
        assert shown.count(lease.fence) > len(clients) / 2
        lease.release()


@FLOWS
@THREE_AND_FIVE
def test_fences_increase_whichever_servers_grant_and_however_far_ahead_one_of_them_is(
    clients: list[Any], others: list[Any], rack: Rack
) -> None:
    dice = random.Random(faults.run_seed())
    count = len(clients)
    last = 0
    for round_ in range(20):
        busy = tuple(dice.sample(range(count), (count - 1) // 2))
        with taken(others, busy):
            rack.set_fence(dice.randrange(count), HOUR * (round_ + dice.random()))
            lease = redlock(clients).acquire(wait=5)
            assert lease.fence > last, f"busy: {busy}"
            last = lease.fence
            lease.release()


def test_fences_increase_when_a_server_that_minted_the_last_forgets_it(
    others: list[Any], rack: Rack
) -> None:
    for number in range(3):
        rack.set_fence(number, HOUR * (number + 1))
        first = redlock(others).acquire(wait=5)
        wait_until(partial(rack.all_know, first.fence), "all know the fence")
        first.release()
        rack.forget(number)
        second = redlock(others).acquire(wait=5)
        assert second.fence > first.fence
        second.release()


def test_a_fence_falls_back_only_if_the_one_common_server_forgets_what_its_clock_has_not_reached(
    others: list[Any], rack: Rack
) -> None:
    rack.set_fence(0, HOUR)
    with taken(others, (2,)):
        first = redlock(others).acquire(wait=5)
        first.release()
    kept = rack.fences[0]
    rack.forget(0)
    with taken(others, (1,)):
        lease = redlock(others).acquire(wait=5)
        assert lease.fence < first.fence  # the documented limit
        lease.release()
    rack.outside[0].client.hset(f"{rack.outside[0].base}:who", "fence", kept)
    with taken(others, (1,)):
        lease = redlock(others).acquire(wait=5)
        assert lease.fence > first.fence
        lease.release()


def test_who_does_not_hold_it_any_more_raises_no_fence(others: list[Any], rack: Rack) -> None:
    lock = redlock(others, ttl=0.3, renew=False)
    lease = lock.acquire(wait=5)
    server = lock._servers[0]
    fence = lease.fence + 10**9

    def raised(owner: str) -> Any:
        return others[0]._engine.drive("test", server.raise_fence, owner.encode(), fence)

    assert raised("a stranger") is False
    wait_until(lambda: rack.owners == [[]] * 3, "it has run out")
    assert raised(lease.owner) is False
    assert max(rack.fences) < fence
    lease = redlock(others).acquire(wait=5)
    wait_until(partial(grants_all, lease), "all servers grant it")
    assert raised(lease.owner) is True
    assert rack.fences[0] == others[0].locks.holder("x").fence == fence
    assert raised(lease.owner) is True
    lease.release()


@FLOWS
def test_no_lease_is_returned_whose_fence_no_quorum_knows(
    connect: Connect, proxies: list[WireProxy], rack: Rack
) -> None:
    clients = [connect(proxy.url) for proxy in proxies]
    redlock(clients).acquire(wait=5).release()
    rack.set_fence(0, HOUR)
    script = {redlock_votes.RAISE.sha, redlock_votes.RAISE.source}
    for proxy in proxies:
        proxy.script(lambda words: "cut" if script & {*words} else "forward")
    assert redlock(clients).try_acquire() is None
    for proxy in proxies:
        proxy.calm()
    rack.wait_until_idle()
    assert redlock(clients).acquire(wait=5).release() is True


def test_fences_increase_and_nobody_else_gets_in_while_the_clock_of_a_server_is_moved(
    prefix: str,
) -> None:
    try:
        env = faults.movable_clock()
    except LookupError as error:
        pytest.skip(str(error))
    with ExitStack() as stack:
        servers = [
            stack.enter_context(Standalone(require("valkey"), env=env if number == 0 else None))
            for number in range(3)
        ]
        clients = [
            stack.enter_context(octavo.connect(server.url, prefix=prefix)) for server in servers
        ]
        lock = redlock(clients, ttl=5)
        last = 0
        for by in (HOUR, -HOUR, 2 * HOUR):
            lease = lock.acquire(wait=5)
            with faults.move_clock(servers[0], by):
                # Ahead, that server lets go of what it granted; the others do not.
                assert lock.try_acquire() is None
                assert lease.valid
                assert lease.fence > last
                lease.release()
                moved = lock.acquire(wait=10)
                assert moved.fence > lease.fence
                last = moved.fence
                moved.release()
            with taken(clients, (0,)):
                lease = lock.acquire(wait=10)
                assert lease.fence > last
                last = lease.fence
                lease.release()


# Servers that die, hang and forget.


@FLOWS
@THREE_AND_FIVE
def test_a_minority_that_is_down_is_not_waited_for(
    clients: list[Any], others: list[Any], rack: Rack
) -> None:
    for server in rack.servers[: (len(clients) - 1) // 2]:
        server.kill()
    with took(0, 0.4):
        lease = redlock(clients).try_acquire()
    assert lease.valid
    assert redlock(others).try_acquire() is None
    with took(0, 0.4):
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
    with took(0.2, 1.2), pytest.raises(ConnectionLost, match="1 of 3 servers answered"):
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
def test_a_server_that_hangs_is_not_waited_for_and_is_not_asked_again_and_again(
    connect: Connect, proxies: list[WireProxy], others: list[Any], rack: Rack
) -> None:
    lock = redlock([connect(proxy.url, timeout=1) for proxy in proxies])
    lock.acquire(wait=5).release()
    with faults.pause(rack.servers[1]):
        with took(0, 0.4):
            lease = lock.try_acquire()
        assert lease.valid
        assert redlock(others).try_acquire() is None
        assert lease.release() is True
        wait_until(lambda: lock._own._servers[1].silent(0.5), "it has been silent for long")
        proxies[1].reset()
        for _ in range(10):
            lock.acquire(wait=5).release()
            if not lock._own._servers[1].silent(0.5):
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
def test_a_majority_that_hangs_is_waited_for_a_moment(clients: list[Any], rack: Rack) -> None:
    lock = redlock(clients)
    lock.acquire(wait=5).release()
    with faults.pause(rack.servers[0]), faults.pause(rack.servers[2]):
        for within in (0.9, 0.4):  # the second time they are known to hang
            with took(0, within), pytest.raises(ConnectionLost, match="1 of 3"):
                lock.try_acquire()
        with took(0, 0.4), pytest.raises(ConnectionLost, match="1 of 3"):
            redlock(clients, ttl=1).try_acquire()
    assert lock.acquire(wait=10).release() is True
    rack.wait_until_idle()


@FLOWS
def test_a_grant_that_comes_late_joins_the_others(
    connect: Connect, proxies: list[WireProxy], rack: Rack
) -> None:
    lock = redlock([connect(proxy.url) for proxy in proxies], ttl=2)
    lock.acquire(wait=5).release()
    proxies[0].delay(reply=0.3)
    with took(0, 0.25):
        lease = lock.acquire(wait=5)
    assert granting(lease) == 2
    wait_until(lambda: granting(lease) == 3, "the third grant has come")
    proxies[0].calm()
    rack.servers[1].kill()
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 2.5 or not lease.valid, "it is renewed")
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
    lease = redlock(clients, ttl=1, on_lost=lost.append).acquire(wait=5)
    wait_until(lambda: granting(lease) == len(clients), "all servers grant it")
    some = (len(clients) - 1) // 2
    for server in rack.servers[:some]:
        server.kill()
    began = time.monotonic()
    wait_until(lambda: not lease.valid or time.monotonic() - began > 1.5, "it is renewed")
    assert lease.valid
    assert not lease.lost.is_set()
    rack.servers[some].kill()
    with took(0.3, 2):
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
    lease = redlock(clients, ttl=0.6, on_lost=told.append).acquire(wait=5)
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

    with took(0.3, 3):
        asyncio.run(main())


def test_a_server_that_forgets_lets_nobody_else_in(others: list[Any], rack: Rack) -> None:
    lock = redlock(others, ttl=1)
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
    assert lease.lost.wait(2) is True
    assert second.release() is True


# Longer, or not.


@FLOWS
def test_extending_replaces_the_time_that_is_left_on_every_server(
    clients: list[Any], rack: Rack
) -> None:
    lease = redlock(clients, ttl=20).acquire(wait=5)
    wait_until(partial(grants_all, lease), "all servers grant it")
    for ttl in (60, 10):
        for _ in range(2):
            lease.extend(ttl)
        about = pytest.approx(ttl, rel=0.05)
        assert lease.remaining() == about
        wait_until(partial(rack.all_last, lease.owner, about), "every server has extended it")
    lease.release()


@FLOWS
def test_extending_needs_a_majority(clients: list[Any], others: list[Any], rack: Rack) -> None:
    lease = redlock(clients, ttl=20).acquire(wait=5)
    wait_until(partial(grants_all, lease), "all servers grant it")
    others[0].locks.break_("x")
    lease.extend(30)
    assert lease.remaining() > 25
    with faults.pause(rack.servers[1]):
        with took(0.4, 1), pytest.raises(ConnectionLost, match="only 1 of 3 servers"):
            lease.extend(40)
        assert lease.valid
        assert lease.remaining() < 30
    others[1].locks.break_("x")
    with pytest.raises(LockLost, match="only 1 of 3 servers grant it"):
        lease.extend(30)
    assert not lease.valid
    lease.release()


@FLOWS
def test_it_is_renewed_until_max_hold_and_not_at_all_without(clients: list[Any]) -> None:
    lease = redlock(clients, ttl=0.6, max_hold=1.2).acquire(wait=5)
    with took(0.9, 1.6):
        assert lease.lost.wait(5) is True
    assert lease.release() is False
    lease = redlock(clients, ttl=0.6, renew=False).acquire(wait=5)
    with took(0.4, 0.9):
        assert lease.lost.wait(5) is True
    lease.release()


def test_a_lease_that_is_dropped_ends_with_its_ttl(others: list[Any], rack: Rack) -> None:
    lease: Any = redlock(others, ttl=0.5).acquire(wait=5)
    wait_until(partial(grants_all, lease), "all servers grant it")
    gc.collect()
    gc.disable()
    try:
        lease = None
        with took(0, 1.5):
            wait_until(lambda: rack.owners == [[]] * 3, "it has ended")
    finally:
        gc.enable()


def test_it_cannot_guard_a_batch(others: list[Any]) -> None:
    with redlock(others) as lease:
        batch = others[0].batch(guard=lease)
        with pytest.raises(TypeError, match="cannot guard a batch"), batch as one:
            one.leaderboard("y").submit("ada", 1)


def test_a_forked_child_does_not_hold_it(others: list[Any]) -> None:
    lock = redlock(others, ttl=5)
    lease = lock.acquire(wait=5)
    wait_until(partial(grants_all, lease), "all servers grant it")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            states = (lock.try_acquire(), lease.valid, lease.lost.is_set(), lease.release())
            code = 0 if states == (None, False, True, False) else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert lease.valid
    assert lease.release() is True


# Cancelled, and contended.


def test_a_cancelled_call_leaves_nothing_behind(rack: Rack, prefix: str) -> None:
    dice = random.Random(faults.run_seed())

    async def main() -> None:
        async with async_clients(rack.urls, prefix) as clients:
            lock = octavo.Redlock(clients, "x")
            await (await lock.acquire()).release()
            got = 0
            for _ in range(200):
                task = asyncio.create_task(lock.acquire())
                await asyncio.sleep(dice.random() * 0.004)
                task.cancel()
                try:
                    lease = await task
                except asyncio.CancelledError:
                    continue
                got += 1
                await lease.release()
            assert 0 < got < 200
            await eventually(lambda: rack.owners == [[]] * 3, "nothing is held")
            async with asyncio.timeout(5):
                await (await lock.acquire()).release()

    asyncio.run(main())
    rack.wait_until_idle()


def test_threads_that_contend_never_hold_it_together(others: list[Any]) -> None:
    lock = redlock(others)
    inside: list[int] = []
    fences: list[int] = []

    def work() -> None:
        for _ in range(10):
            with lock as lease:
                inside.append(1)
                assert len(inside) == 1
                fences.append(lease.fence)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(fences) == 40
    assert fences == sorted(set(fences))


@pytest.mark.slow
def test_processes_that_contend_never_hold_it_together(
    rack: Rack, prefix: str, tmp_path: Path
) -> None:
    with faults.Crew() as crew:
        for number in range(4):
            crew.spawn(contend, number, rack.urls, prefix, str(tmp_path), 60)
        crew.meet()
        held = crew.results()
    assert [len(each) for each in held] == [60] * 4
    check_history(tmp_path, held)


@pytest.mark.slow
def test_nobody_holds_it_together_while_servers_hang_and_die(prefix: str, tmp_path: Path) -> None:
    keeps = ("--appendonly", "yes", "--appendfsync", "always")
    with ExitStack() as stack:
        servers = [stack.enter_context(Standalone(require("valkey"), *keeps)) for _ in range(3)]
        crew = stack.enter_context(faults.Crew())
        for number in range(4):
            crew.spawn(
                contend, number, [server.url for server in servers], prefix, str(tmp_path), 10_000
            )
        crew.meet()
        chaos = [make(server) for server in servers for make in (faults.pause, faults.kill)]
        with faults.Nemesis(chaos, calm=(0.1, 0.4), lasting=(0.1, 1.5)) as nemesis:
            nemesis.wait(strikes=8, timeout=40)
        crew.stop()
        held = crew.results()
    history = check_history(tmp_path, held)
    history.require(ok=0.2, contended=20, during=nemesis.spans)


def check_history(directory: Path, held: list[list[tuple[float, float]]]) -> Any:
    exclusive(
        Interval(str(number), start, end)
        for number, intervals in enumerate(held)
        for start, end in intervals
    )
    history = load(directory)
    fences_increase(history)
    history.require(ok=0.2, contended=20)
    return history

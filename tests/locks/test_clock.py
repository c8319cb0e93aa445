"""Clocks: of a laptop that slept, of a process that was stopped, of a server that was corrected."""

# ruff: noqa: PT012 - what whole blocks raise is what is tested

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import LockLost
from octavo.locks import clock
from octavo.testing.faults import Crew, clock_of, move_clock
from octavo.testing.waiting import wait_until
from tests.engine.lab import took
from tests.fix_servers import redis_py
from tests.locks.cases import EMBEDDED, FLOWS, Outside, queue_up
from tests.locks.lock_workers import notice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from octavo import Octavo, Sync
    from octavo.testing.servers import Standalone
    from tests.fix_faces import Connect
    from tests.fix_servers import Server

HOUR = 3600.0


@pytest.fixture
def sleep_for(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Has so many seconds passed while the machine slept."""
    ahead, now = [0.0], clock.now

    def sleep(seconds: float) -> None:
        ahead[0] += seconds

    monkeypatch.setattr(clock, "now", lambda: now() + ahead[0])
    return sleep


# The holder's.


def test_the_clock_goes_on_while_the_machine_sleeps() -> None:
    if sys.platform == "linux":
        assert clock._CLOCK == time.CLOCK_BOOTTIME
    first = clock.now()
    wait_until(lambda: clock.now() > first, "it goes on")


def test_a_lease_is_good_for_a_little_less_than_its_ttl() -> None:
    for ttl in (0.01, 1, 30, 86_400):
        until = clock.valid_until(100, ttl)
        assert 100 < until < 100 + ttl - ttl / 100
        assert until == pytest.approx(100 + ttl - ttl / 100 - 0.002)


@FLOWS
@EMBEDDED
def test_after_a_sleep_a_lease_is_not_valid_and_its_holder_is_told(
    connect: Connect, server: Server, sleep_for: Callable[[float], None]
) -> None:
    told = list[Any]()
    db = connect(server.url)
    lease = db.lock("x", ttl=30, on_lost=told.append).acquire()
    late = db.lock("y", ttl=7200).acquire()
    sleep_for(HOUR)
    assert not lease.valid
    assert lease.remaining() == 0
    with took(0, 4):
        wait_until(lambda: told, "it is told")
        assert lease.lost.is_set()
    with pytest.raises(LockLost) as raised:
        lease.check()
    assert raised.value.held_for > HOUR
    assert late.valid
    assert 3500 < late.remaining() < 7200
    assert lease.release() is False
    assert late.release() is True


@FLOWS
@EMBEDDED
def test_after_a_sleep_a_check_finds_out_at_once(
    db: Octavo[Sync], sleep_for: Callable[[float], None]
) -> None:
    lease = db.lock("x", ttl=30).acquire()
    sleep_for(HOUR)
    for call in (lease.check, lease.extend, lease.check):
        with pytest.raises(LockLost):
            call()
    assert lease.lost.is_set()
    assert lease.release() is False


@EMBEDDED
async def test_after_a_sleep_a_body_is_cancelled(
    server: Server, prefix: str, sleep_for: Callable[[float], None]
) -> None:
    async with octavo.connect_async(server.url, prefix=prefix) as db:
        began = time.monotonic()
        with pytest.raises(LockLost):
            async with db.lock("x", ttl=30):
                await asyncio.sleep(0)
                sleep_for(HOUR)
                await asyncio.sleep(10)
        assert time.monotonic() - began < 5


@FLOWS
@EMBEDDED
def test_after_a_short_sleep_a_lease_is_renewed(
    db: Octavo[Sync], sleep_for: Callable[[float], None]
) -> None:
    lease = db.lock("x", ttl=30).acquire()
    sleep_for(20)
    assert lease.valid
    assert lease.remaining() < 10
    wait_until(lambda: lease.remaining() > 25, "it is renewed", timeout=4)
    assert lease.release() is True


@FLOWS
@EMBEDDED
def test_what_was_stopped_is_told_when_it_goes_on(
    face: str, server: Server, prefix: str, other: Octavo[Sync]
) -> None:
    """And was never valid while another held it."""
    with Crew() as crew:
        worker = crew.spawn(notice, server.url, prefix, face, 0.6)
        fence, _ = worker.heard()
        worker.pause()
        then = other.lock("x").acquire(wait=5)
        assert (then.fence - fence) / 1e6 > 0.5
        began = clock.now()
        worker.resume()
        what, at = worker.heard()
        assert what == "lost"
        assert at - began < 3
        last_valid = worker.result()
        assert last_valid < began
        assert then.release() is True


# The server's.


@pytest.fixture
def keys(clocked: Standalone, prefix: str) -> Iterator[Outside]:
    with redis_py(clocked.unix_url) as client:
        yield Outside(client, prefix, f"{prefix}:lock:{{x}}")


@FLOWS
def test_a_server_whose_clock_jumps_ahead_frees_all_and_fences_go_on(
    connect: Connect, clocked: Standalone
) -> None:
    db = connect(clocked.url)
    lease = db.lock("x", ttl=6).acquire()
    with move_clock(clocked, by=60):
        then = connect(clocked.url).lock("x").acquire(wait=3)
        assert then.fence > lease.fence + 50_000_000
        assert lease.lost.wait(4) is True, "the next renewal tells"
        assert lease.release() is False
        assert then.release() is True


@FLOWS
def test_a_server_whose_clock_is_set_back_still_gives_greater_fences(
    connect: Connect, clocked: Standalone, keys: Outside
) -> None:
    db = connect(clocked.url)
    lock = db.lock("x", ttl=2)
    lease = lock.acquire()
    fences = [lease.fence]
    with move_clock(clocked, by=-60):
        assert clock_of(clocked) < -50
        lease.extend()
        wait_until(lambda: lease.held_for > 1, "it is renewed")
        assert lease.valid
        assert keys.leases[lease.owner] <= 2
        assert lease.release() is True
        for _ in range(3):
            lease = lock.acquire(wait=3)
            fences.append(lease.fence)
            lease.release()
    fences.append(lock.acquire(wait=3).fence)
    assert fences == sorted(set(fences))
    assert fences[3] < fences[0] + 10, "one more each, until time has caught up"


@FLOWS
def test_a_clock_set_back_and_a_lost_counter_give_a_fence_again(
    connect: Connect, clocked: Standalone, keys: Outside
) -> None:
    """The one thing that fences do not survive: see the README."""
    db = connect(clocked.url)
    before = db.lock("x").acquire()
    with move_clock(clocked, by=-60):
        keys.client.flushall()
        after = db.lock("x").acquire(wait=3)
        assert after.fence < before.fence
        after.release()


@FLOWS
def test_who_waits_at_a_server_whose_clock_jumps_gets_it(
    connect: Connect, clocked: Standalone, keys: Outside
) -> None:
    db = connect(clocked.url)
    for by in (20, -60):
        lease = db.lock("x", fair=True).acquire(wait=3)
        call = queue_up(keys, connect(clocked.url).lock("x", fair=True), wait=6)
        with move_clock(clocked, by=by):
            lease.release()
            with took(0, 4):
                assert call.result().release() is True

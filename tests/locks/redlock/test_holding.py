"""Holding a Redlock for longer, dropping it, and contending for it."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import ConnectionLost, LockLost
from octavo.testing import faults
from octavo.testing.histories import Interval, exclusive, fences_increase, load
from octavo.testing.servers import Standalone
from octavo.testing.waiting import wait_until
from tests.engine.lab import eventually, took
from tests.fix_servers import require
from tests.locks.cases import FLOWS
from tests.locks.redlock.rack import (
    async_clients,
    grants_all,
    redlock,
)
from tests.locks.redlock.workers import contend

if TYPE_CHECKING:
    from pathlib import Path

    from tests.locks.redlock.rack import Rack

pytestmark = pytest.mark.usefixtures("patient")


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
        with took(0.4, 4), pytest.raises(ConnectionLost, match="only 1 of 3 servers"):
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
    lease = redlock(clients, ttl=1.5, max_hold=3).acquire(wait=5)
    with took(2, 6):
        assert lease.lost.wait(5) is True
    assert lease.release() is False
    lease = redlock(clients, ttl=0.6, renew=False).acquire(wait=5)
    with took(0.3, 4):
        assert lease.lost.wait(5) is True
    lease.release()


def test_a_lease_that_is_dropped_ends_with_its_ttl(others: list[Any], rack: Rack) -> None:
    lease: Any = redlock(others, ttl=0.5).acquire(wait=5)
    wait_until(partial(grants_all, lease), "all servers grant it")
    gc.collect()
    gc.disable()
    try:
        lease = None
        with took(0, 4):
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

"""Fences that increase whichever servers grant them."""

from __future__ import annotations

import random
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.locks import redlock_votes
from octavo.testing import faults
from octavo.testing.servers import Standalone
from octavo.testing.waiting import wait_until
from tests.fix_servers import movable_clock, require
from tests.locks.cases import FLOWS
from tests.locks.redlock.rack import (
    THREE_AND_FIVE,
    grants_all,
    redlock,
    taken,
)

if TYPE_CHECKING:
    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect
    from tests.locks.redlock.rack import Rack


HOUR = 3600

pytestmark = pytest.mark.usefixtures("patient")


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
    env = movable_clock()
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

"""Holders, waiters and servers that die, hang and are cut off."""

from __future__ import annotations

import time
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import octavo
from octavo.testing import faults
from octavo.testing.histories import fences_increase, load
from octavo.testing.proxy import WireProxy
from octavo.testing.servers import Standalone
from octavo.testing.waiting import wait_until
from tests.fix_servers import require
from tests.locks import race_workers
from tests.locks.campaign import Campaign

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from octavo import Octavo, Sync
    from octavo.testing.faults import Crew
    from octavo.testing.histories import Operation

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("races")]


@pytest.fixture
def other(standalone: Standalone, prefix: str) -> Iterator[Octavo[Sync]]:
    with octavo.connect(standalone.url, prefix=prefix) as other:
        yield other


# Holders.


@pytest.mark.parametrize("hold", [race_workers.hold_in_thread, race_workers.hold_in_task])
def test_a_holder_that_was_stopped_is_told_when_it_wakes_and_cannot_write(
    hold: Callable[..., Any], standalone: Standalone, other: Octavo[Sync], prefix: str
) -> None:
    ttl = 0.5
    with faults.Crew() as crew:
        holder = crew.spawn(hold, standalone.url, prefix, ttl)
        fence = holder.heard()
        stopped = faults.pause(holder)
        stopped.strike()
        began = time.monotonic()
        newer = other.lock("x").acquire(wait=2 * ttl)
        other.fence("x").admit(newer.fence)
        wait_until(lambda: time.monotonic() > began + 3 * ttl, "three ttls have passed")
        woken = time.monotonic()
        stopped.heal()
        told = holder.result()
    late = {how: (when - woken) * 1000 for how, when in told.items()}
    print("told after", {how: f"{ms:.1f} ms" for how, ms in sorted(late.items())})
    assert newer.fence > fence
    assert len(late) == 3
    assert all(0 <= ms < 500 for ms in late.values())
    assert other.leaderboard("x").count() == 0
    assert newer.valid


# Waiters.

ADDRESS = 6
"""Where the channel is in what is known of a waiter; see `locks/layout.py`."""
PROCESSES, THREADS = 10, 5
VICTIMS = 3, 7


def order_of(history: Sequence[Operation]) -> list[str]:
    """Return who was granted the lock, in that order."""
    grants = [each for each in history if each.name == "acquire" and each.outcome == "ok"]
    return [each.process for each in sorted(grants, key=attrgetter("result"))]


def queue_up(crew: Crew, server: Standalone, prefix: str) -> list[str]:
    """Have workers wait, one after another; return who, in their order."""
    names: list[str] = []
    crew.meet()
    for place in range(THREADS):
        for number, worker in enumerate(crew.workers):
            worker.tell(place)
            names.append(f"{number}-{place}")
            wait_until(
                lambda: server.cli("ZCARD", f"{prefix}:lock:{{x}}:queue") == len(names),
                f"{names[-1]} waits",
            )
    return names


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("fault", "bound"),
    # Who hangs is waited for, once for all of a process, until the next one asks: every 5 s.
    [("killed", 2.0), ("cut off", 2.0), ("stopped", 5.0 * len(VICTIMS) + 2.0)],
)
def test_of_fifty_who_wait_a_fifth_fails_and_the_others_keep_their_order(
    fault: str, bound: float, standalone: Standalone, prefix: str, tmp_path: Path
) -> None:
    with (
        WireProxy(standalone.address) as proxy,
        octavo.connect(standalone.url, prefix=prefix) as db,
        faults.Crew() as crew,
    ):
        held = db.lock("x", fair=True).acquire()
        for number in range(PROCESSES):
            url = proxy.url if fault == "cut off" and number in VICTIMS else standalone.url
            place = url, prefix, str(tmp_path), number, THREADS
            crew.spawn(race_workers.stand_in_queue, *place, 10.0)
        names = queue_up(crew, standalone, prefix)
        victims = [crew.workers[number] for number in VICTIMS]
        if fault == "cut off":
            proxy.refuse()
            proxy.cut()
        for victim in victims:
            if fault == "killed":
                victim.kill()
            elif fault == "stopped":
                victim.pause()
        began = time.monotonic()
        assert held.release()
        alive = [name for name in names if int(name.split("-")[0]) not in VICTIMS]
        wait_until(lambda: len(order_of(load(tmp_path))) >= len(alive), "the others have it")
        took = time.monotonic() - began
        assert order_of(load(tmp_path)) == alive
        back = time.monotonic()
        proxy.accept()
        for victim in victims:
            if fault == "stopped":
                victim.resume()
        crew.results()
    history = load(tmp_path)
    fences_increase(history)
    grants = sorted(each.last_seen for each in history if each.name == "acquire" and each.result)
    gap = max(later - sooner for sooner, later in pairwise(grants[: len(alive)]))
    print(
        f"{fault}: {len(alive)} of {len(names)} in order in {took:.2f} s, longest gap {gap:.2f} s;"
        f" all {time.monotonic() - back:.2f} s after it was over"
    )
    assert took < bound
    if fault != "killed":
        assert sorted(order_of(history)) == sorted(names), "who comes back gets it too"


# Workers that die.


def test_permits_and_readers_of_workers_that_die_come_back(
    standalone: Standalone, prefix: str, tmp_path: Path
) -> None:
    kinds = {"s": "3", "rw": "rwlock"}
    campaign = Campaign(standalone.url, prefix, tmp_path, kinds=kinds, ttl=0.5)
    campaign.run(
        lambda: [faults.kill(campaign.any_worker)],
        strikes=8,
        calm=(0.1, 0.3),
        lasting=(0.0, 0.3),
    )


# Servers.


def all_hear(server: Standalone, prefix: str) -> bool:
    """Whether everybody who waits can be told, as far as the server knows."""
    base = f"{prefix}:lock:{{x}}"
    channels = server.cli("PUBSUB", "SHARDCHANNELS")
    packed = server.cli("HMGET", f"{base}:who", *server.cli("ZRANGE", f"{base}:queue", 0, -1))
    known = [msgspec.msgpack.decode(each.encode(errors="surrogateescape")) for each in packed]
    return all(facts[ADDRESS] in channels for facts in known)


@pytest.mark.parametrize("how", ["killed", "killed and empty", "hung"])
def test_waiters_get_the_lock_from_a_server_that_was_away(
    how: str, prefix: str, tmp_path: Path
) -> None:
    durable = (
        () if how == "killed and empty" else ("--appendonly", "yes", "--appendfsync", "always")
    )
    with (
        Standalone(require("valkey"), *durable) as server,
        octavo.connect(server.url, prefix=prefix, timeout=20) as db,
        faults.Crew() as crew,
    ):
        held = db.lock("x", fair=True, ttl=10).acquire()
        for number in range(3):
            place = server.url, prefix, str(tmp_path), number, THREADS
            crew.spawn(race_workers.stand_in_queue, *place, 10.0)
        names = queue_up(crew, server, prefix)
        (faults.pause if how == "hung" else faults.kill)(server).last(2.5)
        if how != "killed and empty":
            # Before that, nobody can be told from the dead.
            wait_until(lambda: all_hear(server, prefix), "all are there again")
        back = time.monotonic()
        kept = held.release()
        crew.results()
    history = load(tmp_path)
    fences_increase(history)
    late = max(each.last_seen for each in history) - back
    print(f"{how}: {len(names)} waiters had it {late:.2f} s after the server was back and free")
    assert late < 8
    assert kept == (how != "killed and empty")
    if kept:
        assert order_of(history) == names
    else:
        assert sorted(order_of(history)) == sorted(names)


@pytest.mark.parametrize("how", ["links are cut", "nobody says a word"])
def test_a_wake_up_that_is_lost_costs_time_and_nothing_else(
    how: str, standalone: Standalone, other: Octavo[Sync], prefix: str, tmp_path: Path
) -> None:
    with faults.Crew() as crew:
        held = other.lock("x", fair=True, ttl=30).acquire()
        for number in range(3):
            place = standalone.url, prefix, str(tmp_path), number, THREADS
            crew.spawn(race_workers.stand_in_queue, *place, 10.0)
        queue_up(crew, standalone, prefix)
        if how == "links are cut":
            assert faults.client_kill(standalone, "pubsub").strike() >= 3
            assert held.release()
        else:
            standalone.cli("DEL", f"{prefix}:lock:{{x}}:leases")
        free = time.monotonic()
        crew.results()
    late = max(each.last_seen for each in load(tmp_path)) - free
    print(f"{how}: all had it after {late:.2f} s")
    assert late < 8

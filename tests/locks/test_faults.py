"""Holders, waiters and servers that die, hang and are cut off."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import octavo
from octavo.errors import ConnectionLost
from octavo.testing import faults
from octavo.testing.histories import fences_increase, load
from octavo.testing.proxy import WireProxy
from octavo.testing.servers import Standalone
from octavo.testing.waiting import wait_until
from tests.calls import Call
from tests.fix_servers import require
from tests.locks import race_workers
from tests.locks.campaign import Campaign

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

    from octavo import Async, Octavo, Sync
    from octavo.locks import Lock
    from octavo.testing.faults import Crew, Worker
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
    assert all(0 <= ms < 3000 for ms in late.values())
    assert other.leaderboard("x").count() == 0
    assert newer.release(), "the other one has released it"


def test_a_holder_whose_lease_was_broken_is_told_at_its_next_renewal(
    standalone: Standalone, other: Octavo[Sync], prefix: str
) -> None:
    with octavo.connect(standalone.url, prefix=prefix) as db:
        lease = db.lock("x", ttl=0.6).acquire()
        assert other.locks.break_("x") == 1
        newer = other.lock("x").acquire(wait=1)
        assert lease.lost.wait(5)
        assert newer.fence > lease.fence
        assert newer.release()


def test_a_holder_that_is_cut_off_is_told_when_others_may_get_the_lock(
    standalone: Standalone, other: Octavo[Sync], prefix: str
) -> None:
    with (
        WireProxy(standalone.address) as proxy,
        octavo.connect(proxy.url, prefix=prefix, timeout=0.2) as db,
    ):
        lease = db.lock("x", ttl=1).acquire()
        with faults.partition(proxy):
            newer = other.lock("x").acquire(wait=3)
            assert not lease.valid
            got = time.monotonic()
            assert lease.lost.wait(5)
            late = time.monotonic() - got
    print(f"told {late * 1000:.1f} ms after another one got it")
    assert late < 0.9
    assert newer.release()


def test_no_holder_believes_longer_than_the_server_does(
    standalone: Standalone, other: Octavo[Sync], prefix: str
) -> None:
    with (
        WireProxy(standalone.address) as proxy,
        octavo.connect(proxy.url, prefix=prefix) as db,
    ):
        db.lock("z").acquire().release()  # connects
        slow = faults.delay(proxy, request=0.02, reply=0.1)
        slow.strike()
        leases = [db.lock("x", ttl=2).acquire(), db.lock("y", ttl=1, renew=False).acquire()]
        began = time.monotonic()
        looks = 0
        while time.monotonic() < began + 2:  # renewals take turns with looks
            for lease in leases:
                asked, believed = time.monotonic(), lease.remaining()
                holder = other.locks.holder(lease.name)
                left = holder.remaining if holder else 0
                assert believed <= left + time.monotonic() - asked
                looks += believed > 0
        assert leases[0].valid
        assert not leases[1].valid
        assert looks > 20
        slow.heal()
        leases[0].release()


def test_a_permit_of_a_holder_that_died_comes_back_while_others_go_on(
    standalone: Standalone, other: Octavo[Sync], prefix: str
) -> None:
    with faults.Crew() as crew:
        dies = crew.spawn(race_workers.hold_permit, standalone.url, prefix, 2, 0.5)
        dies.heard()
        goes_on = other.semaphore("x", 2, ttl=0.5).acquire()
        dies.kill()
        began = time.monotonic()
        third = other.semaphore("x", 2, ttl=0.5).acquire(wait=5)
        took = time.monotonic() - began
    print(f"the permit came back after {took:.2f} s, with a ttl of 0.5 s")
    assert took < 3
    assert goes_on.release()
    assert third.release()


@pytest.mark.parametrize("released", [True, False], ids=["released", "dropped"])
def test_what_is_to_be_kept_for_a_while_is_kept(released: bool, other: Octavo[Sync]) -> None:
    options: Any = {"min_hold": 0.5} if released else {"lock_delay": 0.5, "renew": False}
    lock = other.lock("x", ttl=0.2, **options)
    began = time.monotonic()
    lease = lock.acquire()
    if released:
        assert lease.release()
    assert lock.acquire(wait=5).fence > lease.fence
    took = time.monotonic() - began
    assert (0.5 if released else 0.7) <= took < 4


def test_beside_a_writer_that_made_itself_a_reader_nobody_writes(other: Octavo[Sync]) -> None:
    both = other.rwlock("x", ttl=20)
    writer = both.writer.acquire()
    both.downgrade(writer)
    assert both.writer.try_acquire() is None
    reader = both.reader.try_acquire()
    assert reader is not None
    assert writer.release()
    assert both.writer.try_acquire() is None
    assert reader.release()
    newer = both.writer.try_acquire()
    assert newer is not None
    assert newer.release()


# Requests and replies that are lost, or late.


def test_replies_that_are_lost_cost_a_retry_and_nothing_else(
    standalone: Standalone, other: Octavo[Sync], prefix: str
) -> None:
    with (
        WireProxy(standalone.address) as proxy,
        octavo.connect(proxy.url, prefix=prefix) as db,
    ):
        for name in "abc":
            lock = db.lock(name, ttl=30)
            began = time.monotonic()
            with faults.drop_replies(proxy):
                lease = lock.acquire(wait=5)
            with faults.drop_replies(proxy):
                lease.extend(20)
            holder = other.locks.holder(name)
            assert holder is not None
            assert (holder.owner, holder.fence) == (lease.owner, lease.fence)
            with faults.drop_replies(proxy):
                assert lease.release()
            assert other.locks.holder(name) is None
            assert time.monotonic() - began < 4.5


def scripts_run(server: Standalone) -> int:
    """Return how often a server has run a script."""
    stats = server.cli("INFO", "commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))


def undelay_the_next_script(proxy: WireProxy) -> None:
    """Have nothing delayed that is sent after a script."""
    wait_until(lambda: proxy.commands["EVAL"] + proxy.commands["EVALSHA"], "the script is sent")
    proxy.delay()


def test_what_arrives_after_it_was_given_up_is_granted_to_nobody(
    standalone: Standalone, other: Octavo[Sync], prefix: str
) -> None:
    with (
        WireProxy(standalone.address) as proxy,
        octavo.connect(proxy.url, prefix=prefix, timeout=0.6) as db,
    ):
        db.lock("warm").acquire().release()
        scripts = scripts_run(standalone)
        proxy.reset()
        proxy.delay(request=1.5)
        late = Call(undelay_the_next_script, proxy)
        with pytest.raises(ConnectionLost) as lost:
            db.lock("x", ttl=30).acquire()
        assert lost.value.outcome == "unknown"
        wait_until(
            lambda: scripts_run(standalone) >= scripts + 2,
            "the question and the other have arrived",
        )
        late.result()
    lease = other.lock("x").try_acquire()
    assert lease is not None, "it is held by nobody who knows"
    lease.release()


# Waiters.

ADDRESS = 6
"""Where the channel is in what is known of a waiter; see `locks/layout.py`."""
PROCESSES, THREADS = 10, 5
VICTIMS = 3, 7


def order_of(history: Sequence[Operation]) -> list[str]:
    """Return who was granted the lock, in that order."""
    grants = [each for each in history if each.name == "acquire" and each.outcome == "ok"]
    return [each.process for each in sorted(grants, key=attrgetter("result"))]


def all_hear(server: Standalone, prefix: str) -> bool:
    """Whether everybody who waits can be told, as far as the server knows."""
    base = f"{prefix}:lock:{{x}}"
    channels = server.cli("PUBSUB", "SHARDCHANNELS")
    packed = server.cli("HMGET", f"{base}:who", *server.cli("ZRANGE", f"{base}:queue", 0, -1))
    known = [msgspec.msgpack.decode(each.encode(errors="surrogateescape")) for each in packed]
    return all(facts[ADDRESS] in channels for facts in known)


def queue_up(crew: Crew, server: Standalone, prefix: str, threads: int = THREADS) -> list[str]:
    """Have workers wait, one after another; return who, in their order."""
    names: list[str] = []
    crew.meet()
    for place in range(threads):
        for number, worker in enumerate(crew.workers):
            worker.tell(place)
            names.append(f"{number}-{place}")
            wait_until(
                lambda: server.cli("ZCARD", f"{prefix}:lock:{{x}}:queue") == len(names),
                f"{names[-1]} waits",
            )
    wait_until(lambda: all_hear(server, prefix), "all of them can be told")
    return names


@contextmanager
def failing(fault: str, victims: list[Worker], proxy: WireProxy) -> Generator[None]:
    """Have workers killed for good; or stopped, or those behind the proxy cut off, for a time."""
    with ExitStack() as struck:
        if fault == "cut off":
            struck.enter_context(faults.refuse(proxy))
        for victim in victims:
            if fault == "killed":
                victim.kill()
            elif fault == "stopped":
                struck.enter_context(faults.pause(victim))
        yield


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("fault", "bound"),
    [
        ("killed", 4.5),
        ("cut off", 4.5),
        # Who hangs is waited for, once for all of a process, until the next one asks: every 5 s.
        pytest.param("stopped", 5.0 * len(VICTIMS) + 2.0, marks=pytest.mark.soak),
    ],
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
        alive = [name for name in names if int(name.split("-")[0]) not in VICTIMS]
        with failing(fault, [crew.workers[number] for number in VICTIMS], proxy):
            began = time.monotonic()
            assert held.release()
            wait_until(lambda: len(order_of(load(tmp_path))) >= len(alive), "the others have it")
            took = time.monotonic() - began
            assert order_of(load(tmp_path)) == alive
        back = time.monotonic()
        crew.results()
        rest = time.monotonic() - back
    history = load(tmp_path)
    fences_increase(history)
    print(
        f"{fault}: {len(alive)} of {len(names)} in order in {took:.2f} s, the longest pause"
        f" {longest_pause(history, len(alive)):.2f} s; the rest {rest:.2f} s later"
    )
    assert took < bound
    if fault != "killed":
        assert sorted(order_of(history)) == sorted(names), "who comes back gets it too"


def longest_pause(history: Sequence[Operation], first: int) -> float:
    """Return the longest time between two of the first grants."""
    grants = sorted(each.last_seen for each in history if each.name == "acquire" and each.result)
    return max(later - sooner for sooner, later in pairwise(grants[:first]))


@pytest.mark.parametrize("renew", [True, False])
def test_a_waiter_that_was_handed_the_lock_while_it_was_stopped_does_not_believe_it(
    renew: bool, standalone: Standalone, other: Octavo[Sync], prefix: str, tmp_path: Path
) -> None:
    with faults.Crew() as crew:
        held = other.lock("x", fair=True, ttl=20).acquire()
        place = standalone.url, prefix, str(tmp_path), 0, 1
        waiter = crew.spawn(race_workers.stand_in_queue, *place, 20.0, renew=renew)
        queue_up(crew, standalone, prefix, threads=1)
        with faults.pause(waiter):
            assert held.release()
            newer = other.lock("x", fair=True, ttl=20).acquire(wait=4)
        with pytest.raises(TimeoutError):
            wait_until(lambda: order_of(load(tmp_path)), "it believes it", timeout=0.5)
        assert newer.release()
        crew.results()
    (grant,) = [each for each in load(tmp_path) if each.name == "acquire"]
    assert grant.result > newer.fence


# Workers that die.


def test_permits_and_readers_of_workers_that_die_come_back(
    standalone: Standalone, prefix: str, tmp_path: Path
) -> None:
    kinds = {"s": "3", "rw": "rwlock"}
    campaign = Campaign(standalone.url, prefix, tmp_path, kinds=kinds, ttl=0.5)
    campaign.run(
        lambda: [faults.kill(campaign.any_worker)],
        strikes=6,
        calm=(0.4, 0.7),  # a worker takes its time to start
        lasting=(0.0, 0.3),
    )


# Servers.


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
            wait_until(lambda: all_hear(server, prefix), "all are there again", timeout=4)
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


@pytest.mark.parametrize("fair", [False, True], ids=["unfair", "fair"])
@pytest.mark.parametrize("count", [1000, pytest.param(5000, marks=pytest.mark.soak)])
async def test_acquires_cancelled_at_random_leave_nothing_behind(
    count: int, fair: bool, standalone: Standalone, other: Octavo[Sync], prefix: str
) -> None:
    dice = random.Random(faults.run_seed())
    ended = Counter[str]()

    async def try_for(lock: Lock[Async], share: int) -> None:
        for _ in range(share):
            try:
                async with asyncio.timeout(dice.expovariate(1 / 0.008)), lock:
                    await asyncio.sleep(dice.uniform(0, 0.001))
                ended["held"] += 1
            except TimeoutError:
                ended["cancelled"] += 1

    async with octavo.connect_async(standalone.url, prefix=prefix) as db:
        locks = [db.lock("x", fair=fair, ttl=20) for _ in range(10)]
        await asyncio.gather(*(try_for(lock, count // 10) for lock in locks))
        lease = other.lock("x", fair=fair).acquire(wait=5)
        assert lease.release()
    print(dict(ended))
    assert min(ended["held"], ended["cancelled"]) > count / 100
    base = f"{prefix}:lock:{{x}}"
    assert standalone.cli("KEYS", f"{prefix}:*") == [f"{base}:who"]
    assert set(standalone.cli("HKEYS", f"{base}:who")) <= {"fence", "limit", "gone"}

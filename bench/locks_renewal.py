"""Many leases that one process holds: what it sends to renew them, and the CPU that takes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from time import process_time
from typing import TYPE_CHECKING, Any

from bench.harness import Table, missing
from bench.locks_crew import END_IN, SPAWN, answer
from bench.locks_peers import (
    AUTO_RENEWED,
    FIFO,
    OCTAVO,
    Peer,
    octavo_async,
    octavo_sync,
    python_redis_lock,
    settled,
)
from bench.locks_peers import fifo as redis_fifo_lock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from multiprocessing.connection import Connection

    from bench.cache_peers import Place
    from octavo.testing.proxy import WireProxy

    Proxied = tuple[Place, Sequence[WireProxy]]
    """Where a contender goes, and the proxies on its way there."""

TTL = 3
LEASES = 1000
ARRIVES_IN = 0.02
ASYNC_OCTAVO = f"{OCTAVO}, asyncio"
OURS = {OCTAVO, ASYNC_OCTAVO}


@dataclass(frozen=True)
class Renewer:
    """One who renews.

    Attributes:
        leases: how many it holds.
        interval: the seconds between two renewals of one of them.
    """

    peer: Peer
    leases: int
    interval: float


RENEWERS = {
    OCTAVO: Renewer(Peer(partial(octavo_sync, ttl=TTL), "octavo"), LEASES, TTL / 3),
    ASYNC_OCTAVO: Renewer(Peer(partial(octavo_async, ttl=TTL), "octavo"), LEASES, TTL / 3),
    FIFO: Renewer(
        Peer(partial(redis_fifo_lock, ttl=TTL), "redis_fifo_lock"),
        LEASES,
        TTL / 4,
    ),
    # One thread, and now and then one connection, for each lease.
    AUTO_RENEWED: Renewer(
        Peer(partial(python_redis_lock, renew=True, ttl=TTL), "redis_lock"),
        100,
        TTL * 2 / 3,
    ),
}


@dataclass(frozen=True)
class Watch:
    """What one interval took.

    Attributes:
        sends: how often something was sent to a node; in a cluster, to the busiest.
        commands: how many commands that was.
        cpu: the seconds of processor time that the holder's process used.
        lost: how many of the leases were lost by the end of the watch.
    """

    sends: float
    commands: float
    cpu: float
    lost: int


async def renewal(title: str, places: Mapping[str, Proxied], *, quick: bool) -> Table:
    """Have each contender hold its leases for some intervals, in a process of its own."""
    intervals = 1 if quick else 5
    rows = await asyncio.gather(
        *(asyncio.to_thread(_row, name, *where, intervals) for name, where in places.items())
    )
    header = ("contender", "leases", "every", "sends", "commands", "CPU", "CPU a lease", "lost")
    return Table(f"renewal of held leases, each interval, {title}", (*header, "bar"), rows)


def _row(name: str, place: Place, proxies: Sequence[WireProxy], intervals: int) -> tuple[str, ...]:
    renewer = RENEWERS[name]
    start = (name, f"{renewer.leases:,}", f"{renewer.interval:g} s")
    if note := missing(renewer.peer.module):
        return (*start, *[""] * 5, note)
    try:
        watch = _watch(name, place, proxies, intervals)
    except Exception as error:  # noqa: BLE001 - a peer's failure is a row, not the end
        return (*start, *[""] * 5, f"failed: {error}")
    met = "met" if round(watch.sends) <= 1 and not watch.lost else "MISSED"
    return (
        *start,
        f"{watch.sends:,.1f}",
        f"{watch.commands:,.1f}",
        f"{watch.cpu * 1e3:.1f} ms",
        f"{watch.cpu / renewer.leases * 1e6:.0f} us",
        f"{watch.lost:,}",
        f"1 send to a node: {met}" if name in OURS else "",
    )


def _watch(name: str, place: Place, proxies: Sequence[WireProxy], intervals: int) -> Watch:
    """Have a process hold the leases, and read the proxies' counts meanwhile."""
    ours, theirs = SPAWN.Pipe()
    holder = SPAWN.Process(target=_process, args=(name, place, theirs), daemon=True)
    holder.start()
    try:
        _answered(ours)
        for proxy in proxies:
            # A large write arrives in pieces: none is answered before the last one is there.
            proxy.delay(request=ARRIVES_IN)
            proxy.reset()
        ours.send(intervals * RENEWERS[name].interval)
        cpu = _answered(ours)
        sends = max(proxy.round_trips for proxy in proxies)
        commands = max(proxy.commands.total() for proxy in proxies)
        for proxy in proxies:
            proxy.delay()
        ours.send(None)
        lost = _answered(ours)
    finally:
        holder.join(END_IN)
        holder.kill()
    return Watch(sends / intervals, commands / intervals, cpu / intervals, lost)


def _answered(orders: Connection) -> Any:
    told = answer(orders)
    if isinstance(told, Exception):
        raise told
    return told


def _process(name: str, place: Place, orders: Connection) -> None:
    try:
        asyncio.run(_hold(name, place, orders))
    except Exception as error:  # noqa: BLE001 - a peer's failure is a row, not the end
        orders.send(RuntimeError(repr(error)))


async def _hold(name: str, place: Place, orders: Connection) -> None:
    """Take the leases, hold them for as long as one is told, and give them back."""
    renewer = RENEWERS[name]
    async with AsyncExitStack() as stack:
        locks = await settled(renewer.peer.connect(place, stack))
        pairs = [locks(f"{name}:{number}".replace(" ", "-")) for number in range(renewer.leases)]
        for pair in pairs:
            await settled(pair.acquire())
        # The first renewals find leases of all ages; the watch begins between two later ones.
        await asyncio.sleep((TTL // renewer.interval + 0.5) * renewer.interval)
        orders.send("held")
        seconds, before = orders.recv(), process_time()
        await asyncio.sleep(seconds)
        orders.send(process_time() - before)
        orders.recv()
        lost = 0
        for pair in pairs:
            try:
                await settled(pair.release())
            except Exception:  # noqa: BLE001 - each peer has its own error for that
                lost += 1
        orders.send(lost)

"""Locks against the raw commands and every Python peer: pairs, hand-off, contention, renewal."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import redis

from bench.cache_peers import Place
from bench.harness import (
    Bar,
    Comparison,
    Contender,
    Options,
    Result,
    Table,
    calls,
    compare,
    missing,
    private,
    together,
)
from bench.locks_peers import (
    ASYNC,
    FAIR,
    FENCED_ASYNC,
    FENCED_SYNC,
    OCTAVO,
    RAW,
    RAW_FENCED,
    REDIS_PY,
    SYNC,
    settled,
)
from bench.locks_renewal import RENEWERS, renewal
from bench.locks_tables import waiting
from octavo.testing.proxy import WireProxy
from octavo.testing.servers import Cluster, Standalone, binaries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from bench.harness import Round
    from bench.locks_crew import Kind
    from bench.locks_peers import Pair, Peer

TASKS = 50
COMPARISONS = 10
"""As many as could have 45 seconds between them; the tables take longer."""
COUNTED = 5
"""The pairs of a thread, or the rounds of all tasks, by which the cost of one is counted."""
KINDS: tuple[Kind, ...] = ("threads", "processes")


@dataclass(frozen=True)
class Case:
    """One comparison; its first peer is the baseline.

    Attributes:
        tasks: how many tasks have a lock each; none is a thread.
    """

    title: str
    peers: dict[str, Peer]
    bars: tuple[Bar, ...] = ()
    tasks: int = 0
    on_cluster: bool = False


def ahead(peers: Iterable[str]) -> tuple[Bar, ...]:
    """Return the bars of those who fence: at least as fast as each peer."""
    others = (name for name in peers if name not in {RAW_FENCED, OCTAVO, FAIR})
    return tuple(Bar(OCTAVO, name, 1.0) for name in others)


CASES = (
    Case("one thread", SYNC, (Bar(OCTAVO, RAW, 0.9),), on_cluster=True),
    Case("fenced, one thread", FENCED_SYNC, ahead(FENCED_SYNC)),
    Case("one task", ASYNC, tasks=1),
    Case(
        f"{TASKS} tasks with a lock each",
        ASYNC,
        (Bar(OCTAVO, REDIS_PY, 2.5, aim=2.7),),
        tasks=TASKS,
        on_cluster=True,
    ),
    Case("fenced, one task", FENCED_ASYNC, ahead(FENCED_ASYNC), tasks=1),
    Case(f"fenced, {TASKS} tasks", FENCED_ASYNC, ahead(FENCED_ASYNC), tasks=TASKS),
)
COSTS = (
    Case("one thread", SYNC | FENCED_SYNC),
    Case(f"{TASKS} tasks with a lock each", ASYNC, tasks=TASKS),
)


async def run(options: Options) -> AsyncIterator[Result | Table]:
    """Run every comparison on a server, some on a cluster too, and the tables."""
    program, quick = next(iter(binaries().values())), options.quick
    seconds = options.seconds(COMPARISONS)
    with private(Standalone(program), options.cores) as server:
        urls = {"tcp": server.url, "unix": server.unix_url}
        for transport in options.transports:
            place = Place(transport, urls[transport], urls[transport])
            for case in CASES:
                yield await compared(case, place, seconds)
    # No ratios of speed, hence no pinning: who hands over and who takes want cores of their own.
    with private(Standalone(program), "any") as server:
        for case in COSTS:
            yield await costs(case, server)
        for kind in KINDS:
            place = Place("tcp", server.url, server.url)
            for table in await asyncio.to_thread(waiting, place, kind, quick=quick):
                yield table
        with ExitStack() as stack:
            proxies = [stack.enter_context(WireProxy(server.address)) for _ in RENEWERS]
            ways = [(Place("tcp", proxy.url, proxy.url), [proxy]) for proxy in proxies]
            yield await renewal("one server", dict(zip(RENEWERS, ways, strict=True)), quick=quick)
    if not quick:
        with private(Cluster(program, proxied=True), "any") as cluster:
            way = (Place("tcp", cluster.url, cluster.proxies[0].url), cluster.proxies)
            yield await renewal("the busiest node of a cluster", {OCTAVO: way}, quick=False)
    with private(Cluster(program), options.cores) as cluster:
        place = Place("cluster of six", cluster.url, cluster.nodes[0].url)
        for case in CASES:
            if case.on_cluster:
                yield await compared(case, place, seconds)


async def compared(case: Case, place: Place, seconds: float) -> Result:
    """Connect all contenders of a case, and compare them."""
    async with AsyncExitStack() as stack:
        contenders = [
            await contender(name, peer, case.tasks, place, stack)
            for name, peer in case.peers.items()
        ]
        title = f"acquire and release, {case.title}, {place.title}"
        tasks = max(1, case.tasks)
        return await compare(Comparison(title, contenders, case.bars, operations=tasks), seconds)


async def contender(
    name: str, peer: Peer, tasks: int, place: Place, stack: AsyncExitStack
) -> Contender:
    """Return a contender that is connected, or its note."""
    if note := missing(peer.module):
        return Contender(name, None, note)
    if place.cluster and not peer.clustered:
        return Contender(name, None, "no cluster")
    try:
        locks: Callable[[str], Pair] = await settled(peer.connect(place, stack))
        pairs = [locks(f"{name}-{number}".replace(" ", "-")) for number in range(max(1, tasks))]
    except Exception as error:  # noqa: BLE001 - a peer's failure is a row, not the end
        return Contender(name, None, f"failed: {error!r}")
    return Contender(name, rounds(pairs) if tasks else calls(step(pairs[0])))


def step(pair: Pair) -> Callable[[], None]:
    """Return what takes a lock and gives it back."""
    acquire, release = pair

    def both() -> None:
        acquire()
        release()

    return both


def rounds(pairs: list[Pair]) -> Round:
    """Return rounds in which each pair has a task of its own."""

    def both_of(pair: Pair) -> Callable[[], Any]:
        async def both() -> None:
            await pair.acquire()
            await pair.release()

        return both

    return together([both_of(pair) for pair in pairs])


async def costs(case: Case, server: Standalone) -> Table:
    """Count what each contender sends for a pair, and what the server runs for it."""
    rows: list[tuple[str, ...]] = []
    with WireProxy(server.address) as proxy, redis.Redis.from_url(server.url) as client:
        place = Place("tcp", proxy.url, proxy.url)
        for name, peer in case.peers.items():
            fences = "yes" if peer.fenced else "no"
            async with AsyncExitStack() as stack:
                each = await contender(name, peer, case.tasks, place, stack)
                if each.round is None:
                    rows.append((name, fences, "", "", each.note))
                    continue
                await each.round(1)  # connects
                proxy.reset()
                before = commands(client)
                await each.round(COUNTED)
                pairs = COUNTED * max(1, case.tasks)
                run = (commands(client) - before) / pairs
                rows.append((name, fences, f"{proxy.round_trips / pairs:.2f}", f"{run:.1f}", ""))
    header = ("contender", "fence", "round trips", "commands run, in scripts too", "note")
    return Table(f"cost of a pair, {case.title}", header, rows)


def commands(client: Any) -> int:
    """Return how many commands the server has run, in scripts too, but for the one that asks."""
    counted: dict[str, dict[str, int]] = client.info("commandstats")
    return sum(each["calls"] for name, each in counted.items() if name != "cmdstat_info")

"""Rate limits against the least script and every Python peer: one, four, denials, waiters."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import redis

from bench.harness import (
    Bar,
    Comparison,
    Contender,
    Options,
    Result,
    Table,
    awaits,
    callers,
    calls,
    compare,
    missing,
    private_server,
)
from bench.locks_peers import settled
from bench.ratelimit_peers import (
    ASYNC,
    CHECK,
    FOUR,
    HEADERS,
    RATE,
    RAW,
    RAW_GET,
    SYNC,
    Peer,
    Rate,
    octavo_async,
    octavo_check,
    octavo_sync,
    ours,
    partial,
)
from bench.ratelimit_promises import any_window, promises
from bench.ratelimit_tables import client_costs, memory, server_costs
from bench.ratelimit_waiting import waiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from bench.ratelimit_peers import Limits

    Operation = Callable[[], Any]

COMPARISONS = 4
"""As many as could have 45 seconds between them; the tables take a minute."""
CALLERS = 100
NAMES = [f"user:{number:04d}" for number in range(200)]
OTHERS = [
    (name, f"192.0.2.{number}", f"key:{number % 20}", f"/v1/orders/{number}")
    for number, name in enumerate(NAMES)
]
"""A user, an address, a key and a route."""
SPENT, HUGE = Rate(1, 3_600), Rate(10**9, 3_600)
HOT = "user:hot"
DENY_CACHE = "octavo, deny_cache=True"
DENIALS = 500_000
"""A second, of one process."""
UNITS = 1_000
PREFETCH = f"octavo, prefetch={UNITS:,}"
UNSERVED = {RAW_GET, "in process: aiolimiter"}


@dataclass(frozen=True)
class Case:
    """One comparison; its first peer is the baseline.

    Attributes:
        operation: what is measured of a contender.
        tasks: how many tasks call it at once; none is a thread.
    """

    title: str
    peers: dict[str, Peer]
    operation: Callable[[Peer, Limits], Operation]
    bars: tuple[Bar, ...]
    tasks: int = 0


def admitted(allowed: object) -> None:
    """Raise if a call was denied that should not have been: it would have been cheaper."""
    if not allowed:
        raise RuntimeError("denied")


def one(_: Peer, limits: Limits) -> Operation:
    """One limit on one of many subjects."""
    hit, names = limits(RATE), cycle(NAMES)
    return lambda: admitted(hit(next(names)))


def one_awaited(_: Peer, limits: Limits) -> Operation:
    """Return the same of an async contender."""
    hit, names = limits(RATE), cycle(NAMES)

    async def operation() -> None:
        admitted(await hit(next(names)))

    return operation


def four(peer: Peer, limits: Limits) -> Operation:
    """Four limits on one of many subjects: in one call where there is one for it."""
    names = cycle(NAMES)
    if peer.several:
        hit = limits(*FOUR)
        return lambda: admitted(hit(next(names)))
    hits = [limits(rate) for rate in FOUR]

    def operation() -> None:
        name = next(names)
        for each in hits:
            admitted(each(name))

    return operation


def four_subjects(peer: Peer, limits: Limits) -> Operation:
    """Four limits, each on a subject of its own."""
    subjects = cycle(OTHERS)
    if peer.several:
        check = limits(*FOUR)
        return lambda: admitted(check(*next(subjects)))
    hits = [limits(rate) for rate in FOUR]

    def operation() -> None:
        for each, subject in zip(hits, next(subjects), strict=True):
            admitted(each(subject))

    return operation


def refused(allowed: object, first: Iterator[bool]) -> None:
    """Raise if a call passed that should not have: all but the first, which takes what there is."""
    if allowed and not next(first, False):
        raise RuntimeError("not denied")


def denied(_: Peer, limits: Limits) -> Operation:
    """One subject that has nothing left."""
    hit, first = limits(SPENT), iter([True])
    return lambda: refused(hit(HOT), first)


def denied_awaited(_: Peer, limits: Limits) -> Operation:
    """Return the same of an async contender."""
    hit, first = limits(SPENT), iter([True])

    async def operation() -> None:
        refused(await hit(HOT), first)

    return operation


def hot(_: Peer, limits: Limits) -> Operation:
    """One subject that all hit, and that never has nothing left."""
    hit = limits(HUGE)
    return lambda: admitted(hit(HOT))


def hot_awaited(_: Peer, limits: Limits) -> Operation:
    """Return the same of an async contender."""
    hit = limits(HUGE)

    async def operation() -> None:
        admitted(await hit(HOT))

    return operation


def apart(peers: dict[str, Peer]) -> dict[str, Peer]:
    """Return peers that are called once for each of several limits."""
    return {name: Peer(peer.connect, peer.module) for name, peer in peers.items()}


def against(of: str, times: float, peers: Iterable[str]) -> tuple[Bar, ...]:
    """Return the bars of octavo against peers, among whom the others are left out."""
    return tuple(
        Bar(of, name, times)
        for name in peers
        if not name.startswith(("octavo", "raw", "limit:", "in process")) and name != HEADERS
    )


def beside(peers: dict[str, Peer]) -> tuple[Bar, ...]:
    """Return the bars of octavo's algorithms against the same ones of peers."""
    return tuple(
        bar
        for name, peer in peers.items()
        if peer.algorithm
        for bar in against(ours(peer.algorithm), 1.0, [name])
    )


SERVED = {name: peer for name, peer in SYNC.items() if name not in {*UNSERVED, HEADERS}}
PEERS = {name: peer for name, peer in SERVED.items() if peer.module != "octavo"}
SINGLE = [name for name, peer in SERVED.items() if not peer.several]
COMBINED = [name for name, peer in SERVED.items() if peer.several]
DENIED = {
    **{name: SYNC[name] for name in (RAW, ours("gcra"))},
    DENY_CACHE: Peer(partial(octavo_sync, deny_cache=True), "octavo"),
    **PEERS,
}
DENIED_AWAITED = {
    **{name: ASYNC[name] for name in (RAW, ours("gcra"))},
    DENY_CACHE: Peer(partial(octavo_async, deny_cache=True), "octavo"),
    **{
        name: peer
        for name, peer in ASYNC.items()
        if peer.module != "octavo" and name not in UNSERVED
    },
}
AHEAD = {
    **{name: SYNC[name] for name in (RAW, ours("gcra"))},
    PREFETCH: Peer(partial(octavo_sync, prefetch=UNITS), "octavo"),
}
AHEAD_AWAITED = {
    **{name: ASYNC[name] for name in (RAW, ours("gcra"))},
    PREFETCH: Peer(partial(octavo_async, prefetch=UNITS), "octavo"),
}
FAST = (Bar(DENY_CACHE, RAW, 1 / DENIALS, measure="seconds"),)
CASES = (
    Case(
        "one limit, one thread",
        SYNC,
        one,
        (Bar(ours("gcra"), RAW, 0.95), Bar(ours("fixed"), HEADERS, 2.0), *beside(SYNC)),
    ),
    Case(
        f"one limit, {CALLERS} tasks",
        ASYNC,
        one_awaited,
        against(ours("gcra"), 3.0, ASYNC),
        tasks=CALLERS,
    ),
    Case(
        "four limits of one subject, one thread",
        SERVED,
        four,
        (*against(ours("gcra"), 3.0, SINGLE), *against(ours("gcra"), 1.0, COMBINED)),
    ),
    Case(
        "four limits of four subjects, one thread",
        {RAW: SYNC[RAW], CHECK: Peer(octavo_check, "octavo", several=True), **apart(PEERS)},
        four_subjects,
        against(CHECK, 3.0, PEERS),
    ),
    Case("denied, one thread", DENIED, denied, FAST),
    Case("denied, one task", DENIED_AWAITED, denied_awaited, FAST, tasks=1),
    Case("one hot subject, one thread", AHEAD, hot, ()),
    Case(f"one hot subject, {CALLERS} tasks", AHEAD_AWAITED, hot_awaited, (), tasks=CALLERS),
)


async def run(options: Options) -> AsyncIterator[Result | Table]:
    """Run every comparison on every transport asked for, and the tables."""
    seconds, quick = options.seconds(COMPARISONS), options.quick
    with private_server(options.cores) as urls:
        for transport in options.transports:
            for case in CASES:
                yield await compared(case, transport, urls[transport], seconds)
        url = urls["tcp"]
        fresh(url)
        yield client_costs(url, one, quick=quick)
        yield server_costs(url, quick=quick)
        for table in (memory, any_window, promises):
            fresh(url)
            yield table(url)
    # No ratios of speed, hence no pinning: waiters want to wake up in time.
    with private_server("any") as urls:
        yield await waiting(urls["tcp"])


def fresh(url: str) -> None:
    """Forget what others have used: contenders may share names."""
    with redis.Redis.from_url(url) as client:
        client.flushall()


async def compared(case: Case, transport: str, url: str, seconds: float) -> Result:
    """Connect all contenders of a case, have each subject seen once, and compare them."""
    fresh(url)
    async with AsyncExitStack() as stack:
        contenders = [
            await contender(name, peer, case, url, stack) for name, peer in case.peers.items()
        ]
        comparison = Comparison(
            f"limits: {case.title}, {transport}",
            contenders,
            case.bars,
            operations=max(1, case.tasks),
        )
        return await compare(comparison, seconds)


async def contender(
    name: str, peer: Peer, case: Case, url: str, stack: AsyncExitStack
) -> Contender:
    """Return a contender that has met every subject, or its note."""
    if note := missing(peer.module):
        return Contender(name, None, note)
    try:
        operation = case.operation(peer, await settled(peer.connect(url, stack)))
        if case.tasks > 1:
            turns = callers(operation, case.tasks)
        else:
            turns = awaits(operation) if case.tasks else calls(operation)
        # First hits are others than the rest: keys are made, and buckets in the process.
        await turns(len(NAMES) // max(1, case.tasks))
    except Exception as error:  # noqa: BLE001 - a peer's failure is a row, not the end
        return Contender(name, None, f"failed: {error!r}")
    return Contender(name, turns)

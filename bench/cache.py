"""The cache against the raw commands and every Python peer: hits, writes, stampedes, tags."""

from __future__ import annotations

import functools
import inspect
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cachetools
import msgspec
import redis
import redis.asyncio

import octavo
from bench import cache_tables
from bench.cache_peers import ASYNC, PEERS, SYNC, TAGS, TTL, VALUE, Place
from bench.harness import (
    Bar,
    Comparison,
    Contender,
    Options,
    Result,
    Table,
    awaits,
    calls,
    compare,
    missing,
    private,
    together,
)
from bench.limits import BareSocket
from octavo.cache import Local
from octavo.testing.servers import Cluster, Standalone, binaries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from bench.cache_peers import Call, Cases
    from bench.harness import Round

    Rounds = Callable[[Call, list[str]], Round]

MANY = 100
TASKS = 64
GRACE = 60
COMPARISONS = 6
"""As many as could have 45 seconds between them; there are more, so this bench takes longer."""
ENCODED = msgspec.msgpack.encode(VALUE)
partial = functools.partial

RAW = "redis-py GET"
ASYNC_RAW = "redis.asyncio GET"
OCTAVO = "octavo get"
TAGGED = "octavo get, grace and two tags"
CACHED = "octavo @cached"
LOCAL = "octavo get, local"
SHARED = "octavo get, local, share=True"
GET_MANY = "octavo get_many"


def one_thread(call: Call, keys: list[str]) -> Round:
    """One thread asks for one key."""
    return calls(partial(call, keys[0]))


def one_task(call: Call, keys: list[str]) -> Round:
    """One task asks for one key."""
    return awaits(partial(call, keys[0]))


def a_key_each(call: Call, keys: list[str]) -> Round:
    """Many tasks ask for a key of their own."""
    return together([partial(call, key) for key in keys[:TASKS]])


def a_hot_key(call: Call, keys: list[str]) -> Round:
    """Many tasks ask for the same key."""
    return together([partial(call, keys[0])] * TASKS)


def thread_of_many(call: Call, keys: list[str]) -> Round:
    """One thread asks for all keys at once."""
    return calls(partial(call, keys))


def task_of_many(call: Call, keys: list[str]) -> Round:
    """One task asks for all keys at once."""
    return awaits(partial(call, keys))


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        what: which of its calls each contender makes.
        lead: whose speed is compared with that of every peer.
        bars: what the project asks beyond that.
    """

    title: str
    what: tuple[str, ...]
    rounds: Rounds
    lead: str = ""
    bars: tuple[Bar, ...] = ()
    on_cluster: bool = False
    tasks: int = 1


LOCAL_BARS = tuple(Bar(name, name, 2e-6, measure="seconds") for name in (LOCAL, SHARED))
HIT = ("hit", "decorated")
SYNC_CASES = (
    Case(
        "hit, one thread",
        ("hit",),
        one_thread,
        OCTAVO,
        (Bar(OCTAVO, RAW, 1.0), Bar(TAGGED, RAW, 0.75)),
        on_cluster=True,
    ),
    Case(
        "hit of a decorated function, one thread",
        ("decorated",),
        one_thread,
        CACHED,
        (Bar(CACHED, RAW, 0.85),),
        on_cluster=True,
    ),
    Case("local hit, one thread", ("local",), one_thread, LOCAL, LOCAL_BARS),
    Case(f"get_many of {MANY}", ("get_many",), thread_of_many, GET_MANY, on_cluster=True),
    Case("set, one thread", ("set",), one_thread),
    Case("incr with a ttl, one thread", ("incr",), one_thread),
)
ASYNC_CASES = (
    Case("hit, one task", HIT, one_task, OCTAVO, on_cluster=True),
    Case(
        f"hit, {TASKS} tasks with a key each",
        HIT,
        a_key_each,
        OCTAVO,
        (Bar(OCTAVO, ASYNC_RAW, 4.0),),
        on_cluster=True,
        tasks=TASKS,
    ),
    Case(
        f"hit, {TASKS} tasks with one hot key",
        HIT,
        a_hot_key,
        OCTAVO,
        (Bar(OCTAVO, ASYNC_RAW, 4.0),),
        on_cluster=True,
        tasks=TASKS,
    ),
    Case("local hit, one task", ("local",), one_task, LOCAL, LOCAL_BARS),
    Case(f"get_many of {MANY}, async", ("get_many",), task_of_many, GET_MANY, on_cluster=True),
    Case("set, one task", ("set",), one_task),
    Case("incr with a ttl, one task", ("incr",), one_task),
)
WRITES = ("set", "incr")


async def run(options: Options) -> AsyncIterator[Result | Table]:
    """Run every comparison on a server, those of hits on a cluster too, and the tables."""
    program = next(iter(binaries().values()))
    with private(Standalone(program), options.cores) as server:
        urls = {"tcp": server.url, "unix": server.unix_url}
        for transport in options.transports:
            place = Place(transport, urls[transport], urls[transport])
            async for result in comparisons(place, options):
                yield result
    # No ratios, hence no pinning: processes that wake up together want cores of their own.
    with private(Standalone(program), "any") as server:
        yield await cache_tables.stampede(server.url, rounds=1 if options.quick else 3)
        yield await cache_tables.invalidation(server.url, quick=options.quick)
    with private(Cluster(program), options.cores) as cluster:
        place = Place("cluster of six", cluster.url, cluster.nodes[0].url)
        async for result in comparisons(place, options):
            yield result


async def comparisons(place: Place, options: Options) -> AsyncIterator[Result]:
    """Connect all contenders, then compare them case by case."""
    fill(place)
    seconds = options.seconds(COMPARISONS)
    for cases, connect in ((SYNC_CASES, sync_field), (ASYNC_CASES, async_field)):
        async with AsyncExitStack() as stack:
            field = await connect(place, stack)
            for case in cases:
                if case.on_cluster or not place.cluster:
                    yield await compare(await comparison(case, place, field), seconds)


async def comparison(case: Case, place: Place, field: dict[str, Cases | str]) -> Comparison:
    """Return the comparison of a case by those of the field who take part in it."""
    contenders, peers = [], []
    for name, theirs in field.items():
        if isinstance(theirs, str):
            if PEERS[name].takes_part_in.intersection(case.what):
                contenders.append(Contender(name, None, theirs))
            continue
        rows = {row: call for what in case.what for row, call in theirs.get(what, {}).items()}
        for row, call in rows.items():
            contenders.append(await contender(case, row, call, keys_of(name)))
            if name in PEERS:
                peers.append(row)
    bars = (*case.bars, *(Bar(case.lead, row, 1.0) for row in peers if case.lead))
    return Comparison(f"{case.title}, {place.title}", contenders, bars, operations=case.tasks)


async def contender(case: Case, row: str, call: Call, keys: list[str]) -> Contender:
    """Return a contender, or its note when what it gives is not what was stored."""
    whole = case.what == ("get_many",)
    try:
        value = call(keys if whole else keys[0])
        if inspect.isawaitable(value):
            value = await value
    except Exception as error:  # noqa: BLE001 - a peer's failure is a row, not the end
        return Contender(row, None, f"failed: {type(error).__name__}: {error}")
    values = (value.values() if isinstance(value, dict) else value) if whole else [value]
    if case.what[0] not in WRITES and any(each not in (VALUE, ENCODED) for each in values):
        return Contender(row, None, f"gave {value!r}")
    return Contender(row, case.rounds(call, keys))


def keys_of(name: str) -> list[str]:
    """Return the keys that a contender uses: no two write in the same form."""
    return [f"{name}:{number}" for number in range(MANY)]


async def sync_field(place: Place, stack: AsyncExitStack) -> dict[str, Cases | str]:
    """Connect the sync contenders, or note why one cannot take part."""
    kind = redis.RedisCluster if place.cluster else redis.Redis
    client = stack.enter_context(kind.from_url(place.node))
    db = stack.enter_context(octavo.connect(place.url))
    field: dict[str, Cases | str] = {
        "redis": _sync_raw(client, place),
        "octavo": _octavo(db, _user),
    }
    for name, peer in SYNC.items():
        try:
            field[name] = missing(peer.module) or peer.connect(place, keys_of(name), stack)
        except Exception as error:  # noqa: BLE001 - a peer's failure is a row, not the end
            field[name] = str(error)
    field["limit"] = _limits(place, stack)
    return field


async def async_field(place: Place, stack: AsyncExitStack) -> dict[str, Cases | str]:
    """Connect the async contenders, or note why one cannot take part."""
    kind = redis.asyncio.RedisCluster if place.cluster else redis.asyncio.Redis
    client = await stack.enter_async_context(kind.from_url(place.node))
    db = await stack.enter_async_context(octavo.connect_async(place.url))
    field: dict[str, Cases | str] = {
        "redis": _raw(client, place, "redis.asyncio"),
        "octavo": _octavo(db, _async_user),
    }
    for name, peer in ASYNC.items():
        try:
            field[name] = missing(peer.module) or await peer.connect(place, keys_of(name), stack)
        except Exception as error:  # noqa: BLE001 - a peer's failure is a row, not the end
            field[name] = str(error)
    return field


def fill(place: Place) -> None:
    """Store what the raw commands and octavo read; the peers do so for themselves."""
    kind = redis.RedisCluster if place.cluster else redis.Redis
    with kind.from_url(place.node) as client, octavo.connect(place.url) as db:
        for key in keys_of("redis"):
            client.set(key, ENCODED)
        for name, cache in _caches(db).items():
            for key in keys_of("octavo"):
                cache.set(key, VALUE, tags=TAGS if name == "tagged" else ())


def _raw(client: Any, place: Place, name: str) -> Cases:
    """Return the raw commands: what they give is awaited on a client that is async."""
    get = {f"{name} GET": client.get}

    def pipeline(keys: list[str]) -> Any:
        pipe = client.pipeline(transaction=False)
        for key in keys:
            pipe.get(key)
        return pipe.execute()

    def set_with_tags(key: str) -> Any:
        pipe = client.pipeline(transaction=False)
        pipe.set(key, ENCODED, ex=TTL)
        for tag in TAGS:
            pipe.sadd(f"tag:{tag}", key)
        return pipe.execute()

    def incr(key: str) -> Any:
        pipe = client.pipeline(transaction=True)
        pipe.incrby(f"{key}:count", 1)
        pipe.expire(f"{key}:count", TTL, nx=True)
        return pipe.execute()

    return {
        "hit": get,
        "decorated": get,
        "local": get,
        "get_many": {
            f"{name} MGET": client.mget_nonatomic if place.cluster else client.mget,
            f"{name} pipeline": pipeline,
        },
        "set": {
            f"{name} SET": lambda key: client.set(key, ENCODED, ex=TTL),
            f"{name} pipeline of SET and two SADD": set_with_tags,
        },
        "incr": {
            f"{name} MULTI INCRBY, EXPIRE NX": incr,
            f"{name} INCRBY, no ttl": lambda key: client.incrby(f"{key}:count", 1),
        },
    }


def _sync_raw(client: Any, place: Place) -> Cases:
    decode = msgspec.msgpack.Decoder().decode
    cases = _raw(client, place, "redis-py")
    many = cases["get_many"]["redis-py MGET"]
    cases["hit"] = {**cases["hit"], f"{RAW}, decoded": lambda key: decode(client.get(key))}
    cases["get_many"]["redis-py MGET, decoded"] = lambda keys: [*map(decode, many(keys))]
    return cases


def _caches(db: octavo.Octavo[Any]) -> dict[str, Any]:
    return {
        "plain": db.cache("plain", ttl=TTL),
        "tagged": db.cache("tagged", ttl=TTL, grace=GRACE),
        "local": db.cache("local", ttl=TTL, local=Local()),
        "shared": db.cache("shared", ttl=TTL, local=Local(share=True)),
    }


def _octavo(db: octavo.Octavo[Any], user: Call) -> Cases:
    """Return what octavo does: what it gives is awaited on a client that is async."""
    caches = _caches(db)
    plain, tagged = caches["plain"], caches["tagged"]
    return {
        "hit": {
            OCTAVO: plain.get,
            TAGGED: tagged.get,
            "octavo get_or_create": lambda key: plain.get_or_create(key, lambda: VALUE),
        },
        "decorated": {CACHED: plain.cached()(user)},
        "local": {LOCAL: caches["local"].get, SHARED: caches["shared"].get},
        "get_many": {GET_MANY: plain.get_many, f"{GET_MANY}, two tags": tagged.get_many},
        "set": {
            "octavo set": lambda key: plain.set(key, VALUE),
            "octavo set, two tags": lambda key: tagged.set(key, VALUE, tags=TAGS),
        },
        "incr": {"octavo incr": lambda key: plain.incr(f"{key}:count", ttl=TTL)},
    }


def _user(_: str) -> dict[str, Any]:
    return VALUE


async def _async_user(_: str) -> dict[str, Any]:
    return VALUE


def _limits(place: Place, stack: AsyncExitStack) -> Cases:
    memory: cachetools.TTLCache[str, object] = cachetools.TTLCache(MANY, TTL)
    for key in keys_of("limit"):
        memory[key] = VALUE
    cases: Cases = {"local": {"limit: cachetools TTLCache, no lock": memory.get}}
    if not place.cluster:
        bare, key = stack.enter_context(closing(BareSocket(place.node))), keys_of("redis")[0]
        cases["hit"] = {"limit: bare socket": lambda _: bare.ask(b"GET", key.encode())}
    return cases

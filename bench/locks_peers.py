"""The contenders of `bench.locks`: octavo, every peer, and the least that any lock can do.

Each is called the way its manual does it, with the lock object made once, 30 seconds to live and
a wait of as many. Locks are named so that a contender's keys share a slot.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from contextlib import AsyncExitStack, ExitStack, closing
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

import redis
import redis.asyncio

import octavo
from bench.limits import BareProtocol, BareSocket

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bench.cache_peers import Place

    Locks = Callable[[str], "Pair"]
    """Gives one caller its pair for the lock of a name."""

TTL = 30
MILLISECONDS = str(TTL * 1000)
RELEASE = """
if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end
return 0
"""
FENCED_ACQUIRE = """
if redis.call("SET", KEYS[1], ARGV[1], "NX", "PX", ARGV[2]) then
  return redis.call("INCR", KEYS[2])
end
return 0
"""
partial = functools.partial


class Pair(NamedTuple):
    """Takes a lock, and gives it back; both are awaited on an async contender.

    Attributes:
        acquire: gives the fence, or None if there is none; raises when it does not get the lock.
        release: raises when the lock had been lost.
    """

    acquire: Callable[[], Any]
    release: Callable[[], Any]


@dataclass(frozen=True)
class Peer:
    """A contender, before it is connected.

    Attributes:
        connect: returns its locks; awaited if it is async.
        module: what it is imported from.
        fenced: whether it gives a fence with the lock.
        clustered: whether it can use a cluster.
        polls: the seconds between two looks at a lock that is taken.
        slow: whether it takes seconds to go through a few sections.
    """

    connect: Callable[[Place, Any], Any]
    module: str = "redis"
    fenced: bool = False
    clustered: bool = True
    polls: float = 0.0
    slow: bool = False


class LockMissedError(Exception):
    """A contender did not get the lock, or no longer had it."""


def sure(done: object) -> None:
    """Raise if something that should have been done was not."""
    if not done:
        raise LockMissedError


async def settled(value: Any) -> Any:
    """Return what a sync contender gave, or what an async one promised."""
    return await value if inspect.isawaitable(value) else value


# Sync contenders.


def client_of(place: Place, stack: ExitStack) -> Any:
    """Return a client of redis-py that is connected."""
    kind = redis.RedisCluster if place.cluster else redis.Redis
    return stack.enter_context(kind.from_url(place.node))


def raw(place: Place, stack: ExitStack) -> Locks:
    """SET NX PX, and a script that compares and deletes."""
    client = client_of(place, stack)
    release = client.script_load(RELEASE)

    def pair(name: str) -> Pair:
        owner = uuid4().hex
        return Pair(
            lambda: sure(client.set(name, owner, nx=True, px=TTL * 1000)),
            lambda: sure(client.evalsha(release, 1, name, owner)),
        )

    return pair


def raw_fenced(place: Place, stack: ExitStack) -> Locks:
    """Do the same, with a counter in the same slot that is raised along."""
    client = client_of(place, stack)
    acquire, release = client.script_load(FENCED_ACQUIRE), client.script_load(RELEASE)

    def pair(name: str) -> Pair:
        key, owner = f"{{{name}}}", uuid4().hex
        return Pair(
            lambda: client.evalsha(acquire, 2, key, f"{key}:fence", owner, MILLISECONDS),
            lambda: sure(client.evalsha(release, 1, key, owner)),
        )

    return pair


def token(place: Place, stack: ExitStack) -> Locks:
    """Pass one token around a list: the wake-up of a waiter and nothing else."""
    client = client_of(place, stack)

    def pair(name: str) -> Pair:
        if client.set(f"{name}:there", 1, nx=True):
            client.lpush(name, 1)
        return Pair(lambda: sure(client.blpop(name, TTL)), lambda: client.lpush(name, 1))

    return pair


def redis_py(place: Place, stack: ExitStack) -> Locks:
    """Return redis-py's Lock."""
    client = client_of(place, stack)

    def pair(name: str) -> Pair:
        lock = client.lock(name, timeout=TTL)
        return Pair(lambda: sure(lock.acquire()), lock.release)

    return pair


def python_redis_lock(
    place: Place, stack: ExitStack, *, renew: bool = False, ttl: int = TTL
) -> Locks:
    """Return python-redis-lock's."""
    import redis_lock

    client = client_of(place, stack)

    def pair(name: str) -> Pair:
        lock = redis_lock.Lock(
            client, f"{{{name}}}", expire=ttl, auto_renewal=renew, strict=not place.cluster
        )
        return Pair(lambda: sure(lock.acquire()), lock.release)

    return pair


def pottery(place: Place, stack: ExitStack) -> Locks:
    """Return pottery's Redlock of a single server."""
    from pottery import Redlock

    client = client_of(place, stack)

    def pair(name: str) -> Pair:
        lock = Redlock(key=name, masters={client}, auto_release_time=TTL)
        return Pair(lambda: sure(lock.acquire()), lock.release)

    return pair


def fencekit(place: Place, stack: ExitStack) -> Locks:
    """Return fencekit's."""
    from fencekit import DistributedLock

    lock, ttl = DistributedLock(client_of(place, stack)), timedelta(seconds=TTL)

    def pair(name: str) -> Pair:
        held: list[Any] = []

        def acquire() -> int:
            held.append(lock.acquire(f"{{{name}}}", ttl=ttl, blocking=True, wait=ttl))
            return int(held[0].token.value)

        return Pair(acquire, lambda: lock.release(held.pop()))

    return pair


def portalocker(place: Place, stack: ExitStack, *, fencing: bool = False) -> Locks:
    """Return portalocker's: a subscription, kept alive by a thread."""
    from portalocker import RedisLock

    client = stack.enter_context(redis.Redis.from_url(place.node, decode_responses=True))

    def pair(name: str) -> Pair:
        lock = RedisLock(name, client, timeout=TTL, interrupt_on_lost=False, fencing=fencing)

        def acquire() -> int | None:
            lock.acquire()
            return lock.fence_token if fencing else None

        def release() -> None:
            lock.ensure_held()
            lock.release()

        return Pair(acquire, release)

    return pair


def octavo_sync(place: Place, stack: ExitStack, *, fair: bool = False, ttl: int = TTL) -> Locks:
    """Return octavo's."""
    db = stack.enter_context(octavo.connect(place.url))

    def pair(name: str) -> Pair:
        lock = db.lock(name, ttl=ttl, fair=fair)
        held: list[Any] = []

        def acquire() -> int:
            held.append(lock.acquire(wait=TTL))
            return int(held[0].fence)

        return Pair(acquire, lambda: sure(held.pop().release()))

    return pair


def bare_socket(place: Place, stack: ExitStack) -> Locks:
    """Do as the raw commands do, on a bare socket."""
    bare = stack.enter_context(closing(BareSocket(place.node)))
    release = bare.ask(b"SCRIPT", b"LOAD", RELEASE.encode())

    def pair(name: str) -> Pair:
        key, owner = name.encode(), uuid4().hex.encode()
        return Pair(
            lambda: sure(bare.ask(b"SET", key, owner, b"NX", b"PX", MILLISECONDS.encode())),
            lambda: sure(bare.ask(b"EVALSHA", release, b"1", key, owner)),
        )

    return pair


# Async contenders.


async def async_client_of(place: Place, stack: AsyncExitStack) -> Any:
    """Return an async client of redis-py that is connected."""
    kind = redis.asyncio.RedisCluster if place.cluster else redis.asyncio.Redis
    return await stack.enter_async_context(kind.from_url(place.node))


async def async_raw(place: Place, stack: AsyncExitStack) -> Locks:
    """SET NX PX, and a script that compares and deletes."""
    client = await async_client_of(place, stack)
    script = await client.script_load(RELEASE)

    def pair(name: str) -> Pair:
        owner = uuid4().hex

        async def acquire() -> None:
            sure(await client.set(name, owner, nx=True, px=TTL * 1000))

        async def release() -> None:
            sure(await client.evalsha(script, 1, name, owner))

        return Pair(acquire, release)

    return pair


async def async_raw_fenced(place: Place, stack: AsyncExitStack) -> Locks:
    """Do the same, with a counter in the same slot that is raised along."""
    client = await async_client_of(place, stack)
    take, give = await client.script_load(FENCED_ACQUIRE), await client.script_load(RELEASE)

    def pair(name: str) -> Pair:
        key, owner = f"{{{name}}}", uuid4().hex

        async def release() -> None:
            sure(await client.evalsha(give, 1, key, owner))

        return Pair(
            lambda: client.evalsha(take, 2, key, f"{key}:fence", owner, MILLISECONDS), release
        )

    return pair


async def async_redis_py(place: Place, stack: AsyncExitStack) -> Locks:
    """Return redis-py's Lock of asyncio."""
    client = await async_client_of(place, stack)

    def pair(name: str) -> Pair:
        lock = client.lock(name, timeout=TTL)

        async def acquire() -> None:
            sure(await lock.acquire())

        return Pair(acquire, lock.release)

    return pair


async def fifo(place: Place, stack: AsyncExitStack, *, ttl: int = TTL) -> Locks:
    """Return redis-fifo-lock's."""
    from redis_fifo_lock import FifoLock

    client = await async_client_of(place, stack)

    def pair(name: str) -> Pair:
        lock = FifoLock(client, name, lease_ms=ttl * 1000)
        held: list[Any] = []

        async def acquire() -> int:
            held.append(await lock.acquire())
            return int(held[0].fence)

        return Pair(acquire, lambda: lock.release(held.pop()))

    return pair


async def async_pottery(place: Place, stack: AsyncExitStack) -> Locks:
    """Return pottery's AIORedlock of a single server."""
    from pottery import AIORedlock

    client = await async_client_of(place, stack)

    def pair(name: str) -> Pair:
        lock = AIORedlock(key=name, masters={client}, auto_release_time=TTL)

        async def acquire() -> None:
            sure(await lock.acquire())

        return Pair(acquire, lock.release)

    return pair


async def octavo_async(
    place: Place, stack: AsyncExitStack, *, fair: bool = False, ttl: int = TTL
) -> Locks:
    """Return octavo's."""
    db = await stack.enter_async_context(octavo.connect_async(place.url))

    def pair(name: str) -> Pair:
        lock = db.lock(name, ttl=ttl, fair=fair)
        held: list[Any] = []

        async def acquire() -> int:
            held.append(await lock.acquire(wait=TTL))
            return int(held[0].fence)

        async def release() -> None:
            sure(await held.pop().release())

        return Pair(acquire, release)

    return pair


async def bare_protocol(place: Place, stack: AsyncExitStack) -> Locks:
    """Do as the raw commands do, on a bare protocol: those of one turn of the loop together."""
    bare = stack.enter_context(closing(await BareProtocol.connect(place.node)))
    script = await bare.ask(b"SCRIPT", b"LOAD", RELEASE.encode())

    def pair(name: str) -> Pair:
        key, owner = name.encode(), uuid4().hex.encode()
        return Pair(
            lambda: bare.ask_together(b"SET", key, owner, b"NX", b"PX", MILLISECONDS.encode()),
            lambda: bare.ask_together(b"EVALSHA", script, b"1", key, owner),
        )

    return pair


def in_a_loop(connect: Callable[[Place, AsyncExitStack], Awaitable[Locks]]) -> Any:
    """Make an async contender a sync one: each caller has an event loop and a client."""

    def connected(place: Place, stack: ExitStack) -> Locks:
        def pair(name: str) -> Pair:
            runner = stack.enter_context(asyncio.Runner())
            run, own = runner.get_loop().run_until_complete, AsyncExitStack()
            stack.callback(lambda: run(own.aclose()))
            theirs = run(connect(place, own))(name)
            return Pair(lambda: run(theirs.acquire()), lambda: run(theirs.release()))

        return pair

    return connected


RAW = "raw SET NX PX, EVALSHA"
RAW_FENCED = "raw fenced, two EVALSHA"
REDIS_PY = "redis-py Lock"
OCTAVO = "octavo"
FAIR = "octavo, fair=True"
TOKEN = "limit: BLPOP, LPUSH"
FIFO = "redis-fifo-lock"
AUTO_RENEWED = "python-redis-lock, auto_renewal"

SYNC = {
    RAW: Peer(raw),
    RAW_FENCED: Peer(raw_fenced, fenced=True),
    OCTAVO: Peer(octavo_sync, "octavo", fenced=True),
    FAIR: Peer(partial(octavo_sync, fair=True), "octavo", fenced=True),
    REDIS_PY: Peer(redis_py, polls=0.1),
    "python-redis-lock": Peer(python_redis_lock, "redis_lock"),
    AUTO_RENEWED: Peer(partial(python_redis_lock, renew=True), "redis_lock"),
    "fencekit": Peer(fencekit, "fencekit", fenced=True, polls=0.05),
    "pottery Redlock": Peer(pottery, "pottery", polls=0.2),
    "portalocker RedisLock": Peer(
        portalocker, "portalocker", clustered=False, polls=0.1, slow=True
    ),
    "limit: bare socket": Peer(bare_socket, clustered=False),
}
ASYNC = {
    REDIS_PY: Peer(async_redis_py),
    RAW: Peer(async_raw),
    RAW_FENCED: Peer(async_raw_fenced, fenced=True),
    OCTAVO: Peer(octavo_async, "octavo", fenced=True),
    FAIR: Peer(partial(octavo_async, fair=True), "octavo", fenced=True),
    FIFO: Peer(fifo, "redis_fifo_lock", fenced=True),
    "pottery AIORedlock": Peer(async_pottery, "pottery"),
    "limit: bare protocol": Peer(bare_protocol, clustered=False),
}
FENCED_SYNC = {
    **{name: peer for name, peer in SYNC.items() if peer.fenced},
    "portalocker RedisLock, fencing": Peer(
        partial(portalocker, fencing=True), "portalocker", fenced=True, clustered=False
    ),
}
FENCED_ASYNC = {name: peer for name, peer in ASYNC.items() if peer.fenced}
WAITING = {
    TOKEN: Peer(token),
    **{name: SYNC[name] for name in (OCTAVO, FAIR, REDIS_PY, "python-redis-lock", "fencekit")},
    FIFO: Peer(in_a_loop(fifo), "redis_fifo_lock", fenced=True),
    **{name: SYNC[name] for name in ("pottery Redlock", "portalocker RedisLock")},
}
"""Those whose acquire can wait for another thread or process, all of them sync."""

"""The contenders of `bench.ratelimit`: octavo, every peer, and the least that a decision can do.

Each is called the way its manual does it, with limiters made once. A contender is first connected
and then given rates, for each of which it returns a `Hit`; octavo takes several rates at once.
"""

from __future__ import annotations

import functools
from contextlib import AsyncExitStack, ExitStack, closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
import redis.asyncio

import octavo
from bench.limits import BareProtocol, BareSocket
from octavo.ratelimit import Limit

if TYPE_CHECKING:
    from collections.abc import Callable

    Hit = Callable[..., Any]
    """Charges a subject, and a cost if it is not 1; says whether that was allowed."""
    Limits = Callable[..., Hit]
    """Gives the `Hit` of a rate, or of several."""

GCRA = Path(__file__).with_name("gcra.lua").read_text()
DEADLINE = 5.0
"""Seconds: octavo has one as always, but a busy machine does not run into it."""
partial = functools.partial


@dataclass(frozen=True)
class Rate:
    """So many units in so many seconds, and how many of them can pass at once."""

    limit: int
    seconds: float
    burst: int = 0

    @property
    def most(self) -> int:
        """The units that can pass at once."""
        return self.burst or self.limit

    @property
    def interval(self) -> int:
        """Microseconds for one unit."""
        return round(self.seconds * 1e6 / self.limit)

    def key(self, subject: str) -> str:
        """Return where the raw script keeps what a subject has used."""
        return f"octavo:bench:{{{subject}}}:{self.limit}:{self.seconds}"


@dataclass(frozen=True)
class Peer:
    """A contender, before it is connected.

    Attributes:
        connect: returns its limits; awaited if it is async.
        module: what it is imported from.
        algorithm: beside which of octavo's it stands; "" if beside none.
        several: whether it takes several rates at once.
    """

    connect: Callable[[str, Any], Any]
    module: str = "redis"
    algorithm: str = ""
    several: bool = False


# Sync contenders.


def raw_get(url: str, stack: ExitStack) -> Limits:
    """GET, which decides nothing: what a round trip costs."""
    client = stack.enter_context(redis.Redis.from_url(url))
    return lambda _: lambda subject: client.get(subject) is None


def raw_script(url: str, stack: ExitStack) -> Limits:
    """EVALSHA of the least script."""
    client = stack.enter_context(redis.Redis.from_url(url))
    sha = client.script_load(GCRA)

    def limit(rate: Rate) -> Hit:
        def hit(subject: str, cost: int = 1) -> bool:
            reply: Any = client.evalsha(sha, 1, rate.key(subject), rate.interval, rate.most, cost)
            return reply[0] == 1

        return hit

    return limit


def bare_socket(url: str, stack: ExitStack) -> Limits:
    """Do so on a bare socket."""
    bare = stack.enter_context(closing(BareSocket(url)))
    sha = bare.ask(b"SCRIPT", b"LOAD", GCRA.encode())

    def limit(rate: Rate) -> Hit:
        interval, most = b"%d" % rate.interval, b"%d" % rate.most

        def hit(subject: str, cost: int = 1) -> bool:
            key = rate.key(subject).encode()
            reply = bare.ask(b"EVALSHA", sha, b"1", key, interval, most, b"%d" % cost)
            return bool(reply[0] == 1)

        return hit

    return limit


def octavo_sync(url: str, stack: ExitStack, *, algorithm: str = "gcra", **options: Any) -> Limits:
    """Return octavo's."""
    db: Any = stack.enter_context(octavo.connect(url))
    return partial(octavo_hit, db, algorithm, options)


def octavo_hit(db: Any, algorithm: str, options: dict[str, Any], *rates: Rate) -> Hit:
    """Return the `Hit` of octavo's limiter."""
    limits = octavo_limits(algorithm, *rates)
    name = "-".join(["bench", algorithm, *options])
    hit: Hit = db.limiter(name, *limits, deadline=DEADLINE, **options).hit
    return hit


def octavo_check(url: str, stack: ExitStack) -> Limits:
    """Return octavo's check of several rates, each of a subject of its own."""
    db = stack.enter_context(octavo.connect(url))

    def limit(*rates: Rate) -> Hit:
        limits = octavo_limits("gcra", *rates)
        check = db.limiter("bench-check", *limits, deadline=DEADLINE).check
        names = [each.name for each in limits]
        return lambda *subjects: check(dict(zip(names, subjects, strict=True)))

    return limit


def octavo_limits(algorithm: Any, *rates: Rate) -> list[Limit]:
    """Return rates as octavo's limits."""
    return [
        Limit.per(
            rate.limit,
            rate.seconds,
            algorithm=algorithm,
            name=f"limit-{number}",
            **({"burst": rate.burst} if rate.burst and algorithm == "gcra" else {}),
        )
        for number, rate in enumerate(rates)
    ]


def limits_sync(url: str, stack: ExitStack, *, strategy: str, stats: bool = False) -> Limits:
    """Return those of limits, which asks again for what stands in headers."""
    from limits import RateLimitItemPerSecond
    from limits.storage import RedisStorage
    from limits.strategies import STRATEGIES

    storage = RedisStorage(url, key_prefix=f"limits-{strategy}-{stats}")
    stack.callback(storage.storage.close)
    limiter = STRATEGIES[strategy](storage)

    def limit(rate: Rate) -> Hit:
        item = RateLimitItemPerSecond(rate.limit, int(rate.seconds))

        def hit(subject: str, cost: int = 1) -> bool:
            return limiter.hit(item, subject, cost=cost)

        def hit_and_tell(subject: str, cost: int = 1) -> bool:
            allowed = limiter.hit(item, subject, cost=cost)
            limiter.get_window_stats(item, subject)
            return allowed

        return hit_and_tell if stats else hit

    return limit


def throttled_sync(url: str, stack: ExitStack, *, using: str) -> Limits:
    """Return those of throttled-py."""
    from throttled import RedisStore, Throttled
    from throttled.rate_limiter import per_duration

    store = RedisStore(server=url)
    stack.callback(store._backend.get_client().close)  # noqa: SLF001 - it has no other way

    def limit(rate: Rate) -> Hit:
        quota = per_duration(timedelta(seconds=rate.seconds), rate.limit, rate.most)
        prefix = f"throttled-{rate.limit}-{int(rate.seconds)}"
        throttle = Throttled(using=using, quota=quota, store=store, key_prefix=prefix)

        def hit(subject: str, cost: int = 1) -> bool:
            return not throttle.limit(subject, cost).limited

        return hit

    return limit


def pyrate_sync(url: str, stack: ExitStack, *, gcra: bool = False) -> Limits:
    """Return those of pyrate-limiter, a bucket for each subject; several rates in one."""
    client = stack.enter_context(redis.Redis.from_url(url))

    def limit(*rates: Rate) -> Hit:
        limiter = pyrate_limiter(client, rates, gcra=gcra)
        stack.callback(limiter.close)

        def hit(subject: str, cost: int = 1) -> Any:
            return limiter.try_acquire(subject, cost, blocking=False)

        return hit

    return limit


def pyrate_limiter(client: Any, rates: tuple[Rate, ...], *, gcra: bool, sha: str = "") -> Any:
    """Return a limiter that makes buckets as subjects come."""
    import pyrate_limiter as pyrate
    from pyrate_limiter.buckets.redis_bucket import LuaScript

    theirs = [pyrate.Rate(rate.limit, round(rate.seconds * 1000), rate.most) for rate in rates]
    loaded = sha or ("" if gcra else client.script_load(LuaScript.PUT_ITEM))
    prefix = "pyrate-" + "-".join(f"{rate.limit}:{rate.seconds}" for rate in rates)
    clock = pyrate.WallClock()

    class Subjects(pyrate.BucketFactory):
        def __init__(self) -> None:
            self.buckets: dict[str, Any] = {}

        def wrap_item(self, name: str, weight: int = 1) -> Any:
            return pyrate.RateItem(name, clock.now(), weight=weight)

        def get(self, item: Any) -> Any:
            if item.name not in self.buckets:
                self.buckets[item.name] = self.made(f"{prefix}-{gcra}-{item.name}")
            return self.buckets[item.name]

        def made(self, key: str) -> Any:
            # Not by create(): its thread would clean them in the others' turns.
            if gcra:
                return pyrate.StateBucket(
                    theirs, pyrate.GCRA(), pyrate.RedisStateStore(client, key)
                )
            return pyrate.RedisBucket(theirs, client, key, loaded)

    return pyrate.Limiter(Subjects())


# Async contenders.


async def async_raw_get(url: str, stack: AsyncExitStack) -> Limits:
    """GET, which decides nothing."""
    client = await stack.enter_async_context(redis.asyncio.Redis.from_url(url))

    def limit(_: Rate) -> Hit:
        async def hit(subject: str) -> bool:
            return await client.get(subject) is None

        return hit

    return limit


async def async_raw_script(url: str, stack: AsyncExitStack) -> Limits:
    """EVALSHA of the least script."""
    client = await stack.enter_async_context(redis.asyncio.Redis.from_url(url))
    sha = await client.script_load(GCRA)

    def limit(rate: Rate) -> Hit:
        async def hit(subject: str, cost: int = 1) -> bool:
            args = (rate.key(subject), rate.interval, rate.most, cost)
            reply: Any = await client.evalsha(sha, 1, *args)
            return reply[0] == 1

        return hit

    return limit


async def bare_protocol(url: str, stack: AsyncExitStack) -> Limits:
    """Do so on a bare protocol: those of one turn of the loop together."""
    bare = stack.enter_context(closing(await BareProtocol.connect(url)))
    sha = await bare.ask(b"SCRIPT", b"LOAD", GCRA.encode())

    def limit(rate: Rate) -> Hit:
        interval, most = b"%d" % rate.interval, b"%d" % rate.most

        async def hit(subject: str, cost: int = 1) -> bool:
            words = (b"1", rate.key(subject).encode(), interval, most, b"%d" % cost)
            reply = await bare.ask_together(b"EVALSHA", sha, *words)
            return bool(reply[0] == 1)

        return hit

    return limit


async def octavo_async(
    url: str, stack: AsyncExitStack, *, algorithm: str = "gcra", **options: Any
) -> Limits:
    """Return octavo's."""
    db: Any = await stack.enter_async_context(octavo.connect_async(url))
    return partial(octavo_hit, db, algorithm, options)


async def limits_async(url: str, stack: AsyncExitStack, *, strategy: str) -> Limits:
    """Return those of limits, on redis-py: it knows no coredis of today."""
    from limits import RateLimitItemPerSecond
    from limits.aio.storage import RedisStorage
    from limits.aio.strategies import STRATEGIES

    place = f"async+{url}"
    storage = RedisStorage(place, implementation="redispy", key_prefix=f"aio-{strategy}")
    stack.push_async_callback(storage.bridge.get_connection().aclose)
    limiter = STRATEGIES[strategy](storage)

    def limit(rate: Rate) -> Hit:
        item = RateLimitItemPerSecond(rate.limit, int(rate.seconds))
        return partial(limiter.hit, item)

    return limit


async def throttled_async(url: str, stack: AsyncExitStack, *, using: str) -> Limits:
    """Return those of throttled-py."""
    from throttled.asyncio import RedisStore, Throttled
    from throttled.rate_limiter import per_duration

    store = RedisStore(server=url)
    stack.push_async_callback(store._backend.get_client().aclose)  # noqa: SLF001 - no other way

    def limit(rate: Rate) -> Hit:
        quota = per_duration(timedelta(seconds=rate.seconds), rate.limit, rate.most)
        prefix = f"throttled-aio-{rate.limit}-{int(rate.seconds)}"
        throttle = Throttled(using=using, quota=quota, store=store, key_prefix=prefix)

        async def hit(subject: str, cost: int = 1) -> bool:
            return not (await throttle.limit(subject, cost)).limited

        return hit

    return limit


async def pyrate_async(url: str, stack: AsyncExitStack, *, gcra: bool = False) -> Limits:
    """Return those of pyrate-limiter."""
    from pyrate_limiter.buckets.redis_bucket import LuaScript

    client = await stack.enter_async_context(redis.asyncio.Redis.from_url(url))
    sha = await client.script_load(LuaScript.PUT_ITEM)

    def limit(*rates: Rate) -> Hit:
        limiter = pyrate_limiter(client, rates, gcra=gcra, sha=sha)
        stack.callback(limiter.close)
        return partial(limiter.try_acquire_async, blocking=False)

    return limit


async def in_process(url: str, stack: AsyncExitStack) -> Limits:  # noqa: ARG001 - as all
    """Return aiolimiter's, which asks no server."""
    from aiolimiter import AsyncLimiter

    def limit(rate: Rate) -> Hit:
        limiters: dict[str, Any] = {}

        async def hit(subject: str) -> bool:
            if subject not in limiters:
                limiters[subject] = AsyncLimiter(rate.limit, rate.seconds)
            await limiters[subject].acquire()
            return True

        return hit

    return limit


RATE = Rate(5_000, 3_600)
FOUR = (Rate(5_000, 60), Rate(6_000, 3_600), Rate(8_000, 86_400), Rate(10_000, 604_800))
"""Never reached. Octavo's log takes no higher ones, and pyrate-limiter wants them to rise."""
RAW_GET = "raw GET"
RAW = "raw EVALSHA, GCRA"
CHECK = "octavo, check"
HEADERS = "limits fixed, hit + get_window_stats"
ALGORITHMS = ("gcra", "fixed", "sliding", "segmented", "log")
THROTTLED = {
    "gcra": "gcra",
    "token_bucket": "gcra",
    "fixed_window": "fixed",
    "sliding_window": "sliding",
}
LIMITS = {
    "fixed-window": "fixed",
    "sliding-window-counter": "sliding",
    "moving-window": "log",
}


def ours(algorithm: str) -> str:
    """Return the name of octavo's row."""
    return f"octavo, {algorithm}"


SYNC = {
    RAW: Peer(raw_script),
    RAW_GET: Peer(raw_get),
    **{
        ours(each): Peer(partial(octavo_sync, algorithm=each), "octavo", each, several=True)
        for each in ALGORITHMS
    },
    **{
        f"limits {name}": Peer(partial(limits_sync, strategy=name), "limits", algorithm)
        for name, algorithm in LIMITS.items()
    },
    HEADERS: Peer(partial(limits_sync, strategy="fixed-window", stats=True), "limits"),
    **{
        f"throttled-py {name}": Peer(partial(throttled_sync, using=name), "throttled", algorithm)
        for name, algorithm in THROTTLED.items()
    },
    "pyrate-limiter log": Peer(pyrate_sync, "pyrate_limiter", "log", several=True),
    "pyrate-limiter GCRA": Peer(
        partial(pyrate_sync, gcra=True), "pyrate_limiter", "gcra", several=True
    ),
    "limit: bare socket": Peer(bare_socket),
}
ASYNC = {
    RAW: Peer(async_raw_script),
    RAW_GET: Peer(async_raw_get),
    **{
        ours(each): Peer(partial(octavo_async, algorithm=each), "octavo", each, several=True)
        for each in ALGORITHMS
    },
    **{
        f"limits.aio {name}": Peer(partial(limits_async, strategy=name), "limits", algorithm)
        for name, algorithm in LIMITS.items()
    },
    **{
        f"throttled-py {name}": Peer(partial(throttled_async, using=name), "throttled", algorithm)
        for name, algorithm in THROTTLED.items()
    },
    "pyrate-limiter log": Peer(pyrate_async, "pyrate_limiter", "log", several=True),
    "pyrate-limiter GCRA": Peer(
        partial(pyrate_async, gcra=True), "pyrate_limiter", "gcra", several=True
    ),
    "limit: bare protocol": Peer(bare_protocol),
    "in process: aiolimiter": Peer(in_process, "aiolimiter"),
}

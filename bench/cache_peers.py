"""The peers: for each the calls that it makes in every comparison it takes part in.

All have their default serializer, and all are called the way their manual does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AsyncExitStack

    Call = Callable[[Any], Any]
    Cases = dict[str, dict[str, Call]]
    """By what is done: the rows, and what each calls with a key (get_many: with all of them)."""

CONNECTIONS = 100
TTL = 300
TAGS = ("people", "country:GB")
VALUE = {
    "id": 1815,
    "name": "Ada Lovelace",
    "email": "ada@example.org",
    "country": "GB",
    "score": 98.5,
    "admin": True,
}
"""Eighty bytes of MessagePack."""


@dataclass(frozen=True)
class Place:
    """Where the contenders go.

    Attributes:
        url: as octavo is given it.
        node: the URL of the server, or of one of the cluster's.
    """

    title: str
    url: str
    node: str

    @property
    def cluster(self) -> bool:
        """Whether it is a cluster."""
        return self.url != self.node

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port of the node."""
        place = urlsplit(self.node)
        if place.scheme == "unix":
            raise NotImplementedError("no Unix sockets")
        return str(place.hostname), place.port or 6379


def dogpile(place: Place, keys: list[str], stack: AsyncExitStack) -> Cases:
    """Return what dogpile.cache does."""
    region = dogpile_region(place)
    stack.callback(region.backend.writer_client.close)
    region.set_multi(dict.fromkeys(keys, VALUE))

    @region.cache_on_arguments()
    def user(_: str) -> dict[str, Any]:
        return VALUE

    return {
        "hit": {
            "dogpile.cache get": region.get,
            "dogpile.cache get_or_create": lambda key: region.get_or_create(key, lambda: VALUE),
        },
        "decorated": {"dogpile.cache cache_on_arguments": user},
        "get_many": {"dogpile.cache get_multi": region.get_multi},
        "set": {"dogpile.cache set": lambda key: region.set(key, VALUE)},
    }


def dogpile_region(place: Place) -> Any:
    """Return a region whose locks hold between processes."""
    from dogpile.cache import make_region

    return make_region().configure(
        "dogpile.cache.redis_cluster" if place.cluster else "dogpile.cache.redis",
        expiration_time=TTL,
        arguments={
            "url": place.node,
            "redis_expiration_time": 2 * TTL,
            "distributed_lock": True,
            "thread_local_lock": False,
        },
    )


def django(place: Place, keys: list[str], stack: AsyncExitStack) -> Cases:
    """Return what Django's own Redis backend does."""
    from django.core.cache.backends.redis import RedisCache

    return _django("Django", RedisCache, place, keys, stack)


def django_redis(place: Place, keys: list[str], stack: AsyncExitStack) -> Cases:
    """Return what django-redis does."""
    from django_redis.cache import RedisCache

    return _django("django-redis", RedisCache, place, keys, stack)


def _django(name: str, backend: Any, place: Place, keys: list[str], stack: AsyncExitStack) -> Cases:
    from django.conf import settings

    if place.cluster:
        raise NotImplementedError("no cluster")
    if not settings.configured:
        settings.configure()
    cache = backend(place.node, {"TIMEOUT": TTL})
    stack.callback(cache.close)
    cache.set_many(dict.fromkeys(keys, VALUE))
    cache.set(f"{keys[0]}:count", 0)
    return {
        "hit": {
            f"{name} get": cache.get,
            f"{name} get_or_set": lambda key: cache.get_or_set(key, VALUE),
        },
        "get_many": {f"{name} get_many": cache.get_many},
        "set": {f"{name} set": lambda key: cache.set(key, VALUE)},
        "incr": {f"{name} incr, no ttl": lambda key: cache.incr(f"{key}:count")},
    }


def redis_local(place: Place, keys: list[str], stack: AsyncExitStack) -> Cases:
    """Return what redis-py's own client-side cache does: it keeps encoded values."""
    import msgspec
    import redis
    from redis.cache import CacheConfig

    kind = redis.RedisCluster if place.cluster else redis.Redis
    client = stack.enter_context(kind.from_url(place.node, protocol=3, cache_config=CacheConfig()))
    client.set(keys[0], msgspec.msgpack.encode(VALUE))
    return {"local": {"redis-py client-side cache": client.get}}


def redis_cache(place: Place, _: list[str], stack: AsyncExitStack) -> Cases:
    """Return what python-redis-cache does: it has a decorator and nothing else."""
    import redis
    from redis_cache import RedisCache

    kind = redis.RedisCluster if place.cluster else redis.Redis
    client = stack.enter_context(kind.from_url(place.node))

    @RedisCache(redis_client=client).cache(ttl=TTL)
    def user(_: str) -> dict[str, Any]:
        return VALUE

    rows = {"python-redis-cache, decorated": user}
    return {"hit": rows, "decorated": rows}


async def cashews(place: Place, keys: list[str], stack: AsyncExitStack) -> Cases:
    """Return what cashews does."""
    cache = await cashews_cache(place, stack)
    for key in keys:
        await cache.set(key, VALUE, expire=TTL)

    @cache(ttl=TTL, key="cached:{key}")
    async def user(key: str) -> dict[str, Any]:  # noqa: ARG001 - it is in the key
        return VALUE

    cases: Cases = {
        "hit": {"cashews get": cache.get},
        "decorated": {"cashews @cache": user},
        "get_many": {"cashews get_many": lambda keys: cache.get_many(*keys)},
        "set": {
            "cashews set": lambda key: cache.set(key, VALUE, expire=TTL),
            "cashews set, two tags": lambda key: cache.set(key, VALUE, expire=TTL, tags=TAGS),
        },
        "incr": {"cashews incr": lambda key: cache.incr(f"{key}:count", expire=TTL)},
    }
    if not place.cluster:
        local = await cashews_cache(place, stack, client_side=True)
        for key in keys:
            await local.set(key, VALUE, expire=TTL)
        cases["local"] = {"cashews client_side": local.get}
    return cases


async def cashews_cache(place: Place, stack: AsyncExitStack, **options: Any) -> Any:
    """Return a cache that is connected."""
    from cashews import Cache

    host, port = place.address
    cache = Cache()
    # Its default of 10 connections fails on a cluster, and what fails it passes off as a miss.
    cache.setup(
        f"redis://{host}:{port}",
        cluster=place.cluster,
        max_connections=CONNECTIONS,
        suppress=False,
        **options,
    )
    await cache.init()
    stack.push_async_callback(cache.close)
    return cache


async def aiocache(place: Place, keys: list[str], stack: AsyncExitStack) -> Cases:
    """Return what aiocache does."""
    import aiocache as package

    if place.cluster:
        raise NotImplementedError("no cluster")
    host, port = place.address
    cache = package.RedisCache(endpoint=host, port=port)
    stack.push_async_callback(cache.close)
    await cache.multi_set([(key, VALUE) for key in keys], ttl=TTL)

    @package.cached(ttl=TTL, cache=package.RedisCache, endpoint=host, port=port)
    async def user(_: str) -> dict[str, Any]:
        return VALUE

    stack.push_async_callback(user.cache.close)
    return {
        "hit": {"aiocache get": cache.get},
        "decorated": {"aiocache @cached": user},
        "get_many": {"aiocache multi_get": cache.multi_get},
        "set": {"aiocache set": lambda key: cache.set(key, VALUE, ttl=TTL)},
        "incr": {"aiocache increment, no ttl": lambda key: cache.increment(f"{key}:count")},
    }


@dataclass(frozen=True)
class Peer:
    """A peer, before it is connected.

    Attributes:
        module: what it is imported from.
        connect: returns what it does, as far as `place` allows.
        takes_part_in: all that it does.
    """

    module: str
    connect: Callable[[Place, list[str], AsyncExitStack], Any]
    takes_part_in: frozenset[str]


_HITS = frozenset({"hit", "decorated", "get_many", "set"})
_DJANGO = frozenset({"hit", "get_many", "set", "incr"})
SYNC = {
    "dogpile.cache": Peer("dogpile.cache", dogpile, _HITS),
    "Django": Peer("django", django, _DJANGO),
    "django-redis": Peer("django_redis", django_redis, _DJANGO),
    "python-redis-cache": Peer("redis_cache", redis_cache, frozenset({"hit", "decorated"})),
    "redis-py client-side cache": Peer("redis.cache", redis_local, frozenset({"local"})),
}
ASYNC = {
    "cashews": Peer("cashews", cashews, _HITS | {"incr", "local"}),
    "aiocache": Peer("aiocache", aiocache, _HITS | {"incr"}),
}
PEERS = SYNC | ASYNC

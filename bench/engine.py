"""The engine against redis-py, the async peers and the raw limits: one command at a time."""

from __future__ import annotations

import functools
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import redis
import redis.asyncio

import octavo
from bench.harness import (
    Bar,
    Comparison,
    Contender,
    Options,
    Result,
    awaits,
    callers,
    calls,
    compare,
    missing,
    private_server,
)
from bench.limits import BareProtocol, BareSocket
from octavo.engine.command import Command, Job, M, operation
from octavo.engine.script import Script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

KEY = "octavo:bench:{plain}"
VALUE = b"sixteen bytes..."
GET = Script(Path(__file__).with_name("get.lua"), idempotent=True)
CALLERS = 500
BATCH = 100
OCTAVO = "octavo"
partial = functools.partial


class Probe(Job[M]):
    """The smallest of jobs: what it costs is the engine."""

    def __init__(self, db: octavo.Octavo[M]) -> None:
        super().__init__(db._engine)  # noqa: SLF001 - as a factory of the client would

    @operation
    def get(self, key: str) -> Command[bytes | None]:
        """Read a key with a plain command."""
        word = key.encode()
        return Command((b"GET", word), (word,), _as_it_is, idempotent=True)

    @operation
    def get_by_script(self, key: str) -> Command[bytes | None]:
        """Read a key with a script."""
        return GET((key.encode(),), (), _as_it_is)


def _as_it_is(reply: bytes | None) -> bytes | None:
    return reply


async def run(options: Options) -> AsyncIterator[Result]:
    """Run every comparison on every transport asked for."""
    cases = (sync_plain, sync_script, sync_batch, async_one, async_many, async_batch)
    seconds = options.seconds(len(cases) * len(options.transports))
    with private_server(options.cores) as urls:
        for transport in options.transports:
            with redis.Redis.from_url(urls[transport]) as client:
                client.set(KEY, VALUE)
            for case in cases:
                async with AsyncExitStack() as stack:
                    comparison = await case(urls[transport], stack)
                    comparison = replace(comparison, title=f"{comparison.title}, {transport}")
                    yield await compare(comparison, seconds)


async def sync_plain(url: str, stack: AsyncExitStack) -> Comparison:
    """One thread, one plain command."""
    client = stack.enter_context(redis.Redis.from_url(url))
    db = stack.enter_context(octavo.connect(url))
    bare = stack.enter_context(closing(BareSocket(url)))
    contenders = [
        Contender("redis.Redis().get", calls(partial(client.get, KEY))),
        Contender(OCTAVO, calls(partial(Probe(db).get, KEY))),
        Contender("limit: bare socket", calls(partial(bare.ask, b"GET", KEY.encode()))),
    ]
    bars = (Bar(OCTAVO, contenders[0].name, 1.2, aim=1.35),)
    return Comparison("sync GET", contenders, bars)


async def sync_script(url: str, stack: AsyncExitStack) -> Comparison:
    """One thread, one script."""
    client = stack.enter_context(redis.Redis.from_url(url))
    bare = stack.enter_context(closing(BareSocket(url)))
    db = stack.enter_context(octavo.connect(url))
    sha = client.script_load(GET.source)
    contenders = [
        Contender("redis.Redis().evalsha", calls(partial(client.evalsha, sha, 1, KEY))),
        Contender(OCTAVO, calls(partial(Probe(db).get_by_script, KEY))),
        Contender(
            "limit: bare socket",
            calls(partial(bare.ask, b"EVALSHA", sha.encode(), b"1", KEY.encode())),
        ),
    ]
    bars = (Bar(OCTAVO, contenders[0].name, 1.1),)
    return Comparison("sync script", contenders, bars)


async def sync_batch(url: str, stack: AsyncExitStack) -> Comparison:
    """One thread, a hundred commands in one round trip."""
    client = stack.enter_context(redis.Redis.from_url(url))
    db = stack.enter_context(octavo.connect(url))

    def pipeline() -> None:
        pipe = client.pipeline(transaction=False)
        for _ in range(BATCH):
            pipe.get(KEY)
        pipe.execute()

    def batch() -> None:
        with db.batch() as each:
            probe = Probe(each)
            for _ in range(BATCH):
                probe.get(KEY)

    contenders = [
        Contender("redis-py pipeline", calls(pipeline)),
        Contender(OCTAVO, calls(batch)),
    ]
    bars = (Bar(OCTAVO, contenders[0].name, 1.0, aim=1.5),)
    return Comparison(f"sync batch of {BATCH} GET", contenders, bars, operations=BATCH)


async def async_one(url: str, stack: AsyncExitStack) -> Comparison:
    """One task, one plain command."""
    client = await stack.enter_async_context(redis.asyncio.Redis.from_url(url))
    db = await stack.enter_async_context(octavo.connect_async(url))
    bare = stack.enter_context(closing(await BareProtocol.connect(url)))
    contenders = [
        Contender("redis.asyncio.Redis().get", awaits(partial(client.get, KEY))),
        Contender(OCTAVO, awaits(partial(Probe(db).get, KEY))),
        *await _peers(url, stack, awaits),
        Contender("limit: bare protocol", awaits(partial(bare.ask, b"GET", KEY.encode()))),
    ]
    bars = (Bar(OCTAVO, contenders[0].name, 1.2),)
    return Comparison("async GET, one caller", contenders, bars)


async def async_many(url: str, stack: AsyncExitStack) -> Comparison:
    """Many tasks, each with one plain command at a time."""
    together = partial(callers, count=CALLERS)
    pool = redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=50, timeout=None)
    client = await stack.enter_async_context(redis.asyncio.Redis.from_pool(pool))
    db = await stack.enter_async_context(octavo.connect_async(url))
    bare = stack.enter_context(closing(await BareProtocol.connect(url)))
    contenders = [
        Contender("redis.asyncio, pool of 50", together(partial(client.get, KEY))),
        Contender(OCTAVO, together(partial(Probe(db).get, KEY))),
        *(peers := await _peers(url, stack, together)),
        Contender(
            "limit: bare protocol", together(partial(bare.ask_together, b"GET", KEY.encode()))
        ),
    ]
    bars = (
        Bar(OCTAVO, contenders[0].name, 6.0, aim=12),
        *(Bar(OCTAVO, peer.name, 1.0) for peer in peers),
    )
    return Comparison(
        f"async GET, {CALLERS} callers", contenders, bars, operations=CALLERS, turn=0.25
    )


async def async_batch(url: str, stack: AsyncExitStack) -> Comparison:
    """One task, a hundred commands in one round trip."""
    client = await stack.enter_async_context(redis.asyncio.Redis.from_url(url))
    db = await stack.enter_async_context(octavo.connect_async(url))

    async def pipeline() -> None:
        pipe = client.pipeline(transaction=False)
        for _ in range(BATCH):
            pipe.get(KEY)  # type: ignore[unused-awaitable] # it returns the pipeline
        await pipe.execute()

    async def batch() -> None:
        async with db.batch() as each:
            probe = Probe(each)
            for _ in range(BATCH):
                probe.get(KEY)

    contenders = [
        Contender("redis.asyncio pipeline", awaits(pipeline)),
        Contender(OCTAVO, awaits(batch)),
    ]
    bars = (Bar(OCTAVO, contenders[0].name, 1.0, aim=1.5),)
    return Comparison(f"async batch of {BATCH} GET", contenders, bars, operations=BATCH)


async def _peers(
    url: str,
    stack: AsyncExitStack,
    rounds: Callable[[Callable[[], Awaitable[object]]], Any],
) -> list[Contender]:
    """Return the async peers that are installed, connected, and a row for each that is not."""
    return [
        Contender(name, None, note)
        if (note := missing(module))
        else Contender(name, rounds(partial((await connect(url, stack)).get, KEY)))
        for name, module, connect in (
            ("coredis", "coredis", _coredis),
            ("valkey-glide", "glide", _glide),
        )
    ]


async def _coredis(url: str, stack: AsyncExitStack) -> Any:
    import coredis

    return await stack.enter_async_context(coredis.Redis.from_url(url))


async def _glide(url: str, stack: AsyncExitStack) -> Any:
    import glide

    place = urlsplit(url)
    node = (
        glide.NodeAddress(unix_socket_path=place.path)
        if place.scheme == "unix"
        else glide.NodeAddress(place.hostname, place.port)
    )
    client = await glide.GlideClient.create(
        # Its default of 250 ms is less than a busy machine may need for 500 callers.
        glide.GlideClientConfiguration([node], request_timeout=5_000)
    )
    stack.push_async_callback(client.close)
    return client

"""Matches rated a second, against the loop of WATCH, GET and MULTI that one would write."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from itertools import count, cycle
from typing import TYPE_CHECKING, Any

import msgspec
import redis
import redis.asyncio
from msgspec.structs import replace

import octavo
from bench.harness import (
    Bar,
    Comparison,
    Contender,
    Options,
    Result,
    callers,
    calls,
    compare,
    missing,
    private_server,
)
from octavo.leaderboards import Elo, Glicko2, OpenSkill, Rating, RatingSystem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

OCTAVO = "octavo"
WITH_ID = "octavo, match_id="
WATCH = "redis-py, WATCH and MULTI"
BARS = (Bar(OCTAVO, WATCH, 1.0, aim=1.3),)

PLAYERS = 10_000
FEW = 10
"""Players that all tasks at once play with: about every other match meets another one."""
CALLERS = 16

_read = msgspec.msgpack.Decoder(Rating).decode
_write = msgspec.msgpack.Encoder().encode


def matches(size: int, of: int) -> cycle[list[list[str]]]:
    """Return teams of that size, drawn from so many players, again and again."""
    dice = random.Random(of)
    drawn = [[f"player:{i}" for i in dice.sample(range(of), 2 * size)] for _ in range(2_000)]
    return cycle([[players[:size], players[size:]] for players in drawn])


async def run(options: Options) -> AsyncIterator[Result]:
    """Compare a match of two, a match of two teams, and many matches of few players."""
    cases: list[tuple[str, RatingSystem, int]] = [
        ("Elo, two players", Elo(), 1),
        ("Glicko-2, two players", Glicko2(), 1),
    ]
    if not missing("openskill"):
        cases.append(("OpenSkill, two against two", OpenSkill(), 2))
    seconds = options.seconds(len(cases) + 1)
    with private_server(options.cores) as urls:
        for transport in options.transports:
            async with AsyncExitStack() as stack:
                url = urls[transport]
                for title, system, size in cases:
                    contenders = one_at_a_time(url, system, size, stack)
                    yield await compare(
                        Comparison(f"A match: {title}, {transport}", contenders, BARS), seconds
                    )
                title = f"A match: Elo, {CALLERS} tasks with {FEW} players, {transport}"
                crowd = await all_at_once(url, Elo(), stack)
                yield await compare(Comparison(title, crowd, BARS, operations=CALLERS), seconds)


def one_at_a_time(
    url: str, system: RatingSystem, size: int, stack: AsyncExitStack
) -> list[Contender]:
    """Return the contenders of one thread."""
    client = stack.enter_context(redis.Redis.from_url(url))
    db = stack.enter_context(octavo.connect(url))
    ratings = db.ratings(system.name, system=system)
    drawn, ids = matches(size, PLAYERS), count()
    return [
        Contender(WATCH, calls(lambda: watched(client, system, next(drawn)))),
        Contender(OCTAVO, calls(lambda: ratings.match(next(drawn)))),
        Contender(WITH_ID, calls(lambda: ratings.match(next(drawn), match_id=str(next(ids))))),
    ]


async def all_at_once(url: str, system: RatingSystem, stack: AsyncExitStack) -> list[Contender]:
    """Return the contenders of many tasks with few players."""
    client: Any = await stack.enter_async_context(redis.asyncio.Redis.from_url(url))
    db = await stack.enter_async_context(octavo.connect_async(url))
    ratings = db.ratings("crowd", system=system)
    drawn = matches(1, FEW)
    operations: dict[str, Callable[[], Awaitable[object]]] = {
        WATCH: lambda: watched_async(client, system, next(drawn)),
        OCTAVO: lambda: ratings.match(next(drawn)),
    }
    return [Contender(name, callers(each, CALLERS)) for name, each in operations.items()]


def watched(client: redis.Redis, system: RatingSystem, teams: list[list[str]]) -> None:
    """Rate a match in an optimistic transaction."""
    keys = _keys(system, teams)
    with client.pipeline() as pipe:
        while True:
            try:
                pipe.watch(*keys)
                found: Any = pipe.mget(keys)
                ratings = _rated(system, teams, found)
                pipe.multi()
                pipe.mset(dict(zip(keys, map(_write, ratings), strict=True)))
                pipe.zadd(f"{system.name} standings", _ordinals(system, teams, ratings))
                pipe.execute()
            except redis.WatchError:
                continue
            return


async def watched_async(client: Any, system: RatingSystem, teams: list[list[str]]) -> None:
    """Rate a match in an optimistic transaction."""
    keys = _keys(system, teams)
    async with client.pipeline() as pipe:
        while True:
            try:
                await pipe.watch(*keys)
                ratings = _rated(system, teams, await pipe.mget(keys))
                pipe.multi()
                pipe.mset(dict(zip(keys, map(_write, ratings), strict=True)))
                pipe.zadd(f"{system.name} standings", _ordinals(system, teams, ratings))
                await pipe.execute()
            except redis.WatchError:
                await asyncio.sleep(0)
                continue
            return


def _keys(system: RatingSystem, teams: list[list[str]]) -> list[str]:
    return [f"{system.name}:{player}" for team in teams for player in team]


def _rated(system: RatingSystem, teams: list[list[str]], found: list[bytes | None]) -> list[Rating]:
    each = iter([_read(one) if one else system.initial for one in found])
    before = [[next(each) for _ in team] for team in teams]
    after = system.rate(before, [0.0, 1.0])
    return [replace(rating, games=rating.games + 1) for team in after for rating in team]


def _ordinals(
    system: RatingSystem, teams: list[list[str]], ratings: list[Rating]
) -> dict[str, float]:
    players = (player for team in teams for player in team)
    return {p: system.ordinal(rating) for p, rating in zip(players, ratings, strict=True)}

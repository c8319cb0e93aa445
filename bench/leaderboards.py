"""Leaderboards of a million members, against the raw commands and every Python peer."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

import octavo
from bench.harness import (
    Bar,
    Comparison,
    Contender,
    Options,
    Result,
    calls,
    compare,
    missing,
    private_server,
    worker,
)
from bench.workload import EACH_SIDE, PAGE, Workload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from bench.harness import Round
    from octavo import Sync
    from octavo.leaderboards import Leaderboard

    Calls = dict[str, Callable[[], object]]
    Rounds = dict[str, Round]

TITLES = {
    "rank": "rank of a member",
    "around": f"{PAGE} around a member",
    "page": f"page of {PAGE}",
    "submit": "submit of a better score",
}
"""Every operation that is compared."""

OCTAVO = "octavo"
WITH_DATA = "octavo, with data"
VARIANTS: dict[str, dict[str, Any]] = {
    OCTAVO: {},
    "octavo, ties by member": {"ties": "member"},
    "octavo, dense ranks": {"rank": "dense"},
    WITH_DATA: {},
}
DATA = {"country": "NL", "level": 7}

RAW = "raw redis-py"
RAW_KEY = "bench:raw"
INFRA_KEY = "leaderboard:bench"
WALRUS_KEY = "bench:walrus"
OLD_PACKAGES = ("leaderboard==3.7.3", "redis==2.10.6", "setuptools")
OLD_FOLDER = Path(__file__).with_name(".peers") / "leaderboard"
OLD_KEYS = {
    "Leaderboard": "bench:old",
    "CompetitionRankingLeaderboard": "bench:old-competition",
    "TieRankingLeaderboard": "bench:old-dense",
}
CHUNK = 200


async def run(options: Options) -> AsyncIterator[Result]:
    """Fill a board for each contender, then compare every operation on every transport."""
    seconds = options.seconds(len(TITLES) * len(options.transports))
    with private_server(options.cores) as urls:
        fill(urls["unix"], Workload(options.members))
        check(urls["unix"])
        for transport in options.transports:
            async with AsyncExitStack() as stack:
                field = await contenders(urls[transport], options.members, stack)
                for operation, what in TITLES.items():
                    title = f"{what}, {options.members:,} members, {transport}"
                    yield await compare(comparison(title, operation, field), seconds)


def comparison(title: str, operation: str, field: dict[str, Rounds | str]) -> Comparison:
    """Return the comparison of one operation."""
    entries = [
        Contender(name, None, rounds)
        if isinstance(rounds, str)
        else Contender(name, rounds[operation])
        for name, rounds in field.items()
    ]
    peers = [name for name in field if name != RAW and name not in VARIANTS]
    bars = (Bar(OCTAVO, RAW, 0.8, aim=0.95), *(Bar(OCTAVO, peer, 1.0) for peer in peers))
    return Comparison(title, entries, bars)


async def contenders(url: str, size: int, stack: AsyncExitStack) -> dict[str, Rounds | str]:
    """Return each contender's rounds by operation, or the note that says why it has none."""
    field: dict[str, Rounds | str] = {}
    client = stack.enter_context(redis.Redis.from_url(url))
    field[RAW] = _rounds(_raw(client, Workload(size)))
    db = stack.enter_context(octavo.connect(url))
    for name, configuration in VARIANTS.items():
        data = DATA if name == WITH_DATA else None
        field[name] = _rounds(_octavo(db.leaderboard(name, **configuration), Workload(size), data))
    field["redis-infra"] = missing("redis_infra") or _rounds(_infra(client, Workload(size)))
    field["walrus ZSet"] = missing("walrus") or _rounds(_walrus(url, Workload(size)))
    field.update(await _old(url, size, stack))
    return field


def _rounds(operations: Calls) -> Rounds:
    return {operation: calls(call) for operation, call in operations.items()}


def _octavo(board: Leaderboard[Sync], work: Workload, data: object) -> Calls:
    return {
        "rank": lambda: board.rank(next(work.names)),
        "around": lambda: board.around(next(work.names), EACH_SIDE),
        "page": lambda: board.page(next(work.offsets) // PAGE + 1),
        "submit": lambda: board.submit(*next(work.submissions), data=data),
    }


def _raw(client: redis.Redis, work: Workload) -> Calls:
    def around() -> object:
        # A window that raw ZRANGE is simply given: it need not find the member first.
        start = next(work.offsets)
        return client.zrevrange(RAW_KEY, start, start + PAGE - 1, withscores=True)

    def page() -> object:
        start = next(work.offsets)
        return client.zrange(RAW_KEY, start, start + PAGE - 1, desc=True, withscores=True)

    return {
        "rank": lambda: client.zrevrank(RAW_KEY, next(work.names)),
        "around": around,
        "page": page,
        "submit": lambda: client.zadd(RAW_KEY, dict((next(work.submissions),))),
    }


def _infra(client: redis.Redis, work: Workload) -> Calls:
    import redis_infra

    board = redis_infra.Leaderboard(client, "bench")
    return {
        "rank": lambda: board.rank(next(work.names)),
        "around": lambda: board.around(next(work.names), EACH_SIDE),
        "page": lambda: board.top(PAGE),  # it has no pages
        "submit": lambda: board.add(*next(work.submissions)),
    }


def _walrus(url: str, work: Workload) -> Calls:
    import walrus  # type: ignore[import-untyped]

    board = walrus.Database.from_url(url).ZSet(WALRUS_KEY)

    def window(start: int) -> object:
        return board.range(start, start + PAGE - 1, with_scores=True, reverse=True)

    def submit() -> None:
        member, score = next(work.submissions)
        board[member] = score

    return {
        "rank": lambda: board.rank(next(work.names), reverse=True),
        "around": lambda: window(max(0, board.rank(next(work.names), reverse=True) - EACH_SIDE)),
        "page": lambda: window(next(work.offsets)),
        "submit": submit,
    }


async def _old(url: str, size: int, stack: AsyncExitStack) -> dict[str, Rounds | str]:
    names = {f"leaderboard 3.7.3, {kind}": kind for kind in OLD_KEYS}
    if note := _install_old():
        return dict.fromkeys(names, note)
    arguments = ("bench.leaderboard_worker", url, str(size), *OLD_KEYS.values())
    old = await stack.enter_async_context(worker(*arguments, packages=OLD_FOLDER))
    return {
        name: {operation: old.round(f"{kind}.{operation}") for operation in TITLES}
        for name, kind in names.items()
    }


def _install_old() -> str:
    """Install the packages that only the worker uses; return why that failed, or nothing."""
    if OLD_FOLDER.exists():
        return ""
    fresh = OLD_FOLDER.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    command = (sys.executable, "-m", "pip", "install", "--quiet", "--target", fresh, *OLD_PACKAGES)
    pip = subprocess.run(command, capture_output=True, text=True, check=False)
    if pip.returncode:
        return f"not installed: {(pip.stderr.strip() or 'pip failed').splitlines()[-1]}"
    fresh.rename(OLD_FOLDER)
    return ""


def fill(url: str, work: Workload) -> None:
    """Put every member on every contender's board."""
    with redis.Redis.from_url(url, socket_timeout=60) as client:
        for chunk in _chunks(work.initial()):
            client.zadd(RAW_KEY, dict(chunk))
        for key in (INFRA_KEY, WALRUS_KEY, *OLD_KEYS.values()):
            client.copy(RAW_KEY, key)
        for chunk in _chunks((str(score), score) for score in work.scores()):
            client.zadd(f"{OLD_KEYS['TieRankingLeaderboard']}:ties", dict(chunk))
    with octavo.connect(url) as db:
        for name, configuration in VARIANTS.items():
            board = db.leaderboard(name, **configuration)
            for chunk in _chunks(work.initial()):
                data = dict.fromkeys(dict(chunk), DATA) if name == WITH_DATA else None
                board.submit_many(chunk, data=data)


def check(url: str) -> None:
    """Stop unless octavo's boards say what the raw sorted set says."""
    with redis.Redis.from_url(url, decode_responses=True) as client, octavo.connect(url) as db:
        best: Any = client.zrange(RAW_KEY, 0, PAGE - 1, desc=True, withscores=True)
        scores = [score for _, score in best]
        ranks = {
            "competition": 1 + scores.index(scores[-1]),
            "dense": len(set(scores)),
        }
        for name, configuration in VARIANTS.items():
            board = db.leaderboard(name, **configuration)
            page = board.page(1)
            found = [entry.score for entry in page], board.rank(page[-1].member)
            wanted = scores, ranks[configuration.get("rank", "competition")]
            if found != wanted:
                raise SystemExit(f"{name} says {found} instead of {wanted}")


def _chunks(pairs: Iterable[tuple[str, float]]) -> Iterator[list[tuple[str, float]]]:
    pairs = iter(pairs)
    while chunk := list(islice(pairs, CHUNK)):
        yield chunk

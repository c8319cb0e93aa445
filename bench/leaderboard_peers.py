"""What each contender on a leaderboard does for each operation that is compared."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from time import perf_counter
from typing import TYPE_CHECKING, Any

from bench.harness import Round, calls, missing, together
from bench.leaderboard_load import BOARDS, BY_NAME, DENSE, EARLIEST, PLAIN_KEY, WITH_DATA
from bench.workload import EACH_SIDE, PAGE, Workload

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Awaitable, Callable, Iterator

    import redis

    from octavo import Async, Octavo, Sync

    Calls = dict[str, Callable[[], object]]
    Rounds = dict[str, Round]

RAW = "raw redis-py"
INFRA = "redis-infra"
WALRUS = "walrus ZSet"
OCTAVO = "octavo"
ORDINAL = "octavo, ordinal, by name"
COMPETITION = "octavo, competition, by name"
DENSE_RANKS = "octavo, dense, by name"
DATA_TOO = "octavo, with data"

CLASSES = ("Leaderboard", "CompetitionRankingLeaderboard", "TieRankingLeaderboard")
OLD, OLD_COMPETITION, OLD_DENSE = (f"leaderboard 3.7.3, {kind}" for kind in CLASSES)

TWINS = {
    RAW: ORDINAL,
    INFRA: ORDINAL,
    WALRUS: ORDINAL,
    OLD: ORDINAL,
    OLD_COMPETITION: COMPETITION,
    OLD_DENSE: DENSE_RANKS,
}
"""Which board of octavo's ranks as that contender does, and orders equal scores by name too."""


@dataclass(frozen=True)
class Variant:
    """A board of octavo's: what it is stored as, and how it ranks."""

    stored: str
    options: dict[str, Any]


VARIANTS = {
    OCTAVO: Variant(EARLIEST, BOARDS[EARLIEST]),
    ORDINAL: Variant(BY_NAME, BOARDS[BY_NAME] | {"rank": "ordinal"}),
    COMPETITION: Variant(BY_NAME, BOARDS[BY_NAME]),
    DENSE_RANKS: Variant(DENSE, BOARDS[DENSE]),
    DATA_TOO: Variant(WITH_DATA, BOARDS[WITH_DATA]),
}
SEEDS = {
    name: seed
    for seed, name in enumerate((*VARIANTS, RAW, INFRA, WALRUS, OLD, OLD_COMPETITION, OLD_DENSE))
}
"""Each draws members of its own: some share a board."""

TITLES = {
    "rank": "rank of a member",
    "entry": "rank and score of a member",
    "percentile": "percentile of a member",
    "around": f"{PAGE} around a member",
    "first": f"first page of {PAGE}",
    "page": f"a page of {PAGE} somewhere",
    "friends": "50 friends with rank and score, best first",
    "record": "a better score",
    "new": "a new member",
    "submit": "a better score, with rank and score before and rank after",
}
_PERIODICAL = (OCTAVO, RAW, INFRA, WALRUS)
AT_ONCE = ("rank", "page", "record")
"""What a hundred callers do at once, too."""
CALLERS = 100


def octavo_calls(db: Octavo[Sync] | Octavo[Async], variant: str, size: int) -> dict[str, Any]:
    """Return octavo's operations; on the async face each returns what to await."""
    kind, work = VARIANTS[variant], Workload(size, SEEDS[variant])
    board: Any = db.leaderboard(kind.stored, **kind.options)
    return {
        "rank": lambda: board.rank(next(work.names)),
        "entry": lambda: board.entry(next(work.names)),
        "percentile": lambda: board.percentile(next(work.names)),
        "around": lambda: board.around(next(work.names), EACH_SIDE),
        "first": lambda: board.page(1),
        "page": lambda: board.page(next(work.offsets) // PAGE + 1),
        "friends": lambda: board.ranks_of(next(work.friends)),
        "record": lambda: board.record(*next(work.submissions)),
        "new": lambda: board.record(*next(work.newcomers)),
        "submit": lambda: board.submit(*next(work.submissions)),
    }


def raw_calls(client: redis.Redis, size: int) -> Calls:
    """Return the commands by redis-py, as few round trips as they need."""
    work = Workload(size, SEEDS[RAW])

    def several(*commands: tuple[object, ...]) -> list[Any]:
        with client.pipeline(transaction=False) as pipe:
            for words in commands:
                pipe.execute_command(*words)
            return pipe.execute()

    def page(start: int) -> object:
        return client.zrange(PLAIN_KEY, start, start + PAGE - 1, desc=True, withscores=True)

    def percentile() -> float:
        total, better = several(("ZCARD", PLAIN_KEY), ("ZREVRANK", PLAIN_KEY, next(work.names)))
        return float(100 * (total - better - 0.5) / total)

    def friends() -> list[Any]:
        names = next(work.friends)
        found = several(
            *(("ZREVRANK", PLAIN_KEY, each) for each in names), ("ZMSCORE", PLAIN_KEY, *names)
        )
        return sorted(zip(found, found[-1], names, strict=False))

    def submit() -> None:
        member, score = next(work.submissions)
        several(
            ("ZREVRANK", PLAIN_KEY, member),
            ("ZSCORE", PLAIN_KEY, member),
            ("ZADD", PLAIN_KEY, "GT", score, member),
            ("ZREVRANK", PLAIN_KEY, member),
        )

    def entry() -> object:
        member = next(work.names)
        return several(("ZREVRANK", PLAIN_KEY, member), ("ZSCORE", PLAIN_KEY, member))

    return {
        "rank": lambda: client.zrevrank(PLAIN_KEY, next(work.names)),
        "entry": entry,
        "percentile": percentile,
        # A window that raw ZRANGE is simply given: it need not find the member first.
        "around": lambda: page(next(work.offsets)),
        "first": lambda: page(0),
        "page": lambda: page(next(work.offsets)),
        "friends": friends,
        "record": lambda: client.zadd(PLAIN_KEY, dict((next(work.submissions),))),
        "new": lambda: client.zadd(PLAIN_KEY, dict((next(work.newcomers),))),
        "submit": submit,
    }


def infra_calls(client: redis.Redis, size: int) -> Calls:
    """Return what redis-infra has; it has no pages but the first."""
    import redis_infra

    board, work = redis_infra.Leaderboard(client, "bench"), Workload(size, SEEDS[INFRA])

    def entry() -> object:
        member = next(work.names)
        return board.rank(member), board.score(member)

    def submit() -> object:
        member, score = next(work.submissions)
        before = board.rank(member), board.score(member)
        board.add(member, score)
        return before, board.rank(member)

    return {
        "rank": lambda: board.rank(next(work.names)),
        "entry": entry,
        "around": lambda: board.around(next(work.names), EACH_SIDE),
        "first": lambda: board.top(PAGE),
        "record": lambda: board.add(*next(work.submissions)),
        "new": lambda: board.add(*next(work.newcomers)),
        "submit": submit,
    }


def walrus_calls(url: str, size: int) -> Calls:
    """Return what a sorted set of walrus's has."""
    import walrus  # type: ignore[import-untyped]

    board, work = walrus.Database.from_url(url).ZSet(PLAIN_KEY), Workload(size, SEEDS[WALRUS])

    def rank(member: str) -> int:
        found: int = board.rank(member, reverse=True)
        return found

    def window(start: int) -> object:
        return board.range(start, start + PAGE - 1, with_scores=True, reverse=True)

    def entry() -> object:
        member = next(work.names)
        return rank(member), board.score(member)

    def record(member: str, score: float) -> None:
        board[member] = score

    def submit() -> object:
        member, score = next(work.submissions)
        before = rank(member), board.score(member)
        record(member, score)
        return before, rank(member)

    return {
        "rank": lambda: rank(next(work.names)),
        "entry": entry,
        "around": lambda: window(max(0, rank(next(work.names)) - EACH_SIDE)),
        "first": lambda: window(0),
        "page": lambda: window(next(work.offsets)),
        "record": lambda: record(*next(work.submissions)),
        "new": lambda: record(*next(work.newcomers)),
        "submit": submit,
    }


def sync_field(
    url: str, db: Octavo[Sync], client: redis.Redis, size: int
) -> dict[str, Calls | str]:
    """Return each contender's calls, or the note that says why it has none."""
    field: dict[str, Calls | str] = {RAW: raw_calls(client, size)}
    field |= {name: octavo_calls(db, name, size) for name in VARIANTS}
    field[INFRA] = missing("redis_infra") or infra_calls(client, size)
    field[WALRUS] = missing("walrus") or walrus_calls(url, size)
    return field


def period_field(
    url: str, db: Octavo[Sync], client: redis.Redis, size: int
) -> dict[str, Calls | str]:
    """Return how each contender has a score count for all time, the hour, the day and the week."""
    keys = [f"bench:period:{name}" for name in ("all", "hour", "day", "week")]
    board = db.leaderboard("periods", ties="member", periods=("hour", "day", "week"))
    draws = {name: Workload(size, seed).submissions for seed, name in enumerate(_PERIODICAL)}

    def raw() -> None:
        member, score = next(draws[RAW])
        with client.pipeline() as pipe:
            for key in keys:
                pipe.execute_command("ZADD", key, "GT", score, member)
            pipe.execute()

    field: dict[str, Calls | str] = {
        RAW: {"periods": raw},
        OCTAVO: {"periods": lambda: board.record(*next(draws[OCTAVO]))},
        f"{OCTAVO}, with ranks": {"periods": lambda: board.submit(*next(draws[OCTAVO]))},
        INFRA: missing("redis_infra") or _periodical_infra(client, draws[INFRA]),
    }
    if missing("walrus"):
        return field | {WALRUS: missing("walrus")}
    import walrus

    database = walrus.Database.from_url(url)
    sets = [database.ZSet(f"{key}:walrus") for key in keys]

    def by_walrus() -> None:
        member, score = next(draws[WALRUS])
        for each in sets:
            each[member] = score

    return field | {WALRUS: {"periods": by_walrus}}


def _periodical_infra(client: redis.Redis, draws: Iterator[tuple[str, float]]) -> Calls:
    import redis_infra

    boards = [
        redis_infra.Leaderboard(client, f"period:{name}") for name in ("all", "hour", "day", "week")
    ]

    def four() -> None:
        member, score = next(draws)
        for board in boards:
            board.add(member, score)

    return {"periods": four}


def async_field(client: Any, db: Octavo[Async], size: int) -> dict[str, dict[str, Any] | str]:
    """Return the calls of those that have an async interface; each returns what to await."""
    work = Workload(size, SEEDS[RAW])

    def page() -> Awaitable[Any]:
        start = next(work.offsets)
        found: Awaitable[Any] = client.zrange(
            PLAIN_KEY, start, start + PAGE - 1, desc=True, withscores=True
        )
        return found

    field: dict[str, dict[str, Any] | str] = {
        RAW: {
            "rank": lambda: client.zrevrank(PLAIN_KEY, next(work.names)),
            "page": page,
            "record": lambda: client.zadd(PLAIN_KEY, dict((next(work.submissions),))),
        }
    }
    for name in (OCTAVO, ORDINAL):
        field[name] = octavo_calls(db, name, size)
    field[INFRA] = missing("redis_infra") or _async_infra(client, size)
    return field


def _async_infra(client: Any, size: int) -> dict[str, Any]:
    import redis_infra

    board, work = redis_infra.AsyncLeaderboard(client, "bench"), Workload(size, SEEDS[INFRA])
    return {
        "rank": lambda: board.rank(next(work.names)),
        "page": lambda: board.top(PAGE),
        "record": lambda: board.add(*next(work.submissions)),
    }


def tasks(call: Callable[[], Awaitable[object]]) -> Round:
    """Return rounds in which a hundred tasks do that at once."""
    return together([call] * CALLERS)


def threads(call: Callable[[], object], stack: contextlib.AsyncExitStack) -> Round:
    """Return rounds in which a hundred threads do that at once; a step is one call of each."""
    pool = stack.enter_context(ThreadPoolExecutor(CALLERS))

    def some(steps: int) -> None:
        for _ in repeat(None, steps):
            call()

    async def run(steps: int) -> float:
        started = perf_counter()
        for done in [pool.submit(some, steps) for _ in range(CALLERS)]:
            done.result()
        return perf_counter() - started

    return run


def one_by_one(field: dict[str, Calls | str]) -> dict[str, Rounds | str]:
    """Return the rounds of each contender, one call after the other."""
    return {
        name: own if isinstance(own, str) else {what: calls(call) for what, call in own.items()}
        for name, own in field.items()
    }

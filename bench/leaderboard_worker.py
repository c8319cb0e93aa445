"""Runs `leaderboard` 3.7.3 in a process of its own, for it needs redis-py 2.10.6.

Arguments: the server's URL, the size of the boards, and the key of one for each of its classes.
`bench.harness.Worker` says what it reads and writes.
"""

from __future__ import annotations

import gc
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from time import perf_counter
from typing import TYPE_CHECKING, Any

# It has the distutils that redis-py 2.10.6 wants and Python 3.12 lacks.
import setuptools  # type: ignore[import-untyped] # noqa: F401
from leaderboard.competition_ranking_leaderboard import (  # type: ignore[import-not-found]
    CompetitionRankingLeaderboard,
)
from leaderboard.leaderboard import Leaderboard  # type: ignore[import-not-found]
from leaderboard.tie_ranking_leaderboard import TieRankingLeaderboard  # type: ignore[import-not-found]
from redis import Redis

from bench.workload import PAGE, Workload

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES = (Leaderboard, CompetitionRankingLeaderboard, TieRankingLeaderboard)
CALLERS = 100
FIRST_SEED = 100
"""Draws that no other contender makes."""


def main(url: str, size: str, *keys: str) -> None:
    """Answer each line with the seconds that its steps took."""
    client = Redis.from_url(url)
    operations: dict[str, Callable[[], object]] = {}
    for seed, (kind, key) in enumerate(zip(CLASSES, keys, strict=True), FIRST_SEED):
        board = kind(key, connection=client)
        for operation, call in _operations(board, Workload(int(size), seed)).items():
            operations[f"{kind.__name__}.{operation}"] = call
    gc.freeze()
    with ThreadPoolExecutor(CALLERS) as pool:
        for line in sys.stdin:
            try:
                operation, steps = json.loads(line)
                name, _, at_once = operation.partition("@")
                pools = pool if at_once else None
                reply: dict[str, object] = {"seconds": _timed(operations[name], steps, pools)}
            except Exception as error:  # noqa: BLE001 - whatever it is, the asker reports it
                reply = {"error": repr(error)}
            print(json.dumps(reply), flush=True)


def _operations(board: Any, work: Workload) -> dict[str, Callable[[], object]]:
    def submit() -> object:
        member, score = next(work.submissions)
        before = board.score_and_rank_for(member)
        board.rank_member(member, score)
        return before, board.rank_for(member)

    periods = [f"bench:old-period:{name}" for name in ("all", "hour", "day", "week")]
    return {
        "rank": lambda: board.rank_for(next(work.names)),
        "entry": lambda: board.score_and_rank_for(next(work.names)),
        "percentile": lambda: board.percentile_for(next(work.names)),
        "around": lambda: board.around_me(next(work.names)),
        "first": lambda: board.leaders(1),
        "page": lambda: board.leaders(next(work.offsets) // PAGE + 1),
        "friends": lambda: board.ranked_in_list(next(work.friends)),
        "record": lambda: board.rank_member(*next(work.submissions)),
        "new": lambda: board.rank_member(*next(work.newcomers)),
        "submit": submit,
        "periods": lambda: board.rank_member_across(periods, *next(work.submissions), None),
    }


def _timed(operation: Callable[[], object], steps: int, pool: ThreadPoolExecutor | None) -> float:
    gc.collect()
    gc.disable()
    try:
        started = perf_counter()
        if pool is None:
            _some(operation, steps)
        else:
            for done in [pool.submit(_some, operation, steps) for _ in range(CALLERS)]:
                done.result()
        return perf_counter() - started
    finally:
        gc.enable()


def _some(operation: Callable[[], object], steps: int) -> None:
    for _ in repeat(None, steps):
        operation()


main(*sys.argv[1:])

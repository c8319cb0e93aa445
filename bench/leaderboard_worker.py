"""Runs `leaderboard` 3.7.3 in a process of its own, for it needs redis-py 2.10.6.

Arguments: the server's URL, the size of the boards, and the key of one for each of its classes.
`bench.harness.Worker` says what it reads and writes.
"""

from __future__ import annotations

import gc
import json
import sys
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

from bench.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES = (Leaderboard, CompetitionRankingLeaderboard, TieRankingLeaderboard)


def main(url: str, size: str, *keys: str) -> None:
    """Answer each line with the seconds that its steps took."""
    client = Redis.from_url(url)
    operations: dict[str, Callable[[], object]] = {}
    for kind, key in zip(CLASSES, keys, strict=True):
        board = kind(key, connection=client)
        for operation, call in _operations(board, Workload(int(size))).items():
            operations[f"{kind.__name__}.{operation}"] = call
    gc.freeze()
    for line in sys.stdin:
        try:
            operation, steps = json.loads(line)
            reply: dict[str, object] = {"seconds": _timed(operations[operation], steps)}
        except Exception as error:  # noqa: BLE001 - whatever it is, the asker reports it
            reply = {"error": repr(error)}
        print(json.dumps(reply), flush=True)


def _operations(board: Any, work: Workload) -> dict[str, Callable[[], object]]:
    return {
        "submit": lambda: board.rank_member(*next(work.submissions)),
        "rank": lambda: board.rank_for(next(work.names)),
        "around": lambda: board.around_me(next(work.names)),
        "page": lambda: board.leaders(next(work.offsets) // board.page_size + 1),
    }


def _timed(operation: Callable[[], object], steps: int) -> float:
    gc.collect()
    gc.disable()
    try:
        started = perf_counter()
        for _ in repeat(None, steps):
            operation()
        return perf_counter() - started
    finally:
        gc.enable()


main(*sys.argv[1:])

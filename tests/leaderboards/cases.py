"""One call of every operation of a leaderboard, for tests that go through all of them."""

from __future__ import annotations

from operator import methodcaller as call
from typing import TYPE_CHECKING, Any

from octavo.leaderboards import Leaderboard

if TYPE_CHECKING:
    from collections.abc import Callable

# What a board has only if it is made so, and tests of its own.
SPECIAL = {"tier", "tiers", "in_tier", "seasons", "ban", "unban", "banned"} | {
    *("audit", "undo", "watch", "unwatch")
}

OPERATIONS = {
    name
    for name in dir(Leaderboard)
    if getattr(getattr(Leaderboard, name), "__octavo__", None) == "operation"
} - SPECIAL

WRITES: dict[str, Callable[[Any], Any]] = {
    "submit": call("submit", "ada", 30, data={"club": "x"}),
    "record": call("record", "ada", 30),
    "submit_many": call("submit_many", {"bob": 30, "dot": 5}, data={"dot": "new"}),
    "increment": call("increment", "ada", 2.5, data="more"),
    "annotate": call("annotate", "ada", [1, 2]),
    "remove": call("remove", "ada", "nobody", "cyd"),
    "remove_between_scores": call("remove_between_scores", 5, 15),
    "trim": call("trim", 1),
    "merge": lambda board: board.merge(board, board),
    "intersect": lambda board: board.intersect(board, aggregate="best"),
    "expire": call("expire", 1000),
    "clear": call("clear"),
}

READS: dict[str, Callable[[Any], Any]] = {
    "rank": call("rank", "ada"),
    "score": call("score", "ada"),
    "entry": call("entry", "ada"),
    "percentile": call("percentile", "ada"),
    "ranks_of": call("ranks_of", ["cyd", "ada", "nobody"]),
    "top": call("top", 2),
    "page": call("page", 2, size=2),
    "page_of": call("page_of", "ada", size=2),
    "around": call("around", "bob", 1),
    "between_ranks": call("between_ranks", 1, 2),
    "between_scores": call("between_scores", 5, 15),
    "scan": call("scan", limit=2),
    "count": call("count"),
    "score_at": call("score_at", 75),
    "histogram": call("histogram", 3),
}

CALLS = WRITES | READS


def prepare(board: Any) -> None:
    """Put on a board what the calls look for."""
    board.submit_many({"ada": 10, "bob": 20, "cyd": 10}, data={"ada": "first", "bob": 2})

"""One call of every operation that is about more than one table, on a board with everything."""

from __future__ import annotations

from datetime import UTC, datetime
from operator import methodcaller as call
from typing import TYPE_CHECKING, Any

from octavo.leaderboards import Events, Period, Rules, Window

if TYPE_CHECKING:
    from collections.abc import Callable

ZONE = f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"
"""A zone in which no period ends while a test runs."""

DAY = Period("day", zone=ZONE)
OPTIONS: dict[str, Any] = {
    "periods": (DAY, Window(60)),
    "rules": Rules(highest=1000),
    "audit": 1000,
    "events": Events(top=2),
}

WRITES: dict[str, Callable[[Any], Any]] = {
    "submit": call("submit", "ada", 30, data={"club": "x"}),
    "submit_many": call("submit_many", {"bob": 30, "eve": 5}, data={"eve": "new"}),
    "increment": call("increment", "ada", 2.5, data="more"),
    "record": call("record", "ada", 2),
    "annotate": call("annotate", "ada", [1, 2]),
    "remove": call("remove", "ada", "nobody", "cyd"),
    "remove_between_scores": call("remove_between_scores", 5, 15),
    "trim": call("trim", 1),
    "ban": call("ban", "ada", "nobody"),
    "ban in secret": call("ban", "ada", shadow=True),
    "unban": call("unban", "dot"),
    "undo": lambda board: board.undo(last(board)),
    "watch": call("watch", "ada", "nobody"),
    "unwatch": call("unwatch", "bob"),
}

READS: dict[str, Callable[[Any], Any]] = {
    "banned": call("banned"),
    "audit": call("audit"),
    "audit of a member": call("audit", member="ada"),
    "seasons": call("seasons"),
    "a period": lambda board: board.period(DAY).top(3),
    "a period that is over": lambda board: board.period(DAY, ago=1).top(3),
    "a period of a time": lambda board: board.period(DAY, at=datetime.now(UTC)).top(3),
    "a member in a period": lambda board: board.period(DAY).entry("ada"),
    "the members of a period": lambda board: board.period(DAY).count(),
    "a window": lambda board: board.window(60).top(3),
    "a member in a window": lambda board: board.window(60).rank("ada"),
    "events": lambda board: board.events().read("0-0"),
}


def prepare(board: Any) -> None:
    """Put on a board what the calls look for."""
    board.submit_many({"ada": 10, "bob": 20, "cyd": 10, "dot": 7}, data={"ada": "x", "bob": 2})
    board.ban("dot")
    board.watch("bob")


def last(board: Any) -> str:
    """Return the id of somebody's last submission."""
    return next(str(one.id) for one in board.audit(member="bob") if one.kind == "submitted")


def write(name: str, beside: Any) -> Callable[[Any], Any]:
    """Return one of the writes for a board that can be looked at from beside."""
    return call("undo", last(beside)) if name == "undo" else WRITES[name]

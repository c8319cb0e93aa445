"""What eight processes do at once, again and again, in a module that they can import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import octavo
from octavo import SeasonClosed, SubmissionRefused
from octavo.leaderboards import Period
from tests.fix_servers import redis_py
from tests.leaderboards.whole.cases import DAY

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.testing.faults import Line

PATIENCE = 30.0
MEMBERS = 3


def work(line: Line, number: int) -> None:
    """Do what the test says until it says nothing more, and tell it what came of it."""
    while job := line.hear(timeout=600):
        line.say(JOBS[job.pop("job")](line, number, **job))


def add(
    line: Line, number: int, url: str, prefix: str, board: str, periods: list[list[str]], until: int
) -> dict[str, list[float]]:
    """Add 1 to a member of its own until the server's clock is so late; return all sums told."""
    told: dict[str, list[float]] = {"": []}
    with octavo.connect(url, prefix=prefix, timeout=PATIENCE) as db, redis_py(url) as server:
        kinds = [Period(unit, zone=zone, keep=10**9) for unit, zone in periods]  # type: ignore[arg-type]
        counts = db.leaderboard(board, periods=kinds)
        while server.time()[0] < until:
            for _ in range(10):
                done = counts.increment(f"m{number}")
                told[""].append(done.score)
                for name, there in done.periods.items():
                    told.setdefault(name, []).append(there.score)
            if len(told[""]) == 10:
                line.say("ready")
    return told


def play(line: Line, number: int, url: str, prefix: str, board: str, season: str) -> dict[str, Any]:
    """Submit to a season until it is closed; return what was taken, and what was refused."""
    taken: list[float] = []
    with octavo.connect(url, prefix=prefix, timeout=PATIENCE) as db:
        spring = db.leaderboard(board, audit=10_000).season(season)
        while True:
            score = 8 * len(taken) + number
            try:
                taken.append(spring.submit(f"m{number}", score).score)
            except SeasonClosed:
                return {"taken": taken, "refused": score}
            if len(taken) == 10:
                line.say("ready")


def repeat(
    line: Line, number: int, url: str, prefix: str, board: str, keys: list[str]
) -> list[Any]:
    """Make the same submissions as all others at once; return what came of each."""
    found: list[Any] = []
    with octavo.connect(url, prefix=prefix, timeout=PATIENCE) as db:
        counts = db.leaderboard(board, periods=DAY, audit=1000)
        line.say("ready")
        line.hear()
        for key in keys:
            done = counts.increment("ada", idempotency_key=key)
            found.append([done.score, done.periods[DAY.name].score, done.id])
    return found


def match(
    line: Line, number: int, url: str, prefix: str, board: str, steps: int
) -> dict[str, list[Any]]:
    """Play for one of few members, who are banned and unbanned meanwhile."""
    member = f"m{number % MEMBERS}"
    taken: list[Any] = []
    refused: list[str] = []
    undone: list[str] = []
    with octavo.connect(url, prefix=prefix, timeout=PATIENCE) as db:
        counts = db.leaderboard(board, keep="sum", periods=DAY, audit=100_000)
        line.say("ready")
        line.hear()
        for step in range(steps):
            if number == 0 and step % 5 == 0:
                (counts.ban if step % 10 == 0 else counts.unban)("m1")
            try:
                done = counts.submit(member, 1)
                taken.append([member, done.score, done.id])
            except SubmissionRefused as error:
                refused += [reason for _, reason in error.refusals]
            if number == 2 and taken and step % 7 == 0:
                id = taken[-1][2]  # noqa: A001
                if counts.undo(id):
                    undone.append(id)
    return {"taken": taken, "refused": refused, "undone": undone}


JOBS: dict[str, Callable[..., Any]] = {"add": add, "play": play, "repeat": repeat, "match": match}

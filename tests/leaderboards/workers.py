"""What the processes of the races do, in a module that they can import."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import octavo

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

    from octavo.leaderboards import Submission

PATIENCE = 30.0

_start: list[Barrier] = []


@dataclass(frozen=True)
class Race:
    """Where a process works, and which one it is."""

    url: str
    prefix: str
    options: dict[str, Any]
    number: int
    steps: int


def prepare(barrier: Barrier) -> None:
    """Note what the processes wait for before each race."""
    _start.append(barrier)


def submit(race: Race) -> list[Submission]:
    """Submit to five members scores that no other process submits."""
    dice = random.Random(race.number)
    with octavo.connect(race.url, prefix=race.prefix, timeout=PATIENCE) as db:
        board = db.leaderboard("x", **race.options)
        _start[0].wait(PATIENCE)
        return [
            board.submit(
                f"m{dice.randrange(5)}", dice.randrange(1000) * 8 + race.number + step / 1e6
            )
            for step in range(race.steps)
        ]


def add(race: Race) -> list[float]:
    """Add 1 to one member, again and again; return the sums."""
    with octavo.connect(race.url, prefix=race.prefix, timeout=PATIENCE) as db:
        board = db.leaderboard("x", **race.options)
        _start[0].wait(PATIENCE)
        return [board.submit("ada", 1).score for _ in range(race.steps)]


def arrive(race: Race) -> list[tuple[str, float, float]]:
    """Bring one new member after another to the same score; say when each came and was in."""
    with octavo.connect(race.url, prefix=race.prefix, timeout=PATIENCE) as db:
        board = db.leaderboard("x", **race.options)
        _start[0].wait(PATIENCE)
        arrivals: list[tuple[str, float, float]] = []
        for step in range(race.steps):
            member = f"{race.number} {step}"
            before = time.monotonic()
            board.submit(member, 7)
            arrivals.append((member, before, time.monotonic()))
        return arrivals


def disturb(race: Race) -> int:
    """Submit few scores to few members, or remove members, or trim; return how many were hit."""
    dice = random.Random(race.number)
    hit = 0
    with octavo.connect(race.url, prefix=race.prefix, timeout=PATIENCE) as db:
        board = db.leaderboard("x", **race.options)
        _start[0].wait(PATIENCE)
        for step in range(race.steps):
            member = f"m{dice.randrange(40)}"
            if race.number < 4:
                hit += board.submit(member, dice.randrange(10), data=step).accepted
            elif race.number < 6:
                hit += board.remove(member, f"m{dice.randrange(40)}")
            else:
                hit += board.trim(dice.randrange(5, 30))
    return hit

"""What the processes of a race do, in a module that they can import."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import msgspec

import octavo
from octavo import SubmissionRefused
from octavo.leaderboards import Elo, Glicko2, OpenSkill

if TYPE_CHECKING:
    from octavo.testing.faults import Line

SYSTEMS = {"elo": Elo(), "glicko2": Glicko2(), "openskill": OpenSkill()}
PLAYERS = [f"p{i}" for i in range(5)]


def play(line: Line, url: str, prefix: str, name: str, number: int, steps: int) -> list[Any]:
    """Report matches between few players; each has an id, and two processes report it.

    Every other process also bans a player for a moment, again and again.
    """
    dice = random.Random(number // 2)
    found: list[Any] = []
    with octavo.connect(url, prefix=prefix, timeout=30) as db:
        ratings = db.ratings("x", system=SYSTEMS[name])
        ratings.banned()
        line.meet()
        for step in range(steps):
            size = 2 if name == "openskill" else 1
            players = dice.sample(PLAYERS, 2 * size)
            teams, match_id = [players[:size], players[size:]], f"{number // 2} {step}"
            bans = number % 2 == 1 and step % 10 == 0
            if bans:
                ratings.ban("p0")
            try:
                result = ratings.match(teams, ranks=[1, dice.randrange(3)], match_id=match_id)
                found.append((match_id, msgspec.to_builtins(result)))
            except SubmissionRefused as error:
                found.append((match_id, error.refusals))
            if bans:
                ratings.unban("p0")
    return found

"""What every contender on a leaderboard is given: the same members, scores and order."""

from __future__ import annotations

import random
from itertools import count, cycle
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 25
EACH_SIDE = 12
DRAWN = 10_000
FRIENDS = 50
SHARED_BY = 4
"""How many members have each score, so that ties are neither absent nor everything."""
_STEP = 2_654_435_761
"""A prime: its multiples scatter the scores over the members."""


class Workload:
    """Endless draws from a board of a given size, the same in every process.

    Args:
        size: how many members are on the board.
        seed: draws others, for those who share a board.
    """

    def __init__(self, size: int, seed: int = 0) -> None:
        self.size = size
        draw = random.Random(size + seed)
        self._drawn = drawn = draw.choices(range(size), k=DRAWN)
        names = [name(each) for each in drawn]
        self.names = cycle(names)
        self.friends = cycle([names[at : at + FRIENDS] for at in range(0, DRAWN, FRIENDS)])
        self.offsets = cycle([each // PAGE * PAGE for each in drawn])
        # Not generators, which several threads could not share.
        self.submissions = map(self._better, count())
        self.newcomers = ((f"new:{seed}:{each}", self._score(each)) for each in count(1))

    def initial(self) -> Iterator[tuple[str, float]]:
        """Yield each member and the score it starts with."""
        return ((name(each), self._score(each)) for each in range(self.size))

    def best_first(self) -> Iterator[tuple[str, float]]:
        """Yield the same, in the order in which they stand on the board."""
        back = pow(_STEP, -1, self.size)
        return (
            (name(each * back % self.size), float(each // SHARED_BY))
            for each in reversed(range(self.size))
        )

    def scores(self) -> Iterator[float]:
        """Yield each score that somebody starts with, once."""
        return (float(each) for each in range(-(-self.size // SHARED_BY)))

    def _better(self, turn: int) -> tuple[str, float]:
        # Each score beats the member's last one, so that no policy has a reason to refuse it.
        lap, at = divmod(turn, DRAWN)
        stride = max(1, self.size // 100)
        return name(self._drawn[at]), self._score(self._drawn[at]) + (lap + 1) * stride

    def _score(self, member: int) -> float:
        return float(member * _STEP % self.size // SHARED_BY)


def name(member: int) -> str:
    """Return a member's name."""
    return f"member:{member:07d}"

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
SHARED_BY = 4
"""How many members have each score, so that ties are neither absent nor everything."""


class Workload:
    """Endless draws from a board of a given size, the same in every process."""

    def __init__(self, size: int) -> None:
        self.size = size
        drawn = random.Random(size).choices(range(size), k=DRAWN)
        self.names = cycle([name(each) for each in drawn])
        self.offsets = cycle([each // PAGE * PAGE for each in drawn])
        self.submissions = self._rising(drawn)

    def initial(self) -> Iterator[tuple[str, float]]:
        """Yield each member and the score it starts with."""
        return ((name(each), self._score(each)) for each in range(self.size))

    def scores(self) -> Iterator[float]:
        """Yield each score that somebody starts with, once."""
        return (float(each) for each in range(-(-self.size // SHARED_BY)))

    def _rising(self, drawn: list[int]) -> Iterator[tuple[str, float]]:
        # Each score beats the member's last one, so that no policy has a reason to refuse it.
        stride = max(1, self.size // 100)
        for lap in count(1):
            for each in drawn:
                yield name(each), self._score(each) + lap * stride

    def _score(self, member: int) -> float:
        return float(member * 2_654_435_761 % self.size // SHARED_BY)


def name(member: int) -> str:
    """Return a member's name."""
    return f"member:{member:07d}"

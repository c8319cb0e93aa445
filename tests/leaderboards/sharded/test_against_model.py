"""Random histories, after each step of which a sharded board is what the model says."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction
from typing import TYPE_CHECKING, Any, get_args

import pytest

from octavo import PrecisionLost
from octavo.leaderboards import Bin, Keep, Order, Percentile, ShardedTies
from octavo.leaderboards.ranking import RANK_METHODS
from octavo.testing import faults
from tests.leaderboards.model import Model

if TYPE_CHECKING:
    from octavo import Octavo, Sync
    from octavo.leaderboards import Entry, RankMethod, ShardedLeaderboard

STEPS = 30
BOUNDS = (-1, 0.5, 2, 3)
# On the bounds, between them, and beyond; few, so that many tie.
SCORES = (-5, -1, -0.0, 0.5, 0.7, 1, 1.5, 2, 2.5, 3, 4, 1e17)
# Names of which one begins another, or that mean something to a server, to keys or to Lua.
MEMBERS = ("a", "ab", "a\0", "b", "\r\n", "%{x}:", "ü", "\U0001f3c6", "z" * 300, *"cdefghij")


class History:
    """Does the same to a board and to the model."""

    def __init__(self, db: Octavo[Sync], rank: RankMethod, dice: random.Random) -> None:
        self.dice = dice
        config: dict[str, Any] = {
            "order": dice.choice(get_args(Order)),
            "keep": dice.choice(get_args(Keep)),
            "ties": dice.choice(get_args(ShardedTies)),
            "rank": rank,
        }
        self.board: ShardedLeaderboard[Sync] = db.sharded_leaderboard(
            "x", bounds=BOUNDS, homes=dice.choice([1, 3, 8]), **config
        )
        self.model = Model(**config)

    def step(self) -> None:
        member, score = self.dice.choice(MEMBERS), self.dice.choice(SCORES)
        match self.dice.randrange(8):
            case 0:
                gone = self.dice.sample(MEMBERS, self.dice.randrange(4))
                assert self.board.remove(*gone) == self.model.remove(*gone)
            case 1:
                by = self.dice.choice([-1, 0, 1.5])
                same(
                    lambda: self.board.increment(member, by),
                    lambda: self.model.increment(member, by),
                )
            case 2:
                # No two alike: those of one call have no order of arrival.
                scores = self.dice.sample([score for score in SCORES if score < 10], 4)
                pairs = [*zip(self.dice.sample(MEMBERS, 4), scores, strict=True)]
                if self.model.keep != "sum":
                    done = self.model.submit_many(pairs, {})
                    assert self.board.submit_many(pairs) == sum(one.accepted for one in done)
            case _:
                same(
                    lambda: self.board.submit(member, score),
                    lambda: self.model.submit(member, score),
                )

    def check(self) -> None:
        """Ask for everything."""
        board, model, dice = self.board, self.model, self.dice
        entries = model.entries()
        assert list(board) == entries
        assert board.count() == len(entries)
        member, n = dice.choice(MEMBERS), dice.randrange(1, 7)
        assert board.rank(member) == model.rank(member)
        assert board.score(member) == model.score(member)
        assert board.entry(member) == model.entry(member)
        kind = dice.choice(get_args(Percentile))
        percent = board.percentile(member, kind=kind)
        assert percent == pytest.approx(model.percentile(member, kind))
        some = dice.sample(MEMBERS, 5)
        assert board.ranks_of(some) == model.ranks_of(some)
        assert board.top(n) == model.top(n)
        page = dice.randrange(1, 6)
        assert board.page(page, size=n) == model.page(page, n)
        assert board.around(member, n) == model.around(member, n)
        low, high = sorted(dice.choices([-math.inf, *SCORES, math.inf], k=2))
        limit = dice.choice([None, 1, 4])
        found = board.between_scores(low, high, limit=limit)
        assert found == model.between_scores(low, high, limit)
        assert board.count(low, high) == model.count(low, high)
        percentile = dice.choice([0, 25, 50, 99, 100])
        assert board.score_at(percentile) == pytest.approx(model.score_at(Fraction(percentile)))
        edges = [-2.0, -1.0, 0.25, 0.5, 3.0, 3.5]
        assert board.histogram(edges) == model.histogram(edges)
        bounds = [-math.inf, *map(float, BOUNDS), math.inf]
        shards = [
            Bin(low, high, sum(low <= entry.score < high for entry in entries))
            for low, high in itertools.pairwise(bounds)
        ]
        assert board.shards() == shards
        pages: list[Entry] = []
        cursor: str | None = None
        while True:
            one = board.scan(cursor, limit=n)
            pages += one.entries
            cursor = one.cursor
            if cursor is None:
                break
            assert len(one.entries) == n
        assert pages == entries


def same(found: Any, wanted: Any) -> None:
    assert outcome(found) == outcome(wanted)


def outcome(call: Any) -> Any:
    try:
        return call()
    except PrecisionLost:
        return PrecisionLost


@pytest.mark.parametrize("rank", RANK_METHODS)
def test_a_board_is_what_the_model_says(rank: RankMethod, db: Octavo[Sync]) -> None:
    dice = random.Random(f"{faults.run_seed()} {rank}")
    history = History(db, rank, dice)
    history.check()
    for _ in range(STEPS):
        history.step()
        history.check()
    assert history.board.repair(older_than=0) == 0, "a change was left half done"
    assert history.board.repair(thorough=True) == 0, "homes and shards disagree"
    assert history.board.clear() == (len(history.model.rows) > 0) or not history.model.rows
    history.model.clear()
    history.check()

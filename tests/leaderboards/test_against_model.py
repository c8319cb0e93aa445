"""Random histories, after each step of which a board is what the model says."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,  # pyright: ignore[reportUnknownVariableType]
)

import octavo
from octavo import PrecisionLost
from octavo.leaderboards.ranking import RANK_METHODS
from tests.leaderboards.inside import Contents, layout, raw
from tests.leaderboards.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Octavo, Sync
    from octavo.leaderboards import Leaderboard, RankMethod
    from octavo.leaderboards.layout import Layout
    from octavo.testing.servers import Standalone
    from tests.fix_servers import Servers
    from tests.leaderboards.model import Place

T = TypeVar("T")

# Finding the shortest history that fails takes longer than running them all.
pytestmark = pytest.mark.timeout(600)

ORDERS = ("desc", "asc", ("desc", "asc"), ("asc", "desc", "desc"))
KINDS = ("mean", "weak", "strict", "rank")

# Names of which one begins another, or that mean something to a server, to keys or to Lua.
members = st.sampled_from(["a", "ab", "a\0", "b", "\r\n", "%{x}:", "ü", "\U0001f3c6", "z" * 300])
numbers = st.one_of(
    st.sampled_from([0, 1]),  # ties
    st.integers(-2, 3),
    st.sampled_from([
        0.1, 0.2, 0.30000000000000004, -0.0, 2**53, 2**53 - 1, -(2**53), 5e-324, -5e-324,
        2.2250738585072014e-308, 1.7e308, -1.7e308, 1 / 3, 123456789.123456789, 1e17,
    ]),
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip
payloads = st.sampled_from([None, None, 0, "", {"club": "ü", "wins": [1, 2.5, None]}, b"\0\xff"])
counts = st.integers(1, 6)
bounds = st.one_of(numbers, st.sampled_from([-math.inf, math.inf]))


class Histories(RuleBasedStateMachine):
    """Does the same to a board and to the model."""

    cursors: Bundle[tuple[str | None, Place | None]] = Bundle("cursors")

    db: Octavo[Sync]
    client: Any
    rank: RankMethod
    prefix: str
    made = 0

    board: Leaderboard[Sync]
    model: Model
    keys: Layout

    @initialize(
        target=cursors,
        order=st.sampled_from(ORDERS),
        keep=st.sampled_from(["best", "last", "sum", "first"]),
        ties=st.sampled_from(["earliest", "latest", "member"]),
        once=st.booleans(),
    )
    def make(self, order: Any, keep: Any, ties: Any, once: bool) -> tuple[None, None]:
        Histories.made += 1
        name = f"board {self.made}"
        self.keys = layout(self.prefix, name)
        self.board = self.db.leaderboard(
            name, order=order, keep=keep, rank=self.rank, ties=ties, once=once
        )
        self.model = Model(order=order, keep=keep, rank=self.rank, ties=ties)
        self.width = len(self.model.orders)
        return None, None

    def score(self, data: st.DataObject) -> Any:
        columns = tuple(data.draw(numbers) for _ in range(self.width))
        return columns if self.width > 1 else columns[0]

    # Writing

    @rule(member=members, data=st.data(), payload=payloads)
    def submit(self, member: str, data: st.DataObject, payload: object) -> None:
        score = self.score(data)
        same(
            outcome(lambda: self.board.submit(member, score, data=payload)),
            outcome(lambda: self.model.submit(member, score, payload)),
        )

    @rule(member=members, data=st.data())
    def record(self, member: str, data: st.DataObject) -> None:
        score = self.score(data)
        same(
            outcome(lambda: self.board.record(member, score)),
            outcome(lambda: self.model.submit(member, score, None).accepted),
        )

    @rule(
        names=st.lists(members, max_size=6), data=st.data(), payloads=st.lists(payloads, max_size=6)
    )
    def submit_many(self, names: list[str], data: st.DataObject, payloads: list[object]) -> None:
        pairs = [(name, self.score(data)) for name in names]
        beside = dict(zip(names, payloads, strict=False))
        same(
            outcome(lambda: self.board.submit_many(pairs, data=beside)),
            outcome(lambda: self.model.submit_many(pairs, beside)),
        )

    @rule(member=members, data=st.data())
    def increment(self, member: str, data: st.DataObject) -> None:
        by = self.score(data)
        same(
            outcome(lambda: self.board.increment(member, by)),
            outcome(lambda: self.model.increment(member, by)),
        )

    @rule(member=members, payload=payloads)
    def annotate(self, member: str, payload: object) -> None:
        same(self.board.annotate(member, payload), self.model.annotate(member, payload))

    @rule(names=st.lists(members, max_size=3))
    def remove(self, names: list[str]) -> None:
        same(self.board.remove(*names), self.model.remove(*names))

    @rule(keep=st.integers(2, 8) | st.integers(0, 8))
    def trim(self, keep: int) -> None:
        same(self.board.trim(keep), self.model.trim(keep))

    @rule(low=numbers, more=st.sampled_from([0, 0, math.inf]))
    def remove_between_scores(self, low: float, more: float) -> None:
        high = max(low, more)
        same(
            self.board.remove_between_scores(low, high),
            self.model.remove_between_scores(low, high),
        )

    @rule(sure=st.sampled_from([True, False, False, False]))
    def clear(self, sure: bool) -> None:
        if sure:
            self.board.clear()
            self.model.clear()

    # Reading

    @rule(member=members, n=st.integers(0, 5))
    def look_at_one(self, member: str, n: int) -> None:
        same(self.board.rank(member), self.model.rank(member))
        same(self.board.score(member), self.model.score(member))
        same(self.board.entry(member), self.model.entry(member))
        same(self.board.around(member, n), self.model.around(member, n))

    @rule(member=members, kind=st.sampled_from(KINDS))
    def percentile(self, member: str, kind: Any) -> None:
        near(self.board.percentile(member, kind=kind), self.model.percentile(member, kind), 100)

    @rule(names=st.lists(members, max_size=6))
    def ranks_of(self, names: list[str]) -> None:
        same(self.board.ranks_of(names), self.model.ranks_of(names))

    @rule(n=counts, size=counts)
    def pages(self, n: int, size: int) -> None:
        same(self.board.top(n), self.model.top(n))
        same(self.board.page(n, size=size), self.model.page(n, size))

    @rule(member=members, size=counts)
    def page_of(self, member: str, size: int) -> None:
        same(self.board.page_of(member, size=size), self.model.page_of(member, size))

    @rule(first=counts, more=st.integers(0, 4), limit=st.none() | counts)
    def between_ranks(self, first: int, more: int, limit: int | None) -> None:
        same(
            self.board.between_ranks(first, first + more, limit=limit),
            self.model.between_ranks(first, first + more, limit),
        )

    @rule(pair=st.tuples(bounds, bounds).map(sorted), limit=st.none() | counts)
    def between_scores(self, pair: list[float], limit: int | None) -> None:
        low, high = pair
        same(self.board.count(low, high), self.model.count(low, high))
        same(
            self.board.between_scores(low, high, limit=limit),
            self.model.between_scores(low, high, limit),
        )

    @rule(target=cursors, cursor=cursors, limit=counts)
    def scan(
        self, cursor: tuple[str | None, Place | None], limit: int
    ) -> tuple[str | None, Place | None]:
        page = self.board.scan(cursor[0], limit=limit)
        entries, behind = self.model.scan(cursor[1], limit)
        same(page.entries, entries)
        assert (page.cursor is None) == (behind is None)
        return page.cursor, behind

    @rule(percentile=st.integers(0, 100) | st.floats(0, 100))
    def score_at(self, percentile: float) -> None:
        largest = max((abs(row.scores[0]) for row in self.model.rows.values()), default=0)
        near(self.board.score_at(percentile), self.model.score_at(Fraction(percentile)), largest)

    @rule(edges=st.lists(bounds, min_size=2, max_size=5, unique=True).map(sorted))
    def histogram(self, edges: list[float]) -> None:
        same(self.board.histogram(edges), self.model.histogram([edge + 0.0 for edge in edges]))

    @rule(bins=st.integers(1, 12))
    def histogram_of_equal_bins(self, bins: int) -> None:
        found = self.board.histogram(bins)
        if not self.model.rows:
            assert found == []
            return
        scores = sorted(row.scores[0] for row in self.model.rows.values())
        edges = [found[0].low, *(one.high for one in found)]
        low, high = Fraction(scores[0]), Fraction(scores[-1])
        ideal = [float(low + (high - low) * i / bins) for i in range(bins + 1)]
        if low == high:
            ideal = [scores[0], scores[0]]
        assert len(edges) == len(ideal)
        for edge, exactly in zip(edges, ideal, strict=True):
            near(edge, exactly, max(map(abs, scores)))
        assert (edges[0], edges[-1]) == (scores[0], scores[-1])
        assert edges == sorted(edges)
        same(found, self.model.histogram(edges))

    @invariant()
    def the_board_is_what_the_model_says(self) -> None:
        same(list(self.board), self.model.entries())
        assert self.board.count() == len(self.model.rows)

    @invariant()
    def the_keys_agree(self) -> None:
        Contents.of(self.client, self.keys).check()

    def teardown(self) -> None:
        self.client.delete(*self.keys)


def outcome(function: Callable[[], T]) -> T | str:
    """Return a result, or that there was none."""
    try:
        return function()
    except PrecisionLost:
        return "precision lost"


def same(found: object, expected: object) -> None:
    """Assert equality, down to the sign of a zero and the type of a rank."""
    assert found == expected
    assert repr(found) == repr(expected)


def near(found: float | None, expected: float | None, largest: float) -> None:
    """Assert equality, but for what rounding may do to numbers as large as `largest`."""
    if found is None or expected is None:
        assert found is expected
    else:
        assert abs(Fraction(found) - Fraction(expected)) <= Fraction(largest) / 10**14 + Fraction(
            5e-324
        )


def run(node: Standalone, prefix: str, rank: RankMethod, histories: int) -> None:
    class Run(Histories):
        pass

    Run.rank, Run.prefix = rank, prefix
    with octavo.connect(node.unix_url, prefix=prefix) as Run.db, raw(node) as Run.client:
        run_state_machine_as_test(  # pyright: ignore[reportUnknownMemberType]
            Run,
            settings=settings(
                max_examples=histories,
                stateful_step_count=30,
                deadline=None,
                report_multiple_bugs=False,
                phases=[Phase.reuse, Phase.generate, Phase.shrink],
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            ),
        )


@pytest.mark.parametrize("rank", RANK_METHODS)
def test_a_board_is_what_the_model_says(servers: Servers, prefix: str, rank: RankMethod) -> None:
    server = servers.get("embedded")
    run(server.node_of(""), prefix, rank, histories=200)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["embedded", "redis-7", "redis-8"])
@pytest.mark.parametrize("rank", RANK_METHODS)
def test_a_board_is_what_the_model_says_for_long(
    servers: Servers, prefix: str, rank: RankMethod, kind: Any
) -> None:
    run(servers.get(kind).node_of(""), prefix, rank, histories=1500)

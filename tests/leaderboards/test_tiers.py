"""Boards that are divided into tiers."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from operator import methodcaller as call
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo import ConfigMismatch
from octavo.leaderboards import Tier, Tiers, TierStanding, Window
from octavo.leaderboards.ranking import RANK_METHODS
from tests.leaderboards.model import Model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo import Octavo, Sync
    from octavo.leaderboards import Entry, Leaderboard, RankMethod
    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect
    from tests.fix_servers import Servers

BY_SCORE = Tiers.by_score(gold=30, silver=20, bronze=0)


@pytest.fixture
def one(servers: Servers, prefix: str) -> Iterator[Octavo[Sync]]:
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        yield db


def nowhere(**options: Any) -> Leaderboard[Sync]:
    """Return a board on a server that is not there."""
    return octavo.connect("redis://127.0.0.1:1").leaderboard("x", **options)


def names(entries: list[Entry]) -> list[str]:
    return [entry.member for entry in entries]


def test_a_score_decides_the_tier(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", tiers=BY_SCORE)
    board.submit_many({"ada": 45, "bob": 29, "cyd": 20, "dot": 29, "eve": -1})
    assert board.tiers() == [
        Tier("gold", 30, 1, 45, 45),
        Tier("silver", 20, 3, 20, 29),
        Tier("bronze", 0, 0, None, None),
    ]
    assert board.tier("ada") == TierStanding("ada", "gold", 1, 45, None, None)
    assert board.tier("cyd") == TierStanding("cyd", "silver", 3, 20, "gold", 10)
    assert board.tier("eve") is None
    assert board.tier("nobody") is None
    assert names(board.in_tier("silver")) == ["bob", "dot", "cyd"]
    assert [entry.rank for entry in board.in_tier("silver", limit=2)] == [2, 2]
    assert board.in_tier("bronze") == []


def test_a_rank_decides_the_tier(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", tiers=Tiers.by_rank(gold=1, silver=3, rest=math.inf))
    board.submit_many({"ada": 9, "bob": 9, "cyd": 8, "dot": 7})
    assert [(tier.name, tier.count) for tier in board.tiers()] == [
        ("gold", 2),
        ("silver", 1),
        ("rest", 1),
    ]
    assert board.tier("dot") == TierStanding("dot", "rest", 1, 7, "silver", 1)


def test_a_share_of_the_members_decides_the_tier(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", order="asc", tiers=Tiers.by_percent(gold=10, rest=100))
    board.submit_many({f"m{i}": i for i in range(11)})
    # A tenth of eleven is rounded up.
    assert [(tier.count, tier.low, tier.high) for tier in board.tiers()] == [(2, 0, 1), (9, 2, 10)]
    assert board.tier("m5") == TierStanding("m5", "rest", 4, 5, "gold", 4)


def test_a_share_is_exact_where_a_float64_is_not(one: Octavo[Sync]) -> None:
    board = one.leaderboard("x", tiers=Tiers.by_percent(gold=8.8, rest=100))
    board.submit_many({f"m{i}": i for i in range(375)})
    assert 375 * 8.8 / 100 > 33
    assert board.tiers()[0].count == 33
    standing = board.tier("m0")
    assert standing is not None
    assert standing.distance == 375 - 33


def test_periods_windows_and_seasons_have_the_tiers_too(db: Octavo[Sync]) -> None:
    window = Window(3600)
    board = db.leaderboard(
        "x", half_life=3600, periods=["year", window], tiers=Tiers.by_rank(up=1, stay=3)
    )
    season = board.season("spring")
    season.open()
    for table in (board, season):
        table.submit_many({"ada": 20, "bob": 10})
    for standings in (board, board.period("year"), board.window(window), season):
        assert [(tier.name, tier.count) for tier in standings.tiers()] == [("up", 1), ("stay", 1)]
        assert names(standings.in_tier("stay")) == ["bob"]
        standing = standings.tier("bob")
        assert standing is not None
        assert (standing.tier, standing.rank, round(standing.score, 1)) == ("stay", 1, 10)


def test_an_empty_board_has_empty_tiers(db: Octavo[Sync]) -> None:
    for number, tiers in enumerate((BY_SCORE, Tiers.by_rank(a=1), Tiers.by_percent(a=50))):
        board = db.leaderboard(f"x{number}", tiers=tiers)
        assert {tier.count for tier in board.tiers()} == {0}
        assert board.tier("ada") is None
        assert board.in_tier(next(iter(tiers.cutoffs))) == []


@pytest.mark.parametrize("order", ["desc", "asc", ("desc", "asc")])
@pytest.mark.parametrize("rank", RANK_METHODS)
def test_tiers_of_random_boards_are_what_the_model_says(
    rank: RankMethod, order: Any, one: Octavo[Sync]
) -> None:
    dice = random.Random(f"{rank} {order}")
    for number in range(6):
        kind: Any = {"order": order, "rank": rank, "ties": dice.choice(["earliest", "member"])}
        model = Model(**kind)
        scores = [float(dice.randrange(8)) for _ in range(dice.randrange(1, 30))]
        pairs = [
            (f"m{i}", (score, float(dice.randrange(2))) if len(model.orders) > 1 else score)
            for i, score in enumerate(scores)
        ]
        model.submit_many(pairs, {})
        one.leaderboard(f"x{number}", **kind).submit_many(pairs)
        for tiers in chosen(dice, descending=order != "asc"):
            check(one.leaderboard(f"x{number}", tiers=tiers, **kind), model, tiers)


def chosen(dice: random.Random, *, descending: bool) -> list[Tiers]:
    """Return tiers of each kind."""

    def some(values: list[float], *, descending: bool = False) -> dict[str, float]:
        cutoffs = sorted(dice.sample(values, dice.randrange(1, 4)), reverse=descending)
        return {f"tier {i}": cutoff for i, cutoff in enumerate(cutoffs)}

    last = -math.inf if descending else math.inf
    scores = [last, 0, 2, 3, 3.5, 5, 7, 9]
    return [
        Tiers.by_score(**some(scores, descending=descending)),
        Tiers.by_rank(**some([1, 2, 3, 4, 7, 12, 25, 40, math.inf])),
        Tiers.by_percent(**some([0.1, 1, 10, 12.5, 33, 50, 99, 100])),
    ]


def check(board: Leaderboard[Sync], model: Model, tiers: Tiers) -> None:
    """Compare tiers with what they are by definition."""
    entries = model.entries()
    reached = {entry.member: reaches(model, entry, tiers) for entry in entries}
    cutoffs = list(tiers.cutoffs.values())
    for number, (found, name) in enumerate(zip(board.tiers(), tiers.cutoffs, strict=True)):
        inside = [entry for entry in entries if reached[entry.member] == number]
        scores = [entry.score for entry in inside]
        low, high = min(scores, default=None), max(scores, default=None)
        assert found == Tier(name, cutoffs[number], len(inside), low, high)
        assert board.in_tier(name) == inside
        assert board.in_tier(name, limit=2) == inside[:2]
        within = Model(order=tuple(model.orders), rank=model.method, ties=model.ties)
        within.rows = {entry.member: model.rows[entry.member] for entry in inside}
        for entry in inside:
            standing = board.tier(entry.member)
            assert standing is not None
            assert (standing.tier, standing.score) == (name, entry.score)
            assert standing.rank == within.rank(entry.member)
            assert standing.next == (f"tier {number - 1}" if number else None)
            assert standing.distance == (missing(model, entry, tiers, number) if number else None)
    for entry in entries:
        assert (board.tier(entry.member) is None) == (reached[entry.member] == len(cutoffs))


def reaches(model: Model, entry: Entry, tiers: Tiers) -> int:
    """Return the number of the best tier that a member reaches."""
    sign = -1 if model.orders[0] == "desc" else 1
    cutoffs = list(tiers.cutoffs.values())
    if tiers.by == "score":
        inside = [entry.score * sign <= cutoff * sign for cutoff in cutoffs]
    elif tiers.by == "rank":
        inside = [entry.rank <= cutoff for cutoff in cutoffs]
    else:
        inside = [place(model, entry) <= share(model, cutoff) for cutoff in cutoffs]
    return [*inside, True].index(True)


def place(model: Model, entry: Entry) -> float:
    """Return where a member stands, ties together unless ranks divide them."""
    as_counted = Model(order=tuple(model.orders), ties=model.ties)
    as_counted.method = "ordinal" if model.method == "ordinal" else "competition"
    as_counted.rows = model.rows
    found = as_counted.rank(entry.member)
    assert found is not None
    return found


def share(model: Model, percent: float) -> int:
    return math.ceil(len(model.rows) * Fraction(str(percent)) / 100)


def missing(model: Model, entry: Entry, tiers: Tiers, number: int) -> float:
    """Return how far a member is from the next better tier."""
    cutoff = list(tiers.cutoffs.values())[number - 1]
    if tiers.by == "score":
        return abs(cutoff - entry.score)
    if tiers.by == "rank":
        return entry.rank - cutoff
    return place(model, entry) - share(model, cutoff)


CALLS = [call("tiers"), call("tier", "m1"), call("in_tier", "silver")]


@pytest.mark.parametrize("ask", CALLS, ids=["tiers", "tier", "in_tier"])
def test_each_is_one_round_trip(ask: Any, connect: Connect, proxy: WireProxy) -> None:
    board = connect(proxy.url).leaderboard("x", rank="dense", tiers=BY_SCORE)
    board.submit_many({f"m{i}": i for i in range(40)})
    proxy.reset()
    ask(board)
    assert proxy.round_trips == 1
    with pytest.raises(ConfigMismatch):
        ask(connect(proxy.url).leaderboard("x", tiers=BY_SCORE))


def test_a_tier_of_ten_thousand_members_is_returned_whole(one: Octavo[Sync]) -> None:
    board = one.leaderboard("x", tiers=Tiers.by_score(**{"all of them": -math.inf}))
    board.submit_many({f"m{i}": i for i in range(10_000)}, data={"m7": "seven"})
    assert len(board.in_tier("all of them")) == 10_000


@pytest.mark.parametrize(
    ("by", "cutoffs", "complaint"),
    [
        ("score", {}, "cutoffs"),
        ("score", {"gold": math.nan}, "gold"),
        ("score", {"": 1}, "cutoffs"),
        ("score", {str(i): -i for i in range(101)}, "100"),
        ("rank", {"gold": 0}, "gold.*0"),
        ("rank", {"gold": 5, "silver": 2}, "ascend"),
        ("rank", {"gold": 5, "silver": 5}, "ascend"),
        ("percent", {"gold": 0}, "gold.*0"),
        ("percent", {"gold": 101}, "gold.*101"),
        ("percent", {"gold": 10, "silver": 1}, "ascend"),
        ("points", {"gold": 1}, "by must"),
    ],
)
def test_what_are_no_tiers_is_refused_by_name(by: Any, cutoffs: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Tiers(by, cutoffs)


def test_tiers_by_score_are_refused_where_scores_decay() -> None:
    with pytest.raises(ValueError, match=r"tiers.*half_life"):
        nowhere(half_life=60, tiers=BY_SCORE)


@pytest.mark.parametrize(
    ("order", "cutoffs", "complaint"),
    [
        ("desc", {"gold": 1, "silver": 2}, "tiers.*descend"),
        ("desc", {"gold": 1, "silver": 1}, "tiers.*descend"),
        ("asc", {"gold": 2, "silver": 1}, "tiers.*ascend"),
        (("asc", "desc"), {"gold": 2, "silver": -math.inf}, "tiers.*ascend"),
    ],
)
def test_cutoffs_that_cross_on_a_board_of_that_order_are_refused(
    order: Any, cutoffs: Any, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        nowhere(order=order, tiers=Tiers("score", cutoffs))


@pytest.mark.parametrize(
    ("options", "ask", "complaint"),
    [
        ({}, CALLS[0], "tiers"),
        ({}, CALLS[1], "tiers"),
        ({}, CALLS[2], "tiers"),
        ({"tiers": BY_SCORE}, call("in_tier", "platinum"), "tier.*'gold'.*'platinum'"),
        ({"tiers": BY_SCORE}, call("in_tier", "gold", limit=0), "limit"),
        ({"tiers": BY_SCORE}, call("tier", ""), "member"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(options: Any, ask: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ask(nowhere(**options))


@pytest.mark.parametrize(
    ("by", "cutoff"), [("score", "high"), ("score", True), ("rank", 1.5), ("percent", None)]
)
def test_a_cutoff_that_is_no_number_is_refused_by_name(by: Any, cutoff: Any) -> None:
    with pytest.raises(TypeError, match="gold"):
        Tiers(by, {"gold": cutoff})

"""Boards made of other boards, and boards that expire."""

from __future__ import annotations

import itertools
import math
import random
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import octavo
from octavo import ConfigMismatch, PrecisionLost, SubmissionRefused
from octavo.leaderboards import Entry, Events, Window
from octavo.leaderboards.layout import Layout
from octavo.testing.waiting import wait_until
from tests.leaderboards.inside import Contents, raw
from tests.leaderboards.model import Model, Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from octavo import Octavo, Sync
    from octavo.leaderboards import Aggregate, Leaderboard, RankMethod, Ties
    from tests.fix_servers import Server, Servers

AGGREGATES: tuple[Aggregate, ...] = ("sum", "best", "worst", "first", "last")
TAG = "merged"


@pytest.fixture
def one(servers: Servers, prefix: str) -> Iterator[Octavo[Sync]]:
    with octavo.connect(servers.get("embedded").url, prefix=prefix, timeout=20) as db:
        yield db


def boards(db: Octavo[Sync], names: str, **options: Any) -> list[Leaderboard[Sync]]:
    return [db.leaderboard(name, tag=TAG, **options) for name in names]


def layout(prefix: str, name: str) -> Layout:
    return Layout.of(f"{prefix}:leaderboard:{{{TAG}}}.{name}")


def shown(board: Leaderboard[Sync]) -> list[tuple[str, float, object]]:
    return [(entry.member, entry.score, entry.data) for entry in board.top(10)]


def test_a_merge_is_the_union_with_data_and_an_intersection_has_who_is_on_all(
    db: Octavo[Sync],
) -> None:
    week, monday, tuesday = boards(db, "wmt")
    week.submit("eve", 1000)
    monday.submit_many({"ada": 10, "bob": 5}, data={"ada": "red"})
    tuesday.submit_many({"bob": 5, "cyd": 7}, data={"bob": "blue"})

    assert week.merge(monday, tuesday) == 3
    # Bob reached his 10 after Ada had hers.
    assert week.top() == [
        Entry("ada", 10, 1, "red"),
        Entry("bob", 10, 1, "blue"),
        Entry("cyd", 7, 3),
    ]
    assert week.intersect(monday, tuesday) == 1
    assert week.top() == [Entry("bob", 10, 1, "blue")]
    assert shown(monday) == [("ada", 10, "red"), ("bob", 5, None)]
    # What is submitted next is later than all that was merged.
    assert week.submit("dot", 10).rank == 1
    assert [entry.member for entry in week.top()] == ["bob", "dot"]


def test_a_member_on_several_boards_has_what_the_aggregate_says(db: Octavo[Sync]) -> None:
    for order in ("desc", "asc"):
        first, second, result = boards(db, "abc" if order == "desc" else "xyz", order=order)
        first.submit("ada", 3, data="first")
        second.submit("ada", 8, data="second")
        found = {
            aggregate: (result.merge(first, second, aggregate=aggregate), shown(result)[0][1:])[1]
            for aggregate in AGGREGATES
        }
        better, worse = (8, "second"), (3, "first")
        assert found == {
            "sum": (11, "second"),
            "best": better if order == "desc" else worse,
            "worst": worse if order == "desc" else better,
            "first": (3, "first"),
            "last": (8, "second"),
        }


def test_weights_multiply_the_scores_of_each_board(db: Octavo[Sync]) -> None:
    first, second, result = boards(db, "abc", order=("desc", "asc"))
    first.submit_many({"ada": (1, 10), "bob": (2, -4)})
    second.submit("ada", (3, 5))
    assert result.merge(first, second, weights=[2, -0.5]) == 2
    assert [(entry.member, entry.scores) for entry in result.top()] == [
        ("bob", (4, -8)),
        ("ada", (0.5, 17.5)),
    ]


def test_a_board_may_be_merged_into_itself(db: Octavo[Sync]) -> None:
    board, other = boards(db, "ab", rank="dense")
    board.submit_many({"ada": 1, "bob": 2}, data={"ada": "red"})
    other.submit_many({"bob": 2, "cyd": 3})
    assert board.merge(board, other) == 3
    assert shown(board) == [("bob", 4, None), ("cyd", 3, None), ("ada", 1, "red")]
    assert board.merge(board, board) == 3
    assert shown(board) == [("bob", 8, None), ("cyd", 6, None), ("ada", 2, "red")]
    assert board.intersect(other, aggregate="best") == 2
    assert [(entry.member, entry.rank) for entry in board.top()] == [("cyd", 1), ("bob", 2)]


def test_a_merge_of_nothing_empties_the_board_which_keeps_its_configuration(
    db: Octavo[Sync],
) -> None:
    board, other = boards(db, "ab")
    board.submit("ada", 1)
    assert board.merge(other) == 0
    assert board.top() == []
    with pytest.raises(ConfigMismatch):
        db.leaderboard("a", tag=TAG, order="asc").submit("ada", 1)


@pytest.mark.parametrize("wrong", [{"order": "asc"}, {"ties": "member"}, {"rank": "dense"}])
def test_boards_of_another_configuration_are_refused_and_nothing_changes(
    wrong: Any, one: Octavo[Sync], prefix: str, servers: Servers
) -> None:
    board, other = boards(one, "ab")
    board.submit("ada", 1)
    other.submit("bob", 1)
    strange = one.leaderboard("c", tag=TAG, **wrong)
    strange.submit("cyd", 1)
    before = Contents.on(servers.get("embedded"), layout(prefix, "a"))
    for sources in ([strange], [other, strange], [strange, board]):
        with pytest.raises(ConfigMismatch):
            board.merge(*sources)
        with pytest.raises(ConfigMismatch):
            strange.intersect(*sources[:1], board)
    assert Contents.on(servers.get("embedded"), layout(prefix, "a")) == before


@pytest.mark.parametrize(
    ("scores", "weights"),
    [
        ((2**53, 1), None),
        ((1.7e308, 1.7e308), None),
        ((1e300, 1), [1e10, 1]),
        ((5e-324, 1), [0.1, 1]),
    ],
    ids=str,
)
def test_a_score_that_a_float64_cannot_hold_changes_nothing(
    scores: Any, weights: Any, one: Octavo[Sync]
) -> None:
    first, second, third, result = boards(one, "abcr")
    result.submit("eve", 1)
    first.submit("ada", scores[0])
    second.submit("ada", scores[1])
    third.submit("bob", 1)
    with pytest.raises(PrecisionLost, match="ada"):
        result.merge(first, second, weights=weights)
    assert shown(result) == [("eve", 1, None)]
    # Who is not on the result is nobody's loss.
    assert result.intersect(first, second, third, weights=weights and [*weights, 1]) == 0


class Kind(NamedTuple):
    """What boards of a random history are made as."""

    order: Any
    ties: Ties
    rank: RankMethod


KINDS = [
    Kind(order, ties, rank)
    for order in ("desc", "asc", ("desc", "asc"), ("asc", "desc", "desc"))
    for ties in ("earliest", "latest", "member")
    for rank in ("competition", "dense")
]
NUMBERS = (0, 1, 1, 2, 3, -1, -2.5, 0.1, 0.2, 2**53, 1e17, -1e17, 1.7e308, 5e-324)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_random_merges_are_what_the_model_says(
    kind: Kind, one: Octavo[Sync], prefix: str, servers: Servers
) -> None:
    dice = random.Random(str(kind))
    arrivals = itertools.count(1)
    models = {name: Model(**kind._asdict()) for name in "abcd"}
    table = dict(zip("abcd", boards(one, "abcd", **kind._asdict()), strict=True))
    width = len(models["a"].orders)
    lost = 0
    for step in range(25):
        for name, board in table.items():
            # Without data, the server has a command for some of it.
            data = dice.choice([None, None, dice.random()]) if step > 12 else None
            member = f"m{dice.randrange(9)}"
            score = tuple(dice.choice(NUMBERS) for _ in range(width))
            models[name]._arrivals = arrivals  # pyright: ignore[reportPrivateUsage]
            board.submit(member, score if width > 1 else score[0], data=data)
            models[name].submit(member, score, data)
        name, sources = dice.choice("abcd"), dice.choices("abcd", k=dice.randrange(1, 4))
        aggregate = dice.choice(AGGREGATES)
        weights = dice.choice([None, None, [dice.choice([1, 2, -1, 0, 0.5]) for _ in sources]])
        operation = dice.choice(["merge", "intersect"])
        rows = merged(operation, [models[s] for s in sources], aggregate, weights)
        call = getattr(table[name], operation)
        try:
            count = call(*(table[s] for s in sources), aggregate=aggregate, weights=weights)
        except PrecisionLost:
            count = None
            lost += 1
        assert (count, rows is None) == (
            len(rows or ()) if rows is not None else None,
            count is None,
        )
        if rows is not None:
            models[name].rows = rows
        assert repr(list(table[name])) == repr(models[name].entries())
        Contents.on(servers.get("embedded"), layout(prefix, name)).check()
    assert lost < 20


def merged(
    operation: str, models: list[Model], aggregate: Aggregate, weights: Sequence[float] | None
) -> dict[str, Row] | None:
    """Return the rows of a merge or an intersection; None where digits would be lost."""
    required = any if operation == "merge" else all
    everybody = {member for model in models for member in model.rows}
    members = [one for one in everybody if required(one in model.rows for model in models)]
    factors = weights or [1.0] * len(models)
    signs = [-1 if order == "desc" else 1 for order in models[0].orders]
    timed = models[0].ties != "member"
    try:
        return {
            member: reduce(
                lambda old, new: combined(old, new, aggregate, signs, timed=timed),
                [
                    weighted(model.rows[member], factor)
                    for model, factor in zip(models, factors, strict=True)
                    if member in model.rows
                ],
            )
            for member in members
        }
    except PrecisionLost:
        return None


def weighted(row: Row, factor: float) -> Row:
    scores = tuple(score * factor + 0.0 for score in row.scores)
    for score, product in zip(row.scores, scores, strict=True):
        if not math.isfinite(product) or (score and factor and not product):
            raise PrecisionLost("weight")
    return Row(scores, row.arrival, row.data)


def combined(old: Row, new: Row, aggregate: Aggregate, signs: list[int], *, timed: bool) -> Row:
    """Return what a member has of two boards, of which the second was given later."""
    places = [[s * sign for s, sign in zip(row.scores, signs, strict=True)] for row in (old, new)]
    earlier = new.arrival < old.arrival and timed
    later = new.arrival >= old.arrival or not timed
    takes = {
        "sum": later,
        "last": later,
        "first": earlier,
        "best": places[1] < places[0] or (places[0] == places[1] and earlier),
        "worst": places[1] > places[0] or (places[0] == places[1] and earlier),
    }[aggregate]
    taken, other = (new, old) if takes else (old, new)
    scores = taken.scores
    if aggregate == "sum":
        scores = tuple(a + b + 0.0 for a, b in zip(old.scores, new.scores, strict=True))
        for a, b, total in zip(old.scores, new.scores, scores, strict=True):
            if not math.isfinite(total) or (b and total == a):
                raise PrecisionLost("sum")
    return Row(scores, taken.arrival, other.data if taken.data is None else taken.data)


@pytest.mark.parametrize(
    "options",
    [{"rank": "dense"}, {"ties": "member"}, {"order": ("asc", "desc")}],
    ids=str,
)
def test_ten_thousand_members_are_merged(
    options: Any, one: Octavo[Sync], prefix: str, servers: Servers
) -> None:
    many = 10_000  # more than Lua's unpack() takes at once
    first, second, result = boards(one, "abr", **options)
    wide = "order" in options
    for board, numbers in ((first, range(many)), (second, range(many // 2, many + 5))):
        scores = {f"m{i}": (i % 7, i) if wide else i % 7 for i in numbers}
        board.submit_many(scores, data=dict.fromkeys(scores, "here"))
    assert result.merge(first, second, aggregate="best") == many + 5
    Contents.on(servers.get("embedded"), layout(prefix, "r")).check()
    assert result.intersect(first, second) == many // 2
    contents = Contents.on(servers.get("embedded"), layout(prefix, "r"))
    contents.check()
    assert len(contents.data) == many // 2


def test_what_is_submitted_next_is_later_although_the_clock_went_back(
    one: Octavo[Sync], prefix: str, servers: Servers
) -> None:
    board, other = boards(one, "ab")
    entries = layout(prefix, "b").entries
    other.submit("ada", 1)
    with raw(servers.get("embedded").node_of("")) as client:
        # The last submission was an hour later than now.
        client.hset(entries, "", f"desc earliest sparse {(client.time()[0] + 3600) * 1_000_000}")
    other.submit("bob", 1)
    board.merge(other)
    board.submit("cyd", 1)
    assert [entry.member for entry in board] == ["ada", "bob", "cyd"]


def test_many_boards_are_merged(one: Octavo[Sync]) -> None:
    days = [one.leaderboard(f"day {day}", tag=TAG) for day in range(400)]
    for day in days[::7]:
        day.submit("ada", 1)
    year = one.leaderboard("year", tag=TAG)
    assert year.merge(*days) == 1
    assert year.score("ada") == len(days[::7])


@pytest.mark.parametrize(
    ("sources", "options", "complaint"),
    [
        ("", {}, "others"),
        ("a", {"aggregate": "min"}, "aggregate.*'sum'.*'min'"),
        ("a", {"weights": [1, 2]}, "weights"),
        ("ab", {"weights": [1, math.nan]}, "weights"),
        ("ab", {"weights": [1, math.inf]}, "weights"),
    ],
)
@pytest.mark.parametrize("operation", ["merge", "intersect"])
def test_what_cannot_be_merged_is_refused_by_name(
    operation: str, sources: str, options: Any, complaint: str
) -> None:
    db = octavo.connect("redis://127.0.0.1:1")  # where nobody listens
    board = db.leaderboard("x", tag=TAG)
    with pytest.raises(ValueError, match=complaint):
        getattr(board, operation)(*boards(db, sources), **options)


def test_boards_of_other_slots_are_refused_before_anything_is_sent() -> None:
    db = octavo.connect("redis://127.0.0.1:1")
    board = db.leaderboard("x", tag=TAG)
    with pytest.raises(ValueError, match=r"same tag=.*\{y\}"):
        board.merge(board, db.leaderboard("y"))
    with pytest.raises(TypeError, match="others"):
        board.merge("y")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="weights"):
        board.merge(board, weights="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_a_board_that_expires_is_gone_with_all_it_has(
    db: Octavo[Sync], server: Server, prefix: str
) -> None:
    board = db.leaderboard("x", rank="dense", tag=TAG)
    assert board.expire(60) is False
    board.submit("ada", 1, data="red")
    keys = layout(prefix, "x")
    with raw(server.node_of(keys.scores.decode())) as client:
        assert board.expire(timedelta(minutes=1)) is True
        assert all(55_000 < client.pttl(key) <= 60_000 for key in keys)
        assert board.expire(datetime.now(UTC) + timedelta(hours=1)) is True
        assert all(3_500_000 < client.pttl(key) <= 3_605_000 for key in keys)
        assert board.expire(None) is True
        assert all(client.pttl(key) == -1 for key in keys)
        board.expire(0.05)
        wait_until(lambda: client.exists(*keys) == 0, "the board is gone")
    assert db.leaderboard("x", order="asc", tag=TAG).submit("ada", 1).rank == 1


def test_a_moment_that_has_passed_deletes_the_board(one: Octavo[Sync]) -> None:
    board = one.leaderboard("x")
    board.submit("ada", 1)
    assert board.expire(datetime(1969, 7, 20, tzinfo=UTC)) is True
    assert board.count() == 0


@pytest.mark.parametrize("at", [0, -1, math.inf, math.nan, datetime(2030, 1, 1)])  # noqa: DTZ001
def test_a_time_that_is_none_is_refused_by_name(at: Any) -> None:
    board = octavo.connect("redis://127.0.0.1:1").leaderboard("x")
    with pytest.raises(ValueError, match="at must"):
        board.expire(at)


def test_who_is_banned_stays_off_and_may_come_back(db: Octavo[Sync]) -> None:
    for ties in ("earliest", "member"):
        board, other = boards(db, "ab" if ties == "member" else "xy", ties=ties)
        board.submit("eve", 1)
        board.ban("eve")
        other.submit_many({"ada": 2, "eve": 9})
        assert board.merge(other, aggregate="best") == 1
        assert board.banned() == ["eve"]
        with pytest.raises(SubmissionRefused):
            board.submit("eve", 5)
        board.unban("eve")
        assert [(entry.member, entry.score) for entry in board] == [("ada", 2), ("eve", 1)]


def test_periods_and_windows_of_a_board_are_merged(db: Octavo[Sync]) -> None:
    day = timedelta(days=1)
    source = db.leaderboard("a", tag=TAG, keep="sum", periods=["year", Window(day)])
    result = db.leaderboard("b", tag=TAG)
    source.submit("ada", 3)
    source.submit("bob", 2)
    assert result.merge(source.period("year"), source.window(day), source) == 2
    assert [(entry.member, entry.score) for entry in result] == [("ada", 9), ("bob", 6)]
    assert result.intersect(source.period("year"), source.period("year", ago=1)) == 0


def test_an_atomic_batch_may_merge_a_window(one: Octavo[Sync]) -> None:
    window = Window(3600)
    one.leaderboard("a", tag=TAG, periods=window).submit_many({f"m{i}": i for i in range(9)})
    with one.batch(atomic=True) as batch:
        source = batch.leaderboard("a", tag=TAG, periods=window)
        result = batch.leaderboard("b", tag=TAG)
        counts = [result.merge(source.window(window)), result.count()]
    assert [count.result() for count in counts] == [9, 9]


def test_the_servers_clock_says_which_period_is_merged(one: Octavo[Sync]) -> None:
    source, result = one.leaderboard("a", tag=TAG, periods=["hour"]), boards(one, "b")[0]
    source.submit("ada", 3)
    clock = source._tables.clock  # pyright: ignore[reportPrivateUsage]
    clock.learn(clock.now() + 30 * 86_400_000_000)  # what the client believes is a month off
    assert result.merge(source.period("hour")) == 1
    assert result.merge(source.period("hour"), aggregate="best") == 1


def test_what_is_over_is_not_merged_from_a_window(
    one: Octavo[Sync], prefix: str, servers: Servers
) -> None:
    source = one.leaderboard("a", tag=TAG, periods=[Window(1, step=0.1)])
    result = one.leaderboard("b", tag=TAG)
    source.submit_many({f"m{i}": i for i in range(2500)})  # more than are taken off at once
    with raw(servers.get("embedded").node_of("")) as client:
        [due] = client.keys(f"{prefix}:*:due")

        def is_over() -> bool:
            seconds, micros = client.time()
            return bool(client.zcount(due, "-inf", seconds * 1_000_000 + micros) == 2500)

        wait_until(is_over, "the window has moved on")
    assert result.merge(source.window(1)) == 0


def test_scores_that_decay_are_summed_as_they_are_now(db: Octavo[Sync]) -> None:
    first, second, result = boards(db, "abc", half_life=timedelta(days=1000))
    first.submit_many({"ada": 3, "bob": 1})
    second.submit("ada", 5)
    result.merge(first, second, weights=[2, 1])
    assert [(e.member, round(e.score, 3)) for e in result] == [("ada", 11), ("bob", 2)]
    result.merge(first, second, aggregate="best")
    assert [(e.member, round(e.score, 3)) for e in result] == [("ada", 5), ("bob", 1)]
    with pytest.raises(ValueError, match="weights"):
        result.merge(first, weights=[0])


def test_a_merge_leaves_the_time_at_which_a_board_expires(
    one: Octavo[Sync], prefix: str, servers: Servers
) -> None:
    for ties in ("earliest", "member"):
        board, other = boards(one, "ab" if ties == "member" else "xy", ties=ties)
        board.submit("eve", 1, data="here")
        board.expire(1000)
        other.submit("ada", 2)
        board.merge(other, aggregate="best")
        with raw(servers.get("embedded").node_of("")) as client:
            there = [key for key in layout(prefix, board_name(board)) if client.exists(key)]
            assert len(there) == 2
            assert all(0 < client.ttl(key) <= 1000 for key in there)


def board_name(board: Leaderboard[Sync]) -> str:
    return board._keys.scores.decode().rpartition(":")[0][-1]  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("options", [{"periods": ["day"]}, {"audit": 10}, {"events": Events()}])
def test_what_changes_by_submissions_alone_is_not_replaced(options: Any) -> None:
    board = octavo.connect("redis://127.0.0.1:1").leaderboard("x", **options)
    for one in (board, board.season("spring")):
        with pytest.raises(ValueError, match="board of its own"):
            one.merge(board)


@pytest.mark.parametrize(
    "options",
    [{}, {"ties": "member"}, {"rank": "dense"}, {"order": ("desc", "asc")}, {"audit": 10}],
    ids=str,
)
def test_what_is_made_anew_expires_with_the_board(
    options: Any, one: Octavo[Sync], prefix: str, servers: Servers
) -> None:
    board = one.leaderboard("x", tag=TAG, keep="last", **options)

    def score(n: int) -> Any:
        return (n, n) if "order" in options else n

    board.submit("ada", score(1))
    board.expire(1000)
    base = layout(prefix, "x").scores.decode().removesuffix("scores")

    def check() -> None:
        with raw(servers.get("embedded").node_of("")) as client:
            there = [key for key in client.keys(f"{base}*") if not key.endswith(b":audit")]
            assert len(there) >= 2
            assert {key: client.ttl(key) > 0 for key in there} == dict.fromkeys(there, True)

    board.submit("ada", score(2))  # the only one, elsewhere
    check()
    board.annotate("ada", "red")
    check()
    board.remove("ada")
    board.submit("bob", score(1))
    check()
    board.remove("bob")
    board.submit("cyd", score(1), data="blue")
    check()
    board.trim(0)
    board.submit_many({"ada": score(1), "bob": score(2)}, data={"ada": "red"})
    check()

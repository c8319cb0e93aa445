"""What a leaderboard does, on every face and every kind of server."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from octavo import BatchError, PrecisionLost
from octavo.leaderboards import Bin, Entry, Submission
from octavo.leaderboards.ranking import RANK_METHODS
from tests.leaderboards.cases import prepare
from tests.leaderboards.model import Model

if TYPE_CHECKING:
    from octavo import Octavo, Sync
    from octavo.leaderboards import Keep, Order, RankMethod, Ties

NASTY = (0.1 + 0.2, -0.0, 2**53, -(2**53), 5e-324, 2.2250738585072014e-308, 1.7e308, 1 / 3, 1e17)


def names(entries: list[Entry]) -> list[str]:
    return [entry.member for entry in entries]


def ranks(entries: list[Entry]) -> list[float]:
    return [entry.rank for entry in entries]


def test_a_submission_says_where_the_member_stood_and_stands(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x")
    assert board.submit("ada", 10) == Submission("ada", True, 10, None, 1, None, True)
    assert board.submit("bob", 20) == Submission("bob", True, 20, None, 1, None, True)
    assert board.submit("ada", 30) == Submission("ada", True, 30, 10, 1, 2, True)
    assert board.submit("ada", 5) == Submission("ada", False, 30, 30, 1, 1, False)


@pytest.mark.parametrize(
    ("keep", "scores"),
    [
        ("best", [5, 7, 7, 7]),
        ("last", [5, 7, 7, 2]),
        ("sum", [5, 12, 19, 21]),
        ("first", [5, 5, 5, 5]),
    ],
)
def test_the_policy_says_which_score_counts(
    keep: Keep, scores: list[float], db: Octavo[Sync]
) -> None:
    board = db.leaderboard("x", keep=keep)
    assert [board.submit("ada", score).score for score in (5, 7, 7, 2)] == scores
    assert board.score("ada") == scores[-1]


def test_on_an_ascending_board_lower_is_better(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", order="asc")
    board.submit_many({"ada": 3, "bob": -1, "cyd": 2})
    assert names(board.top()) == ["bob", "cyd", "ada"]
    assert board.submit("ada", 1).is_best
    assert not board.submit("ada", 2).accepted
    assert names(board.between_scores(1, 2)) == ["ada", "cyd"]
    assert board.score_at(100) == -1


@pytest.mark.parametrize(
    ("rank", "expected"),
    [
        ("competition", [1, 2, 2, 4]),
        ("dense", [1, 2, 2, 3]),
        ("ordinal", [1, 2, 3, 4]),
        ("modified", [1, 3, 3, 4]),
        ("fractional", [1, 2.5, 2.5, 4]),
    ],
)
def test_equal_scores_are_ranked_by_the_method(
    rank: RankMethod, expected: list[float], db: Octavo[Sync]
) -> None:
    board = db.leaderboard("x", rank=rank)
    submissions = board.submit_many({"ada": 30, "bob": 20, "cyd": 20, "dot": 10})
    assert submissions[-1].rank == expected[-1]
    assert ranks(board.top()) == expected
    assert [board.rank(member) for member in ("ada", "bob", "cyd", "dot")] == expected
    assert ranks(board.ranks_of(["dot", "cyd", "bob"])) == expected[1:]
    assert [entry.rank for n in (1, 2, 3, 4) for entry in board.page(n, size=1)] == expected
    assert ranks(board.between_ranks(2, 3)) == [rank for rank in expected if 2 <= rank <= 3]
    assert [entry.rank for entry in board] == expected


@pytest.mark.parametrize(
    ("ties", "expected"),
    [("earliest", "cab"), ("latest", "bac"), ("member", "abc")],
)
def test_ties_are_broken_by_who_reached_the_score_when(
    ties: Ties, expected: str, db: Octavo[Sync]
) -> None:
    board = db.leaderboard("x", ties=ties, keep="last")
    for member in "bcab":
        board.submit(member, 1 if member == "b" else 7)
    board.submit("b", 7)
    board.submit("c", 7)  # it has reached that score already
    assert "".join(names(board.top())) == expected


def test_many_submissions_act_one_after_another(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", keep="sum")
    first, second, third = board.submit_many([("ada", 1), ("bob", 2), ("ada", 4)])
    assert (first.rank, second.rank) == (1, 1)
    assert third == Submission("ada", True, 5, 1, 1, 2, True)
    assert board.submit_many({}) == []


def test_many_submissions_are_made_all_or_none(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", keep="sum")
    board.submit("ada", 2**53)
    with pytest.raises(PrecisionLost):
        board.submit_many([("bob", 1), ("ada", 1)])
    assert names(board.top()) == ["ada"]


@pytest.mark.parametrize("keep", ["best", "first", "last", "sum"])
def test_an_increment_adds_whatever_the_policy(keep: Keep, db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", keep=keep)
    assert board.increment("ada").score == 1
    assert board.increment("ada", -3.5) == Submission("ada", True, -2.5, 1, 1, 1, False)
    assert board.increment("ada", 0).accepted
    assert board.score("ada") == -2.5


def test_data_stands_beside_the_score_that_brought_it(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x")
    board.submit("ada", 10, data={"car": "red"})
    board.submit("ada", 5, data={"car": "not accepted"})
    assert board.top() == [Entry("ada", 10, 1, {"car": "red"})]
    board.submit("ada", 20)
    assert board.entry("ada") == Entry("ada", 20, 1, {"car": "red"})
    board.submit_many({"ada": 30, "bob": 1}, data={"ada": 0})
    assert [entry.data for entry in board] == [0, None]
    board.remove("ada")
    board.submit("ada", 1)
    assert board.ranks_of(["ada"])[0].data is None


@pytest.mark.parametrize(
    "data",
    [0, False, "", [], {}, -1.5, "ü\0", b"\xff\0", [1, [None]], datetime(2026, 1, 2, tzinfo=UTC)],
    ids=repr,
)
def test_data_comes_back_as_it_was(data: object, db: Octavo[Sync]) -> None:
    board = db.leaderboard("x")
    board.submit("ada", 1, data=data)
    entry = board.entry("ada")
    assert entry
    assert entry.data == data
    assert type(entry.data) is type(data)


def test_annotating_replaces_or_forgets_data_and_touches_no_rank(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x")
    board.submit_many({"ada": 1, "bob": 1})
    assert board.annotate("bob", "new") is True
    assert board.top() == [Entry("ada", 1, 1), Entry("bob", 1, 1, "new")]
    assert board.annotate("bob", None) is True
    assert board.annotate("nobody", "x") is False
    assert [entry.data for entry in board] == [None, None]


def test_members_are_removed_with_all_they_have(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", rank="dense")
    prepare(board)
    assert board.remove("ada", "nobody", "ada", "bob") == 2
    assert board.top() == [Entry("cyd", 10, 1)]
    assert board.remove("ada") == 0


@pytest.mark.parametrize("order", ["desc", "asc"])
def test_a_range_of_scores_is_removed_with_all_that_members_have(
    order: Order, db: Octavo[Sync]
) -> None:
    board = db.leaderboard("x", order=order, rank="dense")
    board.submit_many({"ada": 3, "bob": 2, "cyd": 2, "dot": 1}, data={"bob": "data"})
    assert board.remove_between_scores(1.5, 2) == 2
    assert sorted(names(board.top())) == ["ada", "dot"]
    assert sorted(ranks(board.top())) == [1, 2]
    board.submit("bob", 3)
    assert board.entry("bob") == Entry("bob", 3, 1 if order == "desc" else 2)
    assert board.remove_between_scores(-math.inf, math.inf) == 3
    assert board.count() == 0


def test_trimming_keeps_the_best(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", rank="dense")
    board.submit_many({"ada": 3, "bob": 2, "cyd": 2, "dot": 1})
    assert board.trim(4) == 0
    assert board.trim(2) == 2
    assert names(board.top()) == ["ada", "bob"]
    assert board.submit("eve", 1).rank == 3
    assert board.trim(0) == 3
    assert board.count() == 0


def test_clearing_says_whether_there_was_a_board(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x")
    assert board.clear() is False
    prepare(board)
    assert board.clear() is True
    assert (board.count(), board.top()) == (0, [])


def test_of_an_unknown_member_there_is_nothing(db: Octavo[Sync]) -> None:
    for existing in (False, True):
        board = db.leaderboard("x")
        if existing:
            prepare(board)
        assert board.rank("nobody") is None
        assert board.score("nobody") is None
        assert board.entry("nobody") is None
        assert board.percentile("nobody") is None
        assert board.around("nobody") == []
        assert board.ranks_of(["nobody"]) == []
        assert board.remove("nobody") == 0


def test_an_empty_board_is_empty(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x")
    assert (board.count(), board.count(0, 1), board.score_at(50), board.trim(0)) == (0, 0, None, 0)
    assert board.top() == board.page(1) == board.between_ranks(1, 9) == list(board) == []
    assert board.between_scores(-math.inf, math.inf) == []
    assert board.histogram() == []
    assert board.histogram([0, 1, 2]) == [Bin(0, 1, 0), Bin(1, 2, 0)]
    assert board.scan().cursor is None


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("mean", [12.5, 50, 87.5]),
        ("weak", [25, 75, 100]),
        ("strict", [0, 25, 75]),
        ("rank", [25, 62.5, 100]),
    ],
)
@pytest.mark.parametrize("rank", ["competition", "dense"])
def test_a_percentile_counts_equal_scores_by_its_kind(
    kind: Any, expected: list[float], rank: RankMethod, db: Octavo[Sync]
) -> None:
    board = db.leaderboard("x", rank=rank)
    board.submit_many({"low": 1, "ada": 2, "bob": 2, "top": 3})
    assert [board.percentile(member, kind=kind) for member in ("low", "ada", "top")] == expected


@pytest.mark.parametrize("rank", RANK_METHODS)
def test_a_member_is_on_a_page_also_among_equals(rank: RankMethod, db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", rank=rank, page_size=2)
    board.submit_many(dict.fromkeys("abcde", 1))
    assert [board.page_of(member) for member in "abcdef"] == [1, 1, 2, 2, 3, None]
    assert board.page_of("e", size=4) == 2


def test_pages_follow_each_other(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", page_size=2)
    board.submit_many(dict.fromkeys("abcde", 1))
    assert ["".join(names(board.page(n))) for n in (1, 2, 3, 4)] == ["ab", "cd", "e", ""]
    assert names(board.page(2, size=3)) == ["d", "e"]
    assert names(board.top(3)) == ["a", "b", "c"]


def test_the_window_around_a_member_slides_at_the_ends(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x")
    board.submit_many({member: -place for place, member in enumerate("abcdefg")})
    windows = ["".join(names(board.around(member, 2))) for member in "abcdefg"]
    assert windows == ["abcde", "abcde", "abcde", "bcdef", "cdefg", "cdefg", "cdefg"]
    assert names(board.around("d", 0)) == ["d"]
    assert ranks(board.around("g", 1)) == [5, 6, 7]
    assert len(board.around("d", 50)) == 7


@pytest.mark.parametrize("rank", RANK_METHODS)
def test_entries_between_ranks_are_those_of_these_ranks(rank: RankMethod, db: Octavo[Sync]) -> None:
    board, model = db.leaderboard("x", rank=rank), Model(rank=rank)
    for member, score in zip("abcdefghi", (9, 8, 8, 8, 5, 5, 3, 2, 2), strict=True):
        board.submit(member, score)
        model.submit(member, score)
    for first, last, limit in ((1, 1, None), (2, 3, None), (3, 4, 1), (3, 6, 3), (8, 99, 2)):
        expected = model.between_ranks(first, last, limit)
        assert board.between_ranks(first, last, limit=limit) == expected


def test_both_bounds_of_scores_are_included(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x")
    board.submit_many({"a": -1, "b": 0.1 + 0.2, "c": 1, "d": 1, "e": 2})
    assert names(board.between_scores(0.1 + 0.2, 1)) == ["c", "d", "b"]
    assert names(board.between_scores(0.3, 1)) == ["c", "d", "b"]
    assert names(board.between_scores(-math.inf, 0.3)) == ["a"]
    assert names(board.between_scores(-math.inf, math.inf, limit=2)) == ["e", "c"]
    assert [board.count(), board.count(1), board.count(0, 1), board.count(5, 6)] == [5, 3, 3, 0]


def test_a_cursor_is_a_place_that_no_change_moves(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", ties="member")
    board.submit_many(dict.fromkeys(("a", "ab", "b", "c"), 1))
    page = board.scan(limit=1)
    board.remove("a")
    board.submit("zoe", 2)
    assert names(page.entries) == ["a"]
    rest = board.scan(page.cursor, limit=2)
    assert names(rest.entries) == ["ab", "b"]
    last = board.scan(rest.cursor, limit=2)
    assert (names(last.entries), last.cursor) == (["c"], None)
    assert ranks(last.entries) == [2]


def test_iterating_gives_every_entry_best_first(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", rank="fractional")
    board.submit_many({f"m{i}": i // 10 for i in range(1001)}, data={"m5": "five"})
    entries = list(board)
    assert len(entries) == len({entry.member for entry in entries}) == 1001
    assert entries == sorted(entries, key=lambda entry: -entry.score)
    assert (entries[0].rank, entries[1].rank, entries[-1].rank) == (1, 6.5, 996.5)
    assert [entry.data for entry in entries if entry.data] == ["five"]


def test_a_score_at_a_percentile_is_interpolated(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x")
    board.submit_many({f"m{i}": score for i, score in enumerate((10, 20, 40, 80))})
    assert [board.score_at(part) for part in (0, 50, 100)] == [10, 30, 80]
    assert board.score_at(75) == pytest.approx(50)
    board.submit("m9", 1000)
    assert [board.score_at(part) for part in (25, 50, 75)] == [20, 40, 80]


def test_a_score_at_a_percentile_is_exact_where_a_member_stands(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x")
    board.submit_many({f"m{i}": 0.1 * i for i in range(101)})
    assert [board.score_at(i) for i in range(101)] == [0.1 * i for i in range(101)]


def test_a_histogram_counts_scores_as_numpy_does(db: Octavo[Sync]) -> None:
    for order in ("desc", "asc"):
        board = db.leaderboard(order, order=order)
        board.submit_many({f"m{i}": score for i, score in enumerate((0, 1, 1, 2, 3, 4))})
        assert board.histogram([0, 1, 3, 4]) == [Bin(0, 1, 1), Bin(1, 3, 3), Bin(3, 4, 2)]
        assert board.histogram([-math.inf, 1.5, math.inf])[0].count == 3
        assert board.histogram([10, 20]) == [Bin(10, 20, 0)]
        assert board.histogram(2) == [Bin(0, 2, 3), Bin(2, 4, 3)]


def test_bins_hold_every_member_once_however_close_the_scores(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x")
    score = -1.0
    for i in range(20):
        board.submit(f"m{i}", score)
        score = math.nextafter(score, 0)
    for bins in (1, 7, 26, 100):
        assert sum(one.count for one in board.histogram(bins)) == 20


def test_scores_of_several_columns_are_compared_one_after_another(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", order=("desc", "asc", "desc"))
    board.submit_many({"ada": (5, 9.5, 0), "bob": (5, -2, 0), "cyd": (6, 100, 0)})
    board.submit("dot", (5, -2, 0))
    assert [(entry.member, entry.rank, entry.scores) for entry in board] == [
        ("cyd", 1, (6, 100, 0)),
        ("bob", 2, (5, -2, 0)),
        ("dot", 2, (5, -2, 0)),
        ("ada", 4, (5, 9.5, 0)),
    ]
    better = board.submit("ada", (5, -2, 1))
    assert (better.rank, better.previous_rank, better.is_best) == (2, 4, True)
    assert (better.scores, better.previous_scores) == ((5, -2, 1), (5, 9.5, 0))
    assert not board.submit("ada", (5, -1, 7)).accepted
    assert board.score("ada") == 5
    assert board.between_ranks(3, 4, limit=1)[0].rank == 3


def test_columns_are_summed_one_by_one(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", order=("desc", "asc"), keep="sum", ties="member")
    board.submit("ada", (1, 0.1))
    assert board.increment("ada", (-1, 0.2)).scores == (0, 0.1 + 0.2)


def test_no_score_loses_a_digit(db: Octavo[Sync]) -> None:
    orders: tuple[Any, ...] = ("desc", ("asc", "desc"))
    for order in orders:
        board = db.leaderboard(f"x {order}", order=order)
        for score in NASTY:
            given = score if order == "desc" else (score, score)
            submission = board.submit(str(score), given)
            entry = board.entry(str(score))
            assert entry
            for found in (submission.score, entry.score, *submission.scores, *entry.scores):
                assert found == score
                assert not (found == 0 and math.copysign(1, found) < 0)
        assert len(board.between_scores(5e-324, 5e-324)) == 1
        assert board.count(-(2**53), -0.0) == 2


def test_negative_zero_ties_with_zero(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", rank="dense", order=("desc", "desc"))
    board.submit_many([("ada", (-0.0, 0)), ("bob", (0, -0.0))])
    assert [(entry.rank, entry.scores) for entry in board] == [(1, (0, 0)), (1, (0, 0))]


ODD = ("{a}", "}{", "50%", "a:b", "ключ", "🏆", "nul\0", "\r\n", " ", "n" * 3000, "scores", "%7B")


def test_any_text_is_a_name(db: Octavo[Sync]) -> None:
    for ties in ("earliest", "member"):
        board = db.leaderboard("x", ties=ties)
        board.submit_many(dict.fromkeys(ODD, 1), data={member: member for member in ODD})
        assert {entry.member: entry.data for entry in board} == {member: member for member in ODD}
        assert board.remove(*ODD) == len(ODD)
        board.clear()


def test_boards_of_different_names_and_tags_are_different(db: Octavo[Sync]) -> None:
    boards = [db.leaderboard(name) for name in ODD]
    boards += [db.leaderboard(name, tag="t") for name in ODD]
    boards += [db.leaderboard("t", tag=tag) for tag in ODD]
    for number, board in enumerate(boards):
        board.submit("ada", number)
    assert [board.score("ada") for board in boards] == [*range(len(boards))]


def test_boards_of_one_tag_take_part_in_one_atomic_batch(db: Octavo[Sync]) -> None:
    with db.batch(atomic=True) as batch:
        day = batch.leaderboard("day", tag="ada").submit("ada", 1)
        week = batch.leaderboard("week", tag="ada", once=True).submit_many({"ada": 2, "bob": 1})
        rank = batch.leaderboard("week", tag="ada").rank("bob")
    assert (day.result().rank, week.result()[1].rank, rank.result()) == (1, 2, 2)


def test_boards_of_different_slots_are_refused_in_an_atomic_batch(db: Octavo[Sync]) -> None:
    scope = db.batch(atomic=True)
    batch = scope.__enter__()
    for name in "abcdefgh":
        batch.leaderboard(name).submit("ada", 1)
    with pytest.raises(ValueError, match="tag"):
        scope.__exit__(None, None, None)
    assert db.leaderboard("a").count() == 0


def test_a_batch_reaches_boards_everywhere_and_reports_each_failure(db: Octavo[Sync]) -> None:
    db.leaderboard("b", order="asc").submit("ada", 1)
    scope = db.batch()
    batch = scope.__enter__()
    results = [batch.leaderboard(name).submit("ada", 2) for name in "abcdefgh"]
    with pytest.raises(BatchError) as raised:
        scope.__exit__(None, None, None)
    assert len(raised.value.exceptions) == 1
    assert [result.exception() is None for result in results].count(True) == 7
    assert results[0].result().rank == 1


@pytest.mark.parametrize("rank", RANK_METHODS)
def test_a_season_ends_as_the_model_says(rank: RankMethod, db: Octavo[Sync]) -> None:
    dice = random.Random(rank)
    order = dice.choice(["asc", "desc"])
    options: Any = {"order": order, "keep": "sum", "rank": rank, "ties": "latest"}
    board, model = db.leaderboard("x", **options), Model(**options)
    for _ in range(40):
        member, score = dice.choice("abcdefgh"), dice.choice([0, 1, 1, 2, -1, 0.1])
        assert board.submit(member, score) == model.submit(member, score)
        if dice.random() < 0.1:
            assert board.remove(member) == model.remove(member)
    assert list(board) == model.entries()

"""The methods of the adapter in agoragames' shape, in both their forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

from octavo.integrations.agoragames import (
    CompetitionRankingLeaderboard,
    Leaderboard,
    TieRankingLeaderboard,
)

if TYPE_CHECKING:
    from octavo import Async, Octavo, Sync

Leader = dict[str, Any]


def made(s: Octavo[Sync], a: Octavo[Async]) -> None:
    assert_type(Leaderboard(s, "x", page_size=10, order="asc", tag="t").order, str)  # error
    assert_type(TieRankingLeaderboard(s, "x", order=Leaderboard.ASC), TieRankingLeaderboard)
    assert_type(CompetitionRankingLeaderboard(s, "x").leaderboard_name, str)
    Leaderboard(a, "x")  # error
    Leaderboard(s, "x", order="ASC")  # error
    Leaderboard(s, "x", host="localhost")  # error


def changed(board: Leaderboard) -> None:
    board.rank_member("ada", 1)
    board.rank_member("ada", 1.5, {"level": 3})
    board.rank_member_in("x", "ada", score=1, member_data="red")
    board.rank_member_across(["x", "y"], "ada", 1)
    board.rank_member_if(lambda _b, _m, now, new, _d, _o: now is None or now < new, "ada", 1)
    board.rank_members(["ada", 1, "bob", 2])
    board.change_score_for("ada", -1.5)
    board.update_member_data("ada", [1])
    board.remove_member_data("ada")
    board.remove_member("ada")
    board.remove_members_in_score_range(1, 2.5)
    assert_type(board.remove_members_outside_rank(10), int)
    board.delete_leaderboard()
    board.delete_leaderboard_named("x")
    board.expire_leaderboard(60)
    board.expire_leaderboard_at(1_800_000_000)
    board.merge_leaderboards("z", ["y"], "MAX")
    board.intersect_leaderboards("z", ["y"], aggregate="MIN")
    board.rank_member("ada")  # error
    board.rank_member(7, 1)  # error
    board.rank_member("x", "ada", 1)  # error
    board.merge_leaderboards("z", ["y"], "AVG")  # error


def asked(board: Leaderboard) -> None:
    assert_type(board.rank_for("ada"), int | None)
    assert_type(board.rank_for_in("x", "ada"), int | None)
    assert_type(board.score_for("ada"), float | None)
    assert_type(board.check_member(member="ada"), bool)
    assert_type(board.score_and_rank_for("ada"), Leader)
    assert_type(board.page_for("ada", page_size=10), int)
    assert_type(board.percentile_for("ada"), int | None)
    assert_type(board.score_for_percentile(75), float | None)
    assert_type(board.total_members(), int)
    assert_type(board.total_pages(10), int)
    assert_type(board.total_members_in_score_range(1, 2), int)
    assert_type(board.total_scores(), float)
    assert_type(board.members_data_for(["ada"]), list[Any])
    board.rank_for()  # error
    board.rank_for("x", "ada")  # error


def listed(board: Leaderboard) -> None:
    assert_type(board.leaders(1, page_size=10, with_member_data=True), list[Leader])
    assert_type(board.leaders_in("x", 1, members_only=True), list[Leader])
    assert_type(board.all_leaders(sort_by="score"), list[Leader])
    assert_type(board.members_from_score_range(1, 2), list[Leader])
    assert_type(board.members_from_rank_range(1, 2), list[Leader])
    assert_type(board.top(3), list[Leader])
    assert_type(board.member_at(3), Leader | None)
    assert_type(board.around_me("ada", page_size=5), list[Leader])
    assert_type(board.ranked_in_list(["ada"], include_missing=False), list[Leader])
    board.leaders(1, with_members_data=True)  # error: mypy pyright pyrefly
    board.around_me(page_size=5)  # error

"""The adapter answers as agoragames' leaderboard does, except where it deliberately does not.

What the peer answers stands in `agoragames.json`; `record_agoragames.py` says where it is from.
"""

from __future__ import annotations

import json
import math
import re
import time
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo import ConfigMismatch
from octavo.integrations import agoragames
from octavo.integrations.agoragames import Leaderboard, TieRankingLeaderboard
from octavo.testing.waiting import wait_until
from tests.integrations.record_agoragames import FILE, PAGE_SIZE, played

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from tests.fix_servers import Server, Servers

RECORDED = json.loads(FILE.read_text(encoding="utf-8"))
NUMBER = re.compile(r"m(\d\d)")


@pytest.fixture
def one(servers: Servers, prefix: str) -> Iterator[Octavo[Sync]]:
    """A client that is not asked of every server."""
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        yield db


@pytest.fixture
def client(server: Server, prefix: str) -> Iterator[Octavo[Sync]]:
    """A sync client, of every server."""
    with octavo.connect(server.url, prefix=prefix) as db:
        yield db


def make(db: Octavo[Sync], recorded: dict[str, Any]) -> Leaderboard:
    """Return the leaderboard of a history; its boards have a tag, so that they can be merged."""
    kind: type[Leaderboard] = getattr(agoragames, recorded["class"])
    return kind(db, "main", order=recorded["order"], page_size=PAGE_SIZE, tag="history")


def answer(board: Leaderboard, method: str, arguments: list[Any], options: Any) -> Any:
    """Return what a call answers, in the form in which it was recorded."""
    try:
        return getattr(board, method)(*played(arguments), **options)
    except (TypeError, ValueError) as error:
        return {"raises": type(error).__name__}


def mirrored(value: Any) -> Any:
    """Return recorded things with members named so that they sort the other way."""
    if isinstance(value, str):
        return NUMBER.sub(lambda found: f"m{99 - int(found[1]):02}", value)
    if isinstance(value, list):
        return [mirrored(each) for each in value]
    return (
        {key: mirrored(each) for key, each in value.items()} if isinstance(value, dict) else value
    )


def same(ours: Any, theirs: Any) -> bool:
    """Whether answers are equal; interpolated scores may differ in their last digit."""
    if isinstance(ours, float) and isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=1e-14)
    return bool(ours == theirs)


def test_every_method_of_the_peer_is_there_with_its_arguments(one: Octavo[Sync]) -> None:
    board = Leaderboard(one, "x")
    ours = {name: [*signature(getattr(board, name)).parameters] for name in RECORDED["methods"]}
    assert ours == RECORDED["methods"]


@pytest.mark.parametrize("number", range(len(RECORDED["alike"])))
def test_a_history_is_answered_as_the_peer_answers_it(number: int, one: Octavo[Sync]) -> None:
    recorded = RECORDED["alike"][number]
    # Among equals the peer's descending boards stand by name backwards: the first difference.
    named = mirrored if recorded["order"] == "desc" else lambda value: value
    board = make(one, recorded)
    for method, arguments, options, theirs in recorded["calls"]:
        ours = answer(board, method, named(arguments), options)
        assert same(ours, named(theirs)), (method, arguments, options)


MISSING = {"member": "eve", "rank": None, "score": None}
ADA = {"member": "ada", "rank": 1, "score": 1}
VALUE_ERROR, TYPE_ERROR = {"raises": "ValueError"}, {"raises": "TypeError"}

# What octavo answers to the last call of a history, where the peer answers otherwise.
OURS: dict[str, Any] = {
    "equal scores stand by name, also on descending boards": [
        ADA,
        {"member": "bob", "rank": 2, "score": 1},
    ],
    "data are what was given": {"level": 3},
    "data may be 0": 0,
    "data may be empty": "",
    "data are of members who are on the board": None,
    "data go with a range of scores": None,
    "data go with who is outside a rank": None,
    "data stand beside their member when others are missing": [
        {"member": "bob", "rank": 1, "score": 1, "member_data": "blue"}
    ],
    "competition ranks stand beside their member when others are missing": [
        MISSING,
        {"member": "bob", "rank": 2, "score": 1},
    ],
    "who is missing has no competition rank": None,
    "who is missing sorts last": [ADA, MISSING],
    "who is missing sorts last on dense boards": [ADA, MISSING],
    "only members are listed if asked for": [{"member": "ada"}],
    "a change by 0 leaves a dense rank": 1,
    "a score of 0 leaves no dense rank behind": 1,
    "a trim leaves no dense rank behind": 2,
    "data come along in a merge": "red",
    "merged boards have dense ranks": 1,
    "a dense board is ranked across": 1,
    "a change is to the score on the board named": 1,
    "the sum is of the board named": 1,
    "equal scores have one percentile": 0,
    "equal scores have one percentile on ascending boards": 100,
    "percentiles are rounded once": 55,
    "pages are as long as the board's": 2,
    "the top 0 are nobody": [],
    "a page has leaders": VALUE_ERROR,
    "bounds do not cross": VALUE_ERROR,
    "options exist": TYPE_ERROR,
    "members are text": TYPE_ERROR,
    "scores are numbers": TYPE_ERROR,
    "scores are finite": VALUE_ERROR,
}


def test_every_difference_recorded_is_known() -> None:
    assert OURS.keys() == RECORDED["different"].keys()


@pytest.mark.parametrize("name", OURS)
def test_a_difference_is_deliberate(name: str, one: Octavo[Sync]) -> None:
    recorded = RECORDED["different"][name]
    board = make(one, recorded)
    ours = [answer(board, *call[:3]) for call in recorded["calls"]]
    assert ours[-1] == OURS[name] != recorded["calls"][-1][3]


def test_boards_are_ranked_around_a_member_and_merged_on_all_servers(client: Octavo[Sync]) -> None:
    make = partial(TieRankingLeaderboard, client, tag="league", page_size=3)
    north, south = make("north"), make("south")
    north.rank_members(["ada", 3, "bob", 3, "cyd", 2, "dot", 1])
    south.rank_member_across(["north", "south"], "eve", 0, {"level": 3})
    assert [(row["member"], row["rank"]) for row in north.around_me("dot")] == [
        ("cyd", 2),
        ("dot", 3),
        ("eve", 4),
    ]
    assert north.page_for("eve") == 2
    assert (north.percentile_for("ada"), north.percentile_for("dot")) == (60, 20)
    north.merge_leaderboards("all", ["south"], "MAX")
    assert north.total_members_in("all") == 5
    north.intersect_leaderboards("both", ["south"])
    assert north.all_leaders_from("both", with_member_data=True) == [
        {"member": "eve", "rank": 1, "score": 0, "member_data": {"level": 3}}
    ]


def test_a_leaderboard_expires_with_its_data_on_all_servers(client: Octavo[Sync]) -> None:
    soon, past, later = boards = [Leaderboard(client, name) for name in ("soon", "past", "later")]
    soon.rank_member_across(["soon", "past", "later"], "ada", 1, "red")
    soon.expire_leaderboard(0.05)
    past.expire_leaderboard_at(time.time() - 1)
    later.expire_leaderboard(1000)
    wait_until(lambda: soon.total_members() + past.total_members() == 0, "boards to expire")
    soon.rank_member_across(["soon", "past"], "ada", 1)
    assert [board.member_data_for("ada") for board in boards] == [None, None, "red"]


# Each in one round trip, where the peer has up to two and one for each leader.
READS: list[tuple[Any, ...]] = [
    ("leaders", 2),
    ("around_me", "m30"),
    ("ranked_in_list", ["m10", "m20", "nobody"]),
    ("members_from_rank_range", 4, 9),
    ("members_from_score_range", 10, 20),
    ("top", 3),
    ("member_at", 7),
    ("score_and_rank_for", "m10"),
    ("page_for", "m10"),
    ("percentile_for", "m30"),
    ("score_for_percentile", 30),
    ("members_data_for", ["m10", "m20"]),
]


@pytest.mark.parametrize("kind", ["Leaderboard", "CompetitionRankingLeaderboard"])
def test_a_question_is_one_round_trip(kind: str, proxy: WireProxy, prefix: str) -> None:
    with octavo.connect(proxy.url, prefix=prefix) as db:
        board = getattr(agoragames, kind)(db, "x", page_size=5)
        board.rank_members([each for i in range(10, 50) for each in (f"m{i}", i)])
        for method, *arguments in READS:
            proxy.reset()
            assert getattr(board, method)(*arguments)
            assert proxy.round_trips == 1, method


def test_any_range_of_places_is_found_on_a_page(one: Octavo[Sync]) -> None:
    board = agoragames.CompetitionRankingLeaderboard(one, "x", order="asc")
    board.rank_members([each for i in range(40) for each in (f"m{i:02}", i // 7)])
    for first in range(1, 45, 4):
        for last in (1, 2, 3, 17, 40, 41, 10**9):
            places = [row["member"] for row in board.members_from_rank_range(first, last)]
            assert places == [f"m{i:02}" for i in range(first - 1, min(last, 40))]


def test_a_subclass_changes_both_forms_of_a_method_and_the_keys_of_leaders(
    one: Octavo[Sync],
) -> None:
    class Doubled(Leaderboard):
        MEMBER_KEY = "name"

        def score_for_in(self, leaderboard_name: str, member: str) -> float | None:
            return 2 * (super().score_for_in(leaderboard_name, member) or 0)

    board = Doubled(one, "x")
    board.rank_member("ada", 1)
    assert board.score_for("ada") == board.score_for_in("x", "ada") == 2
    assert board.leaders(1) == [{"name": "ada", "rank": 1, "score": 1}]


def test_a_board_may_be_asked_by_octavo_itself(one: Octavo[Sync]) -> None:
    board = Leaderboard(one, "x", ties="earliest")
    board.rank_members(["bob", 1, "ada", 1])
    assert [entry.member for entry in one.leaderboard("x").top()] == ["bob", "ada"]
    assert [row["member"] for row in board.leaders(1)] == ["bob", "ada"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda db: Leaderboard(db, ""), "name"),
        (lambda db: Leaderboard(db, "x", order="ASC"), "order"),  # type: ignore[arg-type]
        (lambda db: Leaderboard(db, "x", ties="random"), "ties"),  # type: ignore[arg-type]
        (lambda db: Leaderboard(db, "x").total_pages(0), "page_size"),
        (lambda db: Leaderboard(db, "x").leaders(1, sort_by="name"), "sort_by"),
        (lambda db: Leaderboard(db, "x").rank_members(["ada", 1, "bob"]), "members_and_scores"),
        (lambda db: Leaderboard(db, "x").merge_leaderboards("y", [], "AVG"), "aggregate"),  # type: ignore[arg-type]
    ],
)
def test_what_is_wrong_is_refused_by_name(call: Any, message: str, one: Octavo[Sync]) -> None:
    with pytest.raises(ValueError, match=message):
        call(one)


def test_a_page_size_below_1_is_the_default(one: Octavo[Sync]) -> None:
    assert Leaderboard(one, "x", page_size=0).page_size == 25


def test_a_board_keeps_the_order_it_was_made_with(one: Octavo[Sync]) -> None:
    Leaderboard(one, "x").rank_member("ada", 1)
    with pytest.raises(ConfigMismatch):
        Leaderboard(one, "x", order="asc").rank_for("ada")
    with pytest.raises(AttributeError):
        Leaderboard(one, "x").order = "asc"  # type: ignore[misc]

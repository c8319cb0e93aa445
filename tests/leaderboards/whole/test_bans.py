"""Bans, also in the middle of a match."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from octavo import SubmissionRefused
from octavo.leaderboards import Events, Window
from tests.leaderboards.whole.cases import DAY, OPTIONS
from tests.leaderboards.whole.hands import MEMBERS

if TYPE_CHECKING:
    from octavo import Octavo, Sync
    from tests.fix_servers import Servers
    from tests.leaderboards.whole.conftest import Hands


def test_the_banned_leave_all_tables_and_come_back_as_they_were(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", **OPTIONS)
    board.submit_many({"ada": 10, "bob": 10, "cyd": 5}, data={"ada": "x"})
    tables = [board, board.period(DAY), board.window(60)]
    before = [list(table) for table in tables]
    assert board.ban("ada", "ada", "nobody") == 2
    assert board.ban("ada") == 0
    assert board.banned() == ["ada", "nobody"]
    for table in tables:
        assert [entry.member for entry in table] == ["bob", "cyd"]
        assert table.rank("bob") == 1
    with pytest.raises(SubmissionRefused) as raised:
        board.submit("ada", 99)
    assert raised.value.refusals == [("ada", "banned")]
    assert board.unban("ada", "ada", "bob") == 1
    assert [list(table) for table in tables] == before
    assert board.submit("ada", 99).accepted


def test_a_plain_board_has_bans_too(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x")
    board.submit_many({"ada": 10, "bob": 5}, data={"ada": "x"})
    before = list(board)
    assert board.ban("ada") == 1
    for submit in (board.submit, board.increment, board.record):
        with pytest.raises(SubmissionRefused):
            submit("ada", 11)
    assert board.submit("bob", 6).rank == 1
    board.submit("bob", 5)
    assert board.unban("ada") == 1
    assert next(iter(board)) == before[0]
    assert board.submit("ada", 11).rank == 1


def test_one_who_was_removed_comes_back_without_a_score(db: Octavo[Sync]) -> None:
    for name, periods in (("plain", ()), ("whole", (DAY, Window(60)))):
        board = db.leaderboard(name, periods=periods)
        board.submit_many({"ada": 10, "bob": 5})
        board.ban("ada")
        board.remove("ada")
        board.unban("ada")
        assert [entry.member for entry in board] == ["bob"]


def test_what_is_undone_during_a_ban_does_not_end_it(one: Octavo[Sync]) -> None:
    board = one.leaderboard("x", periods=(DAY, Window(60)), audit=10)
    ids = [str(board.submit("ada", score).id) for score in (10, 20, 30)]
    board.ban("ada")
    assert board.undo(ids[2])
    assert [table.count() for table in (board, board.period(DAY), board.window(60))] == [0, 0, 0]
    board.unban("ada")
    assert [table.score("ada") for table in (board, board.period(DAY), board.window(60))] == [
        20,
        20,
        20,
    ]


def test_who_is_banned_in_secret_is_answered_as_if_nothing_were(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", keep="sum", **OPTIONS)
    board.submit_many({"ada": 10, "bob": 12})
    assert board.ban("ada", shadow=True) == 1
    found = board.submit("ada", 5)
    assert (found.accepted, found.score, found.rank, found.previous) == (True, 15, 1, 10)
    for table in (board, board.period(DAY), board.window(60)):
        assert [entry.member for entry in table] == ["bob"]


def test_a_ban_hides_who_is_watched(one: Octavo[Sync]) -> None:
    board = one.leaderboard("x", events=Events(top=1))
    board.submit_many({"ada": 10, "bob": 12, "cyd": 14})
    board.watch("ada")
    last = board.events().newest()
    board.ban("ada")
    board.submit("bob", 20)
    board.unban("ada")
    told = [(one.kind, one.member, one.rank) for one in board.events().read(last)]
    assert [one for one in told if one[1] == "ada"] == [
        ("removed", "ada", None),
        ("changed", "ada", 3),
    ]


@pytest.mark.slow
@pytest.mark.xdist_group("races")
def test_a_ban_in_the_middle_of_a_match_keeps_what_was_before_and_nothing_of_it(
    servers: Servers, hands: Hands, one: Octavo[Sync], prefix: str
) -> None:
    """While others undo what they submitted before: no order loses a point, or makes one."""
    hands.begin("match", url=servers.get("embedded").url, prefix=prefix, board="x", steps=60)
    hands.go()
    told = hands.results()
    board = one.leaderboard("x", keep="sum", periods=DAY, audit=100_000)
    board.unban("m1")
    trail = board.audit(100_000)[::-1]
    taken = {id: member for each in told for member, _, id in each["taken"]}  # noqa: A001
    submitted = [one for one in trail if one.kind == "submitted"]
    assert {one.id: one.member for one in submitted} == taken
    undone = {id for each in told for id in each["undone"]}  # noqa: A001
    assert {one.of for one in trail if one.kind == "undo"} == undone
    assert undone
    left = Counter(member for id, member in taken.items() if id not in undone)  # noqa: A001
    assert len(left) == MEMBERS
    for table in (board, board.period(DAY)):
        assert {entry.member: entry.score for entry in table} == left
    banned, bans = False, 0
    for change in trail:
        if change.member == "m1":
            bans += change.kind == "ban"
            banned = change.kind == "ban" or (banned and change.kind != "unban")
            assert not (banned and change.kind == "submitted")
    assert bans > 3
    refused = sum(len(each["refused"]) for each in told)
    assert refused == sum(one.reason == "banned" for one in trail) > 0

"""Changes that meet others between their waves, and those that nobody finishes."""

from __future__ import annotations

import random
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from octavo.testing import faults
from tests.leaderboards.sharded.walk import Walk, board_of, check, stop_half_way

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo import Octavo, Sync
    from octavo.testing.servers import Standalone
    from tests.fix_servers import Server, Servers

import octavo

MEMBERS = ["ada", "bob", "cyd"]


@pytest.fixture
def one(servers: Servers, prefix: str) -> Iterator[Octavo[Sync]]:
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        yield db


def start(db: Octavo[Sync], dice: random.Random) -> Walk:
    board, member = board_of(db), dice.choice(MEMBERS)
    if dice.random() < 0.2:
        return Walk(db, board, "remove", member, dice=dice)
    return Walk(db, board, "submit", member, dice.randrange(40), dice=dice)


def test_changes_whose_waves_mingle_leave_an_exact_board(one: Octavo[Sync]) -> None:
    dice = random.Random(faults.run_seed())
    for _ in range(60):
        under_way = [start(one, dice) for _ in range(5)]
        under_way.append(Walk(one, board_of(one), "repair", *MEMBERS, dice=dice))
        while under_way:
            walk = dice.choice(under_way)
            walk.step()
            if walk.done:
                under_way.remove(walk)
        check(board_of(one), MEMBERS)


def test_repair_finishes_what_nobody_else_does_and_may_itself_be_overtaken(
    one: Octavo[Sync],
) -> None:
    dice = random.Random(faults.run_seed())
    for _ in range(60):
        under_way = [start(one, dice) for _ in range(6)]
        asleep: list[Walk] = []
        for _ in range(30):
            walk = dice.choice(under_way)
            if not walk.done:
                walk.step()
            if dice.random() < 0.2:
                asleep += [under_way.pop(under_way.index(walk))]
                under_way.append(start(one, dice))
        # Some are never heard of again; some wake up after all was repaired without them.
        board_of(one).repair(older_than=0)
        for walk in dice.sample(asleep, len(asleep) // 2):
            walk.finish()
        board_of(one).repair(older_than=0)
        check(board_of(one), MEMBERS)


@pytest.mark.parametrize("waves", [1, 2])
@pytest.mark.parametrize("score", [35, 5])
def test_a_member_s_next_change_finishes_the_last(
    waves: int, score: int, one: Octavo[Sync]
) -> None:
    board = board_of(one)
    board.submit("ada", 15)
    walk = Walk(one, board, "submit", "ada", 35)
    for _ in range(waves):
        walk.step()
    submission = board.submit("ada", score)
    (entry,) = board
    assert entry.score == submission.score == board.score("ada")
    assert submission.rank == board.rank("ada") == 1


@pytest.mark.parametrize("waves", [1, 2])
def test_a_change_is_finished_after_its_client_was_killed(
    waves: int, server: Server, prefix: str
) -> None:
    with octavo.connect(server.url, prefix=prefix) as db:
        board = board_of(db)
        board.submit_many({"ada": 5, "bob": 15, "cyd": 25})
        with faults.Crew() as crew:
            worker = crew.spawn(stop_half_way, server.url, prefix, waves)
            assert worker.heard(30) is False
            worker.kill()
        assert board.score("ada") == 35
        if waves == 1:
            assert [entry.score for entry in board] == [25, 15, 5], "the shards know already"
        assert board.repair() == 0, "it was taken over though it may be under way"
        assert board.repair(older_than=0) == 1
        assert [entry.member for entry in board] == ["ada", "cyd", "bob"]
        check(board, MEMBERS)


def test_what_a_home_has_taken_has_an_unknown_outcome_although_the_rest_was_never_sent(
    standalone: Standalone, prefix: str
) -> None:
    with (
        octavo.connect(standalone.url, prefix=prefix) as db,
        closing(octavo.connect(standalone.url, prefix=prefix, timeout=0.3)) as unconnected,
    ):
        walk = Walk(db, board_of(db), "submit", "ada", 35)
        walk.step()
        standalone.kill()
        walk.go_on_with(unconnected)
        with pytest.raises(octavo.ConnectionLost) as raised:
            walk.step()
    assert raised.value.outcome == "unknown"


@pytest.mark.parametrize("under_way", [1, 3, 8])
def test_ranks_and_counts_are_off_by_no_more_than_the_changes_under_way(
    under_way: int, one: Octavo[Sync]
) -> None:
    dice = random.Random(faults.run_seed() + under_way)
    board = board_of(one)
    names = [f"m{i}" for i in range(40)]
    worst = 0.0
    for _ in range(10):
        board.clear()
        board.submit_many({name: dice.randrange(40) for name in names})
        walks: list[Walk] = []
        for name in dice.sample(names, under_way):
            walk = Walk(one, board, "submit", name, dice.randrange(40), dice=dice)
            for _ in range(dice.randrange(1, 6)):
                if not walk.done:
                    walk.step()
            walks.append(walk)
        scores = {name: board.score(name) or 0 for name in names}
        for name in names:
            exact = 1 + sum(other > scores[name] for other in scores.values())
            found = board.rank(name)
            assert found is not None
            worst = max(worst, abs(found - exact))
            assert abs(found - exact) <= under_way
        assert abs(board.count() - len(names)) <= under_way
        for walk in walks:
            walk.finish()
        check(board, names)
    assert worst, "no change was seen half done"


def test_who_does_not_change_is_met_exactly_once_while_others_do(one: Octavo[Sync]) -> None:
    board = board_of(one)
    still = [f"m{i}" for i in range(40)]
    board.submit_many({name: i for i, name in enumerate(still)} | {"ada": 5, "bob": 35})
    for member, score in (("ada", 35), ("bob", 5)):
        walk = Walk(one, board, "submit", member, score)
        walk.step()
        seen = [entry.member for entry in board if entry.member in still]
        assert seen == still[::-1]
        pages = [entry.member for n in range(1, 8) for entry in board.page(n, size=7)]
        assert [name for name in pages if name in still] == still[::-1]

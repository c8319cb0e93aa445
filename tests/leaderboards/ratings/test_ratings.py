"""Ratings on all faces and servers."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

import octavo
from octavo import ConfigMismatch, PrecisionLost, SubmissionRefused
from octavo.leaderboards import Elo, Glicko2, OpenSkill, Rating
from octavo.leaderboards.layout import Layout
from tests.leaderboards.inside import Contents
from tests.leaderboards.ratings.model import SYSTEMS, Model, State

if TYPE_CHECKING:
    from octavo import Octavo, Sync
    from octavo.leaderboards import Ratings
    from tests.fix_servers import Server

PLAYERS = [f"p{i}" for i in range(6)]


def state_of(rating: Rating) -> State:
    return State(rating.value, rating.deviation, rating.volatility)


def a_match(dice: random.Random, name: str) -> tuple[list[list[str]], list[float]]:
    """Return teams and their places."""
    shape = dice.choice([(1, 1), (2, 2), (1, 1, 1)]) if name == "openskill" else (1, 1)
    players = iter(dice.sample(PLAYERS, sum(shape)))
    lineup = [[next(players) for _ in range(size)] for size in shape]
    return lineup, [float(dice.randrange(3)) for _ in shape]


def check(ratings: Ratings[Sync], model: Model) -> None:
    """Assert that the ratings and their standings are the model's."""
    found = ratings.ratings_of(PLAYERS)
    assert {*found} == {*model.states}
    for player, rating in found.items():
        assert state_of(rating) == pytest.approx(model.states[player], rel=1e-6)
        assert rating.games == model.games[player]
    standings = list(ratings.standings)
    assert [entry.score for entry in standings] == pytest.approx(model.ordinals(), rel=1e-6)
    assert {entry.member for entry in standings} == {*found}
    assert {*ratings.banned()} == {*model.bans}


@pytest.mark.parametrize("name", SYSTEMS)
def test_any_run_of_operations_does_what_the_model_does(name: str, db: Octavo[Sync]) -> None:
    make, library = SYSTEMS[name]
    ratings, model, dice = db.ratings("x", system=make()), Model(library), random.Random(name)
    for _ in range(60):
        player = dice.choice(PLAYERS)
        match dice.randrange(12):
            case 0:
                assert ratings.ban(player) == model.ban(player)
            case 1 | 2:
                assert ratings.unban(player) == model.unban(player)
            case 3:
                assert ratings.remove(player) == model.remove(player)
            case _:
                teams, places = a_match(dice, name)
                if not model.match(teams, places):
                    with pytest.raises(SubmissionRefused):
                        ratings.match(teams, ranks=places)
                    continue
                result = ratings.match(teams, ranks=places)
                assert [*result.players] == [player for team in teams for player in team]
    check(ratings, model)


def test_a_match_says_what_it_did_to_each_player(db: Octavo[Sync]) -> None:
    ratings = db.ratings("x", system=Elo(k=20))
    ratings.match(["ada", "bob"])
    result = ratings.match(["cyd", "ada"])
    ada, cyd = result.players["ada"], result.players["cyd"]
    assert cyd.before == Rating(1500.0)
    assert (cyd.after.games, cyd.previous_rank, cyd.rank) == (1, None, 1)
    assert (ada.before.value, ada.before.games, ada.after.games) == (1510.0, 1, 2)
    assert (ada.previous_rank, ada.rank) == (1, 2)
    assert ada.before.value - ada.after.value == cyd.after.value - cyd.before.value > 10
    assert ada.before.changed is not None
    assert ada.after.changed is not None
    assert ada.before.changed < ada.after.changed
    assert ratings.rating("ada") == ada.after
    assert ratings.rating("nobody") is None
    _, entry = ratings.standings.top(2)
    assert entry == ratings.standings.entry("ada")
    assert (entry.score, entry.rank) == (ada.after.value, 2)
    assert entry.data == {
        "value": ada.after.value,
        "games": 2,
        "changed": ada.after.changed,
    }


def test_places_scores_and_order_say_the_same(db: Octavo[Sync]) -> None:
    teams = [["ada", "bob"], "cyd", ["dot"]]
    ways: dict[str, dict[str, Any]] = {
        "order": {},
        "ranks": {"ranks": [1, 2.5, 9]},
        "scores": {"scores": [3, 0, -1]},
    }
    found = [
        db.ratings(name, system=OpenSkill()).match(teams, **how).players["cyd"].after.value
        for name, how in ways.items()
    ]
    assert len({*found}) == 1
    drawn = db.ratings("drawn", system=OpenSkill()).match(teams, ranks=[1, 1, 1])
    assert drawn.players["cyd"].after.value not in found


def test_two_teams_of_500_are_rated(db: Octavo[Sync]) -> None:
    ratings = db.ratings("x", system=OpenSkill())
    teams = [[f"{side} {i}" for i in range(500)] for side in ("home", "away")]
    result = ratings.match(teams)
    assert {one.rank for one in result.players.values()} == {1, 501}
    assert ratings.standings.count() == 1000
    assert ratings.match(teams[::-1]).players["home 7"].previous_rank == 1


def test_a_match_of_one_id_counts_once(db: Octavo[Sync]) -> None:
    ratings = db.ratings("x", system=Glicko2())
    first = ratings.match(["ada", "bob"], match_id="{1}: ä")
    other = ratings.match(["ada", "bob"], match_id="2")
    assert ratings.match(["ada", "bob"], match_id="{1}: ä") == first
    ratings.ban("bob")
    assert ratings.match(["ada", "bob"], match_id="2") == other, "it was counted before the ban"
    with pytest.raises(ConfigMismatch, match="is of a match of ada, bob"):
        ratings.match(["cyd", "ada"], match_id="{1}: ä")
    assert ratings.rating("ada") == other.players["ada"].after


def test_a_match_with_a_banned_player_is_refused_whole(db: Octavo[Sync]) -> None:
    ratings = db.ratings("x", system=OpenSkill())
    before = ratings.match([["ada", "bob"], "cyd"])
    assert ratings.ban("ada", "eve") == 2
    assert ratings.ban("ada", "ada") == 0
    with pytest.raises(SubmissionRefused, match="banned: eve, ada") as raised:
        ratings.match(["cyd", ["bob", "eve"], "ada"])
    assert raised.value.refusals == [("eve", "banned"), ("ada", "banned")]
    assert raised.value.operation == "ratings.match"
    with pytest.raises(SubmissionRefused):
        ratings.adjust("ada", 30)
    assert sorted(ratings.banned()) == ["ada", "eve"]
    assert ratings.rating("ada") is None
    assert [entry.member for entry in ratings.standings] == ["bob", "cyd"]
    assert ratings.unban("ada", "eve", "bob") == 2
    assert ratings.ratings_of(["ada", "bob", "cyd", "eve"]) == {
        player: rated.after for player, rated in before.players.items()
    }
    assert ratings.standings.rank("ada") == 1
    assert ratings.match(["eve", "ada"]).players["ada"].after.games == 2


def test_a_rating_can_be_adjusted(db: Octavo[Sync]) -> None:
    ratings = db.ratings("x", system=Glicko2())
    new = ratings.adjust("ada", 1800)
    assert state_of(new) == State(1800, 350, 0.06)
    assert new.games == 0
    ratings.match(["ada", "bob"])
    found = ratings.adjust("ada", deviation=50, volatility=0.1)
    assert (found.deviation, found.volatility, found.games) == (50, 0.1, 1)
    assert found.value > 1800
    assert ratings.rating("ada") == found
    assert ratings.standings.score("ada") == found.value - 100


def test_a_prediction_takes_those_without_a_rating_for_new_players(db: Octavo[Sync]) -> None:
    ratings = db.ratings("x", system=Elo())
    assert ratings.predict(["ada", "bob"]) == [0.5, 0.5]
    ratings.adjust("ada", 1900)
    assert ratings.predict(["ada", "bob"]) == pytest.approx([10 / 11, 1 / 11])


def test_ratings_are_of_one_system(db: Octavo[Sync]) -> None:
    db.ratings("x", system=Elo(k=10)).match(["ada", "bob"])
    db.ratings("x", system=Elo(k=40)).match(["ada", "bob"])
    other = db.ratings("x", system=Glicko2())
    with pytest.raises(ConfigMismatch, match="are of elo, not of glicko2"):
        other.rating("ada")
    with pytest.raises(ConfigMismatch, match="are of elo, not of glicko2"):
        other.match(["ada", "bob"])
    assert db.ratings("x", system=Elo()).clear() is True
    assert other.match(["ada", "bob"]).players["ada"].before == Rating(1500.0, 350.0, 0.06)


def test_what_a_float_cannot_hold_changes_nothing(db: Octavo[Sync]) -> None:
    ratings = db.ratings("x", system=OpenSkill())
    ratings.adjust("ada", 1e308)
    ratings.adjust("bob", 1)
    before = ratings.ratings_of(["ada", "bob"])
    with pytest.raises(PrecisionLost):
        ratings.match(["ada", "bob"])
    assert ratings.ratings_of(["ada", "bob"]) == before


def test_a_volatility_of_next_to_nothing_changes_nothing_either(db: Octavo[Sync]) -> None:
    ratings = db.ratings("x", system=Glicko2())
    before = ratings.adjust("ada", volatility=1e-200)
    with pytest.raises(PrecisionLost):
        ratings.match(["ada", "bob"])
    assert ratings.ratings_of(["ada", "bob"]) == {"ada": before}


def test_a_deviation_grows_by_the_servers_clock(db: Octavo[Sync]) -> None:
    slow, fast = Glicko2(period=3600 * 24 * 365 * 90), Glicko2(period=1e-3)
    found = db.ratings("x", system=slow).adjust("ada", 1500, deviation=50)
    assert found.changed is not None
    later = db.ratings("x", system=fast).rating("ada")
    assert later is not None
    assert 50 < later.deviation <= 350
    assert replace(later, deviation=50) == found
    old = db.ratings("x", system=fast).match(["ada", "bob"]).players["ada"]
    assert old.before == found, "what is stored is what was known at the last change"
    assert old.after.games == 1


def test_an_atomic_batch_takes_a_match_and_what_goes_with_it(server: Server, prefix: str) -> None:
    with octavo.connect(server.url, prefix=prefix) as db:
        with db.batch(atomic=True) as batch:
            match = batch.ratings("x", system=Elo(), tag="league").match(["ada", "bob"])
            points = batch.leaderboard("points", keep="sum", tag="league").submit("ada", 3)
            again = batch.ratings("x", system=Elo(), tag="league").match(["ada", "bob"])
        assert points.result().score == 3
        assert match.result().players["ada"].after.games == 1
        assert again.result().players["ada"].before == match.result().players["ada"].after
        assert again.result().players["ada"].after.games == 2


def test_an_atomic_batch_with_a_banned_player_does_nothing(server: Server, prefix: str) -> None:
    with octavo.connect(server.url, prefix=prefix) as db:
        db.ratings("x", system=Elo(), tag="league").ban("ada")
        with db.batch(atomic=True, raise_on_error=False) as batch:
            match = batch.ratings("x", system=Elo(), tag="league").match(["ada", "bob"])
            points = batch.leaderboard("points", tag="league").submit("bob", 3)
        assert isinstance(match.exception(), SubmissionRefused)
        assert points.exception() is match.exception()
        assert db.leaderboard("points", tag="league").count() == 0


def test_ratings_can_be_guarded(server: Server, prefix: str) -> None:
    with octavo.connect(server.url, prefix=prefix) as db, db.lock("l", tag="g").acquire() as lease:
        with db.batch(guard=lease) as batch:
            ratings = batch.ratings("x", system=Elo(), tag="g")
            first = ratings.match(["ada", "bob"])
            second = ratings.match(["ada", "bob"], match_id="1")
            ratings.adjust("cyd", 1900)
            ratings.ban("dot")
        assert first.result().players["ada"].after == second.result().players["ada"].before
        with db.batch(guard=lease) as batch:
            ratings = batch.ratings("x", system=Elo(), tag="g")
            again = ratings.match(["ada", "bob"], match_id="1")
            found, banned, removed = ratings.rating("cyd"), ratings.banned(), ratings.remove("cyd")
        assert again.result() == second.result()
        assert found.result() is not None
        assert (banned.result(), removed.result()) == (["dot"], 1)


def test_bans_and_removals_leave_nothing_behind(server: Server, prefix: str) -> None:
    with octavo.connect(server.url, prefix=prefix) as db:
        ratings = db.ratings("x", system=Elo())
        ratings.match(["ada", "bob"])
        ratings.match(["cyd", "dot"])
        ratings.ban("ada", "cyd")
        ratings.remove("bob")
        ratings.unban("cyd")
        contents = Contents.on(server, Layout.of(f"{prefix}:ratings:{{x}}"))
        contents.check()
        assert {*contents.data} == {b"cyd", b"dot"}

"""The arithmetic of the rating systems: against the papers, and against other libraries."""

from __future__ import annotations

import itertools
import math
import random
import sys
from typing import TYPE_CHECKING, Any

import pytest
from openskill.models import PlackettLuce, ThurstoneMostellerFull

from octavo.leaderboards import Elo, Glicko2, OpenSkill, Rating
from tests.leaderboards.ratings.model import SYSTEMS, State

if TYPE_CHECKING:
    from octavo.leaderboards import RatingSystem

WEEK = 7 * 86_400


def state_of(rating: Rating) -> State:
    return State(rating.value, rating.deviation, rating.volatility)


@pytest.mark.parametrize("name", SYSTEMS)
def test_matches_are_rated_as_another_library_does(name: str) -> None:
    make, library = SYSTEMS[name]
    system, dice = make(), random.Random(name)
    shapes = [(1, 1)] if name != "openskill" else [(1, 1), (2, 2), (1, 3), (1, 1, 1, 1), (2, 1, 3)]
    found = [system.initial] * 12
    expected = [library.initial] * 12
    assert state_of(system.initial) == library.initial
    for _ in range(300):
        shape = dice.choice(shapes)
        players = iter(dice.sample(range(12), sum(shape)))
        lineup = [[next(players) for _ in range(size)] for size in shape]
        places = [float(dice.randrange(1, 4)) for _ in shape]
        rated = system.rate([[found[i] for i in team] for team in lineup], places)
        other = library.rate([[expected[i] for i in team] for team in lineup], places)
        for team, own, others in zip(lineup, rated, other, strict=True):
            for i, rating, state in zip(team, own, others, strict=True):
                found[i], expected[i] = rating, state
                # Glicko-2 is solved by iteration, to a millionth.
                assert state_of(rating) == pytest.approx(state, rel=1e-6)
                assert system.ordinal(rating) == pytest.approx(library.ordinal(state), rel=1e-6)


def test_the_example_of_the_glicko2_paper() -> None:
    games = [
        (Rating(1400.0, 30.0, 0.06), 1.0),
        (Rating(1550.0, 100.0, 0.06), 0.0),
        (Rating(1700.0, 300.0, 0.06), 0.0),
    ]
    after = Glicko2(tau=0.5)._after(Rating(1500.0, 200.0, 0.06), games)
    assert after.value == pytest.approx(1464.06, abs=0.015)
    assert after.deviation == pytest.approx(151.52, abs=0.005)
    assert after.volatility == pytest.approx(0.05999, abs=0.00001)


def test_the_example_of_fide_that_200_points_ahead_is_76_percent() -> None:
    expected = Elo().predict([[Rating(1700.0)], [Rating(1500.0)]])
    assert expected == pytest.approx([0.76, 0.24], abs=0.001)
    (won,), (lost,) = Elo(k=20).rate([[Rating(1700.0)], [Rating(1500.0)]], [1, 0])
    assert (won.value, lost.value) == pytest.approx((1700 - 15.2, 1500 + 15.2), abs=0.02)


def test_a_glicko2_deviation_grows_by_the_volatility_of_each_period_without_a_match() -> None:
    system = Glicko2(period=WEEK)
    rating = Rating(1500.0, 50.0, 0.06, 9, changed=1e9)
    after = [system.aged(rating, 1e9 + weeks * WEEK).deviation for weeks in range(3)]
    phi, sigma = 50 / 173.7178, 0.06
    expected = [173.7178 * math.sqrt(phi**2 + weeks * sigma**2) for weeks in range(3)]
    assert after == pytest.approx(expected, rel=1e-12)
    halves = system.aged(rating, 1e9 + WEEK / 2).deviation
    assert 50 < halves < after[1]
    assert system.aged(rating, 1e9 + 1e6 * WEEK).deviation == 350
    assert system.aged(rating, 0) == rating, "a clock that goes back makes nobody certain"
    assert Glicko2().aged(rating, 2e9) == rating, "without periods time does nothing"
    assert Glicko2(period=1, deviation=40).aged(rating, 2e9) == rating, "it never shrinks"


def test_with_periods_a_match_adds_no_uncertainty_of_its_own() -> None:
    teams = [[Rating(1500.0, 50.0, 0.06)], [Rating(1500.0, 50.0, 0.06)]]
    by_match = Glicko2().rate(teams, [0, 1])[0][0].deviation
    by_clock = Glicko2(period=WEEK).rate(teams, [0, 1])[0][0].deviation
    assert by_clock < by_match
    assert by_clock < 50


@pytest.mark.parametrize("name", SYSTEMS)
def test_predictions_sum_to_one_and_favour_the_better(name: str) -> None:
    make, _ = SYSTEMS[name]
    system = make()
    better = Rating(system.initial.value * 1.2, *state_of(system.initial)[1:])
    found = system.predict([[better], [system.initial]])
    assert sum(found) == pytest.approx(1)
    assert found[0] > 0.5 > found[1]
    assert system.predict([[better], [better]]) == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("system", [Elo(), Glicko2()], ids=["elo", "glicko2"])
def test_ratings_stay_numbers_however_far_apart_the_players_are(system: RatingSystem) -> None:
    for far, places in itertools.product((1e4, 1e6, 1e12), ([0, 1], [1, 0], [0, 0])):
        for deviation in (1e-3, 1.0, 350.0):
            teams = [[Rating(value, deviation, 0.06)] for value in (far, -far)]
            rated = system.rate(teams, places)
            assert all(map(math.isfinite, itertools.chain(*(state_of(one[0]) for one in rated))))
            assert rated[0][0].value - far == pytest.approx(
                -(rated[1][0].value + far), rel=1e-3, abs=1
            )
        assert system.predict(teams) == pytest.approx([1, 0], abs=1e-6)


def test_openskill_takes_a_model_with_its_parameters() -> None:
    model = ThurstoneMostellerFull(mu=1500.0, sigma=500.0, beta=250.0)
    system = OpenSkill(model)
    assert system.initial == Rating(1500.0, 500.0)
    (won,), (lost,) = system.rate([[system.initial]] * 2, [0, 1])
    (expected,), _ = model.rate([[model.rating()], [model.rating()]])
    assert (won.value, won.deviation) == (expected.mu, expected.sigma)
    assert lost.value < 1500 < won.value


def test_scores_count_where_the_model_has_a_margin() -> None:
    system = OpenSkill(PlackettLuce(margin=2.0))
    teams = [[Rating(26.0, 8.0)], [Rating(24.0, 8.0)]]
    narrow, wide = (system.rate(teams, [-high, 0.0], [high, 0.0]) for high in (1.0, 20.0))
    assert narrow != wide


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Elo(k=0), "k must be more than 0, not 0"),
        (lambda: Elo(k=math.nan), "k must be finite"),
        (lambda: Elo(scale=-400), "scale must be more than 0, not -400"),
        (lambda: Elo(initial=math.inf), "initial must be finite"),
        (lambda: Glicko2(tau=0), "tau must be more than 0"),
        (lambda: Glicko2(deviation=0), "deviation must be more than 0"),
        (lambda: Glicko2(volatility=-1), "volatility must be more than 0"),
        (lambda: Glicko2(period=0), "period must be more than 0"),
    ],
)
def test_bad_parameters_are_refused_by_name(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_a_model_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"model must be one of openskill\.models, not 3"):
        OpenSkill(3)  # type: ignore[arg-type]


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openskill.models", None)
    with pytest.raises(ImportError, match=r"pip install 'octavo\[ratings\]'"):
        OpenSkill()

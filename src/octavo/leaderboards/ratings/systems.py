"""Rating systems: what a match says about its players' strength. Nothing here does I/O."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from octavo.engine.checks import Seconds, millis
from octavo.leaderboards.ratings.records import Rating
from octavo.leaderboards.scores import exact

if TYPE_CHECKING:
    from openskill.models import (
        BradleyTerryFull,
        BradleyTerryPart,
        PlackettLuce,
        ThurstoneMostellerFull,
        ThurstoneMostellerPart,
    )

    Model = (
        PlackettLuce
        | BradleyTerryFull
        | BradleyTerryPart
        | ThurstoneMostellerFull
        | ThurstoneMostellerPart
    )

Teams = Sequence[Sequence[Rating]]


class RatingSystem(ABC):
    """How ratings follow from matches.

    Attributes:
        name: what is stored with ratings, so that one system does not misread another's.
        initial: the rating of a new player.
    """

    name: str
    initial: Rating

    def check(self, teams: Sequence[Sequence[str]]) -> None:
        """Refuse teams that the system cannot rate; here, all but two players."""
        if len(teams) != 2 or any(len(team) != 1 for team in teams):
            found = " against ".join(str(len(team)) for team in teams)
            raise ValueError(f"teams must be two players with {self.name}, not {found}")

    @abstractmethod
    def rate(
        self, teams: Teams, places: Sequence[float], scores: Sequence[float] | None = None
    ) -> list[list[Rating]]:
        """Return the ratings after a match, as they were given.

        Args:
            teams: the ratings before it, as of now.
            places: of each team; lower is better, equal is a draw.
            scores: what the places follow from, if that is known; higher is better.
        """

    @abstractmethod
    def predict(self, teams: Teams) -> list[float]:
        """Return how likely each team is to win; the sum is 1."""

    @abstractmethod
    def ordinal(self, rating: Rating) -> float:
        """Return what players are ranked by."""

    def aged(self, rating: Rating, now: float) -> Rating:
        """Return a rating as of `now`: what is known of a player who does not play gets old."""
        return rating


class Elo(RatingSystem):
    """Elo's ratings of two players, as chess has them.

    From Arpad Elo, *The Rating of Chessplayers, Past and Present*, 1978: the expected score is
    logistic, and a match moves both ratings by `k` times what it was off. Players are ranked by
    rating.

    Args:
        k: points that a match is about.
        initial: the rating of a new player.
        scale: how many points ahead is ten times as likely to win as to lose.
    """

    name = "elo"

    def __init__(self, *, k: float = 32, initial: float = 1500, scale: float = 400) -> None:
        self.initial = Rating(exact("initial", initial))
        self._k = positive("k", k)
        self._scale = positive("scale", scale)

    def rate(
        self, teams: Teams, places: Sequence[float], scores: Sequence[float] | None = None
    ) -> list[list[Rating]]:
        """Return the ratings after a match."""
        (one,), (other,) = teams
        gain = self._k * (_score(*places) - self.predict(teams)[0])
        return [
            [replace(one, value=one.value + gain)],
            [replace(other, value=other.value - gain)],
        ]

    def predict(self, teams: Teams) -> list[float]:
        """Return what each is expected to score, half of a draw included."""
        (one,), (other,) = teams
        # A hundred powers of ten are as good as certain; 309 would not be a float.
        powers = max(-100.0, min((other.value - one.value) / self._scale, 100.0))
        expected: float = 1 / (1 + 10**powers)
        return [expected, 1 - expected]

    def ordinal(self, rating: Rating) -> float:
        """Return the rating."""
        return rating.value


class Glicko2(RatingSystem):
    """Glickman's ratings of two players, with how certain they are.

    From Mark Glickman, *Example of the Glicko-2 system*, 2022 (glicko.net/glicko/glicko2.pdf),
    whose steps and symbols are kept. Players are ranked by what they are at least, with a
    certainty of 97.5%: rating - 2 RD.

    Args:
        tau: how much volatility changes; 0.3 to 1.2.
        period: how long a rating period is. A player's RD grows with each that passes without a
            match, and by fractions of it, up to `deviation`. None has every match be a period
            of its own, and time does nothing.
        initial: the rating of a new player.
        deviation: its RD.
        volatility: its volatility.
    """

    name = "glicko2"

    def __init__(
        self,
        *,
        tau: float = 0.5,
        period: Seconds | None = None,
        initial: float = 1500,
        deviation: float = 350,
        volatility: float = 0.06,
    ) -> None:
        self.initial = Rating(
            exact("initial", initial),
            positive("deviation", deviation),
            positive("volatility", volatility),
        )
        self._tau = positive("tau", tau)
        self._period = None if period is None else millis("period", period) / 1000

    def rate(
        self, teams: Teams, places: Sequence[float], scores: Sequence[float] | None = None
    ) -> list[list[Rating]]:
        """Return the ratings after a match."""
        (one,), (other,) = teams
        score = _score(*places)
        return [[self._after(one, [(other, score)])], [self._after(other, [(one, 1 - score)])]]

    def predict(self, teams: Teams) -> list[float]:
        """Return what each is expected to score, by both deviations, half of a draw included."""
        (one,), (other,) = teams
        phi = math.hypot(one.deviation, other.deviation) / _SCALE
        expected = _expected(_g(phi), one.value - other.value)
        return [expected, 1 - expected]

    def ordinal(self, rating: Rating) -> float:
        """Return what the player is at least."""
        return rating.value - 2 * rating.deviation

    def aged(self, rating: Rating, now: float) -> Rating:
        """Return a rating with the deviation that it has now: step 6, for the time without one."""
        if self._period is None or rating.changed is None:
            return rating
        periods = max(now - rating.changed, 0.0) / self._period
        grown = math.hypot(rating.deviation, _SCALE * rating.volatility * math.sqrt(periods))
        return replace(rating, deviation=max(min(grown, self.initial.deviation), rating.deviation))

    def _after(self, player: Rating, games: Sequence[tuple[Rating, float]]) -> Rating:
        """Return a rating after games with others, as they were, and its score: steps 2 to 8."""
        phi = player.deviation / _SCALE
        information = surprise = 0.0
        for opponent, score in games:
            g = _g(opponent.deviation / _SCALE)
            expected = _expected(g, player.value - opponent.value)
            information += g * g * expected * (1 - expected)
            surprise += g * (score - expected)
        v = 1 / information
        volatility = self._volatility(player.volatility, phi, v, v * surprise)
        # With periods by the clock, the deviation has grown by then: `aged`.
        star = math.hypot(phi, volatility) if self._period is None else phi
        phi = 1 / math.sqrt(1 / (star * star) + information)
        value = player.value + _SCALE * phi * phi * surprise
        return replace(player, value=value, deviation=_SCALE * phi, volatility=volatility)

    def _volatility(self, sigma: float, phi: float, v: float, delta: float) -> float:
        """Return the new volatility: step 5, the Illinois algorithm."""
        a = math.log(sigma * sigma)
        tau = self._tau

        def f(x: float) -> float:
            e = math.exp(x)
            known = phi * phi + v + e
            return e * (delta * delta - known) / (2 * known * known) - (x - a) / (tau * tau)

        low = a
        if delta * delta > phi * phi + v:
            high = math.log(delta * delta - phi * phi - v)
        else:
            high = a - tau
            while f(high) < 0:
                high -= tau
        f_low, f_high = f(low), f(high)
        while abs(high - low) > _CONVERGED:
            middle = low + (low - high) * f_low / (f_high - f_low)
            f_middle = f(middle)
            if f_middle * f_high <= 0:
                low, f_low = high, f_high
            else:
                f_low /= 2
            high, f_high = middle, f_middle
        return math.exp(low / 2)


class OpenSkill(RatingSystem):
    """Ratings of any number of teams of any size, by the package `openskill`.

    Its arithmetic is from Weng and Lin, *A Bayesian Approximation Method for
    Online Ranking*, 2011. Players are ranked by mu - 3 sigma, which they are with 99.7% certainty.

    Args:
        model: one of the models of `openskill.models`, with its parameters; None is
            `PlackettLuce()`.

    Raises:
        ImportError: `pip install 'octavo[ratings]'`.
    """

    name = "openskill"

    def __init__(self, model: Model | None = None) -> None:
        try:
            from openskill.models import MODELS, PlackettLuce  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise ImportError("OpenSkill needs a package: pip install 'octavo[ratings]'") from error
        if model is not None and type(model) not in MODELS:
            raise TypeError(f"model must be one of openskill.models, not {model!r}")
        self._model: Any = PlackettLuce() if model is None else model
        self.initial = Rating(float(self._model.mu), float(self._model.sigma))

    def check(self, teams: Sequence[Sequence[str]]) -> None:
        """Take any teams."""

    def rate(
        self, teams: Teams, places: Sequence[float], scores: Sequence[float] | None = None
    ) -> list[list[Rating]]:
        """Return the ratings after a match."""
        how = {"ranks": [*places]} if scores is None else {"scores": [*scores]}
        rated = self._model.rate(self._players(teams), **how)
        return [
            [
                replace(rating, value=player.mu, deviation=player.sigma)
                for rating, player in zip(*team, strict=True)
            ]
            for team in zip(teams, rated, strict=True)
        ]

    def predict(self, teams: Teams) -> list[float]:
        """Return how likely each team is to win."""
        found: list[float] = self._model.predict_win(self._players(teams))
        return found

    def ordinal(self, rating: Rating) -> float:
        """Return what the player is with 99.7% certainty."""
        return rating.value - 3 * rating.deviation

    def _players(self, teams: Teams) -> list[list[Any]]:
        make = self._model.rating
        return [[make(rating.value, rating.deviation) for rating in team] for team in teams]


_SCALE = 173.7178
"""Points of a unit of Glicko-2's own scale."""

_FARTHEST = 20.0
"""Units between two players that are as good as any more, with which sums would leave float64."""

_CONVERGED = 1e-6


def _g(phi: float) -> float:
    return 1 / math.sqrt(1 + 3 * phi * phi / (math.pi * math.pi))


def _expected(g: float, ahead: float) -> float:
    """Return the score expected of who is so many points ahead."""
    return 1 / (1 + math.exp(-max(-_FARTHEST, min(g * ahead / _SCALE, _FARTHEST))))


def _score(own: float, others: float) -> float:
    """Return what a place is worth against another: 1, 0.5 or 0."""
    return 0.5 if own == others else float(own < others)


def positive(parameter: str, value: float) -> float:
    """Return a number that is more than 0, or refuse it by the parameter's name."""
    number = exact(parameter, value)
    if number <= 0:
        raise ValueError(f"{parameter} must be more than 0, not {value!r}")
    return number

"""Ratings in plain Python, with the arithmetic of other libraries."""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from elote import EloCompetitor, Glicko2Competitor
from openskill.models import PlackettLuce

from octavo.leaderboards import Elo, Glicko2, OpenSkill, RatingSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SOME_TIME = dt.datetime(2026, 1, 1)  # noqa: DTZ001 - elote compares it with naive ones


class State(NamedTuple):
    """What a model knows of a player."""

    value: float
    deviation: float = 0.0
    volatility: float = 0.0


class Library(ABC):
    """A rating system by another's hand."""

    initial: State

    @abstractmethod
    def rate(self, teams: list[list[State]], places: Sequence[float]) -> list[list[State]]:
        """Return the states after a match."""

    @abstractmethod
    def ordinal(self, state: State) -> float:
        """Return what players are ranked by."""


class EloteElo(Library):
    """Elo by `elote`."""

    initial = State(1500.0)

    def rate(self, teams: list[list[State]], places: Sequence[float]) -> list[list[State]]:
        players = [EloCompetitor(team[0].value, 32) for team in teams]
        _play(players, places)
        return [[State(player.rating)] for player in players]

    def ordinal(self, state: State) -> float:
        return state.value


class EloteGlicko2(Library):
    """Glicko-2 by `elote`."""

    initial = State(1500.0, 350.0, 0.06)

    def rate(self, teams: list[list[State]], places: Sequence[float]) -> list[list[State]]:
        players = [Glicko2Competitor(*team[0], _SOME_TIME) for team in teams]
        _play(players, places, _SOME_TIME)
        return [[State(player.rating, player.rd, player.volatility)] for player in players]

    def ordinal(self, state: State) -> float:
        return state.value - 2 * state.deviation


class PlainOpenSkill(Library):
    """OpenSkill by `openskill`, without what octavo puts around it."""

    initial = State(25.0, 25.0 / 3.0)

    def rate(self, teams: list[list[State]], places: Sequence[float]) -> list[list[State]]:
        model = PlackettLuce()
        given = [[model.rating(state.value, state.deviation) for state in team] for team in teams]
        rated = model.rate(given, ranks=list(places))
        return [[State(player.mu, player.sigma) for player in team] for team in rated]

    def ordinal(self, state: State) -> float:
        return state.value - 3 * state.deviation


SYSTEMS: dict[str, tuple[Callable[[], RatingSystem], Library]] = {
    "elo": (Elo, EloteElo()),
    "glicko2": (Glicko2, EloteGlicko2()),
    "openskill": (OpenSkill, PlainOpenSkill()),
}


class Model:
    """All that `Ratings` does, for one at a time."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.states: dict[str, State] = {}
        self.games: dict[str, int] = {}
        self.bans: dict[str, State | None] = {}

    def match(self, teams: Sequence[Sequence[str]], places: Sequence[float]) -> bool:
        """Rate a match; False if a player is banned."""
        if any(player in self.bans for team in teams for player in team):
            return False
        before = [[self.states.get(p, self.library.initial) for p in team] for team in teams]
        after = self.library.rate(before, places)
        for team, states in zip(teams, after, strict=True):
            for player, state in zip(team, states, strict=True):
                self.states[player] = state
                self.games[player] = self.games.get(player, 0) + 1
        return True

    def ban(self, player: str) -> int:
        if player in self.bans:
            return 0
        self.bans[player] = self.states.pop(player, None)
        return 1

    def unban(self, player: str) -> int:
        if player not in self.bans:
            return 0
        state = self.bans.pop(player)
        if state is not None:
            self.states[player] = state
        return 1

    def remove(self, player: str) -> int:
        kept = self.bans.get(player)
        if player in self.bans:
            self.bans[player] = None
        state = self.states.pop(player, None) or kept
        if state is not None:
            del self.games[player]
        return int(state is not None)

    def ordinals(self) -> list[float]:
        """Return what the players are ranked by, best first."""
        return sorted(map(self.library.ordinal, self.states.values()), reverse=True)


def _play(
    players: Sequence[EloCompetitor] | Sequence[Glicko2Competitor],
    places: Sequence[float],
    *when: dt.datetime,
) -> None:
    one, other = players
    if places[0] == places[1]:
        one.tied(other, *when)
    elif places[0] < places[1]:
        one.beat(other, *when)
    else:
        other.beat(one, *when)

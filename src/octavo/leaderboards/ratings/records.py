"""What ratings are, and what a match does to them."""

from __future__ import annotations

import msgspec


class Rating(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What is known of a player's strength.

    Attributes:
        value: the rating itself; OpenSkill's mu.
        deviation: how uncertain it is: Glicko-2's RD, OpenSkill's sigma; 0 with Elo.
        volatility: how erratic the player is; Glicko-2 only.
        games: how many matches it is made of.
        changed: when it last changed, by the server's clock, as a Unix timestamp; None for a new
            player's.
    """

    value: float
    deviation: float = 0.0
    volatility: float = 0.0
    games: int = 0
    changed: float | None = None


class Rated(msgspec.Struct, frozen=True, gc=False):
    """What a match did to one player.

    Attributes:
        player: its name.
        before: the rating that was stored; the system's first one for a new player.
        after: the rating that it left.
        rank: the player's rank among all afterwards.
        previous_rank: the rank before; None for a new player.
    """

    player: str
    before: Rating
    after: Rating
    rank: int
    previous_rank: int | None


class MatchResult(msgspec.Struct, frozen=True):
    """What a match did.

    Attributes:
        players: what it did to each player, in the order of the teams.
    """

    players: dict[str, Rated]

"""Ratings: how strong players are, from the matches between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from msgspec.structs import replace

from octavo.engine.checks import Seconds, millis, several
from octavo.engine.codec import decode, encode
from octavo.engine.command import Command, Job, M, answer, operation
from octavo.engine.keys import check_name, name_bytes
from octavo.engine.script import Script
from octavo.errors import ConfigMismatch, PrecisionLost, SubmissionRefused, Unavailable
from octavo.leaderboards.definition import Definition
from octavo.leaderboards.layout import Layout
from octavo.leaderboards.ratings.layout import RatingLayout, match_key
from octavo.leaderboards.ratings.records import MatchResult, Rated, Rating
from octavo.leaderboards.ratings.systems import RatingSystem, positive
from octavo.leaderboards.scores import exact
from octavo.leaderboards.standings import Standings

if TYPE_CHECKING:
    from octavo.engine.command import Engine
    from octavo.engine.script import Argument

T = TypeVar("T")

Teams = Iterable[str | Iterable[str]]
Compute = Callable[[list[Rating]], list[Rating]]

_MOST_PLAYERS = 1000
# Each is lost to a change that was made, so that many are only lost in a crowd.
_TRIES = 300

_here = Path(__file__)
PLAYERS = Script(_here.with_name("players.lua"), idempotent=True)
CHANGE = Script(_here.with_name("change.lua"))
BAN = Script(_here.with_name("ban.lua"))
REMOVE = Script(_here.with_name("remove.lua"))
UNBAN = Script(_here.with_name("unban.lua"))


class Ratings(Job[M]):
    """Ratings of players by Elo, Glicko-2 or OpenSkill, and the standings that follow from them.

        chess = db.ratings("chess", system=Elo(k=20))
        chess.match(["ada", "bob"])  # ada has won
        chess.standings.top(10)

    A match changes the ratings of all its players or of none. It is two round trips: it reads the
    ratings, computes, and writes them in one script, provided that they are still what it read. If
    another match or a ban has come between, the script answers with what there is now, and it
    computes and writes again: one more round trip for each change that came first. Costs below are
    for N players with a rating, of which M are given.

    Args:
        engine: what carries the commands.
        base: what the keys begin with.
        system: how ratings follow from matches; its name is stored with them.
        remember: for how long a match is known by its `match_id`.
        page_size: entries on a page of the standings.

    Raises:
        ConfigMismatch: from any operation: the ratings are of another system.
        WrongType: from any operation: a key holds something else.
    """

    def __init__(
        self,
        engine: Engine,
        base: str,
        *,
        system: RatingSystem,
        remember: Seconds = 86_400,
        page_size: int = 25,
    ) -> None:
        super().__init__(engine)
        if not isinstance(system, RatingSystem):
            raise TypeError(f"system must be Elo, Glicko2 or OpenSkill, not {system!r}")
        self._engine = engine
        self._base = base
        self._system = system
        self._remember = millis("remember", remember)
        self._keys = RatingLayout.of(base)
        self._definition = Definition(
            order="desc",
            keep="last",
            rank="competition",
            ties="member",
            page_size=page_size,
            once=False,
        )

    @property
    def standings(self) -> Standings[M]:
        """The players, best first by the system's `ordinal`; the data of an entry is its rating."""
        return Standings(self._engine, Layout.of(self._base), self._definition)

    @operation
    def match(
        self,
        teams: Teams,
        *,
        ranks: Sequence[float] | None = None,
        scores: Sequence[float] | None = None,
        match_id: str | None = None,
    ) -> Command[MatchResult]:
        """Rate the players of a match by its result. O(M log N).

        In an atomic batch, what meets a conflict is written right after the transaction.

        Args:
            teams: the teams, best first: each a player or several.
            ranks: the place of each team, if their order does not tell; equal is a draw.
            scores: instead of ranks: the score of each team, higher is better, equal is a draw.
            match_id: names the match: given again within `remember`, it is not counted again but
                answered as the first time. A lost reply is then asked for again.

        Raises:
            ConfigMismatch: `match_id` is of a match of other players.
            PrecisionLost: a float64 cannot hold the ratings; nothing was changed.
            SubmissionRefused: a player is banned; nothing was changed.
            Unavailable: others came first, 300 times in a row; nothing was changed.
        """
        lineup = _lineup(teams)
        self._system.check(lineup)
        places, points = _outcome(len(lineup), ranks, scores)

        def rate(before: list[Rating]) -> list[Rating]:
            after = self._system.rate(_as_teams(before, lineup), places, points)
            return [replace(rating, games=rating.games + 1) for team in after for rating in team]

        def read(rows: list[Rated]) -> MatchResult:
            found = {row.player: row for row in rows}
            if [*found] != players:
                raise ConfigMismatch(f"match_id={match_id!r} is of a match of {', '.join(found)}")
            return MatchResult(found)

        players = [player for team in lineup for player in team]
        memory = None
        if match_id is not None:
            memory = match_key(self._base, check_name("match_id", match_id))
        return self._change(players, rate, read, memory)

    @operation
    def adjust(
        self,
        player: str,
        value: float | None = None,
        *,
        deviation: float | None = None,
        volatility: float | None = None,
    ) -> Command[Rating]:
        """Set a player's rating, or parts of it; return it. O(log N).

        Raises:
            SubmissionRefused: the player is banned.
        """
        given: dict[str, float] = {} if value is None else {"value": exact("value", value)}
        for name, part in (("deviation", deviation), ("volatility", volatility)):
            if part is None:
                continue
            given[name] = positive(name, part)
            if not getattr(self._system.initial, name):
                raise ValueError(f"{name} is not part of a rating by {self._system.name}")
        if not given:
            raise ValueError("value, deviation or volatility must be given")
        return self._change(
            [check_name("player", player)],
            lambda before: [replace(before[0], **given)],
            lambda rows: rows[0].after,
        )

    @operation
    def rating(self, player: str) -> Command[Rating | None]:
        """Return a player's rating as of now; None for one without, or banned. O(1)."""
        return self._look_up([check_name("player", player)], lambda found: found.ratings[0])

    @operation
    def ratings_of(self, players: Iterable[str]) -> Command[dict[str, Rating]]:
        """Return the ratings of those of the players that have one, as of now. O(M)."""
        wanted = several("players", players)
        names = [*dict.fromkeys(check_name("players", player) for player in wanted)]

        def read(found: _Found) -> dict[str, Rating]:
            pairs = zip(names, found.ratings, strict=True)
            return {player: rating for player, rating in pairs if rating is not None}

        return self._look_up(names, read) if names else answer({})

    @operation
    def predict(self, teams: Teams) -> Command[list[float]]:
        """Return how likely each team is to win; who has no rating counts as new. O(M)."""
        lineup = _lineup(teams)
        self._system.check(lineup)

        def read(found: _Found) -> list[float]:
            ratings = [rating or self._system.initial for rating in found.ratings]
            return self._system.predict(_as_teams(ratings, lineup))

        return self._look_up([player for team in lineup for player in team], read)

    @operation
    def ban(self, *players: str) -> Command[int]:
        """Ban players; return how many were not banned before. O(M log N).

        They leave the standings. From then on a match with one of them is refused, also one that
        has read their ratings already.
        """
        return self._each(BAN, players)

    @operation
    def unban(self, *players: str) -> Command[int]:
        """Lift bans; return how many there were. Players have the rating they had. O(M log N)."""
        return self._each(UNBAN, players)

    @operation
    def remove(self, *players: str) -> Command[int]:
        """Forget players' ratings; return how many had one. O(M log N).

        They are new players at their next match; who is banned stays so.
        """
        return self._each(REMOVE, players)

    @operation
    def banned(self) -> Command[list[str]]:
        """Return who is banned, in no order. O(M)."""
        keys = (self._keys.bans,)

        def read(reply: list[bytes]) -> list[str]:
            return [player.decode() for player in reply if player]

        return Command((b"HKEYS", *keys), keys, read, idempotent=True)

    @operation
    def clear(self) -> Command[bool]:
        """Forget all ratings and bans; return whether there were any. O(1), in the background."""
        keys = (*Layout.of(self._base), self._keys.bans)
        return Command((b"UNLINK", *keys), keys, bool)

    # What the operations share

    def _look_up(self, players: Sequence[str], read: Callable[[_Found], T]) -> Command[T]:
        words: list[Argument] = [*self._context(), *(player.encode() for player in players)]
        return PLAYERS(self._keys[:3], words, lambda reply: read(_Found.of(reply, self._system)))

    def _change(
        self,
        players: Sequence[str],
        compute: Compute,
        finish: Callable[[list[Rated]], T],
        memory: bytes | None = None,
    ) -> Command[T]:
        """Return the Command that changes ratings as soon as nobody comes between.

        Args:
            players: whose.
            compute: what they become, given what they are.
            finish: makes the result of what was done.
            memory: where to keep the reply, by which a repetition is known.
        """
        keys = self._keys if memory is None else (*self._keys, memory)

        def read(reply: list[Any]) -> _Found | T:
            rows, found = reply
            if rows is None:
                return _Found.of(found, self._system)
            return finish([self._rated(*row) for row in rows])

        def attempt(found: _Found, tries: int = 1) -> Command[Any]:
            # Whether the match has been counted before the ban, only the script knows.
            if found.banned and (memory is None or tries > 1):
                raise _refused([players[i] for i in found.banned])
            if tries > _TRIES:
                raise Unavailable(f"CONFLICT others changed the ratings {_TRIES} times in a row")
            words = (*self._context(), self._remember, *self._words(players, found, compute))
            command = CHANGE(keys, words, read)

            def then(found: Any) -> Command[Any] | None:
                return attempt(found, tries + 1) if isinstance(found, _Found) else None

            return replace(command, idempotent=memory is not None, then=then)

        opening: Command[Any] = self._look_up(players, lambda found: found)
        return replace(opening, opening=True, then=attempt)

    def _words(self, players: Sequence[str], found: _Found, compute: Compute) -> list[Argument]:
        """Return what the script takes for each player."""
        try:
            changed = compute([rating or self._system.initial for rating in found.ratings])
            places = [-self._system.ordinal(rating) for rating in changed]
        except (ArithmeticError, ValueError) as error:  # overflow, or the logarithm of nothing
            raise PrecisionLost(f"the new ratings cannot be computed: {error}") from error
        if not all(map(math.isfinite, places)):
            raise PrecisionLost(f"a float64 cannot hold the new ratings of {', '.join(players)}")
        words: list[Argument] = []
        for player, raw, rating, place in zip(players, found.raw, changed, places, strict=True):
            after = encode("rating", replace(rating, changed=found.now))
            words += (player.encode(), raw or b"", after, place + 0.0)
        return words

    def _rated(
        self, player: bytes, before: bytes, after: bytes, previous: int | None, rank: int
    ) -> Rated:
        found = decode(before, Rating) if before else self._system.initial
        return Rated(player.decode(), found, decode(after, Rating), rank, previous)

    def _each(self, script: Script, players: Sequence[str]) -> Command[int]:
        names = dict.fromkeys(name_bytes("players", player) for player in players)
        return script(self._keys, (*self._context(), *names), int) if names else answer(0)

    def _context(self) -> tuple[str, str]:
        return self._definition.config, self._system.name


class _Found(NamedTuple):
    """What a script says of players.

    Attributes:
        now: the server's time.
        raw: their ratings as they are stored.
        ratings: as of now; None for one without.
        banned: which of them are banned, counted from 0.
    """

    now: float
    raw: list[bytes | None]
    ratings: list[Rating | None]
    banned: list[int]

    @classmethod
    def of(cls, reply: list[Any], system: RatingSystem) -> _Found:
        """Read the reply."""
        seconds, micros, raw, banned = reply
        now = int(seconds) + int(micros) / 1e6
        ratings = [None if one is None else system.aged(decode(one, Rating), now) for one in raw]
        return cls(now, raw, ratings, [i for i, ban in enumerate(banned) if ban])


def _lineup(teams: Teams) -> list[list[str]]:
    """Return the teams as lists of players, or refuse them by the parameter's name."""
    lineup = [
        [team] if isinstance(team, str) else several(f"teams[{i}]", team)
        for i, team in enumerate(several("teams", teams))
    ]
    if len(lineup) < 2:
        raise ValueError(f"teams must be two or more, not {len(lineup)}")
    for i, team in enumerate(lineup):
        if not team:
            raise ValueError(f"teams[{i}] must not be empty")
    players = [check_name("teams", player) for team in lineup for player in team]
    if len(players) > _MOST_PLAYERS:
        raise ValueError(f"teams must have at most {_MOST_PLAYERS:,} players, not {len(players):,}")
    if len({*players}) < len(players):
        twice = next(player for player in players if players.count(player) > 1)
        raise ValueError(f"teams must not have {twice!r} more than once")
    return lineup


def _as_teams(ratings: Iterable[Rating], lineup: list[list[str]]) -> list[list[Rating]]:
    each = iter(ratings)
    return [[next(each) for _ in team] for team in lineup]


def _outcome(
    teams: int, ranks: Sequence[float] | None, scores: Sequence[float] | None
) -> tuple[list[float], list[float] | None]:
    """Return the place of each team, lower is better, and its score if that is known."""
    if scores is not None:
        if ranks is not None:
            raise ValueError("ranks must not be given beside scores")
        points = _numbers("scores", scores, teams)
        return [-score for score in points], points
    return [*map(float, range(teams))] if ranks is None else _numbers("ranks", ranks, teams), None


def _numbers(parameter: str, values: Sequence[float], count: int) -> list[float]:
    numbers = [exact(f"{parameter}[{i}]", one) for i, one in enumerate(several(parameter, values))]
    if len(numbers) != count:
        raise ValueError(f"{parameter} must be as many as teams, {count}, not {len(numbers)}")
    return numbers


def _refused(players: list[str]) -> SubmissionRefused:
    return SubmissionRefused(
        f"a match is not counted whose player is banned: {', '.join(players)}",
        refusals=[(player, "banned") for player in players],
    )

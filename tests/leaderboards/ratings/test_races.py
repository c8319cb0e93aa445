"""Eight processes at the ratings of five players."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec.structs import replace

import octavo
from octavo.leaderboards import MatchResult, Rated
from octavo.testing import faults
from tests.leaderboards.ratings import race_workers
from tests.leaderboards.ratings.race_workers import PLAYERS, SYSTEMS

if TYPE_CHECKING:
    from tests.fix_servers import Kind, Servers

PROCESSES = 8
STEPS = 40

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("races")]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("embedded", "elo"), ("redis-7", "openskill"), ("cluster", "glicko2")],
)
def test_every_match_is_applied_once_to_the_ratings_it_read(
    kind: Kind, name: str, servers: Servers, prefix: str
) -> None:
    url = servers.get(kind).url
    with faults.Crew() as crew:
        for number in range(PROCESSES):
            crew.spawn(race_workers.play, url, prefix, name, number, STEPS)
        crew.meet()
        reports = crew.results(timeout=50)
    matches: dict[str, MatchResult] = {}
    refused = 0
    for match_id, found in (one for each in reports for one in each):
        if isinstance(found, dict):
            result = msgspec.convert(found, MatchResult)
            assert matches.setdefault(match_id, result) == result, "two replies to one match"
        else:
            refused += 1
    assert refused > 0, "no ban met a match"
    assert len(matches) > PROCESSES * STEPS / 4
    final = replay(matches.values(), name)
    with octavo.connect(url, prefix=prefix) as db:
        ratings = db.ratings("x", system=SYSTEMS[name])
        assert ratings.ratings_of(PLAYERS) == {player: one.after for player, one in final.items()}
        scores = {entry.member: entry.score for entry in ratings.standings}
        assert scores == {p: SYSTEMS[name].ordinal(one.after) for p, one in final.items()}


def replay(matches: Any, name: str) -> dict[str, Rated]:
    """Follow each player from match to match, rate each again; return the last of each player."""
    chains: dict[str, list[Rated]] = {player: [] for player in PLAYERS}
    for match in matches:
        players = list(match.players.values())
        half = len(players) // 2
        for one in players:
            chains[one.player].append(one)
        outcomes = [
            [
                replace(rating, games=rating.games + 1, changed=players[0].after.changed)
                for team in SYSTEMS[name].rate(
                    [[p.before for p in players[:half]], [p.before for p in players[half:]]], places
                )
                for rating in team
            ]
            for places in ([1, 0], [1, 1], [1, 2])
        ]
        assert [one.after for one in players] in outcomes, "not what follows from what was read"
    for player, chain in chains.items():
        chain.sort(key=lambda one: one.after.games)
        assert [one.after.games for one in chain] == [*range(1, len(chain) + 1)], player
        for earlier, later in pairwise(chain):
            assert later.before == earlier.after, player
    return {player: chain[-1] for player, chain in chains.items() if chain}

"""Bad input is refused by name before anything is sent: these clients have no server."""

from __future__ import annotations

import math
import socket
from operator import methodcaller as call
from typing import TYPE_CHECKING, Any

import pytest

from octavo import ConnectionLost, WrongType
from octavo.leaderboards import Elo, Glicko2, OpenSkill, Ratings
from tests.leaderboards.inside import raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from octavo import Octavo, Sync
    from tests.fix_faces import Connect
    from tests.fix_servers import Servers

CALLS: dict[str, Callable[[Any], Any]] = {
    "match": call("match", ["ada", "bob"]),
    "adjust": call("adjust", "ada", 1600),
    "rating": call("rating", "ada"),
    "ratings_of": call("ratings_of", ["ada"]),
    "predict": call("predict", ["ada", "bob"]),
    "ban": call("ban", "ada"),
    "unban": call("unban", "ada"),
    "remove": call("remove", "ada"),
    "banned": call("banned"),
    "clear": call("clear"),
}

WRONG: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "no teams": (call("match", []), ValueError, "teams must be two or more, not 0"),
    "one team": (call("match", [["ada"]]), ValueError, "teams must be two or more, not 1"),
    "an empty team": (call("match", [["ada"], []]), ValueError, r"teams\[1\] must not be empty"),
    "an empty name": (call("match", ["ada", ""]), ValueError, "teams must not be empty"),
    "a number": (call("match", ["ada", 3]), TypeError, r"teams\[1\] must be several, not 3"),
    "numbers": (call("match", ["ada", [3]]), TypeError, "teams must be a str, not 3"),
    "one text": (call("match", "ab"), TypeError, "teams must be several, not the one text 'ab'"),
    "twice": (call("match", ["ada", ["bob", "ada"]]), ValueError, "'ada' more than once"),
    "a crowd": (
        call("match", [[f"p{i}" for i in range(1000)], "ada"]),
        ValueError,
        "at most 1,000 players, not 1,001",
    ),
    "few ranks": (call("match", ["ada", "bob"], ranks=[1]), ValueError, "ranks .* 2, not 1"),
    "many scores": (
        call("match", ["ada", "bob"], scores=[1, 2, 3]),
        ValueError,
        "scores .* 2, not 3",
    ),
    "both": (
        call("match", ["ada", "bob"], ranks=[1, 2], scores=[2, 1]),
        ValueError,
        "ranks must not be given beside scores",
    ),
    "nan": (call("match", ["ada", "bob"], ranks=[1, math.nan]), ValueError, r"ranks\[1\]"),
    "a bool": (call("match", ["ada", "bob"], scores=[True, 0]), TypeError, r"scores\[0\]"),
    "no list": (call("match", ["ada", "bob"], ranks=1), TypeError, "ranks must be several"),
    "match_id": (call("match", ["ada", "bob"], match_id=""), ValueError, "match_id must not be"),
    "match_id 1": (call("match", ["ada", "bob"], match_id=1), TypeError, "match_id must be a str"),
    "predict": (call("predict", ["ada"]), ValueError, "teams must be two or more"),
    "player": (call("rating", ""), ValueError, "player must not be empty"),
    "players": (call("ratings_of", "ada"), TypeError, "players must be several"),
    "nobody": (call("ratings_of", ["ada", None]), TypeError, "players must be a str"),
    "ban": (call("ban", "ada", 1), TypeError, "players must be a str"),
    "unban": (call("unban", ""), ValueError, "players must not be empty"),
    "remove": (call("remove", "ada", b"x"), TypeError, "players must be a str"),
    "nothing": (call("adjust", "ada"), ValueError, "value, deviation or volatility must be given"),
    "value": (call("adjust", "ada", math.inf), ValueError, "value must be finite"),
    "deviation": (call("adjust", "ada", deviation=0), ValueError, "deviation must be more than 0"),
    "volatility": (call("adjust", "ada", volatility=1), ValueError, "volatility is not part"),
}


@pytest.fixture(scope="module")
def nowhere() -> Iterator[str]:
    """The URL of a port that nothing listens on, and nothing else can take."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture
def lost(connect: Connect, nowhere: str) -> Octavo[Sync]:
    """A client that could not send anything."""
    return connect(nowhere, timeout=0.05)


@pytest.mark.parametrize("what", WRONG)
def test_wrong_arguments_are_refused_by_name(what: str, lost: Octavo[Sync]) -> None:
    operation, error, said = WRONG[what]
    with pytest.raises(error, match=said):
        operation(lost.ratings("x", system=OpenSkill()))


@pytest.mark.parametrize("system", [Elo(), Glicko2()], ids=["elo", "glicko2"])
@pytest.mark.parametrize("teams", [["a", "b", "c"], [["a", "b"], ["c"]]])
@pytest.mark.parametrize("name", ["match", "predict"])
def test_more_than_two_players_are_refused_by_systems_for_two(
    name: str, teams: Any, system: Any, lost: Octavo[Sync]
) -> None:
    with pytest.raises(ValueError, match=f"teams must be two players with {system.name}"):
        getattr(lost.ratings("x", system=system), name)(teams)


def test_an_elo_rating_has_no_deviation(lost: Octavo[Sync]) -> None:
    with pytest.raises(ValueError, match="deviation is not part of a rating by elo"):
        lost.ratings("x", system=Elo()).adjust("ada", deviation=3)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"system": None}, TypeError),
        ({"system": Elo}, TypeError),
        ({"system": "elo"}, TypeError),
        ({"system": Elo(), "remember": 0}, ValueError),
        ({"system": Elo(), "remember": "1 day"}, TypeError),
        ({"system": Elo(), "page_size": 0}, ValueError),
    ],
)
def test_wrong_options_are_refused_by_name(
    options: dict[str, Any], error: type[Exception], lost: Octavo[Sync]
) -> None:
    with pytest.raises(error, match=[*options][-1]):
        lost.ratings("x", **options)


@pytest.mark.parametrize("name", CALLS)
def test_right_arguments_are_sent(name: str, lost: Octavo[Sync]) -> None:
    with pytest.raises(ConnectionLost):
        CALLS[name](lost.ratings("x", system=Elo()))


def test_every_operation_is_called() -> None:
    made = {name for name in dir(Ratings) if hasattr(getattr(Ratings, name), "__octavo__")}
    assert CALLS.keys() == made


def test_nobody_is_answered_without_a_server(lost: Octavo[Sync]) -> None:
    ratings = lost.ratings("x", system=Elo())
    assert (ratings.ban(), ratings.unban(), ratings.remove()) == (0, 0, 0)
    assert ratings.ratings_of([]) == {}


@pytest.mark.parametrize("part", ["entries", "data", "bans", "scores", "match:1"])
def test_a_key_of_another_type_is_found_before_the_first_write(
    part: str, connect: Connect, servers: Servers, prefix: str
) -> None:
    server = servers.get("embedded")
    base = f"{prefix}:ratings:{{x}}"
    with raw(server.node_of(base)) as client:
        client.rpush(f"{base}:{part}", "no")
        keys = client.keys(f"{base}*")
        ratings = connect(server.url).ratings("x", system=Elo())
        for operation in (
            call("match", ["ada", "bob"], match_id="1"),
            *([] if part == "match:1" else [call("ban", "ada"), call("remove", "ada")]),
        ):
            with pytest.raises(WrongType):
                operation(ratings)
        assert client.keys(f"{base}*") == keys

"""What comes between the two round trips of a match: bans, other matches, lost replies."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo import ConnectionLost, SubmissionRefused, Unavailable
from octavo.leaderboards import Elo, Glicko2, OpenSkill
from octavo.leaderboards.ratings.ratings import CHANGE
from octavo.testing.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from octavo.leaderboards import Ratings
    from octavo.testing.proxy import Action, WireProxy
    from tests.fix_faces import Connect
    from tests.fix_servers import Servers


@pytest.fixture
def direct(servers: Servers, prefix: str) -> Iterator[Any]:
    """A client beside the proxy."""
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        yield db


def before_each_change(proxy: WireProxy, meddle: Callable[[int], object], times: int = 1) -> None:
    """Have something happen when a match has read and computed, and is about to write."""
    numbers = itertools.count(1)

    def decide(words: list[bytes]) -> Action:
        changes = CHANGE.sha in words[:3] or CHANGE.source in words[:3]
        if changes and (number := next(numbers)) <= times:
            meddle(number)
        return "forward"

    proxy.script(decide)


@pytest.mark.parametrize("who", ["ada", "a new one"])
def test_a_ban_in_the_middle_of_a_match_refuses_it_whole(
    who: str, connect: Connect, proxy: WireProxy, direct: Any
) -> None:
    there: Ratings[Any] = direct.ratings("x", system=OpenSkill())
    there.match([["ada", "bob"], ["cyd", "dot"]])
    before = there.ratings_of(["bob", "cyd", "dot"])
    before_each_change(proxy, lambda _: there.ban(who))
    ratings = connect(proxy.url).ratings("x", system=OpenSkill())
    with pytest.raises(SubmissionRefused, match=f"is banned: {who}") as raised:
        ratings.match([["bob", who], ["cyd", "dot"]], match_id="1")
    assert raised.value.refusals == [(who, "banned")]
    assert there.ratings_of([who, "bob", "cyd", "dot"]) == before
    assert there.standings.rank(who) is None
    there.unban(who)
    assert ratings.match([["bob", who], ["cyd", "dot"]], match_id="1").players


def test_an_unban_in_the_middle_of_a_match_finds_the_rating_of_before(
    connect: Connect, proxy: WireProxy, direct: Any
) -> None:
    there: Ratings[Any] = direct.ratings("x", system=Elo())
    first = there.match(["ada", "bob"]).players["ada"]

    def meddle(_: int) -> None:
        there.ban("ada")
        there.unban("ada")

    before_each_change(proxy, meddle)
    found = connect(proxy.url).ratings("x", system=Elo()).match(["ada", "bob"]).players["ada"]
    assert found.before == first.after


@pytest.mark.parametrize("times", [1, 5])
def test_a_match_in_the_middle_of_another_counts_before_it(
    times: int, connect: Connect, proxy: WireProxy, direct: Any
) -> None:
    there: Ratings[Any] = direct.ratings("x", system=Glicko2())
    between: list[Any] = []
    before_each_change(proxy, lambda n: between.append(there.match(["bob", f"p{n}"])), times)
    ratings = connect(proxy.url).ratings("x", system=Glicko2())
    ratings.banned()  # opens the connection
    proxy.reset()
    found = ratings.match(["ada", "bob"]).players["bob"]
    assert len(between) == times
    assert found.before == between[-1].players["bob"].after
    assert found.after.games == times + 1
    assert proxy.round_trips == 2 + times, "each conflict costs one more round trip"


def test_a_removal_in_the_middle_of_a_match_makes_a_new_player(
    connect: Connect, proxy: WireProxy, direct: Any
) -> None:
    there: Ratings[Any] = direct.ratings("x", system=Elo())
    there.match(["ada", "bob"])
    before_each_change(proxy, lambda _: there.remove("ada"))
    found = connect(proxy.url).ratings("x", system=Elo()).match(["ada", "bob"])
    assert found.players["ada"].after.games == 1
    assert found.players["bob"].after.games == 2


def test_who_is_never_first_gives_up(
    connect: Connect, proxy: WireProxy, direct: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("octavo.leaderboards.ratings.ratings._TRIES", 10)
    there: Ratings[Any] = direct.ratings("x", system=Elo())
    before_each_change(proxy, lambda _: there.match(["ada", "bob"]), times=100)
    with pytest.raises(Unavailable, match="10 times in a row") as raised:
        connect(proxy.url).ratings("x", system=Elo()).match(["ada", "bob"])
    assert raised.value.code == "CONFLICT"
    assert there.rating("ada").games == 10


def test_300_conflicts_in_a_row_are_no_recursion_too_deep(
    connect: Connect, proxy: WireProxy, direct: Any
) -> None:
    there: Ratings[Any] = direct.ratings("x", system=Elo())
    before_each_change(proxy, lambda _: there.match(["ada", "bob"]), times=299)
    found = connect(proxy.url, timeout=30).ratings("x", system=Elo()).match(["ada", "bob"])
    assert found.players["ada"].after.games == 300


@pytest.mark.parametrize("lost", [1, 2])
def test_a_match_with_an_id_whose_reply_is_lost_counts_once(
    lost: int, connect: Connect, proxy: WireProxy, direct: Any
) -> None:
    ratings = connect(proxy.url).ratings("x", system=Glicko2())
    ratings.banned()
    proxy.reset()
    proxy.drop_replies(lost)  # the first is the read's
    found = ratings.match(["ada", "bob"], match_id="1")
    assert proxy.commands["EVAL"] == 2 + lost, "nothing was sent again: the fault did not happen"
    there: Ratings[Any] = direct.ratings("x", system=Glicko2())
    assert there.rating("ada") == found.players["ada"].after
    assert found.players["ada"].after.games == 1
    assert there.match(["ada", "bob"], match_id="1") == found


def test_a_match_without_an_id_whose_reply_is_lost_says_so(
    connect: Connect, proxy: WireProxy, direct: Any
) -> None:
    ratings = connect(proxy.url).ratings("x", system=Elo())
    ratings.banned()
    replies = itertools.count(1)
    proxy.script(lambda _: "drop" if next(replies) == 2 else "forward")
    with pytest.raises(ConnectionLost) as raised:
        ratings.match(["ada", "bob"])
    assert raised.value.outcome == "unknown"
    assert direct.ratings("x", system=Elo()).rating("ada").games == 1


def test_the_memory_of_a_match_ends(connect: Connect, servers: Servers, prefix: str) -> None:
    server = servers.get("embedded")
    ratings = connect(server.url).ratings("x", system=Elo(), remember=0.05)
    ratings.match(["ada", "bob"], match_id="1")
    key = f"{prefix}:ratings:{{x}}:match:1"
    wait_until(lambda: not int(server.node_of(key).cli("EXISTS", key)), "it ends")
    assert ratings.match(["ada", "bob"], match_id="1").players["ada"].after.games == 2


def test_what_is_asked_is_one_round_trip_and_what_changes_is_two(
    connect: Connect, proxy: WireProxy, servers: Servers
) -> None:
    ratings = connect(proxy.url).ratings("x", system=OpenSkill())
    ratings.banned()  # opens the connection
    servers.get("embedded").node_of("").cli("SCRIPT", "FLUSH")
    calls: dict[str, tuple[Callable[[], object], int]] = {
        "match": (lambda: ratings.match([["ada", "cyd"], "bob"], match_id="1"), 2),
        "adjust": (lambda: ratings.adjust("ada", 30), 2),
        "rating": (lambda: ratings.rating("ada"), 1),
        "ratings_of": (lambda: ratings.ratings_of(["ada", "bob"]), 1),
        "predict": (lambda: ratings.predict(["ada", "bob"]), 1),
        "ban": (lambda: ratings.ban("ada"), 1),
        "banned": (ratings.banned, 1),
        "unban": (lambda: ratings.unban("ada"), 1),
        "remove": (lambda: ratings.remove("ada"), 1),
        "standings": (ratings.standings.top, 1),
        "clear": (ratings.clear, 1),
    }
    for (name, (operation, trips)), state in itertools.product(calls.items(), ["cold", "warm"]):
        proxy.reset()
        operation()
        assert proxy.round_trips == trips, (name, state)


@pytest.mark.parametrize("atomic", [True, False])
def test_a_conflict_in_a_batch_is_settled_behind_it(
    atomic: bool, proxy: WireProxy, direct: Any, prefix: str
) -> None:
    there: Ratings[Any] = direct.ratings("x", system=Elo())
    with octavo.connect(proxy.url, prefix=prefix) as db:
        db.doctor()
        done: list[Any] = []

        def decide(words: list[bytes]) -> Action:
            if (words[0] == b"MULTI" or CHANGE.source in words[:3]) and not done:
                done.append(there.match(["bob", "cyd"]))
            return "forward"

        proxy.script(decide)
        with db.batch(atomic=atomic) as batch:
            pending = batch.ratings("x", system=Elo()).match(["ada", "bob"])
        assert done
        assert pending.result().players["bob"].before == done[0].players["bob"].after

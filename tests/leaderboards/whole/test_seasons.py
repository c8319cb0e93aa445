"""Seasons: open, closed at one moment, and frozen from then on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from operator import methodcaller as call
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo import SeasonClosed, SeasonNotFound
from octavo.leaderboards import Events
from octavo.testing import faults
from tests.fix_servers import set_clock
from tests.leaderboards.whole.conftest import HANDS, dump
from tests.leaderboards.whole.model import SECOND

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Octavo, Sync
    from octavo.testing.servers import Standalone
    from tests.fix_servers import Servers
    from tests.leaderboards.whole.conftest import Hands

CHANGES: dict[str, Callable[[Any], Any]] = {
    "submit": call("submit", "ada", 30, data="x"),
    "submit again": call("submit", "ada", 30, idempotency_key="k"),
    "submit_many": call("submit_many", {"bob": 30, "dot": 5}),
    "increment": call("increment", "ada", 2.5),
    "record": call("record", "ada", 30),
    "annotate": call("annotate", "ada", [1, 2]),
    "remove": call("remove", "ada"),
    "remove_between_scores": call("remove_between_scores", 5, 15),
    "trim": call("trim", 1),
    "ban": call("ban", "ada"),
    "unban": call("unban", "dot"),
    "undo": lambda season: season.undo(season.audit(member="bob")[0].id),
    "watch": call("watch", "ada"),
}


def test_a_season_takes_scores_while_it_is_open(db: Octavo[Sync]) -> None:
    board = db.leaderboard("league")
    spring = board.season("spring 2027")
    with pytest.raises(SeasonNotFound):
        spring.submit("ada", 1)
    with pytest.raises(SeasonNotFound):
        spring.top(3)
    assert spring.open() is True
    assert spring.open() is False
    assert spring.submit("ada", 120).rank == 1
    (info,) = board.seasons()
    assert (info.name, info.closes) == ("spring 2027", None)
    assert spring.close() is True
    assert spring.close() is False
    with pytest.raises(SeasonClosed):
        spring.submit("ada", 130)
    assert [(entry.member, entry.score) for entry in spring.top(3)] == [("ada", 120)]
    assert [season.closes is None for season in board.seasons()] == [False]
    assert board.count() == 0


@pytest.mark.parametrize("name", CHANGES)
def test_a_closed_season_is_changed_by_nothing(
    name: str, one: Octavo[Sync], client: Any, prefix: str
) -> None:
    board = one.leaderboard("league", audit=100, events=Events(top=2))
    season = board.season("spring")
    season.open()
    season.submit_many({"ada": 10, "bob": 20, "dot": 5}, data={"ada": "x"})
    season.ban("dot")
    season.close()
    before = dump(client, prefix)
    with pytest.raises(SeasonClosed):
        CHANGES[name](season)
    assert dump(client, prefix) == before


def test_a_season_opens_and_closes_by_the_clock_of_the_server(
    still: Standalone, prefix: str
) -> None:
    start = datetime(2031, 5, 1, tzinfo=UTC)
    forward = set_clock(still, round(start.timestamp()) * SECOND)
    with octavo.connect(still.unix_url, prefix=prefix) as db:
        board = db.leaderboard("league")
        season = board.season("may")
        closes = start + timedelta(seconds=10)
        assert season.open(opens=start + timedelta(seconds=1), closes=closes)
        with pytest.raises(SeasonClosed):
            season.submit("ada", 1)
        forward(SECOND)
        season.submit("ada", 2)
        forward(9 * SECOND - 1)
        season.submit("ada", 3)
        forward(1)
        with pytest.raises(SeasonClosed):
            season.submit("ada", 4)
        assert season.close() is False
        assert season.score("ada") == 3
        (info,) = board.seasons()
        assert (info.opens, info.closes) == (start.timestamp() + 1, closes.timestamp())


def test_a_season_that_was_closed_stays_so_though_the_clock_be_put_back(
    clocked: Standalone, prefix: str
) -> None:
    with octavo.connect(clocked.unix_url, prefix=prefix) as db:
        season = db.leaderboard("league").season("may")
        assert season.open(opens=datetime.now(UTC) - timedelta(days=1))
        season.submit("ada", 1)
        assert season.close()
        with faults.move_clock(clocked, -7200), pytest.raises(SeasonClosed):
            season.submit("ada", 2)
        assert season.score("ada") == 1


@pytest.mark.slow
@pytest.mark.xdist_group("races")
def test_a_season_closed_under_load_has_all_that_was_taken_and_nothing_else(
    servers: Servers, hands: Hands, one: Octavo[Sync], client: Any, prefix: str
) -> None:
    season = one.leaderboard("league", audit=10_000).season("spring")
    season.open()
    url = servers.get("embedded").url
    hands.begin("play", url=url, prefix=prefix, board="league", season="spring")
    assert season.close() is True
    frozen = dump(client, prefix)
    told = hands.results()
    assert dump(client, prefix) == frozen
    assert len(told) == HANDS
    for number, each in enumerate(told):
        assert season.score(f"m{number}") == max(each["taken"]) < each["refused"]
    taken = sum(len(each["taken"]) for each in told)
    submitted = [one for one in season.audit(10_000) if one.kind == "submitted"]
    assert len(submitted) == taken

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.leaderboards.ranking import RANK_METHODS
from tests.leaderboards.cases import CALLS, OPERATIONS, prepare

if TYPE_CHECKING:
    from octavo.leaderboards import RankMethod
    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect
    from tests.fix_servers import Servers

PLAIN = {"clear": "UNLINK", "count": "ZCARD"}


def test_every_operation_has_a_call() -> None:
    assert CALLS.keys() == OPERATIONS


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_an_operation_is_one_round_trip_with_a_cold_and_a_warm_script_cache(
    name: str, once: bool, connect: Connect, proxy: WireProxy, servers: Servers, prefix: str
) -> None:
    server = servers.get("embedded")
    with octavo.connect(server.url, prefix=prefix) as db:
        prepare(db.leaderboard("x"))
    board = connect(proxy.url).leaderboard("x", once=once)
    board.count()  # opens the connection
    server.node_of("").cli("SCRIPT", "FLUSH")
    for command in ("EVAL", "EVALSHA"):
        proxy.reset()
        CALLS[name](board)
        assert proxy.commands == {PLAIN.get(name, command): 1}
        assert proxy.round_trips == 1


@pytest.mark.parametrize("rank", RANK_METHODS)
@pytest.mark.parametrize("order", ["desc", ("desc", "asc")])
def test_a_rank_costs_no_further_round_trip(
    rank: RankMethod, order: Any, connect: Connect, proxy: WireProxy
) -> None:
    board = connect(proxy.url).leaderboard("x", order=order, rank=rank)
    score = 1 if order == "desc" else (1, 2)
    board.submit_many({f"m{i}": score for i in range(20)})
    proxy.reset()
    board.submit("m5", score)
    board.rank("m5")
    board.around("m5", 3)
    board.between_ranks(1, 30)
    assert proxy.round_trips == 4


def test_iterating_is_one_round_trip_for_500_entries(connect: Connect, proxy: WireProxy) -> None:
    board = connect(proxy.url).leaderboard("x")
    board.submit_many({f"m{i}": i for i in range(1200)})
    proxy.reset()
    assert len(list(board)) == 1200
    assert proxy.round_trips == 3


def test_what_needs_no_server_asks_none(connect: Connect, proxy: WireProxy) -> None:
    board = connect(proxy.url).leaderboard("x")
    assert board.submit_many({}) == []
    assert board.remove() == 0
    assert board.ranks_of([]) == []
    assert proxy.accepted == 0

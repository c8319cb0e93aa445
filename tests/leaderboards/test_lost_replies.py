"""What becomes of an operation that the server executed but whose reply was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo import ConnectionLost, PrecisionLost
from tests.leaderboards.cases import READS, WRITES, prepare
from tests.leaderboards.inside import Contents, layout, raw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect
    from tests.fix_servers import Servers

ONCE = [name for name in WRITES if name != "clear"]  # `clear` is no script


@pytest.fixture
def direct(servers: Servers, prefix: str) -> Iterator[Any]:
    """A client beside the proxy."""
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        yield db


def visible(board: Any) -> list[Any]:
    return list(board)


@pytest.mark.parametrize("name", ONCE)
def test_a_once_write_runs_once_and_gives_its_first_reply(
    name: str, connect: Connect, proxy: WireProxy, direct: Any
) -> None:
    for twin in ("with a fault", "without"):
        prepare(direct.leaderboard(twin, keep="sum"))
    board = connect(proxy.url).leaderboard("with a fault", keep="sum", once=True)
    board.count()
    proxy.reset()
    proxy.drop_replies(1)
    found = WRITES[name](board)
    unhurt = direct.leaderboard("without", keep="sum")
    assert found == WRITES[name](unhurt)
    assert visible(direct.leaderboard("with a fault", keep="sum")) == visible(unhurt)
    assert proxy.commands["EVAL"] == 2, "nothing was sent again: the fault did not happen"


@pytest.mark.parametrize("name", WRITES)
def test_another_write_runs_once_and_says_that_its_outcome_is_unknown(
    name: str, connect: Connect, proxy: WireProxy, direct: Any
) -> None:
    for twin in ("with a fault", "without"):
        prepare(direct.leaderboard(twin, keep="sum"))
    board = connect(proxy.url).leaderboard("with a fault", keep="sum")
    board.count()
    proxy.drop_replies(1)
    with pytest.raises(ConnectionLost) as raised:
        WRITES[name](board)
    assert raised.value.outcome == "unknown"
    assert str(raised.value.operation).endswith(f".{name}")
    unhurt = direct.leaderboard("without", keep="sum")
    WRITES[name](unhurt)
    assert visible(direct.leaderboard("with a fault", keep="sum")) == visible(unhurt)


@pytest.mark.parametrize("name", READS)
def test_a_read_is_repeated(name: str, connect: Connect, proxy: WireProxy, direct: Any) -> None:
    prepare(direct.leaderboard("x"))
    board = connect(proxy.url).leaderboard("x")
    board.count()
    proxy.drop_replies(1)
    assert READS[name](board) == READS[name](direct.leaderboard("x"))


def test_a_once_write_gives_its_first_error_again(
    connect: Connect, proxy: WireProxy, direct: Any
) -> None:
    board = connect(proxy.url).leaderboard("x", keep="sum", once=True)
    board.submit("ada", 2**53)
    proxy.drop_replies(1)
    with pytest.raises(PrecisionLost):
        board.submit("ada", 1)
    assert direct.leaderboard("x").score("ada") == 2**53


def test_two_equal_once_writes_are_two_writes(connect: Connect, proxy: WireProxy) -> None:
    board = connect(proxy.url).leaderboard("x", keep="sum", once=True)
    assert [board.submit("ada", 1).score for _ in range(3)] == [1, 2, 3]


def test_the_memory_of_a_once_write_ends_within_a_minute(
    connect: Connect, proxy: WireProxy, servers: Servers, prefix: str
) -> None:
    connect(proxy.url).leaderboard("x", once=True).submit("ada", 1)
    with raw(servers.get("embedded").node_of("")) as client:
        (key,) = client.keys(f"{prefix}:*:once:*")
        assert 0 < client.pttl(key) <= 60_000
        Contents.of(client, layout(prefix, "x")).check()

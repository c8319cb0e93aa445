"""What an operation finds on the server is not what the board would have put there."""

from __future__ import annotations

from operator import methodcaller as call
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo import ConfigMismatch, PrecisionLost, WrongType
from octavo.leaderboards.layout import Layout
from tests.leaderboards.cases import CALLS, WRITES, prepare
from tests.leaderboards.inside import Contents, layout, raw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo import Octavo, Sync
    from tests.fix_servers import Server, Servers

# What each operation has to look at on a board that is ranked dense and has data.
ALL = set(Layout._fields)
TOUCHED = dict.fromkeys(CALLS, ALL) | {
    "annotate": ALL - {"ties"},
    "clear": set[str](),
    "expire": {"entries"},
    "count": {"scores"},
    "score": {"scores", "entries"},
    "score_at": {"scores", "entries"},
    "histogram": {"scores", "entries"},
    "page_of": {"scores", "entries"},
    "percentile": {"scores", "entries"},
    "rank": ALL - {"data"},
    "record": ALL - {"data"},
}
# The calls that give scores, for a board of two columns.
TWO_COLUMNS = {
    "submit": call("submit", "ada", (30, 1)),
    "record": call("record", "ada", (30, 1)),
    "submit_many": call("submit_many", {"ada": (30, 1)}),
    "increment": call("increment", "ada", (2.5, 1)),
}
# Plain commands, which do not look at the configuration.
UNCHECKED = {"count", "clear"}


@pytest.fixture
def client(servers: Servers) -> Iterator[Any]:
    with raw(servers.get("embedded").node_of("")) as client:
        yield client


@pytest.fixture
def one(servers: Servers, prefix: str) -> Iterator[Octavo[Sync]]:
    """A client that is not asked of every face and server."""
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        yield db


def dump(client: Any, keys: Layout) -> list[bytes | None]:
    return [client.dump(key) for key in keys]


@pytest.mark.parametrize("part", Layout._fields)
@pytest.mark.parametrize("name", CALLS)
def test_a_key_of_the_wrong_type_is_named_and_nothing_changes(
    name: str, part: str, one: Octavo[Sync], client: Any, prefix: str
) -> None:
    board = one.leaderboard("x", rank="dense")
    prepare(board)
    keys = layout(prefix, "x")
    key = getattr(keys, part)
    client.delete(key)
    client.rpush(key, "a list")
    before = dump(client, keys)
    if part not in TOUCHED[name]:
        CALLS[name](board)
        return
    with pytest.raises(WrongType) as raised:
        CALLS[name](board)
    assert key.decode() in str(raised.value)
    assert str(raised.value.operation).endswith(f".{name}")
    assert dump(client, keys) == before


@pytest.mark.parametrize("part", Layout._fields)
@pytest.mark.parametrize("name", ["submit", "submit_many", "increment"])
def test_a_new_board_is_not_begun_beside_a_key_of_the_wrong_type(
    name: str, part: str, one: Octavo[Sync], client: Any, prefix: str
) -> None:
    key = getattr(layout(prefix, "x"), part)
    client.rpush(key, "a list")
    with pytest.raises(WrongType):
        WRITES[name](one.leaderboard("x", rank="dense"))
    assert client.keys(f"{prefix}:*") == [key]


def test_a_key_of_the_wrong_type_is_named_on_all_servers(
    db: Octavo[Sync], server: Server, prefix: str
) -> None:
    key = layout(prefix, "x").scores
    with raw(server.node_of(key.decode())) as client:
        client.set(key, "a string")
    with pytest.raises(WrongType) as raised:
        db.leaderboard("x").submit("ada", 1)
    assert key.decode() in str(raised.value)
    assert raised.value.code == "WRONGTYPE"
    assert "script" not in str(raised.value)


@pytest.mark.parametrize(
    "other",
    [
        {"order": ("desc", "asc")},
        {"ties": "latest"},
        {"ties": "member"},
        {"rank": "dense"},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", sorted(CALLS.keys() - UNCHECKED))
def test_another_configuration_is_refused_and_nothing_changes(
    name: str, other: Any, one: Octavo[Sync], client: Any, prefix: str
) -> None:
    prepare(one.leaderboard("x"))
    before = dump(client, layout(prefix, "x"))
    board = one.leaderboard("x", **other)
    with pytest.raises(ConfigMismatch, match="desc earliest sparse"):
        (TWO_COLUMNS if "order" in other else {}).get(name, CALLS[name])(board)
    assert dump(client, layout(prefix, "x")) == before


def test_another_configuration_is_refused_on_all_servers(db: Octavo[Sync]) -> None:
    db.leaderboard("x").submit("ada", 1)
    with pytest.raises(ConfigMismatch) as raised:
        db.leaderboard("x", order="asc").submit("ada", 1)
    assert raised.value.operation == "leaderboard.submit"


@pytest.mark.parametrize(
    "other",
    [
        {"keep": "sum"},
        {"page_size": 3},
        {"once": True},
        {"rank": "ordinal"},
        {"rank": "modified"},
        {"rank": "fractional"},
    ],
    ids=str,
)
def test_what_is_not_stored_may_differ_between_users_of_a_board(
    other: Any, one: Octavo[Sync]
) -> None:
    prepare(one.leaderboard("x"))
    board = one.leaderboard("x", **other)
    for name in CALLS.keys() - {"clear"}:
        CALLS[name](board)


def test_an_emptied_board_keeps_its_configuration_and_a_cleared_one_does_not(
    one: Octavo[Sync], client: Any, prefix: str
) -> None:
    board, other = one.leaderboard("x"), one.leaderboard("x", order="asc")
    board.submit("ada", 1)
    board.remove("ada")
    with pytest.raises(ConfigMismatch):
        other.submit("ada", 1)
    assert board.clear() is True
    assert client.keys(f"{prefix}:*") == []
    assert other.submit("ada", 1).rank == 1


@pytest.mark.parametrize(
    ("old", "by"),
    [
        (2**53, 1),  # too small to change it
        (-(2**53), -1),
        (1.7e308, 1.7e308),  # too large to hold
        (-1.7e308, -1.7e308),
        (1.0, 5e-324),
        (0.1, 1e-18),
    ],
)
@pytest.mark.parametrize("order", ["desc", "asc"])
def test_a_sum_that_a_float64_cannot_hold_changes_nothing(
    old: float, by: float, order: Any, one: Octavo[Sync], client: Any, prefix: str
) -> None:
    board = one.leaderboard("x", keep="sum", order=order)
    board.submit("ada", old, data="kept")
    before = dump(client, layout(prefix, "x"))
    with pytest.raises(PrecisionLost):
        board.submit("ada", by, data="new")
    with pytest.raises(PrecisionLost):
        one.leaderboard("x", order=order).increment("ada", by)
    with pytest.raises(PrecisionLost):
        board.submit_many([("bob", 1), ("ada", -old), ("ada", old), ("ada", by)])
    assert dump(client, layout(prefix, "x")) == before


@pytest.mark.parametrize(("old", "by"), [(2**53, 1), (-1.7e308, -1.7e308)])
def test_a_further_column_that_cannot_hold_its_sum_changes_nothing(
    old: float, by: float, one: Octavo[Sync]
) -> None:
    board = one.leaderboard("x", keep="sum", order=("desc", "asc"))
    board.submit("ada", (1, old))
    with pytest.raises(PrecisionLost):
        board.submit("ada", (1, by))
    assert [entry.scores for entry in board] == [(1, old)]


@pytest.mark.parametrize("member", ["a\0b", "a\r\n+OK\r\n", "a script: b", "ü" * 5000, "{%s}"])
def test_an_error_about_a_member_does_not_upset_the_connection(
    member: str, one: Octavo[Sync]
) -> None:
    board = one.leaderboard("x", keep="sum")
    board.submit(member, 2**53)
    with pytest.raises(PrecisionLost):
        board.submit(member, 1)
    assert board.score(member) == 2**53


def test_precision_is_told_on_all_servers(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", keep="sum")
    board.submit("ada", 2**53)
    with pytest.raises(PrecisionLost) as raised:
        board.increment("ada")
    assert raised.value.operation == "leaderboard.increment"
    assert board.score("ada") == 2**53


@pytest.mark.parametrize(("ties", "expected"), [("earliest", "abc"), ("latest", "cba")])
def test_a_clock_that_went_back_changes_no_order(
    ties: Any, expected: str, one: Octavo[Sync], client: Any, prefix: str
) -> None:
    board = one.leaderboard("x", ties=ties)
    entries = layout(prefix, "x").entries
    board.submit("a", 1)
    # The last submission was an hour later than now.
    later = f"desc {ties} sparse {int(client.time()[0] + 3600) * 1_000_000}"
    client.hset(entries, "", later)
    board.remove("a")
    for member in "abc":
        board.submit(member, 1)
    assert "".join(entry.member for entry in board) == expected
    assert client.hget(entries, "") == later[:-1].encode() + b"3"


def test_the_keys_agree_after_all_operations(one: Octavo[Sync], client: Any, prefix: str) -> None:
    board = one.leaderboard("x", rank="dense")
    prepare(board)
    for name in CALLS:
        CALLS[name](board)
        Contents.of(client, layout(prefix, "x")).check()

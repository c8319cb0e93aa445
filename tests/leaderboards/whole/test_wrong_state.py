"""Keys that hold something else: every one of a board's is looked at before anything is written."""

from __future__ import annotations

from contextlib import suppress
from operator import methodcaller as call
from typing import TYPE_CHECKING, Any

import pytest

from octavo import ConfigMismatch, SubmissionRefused, WrongType
from octavo.leaderboards import Events, Rules, Window
from octavo.leaderboards.layout import board_keys, table_keys
from tests.leaderboards.whole.cases import DAY, WRITES, prepare, write
from tests.leaderboards.whole.conftest import dump

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Octavo, Sync

OPTIONS: dict[str, Any] = {
    "periods": (DAY, Window(60)),
    "rules": Rules(max_submissions=100),
    "audit": 1000,
    "events": Events(top=2),
    "rank": "dense",
}


def keys_of(client: Any, prefix: str) -> list[bytes]:
    """Return all keys that the board may have."""
    base = f"{prefix}:leaderboard:{{x}}"
    days = {key.rpartition(b":")[0].decode() for key in client.keys(f"{base}:day*:entries")}
    tables = [base, f"{base}:last:60s", *days]
    return [*board_keys(base), *(key for table in tables for key in table_keys(table))]


@pytest.mark.parametrize("name", WRITES)
def test_a_key_of_the_wrong_type_is_told_and_nothing_changes(
    name: str, one: Octavo[Sync], client: Any, prefix: str
) -> None:
    board = one.leaderboard("x", **OPTIONS)
    prepare(board)
    change = write(name, board)
    keys = keys_of(client, prefix)
    assert len(keys) == 28
    before = dump(client, prefix)
    hit = 0
    for key in keys:
        client.delete(key)
        client.rpush(key, "a list")
        wrong = dump(client, prefix)
        if refused(change, board):
            hit += 1
            assert dump(client, prefix) == wrong, key
        client.delete(*client.keys(f"{prefix}:*"))
        for name_, value in before.items():
            client.restore(name_, 0, value)
    assert hit >= 12


def refused(change: Callable[[Any], Any], board: Any) -> bool:
    """Whether a change met the wrong type; one that does not use the key may be made."""
    try:
        change(board)
    except WrongType:
        return True
    return False


@pytest.mark.parametrize("name", WRITES)
def test_another_configuration_is_refused_and_nothing_changes(
    name: str, one: Octavo[Sync], client: Any, prefix: str
) -> None:
    board = one.leaderboard("x", **OPTIONS)
    prepare(board)
    change = write(name, board)
    before = dump(client, prefix)
    for other in ({"order": "asc"}, {"ties": "latest"}, {"rank": "ordinal"}, {"half_life": 60}):
        if name == "remove_between_scores" and "half_life" in other:
            continue
        with pytest.raises(ConfigMismatch):
            change(one.leaderboard("x", **OPTIONS | other))
    assert dump(client, prefix) == before


CHANGES_NOTHING = {
    "remove": call("remove", "ada"),
    "trim": call("trim", 3),
    "annotate": call("annotate", "ada", 1),
    "unban": call("unban", "ada"),
    "undo": call("undo", "1763913600000-0"),
    "refused": call("submit_many", [("ada", 2000), ("bob", 3000)]),
}


@pytest.mark.parametrize("name", CHANGES_NOTHING)
def test_what_changes_nothing_makes_no_board(
    name: str, one: Octavo[Sync], client: Any, prefix: str
) -> None:
    board = one.leaderboard("x", **OPTIONS | {"rules": Rules(highest=1000)})
    with suppress(SubmissionRefused):
        CHANGES_NOTHING[name](board)
    assert not [key for key in client.keys(f"{prefix}:*") if b":audit" not in key]

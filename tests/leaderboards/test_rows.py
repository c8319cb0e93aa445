"""Pages that plain commands give: as the script would, in one round trip, whatever happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import octavo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo import Sync
    from octavo.leaderboards import Leaderboard
    from octavo.testing.proxy import WireProxy

KINDS = [{}, {"order": "asc"}, {"rank": "ordinal"}, {"rank": "ordinal", "ties": "member"}]
SCORES = [9] * 2 + [7] * 40 + [5] * 20


@pytest.fixture
def board(proxy: WireProxy, prefix: str, request: Any) -> Iterator[Leaderboard[Sync]]:
    """A board that knows that nobody has data, where from 2 to 40 members share a score."""
    with octavo.connect(proxy.url, prefix=prefix) as db:
        board = db.leaderboard("x", **getattr(request, "param", {}))
        board.submit_many({f"m{i:02}": score for i, score in enumerate(SCORES)})
        board.top()
        proxy.reset()
        yield board


@pytest.mark.parametrize("board", KINDS, indirect=True)
def test_a_page_by_plain_commands_is_what_the_script_says(
    board: Leaderboard[Sync], proxy: WireProxy
) -> None:
    everything = board.between_ranks(1, 100)
    assert len(everything) == len(SCORES)
    for number in range(1, 11):
        assert board.page(number, size=7) == everything[7 * number - 7 : 7 * number]
    assert proxy.commands["ZRANGE"] == 10


def test_only_a_tie_that_begins_far_above_a_page_costs_another_round_trip(
    board: Leaderboard[Sync], proxy: WireProxy
) -> None:
    trips = []
    for number in range(1, 7):
        proxy.reset()
        board.page(number, size=9)
        trips.append(proxy.round_trips)
    assert trips == [1, 1, 2, 2, 2, 1]


def test_data_is_on_a_page_from_when_it_is_there(
    board: Leaderboard[Sync], proxy: WireProxy
) -> None:
    board.annotate("m00", {"level": 3})
    assert board.page(1)[0].data == {"level": 3}
    proxy.reset()
    assert board.page(1)[0].data == {"level": 3}
    assert proxy.round_trips == 1


def test_a_page_of_a_board_that_was_made_anew_otherwise_is_refused(
    board: Leaderboard[Sync], proxy: WireProxy, prefix: str
) -> None:
    board.clear()
    assert board.page(1) == []
    with octavo.connect(proxy.url, prefix=prefix) as db:
        db.leaderboard("x", order="asc").submit("ada", 1)
    with pytest.raises(octavo.ConfigMismatch, match="made as"):
        board.page(1)


@pytest.mark.parametrize("board", [{"rank": "ordinal", "ties": "member"}], indirect=True)
def test_a_rank_that_is_the_place_in_the_set_is_asked_for_plainly_once_the_board_is_known(
    board: Leaderboard[Sync], proxy: WireProxy
) -> None:
    assert [board.rank(member) for member in ("m00", "m41", "nobody", "m61")] == [1, 42, None, 62]
    assert proxy.commands == {"EVAL": 1, "ZRANK": 3}

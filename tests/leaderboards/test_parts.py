"""The parts of a leaderboard that need no server."""

from __future__ import annotations

import math
import random
import struct
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octavo.engine.keys import key_base, slot
from octavo.leaderboards.layout import Layout
from octavo.leaderboards.ranking import RANK_METHODS, ranks
from octavo.leaderboards.scores import Scale, exact
from octavo.leaderboards.standings import _parse_cursor  # pyright: ignore[reportPrivateUsage]

if TYPE_CHECKING:
    from octavo.leaderboards import RankMethod

finite = st.floats(allow_nan=False, allow_infinity=False)


def by_definition(method: RankMethod, scores: list[int]) -> list[float]:
    def rank(place: int) -> float:
        better = sum(score < scores[place] for score in scores)
        equal = scores.count(scores[place])
        return {
            "competition": better + 1,
            "modified": better + equal,
            "fractional": better + (equal + 1) / 2,
            "dense": len({score for score in scores if score < scores[place]}) + 1,
            "ordinal": place + 1,
        }[method]

    return [rank(place) for place in range(len(scores))]


@pytest.mark.parametrize("method", RANK_METHODS)
@given(scores=st.lists(st.integers(0, 4), min_size=1, max_size=9).map(sorted), data=st.data())
def test_the_ranks_of_a_run_are_those_of_the_whole(
    method: RankMethod, scores: list[int], data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(scores) - 1))
    end = data.draw(st.integers(first + 1, len(scores)))
    whole = by_definition(method, scores)
    found = ranks(
        method,
        scores[first:end],
        first=first,
        better=scores.index(scores[first]),
        up_to=len([score for score in scores if score <= scores[end - 1]]),
        dense=int(by_definition("dense", scores)[first]),
    )
    assert found == whole[first:end]


def test_ranks_are_whole_numbers_but_for_fractional_ones() -> None:
    for method in RANK_METHODS:
        found = ranks(method, [1, 1], first=0, better=0, up_to=2, dense=1)
        assert {type(rank) for rank in found} == {float if method == "fractional" else int}


@given(finite)
def test_a_float_is_taken_as_it_is_but_for_the_sign_of_zero(number: float) -> None:
    found = exact("score", number)
    assert found == number
    assert type(found) is float
    assert found != 0 or math.copysign(1, found) == 1


@given(st.integers())
def test_an_int_is_taken_if_a_float64_holds_it(number: int) -> None:
    fits = abs(number) < 2**1023 and int(float(number)) == number
    if fits:
        assert exact("score", number) == number
    else:
        with pytest.raises(ValueError, match="score"):
            exact("score", number)


@pytest.mark.parametrize("number", [Fraction(3, 8), Decimal("-0.5"), Decimal(2**70), 2**1000])
def test_other_numbers_are_taken_if_a_float64_holds_them(number: Any) -> None:
    assert exact("score", number) == number


@pytest.mark.parametrize(
    "number", [Fraction(1, 3), Decimal("0.1"), 2**53 + 1, 10**400, math.nan, -math.inf]
)
def test_other_numbers_are_refused_by_name(number: Any) -> None:
    with pytest.raises(ValueError, match=r"by\[1\]"):
        exact("by[1]", number)


@given(st.sampled_from(["desc", "asc"]), finite)
def test_a_place_gives_back_its_score(order: Any, score: float) -> None:
    scale = Scale(order)
    place = scale.place("score", score)
    assert scale.score(repr(place).encode()) == score
    assert scale.scores(b"", b"") == ()


@given(st.tuples(finite, finite, finite))
def test_places_of_columns_give_back_their_scores(scores: tuple[float, ...]) -> None:
    scale = Scale(("desc", "asc", "desc"))
    first, *rest = scale.places("score", scores)
    key = b"".join(ordered_bytes(place) for place in rest) + b"ada"
    assert scale.scores(repr(first).encode(), key) == scores
    assert math.copysign(1, first) == 1 or first != 0


def ordered_bytes(number: float) -> bytes:
    """Bytes that order like the number, by the book."""
    (word,) = struct.unpack(">Q", struct.pack(">d", number))
    return struct.pack(">Q", word ^ (2**64 - 1 if word >> 63 else 1 << 63))


def test_lower_places_are_better_in_every_column() -> None:
    scale = Scale(("desc", "asc"))
    better_to_worse = [(9, -3), (9, 0), (9, 5), (-0.5, 1), (-7, -7)]
    shuffled = random.Random(0).sample(better_to_worse, len(better_to_worse))
    assert sorted(shuffled, key=lambda pair: scale.places("score", pair)) == better_to_worse


@given(finite, st.binary(min_size=1))
def test_a_cursor_is_read_as_it_was_written(place: float, key: bytes) -> None:
    assert _parse_cursor(f"{place!r}:{key.hex()}") == (place, key)


@given(st.text())
def test_a_cursor_is_read_or_refused_by_name(text: str) -> None:
    try:
        place, _ = _parse_cursor(text)
    except ValueError as error:
        assert "cursor" in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert math.isfinite(place)


# Surrogates are refused where names are encoded.
texts = st.text(min_size=1).filter(lambda text: text.isprintable() or text.isascii())


@given(name=texts, tag=st.none() | texts)
def test_all_keys_of_a_board_share_a_slot(name: str, tag: str | None) -> None:
    keys = Layout.of(key_base("octavo", "leaderboard", name, tag))
    assert len(set(keys)) == len(keys)
    assert len({slot(key) for key in keys}) == 1


@given(tag=texts, boards=st.lists(texts, min_size=2, max_size=4, unique=True))
def test_boards_of_a_tag_share_a_slot_and_no_key(tag: str, boards: list[str]) -> None:
    keys = [Layout.of(key_base("octavo", "leaderboard", name, tag)) for name in boards]
    assert len({slot(key) for layout in keys for key in layout}) == 1
    assert len({key for layout in keys for key in layout}) == 4 * len(boards)


def test_boards_spread_over_the_slots() -> None:
    bases = [key_base("octavo", "leaderboard", f"board {i}", None) for i in range(200)]
    assert len({slot(Layout.of(base).scores) for base in bases}) > 190

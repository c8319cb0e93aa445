"""The checks of plain arguments that jobs share."""

from __future__ import annotations

import math
from datetime import timedelta
from enum import IntEnum
from typing import Any

import pytest

from octavo.engine.checks import flag, millis, number, several, share, whole


class Level(IntEnum):
    """An int that is not printed as one."""

    HIGH = 7


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(1, 1000), (0.07, 70), (0.0001, 1), (timedelta(minutes=1), 60_000), (0.0011, 2)],
)
def test_seconds_become_whole_milliseconds_rounded_up(seconds: Any, expected: int) -> None:
    assert millis("ttl", seconds) == expected


def test_no_time_at_all_is_taken_where_it_is_allowed() -> None:
    assert millis("grace", 0, least=0) == 0
    with pytest.raises(ValueError, match="ttl must be more than 0, not 0"):
        millis("ttl", 0)


@pytest.mark.parametrize("seconds", [math.inf, math.nan, -1, 4e9, timedelta(days=-1)])
def test_a_time_out_of_range_is_refused(seconds: Any) -> None:
    with pytest.raises(ValueError, match="ttl must be"):
        millis("ttl", seconds, least=0)


def test_a_whole_number_is_taken_within_its_bounds() -> None:
    assert [whole("n", 1), whole("n", 5, most=5), whole("n", -5, None), whole("n", 0, 0)] == [
        1, 5, -5, 0,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="n must be at least 1, not 0"):
        whole("n", 0)
    with pytest.raises(ValueError, match="n must be at most 10,000, not 10001"):
        whole("n", 10_001, most=10_000)


def test_what_only_behaves_as_an_int_becomes_one() -> None:
    assert type(whole("n", Level.HIGH)) is int


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (whole, 1.0), (whole, True), (whole, "1"), (whole, None),
        (millis, "1"), (millis, True), (millis, None),
        (number, "1"), (number, False), (share, "0"),
        (several, "ab"), (several, b"cd"), (several, 3),
        (flag, 1), (flag, None),
    ],
)  # fmt: skip
def test_another_type_is_refused_by_name(check: Any, value: Any) -> None:
    with pytest.raises(TypeError, match=r"^it must be .*, not ") as refused:
        check("it", value)
    assert repr(value) in str(refused.value)

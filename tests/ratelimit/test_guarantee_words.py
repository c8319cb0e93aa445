"""What a limit says that it promises; that it keeps it is shown elsewhere."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, get_args

import hypothesis.strategies as st
import pytest
from hypothesis import given

from octavo.ratelimit.limits import Algorithm, Concurrency, Limit, Quota, Rule

windows = st.integers(1, 10_000_000).map(lambda ms: ms / 1000)


@pytest.mark.parametrize(
    ("rule", "window", "most", "words"),
    [
        (Limit("100/minute"), None, 199, "at most 199 in any minute"),
        (Limit("100/minute", burst=20), 3600, 6019, "at most 6,019 in any hour"),
        (Limit("100/minute", burst=20), 0.001, 20, "at most 20 in any ms"),
        (Limit("5/10 s", algorithm="fixed"), None, 10, "at most 10 in any 10 seconds"),
        (Limit("5/10 s", algorithm="fixed"), 20, 15, "at most 15 in any 20 seconds"),
        (Limit("5/10 s", algorithm="sliding"), None, 9, "at most 9 in any 10 seconds"),
        (Limit("5/10 s", algorithm="sliding"), 20, 13, "at most 13 in any 20 seconds"),
        (Limit("1/10 s", algorithm="sliding"), 20, 2, "at most 2 in any 20 seconds"),
        (Limit("5/10 s", algorithm="segmented"), None, 5, "at most 5 in any 10 seconds"),
        (Limit("5/10 s", algorithm="log"), None, 5, "at most 5 in any 10 seconds"),
        (Limit("5/10 s", algorithm="log"), 10.001, 10, "at most 10 in any 10001 ms"),
        (Limit("0/day"), None, 0, "at most 0 in any day"),
        (
            Quota("10000/day"),
            None,
            20_000,
            "at most 10,000 in each day of UTC, 20,000 in any window of one day",
        ),
        (
            Quota("10000/day", tz="Europe/Paris"),
            None,
            20_000,
            "at most 10,000 in each day of Europe/Paris, 20,000 in any window of 21 hours",
        ),
        (
            Quota("5/month"),
            timedelta(days=29),
            15,
            "at most 5 in each month of UTC, 15 in any window of 29 days",
        ),
        (
            Concurrency(5),
            None,
            None,
            "at most 5 at once, if each ends or is renewed within the 30 seconds of its lease",
        ),
        (Limit("100/minute", shadow=True), 1, None, "no bound: it only reports"),
        (Concurrency(5, shadow=True), None, None, "no bound: it only reports"),
    ],
    ids=repr,
)
def test_a_promise_is_said_in_words(rule: Rule, window: Any, most: int | None, words: str) -> None:
    promised = rule.guarantee(window)
    assert (promised.most, promised.words) == (most, words)
    assert str(promised) == words


@pytest.mark.parametrize(
    ("rule", "window"),
    [
        (Limit("5/10 seconds"), 10),
        (Concurrency(5, lease=2), 2),
        (Quota("5/hour", tz="Europe/Paris"), 3600),
        (Quota("5/week"), 7 * 86_400),
        (Quota("5/week", tz="Europe/Paris"), 7 * 86_400 - 3 * 3600),
        (Quota("5/month"), 28 * 86_400),
        (Quota("5/year"), 365 * 86_400),
    ],
    ids=repr,
)
def test_the_window_meant_is_its_own_or_the_shortest_period(rule: Rule, window: float) -> None:
    assert rule.guarantee().window == window


@given(st.sampled_from(get_args(Algorithm)), st.integers(0, 100), windows, windows, windows)
def test_longer_windows_have_no_less_and_two_have_no_more_than_the_sum(
    algorithm: Any, limit: int, length: float, one: float, other: float
) -> None:
    rule = Limit.per(limit, length, algorithm=algorithm)
    both = round(one + other, 3)
    first, second, joined = (rule.guarantee(window).most or 0 for window in (one, other, both))
    assert max(first, second) <= joined <= first + second


@given(st.sampled_from(get_args(Algorithm)), st.integers(1, 100), windows)
def test_a_promise_for_the_own_window_is_no_less_than_the_limit_and_no_more_than_twice(
    algorithm: Any, limit: int, length: float
) -> None:
    most = Limit.per(limit, length, algorithm=algorithm).guarantee().most
    assert most is not None
    assert limit <= most <= 2 * limit
    assert most == limit or algorithm not in {"log", "segmented"}


@pytest.mark.parametrize("window", [0, -1, "60", float("inf"), True], ids=repr)
def test_a_window_that_is_none_is_refused(window: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="window must be") as refused:
        Limit("5/minute").guarantee(window)
    assert repr(window) in str(refused.value)

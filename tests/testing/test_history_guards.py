from __future__ import annotations

import random
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest

from octavo.testing.histories import (
    EmptyHistory,
    History,
    Interval,
    InvariantBroken,
    Operation,
    exclusive,
    fences_increase,
    within_limit,
)
from tests.testing.atomic_objects import contended_lock

if TYPE_CHECKING:
    from octavo.testing.histories import Outcome


def op(
    start: float, end: float | None, outcome: Outcome = "ok", *, result: Any = None, key: str = ""
) -> Operation:
    return Operation("p", "acquire", (), start, end, outcome, result, key)


BUSY = History([op(0, 2), op(1, 3), op(4, 5, "failed")])


def test_a_history_in_which_enough_happened_passes() -> None:
    BUSY.require(during=[(0.5, 0.6), (3, 4), (5, 9)])


@pytest.mark.parametrize(
    ("history", "wanted", "lack"),
    [
        (History(), {}, "0 of 0 operations ended ok"),
        (BUSY, {"ok": 0.7}, "2 of 3 operations ended ok, 70% must"),
        (BUSY, {"contended": 2}, "1 operations on '' overlapped an earlier one, 2 must"),
        (History([op(0, 1), op(1, 2)]), {}, "0 operations on '' overlapped"),
        (History([op(0, 2), op(1, 3, key="b")]), {}, "on '' .*; 0 operations on 'b' overlapped"),
        (History([op(0, None, "unknown"), op(1, 2)]), {}, "0 operations on '' overlapped"),
        (BUSY, {"during": [(1, 2), (3.1, 3.9)]}, "no operation overlapped the fault from 3.1 to"),
        (History([*BUSY, op(5, None, "unknown")]), {"during": [(6, 7)]}, "the fault from 6 to 7"),
        (BUSY, {"ok": 1, "during": [(8, 9)]}, "ended ok, 100% must; no operation overlapped"),
    ],
)
def test_a_history_in_which_too_little_happened_is_refused(
    history: History, wanted: dict[str, Any], lack: str
) -> None:
    with pytest.raises(EmptyHistory, match=lack):
        history.require(**wanted)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), 50])
def test_a_share_that_is_none_is_bad_input(share: float) -> None:
    with pytest.raises(ValueError, match=f"ok must be a share from 0 to 1, not {share}"):
        BUSY.require(ok=share)


@pytest.mark.parametrize(("end", "outcome"), [(0.5, "ok"), (None, "ok"), (0.5, "unknown")])
def test_an_operation_cannot_end_before_it_began_or_end_ok_without_an_end(
    end: float | None, outcome: Outcome
) -> None:
    with pytest.raises(ValueError, match="t_return must be"):
        op(1, end, outcome)


def test_holders_one_after_another_are_exclusive() -> None:
    exclusive([Interval("b", 2, 3), Interval("a", 1, 2), Interval("late", 2.5, 2.5)])


@pytest.mark.parametrize(
    "intervals",
    [
        [Interval("a", 1, 3), Interval("b", 2, 4)],
        [Interval("b", 2, 3), Interval("a", 1, 4)],
        [Interval("a", 1, 2), Interval("b", 1, 2)],
        [Interval("a", 0, 9), Interval("c", 1, 2), Interval("b", 5, 6)],
    ],
)
def test_two_holders_at_once_are_named(intervals: list[Interval]) -> None:
    with pytest.raises(InvariantBroken, match=r"who='a'.* and .*who='[bc]'") as broken:
        exclusive(intervals)
    assert len(broken.value.cases) == len(intervals) - 1


def test_weights_within_the_limit_pass() -> None:
    within_limit(
        [
            Interval("a", 0, 5, weight=2),
            Interval("b", 1, 2),
            Interval("c", 2, 3),
            Interval("d", 5, 6, 3),
        ],
        limit=3,
    )


def test_weights_over_the_limit_are_found_at_each_moment() -> None:
    intervals = [Interval("a", 0, 5, weight=2), Interval("b", 1, 3), Interval("c", 2, 4)]
    with pytest.raises(InvariantBroken, match="1 times, the holders' weights exceeded 3") as broken:
        within_limit(intervals, limit=3)
    assert broken.value.cases == [tuple(intervals)]


def test_fences_that_increase_from_grant_to_grant_pass() -> None:
    fences_increase(
        [
            op(0, 4, result=2),
            op(1, 5, result=1),
            op(6, 8, result=4),
            op(8, 9, result=3),
            op(8, 9, "failed"),
            op(8, 9, "unknown"),
            op(8, 9, result=None),
            op(8, 9, result=1, key="another lock"),
        ]
    )


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        (op(0, 1, result=2), op(2, 3, result=1)),
        (op(0, 1, result=2), op(2, 3, result=2)),
        (op(0, 3, result=2), op(1, 2, result=2)),
    ],
)
def test_a_fence_that_does_not_increase_is_found(earlier: Operation, later: Operation) -> None:
    between = op(1.5, 1.6, result=-1)
    with pytest.raises(InvariantBroken, match="a fence did not increase") as broken:
        fences_increase([later, between, earlier])
    assert (earlier, later) in broken.value.cases


@pytest.mark.parametrize("seed", range(30))
def test_the_one_pass_finds_a_fence_wherever_comparing_all_grants_does(seed: int) -> None:
    rng = random.Random(seed)
    grants = [
        op(start, start + rng.randint(0, 4), result=start + rng.randint(-2, 5))
        for start in rng.sample(range(40), 12)
    ]
    pairs = combinations(sorted(grants, key=lambda grant: grant.t_call), 2)
    wrong = any(
        a.result == b.result or (a.last_seen < b.t_call and a.result > b.result) for a, b in pairs
    )
    try:
        fences_increase(grants)
    except InvariantBroken:
        assert wrong
    else:
        assert not wrong


def test_fifty_thousand_operations_are_checked_in_one_pass() -> None:
    history = contended_lock(random.Random(1), 50_000, 16, ttl=2)
    fences_increase(history)
    grants = {each.args: each for each in history if each.name == "acquire"}
    releases = [each for each in history if each.name == "release"]
    exclusive(Interval(e.process, grants[e.args].last_seen, e.t_call) for e in releases)

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from octavo.testing.histories import (
    BudgetExceeded,
    Counter,
    Model,
    Mutex,
    Operation,
    Queue,
    Register,
    Semaphore,
    Set,
    check,
    expirations,
)
from tests.testing.atomic_objects import contended_lock

if TYPE_CHECKING:
    from octavo.testing.histories import Outcome

MODELS: dict[str, Model[Any]] = {
    "register": Register(0),
    "counter": Counter(),
    "queue": Queue(),
    "set": Set(),
    "mutex": Mutex(),
    "semaphore": Semaphore(3),
}


def op(
    start: float, end: float | None, call: str, *args: Any, gives: Any = None, key: str = ""
) -> Operation:
    """Make an operation from `start` to `end`; without an end, its outcome is unknown."""
    outcome: Outcome = "unknown" if end is None else "ok"
    return Operation(f"p{start:g}", call, args, start, end, outcome, gives, key)


GOOD = {
    "register: nothing happened": [],
    "register: a read during a write sees the old value": [
        op(0, 3, "write", 1),
        op(1, 2, "read", gives=0),
    ],
    "register: a read during a write sees the new value": [
        op(0, 3, "write", 1),
        op(1, 2, "read", gives=1),
    ],
    "register: what returns as another is called may come after it": [
        op(0, 1, "read", gives=1),
        op(1, 2, "write", 1),
    ],
    "register: one of two concurrent swaps succeeds": [
        op(0, 3, "cas", 0, 1, gives=True),
        op(1, 2, "cas", 0, 2, gives=False),
    ],
    "register: a write of unknown outcome took effect": [
        op(0, None, "write", 1),
        op(1, 2, "read", gives=1),
    ],
    "register: a write of unknown outcome took effect late": [
        op(0, None, "write", 1),
        op(1, 2, "read", gives=0),
        op(3, 4, "write", 2),
        op(5, 6, "read", gives=1),
    ],
    "register: a write of unknown outcome never took effect": [
        op(0, None, "write", 1),
        op(1, 2, "read", gives=0),
    ],
    "register: a swap of unknown outcome found its value later": [
        op(0, None, "cas", 5, 6),
        op(1, 2, "write", 5),
        op(3, 4, "read", gives=6),
    ],
    "register: of two writes of unknown outcome the second took effect first": [
        op(0, None, "write", 2),
        op(0, None, "write", 1),
        op(1, 2, "read", gives=1),
        op(3, 4, "read", gives=2),
    ],
    "counter: concurrent additions in either order": [
        op(0, 3, "add", 2, gives=5),
        op(1, 2, "add", 3, gives=3),
    ],
    "counter: two of three additions of unknown outcome took effect": [
        op(0, None, "add", 1),
        op(0, None, "add", 1),
        op(0, None, "add", 1),
        op(1, 2, "read", gives=2),
    ],
    "queue: concurrent items in either order": [
        op(0, 3, "enqueue", "a"),
        op(1, 2, "enqueue", "b"),
        op(4, 5, "dequeue", gives="b"),
        op(6, 7, "dequeue", gives="a"),
        op(8, 9, "dequeue"),
    ],
    "queue: an item was taken by somebody who never said so": [
        op(0, 1, "enqueue", "a"),
        op(2, None, "dequeue"),
        op(3, 4, "dequeue"),
    ],
    "set: an element is added once": [
        op(0, 3, "add", 1, gives=True),
        op(1, 2, "add", 1, gives=False),
        op(4, 5, "read", gives=(1,)),
        op(6, 7, "remove", 1, gives=True),
        op(8, 9, "contains", 1, gives=False),
    ],
    "mutex: a waiter is granted the lock on its release": [
        op(0, 1, "acquire", "a", gives=4),
        op(2, 5, "acquire", "b", gives=9),
        op(3, 4, "release", "a", gives=True),
    ],
    "mutex: who comes too late is refused": [
        op(0, 1, "acquire", "a", gives=4),
        op(2, 3, "acquire", "b"),
    ],
    "mutex: a grant nobody saw keeps others out": [
        op(0, None, "acquire", "a"),
        op(1, 2, "acquire", "b"),
    ],
    "mutex: a release of unknown outcome freed the lock": [
        op(0, 1, "acquire", "a", gives=4),
        op(2, None, "release", "a"),
        op(5, 6, "acquire", "b", gives=5),
    ],
    "mutex: a lease expired": [
        op(0, 1, "acquire", "a", gives=4),
        op(4, None, "expire", "a"),
        op(5, 6, "acquire", "b", gives=5),
        op(7, 8, "release", "a", gives=False),
    ],
    "semaphore: as many as there are permits": [
        op(0, 1, "acquire", "a", 2, gives=1),
        op(2, 3, "acquire", "b", gives=2),
        op(4, 5, "acquire", "c"),
        op(6, 7, "release", "a", gives=True),
        op(8, 9, "acquire", "c", 2, gives=3),
    ],
}

BAD = {
    "register: a stale read": [op(0, 1, "write", 1), op(2, 3, "read", gives=0)],
    "register: a value that goes back": [
        op(0, 9, "write", 1),
        op(1, 2, "read", gives=1),
        op(3, 4, "read", gives=0),
    ],
    "register: two swaps of one value": [
        op(0, 3, "cas", 0, 1, gives=True),
        op(1, 2, "cas", 0, 2, gives=True),
    ],
    "register: a write of unknown outcome before its call": [
        op(0, 1, "read", gives=1),
        op(2, None, "write", 1),
    ],
    "register: a write of unknown outcome that took effect twice": [
        op(0, None, "write", 1),
        op(1, 2, "read", gives=1),
        op(3, 4, "write", 2),
        op(5, 6, "read", gives=1),
    ],
    "counter: a lost update": [op(0, 2, "add", 1, gives=1), op(1, 3, "add", 1, gives=1)],
    "counter: an addition of unknown outcome that took effect twice": [
        op(0, None, "add", 1),
        op(1, 2, "read", gives=2),
    ],
    "queue: an item delivered twice": [
        op(0, 1, "enqueue", "a"),
        op(2, 4, "dequeue", gives="a"),
        op(3, 5, "dequeue", gives="a"),
    ],
    "queue: items out of order": [
        op(0, 1, "enqueue", "a"),
        op(2, 3, "enqueue", "b"),
        op(4, 5, "dequeue", gives="b"),
    ],
    "queue: a lost item": [op(0, 1, "enqueue", "a"), op(2, 3, "dequeue")],
    "set: an element added twice": [
        op(0, 2, "add", 1, gives=True),
        op(1, 3, "add", 1, gives=True),
    ],
    "set: an element that was never added": [op(0, 1, "read", gives=(1,))],
    "mutex: two holders": [
        op(0, 1, "acquire", "a", gives=4),
        op(2, 3, "acquire", "b", gives=5),
        op(4, 5, "release", "a", gives=True),
    ],
    "mutex: a fence that was given before": [
        op(0, 1, "acquire", "a", gives=4),
        op(2, 3, "release", "a", gives=True),
        op(4, 5, "acquire", "b", gives=4),
    ],
    "mutex: a release by somebody else": [
        op(0, 1, "acquire", "a", gives=4),
        op(2, 3, "release", "b", gives=True),
    ],
    "mutex: refused though free": [op(0, 1, "acquire", "a")],
    "mutex: a lease that expired too early": [
        op(0, 1, "acquire", "a", gives=4),
        op(4, None, "expire", "a"),
        op(2, 3, "acquire", "b", gives=5),
    ],
    "mutex: a release of unknown outcome that freed the next holder": [
        op(0, 1, "acquire", "a", gives=4),
        op(2, None, "release", "a"),
        op(3, 4, "acquire", "b", gives=5),
        op(5, 6, "acquire", "c", gives=6),
    ],
    "semaphore: more than there are permits": [
        op(0, 1, "acquire", "a", 2, gives=1),
        op(2, 3, "acquire", "b", 2, gives=2),
    ],
    "semaphore: refused though permits were free": [
        op(0, 1, "acquire", "a", 2, gives=1),
        op(2, 3, "acquire", "b"),
    ],
    "semaphore: a permit released twice": [
        op(0, 1, "acquire", "a", gives=1),
        op(2, 3, "release", "a", gives=True),
        op(4, 5, "release", "a", gives=True),
    ],
}


@pytest.mark.parametrize("case", GOOD)
def test_a_linearizable_history_is_accepted(case: str) -> None:
    verdict = check(MODELS[case.partition(":")[0]], GOOD[case])
    assert verdict, verdict.explanation


@pytest.mark.parametrize("case", BAD)
def test_a_history_without_an_order_is_refused(case: str) -> None:
    assert not check(MODELS[case.partition(":")[0]], BAD[case])


@pytest.mark.parametrize("case", BAD)
def test_a_failed_operation_explains_nothing(case: str) -> None:
    excuse = [
        Operation("p", name, args, 0, 9, "failed")
        for name, args in [("write", (0,)), ("add", (1,)), ("expire", ("a",))]
    ]
    assert not check(MODELS[case.partition(":")[0]], [*BAD[case], *excuse])


def test_objects_are_judged_one_by_one() -> None:
    history = [
        op(0, 1, "write", 1, key="a"),
        op(2, 3, "read", gives=0, key="b"),
        op(4, 5, "read", gives=1, key="a"),
    ]
    assert check(Register(0), history)
    assert "'b'" in check(Register(1), history).explanation


def test_an_explanation_shows_how_far_an_order_goes_and_what_cannot_follow() -> None:
    history = [
        op(0, 2, "acquire", "a", gives=4, key="stock"),
        op(1, None, "acquire", "x", key="stock"),
        op(3, 7, "acquire", "b", gives=5, key="stock"),
        op(4, 8, "acquire", "c", gives=6, key="stock"),
    ]
    assert check(Mutex(), history).explanation.splitlines() == [
        "On 'stock' an order was found for 1 of 3 operations that ended ok, no more. It ends:",
        "  p0: acquire('a') -> 4  [----------]",
        "Then the state is Holder(owner='a', fence=4) and none of these can go next:",
        "  p3: acquire('b') -> 5                   [-----------------------]",
        "  p4: acquire('c') -> 6                         [-----------------------]",
    ]


def test_an_unknown_operation_that_an_order_needs_is_shown_without_an_end() -> None:
    history = [
        op(0, None, "write", 7),
        op(1, 2, "read", gives=7),
        op(3, 4, "read", gives=0),
    ]
    assert "p0: write(7) -> ?  [------" in check(Register(0), history).explanation


def test_the_culprit_among_thousands_is_shown() -> None:
    history = [*contended_lock(random.Random(3), 2000, 4, ttl=2)]
    grants = [i for i, each in enumerate(history) if each.name == "acquire" and each.result]
    history[grants[700]] = replace(history[grants[700]], result=history[grants[650]].result)
    verdict = check(Mutex(), [*history, *expirations(history, ttl=2)])
    *_, stuck = verdict.explanation.partition("none of these can go next:")
    assert not verdict
    assert str(history[grants[700]]) in stuck


def test_a_search_that_takes_too_long_is_given_up() -> None:
    history = [
        *(op(0, 1, "enqueue", number) for number in range(20)),
        op(2, 3, "dequeue", gives="never enqueued"),
    ]
    with pytest.raises(BudgetExceeded, match=r"found for \d+ of 21 operations"):
        check(Queue(), history, budget=10_000)


def test_the_budget_is_for_all_objects_together() -> None:
    history = [op(0, 1, "write", 1, key=str(number)) for number in range(10)]
    check(Register(), history, budget=10)
    with pytest.raises(BudgetExceeded):
        check(Register(), history, budget=9)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_an_operation_the_model_does_not_have_is_bad_input(model: Model[Any]) -> None:
    with pytest.raises(ValueError, match="op must be one that the model has, not tickle"):
        check(model, [op(0, 1, "tickle")])


def test_unknown_operations_that_change_nothing_cost_next_to_nothing() -> None:
    crashed = [op(0, None, "acquire", f"c{n}") for n in range(40)]
    expired = [op(1, None, "expire", f"c{n}") for n in range(40)]
    grants = [op(2, 3, "acquire", "a", gives=4), op(4, 5, "acquire", "b", gives=5)]
    assert not check(Mutex(), [*crashed, *expired, *grants], budget=20_000)


def test_alike_unknown_operations_count_as_one_choice() -> None:
    lost = [op(0, None, "add", 1) for _ in range(40)]
    assert not check(Counter(), [*lost, op(1, 2, "read", gives=41)], budget=5_000)


def test_only_leases_that_were_not_released_expire_by_themselves() -> None:
    history = [
        op(0, 1, "acquire", "released", gives=1),
        op(2, 3, "release", "released", gives=True),
        op(4, 5, "acquire", "lost", gives=2),
        op(6, 7, "release", "lost", gives=False),
        op(8, None, "acquire", "unknown"),
        op(9, 10, "acquire", "refused"),
        op(11, 12, "acquire", "kept", gives=3, key="other"),
        op(13, 14, "release", "kept", gives=True),
    ]
    assert [(each.key, each.args, each.t_call) for each in expirations(history, ttl=0.5)] == [
        ("", ("lost",), 4.5),
        ("", ("unknown",), 8.5),
        ("other", ("kept",), 11.5),
    ]

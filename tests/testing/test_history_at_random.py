from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from detangle import lin

from octavo.testing.histories import (
    Counter,
    Mutex,
    Operation,
    Queue,
    Register,
    Semaphore,
    Set,
    check,
    expirations,
)
from tests.testing import atomic_objects as atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OBJECTS: dict[str, tuple[Callable[[], Any], Any]] = {
    "register": (atomic.Register, Register()),
    "counter": (atomic.Counter, Counter()),
    "queue": (atomic.Queue, Queue()),
    "set": (atomic.Set, Set()),
    "mutex": (atomic.Lock, Mutex()),
    "semaphore": (lambda: atomic.Lock(limit=3), Semaphore(3)),
}

IMPOSSIBLE: dict[str, tuple[str, Any]] = {
    "register": ("read", "never written"),
    "counter": ("read", 0.5),
    "queue": ("dequeue", "never enqueued"),
    "set": ("read", ["never added"]),
    "mutex": ("acquire", 0),
    "semaphore": ("release", "not a bool"),
}

PEERS: dict[str, tuple[Callable[[], Any], Any, lin.Model]] = {
    "register": (atomic.Register, Register(), lin.Register()),
    "counter": (atomic.Counter, Counter(), lin.Counter()),
    "queue": (atomic.Queue, Queue(), lin.FIFOQueue()),
    "set": (atomic.Set, Set(), lin.Set()),
    "lock": (atomic.Lock, Semaphore(1), lin.Mutex()),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_what_an_atomic_object_did_is_linearizable(kind: str) -> None:
    make, model = OBJECTS[kind]
    for seed in range(100):
        verdict = check(model, atomic.history_of(make(), random.Random(seed)))
        assert verdict, f"seed {seed}: {verdict.explanation}"


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_one_impossible_result_among_many_is_found(kind: str) -> None:
    make, model = OBJECTS[kind]
    name, wrong = IMPOSSIBLE[kind]
    for seed in range(100):
        history = [*atomic.history_of(make(), random.Random(seed))]
        known = [i for i, each in enumerate(history) if each.name == name and each.outcome == "ok"]
        spoiled = random.Random(seed).choice(known)
        history[spoiled] = replace(history[spoiled], result=wrong)
        assert not check(model, history), f"seed {seed}"


@pytest.mark.parametrize("kind", PEERS)
def test_another_checker_comes_to_the_same_verdict(kind: str) -> None:
    make, model, peer = PEERS[kind]
    verdicts = [0, 0]
    for seed in range(120):
        history = damaged(atomic.history_of(make(), random.Random(seed)), random.Random(seed))
        if kind == "lock":  # theirs cannot tell that somebody was refused
            history = [each for each in history if each.result or each.outcome == "unknown"]
        verdict = check(model, history)
        theirs = lin.check(in_their_words(history, peer), peer)
        assert verdict.linearizable == theirs.ok, f"seed {seed}: {verdict.explanation}"
        verdicts[verdict.linearizable] += 1
    assert min(verdicts) > 12, verdicts


@pytest.mark.parametrize("processes", [4, 16])
def test_a_lock_with_5000_operations_and_crashes_is_checked_in_two_seconds(processes: int) -> None:
    history = atomic.contended_lock(random.Random(7), 5000, processes, ttl=2)
    history.require(ok=0.9)
    started = time.process_time()
    verdict = check(Mutex(), [*history, *expirations(history, ttl=2)])
    assert time.process_time() - started < 2
    assert verdict, verdict.explanation
    assert not check(Mutex(), history), "without expirations nobody gets the lock after a crash"


def damaged(history: Sequence[Operation], rng: random.Random) -> list[Operation]:
    """Swap two results of one sort of operation, or lose an operation; often that shows."""
    operations = [*history]
    known = [i for i, each in enumerate(operations) if each.outcome == "ok"]
    first = rng.choice(known)
    second = rng.choice([i for i in known if operations[i].name == operations[first].name])
    results = operations[first].result, operations[second].result
    operations[first] = replace(operations[first], result=results[1])
    operations[second] = replace(operations[second], result=results[0])
    if rng.random() < 0.5:
        del operations[first]
    return operations


def in_their_words(history: Sequence[Operation], model: lin.Model) -> list[lin.Operation]:
    """Translate; what holds their lock is a process."""
    times = sorted({time for each in history for time in (each.t_call, each.last_seen)})
    rank = {time: number for number, time in enumerate(times, 1)}
    return [
        lin.Operation(
            index=index,
            process=each.args[0] if isinstance(model, lin.Mutex) else each.process,
            f=each.name,
            arg=each.args[0] if len(each.args) == 1 else each.args or None,
            call=rank[each.t_call],
            call_time=each.t_call,
            output=each.result,
            status="ok" if each.outcome == "ok" else "info",
            ret=rank[each.last_seen] if each.outcome == "ok" else None,
        )
        for index, each in enumerate(history)
    ]

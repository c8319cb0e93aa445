"""Histories: what processes did to one system at once, and whether it may have answered so.

    with Recorder(directory, "worker 1") as recorder:  # in each process
        with recorder.operation("acquire", owner, key="stock") as attempt:
            attempt.result = lock.acquire(wait=5).fence

    history = load(directory)
    history.require(during=faults)
    verdict = check(Mutex(), [*history, *expirations(history, ttl=2)])
    assert verdict, verdict.explanation

`require` refuses a run in which too little happened. The invariants beside `check` cost one pass.
"""

from octavo.testing.histories.checker import BudgetExceeded, Verdict, check
from octavo.testing.histories.invariants import (
    Interval,
    InvariantBroken,
    exclusive,
    fences_increase,
    within_limit,
)
from octavo.testing.histories.models import (
    UNKNOWN,
    Counter,
    Model,
    Mutex,
    Queue,
    Register,
    Semaphore,
    Set,
    Unknown,
    expirations,
)
from octavo.testing.histories.operations import EmptyHistory, History, Operation, Outcome
from octavo.testing.histories.recorder import Attempt, Recorder, load

__all__ = [
    "UNKNOWN",
    "Attempt",
    "BudgetExceeded",
    "Counter",
    "EmptyHistory",
    "History",
    "Interval",
    "InvariantBroken",
    "Model",
    "Mutex",
    "Operation",
    "Outcome",
    "Queue",
    "Recorder",
    "Register",
    "Semaphore",
    "Set",
    "Unknown",
    "Verdict",
    "check",
    "exclusive",
    "expirations",
    "fences_increase",
    "load",
    "within_limit",
]

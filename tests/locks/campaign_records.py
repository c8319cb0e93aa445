"""What processes that race for locks write, and how that is judged.

Each line of execution records what it asks for, and while it holds that, again and again, until
when it relied on it. Beside that it uses a resource, which all can see: it counts there, without
protection, and says its fence at the gate.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from octavo.testing.histories import (
    History,
    Interval,
    InvariantBroken,
    Mutex,
    Semaphore,
    check,
    exclusive,
    expirations,
    fences_increase,
    load,
    within_limit,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path

SLACK = 0.02
"""Seconds by which a clock of one process may seem to differ from that of another."""


class Resource:
    """What a lock protects: numbers in a file that all processes have in their memory.

    Attributes:
        count: what everybody increments, in two steps.
        torn: how often somebody found another one between the two.
        disorder: how often a fence came that was not newer than the one before.
        newest: the newest fence that was let in at the gate.
        refused: how many were not.
        overtaken: how many of these still had a valid lease.
    """

    FIELDS = ("count", "inside", "torn", "disorder", "newest", "refused", "overtaken")

    count: int
    inside: int
    torn: int
    disorder: int
    newest: int
    refused: int
    overtaken: int

    def __init__(self, path: Path | str) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(self._file, 8 * len(self.FIELDS))
        self._cells = memoryview(mmap.mmap(self._file, 0)).cast("q")

    def __getattr__(self, name: str) -> int:
        if name not in self.FIELDS:
            raise AttributeError(name)
        return self._cells[self.FIELDS.index(name)]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.FIELDS:
            self._cells[self.FIELDS.index(name)] = value
        else:
            super().__setattr__(name, value)

    def increment(self, fence: int) -> None:
        """Count, so that two who do it at once are sure to be noticed."""
        self.torn += self.inside
        self.inside = 1
        self.disorder += fence <= self.newest
        self.newest = fence
        count = self.count
        os.sched_yield()
        self.count = count + 1
        self.inside = 0

    def admit(self, lease: Any) -> bool:
        """Let in who holds a lease, unless somebody with a newer one has been here."""
        with self._gate():
            admitted = bool(lease.fence >= self.newest)
            if admitted:
                self.newest = lease.fence
            else:
                self.refused += 1
                self.overtaken += bool(lease.valid)
        return admitted

    @contextmanager
    def _gate(self) -> Generator[None]:
        fcntl.flock(self._file, fcntl.LOCK_EX)  # which ends with the process
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


@dataclass
class Findings:
    """What there is to say of a history.

    Attributes:
        operations: how many were recorded, and how they ended.
        grants: how many places were granted.
        lost: how many leases were lost before they were released.
        together: how often somebody held what somebody else held.
    """

    operations: int
    outcomes: Counter[str]
    grants: int
    lost: int
    together: int = 0

    def __str__(self) -> str:
        ended = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items()))
        return (
            f"{self.operations} operations ({ended}), {self.grants} grants, {self.lost} leases"
            f" lost, {self.together} held together"
        )


def moves(history: Iterable[Any]) -> History:
    """Return what changes who holds what."""
    return History(each for each in history if each.name in {"acquire", "release"})


def held(history: Iterable[Any]) -> dict[str, list[Interval]]:
    """Return when somebody relied on holding something, by what it was."""
    granted: dict[str, Any] = {}
    until: dict[str, float] = {}
    for each in history:
        owner = each.args[0]
        if each.outcome != "ok":
            continue
        if each.name == "acquire" and each.result is not None:
            granted[owner] = each
        elif each.name == "use" and each.result is not None:
            until[owner] = each.result
        elif each.name == "release" and each.result:
            until[owner] = each.t_call
    intervals = defaultdict[str, list[Interval]](list)
    for owner, grant in granted.items():
        weight = grant.args[1] if len(grant.args) > 1 else 1
        end = until.get(owner, grant.t_return)
        intervals[grant.key].append(Interval(owner, grant.t_return, end, weight))
    return intervals


def examine(
    home: Path | str,
    limits: dict[str, int],
    *,
    ttl: float,
    strict: bool = True,
    ok: float = 0.5,
    contended: int = 1,
    during: Iterable[tuple[float, float]] = (),
) -> Findings:
    """Judge what processes have recorded in a directory.

    Args:
        home: the directory.
        limits: of each object, the weight that may be held at once.
        ttl: of the leases, in seconds.
        strict: raise if an object was held by too many at once; otherwise that is counted.
        ok: the share of asking and releasing that must have ended ok.
        contended: how often, of each object, that must have overlapped.
        during: faults; somebody must have asked for, used or released something at each.
    """
    history = load(home)
    done = moves(history)
    done.require(ok=ok, contended=contended)
    history.require(ok=0, contended=0, during=during)
    intervals = held(history)
    findings = Findings(
        len(done),
        Counter(each.outcome for each in done),
        sum(map(len, intervals.values())),
        sum(each.name == "release" and each.result is False for each in done),
    )
    fences_increase(each for each in done if limits[each.key] == 1)
    for key, limit in limits.items():
        try:
            exclusive(intervals[key]) if limit == 1 else within_limit(intervals[key], limit)
        except InvariantBroken as broken:
            if strict:
                broken.add_note(_story(history, broken))
                raise
            findings.together += len(broken.cases)
    if strict:
        _linearizable([*done, *expirations(done, ttl - SLACK)], limits)
    return findings


def _story(history: History, broken: InvariantBroken) -> str:
    """Return all that those did who first held something together."""
    owners = {getattr(each, "who", None) for each in broken.cases[0]}
    lines = [
        f"{each.t_call:.6f} to {each.last_seen:.6f} {each}"
        for each in history
        if each.args[0] in owners
    ]
    return "\n".join(lines)


def _linearizable(history: list[Any], limits: dict[str, int]) -> None:
    for key, limit in limits.items():
        model: Any = Mutex() if limit == 1 else Semaphore(limit)
        verdict = check(model, [each for each in history if each.key == key])
        assert verdict, verdict.explanation

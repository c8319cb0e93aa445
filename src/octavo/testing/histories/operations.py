"""What a history is: operations of many processes, each with the span in which it took effect."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["EmptyHistory", "History", "Operation", "Outcome"]

Outcome = Literal["ok", "failed", "unknown"]
"""`"failed"`: it took no effect. `"unknown"`: it takes effect once, at any time after its call,
however late, or never."""


class EmptyHistory(AssertionError):
    """Too little happened in a history for it to prove anything."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, as its caller saw it.

    Attributes:
        process: who called it.
        name: what it is called in the model: `"acquire"`, `"read"`.
        args: its arguments.
        t_call: when it was called, in seconds of `time.monotonic()`, as all times here.
        t_return: when the caller learned how it ended or gave up; None if it was killed first.
        outcome: how it ended.
        result: what it returned, if it ended ok.
        key: the object it acted on; objects are independent of each other.
    """

    process: str
    name: str
    args: tuple[Any, ...]
    t_call: float
    t_return: float | None
    outcome: Outcome
    result: Any = None
    key: str = ""

    def __post_init__(self) -> None:
        """Refuse an operation that ended before it began, or that ended ok without an end."""
        if self.outcome == "ok" and self.t_return is None:
            raise ValueError("t_return must be a time if outcome is 'ok', not None")
        if self.t_return is not None and not self.t_return >= self.t_call:
            raise ValueError(f"t_return must be {self.t_call} or later, not {self.t_return}")

    @property
    def last_seen(self) -> float:
        """The last moment at which it is known to have been in progress."""
        return self.t_call if self.t_return is None else self.t_return

    @property
    def latest_effect(self) -> float:
        """The end of the span in which it took effect, if it did."""
        return math.inf if self.outcome == "unknown" else self.last_seen

    def __str__(self) -> str:
        """The call and what came of it: `acquire('w1') -> 7`."""
        ends = {"ok": repr(self.result), "failed": "failed", "unknown": "?"}
        return f"{self.name}({', '.join(map(repr, self.args))}) -> {ends[self.outcome]}"


class History(tuple[Operation, ...]):
    """The operations of all processes."""

    __slots__ = ()

    def require(
        self,
        *,
        ok: float = 0.5,
        contended: int = 1,
        during: Iterable[tuple[float, float]] = (),
    ) -> None:
        """Refuse a history in which too little happened, so that no run passes for being idle.

        Args:
            ok: the share of all operations that must have ended ok, from 0 to 1.
            contended: how many operations on each key must have been called while another on
                that key was in progress.
            during: faults, as their first and last moment; at each, some operation must have
                been in progress.

        Raises:
            EmptyHistory: it lacks any of these; the message says all that it lacks.
        """
        if not 0 <= ok <= 1:
            raise ValueError(f"ok must be a share from 0 to 1, not {ok}")
        lacks = [*self._lacks_ok(ok), *self._lacks_contention(contended), *self._missed(during)]
        if lacks:
            raise EmptyHistory("the history proves too little: " + "; ".join(lacks))

    def _lacks_ok(self, share: float) -> Iterator[str]:
        ended_ok = sum(operation.outcome == "ok" for operation in self)
        if not self or ended_ok < share * len(self):
            yield f"{ended_ok} of {len(self)} operations ended ok, {share:.0%} must"

    def _lacks_contention(self, least: int) -> Iterator[str]:
        busy_until = defaultdict[str, float](lambda: -math.inf)
        contended = dict.fromkeys((operation.key for operation in self), 0)
        for operation in sorted(self, key=lambda operation: operation.t_call):
            contended[operation.key] += operation.t_call < busy_until[operation.key]
            busy_until[operation.key] = max(busy_until[operation.key], operation.last_seen)
        for key, count in contended.items():
            if count < least:
                yield f"{count} operations on {key!r} overlapped an earlier one, {least} must"

    def _missed(self, faults: Iterable[tuple[float, float]]) -> Iterator[str]:
        for start, end in faults:
            if not any(each.t_call <= end and each.last_seen >= start for each in self):
                yield f"no operation overlapped the fault from {start} to {end}"

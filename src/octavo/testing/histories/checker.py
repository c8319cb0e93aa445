"""Whether a history is linearizable: whether each operation can have taken effect at one moment.

The search is that of Wing and Gong (1993) with the memory of Lowe (2017): which operations have
taken effect, and the state they led to, is a point, and no point is searched twice. Objects are
searched one by one, because linearizability is local (Herlihy and Wing, 1990).

Operations of unknown outcome are what makes searches long. So they wait until no known one can go
next, of several that are alike the first stands for all, and a point is as good as searched if
one was that had more of them left.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from octavo.testing.histories.models import UNKNOWN, Model
from octavo.testing.histories.timeline import timeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from octavo.testing.histories.operations import Operation

__all__ = ["BudgetExceeded", "Verdict", "check"]

_SHOWN = 12
"""How many operations an explanation shows of what fits, and of what does not."""

S = TypeVar("S", bound=Hashable)


class BudgetExceeded(Exception):
    """The search ended without a verdict, because it took too many steps."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a history is linearizable, which is also its truth value, and if not, why."""

    linearizable: bool
    explanation: str = ""

    def __bool__(self) -> bool:
        return self.linearizable


def check(model: Model[S], history: Iterable[Operation], *, budget: int = 5_000_000) -> Verdict:
    """Say whether every object of a history did what the model does.

    Args:
        model: what each object does when operations come one at a time.
        history: the operations of all processes; those that failed took no effect.
        budget: after how many steps of the model to give up.

    Raises:
        BudgetExceeded: there is no verdict after so many steps.
    """
    objects = defaultdict[str, list["Operation"]](list)
    for operation in history:
        objects[operation.key].append(operation)
    steps = iter(range(budget))
    for key, operations in objects.items():
        search = _Search(model, key, operations, steps)
        if not search.succeeds():
            return Verdict(linearizable=False, explanation=search.explain())
    return Verdict(linearizable=True)


class _Point(NamedTuple, Generic[S]):
    """What has taken effect, and the state it led to.

    Operations are counted in the order of their calls: the first `done` known ones have taken
    effect, those after them that are bits of `ahead`, the unknown ones that are bits of `applied`.
    """

    done: int
    ahead: int
    applied: int
    state: S


class _Search(Generic[S]):
    """The search for an order of the operations on one object."""

    def __init__(
        self, model: Model[S], key: str, operations: Iterable[Operation], steps: Iterator[int]
    ) -> None:
        in_order = sorted(operations, key=attrgetter("t_call"))
        self._known = [each for each in in_order if each.outcome == "ok"]
        self._unknown = [each for each in in_order if each.outcome == "unknown"]
        self._model, self._key = model, key
        self._steps = steps
        self._seen = defaultdict[tuple[int, int, S], list[int]](list)
        self._start = self._reached = _Point(0, 0, 0, model.initial())
        self._is_new(self._start)
        self._longest: list[Operation] = []

    def succeeds(self) -> bool:
        """Go on as long as there is a next operation, else back to the last choice."""
        path: list[Operation] = []
        points, ways = [self._start], [self._next(self._start)]
        while points and points[-1].done < len(self._known):
            for operation, point in ways[-1]:
                if self._is_new(point):
                    path.append(operation)
                    points.append(point)
                    ways.append(self._next(point))
                    break
            else:
                if _known_in(points[-1]) > _known_in(self._reached):
                    self._longest, self._reached = path.copy(), points[-1]
                del path[-1:], points[-1], ways[-1]
        return bool(points)

    def explain(self) -> str:
        """Show the longest order found, and what cannot go next."""
        candidates, _ = self._candidates(self._reached)
        stuck = [self._known[index] for index in candidates]
        ordered = self._longest[-_SHOWN:]
        lines = timeline([*ordered, *stuck[:_SHOWN]])
        fit = f"{_known_in(self._reached)} of {len(self._known)} operations that ended ok"
        heading = f"On {self._key!r} an order was found for {fit}, no more. It ends:"
        stop = f"Then the state is {self._reached.state!r} and none of these can go next:"
        return "\n".join([heading, *lines[: len(ordered)], stop, *lines[len(ordered) :]])

    def _candidates(self, point: _Point[S]) -> tuple[list[int], float]:
        """Return the known operations that may go next, and by when one of them must."""
        candidates: list[int] = []
        horizon = math.inf
        for offset in _clear_bits(point.ahead):
            index = point.done + offset
            if index == len(self._known) or self._known[index].t_call > horizon:
                break
            candidates.append(index)
            horizon = min(horizon, self._known[index].latest_effect)
        return sorted(candidates, key=lambda index: self._known[index].latest_effect), horizon

    def _next(self, point: _Point[S]) -> Iterator[tuple[Operation, _Point[S]]]:
        """Yield what can go next and where it leads, operations of unknown outcome last."""
        candidates, horizon = self._candidates(point)
        for index in candidates:
            operation = self._known[index]
            for state in self._step(point, operation, operation.result):
                done, ahead = _with_bit(point.done, point.ahead, index - point.done)
                yield operation, _Point(done, ahead, point.applied, state)
        tried = set[tuple[Hashable, ...]]()
        for index in _clear_bits(point.applied):
            if index == len(self._unknown) or self._unknown[index].t_call > horizon:
                break
            operation = self._unknown[index]
            if (same := (operation.name, operation.args)) not in tried:
                tried.add(same)
                for state in self._step(point, operation, UNKNOWN):
                    if state != point.state:
                        applied = point.applied | 1 << index
                        yield operation, _Point(point.done, point.ahead, applied, state)

    def _step(self, point: _Point[S], operation: Operation, result: object) -> Sequence[S]:
        if next(self._steps, None) is None:
            raise BudgetExceeded(f"no verdict, the steps are used up. {self.explain()}")
        return self._model.step(point.state, operation.name, operation.args, result)

    def _is_new(self, point: _Point[S]) -> bool:
        """Note a point, unless one like it was seen that had applied no other unknown ones."""
        seen = self._seen[point.done, point.ahead, point.state]
        if any(applied & ~point.applied == 0 for applied in seen):
            return False
        seen.append(point.applied)
        return True


def _known_in(point: _Point[S]) -> int:
    return point.done + point.ahead.bit_count()


def _clear_bits(bits: int) -> Iterator[int]:
    """Yield the positions of the bits that are 0, from the lowest, without end."""
    rest = ~bits
    while True:
        lowest = rest & -rest
        yield lowest.bit_length() - 1
        rest ^= lowest


def _with_bit(done: int, ahead: int, offset: int) -> tuple[int, int]:
    """Set a bit, and count the bits below the first clear one as done."""
    ahead |= 1 << offset
    full = next(_clear_bits(ahead))
    return done + full, ahead >> full

"""What must hold at every moment, checked in one pass, for histories too long for a search."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from heapq import heappop, heappush
from operator import attrgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from octavo.testing.histories.operations import Operation

__all__ = ["Interval", "InvariantBroken", "exclusive", "fences_increase", "within_limit"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A time in which somebody could rely on holding something; its end is not part of it.

    It begins when the holder learned of the grant, and ends with the call of the release or when
    the lease said that it was no longer valid, whichever was first.
    """

    who: str
    start: float
    end: float
    weight: int = 1


class InvariantBroken(AssertionError):
    """Something did not hold at every moment.

    Attributes:
        cases: each time it did not: the intervals at that moment, or the two grants.
    """

    def __init__(self, what: str, cases: Sequence[tuple[Interval | Operation, ...]]) -> None:
        shown = [" and ".join(map(repr, case)) for case in cases[:3]]
        super().__init__("\n".join([f"{len(cases)} times, {what}; first:", *shown]))
        self.cases = cases


def exclusive(intervals: Iterable[Interval]) -> None:
    """Check that nobody held it while somebody else did.

    Raises:
        InvariantBroken: two intervals overlap.
    """
    if crowds := [crowd for crowd in _held_together(intervals) if len(crowd) > 1]:
        raise InvariantBroken("more than one held it", crowds)


def within_limit(intervals: Iterable[Interval], limit: int) -> None:
    """Check that the weights of all holders never exceeded the limit.

    Raises:
        InvariantBroken: at some moment they did.
    """
    crowds = _held_together(intervals)
    if cases := [crowd for crowd in crowds if sum(each.weight for each in crowd) > limit]:
        raise InvariantBroken(f"the holders' weights exceeded {limit}", cases)


def fences_increase(history: Iterable[Operation]) -> None:
    """Check that on each key a grant that came after another has the higher fence.

    Grants are operations `acquire` that ended ok, with a fence for a result or None. Two that
    overlap can have been granted in either order, but not with the same fence.

    Raises:
        InvariantBroken: a fence did not increase.
    """
    by_key = defaultdict[str, list["Operation"]](list)
    for each in history:
        if each.name == "acquire" and each.outcome == "ok" and each.result is not None:
            by_key[each.key].append(each)
    if cases := [case for each in by_key.values() for case in _not_increasing(each)]:
        raise InvariantBroken("a fence did not increase", cases)


def _held_together(intervals: Iterable[Interval]) -> Iterator[tuple[Interval, ...]]:
    """Yield, for the start of each interval, all that hold then."""
    holding: list[Interval] = []
    for interval in sorted(intervals, key=attrgetter("start")):
        if interval.start < interval.end:
            holding = [each for each in holding if each.end > interval.start]
            holding.append(interval)
            yield tuple(holding)


def _not_increasing(grants: list[Operation]) -> Iterator[tuple[Operation, Operation]]:
    same: dict[int, Operation] = {}
    newest: Operation | None = None
    returned: list[tuple[float, int, Operation]] = []
    for number, grant in enumerate(sorted(grants, key=attrgetter("t_call"))):
        while returned and returned[0][0] < grant.t_call:
            *_, earlier = heappop(returned)
            newest = max(newest or earlier, earlier, key=attrgetter("result"))
        if newest and newest.result > grant.result:
            yield newest, grant
        elif (twin := same.setdefault(grant.result, grant)) is not grant:
            yield twin, grant
        heappush(returned, (grant.last_seen, number, grant))

"""Eight processes at one board."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

import octavo
from octavo.leaderboards.ranking import RANK_METHODS
from tests.leaderboards import workers
from tests.leaderboards.inside import Contents, layout
from tests.leaderboards.model import Model
from tests.leaderboards.workers import Race

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from octavo import Octavo, Sync
    from octavo.leaderboards import Keep, RankMethod, Submission, Ties
    from tests.fix_servers import Server, Servers

T = TypeVar("T")

PROCESSES = 8
STEPS = 150

# One set of processes for all tests of this file.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("races")]


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    # Not forked: the threads of other fixtures would be missing in the children.
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(PROCESSES)
    with ProcessPoolExecutor(PROCESSES, spawn, workers.prepare, (barrier,)) as pool:
        yield pool


@pytest.fixture(params=["embedded", "redis-7", "cluster"])
def server(request: pytest.FixtureRequest, servers: Servers) -> Server:
    return servers.get(request.param)


class Arena:
    """Runs races on a server."""

    def __init__(self, pool: ProcessPoolExecutor, server: Server, prefix: str) -> None:
        self._pool = pool
        self._server = server
        self._prefix = prefix

    def run(self, work: Callable[[Race], T], **options: Any) -> list[T]:
        """Have all processes do the same at the same time."""
        races = [
            Race(self._server.url, self._prefix, options, number, STEPS)
            for number in range(PROCESSES)
        ]
        return [*self._pool.map(work, races, timeout=50)]

    def contents(self) -> Contents:
        return Contents.on(self._server, layout(self._prefix, "x"))


@pytest.fixture
def arena(processes: ProcessPoolExecutor, server: Server, prefix: str) -> Arena:
    return Arena(processes, server, prefix)


@pytest.fixture
def one(server: Server, prefix: str) -> Iterator[Octavo[Sync]]:
    with octavo.connect(server.url, prefix=prefix) as db:
        yield db


def test_sums_are_exact(arena: Arena, one: Octavo[Sync]) -> None:
    sums = arena.run(workers.add, keep="sum")
    assert sorted(total for each in sums for total in each) == [*range(1, PROCESSES * STEPS + 1)]
    assert one.leaderboard("x").score("ada") == PROCESSES * STEPS
    assert any(each[-1] - each[0] >= STEPS for each in sums), "the processes never met"


@pytest.mark.parametrize("keep", ["best", "last", "first"])
@pytest.mark.parametrize("order", ["desc", "asc"])
def test_submissions_happen_one_after_another(
    keep: Keep, order: Any, arena: Arena, one: Octavo[Sync]
) -> None:
    submissions = arena.run(workers.submit, keep=keep, order=order)
    assert any(map(met_others, submissions)), "the processes never met"
    for member in ("m0", "m1", "m2", "m3", "m4"):
        of_member = [one for each in submissions for one in each if one.member == member]
        final = follow(of_member)
        assert one.leaderboard("x", order=order).score(member) == final
        taken = {one.score for one in of_member if one.accepted}
        match keep:
            case "best":
                assert final == (max(taken) if order == "desc" else min(taken))
            case "first":
                assert taken == {final}
            case _:
                lasts = [
                    [one.score for one in each if one.member == member][-1:] for each in submissions
                ]
                assert [final] in lasts
    arena.contents().check()


def met_others(submissions: list[Submission]) -> bool:
    """Whether a process found a score that another one had submitted."""
    mine = {one.score for one in submissions if one.accepted}
    return any(one.previous is not None and one.previous not in mine for one in submissions)


def follow(submissions: list[Submission]) -> float:
    """Return the last score of a member, having gone from each to the one that followed it."""
    accepted = [one for one in submissions if one.accepted]
    following = {one.previous: one.score for one in accepted}
    assert len(following) == len(accepted), "two submissions replaced the same score"
    score = following.pop(None)
    while following:
        score = following.pop(score)
    for one in submissions:
        assert one.accepted or one.score == one.previous
    return score


@pytest.mark.parametrize("rank", RANK_METHODS)
def test_ranks_fit_the_scores_in_the_end(rank: RankMethod, arena: Arena, one: Octavo[Sync]) -> None:
    arena.run(workers.submit, rank=rank, keep="last")
    board, model = one.leaderboard("x", rank=rank), Model(rank=rank)
    entries = list(board)
    for entry in entries:
        model.submit(entry.member, entry.score)
    assert entries == model.entries()
    assert [board.rank(entry.member) for entry in entries] == [entry.rank for entry in entries]
    arena.contents().check()


@pytest.mark.parametrize("ties", ["earliest", "latest"])
def test_who_came_before_another_stands_before_it(
    ties: Ties, arena: Arena, one: Octavo[Sync]
) -> None:
    arrivals = [one for each in arena.run(workers.arrive, ties=ties) for one in each]
    standing = [entry.member for entry in one.leaderboard("x", ties=ties)]
    if ties == "latest":
        standing.reverse()
    place = {member: place for place, member in enumerate(standing)}
    assert len(place) == PROCESSES * STEPS
    arrivals.sort(key=lambda arrival: place[arrival[0]])
    # Of two that did not overlap, the one that was in first stands first.
    latest_begin = 0.0
    for _, begin, end in arrivals:
        assert end >= latest_begin
        latest_begin = max(latest_begin, begin)
    changes = sum(a[0][0] != b[0][0] for a, b in pairwise(arrivals))
    assert changes > PROCESSES, "the processes never met"


@pytest.mark.parametrize("rank", ["dense", "competition"])
@pytest.mark.parametrize("ties", ["earliest", "member"])
def test_submitting_removing_and_trimming_at_once_leave_the_keys_in_agreement(
    rank: RankMethod, ties: Ties, arena: Arena, one: Octavo[Sync]
) -> None:
    hits = arena.run(workers.disturb, rank=rank, ties=ties, keep="last")
    assert min(sum(hits[4:6]), sum(hits[6:])) > 0, "nothing was removed or trimmed"
    contents = arena.contents()
    contents.check()
    board = one.leaderboard("x", rank=rank, ties=ties)
    assert board.count() == len(contents.scores) == len(list(board))

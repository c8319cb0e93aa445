"""Boards that no one call should hold in its hand at once."""

from __future__ import annotations

import math
import random
import threading
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.testing.waiting import wait_until
from tests.leaderboards.inside import Contents, layout

if TYPE_CHECKING:
    from octavo.leaderboards import Ties
    from octavo.leaderboards.layout import Layout
    from tests.fix_servers import Server, Servers

MANY = 10_000  # more than Lua's unpack() takes at once, which is just under 8,000


# Not a cluster or Sentinels: those of the tests take a server that is busy for a second for dead.
@pytest.fixture(params=["embedded", "redis-7", "redis-8"])
def server(request: pytest.FixtureRequest, servers: Servers) -> Server:
    return servers.get(request.param)


@pytest.mark.parametrize(
    "options",
    [
        {"rank": "dense"},
        {"rank": "fractional", "ties": "member"},
        {"order": ("asc", "desc"), "keep": "sum"},
    ],
    ids=str,
)
def test_ten_thousand_members_pass_through_every_operation(
    options: Any, server: Server, prefix: str
) -> None:
    with octavo.connect(server.url, prefix=prefix, timeout=20) as db:
        check_ten_thousand(db.leaderboard("x", **options), options, server, layout(prefix, "x"))


def check_ten_thousand(board: Any, options: Any, server: Server, keys: Layout) -> None:
    members = [f"m{i}" for i in range(MANY)]
    columns = isinstance(options.get("order"), tuple)
    scores = {member: (i % 77, i) if columns else i % 77 for i, member in enumerate(members)}
    submissions = board.submit_many(scores, data={member: member for member in members})
    assert [one.member for one in submissions] == members
    assert len(board.between_scores(-math.inf, math.inf)) == MANY
    assert len(board.between_ranks(1, MANY)) == MANY
    assert len(board.top(MANY)) == len(board.page(1, size=MANY)) == MANY
    assert len(board.around("m5", MANY)) == MANY
    found = board.ranks_of(members)
    assert {entry.member: entry.data for entry in found} == {member: member for member in members}
    assert found == list(board) == board.scan(limit=MANY).entries
    assert sum(one.count for one in board.histogram(200)) == MANY
    assert board.remove(*members[: MANY - 500]) == MANY - 500
    Contents.on(server, keys).check()
    board.submit_many(scores)
    assert board.trim(3) == MANY - 3
    Contents.on(server, keys).check()
    assert board.count() == 3


@pytest.mark.parametrize("ties", ["earliest", "latest", "member"])
def test_iterating_while_others_write_neither_misses_nor_repeats_who_stays(
    ties: Ties, servers: Servers, prefix: str
) -> None:
    url = servers.get("embedded").url
    with octavo.connect(url, prefix=prefix) as db, octavo.connect(url, prefix=prefix) as other:
        board = db.leaderboard("x", ties=ties)
        board.submit_many({f"stays {i}": i % 9 for i in range(2 * MANY)})
        disturbance = Disturbance(other.leaderboard("x", ties=ties, keep="last"))
        disturbance.start()
        try:
            seen: list[str] = []
            for number, entry in enumerate(board):
                if number % 500 == 0:
                    disturbance.wait_for_more()
                if entry.member.startswith("stays"):
                    seen.append(entry.member)
        finally:
            disturbance.stop()
    assert len(seen) == len(set(seen)) == 2 * MANY


class Disturbance(threading.Thread):
    """Enters, moves and removes members all over a board until it is stopped."""

    def __init__(self, board: Any) -> None:
        super().__init__()
        self._writes = 0
        self._board = board
        self._over = threading.Event()

    def run(self) -> None:
        dice = random.Random(1)
        for _ in iter(self._over.is_set, True):
            self._board.submit(f"goes {dice.randrange(500)}", dice.randrange(10))
            self._board.remove(f"goes {dice.randrange(500)}")
            self._writes += 1

    def wait_for_more(self) -> None:
        """Return when something more has been written."""
        before = self._writes
        wait_until(lambda: self._writes > before + 1, "others write")

    def stop(self) -> None:
        self._over.set()
        self.join()


@pytest.mark.parametrize("ties", ["earliest", "latest", "member"])
@pytest.mark.parametrize("order", ["desc", ("asc", "desc")])
@pytest.mark.parametrize("fate", ["removed", "better", "worse", "same place"])
def test_a_scan_goes_on_where_it_was_although_its_last_entry_has_gone(
    ties: Ties, order: Any, fate: str, servers: Servers, prefix: str
) -> None:
    def score(n: int) -> Any:
        return n if order == "desc" else (0, n)

    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        board = db.leaderboard("x", ties=ties, order=order, keep="last")
        # Names of which many begin another: m1, m10, m100.
        board.submit_many({f"m{i}": score(i % 3) for i in range(200)})
        expected = [entry.member for entry in board]
        seen: list[str] = []
        moved: list[str] = []
        page = board.scan(limit=7)
        while page.cursor is not None:
            seen += [entry.member for entry in page.entries]
            moved.append(seen[-1])
            match fate:
                case "removed":
                    board.remove(seen[-1])
                case "better":
                    board.submit(seen[-1], score(9 + len(moved)))
                case "worse":
                    board.submit(seen[-1], score(-9 - len(moved)))
                case _:
                    board.annotate(seen[-1], "here")
            page = board.scan(page.cursor, limit=7)
        seen += [entry.member for entry in page.entries]
    assert seen[: len(expected)] == expected
    # Only what moved behind the cursor is met again.
    assert set(seen[len(expected) :]) <= set(moved if fate == "worse" else [])

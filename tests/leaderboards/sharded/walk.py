"""A change of a sharded board, wave by wave; and what the processes of the races do."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace

import octavo
from octavo.engine.command import MISSING
from tests.leaderboards.model import Model

if TYPE_CHECKING:
    from octavo import Octavo, Sync
    from octavo.leaderboards import ShardedLeaderboard
    from octavo.testing import faults


class Walk:
    """One operation of a board on its way, which goes on when it is told to.

    Args:
        db: a client.
        board: of that client.
        name: the operation; "repair" is that of one member, taking over what is under way.
        args: its arguments.
        dice: if given, what a wave tells several shards arrives in any order, a step each.
    """

    def __init__(
        self,
        db: Octavo[Sync],
        board: ShardedLeaderboard[Sync],
        name: str,
        *args: Any,
        dice: random.Random | None = None,
    ) -> None:
        self._engine: Any = cast("Any", db)._engine
        operation: Any = getattr(type(board), name)
        self._next: Any
        if name == "repair":
            pairs = [(member.encode(), None) for member in args]
            self._next = cast("Any", board)._index.change("repair", pairs, list, grace=0)
        else:
            self._next = operation.__wrapped__(board, *args)
        self._dice = dice
        self._replies: dict[int, Any] = {}

    @property
    def done(self) -> bool:
        return self._next is None

    def go_on_with(self, db: Octavo[Sync]) -> None:
        """Have another client carry the next waves."""
        self._engine = cast("Any", db)._engine

    def step(self) -> None:
        """Carry the next wave, or a part of it."""
        command = self._next
        if command.local is not None and command.local() is not MISSING:
            self._next = None
            return
        if self._dice is not None and command.parts:
            left = [i for i in range(len(command.parts)) if i not in self._replies]
            if left:
                part = self._dice.choice(left)
                self._replies[part] = self._engine.run("walk", command.parts[part])
                return
            value = command.read([self._replies.pop(i) for i in range(len(command.parts))])
        else:
            value = self._engine.run("walk", replace(command, then=None))
        self._next = command.then and command.then(value)

    def finish(self) -> None:
        while not self.done:
            self.step()


def check(board: ShardedLeaderboard[Sync], members: list[str]) -> None:
    """Assert that shards and homes agree in everything."""
    entries = list(board)
    model = Model()
    for entry in entries:
        model.submit(entry.member, entry.score)
    assert len(model.rows) == len(entries), "a member stands on two shards"
    assert entries == model.entries()
    scores = {member: score for member in members if (score := board.score(member)) is not None}
    assert scores == {entry.member: entry.score for entry in entries}
    assert [board.rank(entry.member) for entry in entries] == [entry.rank for entry in entries]
    assert board.repair(older_than=0) == 0, "a change is noted that nobody makes"
    assert board.repair(thorough=True) == 0


def stop_half_way(line: faults.Line, url: str, prefix: str, waves: int) -> None:
    """Submit for one member, and stand still after some waves."""
    with octavo.connect(url, prefix=prefix) as db:
        walk = Walk(db, board_of(db), "submit", "ada", 35)
        for _ in range(waves):
            walk.step()
        line.say(walk.done)
        line.hear(timeout=60)


def board_of(db: Octavo[Sync]) -> ShardedLeaderboard[Sync]:
    """Return the board of these tests."""
    return db.sharded_leaderboard("x", bounds=[10, 20, 30], keep="last", homes=2)


def race(line: faults.Line, url: str, prefix: str, number: int, steps: int) -> int:
    """Change few members, as fast as possible; return what this one has added to another."""
    dice, added = random.Random(number), 0
    with octavo.connect(url, prefix=prefix, timeout=30.0) as db:
        board, sums = board_of(db), db.sharded_leaderboard("sums", bounds=[100, 200], keep="sum")
        line.meet()
        for _ in range(steps):
            member = f"m{dice.randrange(6)}"
            if dice.random() < 0.1:
                board.remove(member)
            else:
                board.submit(member, dice.randrange(40))
            added += sums.submit("all", 1).accepted
    return added


def load(line: faults.Line, url: str, prefix: str, number: int) -> int:
    """Change members until told to stop, whatever happens; return how often that went wrong."""
    dice, wrong = random.Random(number), 0
    with octavo.connect(url, prefix=prefix, timeout=5.0) as db:
        board = board_of(db)
        line.meet()
        while not line.stopped:
            try:
                board.submit(f"m{dice.randrange(200)}", dice.randrange(40))
            except (octavo.ConnectionLost, octavo.ServerError):
                wrong += 1
    return wrong

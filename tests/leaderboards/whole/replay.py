"""Whoever knows a board by its events only."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from octavo import Sync
    from octavo.leaderboards import Event, Leaderboard


class Replay:
    """Follows the events of a board, and compares what they tell with what the board says."""

    def __init__(self, board: Leaderboard[Sync], top: int) -> None:
        self._board = board
        self._events = board.events()
        self._top = top
        self._last = "0-0"
        self.best: dict[str, tuple[float | None, float | None]] = {}
        self.watched: dict[str, float | None] = {}

    def watch(self, members: Iterable[str]) -> int:
        """Note who is watched, and where they are then; return how many were not."""
        new = {*members} - self.watched.keys()
        self.watched |= {member: self._board.rank(member) for member in new}
        return len(new)

    def unwatch(self, members: Iterable[str]) -> int:
        """Note who is not; return how many were."""
        return sum(self.watched.pop(member, "none") != "none" for member in {*members})

    def check(self) -> list[Event]:
        """Follow what has happened since, and compare; return it."""
        events = self._events.read(self._last)
        for event in events:
            self._follow(event)
        if events:
            self._last = events[-1].id
        top = {entry.member: (entry.rank, entry.score) for entry in self._board.top(self._top)}
        assert self.best == top
        assert self.watched == {member: self._board.rank(member) for member in self.watched}
        return events

    def _follow(self, event: Event) -> None:
        member, is_ = event.member, (event.rank, event.score)
        if event.kind == "entered":
            assert member not in self.best
        if event.kind == "entered" or member in self.best:
            self.best[member] = is_
        if event.kind == "left":
            del self.best[member]
        if member in self.watched:
            self.watched[member] = event.rank

"""A table: standings whose entries can be taken off."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from octavo.engine.command import Command, M, answer, operation
from octavo.engine.keys import name_bytes
from octavo.engine.script import Script
from octavo.leaderboards.definition import counted
from octavo.leaderboards.standings import Standings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from octavo.engine.script import Argument

T = TypeVar("T")

_here = Path(__file__)
REMOVE = Script(_here.with_name("remove.lua"))
TRIM = Script(_here.with_name("trim.lua"))


class Table(Standings[M]):
    """One table of a board: its standings, and what changes them other than a submission."""

    @operation
    def remove(self, *members: str) -> Command[int]:
        """Take members off the table; return how many were on it. O(M log N)."""
        if not members:
            return answer(0)
        names = [name_bytes("members", member) for member in members]
        _, prefix, columns = self._ranking()
        return self._change(REMOVE, (prefix, columns, *names), int)

    @operation
    def trim(self, keep: int) -> Command[int]:
        """Keep the best `keep` entries; return how many were taken off. O(M log N)."""
        _, prefix, columns = self._ranking()
        return self._change(TRIM, (prefix, columns, counted("keep", keep, 0)), int)

    @operation
    def clear(self) -> Command[bool]:
        """Delete the table; return whether there was one. O(1), freed in the background."""
        return Command((b"UNLINK", *self._keys), self._keys, bool)

    def _change(
        self, script: Script, args: Sequence[Argument], read: Callable[[Any], T]
    ) -> Command[T]:
        """Return the Command that changes the table, at most once if the board is asked to."""
        chosen = script.once if self._definition.once else script
        return chosen(self._keys, (self._definition.config, *args), read)

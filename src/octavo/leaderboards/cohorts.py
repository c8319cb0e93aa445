"""Cohorts: groups of a limited size, whose members compete with each other."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, cast

import msgspec
from msgspec.structs import replace

from octavo.engine.bounded import Bounded
from octavo.engine.checks import whole
from octavo.engine.command import Command, Job, M, operation
from octavo.engine.fork import lazy
from octavo.engine.keys import name_bytes
from octavo.engine.script import Script
from octavo.leaderboards.layout import cohort_base, members_key, table_keys
from octavo.leaderboards.leaderboard import Leaderboard

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.engine.command import Engine
    from octavo.leaderboards.definition import Keep, Ties
    from octavo.leaderboards.ranking import RankMethod
    from octavo.leaderboards.records import Submission
    from octavo.leaderboards.scores import Order, Score
    from octavo.leaderboards.tiers import Tiers

_MOST_KNOWN = 10_000
_MOST_BOARDS = 1_000

_here = Path(__file__)
JOIN = Script(_here.with_name("join.lua"), idempotent=True)
LEAVE = Script(_here.with_name("leave.lua"))

# A number in place of the reply: the member is in that cohort, whose keys were not sent.
_PLACED = """\
local words = {{}}
for i = {count}, 1, -1 do words[i] = table.remove(ARGV) end
local cohort = (function(KEYS, ARGV)
{first}
end)({{table.remove(KEYS)}}, words)
if cohort ~= tonumber(words[{count}]) then return string.format('%d', cohort) end
{body}
"""


class BoardOptions(TypedDict, total=False):
    """What all boards of a league are made with; see `Leaderboard`."""

    order: Order | tuple[Order, ...]
    keep: Keep
    rank: RankMethod
    ties: Ties
    page_size: int
    once: bool
    tiers: Tiers | None


class Cohorts(Job[M]):
    """A league whose members compete in groups of at most `size`, each with a board of its own.

        league = db.cohorts("spring", size=50, keep="sum")
        league.submit("ada", 20).rank
        league.board(league.cohort_of("ada")).top()

    Who joins comes into the newest cohort, and when that is full, into the next. Nobody is in two
    cohorts, and none grows over its size. All of a league is in one cluster slot.

    Args:
        engine: what carries the commands.
        base: what the keys begin with.
        size: how many members a cohort takes. It may change: it counts for who joins next.
        options: those of a `Leaderboard`, for each cohort's board.
    """

    def __init__(
        self, engine: Engine, base: str, *, size: int = 50, **options: Unpack[BoardOptions]
    ) -> None:
        super().__init__(engine)
        self._engine = engine
        self._base = base
        self._size = whole("size", size)
        self._options = options
        self._members = members_key(base)
        self._known: _Known = engine.common.shared(f"cohorts {base}", _Known)
        self._boards: Bounded[int, Leaderboard[Any]] = Bounded(_MOST_BOARDS)
        self._unsent(self._known.newest)  # refuses wrong options now

    def board(self, number: int) -> Leaderboard[M]:
        """Return the board of a cohort; the first cohort is 1."""
        return self._board(self._engine, whole("number", number))

    @operation
    def join(self, member: str) -> Command[int]:
        """Put a member into a cohort, unless it is in one; return the number of that. O(1)."""
        name = name_bytes("member", member)
        return JOIN((self._members,), (name, self._size), partial(self._known.note, member))

    @operation
    def submit(self, member: str, score: Score, *, data: object = None) -> Command[Submission]:
        """Record a score on the board of the member's cohort, having it join first. O(log N).

        One round trip if this client knows the member's cohort, or the one it comes into; else
        two. In an atomic batch it has to know it.
        """

        def on(board: Leaderboard[Any]) -> Command[Submission]:
            return cast("Command[Submission]", board.submit(member, score, data=data))

        args = (name_bytes("member", member), str(self._size))
        guessed = self._placed(JOIN, member, args, self._known.guess(member), on)
        if not self._asks_first(member):
            return guessed

        def then(cohort: int) -> Command[Submission]:
            return self._placed(JOIN, member, args, cohort, on)

        joined: Command[Any] = JOIN((self._members,), args, partial(self._known.note, member))
        return replace(joined, then=then, opening=True)

    @operation
    def leave(self, member: str) -> Command[bool]:
        """Take a member out of its cohort; return whether it was in one. O(log N).

        It leaves the board too. Its place is free again if the cohort is the newest one.
        """

        def off(board: Leaderboard[Any]) -> Command[bool]:
            command = cast("Command[int]", board.remove(member))
            return command.map(lambda _: self._known.forget(member))

        args = (name_bytes("member", member),)
        if not self._asks_first(member):
            return self._placed(LEAVE, member, args, self._known.guess(member), off)

        def then(cohort: int | None) -> Command[bool]:
            return self._placed(LEAVE, member, args, cohort or 1, off)

        found: Command[Any] = self._found(member)
        return replace(found, then=then, opening=True)

    @operation
    def cohort_of(self, member: str) -> Command[int | None]:
        """Return the number of a member's cohort; None for who is in none. O(1)."""
        return self._found(member)

    def _found(self, member: str) -> Command[int | None]:
        def read(reply: bytes | None) -> int | None:
            return None if reply is None else self._known.note(member, int(reply))

        words = (b"HGET", self._members, name_bytes("member", member))
        return Command(words, (self._members,), read, idempotent=True)

    @operation
    def count(self) -> Command[int]:
        """Return how many cohorts there are. O(1)."""
        words = (b"HGET", self._members, b"")
        return Command(words, (self._members,), _count, idempotent=True)

    @operation
    def clear(self) -> Command[int]:
        """Delete all cohorts and their boards; return how many there were. O(cohorts).

        Two round trips: a cohort that others open between them stays behind.
        """

        def then(cohorts: int) -> Command[int]:
            boards = (table_keys(cohort_base(self._base, n)) for n in range(1, cohorts + 1))
            keys = (self._members, *(key for board in boards for key in board))
            self._known.clear()
            return Command((b"UNLINK", *keys), keys, lambda _: cohorts)

        words = (b"HGET", self._members, b"")
        return Command(words, (self._members,), _count, then=then, opening=True)

    def _board(self, engine: Any, number: int) -> Leaderboard[Any]:
        return Leaderboard(engine, cohort_base(self._base, number), **self._options)

    def _unsent(self, number: int) -> Leaderboard[Any]:
        """Return the board of a cohort, whose operations return their Commands."""
        board = self._boards.get(number)
        if board is None:
            board = self._board(_Unsent(self._engine), number)
            self._boards.set(number, board)
        return board

    def _asks_first(self, member: str) -> bool:
        # What an atomic batch sends on a wrong guess would not be in its transaction.
        return self._engine.atomic and not self._known.has(member)

    def _placed(
        self,
        first: Script,
        member: str,
        args: tuple[bytes | str, ...],
        cohort: int,
        make: Callable[[Leaderboard[Any]], Command[Any]],
    ) -> Command[Any]:
        """Return the Command that runs a script, then one on the board of the member's cohort.

        What it is sent with is a guess. If that is wrong, the cohort is the reply, and the same
        goes to its board.
        """
        command = make(self._unsent(cohort))
        assert command.script is not None  # noqa: S101 - for checkers
        script = _placed_script(first, len(args) + 1, command.script)
        keys = (*command.keys, self._members)
        own = command.words[3 + len(command.keys) :]

        def read(reply: Any) -> Any:
            if isinstance(reply, bytes):
                return _Elsewhere(int(reply)) if int(reply) else False
            self._known.note(member, cohort)
            return command.read(reply)

        def then(value: Any) -> Command[Any] | None:
            if isinstance(value, _Elsewhere):
                return self._placed(first, member, args, value.cohort, make)
            return None if value is False or command.then is None else command.then(value)

        sent = script.run(keys, (*own, *args, str(cohort)), read)
        return replace(sent, idempotent=command.idempotent, then=then)


class _Elsewhere(msgspec.Struct, frozen=True):
    """A member is in that cohort."""

    cohort: int


class _Unsent:
    """An engine on which an operation returns its Command."""

    def __init__(self, engine: Engine) -> None:
        self.common = engine.common
        self.atomic = engine.atomic

    def call(
        self, _: str, method: Callable[..., Command[Any]], /, *args: Any, **kwargs: Any
    ) -> Command[Any]:
        """Return the Command of an operation."""
        return method(*args, **kwargs)

    drive = call


class _Known:
    """What a client knows of a league: in which cohort members are, and the newest one."""

    def __init__(self) -> None:
        self._cohorts: Bounded[str, int] = Bounded(_MOST_KNOWN)
        self.newest = 1

    def guess(self, member: str) -> int:
        """Return the cohort that a member is in, or comes into."""
        return self._cohorts.get(member) or self.newest

    def has(self, member: str) -> bool:
        """Return whether it is no guess."""
        return self._cohorts.get(member) is not None

    def note(self, member: str, cohort: int) -> int:
        """Keep in which cohort a member is; return that."""
        self.newest = max(self.newest, cohort)
        self._cohorts.set(member, cohort)
        return cohort

    def forget(self, member: str) -> bool:
        """Forget a member that has left; return True."""
        self._cohorts.pop(member)
        return True

    def clear(self) -> None:
        """Forget everything."""
        self._cohorts.clear()
        self.newest = 1


class _Placed(Script):
    """A script behind one that says in which cohort a member is."""

    def __init__(self, first: Script, count: int, body: Script) -> None:
        super().__init__(body.path, idempotent=body.idempotent)
        self._first = first
        self._count = count
        self._body = body

    @lazy
    def source(self) -> bytes:
        """The text that is sent."""
        first, body = self._first.source.decode(), self._body.source.decode()
        return _PLACED.format(count=self._count, first=first, body=body).encode()


@lru_cache(maxsize=16)
def _placed_script(first: Script, count: int, body: Script) -> Script:
    return _Placed(first, count, body)


def _count(reply: bytes | None) -> int:
    return 0 if reply is None else int(reply.split()[0])

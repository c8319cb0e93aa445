"""Changes of a sharded board: decided at the members' homes, then told to the shards.

A change is three waves. The home *decides*, and notes a move. The shards are *told*: entries that
are not the member's any more are taken off, the one that is its own is put on. The home is asked
to *confirm*: if the member has no other entry by now, the move is forgotten; otherwise what was put
on is taken off again. Whoever stops in between leaves the move noted; the member's next change, or
`repair`, tells the shards instead. No two entries are the same, as each has its own stamp, so that
telling a shard is the same once or twice, now or later.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, cast
from zlib import crc32

from msgspec.structs import replace

from octavo.engine.command import Command, answer
from octavo.engine.script import Script
from octavo.errors import ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from octavo.engine.script import Argument
    from octavo.errors import OctavoError
    from octavo.leaderboards.definition import Keep, Ties
    from octavo.leaderboards.ranking import RankMethod
    from octavo.leaderboards.sharded.bounds import Sharding
    from octavo.leaderboards.sharded.layout import Home, ShardedLayout

T = TypeVar("T")
V = TypeVar("V")

Decide = Literal["best", "last", "sum", "first", "remove", "touch", "repair"]

_here = Path(__file__)
DECIDE = Script(_here.with_name("decide.lua"))
CONFIRM = Script(_here.with_name("confirm.lua"), idempotent=True)
APPLY = Script(_here.with_name("apply.lua"), idempotent=True)
WINDOW = Script(_here.with_name("window.lua"), idempotent=True)

GRACE = 60.0
"""Seconds after which nobody is taken to be still about to tell a shard."""

STAMP = 7
_ENTRY = 15
_MOVE = STAMP + 2 * _ENTRY
_NONE = bytes(_ENTRY)


class Standing(NamedTuple):
    """Where a member stands: its entry.

    Attributes:
        place: its place score.
        key: what it is called in its shard.
        shard: the number of that.
    """

    place: float
    key: bytes
    shard: int


class Size(NamedTuple):
    """How many members a shard has, and how many ranks they make."""

    members: int
    ranks: int


class Change(NamedTuple):
    """What became of a submission or a removal.

    Attributes:
        member: who.
        accepted: whether the home took it.
        before: where it stood.
        after: where it stands.
        told: whether shards had to be told.
        rank: its rank now.
        previous_rank: its rank before.
    """

    member: bytes
    accepted: bool
    before: Standing | None
    after: Standing | None
    told: bool
    rank: float | None = None
    previous_rank: float | None = None


class Move(NamedTuple):
    """What the shards are to be told.

    Attributes:
        change: whose.
        id: of the note at home; empty if there is nothing to tell.
        entry: the member's entry as the home has it.
        stale: entries that may still be on a shard.
    """

    change: Change
    id: bytes
    entry: bytes
    stale: list[Standing]


class Index:
    """The homes and shards of one board.

    Attributes:
        keys: their keys.
        sharding: which shard a score belongs to.
        config: what is stored with each, and must not differ.
        method: how equal scores are ranked.
        dense: whether ranks are counted, not members.
        apply: the script that tells a shard.
    """

    def __init__(
        self,
        keys: ShardedLayout,
        sharding: Sharding,
        config: str,
        *,
        method: RankMethod,
        ties: Ties,
        once: bool,
    ) -> None:
        self.keys = keys
        self.sharding = sharding
        self.config = config
        self.method: RankMethod = method
        self.dense = method == "dense"
        self._ties = ties
        self._decide = DECIDE.once if once else DECIDE
        self.apply: Script = APPLY.once if once else APPLY

    def home(self, member: bytes) -> Home:
        """Return the home of a member."""
        return self.keys.homes[crc32(member) % len(self.keys.homes)]

    def standing(self, member: bytes, entry: bytes | None) -> Standing | None:
        """Return where a member stands, by its entry."""
        if not entry or entry == _NONE:
            return None
        place: float = struct.unpack_from(">d", entry)[0]
        return Standing(place, entry[8:] + member, self.sharding.of(place))

    def change(
        self,
        keep: Keep | Decide,
        places: Sequence[tuple[bytes, float | None]],
        read: Callable[[list[Change]], T],
        *,
        ranked: bool = False,
        grace: float = GRACE,
    ) -> Command[T]:
        """Return the Command that changes members, and says what became of that.

        Args:
            keep: what the homes do.
            places: members, each once, and their new places.
            read: makes the result.
            ranked: whether ranks are wanted.
            grace: seconds after which the moves of others are forgotten when they are told.
        """
        if not places:
            return answer(read([]))
        micros = int(grace * 1e6)
        homes: defaultdict[Home, list[tuple[bytes, float | None]]] = defaultdict(list)
        for member, place in places:
            homes[self.home(member)].append((member, place))
        parts: list[Command[Any]] = []
        for home, pairs in homes.items():
            args: list[Argument] = [self.config, keep, self._ties, micros]
            for member, place in pairs:
                args += (member, "" if place is None else place)
            parts.append(self._decide(home, args, partial(self._moves, pairs)))

        def tell(moves: list[Move]) -> Command[Any]:
            return self._tell(moves, micros, read, ranked=ranked)

        return followed(self.apart(together(parts, _joined)), tell)

    def apart(self, command: Command[T]) -> Command[T]:
        """Return a Command with a key of another slot, so that no atomic batch takes it.

        What follows it goes to other slots, which a transaction does not reach.
        """
        if command.parts:
            return command
        return replace(command, keys=(*command.keys, self.keys.shards[0].scores))

    def _moves(self, pairs: list[tuple[bytes, float | None]], reply: list[list[Any]]) -> list[Move]:
        moves: list[Move] = []
        for (member, _), (accepted, old, new, id_, noted) in zip(pairs, reply, strict=True):
            before, after = self.standing(member, old), self.standing(member, new)
            entries = {old} | {
                noted[at : at + _ENTRY]
                for start in range(STAMP, len(noted), _MOVE)
                for at in (start, start + _ENTRY)
            }
            others = (self.standing(member, entry) for entry in entries - {new, _NONE, b""})
            stale = [other for other in others if other is not None]
            change = Change(member, accepted == 1, before, after, told=id_ != b"")
            moves.append(Move(change, id_, new, stale))
        return moves

    def _tell(
        self, moves: list[Move], grace: int, read: Callable[[list[Change]], T], *, ranked: bool
    ) -> Command[T]:
        wave = _Wave(self, self.method if ranked else "")
        looks: list[tuple[Change, int | None, int | None]] = []
        for move in moves:
            change, after = move.change, move.change.after
            taken = {stale: wave.note("-", stale) for stale in move.stale} if move.id else {}
            put = None
            if after is not None and (move.id or ranked):
                put = wave.note("+" if move.id else "=", after)
            before = put if change.before == after else change.before and taken.get(change.before)
            looks.append((change, before, put))
        noted = [move for move in moves if move.id]

        def confirm(told: _Told) -> Command[Any]:
            changes = [change for change, _, _ in looks]
            if ranked:
                changes = [
                    change._replace(rank=told.rank(now), previous_rank=told.rank(before, was=True))
                    for change, before, now in looks
                ]
            result = read(changes)
            return self._confirm(noted, grace).map(lambda _: result) if noted else answer(result)

        return wave.then(confirm, ahead=ranked)

    def _confirm(self, moves: list[Move], grace: int, overtaken: str = "keep") -> Command[Any]:
        homes: defaultdict[Home, list[Move]] = defaultdict(list)
        for move in moves:
            homes[self.home(move.change.member)].append(move)
        parts: list[Command[Any]] = []
        for home, several in homes.items():
            args: list[Argument] = [str(grace), overtaken]
            for move in several:
                args += (move.change.member, move.id, move.entry)
            parts.append(CONFIRM(home, args, partial(_chosen, several)))

        def take_back(late: list[Move]) -> Command[Any] | None:
            if not late or overtaken == "forget":
                return None
            wave = _Wave(self, "")
            for move in late:
                if move.change.after is not None:
                    wave.note("-", move.change.after)
            return wave.then(lambda _: self._confirm(late, grace, "forget"))

        return replace(together(parts, _joined), then=take_back, recover=_half_done)

    def size(self, shard: int) -> Command[Size]:
        """Return the Command that counts a shard."""
        scores, ties, _ = self.keys.shards[shard]
        members = Command((b"ZCARD", scores), (scores,), lambda n: Size(n, n), idempotent=True)
        if not self.dense:
            return members
        ranks = Command((b"ZCARD", ties), (ties,), int, idempotent=True)
        return Command((), (), lambda both: Size(both[0].members, both[1]), parts=(members, ranks))


class _Wave:
    """What the shards are told together.

    Args:
        index: of which board.
        method: how ranks are counted; empty for none.
    """

    def __init__(self, index: Index, method: RankMethod | Literal[""]) -> None:
        self._index = index
        self._method = method
        self._notes: list[tuple[int, int]] = []
        self._args: dict[int, list[Argument]] = {}

    def note(self, what: Literal["+", "-", "="], standing: Standing) -> int:
        """Note one entry; return by which number its rank is found."""
        args = self._args.setdefault(standing.shard, [])
        self._notes.append((standing.shard, len(args) // 3))
        args += (what, standing.place, standing.key)
        return len(self._notes) - 1

    def then(self, follow: Callable[[_Told], Command[Any]], *, ahead: bool = False) -> Command[Any]:
        """Return the Command that tells them and goes on; `ahead` counts the better shards, too."""
        index = self._index
        parts: dict[int, Command[Any]] = {}
        for shard in range(max(self._args, default=-1) + 1):
            if shard in self._args:
                words = (index.config, self._method, *self._args[shard])
                parts[shard] = index.apply(index.keys.shards[shard], words, self._read)
            elif ahead:
                parts[shard] = index.size(shard)

        def read(replies: list[Any]) -> _Told:
            return _Told(dict(zip(parts, replies, strict=True)), self._notes)

        if not parts:
            return follow(read([]))
        return replace(together([*parts.values()], read), then=follow, recover=_half_done)

    def _read(self, reply: list[Any]) -> tuple[Size, Size, list[Any]]:
        members, ties, members_after, ties_after, found = reply
        if not self._index.dense:
            ties, ties_after = members, members_after
        return Size(members, ties), Size(members_after, ties_after), found


class _Told:
    """What the shards answered: sizes before and after, and ranks."""

    def __init__(self, shards: dict[int, Any], notes: list[tuple[int, int]]) -> None:
        self._shards = shards
        self._notes = notes

    def rank(self, note: int | None, *, was: bool = False) -> float | None:
        """Return a rank on the whole board."""
        if note is None:
            return None
        shard, at = self._notes[note]
        rank = self._shards[shard][2][at]
        ahead = 0
        for better in range(shard):
            found = self._shards[better]
            size: Size = found if isinstance(found, Size) else found[0 if was else 1]
            ahead += size.ranks
        return ahead + (float(rank) if isinstance(rank, bytes) else rank)


def together(parts: Sequence[Command[Any]], read: Callable[[Any], T]) -> Command[T]:
    """Return the Command that carries several, and reads their results."""
    if len(parts) == 1 and parts[0].then is None:
        read_one = parts[0].read

        def read_only(reply: Any) -> T:
            return read([read_one(reply)])

        return replace(parts[0], read=read_only)
    return Command((), (), read, parts=tuple(parts))


def followed(command: Command[T], then: Callable[[T], Command[V]]) -> Command[V]:
    """Return a Command with what comes after it."""
    following: Command[V] = replace(cast("Any", command), then=then)
    return following


def _joined(several: list[list[Move]]) -> list[Move]:
    return [move for moves in several for move in moves]


def _chosen(several: list[Move], flags: list[int]) -> list[Move]:
    return [move for move, flag in zip(several, flags, strict=True) if flag]


def _half_done(error: OctavoError) -> Any:
    """Raise an error that came after the homes had decided."""
    if isinstance(error, ConnectionLost):
        error.outcome = "unknown"
    raise error

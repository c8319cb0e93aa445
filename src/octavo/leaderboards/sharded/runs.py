"""What a sharded board reads: where members stand, and runs of entries across shards.

Shards are numbered from the best. What stands before an entry is what its own shard has before it,
and all that the better shards have. Both are asked in one wave.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from octavo.engine.command import Command, answer, as_it_is
from octavo.errors import ConfigMismatch
from octavo.leaderboards.ranking import RankMethod, ranks
from octavo.leaderboards.records import Entry, Page
from octavo.leaderboards.scores import exact
from octavo.leaderboards.sharded.moves import STAMP, WINDOW, Size, followed, together

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from octavo.engine.script import Argument
    from octavo.leaderboards.scores import Scale
    from octavo.leaderboards.sharded.layout import Home
    from octavo.leaderboards.sharded.moves import Index, Standing

T = TypeVar("T")
V = TypeVar("V")

_SLACK = 8
"""Entries read too many on each side, so that what came and went meanwhile costs no other wave."""
_TRIES = 4
_MOST_SEEN = 10_000
"""Members whose last standing a client remembers."""


class Run(NamedTuple):
    """A run of entries of one shard.

    Attributes:
        size: of the shard.
        first: places before the run, in the shard, as are the next three.
        better: places before its first tie.
        up_to: places up to its last tie.
        dense: the dense rank of its first entry.
        keys: what its entries are called.
        places: their place scores.
    """

    size: Size
    first: int
    better: int
    up_to: int
    dense: int
    keys: list[bytes]
    places: list[bytes]

    @property
    def last(self) -> int:
        """The last place of the run."""
        return self.first + len(self.keys) - 1


class Known:
    """What a client has heard of a board: guesses that answers are checked against.

    Attributes:
        sizes: how many members the shards had, best first; None where that is not known.
    """

    def __init__(self, number: int) -> None:
        self.sizes: list[int | None] = [None] * number
        self._standings: OrderedDict[bytes, Standing] = OrderedDict()

    def hear(self, sizes: Mapping[int, Size]) -> None:
        """Take note of sizes."""
        for shard, size in sizes.items():
            self.sizes[shard] = size.members

    def see(self, member: bytes, standing: Standing) -> None:
        """Take note of where a member stands."""
        # Each step is one of the dictionary's, so that threads need no lock.
        self._standings.pop(member, None)
        self._standings[member] = standing
        if len(self._standings) > _MOST_SEEN:
            self._standings.popitem(last=False)

    def standing(self, member: bytes) -> Standing | None:
        """Return where a member was seen last."""
        return self._standings.get(member)


class Reader:
    """Builds the Commands that read a board.

    Args:
        index: its homes and shards.
        scale: how its scores become places.
        known: what this client has heard of it.
    """

    def __init__(self, index: Index, scale: Scale, known: Known) -> None:
        self._index = index
        self._scale = scale
        self._known = known
        self._config = f"{index.config} ".encode()
        self._all = range(index.sharding.number)

    # Members

    def find(self, members: Sequence[bytes]) -> Command[list[Standing | None]]:
        """Return the Command that asks the homes where members stand; None is no member."""
        homes: defaultdict[Home, list[bytes]] = defaultdict(list)
        for member in members:
            homes[self._index.home(member)].append(member)
        parts = [
            Command(
                (b"HMGET", home.members, b"", *names),
                (home.members,),
                partial(self._entries, names),
                idempotent=True,
            )
            for home, names in homes.items()
        ]

        def read(found: list[dict[bytes, Standing | None]]) -> list[Standing | None]:
            standings = {name: standing for one in found for name, standing in one.items()}
            return [standings[member] for member in members]

        return self._index.apart(together(parts, read))

    def of_one(
        self,
        member: bytes,
        make: Callable[[Standing], Command[T]],
        finish: Callable[[T], Command[V]],
    ) -> Command[V | None]:
        """Return the Command that finds out something about where a member stands.

        If the member was seen before, that is found out at once, for the entry which it had then;
        its home, asked in the same wave, tells whether it still has it.

        Args:
            member: who; None is the result for no member.
            make: makes what finds out, in one wave.
            finish: makes what comes after that; `answer` if nothing does.
        """
        seen = self._known.standing(member)

        def then(found: list[Any]) -> Command[Any]:
            standing: Standing | None = found[0][0]
            if standing is None:
                return answer(None)
            if standing == seen:
                return finish(found[1])
            self._known.see(member, standing)
            return followed(make(standing), finish)

        asked: list[Command[Any]] = [self.find([member])]
        if seen is not None:
            asked.append(make(seen))
        return followed(self._index.apart(together(asked, list)), then)

    def see(self, member: bytes, standing: Standing) -> None:
        """Take note of where a member stands."""
        self._known.see(member, standing)

    def _entries(self, names: list[bytes], reply: list[Any]) -> dict[bytes, Standing | None]:
        meta, *entries = reply
        if meta is not None and not meta.startswith(self._config):
            stored, mine = meta.rpartition(b" ")[0].decode(), self._index.config
            raise ConfigMismatch(f'the board was made as "{stored}", not as "{mine}"')
        return {
            name: self._index.standing(name, entry)
            for name, entry in zip(names, entries, strict=True)
        }

    def rank(self, standing: Standing, method: RankMethod) -> Command[float]:
        """Return the Command that ranks an entry within its shard, there or not."""
        keys = self._index.keys.shards[standing.shard]
        place = repr(standing.place)

        def counted(key: bytes, most: str, more: int) -> Command[float]:
            words = (b"ZCOUNT", key, b"-inf", most)
            return Command(words, (key,), lambda n: max(n + more, 1), idempotent=True)

        start, end = counted(keys.scores, f"({place}", 1), counted(keys.scores, place, 0)
        if method == "competition":
            return start
        if method == "modified":
            return end
        if method == "dense":
            return counted(keys.ties, f"({place}", 1)
        if method == "fractional":
            return Command((), (), lambda both: sum(both) / 2, parts=(start, end))
        words = (b"ZRANK", keys.scores, standing.key)
        found: Command[int | None] = Command(words, (keys.scores,), as_it_is, idempotent=True)
        return Command(
            (), (), lambda both: both[1] if both[0] is None else both[0] + 1, parts=(found, start)
        )

    def ranked(
        self,
        standings: Sequence[Standing],
        read: Callable[[list[float], list[Size]], T],
        *,
        method: RankMethod | None = None,
        whole: bool = False,
    ) -> Command[T]:
        """Return the Command that ranks entries on the whole board.

        Args:
            standings: which entries.
            read: gets their ranks, and the sizes of the shards that were counted.
            method: how equal scores are ranked, if not as on the board; never "dense" then.
            whole: whether all shards are counted, and not only those before the last entry.
        """
        chosen = self._index.method if method is None else method
        worst = max(standing.shard for standing in standings)
        counted = self._all if whole else range(worst)
        parts: list[Command[Any]] = [self.rank(standing, chosen) for standing in standings]
        parts += map(self._index.size, counted)

        def read_all(replies: list[Any]) -> T:
            sizes: list[Size] = replies[len(standings) :]
            self._known.hear(dict(enumerate(sizes)))
            each = (size.ranks if chosen == "dense" else size.members for size in sizes)
            ahead = list(accumulate(each, initial=0))
            found = [
                rank + ahead[standing.shard]
                for rank, standing in zip(replies, standings, strict=False)
            ]
            return read(found, sizes)

        return together(parts, read_all)

    # Runs

    def window(self, shard: int, select: str, *args: Argument) -> Command[Run]:
        """Return the Command that reads a run of one shard."""
        words = (self._index.config, self._index.method, select, *args)
        return WINDOW(self._index.keys.shards[shard], words, self._run)

    def _run(self, reply: list[Any]) -> Run:
        members, ties, first, better, up_to, dense, rows = reply
        size = Size(members, ties if self._index.dense else members)
        return Run(size, first, better, up_to, dense, rows[::2], rows[1::2])

    def entries(self, run: Run, ahead: Size, first: int, last: int) -> list[Entry]:
        """Return the entries of a run between two places of its shard."""
        found = ranks(
            self._index.method,
            run.places,
            first=run.first + ahead.members,
            better=run.better + ahead.members,
            up_to=run.up_to + ahead.members,
            dense=run.dense + ahead.ranks,
        )
        sign = self._scale.first
        part = slice(max(first - run.first, 0), max(last + 1 - run.first, 0))
        return [
            Entry(key[STAMP:].decode(), float(place) * sign + 0.0, rank)
            for key, place, rank in zip(run.keys[part], run.places[part], found[part], strict=True)
        ]

    def together(
        self, runs: Mapping[int, Command[Run]], counted: range, read: Callable[[_Found], T]
    ) -> Command[T]:
        """Return the Command that reads runs, and counts the other shards of a range."""
        parts = [runs[shard] if shard in runs else self._index.size(shard) for shard in counted]

        def found(replies: list[Any]) -> T:
            sizes = [one.size if isinstance(one, Run) else one for one in replies]
            self._known.hear(dict(zip(counted, sizes, strict=True)))
            there = {i: one for i, one in enumerate(replies) if isinstance(one, Run)}
            return read(_Found(sizes, there))

        return together(parts, found)

    def total(self) -> Command[int]:
        """Return the Command that counts all members."""
        return self.together({}, self._all, lambda found: found.ahead(len(self._all)).members)

    def span(self, first: int, last: int, *, tries: int = _TRIES) -> Command[list[Entry]]:
        """Return the Command that reads the entries from one place on the board to another.

        Which shards have them is guessed from sizes heard before. Where that was wrong, they are
        asked again.
        """
        slack = _SLACK ** (_TRIES - tries + 1)
        wanted, counted = self._guess(first, last, slack)
        runs = {shard: self.window(shard, "places", *ends, "") for shard, ends in wanted.items()}

        def read(found: _Found) -> tuple[list[Entry], bool]:
            entries: list[Entry] = []
            whole = len(found.sizes) == len(self._all) or found.ahead(len(counted)).members > last
            for shard, size in enumerate(found.sizes):
                ahead = found.ahead(shard)
                low = max(first - ahead.members, 0)
                high = min(last - ahead.members, size.members - 1)
                if low > high:
                    continue
                asked = wanted.get(shard, (0, -1))
                whole = whole and asked[0] <= low and high <= asked[1]
                if shard in found.runs:
                    entries += self.entries(found.runs[shard], ahead, low, high)
            return entries, whole

        def then(found: tuple[list[Entry], bool]) -> Command[list[Entry]]:
            entries, whole = found
            done = whole or not tries
            return answer(entries) if done else self.span(first, last, tries=tries - 1)

        return followed(self.together(runs, counted, read), then)

    def _guess(self, first: int, last: int, slack: int) -> tuple[dict[int, tuple[int, int]], range]:
        """Return which places of which shards to read, and which shards to count."""
        wanted: dict[int, tuple[int, int]] = {}
        ahead = 0
        for shard, size in enumerate(self._known.sizes):
            room = slack if shard else 0
            low, high = max(first - ahead - room, 0), last - ahead + room
            if high < 0:
                return wanted, range(shard)
            if size is None:
                return ({0: (first, last)} if first == 0 else {}), self._all
            if low < size + room:
                wanted[shard] = (low, high)
            ahead += size
        return wanted, self._all

    def around(self, standing: Standing, n: int) -> Command[tuple[int, int, list[Entry] | None]]:
        """Return the Command that finds the neighbours of an entry.

        Its result are the first and the last of their places on the board, and what stands there
        if all of that is in one shard; see `spread`.
        """
        shard, size = standing.shard, 2 * n + 1
        run = self.window(shard, "around", standing.place, standing.key, size)

        def read(found: _Found) -> tuple[int, int, list[Entry] | None]:
            here, ahead = found.runs[shard], found.ahead(shard)
            place = here.first + sum(float(one) < standing.place for one in here.places)
            if standing.key in here.keys:
                place = here.first + here.keys.index(standing.key)
            total = found.ahead(len(self._all)).members
            first = max(min(ahead.members + place - n, total - size), 0)
            last = min(first + size, total) - 1
            low, high = first - ahead.members, last - ahead.members
            if here.first <= low and high <= here.last:
                return first, last, self.entries(here, ahead, low, high)
            return first, last, None

        return self.together({shard: run}, self._all, read)

    def spread(self, found: tuple[int, int, list[Entry] | None]) -> Command[list[Entry]]:
        """Return the Command that reads what `around` has not found in one shard."""
        first, last, entries = found
        return self.span(first, last) if entries is None else answer(entries)

    def between(
        self, places: Sequence[float], shards: range, limit: int | None
    ) -> Command[list[Entry]]:
        """Return the Command that reads the entries between two place scores."""
        best, worst = places
        most: Argument = "" if limit is None else limit
        runs = {shard: self.window(shard, "scores", best, worst, most) for shard in shards}

        def read(found: _Found) -> list[Entry]:
            entries = [
                entry
                for shard, run in found.runs.items()
                for entry in self.entries(run, found.ahead(shard), run.first, run.last)
            ]
            return entries[:limit]

        return self.together(runs, range(shards.stop), read)

    def scan(self, cursor: Cursor, limit: int, so_far: list[Entry]) -> Command[Page]:
        """Return the Command that reads up to `limit` entries behind a cursor."""
        shard, place, key = cursor
        select, first, last = ("after", place, key) if key else ("places", 0, limit - 1)
        run = self.window(shard, select, first, last, limit)

        def read(found: _Found) -> Page:
            here = found.runs[shard]
            entries = self.entries(here, found.ahead(shard), here.first, here.last)
            if len(entries) == limit:
                behind = Cursor(shard, float(here.places[-1]), here.keys[-1])
            else:
                behind = Cursor(shard + 1, 0.0, b"")
            end = behind.shard == len(self._all)
            return Page(so_far + entries, None if end else str(behind))

        def then(page: Page) -> Command[Page]:
            missing = limit - (len(page.entries) - len(so_far))
            if page.cursor is None or not missing:
                return answer(page)
            return self.scan(Cursor(shard + 1, 0.0, b""), missing, page.entries)

        return followed(self.together({shard: run}, range(shard + 1), read), then)


class _Found:
    """What a wave has found: the sizes of the best shards, and runs of some."""

    def __init__(self, sizes: list[Size], runs: dict[int, Run]) -> None:
        self.sizes = sizes
        self.runs = runs
        members = accumulate((size.members for size in sizes), initial=0)
        numbers = accumulate((size.ranks for size in sizes), initial=0)
        self._ahead = [Size(*pair) for pair in zip(members, numbers, strict=True)]

    def ahead(self, shard: int) -> Size:
        """Return what stands before a shard."""
        return self._ahead[shard]


class Cursor(NamedTuple):
    """A place in the order: behind an entry, or the beginning of a shard."""

    shard: int
    place: float
    key: bytes

    def __str__(self) -> str:
        """The text that `parse` takes."""
        return f"{self.shard}:{self.place!r}:{self.key.hex()}"

    @classmethod
    def parse(cls, text: str, shards: int) -> Cursor:
        """Return the cursor of a text, or refuse it."""
        if not isinstance(text, str):
            raise TypeError(f"cursor must be a str, not {text!r}")
        shard, _, rest = text.partition(":")
        place, _, key = rest.partition(":")
        try:
            cursor = cls(int(shard), exact("cursor", float(place)), bytes.fromhex(key))
        except ValueError:
            cursor = cls(-1, 0.0, b"")
        if not 0 <= cursor.shard < shards:
            raise ValueError(f"cursor must be one that scan() gave, not {text!r}")
        return cursor

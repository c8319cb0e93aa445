"""What puts a sharded board right: after clients that stopped half way, and after lost writes."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from octavo.engine.command import Command, as_it_is
from octavo.leaderboards.sharded.moves import APPLY, GRACE, STAMP, WINDOW

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from octavo.leaderboards.sharded.layout import Home
    from octavo.leaderboards.sharded.moves import Change, Decide, Index, Standing

_PAGE = 500


async def finish(index: Index, grace: float) -> int:
    """Tell the shards of moves noted for more than `grace` seconds; return of how many members."""
    done = 0
    for home in index.keys.homes:
        async for noted in _pages(home.moves):
            done += await _tell(index, "repair", noted, grace)
    return done


async def compare(index: Index) -> int:
    """Compare all shards with the homes, and put right what differs; return how many members."""
    done = 0
    for shard in range(index.sharding.number):
        done += await _take_off_strangers(index, shard)
    for home in index.keys.homes:
        async for members in _pages(home.members):
            members.pop(b"", None)
            missing = await _missing(index, members)
            done += await _tell(index, "touch", missing, GRACE)
    return done


async def _tell(index: Index, what: Decide, members: Iterable[bytes], grace: float) -> int:
    def told(changes: list[Change]) -> int:
        return sum(change.told for change in changes)

    done: int = await index.change(what, [(member, None) for member in members], told, grace=grace)
    return done


async def _take_off_strangers(index: Index, shard: int) -> int:
    """Take off a shard what the homes, asked afterwards, know nothing of or not any more."""
    keys, done = index.keys.shards[shard], 0
    select: tuple[Any, ...] = ("places", 0, _PAGE - 1)
    while True:
        words = (index.config, "ordinal", *select, _PAGE)
        rows: list[bytes] = await WINDOW(keys, words, lambda reply: reply[-1])
        if not rows:
            return done
        select = ("after", rows[-1], rows[-2])
        there = dict(zip(rows[::2], map(float, rows[1::2]), strict=True))
        own = {one.key: one.place for one in await _at_home(index, there) if one.shard == shard}
        strangers = [key for key, place in there.items() if own.get(key) != place]
        if strangers:
            ops = [word for key in strangers for word in ("-", there[key], key)]
            await APPLY(keys, (index.config, "", *ops), as_it_is)
            done += len(strangers)


async def _at_home(index: Index, keys: Iterable[bytes]) -> list[Standing]:
    """Return where the members of some entries stand."""
    homes: defaultdict[Home, list[bytes]] = defaultdict(list)
    for key in keys:
        homes[index.home(key[STAMP:])].append(key[STAMP:])
    parts = tuple(
        Command((b"HMGET", home.members, *names), (home.members,), as_it_is, idempotent=True)
        for home, names in homes.items()
    )
    found: list[list[bytes | None]] = await Command((), (), list, parts=parts)
    return [
        standing
        for names, entries in zip(homes.values(), found, strict=True)
        for name, entry in zip(names, entries, strict=True)
        if (standing := index.standing(name, entry)) is not None
    ]


async def _missing(index: Index, members: dict[bytes, bytes]) -> list[bytes]:
    """Return those members whose shard does not have their entry."""
    shards: defaultdict[int, list[tuple[bytes, Standing]]] = defaultdict(list)
    for member, entry in members.items():
        standing = index.standing(member, entry)
        if standing is not None:
            shards[standing.shard].append((member, standing))
    if not shards:
        return []
    parts: list[Command[Any]] = []
    for shard, standings in shards.items():
        scores = index.keys.shards[shard].scores
        words = (b"ZMSCORE", scores, *(standing.key for _, standing in standings))
        parts.append(Command(words, (scores,), as_it_is, idempotent=True))
    found = await Command((), (), list, parts=tuple(parts))
    return [
        member
        for standings, places in zip(shards.values(), found, strict=True)
        for (member, standing), place in zip(standings, places, strict=True)
        if place is None or float(place) != standing.place
    ]


async def _pages(key: bytes) -> AsyncIterator[dict[bytes, bytes]]:
    cursor = b"0"
    while True:
        words = (b"HSCAN", key, cursor, b"COUNT", str(_PAGE))
        cursor, rows = await Command(words, (key,), as_it_is, idempotent=True)
        if rows:
            yield dict(zip(rows[::2], rows[1::2], strict=True))
        if cursor == b"0":
            return

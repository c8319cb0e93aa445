"""The audit trail and the events of a board, as they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from octavo.engine.checks import millis, whole
from octavo.engine.command import Async, Command, Job, M, Sync, operation
from octavo.leaderboards.records import Change, Event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from octavo.engine.checks import Seconds
    from octavo.engine.command import Engine
    from octavo.leaderboards.scores import Scale

_AT_ONCE = 1000
_LAST = 200 * 365 * 86_400_000
"""The last time of an id, in milliseconds."""
_WAIT = 1.0


class EventStream(Job[M]):
    """The events of a board, from some place on; iterating waits for more, and never ends.

        for event in board.events():
            print(event.member, event.rank)

    Args:
        engine: what carries the commands.
        key: of the stream.
        base: what the board's keys begin with.
        scale: how places become scores.
        last: the id of the last event seen; None to begin with what happens from now on.
    """

    def __init__(
        self, engine: Engine, key: bytes, base: str, scale: Scale, last: str | None
    ) -> None:
        super().__init__(engine)
        self._key = key
        self._base = base.encode() + b":"
        self._scale = scale
        self._last = last

    @operation
    def newest(self) -> Command[str]:
        """Return the id of the newest event; "0-0" when there is none. O(1)."""
        words = (b"XREVRANGE", self._key, b"+", b"-", b"COUNT", b"1")
        return Command(
            words,
            (self._key,),
            lambda rows: rows[0][0].decode() if rows else "0-0",
            idempotent=True,
        )

    @operation
    def read(
        self, after: str, *, limit: int = _AT_ONCE, wait: Seconds = 0.0
    ) -> Command[list[Event]]:
        """Return events behind that id, oldest first. O(M).

        Args:
            after: the id of the last one seen, "0-0" for all that are kept.
            limit: how many at most.
            wait: seconds to wait for one if there is none. Not in a batch.
        """
        count = str(whole("limit", limit)).encode()
        pause = millis("wait", wait, least=0)
        block = (b"BLOCK", str(pause).encode()) if pause else ()
        words = (b"XREAD", *block, b"COUNT", count, b"STREAMS", self._key, id_bytes("after", after))
        return Command(
            words,
            (self._key,),
            self._read,
            idempotent=True,
            block=pause / 1000 if pause else None,
        )

    def __iter__(self: EventStream[Sync]) -> Iterator[Event]:
        """Go through the events as they happen."""
        last = self.newest() if self._last is None else self._last
        while True:
            for event in self.read(last, wait=_WAIT):
                yield event
                last = event.id

    async def __aiter__(self: EventStream[Async]) -> AsyncIterator[Event]:
        """Go through the events as they happen."""
        last = await self.newest() if self._last is None else self._last
        while True:
            for event in await self.read(last, wait=_WAIT):
                yield event
                last = event.id

    def _read(self, reply: Any) -> list[Event]:
        if not reply:
            return []
        # RESP3 has a map of streams, RESP2 a list of pairs.
        rows: list[Any] = reply[self._key] if is_map(reply) else reply[0][1]
        return [self._event(name, _fields(words)) for name, words in rows]

    def _event(self, id: bytes, of: dict[bytes, bytes]) -> Event:  # noqa: A002
        scale = self._scale.at(time_of(id))
        table = of[b"table"].removeprefix(self._base).removesuffix(b"scores").rstrip(b":")

        def score(name: bytes) -> float | None:
            return scale.score(of[name]) if of[name] else None

        def rank(name: bytes) -> float | None:
            number = of[name]
            if not number:
                return None
            return float(number) if b"." in number else int(number)

        return Event(
            id.decode(),
            of[b"kind"].decode(),
            of[b"member"].decode(),
            score(b"score"),
            rank(b"rank"),
            score(b"previous"),
            rank(b"previous_rank"),
            table.decode(),
        )


def changes(scale: Scale, rows: list[Any]) -> list[Change]:
    """Read lines of an audit trail."""
    return [_change(scale, name.decode(), _fields(words)) for name, words in rows]


def _change(scale: Scale, id: str, of: dict[bytes, bytes]) -> Change:  # noqa: A002
    at = int(of[b"time"])
    scale = scale.at(at)
    place = of.get(b"score", b"")
    return Change(
        id,
        at / 1_000_000,
        of[b"kind"].decode(),
        of[b"member"].decode(),
        scale.score(place) if place else None,
        of.get(b"keep", b"").decode(),
        of.get(b"reason", b"").decode(),
        of.get(b"of", b"").decode(),
        scale.scores(place, of[b"columns"]) if place else (),
    )


def is_map(reply: Any) -> bool:
    """Whether a reply is a map, which is a list in RESP2's form."""
    return isinstance(reply, dict)


def _fields(words: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(words[::2], words[1::2], strict=True))


def id_bytes(parameter: str, value: object) -> bytes:
    """Return the id of an event or a change, or refuse what cannot be one."""
    if not isinstance(value, str):
        raise TypeError(f"{parameter} must be a str, not {value!r}")
    time, _, number = value.partition("-")
    right = time.isdecimal() and number.isdecimal() and value.isascii()
    if not right or int(time) > _LAST or int(number) >= 2**64:
        raise ValueError(f"{parameter} must be an id such as '1763913600000-0', not {value!r}")
    return value.encode()


def time_of(id: bytes) -> int:  # noqa: A002
    """Return the time of an id, in microseconds since 1970."""
    return int(id.partition(b"-")[0]) * 1000

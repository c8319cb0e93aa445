"""Which tables a board has at a time, and the commands that change all of them at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from octavo.engine.script import Script
from octavo.leaderboards.layout import board_keys, table_keys
from octavo.leaderboards.periods import Period, Span, Window
from octavo.leaderboards.scores import DecayingScale

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from octavo.engine.command import Command
    from octavo.engine.script import Argument
    from octavo.leaderboards.definition import Definition
    from octavo.leaderboards.rules import Events, Rules

T = TypeVar("T")

ALL_TIME = 1
"""The number of the table of all time; periods and windows have the next ones."""

_MARGIN = 2_000_000
"""Microseconds around a boundary in which the periods on both of its sides are offered."""
_TRIES = 5

_here = Path(__file__)
SUBMIT_ALL = Script(_here.with_name("submit_all.lua"))
ALTER = Script(_here.with_name("alter.lua"))


class Late(NamedTuple):
    """The answer of a script that was offered no table of the right time."""

    at: int


def told_to_ask_again(reply: Any) -> bool:
    """Whether a script did nothing, as something else has to be asked."""
    return isinstance(reply, list) and reply[:1] == [b"AGAIN"]


class Clock:
    """What a client knows of its server's clock: how far that is from its own."""

    def __init__(self) -> None:
        self._ahead: int | None = None

    @property
    def known(self) -> bool:
        """Whether the server has said what time it is."""
        return self._ahead is not None

    def now(self) -> int:
        """Return the server's time in microseconds since 1970, as far as it is known."""
        return time.time_ns() // 1000 + (self._ahead or 0)

    def learn(self, now: int) -> None:
        """Take note of what the server has said."""
        self._ahead = now - time.time_ns() // 1000


class Offer(NamedTuple):
    """Tables for a script to choose from by its own clock: their keys, and what they are."""

    keys: tuple[bytes, ...]
    board: bytes
    until: int


class Tables:
    """The tables of a board.

    Args:
        base: what the board's keys begin with.
        definition: what the tables have in common.
        periods: of which there are tables besides that of all time.
        clock: what is known of the server's.
    """

    def __init__(
        self,
        base: str,
        definition: Definition,
        clock: Clock,
        *,
        periods: Sequence[Period | Window],
        rules: Rules | None,
        audit: int,
        events: Events | None,
        season: bool,
    ) -> None:
        self.base = base
        self.clock = clock
        self.kinds = dict(enumerate(periods, ALL_TIME + 1))
        self.whole = bool(periods or rules or audit or events or season) or isinstance(
            definition.scale, DecayingScale
        )
        self._definition = definition
        self._board = {
            **_shape(definition),
            "season": season,
            "rules": rules and rules.packed(),
            "trail": {"most": audit} if audit else None,
            "news": events
            and {
                "table": self._number(events.of),
                "top": events.top,
                "most": events.most,
            },
        }
        self._offer: Offer | None = None

    def name(self, number: int) -> str:
        """Return what the kind of table of that number is called."""
        return self.kinds[number].name

    def base_of(self, kind: Period | Window, span: Span | None = None) -> str:
        """Return what the keys of a table begin with."""
        name = f"{self.base}:{kind.name}"
        return name if span is None else f"{name}:{span.label}"

    def run(
        self,
        script: Script,
        args: Sequence[Argument],
        read: Callable[[Any], T],
        *,
        at: int | None = None,
        once: Callable[..., Command[T]] | None = None,
        tries: int = _TRIES,
    ) -> Command[T]:
        """Return the Command that changes all tables of a time, which the server chooses.

        Args:
            script: takes the keys and the constants of the board first.
            args: what comes behind these.
            read: reads the reply.
            at: the time in microseconds since 1970; None is now.
            once: makes the command in place of the script.
            tries: how often it is sent, if tables of other times are wanted than were offered.
        """
        offer = self._offered(at)

        def read_or_late(reply: Any) -> T | Late:
            late = told_to_ask_again(reply) and len(reply) == 2
            return Late(reply[1]) if late and tries else read(reply)

        def again(value: Any) -> Command[T] | None:
            if not isinstance(value, Late):
                return None
            self._offer = None
            if at is None:
                self.clock.learn(value.at)
            wanted = None if at is None else value.at
            return self.run(script, args, read, at=wanted, once=once, tries=tries - 1)

        make: Any = once or script
        if not self.kinds:
            command: Command[T] = make(offer.keys, (offer.board, *args), read)
            return command
        return replace(make(offer.keys, (offer.board, *args), read_or_late), then=again)

    def keys(self) -> tuple[bytes, ...]:
        """Return the keys of the board and of its tables of this time."""
        return self._offered(None).keys

    def _number(self, of: str | Period | None) -> int:
        if of is None:
            return ALL_TIME
        return self.number_of("of", of)

    def number_of(self, parameter: str, which: str | Period | Window) -> int:
        """Return the number of one of the periods and windows, or refuse what is none of them."""
        found = [
            number
            for number, kind in self.kinds.items()
            if which in (kind, kind.name, getattr(kind, "unit", None))
        ]
        if len(found) != 1:
            known = ", ".join(kind.name for kind in self.kinds.values()) or "none"
            raise ValueError(
                f"{parameter} must be one of the board's periods ({known}), not {which!r}"
            )
        return found[0]

    def _offered(self, at: int | None) -> Offer:
        now = self.clock.now() if at is None else at
        if at is None and self._offer is not None and now < self._offer.until:
            return self._offer
        sure = at is not None or self.clock.known or not self.kinds
        offer = self._made(now, sure=sure)
        if at is None and sure:
            self._offer = offer
        return offer

    def _made(self, now: int, *, sure: bool) -> Offer:
        keys: list[bytes] = [*board_keys(self.base), *table_keys(self.base)]
        tables: list[dict[str, Any]] = [{"kind": ALL_TIME}]
        until = now + 10**15
        for number, kind in self.kinds.items():
            if isinstance(kind, Window):
                length, step = kind.micros
                keys += table_keys(self.base_of(kind))
                tables.append({"kind": number, "length": length, "step": step})
                continue
            spans, soon = _spans(kind, now, sure=sure)
            until = min(until, soon)
            for span in spans:
                keys += table_keys(self.base_of(kind, span))
                tables.append(
                    {
                        "kind": number,
                        "starts": span.starts,
                        "ends": span.ends,
                        "expires": kind.expires(span),
                    }
                )
        return Offer(tuple(keys), msgspec.msgpack.encode({**self._board, "tables": tables}), until)


def window_board(definition: Definition, window: Window) -> bytes:
    """Return the constants of a board for the script that is about one rolling window."""
    length, step = window.micros
    tables = [{"kind": ALL_TIME, "length": length, "step": step}]
    return msgspec.msgpack.encode({**_shape(definition), "tables": tables})


def _shape(definition: Definition) -> dict[str, Any]:
    scale = definition.scale
    return {
        "config": definition.config,
        "width": scale.width,
        "sign": scale.first,
        "prefix": definition.prefix,
        "columns": definition.columns,
        "method": definition.method,
        "dense": definition.method == "dense",
        "stamped": definition.ties != "member",
        "latest": definition.ties == "latest",
        "decays": scale.half_life if isinstance(scale, DecayingScale) else None,
    }


def _spans(period: Period, now: int, *, sure: bool) -> tuple[list[Span], int]:
    """Return the periods that may be the present one, and until when they are these."""
    span = period.span(now)
    first, last = span.starts + _MARGIN, span.ends - _MARGIN
    spans = [span]
    if not sure or now < first:
        spans.append(period.span(span.starts - 1))
    if not sure or now >= last:
        spans.append(period.span(span.ends))
    return spans, next((bound for bound in (first, last, span.ends) if now < bound), now)

"""Which tables a board has at a time, and the commands that change all of them at once."""

from __future__ import annotations

import time
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import msgspec
from msgspec.structs import replace

from octavo.engine.command import Command
from octavo.engine.fork import lazy
from octavo.engine.script import Script
from octavo.errors import Unavailable
from octavo.leaderboards.layout import TABLE_FIELDS, board_keys, some_keys
from octavo.leaderboards.periods import Period, Span, Window
from octavo.leaderboards.scores import DecayingScale

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from octavo.engine.script import Argument
    from octavo.leaderboards.definition import Definition
    from octavo.leaderboards.rules import Events, Rules

T = TypeVar("T")

ALL_TIME = ""
"""The name of the table of all time; periods and windows have names of their own."""

_MARGIN = 2_000_000
"""Microseconds around a boundary in which the periods on both of its sides are offered."""
_TRIES = 5
# Each of these takes a thousand members off the windows.
_EVICTIONS = 10_000
_FOREVER = 2**62

_here = Path(__file__)
SUBMIT_ALL = Script(_here.with_name("submit_all.lua"))
SUBMIT_PERIODS = Script(_here.with_name("submit_periods.lua"))
ALTER = Script(_here.with_name("alter.lua"))


class Late(NamedTuple):
    """The answer of a script that did nothing, as it was offered no table of the right time.

    Attributes:
        at: the time, in microseconds since 1970; 0 where it wants all keys of the tables.
    """

    at: int


def asked_again(command: Command[Any], again: Callable[[Late], Command[T]]) -> Command[T]:
    """Return a command that is followed by another one where its answer is `Late`."""

    def follow(value: Any) -> Command[T] | None:
        return again(value) if isinstance(value, Late) else None

    return replace(command, then=follow)


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


class Offer:
    """Tables for a script to choose from by its own clock.

    Args:
        base: what the board's keys begin with.
        board: what is constant about the board.
        tables: what the keys of each table begin with, and what the scripts need to know of it.
        until: the time up to which these are the tables to offer.
    """

    def __init__(
        self,
        base: str,
        board: Mapping[str, Any],
        tables: Sequence[tuple[str, dict[str, Any]]],
        until: int,
    ) -> None:
        self._base = base
        self._board = board
        self._tables = tables
        self._packed: dict[tuple[str, ...], tuple[tuple[bytes, ...], bytes]] = {}
        self.until = until

    def packed(self, fields: tuple[str, ...]) -> tuple[tuple[bytes, ...], bytes]:
        """Return the keys, with these of each table, and what they are, as msgpack."""
        if fields not in self._packed:
            keys = [key for base, _ in self._tables for key in some_keys(base, fields)]
            keys += board_keys(self._base)
            tables = [table for _, table in self._tables]
            board = {**self._board, "fields": fields, "tables": tables}
            self._packed[fields] = tuple(keys), msgspec.msgpack.encode(board)
        return self._packed[fields]

    @lazy
    def brief(self) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
        """The keys that each table has, and what the tables are, in words."""
        keys: list[bytes] = []
        words: list[str] = []
        for base, table in self._tables:
            keys += some_keys(base, TABLE_FIELDS[:2])
            known = (table.get(name) for name in ("kind", "starts", "ends", "expires"))
            words += ("" if one is None else str(one) for one in known)
        return tuple(keys), tuple(words)


class Tables:
    """The tables of a board.

    Args:
        base: what the board's keys begin with.
        definition: what the tables have in common.
        clock: what is known of the server's.
        periods: of which there are tables besides that of all time.
        rules: which submissions count.
        audit: how many changes are remembered.
        events: which changes are told.
        season: whether the board has to be opened.
        atomic: whether operations are noted for one transaction, which nothing may follow.
    """

    def __init__(
        self,
        base: str,
        definition: Definition,
        clock: Clock,
        *,
        periods: Sequence[Period | Window] = (),
        rules: Rules | None = None,
        audit: int = 0,
        events: Events | None = None,
        season: bool = False,
        atomic: bool = False,
    ) -> None:
        self.base = base
        self.clock = clock
        self.kinds = {kind.name: kind for kind in periods}
        windows = any(isinstance(kind, Window) for kind in periods)
        special = bool(rules or audit or events or season or definition.scale.decays)
        self.whole = bool(periods) or special or atomic
        self.brief = (
            bool(periods)
            and not (special or windows or atomic)
            and definition.scale.width == 1
            and definition.method in ("competition", "ordinal")
        )
        self._definition = definition
        self._atomic = atomic
        self._tries = _EVICTIONS if windows else _TRIES
        # A board that is kept in order may well have bans.
        ordered = bool(atomic or rules or audit or events or season)
        self._fields = TABLE_FIELDS if ordered else _needed(definition, windows=windows)
        self._told = "" if events is None else self._name_told(events)
        self._rules, self._audit, self._events, self._season = rules, audit, events, season
        self._offer: Offer | None = None

    @lazy
    def _board(self) -> dict[str, Any]:
        """What is constant about the board; objects of plain ones, which may be many, have none."""
        rules, events = self._rules, self._events
        return {
            **_shape(self._definition),
            "season": self._season,
            "atomic": self._atomic,
            "rules": rules and rules.packed(),
            "trail": {"most": self._audit} if self._audit else None,
            "news": events and {"table": self._told, "top": events.top, "most": events.most},
        }

    def _name_told(self, events: Events) -> str:
        if events.of is None:
            return ALL_TIME
        name = self.name_of("of", events.of)
        if not isinstance(self.kinds[name], Period):
            raise ValueError(f"of must be a period, not the window {name!r}")  # noqa: TRY004
        return name

    def base_of(self, kind: Period | Window, span: Span | None = None) -> str:
        """Return what the keys of a table begin with."""
        name = f"{self.base}:{kind.name}"
        return name if span is None else f"{name}:{span.label}"

    def name_of(self, parameter: str, which: object) -> str:
        """Return the name of one of the periods and windows, or refuse what is none of them."""
        found = [name for name, kind in self.kinds.items() if which in (kind, name)] or [
            name for name, kind in self.kinds.items() if which == getattr(kind, "unit", None)
        ]
        if len(found) != 1:
            known = ", ".join(self.kinds) or "none"
            raise ValueError(f"{parameter} must be one of the periods ({known}), not {which!r}")
        return found[0]

    def only(self, name: str, span: Span) -> Tables:
        """Return the same with one table, that of a period."""
        period = self.kinds[name]
        table = {"kind": name, "expires": cast("Period", period).expires(span)}
        base = self.base_of(period, span)
        one = copy(self)
        one.fix(Offer(self.base, self._board, [(base, table)], _FOREVER))
        return one

    def fix(self, offer: Offer) -> None:
        """Have these tables be offered at all times."""
        self.kinds, self._offer = {}, offer

    def submit(
        self,
        args: Sequence[Argument],
        read: Callable[[Any], T],
        *,
        at: int | None,
        once: Callable[..., Command[T]] | None,
    ) -> Command[T]:
        """Return the Command that submits to all tables of a time."""
        script = once or SUBMIT_ALL
        return self._run(script, self._fields, args, read, at=at, tries=self._tries)

    def alter(
        self, args: Sequence[Argument], read: Callable[[Any], T], *, at: int | None = None
    ) -> Command[T]:
        """Return the Command that changes all tables of a time other than by a submission."""
        script = ALTER.once if self._definition.once else ALTER
        return self._run(script, TABLE_FIELDS, args, read, at=at, tries=self._tries)

    def submit_brief(
        self,
        args: tuple[Argument, ...],
        read: Callable[[Any], T],
        otherwise: Callable[[], Command[T]],
        *,
        at: int | None,
        tries: int = _TRIES,
    ) -> Command[T]:
        """Return the Command that submits one score the short way.

        Args:
            args: what `submit_periods.lua` takes between its configuration and the tables.
            read: reads the reply.
            otherwise: what to send if there is more to the board than that knows.
            at: the time in microseconds since 1970; None is now.
            tries: how often it is sent, if tables of other times are wanted than were offered.
        """
        keys, tables = self._offered(at).brief

        def read_or_late(reply: Any) -> T | Late:
            if not told_to_ask_again(reply):
                return read(reply)
            return Late(reply[1] if reply[1:] and tries else 0)

        def again(value: Late) -> Command[T]:
            if not value.at:
                self.brief = False
                return otherwise()
            late = self._learn(value.at, at)
            return self.submit_brief(args, read, otherwise, at=late, tries=tries - 1)

        script = SUBMIT_PERIODS.once if self._definition.once else SUBMIT_PERIODS
        words = (self._definition.config, *args, *tables)
        return asked_again(script(keys, words, read_or_late), again)

    def _run(
        self,
        script: Callable[..., Command[Any]],
        fields: tuple[str, ...],
        args: Sequence[Argument],
        read: Callable[[Any], T],
        *,
        at: int | None,
        tries: int,
    ) -> Command[T]:
        def run(at: int | None, fields: tuple[str, ...], tries: int) -> Command[T]:
            return self._run(script, fields, args, read, at=at, tries=tries)

        if self._atomic and self.kinds and at is None and not self.clock.known:
            return self._after_asking_the_time(lambda: run(None, fields, tries))

        def read_or_late(reply: Any) -> T | Late:
            if self._atomic and told_to_ask_again(reply) and len(reply) == 2:
                self._learn(reply[1], at)
                raise Unavailable("the server's clock is not as it was known: repeat the batch")
            if told_to_ask_again(reply) and len(reply) < 3 and tries:
                return Late(reply[1] if reply[1:] else 0)
            return read(reply)

        def again(value: Late) -> Command[T]:
            if not value.at:
                self._fields = TABLE_FIELDS
                return run(at, TABLE_FIELDS, tries - 1)
            return run(self._learn(value.at, at), fields, tries - 1)

        keys, board = self._offered(at).packed(fields)
        return asked_again(script(keys, (board, *args), read_or_late), again)

    def _after_asking_the_time(self, then: Callable[[], Command[T]]) -> Command[T]:
        def learned(time: list[bytes]) -> Any:
            self.clock.learn(int(time[0]) * 1_000_000 + int(time[1]))

        key = board_keys(self.base).rules
        asked: Command[Any] = Command(
            (b"TIME",), (key,), learned, idempotent=True, opening=True, then=lambda _: then()
        )
        return asked

    def _learn(self, now: int, at: int | None) -> int | None:
        """Take note of the time a script has, and return which to offer tables of next."""
        if at is not None:
            return now
        self._offer = None
        self.clock.learn(now)
        return None

    def _offered(self, at: int | None) -> Offer:
        known = self._offer if at is None or not self.kinds else None
        if known is not None and self.clock.now() < known.until:
            return known
        now = self.clock.now() if at is None else at
        sure = at is not None or self.clock.known or not self.kinds
        offer = self._made(now, sure=sure)
        if at is None and sure:
            self._offer = offer
        return offer

    def _made(self, now: int, *, sure: bool) -> Offer:
        tables: list[tuple[str, dict[str, Any]]] = [(self.base, {"kind": ALL_TIME})]
        until = _FOREVER
        for name, kind in self.kinds.items():
            if isinstance(kind, Window):
                length, step = kind.micros
                tables.append((self.base_of(kind), {"kind": name, "length": length, "step": step}))
                continue
            spans, soon = _spans(kind, now, sure=sure)
            until = min(until, soon)
            for span in spans:
                times = {"starts": span.starts, "ends": span.ends, "expires": kind.expires(span)}
                tables.append((self.base_of(kind, span), {"kind": name, **times}))
        return Offer(self.base, self._board, tables, until)


def _needed(definition: Definition, *, windows: bool) -> tuple[str, ...]:
    """Return which keys of a table a submission needs if nobody is banned."""
    ties = ("ties",) if definition.method == "dense" else ()
    return ("scores", "entries", *ties, "data", *(("past", "due") if windows else ()))


def window_board(definition: Definition, window: Window) -> bytes:
    """Return the constants of a board for the script that is about one rolling window."""
    length, step = window.micros
    tables = [{"kind": ALL_TIME, "length": length, "step": step}]
    board = {**_shape(definition), "fields": TABLE_FIELDS, "tables": tables}
    return msgspec.msgpack.encode(board)


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

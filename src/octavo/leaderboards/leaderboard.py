"""The leaderboard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from msgspec.structs import replace

from octavo.engine.checks import Seconds, flag, whole
from octavo.engine.command import Command, M, answer, operation
from octavo.engine.keys import name_bytes, name_part
from octavo.engine.script import Script
from octavo.leaderboards.definition import Definition, Keep, Ties, counted, instance
from octavo.leaderboards.layout import (
    Layout,
    board_keys,
    every_key,
    seasons_key,
    some_keys,
    submitted_key,
)
from octavo.leaderboards.live import EventStream, changes, id_bytes, time_of
from octavo.leaderboards.merging import expiring
from octavo.leaderboards.periods import Period, Window, micros, periods_of
from octavo.leaderboards.rules import Events, Rules
from octavo.leaderboards.submissions import (
    arguments,
    of_all_tables,
    of_one_table,
    pairs_of,
    payload,
)
from octavo.leaderboards.table import REMOVE, Table
from octavo.leaderboards.tables import SUBMIT_ALL, Clock, Tables, told_to_ask_again
from octavo.leaderboards.views import PeriodStandings, PeriodTable, WindowStandings

if TYPE_CHECKING:
    from datetime import date, datetime

    from octavo.engine.calendars import Unit
    from octavo.engine.command import Engine
    from octavo.engine.script import Argument
    from octavo.leaderboards.ranking import RankMethod
    from octavo.leaderboards.records import Change, SeasonInfo, Submission
    from octavo.leaderboards.scores import Order, Score
    from octavo.leaderboards.seasons import Season
    from octavo.leaderboards.standings import Standings
    from octavo.leaderboards.tiers import Tiers

T = TypeVar("T")

_DAY = 86_400_000
_MOST_WATCHED = 1000
_MOST_CHANGES = 1_000_000_000

_here = Path(__file__)
SUBMIT = Script(_here.with_name("submit.lua"))
RECORD = Script(_here.with_name("record.lua"))
ANNOTATE = Script(_here.with_name("annotate.lua"))
AUDIT = Script(_here.with_name("audit.lua"), idempotent=True)


class Leaderboard(Table[M]):
    """Members ranked by score, best first.

        board = db.leaderboard("season-1")
        board.submit("ada", 120).rank
        board.around("ada", 2)

    Every method is atomic and one round trip. A board takes what one sorted set takes: hundreds
    of millions of members; costs below are for N members, of which M are returned or changed.
    Equal scores are ordered by `ties` and ranked by `rank`.

    A board with periods, rules, an audit trail or events is one for those who submit to it with
    the same arguments: what they say is not stored.

    Args:
        engine: what carries the commands.
        base: what the board's keys begin with.
        order: "desc": higher is better. A tuple makes a board of several columns, compared one
            after the other: `("desc", "asc")` for points, then time. Scores are then tuples.
        keep: which score of a member counts: its best, its last, the sum of all, its first.
        rank: how equal scores are ranked: competition 1 2 2 4, dense 1 2 2 3, ordinal 1 2 3 4,
            modified 1 3 3 4, fractional 1 2.5 2.5 4.
        ties: who comes first among equal scores: who reached it earliest, by the server's clock
            and exactly, or latest, or by name.
        page_size: entries on a page.
        once: run each write but `clear` at most once although its reply is lost: it is then sent
            again and answered with the first run's reply. Costs one SET and a key of about 150
            bytes for a minute, per write.
        tiers: how members are divided into tiers; not stored, and may change at any time.
        periods: of which the board has tables besides that of all time: "hour", "day", "week",
            "month", "year", a `Period` or a rolling `Window`. A submission goes to all of them.
        half_life: seconds, or a timedelta, in which a score loses half of its value. Scores are
            then more than 0, and higher is better.
        rules: which submissions count.
        audit: how many changes to remember, about; 0 for none. Of each member the last hundred
            submissions can be undone, or as many as `audit` if that is less; they take some 50
            bytes each in every table.
        events: which changes to tell of.

    Raises:
        ConfigMismatch: from any operation but `count` and `clear`: the board was made with
            another `order`, `ties` or `half_life`, or one of the two is ranked "dense" and the
            other is not.
        WrongType: from any operation: a key of the board holds something else.
    """

    _is_season = False

    def __init__(
        self,
        engine: Engine,
        base: str,
        *,
        order: Order | tuple[Order, ...] = "desc",
        keep: Keep = "best",
        rank: RankMethod = "competition",
        ties: Ties = "earliest",
        page_size: int = 25,
        once: bool = False,
        tiers: Tiers | None = None,
        periods: Unit | Period | Window | Iterable[Unit | Period | Window] = (),
        half_life: Seconds | None = None,
        rules: Rules | None = None,
        audit: int = 0,
        events: Events | None = None,
    ) -> None:
        definition = Definition(
            order=order,
            keep=keep,
            rank=rank,
            ties=ties,
            page_size=page_size,
            once=once,
            tiers=tiers,
            half_life=half_life,
        )
        super().__init__(engine, Layout.of(base), definition)
        self._base = base
        self._rules = instance("rules", rules, Rules)
        if definition.scale.decays and rules is not None and rules.max_step is not None:
            raise ValueError(f"max_step must be None with half_life, not {rules.max_step!r}")
        self._events = instance("events", events, Events)
        self._audit = whole("audit", audit, 0, _MOST_CHANGES)
        self._tables = Tables(
            base,
            definition,
            engine.common.shared("leaderboards.clock", Clock),
            periods=periods_of("periods", periods),
            rules=rules,
            audit=audit,
            events=events,
            season=self._is_season,
            atomic=engine.atomic,
        )
        if self._is_season:
            self._config = f"!{definition.config}"

    # Writing

    @operation
    def submit(
        self,
        member: str,
        score: Score,
        *,
        data: object = None,
        idempotency_key: str | None = None,
        at: datetime | None = None,
    ) -> Command[Submission]:
        """Record a score and say where the member now stands. O(log N), for each table.

        Args:
            member: who.
            score: a number that a float64 holds exactly; several on a board of several columns.
            data: anything msgpack can hold, stored beside the score if that is accepted.
            idempotency_key: names the submission. Within a day, another one of that name changes
                nothing, whatever it says, and returns what the first did.
            at: when it happened, with a time zone, if that was earlier: it then goes to the
                periods of that time, as far as their tables are kept. Not on a board with a
                `Window`.

        Raises:
            PrecisionLost: `keep="sum"`, and a float64 cannot hold the sum; nothing was changed.
            SubmissionRefused: the rules, or a ban, keep it out; nothing was changed.
        """
        pairs, keep = [(member, score)], self._definition.keep
        return self._submit(keep, pairs, lambda _: data, _only, key=idempotency_key, at=at)

    @operation
    def record(self, member: str, score: Score) -> Command[bool]:
        """Record a score and return only whether the board took it. O(log N), for each table.

        Where that is known, it takes half of what `submit` takes, since it does not find out where
        the member stood and stands: on boards of one column, not ranked "dense" and with periods at
        most; without periods, if they keep no sums.

        Raises:
            PrecisionLost: `keep="sum"`, and a float64 cannot hold the sum; nothing was changed.
            SubmissionRefused: the rules, or a ban, keep it out; nothing was changed.
        """
        own, scale = self._definition, self._definition.scale

        def whole() -> Command[bool]:
            pairs = [(member, score)]
            return self._submit(own.keep, pairs, lambda _: None, lambda rows: rows[0].accepted)

        if self._tables.brief:
            place: Argument = scale.place("score", score)
            words: tuple[Argument, ...] = (name_bytes("member", member), place)
            brief = (own.keep, "", own.ties, "", *words)
            return self._tables.submit_brief(brief, self._taken, whole, at=None)
        if self._tables.whole or scale.width > 1 or own.keep == "sum" or own.method == "dense":
            return whole()
        args = (own.keep, own.ties, name_bytes("member", member), scale.place("score", score))
        return self._unless_more(RECORD, args, lambda reply: reply == 1, whole, keys=2)

    def _taken(self, reply: list[Any]) -> bool:
        self._tables.clock.learn(reply[0])
        _, rows = reply[3]
        return bool(rows[0][0] == 1)

    @operation
    def submit_many(
        self,
        scores: Mapping[str, Score] | Iterable[tuple[str, Score]],
        *,
        data: Mapping[str, object] | None = None,
        at: datetime | None = None,
    ) -> Command[list[Submission]]:
        """Record many scores, all or none, as if submitted one after another. O(M log N).

        The server does nothing else meanwhile: some hundreds at a time are enough. Those that the
        rules, or a ban, keep out are left out: SubmissionRefused then tells what became of the
        others.

        Args:
            scores: the members and their scores, in order.
            data: for some of the members, what to store beside their scores.
            at: as for `submit`.
        """
        beside: Mapping[str, object] = {} if data is None else data
        if not isinstance(beside, Mapping):
            raise TypeError(f"data must be a mapping of members, not {data!r}")
        pairs = pairs_of(scores)
        command = self._submit(self._definition.keep, pairs, beside.get, list, at=at)
        unknown = beside.keys() - {member for member, _ in pairs}
        if unknown:
            raise ValueError(f"data names members without a score: {unknown!r}")
        return command if pairs else answer([])

    @operation
    def increment(
        self,
        member: str,
        by: Score = 1,
        *,
        data: object = None,
        idempotency_key: str | None = None,
        at: datetime | None = None,
    ) -> Command[Submission]:
        """Add to a member's score, whatever `keep` says; a new member starts at 0. O(log N).

        As `submit` otherwise.

        Raises:
            PrecisionLost: a float64 cannot hold the sum; nothing was changed.
            SubmissionRefused: the rules, or a ban, keep it out; nothing was changed.
        """
        pairs = [(member, by)]
        return self._submit("sum", pairs, lambda _: data, _only, "by", key=idempotency_key, at=at)

    @operation
    def annotate(self, member: str, data: object) -> Command[bool]:
        """Replace the data of a member, or forget it with None; False for no member. O(1)."""
        name = name_bytes("member", member)
        if self._tables.whole:
            return self._alter("annotate", [name, payload(data)], bool)
        own, keys = self._definition, self._keys
        script = ANNOTATE.once if own.once else ANNOTATE
        args = (own.config, own.prefix, name, payload(data))
        return script((keys.scores, keys.entries, keys.data), args, bool)

    @operation
    def remove(self, *members: str) -> Command[int]:
        """Take members off the board, the present periods included. O(M log N) for each table.

        Returns how many were on it. Nothing is left to be undone.
        """
        if self._tables.whole or not members:
            return self._alter_members("remove", members)
        own = self._definition
        names = [name_bytes("members", member) for member in members]
        args: list[Argument] = [own.prefix, own.columns, *names]
        return self._unless_more(REMOVE, args, int, lambda: self._alter_members("remove", members))

    @operation
    def remove_between_scores(self, low: float, high: float) -> Command[int]:
        """Take off who scores from `low` to `high` of all time; return how many. O(M log N)."""
        bounds = self._bounds(low, high)
        if not self._tables.whole:
            return self._removed_between(bounds)
        return self._alter("remove_scores", bounds, int)

    @operation
    def trim(self, keep: int) -> Command[int]:
        """Keep the best `keep` entries of all time; return how many were taken off. O(M log N)."""
        if not self._tables.whole:
            return self._trimmed(keep)
        return self._alter("trim", [str(counted("keep", keep, 0))], int)

    @operation
    def clear(self) -> Command[bool]:
        """Delete the board; return whether there was one. O(1), freed in the background.

        The tables of past periods go when their time is over.
        """
        if self._tables.kinds:
            return self._alter("clear", [], bool)
        keys = every_key(self._base)
        return Command((b"UNLINK", *keys), keys, bool)

    def _merged(self, *args: Any, **options: Any) -> Command[int]:
        if self._tables.kinds or self._audit or self._events or self._is_season:
            raise ValueError(
                "a board with periods, an audit trail or events, and a season, change by what is "
                "submitted: merge into a board of its own"
            )
        return super()._merged(*args, **options)

    @operation
    def expire(self, at: Seconds | datetime | None) -> Command[bool]:
        """Have the server delete the board at some time; return whether there is one. O(1).

        That is the table of all time, with the board's rules, audit trail and events; those of
        periods expire by themselves.

        Args:
            at: in so many seconds or a timedelta, at a moment (aware of its time zone), or None:
                never.
        """
        return expiring(self._definition, self._keys, at, *board_keys(self._base))

    # Periods, windows and seasons

    @overload
    def period(self, which: Unit | Period, *, ago: int = 0) -> Standings[M]: ...
    @overload
    def period(self, which: Unit | Period, *, at: datetime | date) -> Table[M]: ...
    def period(
        self, which: Unit | Period, *, ago: int = 0, at: datetime | date | None = None
    ) -> Standings[M]:
        """Return the standings of the present period, or of another one; no I/O.

        The present one is so by the server's clock, at each operation anew; who goes through it
        while it ends goes on in the next. With `at` it stays the same.

        Args:
            which: one of the board's periods, or its name.
            ago: how many periods before the present one.
            at: a time with its zone, or a date in the period's zone, instead of the present.
        """
        name = self._tables.name_of("which", which)
        period = self._tables.kinds[name]
        if not isinstance(period, Period):
            raise TypeError(f"which must be a period, not {which!r}: see window()")
        if at is None:
            before = whole("ago", ago, 0, _MOST_AGO)
            return PeriodStandings(self._engine, self._definition, self._tables, period, before)
        if ago:
            raise ValueError(f"ago must be 0 where at is given, not {ago!r}")
        span = period.span(period.moment(at))
        base = self._tables.base_of(period, span)
        tables = self._tables.only(name, span)
        return PeriodTable(self._engine, Layout.of(base), self._definition, tables)

    def window(self, which: Seconds | Window) -> Standings[M]:
        """Return the standings of a rolling window; no I/O.

        Args:
            which: one of the board's windows, or its length in seconds or as a timedelta.
        """
        wanted = which if isinstance(which, Window) else Window(which)
        window = self._tables.kinds[self._tables.name_of("which", wanted.name)]
        assert isinstance(window, Window)  # noqa: S101 - by its name
        return WindowStandings(self._engine, self._definition, self._tables, window)

    def season(self, name: str) -> Season[M]:
        """Return a season of the board, a board of its own, to open, fill and close; no I/O.

        It has the board's arguments, but for periods.
        """
        from octavo.leaderboards.seasons import Season  # noqa: PLC0415 - seasons are boards

        own = self._definition
        return Season(
            self._engine,
            f"{self._base}:season:{name_part(name)}",
            **own.options,
            rules=self._rules,
            audit=self._audit,
            events=self._events and Events(top=self._events.top, most=self._events.most),
        )

    @operation
    def seasons(self) -> Command[list[SeasonInfo]]:
        """Return the board's seasons that were opened, the oldest first. O(M)."""
        from octavo.leaderboards.seasons import read_seasons  # noqa: PLC0415 - seasons are boards

        key = seasons_key(self._base)
        return Command((b"HGETALL", key), (key,), read_seasons, idempotent=True)

    # Trust

    @operation
    def ban(self, *members: str, shadow: bool = False) -> Command[int]:
        """Take members off the board until `unban`, and refuse what they submit. O(M log N).

        They leave the tables of all time, of the present periods and of the windows, with what
        they had. Returns how many were not banned so before.

        Args:
            members: who.
            shadow: do not let them know: what they submit is answered as if it counted, with the
                rank it would have, but nobody sees it.
        """
        return self._alter_members("shadow_ban" if flag("shadow", shadow) else "ban", members)

    @operation
    def unban(self, *members: str) -> Command[int]:
        """Have members back where they would stand; return how many were banned. O(M log N)."""
        return self._alter_members("unban", members)

    @operation
    def banned(self) -> Command[list[str]]:
        """Return who is banned, in order of their names. O(M)."""
        key = some_keys(self._base, ("banned",))[0]
        return Command(
            (b"HKEYS", key),
            (key,),
            lambda names: sorted(name.decode() for name in names),
            idempotent=True,
        )

    @operation
    def audit(
        self, limit: int = 100, *, before: str | None = None, member: str | None = None
    ) -> Command[list[Change]]:
        """Return the last changes, newest first. O(M), of a member O(the length of the trail).

        Args:
            limit: how many at most.
            before: the id of a change: those before it.
            member: whose changes; None for everybody's.
        """
        if not self._audit:
            raise _not_made_with("audit")
        args = (
            b"" if before is None else id_bytes("before", before),
            counted("limit", limit),
            b"" if member is None else name_bytes("member", member),
        )
        scale = self._definition.scale
        return AUDIT((board_keys(self._base).audit,), args, partial(changes, scale))

    @operation
    def undo(self, id: str | None) -> Command[bool]:  # noqa: A002 - what a submission calls it
        """Have a submission not been made: what came later stands as it would have. O(log N).

        All tables it went to are put right, data included; so is what a banned member had. False
        if there is nothing to undo: it was undone, is none of the member's last hundred, or the
        member was removed.

        Args:
            id: of the submission: `Submission.id`.
        """
        if not self._audit:
            raise _not_made_with("audit")
        name = id_bytes("id", id)
        return self._alter("undo", [name], bool, at=time_of(name))

    # Live

    def events(self, last: str | None = None) -> EventStream[M]:
        """Return the events of the board, to iterate over; no I/O.

        Args:
            last: the id of the last event seen; None to begin with what happens from now on.
        """
        if self._events is None:
            raise _not_made_with("events")
        if last is not None:
            id_bytes("last", last)
        key = board_keys(self._base).events
        return EventStream(self._engine, key, self._base, self._definition.scale, last)

    @operation
    def watch(self, *members: str) -> Command[int]:
        """Tell of members wherever they stand; at most 1,000 of a board. O(M log N).

        Returns how many were not watched before.
        """
        return self._watching("watch", members)

    @operation
    def unwatch(self, *members: str) -> Command[int]:
        """Tell of members no more than of others; return how many were watched. O(M log N)."""
        return self._watching("unwatch", members)

    # What the operations share

    def _submit(
        self,
        keep: Keep,
        pairs: Sequence[tuple[str, Score]],
        data_of: Callable[[str], object],
        read: Callable[[list[Submission]], T],
        parameter: str = "score",
        *,
        key: str | None = None,
        at: datetime | None = None,
    ) -> Command[T]:
        own, tables = self._definition, self._tables
        then_at = None if at is None else self._moment(at)
        given = arguments(own, parameter, pairs, data_of)

        moment = "" if then_at is None else str(then_at)

        def whole() -> Command[T]:
            return tables.submit(
                (keep, moment, *given),
                lambda reply: read(of_all_tables(own, tables, reply, fresh=key is None)),
                at=then_at,
                once=self._once(key),
            )

        if tables.brief and key is None and given[2:] == [b""]:
            return tables.submit_brief(
                (keep, own.method, own.ties, moment, *given[:2]),
                lambda reply: read(of_all_tables(own, tables, reply, fresh=True)),
                whole,
                at=then_at,
            )
        if tables.whole or key is not None or at is not None:
            return whole()
        return self._unless_more(
            SUBMIT,
            (keep, own.method, own.ties, own.scale.width, *given),
            lambda reply: read(of_one_table(own, reply)),
            whole,
        )

    def _unless_more(
        self,
        script: Script,
        args: Sequence[Argument],
        read: Callable[[Any], T],
        otherwise: Callable[[], Command[T]],
        keys: int = len(Layout._fields),
    ) -> Command[T]:
        """Return the Command that changes the one table there seems to be, or else all of them."""

        def read_or_more(reply: Any) -> Any:
            return _MORE if told_to_ask_again(reply) else read(reply)

        def again(value: Any) -> Command[T] | None:
            if value is not _MORE:
                return None
            self._tables.whole = True
            return otherwise()

        return replace(self._change(script, args, read_or_more, keys), then=again)

    def _moment(self, at: datetime) -> int:
        if any(isinstance(kind, Window) for kind in self._tables.kinds.values()):
            raise ValueError(f"at must be None on a board with a Window, not {at!r}")
        return micros("at", at)

    def _once(self, key: str | None) -> Callable[..., Command[Any]] | None:
        if key is not None:
            attempt = submitted_key(self._base, name_bytes("idempotency_key", key))
            return partial(SUBMIT_ALL.once, attempt=attempt, ttl=_DAY)
        return SUBMIT_ALL.once if self._definition.once else None

    def _alter_members(self, change: str, members: tuple[str, ...]) -> Command[int]:
        if not members:
            return answer(0)
        names = dict.fromkeys(name_bytes("members", member) for member in members)
        return self._alter(change, [*names], int)

    def _watching(self, change: str, members: tuple[str, ...]) -> Command[int]:
        if self._events is None:
            raise _not_made_with("events")
        if len(set(members)) > _MOST_WATCHED:
            raise ValueError(f"members must be at most {_MOST_WATCHED:,}, not {len(members):,}")
        return self._alter_members(change, members)

    def _alter(
        self,
        change: str,
        args: Sequence[Argument],
        read: Callable[[Any], T],
        *,
        at: int | None = None,
    ) -> Command[T]:
        return self._tables.alter((change, *args), read, at=at)


_MORE: Any = object()
_MOST_AGO = 1000


def _not_made_with(parameter: str) -> ValueError:
    return ValueError(
        f"{parameter} must be given when the board is made: leaderboard(..., {parameter}=...)"
    )


def _only(submissions: list[Submission]) -> Submission:
    return submissions[0]

"""A board with periods, windows, rules, bans and undo, in plain Python.

Each table is nothing but what was submitted to it and is not undone: who stands on it, and where,
is worked out anew from that list each time.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from msgspec.structs import replace as with_changes

from octavo import SubmissionRefused
from tests.leaderboards.model import Model, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from octavo.leaderboards import Keep, Rules, Score, Submission

    Label = Callable[[int], object]
    """Names the period of a time."""

SECOND = 1_000_000
"""All times are microseconds since 1970."""


@dataclass(frozen=True)
class Made:
    """One submission, or one annotation: whose `keep` is "note"."""

    member: str
    scores: tuple[float, ...]
    keep: Keep | Literal["note"]
    data: object
    at: int
    arrival: int
    id: str | None


class Table(Model):
    """What was submitted to one table, and what follows from it."""

    def __init__(self, length: int | None = None, **definition: Any) -> None:
        super().__init__(**definition)
        self.length = length
        self.made: list[Made] = []
        self.banned: set[str] = set()

    def add(self, one: Made) -> Submission:
        """Take a submission, and say what it did."""
        self._arrivals = itertools.count(one.arrival)
        assert one.keep != "note"
        reply = self._submit_one(one.keep, one.member, one.scores, one.data)
        self.made.append(one)
        self.at(one.at)
        return reply

    def at(self, now: int) -> None:
        """Work out who stands on it at a time."""
        if self.length is not None:
            self.made = [one for one in self.made if one.at + self.length > now]
        self.rows = {}
        for one in self.made:
            row = self._after(self.rows.get(one.member), one)
            if row is not None and one.member not in self.banned:
                self.rows[one.member] = row

    def forget(self, unwanted: Callable[[Made], bool]) -> None:
        """Forget submissions."""
        self.made = [one for one in self.made if not unwanted(one)]

    def _after(self, old: Row | None, one: Made) -> Row | None:
        if one.keep == "note":
            return old and replace(old, data=one.data)
        if old is None:
            return Row(one.scores, one.arrival, one.data)
        accepted, scores = self._decide(one.keep, old, one.scores)
        arrival = old.arrival if scores == old.scores else one.arrival
        return Row(scores, arrival, one.data if accepted and one.data is not None else old.data)


class Reference:
    """A board of many tables.

    Args:
        periods: their names, and how the period of a time is called.
        windows: their names and lengths.
        rules: which submissions count.
        definition: what a `Model` takes.
    """

    def __init__(
        self,
        *,
        periods: Mapping[str, Label],
        windows: Mapping[str, int],
        rules: Rules | None = None,
        **definition: Any,
    ) -> None:
        self.now = 0
        self.main = Table(**definition)
        self.windows = {name: Table(length, **definition) for name, length in windows.items()}
        self.past: dict[tuple[str, object], Table] = {}
        self.trail: list[tuple[str, str, object, str]] = []
        """The kind of each change, whose it was, the score, and why it was refused."""
        self._periods = periods
        self._rules = rules
        self._definition = definition
        self._arrivals = itertools.count(1)
        self._tries: dict[str, list[int]] = {}

    def period(self, name: str, at: int | None = None) -> Table:
        """Return the table of a period: the present one, or that of a time."""
        key = name, self._periods[name](self.now if at is None else at)
        return self.past.setdefault(key, Table(**self._definition))

    def tables(self) -> dict[str, Table]:
        """Return the tables of now, as they are now."""
        found = {"": self.main, **{name: self.period(name) for name in self._periods}}
        found |= self.windows
        for table in found.values():
            table.at(self.now)
        return found

    # What a board does

    def submit(
        self,
        keep: Keep,
        pairs: Sequence[tuple[str, Score]],
        data: Mapping[str, object],
        ids: Iterable[str | None],
    ) -> list[Submission]:
        """Take scores; `ids` are what the board called those that count."""
        refusals: list[tuple[str, str]] = []
        results: list[Submission] = []
        names, tables = iter(ids), self.tables()
        for member, score in pairs:
            scores = self.main._columns(score)
            reason = self._reason_against(member, keep, scores)
            self.trail.append(("refused" if reason else "submitted", member, scores[0], reason))
            if reason:
                refusals.append((member, reason))
                continue
            arrival, id = next(self._arrivals), next(names)  # noqa: A001
            one = Made(member, scores, keep, data.get(member), self.now, arrival, id)
            replies = {name: table.add(one) for name, table in tables.items()}
            main = replies.pop("")
            results.append(with_changes(main, id=id, periods=replies))
        if refusals:
            raise SubmissionRefused("", refusals=refusals, submissions=results)
        return results

    def remove(self, members: Iterable[str]) -> int:
        """Take members off all present tables."""
        return self._take_off("remove", members, self.tables())

    def trim(self, keep: int) -> int:
        """Keep the best on the table of all time."""
        return self._take_off("trim", self.main.standing()[keep:], {"": self.main})

    def remove_between_scores(self, low: float, high: float) -> int:
        """Take who scores so off the table of all time."""
        members = [each.member for each in self.main.between_scores(low, high)]
        return self._take_off("remove_scores", members, {"": self.main})

    def annotate(self, member: str, note: object) -> bool:
        """Say something about a member, wherever it stands."""
        on = [table for table in self.tables().values() if member in table.rows]
        one = Made(member, (), "note", note, self.now, next(self._arrivals), None)
        for table in on:
            table.made.append(one)
        self.tables()
        return bool(on)

    def ban(self, members: Iterable[str]) -> int:
        """Take members off until they are unbanned."""
        new = [member for member in dict.fromkeys(members) if member not in self.main.banned]
        for table in self.tables().values():
            table.banned |= {*new}
        self._changed("ban", new)
        return len(new)

    def unban(self, members: Iterable[str]) -> int:
        """Have members back."""
        back = [member for member in dict.fromkeys(members) if member in self.main.banned]
        for table in self.tables().values():
            table.banned -= {*back}
        self._changed("unban", back)
        self.tables()
        return len(back)

    def undo(self, id: str) -> bool:  # noqa: A002
        """Have a submission not been made."""
        self.tables()
        everywhere = [self.main, *self.windows.values(), *self.past.values()]
        whose = {one.member: one for table in everywhere for one in table.made if one.id == id}
        for member, one in whose.items():
            for table in everywhere:
                table.forget(with_id(id))
                table.at(self.now)
            if one.at in (times := self._tries.get(member, [])):
                times.remove(one.at)
        self._changed("undo", whose)
        self.tables()
        return bool(whose)

    # What it consists of

    def _take_off(self, kind: str, members: Iterable[str], tables: Mapping[str, Table]) -> int:
        gone = list[str]()
        for member in dict.fromkeys(members):
            there = [table for table in tables.values() if member in table.rows]
            for table in tables.values():
                table.forget(of_member(member))
            if there:
                gone.append(member)
            if there:
                self._tries.pop(member, None)
        self._changed(kind, gone)
        self.tables()
        return len(gone)

    def _changed(self, kind: str, members: Iterable[str]) -> None:
        self.trail += [(kind, member, None, "") for member in members]

    def _reason_against(self, member: str, keep: Keep, scores: tuple[float, ...]) -> str:
        """Say why a submission is refused; nothing if it is not. Counts it if not."""
        old = self.main.rows.get(member)
        accepted, after = self.main._decide(keep, old, scores)
        if member in self.main.banned:
            return "banned"
        rules, score = self._rules, (after if accepted else scores)[0]
        if rules is None:
            return ""
        times = self._tries.setdefault(member, [])
        interval = rules.min_interval
        assert not isinstance(interval, timedelta)
        broken = {
            "lowest": rules.lowest is not None and score < rules.lowest,
            "highest": rules.highest is not None and score > rules.highest,
            "max_step": rules.max_step is not None
            and accepted
            and old is not None
            and abs(score - old.scores[0]) > rules.max_step,
            "min_interval": interval is not None
            and bool(times)
            and self.now - max(times) < interval * SECOND,
            "max_submissions": rules.max_submissions is not None
            and len(times) >= rules.max_submissions,
        }
        reason = next((name for name, holds in broken.items() if holds), "")
        if not reason:
            times.append(self.now)
        return reason


def of_member(member: str) -> Callable[[Made], bool]:
    """Return what says whether a submission is a member's."""
    return lambda made: made.member == member


def with_id(id: str) -> Callable[[Made], bool]:  # noqa: A002
    """Return what says whether a submission is the one."""
    return lambda made: made.id == id

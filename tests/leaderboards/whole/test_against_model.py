"""Random histories of boards with everything: after each step they are what a model says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,  # pyright: ignore[reportUnknownVariableType]
)

import octavo
from octavo import SubmissionRefused
from octavo.leaderboards import Events, Period, Rules, Window
from octavo.leaderboards.ranking import RANK_METHODS
from tests.fix_servers import set_clock
from tests.leaderboards.whole.model import SECOND, Reference
from tests.leaderboards.whole.replay import Replay

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Octavo, Sync
    from octavo.leaderboards import Leaderboard, Submission
    from octavo.testing.servers import Standalone
    from tests.leaderboards.whole.model import Label

# Finding the shortest history that fails takes longer than running them all.
pytestmark = pytest.mark.timeout(600)

NEW_YORK = ZoneInfo("America/New_York")
START = datetime(2026, 10, 31, 20, tzinfo=UTC)
"""The night after which the clocks of New York are put back."""
HOUR, DAY = 3600 * SECOND, 86_400 * SECOND
LENGTH = 90
TOP = 3

RULES = (
    None,
    None,
    Rules(lowest=-1, highest=8),
    Rules(max_step=3),
    Rules(min_interval=30),
    Rules(max_submissions=3),
)

names = st.sampled_from(["a", "ab", "b", "c", "d", "ü"])
groups = st.lists(names, min_size=1, max_size=3)
payloads = st.sampled_from([None, None, 0, "x", {"wins": [1, None]}])
notes = st.sampled_from(["a note", "x", None])
moves = st.sampled_from([1, 1000, SECOND, SECOND, 45 * SECOND, 89 * SECOND, 600 * SECOND, HOUR])


def hours(at: int) -> object:
    """Name the hour of a time."""
    return at // HOUR


def days(at: int) -> object:
    """Name the day of a time in New York."""
    return datetime.fromtimestamp(at // SECOND, NEW_YORK).date()


class Histories(RuleBasedStateMachine):
    """Does the same to a board and to the model."""

    db: Octavo[Sync]
    rank: Any
    periods: tuple[Any, ...]
    labels: dict[str, Label]
    windows: dict[str, int]
    set_clock: Callable[[int], Callable[[int], None]] | None
    made = 0

    board: Leaderboard[Sync]
    model: Reference
    replay: Replay | None

    @initialize(
        order=st.sampled_from(["desc", "asc", ("desc", "asc")]),
        keep=st.sampled_from(["best", "last", "sum", "first"]),
        ties=st.sampled_from(["earliest", "latest", "member"]),
        rules=st.sampled_from(RULES),
        once=st.booleans(),
        periods_only=st.sampled_from([False, False, True]),
    )
    def make(
        self, order: Any, keep: Any, ties: Any, rules: Any, once: bool, periods_only: bool
    ) -> None:
        Histories.made += 1
        self.bare = periods_only
        self.used, windows = self.periods, self.windows
        trust: dict[str, Any] = {"rules": rules, "audit": 1000, "events": Events(top=TOP)}
        if periods_only:  # these take a shorter way
            self.used, windows, rules, trust = self.periods[:2], {}, None, {}
        definition = {"order": order, "keep": keep, "ties": ties, "rank": self.rank}
        self.board = self.db.leaderboard(
            f"board {self.made}",
            **definition,
            once=once,
            periods=self.used,
            **trust,
        )
        self.model = Reference(periods=self.labels, windows=windows, rules=rules, **definition)
        self.keep = keep
        self.width = len(self.model.main.orders)
        self.replay = None if periods_only else Replay(self.board, TOP)
        self.ids = list[str]()
        self.forward = self.set_clock and self.set_clock(round(START.timestamp()) * SECOND)
        self.model.now = round(START.timestamp()) * SECOND

    def score(self, data: st.DataObject) -> Any:
        columns = tuple(data.draw(st.integers(-3, 6)) for _ in range(self.width))
        return columns if self.width > 1 else columns[0]

    @rule(by=moves, near=st.sampled_from([None, None, -10_000, 0, 1]))
    def time_goes_by(self, by: int, near: int | None) -> None:
        if self.forward is None:
            return
        if near is not None:  # a boundary of two periods
            by = max(0, HOUR - self.model.now % HOUR + near)
        self.forward(by)
        self.model.now += by

    # Writing

    @rule(member=names, data=st.data(), payload=payloads)
    def submit(self, member: str, data: st.DataObject, payload: object) -> None:
        score = self.score(data)
        self.compare(
            self.keep,
            [(member, score)],
            {member: payload},
            lambda: [self.board.submit(member, score, data=payload)],
        )

    @rule(member=names, data=st.data())
    def increment(self, member: str, data: st.DataObject) -> None:
        by = self.score(data)
        self.compare("sum", [(member, by)], {}, lambda: [self.board.increment(member, by)])

    @rule(members=st.lists(names, max_size=5), data=st.data(), payloads=st.lists(payloads))
    def submit_many(self, members: list[str], data: st.DataObject, payloads: list[object]) -> None:
        pairs = [(name, self.score(data)) for name in members]
        beside = dict(zip(members, payloads, strict=False))
        self.compare(self.keep, pairs, beside, lambda: self.board.submit_many(pairs, data=beside))

    def compare(
        self, keep: Any, pairs: Any, data: Any, submit: Callable[[], list[Submission]]
    ) -> None:
        refusals = []
        try:
            found = submit()
        except SubmissionRefused as error:
            found, refusals = list(error.submissions), list(error.refusals)
        given = [one.id for one in found]
        self.ids += [id for id in given if id is not None]  # noqa: A001
        assert self.bare or len(self.ids) == len({*self.ids})
        wanted = []
        try:
            expected = self.model.submit(keep, pairs, data, given)
        except SubmissionRefused as error:
            expected, wanted = list(error.submissions), list(error.refusals)
        assert (found, refusals) == (expected, wanted)

    @rule(members=groups)
    def remove(self, members: list[str]) -> None:
        assert self.board.remove(*members) == self.model.remove(members)

    @rule(keep=st.integers(0, 6))
    def trim(self, keep: int) -> None:
        assert self.board.trim(keep) == self.model.trim(keep)

    @rule(low=st.integers(-3, 6))
    def remove_between_scores(self, low: int) -> None:
        found = self.board.remove_between_scores(low, low + 1)
        assert found == self.model.remove_between_scores(low, low + 1)

    @rule(member=names, note=notes)
    def annotate(self, member: str, note: object) -> None:
        assert self.board.annotate(member, note) == self.model.annotate(member, note)

    @rule(members=groups)
    def ban(self, members: list[str]) -> None:
        assert self.board.ban(*members) == self.model.ban(members)

    @rule(members=groups)
    def unban(self, members: list[str]) -> None:
        assert self.board.unban(*members) == self.model.unban(members)

    @rule(back=st.integers(0, 5))
    def undo(self, back: int) -> None:
        if back < len(self.ids):
            id = self.ids[-1 - back]  # noqa: A001
            assert self.board.undo(id) == self.model.undo(id)

    @rule(members=groups)
    def watch(self, members: list[str]) -> None:
        if self.replay is not None:
            assert self.board.watch(*members) == self.replay.watch(members)

    @rule(members=groups)
    def unwatch(self, members: list[str]) -> None:
        if self.replay is not None:
            assert self.board.unwatch(*members) == self.replay.unwatch(members)

    # What holds then

    @invariant()
    def all_tables_are_what_the_model_says(self) -> None:
        tables = self.model.tables()
        assert list(self.board) == self.model.main.entries()
        for name, period in zip(self.labels, self.periods, strict=False):
            assert list(self.board.period(period)) == tables[name].entries(), name
        for name, table in self.model.windows.items():
            window = self.board.window(self.windows[name] // SECOND)
            assert list(window) == table.entries(), name
        assert self.board.banned() == sorted(self.model.main.banned)

    @invariant()
    def periods_that_are_over_are_what_the_model_says(self) -> None:
        if self.set_clock is None:
            return
        hour, ago = self.periods[0], self.model.now - HOUR
        assert list(self.board.period(hour, ago=1)) == self.model.period("hour", ago).entries()
        day = self.periods[1]
        at = datetime.fromtimestamp((self.model.now - DAY) // SECOND, UTC)
        before = self.model.period(day.name, self.model.now - DAY)
        assert list(self.board.period(day, at=at)) == before.entries()

    @invariant()
    def the_audit_trail_tells_every_change(self) -> None:
        trail = [] if self.bare else self.board.audit(1000)
        found = [(one.kind, one.member, one.score, one.reason) for one in reversed(trail)]
        assert self.bare or found == self.model.trail

    @invariant()
    def the_events_tell_who_is_among_the_best_and_where_the_watched_are(self) -> None:
        if self.replay is not None:
            self.replay.check()


def run(machine: Any, histories: int, steps: int = 25) -> None:
    run_state_machine_as_test(  # pyright: ignore[reportUnknownMemberType]
        machine,
        settings=settings(
            max_examples=histories,
            stateful_step_count=steps,
            deadline=None,
            report_multiple_bugs=False,
            phases=[Phase.reuse, Phase.generate, Phase.shrink],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


def noon() -> str:
    """Return a zone in which no period ends while a test runs."""
    return f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"


def moving(server: Standalone, rank: Any) -> Any:
    """Return the machine for a server whose clock is set."""

    class Moving(Histories):
        pass

    Moving.rank, Moving.set_clock = rank, staticmethod(lambda start: set_clock(server, start))
    Moving.periods = (
        Period("hour", keep=10**7),
        Period("day", zone="America/New_York", keep=10**7),
        Window(LENGTH, step=0.001),
    )
    Moving.labels = {"hour": hours, "day@America/New_York": days}
    Moving.windows = {f"last:{LENGTH}s": LENGTH * SECOND}
    return Moving


@pytest.mark.parametrize("rank", RANK_METHODS)
def test_all_tables_are_what_the_model_says_while_time_goes_by(
    still: Standalone, prefix: str, rank: Any
) -> None:
    machine = moving(still, rank)
    with octavo.connect(still.unix_url, prefix=prefix) as machine.db:
        run(machine, histories=15)


def test_all_tables_are_what_the_model_says(db: Octavo[Sync]) -> None:
    class Standing(Histories):
        pass

    zone = noon()
    Standing.periods = (Period("day", zone=zone), Period("month", zone=zone), Window(DAY // SECOND))
    Standing.labels = {f"day@{zone}": lambda _: "today", f"month@{zone}": lambda _: "this month"}
    Standing.windows = {"last:86400s": DAY}
    Standing.db, Standing.rank, Standing.set_clock = db, "competition", None
    run(Standing, histories=4, steps=12)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("rank", RANK_METHODS)
def test_all_tables_are_what_the_model_says_for_long(
    still: Standalone, prefix: str, rank: Any
) -> None:
    machine = moving(still, rank)
    with octavo.connect(still.unix_url, prefix=prefix) as machine.db:
        run(machine, histories=1000)

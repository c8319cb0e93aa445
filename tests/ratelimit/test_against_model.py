"""Random histories, each step of which a server decides as the model does, to the microsecond.

A decision says when it was made, by the server's clock: the model decides for that time. What does
not say so, such as a refund, is done in one transaction with a look, which does.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast, get_args

import msgspec
import pytest

import octavo
from octavo.ratelimit import Ban, Concurrency, Limit, Quota
from octavo.ratelimit.limits import Algorithm
from octavo.ratelimit.local import LocalLimiter
from octavo.testing import faults
from octavo.testing.waiting import wait_until
from tests.fix_servers import set_clock
from tests.ratelimit.model import SECOND, Model, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from octavo import Octavo, Sync
    from octavo.ratelimit.limits import Rule
    from octavo.testing.servers import Standalone
    from tests.fix_faces import Connect
    from tests.fix_servers import Server

KINDS = (*get_args(Algorithm), "quota", "concurrency")
START = 1_780_315_200 * SECOND  # 12:00 UTC on the 1st of June 2026
SUBJECTS = ("ada", "bob")
CARRIES = ("as_is", "as_is", "proportional", "reset")
HOUR = 3600 * SECOND
DAY = 24 * HOUR
SIZES = pytest.mark.parametrize("size", [1, pytest.param(100, marks=pytest.mark.soak)])


def alike(kind: str) -> list[str]:
    """Return names of several limits of a kind."""
    return [kind, f"{kind} 2", f"{kind} 3"]


@dataclass
class Clock:
    """How time passes.

    Attributes:
        window: the shortest window, in microseconds.
        pass_time: lets about so many microseconds pass.
        free: whether that costs none.
    """

    window: int
    pass_time: Callable[[int], None]
    free: bool = True


class Asked(NamedTuple):
    """A call, and what was said to it."""

    subject: str
    cost: int | dict[Any, int]
    found: Any


class History:
    """Does the same to limiters of one name and to the model.

    Args:
        db: a client of any face.
        plain: a sync client of the same server, for transactions.
        clock: how its time passes.
        dice: what happens next.
        name: the limiters' name.
        apart: whether a call may be about several subjects in different slots.
    """

    def __init__(
        self,
        db: Octavo[Sync],
        plain: Octavo[Sync],
        clock: Clock,
        dice: random.Random,
        name: str,
        *,
        apart: bool = True,
    ) -> None:
        self.db, self.plain, self.clock, self.dice, self.name = db, plain, clock, dice, name
        self.steps: list[str] = []
        # Of one of these kinds alone, the script decides in a short way.
        short = dice.choice([None, None, None, "gcra", "fixed", "sliding"])
        self.kinds = dice.sample(alike(short) if short else KINDS, dice.randint(1, 3))
        self.shadow = None if short else dice.choice([None, None, *self.kinds])
        self.policy = None if short else dice.choice([None, self.ban_policy(), self.ban_policy()])
        # In some histories all subjects are in one slot, or each limit has a subject of its own.
        self.tag = dice.choice([None, "one"])
        self.apart = apart or self.tag is not None
        self.places = {kind: dice.choice(SUBJECTS) for kind in self.kinds}
        self.placed = self.apart and dice.random() < 0.3
        self.windows = {kind: clock.window * dice.choice([1, 2, 7]) for kind in self.kinds}
        self.rules = [self.rule(kind) for kind in self.kinds]
        self.model = Model(*self.rules, ban=self.policy)
        self.limiter = self.of(db)
        self.granted: list[tuple[Any, Verdict, dict[str, str]]] = []
        self.last: Asked | None = None

    def of(self, db: Any) -> Any:
        """Return the limiter of a client."""
        return db.limiter(self.name, *self.rules, ban=self.policy, tag=self.tag)

    def rule(self, kind: str) -> Rule:
        """Return a rule of a kind, of the next numbers."""
        # What a bucket that has become one of none keeps depends on what else is stored.
        none = [] if self.steps and kind.startswith("gcra") else [0]
        limit = self.dice.choice([*none, 1, 2, 3, 5, 10, 30])
        options: dict[str, Any] = {"name": kind, "shadow": kind == self.shadow}
        seconds = self.windows[kind] / SECOND
        if kind == "concurrency":
            return Concurrency(limit, lease=seconds, **options)
        options["carry"] = self.dice.choice(CARRIES)
        if kind == "quota":
            return Quota(f"{limit}/hour", **options)
        algorithm = kind.split(maxsplit=1)[0]
        if algorithm == "log" and options["carry"] == "proportional":
            options["carry"] = "as_is"
        if algorithm == "gcra" and limit:
            options["burst"] = self.dice.choice([limit, 1, 2 * limit])
        if algorithm == "segmented":
            options["segments"] = self.dice.choice([2, 12])
        return Limit.per(limit, seconds, algorithm=cast("Algorithm", algorithm), **options)

    def ban_policy(self) -> Ban | None:
        window = self.clock.window / SECOND
        after, growth = self.dice.choice([1, 2, 3]), self.dice.choice([1, 1.5, 2])
        within, forget = self.dice.choice([1, 5, 20]) * window, self.dice.choice([0, 20]) * window
        return Ban(after, within, window, growth=growth, longest=3 * window, forget=forget)

    # What happens

    def step(self) -> None:
        acts = self.acts()
        self.dice.choices(list(acts), list(acts.values()))[0]()

    def acts(self) -> dict[Callable[[], None], int]:
        """Return what may happen, and how often it is to."""
        waits = "concurrency" not in self.kinds
        return {
            self.hit: 8,
            self.check: 40 if self.placed else 4,
            self.peek: 2,
            self.come_back: 4,
            self.settle: 4,
            self.pass_time: 5,
            self.reset: 1,
            self.change: 1,
            self.ban: 3 if self.policy else 1,
            self.reserve: 4 if waits else 0,
            self.take_up_to: 2 if waits else 0,
            self.renew: 0 if waits else 2,
        }

    def pass_time(self) -> None:
        parts = [0.05, 0.3, 1.1]
        if self.clock.free and "quota" in self.kinds:
            parts.append(HOUR / 2 / self.clock.window)
        self.wait(round(self.clock.window * self.dice.choice(parts)))

    def wait(self, micros: int) -> None:
        self.note("pass_time", micros)
        self.clock.pass_time(micros)

    def cost(self) -> int | dict[Any, int]:
        most = max(rule.most for rule in self.rules)
        if self.dice.random() < 0.3:
            return {rule.name: self.dice.randint(1, rule.most or 1) for rule in self.rules}
        return self.dice.choice([1, 1, 1, 2, most // 2 or 1, most or 1, most + 1])

    def hit(self) -> None:
        self.hit_for(self.dice.choice(SUBJECTS), self.cost())

    def hit_for(self, subject: str, cost: int | dict[Any, int]) -> None:
        self.note("hit", subject, cost)
        found = self.limiter.hit(subject, cost=cost)
        self.keep(found, self.model.hit(moment(found), subject, cost), self.all_of(subject))
        self.last = Asked(subject, cost, found)

    def come_back(self) -> None:
        """Ask once more, when the last call said that it would pass, or a moment before."""
        if self.last is None:
            return
        subject, cost, found = self.last
        retry = found.retry_after
        if retry is None or (retry > 0.1 and not self.clock.free):
            return
        # A moment before a quota's next period, a client whose clock goes on has the wrong one.
        early = 0 if "quota" in self.kinds else self.dice.choice([0, 0, 1])
        if retry:
            self.wait(round(retry * SECOND) - early)
        self.hit_for(subject, cost)
        # Nobody else came.
        assert self.last.found.allowed or not retry or early

    def check(self) -> None:
        rules = self.dice.sample(self.rules, self.dice.randint(1, len(self.rules)))
        one = self.dice.choice(SUBJECTS)
        subjects = {rule: self.dice.choice(SUBJECTS) if self.apart else one for rule in rules}
        if self.placed:
            subjects = {rule: self.places[rule.name] for rule in self.rules}
        named = {rule.name: subject for rule, subject in subjects.items()}
        self.note("check", named, cost := self.dice.choice([1, 2, 3]))
        found = self.limiter.check(self.dice.choice([subjects, named]), cost=cost)
        self.keep(found, self.model.check(moment(found), named, cost), named)

    def peek(self) -> None:
        subject, cost = self.dice.choice(SUBJECTS), self.cost()
        self.note("peek", subject, cost)
        found = self.limiter.peek(subject, cost=cost)
        self.same(found, self.model.peek(moment(found), subject, cost))

    def reserve(self) -> None:
        subject, cost = self.dice.choice(SUBJECTS), self.cost()
        wait = self.dice.choice([None, 0, self.clock.window, 3 * self.clock.window])
        self.note("reserve", subject, cost, wait)
        seconds = None if wait is None else wait / SECOND
        found = self.limiter.reserve(subject, cost=cost, wait=seconds)
        verdict = self.model.reserve(moment(found), subject, cost, wait)
        self.keep(found, verdict, self.all_of(subject))

    def take_up_to(self) -> None:
        subject, units = self.dice.choice(SUBJECTS), self.dice.choice([1, 2, 5, 100])
        self.note("take_up_to", subject, units)
        found = self.limiter.take_up_to(subject, units)
        verdict = self.model.take_up_to(moment(found), subject, units)
        self.keep(found, verdict, self.all_of(subject))

    def settle(self) -> None:
        if not self.granted:
            return
        found, verdict, subjects = self.dice.choice(self.granted)
        actual = self.dice.choice([None, None, 0, 1, found.cost, found.cost + 1])
        self.note("settle", subjects, actual, found.at, found.cost)
        self.unseen(
            subjects,
            lambda it: (
                it.refund(found)
                if actual is None
                else it.settle(found, dict.fromkeys(subjects, actual))
            ),
            lambda now: self.model.settle(now, verdict, actual),
        )

    def renew(self) -> None:
        if not self.granted:
            return
        found, verdict, subjects = self.dice.choice(self.granted)
        self.note("renew", subjects)
        self.unseen(
            subjects, lambda it: it.renew(found), lambda now: self.model.renew(now, verdict)
        )

    def unseen(
        self, subjects: dict[str, str], act: Callable[[Any], Any], judge: Callable[[int], bool]
    ) -> None:
        """Do what does not tell when it is done, in one transaction with a look, which does."""
        self.of(self.plain).peek(subjects)  # says what time it is, which a quota has to know
        with self.plain.batch(atomic=True) as batch:
            limiter = self.of(batch)
            done, look = act(limiter), limiter.peek(subjects)
        now = moment(look.result())
        assert done.result() == judge(now)
        self.same(look.result(), self.model.peek(now, subjects))

    def forget(self, *gone: str) -> None:
        """Undo none of the calls of some subjects that were made until now."""
        self.granted = [one for one in self.granted if not {*gone} & {*one[2].values()}]

    def all_of(self, subject: str) -> dict[str, str]:
        return {rule.name: subject for rule in self.rules}

    def reset(self) -> None:
        self.reset_of(self.dice.choice(SUBJECTS))

    def reset_of(self, subject: str) -> None:
        self.note("reset", subject)
        self.limiter.reset(subject)
        self.model.reset(subject)
        self.clock.pass_time(1)  # or it would not be known what was before

    def ban(self) -> None:
        subject, lasts = self.dice.choice(SUBJECTS), self.dice.choice([0, self.clock.window])
        self.note("ban", subject, lasts)
        self.unseen(
            self.all_of(subject),
            lambda it: it.ban(subject, lasts=lasts / SECOND) if lasts else it.unban(subject),
            lambda now: self.model.ban(now, subject, lasts),
        )

    def change(self) -> None:
        kind = self.dice.choice(self.kinds)
        if kind not in {"quota", "concurrency"} and self.dice.random() < 0.3:
            self.windows[kind] = self.clock.window * self.dice.choice([1, 2, 7])
        self.rules = [self.rule(kind) if rule.name == kind else rule for rule in self.rules]
        self.note("change", self.rules)
        self.clock.pass_time(2000)  # what is over may be read for a millisecond more
        self.model.change(*self.rules)
        self.forget(*SUBJECTS)
        self.limiter = self.of(self.db)

    # How it is compared

    def note(self, act: str, *of: object) -> None:
        self.steps.append(f"{act} {of}")
        if act not in {"peek", "pass_time"}:
            self.last = None

    def keep(self, found: Any, verdict: Verdict, subjects: dict[str, str]) -> None:
        """Compare a decision, and keep it for a later settlement."""
        self.same(found, verdict)
        self.steps[-1] += f" at {found.at:.6f}: {found.cost if found else 'denied'}, {found.delay}"
        if found.allowed and (self.tag or len({*subjects.values()}) == 1):
            self.granted.append((found, verdict, subjects))

    def same(self, found: Any, verdict: Verdict) -> None:
        assert shown(found) == expected(verdict)


class Local:
    """A limiter without a server, as a client's: its clocks stand still but for `pass_time`."""

    def __init__(self, *rules: Rule) -> None:
        self.now = START
        self._rules = rules
        self._local = LocalLimiter(clock=lambda: self.now, calendar=lambda: self.now)

    def pass_time(self, micros: int) -> None:
        self.now += micros

    def limiter(self, _name: str, *rules: Rule, ban: Ban | None, tag: str | None) -> Local:
        self._rules = rules
        return self

    def hit(self, subject: str, cost: Any, **options: Any) -> Any:
        return self.check({rule.name: subject for rule in self._rules}, cost, **options)

    def check(self, subjects: Any, cost: Any, **options: Any) -> Any:
        named = {getattr(rule, "name", rule): subject for rule, subject in subjects.items()}
        costs = cost if isinstance(cost, dict) else dict.fromkeys(named, cost)
        rules = {rule.name: rule for rule in self._rules}
        asked = [(rules[name], subject, costs[name]) for name, subject in named.items()]
        found = self._local.decide(asked, **options)
        return msgspec.structs.replace(found, at=self.now / SECOND)

    def peek(self, subject: str, cost: Any) -> Any:
        return self.hit(subject, cost, charge=False)

    def reserve(self, subject: str, cost: Any, wait: float | None) -> Any:
        return self.hit(subject, cost, wait_us=None if wait is None else round(wait * SECOND))

    def take_up_to(self, subject: str, units: int) -> Any:
        return self.hit(subject, 1, up_to=units)


class PutBack(History):
    """What can happen with a clock that goes back, too."""

    def acts(self) -> dict[Callable[[], None], int]:
        return super().acts() | {self.put_back: 1}

    def put_back(self) -> None:
        for subject in SUBJECTS:
            # What is over may be kept for the sake of what is not, and would count again.
            if self.model.is_over(moment(self.limiter.peek(subject)), subject):
                self.reset_of(subject)
            self.hit_for(subject, self.cost())
        parts = [0.3, 1.1, 10, 2 * HOUR / self.clock.window]
        if "quota" not in self.kinds:
            parts += [1e-6, 0.001]
        back = round(self.clock.window * self.dice.choice(parts))
        self.note("put_back", back)
        self.clock.pass_time(-back)
        self.forget(*SUBJECTS)


class InMotion(History):
    """What can be compared with a clock that goes on in a transaction: what tells its time."""

    def acts(self) -> dict[Callable[[], None], int]:
        unseen = {self.settle, self.renew, self.ban}
        return {act: weight for act, weight in super().acts().items() if act not in unseen}


class Alone(History):
    """What can happen without a server."""

    def ban_policy(self) -> None:
        """Return none: nobody is banned."""

    def acts(self) -> dict[Callable[[], None], int]:
        gone = {self.settle, self.renew, self.reset, self.ban, self.change}
        return {act: weight for act, weight in super().acts().items() if act not in gone}


def moment(decision: Any) -> int:
    """Return the microsecond at which a decision was made."""
    return round(float(decision.at) * SECOND)


def micros(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * SECOND)


def shown(found: Any) -> dict[str, Any]:
    """Return what a decision says, in whole microseconds."""
    limits = {
        state.name: (
            state.allowed,
            state.limit,
            state.remaining,
            micros(state.retry_after),
            micros(state.reset_after),
            micros(state.refill_after),
            state.shadow,
        )
        for state in found.limits.values()
    }
    return {
        "allowed": found.allowed,
        "limit": found.limit,
        "remaining": found.remaining,
        "retry": micros(found.retry_after),
        "reset": micros(found.reset_after),
        "violated": found.violated,
        "banned": found.banned,
        "delay": micros(found.delay),
        "cost": found.cost,
        "limits": limits,
    }


def expected(verdict: Verdict) -> dict[str, Any]:
    """Return the same of the model."""
    told = {name: getattr(verdict, name) for name in (*Verdict.__dataclass_fields__,)[:9]}
    limits = {
        state.name: (
            state.allowed,
            state.limit,
            state.remaining,
            state.retry,
            state.reset,
            state.refill,
            state.shadow,
        )
        for state in verdict.limits.values()
    }
    return {**told, "limits": limits}


def run(make: Callable[[random.Random, str], History], histories: int, steps: int) -> None:
    """Let histories happen; what the last one did is told of the one that fails."""
    seed = faults.run_seed()
    for number in range(histories):
        history = make(random.Random(f"{seed} {number}"), f"limiter {number}")
        try:
            for _ in range(steps):
                history.step()
        except BaseException as error:
            error.add_note("\n".join([repr(history.rules), *history.steps[-40:]]))
            raise


@pytest.fixture
def plain(server: Server, prefix: str) -> Iterator[Octavo[Sync]]:
    with octavo.connect(server.url, prefix=prefix) as db:
        yield db


@pytest.mark.parametrize(
    ("server", "face"),
    [
        ("embedded", "sync"),
        ("embedded", "async"),
        ("embedded", "batch"),
        ("redis-7", "sync"),
        ("redis-8", "batch"),
        ("cluster", "async"),
        ("sentinel", "batch"),
    ],
    indirect=["server"],
)
@SIZES
def test_a_server_decides_as_the_model_does(
    connect: Connect, server: Server, plain: Octavo[Sync], size: int
) -> None:
    clock = Clock(25_000, lambda micros: time.sleep(micros / SECOND), free=False)
    db, apart = connect(server.url), server.kind != "cluster"
    kind = InMotion if server.kind == "redis-7" else History
    run(lambda dice, name: kind(db, plain, clock, dice, name, apart=apart), 4 * size, 40)


@SIZES
def test_a_server_decides_as_the_model_does_whatever_its_clock_says(
    still: Standalone, size: int
) -> None:
    # So short that what is carried from one window to another is exact in a script's numbers.
    clock = Clock(6_000_000, set_clock(still, START))
    with octavo.connect(still.unix_url) as db:
        run(lambda dice, name: PutBack(db, db, clock, dice, name), 30 * size, 60)
    clock.pass_time(100 * DAY)
    wait_until(lambda: still.cli("DBSIZE") == 0, "nothing is kept of who is idle")


@SIZES
def test_a_process_alone_decides_as_the_model_does(size: int) -> None:
    def make(dice: random.Random, name: str) -> History:
        local = cast("Any", Local())
        return Alone(local, local, Clock(25_000, local.pass_time), dice, name)

    run(make, 40 * size, 60)

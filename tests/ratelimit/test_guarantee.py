"""Every algorithm admits no more than it promises, whatever comes; and not much less."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, get_args

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

import octavo
from octavo.ratelimit import Concurrency, Limit, Quota
from octavo.ratelimit.limits import Algorithm
from octavo.testing import faults
from tests.ratelimit.model import SECOND, Model, Places, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from octavo.ratelimit.limits import Rule
    from tests.fix_servers import Servers

ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
MS = SECOND // 1000
START = 1_780_272_000 * SECOND  # midnight, UTC, on the 1st of June 2026, a Monday
HELD = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])

windows = st.sampled_from([1, 2, 3, 7, 10, 100, 1000, 86_400_000])
limits = st.integers(0, 12) | st.sampled_from([59, 1000])


@st.composite
def limits_of(draw: st.DrawFn, algorithm: Any) -> Limit:
    limit, window = draw(limits), draw(windows) / 1000
    options: dict[str, Any] = {"algorithm": algorithm}
    if algorithm == "gcra" and limit:
        options["burst"] = draw(st.sampled_from([limit, 1, 3 * limit]))
    if algorithm == "segmented":
        options["segments"] = draw(st.sampled_from([2, 3, 12, 60]))
    return Limit.per(limit, window, **options)


@dataclass(frozen=True)
class Step:
    """What one caller does.

    Attributes:
        pause: when, in parts of the window after what another one did.
        near: or at a boundary: as long after the time that the model itself names.
        act: what.
        cost: in parts of what could pass at most.
    """

    pause: Fraction
    near: int | None
    act: Literal["hit", "greedy", "reserve", "take", "refund", "settle"]
    cost: Fraction


parts = st.builds(Fraction, st.integers(0, 12), st.sampled_from([12, 12, 4, 1000]))
steps = st.lists(
    st.builds(
        Step,
        pause=parts,
        near=st.none() | st.sampled_from([-1, 0, 0, 1]),
        act=st.sampled_from(["hit", "greedy", "greedy", "reserve", "take", "refund", "settle"]),
        cost=parts,
    ),
    min_size=5,
    max_size=40,
)


class Traffic:
    """What was admitted of calls that one limit decides.

    Attributes:
        units: units by the call that used them, and when they were due.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.model = Model(rule)
        self.now = START
        self.units: dict[int, tuple[int, int]] = {}
        self._open: list[Any] = []
        self.length = round((rule.window or 3600) * SECOND)

    def take(self, step: Step) -> None:
        self.now = self._next(step)
        cost = max(1, round(self.rule.most * min(Fraction(1), step.cost)))
        model, now = self.model, self.now
        match step.act:
            case "hit":
                self._note(model.hit(now, "x", cost))
            case "greedy":
                while (left := model.peek(now, "x").remaining) > 0:
                    self._note(model.hit(now, "x", left))
            case "reserve":
                self._note(model.reserve(now, "x", cost, wait=2 * self.length))
            case "take":
                self._note(model.take_up_to(now, "x", cost))
            case _ if not self._open:
                pass
            case "refund":
                self._settle(0)
            case "settle":
                self._settle(1)

    def _next(self, step: Step) -> int:
        state = self.model.peek(self.now, "x").limits[self.rule.name]
        if step.near is None:
            return self.now + int(self.length * step.pause)
        named = state.refill if step.cost < Fraction(1, 2) else state.reset
        return max(self.now, self.now + named + step.near)

    def _note(self, verdict: Any) -> None:
        if verdict.allowed:
            self.units[id(verdict)] = self.now + verdict.delay, verdict.cost
            self._open.append(verdict)

    def _settle(self, actual: int) -> None:
        verdict = self._open[len(self._open) // 2]
        self._open.remove(verdict)
        used = min(actual, verdict.cost)
        self.model.settle(self.now, verdict, used)
        self.units[id(verdict)] = self.units[id(verdict)][0], used
        self._kept = verdict  # whose id is not another one's then


def most_in(units: Iterable[tuple[int, int]], window: int) -> int:
    """Return the most units that were due within any window of a length."""
    due = sorted(units)
    return max(
        (sum(n for at, n in due if start <= at < start + window) for start, _ in due), default=0
    )


def kept(rule: Rule, units: Iterable[tuple[int, int]], length: int) -> None:
    """Assert that a promise is kept, for windows of several parts of a length."""
    for parts in ("1/7", "1", "13/12", "3/2", "2", "5"):
        promised = rule.guarantee(max(0.001, float(Fraction(parts) * length / SECOND)))
        assert promised.most is not None
        found = most_in(units, round(promised.window * SECOND))
        assert found <= promised.most, (rule, promised.window)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_traffic_gets_more_than_a_limit_promises(algorithm: str) -> None:
    @HELD
    @given(rule=limits_of(algorithm), todo=steps)
    def hold(rule: Limit, todo: list[Step]) -> None:
        traffic = Traffic(rule)
        for step in todo:
            traffic.take(step)
        kept(rule, traffic.units.values(), traffic.length)

    hold()


@HELD
@given(limit=limits, unit=st.sampled_from(["hour", "day", "week"]), todo=steps)
def test_no_traffic_gets_more_than_a_quota_promises(
    limit: int, unit: str, todo: list[Step]
) -> None:
    rule = Quota(f"{limit}/{unit}")
    traffic = Traffic(rule)
    traffic.length = {"hour": 1, "day": 24, "week": 24 * 7}[unit] * 3600 * SECOND
    for step in todo:
        traffic.take(step)
    kept(rule, traffic.units.values(), traffic.length)
    for period in range(40):
        start = START + period * traffic.length
        due = [n for at, n in traffic.units.values() if start <= at < start + traffic.length]
        assert sum(due) <= limit


@HELD
@given(limit=st.integers(0, 5), todo=steps)
def test_no_more_places_are_taken_than_there_are(limit: int, todo: list[Step]) -> None:
    model, now = Model(rule := Concurrency(limit, lease=1)), START
    open_: list[Verdict] = []
    for step in todo:
        now += int(SECOND * step.pause)
        if step.act in {"refund", "settle"} and open_:
            model.refund(now, open_.pop())
        elif (
            got := model.hit(now, "x", max(1, round(limit * min(Fraction(1), step.cost))))
        ).allowed:
            open_.append(got)
        places = model.use(now, rule, "x")
        assert isinstance(places, Places)
        assert places.level(now) <= limit


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_server_keeps_what_a_limit_promises(
    algorithm: Algorithm, servers: Servers, prefix: str
) -> None:
    dice = random.Random(faults.run_seed())
    rule = Limit("20/40 ms", algorithm=algorithm)
    units: list[tuple[int, int]] = []
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        limiter = db.limiter("api", rule)
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            cost = dice.choice([1, 1, 5, 20])
            calls: list[Any] = [limiter.hit, limiter.hit, limiter.reserve, limiter.take_up_to]
            act = dice.choice(calls)
            decision = act("x", cost)
            if not decision:
                wait = decision.retry_after or 0
                time.sleep(wait + dice.choice([-0.001, 0, 0, 0.001]) if wait > 0.001 else 0)
            elif dice.random() < 0.2:
                limiter.refund(decision)
            else:
                units.append((round((decision.at + decision.delay) * SECOND), decision.cost))
                time.sleep(dice.choice([0, decision.delay]))
    assert len(units) > 5
    kept(rule, units, 40 * MS)


def burst_and_go_on(algorithm: str) -> Callable[[Limit, Model, int], int]:
    """Return an adversary: it has what it can get in a window, when it is the most."""

    def greedy(rule: Limit, model: Model, window: int) -> int:
        length = round((rule.window or 0) * SECOND)
        start = {"fixed": length - 1, "sliding": length - 1}.get(algorithm, 0)
        got, now = 0, START
        if start:
            model.hit(now, "x")  # a window starts, at the end of which the adversary does
            now += start
        end = now + window
        while now < end:
            while (left := model.peek(now, "x").remaining) > 0:
                got += model.hit(now, "x", left).cost
            now += model.peek(now, "x").limits[rule.name].refill
        return got

    return greedy


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("limit", [1, 2, 10])
def test_a_promise_is_not_far_from_what_can_happen(algorithm: Any, limit: int) -> None:
    rule = Limit(f"{limit}/second", algorithm=algorithm)
    # A sliding window's promise is only close for whole windows.
    for parts in ("1", "2", "3", "5") + ("1/7", "13/12", "3/2") * (algorithm != "sliding"):
        promised = rule.guarantee(float(Fraction(parts)))
        window = round(promised.window * SECOND)
        assert promised.most is not None
        got = burst_and_go_on(algorithm)(rule, Model(rule), window)
        # The unit that starts the adversary's first window early may be one that it lacks then.
        spent = algorithm in {"fixed", "sliding"}
        assert promised.most - spent <= got <= promised.most


@pytest.mark.parametrize(
    ("rule", "window", "most"),
    [
        (Limit("100/minute"), None, 199),
        (Limit("100/minute", burst=1), 60, 100),
        (Limit("100/minute", burst=20), 0.001, 20),
        (Limit("100/minute", algorithm="fixed"), None, 200),
        (Limit("100/minute", algorithm="sliding"), None, 199),
        (Limit("100/minute", algorithm="segmented"), None, 100),
        (Limit("100/minute", algorithm="log"), None, 100),
        (Limit("100/minute", algorithm="log"), 120, 200),
        (Quota("100/day"), None, 200),
        (Limit("0/minute"), None, 0),
        (Limit("0/minute", algorithm="sliding"), None, 0),
        (Concurrency(5), None, None),
        (Limit("5/minute", shadow=True), None, None),
    ],
    ids=repr,
)
def test_a_promise_is_a_number(rule: Rule, window: float | None, most: int | None) -> None:
    promised = rule.guarantee(window)
    assert promised.most == most
    assert str(promised) == promised.words
    if most:
        assert f"{most:,}" in promised.words

"""`LocalLimiter`: decisions in this process."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, get_args

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from octavo.ratelimit import local
from octavo.ratelimit.limits import Algorithm, Concurrency, Limit, Quota
from octavo.ratelimit.local import LocalLimiter
from octavo.testing.waiting import wait_until
from tests.ratelimit.model import SECOND, Model, Verdict

if TYPE_CHECKING:
    from octavo.ratelimit.decision import Decision
    from octavo.ratelimit.limits import Carry, Rule

ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
NOON = 1_780_315_200 * SECOND  # 12:00 UTC on the 1st of June 2026, a Monday
DAY = 86_400 * SECOND


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: int = NOON) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class Caller:
    """Calls a limiter at the times that a clock of its own shows."""

    def __init__(self, *rules: Rule) -> None:
        self.rules = rules
        self.clock = Clock()
        self.calendar = self.clock
        self.limiter = LocalLimiter(clock=self.clock, calendar=self._date)

    def _date(self) -> int:
        return self.calendar()

    def decide(self, cost: int = 1, subject: str = "x", **options: Any) -> Decision:
        return self.limiter.decide([(rule, subject, cost) for rule in self.rules], **options)

    def passed(self, times: list[int], cost: int = 1) -> list[int]:
        """Return at which of some times a call passes."""
        found = []
        for at in times:
            self.clock.now = NOON + at
            if self.decide(cost):
                found.append(at)
        return found


# Against the reference.


def told(decision: Decision) -> tuple[Any, ...]:
    limits = [
        (
            (state.name, state.allowed, state.limit, state.remaining, state.shadow),
            (state.retry_after, state.reset_after, state.refill_after),
        )
        for state in decision.limits.values()
    ]
    binding = decision.limit, decision.remaining, decision.retry_after, decision.reset_after
    return decision.allowed, decision.cost, decision.delay, decision.violated, binding, limits


def expected(verdict: Verdict) -> tuple[Any, ...]:
    limits = [
        (
            (state.name, state.allowed, state.limit, state.remaining, state.shadow),
            (seconds(state.retry), seconds(state.reset), seconds(state.refill)),
        )
        for state in verdict.limits.values()
    ]
    binding = verdict.limit, verdict.remaining, seconds(verdict.retry), seconds(verdict.reset)
    return verdict.allowed, verdict.cost, verdict.delay / 1e6, verdict.violated, binding, limits


def seconds(micros: int | None) -> float | None:
    return None if micros is None else micros / 1e6


@st.composite
def draw_limit(draw: st.DrawFn) -> Limit:
    algorithm = draw(st.sampled_from(ALGORITHMS))
    limit, seconds = draw(st.sampled_from([0, 1, 2, 3, 7])), draw(st.integers(1, 10))
    options: dict[str, Any] = {"shadow": draw(st.sampled_from([False, False, True]))}
    if algorithm == "gcra" and limit:
        options["burst"] = draw(st.integers(1, 7))
    if algorithm == "segmented":
        options["segments"] = draw(st.integers(2, 7))
    return Limit.per(limit, seconds, algorithm=algorithm, **options)


limits = draw_limit()
Calls = list[tuple[int, str, str, int]]

calls: st.SearchStrategy[Calls] = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 1, SECOND // 7, SECOND, 2 * SECOND + 1, 9 * SECOND]),
        st.sampled_from(["hit", "hit", "hit", "peek", "reserve", "patient", "take"]),
        st.sampled_from("xxy"),
        st.integers(1, 4),
    ),
    max_size=30,
)


def play(rules: tuple[Rule, ...], calls: Calls, longest: int, start: int = NOON) -> None:
    """Make the same calls to the limiter and to the reference, and compare what they say."""
    caller, model = Caller(*rules), Model(*rules)
    caller.clock.now = start
    for pause, act, subject, cost in calls:
        caller.clock.now = now = caller.clock.now + pause
        match act:
            case "hit":
                got, want = caller.decide(cost, subject), model.hit(now, subject, cost)
            case "peek":
                got = caller.decide(cost, subject, charge=False)
                want = model.peek(now, subject, cost)
            case "take":
                got = caller.decide(1, subject, up_to=cost)
                want = model.take_up_to(now, subject, cost)
            case "reserve":
                got = caller.decide(cost, subject, wait_us=longest)
                want = model.reserve(now, subject, cost, longest)
            case _:
                got = caller.decide(cost, subject, wait_us=None)
                want = model.reserve(now, subject, cost, None)
        assert told(got) == expected(want)


@given(
    st.lists(limits, min_size=1, max_size=3, unique_by=lambda rule: rule.name),
    calls,
    st.sampled_from([1, NOON]),  # a machine that has just started, and another
)
@settings(max_examples=300, deadline=None)
def test_limits_decide_as_the_reference_does(rules: list[Limit], calls: Calls, start: int) -> None:
    play(tuple(rules), calls, 3 * SECOND, start)


@given(st.sampled_from([0, 1, 3, 5]), st.booleans(), limits, calls)
@settings(max_examples=150, deadline=None)
def test_quotas_and_limits_together_decide_as_the_reference_does(
    quota: int, shadow: bool, rule: Limit, calls: Calls
) -> None:
    hours = [(3600 * pause, act, who, cost) for pause, act, who, cost in calls]
    play((Quota(f"{quota}/day", shadow=shadow), rule), hours, DAY)


@given(st.sampled_from([0, 1, 3, 5]), st.integers(1, 10), calls)
@settings(max_examples=100, deadline=None)
def test_places_are_taken_as_in_the_reference(places: int, lease: int, calls: Calls) -> None:
    hits = [call for call in calls if call[1] in {"hit", "peek"}]
    play((Concurrency(places, lease=lease), Limit("7/second")), hits, 0)


@given(limits.filter(lambda rule: not rule.shadow), calls)
@settings(max_examples=200, deadline=None)
def test_no_more_passes_than_the_limit_guarantees(rule: Limit, calls: Calls) -> None:
    caller, due = Caller(rule), list[tuple[int, int]]()
    for pause, act, _, cost in calls:
        caller.clock.now += pause
        wait = {"reserve": 3 * SECOND, "patient": None}.get(act, 0)
        for each in [1] * 10 if act == "hit" else [cost]:  # as fast as it goes
            if decision := caller.decide(each, wait_us=wait):
                due.append((caller.clock.now + round(decision.delay * SECOND), each))
    for window in (1, 2.5, 20):
        most = rule.guarantee(window).most
        assert most is not None
        assert most >= max(
            (
                sum(units for at, units in due if start <= at < start + window * SECOND)
                for start, _ in due
            ),
            default=0,
        )


# By example.


def test_all_limits_are_charged_or_none_and_a_shadow_only_reports() -> None:
    caller = Caller(
        Limit("3/minute"), Limit("5/hour", algorithm="fixed"), Limit("1/day", shadow=True)
    )
    assert caller.passed([0, 1, 2, 3, 4]) == [0, 1, 2]
    denied = caller.decide()
    assert (denied.allowed, denied.degraded, denied.at) == (False, True, 0.0)
    assert denied.violated == ("per-minute",)
    assert {name: state.remaining for name, state in denied.limits.items()} == {
        "per-minute": 0,
        "per-hour": 2,
        "per-day": 0,
    }
    assert not denied.limits["per-day"].allowed


def test_subjects_and_the_rules_of_one_call_may_each_be_others() -> None:
    limiter = LocalLimiter(clock=Clock(), calendar=Clock())
    user, address = Limit("1/minute", name="user"), Limit("2/minute", name="address")
    both = [[(user, who, 1), (address, "::1", 1)] for who in ("ada", "ada", "bob", "eve")]
    assert [limiter.decide(asked).allowed for asked in both] == [True, False, True, False]
    assert limiter.decide([(user, "ada", 1), (address, "::2", 1)]).violated == ("user",)
    assert limiter.decide([(user, "eve", 1), (address, "::2", 1)])


def test_who_takes_what_there_is_gets_as_much_as_all_limits_have() -> None:
    caller = Caller(Limit("5/minute"), Limit("3/hour"), Limit("1/day", shadow=True))
    first = caller.decide(up_to=10)
    assert (first.allowed, first.cost) == (True, 3)
    second = caller.decide(up_to=10)
    assert (second.allowed, second.cost, second.violated) == (False, 0, ("per-hour",))


def test_a_limit_of_0_lets_nothing_pass() -> None:
    for algorithm in ALGORITHMS:
        caller = Caller(Limit("0/second", algorithm=algorithm))
        decision = caller.decide(wait_us=None)
        assert (decision.allowed, decision.retry_after, decision.reset_after) == (False, None, 0.0)


def test_quotas_go_by_the_calendar_and_limits_by_the_clock() -> None:
    caller = Caller(Quota("2/day"), Limit("1/minute"))
    caller.calendar = Clock(NOON + 3600 * SECOND)
    assert caller.decide()
    assert caller.decide().violated == ("per-minute",)
    caller.clock.now += 60 * SECOND
    assert caller.decide()
    caller.clock.now += 2 * DAY
    denied = caller.decide()
    assert (denied.violated, denied.retry_after) == (("per-day",), 11 * 3600.0)
    assert denied.limits["per-day"].window == 86_400
    caller.calendar.now += 11 * 3600 * SECOND
    assert caller.decide()


def test_a_quota_is_booked_no_further_than_the_next_period() -> None:
    caller = Caller(Quota("1/day"))
    assert caller.decide()
    assert caller.decide(wait_us=None).delay == 12 * 3600
    denied = caller.decide(wait_us=None)
    assert (denied.allowed, denied.retry_after) == (False, 36 * 3600)


def test_what_another_limit_puts_off_too_far_for_a_quota_is_denied() -> None:
    caller = Caller(Quota("5/day"), Limit("1/3 days"))
    assert caller.decide()
    assert not caller.decide(wait_us=None)
    caller.clock.now += 2 * DAY
    assert caller.decide(wait_us=None).delay == 86_400


def test_a_calendar_put_back_gives_nothing_back() -> None:
    caller = Caller(Quota("2/day"))
    caller.clock.now += DAY // 2  # midnight
    assert [caller.decide().allowed for _ in range(3)] == [True, True, False]
    caller.clock.now -= 5 * SECOND
    assert caller.decide().retry_after == 5 + 86_400
    caller.clock.now += 5 * SECOND
    assert not caller.decide()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("carry", "left"), [("as_is", 2), ("proportional", 3), ("reset", 10)])
def test_another_plan_keeps_what_was_used(algorithm: Algorithm, carry: Carry, left: int) -> None:
    if (algorithm, carry) == ("log", "proportional"):
        carry, left = "as_is", 2
    caller = Caller(Limit("12/minute", algorithm=algorithm, name="x"))
    assert caller.decide(8)
    caller.rules = (Limit("10/hour", algorithm=algorithm, name="x", carry=carry),)
    assert caller.decide(charge=False).remaining == left
    caller.rules = (Limit("5/hour", algorithm=algorithm, name="x"),)
    assert caller.decide(charge=False).remaining == 0


# In a process.


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_threads_get_no_more_than_there_is(algorithm: Algorithm) -> None:
    def clock() -> int:
        time.sleep(1e-5)  # lets others run, in the middle of a call about two limits
        return NOON

    limiter, passed = LocalLimiter(clock=clock), list[bool]()
    limits = Limit("50/hour", algorithm=algorithm), Limit("60/day", algorithm=algorithm)
    asked = [(limit, "x", 1) for limit in limits]

    def run() -> None:
        passed.extend(limiter.decide(asked).allowed for _ in range(30))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (passed.count(True), len(passed)) == (50, 120)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_starts_anew_whatever_other_threads_do() -> None:
    limiter, asked = LocalLimiter(), [(Limit("1/hour"), "x", 1)]
    assert limiter.decide(asked)
    inside, end = threading.Event(), threading.Event()

    def hold() -> None:
        with limiter._lock:
            inside.set()
            end.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(30)
    child = os.fork()
    if not child:
        signal.alarm(20)  # which ends it if it waits for the lock
        passes = [limiter.decide(asked).allowed for _ in range(2)]
        os._exit(passes != [True, False])
    _, status = os.waitpid(child, 0)
    end.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0
    assert not limiter.decide(asked)


def test_of_many_subjects_those_that_come_often_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local, "_MOST_METERS", 100)
    caller = Caller(Limit("2/hour"))
    caller.decide()
    caller.decide()
    for number in range(1000):
        assert caller.decide(subject=f"subject {number}")
        assert not caller.decide()
    assert len(caller.limiter._meters) == 100


def test_clocks_are_the_systems_by_default() -> None:
    limiter, asked = LocalLimiter(), [(Limit("1/50 ms"), "x", 1), (Quota("5/year"), "x", 1)]
    began = time.monotonic()
    assert limiter.decide(asked)
    wait_until(lambda: limiter.decide(asked), "50 ms have passed")
    assert time.monotonic() - began >= 0.05
    state = limiter.decide(asked).limits["per-year"]
    assert state.remaining == 3
    assert state.window in {365 * 86_400.0, 366 * 86_400.0}

"""Clocks that are set back and forth: the server's, by which all goes, and those of processes."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.ratelimit import Ban, Limit, Quota
from octavo.testing import faults
from octavo.testing.servers import Standalone
from tests.fix_servers import movable_clock, require
from tests.ratelimit.cases import ALGORITHMS, RULES, THROTTLES, left
from tests.ratelimit.test_round_trips import Sent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from tests.fix_servers import Servers

HOUR, DAY, YEAR = 3600.0, 86_400.0, 366 * 86_400.0
LIMITS = {kind: rule for kind, rule in THROTTLES.items() if kind != "quota"}
SEGMENT = 310.0  # seconds of one, and what calls take
EACH = pytest.mark.parametrize("algorithm", ALGORITHMS)


@pytest.fixture(scope="module")
def clocked() -> Iterator[Standalone]:
    """A server whose clock can be set."""
    with Standalone(require("valkey"), env=movable_clock()) as server:
        yield server


class Clock:
    """The clock of a server, and how far it has gone forward, all in all."""

    def __init__(self, server: Standalone) -> None:
        self._server = server
        self._ahead = 0.0

    def move(self, seconds: float) -> None:
        """Set it so much further, or back."""
        self._ahead += seconds
        faults.move_clock(self._server, by=self._ahead).strike()


@pytest.fixture
def clock(clocked: Standalone) -> Iterator[Clock]:
    clock = Clock(clocked)
    yield clock
    clock.move(-clock._ahead)


@pytest.fixture
def db(clocked: Standalone, prefix: str) -> Iterator[Octavo[Sync]]:
    with octavo.connect(clocked.unix_url, prefix=prefix) as db:
        yield db


def wait(decision: Any) -> float:
    """Return how long to wait, which is not for ever."""
    assert decision.retry_after is not None
    return float(decision.retry_after)


# The server's.


@pytest.mark.parametrize("by", [60.0, 40 * DAY])
def test_a_clock_set_back_forgives_nothing_and_locks_nobody_out(
    by: float, db: Octavo[Sync], clock: Clock
) -> None:
    limiters = {kind: db.limiter(kind, rule) for kind, rule in RULES.items() if kind != "quota"}
    before = dict[str, float]()
    for kind, limiter in limiters.items():
        limiter.hit("ada", 2)
        before[kind] = wait(limiter.peek("ada", 2))
    clock.move(-by)
    for _ in range(2):  # as it is found, and as it is written down
        for kind, limiter in limiters.items():
            denied = limiter.hit("ada", 2)
            assert not denied, kind
            assert wait(denied) == pytest.approx(before[kind], abs=SEGMENT), kind
            assert left(limiter) == [1], kind
    for kind, limiter in limiters.items():
        assert limiter.hit("ada"), kind
        assert left(limiter) == [0], kind
    clock.move(max(wait(limiter.peek("ada", 2)) for limiter in limiters.values()))
    for kind, limiter in limiters.items():
        assert limiter.hit("ada", 2), kind


def test_looking_while_the_clock_is_set_back_changes_nothing(
    db: Octavo[Sync], clock: Clock
) -> None:
    limiters = {kind: db.limiter(kind, rule) for kind, rule in RULES.items()}
    before = dict[str, float]()
    for kind, limiter in limiters.items():
        limiter.hit("ada", 2)
        before[kind] = wait(limiter.peek("ada", 2))
    for by in (-DAY, DAY):
        clock.move(by)
        for kind, limiter in limiters.items():
            assert left(limiter) == [1], kind
            if by == DAY or kind != "quota":
                found = limiter.peek("ada", 2)
                assert wait(found) == pytest.approx(before[kind], abs=SEGMENT), kind


def test_a_quota_is_not_had_again_by_setting_the_clock_back(db: Octavo[Sync], clock: Clock) -> None:
    for unit, by in (("hour", 2 * HOUR), ("month", 40 * DAY), ("year", 2 * YEAR)):
        limiter = db.limiter(unit, Quota(f"3/{unit}"))
        limiter.hit("ada", 3)
        clock.move(-by)
        for _ in range(2):
            denied = limiter.hit("ada")
            assert not denied, unit
            assert wait(denied) <= (denied.limits[f"per-{unit}"].window or 0), unit
        clock.move(wait(denied))
        assert limiter.hit("ada"), unit
        clock.move(by - wait(denied))


def test_a_ban_lasts_as_long_although_the_clock_is_set_back(db: Octavo[Sync], clock: Clock) -> None:
    limiter = db.limiter("api", Limit("9/hour"), ban=Ban(2, 60, 500))
    limiter.ban("ada", 500)
    for _ in range(2):
        assert not limiter.hit("bob", 10).allowed
    assert limiter.peek("bob").banned
    clock.move(-DAY)
    for subject in ("ada", "bob"):
        assert 470 < wait(limiter.hit(subject)) <= 500
    clock.move(500)
    for subject in ("ada", "bob"):
        assert limiter.hit(subject)


@pytest.mark.parametrize("by", [-DAY, 500.0])
def test_what_is_booked_stays_booked_whatever_the_clock_does(
    by: float, db: Octavo[Sync], clock: Clock
) -> None:
    for kind, rule in LIMITS.items():
        limiter = db.limiter(kind, rule)
        limiter.hit("ada", 3)
        limiter.reserve("ada", 3)
        first = limiter.peek("ada", 3)
        clock.move(by)
        denied = limiter.hit("ada", 3)
        passed = max(by, 0)
        assert not denied, kind
        assert wait(denied) == pytest.approx(wait(first) - passed, abs=SEGMENT), kind
        second = limiter.reserve("ada", 3)
        assert second.delay == pytest.approx(wait(denied), abs=30), kind
        clock.move(-by)


def test_a_refund_after_the_clock_was_set_gives_back_no_more_than_was_charged(
    db: Octavo[Sync], clock: Clock
) -> None:
    for kind, rule in RULES.items():
        for by in (-DAY, -1.0, 1.0):
            limiter = db.limiter(kind, rule)
            before = limiter.hit("ada", 2)
            clock.move(by)
            limiter.hit("ada")
            assert limiter.refund(before) is True, kind
            assert left(limiter)[0] <= 2, kind
            limiter.reset("ada")
            clock.move(-by)


class Asking:
    """Asks a limiter at random times, and takes note of what passes.

    Attributes:
        passed: when, and how much, by a clock that stands still when the server's is set back.
    """

    def __init__(self, limiter: Any, clock: Clock) -> None:
        self._limiter, self._clock = limiter, clock
        self._age = self._last = 0.0
        self.passed: list[tuple[float, int]] = []

    def __call__(self, cost: int, seconds: float) -> Any:
        """Set the clock further, or back, and ask."""
        self._clock.move(seconds)
        found = self._limiter.hit("ada", cost)
        self._age += max(0.0, found.at - self._last) if self._last else 0.0
        self._last = found.at
        if found:
            self.passed.append((self._age, cost))
        return found


@EACH
def test_no_setting_of_the_clock_has_more_pass_than_promised_or_locks_out(
    algorithm: Any, db: Octavo[Sync], clock: Clock
) -> None:
    """Going forward is time that passes; going back is none."""
    dice = random.Random(f"{faults.run_seed()} {algorithm}")
    rule = Limit("7/hour", algorithm=algorithm)
    ask = Asking(db.limiter("api", rule), clock)
    for _ in range(40):
        cost = dice.randint(1, 7)
        found = ask(cost, dice.choice((-DAY, -HOUR, -600.0, -1.0, 1.0, 600.0, HOUR)))
        if not found and dice.random() < 0.5:
            assert wait(found) <= 2 * HOUR
            assert ask(cost, wait(found)), "waiting as long as told is not enough"
    assert len(ask.passed) > 10
    promised = rule.guarantee().most
    assert promised is not None
    for start, _ in ask.passed:
        assert sum(cost for at, cost in ask.passed if start <= at < start + HOUR) <= promised


def test_a_clock_set_forward_ends_what_is_over(db: Octavo[Sync], clock: Clock) -> None:
    for kind, rule in RULES.items():
        limiter = db.limiter(kind, rule)
        found = limiter.hit("ada", 3)
        by = wait(limiter.peek("ada", 3))
        clock.move(by)
        assert limiter.hit("ada", 3), kind
        assert limiter.release(found) is False, kind
        clock.move(-by)


# The processes'.


@pytest.mark.parametrize("years", [-2, 2])
def test_the_period_of_a_quota_is_the_servers_whatever_a_process_believes(
    years: int, proxy: WireProxy, prefix: str, monkeypatch: pytest.MonkeyPatch, quiet_links: None
) -> None:
    with octavo.connect(proxy.url, prefix=prefix) as db:
        expected = db.limiter("api", Quota("3/year")).hit("ada")
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + round(years * YEAR * 1e9))
    with octavo.connect(proxy.url, prefix=prefix) as db:
        limiter = db.limiter("api", Quota("3/year"))
        db.limiter("other", Limit("1/hour")).hit("ada")
        sent = Sent(proxy)
        assert limiter.hit("ada").reset_after == pytest.approx(expected.reset_after, abs=30)
        assert sent()[0] == {"script": 2}, "it is told the time, and asks again"
        assert limiter.hit("ada").remaining == 0
        assert sent() == ({"script": 1}, 1), "it knows the time"
        assert not limiter.hit("ada")


def test_processes_whose_clocks_differ_by_days_agree(servers: Servers, prefix: str) -> None:
    library = movable_clock()["LD_PRELOAD"]
    url = servers.get("embedded").url
    path = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HITS, url, prefix],
            env=path | {"LD_PRELOAD": library, "FAKETIME": ahead, "DONT_FAKE_MONOTONIC": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for ahead in ("-400d", "+400d")
    ]
    told = [process.communicate(timeout=40)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    behind, ahead = (float(each.pop()) for each in told)
    assert ahead - behind > 700 * DAY
    assert [sum(map(int, granted)) for granted in zip(*told, strict=True)] == [30] * len(RULES)


HITS = """
import sys, time, octavo
from octavo.ratelimit import Concurrency, Limit, Quota
from tests.ratelimit.cases import ALGORITHMS
url, prefix = sys.argv[1:]
rules = [Limit("30/hour", algorithm=each) for each in ALGORITHMS]
with octavo.connect(url, prefix=prefix) as db:
    for rule in [*rules, Quota("30/year"), Concurrency(30, lease=3600)]:
        limiter = db.limiter(rule.algorithm, rule)
        print(sum(limiter.hit("ada").allowed for _ in range(30)))
    print(time.time())
"""

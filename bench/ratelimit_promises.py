"""What is promised, and what is let through: bursts, clocks that differ, scripts that are gone."""

from __future__ import annotations

import contextlib
import time
from contextlib import ExitStack
from dataclasses import dataclass
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any
from unittest import mock

import redis

import octavo
from bench.harness import Table, missing
from bench.ratelimit_peers import (
    CHECK,
    DEADLINE,
    HEADERS,
    SYNC,
    Peer,
    Rate,
    octavo_limits,
    octavo_sync,
    partial,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from bench.ratelimit_peers import Hit, Limits

    Scenario = Callable[[Any, Limits], "Outcome"]

RATE = Rate(100, 2)
BURST_AT = 1.6
"""Seconds into a window at which all that is left of it is asked for at once."""
FLOOD = 0.5
SKEW = 5.0
PEERS = {
    name: peer
    for name, peer in SYNC.items()
    if name != HEADERS and not name.startswith(("raw", "limit:"))
}
STRICT = ("octavo, segmented", "octavo, log")
UNITS = 20
PREFETCH = f"octavo, gcra, prefetch={UNITS}"
WITNESSED = PEERS | {PREFETCH: Peer(partial(octavo_sync, prefetch=UNITS), "octavo", "gcra")}


@dataclass(frozen=True)
class Outcome:
    """What a scenario promised, and what came of it.

    Attributes:
        at_least: whether fewer than promised break the promise as well.
    """

    promised: int
    admitted: int
    at_least: bool = False

    @property
    def verdict(self) -> str:
        """How the two compare."""
        if self.admitted > self.promised:
            return f"{self.admitted - self.promised} too many"
        if self.at_least and self.admitted < self.promised:
            return f"{self.promised - self.admitted} too few"
        return "kept"


@dataclass
class Witness:
    """One contender, and when its admitted calls were sent and answered."""

    hit: Hit
    times: list[tuple[float, float]]

    def ask(self) -> None:
        """Ask once."""
        sent = perf_counter()
        if self.hit("user:0001"):
            self.times.append((sent, perf_counter()))

    def most(self, window: float) -> int:
        """Return how many fell into one window for certain, wherever the server put them."""
        most = first = 0
        for last, (_, answered) in enumerate(self.times):
            while answered - self.times[first][0] >= window:
                first += 1
            most = max(most, last - first + 1)
        return most


def any_window(url: str) -> Table:
    """Ask as a client would that knows where windows begin, and count the worst of them."""
    with ExitStack() as stack:
        told = {name: missing(peer.module) for name, peer in WITNESSED.items()}
        witnesses = {
            name: Witness(WITNESSED[name].connect(url, stack)(RATE), [])
            for name, note in told.items()
            if not note
        }
        for each in witnesses.values():
            each.hit("someone else")  # connects, and loads its script
        # Some windows begin with the first hit and some on the clock: here all do so together.
        sleep(RATE.seconds - time.time() % RATE.seconds)
        started = perf_counter()
        for each in witnesses.values():
            each.ask()
        sleep(max(0.0, started + BURST_AT - perf_counter()))
        for each in witnesses.values():
            for _ in range(RATE.limit):
                each.ask()
        while perf_counter() < started + 2 * RATE.seconds:
            for each in witnesses.values():
                each.ask()
    rows = [(name, *_window_row(name, witnesses.get(name)), told[name]) for name in WITNESSED]
    title = f"limits: {RATE.limit} per {RATE.seconds:g} s, the most in any {RATE.seconds:g} s"
    return Table(title, ("contender", "algorithm", "says", "admitted", "bar", "note"), rows)


def _window_row(name: str, witness: Witness | None) -> tuple[str, ...]:
    algorithm = WITNESSED[name].algorithm
    if witness is None:
        return algorithm, "", "", ""
    most = witness.most(RATE.seconds)
    if not name.startswith("octavo"):
        return algorithm, "", str(most), ""
    [limit] = octavo_limits(algorithm, RATE)
    says = limit.guarantee().most
    if says is not None and name == PREFETCH:
        says += UNITS
    met = says is not None and most <= says and (name not in STRICT or says == RATE.limit)
    return algorithm, f"at most {says}", str(most), f"no more: {'met' if met else 'MISSED'}"


# One promise at a time.


def flood(_: Any, limits: Limits) -> Outcome:
    """Ask without a pause."""
    hit, admitted, started = limits(Rate(10, 1, burst=1)), 0, perf_counter()
    while (passed := perf_counter() - started) < FLOOD:
        admitted += bool(hit("user:0001"))
    return Outcome(1 + int(passed * 10), admitted)


def two_hosts(_: Any, limits: Limits) -> Outcome:
    """Ask ten times on one host, and ten times on another whose clock is ahead."""
    hit = limits(Rate(10, 4))
    started = perf_counter()
    admitted = sum(bool(hit("user:0001")) for _ in range(10))
    with clock_ahead(SKEW):
        admitted += sum(bool(hit("user:0001")) for _ in range(10))
    # What a bucket has refilled meanwhile may pass.
    return Outcome(10 + int((perf_counter() - started) * 2.5), admitted)


@contextlib.contextmanager
def clock_ahead(seconds: float) -> Generator[None]:
    """Have this process believe that it is later."""
    now, now_ns = time.time, time.time_ns

    def later() -> float:
        return now() + seconds

    def later_ns() -> int:
        return now_ns() + round(seconds * 1e9)

    with ExitStack() as stack:
        stack.enter_context(mock.patch("time.time", later))
        stack.enter_context(mock.patch("time.time_ns", later_ns))
        if not missing("pyrate_limiter"):
            stack.enter_context(mock.patch("pyrate_limiter.clocks.time_ns", later_ns))
        yield


def flushed(client: Any, limits: Limits) -> Outcome:
    """Go on after SCRIPT FLUSH, as after a failover."""
    hit = limits(Rate(10, 60))
    hit("user:0001")
    client.script_flush()
    return Outcome(1, int(bool(hit("user:0001"))), at_least=True)


def too_much(_: Any, limits: Limits) -> Outcome:
    """Ask for more than is left, and then for what is left."""
    hit = limits(Rate(10, 60))
    hit("user:0001", 5)
    hit("user:0001", 8)
    admitted = sum(bool(hit("user:0001")) for _ in range(5))
    return Outcome(5, admitted, at_least=True)


def neighbours(_: Any, limits: Limits) -> Outcome:
    """Have a user over its limit, and then another one at the same address."""
    address, user = limits(Rate(10, 60)), limits(Rate(5, 3_600))

    def both(name: str) -> bool:
        return bool(address("192.0.2.1") and user(name))

    for _each in range(10):
        both("user:0001")
    return Outcome(5, sum(both("user:0002") for _ in range(5)), at_least=True)


def neighbours_checked(db: octavo.Octavo[Any]) -> Outcome:
    """Do so with octavo's check."""
    limits = octavo_limits("gcra", Rate(10, 60), Rate(5, 3_600))
    limiter: Any = db.limiter("neighbours", *limits, deadline=DEADLINE)

    def both(name: str) -> bool:
        subjects = ("192.0.2.1", name)
        return bool(limiter.check(dict(zip(limits, subjects, strict=True))))

    for _ in range(10):
        both("user:0001")
    return Outcome(5, sum(both("user:0002") for _ in range(5)), at_least=True)


OCTAVO_ALL = tuple(name for name in PEERS if name.startswith("octavo"))
NEIGHBOURS = "user over its limit, another one at the same address"
BUCKETS = tuple(name for name, peer in PEERS.items() if peer.algorithm == "gcra")
SCENARIOS: dict[str, tuple[Scenario, Sequence[str]]] = {
    f"10 per second, burst 1, flooded for {FLOOD} s": (flood, BUCKETS),
    f"10 per 4 s, two hosts whose clocks are {SKEW:.0f} s apart": (two_hosts, tuple(PEERS)),
    "after SCRIPT FLUSH": (flushed, tuple(PEERS)),
    "10 per minute: 5 taken, 8 denied, 5 asked for": (too_much, tuple(PEERS)),
    NEIGHBOURS: (
        neighbours,
        tuple(name for name in PEERS if name not in OCTAVO_ALL),
    ),
}


def promises(url: str) -> Table:
    """Go through all scenarios with every contender they are for."""
    rows: list[tuple[str, ...]] = []
    with redis.Redis.from_url(url) as client:
        for title, (scenario, names) in SCENARIOS.items():
            for name in names:
                client.flushall()
                rows.append((title, name, *_outcome(client, url, name, scenario)))
        client.flushall()
    with octavo.connect(url) as db:
        rows.append((NEIGHBOURS, CHECK, *_cells(neighbours_checked(db))))
    header = ("what happens", "contender", "promised", "admitted", "verdict")
    return Table("limits: promises", header, rows)


def _outcome(client: Any, url: str, name: str, scenario: Scenario) -> tuple[str, ...]:
    if note := missing(PEERS[name].module):
        return "", "", note
    with ExitStack() as stack:
        try:
            return _cells(scenario(client, PEERS[name].connect(url, stack)))
        except Exception as error:  # noqa: BLE001 - that is how it broke its promise
            return "", "", f"raises {type(error).__name__}"


def _cells(outcome: Outcome) -> tuple[str, ...]:
    return str(outcome.promised), str(outcome.admitted), outcome.verdict

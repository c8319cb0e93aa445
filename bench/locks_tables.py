"""Hand-off from one holder to the next, and the contention of many: who waits for how long."""

from __future__ import annotations

import random
import statistics
from collections import deque
from dataclasses import dataclass
from functools import partial
from time import perf_counter, sleep
from typing import TYPE_CHECKING, TypeVar

from bench.harness import Table, missing
from bench.locks_crew import HOLD, SECTIONS, Crew, contend, ready, wait
from bench.locks_peers import FAIR, OCTAVO, TOKEN, WAITING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.cache_peers import Place
    from bench.locks_crew import Kind, Share
    from bench.locks_peers import Peer

T = TypeVar("T")

WORKERS = 8
SETTLE = 0.01
"""Seconds by which a waiter waits."""
WARM_UP = 0.15
"""Seconds of a burst that are not counted: workers begin one after the other."""
OURS = (OCTAVO, FAIR)
HAND_OFF_BAR = 1.5
FAIRNESS_BAR = 0.95


@dataclass(frozen=True)
class Burst:
    """What all workers did in some seconds.

    Attributes:
        lost: how many of the sections overlapped another one, and so were not counted.
    """

    shares: Sequence[Share]
    seconds: float
    lost: int

    @property
    def counts(self) -> list[float]:
        """The sections a second of each worker."""
        return [share.counted / self.seconds for share in self.shares]

    @property
    def fairness(self) -> float:
        """The least of these as a part of the most."""
        return min(self.counts) / (max(self.counts) or 1.0)

    @property
    def violations(self) -> int:
        """How often exclusion failed, or a fence was not above the last one."""
        return self.lost + sum(share.stale for share in self.shares)


def waiting(place: Place, kind: Kind, *, quick: bool) -> list[Table]:
    """Return both tables of workers of a kind."""
    with Crew(kind, WORKERS, place) as crew:
        return [hand_off(crew, quick=quick), contention(crew, quick=quick)]


def hand_off(crew: Crew, *, quick: bool) -> Table:
    """Release a lock that one other worker waits for, until that one has it."""
    rounds, seconds = (2, 0.2) if quick else (10, 0.35)
    done = _in_turns(crew, WAITING, rounds, partial(_hand_offs, crew, seconds))
    limit = done[TOKEN]
    if isinstance(limit, str):
        raise RuntimeError(limit)  # noqa: TRY004 - that is why it failed
    rows = [
        (name, *[""] * 5, theirs) if isinstance(theirs, str) else _hand_off_row(name, theirs, limit)
        for name, theirs in done.items()
    ]
    header = ("contender", "hand-offs", "p50", "p99", "slowest", "p50, times the limit's", "bar")
    return Table(f"hand-off to one waiter, two {crew.kind}", header, rows)


def contention(crew: Crew, *, quick: bool) -> Table:
    """Have many workers go through sections that one lock guards."""
    rounds, seconds = (1, 0.6) if quick else (2, 1.5)
    peers = {name: peer for name, peer in WAITING.items() if not (quick and peer.slow)}
    done = _in_turns(crew, peers, rounds, partial(_burst, crew, seconds))
    bursts = {name: theirs for name, theirs in done.items() if not isinstance(theirs, str)}
    rates = {
        name: statistics.median(sum(burst.counts) for burst in theirs)
        for name, theirs in bursts.items()
    }
    sound = (
        rates[name]
        for name, theirs in bursts.items()
        if name not in {TOKEN, *OURS} and not any(burst.violations for burst in theirs)
    )
    best = max(sound, default=0.0)
    rows = [
        (name, *[""] * 5, theirs)
        if isinstance(theirs, str)
        else _contention_row(name, theirs, rates[name], best)
        for name, theirs in done.items()
    ]
    rows += [(name, *[""] * 5, "too slow for a quick run") for name in WAITING if name not in done]
    header = ("contender", "sections/s", "of each", "fairness", "longest wait", "violations", "bar")
    return Table(
        f"contention of {WORKERS} {crew.kind}, {HOLD * 1e3:.0f} ms held (at most {1 / HOLD:.0f}/s)",
        header,
        rows,
    )


def _in_turns(
    crew: Crew, peers: dict[str, Peer], rounds: int, turn: Callable[[str], T]
) -> dict[str, list[T] | str]:
    """Give each peer a turn in every round; return what each did, or why it did not."""
    told = {name: missing(peer.module) for name, peer in peers.items()}
    done: dict[str, list[T]] = {name: [] for name in peers}
    order = deque(name for name, note in told.items() if not note)

    def connect(name: str) -> None:
        crew.tell(ready, name)
        crew.answers()

    def take_turn(name: str) -> None:
        connect(name)  # a worker may be new
        done[name].append(turn(name))

    for task in (connect, *[take_turn] * rounds):
        for name in tuple(order):
            try:
                task(name)
            except Exception as error:  # noqa: BLE001 - a peer's failure is a row, not the end
                told[name] = f"failed: {error}"
                order.remove(name)
        order.rotate(-1)
    return {name: told[name] or done[name] for name in peers}


def _hand_offs(crew: Crew, seconds: float, contender: str) -> list[float]:
    pair, until = crew.pair(contender), perf_counter() + seconds
    latencies: list[float] = []
    while not latencies or perf_counter() < until:
        pair.acquire()
        crew.tell(wait, contender, alone=True)
        # Were it always the same, those who poll would always be at the same point of their sleep.
        sleep(SETTLE + random.uniform(0.0, WAITING[contender].polls))
        released = perf_counter()
        pair.release()
        [(asked, taken)] = crew.answers()
        if taken < released:
            raise RuntimeError("two had the lock at once")
        if asked < released:
            latencies.append(taken - released)
    return latencies


def _hand_off_row(
    name: str, rounds: list[list[float]], limit: list[list[float]]
) -> tuple[str, ...]:
    latencies = [each for latencies in rounds for each in latencies]
    times = statistics.median(
        statistics.median(theirs) / statistics.median(least)
        for theirs, least in zip(rounds, limit, strict=True)
    )
    bar = f"at most {HAND_OFF_BAR:g}x: {_verdict(times <= HAND_OFF_BAR)}" if name in OURS else ""
    return (
        name,
        f"{len(latencies):,}",
        _milliseconds(statistics.median(latencies)),
        _milliseconds(statistics.quantiles(latencies, n=100, method="inclusive")[98]),
        _milliseconds(max(latencies)),
        f"{times:.2f}x",
        bar,
    )


def _burst(crew: Crew, seconds: float, contender: str) -> Burst:
    crew.shared[:] = (0, 0)
    start = perf_counter() + WARM_UP
    crew.tell(contend, contender, start, start + seconds)
    shares = crew.answers()
    sections = sum(share.sections for share in shares)
    return Burst(shares, seconds, sections - crew.shared[SECTIONS])


def _contention_row(name: str, bursts: list[Burst], rate: float, best: float) -> tuple[str, ...]:
    counts = [count for burst in bursts for count in burst.counts]
    fairness = statistics.median(burst.fairness for burst in bursts)
    bars = {f"ahead of {best:.0f}/s": rate > best} if name in OURS else {}
    if name == FAIR:
        bars[f"fairness at least {FAIRNESS_BAR:g}"] = fairness >= FAIRNESS_BAR
    return (
        name,
        f"{rate:.0f}",
        f"{min(counts):.0f}..{max(counts):.0f}",
        f"{fairness:.2f}",
        _milliseconds(max(share.longest for burst in bursts for share in burst.shares)),
        str(sum(burst.violations for burst in bursts)),
        "; ".join(f"{bar}: {_verdict(met)}" for bar, met in bars.items()),
    )


def _verdict(met: bool) -> str:  # noqa: FBT001 - it is what the function is about
    return "met" if met else "MISSED"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms" if seconds < 0.01 else f"{seconds * 1e3:.0f} ms"

"""Campaigns: processes hold what can be held, while faults strike at random."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import octavo
from octavo.testing import faults
from octavo.testing.waiting import wait_until
from tests.locks import race_workers
from tests.locks.campaign_records import Resource, examine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from octavo.testing.faults import Crew, Fault, Worker
    from tests.locks.campaign_records import Findings

KINDS = {"a": "lock", "b": "fair", "rw": "rwlock", "s": "3"}
LIMITS = {"lock": 1, "fair": 1, "rwlock": race_workers.WRITER}
"""A semaphore's kind is its limit."""


class Campaign:
    """One campaign, and what came of it.

    Args:
        url: the server, as the workers reach it.
        prefix: of the keys.
        home: an empty directory for records.
        kinds: what there is to hold, by name; see `race_workers.pick`.
        workers: how many processes.
        hold: the most seconds for which they hold something.
        options: of what is held.

    Attributes:
        crew: the workers, while it runs.
        dice: what chooses victims, in the thread of the nemesis.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        home: Path,
        *,
        kinds: dict[str, str] | None = None,
        workers: int = 4,
        hold: float = 0.05,
        **options: Any,
    ) -> None:
        self.seed = faults.run_seed()
        self.dice = random.Random(self.seed)
        self.crew: Crew = faults.Crew()
        self._kinds = KINDS if kinds is None else kinds
        self._options = {"ttl": 1.0} | options
        self._at = url, prefix
        self._home = home
        self._workers = workers
        self._hold = hold

    def any_worker(self) -> Worker:
        """Return one of the workers."""
        return self.dice.choice(self.crew.workers)

    def run(
        self,
        make_faults: Callable[[], Sequence[Fault[Any]]],
        *,
        strikes: int,
        strict: bool = True,
        ok: float = 0.5,
        **often: tuple[float, float],
    ) -> Findings:
        """Have so many faults strike, and judge what happened.

        Args:
            make_faults: returns them; called once the workers are there.
            strikes: how many.
            strict: whether anything held by too many at once is an error.
            ok: the share of operations that must have ended ok.
            often: faults strike, and for how long; see `Nemesis`.
        """
        errors = Counter[str]()
        with self.crew as crew:
            for number in range(self._workers):
                place = (*self._at, str(self._home))
                what = self._kinds, self._options, self._hold
                crew.spawn(race_workers.roam, *place, number, self.seed, *what)
            crew.meet()
            began = time.monotonic()
            with faults.Nemesis(make_faults(), seed=self.seed, **often) as nemesis:
                nemesis.wait(strikes, timeout=8.0 * strikes)
            crew.stop()
            for each in crew.results(timeout=30):
                errors.update(each)
        took = time.monotonic() - began
        self._rests()
        limits = {key: LIMITS.get(kind) or int(kind) for key, kind in self._kinds.items()}
        ttl = min(self._options["ttl"], 2.0)  # what is handed over is kept for 2 s
        findings = examine(self._home, limits, ttl=ttl, strict=strict, ok=ok, during=nemesis.spans)
        resources = [Resource(self._home / key) for key, limit in limits.items() if limit == 1]
        refused = sum(resource.refused for resource in resources)
        overtaken = sum(resource.overtaken for resource in resources)
        struck = Counter(strike.name for strike in nemesis.strikes)
        print(f"{took:.0f} s: {findings}; {refused} refused at the gate, {overtaken} of them valid")
        print(f"faults: {struck.total()} {dict(struck)}; errors: {dict(errors)}")
        assert not strict or not overtaken, "a newer lease was used while an older one was valid"
        return findings

    def _rests(self) -> None:
        """Check that all is free within the time of a lease, and nothing is left behind."""
        url, prefix = self._at
        patience = self._options["ttl"] + 2.5
        with octavo.connect(url, prefix=prefix) as db:
            for key, kind in self._kinds.items():
                holdable, permits = _whole(db, key, kind, self._options)
                holdable.acquire(*permits, wait=patience).release()
            wait_until(lambda: not db.locks.list(), "nobody holds anything", timeout=patience)


def _whole(db: Any, key: str, kind: str, options: dict[str, Any]) -> tuple[Any, tuple[int, ...]]:
    """Return what to hold, and how much of it, so that nobody else can hold any."""
    if kind == "rwlock":
        return db.rwlock(key, **options).writer, ()
    if kind in race_workers.EXCLUSIVE:
        return db.lock(key, **options), ()
    return db.semaphore(key, int(kind), **options), (int(kind),)

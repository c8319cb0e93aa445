"""Faults that strike again and again while something else goes on."""

from __future__ import annotations

import functools
import os
import random
import secrets
import threading
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from octavo.testing.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from octavo.testing.faults.base import Fault, Strike

__all__ = ["Nemesis", "Step", "run_seed"]


def run_seed() -> int:
    """Return the seed of this run and print it: `$OCTAVO_SEED`, or another one in each run."""
    seed = _seed()
    print(f"OCTAVO_SEED={seed}")  # noqa: T201 - pytest shows it when the test fails
    return seed


@functools.cache
def _seed() -> int:
    given = os.environ.get("OCTAVO_SEED")
    try:
        return int(given) if given else secrets.randbelow(10**6)
    except ValueError:
        raise ValueError(f"OCTAVO_SEED must be a whole number, not {given!r}") from None


class Step(NamedTuple):
    """What a nemesis does next.

    Attributes:
        calm: for how many seconds it does nothing first.
        fault: what strikes then.
        lasting: for how many seconds, before it is healed.
    """

    calm: float
    fault: Fault[Any]
    lasting: float


class Nemesis:
    """A thread that has one fault strike after another, as its seed says.

        with Nemesis([kill(server), script_flush(server)]) as nemesis:
            workload()
        history.require(during=nemesis.spans)

    Each fault strikes once before any strikes again. Leaving the `with` heals the last one, and
    raises what a fault raised; a nemesis that never struck is an error too.

    Args:
        faults: what may happen; one listed twice happens twice as often.
        seed: decides on order and times; None takes `run_seed()`.
        calm: the least and the most seconds between two faults.
        lasting: the least and the most seconds from strike to heal.
    """

    def __init__(
        self,
        faults: Sequence[Fault[Any]],
        *,
        seed: int | None = None,
        calm: tuple[float, float] = (0.2, 1.0),
        lasting: tuple[float, float] = (0.1, 0.5),
    ) -> None:
        if not faults:
            raise ValueError("faults must not be empty")
        for name, (least, most) in {"calm": calm, "lasting": lasting}.items():
            if not 0 <= least <= most:
                raise ValueError(f"{name} must be two growing numbers, not {(least, most)}")
        self.seed = run_seed() if seed is None else seed
        self.strikes: list[Strike] = []
        self._faults = list(faults)
        self._calm, self._lasting = calm, lasting
        self._failure: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nemesis", daemon=True)

    @property
    def spans(self) -> list[tuple[float, float]]:
        """When each fault began and when all was well again, on `time.monotonic()`."""
        return [(strike.t0, strike.t1) for strike in self.strikes]

    def schedule(self, steps: int) -> list[Step]:
        """Return the first so many steps; they depend on the seed and the arguments alone."""
        return list(islice(self._steps(), steps))

    def wait(self, strikes: int, *, timeout: float = 60.0) -> None:
        """Wait until so many faults have struck and healed.

        Raises:
            TimeoutError: they have not within `timeout` seconds.
        """
        wait_until(
            lambda: self._failure or len(self.strikes) >= strikes,
            f"{strikes} faults have struck",
            timeout=timeout,
        )
        self._raise()

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Heal the last fault and stop."""
        self._stop.set()
        self._thread.join()
        if error is None:
            self._raise()
        elif self._failure:
            error.add_note(f"before that a fault failed: {self._failure!r}")

    def _steps(self) -> Iterator[Step]:
        dice = random.Random(self.seed)  # noqa: S311 - to be replayed
        while True:
            for fault in dice.sample(self._faults, len(self._faults)):
                yield Step(dice.uniform(*self._calm), fault, dice.uniform(*self._lasting))

    def _run(self) -> None:
        try:
            for calm, fault, lasting in self._steps():
                if self._stop.wait(calm):
                    return
                self.strikes.append(fault.last(lasting, unless=self._stop))
        except Exception as error:  # noqa: BLE001 - raised where the nemesis is used
            self._failure = error

    def _raise(self) -> None:
        if self._failure:
            raise self._failure
        if not self.strikes:
            raise AssertionError("the nemesis never struck: the workload was over before it began")

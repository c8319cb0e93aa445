"""Eight processes that are started once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from octavo.testing import faults
from tests.leaderboards.whole.hands import work

if TYPE_CHECKING:
    from collections.abc import Iterator

HANDS = 8


class Hands:
    """Eight processes, which do one job after another."""

    def __init__(self, crew: faults.Crew) -> None:
        self._workers = [crew.spawn(work, number) for number in range(HANDS)]

    def begin(self, job: str, **given: Any) -> None:
        """Have all begin a job, and wait until each says that it is in the middle of it."""
        for worker in self._workers:
            worker.tell({"job": job} | given)
        for worker in self._workers:
            assert worker.heard() == "ready"

    def go(self) -> None:
        """Have all go on that wait for it."""
        for worker in self._workers:
            worker.tell("go")

    def results(self) -> list[Any]:
        """Return what came of it."""
        return [worker.heard() for worker in self._workers]

    def end(self) -> None:
        """Let them end."""
        for worker in self._workers:
            worker.tell(None)


@pytest.fixture(scope="session")
def hands() -> Iterator[Hands]:
    """Eight processes."""
    with faults.Crew() as crew:
        hands = Hands(crew)
        yield hands
        hands.end()
        crew.results()

"""Eight processes that are started once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.testing import faults
from octavo.testing.servers import Standalone
from tests.fix_servers import movable_clock, require
from tests.leaderboards.inside import raw
from tests.leaderboards.whole.hands import work

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo import Octavo, Sync
    from tests.fix_servers import Servers

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


@pytest.fixture(scope="module")
def clocked() -> Iterator[Standalone]:
    """A server whose clock can be set."""
    with Standalone(require("valkey"), env=movable_clock()) as server:
        yield server


@pytest.fixture
def one(servers: Servers, prefix: str) -> Iterator[Octavo[Sync]]:
    """A client that is not asked of every face and server."""
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        yield db


@pytest.fixture
def client(servers: Servers) -> Iterator[Any]:
    """A client that looks at the keys."""
    with raw(servers.get("embedded").node_of("")) as client:
        yield client


def dump(client: Any, prefix: str) -> dict[bytes, bytes]:
    """Return all that a test has stored but for what is remembered of replies."""
    keys = sorted(key for key in client.keys(f"{prefix}:*") if b":once:" not in key)
    return {key: client.dump(key) for key in keys}

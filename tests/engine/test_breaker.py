"""Which nodes a job leaves alone, and when it comes back to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.engine import breaker
from octavo.engine.breaker import Circuits
from octavo.testing.waiting import wait_until
from tests.engine.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Cluster

KEYS = (b"k",)
LOST = octavo.ConnectionLost("nobody listens", outcome="not_sent")


@pytest.fixture
def client(proxy: WireProxy) -> Iterator[Octavo[Sync]]:
    with octavo.connect(proxy.url, connect_timeout=0.2) as client:
        yield client


@pytest.fixture
def circuits(client: Any, proxy: WireProxy) -> Circuits:
    """Circuits of a client whose server opens no connections, so that no link comes up."""
    proxy.refuse()
    return Circuits(client._common)


@pytest.mark.parametrize(
    ("error", "opens"),
    [
        (LOST, True),
        (octavo.DeadlineExceeded("late to connect", outcome="not_sent"), True),
        (octavo.DeadlineExceeded("late", outcome="unknown"), True),
        (octavo.Unavailable("it is loading"), True),
        (octavo.ConnectionLost("one reply was lost", outcome="unknown"), False),
        (octavo.WrongType("it is a list"), False),
    ],
    ids=lambda value: str(value).partition(":")[0],
)
def test_what_says_that_a_node_is_out_of_reach(
    circuits: Circuits, error: octavo.OctavoError, opens: bool
) -> None:
    assert not circuits.open(KEYS)
    circuits.failed(KEYS, error)
    assert circuits.open(KEYS) == opens
    assert bool(circuits.unreachable) == opens


def test_a_success_closes_it(circuits: Circuits) -> None:
    circuits.failed(KEYS, LOST)
    circuits.succeeded(KEYS)
    assert circuits.state(KEYS) == "closed"
    assert not circuits.unreachable


def test_one_caller_at_a_time_has_a_look_after_ever_longer_pauses(
    circuits: Circuits, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(breaker, "monotonic", lambda: now)
    circuits.failed(KEYS, LOST)
    for pause in (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
        now += pause - 0.01
        assert circuits.state(KEYS) == "open"
        now += 0.02
        assert [circuits.state(KEYS) for _ in range(3)] == ["half-open", "open", "open"]
        for _ in range(3):  # of whom only the first one was let through
            circuits.failed(KEYS, LOST)


def test_it_closes_by_itself_when_the_node_is_back(
    circuits: Circuits, client: Octavo[Sync], proxy: WireProxy
) -> None:
    circuits.failed(KEYS, LOST)
    assert circuits.open(KEYS)
    proxy.accept()
    wait_until(lambda: circuits.state(KEYS) == "closed", "a link has come up", timeout=10)
    assert Lab(client).get("k") is None


def test_each_node_has_its_own(cluster: Cluster) -> None:
    client: Any = octavo.connect(cluster.url)
    with client:
        circuits = Circuits(client._common)
        one, other = (b"k",), (b"another",)
        node = client._common.topology.node_of(one)
        assert node is not client._common.topology.node_of(other)
        # Not asked for its state, which opens a link to a node that is there.
        circuits.failed(one, LOST)
        assert list(circuits.broken) == [node]
        assert not circuits.open(other)
        circuits.succeeded(other)
        assert list(circuits.broken) == [node]

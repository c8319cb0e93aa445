"""Processes that race for one lock: what it protects is never touched by two at once."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.testing import faults
from tests.locks import race_workers
from tests.locks.campaign_records import Resource, examine

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fix_servers import Server, Servers

PROCESSES = 8
TTL = 10.0

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("races")]

soak = pytest.mark.soak


@pytest.fixture
def server(request: pytest.FixtureRequest, servers: Servers) -> Server:
    return servers.get(request.param)


def race(server: Server, prefix: str, home: Path, sections: int, options: dict[str, Any]) -> None:
    """Have processes count under a lock, half of them with tasks, and check all they did."""
    with faults.Crew() as crew:
        for number in range(PROCESSES):
            face = "async" if number % 2 else "sync"
            args = (server.url, prefix, str(home), face, sections, {"ttl": TTL} | options)
            crew.spawn(race_workers.count_up, *args)
        crew.meet()
        began = time.monotonic()
        crew.results(timeout=10 + sections / 15)
        took = time.monotonic() - began
    findings = examine(home, {"x": 1}, ttl=TTL, ok=1.0, contended=PROCESSES)
    resource = Resource(home / "x")
    print(f"{options}: {findings}; {PROCESSES * sections / took:,.0f} sections/s")
    assert resource.count == PROCESSES * sections
    assert (resource.torn, resource.disorder) == (0, 0)
    assert findings.lost == 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("server", "options", "sections"),
    [
        pytest.param("embedded", {}, 500, id="unfair-slice"),
        pytest.param("embedded", {}, 2000, id="unfair-full", marks=soak),
        pytest.param("embedded", {"fair": True}, 200, id="fair-slice"),
        pytest.param("embedded", {"fair": True}, 2000, id="fair-full", marks=soak),
        pytest.param("cluster", {"sync": 1}, 100, id="sync-slice"),
        pytest.param("cluster", {"sync": 1}, 2000, id="sync-full", marks=soak),
        pytest.param("redis-7", {}, 2000, id="redis-7-full", marks=soak),
        pytest.param("redis-8", {"fair": True}, 2000, id="redis-8-full", marks=soak),
    ],
    indirect=["server"],
)
def test_what_eight_processes_count_under_a_lock_is_exact(
    server: Server, options: dict[str, Any], sections: int, prefix: str, tmp_path: Path
) -> None:
    race(server, prefix, tmp_path, sections, options)


@pytest.mark.parametrize("server", ["embedded"], indirect=True)
@pytest.mark.parametrize("sections", [150, pytest.param(2500, marks=soak)])
def test_what_processes_are_told_of_two_locks_could_have_happened_one_after_another(
    server: Server, sections: int, prefix: str, tmp_path: Path
) -> None:
    seed = faults.run_seed()
    with faults.Crew() as crew:
        for number in range(4):
            place = server.url, prefix, str(tmp_path)
            crew.spawn(race_workers.try_out, *place, number, seed, sections)
        crew.meet()
        crew.results(timeout=300)
    findings = examine(tmp_path, {"a": 1, "b": 1}, ttl=2.0, ok=1.0, contended=sections)
    print(findings)
    assert 4 * sections < findings.grants < 8 * sections, "none was told that it is busy"
    for key in "ab":
        assert (Resource(tmp_path / key).torn, Resource(tmp_path / key).disorder) == (0, 0)


@pytest.mark.parametrize("server", ["embedded"], indirect=True)
@pytest.mark.parametrize("sections", [100, pytest.param(2000, marks=soak)])
def test_what_is_written_under_a_guard_is_exact_although_leases_are_broken(
    server: Server, sections: int, prefix: str
) -> None:
    dice = random.Random(faults.run_seed())
    with faults.Crew() as crew, octavo.connect(server.url, prefix=prefix) as db:
        for number in range(4):
            place = server.url, prefix
            crew.spawn(race_workers.write_guarded, *place, number, number, sections)
        crew.meet()
        while any(worker.alive for worker in crew.workers):
            time.sleep(dice.uniform(0, 0.01))  # paces the load, waits for nothing
            db.locks.break_("x")
        outcomes = sum((Counter(each) for each in crew.results()), Counter[str]())
        print(dict(outcomes))
        assert db.leaderboard("x").score("n") == outcomes["written"]
        assert outcomes["written"] + outcomes["refused"] == 8 * sections
        assert outcomes["refused"] > 0

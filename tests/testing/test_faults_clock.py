from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from octavo.testing import faults
from octavo.testing.servers import Cluster, Standalone
from octavo.testing.waiting import wait_until
from tests.fix_servers import movable_clock, require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def env() -> dict[str, str]:
    """The environment of a server whose clock can be moved."""
    return movable_clock()


@pytest.fixture(params=["valkey", "redis-8"])
def clocked(request: pytest.FixtureRequest, env: dict[str, str]) -> Iterator[Standalone]:
    with Standalone(require(request.param), env=env) as clocked:
        yield clocked


def is_ahead(server: Standalone, by: float) -> None:
    """Check how far ahead a server's clock is; a look that takes too long cannot tell."""
    about = pytest.approx(by, abs=0.3)
    wait_until(lambda: faults.clock_of(server) == about, f"it is ahead by {by} s", timeout=5)


def test_an_untouched_clock_is_right(clocked: Standalone) -> None:
    is_ahead(clocked, 0)


@pytest.mark.parametrize("by", [3600.0, -3600.0, 0.75])
def test_a_moved_clock_shows_in_time_and_comes_back(clocked: Standalone, by: float) -> None:
    for _ in range(3):
        with faults.move_clock(clocked, by):
            is_ahead(clocked, by)
        is_ahead(clocked, 0)


def test_keys_expire_by_the_moved_clock(clocked: Standalone) -> None:
    clocked.cli("SET", "k", "v", "EX", 60)
    clocked.cli("SET", "forgotten", "v", "EX", 60)
    with faults.move_clock(clocked, 30):
        assert clocked.cli("TTL", "k") == pytest.approx(30, abs=3)
    with faults.move_clock(clocked, -30):
        assert clocked.cli("TTL", "k") == pytest.approx(90, abs=3)
    with faults.move_clock(clocked, 61):
        assert clocked.cli("GET", "k") is None
        wait_until(lambda: clocked.cli("DBSIZE") == 0, "what nobody asks for has expired too")


def test_scripts_see_the_moved_clock(clocked: Standalone) -> None:
    with faults.move_clock(clocked, 3600):
        seconds = clocked.cli("EVAL", "return redis.call('TIME')[1]", 0)
        assert abs(int(seconds) - time.time() - 3600) < 20


CLOCKS = (
    "import time; print(time.time(), time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME))"
)


def test_what_measures_durations_does_not_follow(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / env["FAKETIME_TIMESTAMP_FILE"]).write_text("+3600")
    command = [sys.executable, "-c", CLOCKS]
    before = time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)
    shown = subprocess.check_output(command, env=os.environ | env, cwd=tmp_path, text=True)
    of_day, *durations = map(float, shown.split())
    assert of_day == pytest.approx(time.time() + 3600, abs=10)
    assert durations == pytest.approx(before, abs=10)


def test_a_server_restarted_meanwhile_keeps_its_clock(clocked: Standalone) -> None:
    with faults.move_clock(clocked, 3600):
        clocked.restart()
        is_ahead(clocked, 3600)


@pytest.mark.slow
def test_the_clocks_of_a_cluster_move_together_or_alone(env: dict[str, str]) -> None:
    with Cluster(require("valkey"), env=env) as cluster:
        with faults.move_clock(cluster, -60) as nodes:
            assert nodes == cluster.nodes
            assert all(abs(faults.clock_of(node) + 60) < 0.3 for node in nodes)
        with faults.move_clock(cluster.nodes[1], 60):
            is_ahead(cluster.nodes[1], 60)
            assert abs(faults.clock_of(cluster.nodes[0])) < 0.3
        assert cluster.healthy()

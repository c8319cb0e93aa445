"""Eight processes at one sharded board, and nodes that fail meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import octavo
from octavo.testing import faults
from tests.leaderboards.sharded.walk import board_of, check, load, race

if TYPE_CHECKING:
    from octavo.testing.servers import Cluster
    from tests.fix_servers import Server

PROCESSES, STEPS = 8, 60

pytestmark = pytest.mark.slow


def test_homes_and_shards_agree_when_all_is_quiet(server: Server, prefix: str) -> None:
    with faults.Crew() as crew:
        for number in range(PROCESSES):
            crew.spawn(race, server.url, prefix, number, STEPS)
        crew.meet()
        added = crew.results(timeout=60)
    with octavo.connect(server.url, prefix=prefix) as db:
        assert added == [STEPS] * PROCESSES
        sums = db.sharded_leaderboard("sums", bounds=[100, 200], keep="sum")
        assert sums.score("all") == PROCESSES * STEPS
        assert [entry.score for entry in sums] == [PROCESSES * STEPS]
        check(board_of(db), [f"m{i}" for i in range(6)])


@pytest.mark.parametrize("lossy", [False, True])
def test_they_agree_after_a_failover_and_a_repair(
    lossy: bool, proxied_cluster: Cluster, prefix: str
) -> None:
    url = proxied_cluster.url
    with octavo.connect(url, prefix=prefix) as db, faults.Crew() as crew:
        key = board_of(db)._index.keys.homes[0].members.decode()  # pyright: ignore[reportPrivateUsage]
        for number in range(4):
            crew.spawn(load, url, prefix, number)
        crew.meet()
        fault = faults.lossy_failover if lossy else faults.failover
        with fault(proxied_cluster, key):
            pass
        crew.stop()
        crew.results(timeout=60)
        board = board_of(db)
        board.repair(older_than=0, thorough=lossy)
        check(board, [f"m{i}" for i in range(200)])

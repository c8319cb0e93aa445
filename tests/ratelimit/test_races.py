"""Ten thousand callers at the same time: what passes is exact to the unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import octavo
from octavo.testing import faults
from tests.ratelimit import race_workers
from tests.ratelimit.race_workers import LIMITS

if TYPE_CHECKING:
    from tests.fix_servers import Servers

THREADS, TASKS = 250, 4750

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("races")]


@pytest.mark.parametrize(
    "names",
    [
        ["gcra"],
        ["gcra", "gcra 2", "gcra 3", "gcra 4"],
        ["fixed", "sliding", "segmented", "log"],
    ],
    ids="+".join,
)
def test_ten_thousand_callers_are_granted_what_the_strictest_limit_has(
    servers: Servers, prefix: str, names: list[str]
) -> None:
    url = servers.get("embedded").url
    with faults.Crew() as crew:
        for _ in range(2):
            crew.spawn(race_workers.threads, url, prefix, names, THREADS)
            crew.spawn(race_workers.tasks, url, prefix, names, TASKS)
        crew.meet()
        granted = sum(sum(units) for units in crew.results(timeout=50))
    most = min(LIMITS[name].limit for name in names)
    assert granted == most
    with octavo.connect(url, prefix=prefix) as db:
        left = db.limiter("race", *(LIMITS[name] for name in names), deadline=None).peek("ada")
    # What one limit denied, no limit was charged.
    assert {name: state.remaining for name, state in left.limits.items()} == {
        name: LIMITS[name].limit - most for name in names
    }

"""Bugs planted in a copy of the locks: the tests of the races and faults catch them all."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from octavo.testing import faults
from tests.locks.campaign_bugs import BUGS
from tests.planting import LONGEST, plant_each, report

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("races")]


def test_every_bug_can_be_planted(tmp_path: Path) -> None:
    assert len(BUGS) >= 20
    plant_each(BUGS, tmp_path)


@pytest.mark.timeout(3 * LONGEST + 60)
def test_some_planted_bugs_are_caught() -> None:
    assert not report(random.Random(faults.run_seed()).sample(BUGS, 3))


@pytest.mark.soak
@pytest.mark.timeout(len(BUGS) * LONGEST + 60)
def test_all_planted_bugs_are_caught() -> None:
    assert not report(BUGS)

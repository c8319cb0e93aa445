"""Bugs planted in a copy of the limits: what compares them with the model catches them all.

    python -m tests.ratelimit.test_planted

plants them one after another and prints how long each took to be caught.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from octavo.testing import faults
from tests.planting import LONGEST, Bug, Edit, plant_each, report

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("races")]

SERVER = "ratelimit/test_against_model", "whatever_its_clock_says"
ALONE = "ratelimit/test_against_model", "process_alone"


def bug(name: str, file: str, old: str, new: str, caught_by: tuple[str, str] = SERVER) -> Bug:
    """Return a bug of one line."""
    return Bug(name, caught_by, (Edit(f"ratelimit/{file}", old, new),))


BUGS = (
    bug(
        "a bucket asked in short refills without a call",
        "lanes.lua",
        "state[2 * i + 2] - (now - seen) * x,",
        "state[2 * i + 2] - (now - born) * x,",
    ),
    bug(
        "a bucket asked in short is left too little",
        "lanes.lua",
        "if debt > z then allowed",
        "if debt >= z then allowed",
    ),
    bug(
        "one full bucket of several denies nothing in short",
        "lanes.lua",
        "if debt > z then allowed = false end",
        "if debt > z then allowed = first + i < count end",
    ),
    bug(
        "what is asked in short takes no notice of a clock put back",
        "lanes.lua",
        "if state[2] > now then return nil end",
        "",
    ),
    bug(
        "what is asked in short overwrites another plan",
        "lanes.lua",
        " or string.sub(stored, 1, size) ~= rules then",
        " then",
    ),
    bug(
        "a window asked in short never ends",
        "lanes.lua",
        "if state and now < state[2 * i + 2] + y then",
        "if state then",
    ),
    bug(
        "a denied call is charged in short",
        "lanes.lua",
        "  if allowed then\n    for k",
        "  if charged then\n    for k",
    ),
    bug(
        "a cost that never fits may be waited for",
        "lanes.py",
        "meter.earliest(cost, now) - now if cost <= most else -1",
        "meter.earliest(cost, now) - now",
    ),
    bug(
        "what is told in short counts a denied call",
        "lanes.py",
        "meter = self._meter(i, now, told, 0 if allowed else cost)",
        "meter = self._meter(i, now, told, 0)",
    ),
    bug(
        "what is told in short takes for used what never fits",
        "lanes.py",
        "min(cost * token, cap + 1)",
        "cost * token",
    ),
    bug(
        "a sliding window asked in short lets too much pass",
        "lanes.lua",
        "if before * ticks > (x - used) * z then",
        "if used > x then",
    ),
    bug(
        "a sliding window asked in short is forgotten with its first part",
        "lanes.lua",
        "at = start + 2 * window",
        "at = start + window",
    ),
    bug(
        "a limit charges what another one denies",
        "decide.lua",
        "  if allowed and fits[i] and bookable[i] then",
        "  if fits[i] and bookable[i] then",
    ),
    bug(
        "a shadow denies",
        "decide.lua",
        "if not rule.shadow and not (fits[i]",
        "if not (fits[i]",
    ),
    bug(
        "limits are booked each for its own time",
        "decide.lua",
        "charge(rule, costs[i], at, now,",
        "charge(rule, costs[i], times[i], now,",
    ),
    bug(
        "a quota is not booked for its next period",
        "decide.lua",
        "rule.kind == QUOTA and at < rule.next",
        "rule.kind == QUOTA and at < rule.stop",
    ),
    bug(
        "a peek at a clock that was put back writes it down",
        "decide.lua",
        "  if mode == 'peek' then break end\n",
        "",
    ),
    bug(
        "bans do not grow",
        "decide.lua",
        "lasts * growth ^ ban[4]",
        "lasts",
    ),
    bug(
        "denials before a ban count towards the next one",
        "decide.lua",
        "ban[1], ban[2], ban[4] = now + math.floor(length), 0, ban[4] + 1",
        "ban[1], ban[4] = now + math.floor(length), ban[4] + 1",
    ),
    bug(
        "a ban forgets the denials before it",
        "ban.lua",
        "(ban or { 0, 0, 0, 0, ends = 0 }) or nil",
        "{ 0, 0, 0, 0, ends = 0 } or nil",
    ),
    bug(
        "a ban may be forgotten while it lasts",
        "ban.lua",
        "math.max(ban.ends, ban[1])",
        "ban.ends",
    ),
    bug(
        "a sliding window forgets the one before",
        "meters.lua",
        "meter.a, meter.b, meter.c = meter.a + window, 0, meter.b",
        "meter.a, meter.b, meter.c = meter.a + window, 0, 0",
    ),
    bug(
        "a segment less is counted than a window can touch",
        "meters.lua",
        "local passed = math.min(newest - meter.a, meter.z + 1)",
        "local passed = math.min(newest - meter.a + 1, meter.z + 1)",
    ),
    bug(
        "a log forgets a unit a moment too early",
        "meters.lua",
        "math.max(at, last + meter.y) or at",
        "math.max(at, last + meter.y - 1) or at",
    ),
    bug(
        "who comes later passes what is booked",
        "meters.lua",
        "return (kind == GCRA or kind == CONCURRENCY) and 0 or meter.a",
        "return 0",
    ),
    bug(
        "another plan forgives parts of a unit",
        "meters.lua",
        "return whole(count, before) * new + whole_up(",
        "return whole(count, before) * new + whole(",
    ),
    bug(
        "a bucket is given back what time has given",
        "meters.lua",
        "math.min(units * meter.y, unpaid, meter.b)",
        "math.min(units * meter.y, meter.b)",
    ),
    bug(
        "a clock put back forgives",
        "meters.lua",
        "local shift = math.max(stored.seen - now, 0)",
        "local shift = 0",
    ),
    bug(
        "what others have stored under a key is lost",
        "meters.lua",
        "        others[#others + 1] = stored\n",
        "",
    ),
    bug(
        "a key vanishes too early",
        "meters.lua",
        "group.ends = math.max(group.ends, over_at(rule))",
        "group.ends = over_at(rule)",
    ),
    bug(
        "a settled call is given back all that it was charged",
        "settle.lua",
        "give_back(rule, taken - used, taken,",
        "give_back(rule, taken, taken,",
    ),
    bug(
        "a settled call pays no more than it was charged",
        "settle.lua",
        "  elseif used > taken then",
        "  elseif used > taken + 1 then",
    ),
    bug(
        "what is settled frees the places that were kept",
        "settle.lua",
        "release(rule, used, taken, ARGV[3])",
        "release(rule, 0, taken, ARGV[3])",
    ),
    bug(
        "alone, a limit charges what another one denies",
        "local.py",
        "if charge and allowed and entry.fits(due)",
        "if charge and entry.fits(due)",
        ALONE,
    ),
    bug(
        "alone, parts of a microsecond are not waited for",
        "meters.py",
        "return now + -(-excess // self.rate) if",
        "return now + excess // self.rate if",
        ALONE,
    ),
    bug(
        "alone, a segment less is counted",
        "meters.py",
        "self.counts[: self.segments + 1 - aged]",
        "self.counts[: self.segments - aged]",
        ALONE,
    ),
)


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


if __name__ == "__main__":
    report(BUGS)

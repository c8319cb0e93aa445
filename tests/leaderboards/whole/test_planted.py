"""Bugs planted in a copy of the leaderboards: the tests of whole boards catch them all.

    python -m tests.leaderboards.whole.test_planted

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


def bug(name: str, file: str, old: str, new: str, test: str, words: str) -> Bug:
    """Return a bug of one line."""
    return Bug(
        name, (f"leaderboards/whole/{test}", words), (Edit(f"leaderboards/{file}", old, new),)
    )


BUGS = (
    bug(
        "the client says which period it is",
        "submit_periods.lua",
        "if not starts or (starts <= at and at < tonumber(ARGV[word + 2])) then",
        "if true then",
        "test_boundaries",
        "boundary and ends",
    ),
    bug(
        "the client says which period it is where there is more to a board",
        "tables.lua",
        "(spec.starts <= at and at < spec.ends)",
        "true",
        "test_against_model",
        "time_goes_by and ordinal",
    ),
    bug(
        "an hour that is there twice is one",
        "periods.py",
        'else "%Y-%m-%dT%H%z"',
        'else "%Y-%m-%dT%H"',
        "test_boundaries",
        "York and hour and once",
    ),
    bug(
        "what a period has had to make anew stays for good",
        "tables.lua",
        "  look(uses.data or t.length or t.bans == '1', 'HLEN', 'data')\n",
        "",
        "test_periods",
        "when_its_time",
    ),
    bug(
        "whoever is alone takes the end of a period along",
        "tables.lua",
        "  t.touched = true\n",
        "  t.touched = true\n"
        "  if old and new and old[1] ~= new[1] then redis.call('ZREM', t.scores, old[1]) end\n",
        "test_periods",
        "when_its_time",
    ),
    bug(
        "periods asked the short way stay for good",
        "submit_periods.lua",
        "if expires > 0 then",
        "if expires > 0 and t.old then",
        "test_periods",
        "nothing_but_periods",
    ),
    bug(
        "a season takes a score at the moment of its end",
        "tables.lua",
        "now >= tonumber(t.closes)",
        "now > tonumber(t.closes)",
        "test_seasons",
        "by_the_clock",
    ),
    bug(
        "a season is closed a little later than it says",
        "season.lua",
        "if ARGV[2] == 'close' then closes = '0' end\n",
        "if ARGV[2] == 'close' then closes = string.format('%d', now + 20000) end\n",
        "test_seasons",
        "under_load",
    ),
    bug(
        "a submission stays in a window a moment too long",
        "tables.lua",
        "+ length <= now do",
        "+ length < now do",
        "test_windows",
        "microsecond",
    ),
    bug(
        "data outlives its submission in a window",
        "tables.lua",
        "      follow_data(t, member, was, state)\n      keep_past",
        "      keep_past",
        "test_windows",
        "brought_it",
    ),
    bug(
        "a beaten score takes its data along",
        "tables.lua",
        "(beaten and (newer[4] or not older[4]))",
        "beaten",
        "test_windows",
        "brought_it",
    ),
    bug(
        "a window is as long as its steps make it",
        "tables.lua",
        "local same_step = math.floor",
        "local same_step = true or math.floor",
        "test_windows",
        "of_one_step",
    ),
    bug(
        "a retried submission counts again",
        "leaderboard.py",
        "        if key is not None:\n",
        '        if key == "":\n',
        "test_lost_replies",
        "counts_once",
    ),
    bug(
        "a change stops at the first table that it changes",
        "alter.lua",
        "any = changes[change](t, member) or any end",
        "any = any or changes[change](t, member) end",
        "test_undo",
        "later_submissions",
    ),
    bug(
        "an undo takes the last submission whatever it was told",
        "alter.lua",
        "    if one[7] == id then\n",
        "    if i == #past[2] then\n",
        "test_undo",
        "later_submissions",
    ),
    bug(
        "an undo knows nothing of annotations",
        "alter.lua",
        "if trail or t.length then\n    local past = past_with_base",
        "if t.length then\n    local past = past_with_base",
        "test_undo",
        "annotation_outlives",
    ),
    bug(
        "more can be undone in windows than elsewhere",
        "tables.lua",
        "  if at > 0 then list[at][7] = false end\n",
        "",
        "test_undo",
        "last_hundred",
    ),
    bug(
        "the banned may submit",
        "submit_all.lua",
        "  if one.banned then return 'banned' end\n",
        "",
        "test_bans",
        "match",
    ),
    bug(
        "one who is banned twice loses what it had",
        "alter.lua",
        "    keep_banned(t, member, banned[1], shadow)\n",
        "    keep_banned(t, member, false, shadow)\n",
        "test_bans",
        "leave_all_tables",
    ),
    bug(
        "the cap is one more than it says",
        "submit_all.lua",
        "last[2] >= rules.max_submissions",
        "last[2] > rules.max_submissions",
        "test_rules",
        "than_are_allowed",
    ),
    bug(
        "what was undone counts for the rules",
        "alter.lua",
        "cmsgpack.pack({when, last[2] - 1})",
        "cmsgpack.pack(last)",
        "test_rules",
        "counts_for_no_rule",
    ),
    bug(
        "a step is asked of what does not count",
        "submit_all.lua",
        "rules.max_step and counts and old",
        "rules.max_step and old",
        "test_rules",
        "one_that_counts",
    ),
    bug(
        "nobody is told who left the best",
        "news.lua",
        "tell('left', member, was, there)",
        "tell('moved', member, was, there)",
        "test_events",
        "who_it_concerns",
    ),
    bug(
        "of several scores at once the ranks in between are told",
        "submit_all.lua",
        "    one[4] = {rank_now(shape, told, one[2]), told.on[one[2]][2]}\n",
        "    one[4] = {1, told.on[one[2]][2]}\n",
        "test_events",
        "where_all_end",
    ),
    bug(
        "a tie that vanishes moves nobody behind it",
        "submit_all.lua",
        "        if shape.dense then high = math.huge end\n",
        "",
        "test_events",
        "no_more_than and dense",
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

"""Bugs to be planted in a copy of the locks, each of which a test of ours has to catch.

    python -m tests.locks.campaign_bugs [words of names]

plants them one after another and prints how long each took to be caught.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from math import inf
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import octavo

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCE = Path(octavo.__file__).parent
ROOT = Path(__file__).parents[2]
LONGEST = 60.0
"""Seconds in which a bug has to be caught."""


class Edit(NamedTuple):
    """A text that is there once, in a file of the package, and what comes in its place."""

    file: str
    old: str
    new: str


class Catch(NamedTuple):
    """After how many seconds a bug was caught, and how; never is infinite."""

    seconds: float
    reason: str


class Bug(NamedTuple):
    """What somebody could have got wrong.

    Attributes:
        name: what is wrong.
        caught_by: the test that fails, by its file and words of its name.
        edits: how it is planted.
    """

    name: str
    caught_by: tuple[str, str]
    edits: tuple[Edit, ...]

    def plant(self, package: Path) -> None:
        """Plant it in a copy of the package."""
        for edit in self.edits:
            path = package / edit.file
            text = path.read_text()
            if text.count(edit.old) != 1:
                raise ValueError(
                    f"{self.name!r}: {edit.file} must have {edit.old!r} once, not"
                    f" {text.count(edit.old)} times"
                )
            path.write_text(text.replace(edit.old, edit.new))

    def catch(self) -> Catch:
        """Plant it, and run its test until that fails."""
        with tempfile.TemporaryDirectory(prefix="octavo-planted-") as home:
            package = Path(home, "octavo")
            shutil.copytree(SOURCE, package, ignore=shutil.ignore_patterns("__pycache__"))
            self.plant(package)
            began = time.monotonic()
            while (left := began + LONGEST - time.monotonic()) > 0:
                if reason := self._failure(home, left):
                    return Catch(time.monotonic() - began, reason)
        return Catch(inf, "not caught")

    def _failure(self, home: str, timeout: float) -> str:
        """Run its test; return why that failed, or nothing.

        Raises:
            LookupError: this machine lacks what the test needs.
        """
        file, words = self.caught_by
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        command += [f"--basetemp={home}/tests", f"tests/locks/{file}.py", "-k", words]
        clean = {name: word for name, word in os.environ.items() if not name.startswith("PYTEST_")}
        try:
            run = subprocess.run(
                command,
                cwd=ROOT,
                env=clean | {"PYTHONPATH": home},
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return ""
        if run.returncode not in {0, 1}:
            raise RuntimeError(f"{self.name!r}: no test ran:\n{run.stdout[-2000:]}{run.stderr}")
        said = run.stdout.splitlines()
        if "skipped" in said[-1] and "passed" not in said[-1]:
            raise LookupError(next(line for line in said if line.startswith("SKIPPED")))
        reasons = (line.removeprefix("E").strip() for line in said if line.startswith("E  "))
        return next(reasons, "it failed") if run.returncode else ""


def report(bugs: Sequence[Bug]) -> list[str]:
    """Plant bugs one after another, print when each was caught, and return those that were not."""
    caught: list[float] = []
    missed: list[str] = []
    for bug in bugs:
        try:
            catch = bug.catch()
        except LookupError as error:
            print(f"{'skipped':>10}  {bug.name}: {error}")
            continue
        print(f"{catch.seconds:8.1f} s  {bug.name}: {catch.reason[:90]}", flush=True)
        if catch.seconds < inf:
            caught.append(catch.seconds)
        else:
            missed.append(bug.name)
    seconds = f", median {median(caught):.1f} s" if caught else ""
    print(f"{len(caught)} of {len(bugs)} caught{seconds}")
    return missed


BUGS = (
    Bug(
        "a release frees the lock whoever holds it",
        ("test_faults", "stopped_is_told and thread"),
        (
            Edit(
                "locks/release.lua",
                "local held = holds(facts, now)\n",
                "local held = holds(facts, now)\n"
                "if not facts then redis.call('UNLINK', leases) end\n",
            ),
        ),
    ),
    Bug(
        "a renewal brings back what has ended",
        ("test_faults", "was_broken"),
        (
            Edit(
                "locks/renew.lua",
                "if not stands(KEYS[1], owner, facts, now) then\n  return 0\nend\n",
                "facts = facts or { 1, 0, 0, 0, 0, now, '', '', HOLDS, 0 }\n",
            ),
        ),
    ),
    Bug(
        "fences go by the count alone",
        ("test_failover", "a_failover_has_lost"),
        (Edit("locks/facts.lua", "math.max(last + 1, now), now", "last + 1, now"),),
    ),
    Bug(
        "fences go by the clock alone",
        ("test_failover", "set_back"),
        (Edit("locks/facts.lua", "math.max(last + 1, now), now", "now, now"),),
    ),
    Bug(
        "whoever asks again for what it holds finds it busy",
        ("test_faults", "replies_that_are_lost"),
        (
            Edit("locks/acquire.lua", "if stands(leases, owner, mine, now) then", "if false then"),
            Edit("locks/acquire.lua", "if mine and not waited then", "if false then"),
        ),
    ),
    Bug(
        "a wake-up in twenty is lost, and nobody polls",
        ("test_races", "eight_processes and slice and fair"),
        (
            Edit(
                "locks/places.lua",
                "if facts[ADDRESS] ~= '' then\n      redis.pcall",
                "if facts[ADDRESS] ~= '' and now % 20 > 0 then\n      redis.pcall",
            ),
            Edit(
                "locks/acquiring.py",
                "return min(self._free_in + _AFTER + self._ahead * _STAGGER, poll)",
                "return poll * 1000",
            ),
        ),
    ),
    Bug(
        "nobody asks again when its link has ended",
        ("test_faults", "away and killed"),
        (
            Edit(
                "engine/tracking.py",
                "    for signal in signals:\n                signal.set()\n"
                "        if link.channel is not None:\n            self.mail.look_up()\n",
                "    for signal in signals:\n                signal.set()\n",
            ),
            Edit(
                "engine/tracking.py",
                "if link.channel is not None:\n            self.mail.look_up()\n\n    def ended",
                "pass\n\n    def ended",
            ),
        ),
    ),
    Bug(
        "a cancelled acquire gives nothing up",
        ("test_faults", "cancelled_at_random"),
        (
            Edit(
                "locks/acquiring.py",
                "        except BaseException:\n            await self.give_up()\n"
                "            raise\n        return grant\n",
                "        return grant\n",
            ),
        ),
    ),
    Bug(
        "what has ended is kept for five seconds more",
        ("test_faults", "a_permit_of_a_holder"),
        (Edit("locks/places.lua", "leases, '-inf', now)", "leases, '-inf', now - 5e6)"),),
    ),
    Bug(
        "what has not quite ended is given away",
        ("test_campaign", "one_server"),
        (
            Edit("locks/places.lua", "leases, '-inf', now)", "leases, '-inf', now + 5e5)"),
            Edit(
                "locks/places.lua",
                "if first[1] and tonumber(first[2]) <= now then",
                "if first[1] and tonumber(first[2]) <= now + 5e5 then",
            ),
        ),
    ),
    Bug(
        "a release gives back a permit too many",
        ("test_faults", "workers_that_die"),
        (
            Edit(
                "locks/places.lua",
                "weigh(facts and 1 - facts[WEIGHT] or 0)",
                "weigh(facts and 0 - facts[WEIGHT] or 0)",
            ),
        ),
    ),
    Bug(
        "whoever takes several permits is counted for one",
        ("test_faults", "workers_that_die"),
        (Edit("locks/facts.lua", "if facts[WEIGHT] > 1 then", "if false then"),),
    ),
    Bug(
        "who renews renews for all",
        ("test_faults", "a_permit_of_a_holder"),
        (
            Edit(
                "locks/renew.lua",
                "begin(KEYS[1], KEYS[2], nil, now, owner, facts)",
                "begin(KEYS[1], KEYS[2], nil, now, owner, facts)\n"
                "for _, other in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do\n"
                "  redis.call('ZADD', KEYS[1], facts[ENDS], other)\n"
                "end",
            ),
        ),
    ),
    Bug(
        "min_hold is forgotten",
        ("test_faults", "kept_for_a_while and released"),
        (Edit("locks/release.lua", "local early = left > 0", "local early = false"),),
    ),
    Bug(
        "lock_delay is forgotten",
        ("test_faults", "kept_for_a_while and dropped"),
        (
            Edit(
                "locks/facts.lua",
                "(facts[STATE] == HOLDS and facts[DELAY] or 0)",
                "0",
            ),
        ),
    ),
    Bug(
        "a guarded batch does not heed its guard",
        ("test_races", "under_a_guard"),
        (Edit("engine/guard.py", "  if replies[1] ~= 1 then break end\n", ""),),
    ),
    Bug(
        "a guard takes every lease for good",
        ("test_races", "under_a_guard"),
        (
            Edit(
                "locks/held.lua",
                "-- @include facts.lua\n",
                "-- @include facts.lua\nif true then return 1 end\n",
            ),
        ),
    ),
    Bug(
        "a lease is believed in from the reply on",
        ("test_faults", "believes_longer"),
        (Edit("locks/clock.py", "return asked + lasts - (", "return now() + lasts - ("),),
    ),
    Bug(
        "a loss is told two seconds late",
        ("test_faults", "that_is_cut_off"),
        (Edit("locks/renewal.py", "if now >= grant.until:", "if now >= grant.until + 2:"),),
    ),
    Bug(
        "a body is not cancelled when its lease is lost",
        ("test_faults", "stopped_is_told and task"),
        (Edit("locks/lease.py", "        self._grant.on_loss.append(body.cancel)\n", ""),),
    ),
    Bug(
        "what is handed over waits for ever for its owner",
        ("test_faults", "was_handed_the_lock"),
        (
            Edit(
                "locks/facts.lua",
                "facts[STATE] == HANDED and math.min(facts[TTL], CLAIM) or",
                "facts[STATE] == HANDED and 3600e6 or",
            ),
        ),
    ),
    Bug(
        "a letter is believed however late it is",
        ("test_faults", "was_handed_the_lock"),
        (
            Edit(
                "locks/acquiring.py",
                "grant = self._grant(fence, self._asked, lasts)",
                "grant = self._grant(fence, clock.now(), lasts)",
            ),
        ),
    ),
    Bug(
        "the last in the queue is the first",
        ("test_faults", "fifty and killed"),
        (
            Edit(
                "locks/places.lua",
                "local owner = redis.call('ZRANGE', queue, 0, 0)[1]",
                "local owner = redis.call('ZRANGE', queue, -1, -1)[1]",
            ),
        ),
    ),
    Bug(
        "the dead are believed to hear",
        ("test_faults", "fifty and killed"),
        (Edit("locks/places.lua", "return count.err ~= nil or count[2] > 0", "return true"),),
    ),
    Bug(
        "who gave up before being heard of is granted it all the same",
        ("test_faults", "after_it_was_given_up"),
        (Edit("locks/acquire.lua", "if gone[1] == owner then", "if false then"),),
    ),
    Bug(
        "beside a writer that made itself a reader there is room for a writer",
        ("test_faults", "made_itself_a_reader"),
        (
            Edit(
                "locks/downgrade.lua",
                "places.weigh(weight - facts[WEIGHT])",
                "places.weigh(weight - facts[WEIGHT] - 1)",
            ),
        ),
    ),
    Bug(
        "a grant that no replica has confirmed is good",
        ("test_failover", "no_replica_can_confirm"),
        (
            Edit(
                "locks/acquiring.py",
                "if reply[0] == 1 and replicas < sync:",
                "if reply[0] == 1 and replicas < 0:",
            ),
        ),
    ),
)


if __name__ == "__main__":
    report([bug for bug in BUGS if all(word in bug.name for word in sys.argv[1:])])

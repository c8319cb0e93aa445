"""Bugs that are planted in a copy of the package, and have to be caught by a test of ours."""

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
ROOT = Path(__file__).parents[1]
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
        caught_by: the test that fails, by its file below `tests` and words of its name.
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
        command += [f"--basetemp={home}/tests", "--all-faces", f"tests/{file}.py", "-k", words]
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


def plant_each(bugs: Sequence[Bug], home: Path) -> None:
    """Plant each bug in a copy of the files that it is about."""
    for number, bug in enumerate(bugs):
        package = home / str(number)
        for edit in bug.edits:
            target = package / edit.file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SOURCE / edit.file, target)
        bug.plant(package)

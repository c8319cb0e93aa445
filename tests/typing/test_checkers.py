"""Four type checkers see the examples as their `# error` comments say."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = Path(__file__).with_name("examples")

FILES = sorted(EXAMPLES.glob("*.py"))

CHECKERS: dict[str, tuple[str | Path, ...]] = {
    "mypy": ("--no-error-summary", *FILES),
    "pyright": ("--pythonpath", sys.executable, "--project", EXAMPLES),
    "ty": ("check", "--output-format", "concise", "--python", sys.executable, *FILES),
    "pyrefly": (
        *("check", "--output-format", "min-text", "--python-interpreter-path", sys.executable),
        *FILES,
    ),
}
REPORT = re.compile(r"(\w+\.py):(\d+):.*\berror\b|ERROR .*?(\w+\.py):(\d+)")
MARK = re.compile(r"# error(?:: ([\w ]+))?$")


def reported(checker: str) -> set[tuple[str, int]]:
    """Return the file and line of each error that a checker reports in the examples."""
    run = subprocess.run(
        [sys.executable, "-m", checker, *CHECKERS[checker]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    errors = {
        (found[1] or found[3], int(found[2] or found[4]))
        for found in map(REPORT.search, run.stdout.splitlines())
        if found
    }
    assert errors, f"{checker} reported nothing:\n{run.stdout}{run.stderr}"
    return errors


def expected(checker: str) -> set[tuple[str, int]]:
    """Return the file and line of each error that the examples want a checker to report."""
    return {
        (path.name, number)
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (mark := MARK.search(line)) and checker in (mark[1] or checker).split()
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", CHECKERS)
def test_a_checker_reports_the_marked_lines_and_no_others(checker: str) -> None:
    if not importlib.util.find_spec(checker):
        pytest.skip(f"{checker} is not installed; `make check` installs it")

    found, wanted = reported(checker), expected(checker)

    assert {"missed": sorted(wanted - found), "wrong": sorted(found - wanted)} == {
        "missed": [],
        "wrong": [],
    }

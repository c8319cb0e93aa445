"""Run the checks of the house: `python tools/check.py [NAME...]`, or all of them.

One line per check; what a failed one printed follows its line.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]

DOCS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs", "src")

CHECKS = {
    "ruff": ("-m", "ruff", "check", "--quiet"),
    "format": ("-m", "ruff", "format", "--check", "--quiet"),
    "mypy": ("-m", "mypy"),
    "pyright": ("-m", "pyright", "--pythonpath", sys.executable),
    "typing": ("-m", "pytest", "-q", "tests/typing"),
    "imports": ("tools/check_imports.py",),
    "headers": ("tools/check_lua.py",),
    "lua": ("tools/lint_lua.py",),
    "docs": ("-m", "pytest", "-q", "-p", "tools.docs_blocks", *DOCS),
}


def main(names: list[str]) -> int:
    """Run the named checks and return how many failed."""
    if unknown := set(names) - set(CHECKS):
        print(f"no such check: {', '.join(sorted(unknown))}; there are: {', '.join(CHECKS)}")
        return 2
    chosen = names or list(CHECKS)
    failed = [name for name in chosen if not passes(name)]
    print(f"{len(chosen) - len(failed)} of {len(chosen)} checks passed", *failed, sep="\nfailed: ")
    return len(failed)


def passes(name: str) -> bool:
    """Run one check and print how it went."""
    print(f"{name:8}", end=" ", flush=True)
    started = time.perf_counter()
    run = subprocess.run(
        [sys.executable, *CHECKS[name]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    print("FAILED" if run.returncode else "ok", f"({time.perf_counter() - started:.1f} s)")
    notes = [line for line in run.stderr.splitlines() if line.startswith("note: ")]
    print(run.stdout + run.stderr if run.returncode else "\n".join(notes), end="\n" * bool(notes))
    return run.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

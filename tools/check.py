"""Run the checks of the house: `python tools/check.py [NAME...]`, or all of them.

As many at once as there are processors. One line per check; what a failed one printed follows it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
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
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        passed = list(pool.map(passes, chosen))
    failed = [name for name, ok in zip(chosen, passed, strict=True) if not ok]
    print(f"{len(chosen) - len(failed)} of {len(chosen)} checks passed", *failed, sep="\nfailed: ")
    return len(failed)


def passes(name: str) -> bool:
    """Run one check and print how it went."""
    started = time.perf_counter()
    run = subprocess.run(
        [sys.executable, *CHECKS[name]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    verdict = "FAILED" if run.returncode else "ok"
    lines = [f"{name:8} {verdict} ({time.perf_counter() - started:.1f} s)"]
    if run.returncode:
        lines.append(run.stdout + run.stderr)
    else:
        lines += (line for line in run.stderr.splitlines() if line.startswith("note: "))
    print("\n".join(lines), flush=True)
    return run.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

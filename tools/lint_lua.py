"""Lint every Lua script: `python tools/lint_lua.py`.

With luacheck where it is installed; else an embedded server compiles each script, which finds
wrong syntax and nothing more.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import redis

from octavo.engine.script import Script
from octavo.testing.servers import Standalone, binaries

ROOT = Path(__file__).parents[1]
INCLUDE = re.compile(r"^-- @include (\S+)$", re.MULTILINE)
DEFINED = re.compile(r"^local (?:function )?(\w+(?:, \w+)*)", re.MULTILINE)


def main() -> int:
    """Lint every script and return 1 if one has a fault."""
    scripts = sorted((ROOT / "src").rglob("*.lua"))
    if luacheck := shutil.which("luacheck"):
        return lint_all(luacheck, scripts)
    print("note: luacheck is absent (on Debian: apt install lua-check), so only syntax is checked")
    return compile_all(scripts)


def includes(path: Path) -> set[Path]:
    """Return the files that a script includes."""
    names = INCLUDE.findall(path.read_text(encoding="utf-8"))
    return {(path.parent / name).resolve() for name in names}


def lint_all(luacheck: str, scripts: list[Path]) -> int:
    """Return 1 if luacheck finds fault with one of the scripts, having printed what."""
    return max([lint(luacheck, path, scripts) for path in scripts])


def lint(luacheck: str, path: Path, scripts: list[Path]) -> int:
    """Return 1 if luacheck finds fault with a script, having printed what.

    A script knows what is local to the files it includes. An included file knows that of what is
    included beside it, and need not use its own.
    """
    beside = [files for script in scripts if path in (files := includes(script))]
    known = [
        name
        for file in includes(path).union(*beside) - {path}
        for names in DEFINED.findall(file.read_text(encoding="utf-8"))
        for name in names.split(", ")
    ]
    command = [luacheck, "--quiet", "--codes", "--no-color", os.path.relpath(path, ROOT)]
    command += ["--read-globals", *known, *(("--ignore", "211") if beside else ())]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(run.stdout * bool(run.returncode), end="")
    return min(1, run.returncode)


def compile_all(scripts: list[Path]) -> int:
    """Return 1 if a server cannot compile one of the scripts, having printed why."""
    faults = 0
    with Standalone(binaries()["valkey"]) as server:
        for path in scripts:
            try:
                server.cli("SCRIPT", "LOAD", Script(path).source)
            except redis.ResponseError as error:
                print(f"{os.path.relpath(path, ROOT)}: {error}")
                faults = 1
    return faults


if __name__ == "__main__":
    sys.exit(main())

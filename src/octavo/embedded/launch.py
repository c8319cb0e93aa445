"""Starting a keeper, which starts the server and outlives its caller."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from octavo.embedded.binary import find_python, find_server
from octavo.embedded.home import fork_guard

if TYPE_CHECKING:
    from octavo.embedded.home import Home

__all__ = ["GRACE", "Launch", "launch"]

GRACE = 2.0  # how many seconds a shared server waits for its next user

KEEPER = Path(__file__).with_name("keeper.py")

_OPTIONS = {
    "--port": "0",
    "--bind": "127.0.0.1",
    "--unixsocketperm": "600",
    "--maxmemory-policy": "noeviction",
    "--appendfsync": "everysec",
    "--aof-load-truncated": "yes",  # a crash may have cut the last write
    "--save": "",
}


class Launch:
    """A server on its way, and the end of a pipe on which its keeper says if it fails.

    Attributes:
        binary: the server program.
    """

    def __init__(self, binary: str, report: int) -> None:
        os.set_blocking(report, False)
        self.binary = binary
        self._report = report
        self._said = b""

    def failure(self) -> str | None:
        """Return None while the keeper lives; after that, what it said."""
        try:
            chunk = os.read(self._report, 4096)
        except BlockingIOError:
            return None
        self._said += chunk
        return None if chunk else self._said.decode(errors="replace")

    def close(self) -> None:
        """Listen no longer; the keeper and the server go on."""
        os.close(self._report)


def launch(home: Home) -> Launch | None:
    """Start a keeper in the directory, or return None if a server lives, or starts, there.

    Raises:
        EmbeddedError: no server program, or no place for its socket.
        OSError: the system refuses the directory or the process.
    """
    with fork_guard:
        lock = home.lock_server()
        if lock is None:
            return None
        try:
            binary = find_server()
            report, keepers_end = os.pipe()
            try:
                spawn(home, binary, lock, keepers_end)
            except BaseException:
                os.close(report)
                raise
            finally:
                os.close(keepers_end)
        finally:
            os.close(lock)  # the keeper has it now
        return Launch(binary, report)


def spawn(home: Home, binary: str, lock: int, report: int) -> None:
    """Run the keeper, with the descriptors of the lock and of the pipe; it detaches itself."""
    address = home.place_socket()
    keeper = [
        *(find_python(), "-I", "-S", str(KEEPER)),
        *(str(home.path), address),
        *(("private", "0") if home.private else ("shared", str(GRACE))),
        *(str(lock), str(report)),
    ]
    append = "no" if home.private else "yes"
    options = _OPTIONS | {"--unixsocket": address, "--appendonly": append}
    server = [binary, *chain.from_iterable(options.items())]
    with suppress(FileNotFoundError):
        home.log.replace(home.log.with_suffix(".log.1"))
    with home.log.open("wb") as log:
        # Both programs come from this installation or from this user's environment.
        subprocess.Popen(  # noqa: S603
            keeper + server,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock, report),
            start_new_session=True,
        ).wait()

"""Server processes that never outlive the process that started them."""

from __future__ import annotations

import atexit
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Process", "Startable", "free_port"]

# Below every system's range for outgoing connections, which could otherwise take a port
# between the moment it is found free and the moment a server binds it.
_FIRST_PORT, _LAST_PORT = 10_000, 32_000

# Ends when our end of its standard input closes, which the kernel does even after kill -9.
# Not PDEATHSIG: that fires when the *thread* that started the server ends, and on Linux only.
_GUARD = """
import os, shutil, signal, sys
kept = {}
for line in sys.stdin:
    pid, home = line.rstrip("\\n").split(" ", 1)
    kept[home] = int(pid)
    if pid == "-1":
        del kept[home]
for home, pid in kept.items():
    if pid:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    shutil.rmtree(home, ignore_errors=True)
"""
_STOPPED, _FORGOTTEN = 0, -1


def free_port() -> int:
    """Return a port of the loopback interface that nothing listens on.

    No process of this user is given it again while this one lives, so that a server may be started
    on it later, or anew.
    """
    locks = Path(tempfile.gettempdir()) / f"octavo-ports-{os.getuid()}"
    locks.mkdir(exist_ok=True)
    while True:
        port = _FIRST_PORT + secrets.randbelow(_LAST_PORT - _FIRST_PORT)
        lock = os.open(locks / str(port), os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            os.close(lock)
            continue
        return port  # the lock stays, until the process ends


class _Guard:
    """A helper process that removes what this one leaves behind, however it ends."""

    _process: subprocess.Popen[bytes] | None = None
    _lock = threading.Lock()

    @classmethod
    def note(cls, home: Path, pid: int) -> None:
        """Say which process now works in `home`."""
        with cls._lock:
            if cls._process is None:
                cls._process = subprocess.Popen(  # noqa: S603 - our own words
                    [sys.executable, "-IS", "-c", _GUARD],
                    stdin=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C in the terminal is not for it
                )
                atexit.register(cls._finish, cls._process)
            pipe = cast("IO[bytes]", cls._process.stdin)
            pipe.write(f"{pid} {home}\n".encode())
            pipe.flush()

    @staticmethod
    def _finish(process: subprocess.Popen[bytes]) -> None:
        cast("IO[bytes]", process.stdin).close()
        process.wait()


class Startable(ABC):
    """What a `with` statement starts and closes."""

    @abstractmethod
    def start(self) -> None:
        """Start, and wait until it serves."""

    @abstractmethod
    def close(self) -> None:
        """Stop, and remove what it has on disk."""

    def __enter__(self) -> Self:
        """Start; what has started is closed again if the rest fails."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        """Close."""
        self.close()


class Process(Startable):
    """One program in a directory of its own, which survives a restart of it."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="octavo-test-"))
        self._paused = False
        self._popen: subprocess.Popen[bytes] | None = None
        _Guard.note(self.home, _STOPPED)

    @property
    def alive(self) -> bool:
        """Whether the program runs; a paused one does."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def responsive(self) -> bool:
        """Whether the program runs and is not paused."""
        return self.alive and not self._paused

    @property
    def pid(self) -> int:
        """The process id of the running program."""
        return self._running().pid

    @property
    def exit_code(self) -> int | None:
        """How the program ended, negative if by a signal; None while it runs."""
        return self._popen.poll() if self._popen else None

    def spawn(self, command: list[str], env: Mapping[str, str] | None = None) -> None:
        """Start the program without waiting until it is ready.

        Args:
            command: its words.
            env: environment variables, besides those of this process.

        Raises:
            RuntimeError: it already runs.
        """
        if self.alive:
            raise RuntimeError(f"already running as process {self.pid}")
        with (self.home / "log").open("ab") as log:
            self._popen = subprocess.Popen(  # noqa: S603 - what a test asks for
                command,
                cwd=self.home,
                env=os.environ | (env or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _Guard.note(self.home, self._popen.pid)

    def log(self) -> str:
        """Return the end of what the program printed."""
        return (self.home / "log").read_text(errors="replace")[-2000:]

    def stop(self) -> None:
        """Ask the program to end and wait until it has; nothing happens if none runs."""
        if self.alive:
            self.resume()
            self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the program as a crash would (`kill -9`)."""
        if self.alive:
            self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Stop the program in its tracks (SIGSTOP): it keeps its sockets and answers nothing."""
        self._running().send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self._running()  # it may have ended just before
        self._paused = True

    def resume(self) -> None:
        """Let a paused program go on."""
        self._running().send_signal(signal.SIGCONT)
        self._paused = False

    def heal(self) -> None:
        """Resume the program if it was paused, start it if it was killed."""
        if self.alive:
            self.resume()
        else:
            self.start()

    def close(self) -> None:
        """Stop the program and remove its directory."""
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)
        _Guard.note(self.home, _FORGOTTEN)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._popen is None or self._popen.poll() is not None:
            raise RuntimeError("not running")
        return self._popen

    def _end(self, how: signal.Signals) -> None:
        process = self._running()
        process.send_signal(how)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._paused = False
        _Guard.note(self.home, _STOPPED)

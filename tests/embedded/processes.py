"""Real processes for these tests, and questions about them."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import octavo.errors
from octavo.embedded.home import Home
from octavo.embedded.line import Line

if TYPE_CHECKING:
    from collections.abc import Callable

GRACE = 0.5  # instead of the keepers' own, so that these tests end soon
SOURCE = Path(octavo.errors.__file__).parents[1]


def eventually(condition: Callable[[], object], within: float = 5.0) -> bool:
    """Whether the condition becomes true in time."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class User:
    """Another process that uses the server of a directory, or an ephemeral one."""

    def __init__(self, where: Path | str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("user.py"), where],
            env={**os.environ, "PYTHONPATH": str(SOURCE), "GRACE": str(GRACE), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        self.pid = self.process.pid
        self._up = False

    def send(self, expression: str) -> None:
        """Have the process evaluate an expression."""
        assert self.process.stdin is not None
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()

    def receive(self) -> object:
        """Return the value of the next expression sent."""
        assert self.process.stdout is not None
        if not self._up:
            assert self.process.stdout.readline() == "up\n"
            self._up = True
        return ast.literal_eval(self.process.stdout.readline())

    def do(self, expression: str) -> object:
        """Evaluate an expression in the process."""
        self.send(expression)
        return self.receive()

    def ensure(self) -> str:
        """Call `ensure` there; its address, or its error as text."""
        return str(self.do("server.ensure()"))

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it, however far it got."""
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


def ask(address: str, command: str) -> str:
    """Send the server one command whose reply is one line."""
    with Line(address, timeout=5.0) as line:
        return line.ask(command)


def info(address: str, field: str) -> str:
    """Return a field of the server's INFO."""
    script = f"return {{ok = redis.call('info', 'server'):match('{field}:(%w+)')}}"
    return ask(address, f'EVAL "{script}" 0').removeprefix("+")


def server_pid(address: str) -> int:
    """Return the process id of the server that listens there."""
    return int(info(address, "process_id"))


def keeper_pid(directory: Path) -> int:
    """Return the process id of the directory's keeper."""
    keeper = Home(directory).keeper()
    assert keeper is not None
    return keeper


def server_and_sentry(directory: Path) -> tuple[int, int]:
    """Return the process ids of the keeper's children."""
    keeper = keeper_pid(directory)
    if sys.platform == "linux":
        children = Path(f"/proc/{keeper}/task/{keeper}/children").read_text(encoding="ascii")
    else:
        children = subprocess.check_output(["pgrep", "-P", str(keeper)], text=True)
    pids = [int(child) for child in children.split()]
    # The server leads a process group of its own.
    server, sentry = sorted(pids, key=lambda pid: os.getpgid(pid) != pid)
    return server, sentry


def lives_on(pid: int, for_seconds: float) -> bool:
    """Whether the process still runs after a while."""
    return not eventually(lambda: not is_alive(pid), within=for_seconds)


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        os.kill(pid, 0)
        if sys.platform == "linux":
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
            return stat.rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
    return True


def nothing_runs(directory: Path) -> bool:
    """Whether neither keeper nor server lives in the directory."""
    if not (directory / "server.lock").exists():
        return True
    lock = Home(directory).lock_server()
    if lock is None:
        return False
    os.close(lock)
    return True


def stop(directory: Path) -> None:
    """End what runs in the directory, without the grace."""
    if not nothing_runs(directory):
        with suppress(ProcessLookupError):
            os.kill(keeper_pid(directory), signal.SIGTERM)
        assert eventually(lambda: nothing_runs(directory))

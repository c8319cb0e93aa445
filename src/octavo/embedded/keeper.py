"""Keep one server for as long as somebody uses it, then stop it.

A script of its own, run as `python -I -S keeper.py`: start-up time counts, so it imports little
and nothing of the package. Processes, and what each does when another dies, are drawn in README.md.
"""

# pathlib, contextlib and typing take longer to import than all the rest.
# ruff: noqa: PTH109, SIM105

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TICK = 0.25  # how often the users' lock is tried
LISTEN_TIMEOUT = 10.0  # within which a server that was started opens its socket
STOP_TIMEOUT = 10.0  # after which a server that was asked to stop is killed

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main() -> None:
    """Detach from the caller and keep the server that the command line describes."""
    directory, socket, kind, grace, lock, report, *command = sys.argv[1:]
    if os.fork():  # the caller waits for this process only: the keeper is nobody's child
        os._exit(0)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o077)
    os.chdir(directory)  # from here on names are relative: no other directory can be meant
    private = kind == "private"
    Keeper(socket, float(grace), int(lock), int(report), private=private).run(command)


class Keeper:
    """Keeps the server of the current directory.

    Args:
        socket: where the server will listen.
        grace: how many seconds the server waits for its next user.
        lock: `server.lock`, held.
        report: where to say how the server ended.
        private: whether the server has one user only, with whom its directory goes.
    """

    def __init__(self, socket: str, grace: float, lock: int, report: int, *, private: bool) -> None:
        self._socket = socket
        self._grace = grace
        self._lock = lock
        self._report = report
        self._private = private

    def run(self, command: list[str]) -> None:
        """Start the server and stay until it has ended; say how, if it ended by itself."""
        for fd in (self._lock, self._report):
            os.set_inheritable(fd, False)  # noqa: FBT003
        sentry = self._start_sentry()
        wake = wake_on_signals()
        server = self._start_server(command)
        said = ""
        try:
            os.write(sentry, b"%d" % server)
            os.ftruncate(self._lock, 0)
            os.write(self._lock, b"%d\n" % os.getpid())
            said = self._watch(server, os.open("users.lock", os.O_RDWR), wake)
        except OSError as error:
            said = str(error)
        finally:
            stop(server, lambda: reaped(server))
            self._clean_up()
            tell(sentry, b".")
            tell(self._report, said.encode())

    def _watch(self, server: int, users: int, wake: int) -> str:
        """Return when the server has to stop, or how it ended by itself."""
        deadline = time.monotonic() + LISTEN_TIMEOUT
        listens = False
        alone_since = None
        while True:
            readable, _, _ = select.select([wake], [], [], TICK if listens else 0.02)
            signals = os.read(wake, 64) if readable else b""
            ended, status = os.waitpid(-1, os.WNOHANG)
            if ended == server:
                return describe(status)
            # Without its sentry the server could be left behind; the next caller starts both.
            if ended or signal.SIGTERM in signals or signal.SIGINT in signals:
                return ""
            # Without its socket nobody can reach it: the directory was removed, or a log-out
            # emptied XDG_RUNTIME_DIR.
            listened, listens = listens, os.path.lexists(self._socket)
            if not listens and (listened or time.monotonic() > deadline):
                return "lost its socket, or never opened it"
            if not self._lock_alone(users):
                alone_since = None
                continue
            now = time.monotonic()
            alone_since = alone_since or now
            if now - alone_since >= self._grace:
                return ""  # with the lock: newcomers wait until the server has stopped
            fcntl.flock(users, fcntl.LOCK_UN)

    def _lock_alone(self, users: int) -> bool:
        """Whether nobody uses the server; the lock is then held."""
        lock = fcntl.lockf if self._private else fcntl.flock
        try:
            lock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _start_server(self, command: list[str]) -> int:
        """Start the server in a process group of its own; it holds the lock while it lives."""
        keeper = os.getpid()
        server = os.fork()
        if server:
            return server
        try:
            os.setpgid(0, 0)
            os.set_inheritable(self._lock, True)  # noqa: FBT003
            end_with_parent(keeper)
            os.execv(command[0], command)  # noqa: S606 - that is the task
        except OSError as error:
            os.write(2, f"cannot run {command[0]}: {error.strerror}\n".encode())  # into the log
        finally:
            os._exit(127)

    def _start_sentry(self) -> int:
        """Fork a process that stops the server if the keeper is killed; return the line to it."""
        readable, writable = os.pipe()
        if os.fork():
            os.close(readable)
            return writable
        try:
            for fd in (writable, self._lock, self._report):
                os.close(fd)
            self._guard(readable)
        finally:
            os._exit(0)

    def _guard(self, line: int) -> None:
        """Read until the keeper is gone: the server's process id, then a dot if all is done."""
        said = b""
        while chunk := os.read(line, 64):
            said += chunk
        if said and not said.endswith(b"."):
            server = int(said)
            stop(server, lambda: not exists(server))
            self._clean_up()

    def _clean_up(self) -> None:
        """Remove the directory of a private server, unless its owner lives and starts another."""
        try:
            if self._private and self._lock_alone(os.open("users.lock", os.O_RDWR)):
                import shutil  # noqa: PLC0415 - start-up time counts, this does not

                shutil.rmtree(os.getcwd())
        except OSError:
            pass  # somebody else removed it


def end_with_parent(parent: int) -> None:
    """On Linux, let the kernel stop the server should keeper and sentry be killed at once."""
    if sys.platform == "linux":
        try:
            import ctypes  # noqa: PLC0415 - some Pythons are built without it

            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        except (ImportError, OSError):
            pass
    if os.getppid() != parent:  # it died before the kernel was told
        os._exit(1)


def wake_on_signals() -> int:
    """Return a descriptor from which the numbers of arriving signals can be read."""
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ignore)
    return readable


def ignore(_number: int, _frame: object) -> None:
    """Do nothing: the number has been written to the wake-up descriptor."""


def stop(server: int, gone: Callable[[], bool]) -> None:
    """End the server: ask, insist, and take along the children that save for it."""
    deadline = time.monotonic() + STOP_TIMEOUT
    if not gone():
        send(os.kill, server, signal.SIGTERM)
    while not gone() and time.monotonic() < deadline:
        time.sleep(0.01)
    send(os.killpg, server, signal.SIGKILL)


def send(kill: Callable[[int, int], None], to: int, number: int) -> None:
    """Send a signal to whoever is still there."""
    try:
        kill(to, number)
    except OSError:
        pass


def tell(line: int, what: bytes) -> None:
    """Write to a process that may have stopped reading."""
    try:
        os.write(line, what)
    except BrokenPipeError:
        pass


def reaped(child: int) -> bool:
    """Whether the child has ended."""
    try:
        return os.waitpid(child, os.WNOHANG)[0] == child
    except ChildProcessError:
        return True


def exists(process: int) -> bool:
    """Whether there is such a process of this user."""
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True


def describe(status: int) -> str:
    """Say how a process ended."""
    code = os.waitstatus_to_exitcode(status)
    return f"exited with status {code}" if code >= 0 else f"was killed by signal {-code}"


if __name__ == "__main__":
    main()

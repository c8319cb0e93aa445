"""The directory of one server: its locks, its log and the address of its socket."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from octavo.errors import EmbeddedError

try:
    import fcntl
except ImportError as error:
    raise EmbeddedError(
        "the embedded server needs Unix sockets and file locks, which this system lacks: use WSL "
        "or a container, or name a running server in OCTAVO_URL"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Home", "fork_guard"]

# A socket's path holds 104 bytes on macOS and 108 on Linux, with the closing zero.
_LONGEST_ADDRESS = 100

# Held while descriptors of locks and pipes come and go: a fork in another thread waits, or its
# child would keep a half-taken lock for as long as it lives.
fork_guard = threading.Lock()
os.register_at_fork(
    before=fork_guard.acquire,
    after_in_parent=fork_guard.release,
    after_in_child=fork_guard.release,
)


class Home:
    """The directory of one server.

    Two locks live in it. `users.lock` is shared by all who use the server; the keeper stops the
    server when it gets the lock for itself. `server.lock` is held by the keeper and by the
    server, from before the start until both are gone: whoever gets it may start a server.

    Attributes:
        path: the directory, without symbolic links, so that all processes agree on it.
        private: whether the server belongs to one process and keeps nothing.
        log: what the server, and its keeper, have to say.
    """

    def __init__(self, path: Path, *, private: bool = False) -> None:
        self.path = path.resolve()
        self.private = private
        self.users_lock = self.path / "users.lock"
        self.log = self.path / "server.log"
        self._server_lock = self.path / "server.lock"
        self._socket = self.path / "server.sock"

    @classmethod
    def temporary(cls) -> Home:
        """Make a private directory under the system's temporary one."""
        return cls(Path(tempfile.mkdtemp(prefix="octavo-")), private=True)

    def create(self) -> None:
        """Make the directory, for this user only, unless it exists."""
        try:
            self.path.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            if not self.path.is_dir():
                raise
        else:
            # Data does not belong in a repository, wherever the directory is.
            (self.path / ".gitignore").write_text("*\n", encoding="utf-8")

    def remove_if_dead(self) -> None:
        """Remove the directory if there is no keeper to do it."""
        with suppress(OSError):
            lock = self.lock_server()
            if lock is not None:
                os.close(lock)
                shutil.rmtree(self.path)

    def lock_users(self, *, alone: bool = False) -> int | None:
        """Lock `users.lock`, shared or alone, or return None while that is not to be had."""
        # A flock is inherited by forked children, who use a shared server too. A record lock
        # is not: a private server is gone with its owner, whatever children that leaves.
        lock = fcntl.lockf if self.private else fcntl.flock
        return _try_lock(self.users_lock, lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)

    def lock_server(self) -> int | None:
        """Lock `server.lock`, or return None while a keeper or a server lives."""
        return _try_lock(self._server_lock, fcntl.flock, fcntl.LOCK_EX)

    def lock_foreground(self) -> int | None:
        """Lock the directory for one `octavo server`, or return None if there is one."""
        return _try_lock(self.path / "foreground.lock", fcntl.flock, fcntl.LOCK_EX)

    def keeper(self) -> int | None:
        """Return the process id that the last keeper left in its lock."""
        with suppress(OSError, ValueError):
            return int(self._server_lock.read_text(encoding="ascii"))
        return None

    def socket(self) -> str:
        """Return the address of the socket.

        In a directory whose path is too long for a socket, `server.sock` is a symbolic link to
        the socket: processes that see another temporary directory find it all the same.
        """
        if not _fits(self._socket):
            with suppress(OSError):  # nobody has started a server here
                return str(self._socket.readlink())
        return str(self._socket)

    def place_socket(self) -> str:
        """Choose where a server that is about to start listens, as seen from its directory."""
        if _fits(self._socket):
            return self._socket.name  # relative, so that no other directory can be meant
        address = _short_address(hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16])
        self._socket.unlink(missing_ok=True)
        self._socket.symlink_to(address)
        return str(address)


def is_at(fd: int, path: Path) -> bool:
    """Whether the open file is still the one at the path."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _try_lock(path: Path, lock: Callable[[int, int], object], mode: int) -> int | None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    held = False
    try:
        with suppress(BlockingIOError):
            lock(fd, mode | fcntl.LOCK_NB)
            held = is_at(fd, path)  # or else the directory was removed meanwhile
    finally:
        if not held:
            os.close(fd)
    return fd if held else None


def _fits(address: Path) -> bool:
    return len(os.fsencode(address)) <= _LONGEST_ADDRESS


def _short_address(name: str) -> Path:
    """Return a path that fits, in a directory that is this user's alone."""
    own = f"octavo-{os.geteuid()}"
    bases = (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp")  # noqa: S108 - checked
    for base in filter(None, bases):
        directory = Path(base, own)
        address = directory / f"{name}.sock"
        if _fits(address):
            with suppress(OSError):
                directory.mkdir(mode=0o700, exist_ok=True)
                found = directory.lstat()
                open_to_others = stat.S_IMODE(found.st_mode) & 0o077
                mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
                if mine and not open_to_others:
                    return address
    raise EmbeddedError(
        f"the embedded server has no place for its socket: {own}, in XDG_RUNTIME_DIR or in "
        f"{tempfile.gettempdir()}, is not this user's alone (mode 0700). Remove it, set "
        f"XDG_RUNTIME_DIR, or use a data directory with a shorter path"
    )

"""The server as its users see it: attach, starting it if need be, and let go."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from octavo.embedded.diagnosis import died, not_ready, unusable
from octavo.embedded.home import Home, fork_guard, is_at
from octavo.embedded.launch import launch
from octavo.embedded.line import Line
from octavo.errors import EmbeddedError

if TYPE_CHECKING:
    from octavo.embedded.launch import Launch

__all__ = ["Embedded"]

State = Literal["ready", "loading", "absent", "silent"]

_PAUSE = 0.005  # between two looks at a server that is not ready

log = logging.getLogger("octavo")


class Embedded:
    """The shipped server in one directory: the first process starts it, the last one stops it.

    It may be used from several threads, and in forked children, which count as users.

    Args:
        path: the data directory, `./.octavo` by default.
        ephemeral: a private server instead, without a directory to keep: it is gone when this
            process ends, in whatever way.
        start_timeout: how many seconds a server may take until it answers.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        ephemeral: bool = False,
        start_timeout: float = 30.0,
    ) -> None:
        if ephemeral and path is not None:
            raise ValueError(f"path is {path!r}, but an ephemeral server has no directory")
        if path is not None and not isinstance(path, str | os.PathLike):
            raise TypeError(f"path is {path!r}; it must be a str or a path")
        if path is not None and not os.fspath(path):
            raise ValueError(f"path is {path!r}; it must name a directory")
        if not isinstance(start_timeout, int | float):
            raise TypeError(f"start_timeout is {start_timeout!r}; it must be a number of seconds")
        if not start_timeout > 0:
            raise ValueError(f"start_timeout is {start_timeout!r}; it must be positive")
        self._path = None if ephemeral else Path(path or ".octavo").absolute()
        self._start_timeout = start_timeout
        self._home: Home | None = None
        self._users: int | None = None
        self._owner = os.getpid()
        self._socket: str | None = None

    @property
    def socket(self) -> str:
        """The path of the Unix socket, once `ensure` has returned."""
        if self._socket is None:
            raise RuntimeError("the embedded server has no socket yet: call ensure() first")
        return self._socket

    def ensure(self) -> str:
        """Use the server: start it unless it runs, wait until it answers, return its socket.

        Call it again whenever a connection was lost: it restarts a server that died. It costs
        a PING when the server runs.

        Raises:
            EmbeddedError: the server cannot start or does not answer; the message says why and
                what to do.
        """
        deadline = time.monotonic() + self._start_timeout
        launched: Launch | None = None
        try:
            while True:
                home = self._attach()
                state = _state_of(home, deadline - time.monotonic()) if home else "absent"
                if home and state == "ready":
                    self._socket = home.socket()
                    return self._socket
                if launched and (said := launched.failure()) is not None and home:
                    raise died(home, launched.binary, said)
                if time.monotonic() > deadline:
                    keeper = home.keeper() if home else None
                    raise not_ready(self._where(), keeper, state, self._start_timeout)
                if launched is None and home and state == "absent":
                    launched = self._launch(home)
                time.sleep(_PAUSE)
        except OSError as error:
            raise unusable(self._where(), error) from error
        finally:
            if launched:
                launched.close()

    def release(self) -> None:
        """Stop using the server; it stops when nobody uses it. Forked children still do."""
        with fork_guard:
            self._drop_users()
            if self._path is None:
                home, self._home = self._home, None  # the next server is another one
                if home and self._owner == os.getpid():
                    home.remove_if_dead()

    def _attach(self) -> Home | None:
        """Hold the users' lock, or return None while the keeper stops the server."""
        with fork_guard:
            home = self._home
            if home and home.private and self._owner != os.getpid():
                return home  # the parent holds the lock; a child's would mean nothing
            if home and self._users is not None and is_at(self._users, home.users_lock):
                return home
            self._drop_users()  # of a directory that was removed
            if self._path is None:
                home = Home.temporary()
            else:
                home = Home(self._path)
                home.create()
            self._users = home.lock_users()
            self._home, self._owner = home, os.getpid()
            return home if self._users is not None else None

    def _drop_users(self) -> None:
        # Closed, not unlocked: a forked child that inherited the lock keeps it.
        users, self._users = self._users, None
        if users is not None:
            os.close(users)

    def _launch(self, home: Home) -> Launch | None:
        if home.private and self._owner != os.getpid():
            raise EmbeddedError(
                f"the ephemeral server of process {self._owner} is gone, and its data: connect "
                "anew for another one, or share a directory (embedded:///path)"
            )
        launched = launch(home)
        if launched and home.private and self._socket:
            log.warning("the ephemeral server in %s died; an empty one replaces it", home.path)
        return launched

    def _where(self) -> Path:
        return self._path or (self._home.path if self._home else Path(tempfile.gettempdir()))


def _state_of(home: Home, timeout: float) -> State:
    try:
        with Line(home.socket(), max(timeout, _PAUSE)) as line:
            reply = line.ask("PING")
    except TimeoutError:
        return "silent"
    except OSError:
        return "absent"
    if not reply:
        return "absent"
    # Any other error, such as NOAUTH or BUSY, comes from a server that answers.
    return "loading" if reply.startswith("-LOADING") else "ready"

"""`octavo server`: the server of a directory, held in the foreground."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote

from octavo.embedded.home import Home
from octavo.embedded.line import Line
from octavo.embedded.server import Embedded
from octavo.errors import EmbeddedError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["serve"]

_TIMEOUT = 10.0  # for the server to answer, or to stop


def serve(
    path: str | os.PathLike[str] | None = None,
    *,
    port: int | None = None,
    host: str = "127.0.0.1",
    ready: Callable[[list[str]], object] | None = None,
) -> None:
    """Hold a directory's server in the foreground until Ctrl-C or SIGTERM; main thread only.

    Other processes attach as usual, before and meanwhile. At the end the server stops, unless
    others still use it: then only the TCP port is closed.

    Args:
        path: the data directory, `./.octavo` by default.
        port: a TCP port to open as well. It has no password: whoever reaches it may use it.
        host: the address for the port.
        ready: called once the server answers, with the URLs it can be reached at.

    Raises:
        EmbeddedError: the server cannot start, the port is taken, or another `octavo server`
            holds the directory.
    """
    if port is not None and not 0 < port < 65536:
        raise ValueError(f"port is {port!r}; it must be from 1 to 65535")
    if len(host.split()) != 1:
        raise ValueError(f"host is {host!r}; it must be one address")
    server = Embedded(path)
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        server.ensure()
        home = Home(Path(path or ".octavo"))
        held = home.lock_foreground()
        if held is None:
            raise EmbeddedError(
                f"`octavo server` already runs in {home.path}: use that one, or end it, or give "
                "another directory with --dir"
            )
        try:
            _hold(server, home, port, host, ready)
        finally:
            server.release()
            _leave(home, port)
            os.close(held)
    except KeyboardInterrupt:
        pass
    finally:
        server.release()
        signal.signal(signal.SIGTERM, previous)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _hold(
    server: Embedded,
    home: Home,
    port: int | None,
    host: str,
    ready: Callable[[list[str]], object] | None,
) -> NoReturn:
    while True:
        # A connection that breaks means a server that has to be started again.
        with suppress(OSError), Line(server.ensure(), _TIMEOUT) as line:
            if port is not None:
                reply = line.ask(f"CONFIG SET bind {host} port {port}")
                if reply.startswith("-"):
                    raise EmbeddedError(
                        f"the embedded server cannot listen on {host}:{port}; if another program "
                        f"does, choose another port ({reply[1:]})"
                    )
            if ready is not None:
                urls = [f"embedded://{quote(str(home.path))}", f"unix://{quote(server.socket)}"]
                ready(urls if port is None else [*urls, f"redis://{host}:{port}"])
                ready = None
            line.wait_for_end()


def _leave(home: Home, port: int | None) -> None:
    """Stop the server now, without the keeper's grace, unless others use it."""
    alone = home.lock_users(alone=True)
    with suppress(OSError), Line(home.socket(), _TIMEOUT) as line:
        if alone is not None:
            line.ask("SHUTDOWN")  # answered by the end of the connection, when all is saved
        elif port is not None:
            line.ask("CONFIG SET port 0")
    if alone is not None:
        os.close(alone)

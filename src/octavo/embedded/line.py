"""A bare connection to the server, for a few inline commands before any client exists."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Line"]


class Line:
    """A connection that sends inline commands and reads replies of one line.

    Args:
        address: the path of the Unix socket.
        timeout: how many seconds connecting, and each reply, may take.

    Raises:
        OSError: nobody listens there.
    """

    def __init__(self, address: str, timeout: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(address)
        except BaseException:
            self._socket.close()
            raise

    def ask(self, command: str) -> str:
        """Send a command and return its reply, or nothing if the server goes away."""
        self._socket.sendall(command.encode() + b"\r\n")
        reply = b""
        while not reply.endswith(b"\r\n"):
            chunk = self._socket.recv(4096)
            if not chunk:
                return ""
            reply += chunk
        return reply.decode(errors="replace").rstrip()

    def wait_for_end(self) -> None:
        """Block until the server closes the connection."""
        self._socket.settimeout(None)
        while self._socket.recv(4096):
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

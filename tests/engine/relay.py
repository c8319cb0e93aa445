"""A bad network: what the wire proxy, which knows messages, cannot do to single bytes."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Relay:
    """Passes bytes between clients and a server.

    Attributes:
        drip: when not zero, replies come byte by byte, with so many seconds between them.
        cut_after: when set, a connection is reset after so many more bytes of requests.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._frozen = self._accepted = 0
        self._sockets: list[socket.socket] = []
        self.drip = 0.0
        self.cut_after: int | None = None
        self._spawn(self._accept)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}"

    def freeze(self) -> None:
        """Let nothing pass over the connections that are open now; new ones work."""
        self._frozen = self._accepted

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    @staticmethod
    def _spawn(work: Callable[..., None], *args: object) -> None:
        threading.Thread(target=work, args=args, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += client, server
                self._accepted += 1
                self._spawn(self._requests, client, server, self._accepted)
                self._spawn(self._replies, client, server, self._accepted)

    def _requests(self, client: socket.socket, server: socket.socket, number: int) -> None:
        with suppress(OSError):
            while data := client.recv(65_536):
                if number <= self._frozen:
                    continue
                cut_after = self.cut_after  # before the reply comes, and with it another order
                server.sendall(data[:cut_after])
                if cut_after is not None:
                    self.cut_after = cut_after - len(data)
                    if self.cut_after <= 0:
                        self.cut_after = None
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                        break
            client.close()
            server.shutdown(socket.SHUT_WR)

    def _replies(self, client: socket.socket, server: socket.socket, number: int) -> None:
        with suppress(OSError):
            while data := server.recv(65_536):
                if number <= self._frozen:
                    continue
                for piece in [data] if not self.drip else [bytes([byte]) for byte in data]:
                    client.sendall(piece)
                    time.sleep(self.drip)
            client.close()

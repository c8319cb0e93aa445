"""The least that a client of each kind can do: what is left is socket, hiredis and server."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import hiredis

if TYPE_CHECKING:
    from collections.abc import Callable

RECEIVE = 65_536

# Its stub allows one word only.
_pack = cast("Callable[[tuple[bytes, ...]], bytes]", hiredis.pack_command)


class BareSocket:
    """A blocking socket with hiredis: no pool, no retry, no errors raised."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        if place.scheme == "unix":
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(place.path)
        else:
            self._socket = socket.create_connection((str(place.hostname), place.port or 6379))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()

    def ask(self, *words: bytes) -> Any:
        """Send one command and return its reply."""
        self._socket.sendall(_pack(words))
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._socket.recv(RECEIVE))
        return reply

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class BareProtocol(asyncio.Protocol):
    """An asyncio protocol with hiredis: commands of one turn of the loop share a write."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._unsent: list[bytes] = []
        self._transport: asyncio.WriteTransport

    @classmethod
    async def connect(cls, url: str) -> BareProtocol:
        """Return a connected one."""
        loop, place = asyncio.get_running_loop(), urlsplit(url)
        if place.scheme == "unix":
            return (await loop.create_unix_connection(cls, place.path))[1]
        return (await loop.create_connection(cls, str(place.hostname), place.port or 6379))[1]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Give each waiting caller its reply."""
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            self._waiting.popleft().set_result(reply)

    def ask(self, *words: bytes) -> asyncio.Future[Any]:
        """Send one command right away: for one caller."""
        self._transport.write(_pack(words))
        return self._expect()

    def ask_together(self, *words: bytes) -> asyncio.Future[Any]:
        """Send one command with all others of this turn of the loop: for many callers."""
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(_pack(words))
        return self._expect()

    def _expect(self) -> asyncio.Future[Any]:
        reply = self._loop.create_future()
        self._waiting.append(reply)
        return reply

    def _flush(self) -> None:
        self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

"""A proxy between a client and a server that counts what passes and makes trouble on request.

    with WireProxy("127.0.0.1:6379") as proxy:
        db = octavo.connect(proxy.url)
        ...
        proxy.drop_replies()

It runs in a thread of its own. It understands RESP, so it works on whole requests and replies,
not on whatever bytes happen to arrive together. It does not understand TLS.
"""

from __future__ import annotations

import asyncio
import itertools
import select
import socket
import struct
import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, cast

from octavo.testing.resp import Splitter, words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Action", "Kind", "WireProxy"]

Action = Literal["forward", "cut", "drop"]
"""What to do with a request: pass it on; cut the connection instead; pass it on, swallow the
reply and then cut the connection."""

Kind = Literal["clients", "replicas"]
"""Who is at the other end: a client, or a server that replicates from the target."""

T = TypeVar("T")

# How a connection is set up and learns where to go; faults are for what comes after.
_PREPARES = {"HELLO", "AUTH", "SELECT", "CLIENT", "READONLY", "ASKING", "CLUSTER", "COMMAND"}
# Answered by pushes, or by one message for each channel.
_SUBSCRIBES = {
    "SUBSCRIBE",
    "PSUBSCRIBE",
    "SSUBSCRIBE",
    "UNSUBSCRIBE",
    "PUNSUBSCRIBE",
    "SUNSUBSCRIBE",
}
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class WireProxy:
    """A proxy that listens from its making to its `close`.

    Replicas of the target that connect through it (as those of a proxied cluster do) pass
    freely: they are not counted, and only what is said to concern `"replicas"` disturbs them.

    Args:
        target: where the server is: `host:port` or the path of a Unix socket.
        listen: where to listen, in the same form; port 0 takes a free one.
        record: keep the words of every request in `requests`.
    """

    def __init__(self, target: str, listen: str = "127.0.0.1:0", *, record: bool = False) -> None:
        self._policy = _Policy(target, [] if record else None)
        self._links: list[_Link] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self.address = listen
        try:
            self._run(self._listen())
        except BaseException:
            self._end()
            raise

    @property
    def url(self) -> str:
        """The URL of the proxy."""
        return f"unix://{self.address}" if "/" in self.address else f"redis://{self.address}"

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.address.rpartition(":")[2])

    # What has passed since the start, or the last `reset`.

    @property
    def round_trips(self) -> int:
        """How often a client sent something, with nothing outstanding, and was answered.

        A pipelined batch counts once. So do requests of concurrent callers who share a
        connection, as long as each is sent before the others' replies have all arrived.
        """
        return self._read(lambda: sum(link.round_trips for link in self._clients()))

    @property
    def commands(self) -> Counter[str]:
        """How often each command was sent, by its name in capitals."""
        return self._read(lambda: sum((link.commands for link in self._clients()), Counter[str]()))

    @property
    def requests(self) -> list[list[bytes]]:
        """The words of every request, if made with `record=True`."""
        return self._read(lambda: list(self._policy.requests or ()))

    @property
    def accepted(self) -> int:
        """How many connections clients have opened."""
        return self._read(lambda: sum(link.fresh for link in self._clients()))

    @property
    def connections(self) -> int:
        """How many connections of clients are open now."""
        return self._read(lambda: sum(link.open for link in self._clients()))

    def reset(self) -> None:
        """Set all counts to zero; connections stay open."""
        self._read(self._reset)

    # Faults.

    def cut(self, kind: Kind = "clients") -> None:
        """Reset all open connections; new ones are welcome."""
        self._run(self._cut(kind))

    def refuse(self) -> None:
        """Refuse new connections; open ones live on."""
        self._run(self._refuse())

    def accept(self) -> None:
        """Welcome new connections again, at the same address."""
        if not self._server.is_serving():
            self._run(self._listen())

    def delay(self, *, request: float = 0.0, reply: float = 0.0) -> None:
        """Hold each request and each reply of clients back for so many seconds."""
        self._policy.request_delay, self._policy.reply_delay = request, reply

    def hold(self, kind: Kind = "clients") -> None:
        """Let nothing flow in either direction; connections stay open, and new ones open."""
        self._read(lambda: self._hold(kind))

    def release(self, kind: Kind = "clients") -> None:
        """Let everything flow again, what was held back first."""
        self._read(lambda: self._release(kind))

    def drop_replies(self, n: int = 1) -> None:
        """Have the next `n` requests executed but not answered.

        The server's reply is waited for and swallowed; so are the replies to what was sent
        along behind it; then the connection is cut. What sets a connection up (HELLO, AUTH,
        CLUSTER, ...) is not a request here.
        """
        nth = itertools.count(1)
        self.script(lambda _: "drop" if next(nth) <= n else "forward")

    def cut_before(self, n: int = 1) -> None:
        """Cut the connection in place of passing on the nth request from now."""
        nth = itertools.count(1)
        self.script(lambda _: "cut" if next(nth) == n else "forward")

    def script(self, decide: Callable[[list[bytes]], Action] | None) -> None:
        """Let a function of a request's words decide what becomes of it; None ends that.

        It takes the place of an earlier script, `drop_replies` or `cut_before`. It is called
        in the proxy's thread, so it must not call the proxy.
        """
        self._policy.decide = decide

    def calm(self) -> None:
        """End all faults; connections that were cut stay so."""
        self.script(None)
        self.delay()
        self.release("clients")
        self.release("replicas")
        self.accept()

    def close(self) -> None:
        """Stop listening and close all connections."""
        self._run(self._close())
        self._end()

    def __enter__(self) -> Self:
        """Return the proxy, which already listens."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop listening and close all connections."""
        self.close()

    # From here on everything runs in the loop's thread, which is what makes it thread-safe.

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    def _read(self, function: Callable[[], T]) -> T:
        async def call() -> T:
            return function()

        return self._run(call())

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        def accepted() -> _Side:
            link = _Link(self._policy)
            self._links.append(link)
            return link.client

        if "/" in self.address:
            self._server = await self._loop.create_unix_server(accepted, self.address)
            return
        host, _, port = self.address.rpartition(":")
        self._server = await self._loop.create_server(accepted, host, int(port))
        self.address = f"{host}:{self._server.sockets[0].getsockname()[1]}"

    async def _refuse(self) -> None:
        # asyncio leaks the socket of a connection that it takes while the server closes.
        for listener in self._server.sockets:
            self._loop.remove_reader(listener)
        await asyncio.sleep(0)
        self._server.close()

    async def _close(self) -> None:
        await self._refuse()
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks)  # connections that are being made
        for link in self._links:
            for side in (link.client, link.server):
                side.reset()
                if side.transport:
                    await side.gone.wait()

    async def _cut(self, kind: Kind) -> None:
        # One that asyncio has accepted and not yet announced has nothing to cut.
        links = [
            link
            for link in self._links
            if link.kind == kind and link.open and link.client.transport is not None
        ]
        for link in links:
            link.cut()
        for link in links:
            await link.client.gone.wait()

    def _clients(self) -> list[_Link]:
        return [link for link in self._links if link.kind == "clients"]

    def _reset(self) -> None:
        if self._policy.requests:
            self._policy.requests.clear()
        self._links = [link for link in self._links if link.open]
        for link in self._links:
            link.forget()

    def _hold(self, kind: Kind) -> None:
        self._policy.held.add(kind)
        for link in self._links:
            link.regulate()

    def _release(self, kind: Kind) -> None:
        self._policy.held.discard(kind)
        for link in self._links:
            link.regulate()


@dataclass
class _Policy:
    """What all links of a proxy go by."""

    target: str
    requests: list[list[bytes]] | None
    held: set[Kind] = field(default_factory=set["Kind"])
    decide: Callable[[list[bytes]], Action] | None = None
    request_delay: float = 0.0
    reply_delay: float = 0.0


class _Side(asyncio.Protocol):
    """One of the two sockets of a link."""

    def __init__(
        self,
        made: Callable[[], None],
        receive: Callable[[bytes], None],
        lost: Callable[[], None],
    ) -> None:
        self.transport: asyncio.Transport | None = None
        self.gone = asyncio.Event()
        self._made = made
        self._receive = receive
        self._lost = lost
        self._late: deque[Callable[[], None]] = deque()
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._made()

    def data_received(self, data: bytes) -> None:
        self._receive(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        self._lost()

    def send(self, data: bytes, delay: float = 0.0) -> None:
        """Send some bytes, behind those that are still being delayed."""
        if self.transport and data:
            self._in_turn(partial(self.transport.write, data), delay)

    def finish(self) -> None:
        """Close the socket, behind what is still being delayed."""
        if self.transport:
            self._in_turn(self.transport.close, 0.0)

    def close(self) -> None:
        """Close the socket, behind what has been sent but not what is being delayed."""
        if self.transport:
            self.transport.close()

    def reset(self) -> None:
        """Close the socket so that the peer sees a reset and not an orderly end."""
        if self.transport and not self.gone.is_set():
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.transport.abort()

    def listen(self, *, on: bool) -> None:
        """Read from the socket, or let the kernel's buffers fill up."""
        if self.transport and on:
            self.transport.resume_reading()
        elif self.transport:
            self.transport.pause_reading()

    def unread(self) -> bool:
        """Whether bytes have arrived that are not read yet."""
        if self.transport is None or self.transport.is_closing():
            return False
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket"), select.POLLIN)
        return bool(poll.poll(0))

    def _in_turn(self, action: Callable[[], None], delay: float) -> None:
        if not delay and not self._late:
            action()
            return
        loop = asyncio.get_running_loop()
        self._due = max(self._due, loop.time() + delay)
        self._late.append(action)
        loop.call_at(self._due, self._next)

    def _next(self) -> None:
        # Timers that are due at once run in any order, so each runs what is first in line.
        self._late.popleft()()


class _Link:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, policy: _Policy) -> None:
        self.kind: Kind = "clients"
        self.open = True
        self.fresh = True
        self.round_trips = 0
        self.commands = Counter[str]()
        self.client = _Side(self._opened, self._from_client, self._client_lost)
        self.server = _Side(self.regulate, self._from_server, self.client.finish)
        self._policy = policy
        self._requests, self._replies = Splitter(), Splitter()
        self._awaited: deque[Action] = deque()
        self._asked = False  # something was sent when nothing was outstanding
        self._writing = False  # ... which the client has not stopped sending
        self._doomed = False  # a reply is to be dropped
        self._ended = False  # ... and no more requests are read
        self._dropping = False

    def forget(self) -> None:
        """Set the counts to zero."""
        self.fresh, self.round_trips = False, 0
        self.commands.clear()

    def cut(self) -> None:
        """Reset the client's connection and close the server's."""
        self.client.reset()
        self.server.close()

    def regulate(self) -> None:
        """Read from those sides that may speak now."""
        held = self.kind in self._policy.held
        connected = self.server.transport is not None
        self.client.listen(on=connected and not held and not self._ended)
        self.server.listen(on=not held)

    def _opened(self) -> None:
        self.regulate()
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop, target = asyncio.get_running_loop(), self._policy.target
        try:
            if "/" in target:
                await loop.create_unix_connection(lambda: self.server, target)
            else:
                host, _, port = target.rpartition(":")
                await loop.create_connection(lambda: self.server, host, int(port))
        except OSError:
            self.client.reset()
        if not self.open:
            self.server.finish()

    def _client_lost(self) -> None:
        self.open = False
        self.server.finish()

    def _from_client(self, data: bytes) -> None:
        self._asked |= not self._awaited and not self._writing
        messages = [] if self.kind == "replicas" else self._requests.feed(data)
        if messages and _name(words_of(messages[0])) == "REPLCONF":
            self.kind = "replicas"
            self.regulate()
        if self.kind == "replicas":
            self.server.send(data)
            return
        passed: list[bytes] = []
        for message in messages:
            action = self._judge(words_of(message))
            if action == "cut":
                break
            passed.append(message)
        self.server.send(b"".join(passed), self._policy.request_delay)
        if len(passed) < len(messages):
            self.cut()
        self._ended = self._doomed and not self._more_to_come()
        self.regulate()

    def _more_to_come(self) -> bool:
        # One large write arrives in several reads. What the client sent before it could see a
        # reply belongs to the same write.
        return self._requests.unfinished or self.client.unread()

    def _judge(self, words: list[bytes]) -> Action:
        """Count a request and say what becomes of it."""
        name = _name(words)
        self.commands[name] += 1
        if self._policy.requests is not None:
            self._policy.requests.append(words)
        decide = self._policy.decide
        action = decide(words) if decide and name not in _PREPARES else "forward"
        if name not in _SUBSCRIBES:
            self._awaited.append(action)
        self._doomed |= action == "drop"
        return action

    def _from_server(self, data: bytes) -> None:
        if self.kind == "replicas":
            self.client.send(data)
            return
        passed: list[bytes] = []
        for message in self._replies.feed(data):
            if not message.startswith(b">") and self._awaited:
                self._dropping |= self._awaited.popleft() == "drop"
                self.round_trips += self._asked and not self._dropping
                self._asked = False
            if not self._dropping:
                passed.append(message)
        self._writing = self._more_to_come()
        self.client.send(b"".join(passed), self._policy.reply_delay)
        if self._dropping and self._ended and not self._awaited:
            self.cut()


def _name(words: list[bytes]) -> str:
    return words[0].decode("latin-1").upper() if words else ""

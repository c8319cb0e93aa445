"""The engine of the sync face: a connection per command in flight, for any number of threads."""

from __future__ import annotations

import logging
import os
import select
import socket
import struct
import threading
import time
from collections import deque
from contextlib import nullcontext, suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from octavo.engine.batch import Parcel
from octavo.engine.beats import Beats
from octavo.engine.command import (
    MISSING,
    PING,
    CallUser,
    Command,
    Common,
    Effect,
    Pending,
    Sleep,
    Spawn,
    WaitFor,
    not_an_effect,
    uncoupled,
)
from octavo.engine.errands import Errand
from octavo.engine.fork import mind_forks
from octavo.engine.links import ThreadLink
from octavo.engine.retry import Attempt, Lost, ReplyError, complete, follow
from octavo.engine.tracking import Tracker
from octavo.engine.wire import (
    NOTHING,
    ProtocolError,
    Push,
    own_reply,
    pack,
    packed,
    parser,
    words_for,
)
from octavo.errors import OctavoError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from contextlib import AbstractContextManager

    from redis.connection import AbstractConnection

    from octavo.engine.links import Loan
    from octavo.engine.telemetry import Telemetry
    from octavo.engine.topology import Endpoint, Topology

log = logging.getLogger("octavo")

_READ_SIZE = 65_536
_MOST_IDLE = 64
"""Idle connections kept to a node."""
_MOST_ERRANDS = 16
"""Connections to a node that are being opened for callers who do not wait for their end."""
_TRUSTED_IDLE = 1.0
"""Seconds after which an idle connection is looked at before it is used."""
_JUST_BEGUN = 0.99
"""The part of its time that an operation has left which has not waited for anything."""


class Wire:
    """One connection: a socket that redis-py opened and logged in, and a parser.

    Attributes:
        scripts: the SHAs of the scripts it has run.
        timeout: how many seconds a send or a receive may take.
        used: when it was last put to use; 0 for a new one.
    """

    __slots__ = ("_connection", "_kernel", "_parser", "_sock", "scripts", "timeout", "used")

    def __init__(self, connection: AbstractConnection, timeout: float) -> None:
        # The engine works below redis-py's commands, on the socket it opened.
        self._connection = cast("Any", connection)
        self._sock: Any = self._connection._sock  # noqa: SLF001
        self._parser = parser()
        # A Python timeout costs a poll() before every send and recv; the kernel's own costs
        # nothing. TLS and gevent wait in user space and need Python's.
        self._kernel = type(self._sock).__module__ == "socket" and os.name == "posix"
        if self._kernel:
            self._sock.settimeout(None)
        self.timeout = 0.0
        self.limit(timeout)
        self.scripts: set[bytes] = set()
        self.used = 0.0

    def limit(self, timeout: float) -> None:
        """Set how many seconds a send or a receive may take."""
        if timeout == self.timeout:
            return
        self.timeout = timeout
        try:
            if self._kernel:
                seconds, fraction = divmod(max(timeout, 0.001), 1)
                value = struct.pack("@ll", int(seconds), int(fraction * 1e6))
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)
            else:
                self._sock.settimeout(max(timeout, 0.001))
        except OSError as error:
            raise Lost(error, sent=False) from error

    def send(self, data: bytes, deadline: float, *, whole: bool = True) -> None:
        """Send; `whole` says that a part of the data makes the server do nothing."""
        try:
            sent = self._sock.send(data)
            while sent < len(data):
                if time.monotonic() > deadline:
                    raise TimeoutError("the server does not read")
                sent += self._sock.send(memoryview(data)[sent:])
        except OSError as error:
            late = isinstance(error, TimeoutError | BlockingIOError)
            raise Lost(error, sent=not whole, late=late) from error

    def receive(self, deadline: float) -> Any:
        """Return the next reply."""
        gets = self._parser.gets
        started = False
        try:
            while (reply := gets()) is NOTHING or type(reply) is Push:
                if reply is NOTHING:
                    # A reply that drips in must not hold the caller beyond its time.
                    if started and time.monotonic() > deadline:
                        raise Lost("no whole reply within the timeout", sent=True, late=True)
                    data = self._sock.recv(_READ_SIZE)
                    if not data:
                        raise Lost("the server closed the connection", sent=True)
                    self._parser.feed(data)
                    started = True
        except (TimeoutError, BlockingIOError) as error:
            raise Lost("no reply within the timeout", sent=True, late=True) from error
        except (OSError, ProtocolError) as error:
            raise Lost(error, sent=True) from error
        return reply

    def hear(self) -> Any:
        """Return what the server says next, asked or not; `NOTHING` if it says nothing in time."""
        while (said := self._parser.gets()) is NOTHING:
            try:
                data = self._sock.recv(_READ_SIZE)
            except (TimeoutError, BlockingIOError):
                return NOTHING
            if not data:
                raise Lost("the server closed the connection", sent=True)
            self._parser.feed(data)
        return said

    def shut(self) -> None:
        """End the connection under whoever waits on it in another thread."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    @property
    def stale(self) -> bool:
        """Whether the server has hung up, or has sent what nobody asked for."""
        if not hasattr(select, "poll"):
            return bool(select.select([self._sock], [], [], 0)[0])
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close the socket; in a forked child without telling the server."""
        self._connection.disconnect()


class Node:
    """The idle connections to one node, last used first.

    Args:
        endpoint: the node.
        open_wire: opens a connection.
        patience: seconds that this may take; who has fewer left does not open it himself.
    """

    __slots__ = ("_errands", "_idle", "_open", "_patience", "endpoint")

    def __init__(self, endpoint: Endpoint, open_wire: Callable[[], Wire], patience: float) -> None:
        self.endpoint = endpoint
        self._open = open_wire
        self._patience = patience
        self._errands: deque[None] = deque()
        # A deque's append and pop are atomic: no lock that a fork or a signal could leave held.
        self._idle: deque[Wire] = deque()

    def take(self, deadline: float) -> Wire:
        """Return a connection for one caller to use."""
        while True:
            now = time.monotonic()
            while self._idle:
                try:
                    wire = self._idle.pop()
                except IndexError:
                    break
                if now - wire.used < _TRUSTED_IDLE or not wire.stale:
                    wire.used = now
                    return wire
                wire.close()
            if deadline - now >= self._patience:
                return self._open()
            if len(self._errands) >= _MOST_ERRANDS:
                raise Lost("too many connections are being opened", sent=False)
            Errand(f"connecting to {self.endpoint.address}", self._open_one).wait(deadline)

    def _open_one(self) -> None:
        self._errands.append(None)
        try:
            self.give(self._open())
        finally:
            self._errands.pop()

    def give(self, wire: Wire) -> None:
        """Take back a connection that has nothing outstanding."""
        if len(self._idle) < _MOST_IDLE:
            self._idle.append(wire)
        else:
            wire.close()

    def close(self) -> None:
        """Close what is idle."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()


if TYPE_CHECKING:
    # Where it went, on what, which operations, and how many replies each of them gets.
    Exchange = tuple[Node | ThreadLink, Wire | Loan, list[Parcel], list[int]]


class SyncEngine:
    """Carries commands for threads. Safe for threads, forks and interrupts."""

    atomic = False

    def __init__(
        self,
        topology: Topology,
        *,
        timeout: float,
        connect_timeout: float,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.topology = topology
        self.common = Common(
            topology, Tracker(self._open_link, lambda: None, topology.doubt), tasks=False
        )
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._telemetry = telemetry
        self._nodes: dict[Endpoint, Node] = {}
        self._beats = Beats()
        self._discovery: Errand | None = None
        self._closed = False
        mind_forks(self)

    def call(
        self, name: str, method: Callable[..., Command[Any]], /, *args: Any, **kwargs: Any
    ) -> Any:
        """Run an operation."""
        command = method(*args, **kwargs)
        if self._telemetry is None:
            return self.run(name, command)
        with self._telemetry(name):
            return self.run(name, command)

    def observed(self, name: str) -> AbstractContextManager[object]:
        """Return what stands around a flow or a batch."""
        return nullcontext() if self._telemetry is None else self._telemetry(name)

    def run(self, name: str, command: Command[Any]) -> Any:
        """Carry one command and its follow-ups; return the result."""
        if command.local is not None and (value := command.local()) is not MISSING:
            return value
        try:
            replied = self._gather(name, command) if command.parts else self._reply(name, command)
            value = command.read(replied)
        except OctavoError as error:
            complete(error, name, command.keys)
            if command.recover is None:
                raise
            return command.recover(error)
        if command.then is None or (following := follow(name, command, value)) is None:
            return value
        return self.run(name, following)

    def _gather(self, name: str, command: Command[Any]) -> list[Any]:
        parcels = [Parcel(name, part, Pending(name)) for part in command.parts]
        self.carry(parcels, command.within)
        return [parcel.pending.result() for parcel in parcels]

    def _reply(self, name: str, command: Command[Any]) -> Any:
        seconds = command.seconds(self._timeout)
        deadline = time.monotonic() + seconds
        attempt: Attempt | None = None
        endpoint = self.topology.endpoint(command.keys, command.at)
        while True:
            try:
                if attempt is not None:
                    self._prepare([(attempt, endpoint)], deadline)
                if attempt is not None or endpoint is None:
                    endpoint = self._endpoint(command, attempt, endpoint, deadline)
                reply = self._exchange(endpoint, command, seconds, deadline, attempt)
                if type(reply) is not ReplyError:
                    return reply
                attempt = attempt or Attempt.of(name, command, deadline)
                attempt.refused(reply)
            except Lost as lost:
                if endpoint is not None:
                    self.topology.doubt(endpoint)
                attempt = attempt or Attempt.of(name, command, deadline)
                attempt.lost(lost)

    def _exchange(
        self,
        endpoint: Endpoint,
        command: Command[Any],
        seconds: float,
        deadline: float,
        attempt: Attempt | None,
    ) -> Any:
        if command.tracked and (link := self._link(endpoint, attempt)) is not None:
            return self._exchange_on(link, command, deadline)
        node = self._nodes.get(endpoint) or self._node(endpoint)
        wire = node.take(deadline)
        try:
            if attempt is not None:
                asking = attempt.asked is not None
                data, count = packed(command, wire.scripts, plain=attempt.plain, asking=asking)
            elif command.behind or command.tracked:
                data, count = packed(command, wire.scripts)
            else:
                data, count = pack(words_for(command, wire.scripts)), 1
            wire.used = wire.used or time.monotonic()
            left = deadline - wire.used
            # What has just begun has all its time: the limit is then as it was, most often.
            if (limit := seconds if left > _JUST_BEGUN * seconds else left) != wire.timeout:
                wire.limit(limit)
            wire.send(data, deadline, whole=count == 1)
            reply = wire.receive(deadline)
            if count > 1:
                replies = [reply, *(wire.receive(deadline) for _ in range(count - 1))]
                reply = own_reply(command, replies)
        except BaseException:
            # Whatever it was (a lost connection, Ctrl-C, a worker's time limit), the reply to
            # this command must not become the answer to another.
            wire.close()
            raise
        node.give(wire)
        return reply

    @staticmethod
    def _exchange_on(link: ThreadLink, command: Command[Any], deadline: float) -> Any:
        data, count = packed(command, set(), link=link)
        loan = link.lend()
        loan.send(data, deadline, count)
        return own_reply(command, [loan.receive(deadline) for _ in range(count)])

    def _link(self, endpoint: Endpoint, attempt: Attempt | None = None) -> ThreadLink | None:
        if attempt is not None and attempt.asked is not None:
            return None
        return cast("ThreadLink | None", self.common.tracker.link(endpoint))

    def _open_link(self, tracker: Tracker, endpoint: Endpoint, channel: bytes | None) -> ThreadLink:
        return ThreadLink(tracker, endpoint, channel, self._connect_timeout)

    def carry(self, parcels: list[Parcel], within: float | None = None) -> None:
        """Carry a batch: a write per node and wave, the nodes at the same time."""
        seconds = self._timeout if within is None else min(self._timeout, within)
        deadline = time.monotonic() + seconds
        wave = [more for parcel in parcels for more in parcel.start(deadline)]
        nodes: dict[Parcel, Endpoint] = {}
        while wave:
            groups: dict[Endpoint, list[Parcel]] = {}
            following: list[Parcel] = []
            try:
                attempts = [(p.attempt, nodes.get(p)) for p in wave if p.attempt is not None]
                self._prepare(attempts, deadline)
                for parcel in wave:
                    nodes[parcel] = self._endpoint(
                        parcel, parcel.attempt, nodes.get(parcel), deadline
                    )
                    groups.setdefault(nodes[parcel], []).append(parcel)
            except Lost as lost:
                following = [again for parcel in wave for again in parcel.lose(lost)]
            except OctavoError as error:
                following = [more for parcel in wave for more in parcel.abort(error)]
            else:
                following = self._exchange_all(groups, deadline)
            wave = following

    def _exchange_all(self, groups: dict[Endpoint, list[Parcel]], deadline: float) -> list[Parcel]:
        under_way: list[Exchange] = []
        following: list[Parcel] = []
        try:
            for endpoint, parcels in groups.items():
                tracked = [parcel for parcel in parcels if parcel.tracked]
                link = self._link(endpoint) if tracked else None
                if link is not None:
                    parcels = [parcel for parcel in parcels if not parcel.tracked]  # noqa: PLW2901
                    following.extend(self._depart_on(link, tracked, deadline, under_way))
                if parcels:
                    following.extend(self._depart(endpoint, parcels, deadline, under_way))
            while under_way:
                # Taken off first: an interrupt must not close what has been given back.
                following.extend(self._collect(*under_way.pop(0), deadline))
        except BaseException:
            for _, wire, _, _ in under_way:
                wire.close()
            raise
        return following

    def _depart(
        self,
        endpoint: Endpoint,
        parcels: list[Parcel],
        deadline: float,
        under_way: list[Exchange],
    ) -> list[Parcel]:
        wire = None
        try:
            node = self._nodes.get(endpoint) or self._node(endpoint)
            wire = node.take(deadline)
            wire.used = time.monotonic()
            wire.limit(deadline - wire.used)
            packs = [parcel.pack(wire.scripts, None) for parcel in parcels]
            data = b"".join([data for data, _ in packs])
            wire.send(data, deadline, whole=len(packs) == 1 == packs[0][1])
        except Lost as lost:
            self.topology.doubt(endpoint)
            if wire is not None:
                wire.close()
            return [again for parcel in parcels for again in parcel.lose(lost)]
        except OctavoError as error:
            return [more for parcel in parcels for more in parcel.abort(error)]
        under_way.append((node, wire, parcels, [count for _, count in packs]))
        return []

    def _depart_on(
        self, link: ThreadLink, parcels: list[Parcel], deadline: float, under_way: list[Exchange]
    ) -> list[Parcel]:
        packs = [parcel.pack(set(), link) for parcel in parcels]
        loan = link.lend()
        try:
            data = b"".join([data for data, _ in packs])
            loan.send(data, deadline, sum(count for _, count in packs))
        except Lost as lost:
            return [again for parcel in parcels for again in parcel.lose(lost)]
        under_way.append((link, loan, parcels, [count for _, count in packs]))
        return []

    def _collect(
        self,
        node: Node | ThreadLink,
        wire: Any,
        parcels: list[Parcel],
        counts: list[int],
        deadline: float,
    ) -> list[Parcel]:
        following: list[Parcel] = []
        settled = 0
        try:
            for parcel, count in zip(parcels, counts, strict=True):
                replies = [wire.receive(deadline) for _ in range(count)]
                settled += 1
                following.extend(parcel.settle(replies))
        except Lost as lost:
            wire.close()
            self.topology.doubt(node.endpoint)
            following.extend(again for parcel in parcels[settled:] for again in parcel.lose(lost))
        except BaseException:
            wire.close()
            raise
        else:
            node.give(wire)
        return following

    def drive(
        self,
        name: str,
        method: Callable[..., Coroutine[Any, Any, Any]],
        /,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Run a flow on this thread."""
        if self._telemetry is None:
            return self._drive(name, method(*args, **kwargs))
        with self._telemetry(name):
            return self._drive(name, method(*args, **kwargs))

    def _drive(self, name: str, steps: Any) -> Any:
        result: Any = None
        error: BaseException | None = None
        while True:
            try:
                while True:
                    awaited = steps.send(result) if error is None else steps.throw(error)
                    result, error = None, None
                    if awaited.__class__ is Command:
                        result = self.run(name, awaited)
                    else:
                        result = self._perform(name, awaited)
            except StopIteration as stop:
                return stop.value
            except BaseException as raised:
                if steps.cr_frame is None:
                    error = None
                    raise
                # The flow decides what it means, wherever an interrupt has struck.
                error = raised

    def _perform(self, name: str, awaited: Command[Any] | Effect[Any]) -> Any:
        match awaited:
            case Sleep():
                return time.sleep(awaited.seconds)
            case WaitFor():
                return awaited.signal.wait(awaited.timeout)
            case CallUser():
                with self._meanwhile(name, awaited):
                    return awaited.context.run(uncoupled, awaited)
            case Spawn():
                return self._spawn(name, awaited)
            case _:
                raise not_an_effect(awaited)

    def _meanwhile(self, name: str, call: CallUser[Any]) -> AbstractContextManager[object]:
        if (make := call.meanwhile) is None:
            return nullcontext()
        return self._beats.every(call.every, lambda: self.run(name, make()))

    def _spawn(self, name: str, spawn: Spawn) -> None:
        self._check_open()
        context = copy_context()

        def run() -> None:
            try:
                context.run(self._drive, name, spawn.method(*spawn.args))
            except RuntimeError as error:
                if not self._closed:
                    raise
                log.info("octavo gave up on %s: %s", name, error)

        # A daemon: what nobody waits for must not keep the interpreter from ending.
        threading.Thread(target=run, name="octavo-flow", daemon=True).start()

    def open(self) -> None:
        """Reach the server, starting the embedded one."""
        self.run("connect", PING)

    def close(self) -> None:
        """Carry last commands and close what is idle; what is in flight ends by itself."""
        try:
            if (command := self.common.last_command()) is not None:
                self.run("close", command)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is to be closed
            log.info("octavo could not finish before it closed: %r", error)
        finally:
            self._end()

    def _end(self) -> None:
        self._closed = True
        nodes, self._nodes = self._nodes, {}
        for node in nodes.values():
            node.close()
        self.common.tracker.close()
        self.topology.close()

    def after_fork(self) -> None:
        """In a forked child: leave the parent's connections and threads alone."""
        self._beats = Beats()
        self._discovery = None
        nodes, self._nodes = self._nodes, {}
        for node in nodes.values():
            node.close()
        self.topology.after_fork()

    def _prepare(
        self, attempts: Sequence[tuple[Attempt, Endpoint | None]], deadline: float
    ) -> None:
        delay = max((attempt.delay for attempt, _ in attempts), default=0.0)
        if delay:
            time.sleep(delay)
        if any(attempt.refresh for attempt, _ in attempts):
            self._refresh(deadline)
        for attempt, endpoint in attempts:
            if attempt.moved is not None and endpoint is not None:
                self.topology.moved(attempt.moved, endpoint)
            if attempt.drop and endpoint is not None and (node := self._nodes.pop(endpoint, None)):
                node.close()

    def _refresh(self, deadline: float) -> None:
        self._check_open()
        # For all who need it, so with more time than the first of them may have.
        errand = self._discovery
        if errand is None or errand.over:
            seen, target = self.topology.generation, self.topology.target
            discover = partial(self.topology.refresh, seen, self._timeout)
            errand = self._discovery = Errand(f"discovering {target}", discover)
        errand.wait(deadline)

    def _endpoint(
        self,
        routed: Command[Any] | Parcel,
        attempt: Attempt | None,
        before: Endpoint | None,
        deadline: float,
    ) -> Endpoint:
        if attempt is not None and attempt.asked is not None and before is not None:
            return self.topology.asked(attempt.asked, before)
        endpoint = self.topology.endpoint(routed.keys, routed.at)
        if endpoint is None:
            self._refresh(deadline)
            endpoint = self.topology.endpoint(routed.keys, routed.at)
        if endpoint is None:
            raise Lost(f"no node of {self.topology.target} serves the key", sent=False)
        return endpoint

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("this client is closed")

    def _node(self, endpoint: Endpoint) -> Node:
        self._check_open()

        def open_wire() -> Wire:
            return Wire(endpoint.connect(self._connect_timeout), self._timeout)

        node = Node(endpoint, open_wire, self._connect_timeout)
        return self._nodes.setdefault(endpoint, node)

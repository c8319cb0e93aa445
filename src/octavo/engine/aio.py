"""The engine of the async face: one connection per node, shared by all tasks of a loop.

All commands issued in one turn of the event loop leave in one write; replies are matched to
callers in order. A cancelled caller leaves its place in that order, so that its reply, when it
comes, is thrown away and not given to the next.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from octavo.engine.command import MISSING, CallUser, Command, Sleep, WaitFor, not_an_effect
from octavo.engine.retry import Attempt, Lost, ReplyError
from octavo.engine.wire import ASKING, NOTHING, ProtocolError, Push, pack, parser, words_for
from octavo.errors import OctavoError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from redis.asyncio.connection import AbstractConnection

    from octavo.engine.batch import Parcel
    from octavo.engine.telemetry import Telemetry
    from octavo.engine.topology import Endpoint, Topology

    # The caller's future and deadline; for several replies, how many, and the list they go to.
    Flight = tuple[asyncio.Future[Any], float, int, list[Any] | None]


class Channel(asyncio.Protocol):
    """One connection, shared: it takes over the transport that redis-py opened and logged in.

    Attributes:
        scripts: the SHAs of the scripts it has run.
        closed: whether it is of no further use.
    """

    def __init__(self, connection: AbstractConnection, limit: int) -> None:
        self._loop = asyncio.get_running_loop()
        # The writer is kept: a StreamWriter that is collected closes its transport.
        self._writer = cast("asyncio.StreamWriter", connection._writer)  # noqa: SLF001
        connection._reader = connection._writer = None  # noqa: SLF001 - it is ours now
        self._transport = cast("asyncio.Transport", self._writer.transport)
        self._transport.set_protocol(self)
        self._limit = limit
        self._parser = parser()
        self._in_flight: deque[Flight] = deque()
        self._outbox: list[tuple[bytes, Flight]] = []
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._paused = False
        self._timer: asyncio.TimerHandle | None = None
        self.scripts: set[bytes] = set()
        self.closed = self._transport.is_closing()

    def send(
        self, data: bytes, deadline: float, count: int = 1, replies: list[Any] | None = None
    ) -> asyncio.Future[Any]:
        """Send, now or at the end of this turn of the loop; return a future of the reply.

        Args:
            data: packed commands.
            deadline: when the reply must have come, by the loop's clock.
            count: how many replies the data brings.
            replies: where several replies go as they come; it is then the future's result.
        """
        future = self._loop.create_future()
        flight = (future, deadline, count, replies)
        if self._in_flight or self._outbox:
            if not self._outbox:
                self._loop.call_soon(self._flush)
            self._outbox.append((data, flight))
        else:
            # A lone caller: nothing to wait for, no task to switch to.
            self._depart([flight], data)
        return future

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, []
        # What was cancelled before it left is not sent at all.
        leaving = [(data, flight) for data, flight in outbox if not flight[0].done()]
        if leaving:
            self._depart([flight for _, flight in leaving], b"".join([data for data, _ in leaving]))

    def _depart(self, flights: list[Flight], data: bytes) -> None:
        self._in_flight.extend(flights)
        self._transport.write(data)
        if self._timer is None:
            self._timer = self._loop.call_at(flights[0][1], self._check_deadline)

    @property
    def full(self) -> bool:
        """Whether a caller has to wait for `room`."""
        return len(self._in_flight) + len(self._outbox) >= self._limit or self._paused

    async def room(self) -> None:
        """Wait until the channel takes another command."""
        while self.full and not self.closed:
            waiter = self._loop.create_future()
            self._waiting.append(waiter)
            await waiter

    def data_received(self, data: bytes) -> None:
        """Give each complete reply to the caller whose turn it is."""
        self._parser.feed(data)
        gets, in_flight = self._parser.gets, self._in_flight
        try:
            while (reply := gets()) is not NOTHING:
                if type(reply) is Push:
                    continue
                future, _, count, replies = in_flight[0]
                if replies is not None:
                    replies.append(reply)
                    if len(replies) < count:
                        continue
                    reply = replies
                in_flight.popleft()
                if not future.done():
                    future.set_result(reply)
        except (ProtocolError, IndexError) as error:
            self.fail(Lost(f"the server sent what nobody asked for: {error}", sent=True))
        if self._waiting and not self._paused:
            self._admit(self._limit - len(in_flight) - len(self._outbox))

    def _admit(self, number: int) -> None:
        while self._waiting and number > 0:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                number -= 1

    def pause_writing(self) -> None:
        """Make callers wait: the server does not read as fast as they write."""
        self._paused = True

    def resume_writing(self) -> None:
        """Let callers go on."""
        self._paused = False
        self._admit(self._limit)

    def _check_deadline(self) -> None:
        # One timer per connection: deadlines come in the order of the replies.
        self._timer = None
        if self._in_flight:
            oldest = self._in_flight[0][1]
            if oldest <= self._loop.time():
                self.fail(Lost("no reply within the timeout", sent=True, late=True))
            else:
                self._timer = self._loop.call_at(oldest, self._check_deadline)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every caller."""
        self.fail(Lost(exc or "the server closed the connection", sent=True))

    def fail(self, lost: Lost) -> None:
        """Close, and tell every caller whether its command may have been executed."""
        if self.closed:
            return
        self.closed = True
        self._transport.abort()
        if self._timer is not None:
            self._timer.cancel()
        now = self._loop.time()
        for future, deadline, _, _ in self._in_flight:
            if not future.done():
                late = lost.late and deadline <= now
                future.set_exception(Lost(lost, sent=True, late=late))
        for _, (future, _, _, _) in self._outbox:
            if not future.done():
                future.set_exception(Lost(lost, sent=False))
        self._in_flight.clear()
        self._outbox.clear()
        self._admit(len(self._waiting))


class Lane:
    """The connections of one loop to one node: a shared channel, and some for one caller each."""

    def __init__(self, connect: Callable[[], Coroutine[Any, Any, Channel]]) -> None:
        self._connect = connect
        self._connecting: asyncio.Task[Channel] | None = None
        self._idle: list[Channel] = []
        self.shared: Channel | None = None

    async def share(self) -> Channel:
        """Return the shared channel, with room for another command."""
        while (channel := self.shared) is None or channel.closed:
            if self._connecting is None:
                self._connecting = asyncio.create_task(self._connect())
                self._connecting.add_done_callback(self._connected)
            # A caller that is cancelled must not take the connection from the others.
            await asyncio.shield(self._connecting)
        await channel.room()
        return channel

    def _connected(self, task: asyncio.Task[Channel]) -> None:
        self._connecting = None
        if not task.cancelled() and task.exception() is None:
            self.shared = task.result()

    async def take(self) -> Channel:
        """Return a channel for one caller alone."""
        while self._idle:
            channel = self._idle.pop()
            if not channel.closed:
                return channel
        return await self._connect()

    def give(self, channel: Channel) -> None:
        """Take back a channel that has nothing outstanding."""
        self._idle.append(channel)

    def close(self) -> None:
        """Close every connection."""
        if self._connecting is not None:
            self._connecting.cancel()
        for channel in (self.shared, *self._idle):
            if channel is not None:
                channel.fail(Lost("the client was closed", sent=True))


class Home:
    """What an engine has on one event loop."""

    def __init__(self) -> None:
        self.lanes: dict[Endpoint, Lane] = {}
        self.refreshing: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Close every connection of the loop."""
        lanes, self.lanes = self.lanes, {}
        for lane in lanes.values():
            lane.close()


class AsyncEngine:
    """Carries commands for tasks of asyncio, on any number of event loops."""

    def __init__(
        self,
        topology: Topology,
        *,
        timeout: float,
        connect_timeout: float,
        max_in_flight: int,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.topology = topology
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._limit = max_in_flight
        self._telemetry = telemetry
        self._homes: dict[asyncio.AbstractEventLoop, Home] = {}
        self._inherited: list[Home] = []
        self._closed = False
        _engines.add(self)

    async def call(
        self, name: str, method: Callable[..., Command[Any]], /, *args: Any, **kwargs: Any
    ) -> Any:
        """Run an operation."""
        command = method(*args, **kwargs)
        if self._telemetry is None:
            return await self.run(name, command)
        with self._telemetry(name):
            return await self.run(name, command)

    async def run(self, name: str, command: Command[Any]) -> Any:
        """Carry one command and its follow-ups; return the result."""
        if command.local is not None and (value := command.local()) is not MISSING:
            return value
        try:
            value = command.read(await self._reply(name, command))
        except OctavoError as error:
            if command.recover is None:
                raise
            return command.recover(error)
        if command.then is None or (following := command.then(value)) is None:
            return value
        return await self.run(name, following)

    async def _reply(self, name: str, command: Command[Any]) -> Any:
        """Take the direct path where the connection is there, and the long one otherwise."""
        loop = _running_loop()
        home = self._homes.get(loop)
        endpoint = self.topology.endpoint(command.keys)
        lane = home.lanes.get(endpoint) if home is not None and endpoint is not None else None
        channel = lane.shared if lane is not None else None
        failure: ReplyError | Lost | None = None
        if not (channel is None or channel.closed or channel.full or command.exclusive):
            try:
                reply = await channel.send(
                    pack(words_for(command, channel.scripts)), loop.time() + self._timeout
                )
                if type(reply) is not ReplyError:
                    return reply
                failure = reply
            except Lost as lost:
                failure = lost
        return await self._reply_at_length(name, command, endpoint, failure)

    async def _reply_at_length(
        self,
        name: str,
        command: Command[Any],
        endpoint: Endpoint | None,
        failure: ReplyError | Lost | None,
    ) -> Any:
        deadline = time.monotonic() + self._timeout + (command.block or 0.0)
        attempt = Attempt(name, command.keys, idempotent=command.idempotent, deadline=deadline)
        while True:
            if isinstance(failure, Lost):
                attempt.lost(failure)
            elif failure is not None:
                attempt.refused(failure)
            channel: Channel | None = None
            try:
                async with asyncio.timeout(attempt.remaining):
                    await self._prepare([(attempt, endpoint)])
                    endpoint = await self._endpoint(command.keys, attempt, endpoint)
                    lane = self._lane(endpoint)
                    if command.exclusive:
                        channel = await lane.take()
                        reply = await self._exchange_alone(lane, channel, command, attempt)
                    else:
                        channel = await lane.share()
                        reply = await self._exchange(channel, command, attempt)
                if type(reply) is not ReplyError:
                    return reply
                failure = reply
            except Lost as lost:
                failure = lost
            except TimeoutError:
                sent = channel is not None
                failure = Lost("no reply within the timeout", sent=sent, late=True)

    @staticmethod
    async def _exchange(channel: Channel, command: Command[Any], attempt: Attempt) -> Any:
        data = pack(words_for(command, channel.scripts, plain=attempt.plain)) + pack_behind(command)
        count = 1 + bool(command.behind)
        if attempt.asked is not None:
            data, count = ASKING + data, count + 1
        deadline = asyncio.get_running_loop().time() + attempt.remaining
        if count == 1:
            return await channel.send(data, deadline)
        replies = await channel.send(data, deadline, count, [])
        if not command.behind or type(replies[-2]) is ReplyError:
            return replies[-2] if command.behind else replies[-1]
        return replies[-2:]

    async def _exchange_alone(
        self, lane: Lane, channel: Channel, command: Command[Any], attempt: Attempt
    ) -> Any:
        try:
            reply = await self._exchange(channel, command, attempt)
        except BaseException:
            channel.fail(Lost("the caller has gone", sent=True))
            raise
        lane.give(channel)
        return reply

    async def carry(self, parcels: list[Parcel]) -> None:
        """Carry a batch: a write per node and wave, the nodes at the same time."""
        if self._telemetry is None:
            await self._carry(parcels)
        else:
            with self._telemetry("batch"):
                await self._carry(parcels)

    async def _carry(self, parcels: list[Parcel]) -> None:
        deadline = time.monotonic() + self._timeout
        wave = [parcel for parcel in parcels if parcel.start(deadline)]
        nodes: dict[Parcel, Endpoint] = {}
        while wave:
            groups: dict[Endpoint, list[Parcel]] = {}
            following: list[Parcel] = []
            try:
                await self._prepare(
                    [(p.attempt, nodes.get(p)) for p in wave if p.attempt is not None]
                )
                for parcel in wave:
                    nodes[parcel] = await self._endpoint(
                        parcel.keys, parcel.attempt, nodes.get(parcel)
                    )
                    groups.setdefault(nodes[parcel], []).append(parcel)
            except Lost as lost:
                following = [again for parcel in wave for again in parcel.lose(lost)]
            except OctavoError as error:
                for parcel in wave:
                    parcel.fail(error)
            else:
                waves = await asyncio.gather(
                    *(self._exchange_all(*group, deadline) for group in groups.items())
                )
                following = [parcel for wave in waves for parcel in wave]
            wave = following

    async def _exchange_all(
        self, endpoint: Endpoint, parcels: list[Parcel], deadline: float
    ) -> list[Parcel]:
        replies: list[Any] = []
        counts = [1] * len(parcels)
        failure = Lost("no reply within the timeout", sent=False, late=True)
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                channel = await self._lane(endpoint).share()
                packed = [parcel.pack(channel.scripts) for parcel in parcels]
                counts = [count for _, count in packed]
                failure = Lost(failure, sent=True, late=True)
                by_loop = asyncio.get_running_loop().time() + deadline - time.monotonic()
                data = b"".join([data for data, _ in packed])
                await channel.send(data, by_loop, sum(counts), replies)
        except Lost as lost:
            failure = lost
        except TimeoutError:
            pass
        except OctavoError as error:
            for parcel in parcels:
                parcel.fail(error)
            return []
        following: list[Parcel] = []
        end = 0
        for parcel, count in zip(parcels, counts, strict=True):
            start, end = end, end + count
            answered = end <= len(replies)
            following.extend(parcel.settle(replies[start:end]) if answered else parcel.lose(failure))
        return following

    async def drive(
        self,
        name: str,
        method: Callable[..., Coroutine[Any, Any, Any]],
        /,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Run a flow on this task. After a cancellation, what it still awaits is shielded."""
        steps = method(*args, **kwargs)
        result: Any = None
        error: BaseException | None = None
        cancelled = False
        try:
            while True:
                awaited = steps.send(result) if error is None else steps.throw(error)
                result, error = None, None
                try:
                    step = self._perform(name, awaited)
                    result = await (_to_the_end(step) if cancelled else step)
                except asyncio.CancelledError as raised:
                    cancelled, error = True, raised
                except Exception as raised:  # noqa: BLE001 - the flow decides what it means
                    error = raised
        except StopIteration as stop:
            return stop.value
        finally:
            steps.close()

    async def _perform(self, name: str, awaited: object) -> Any:
        match awaited:
            case Command():
                return await self.run(name, awaited)
            case Sleep():
                return await asyncio.sleep(awaited.seconds)
            case WaitFor():
                return await awaited.signal.wait_async(awaited.timeout)
            case CallUser():
                result = awaited.function(*awaited.args)
                return await result if inspect.isawaitable(result) else result
            case _:
                raise not_an_effect(awaited)

    async def open(self) -> None:
        """Find the server, starting the embedded one."""
        if self.topology.endpoint(()) is None:
            try:
                await self._refresh()
            except Lost as lost:
                Attempt("connect", (), idempotent=True, deadline=time.monotonic()).lost(lost)

    async def close(self) -> None:
        """Close every connection; whoever still waits gets a `ConnectionLost`."""
        self._closed = True
        here = asyncio.get_running_loop()
        homes, self._homes = self._homes, {}
        for loop, home in homes.items():
            if loop is here:
                home.close()
            elif not loop.is_closed():
                loop.call_soon_threadsafe(home.close)
        await asyncio.to_thread(self.topology.close)

    def after_fork(self) -> None:
        """In a forked child: leave the parent's connections alone, and do not close them."""
        self._inherited.extend(self._homes.values())
        self._homes = {}
        self.topology.after_fork()

    async def _prepare(self, attempts: Sequence[tuple[Attempt, Endpoint | None]]) -> None:
        delay = max((attempt.delay for attempt, _ in attempts), default=0.0)
        if delay:
            await asyncio.sleep(delay)
        for attempt, endpoint in attempts:
            if attempt.moved is not None and endpoint is not None:
                self.topology.moved(attempt.moved, endpoint)
            if attempt.drop and endpoint is not None:
                lane = self._home().lanes.pop(endpoint, None)
                if lane is not None:
                    lane.close()
        if any(attempt.refresh for attempt, _ in attempts):
            await self._refresh()

    async def _endpoint(
        self, keys: tuple[bytes, ...], attempt: Attempt | None, before: Endpoint | None
    ) -> Endpoint:
        if attempt is not None and attempt.asked is not None and before is not None:
            return self.topology.asked(attempt.asked, before)
        endpoint = self.topology.endpoint(keys)
        if endpoint is None:
            await self._refresh()
            endpoint = self.topology.endpoint(keys)
        if endpoint is None:
            raise Lost(f"no node of {self.topology.target} serves the key", sent=False)
        return endpoint

    async def _refresh(self) -> None:
        home = self._home()
        if home.refreshing is None or home.refreshing.done():
            home.refreshing = asyncio.create_task(
                asyncio.to_thread(self.topology.refresh, self.topology.generation)
            )
        await asyncio.shield(home.refreshing)

    def _home(self) -> Home:
        if self._closed:
            raise RuntimeError("this client is closed")
        loop = _running_loop()
        if loop not in self._homes:
            for old in [old for old in self._homes if old.is_closed()]:
                del self._homes[old]
            self._homes[loop] = Home()
        return self._homes[loop]

    def _lane(self, endpoint: Endpoint) -> Lane:
        async def connect() -> Channel:
            return Channel(await endpoint.connect_async(self._connect_timeout), self._limit)

        return self._home().lanes.setdefault(endpoint, Lane(connect))


def pack_behind(command: Command[Any]) -> bytes:
    """Return what is sent right behind a command."""
    return pack(command.behind) if command.behind else b""


async def _to_the_end(step: Coroutine[Any, Any, Any]) -> Any:
    """Await a step although the task is cancelled meanwhile, however often."""
    task = asyncio.ensure_future(step)
    while True:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.done():
                raise


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "octavo's async client needs asyncio: call it from a coroutine that asyncio runs "
            "(trio is not supported)"
        ) from None


_engines: weakref.WeakSet[AsyncEngine] = weakref.WeakSet()


def _after_fork() -> None:
    for engine in list(_engines):
        engine.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

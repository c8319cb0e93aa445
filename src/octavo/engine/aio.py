"""The engine of the async face: one connection per node, shared by all tasks of a loop.

Commands issued in one turn of the event loop leave together, 16 a write; replies are matched to
callers in order. A cancelled caller leaves its place in that order, so that its reply, when it
comes, is thrown away and not given to the next.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
import weakref
from collections import deque
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, cast

from octavo.engine.batch import Parcel
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
from octavo.engine.fork import mind_forks
from octavo.engine.links import TaskLink
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
    from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
    from contextlib import AbstractContextManager

    from redis.asyncio.connection import AbstractConnection

    from octavo.engine.telemetry import Telemetry
    from octavo.engine.topology import Endpoint, Topology

    # The caller's future and deadline; for several replies, how many, and the list they go to.
    Flight = tuple[asyncio.Future[Any], float, int, list[Any] | None]


log = logging.getLogger("octavo")

_TO_END = 1.0
"""Seconds that closing waits for what goes on by itself."""
_TOGETHER = 16
"""Commands after which a write does not wait for the end of the turn: the server begins with them
while the others are being made."""


class Channel(asyncio.Protocol):
    """One connection, shared: it takes over the transport that redis-py opened and logged in.

    Attributes:
        scripts: the SHAs of the scripts it has run.
        closed: whether it is of no further use.
    """

    def __init__(
        self, connection: AbstractConnection, limit: int, link: TaskLink | None = None
    ) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        # The writer is kept: a StreamWriter that is collected closes its transport.
        opened: Any = connection
        self._writer: asyncio.StreamWriter = opened._writer  # noqa: SLF001
        opened._reader = opened._writer = None  # noqa: SLF001 - it is ours now
        self._transport = cast("asyncio.Transport", self._writer.transport)
        self._transport.set_protocol(self)
        self._limit = limit
        self._parser = parser()
        self._in_flight: deque[Flight] = deque()
        self._outbox: list[tuple[bytes, Flight]] = []
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._admitted = 0
        self._paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._hurried: dict[float, deque[tuple[float, asyncio.Future[Any]]]] = {}
        self.scripts: set[bytes] = set()
        self.closed = self._transport.is_closing()

    def send(
        self,
        data: bytes,
        deadline: float,
        count: int = 1,
        replies: list[Any] | None = None,
        *,
        within: float | None = None,
    ) -> asyncio.Future[Any]:
        """Send, now or at the end of this turn of the loop; return a future of the reply.

        Args:
            data: packed commands.
            deadline: when the reply must have come, by the loop's clock.
            count: how many replies the data brings.
            replies: where several replies go as they come; it is then the future's result.
            within: seconds after which the caller gives up, but not the connection.
        """
        future = self._loop.create_future()
        if self.closed:
            future.set_exception(Lost("the connection was closed", sent=False))
            return future
        flight = (future, deadline, count, replies)
        if self._in_flight or self._outbox:
            if not self._outbox:
                self._loop.call_soon(self._flush)
            self._outbox.append((data, flight))
            if len(self._outbox) >= _TOGETHER:
                self._flush()
        else:
            # A lone caller: nothing to wait for, no task to switch to.
            self._depart([flight], data)
        if within is not None:
            self._hurry(future, within)
        return future

    def _hurry(self, future: asyncio.Future[Any], within: float) -> None:
        # One timer for all who wait equally long, since they give up in the order in which they
        # came: to set and cancel one for each would cost more than all the rest of this.
        due = self._loop.time() + within
        waiting = self._hurried.get(within)
        if waiting is None:
            waiting = self._hurried[within] = deque()
            self._loop.call_at(due, self._give_up, within, waiting)
        while waiting and waiting[0][1].done():
            waiting.popleft()
        waiting.append((due, future))

    def _give_up(self, within: float, waiting: deque[tuple[float, asyncio.Future[Any]]]) -> None:
        now = self._loop.time()
        while waiting and (waiting[0][0] <= now or waiting[0][1].done()):
            _, future = waiting.popleft()
            if not future.done():
                future.set_exception(Lost("no reply in time", sent=True, late=True))
        if waiting:
            self._loop.call_at(waiting[0][0], self._give_up, within, waiting)
        else:
            del self._hurried[within]

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
        """Whether a caller has to wait for `room`, behind those who wait already."""
        return bool(self._waiting) or not self._has_room

    @property
    def _has_room(self) -> bool:
        load = len(self._in_flight) + len(self._outbox) + self._admitted
        return load < self._limit and not self._paused

    async def room(self) -> None:
        """Wait for one's turn to send; the caller sends before it awaits anything else."""
        if self.closed or not self.full:
            return
        waiter = self._loop.create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                # Cancelled after its turn came: the turn is the next one's.
                self._admitted -= 1
                self._admit()
            raise
        self._admitted -= 1

    def data_received(self, data: bytes) -> None:
        """Give each complete reply to the caller whose turn it is."""
        self._parser.feed(data)
        gets, in_flight = self._parser.gets, self._in_flight
        try:
            while (reply := gets()) is not NOTHING:
                if type(reply) is Push:
                    if self._link is not None:
                        self._link.told(reply)
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
        except Lost as lost:
            self.fail(lost)
        if self._waiting:
            self._admit()

    def _admit(self) -> None:
        while self._waiting and (self._has_room or self.closed):
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._admitted += 1
                waiter.set_result(None)

    def pause_writing(self) -> None:
        """Make callers wait: the server does not read as fast as they write."""
        self._paused = True

    def resume_writing(self) -> None:
        """Let callers go on."""
        self._paused = False
        self._admit()

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
        if self._link is not None:
            self._link.ended(lost)
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
        self._admit()


class Lane:
    """The connections of one loop to one node: a shared channel, and some for one caller each."""

    def __init__(self, connect: Callable[[], Coroutine[Any, Any, Channel]]) -> None:
        self._connect = connect
        self._connecting: asyncio.Task[Channel] | None = None
        self._idle: list[Channel] = []
        self._in_use: set[Channel] = set()
        self._closed = False
        self.shared: Channel | None = None

    async def share(self) -> Channel:
        """Return the shared channel, with room for another command."""
        while True:
            if (channel := self.shared) is not None and not channel.closed:
                await channel.room()
                if not channel.closed:
                    return channel
            self._check_open()
            if self._connecting is None:
                self._connecting = asyncio.create_task(self._connect())
                self._connecting.add_done_callback(self._connected)
            # Neither is a caller's cancellation the connection's, nor the other way round.
            connecting = self._connecting
            await asyncio.wait((connecting,))
            if not connecting.cancelled() and (error := connecting.exception()) is not None:
                raise error

    def _connected(self, task: asyncio.Task[Channel]) -> None:
        self._connecting = None
        if not task.cancelled() and task.exception() is None:
            self.shared = task.result()
            if self._closed:
                self.close()

    async def take(self) -> Channel:
        """Return a channel for one caller alone."""
        while True:
            self._check_open()
            channel = self._idle.pop() if self._idle else await self._connect()
            if not channel.closed:
                self._in_use.add(channel)
                return channel

    def give(self, channel: Channel) -> None:
        """Take back a channel that was taken; a closed one is forgotten."""
        self._in_use.discard(channel)
        if not channel.closed:
            self._idle.append(channel)

    def close(self) -> None:
        """Close every connection."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        for channel in (self.shared, *self._idle, *self._in_use):
            if channel is not None:
                channel.fail(Lost("the client was closed", sent=True))

    def _check_open(self) -> None:
        if self._closed:
            raise Lost("the client was closed", sent=False)


class Home:
    """What an engine has on one event loop."""

    def __init__(self) -> None:
        self.lanes: dict[Endpoint, Lane] = {}
        self.refreshing: asyncio.Task[None] | None = None
        self.spawned: set[asyncio.Task[None]] = set()
        self.links: weakref.WeakSet[TaskLink] = weakref.WeakSet()
        # A loop that ends finishes its async generators: that closes what this loop has open.
        self._guard = self._close_with_the_loop()
        _start(self._guard)

    async def _close_with_the_loop(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            self.close()

    async def end_spawned(self) -> None:
        """End what goes on by itself: a loop that is closed next would complain of it."""
        if tasks := self.spawned - {asyncio.current_task()}:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_TO_END)

    def close(self) -> None:
        """Close every connection of the loop."""
        lanes, self.lanes = self.lanes, {}
        for lane in lanes.values():
            lane.close()
        for link in list(self.links):
            link.close()


class AsyncEngine:
    """Carries commands for tasks of asyncio, on any number of event loops."""

    atomic = False

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
        self.common = Common(
            topology, Tracker(self._open_link, _running_loop, topology.doubt), tasks=True
        )
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._limit = max_in_flight
        self._telemetry = telemetry
        self._homes: dict[asyncio.AbstractEventLoop, Home] = {}
        self._inherited: list[Home] = []
        self._closed = False
        mind_forks(self)

    async def call(
        self, name: str, method: Callable[..., Command[Any]], /, *args: Any, **kwargs: Any
    ) -> Any:
        """Run an operation."""
        command = method(*args, **kwargs)
        if self._telemetry is None:
            # What is known here is not worth a second coroutine.
            local = command.local
            if local is not None and (value := local()) is not MISSING:
                return value
            return await self.run(name, command)
        with self._telemetry(name):
            return await self.run(name, command)

    def observed(self, name: str) -> AbstractContextManager[object]:
        """Return what stands around a flow or a batch."""
        return nullcontext() if self._telemetry is None else self._telemetry(name)

    async def run(self, name: str, command: Command[Any]) -> Any:
        """Carry one command and its follow-ups; return the result."""
        if command.local is not None and (value := command.local()) is not MISSING:
            return value
        try:
            reply = self._gather(name, command) if command.parts else self._reply(name, command)
            value = command.read(await reply)
        except OctavoError as error:
            complete(error, name, command.keys)
            if command.recover is None:
                raise
            return command.recover(error)
        if command.then is None or (following := follow(name, command, value)) is None:
            return value
        return await self.run(name, following)

    async def _gather(self, name: str, command: Command[Any]) -> list[Any]:
        parcels = [Parcel(name, part, Pending(name)) for part in command.parts]
        await self.carry(parcels, command.within)
        return [parcel.pending.result() for parcel in parcels]

    async def _reply(self, name: str, command: Command[Any]) -> Any:
        """Take the direct path where the connection is there, and the long one otherwise."""
        loop = _running_loop()
        began, within = loop.time(), command.within
        home = self._homes.get(loop)
        endpoint = self.topology.endpoint(command.keys, command.at)
        lane = home.lanes.get(endpoint) if home is not None and endpoint is not None else None
        channel = lane.shared if lane is not None else None
        failure: ReplyError | Lost | None = None
        if not (channel is None or channel.closed or channel.full or command.block is not None):
            try:
                if command.behind or command.tracked:
                    reply = await self._converse(
                        channel, command, endpoint, began + self._timeout, within=within
                    )
                else:
                    data = pack(words_for(command, channel.scripts))
                    reply = await channel.send(data, began + self._timeout, within=within)
                if type(reply) is not ReplyError:
                    return reply
                failure = reply
            except Lost as lost:
                failure = lost.untied()
        # A loop may have a clock of its own; an Attempt goes by the process's.
        remaining = began + command.seconds(self._timeout) - loop.time()
        attempt = Attempt.of(name, command, time.monotonic() + remaining)
        return await self._reply_at_length(command, attempt, endpoint, failure)

    async def _reply_at_length(
        self,
        command: Command[Any],
        attempt: Attempt,
        endpoint: Endpoint | None,
        failure: ReplyError | Lost | None,
    ) -> Any:
        while True:
            if isinstance(failure, Lost):
                if endpoint is not None and not (failure.late and command.within is not None):
                    self.topology.doubt(endpoint)
                attempt.lost(failure)
            elif failure is not None:
                attempt.refused(failure)
            channel: Channel | None = None
            try:
                async with asyncio.timeout(attempt.remaining):
                    await self._prepare([(attempt, endpoint)], attempt.deadline)
                    endpoint = await self._endpoint(command, attempt, endpoint, attempt.deadline)
                    lane = self._lane(endpoint)
                    if command.block is not None:
                        channel = await lane.take()
                        reply = await self._exchange_alone(
                            lane, channel, command, endpoint, attempt
                        )
                    else:
                        channel = await lane.share()
                        reply = await self._exchange(channel, command, endpoint, attempt)
                if type(reply) is not ReplyError:
                    return reply
                failure = reply
            except Lost as lost:
                failure = lost.untied()
            except TimeoutError:
                failure = Lost("no reply in time", sent=channel is not None, late=True)

    async def _exchange(
        self, channel: Channel, command: Command[Any], endpoint: Endpoint, attempt: Attempt
    ) -> Any:
        # Who gives up sooner than others must not take their connection away.
        patience = 0.0 if command.within is None else self._timeout
        deadline = asyncio.get_running_loop().time() + max(attempt.remaining, patience)
        asking = attempt.asked is not None
        return await self._converse(
            channel, command, endpoint, deadline, plain=attempt.plain, asking=asking
        )

    async def _converse(
        self,
        channel: Channel,
        command: Command[Any],
        endpoint: Endpoint | None,
        deadline: float,
        *,
        within: float | None = None,
        plain: bool = False,
        asking: bool = False,
    ) -> Any:
        link = self._link(endpoint) if command.tracked and not asking else None
        if link is not None:
            channel = link.connection or channel
        data, count = packed(command, channel.scripts, plain=plain, asking=asking, link=link)
        if count == 1:
            return await channel.send(data, deadline, within=within)
        return own_reply(command, await channel.send(data, deadline, count, [], within=within))

    def _link(self, endpoint: Endpoint | None) -> TaskLink | None:
        link = None if endpoint is None else self.common.tracker.link(endpoint)
        return cast("TaskLink | None", link)

    def _open_link(self, tracker: Tracker, endpoint: Endpoint, channel: bytes | None) -> TaskLink:
        async def connect(link: TaskLink) -> Channel:
            opened = await endpoint.connect_async(self._connect_timeout)
            return Channel(opened, self._limit, link)

        link = TaskLink(tracker, endpoint, channel, connect)
        self._home().links.add(link)
        return link

    async def _exchange_alone(
        self,
        lane: Lane,
        channel: Channel,
        command: Command[Any],
        endpoint: Endpoint,
        attempt: Attempt,
    ) -> Any:
        try:
            reply = await self._exchange(channel, command, endpoint, attempt)
        except BaseException:
            channel.fail(Lost("the caller has gone", sent=True))
            raise
        finally:
            lane.give(channel)
        return reply

    async def carry(self, parcels: list[Parcel], within: float | None = None) -> None:
        """Carry a batch: a write per node and wave, the nodes at the same time."""
        self._home()
        patience = time.monotonic() + self._timeout
        deadline = patience if within is None else min(patience, time.monotonic() + within)
        wave = [more for parcel in parcels for more in parcel.start(deadline)]
        nodes: dict[Parcel, Endpoint] = {}
        while wave:
            groups: dict[Endpoint, list[Parcel]] = {}
            following: list[Parcel] = []
            try:
                attempts = [(p.attempt, nodes.get(p)) for p in wave if p.attempt is not None]
                await self._prepare(attempts, deadline)
                for parcel in wave:
                    nodes[parcel] = await self._endpoint(
                        parcel, parcel.attempt, nodes.get(parcel), deadline
                    )
                    groups.setdefault(nodes[parcel], []).append(parcel)
            except Lost as lost:
                following = [again for parcel in wave for again in parcel.lose(lost)]
            except OctavoError as error:
                following = [more for parcel in wave for more in parcel.abort(error)]
            else:
                waves = await asyncio.gather(
                    *(
                        self._exchange_all(*group, deadline, patience)
                        for group in self._by_link(groups)
                    )
                )
                following = [parcel for wave in waves for parcel in wave]
            wave = following

    def _by_link(
        self, groups: dict[Endpoint, list[Parcel]]
    ) -> Iterator[tuple[Endpoint, TaskLink | None, list[Parcel]]]:
        for endpoint, parcels in groups.items():
            tracked = [parcel for parcel in parcels if parcel.tracked]
            link = self._link(endpoint) if tracked else None
            if link is None:
                yield endpoint, None, parcels
                continue
            yield endpoint, link, tracked
            if others := [parcel for parcel in parcels if not parcel.tracked]:
                yield endpoint, None, others

    async def _exchange_all(
        self,
        endpoint: Endpoint,
        link: TaskLink | None,
        parcels: list[Parcel],
        deadline: float,
        patience: float,
    ) -> list[Parcel]:
        gave_up = False
        replies: list[Any] = []
        counts = [1] * len(parcels)
        failure = Lost("no reply within the timeout", sent=False, late=True)
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                own = None if link is None else link.connection
                channel = own or await self._lane(endpoint).share()
                link = None if own is None else link
                packs = [parcel.pack(channel.scripts, link) for parcel in parcels]
                counts = [count for _, count in packs]
                failure = Lost(failure, sent=True, late=True)
                by_loop = asyncio.get_running_loop().time() + patience - time.monotonic()
                data = b"".join([data for data, _ in packs])
                await channel.send(data, by_loop, sum(counts), replies)
        except Lost as lost:
            failure = lost.untied()
        except TimeoutError:
            gave_up = deadline < patience
        except OctavoError as error:
            return [more for parcel in parcels for more in parcel.abort(error)]
        if len(replies) < sum(counts) and not gave_up:
            self.topology.doubt(endpoint)
        following: list[Parcel] = []
        end = 0
        for parcel, count in zip(parcels, counts, strict=True):
            start, end = end, end + count
            answered = end <= len(replies)
            following.extend(
                parcel.settle(replies[start:end]) if answered else parcel.lose(failure)
            )
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
        _running_loop()
        if self._telemetry is None:
            return await self._drive(name, method(*args, **kwargs))
        with self._telemetry(name):
            return await self._drive(name, method(*args, **kwargs))

    async def _drive(self, name: str, steps: Coroutine[Any, Any, Any]) -> Any:
        result: object = None
        error: BaseException | None = None
        cancelled = False
        try:
            while True:
                awaited = steps.send(result) if error is None else steps.throw(error)
                result, error = None, None
                try:
                    if awaited.__class__ is Command:
                        step = self.run(name, awaited)
                    else:
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

    async def _perform(self, name: str, awaited: Command[Any] | Effect[Any]) -> Any:
        match awaited:
            case Sleep():
                return await asyncio.sleep(awaited.seconds)
            case WaitFor():
                return await awaited.signal.wait_async(awaited.timeout)
            case CallUser():
                return await self._call_user(name, awaited)
            case Spawn():
                self._spawn(name, awaited)
                return None
            case _:
                raise not_an_effect(awaited)

    async def _call_user(self, name: str, call: CallUser[Any]) -> Any:
        loop = asyncio.get_running_loop()
        work = loop.create_task(_called(call), context=call.context)
        beats = None if call.meanwhile is None else loop.create_task(self._beat(name, call))
        try:
            return await work
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not work.cancelled() or task is None or task.cancelling():
                raise
            raise RuntimeError(f"{call.function!r} was cancelled") from None
        finally:
            work.cancel()
            if beats is not None:
                beats.cancel()

    async def _beat(self, name: str, call: CallUser[Any]) -> None:
        while call.meanwhile is not None:
            await asyncio.sleep(call.every)
            try:
                await self.run(name, call.meanwhile())
            except OctavoError as error:
                log.info("octavo could not act in time: %r", error)

    def _spawn(self, name: str, spawn: Spawn) -> None:
        spawned = self._home().spawned

        async def run() -> None:
            try:
                await self._drive(name, spawn.method(*spawn.args))
            except RuntimeError as error:
                if not self._closed:
                    raise
                log.info("octavo gave up on %s: %s", name, error)

        task = asyncio.create_task(run())
        spawned.add(task)
        task.add_done_callback(spawned.discard)

    async def open(self) -> None:
        """Reach the server, starting the embedded one."""
        await self.run("connect", PING)

    async def close(self) -> None:
        """Carry last commands and close; whoever still waits gets a `ConnectionLost`."""
        try:
            if (command := self.common.last_command()) is not None:
                await self.run("close", command)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is to be closed
            log.info("octavo could not finish before it closed: %r", error)
        finally:
            await self._end()

    async def _end(self) -> None:
        here = _running_loop()
        self._closed = True
        homes, self._homes = self._homes, {}
        for loop, home in homes.items():
            if loop is here:
                home.close()
                await home.end_spawned()
            elif not loop.is_closed():
                loop.call_soon_threadsafe(home.close)
        self.common.tracker.close()
        await asyncio.to_thread(self.topology.close)

    def after_fork(self) -> None:
        """In a forked child: leave the parent's connections alone, and do not close them."""
        self._inherited.extend(self._homes.values())
        self._homes = {}
        self.topology.after_fork()

    async def _prepare(
        self, attempts: Sequence[tuple[Attempt, Endpoint | None]], deadline: float
    ) -> None:
        delay = max((attempt.delay for attempt, _ in attempts), default=0.0)
        if delay:
            await asyncio.sleep(delay)
        if any(attempt.refresh for attempt, _ in attempts):
            await self._refresh(deadline)
        for attempt, endpoint in attempts:
            if attempt.moved is not None and endpoint is not None:
                self.topology.moved(attempt.moved, endpoint)
            if attempt.drop and endpoint is not None:
                lane = self._home().lanes.pop(endpoint, None)
                if lane is not None:
                    lane.close()

    async def _endpoint(
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
            await self._refresh(deadline)
            endpoint = self.topology.endpoint(routed.keys, routed.at)
        if endpoint is None:
            raise Lost(f"no node of {self.topology.target} serves the key", sent=False)
        return endpoint

    async def _refresh(self, deadline: float) -> None:
        home = self._home()
        if home.refreshing is None or home.refreshing.done():
            # For all who need it, so with more time than the first of them may have.
            home.refreshing = asyncio.create_task(
                asyncio.to_thread(self.topology.refresh, self.topology.generation, self._timeout)
            )
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await asyncio.shield(home.refreshing)
        except TimeoutError:
            why = f"the nodes of {self.topology.target} are still being discovered"
            raise Lost(why, sent=False, late=True) from None

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
            try:
                opened = await endpoint.connect_async(self._connect_timeout)
            except Lost:
                # Not every caller waits to hear of it.
                self.topology.doubt(endpoint)
                raise
            return Channel(opened, self._limit)

        return self._home().lanes.setdefault(endpoint, Lane(connect))


async def _called(call: CallUser[Any]) -> Any:
    function = call.function
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object whose call is a coroutine
    ):
        return await function(*call.args)
    # The thread sees the task's context variables.
    result = await asyncio.to_thread(uncoupled, call)
    return await result if inspect.isawaitable(result) else result


def _start(generator: AsyncGenerator[None]) -> None:
    """Run an async generator to its first yield, without an event loop's turn."""
    with suppress(StopIteration):
        generator.__anext__().__await__().__next__()


async def _to_the_end(step: Coroutine[Any, Any, Any]) -> Any:
    """Await a step although the task is cancelled meanwhile, however often."""
    task = asyncio.ensure_future(step)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait((task,))
    return task.result()


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "octavo's async client needs asyncio: call it from a coroutine that asyncio runs "
            "(trio is not supported)"
        ) from None

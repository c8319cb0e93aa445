"""What independent servers grant to one owner, and how they are asked all at once."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from contextvars import copy_context
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from octavo.engine.command import Signal, WaitFor
from octavo.engine.fork import mind_forks
from octavo.engine.script import Script
from octavo.errors import ConnectionLost
from octavo.locks import clock
from octavo.locks.acquiring import Ask
from octavo.locks.grant import Held, weakly

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from contextvars import Context

    from octavo.engine.command import Command, Engine
    from octavo.locks.grant import Grant
    from octavo.locks.places import Places

    Step = Callable[["Server"], Coroutine[Any, Any, bool]]
    Tell = Callable[["Server", bool | Exception], None]
    Inbox = SimpleQueue[Callable[[], None]]
    Answers = dict["Server", bool | Exception]

RAISE = Script(Path(__file__).with_name("redlock_fence.lua"), idempotent=True)

_LINGER = 5.0
"""Seconds for which a thread is kept that has nothing to do."""
_MOMENT = 0.05
"""Seconds for which a release waits for a vote that the grant did not wait for."""


class _Vote(Ask):
    """The way to a place on one server: it does not wait for a server that is down."""

    def __init__(self, places: Places, owner: bytes) -> None:
        super().__init__(places, 1)
        self._owner = owner

    def command(self, *, waits: bool = False, address: bytes | None = None) -> Command[list[int]]:
        return _at_its_node(self._places, super().command(waits=waits, address=address))


def _at_its_node(places: Places, command: Command[Any]) -> Command[Any]:
    """Return the same command, for which a lost connection is an error at once."""
    return replace(command, at=places.common.topology.node_of(places.keys))


class _Tasks:
    """Takes steps of flows at several servers at once: each in a task."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, server: Server, step: Step, tell: Tell) -> None:
        """Begin a step; what comes of it is told."""

        async def work() -> None:
            try:
                answer = await server.engine.drive("redlock", step, server)
            except Exception as error:  # noqa: BLE001 - it is the answer
                answer = error
            tell(server, answer)

        task = asyncio.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Threads:
    """Takes steps of flows at several servers at once: each in a thread, which is kept for more."""

    def __init__(self) -> None:
        self._idle: deque[Inbox] = deque()
        mind_forks(self)

    def take(self, server: Server, step: Step, tell: Tell) -> None:
        """Begin a step; what comes of it is told."""

        def work() -> None:
            try:
                answer = server.engine.drive("redlock", step, server)
            except Exception as error:  # noqa: BLE001 - it is the answer
                answer = error
            tell(server, answer)

        todo = partial(copy_context().run, work)
        inbox: Inbox
        try:
            inbox = self._idle.pop()
        except IndexError:
            inbox = SimpleQueue()
            # A daemon: what nobody waits for must not keep the interpreter from ending.
            threading.Thread(target=self._work, args=(inbox,), name="redlock", daemon=True).start()
        inbox.put(todo)

    def _work(self, inbox: Inbox) -> None:
        while True:
            try:
                todo = inbox.get(timeout=_LINGER)
            except Empty:
                try:
                    self._idle.remove(inbox)
                except ValueError:
                    continue  # it was taken in this very moment
                return
            todo()
            del todo  # or it would keep the lease
            self._idle.append(inbox)

    def after_fork(self) -> None:
        """In a forked child: the threads are the parent's."""
        self._idle.clear()


class _Unanswered:
    """When each question was asked that a server has not answered."""

    def __init__(self) -> None:
        self.asked: dict[object, float] = {}
        mind_forks(self)

    def after_fork(self) -> None:
        """In a forked child: nobody waits for the parent's answers."""
        self.asked.clear()


class Server:
    """One of the servers.

    Attributes:
        engine: carries what is asked of it.
        places: the lock there.
        steps: where steps are taken there.
    """

    def __init__(self, engine: Engine, places: Places) -> None:
        self.engine = engine
        self.places = places
        common = engine.common
        steps: Callable[[], _Tasks | _Threads] = _Tasks if common.tasks else _Threads
        self.steps = common.shared("locks.redlock.steps", steps)
        self._unanswered = common.shared("locks.redlock.unanswered", _Unanswered)

    def silent(self, patience: float) -> bool:
        """Whether it has owed an answer for longer than that: it gets no more to do."""
        since = clock.now() - patience
        return any(asked < since for asked in list(self._unanswered.asked.values()))

    async def vote(self, votes: Votes) -> bool:
        """Grant the lock to an owner; return whether it was free."""
        question = object()
        self._unanswered.asked[question] = clock.now()
        try:
            grant = await _Vote(self.places, votes.owner).within(0.0)
        finally:
            del self._unanswered.asked[question]
        if grant is None:
            return False
        if not votes.join(self, grant):
            await grant.give_back()
            return False
        if grant.fence < votes.fence:
            await self.raise_fence(votes.owner, votes.fence)
        return True

    async def raise_fence(self, owner: bytes, fence: int) -> bool:
        """Have later grants get a greater fence; return whether the owner holds the lock."""
        command = RAISE((self.places.keys.who,), (owner, str(fence)), bool)
        return bool(await _at_its_node(self.places, command))


async def poll(
    servers: Iterable[Server],
    step: Step,
    patience: float,
    quorum: int | None = None,
    complete: Signal | None = None,
) -> Answers:
    """Take a step of a flow at several servers at once; return what came of it in time.

    No server waits for another. A step that is late goes on by itself.

    Args:
        servers: where.
        step: what.
        patience: seconds to wait.
        quorum: how many True are enough. It waits for no more once they are there, or once as many
            have answered as to tell that they will not be. None waits for all.
        complete: set once all have answered.
    """
    asked = list(servers)
    answers: Answers = {}
    decided = Signal()
    complete = complete or decided

    def tell(server: Server, answer: bool | Exception) -> None:  # noqa: FBT001
        answers[server] = answer
        said = list(answers.values())
        left, yes, no = len(asked) - len(said), said.count(True), said.count(False)
        if quorum is not None and (yes >= quorum or yes + left < quorum <= yes + no):
            decided.set()
        if not left:
            decided.set()
            complete.set()

    for server in asked:
        server.steps.take(server, step, tell)
    if asked:
        await WaitFor(decided, patience)
    else:
        complete.set()
    return dict(answers)


class Votes(Held):
    """Grants of several servers to one owner: held as long as a quorum of them is.

    Each is renewed by its server's client. A grant that comes late joins the others.
    """

    def __init__(
        self, lock: Places, keys: tuple[bytes, ...], servers: int, patience: float
    ) -> None:
        owner = os.urandom(16).hex().encode()
        super().__init__(lock.name, keys, owner, lock.terms.ttl)
        self.since = clock.now()
        self.patience = patience
        self.quorum = servers // 2 + 1
        self._servers = servers
        self._grants: dict[Server, Grant] = {}
        self._held = False
        self._complete = Signal()
        self._telling = threading.Lock()

    async def gather(self, servers: Iterable[Server]) -> Answers:
        """Ask servers for their votes, until there is a quorum or none can be."""
        return await poll(
            servers,
            lambda server: server.vote(self),
            self.patience,
            self.quorum,
            self._complete,
        )

    def join(self, server: Server, grant: Grant) -> bool:
        """Count what a server has granted; return False if that comes too late."""
        grant.name = f"{self.name} at {server.places.common.topology.target}"
        grant.on_loss.append(weakly(self._dwindle))
        grant.tell = weakly(self._tell)
        grant.context = self.context
        self._grants[server] = grant
        return self.ended is None

    def tell_by(self, tell: Callable[[Held], object], context: Context) -> None:
        """Have the user's function called when it is lost, with these context variables."""
        super().tell_by(tell, context)
        for grant in list(self._grants.values()):
            grant.context = context

    @property
    def _counted(self) -> list[Grant]:
        return [grant for grant in list(self._grants.values()) if grant.ended is None]

    @property
    def until(self) -> float:
        """Until when a quorum of them is certain to be held."""
        ends = sorted((grant.until for grant in self._counted), reverse=True)
        return ends[self.quorum - 1] if len(ends) >= self.quorum else 0.0

    def _dwindle(self) -> None:
        if (left := len(self._counted)) < self.quorum:
            self.lose(f"only {left} of {self._servers} servers grant it")

    def _tell(self, _: Held) -> Any:
        """Tell the user, when the first server's loss is told after it has come to that."""
        if self.lost and self.tell is not None and self._telling.acquire(blocking=False):
            return self.tell(self)
        return None

    async def agree(self) -> bool:
        """Make the greatest fence that of all, and have a quorum know it; return whether it does.

        See `octavo.locks.redlock`.
        """
        self.fence = newest = max(grant.fence for grant in list(self._grants.values()))
        granted = dict(self._grants)  # who joins from now on sees the fence
        behind = [server for server, grant in granted.items() if grant.fence < newest]
        wanted = self.quorum - len(granted) + len(behind)
        answers = await poll(
            behind, lambda server: server.raise_fence(self.owner, newest), self.patience, wanted
        )
        return list(answers.values()).count(True) >= wanted

    async def extend(self, seconds: float) -> None:
        """Have a quorum of them last so long from now on, and with each renewal.

        Raises:
            LockLost: too many have ended.
            ConnectionLost: too few servers have answered in time.
        """

        async def extend(server: Server) -> bool:
            await self._grants[server].extend(seconds)
            return True

        answers = await poll(list(self._grants), extend, self.patience, self.quorum)
        self.ttl = seconds
        extended = list(answers.values()).count(True)
        if self.ended:
            raise self.error()
        if extended < self.quorum:
            raise ConnectionLost(
                f"only {extended} of {self._servers} servers have extended the lease in time",
                outcome="unknown",
            )

    async def give_back(self) -> bool:
        """Release all of them; return whether a quorum was held until then.

        A server that does not answer in time is told to by a step that goes on.
        """
        if self.ended is None:
            self._held = self.valid
            self.end("it was released")
        grants = dict(self._grants)
        answers = await poll(grants, lambda server: grants[server].give_back(), self.patience)
        # Whoever grants it only now is told by a step that is under way.
        await WaitFor(self._complete, min(self.patience, _MOMENT))
        refused = [grants[server] for server, answer in answers.items() if answer is False]
        if self._held and len(grants) - len(refused) < self.quorum:
            self.ended, self._held = None, False
            self.lose(f"{len(refused)} of {self._servers} servers say that it had ended")
            if (keeper := refused[0].keeper) is not None:
                refused[0].told = False  # of its own loss, before it came to this
                await keeper.tell(refused[0])
        return self._held

    def holding(self) -> Command[bool]:
        """Refuse: no server knows."""
        raise TypeError("a Redlock cannot guard a batch: no server knows if the others grant it")

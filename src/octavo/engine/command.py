"""What an operation is, and what calling it means on each face.

A job's method does no I/O. It returns a `Command[T]`: the words to send, and how to read the
reply into a `T`. `@operation` hands that value to the engine the job was made with, so the same
method returns a `T` (Sync), a coroutine of `T` (Async) or a `Pending[T]` (Batch). What needs
several steps is a `@flow`: an `async def` that awaits only Commands and the effects below.
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Concatenate, Generic, NoReturn, ParamSpec, Protocol, TypeVar
from weakref import WeakKeyDictionary

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from contextvars import Context
    from typing import Self, overload

    from octavo.engine.script import Script
    from octavo.engine.topology import Endpoint, Topology
    from octavo.engine.tracking import Ticket, Tracker
    from octavo.errors import OctavoError

T = TypeVar("T")
P = ParamSpec("P")

# Not numbers: hiredis 3.5 crashes when a signal handler raises while it prints one.
Word = bytes | str


class Face:
    """What calling an operation does: the type parameter of jobs, never made."""


class Sync(Face):
    """The face on which calling an operation returns its result."""


class Async(Face):
    """The face on which calling an operation returns a coroutine."""


class Batch(Face):
    """The face on which calling an operation returns a `Pending`."""


M = TypeVar("M", bound=Face)


class _Missing:
    """The type of `MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()
"""What `Command.local` returns when it has no answer."""


class Command(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """One operation on its way to a server.

    Attributes:
        words: what is sent: the command's name, then its arguments.
        keys: the words that are keys; all hash to one slot, and the first one routes.
        read: turns the server's reply into the result. In a guarded batch a plain command's reply
            has RESP2's form: a map is a flat list, a double is text.
        idempotent: sending it twice does what sending it once does, reply included; a
            command whose reply was lost is then sent again. Reading is idempotent.
        script: the script whose `EVALSHA` form `words` holds.
        block: seconds for which the server may hold the reply back. Such a command travels
            on a connection of its own, and its deadline is that much later.
        within: seconds in which all of it ends, retries and parts included, if that is sooner than
            the client's timeout; then it is a DeadlineExceeded. It is the caller who gives up: a
            connection that others share stays. A follow-up has its own. In a batch, the batch's
            timeout stands.
        behind: what is sent in the same write, right behind: the words of each; `read` then gets
            all replies as a list. A `WAIT` for the write before it needs `block` too.
        local: an answer without I/O, or `MISSING`.
        recover: an answer instead of an error.
        then: a follow-up whose result is the result, or None when this one is. In a batch
            the follow-ups travel together, in a second wave.
        parts: commands to send together instead of `words`, in one write per node; `read` then
            gets their results as a list. The first error among them is this one's.
        opening: it only finds out what its follow-up needs to know. An atomic batch sends it
            first, and the follow-up in the transaction.
        build: makes the command when it is sent, if what it says depends on what is known by
            then; in its place are no words. Only a batch waits so long.
        tracked: for a read whose result is kept: the last command is sent so that the server
            tells when the key has changed, if the tickets' node has a link.
        at: the node it goes to, whatever its keys. A lost connection to that node is an error at
            once: whoever names a node decides what is to happen without it.
    """

    words: tuple[Word, ...]
    keys: tuple[bytes, ...]
    read: Callable[[Any], T]
    idempotent: bool = False
    script: Script | None = None
    block: float | None = None
    within: float | None = None
    behind: tuple[tuple[Word, ...], ...] = ()
    local: Callable[[], T] | None = None
    recover: Callable[[OctavoError], T] | None = None
    then: Callable[[T], Command[T] | None] | None = None
    parts: tuple[Command[Any], ...] = ()
    opening: bool = False
    build: Callable[[], Command[T]] | None = None
    tracked: tuple[Ticket, ...] = ()
    at: Endpoint | None = None

    def seconds(self, timeout: float) -> float:
        """Return how long it may take with a client of that timeout."""
        longest = timeout if self.block is None else timeout + self.block
        return longest if self.within is None else min(longest, self.within)

    @property
    def all_keys(self) -> tuple[bytes, ...]:
        """The keys of the command and of its parts."""
        return self.keys + tuple(key for part in self.parts for key in part.all_keys)

    def map(self, change: Callable[[T], Any]) -> Command[Any]:
        """Return the same command with another result."""
        local, recover, then, build = self.local, self.recover, self.then, self.build
        if build is not None:
            return msgspec.structs.replace(self, build=lambda: build().map(change))

        def answered() -> Any:
            value = MISSING if local is None else local()
            return value if value is MISSING else change(value)

        def recovered(error: OctavoError) -> Any:
            assert recover is not None  # noqa: S101 - for checkers
            return change(recover(error))

        def follow(value: T) -> Command[Any]:
            following = None if then is None else then(value)
            return answer(change(value)) if following is None else following.map(change)

        return msgspec.structs.replace(
            self,
            local=None if local is None else answered,
            recover=None if recover is None else recovered,
            then=follow,
        )

    def __await__(self) -> Generator[Command[T], T, T]:
        """Let a flow await it: the engine that drives the flow sends back the result."""
        return (yield self)


def answer(value: T) -> Command[T]:
    """Return a Command that is answered without I/O."""
    return Command((), (), _never_read, local=lambda: value)


def as_it_is(reply: Any) -> Any:
    """Read a reply as what it is."""
    return reply


PING: Command[bool] = Command((b"PING",), (), bool, idempotent=True)
"""Whether a server is there."""


def _never_read(reply: object) -> NoReturn:
    raise AssertionError(f"a local answer met a reply: {reply!r}")


class Effect(Generic[T]):
    """Something other than a Command that a flow may await."""

    def __await__(self) -> Generator[Effect[T], T, T]:
        """Hand the effect to the engine that drives the flow."""
        return (yield self)


class Sleep(Effect[None]):
    """Waits for some seconds without holding a connection."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class CallUser(Effect[T]):
    """Calls a function of the user's, however long that takes.

    Sync code calls it in its own thread. Async code awaits a coroutine function, and calls any
    other in a thread, awaiting what it returns if that can be awaited.

    Args:
        function: what to call.
        args: its arguments.
        context: the context variables it sees; None is the caller's.
        meanwhile: gives a Command to run, again and again while the function runs.
        every: seconds between these runs.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *args: object,
        context: Context | None = None,
        meanwhile: Callable[[], Command[Any]] | None = None,
        every: float = 0.0,
    ) -> None:
        self.function = function
        self.args = args
        self.context = copy_context() if context is None else context
        self.meanwhile = meanwhile
        self.every = every


def uncoupled(call: CallUser[Any]) -> Any:
    """Call the user's function; what would end the flow that called it is another error."""
    try:
        return call.function(*call.args)
    except StopIteration as stop:
        raise RuntimeError(f"{call.function!r} raised StopIteration") from stop


class Spawn(Effect[None]):
    """Starts a flow that goes on by itself: in a task in async code, in a thread in sync code.

    Args:
        method: the `async def` of a flow, undecorated; it keeps its errors to itself.
        args: its arguments.
    """

    def __init__(self, method: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
        self.method = method
        self.args = args


class Signal:
    """An event that any thread sets and that a flow on either face waits for.

    Made of plain locks: one that a signal handler's exception leaves held would hold up everyone.

    Attributes:
        is_set: whether it has been set.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.is_set = False
        self._threads: set[Any] = set()
        self._tasks: set[asyncio.Future[None]] = set()

    def set(self) -> None:
        """Wake every waiter, now and later."""
        with self._lock:
            self.is_set = True
            threads, self._threads = self._threads, set()
            tasks, self._tasks = self._tasks, set()
        for thread in threads:
            thread.release()
        for task in tasks:
            with suppress(RuntimeError):  # of one whose loop is closed
                task.get_loop().call_soon_threadsafe(_resolve, task)

    def wait(self, timeout: float | None) -> bool:
        """Block the thread until set; False when `timeout` seconds passed first."""
        waiter = threading.Lock()
        waiter.acquire()
        with self._lock:
            if self.is_set:
                return True
            self._threads.add(waiter)
        try:
            return waiter.acquire(timeout=-1 if timeout is None else max(timeout, 0.0))
        finally:
            self._threads.discard(waiter)

    async def wait_async(self, timeout: float | None) -> bool:
        """Suspend the task until set; False when `timeout` seconds passed first."""
        waiter = asyncio.get_running_loop().create_future()
        with self._lock:
            if self.is_set:
                return True
            self._tasks.add(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            return False
        finally:
            self._tasks.discard(waiter)
        return True


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class WaitFor(Effect[bool]):
    """Waits for a `Signal`; the result is False when `timeout` seconds passed first."""

    def __init__(self, signal: Signal, timeout: float | None = None) -> None:
        self.signal = signal
        self.timeout = timeout


def not_an_effect(awaited: object) -> TypeError:
    """The error for a flow that awaits what only one face could wait for."""
    return TypeError(
        f"a flow awaits Commands, Sleep, WaitFor, CallUser and Spawn, not {type(awaited).__name__}"
    )


class Pending(Generic[T]):
    """The place where a batch puts the result of one of its operations."""

    __slots__ = ("_error", "_name", "_value")

    def __init__(self, name: str) -> None:
        self._name = name
        self._value: T = MISSING
        self._error: Exception | None = None

    def result(self) -> T:
        """Return the result, or raise the operation's error.

        Raises:
            RuntimeError: the batch has not run.
        """
        if self._error is not None:
            raise self._error
        if self._value is MISSING:
            raise RuntimeError(f"{self._name} has no result: its batch has not run")
        return self._value

    def exception(self) -> Exception | None:
        """Return the operation's error, or None when it has a result or has not run."""
        return self._error

    def resolve(self, value: T) -> None:
        """Set the result."""
        self._value = value

    def reject(self, error: Exception) -> None:
        """Set the error."""
        self._error = error

    @property
    def done(self) -> bool:
        """Whether there is a result or an error."""
        return self._error is not None or self._value is not MISSING

    def __repr__(self) -> str:
        """Show the operation and how far it is."""
        if self._error is not None:
            return f"<Pending {self._name}: {self._error!r}>"
        state = "not run" if self._value is MISSING else repr(self._value)
        return f"<Pending {self._name}: {state}>"


_LAST = 1.0
"""Seconds that closing waits for last commands."""


class Common:
    """What the jobs of one client have in common, on the client itself and in its batches.

    Attributes:
        topology: which node a command goes to.
        tracker: tells which of the keys read have changed.
        tasks: whether flows run as tasks of an event loop.
    """

    def __init__(self, topology: Topology, tracker: Tracker, *, tasks: bool) -> None:
        self.topology = topology
        self.tracker = tracker
        self.tasks = tasks
        self._shared: dict[str, Any] = {}
        self._at_close: WeakKeyDictionary[Any, tuple[Callable[[Any], Any], int]]
        self._at_close = WeakKeyDictionary()

    def shared(self, name: str, make: Callable[[], T]) -> T:
        """Return what objects of that name share, making it at the first call."""
        if name not in self._shared:
            # setdefault is atomic: of two makers one is used by all.
            self._shared.setdefault(name, make())
        shared: T = self._shared[name]
        return shared

    def at_close(self, make: Callable[[], Command[Any] | None]) -> None:
        """Have a Command carried before the client is closed, if there is one to carry by then.

        Args:
            make: a bound method, one of an object. It does not keep the object alive, and is not
                called in a forked child unless it is given again there.
        """
        method: Any = make
        self._at_close[method.__self__] = (method.__func__, os.getpid())

    def last_command(self) -> Command[Any] | None:
        """Return what is to be carried before the client is closed; the second time, nothing."""
        last, self._at_close = self._at_close, WeakKeyDictionary()
        made = [make(of) for of, (make, process) in last.items() if process == os.getpid()]
        parts = tuple(command for command in made if command is not None)
        return Command((), (), as_it_is, parts=parts, within=_LAST) if parts else None


class Engine(Protocol):
    """What carries commands: `SyncEngine`, `AsyncEngine` or a batch."""

    common: Common
    atomic: bool
    """Whether operations are noted for one transaction."""

    def call(
        self, name: str, method: Callable[..., Command[Any]], /, *args: Any, **kwargs: Any
    ) -> Any:
        """Build the command of an operation and carry it."""

    def drive(
        self,
        name: str,
        method: Callable[..., Coroutine[Any, Any, Any]],
        /,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Run a flow to its end."""


class Job(Generic[M]):
    """A named object of one of the jobs, on one of the faces."""

    def __init__(self, engine: Engine) -> None:
        self._common = engine.common
        self._call = engine.call
        self._drive = engine.drive


# For checkers, `operation` and `flow` are descriptors, which is how one signature becomes three.
# At run time they are plain decorators: help(), inspect and tracebacks stay ordinary, and a call
# costs a fifth of a microsecond. The async face is typed as Coroutine, not Awaitable, because
# only then do checkers report a forgotten `await`.
if TYPE_CHECKING:

    class operation(Generic[P, T]):  # noqa: N801 - it is a decorator
        """Makes a method that returns a `Command[T]` callable on all three faces."""

        def __init__(self, method: Callable[Concatenate[Any, P], Command[T]], /) -> None: ...

        @overload
        def __get__(self, job: None, owner: object = ..., /) -> Self: ...
        @overload
        def __get__(self, job: Job[Sync], owner: object = ..., /) -> Callable[P, T]: ...
        @overload
        def __get__(
            self, job: Job[Async], owner: object = ..., /
        ) -> Callable[P, Coroutine[Any, Any, T]]: ...
        @overload
        def __get__(self, job: Job[Batch], owner: object = ..., /) -> Callable[P, Pending[T]]: ...
        def __get__(self, job: Any, owner: object = ..., /) -> Any: ...

    class flow(Generic[P, T]):  # noqa: N801 - it is a decorator
        """Makes an `async def` over Commands and effects callable in sync and async code."""

        def __init__(
            self, method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]], /
        ) -> None: ...

        @overload
        def __get__(self, job: None, owner: object = ..., /) -> Self: ...
        @overload
        def __get__(self, job: Job[Sync], owner: object = ..., /) -> Callable[P, T]: ...
        @overload
        def __get__(
            self, job: Job[Async], owner: object = ..., /
        ) -> Callable[P, Coroutine[Any, Any, T]]: ...
        def __get__(self, job: Any, owner: object = ..., /) -> Any: ...

else:

    def operation(method):
        """Make a method that returns a `Command` callable on all three faces."""
        name = method.__qualname__.lower().replace("._", ".")

        @functools.wraps(method)
        def call(self, *args, **kwargs):
            return self._call(name, method, self, *args, **kwargs)

        call.__octavo__ = "operation"
        return call

    def flow(method):
        """Make an `async def` over Commands and effects callable in sync and async code."""
        name = method.__qualname__.lower().replace("._", ".")

        @functools.wraps(method)
        def call(self, *args, **kwargs):
            return self._drive(name, method, self, *args, **kwargs)

        call.__octavo__ = "flow"
        return call

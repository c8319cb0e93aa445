"""One test body for all faces: a client whose every operation runs to its end at once.

A test says `db.leaderboard("x").submit("ada", 10)` and gets a `Submission`, whether the
operation was called on the sync client, awaited on the async one, or collected in a batch of
its own. Nothing is listed here: what an attribute is, is asked of the attribute.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, cast

import pytest

import octavo
from octavo.engine.command import Job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from octavo import Octavo, Sync
    from tests.fix_servers import Server

FaceName = Literal["sync", "async", "batch"]
T = TypeVar("T")


class Connect(Protocol):
    """What the fixture `connect` is."""

    def __call__(self, url: str, **options: Any) -> Octavo[Sync]: ...


class LoopThread:
    """An event loop in a thread of its own, for code that is not async."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="loop")
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end; any number of threads may do so at once."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=50)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Face(ABC):
    """A client of one face, and how its calls are run to their end."""

    client: Any

    @abstractmethod
    def operate(self, make: Callable[[Any], Any], name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call an operation of the job that `make` makes of a client."""

    def finish(self, value: Any) -> Any:
        """Return what a call that is not an operation gave, once it is there."""
        return value

    def iterate(self, job: Any) -> Iterator[Any]:
        """Iterate over a job."""
        return iter(job)

    def close(self) -> None:
        """Close the client."""
        self.client.close()


class SyncFace(Face):
    """Calls."""

    def __init__(self, url: str, options: dict[str, Any], _loop: LoopThread) -> None:
        self.client = octavo.connect(url, **options)

    def operate(self, make: Callable[[Any], Any], name: str, /, *args: Any, **kwargs: Any) -> Any:
        return getattr(make(self.client), name)(*args, **kwargs)


class BatchFace(SyncFace):
    """Collects each operation in a batch of its own. A flow, which has no batch form, is called."""

    def operate(self, make: Callable[[Any], Any], name: str, /, *args: Any, **kwargs: Any) -> Any:
        with self.client.batch(raise_on_error=False) as batch:
            pending = getattr(make(batch), name)(*args, **kwargs)
        return pending.result()


class AsyncFace(Face):
    """Awaits, on the event loop of another thread."""

    def __init__(self, url: str, options: dict[str, Any], loop: LoopThread) -> None:
        self._loop = loop
        self.client = octavo.connect_async(url, **options)

    def operate(self, make: Callable[[Any], Any], name: str, /, *args: Any, **kwargs: Any) -> Any:
        return self.finish(getattr(make(self.client), name)(*args, **kwargs))

    def finish(self, value: Any) -> Any:
        if inspect.iscoroutine(value):
            return self._loop.run(value)
        scope = hasattr(value, "__aenter__") and not isinstance(value, Job)
        return _Entered(value, self._loop) if scope else value

    def iterate(self, job: Any) -> Iterator[Any]:
        items: AsyncIterator[Any] = aiter(job)
        while (item := self.finish(_next_or(items, StopAsyncIteration))) is not StopAsyncIteration:
            yield item

    def close(self) -> None:
        self._loop.run(self.client.aclose())


class _Entered:
    """An `async with` in the form of a `with`."""

    def __init__(self, scope: Any, loop: LoopThread) -> None:
        self._scope = scope
        self._loop = loop

    def __enter__(self) -> Any:
        return self._loop.run(self._scope.__aenter__())

    def __exit__(self, *exc: object) -> Any:
        return self._loop.run(self._scope.__aexit__(*exc))


async def _next_or(items: AsyncIterator[Any], end: object) -> Any:
    return await anext(items, end)


class Uniform:
    """A client, or a job of it, that any face lies behind.

    Args:
        face: the face.
        make: makes the same thing of a client of any face; a batch is a client too.
    """

    def __init__(self, face: Face, make: Callable[[Any], Any]) -> None:
        self._face = face
        self._make = make
        self._own = make(face.client)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._own, name)
        if getattr(attribute, "__octavo__", None) == "operation":
            return partial(self._face.operate, self._make, name)
        if callable(attribute):
            return partial(self._call, attribute, name)
        return self._wrap(attribute, lambda of: getattr(of, name))

    def _call(self, function: Callable[..., Any], name: str, /, *args: Any, **kwargs: Any) -> Any:
        value = self._face.finish(function(*args, **kwargs))
        if getattr(function, "__octavo__", None) == "flow":
            return self._wrap(value, lambda _: value)  # what it has acquired, it has once
        return self._wrap(value, lambda of: getattr(of, name)(*args, **kwargs))

    def _wrap(self, value: Any, again: Callable[[Any], Any]) -> Any:
        if not isinstance(value, Job):
            return value
        return Uniform(self._face, lambda client: again(self._make(client)))

    def __iter__(self) -> Iterator[Any]:
        return self._face.iterate(self._own)


FACES: dict[FaceName, Callable[[str, dict[str, Any], LoopThread], Face]] = {
    "sync": SyncFace,
    "async": AsyncFace,
    "batch": BatchFace,
}


@pytest.fixture(scope="session")
def loop_thread() -> Iterator[LoopThread]:
    """An event loop in another thread."""
    thread = LoopThread()
    yield thread
    thread.close()


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> FaceName:
    """Each face in turn."""
    return cast("FaceName", request.param)


@pytest.fixture
def connect(face: FaceName, prefix: str, loop_thread: LoopThread) -> Iterator[Connect]:
    """Connects a client of the face, with the test's own prefix; closed after the test."""
    opened: list[Face] = []

    def connect(url: str, **options: Any) -> Octavo[Sync]:
        opened.append(FACES[face](url, {"prefix": prefix} | options, loop_thread))
        return cast("Octavo[Sync]", Uniform(opened[-1], lambda client: client))

    yield connect
    for one in opened:
        one.close()


@pytest.fixture
def db(connect: Connect, server: Server) -> Octavo[Sync]:
    """A client of each face to each kind of server, typed as what it behaves like: a sync one."""
    return connect(server.url)

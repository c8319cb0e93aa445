"""A job with one operation of every kind the engine knows, to test the engine with."""

from __future__ import annotations

import asyncio
import inspect
import time
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

import msgspec

import octavo
from octavo.engine.command import (
    CallUser,
    Command,
    Effect,
    Job,
    M,
    Signal,
    Sleep,
    Spawn,
    WaitFor,
    Word,
    flow,
    operation,
)
from octavo.engine.script import Script
from tests.fix_faces import Uniform

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator

    import pytest

    from octavo import Async, Octavo
    from octavo.engine.topology import Endpoint
    from octavo.engine.tracking import Ticket

T = TypeVar("T")

SCRIPTS = Path(__file__).with_name("scripts")
BUMP = Script(SCRIPTS / "bump.lua")
READ = Script(SCRIPTS / "read.lua", idempotent=True)
TWICE = Script(SCRIPTS / "twice.lua")
REFUSE = Script(SCRIPTS / "refuse.lua")
SHAPES = Script(SCRIPTS / "shapes.lua")


def same(reply: Any) -> Any:
    """Read a reply as it is."""
    return reply


class Steps(TypedDict, total=False):
    """What else a Command may say."""

    read: Callable[[Any], Any]
    idempotent: bool
    block: float
    within: float
    behind: tuple[tuple[Word, ...], ...]
    local: Callable[[], Any]
    recover: Callable[[Any], Any]
    then: Callable[[Any], Command[Any] | None]
    opening: bool
    tracked: tuple[Ticket, ...]
    at: Endpoint


def command(
    name: str, key: bytes | None = None, *args: Word | float, **steps: Unpack[Steps]
) -> Command[Any]:
    """Return a command whose first argument is its one key, if it has one."""
    keys = () if key is None else (key,)
    words = (name.encode(), *keys, *(word(arg) for arg in args))
    plain: Command[Any] = Command(words, keys, same)
    return msgspec.structs.replace(plain, **steps)


def whole(*parts: Command[Any], **steps: Unpack[Steps]) -> Command[Any]:
    """Return a command of several, whose result is the list of theirs."""
    several: Command[Any] = Command((), (), list, parts=parts)
    return msgspec.structs.replace(several, **steps)


def word(value: Word | float) -> Word:
    """Return a number as text: the library that packs words must not meet numbers."""
    return value if isinstance(value, (bytes, str)) else repr(value)


class Foreign:
    """Something that only one face could await."""

    def __await__(self) -> Iterator[object]:
        yield self


class Lab(Job[M]):
    """Strings and counters; each name is a key in a slot of its own."""

    def __init__(self, client: Octavo[M]) -> None:
        super().__init__(client._engine)  # pyright: ignore[reportPrivateUsage]
        self._prefix = client._prefix  # pyright: ignore[reportPrivateUsage]

    def key(self, name: str) -> bytes:
        return f"{self._prefix}:{name}".encode()

    @operation
    def get(self, name: str) -> Command[bytes | None]:
        """Return the value."""
        return command("GET", self.key(name), idempotent=True)

    @operation
    def put(self, name: str, value: Word | int) -> Command[bytes]:
        """Set the value."""
        return command("SET", self.key(name), value, idempotent=True)

    @operation
    def add(self, name: str, by: int = 1) -> Command[int]:
        """Add to a counter; doing so twice is not doing so once."""
        return command("INCRBY", self.key(name), by)

    @operation
    def bump(self, name: str, by: int = 1) -> Command[int]:
        """Add to a counter, by script."""
        return BUMP((self.key(name),), (by,), int)

    @operation
    def bump_once(self, name: str, by: int = 1) -> Command[int]:
        """Add to a counter, by script, at most once."""
        return BUMP.once((self.key(name),), (by,), int)

    @operation
    def read(self, name: str) -> Command[bytes | None]:
        """Return the value, by script."""
        return READ((self.key(name),), (), same)

    @operation
    def take(self, name: str, wait: float) -> Command[Any]:
        """Wait for an element of a list."""
        return command("BLPOP", self.key(name), wait, block=wait)

    @operation
    def send(self, command: Command[T]) -> Command[T]:
        """Carry any command."""
        return command

    @flow
    async def swap(self, first: str, second: str) -> tuple[bytes | None, bytes | None]:
        """Swap two values, in four steps."""
        one = await command("GET", self.key(first))
        two = await command("GET", self.key(second))
        await command("SET", self.key(first), two)
        await command("SET", self.key(second), one)
        return two, one

    @flow
    async def guarded(self, name: str, steps: Callable[[], Any]) -> Any:
        """Await what `steps` makes between an entry and an exit that are both counted."""
        await command("INCR", self.key(f"{name}:in"))
        try:
            return await steps()
        except ZeroDivisionError:
            return "compensated"
        finally:
            await command("INCR", self.key(f"{name}:out"))
            await command("INCR", self.key(f"{name}:out"))

    @flow
    async def nap(self, seconds: float) -> None:
        """Sleep."""
        await Sleep(seconds)

    @flow
    async def wait_for(self, signal: Signal, timeout: float | None = None) -> bool:
        """Wait for a signal."""
        return await WaitFor(signal, timeout)

    @flow
    async def ask(self, function: Callable[..., Any], *args: object) -> Any:
        """Call a function of the user's."""
        effect: Effect[Any] = CallUser(function, *args)
        return await effect

    @flow
    async def perform(self, effect: Effect[Any]) -> Any:
        """Await any effect."""
        return await effect

    @flow
    async def start(self, steps: Callable[..., Any], *args: object) -> None:
        """Start a flow that goes on by itself."""
        await Spawn(steps, *args)


def lab_of(client: Any) -> Any:
    """Return a lab on the face of a client that the fixture `connect` made."""
    return Uniform(client._face, Lab)  # pyright: ignore[reportPrivateUsage]


@asynccontextmanager
async def async_lab(url: str, prefix: str = "octavo", **options: Any) -> AsyncGenerator[Lab[Async]]:
    """Yield a lab of a client of this loop's, with a connection already there."""
    async with octavo.connect_async(url, prefix=prefix, **options) as client:
        yield Lab(client)


@contextmanager
def took(least: float, most: float) -> Generator[None]:
    """Check how long something takes, in seconds."""
    began = time.monotonic()
    yield
    assert least <= time.monotonic() - began <= most


async def eventually(condition: Callable[[], Any], what: str) -> None:
    """Poll until a condition is true, without blocking the loop."""
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.002)
    assert condition(), what


def run_async_test(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is an `async def` on a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True

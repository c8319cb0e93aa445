"""Processes that tests of the cache start, hold, pause and kill."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import secrets
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import octavo
from octavo.testing.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from multiprocessing.connection import Connection

    from octavo import Async, Sync
    from octavo.cache import Cache

PATIENCE = 40.0

_spawn = multiprocessing.get_context("spawn")


class Line:
    """A worker's line to its test."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def say(self, word: Any) -> None:
        """Tell the test something; any thread may."""
        with self._lock:
            self._pipe.send(("said", word))

    def hear(self) -> Any:
        """Wait for what the test says."""
        return self._pipe.recv()


class Member:
    """A process that works for a test, one function after another."""

    def __init__(self) -> None:
        self._pipe, theirs = _spawn.Pipe()
        self._process = _spawn.Process(target=_work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process.is_alive()

    def do(self, function: Callable[..., Any], *args: Any) -> None:
        """Have the process call `function(line, *args)`."""
        self._pipe.send((function, args))

    def tell(self, word: Any = None) -> None:
        """Say something to the function that runs."""
        self._pipe.send(word)

    def heard(self, timeout: float = PATIENCE) -> Any:
        """Return the next thing that the function says."""
        kind, word = self._next(timeout)
        assert kind == "said", f"it has ended with {word!r}"
        return word

    def silent(self) -> bool:
        """Whether the function has said nothing more and not ended."""
        return not self._pipe.poll()

    def result(self, timeout: float = PATIENCE) -> Any:
        """Return what the function returns, or raise what it raises."""
        kind, word = self._next(timeout)
        if kind == "raised":
            raise word
        assert kind == "done", f"it said {word!r}"
        return word

    def reply(self, timeout: float = PATIENCE) -> Any:
        """Return the next thing that the function says, or what it returns."""
        return self._next(timeout)[1]

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        assert self._process.pid
        os.kill(self._process.pid, number)

    def pause(self) -> None:
        """Stop the process in its tracks."""
        self.signal(signal.SIGSTOP)
        assert self._process.pid
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the process as a crash would."""
        self._process.kill()
        self._process.join()

    def _next(self, timeout: float) -> tuple[str, Any]:
        if not self._pipe.poll(timeout):
            raise TimeoutError(f"the worker has said nothing for {timeout} s")
        kind, word = self._pipe.recv()
        return kind, word


class Crew:
    """Several such processes; what a test leaves behind is replaced."""

    def __init__(self, size: int) -> None:
        self.members = [Member() for _ in range(size)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for member in self.members:
            member.kill()

    def fresh(self) -> Self:
        """Replace those who are dead, paused or still busy with an earlier test."""
        for number, member in enumerate(self.members):
            token = secrets.token_hex()
            try:
                member.do(_echo, token)
                # What an earlier test has not heard comes first.
                while member.reply(timeout=2) != token:
                    pass
            except Exception:  # noqa: BLE001 - whatever it is, it is not ready
                member.kill()
                self.members[number] = Member()
        return self

    def all(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        """Have all do the same, from one moment on: when each has said that it is ready."""
        for number, member in enumerate(self.members):
            member.do(function, number, *args)
        for member in self.members:
            assert member.heard() == "ready"
        start = time.monotonic() + 0.1
        for member in self.members:
            member.tell(start)
        return [member.result() for member in self.members]


def _work(pipe: Connection) -> None:
    line = Line(pipe)
    while True:
        try:
            function, args = pipe.recv()
        except EOFError:
            return
        try:
            word = ("done", function(line, *args))
        except BaseException as error:  # noqa: BLE001 - the test wants to see it
            word = ("raised", error)
        try:
            pipe.send(word)
        except BrokenPipeError:
            return


def _echo(_: Line, token: str) -> str:
    return token


@dataclass(frozen=True)
class Place:
    """Where a cache is, and what is like about it.

    Attributes:
        client: options of the client.
        cache: options of the cache.
    """

    url: str
    prefix: str
    client: dict[str, Any] = field(default_factory=dict[str, Any])
    cache: dict[str, Any] = field(default_factory=dict[str, Any])

    def on(self, url: str) -> Place:
        """Return the same behind another URL."""
        return replace(self, url=url)

    def with_(self, **cache: Any) -> Place:
        """Return the same with other options of the cache."""
        return replace(self, cache=self.cache | cache)

    @property
    def _options(self) -> dict[str, Any]:
        return {"ttl": 60, "jitter": 0, **self.cache}

    @contextmanager
    def open(self, *, links: bool = True) -> Generator[Cache[Sync, Any]]:
        """Connect; with the link up on which changes are told."""
        with octavo.connect(self.url, prefix=self.prefix, **self.client) as db:
            cache = db.cache("x", **self._options)
            if links:
                wait_until(lambda: (cache.get("warm"), cache.stats().links)[1], "it is linked")
            yield cache

    def run(self, work: Callable[[Cache[Async, Any]], Coroutine[Any, Any, Any]]) -> Any:
        """Run a coroutine function with a cache of an async client, linked too."""

        async def main() -> Any:
            async with octavo.connect_async(self.url, prefix=self.prefix, **self.client) as db:
                cache = db.cache("x", **self._options)
                async with asyncio.timeout(15):
                    while not (await cache.stats()).links:
                        await cache.get("warm")
                        await asyncio.sleep(0.01)
                return await work(cache)

        return asyncio.run(main())

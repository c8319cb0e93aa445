"""Worker processes of a test.

    def work(line: Line, url: str) -> int:  # in a module
        line.meet()
        ...

    with Crew() as crew:
        workers = [crew.spawn(work, server.url) for _ in range(4)]
        crew.meet()
        workers[0].pause()
        ...
        print(crew.results())

What passes between a test and its workers is JSON in files: what a worker has said is there even
if it has been killed since, and nobody waits for one who is paused.
"""

from __future__ import annotations

import importlib
import json
import operator
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self

from octavo.testing.servers.process import Process
from octavo.testing.waiting import wait_until

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

__all__ = ["Crew", "Line", "Worker"]

P = ParamSpec("P")

_MAIN = "from octavo.testing.faults import crew; crew.main()"
_SAID, _TOLD, _RESULT = "said", "told", "result"
_MET, _GO, _STOP = "met", "go", "stop"
_PATIENCE = 60.0


class _Letters:
    """Values passed on in a file, one a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def put(self, value: Any) -> None:
        """Add a value; any thread may."""
        with self._path.open("ab") as file:
            file.write(json.dumps(value).encode() + b"\n")

    def take(self) -> bytes:
        """Return the next value as it is written; nothing when there is none yet."""
        if not self._path.exists():
            return b""
        with self._path.open("rb") as file:
            file.seek(self._read)
            letter = file.readline()
        if not letter.endswith(b"\n"):
            return b""
        self._read += len(letter)
        return letter


class Line:
    """A worker's line to its test."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._said, self._told = _Letters(home / _SAID), _Letters(home / _TOLD)

    @property
    def stopped(self) -> bool:
        """Whether the test has said that it is enough."""
        return (self._home / _STOP).exists()

    def say(self, value: Any) -> None:
        """Tell the test something."""
        self._said.put(value)

    def hear(self, timeout: float = _PATIENCE) -> Any:
        """Wait for the next thing that the test tells; one started again hears all again."""
        return json.loads(wait_until(self._told.take, "the test says something", timeout=timeout))

    def meet(self, timeout: float = _PATIENCE) -> None:
        """Wait for all workers to be here, so that they go on together."""
        (self._home / _MET).touch()
        wait_until((self._home / _GO).exists, "the test meets its workers", timeout=timeout)


class Worker(Process):
    """A process that calls one function; made by a `Crew`.

    It can be killed, paused, resumed and started again, as a server can, by hand or by a fault.

    Args:
        function: what it calls, with a `Line` and the arguments; it must be found by its name
            in a module.
        args: arguments by position, which JSON must be able to carry.
        kwargs: arguments by name.
    """

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.name = f"{function.__module__}:{function.__qualname__}"
        if self.name.startswith("__main__") or "<" in self.name:
            raise ValueError(f"function must be found by its name in a module, not {self.name}")
        self._arguments = json.dumps([args, kwargs])
        super().__init__()
        self.killed = False
        self._said, self._told = _Letters(self.home / _SAID), _Letters(self.home / _TOLD)

    def start(self) -> None:
        """Start the process; it calls the function from the beginning, with the same arguments."""
        self.killed = False
        path = os.pathsep.join(str(Path(place).resolve()) for place in sys.path)
        words = [sys.executable, "-c", _MAIN, self.name, self._arguments]
        self.spawn(words, {"PYTHONPATH": path})

    def tell(self, value: Any) -> None:
        """Tell the worker something, which it may `hear`."""
        self._told.put(value)

    def heard(self, timeout: float = _PATIENCE) -> Any:
        """Wait for the next thing that the worker says; one that has ended says no more.

        Raises:
            RuntimeError: it has ended and said nothing more.
            TimeoutError: it says nothing.
        """
        return json.loads(wait_until(self._next, f"{self} says something", timeout=timeout))

    def said(self) -> list[Any]:
        """Return all that the worker has said and that was not heard before."""
        return [json.loads(letter) for letter in iter(self._said.take, b"")]

    def result(self, timeout: float = _PATIENCE) -> Any:
        """Wait for the worker to end, and return what its function has returned.

        Raises:
            RuntimeError: it has ended in another way; the message has what it printed.
            TimeoutError: it has not ended.
        """
        wait_until(lambda: not self.alive, f"{self} has ended", timeout=timeout)
        if self.exit_code:
            raise self.ended()
        return json.loads((self.home / _RESULT).read_text())

    def meets(self) -> bool:
        """Whether the worker waits to meet the others, or has met them.

        Raises:
            RuntimeError: it has ended before.
        """
        met = (self.home / _MET).exists()
        if not met and not self.alive:
            raise self.ended()
        return met

    def __repr__(self) -> str:
        """Show the function."""
        return f"<worker {self.name}>"

    def _next(self) -> bytes:
        ended = not self.alive  # looked at first: it may say something and end
        letter = self._said.take()
        if ended and not letter:
            raise self.ended()
        return letter

    def ended(self) -> RuntimeError:
        """Return an error that says how it has ended."""
        return RuntimeError(f"{self} ended with exit code {self.exit_code}:\n{self.log()}")

    def _end(self, how: signal.Signals) -> None:
        self.killed = True
        super()._end(how)


class Crew:
    """Workers that start together and are gone when the `with` statement ends.

    Leaving it without an error raises one if a worker has failed and nobody has noticed.
    """

    def __init__(self) -> None:
        self.workers: list[Worker] = []

    def spawn(
        self, function: Callable[Concatenate[Line, P], object], *args: P.args, **kwargs: P.kwargs
    ) -> Worker:
        """Start a process that calls `function(line, *args, **kwargs)`.

        Args:
            function: found by its name in a module.
            args: as JSON has them; so is what the function returns.
            kwargs: the same, by name.
        """
        worker = Worker(function, args, kwargs)
        self.workers.append(worker)
        worker.start()
        return worker

    def meet(self, timeout: float = _PATIENCE) -> None:
        """Wait until all workers have called `line.meet()`, and let them go on together."""
        wait_until(
            lambda: all(worker.meets() for worker in self.workers),
            "all workers are there",
            timeout=timeout,
        )
        self._sign(_GO)

    def stop(self) -> None:
        """Say that it is enough; those who look at `line.stopped` end."""
        self._sign(_STOP)

    def results(self, timeout: float = _PATIENCE) -> list[Any]:
        """Wait for all workers to end, and return what their functions have returned.

        Those that the test has killed, and not started again, are left out.
        """
        deadline = time.monotonic() + timeout
        return [
            worker.result(deadline - time.monotonic())
            for worker in self.workers
            if not worker.killed
        ]

    def __enter__(self) -> Self:
        """Return the crew, to which workers are added."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Kill all who still work, and remove what is theirs."""
        failed = [
            worker.ended() for worker in self.workers if worker.exit_code and not worker.killed
        ]
        for worker in self.workers:
            worker.kill()
            worker.close()
        if failed and error is None:
            raise failed[0]

    def _sign(self, name: str) -> None:
        for worker in self.workers:
            (worker.home / name).touch()


def main() -> None:
    """Do what a worker does; its process calls this."""
    name, arguments = sys.argv[1:]
    home = Path.cwd()
    module, _, path = name.partition(":")
    function = operator.attrgetter(path)(importlib.import_module(module))
    args, kwargs = json.loads(arguments)
    result = function(Line(home), *args, **kwargs)
    (home / _RESULT).write_text(json.dumps(result))

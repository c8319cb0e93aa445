"""Recording what processes do, so that a `kill -9` at any moment leaves a history to read.

A recorder writes a line before each operation and a line after it, each with one `os.write` to
a file of its own. An operation with no second line was cut short: its outcome is unknown.
"""

from __future__ import annotations

import itertools
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import msgspec

from octavo.errors import ConnectionLost
from octavo.testing.histories.operations import History, Operation, Outcome

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

__all__ = ["Attempt", "Recorder", "load"]


class _Call(msgspec.Struct, tag="call", tag_field="event"):
    id: int
    t: float
    process: str
    key: str
    name: str
    args: tuple[Any, ...]


class _Return(msgspec.Struct, tag="return", tag_field="event"):
    id: int
    t: float
    outcome: Outcome
    result: Any = None


@dataclass
class Attempt:
    """An operation in progress; what it returns is put into `result`."""

    result: Any = None


class Recorder:
    """A recorder of what one process does.

    Histories of several processes fit together because all processes of a host share one
    monotonic clock. A process here is one line of execution: each thread and each task has a
    recorder of its own, and so has a program that is started again.

    Args:
        directory: where to write the file `<process>.jsonl`, which must not exist yet.
        process: the name of the process.
        failed_on: the errors that say that the operation took no effect. After any other its
            outcome is unknown, except `ConnectionLost` with the outcome `"not_sent"`.
    """

    def __init__(
        self,
        directory: Path | str,
        process: str,
        *,
        failed_on: tuple[type[BaseException], ...] = (),
    ) -> None:
        self.process = process
        self._failed_on = failed_on
        self._numbers = itertools.count(1)
        path = Path(directory, f"{process}.jsonl")
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)

    @contextmanager
    def operation(self, name: str, *args: Any, key: str = "") -> Generator[Attempt]:
        """Record what is done inside, also in `async` code; its errors pass through.

        Arguments and result are numbers, text, booleans, None, or lists and tuples of these.
        """
        number, attempt = next(self._numbers), Attempt()
        self._write(_Call(number, time.monotonic(), self.process, key, name, args))
        try:
            yield attempt
        except BaseException as error:
            self._write(_Return(number, time.monotonic(), self._outcome(error)))
            raise
        self._write(_Return(number, time.monotonic(), "ok", attempt.result))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _outcome(self, error: BaseException) -> Outcome:
        not_sent = isinstance(error, ConnectionLost) and error.outcome == "not_sent"
        return "failed" if not_sent or isinstance(error, self._failed_on) else "unknown"

    def _write(self, event: _Call | _Return) -> None:
        os.write(self._file, msgspec.json.encode(event) + b"\n")


def load(directory: Path | str) -> History:
    """Read what all recorders wrote into a directory, in the order of the calls.

    Raises:
        ValueError: a line is not one that a recorder writes.
    """
    paths = sorted(Path(directory).glob("*.jsonl"))
    operations = (operation for path in paths for operation in _operations_in(path))
    return History(sorted(operations, key=attrgetter("t_call")))


def _operations_in(path: Path) -> Iterator[Operation]:
    calls: dict[int, _Call] = {}
    returns: dict[int, _Return] = {}
    for event in _events_in(path):
        if isinstance(event, _Call):
            calls[event.id] = event
        else:
            returns[event.id] = event
    for number, call in calls.items():
        end = returns.get(number)
        yield Operation(
            process=call.process,
            name=call.name,
            args=_hashable(call.args),
            t_call=call.t,
            t_return=end.t if end else None,
            outcome=end.outcome if end else "unknown",
            result=_hashable(end.result) if end else None,
            key=call.key,
        )


def _events_in(path: Path) -> Iterator[_Call | _Return]:
    decoder = msgspec.json.Decoder[_Call | _Return](_Call | _Return)
    # A kill in the middle of a write leaves a last line without its end: an operation that never
    # began, or whose outcome is unknown; both are what leaving the line out says.
    lines = path.read_bytes().split(b"\n")[:-1]
    for number, line in enumerate(lines, 1):
        try:
            yield decoder.decode(line)
        except msgspec.DecodeError as error:
            raise ValueError(f"{path}:{number} is not a line of a recorder: {error}") from error


def _hashable(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_hashable, cast("list[Any]", value)))
    return value

"""Counting and recording the calls of functions."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import msgspec

from octavo.engine.command import Command

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from octavo.cache.layout import Layout
    from octavo.errors import OctavoError

P = ParamSpec("P")
T = TypeVar("T")

_HISTORY = "__octavo_history__"


class Call(msgspec.Struct, frozen=True):
    """One call of a function, as text.

    Attributes:
        args: the positional arguments, without self, as a tuple is shown.
        kwargs: the others, as a dict is shown; empty for none.
        output: what it returned; None if it raised.
        error: what it raised; None if it returned.
    """

    args: str
    kwargs: str = ""
    output: str | None = None
    error: str | None = None


class Replay(msgspec.Struct, frozen=True):
    """The calls of a function.

    Attributes:
        name: its qualified name.
        count: how often it was called; `calls` has the last of these, up to its `maxlen`.
        calls: the calls, oldest first.
    """

    name: str
    count: int
    calls: tuple[Call, ...]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The arguments of each call."""
        return tuple(call.args for call in self.calls)

    @property
    def outputs(self) -> tuple[str | None, ...]:
        """What each call returned; None where it raised."""
        return tuple(call.output for call in self.calls)

    def __str__(self) -> str:
        """A line that counts, then one for each call."""
        lines = [f"{self.name} was called {self.count} times:"]
        for call in self.calls:
            kwargs = f", **{call.kwargs}" if call.kwargs else ""
            came = f"raised {call.error}" if call.output is None else call.output
            lines.append(f"{self.name}(*{call.args}{kwargs}) -> {came}")
        return "\n".join(lines)


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling a function gives a coroutine."""
    return (
        inspect.iscoroutinefunction(function)
        or hasattr(function, "_is_coroutine")
        or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - an object whose call is a coroutine
        )
    )


def mark_async(function: object) -> None:
    """Have frameworks see that calling an object gives a coroutine."""
    # On Python 3.11 there is only the mark that `asyncio.iscoroutinefunction` looks at.
    if sys.version_info >= (3, 12):
        inspect.markcoroutinefunction(cast("Any", function))
    else:
        cast("Any", function)._is_coroutine = cast("Any", asyncio.coroutines)._is_coroutine  # noqa: SLF001


def qualified_name(function: Callable[..., Any]) -> str:
    """Return the name under which a function's calls are kept."""
    name: str | None = getattr(function, "__qualname__", None)
    if name is None:
        raise TypeError(f"function must have a name, which {function!r} has not")
    return name


def count_calls(
    function: Callable[P, T], count: Callable[[str], Any], *, tasks: bool
) -> Callable[P, T]:
    """Return the function with its calls counted, before each."""
    name = _checked(function, tasks=tasks)
    if tasks:

        @functools.wraps(function)
        async def counted_soon(*args: Any, **kwargs: Any) -> Any:
            await count(name)
            return await cast("Any", function)(*args, **kwargs)

        return cast("Callable[P, T]", counted_soon)

    @functools.wraps(function)
    def counted(*args: P.args, **kwargs: P.kwargs) -> T:
        count(name)
        return function(*args, **kwargs)

    return counted


def record_calls(
    function: Callable[P, T],
    record: Callable[[str, Call], Any],
    history: Callable[[Callable[..., Any]], Any],
    *,
    tasks: bool,
) -> Callable[P, T]:
    """Return the function with its calls recorded, each when it ends."""
    name = _checked(function, tasks=tasks)
    own = 1 if next(iter(inspect.signature(function).parameters), "") in ("self", "cls") else 0

    def call(args: Any, kwargs: Any, **came: str) -> Call:
        return Call(repr(args[own:]), repr(kwargs) if kwargs else "", **came)

    async def recorded_soon(*args: Any, **kwargs: Any) -> Any:
        try:
            output = await cast("Any", function)(*args, **kwargs)
        except BaseException as error:
            await record(name, call(args, kwargs, error=repr(error)))
            raise
        await record(name, call(args, kwargs, output=str(output)))
        return output

    def recorded(*args: Any, **kwargs: Any) -> Any:
        try:
            output = cast("Any", function)(*args, **kwargs)
        except BaseException as error:
            record(name, call(args, kwargs, error=repr(error)))
            raise
        record(name, call(args, kwargs, output=str(output)))
        return output

    decorated = functools.wraps(function)(recorded_soon if tasks else recorded)
    # functools.wraps hands it on to what is wrapped around this one.
    setattr(decorated, _HISTORY, history)
    return cast("Callable[P, T]", decorated)


def replay(function: Callable[..., Any]) -> Any:
    """Print the recorded calls of a function, and return them as a `Replay`.

    Of an async function it is a coroutine of that.

    Raises:
        TypeError: the function has no `call_history`.
    """
    read = getattr(function, _HISTORY, None)
    if read is None:
        raise TypeError(f"{function!r} has no history: decorate it with cache.call_history()")
    history = read(function)
    return _printed_soon(history) if inspect.iscoroutine(history) else _printed(history)


def _printed(history: Replay) -> Replay:
    print(history)  # noqa: T201 - what it is for
    return history


async def _printed_soon(history: Coroutine[Any, Any, Replay]) -> Replay:
    return _printed(await history)


def write_call(layout: Layout, name: str, maxlen: int, call: Call) -> Command[None]:
    """Return the Command that records a call; one entry has both what went in and what came."""
    key = layout.history(name)
    fields = [
        word
        for field, value in msgspec.structs.asdict(call).items()
        if value is not None
        for word in (field, value.encode(errors="surrogatepass"))
    ]
    words = (b"XADD", key, b"MAXLEN", b"%d" % maxlen, b"*", *fields)
    return Command(words, (key,), lambda _: None)


def read_calls(layout: Layout, function: Callable[..., Any]) -> Command[Replay]:
    """Return the Command that reads the calls of a function."""
    name = qualified_name(function)
    key = layout.history(name)

    def read(reply: dict[bytes, Any] | list[Any]) -> Replay:
        stream = _pairs(reply) if isinstance(reply, list) else reply  # a list if a script asked
        calls = tuple(_call(_pairs(fields)) for _, fields in stream[b"entries"])
        return Replay(name, int(stream[b"entries-added"]), calls)

    def recover(error: OctavoError) -> Replay:
        if "no such key" in str(error):
            return Replay(name, 0, ())
        raise error

    words = (b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"0")
    return Command(words, (key,), read, idempotent=True, recover=recover)


def _pairs(flat: list[Any]) -> dict[bytes, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _call(fields: dict[bytes, bytes]) -> Call:
    return Call(
        **{name.decode(): value.decode(errors="surrogatepass") for name, value in fields.items()}
    )


def _checked(function: Callable[..., Any], *, tasks: bool) -> str:
    if is_async(function) != tasks:
        kind, cure = ("async", "connect()") if tasks else ("plain", "connect_async()")
        raise TypeError(f"this cache decorates {kind} functions, not {function!r}: see {cure}")
    return qualified_name(function)

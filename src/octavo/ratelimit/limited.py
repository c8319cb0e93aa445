"""`limiter.limit`: blocks and functions that run only within the limits."""

from __future__ import annotations

import functools
import inspect
import logging
from contextlib import AsyncExitStack, ExitStack
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    Never,
    ParamSpec,
    TypeVar,
    cast,
    get_args,
    overload,
)

from octavo.engine.batch import Collector
from octavo.engine.checks import Seconds, millis
from octavo.engine.command import Async, M, Sync
from octavo.engine.templates import check_function, naming
from octavo.errors import OctavoError, RateLimited
from octavo.ratelimit.decision import refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from octavo.engine.command import Engine
    from octavo.ratelimit.deciding import Cost
    from octavo.ratelimit.decision import Decision
    from octavo.ratelimit.layout import Subject
    from octavo.ratelimit.limiter import Limiter

P = ParamSpec("P")
T = TypeVar("T")
Skipped = TypeVar("Skipped")

OnLimit = Literal["raise", "skip"]
RefundOn = type[BaseException] | tuple[type[BaseException], ...]

log = logging.getLogger("octavo")


class _Block:
    """One pass through the limits, on either face: asks at the start, gives back at the end."""

    def __init__(
        self,
        limiter: Limiter[Any],
        subject: Subject,
        cost: Cost,
        wait: float | None,
        refund_on: RefundOn,
    ) -> None:
        self._limiter = limiter
        self._subject = subject
        self._cost = cost
        self._wait = wait
        self._refund_on = refund_on
        self._decision: Decision | None = None

    def __enter__(self) -> Decision:
        return self._passed(self._ask())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._give_back(kind)
        except (OctavoError, RuntimeError) as unheard:  # the client may be closed
            self._kept(unheard)

    async def __aenter__(self) -> Decision:
        return self._passed(await self._ask())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if (giving := self._give_back(kind)) is not None:
                await giving
        except (OctavoError, RuntimeError) as unheard:
            self._kept(unheard)

    def _ask(self) -> Any:
        if self._wait == 0 and not self._limiter.takes_places:
            return self._limiter.hit(self._subject, self._cost)
        return self._limiter.acquire(self._subject, self._cost, self._wait)

    def _passed(self, decision: Decision) -> Decision:
        if not decision:
            raise refusal(self._subject, decision)
        self._decision = decision
        return decision

    def _give_back(self, kind: type[BaseException] | None) -> Any:
        """Give back the units if they are not to count, otherwise the places alone."""
        decision = cast("Decision", self._decision)
        if kind is not None and issubclass(kind, self._refund_on):
            return self._limiter.refund(decision)
        if self._limiter.takes_places:
            return self._limiter.release(decision)
        return None

    def _kept(self, why: Exception) -> None:
        log.warning("octavo could not give back what %r was granted: %s", self._subject, why)


class Limited(Generic[M, Skipped]):
    """What runs only within the limits: a block, or each call of a function.

    A block, `with` or `async with`, is given the `Decision`. What it takes of a `Concurrency` is
    released at its end, whether or not it ends in an error. If that is not possible, or a refund
    is not, there is a warning in the log, and no error.

    Args:
        engine: of the limiter.
        limiter: asked at each start.
        subject: who is counted. On functions, a text is a template: `"user:{user_id}"` takes the
            argument `user_id`. In a block it is what it is.
        cost: as for `Limiter.hit`. On functions, it may be made of the arguments by a callable.
        wait: for how many seconds to wait; None is as long as it takes.
        on_limit: what a call of a function does that is not granted: raise `RateLimited`, or
            return None. A block raises.
        refund_on: errors with which it ends as if it had not begun: nothing was used.
        exempt: says, of a function's arguments, whether a call does not count.
    """

    def __init__(
        self,
        engine: Engine,
        limiter: Limiter[M],
        subject: Subject,
        *,
        cost: Cost | Callable[..., Cost] = 1,
        wait: Seconds | None = 0,
        on_limit: OnLimit = "raise",
        refund_on: RefundOn = (),
        exempt: Callable[..., bool] | None = None,
    ) -> None:
        if isinstance(engine, Collector):
            raise TypeError("limit() is not for batches: what they collect runs at their end")
        if on_limit not in get_args(OnLimit):
            raise ValueError(f"on_limit must be 'raise' or 'skip', not {on_limit!r}")
        self._tasks = engine.common.tasks
        self._limiter = limiter
        self._subject = subject
        self._cost = _plain("cost", cost) if callable(cost) else cost
        self._wait = None if wait is None else millis("wait", wait, least=0) / 1000
        self._skips = on_limit == "skip"
        self._refund_on = _errors(refund_on)
        self._exempt = None if exempt is None else _plain("exempt", exempt)
        # Begun and not ended. Which of them ends is no matter: all have asked for the same.
        self._open: list[_Block] = []

    def __enter__(self: Limited[Sync, Never]) -> Decision:
        """Begin a block.

        Raises:
            RateLimited: it was not granted.
        """
        block = self._block(tasks=False)
        decision = block.__enter__()
        self._open.append(block)
        return decision

    def __exit__(
        self: Limited[Sync, Never],
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release places, or refund all."""
        self._open.pop().__exit__(kind, error, traceback)

    async def __aenter__(self: Limited[Async, Never]) -> Decision:
        """Begin a block.

        Raises:
            RateLimited: it was not granted.
        """
        block = self._block(tasks=True)
        decision = await block.__aenter__()
        self._open.append(block)
        return decision

    async def __aexit__(
        self: Limited[Async, Never],
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release places, or refund all."""
        await self._open.pop().__aexit__(kind, error, traceback)

    @overload
    def __call__(
        self: Limited[Sync, Skipped], function: Callable[P, T]
    ) -> Callable[P, T | Skipped]: ...
    @overload
    def __call__(
        self: Limited[Async, Skipped], function: Callable[P, Coroutine[Any, Any, T]]
    ) -> Callable[P, Coroutine[Any, Any, T | Skipped]]: ...
    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Make a function run only within the limits."""
        check_function(function, tasks=self._tasks)
        block_of = self._blocks(function)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with ExitStack() as stack:
                if (block := block_of(args, kwargs)) is not None:
                    try:
                        stack.enter_context(block)
                    except RateLimited:
                        if self._skips:
                            return None
                        raise
                return function(*args, **kwargs)

        @functools.wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            async with AsyncExitStack() as stack:
                if (block := block_of(args, kwargs)) is not None:
                    try:
                        await stack.enter_async_context(block)
                    except RateLimited:
                        if self._skips:
                            return None
                        raise
                return await function(*args, **kwargs)

        return call_async if self._tasks else call

    def _blocks(
        self, function: Callable[..., Any]
    ) -> Callable[[tuple[Any, ...], dict[str, Any]], _Block | None]:
        """Return what makes the block of a call; None if it is exempt."""
        subject, cost, exempt = self._subject, self._cost, self._exempt
        named = naming(subject, function) if isinstance(subject, str) else None

        def block_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Block | None:
            if exempt is not None and exempt(*args, **kwargs):
                return None
            return _Block(
                self._limiter,
                subject if named is None else named(args, kwargs),
                cost(*args, **kwargs) if callable(cost) else cost,
                self._wait,
                self._refund_on,
            )

        return block_of

    def _block(self, *, tasks: bool) -> _Block:
        if self._tasks is not tasks:
            raise TypeError(f"this client's blocks begin with `{'async ' * self._tasks}with`")
        if self._skips or self._exempt is not None or callable(self._cost):
            raise TypeError("on_limit='skip', exempt and a callable cost are for functions")
        return _Block(self._limiter, self._subject, self._cost, self._wait, self._refund_on)


def _plain(parameter: str, function: Any) -> Callable[..., Any]:
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise TypeError(f"{parameter} must be a plain function, not {function!r}")
    return cast("Callable[..., Any]", function)


def _errors(refund_on: Any) -> tuple[type[BaseException], ...]:
    kinds: list[Any] = [*refund_on] if isinstance(refund_on, tuple) else [refund_on]
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(f"refund_on must be a type of error or several, not {refund_on!r}")
    return tuple(kinds)

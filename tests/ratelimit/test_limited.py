"""`limiter.limit`: blocks and functions that run only within the limits."""

from __future__ import annotations

import functools
import inspect
import logging
import threading
from contextlib import AbstractContextManager, contextmanager, suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import RateLimited
from octavo.ratelimit import Concurrency, Decision, Limit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from octavo.testing.servers import Standalone
    from tests.fix_faces import LoopThread
    from tests.fix_servers import Servers


class Face:
    """Limits on one face, used alike."""

    def __init__(self, name: str, loop: LoopThread) -> None:
        self.name = name
        self._loop = loop
        self._client: Any = None

    def connect(self, url: str, **options: Any) -> Face:
        connect: Any = octavo.connect if self.name == "sync" else octavo.connect_async
        self._client = connect(url, **options)
        return self

    def close(self) -> None:
        if self.name == "sync":
            self._client.close()
        else:
            self._loop.run(self._client.aclose())

    def limiter(self, *rules: Any, **options: Any) -> Any:
        return self._client.limiter("x", *rules, **options)

    def run(self, value: Any) -> Any:
        return self._loop.run(value) if inspect.iscoroutine(value) else value

    def function(self, limited: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate a function, made a coroutine function on the async face."""
        if self.name == "sync":
            made: Callable[..., Any] = limited(function)
            return made

        @limited  # type: ignore[untyped-decorator]
        @functools.wraps(function)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return lambda *args, **kwargs: self.run(coroutine(*args, **kwargs))

    def block(self, limited: Any) -> AbstractContextManager[Decision]:
        """Enter it as the face does."""
        return limited if self.name == "sync" else self._entered(limited)

    @contextmanager
    def _entered(self, limited: Any) -> Iterator[Decision]:
        yielded = self.run(limited.__aenter__())
        try:
            yield yielded
        except BaseException as error:
            self.run(limited.__aexit__(type(error), error, None))
            raise
        self.run(limited.__aexit__(None, None, None))


@pytest.fixture(params=["sync", "async"])
def unconnected(request: pytest.FixtureRequest, loop_thread: LoopThread) -> Face:
    return Face(request.param, loop_thread)


@pytest.fixture
def face(unconnected: Face, servers: Servers, prefix: str) -> Iterator[Face]:
    """Limits on each face, of a server that others use too."""
    yield unconnected.connect(servers.get("embedded").url, prefix=prefix)
    unconnected.close()


def echo(x: Any) -> Any:
    return x


def used(face: Face, limiter: Any, subject: Any) -> int:
    """Return how much a subject has used of the limit of 10 an hour that a limiter has."""
    return 10 - int(face.run(limiter.peek(subject)).limits["per-hour"].remaining)


# Who is counted.


def test_functions_are_counted_by_their_arguments(face: Face) -> None:
    limiter = face.limiter(Limit("10/hour"))

    def run(user: Any, *, day: str = "monday") -> str:
        return day

    by_user = face.function(limiter.limit("user:{user}"), run)
    by_day = face.function(limiter.limit("{day}:{user.real:03d}"), run)
    assert [by_user(7), by_user(user=7), by_user(8, day="x")] == ["monday", "monday", "x"]
    assert by_day(7) == "monday"
    subjects = ("user:7", "user:8", "monday:007", "user:{user}")
    assert [used(face, limiter, subject) for subject in subjects] == [2, 1, 1, 0]


def test_a_block_takes_its_subject_as_it_is(face: Face) -> None:
    limiter = face.limiter(Limit("10/hour"))
    address = ip_address("2001:db8::1")
    for subject in ("user:{user}", "}", address):
        with face.block(limiter.limit(subject, cost=3)) as decision:
            assert (decision.allowed, decision.remaining, decision.cost) == (True, 7, 3)
        assert used(face, limiter, subject) == 3
    assert face.function(limiter.limit(address), echo)(5) == 5
    assert used(face, limiter, address) == 4


# What is not granted.


def test_what_is_over_the_limit_does_not_run_and_raises(face: Face) -> None:
    limiter, calls = face.limiter(Limit("1/hour")), list[int]()
    run = face.function(limiter.limit("x"), calls.append)
    run(1)
    with pytest.raises(RateLimited, match=r"'x'.*per-hour") as caught:
        run(2)
    decision = caught.value.decision
    assert (decision.allowed, decision.violated) == (False, ("per-hour",))
    assert 3590 < decision.retry_after <= 3600
    with pytest.raises(RateLimited), face.block(limiter.limit("x")):
        calls.append(3)
    assert calls == [1]


def test_a_call_over_the_limit_may_be_skipped(face: Face) -> None:
    run = face.function(face.limiter(Limit("1/hour")).limit("{x}", on_limit="skip"), echo)
    assert [run("a"), run("a"), run("b")] == ["a", None, "b"]


def test_an_error_of_the_function_itself_is_no_reason_to_skip(face: Face) -> None:
    limiter = face.limiter(Limit("1/hour"))
    denied = face.run(limiter.peek("x", 5))

    def run() -> None:
        raise RateLimited("another limiter", decision=denied)

    with pytest.raises(RateLimited, match="another limiter"):
        face.function(limiter.limit("x", on_limit="skip"), run)()


@pytest.mark.parametrize("wait", [10, None])
def test_a_call_may_wait_for_its_turn(face: Face, wait: float | None) -> None:
    limited = face.limiter(Limit("1/100 ms")).limit("x", wait=wait)
    run = face.function(limited, lambda: None)
    delays = list[float]()
    while not any(delays):  # not if more than 100 ms go by in between
        run()
        with face.block(limited) as decision:
            delays.append(decision.delay)
        assert len(delays) < 50
    assert all(delay <= 0.1 for delay in delays)


def test_a_call_that_would_wait_too_long_is_over_the_limit(face: Face) -> None:
    limiter = face.limiter(Limit("1/hour"))
    insists = face.function(limiter.limit("x", wait=1), echo)
    skips = face.function(limiter.limit("x", wait=1, on_limit="skip"), echo)
    assert insists(1) == 1
    with pytest.raises(RateLimited) as caught:
        insists(2)
    assert not caught.value.decision
    assert skips(2) is None


# What is given back.


class Failed(Exception):
    pass


def test_places_are_released_at_the_end_and_after_an_error(face: Face) -> None:
    limiter = face.limiter(Concurrency(1), Limit("10/hour"))
    limited = limiter.limit("x")

    def fail(number: int) -> float:
        with pytest.raises(RateLimited, match="concurrency"), face.block(limiter.limit("x")):
            pass
        return 1 / number

    run = face.function(limited, fail)
    if face.name == "sync":  # in async code the function would block the loop that it needs
        assert run(2) == 0.5
        with pytest.raises(ZeroDivisionError):
            run(0)
    with pytest.raises(ZeroDivisionError), face.block(limited):
        fail(0)
    with face.block(limited):
        assert not face.run(limiter.peek("x"))
    assert face.run(limiter.peek("x"))


def test_units_count_although_a_call_fails_unless_they_are_to_be_refunded(face: Face) -> None:
    limiter = face.limiter(Limit("10/hour"))

    def fail(error: BaseException | None) -> None:
        if error is not None:
            raise error

    one = limiter.limit("one", cost=2, refund_on=Failed)
    several = limiter.limit("several", cost=2, refund_on=(LookupError, Failed))
    for limited, subject, refunds, counts in (
        (limiter.limit("none", cost=2), "none", [], [Failed(), KeyError(), None]),
        (one, "one", [Failed(), type("Sub", (Failed,), {})()], [KeyError(), None]),
        (several, "several", [Failed(), KeyError()], [ValueError(), None]),
    ):
        for error in (*refunds, *counts):
            with suppress(Exception):
                face.function(limited, fail)(error)
        with pytest.raises(Failed), face.block(limited):
            raise Failed
        in_block = 0 if refunds else 2
        assert used(face, limiter, subject) == 2 * len(counts) + in_block


def test_a_refund_gives_places_back_too(face: Face) -> None:
    limiter = face.limiter(Concurrency(1), Limit("10/hour"))
    for _ in range(3):
        with pytest.raises(Failed), face.block(limiter.limit("x", refund_on=Failed)):
            raise Failed
    with face.block(limiter.limit("x", refund_on=Failed)):
        assert used(face, limiter, "x") == 1
    assert face.run(limiter.peek("x"))


def test_one_object_is_any_number_of_blocks_and_functions(face: Face) -> None:
    limiter = face.limiter(Concurrency(2), Limit("10/hour"))
    limited = limiter.limit("x")
    with face.block(limited):
        with face.block(limited), pytest.raises(RateLimited), face.block(limited):
            pass
        assert face.function(limited, echo)(1) == 1
        assert face.run(limiter.peek("x")).limits["concurrency"].remaining == 1
    assert face.run(limiter.peek("x")).limits["concurrency"].remaining == 2


def test_threads_are_inside_as_many_as_there_are_places(servers: Servers, prefix: str) -> None:
    inside, most = 0, list[int]()
    count = threading.Lock()
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as client:
        limiter = client.limiter("x", Concurrency(2))
        limited = limiter.limit("x")

        def work() -> None:
            nonlocal inside
            for _ in range(20):
                with suppress(RateLimited), limited:
                    with count:
                        inside += 1
                        most.append(inside)
                    with count:
                        inside -= 1

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert limiter.peek("x").limits["concurrency"].remaining == 2
    assert most
    assert max(most) <= 2


def test_what_cannot_be_given_back_is_a_warning_not_an_error(
    unconnected: Face,
    standalone: Standalone,
    prefix: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    face = unconnected.connect(standalone.url, prefix=prefix)
    limited = face.limiter(Concurrency(5)).limit("x", refund_on=Failed)

    def run() -> str:
        standalone.kill()
        return "done"

    assert face.function(limited, run)() == "done"
    assert [r.levelno for r in caplog.records if "'x'" in r.message] == [logging.WARNING]
    standalone.start()

    def fail() -> None:
        standalone.kill()
        raise Failed

    with pytest.raises(Failed):
        face.function(limited, fail)()
    assert len([r for r in caplog.records if "'x'" in r.message]) == 2
    face.close()


# What a call costs.


def test_the_cost_and_the_exemption_of_a_call_may_depend_on_its_arguments(face: Face) -> None:
    limiter = face.limiter(Limit("10/hour"))

    def run(words: list[str], *, admin: bool = False) -> int:
        return len(words)

    limited = limiter.limit(
        "x",
        cost=lambda words, **_: 2 * len(words),
        exempt=lambda _, admin=False: admin,
    )
    made = face.function(limited, run)
    assert made(["a", "b"]) == 2
    assert used(face, limiter, "x") == 4
    assert made(["a"] * 20, admin=True) == 20
    assert used(face, limiter, "x") == 4
    with pytest.raises(RateLimited):
        made(["a"] * 20)


# What is refused.


@pytest.mark.parametrize("option", ["on_limit", "cost", "exempt"])
def test_what_is_for_functions_is_refused_in_a_block(face: Face, option: str) -> None:
    value = {"on_limit": "skip", "cost": lambda: 1, "exempt": lambda: True}[option]
    limiter = face.limiter(Limit("1/hour"))
    with (
        pytest.raises(TypeError, match="for functions"),
        face.block(limiter.limit("x", **{option: value})),
    ):
        pass
    assert face.run(limiter.peek("x")).remaining == 1


def test_a_block_of_the_other_kind_is_refused(face: Face) -> None:
    limited = face.limiter(Limit("1/hour")).limit("x")
    if face.name == "sync":
        with pytest.raises(TypeError, match="begin with `with`"):
            face._loop.run(limited.__aenter__())
    else:
        with pytest.raises(TypeError, match="begin with `async with`"), limited:
            pass


def test_functions_of_another_kind_are_refused(face: Face) -> None:
    def plain() -> None: ...
    async def coroutine() -> None: ...
    def generator() -> Iterator[int]:
        yield 1

    async def async_generator() -> AsyncIterator[int]:
        yield 1

    limited = face.limiter(Limit("1/hour")).limit("x")
    for bad in (generator, async_generator):
        with pytest.raises(TypeError, match="yields"):
            limited(bad)
    with pytest.raises(TypeError, match="this client decorates"):
        limited(coroutine if face.name == "sync" else plain)


def test_a_template_that_names_what_is_no_argument_is_refused(face: Face) -> None:
    limiter = face.limiter(Limit("1/hour"))
    with pytest.raises(ValueError, match=r"'user'.*does not take"):
        face.function(limiter.limit("{user}"), lambda x: x)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("wait", bad) for bad in (-1, "5", float("nan"), True)),
        *(("on_limit", bad) for bad in ("wait", None, True)),
        *(("refund_on", bad) for bad in (ValueError(), "x", None, (KeyError, 1))),
        *(("exempt", bad) for bad in (True, "x")),
    ],
)
def test_bad_options_are_refused_by_name(face: Face, option: str, value: Any) -> None:
    limiter = face.limiter(Limit("1/hour"))
    with pytest.raises((TypeError, ValueError), match=rf"^{option} must "):
        limiter.limit("x", **{option: value})


@pytest.mark.parametrize("option", ["cost", "exempt"])
def test_what_would_have_to_be_awaited_is_refused(face: Face, option: str) -> None:
    async def truthy() -> int:
        return 0

    with pytest.raises(TypeError, match=f"^{option} must be a plain function"):
        face.limiter(Limit("1/hour")).limit("x", **{option: truthy})


def test_a_batch_has_no_such_blocks(servers: Servers, prefix: str) -> None:
    with (
        octavo.connect(servers.get("embedded").url, prefix=prefix) as client,
        client.batch() as batch,
        pytest.raises(TypeError, match="batch"),
    ):
        batch.limiter("x", Limit("1/hour")).limit("x")


def test_what_it_makes_is_known_as_the_function(face: Face) -> None:
    def plain(x: int) -> str:
        """Say it."""
        return str(x)

    async def coroutine(x: int) -> str:
        """Say it."""
        return str(x)

    function: Any = plain if face.name == "sync" else coroutine
    made = face.limiter(Limit("1/hour")).limit("x")(function)
    assert (made.__name__, made.__doc__) == (function.__name__, "Say it.")
    assert inspect.signature(made) == inspect.signature(function)
    assert inspect.iscoroutinefunction(made) is (face.name == "async")

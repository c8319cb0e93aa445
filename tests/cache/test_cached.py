"""Functions whose results are cached by their arguments, on a real server."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.cache import Local, current_fill
from octavo.testing.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fix_faces import LoopThread
    from tests.fix_servers import Server


class Code:
    """Sync or async code: a client, how functions are written, and how calls are ended."""

    def __init__(self, kind: str, url: str, prefix: str, loop: LoopThread) -> None:
        self.tasks = kind == "async"
        connect: Any = octavo.connect_async if self.tasks else octavo.connect
        self.db = connect(url, prefix=prefix)
        self._loop = loop

    def __call__(self, value: Any) -> Any:
        """Return what a call gave, awaiting it in async code."""
        return self._loop.run(value) if inspect.iscoroutine(value) else value

    def function(self, function: Callable[..., Any]) -> Any:
        """Return a function as it would be written in this code."""
        if not self.tasks:
            return function

        @functools.wraps(function)
        async def soon(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return soon

    def close(self) -> None:
        self(self.db.aclose() if self.tasks else self.db.close())


@pytest.fixture(params=["sync", "async"])
def code(
    request: pytest.FixtureRequest, server: Server, prefix: str, loop_thread: LoopThread
) -> Iterator[Code]:
    code = Code(request.param, server.url, prefix, loop_thread)
    yield code
    code.close()


@dataclass
class Point:
    x: int
    y: object = 0


class Calls(list[Any]):
    """A function that notes its arguments and returns how often it was called."""

    def add(self, *args: Any) -> int:
        self.append(args)
        return len(self)


calls = Calls()


@pytest.fixture(autouse=True)
def forget() -> None:
    calls.clear()


def total(a: Any, b: Any = 2, *rest: Any, scale: Any = 1, **options: Any) -> list[Any]:
    """Return how often it was called, and with what."""
    return [calls.add(a, b, rest, scale, options), repr((a, b, rest, scale, options))]


def count(n: Any) -> int:
    return calls.add(n)


class Odd(Exception):
    """What a function raises."""


def fail(n: int) -> int:
    calls.add(n)
    raise Odd(n)


VALUES: tuple[Any, ...] = (None, 0, "", b"", [], 2**100)


def value(n: int) -> Any:
    calls.add(n)
    return VALUES[n]


def test_one_call_in_all_its_forms_is_one_value(code: Code) -> None:
    f = code.db.cache("x", ttl=60).cached()(code.function(total))
    forms: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((1, 2), {}),
        ((1,), {}),
        ((1,), {"b": 2}),
        ((), {"b": 2, "a": 1}),
        ((1, 2), {"scale": 1}),
    ]
    assert {code(f(*args, **kwargs))[0] for args, kwargs in forms} == {1}
    assert len({f.key(*args, **kwargs) for args, kwargs in forms}) == 1
    assert code(f(1, 2, z=1, y=2)) == code(f(1, y=2, z=1, b=2))
    assert len(calls) == 2


def test_lookalikes_are_values_of_their_own(code: Code) -> None:
    f = code.db.cache("x", ttl=60).cached()(code.function(total))
    lookalikes = [1, 1.0, True, "1", b"1", None, "None", (1,), [1], {1}, {1: 1}, Point(1), -1]
    for _ in range(2):
        for value in lookalikes:
            assert code(f(value))[1] == repr((value, 2, (), 1, {}))
    assert len(calls) == len(lookalikes)
    assert code(f(1, 2, 3)) != code(f(1, 2, (3,))) != code(f(1, 2, scale=3))


def test_any_value_is_found_again_and_a_none_too(code: Code) -> None:
    f = code.db.cache("x", ttl=60).cached()(code.function(value))
    for _ in range(2):
        assert [code(f(n)) for n in range(len(VALUES))] == [*VALUES]
    assert len(calls) == len(VALUES)


def test_the_methods_of_a_cached_function_act_on_the_call_they_are_given(code: Code) -> None:
    cache = code.db.cache("x", ttl=60, grace=5)
    f = cache.cached(ttl=30, tags=["red"])(code.function(total))
    assert code(f.get(1)) is None
    assert code(f.info(1)).state == "missing"
    assert code(f.invalidate(1)) is False
    first = code(f(1))
    assert code(f.get(a=1)) == code(cache.get(f.key(1))) == first
    info = code(f.info(1))
    assert (info.state, info.tags, info.grace, info.written) == ("fresh", ("red",), 5, "created")
    assert 20 < info.ttl <= 30
    code(f.set("mine", 1))
    assert code(f(1)) == code(f.get(1, 2)) == "mine"
    info = code(f.info(1))
    assert (info.tags, info.grace, info.written) == (("red",), 5, "set")
    second = code(f.refresh(b=2, a=1))
    assert second[0] == 2
    assert code(f(1)) == second
    assert code(f.invalidate(1)) is True
    assert code(f(1))[0] == 3
    code(cache.invalidate_tags("red"))
    assert code(f.get(1)) is None
    assert code(f(1))[0] == 4
    assert code(f.original(1))[0] == 5
    assert code(f(1))[0] == 4
    assert repr(f).startswith("<Cached tests.")


def test_a_refresh_makes_a_value_whether_there_is_one_or_not(code: Code) -> None:
    f = code.db.cache("x", ttl=60).cached()(code.function(count))
    for n in range(1, 4):
        assert code(f.refresh(5)) == n
        assert code(f(5)) == n
    code(f.invalidate(5))
    assert code(f.refresh(5)) == 4
    assert code(f(5)) == 4


def test_a_cached_function_is_what_it_wraps_to_those_who_look(code: Code) -> None:
    f = code.db.cache("x", ttl=60).cached()(code.function(total))
    assert (f.__name__, f.__doc__, f.__module__) == ("total", total.__doc__, __name__)
    assert f.__wrapped__ is f.original
    assert inspect.signature(f) == inspect.signature(total)
    with pytest.raises(TypeError, match="total"):
        f()


def test_methods_are_cached_by_what_tells_their_objects_apart(code: Code) -> None:
    cache = code.db.cache("x", ttl=60)

    class User:
        def __init__(self, id: int) -> None:  # noqa: A002 - as users name it
            self.id = id

        @cache.cached(key="user:{self.id}:{what}")  # type: ignore[untyped-decorator]
        @code.function
        def look(self, what: str) -> list[Any]:
            return [self.id, what, calls.add(self.id)]

        @cache.cached(ignore="self", tags=["all"])  # type: ignore[untyped-decorator]
        @code.function
        def shared(self, n: int) -> int:
            return calls.add(self.id, n)

        @staticmethod
        @cache.cached()  # type: ignore[untyped-decorator]
        @code.function
        def static(n: int) -> int:
            return calls.add(n)

    ada, bob = User(1), User(2)
    for _ in range(2):
        assert code(ada.look("x")) == [1, "x", 1]
        assert code(bob.look("x")) == [2, "x", 2]
        assert code(User(1).look(what="x")) == [1, "x", 1]
    assert ada.look.key("x") == "user:1:x"
    assert code(ada.look.get("x")) == code(cache.get("user:1:x")) == [1, "x", 1]
    assert code(ada.look.original("x"))[:2] == [1, "x"]
    code(ada.look.set("mine", "x"))
    assert (code(ada.look("x")), code(bob.look("x"))[0]) == ("mine", 2)
    assert code(ada.look.refresh("x"))[:2] == [1, "x"]
    assert code(bob.look.info("x")).state == "fresh"
    assert code(bob.look.invalidate("x")) is True
    assert code(bob.look.get("x")) is None
    assert code(ada.shared(1)) == code(bob.shared(1))
    assert code(ada.static(1)) == code(User.static(1))


def test_a_function_is_known_by_its_name_its_version_and_its_cache(code: Code) -> None:
    cache, other = code.db.cache("x", ttl=60), code.db.cache("y", ttl=60)
    function = code.function(count)
    variants = [
        cache.cached()(function),
        cache.cached(version=2)(function),
        cache.cached(version="3")(function),
        cache.cached(name="mine")(function),
        cache.cached(key=lambda n: f"own:{n}")(function),
        other.cached()(function),
    ]
    assert [code(f(1)) for f in variants] == [1, 2, 3, 4, 5, 6]
    assert [code(f(1)) for f in variants] == [1, 2, 3, 4, 5, 6]
    assert variants[4].key(1) == "own:1"
    again = cache.cached(name="mine")(code.function(value))
    assert code(again(1)) == 4, "a name is all that tells functions apart"


def test_a_lambda_or_a_closure_needs_a_name_and_then_has_one(code: Code) -> None:
    cache = code.db.cache("x", ttl=60)

    def close_over(n: int) -> Callable[[], int]:
        return lambda: calls.add(n)

    with pytest.raises(TypeError, match="lambda"):
        cache.cached()(code.function(close_over(1)))
    f = cache.cached(name="mine")(code.function(close_over(1)))
    assert (code(f()), code(f())) == (1, 1)


def test_what_has_no_stable_key_is_refused_at_decoration_or_call_by_name(code: Code) -> None:
    cache = code.db.cache("x", ttl=60)

    def default(a: int, b: object = object()) -> None: ...

    def method(self: Any, a: int) -> None: ...

    def generator() -> Iterator[int]:
        yield 1

    method.__qualname__ = "User.method"
    for function, message in (
        (code.function(default), "b cannot be part of a cache key"),
        (code.function(method), "self"),
        (generator, "generator"),
        (5, "callable"),
    ):
        with pytest.raises(TypeError, match=message):
            cache.cached()(function)
    for options, message in (
        ({"ignore": "c"}, "ignore"),
        ({"key": "{c}"}, "'c'"),
        ({"key": "{a}", "version": 1}, "version"),
    ):
        with pytest.raises(ValueError, match=message):
            cache.cached(**options)(code.function(total))
    f = cache.cached()(code.function(total))
    for call in (f, f.key, f.get, f.refresh, f.invalidate, f.info, functools.partial(f.set, 1)):
        with pytest.raises(TypeError, match=r"^b cannot be part of a cache key"):
            call(1, object())
    assert calls == []


def test_it_goes_below_staticmethod_and_classmethod(code: Code) -> None:
    for above in (staticmethod, classmethod):
        with pytest.raises(TypeError, match=above.__name__):
            code.db.cache("x", ttl=60).cached()(above(code.function(total)))


def test_what_a_function_raises_is_raised_and_not_stored(code: Code) -> None:
    f = code.db.cache("x", ttl=60).cached()(code.function(fail))
    for n in (1, 2):
        with pytest.raises(Odd) as raised:
            code(f(7))
        assert raised.value.args == (7,)
        assert len(calls) == n
    assert code(f.info(7)).state == "missing"


def test_a_function_decides_as_it_runs(code: Code) -> None:
    def decide(n: int) -> int:
        fill = current_fill()
        fill.ttl, fill.grace = 5 + n, 7
        fill.tags.add(f"tag {n}")
        fill.store = n != 3
        return calls.add(n)

    cache = code.db.cache("x", ttl=60, jitter=0)
    f = cache.cached(tags=["all"])(code.function(decide))
    assert [code(f(n)) for n in (1, 2, 3, 3)] == [1, 2, 3, 4]
    info = code(f.info(1))
    assert (sorted(info.tags), info.grace) == (["all", "tag 1"], 7)
    assert 0 < info.ttl <= 6
    code(cache.invalidate_tags("tag 1"))
    assert (code(f.get(1)), code(f.get(2))) == (None, 2)
    code(cache.invalidate_tags("all"))
    assert code(f.get(2)) is None
    with pytest.raises(RuntimeError, match="current_fill"):
        current_fill()


def test_a_stale_result_is_served_and_refreshed(code: Code) -> None:
    f = code.db.cache("x", ttl=60).cached(ttl=0.05, grace=60)(code.function(count))
    assert code(f(1)) == 1
    wait_until(lambda: code(f.info(1)).state == "stale", "it is stale")
    assert code(f(1)) == 1
    wait_until(lambda: code(f(1)) > 1, "it is refreshed")


def test_a_local_hit_gives_every_caller_a_value_of_its_own(code: Code) -> None:
    cache = code.db.cache("x", ttl=60, local=Local(100))
    f = cache.cached()(code.function(total))

    def held() -> bool:
        before = code(cache.stats()).local
        code(f(1))
        return bool(code(cache.stats()).local > before)

    wait_until(held, "it is in the tier")
    code(f(1)).append("changed")
    assert len(code(f(1))) == 2
    assert len(calls) == 1
    code(f.invalidate(1))
    assert code(f(1))[0] == 2


def test_counted_above_it_are_calls_and_below_it_runs(code: Code) -> None:
    cache = code.db.cache("x", ttl=60)
    above = cache.count_calls(cache.cached()(code.function(total)))
    below = cache.cached()(cache.count_calls(code.function(count)))
    for _ in range(3):
        code(above(1))
        code(below(1))
    assert (code(cache.calls(total)), code(cache.calls(count))) == (3, 1)

"""Counting, recording and replaying calls, as those who learn Redis write it by hand."""

from __future__ import annotations

import asyncio
import runpy
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.cache import Call, Replay, replay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from octavo import Octavo, Sync
    from tests.fix_servers import Server

EXERCISE = """
import octavo
from octavo.cache import replay

with octavo.connect(URL, prefix=PREFIX) as db:
    cache = db.cache("exercise", ttl=3600)

    class Cache:
        @cache.count_calls
        @cache.call_history()
        def store(self, data):
            return cache.store(data)

        def get(self, key, fn=None):
            return cache.get(key, fn)

    mine = Cache()
    keys = [mine.store(data) for data in ("foo", "bar", 42)]
    replay(mine.store)
    TEST_CASES = {b"foo": None, 123: int, "bar": lambda d: d.decode("utf-8")}
    for value, fn in TEST_CASES.items():
        assert mine.get(mine.store(value), fn=fn) == value
    counted = cache.calls(mine.store), cache.calls(Cache.store)
"""


@pytest.fixture
def sync(server: Server, prefix: str) -> Iterator[Octavo[Sync]]:
    with octavo.connect(server.url, prefix=prefix) as db:
        yield db


def test_the_exercise_prints_what_it_is_to_print(
    server: Server, prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "exercise.py"
    script.write_text(EXERCISE)
    done = runpy.run_path(str(script), {"URL": server.url, "PREFIX": prefix})
    foo, bar, answer = done["keys"]
    assert capsys.readouterr().out == (
        "Cache.store was called 3 times:\n"
        f"Cache.store(*('foo',)) -> {foo}\n"
        f"Cache.store(*('bar',)) -> {bar}\n"
        f"Cache.store(*(42,)) -> {answer}\n"
    )
    assert done["counted"] == (6, 6)


def test_a_replay_says_what_it_prints(
    sync: Octavo[Sync], capsys: pytest.CaptureFixture[str]
) -> None:
    cache = sync.cache("x", ttl=60)

    @cache.call_history()
    def greet(name: str, *, loud: bool = False) -> str | None:
        return f"hi {name}" if name else None

    greet.__qualname__ = "greet"  # not the name that it is kept under
    name = "test_a_replay_says_what_it_prints.<locals>.greet"
    for done in ((), ("ada",), ("",)):
        if done:
            greet(*done)
    greet("bob", loud=True)
    greet.__qualname__ = name
    found = replay(greet)
    assert found == Replay(
        name,
        3,
        (
            Call("('ada',)", output="hi ada"),
            Call("('',)", output="None"),
            Call("('bob',)", "{'loud': True}", output="hi bob"),
        ),
    )
    assert found.inputs == ("('ada',)", "('',)", "('bob',)")
    assert found.outputs == ("hi ada", "None", "hi bob")
    assert capsys.readouterr().out == f"{found}\n"
    assert str(found).splitlines()[-1] == f"{name}(*('bob',), **{{'loud': True}}) -> hi bob"


def test_a_call_that_fails_stays_paired_with_its_error(sync: Octavo[Sync]) -> None:
    cache = sync.cache("x", ttl=60)

    @cache.count_calls
    @cache.call_history()
    def halve(n: int) -> int:
        if n % 2:
            raise ValueError(n)
        return n // 2

    for n in (2, 3, 4):
        try:
            halve(n)
        except ValueError as error:
            assert error.args == (3,)  # noqa: PT017 - the error is the function's own
    found = replay(halve)
    assert [(call.args, call.output, call.error) for call in found.calls] == [
        ("(2,)", "1", None),
        ("(3,)", None, "ValueError(3)"),
        ("(4,)", "2", None),
    ]
    assert len(found.inputs) == len(found.outputs) == found.count == cache.calls(halve) == 3
    assert str(found).splitlines()[2].endswith("halve(*(3,)) -> raised ValueError(3)")


def test_a_history_keeps_the_last_calls_and_counts_all(sync: Octavo[Sync]) -> None:
    cache = sync.cache("x", ttl=60)

    @cache.call_history(maxlen=3)
    def echo(n: int) -> int:
        return n

    for n in range(10):
        echo(n)
    found = replay(echo)
    assert (found.count, found.outputs) == (10, ("7", "8", "9"))
    assert found.inputs == ("(7,)", "(8,)", "(9,)")


def test_a_function_that_was_never_called_has_an_empty_history(
    sync: Octavo[Sync], capsys: pytest.CaptureFixture[str]
) -> None:
    cache = sync.cache("x", ttl=60)

    @cache.count_calls
    @cache.call_history()
    def never() -> None: ...

    found = replay(never)
    assert (found.count, found.calls, found.inputs, cache.calls(never)) == (0, (), (), 0)
    assert capsys.readouterr().out == f"{never.__qualname__} was called 0 times:\n"


@pytest.mark.parametrize("counted_above", [True, False])
def test_decorators_are_stacked_in_any_order(counted_above: bool, sync: Octavo[Sync]) -> None:
    cache = sync.cache("x", ttl=60)
    order: list[Callable[[Any], Any]] = [cache.call_history(), cache.count_calls]

    def function(a: int) -> int:
        """Have a docstring."""
        return a

    decorated: Any = function
    for decorate in order if counted_above else reversed(order):
        decorated = decorate(decorated)
    assert [decorated(1), decorated(a=2)] == [1, 2]
    assert (decorated.__name__, decorated.__doc__) == ("function", "Have a docstring.")
    assert cache.calls(decorated) == cache.calls(function) == 2
    assert replay(decorated).outputs == ("1", "2")
    assert replay(decorated).calls[1] == Call("()", "{'a': 2}", output="2")


def test_counts_are_everyones_and_outlive_clients_and_clearing(server: Server, prefix: str) -> None:
    def shared() -> None: ...

    for n in (1, 2):
        with octavo.connect(server.url, prefix=prefix) as db:
            cache = db.cache("x", ttl=60)
            cache.count_calls(shared)()
            cache.clear()
            assert cache.calls(shared) == n
            assert db.cache("y", ttl=60).calls(shared) == 0


def test_any_text_may_be_an_input_or_an_output(sync: Octavo[Sync]) -> None:
    cache = sync.cache("x", ttl=60)

    @cache.call_history()
    def echo(text: Any) -> Any:
        return text

    odd = ["", "\0", "ü🏆", "\ud800", "a\r\nb", b"\xff", "n" * 10_000, None]
    for text in odd:
        echo(text)
    assert replay(echo).outputs == tuple(str(text) for text in odd)
    assert replay(echo).inputs == tuple(repr((text,)) for text in odd)


def test_an_interrupt_is_recorded_and_raised(sync: Octavo[Sync]) -> None:
    cache = sync.cache("x", ttl=60)

    @cache.call_history()
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert replay(stop).calls == (Call("()", error="KeyboardInterrupt()"),)


def test_methods_are_recorded_without_their_object(sync: Octavo[Sync]) -> None:
    cache = sync.cache("x", ttl=60)

    class Shop:
        @cache.call_history()
        def sell(self, n: int) -> int:
            return n

        @classmethod
        @cache.call_history()
        def open(cls, n: int) -> int:
            return n

        @staticmethod
        @cache.call_history()
        def tax(n: int) -> int:
            return n

    shop = Shop()
    for method in (shop.sell, shop.open, Shop.tax):
        assert method(1) == 1
        assert replay(method).inputs == ("(1,)",)
        assert replay(method).name.endswith(f"Shop.{method.__name__}")


def test_async_functions_are_counted_recorded_and_replayed(
    server: Server, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        async with octavo.connect_async(server.url, prefix=prefix) as db:
            cache = db.cache("x", ttl=60)

            @cache.count_calls
            @cache.call_history(maxlen=50)
            async def halve(n: int) -> float:
                await asyncio.sleep(0)
                return n / (n % 4)

            results = await asyncio.gather(*map(halve, range(1, 9)), return_exceptions=True)
            found = await replay(halve)
            assert await cache.calls(halve) == found.count == len(found.calls) == 8
            by_input = {call.args: call for call in found.calls}
            for n, result in enumerate(results, 1):
                call = by_input[f"({n},)"]
                failed = isinstance(result, Exception)
                assert (call.output, call.error) == (
                    (None, repr(result)) if failed else (str(result), None)
                )
            assert capsys.readouterr().out == f"{found}\n"

            with pytest.raises(TypeError, match="connect\\(\\)"):
                cache.count_calls(lambda: 1)
            with pytest.raises(TypeError, match="connect\\(\\)"):
                cache.call_history()(lambda: 1)

    asyncio.run(main())

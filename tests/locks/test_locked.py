"""`db.locked`: functions that run while they hold a lock."""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import LockTimeout
from tests.calls import Call
from tests.locks.cases import EMBEDDED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect
    from tests.fix_servers import Server
    from tests.locks.cases import Outside

FLOWS = pytest.mark.parametrize("face", ["sync", "async"])


def held(db: Octavo[Sync]) -> list[str]:
    """Return which locks somebody holds."""
    return sorted(info.name for info in db.locks.list() if info.holders)


# Names.


@EMBEDDED
def test_a_lock_is_named_after_arguments_however_they_are_given(
    client: Octavo[Sync], other: Octavo[Sync]
) -> None:
    @client.locked("job:{id}")
    def run(id: int, *, day: str = "today") -> list[str]:  # noqa: A002
        return [*held(other), day]

    assert run(7) == ["job:7", "today"]
    assert run(id=8, day="monday") == ["job:8", "monday"]
    assert held(other) == []


@EMBEDDED
def test_a_name_may_take_defaults_attributes_items_and_formats(
    client: Octavo[Sync], other: Octavo[Sync]
) -> None:
    @client.locked("{day}.{number.real:03d}.{parts[0]}.{rest[x]}.{{}}")
    def run(number: int, *parts: str, day: str = "today", **rest: str) -> list[str]:
        return held(other)

    assert run(7, "a", "b", x="z") == ["today.007.a.z.{}"]
    assert run(7, "a", day="monday", x="z") == ["monday.007.a.z.{}"]


@EMBEDDED
def test_a_name_without_fields_is_itself(client: Octavo[Sync], other: Octavo[Sync]) -> None:
    @client.locked("{{job}}")
    def run() -> list[str]:
        return held(other)

    assert run() == ["{job}"]


@EMBEDDED
def test_a_method_may_be_locked_by_what_it_belongs_to(
    client: Octavo[Sync], other: Octavo[Sync]
) -> None:
    class Account:
        def __init__(self, number: int) -> None:
            self.number = number

        @client.locked("account:{self.number}:{kind}")
        def close(self, kind: str) -> list[str]:
            return [*held(other), f"{self.number} {kind}"]

        @staticmethod
        @client.locked("static:{kind}")
        def count(kind: str) -> list[str]:
            return [*held(other), kind]

    assert Account(3).close("full") == ["account:3:full", "3 full"]
    assert Account.count("x") == ["static:x", "x"]


# Calls.


@EMBEDDED
def test_it_is_released_at_the_end_and_after_an_error(
    client: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    @client.locked("x")
    def fail(number: int) -> float:
        assert outside().leases
        return 1 / number

    assert fail(2) == 0.5
    assert outside().idle
    with pytest.raises(ZeroDivisionError):
        fail(0)
    assert outside().idle


@EMBEDDED
def test_threads_are_inside_one_at_a_time(client: Octavo[Sync]) -> None:
    inside = done = 0

    @client.locked("x:{key}", wait=15)
    def work(key: str) -> None:
        nonlocal inside, done
        inside += 1
        assert inside == 1
        done += 1
        inside -= 1

    calls = [Call(lambda: [work("k") for _ in range(15)]) for _ in range(4)]
    for call in calls:
        call.result()
    assert done == 60


@EMBEDDED
async def test_tasks_are_inside_one_at_a_time(server: Server, prefix: str) -> None:
    inside = done = 0
    async with octavo.connect_async(server.url, prefix=prefix) as db:

        @db.locked("x:{key}")
        async def work(key: str) -> str:
            nonlocal inside, done
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            done += 1
            inside -= 1
            return key

        assert await asyncio.gather(*(work("k") for _ in range(20))) == ["k"] * 20
    assert done == 20


@pytest.mark.parametrize("wait", [0, 0.05])
def test_who_finds_it_busy_raises_or_skips(
    wait: float, client: Octavo[Sync], other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    calls = list[str]()

    def run(name: str) -> str:
        calls.append(name)
        return name

    insists = client.locked("{name}", wait=wait)(run)
    skips = client.locked("{name}", wait=wait, on_busy="skip")(run)
    lease = other.lock("x").acquire()
    with pytest.raises(LockTimeout, match="'x'"):
        insists("x")
    assert skips("x") is None
    assert [insists("y"), skips("y")] == ["y", "y"]
    assert lease.release() is True
    assert [insists("x"), skips("x")] == ["x", "x"]
    assert calls == ["y", "y", "x", "x"]
    assert (outside().leases, outside().queue) == ({}, [])


async def test_an_async_function_that_finds_it_busy_raises_or_skips(
    server: Server, prefix: str, other: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    async with octavo.connect_async(server.url, prefix=prefix) as db:

        async def run(name: str) -> str:
            return name

        insists = db.locked("{name}", wait=0)(run)
        skips = db.locked("{name}", wait=0.05, on_busy="skip")(run)
        lease = other.lock("x").acquire()
        with pytest.raises(LockTimeout, match="'x'"):
            await insists("x")
        assert await skips("x") is None
        lease.release()
        assert [await insists("x"), await skips("x")] == ["x", "x"]
    assert outside().idle


@EMBEDDED
def test_a_timeout_of_the_function_itself_is_no_reason_to_skip(client: Octavo[Sync]) -> None:
    @client.locked("x", on_busy="skip")
    def run() -> None:
        raise LockTimeout("another lock")

    with pytest.raises(LockTimeout, match="another lock"):
        run()


@EMBEDDED
def test_options_are_those_of_the_lock(
    client: Octavo[Sync], outside: Callable[..., Outside]
) -> None:
    @client.locked("x", ttl=200, reentrant=True)
    def nested(*, again: bool) -> float:
        return nested(again=False) if again else max(outside().leases.values())

    assert 198 < nested(again=True) <= 200
    assert outside().idle


# What is refused at decoration.


@FLOWS
def test_what_it_makes_is_known_as_the_function(
    connect: Connect, proxy: WireProxy, face: str
) -> None:
    def plain(x: int) -> str:
        """Say it."""
        return str(x)

    async def coroutine(x: int) -> str:
        """Say it."""
        return str(x)

    function: Any = plain if face == "sync" else coroutine
    made = connect(proxy.url).locked("x")(function)
    assert made.__name__ == function.__name__
    assert made.__doc__ == "Say it."
    assert made.__wrapped__ is function  # type: ignore[attr-defined]
    assert inspect.signature(made) == inspect.signature(function)
    assert inspect.iscoroutinefunction(made) is (face == "async")


@FLOWS
def test_functions_of_another_kind_are_refused(
    connect: Connect, proxy: WireProxy, face: str
) -> None:
    def plain() -> None: ...
    async def coroutine() -> None: ...
    def generator() -> Iterator[int]:
        yield 1

    async def async_generator() -> AsyncIterator[int]:
        yield 1

    locked = connect(proxy.url).locked("x")
    for bad in (generator, async_generator):
        with pytest.raises(TypeError, match="yields"):
            locked(bad)
    other_kind: Any = coroutine if face == "sync" else plain
    with pytest.raises(TypeError, match="this client decorates"):
        locked(other_kind)
    with pytest.raises(TypeError):
        locked(functools.partial(generator))
    assert proxy.accepted == 0


def taking_x(face: str) -> Any:
    """Return a function of one argument `x`, of the kind that the face decorates."""

    def plain(x: int) -> int:
        return x

    async def coroutine(x: int) -> int:
        return x

    return plain if face == "sync" else coroutine


@FLOWS
@pytest.mark.parametrize("name", ["job:{id}", "{x}{id.name}", "{id[0]}", "{}", "{0}"])
def test_a_field_that_the_function_does_not_take_is_refused(
    name: str, connect: Connect, proxy: WireProxy, face: str
) -> None:
    with pytest.raises(ValueError, match=r"which <function .* does not take"):
        connect(proxy.url).locked(name)(taking_x(face))


@FLOWS
@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("wait", bad) for bad in (-1, "5", float("nan"))),
        *(("on_busy", bad) for bad in ("wait", None, True)),
        *(("ttl", bad) for bad in (0, "5", None)),
        *(("fair", 1), ("reentrant", None), ("tag", 5), ("sync", 0), ("max_hold", 1)),
        *(("name", bad) for bad in ("", 5, None, b"x")),
    ],
)
def test_bad_options_are_refused_by_name(
    option: str, value: Any, connect: Connect, proxy: WireProxy
) -> None:
    locked: Any = connect(proxy.url).locked
    with pytest.raises((TypeError, ValueError), match=rf"\b{option} must "):
        locked(**{"name": "x", option: value})
    assert proxy.accepted == 0


@FLOWS
@pytest.mark.parametrize("name", ["{x", "x}"])
def test_a_name_that_is_no_template_is_refused(
    name: str, connect: Connect, proxy: WireProxy, face: str
) -> None:
    with pytest.raises(ValueError, match=r".+"):
        connect(proxy.url).locked(name)(taking_x(face))


@EMBEDDED
def test_a_call_that_does_not_fit_the_function_fails_as_it_would(client: Octavo[Sync]) -> None:
    @client.locked("{x}")
    def run(x: str) -> str:
        return x

    bad: Any = run
    for args in ((), ("a", "b")):
        with pytest.raises(TypeError, match="argument"):
            bad(*args)
    with pytest.raises(ValueError, match="name must not be empty"):
        run("")

"""Flows that go on by themselves, and functions of the user's with a command meanwhile."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import time
import warnings
import weakref
from contextvars import ContextVar, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.engine.command import CallUser, Command, Signal, Sleep, Spawn, WaitFor
from octavo.testing.waiting import wait_until
from tests.engine.lab import Lab, async_lab, command, eventually, lab_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Standalone
    from tests.fix_faces import Connect

FLOWS = pytest.mark.parametrize("face", ["sync", "async"])
FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
VARIABLE: ContextVar[str] = ContextVar("variable", default="none")


def incr(lab: Any, name: str) -> Command[Any]:
    return command("INCR", lab.key(name))


def call(function: Callable[..., Any], *args: object, **how: Any) -> CallUser[Any]:
    return CallUser(function, *args, **how)


# Spawn.


@FLOWS
def test_a_spawned_flow_goes_on_when_the_one_that_started_it_has_ended(lab: Any) -> None:
    go = Signal()

    async def later(name: str) -> None:
        await WaitFor(go)
        await incr(lab, name)

    lab.start(later, "n")
    assert lab.get("n") is None
    go.set()
    wait_until(lambda: lab.get("n") == b"1", "the flow has ended")


@FLOWS
def test_spawned_flows_run_at_the_same_time(lab: Any) -> None:
    signals = [Signal() for _ in range(20)]

    async def relay(number: int) -> None:
        await WaitFor(signals[number])
        if number:
            signals[number - 1].set()
        await incr(lab, "n")

    for number in range(20):
        lab.start(relay, number)
    signals[-1].set()
    wait_until(lambda: lab.get("n") == b"20", "each has woken the one before it")


@FLOWS
def test_more_flows_than_there_are_threads_all_end(lab: Any) -> None:
    async def count() -> None:
        await Sleep(0.01)
        await incr(lab, "n")

    for _ in range(100):
        lab.start(count)
    wait_until(lambda: lab.get("n") == b"100", "all have ended")


@FLOWS
def test_a_spawned_flow_may_spawn(lab: Any) -> None:
    async def down(depth: int) -> None:
        await incr(lab, "n")
        if depth:
            await Spawn(down, depth - 1)

    lab.start(down, 5)
    wait_until(lambda: lab.get("n") == b"6", "the last one has ended")


def test_a_spawned_flow_sees_the_context_of_who_started_it_in_sync_code(
    proxy: WireProxy, prefix: str
) -> None:
    seen: list[str] = []
    with octavo.connect(proxy.url, prefix=prefix) as client:

        async def look() -> None:
            seen.append(VARIABLE.get())
            VARIABLE.set("its own")

        def start() -> None:
            VARIABLE.set("starter's")
            Lab(client).start(look)
            wait_until(lambda: seen, "it has run")
            assert VARIABLE.get() == "starter's"

        copy_context().run(start)
    assert seen == ["starter's"]


async def test_a_spawned_flow_sees_the_context_of_who_started_it_in_async_code(
    proxy: WireProxy, prefix: str
) -> None:
    seen: list[str] = []

    async def look() -> None:
        seen.append(VARIABLE.get())
        VARIABLE.set("its own")

    async with async_lab(proxy.url, prefix) as lab:
        VARIABLE.set("starter's")
        await lab.start(look)
        await eventually(lambda: seen, "it has run")
    assert (seen, VARIABLE.get()) == (["starter's"], "starter's")


async def test_neither_cancelling_who_started_it_nor_a_collection_ends_a_spawned_flow(
    proxy: WireProxy, prefix: str
) -> None:
    signals: list[weakref.ref[Signal]] = []
    async with async_lab(proxy.url, prefix) as lab:

        async def later() -> None:
            go = Signal()  # which nothing else holds
            signals.append(weakref.ref(go))
            await WaitFor(go)
            await incr(lab, "n")

        async def start_and_wait() -> None:
            await lab.start(later)
            await asyncio.sleep(60)

        task = asyncio.create_task(start_and_wait())
        await eventually(lambda: signals, "it has begun")
        task.cancel()
        await asyncio.wait((task,))
        del task
        gc.collect()
        signal = signals[0]()
        assert signal is not None
        signal.set()
        async with asyncio.timeout(5):
            while await lab.get("n") != b"1":
                await asyncio.sleep(0.005)


@FORKS
def test_a_forked_child_has_threads_of_its_own_for_its_flows(standalone: Standalone) -> None:
    client = octavo.connect(standalone.url)
    lab = Lab(client)

    async def count(name: str) -> None:
        await incr(lab, name)

    lab.start(count, "parent")
    wait_until(lambda: lab.get("parent") == b"1", "the parent's has run")
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            lab.start(count, "child")
            wait_until(lambda: lab.get("child") == b"1", "the child's has run", timeout=5)
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    lab.start(count, "parent")
    wait_until(lambda: lab.get("parent") == b"2", "the parent's has run")
    client.close()


def test_closing_a_sync_client_leaves_no_thread_and_nothing_to_warn_of(
    proxy: WireProxy, prefix: str
) -> None:
    client = octavo.connect(proxy.url, prefix=prefix)
    lab, release, ended = Lab(client), threading.Event(), list[BaseException | None]()

    async def hold() -> None:
        await CallUser(release.wait, 10)
        try:
            await incr(lab, "n")
        except RuntimeError as error:
            ended.append(error)

    before = threading.active_count()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for _ in range(40):  # more than there are threads: some are still in line
            lab.start(hold)
        client.close()
        release.set()
        wait_until(lambda: threading.active_count() <= before, "the threads have ended")
        gc.collect()
    assert [str(each.message) for each in warned] == []
    assert {str(error) for error in ended} <= {"this client is closed"}
    with pytest.raises(RuntimeError, match="closed"):
        lab.start(hold)


# CallUser.


@FLOWS
def test_a_function_sees_the_context_that_it_is_given(lab: Any) -> None:
    def given() -> None:
        VARIABLE.set("given")

    context = copy_context()
    context.run(given)
    assert lab.perform(call(VARIABLE.get, context=context)) == "given"
    assert lab.perform(call(VARIABLE.get)) == "none"


async def test_a_coroutine_function_sees_the_context_that_it_is_given(proxy: WireProxy) -> None:
    async def look() -> str:
        await asyncio.sleep(0)
        return VARIABLE.get()

    context = copy_context()
    context.run(VARIABLE.set, "given")
    async with async_lab(proxy.url) as lab:
        assert await lab.perform(call(look, context=context)) == "given"
        VARIABLE.set("caller's")
        assert await lab.perform(call(look)) == "caller's"


@FLOWS
def test_a_command_runs_every_so_often_while_the_function_does(lab: Any) -> None:
    def wait() -> str:
        wait_until(lambda: lab.get("beat") == b"3", "three beats")
        return "done"

    began = time.monotonic()
    effect = call(wait, meanwhile=partial(incr, lab, "beat"), every=0.05)
    assert lab.perform(effect) == "done"
    assert time.monotonic() - began >= 0.15
    beats = int(lab.get("beat"))
    time.sleep(0.12)  # time for beats that must not come
    assert int(lab.get("beat")) <= beats + 1


@FLOWS
def test_nothing_runs_meanwhile_if_the_function_is_quick(lab: Any) -> None:
    made: list[int] = []

    def make() -> Command[Any]:
        made.append(1)
        return incr(lab, "beat")

    assert lab.perform(call(divmod, 7, 2, meanwhile=make, every=5)) == (3, 1)
    assert not made


@FLOWS
def test_a_functions_error_ends_what_runs_meanwhile_and_is_raised_as_it_is(lab: Any) -> None:
    error = LookupError("the user's own")

    def fail() -> None:
        wait_until(lambda: lab.get("beat"), "a beat")
        raise error

    with pytest.raises(LookupError) as caught:
        lab.perform(call(fail, meanwhile=partial(incr, lab, "beat"), every=0.01))
    assert caught.value is error


@FLOWS
def test_what_fails_meanwhile_is_logged_and_harms_nobody(
    lab: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "octavo")
    lab.put("beat", "no number")
    tried: list[int] = []

    def make() -> Command[Any]:
        tried.append(1)
        return incr(lab, "beat")

    def wait() -> str:
        wait_until(lambda: len(tried) >= 3, "three tries")
        return "done"

    assert lab.perform(call(wait, meanwhile=make, every=0.01)) == "done"
    assert "not an integer" in caplog.text


async def test_cancelling_a_flow_cancels_the_coroutine_it_called(proxy: WireProxy) -> None:
    state: list[str] = []

    async def hold() -> None:
        state.append("begun")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            state.append("cancelled")
            raise

    async with async_lab(proxy.url) as lab:
        for meanwhile in (None, partial(incr, lab, "beat")):
            state.clear()
            effect = call(hold, meanwhile=meanwhile, every=0.01)
            task = asyncio.create_task(lab.perform(effect))
            await eventually(lambda: state, "it has begun")
            await asyncio.sleep(0.03)
            task.cancel()
            await asyncio.wait((task,))
            assert task.cancelled()
            await eventually(lambda: state == ["begun", "cancelled"], "it was cancelled")


async def test_an_async_function_may_return_what_is_to_be_awaited(proxy: WireProxy) -> None:
    class Adder:
        async def __call__(self, value: int) -> int:
            return value + 1

    async def later(value: int) -> int:
        await asyncio.sleep(0)
        return value

    async with async_lab(proxy.url) as lab:
        assert await lab.perform(call(lambda: later(3))) == 3
        assert await lab.perform(call(partial(later, 4))) == 4
        assert await lab.perform(call(Adder(), 4)) == 5


async def test_a_function_that_is_not_async_leaves_the_loop_to_others(
    proxy: WireProxy, prefix: str
) -> None:
    release = threading.Event()
    async with async_lab(proxy.url, prefix) as lab:
        task = asyncio.create_task(lab.perform(call(release.wait, 10)))
        assert await lab.add("n") == 1
        assert not task.done()
        release.set()
        assert await task is True


@FLOWS
def test_a_client_closed_while_a_function_runs_ends_the_flow(
    connect: Connect, proxy: WireProxy, face: str
) -> None:
    client: Any = connect(proxy.url)
    lab, begun, release = lab_of(client), threading.Event(), threading.Event()
    ended: list[str] = []

    def hold() -> Any:
        begun.set()
        release.wait(10)

    def work() -> None:
        try:
            lab.guarded("door", lambda: call(hold, meanwhile=partial(incr, lab, "x"), every=0.02))
        except RuntimeError as error:
            ended.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(5)
    client.aclose() if face == "async" else client.close()
    release.set()
    thread.join(10)
    assert ended == ["this client is closed"]


@FORKS
def test_a_function_may_fork_while_a_command_runs_meanwhile(standalone: Standalone) -> None:
    with octavo.connect(standalone.url) as client:
        lab = Lab(client)

        def fork() -> int:
            wait_until(lambda: lab.get("beat"), "a beat")
            return os.fork()

        pid = lab.perform(call(fork, meanwhile=partial(incr, lab, "beat"), every=0.01))
        if pid == 0:
            status = 1
            try:
                effect = call(
                    lambda: wait_until(lambda: lab.get("child"), "a beat", timeout=5),
                    meanwhile=partial(incr, lab, "child"),
                    every=0.01,
                )
                lab.perform(effect)
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo import Pending
from octavo.engine.command import CallUser, Command, Job, Signal, Sleep, operation
from octavo.testing.waiting import wait_until
from tests.engine.lab import Foreign, Lab, command, eventually, took

if TYPE_CHECKING:
    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy

FLOWS = pytest.mark.parametrize("face", ["sync", "async"])


def test_an_operation_looks_like_the_method_it_was_made_from() -> None:
    add: Any = Lab.add
    assert (add.__name__, add.__qualname__) == ("add", "Lab.add")
    assert add.__doc__ == "Add to a counter; doing so twice is not doing so once."
    assert list(inspect.signature(add).parameters) == ["self", "name", "by"]
    assert inspect.signature(add).parameters["by"].default == 1
    assert "INCRBY" in inspect.getsource(add)


def test_a_flow_looks_like_the_method_it_was_made_from() -> None:
    swap: Any = Lab.swap
    assert (swap.__name__, swap.__qualname__) == ("swap", "Lab.swap")
    assert swap.__doc__ == "Swap two values, in four steps."
    assert list(inspect.signature(swap).parameters) == ["self", "first", "second"]


def test_the_traceback_of_an_operation_shows_the_method(client: Octavo[Sync]) -> None:
    class Broken(Lab[Any]):
        @operation
        def fail(self) -> Command[None]:
            raise LookupError("here")

    with pytest.raises(LookupError) as caught:
        Broken(client).fail()
    assert caught.traceback[-1].name == "fail"


def test_an_argument_that_does_not_fit_is_refused_before_anything_is_sent(
    lab: Any, proxy: WireProxy
) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'times'"):
        lab.add("n", times=2)
    assert not proxy.commands


def test_an_operation_gives_a_result_on_the_sync_face(client: Octavo[Sync]) -> None:
    assert Lab(client).add("n") == 1


async def test_an_operation_gives_a_coroutine_on_the_async_face(
    proxy: WireProxy, prefix: str
) -> None:
    async with octavo.connect_async(proxy.url, prefix=prefix) as db:
        coroutine = Lab(db).add("n")
        assert inspect.iscoroutine(coroutine)
        assert "INCRBY" not in proxy.commands
        assert await coroutine == 1


def test_an_operation_gives_a_pending_on_the_batch_face(client: Octavo[Sync]) -> None:
    with client.batch() as batch:
        pending = Lab(batch).add("n")
        assert isinstance(pending, Pending)
    assert pending.result() == 1


def test_a_pending_says_how_far_it_is(client: Octavo[Sync]) -> None:
    with client.batch(raise_on_error=False) as batch:
        good, bad = Lab(batch).add("n"), Lab(batch).send(command("HGET", b"n"))
        assert repr(good) == "<Pending lab.add: not run>"
        assert (good.done, good.exception()) == (False, None)
    assert repr(good) == "<Pending lab.add: 1>"
    assert (good.done, good.exception()) == (True, None)
    assert repr(bad).startswith("<Pending lab.send: ServerError(")
    assert bad.done
    with pytest.raises(octavo.ServerError):
        bad.result()


def test_a_batch_refuses_a_flow(client: Octavo[Sync], proxy: WireProxy) -> None:
    with client.batch() as batch, pytest.raises(TypeError, match=r"lab\.swap .* no batch form"):
        Lab(batch).swap("a", "b")  # type: ignore[arg-type]
    assert not proxy.commands


def test_a_batch_refuses_what_needs_a_connection_of_its_own(client: Octavo[Sync]) -> None:
    with client.batch() as batch, pytest.raises(ValueError, match="connection of its own"):
        Lab(batch).take("list", 1)


@FLOWS
def test_a_flow_runs_to_its_end_on_both_faces(lab: Any) -> None:
    lab.put("a", "1")
    lab.put("b", "2")
    assert lab.swap("a", "b") == (b"2", b"1")
    assert (lab.get("a"), lab.get("b")) == (b"2", b"1")


@FLOWS
def test_an_error_is_thrown_into_the_flow_which_may_compensate(lab: Any) -> None:
    def divide() -> Any:
        return command("GET", lab.key("n"), read=lambda _: 1 // 0)

    assert lab.guarded("door", divide) == "compensated"
    assert (lab.get("door:in"), lab.get("door:out")) == (b"1", b"2")


@FLOWS
def test_an_error_the_flow_does_not_catch_runs_its_clean_up_and_is_raised(lab: Any) -> None:
    def refused() -> Any:
        return command("INCR", lab.key("text"))

    lab.put("text", "no number")
    with pytest.raises(octavo.ServerError, match="not an integer"):
        lab.guarded("door", refused)
    assert (lab.get("door:in"), lab.get("door:out")) == (b"1", b"2")


@FLOWS
def test_awaiting_anything_else_is_a_type_error_thrown_into_the_flow(lab: Any) -> None:
    with pytest.raises(TypeError, match=r"a flow awaits Commands, .* not Foreign"):
        lab.guarded("door", Foreign)
    assert (lab.get("door:in"), lab.get("door:out")) == (b"1", b"2")


@FLOWS
def test_a_flow_must_not_await_asyncio_itself(lab: Any) -> None:
    with pytest.raises(TypeError, match="a flow awaits Commands"):
        lab.guarded("door", lambda: asyncio.sleep(0))
    assert lab.get("door:out") == b"2"


def test_an_interrupt_in_a_sync_flow_runs_its_clean_up(client: Octavo[Sync]) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    lab = Lab(client)
    with pytest.raises(KeyboardInterrupt):
        lab.guarded("door", lambda: CallUser[None](interrupt))
    assert lab.get("door:out") == b"2"


async def test_clean_up_after_a_cancellation_runs_to_its_end_although_cancelled_again(
    proxy: WireProxy, prefix: str
) -> None:
    async with octavo.connect_async(proxy.url, prefix=prefix) as db:
        lab = Lab(db)
        task = asyncio.create_task(lab.guarded("door", lambda: Sleep(60)))
        await eventually(lambda: proxy.commands["INCR"] == 1, "the flow sleeps")
        await asyncio.sleep(0.01)
        proxy.delay(reply=0.03)
        again = 0
        while not task.done():
            again += task.cancel()
            await asyncio.sleep(0)  # in every turn of the loop, so also in that of the reply
        assert task.cancelled()
        assert again > 5
        proxy.delay()
        assert await lab.get("door:out") == b"2"


async def test_a_cancelled_flow_ends_as_cancelled_for_a_timeout_around_it(
    proxy: WireProxy, prefix: str
) -> None:
    async with octavo.connect_async(proxy.url, prefix=prefix) as db:
        lab = Lab(db)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await lab.guarded("door", lambda: Sleep(60))
        assert await lab.get("door:out") == b"2"


@FLOWS
def test_a_flow_may_sleep(lab: Any, proxy: WireProxy) -> None:
    with took(0.1, 4):
        lab.nap(0.1)
    assert not proxy.commands


@FLOWS
def test_a_flow_wakes_when_any_thread_sets_its_signal(lab: Any) -> None:
    signal = Signal()
    waiting = [threading.Thread(target=lab.wait_for, args=(signal,)) for _ in range(3)]
    for one in waiting:
        one.start()
    threading.Timer(0.05, signal.set).start()
    with took(0, 5):
        assert lab.wait_for(signal, 10) is True
        for one in waiting:
            one.join()
    assert lab.wait_for(signal) is True


@FLOWS
def test_waiting_for_a_signal_ends_at_its_timeout(lab: Any) -> None:
    with took(0.1, 4):
        assert lab.wait_for(Signal(), 0.1) is False


@FLOWS
def test_a_flow_calls_a_function_of_the_users(lab: Any) -> None:
    assert lab.ask(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        lab.ask(divmod, 7, 0)


async def test_an_async_flow_calls_coroutine_functions_too(proxy: WireProxy) -> None:
    async def later(value: int) -> int:
        await asyncio.sleep(0.01)
        return value

    async with octavo.connect_async(proxy.url) as db:
        assert await Lab(db).ask(later, 3) == 3


async def test_a_flow_that_waits_leaves_the_loop_to_others(proxy: WireProxy, prefix: str) -> None:
    async with octavo.connect_async(proxy.url, prefix=prefix) as db:
        lab, signal = Lab(db), Signal()
        waiting = asyncio.create_task(lab.wait_for(signal))
        assert await lab.add("n") == 1
        assert not waiting.done()
        threading.Thread(target=signal.set).start()
        assert await waiting is True


def test_a_signal_forgets_waiters_that_gave_up(client: Octavo[Sync]) -> None:
    signal = Signal()

    async def give_up() -> None:
        assert not await signal.wait_async(0.01)

    asyncio.run(give_up())
    signal.set()  # would fail on the closed loop of a waiter it still knew


def test_a_job_holds_no_connection(client: Octavo[Sync], proxy: WireProxy) -> None:
    jobs: list[Job[Sync]] = [Lab(client) for _ in range(50)]
    wait_until(lambda: proxy.connections == 1, "one connection serves them")
    assert len(jobs) == 50

"""The engine for tasks."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

import pytest

import octavo
from octavo.engine.wire import pack
from octavo.testing.waiting import wait_until
from tests.engine.lab import Lab, async_lab, command, eventually, took
from tests.engine.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from octavo import Async, Octavo, Pending
    from octavo.engine.aio import Channel
    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Standalone


async def say(lab: Lab[Async], text: str) -> bytes:
    reply: bytes = await lab.send(command("ECHO", None, text))
    return reply


def channel_of(lab: Lab[Async]) -> Channel:
    """Return the shared connection of the one node."""
    engine: Any = lab._call.__self__  # type: ignore[attr-defined]
    (lane,) = engine._homes[asyncio.get_running_loop()].lanes.values()
    return cast("Channel", lane.shared)


class Counted:
    """A transport that counts writes."""

    def __init__(self, lab: Lab[Async]) -> None:
        channel: Any = channel_of(lab)
        self._transport = channel._transport
        self.writes = 0
        channel._transport = self

    def write(self, data: bytes) -> None:
        self.writes += 1
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


async def gathered(*work: Coroutine[Any, Any, Any]) -> Counter[str]:
    """Run coroutines together; return how often each kind of outcome was met."""
    results = await asyncio.gather(*work, return_exceptions=True)
    return Counter(
        f"{type(one).__name__} {getattr(one, 'outcome', '')}".rstrip()
        if isinstance(one, BaseException)
        else "done"
        for one in results
    )


async def test_connecting_sends_nothing_until_the_first_operation(proxy: WireProxy) -> None:
    client = octavo.connect_async(proxy.url)
    lab = Lab(client)
    await asyncio.sleep(0)
    assert proxy.accepted == 0
    await lab.get("nothing")
    assert proxy.accepted == 1
    await client.aclose()


async def test_commands_of_one_turn_leave_together_sixteen_a_write(
    proxy: WireProxy, prefix: str
) -> None:
    async with async_lab(proxy.url, prefix) as lab:
        counted = Counted(lab)
        first = asyncio.create_task(say(lab, "first"))
        await asyncio.sleep(0)
        assert counted.writes == 1
        replies = await asyncio.gather(*(say(lab, str(i)) for i in range(500)))
        assert replies == [b"%d" % i for i in range(500)]
        assert await first == b"first"
        assert counted.writes == 1 + 32
    assert proxy.accepted == 1


async def test_a_lone_caller_takes_a_direct_path(proxy: WireProxy, prefix: str) -> None:
    async with async_lab(proxy.url, prefix) as lab:
        counted = Counted(lab)
        tasks = asyncio.all_tasks()
        coroutine = say(lab, "alone")
        waiting_for = coroutine.send(None)
        assert counted.writes == 1
        assert asyncio.all_tasks() == tasks
        assert isinstance(waiting_for, asyncio.Future)
        await eventually(waiting_for.done, "the reply came")
        with pytest.raises(StopIteration) as stop:
            coroutine.send(None)
        assert stop.value.value == b"alone"


async def test_replies_of_single_commands_and_batches_keep_their_order(
    proxy: WireProxy, prefix: str
) -> None:
    async with octavo.connect_async(proxy.url, prefix=prefix) as client:
        lab = Lab(client)

        async def single(text: str) -> None:
            assert await say(lab, text) == text.encode()

        async def many(text: str, *, atomic: bool) -> None:
            async with client.batch(atomic=atomic) as batch:
                said = [Lab(batch).send(command("ECHO", None, f"{text}-{i}")) for i in range(5)]
            assert [one.result() for one in said] == [f"{text}-{i}".encode() for i in range(5)]

        def one(i: int) -> Coroutine[Any, Any, None]:
            return single(str(i)) if i % 3 == 0 else many(str(i), atomic=i % 3 == 1)

        await asyncio.gather(*(one(i) for i in range(300)))
    assert proxy.accepted == 1


async def test_ten_thousand_callers_share_one_socket(proxy: WireProxy, prefix: str) -> None:
    async with async_lab(proxy.url, prefix, timeout=30.0) as lab:
        replies = await asyncio.gather(*(say(lab, str(i)) for i in range(10_000)))
        assert replies == [b"%d" % i for i in range(10_000)]
    assert proxy.accepted == 1


async def test_a_crowd_that_finds_no_connection_opens_one(proxy: WireProxy, prefix: str) -> None:
    client = octavo.connect_async(proxy.url, prefix=prefix)
    lab = Lab(client)
    proxy.delay(reply=0.05)
    tasks = [asyncio.create_task(say(lab, str(i))) for i in range(100)]
    await asyncio.sleep(0.02)
    tasks[0].cancel()  # the one that began to connect takes nothing from the others
    assert await asyncio.gather(*tasks[1:]) == [b"%d" % i for i in range(1, 100)]
    assert proxy.accepted == 1
    await client.aclose()


async def test_a_thousand_cancellations_under_load_never_shift_a_reply(
    standalone: Standalone, prefix: str
) -> None:
    seed = random.randrange(10**6)
    print(f"{seed=}")
    rng = random.Random(seed)
    answered = in_flight = cancelled = 0
    async with octavo.connect_async(standalone.url, prefix=prefix) as client:
        lab = Lab(client)
        await say(lab, "first")
        channel = channel_of(lab)

        async def ask(text: str) -> None:
            nonlocal answered
            assert await say(lab, text) == text.encode()
            answered += 1

        async def ask_many(text: str) -> None:
            nonlocal answered
            async with client.batch(atomic=rng.random() < 0.5) as batch:
                said = [Lab(batch).send(command("ECHO", None, f"{text}-{i}")) for i in range(3)]
            assert [one.result() for one in said] == [f"{text}-{i}".encode() for i in range(3)]
            answered += 1

        while cancelled < 1000:
            kinds = [rng.choice((ask, ask, ask_many)) for _ in range(40)]
            tasks = [asyncio.create_task(kind(f"{cancelled}-{i}")) for i, kind in enumerate(kinds)]
            for _ in range(rng.randrange(6)):
                await asyncio.sleep(0)
            for task in rng.sample(tasks, 15):
                in_flight += bool(cast("Any", channel)._in_flight) and not task.done()
                cancelled += task.cancel()
                if rng.random() < 0.3:
                    await asyncio.sleep(0)
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert not [one for one in outcomes if isinstance(one, Exception)]
        assert channel_of(lab) is channel
    assert in_flight > 100
    assert answered > 1000


async def test_a_command_cancelled_before_it_left_is_not_sent(
    proxy: WireProxy, prefix: str
) -> None:
    async with async_lab(proxy.url, prefix) as lab:
        sent = asyncio.create_task(lab.add("n"))
        cancelled = [asyncio.create_task(lab.add("n")) for _ in range(5)]
        await asyncio.sleep(0)
        for task in cancelled:
            task.cancel()
        assert await sent == 1
        assert await lab.get("n") == b"1"
    assert proxy.commands["INCRBY"] == 1


async def test_no_more_than_max_in_flight_are_sent_and_callers_wait_in_line(
    standalone: Standalone, proxy_of: Any, prefix: str
) -> None:
    proxy = proxy_of(standalone)
    async with async_lab(proxy.url, prefix, max_in_flight=50, timeout=20.0) as lab:
        standalone.pause()
        tasks = [asyncio.create_task(lab.add("n")) for _ in range(2000)]
        await eventually(lambda: proxy.commands["INCRBY"] == 50, "fifty have left")
        await asyncio.sleep(0.05)
        assert proxy.commands["INCRBY"] == 50
        standalone.resume()
        assert await asyncio.gather(*tasks) == list(range(1, 2001))


async def test_nobody_starves_when_more_call_than_may_be_in_flight(
    proxy: WireProxy, prefix: str
) -> None:
    done = [0] * 30
    async with async_lab(proxy.url, prefix, max_in_flight=5) as lab:

        async def hammer(number: int) -> None:
            while sum(done) < 3000:
                await say(lab, "x")
                done[number] += 1

        await asyncio.gather(*(hammer(i) for i in range(30)))
    assert min(done) > 5
    assert max(done) < 2 * min(done)


async def test_a_caller_cancelled_in_line_gives_its_turn_to_the_next(
    proxy: WireProxy, prefix: str
) -> None:
    async with async_lab(proxy.url, prefix, max_in_flight=1, timeout=5.0) as lab:
        proxy.hold()

        async def first() -> None:
            await say(lab, "first")
            second.cancel()  # whose turn it is now

        leader = asyncio.create_task(first())
        await asyncio.sleep(0)
        second = asyncio.create_task(say(lab, "second"))
        third = asyncio.create_task(say(lab, "third"))
        await asyncio.sleep(0.02)
        proxy.release()
        with took(0, 4):
            assert await third == b"third"
        await leader
        assert await gathered(asyncio.wait_for(second, 5)) == {"CancelledError": 1}


async def test_callers_in_line_are_sent_over_the_next_connection_when_theirs_is_lost(
    proxy: WireProxy, prefix: str
) -> None:
    async with async_lab(proxy.url, prefix, max_in_flight=10, timeout=5.0) as lab:
        proxy.hold()
        tasks = [asyncio.create_task(lab.add("n")) for _ in range(30)]
        await asyncio.sleep(0.05)
        proxy.cut()
        proxy.release()
        with took(0, 4.5):
            outcomes = await gathered(*(asyncio.wait_for(task, 10) for task in tasks))
        assert outcomes == {"done": 20, "ConnectionLost unknown": 10}
        assert await lab.get("n") == b"20"


async def test_callers_wait_while_the_server_does_not_read(
    standalone: Standalone, prefix: str
) -> None:
    megabyte = b"x" * 1_000_000
    async with async_lab(standalone.url, prefix, timeout=20.0) as lab:
        standalone.pause()
        first = asyncio.create_task(lab.put("big", megabyte * 10))
        await asyncio.sleep(0.01)
        tasks = [asyncio.create_task(lab.put(f"k-{i}", megabyte)) for i in range(50)]
        await asyncio.sleep(0.05)
        channel: Any = channel_of(lab)
        assert channel._transport.get_write_buffer_size() < 11_000_000
        assert len(channel._outbox) == 0
        standalone.resume()
        assert await asyncio.gather(first, *tasks) == [b"OK"] * 51


@pytest.mark.parametrize("idempotent", [True, False], ids=["idempotent", "not"])
async def test_a_hung_server_ends_in_an_error_at_the_deadline(
    proxy: WireProxy, prefix: str, idempotent: bool
) -> None:
    async with async_lab(proxy.url, prefix, timeout=1.0) as lab:
        proxy.hold()
        with took(0.9, 1.9), pytest.raises(octavo.DeadlineExceeded) as caught:
            await lab.send(command("GET", b"k", idempotent=idempotent))
        assert caught.value.outcome == "unknown"
        proxy.release()


async def test_a_hung_server_ends_a_batch_at_the_deadline(proxy: WireProxy, prefix: str) -> None:
    async with octavo.connect_async(proxy.url, prefix=prefix, timeout=1.0) as client:
        proxy.hold()
        with took(0.9, 1.9):
            async with client.batch(raise_on_error=False) as batch:
                pending: list[Pending[Any]] = [Lab(batch).get("a"), Lab(batch).add("n")]
        for one in pending:
            assert isinstance(one.exception(), octavo.DeadlineExceeded)
        proxy.release()


async def test_a_reply_past_its_deadline_replaces_the_connection(
    proxy: WireProxy, prefix: str
) -> None:
    with Relay(proxy.url.removeprefix("redis://")) as relay:
        async with async_lab(relay.url, prefix, timeout=1.5) as lab:
            await lab.put("k", "v")
            relay.freeze()
            oldest = asyncio.create_task(lab.add("n"))
            await asyncio.sleep(0.6)
            later = asyncio.create_task(lab.add("n"))
            reading = asyncio.create_task(lab.get("k"))
            with took(0.5, 1.5):
                with pytest.raises(octavo.DeadlineExceeded) as caught:
                    await oldest
                assert caught.value.outcome == "unknown"
                with pytest.raises(octavo.ConnectionLost) as caught_later:
                    await later
                assert type(caught_later.value) is octavo.ConnectionLost
                assert caught_later.value.outcome == "unknown"
                assert await reading == b"v"
            assert await lab.add("n") == 1
    assert proxy.accepted == 2


async def test_a_cancelled_callers_reply_past_its_deadline_replaces_the_connection_too(
    proxy: WireProxy, prefix: str
) -> None:
    with Relay(proxy.url.removeprefix("redis://")) as relay:
        async with async_lab(relay.url, prefix, timeout=0.4) as lab:
            await lab.get("k")
            relay.freeze()
            task = asyncio.create_task(lab.get("k"))
            await asyncio.sleep(0.1)
            task.cancel()
            await eventually(lambda: channel_of(lab).closed, "the connection was given up")
            assert await lab.get("k") is None


async def test_a_client_reconnects_after_the_server_was_killed(
    standalone: Standalone, prefix: str
) -> None:
    async with async_lab(standalone.url, prefix, timeout=10.0) as lab:
        for round_ in range(3):
            reading = [asyncio.create_task(lab.get("nothing")) for _ in range(20)]
            await asyncio.sleep(0)
            standalone.kill()
            reading += [asyncio.create_task(lab.get("nothing")) for _ in range(20)]
            await eventually(lambda: channel_of(lab).closed, "the loop has seen it")
            adding = asyncio.create_task(lab.add(f"n-{round_}"))
            await asyncio.sleep(0.05)
            standalone.start()
            assert await asyncio.gather(*reading) == [None] * 40
            assert await adding == 1


async def test_when_nothing_listens_every_caller_hears_so_within_the_timeout() -> None:
    unheard: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    client = octavo.connect_async("redis://127.0.0.1:1", timeout=1.0)
    lab = Lab(client)
    with took(0.1, 1.9):
        outcomes = await gathered(*(lab.add("n") for _ in range(20)))
    assert set(outcomes) <= {"DeadlineExceeded not_sent", "ConnectionLost not_sent"}
    await client.aclose()
    assert not unheard


SEVERAL_LOOPS = """
import asyncio, gc, sys, threading
import octavo
from tests.engine.lab import Lab

db = octavo.connect_async(sys.argv[1])

async def use():
    lab = Lab(db)
    assert await asyncio.gather(*(lab.add("n") for _ in range(20)))
    async with db.batch() as batch:
        Lab(batch).get("n")

for _ in range(3):
    asyncio.run(use())
threads = [threading.Thread(target=asyncio.run, args=(use(),)) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()

async def end():
    await use()
    await db.aclose()

asyncio.run(end())
gc.collect()
"""


def test_one_client_serves_several_event_loops_one_after_another_and_at_once(
    standalone: Standalone,
) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", SEVERAL_LOOPS, standalone.url],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert standalone.cli("GET", "octavo:n") == str(8 * 20)


ONE_LOOP = """
import asyncio, sys
import octavo
from tests.engine.lab import Lab

async def main():
    async with octavo.connect_async(sys.argv[1]) as db:
        lab = Lab(db)
        await asyncio.gather(lab.add("n"), lab.take("nothing", 0.1))
        task = asyncio.create_task(lab.take("nothing", 5))
        await asyncio.sleep(0.05)
    await asyncio.gather(task, return_exceptions=True)

asyncio.run(main())
"""

GIVING_UP = """
import asyncio, gc, sys
import octavo
from tests.engine.lab import Lab

async def main():
    db = octavo.connect_async(sys.argv[1])
    lab = Lab(db)
    tasks = [asyncio.create_task(work) for work in (lab.add("n"), lab.take("list", 1))]
    await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await db.aclose()
    await asyncio.sleep(0.05)
    gc.collect()

asyncio.run(main())
"""


def test_callers_who_give_up_while_they_connect_leave_nothing_to_warn_of(proxy: WireProxy) -> None:
    proxy.hold()
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", GIVING_UP, proxy.url],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    proxy.release()
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    wait_until(lambda: proxy.connections == 0, "no connection is left")


def test_a_closed_client_leaves_nothing_to_warn_of(standalone: Standalone) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", ONE_LOOP, standalone.url],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr


async def operated(client: Octavo[Async]) -> None:
    await Lab(client).get("k")


async def slept(client: Octavo[Async]) -> None:
    await Lab(client).nap(0.1)


async def swapped(client: Octavo[Async]) -> None:
    await Lab(client).swap("a", "b")


async def opened(client: Octavo[Async]) -> None:
    async with client:
        pass


async def batched(client: Octavo[Async]) -> None:
    async with client.batch() as batch:
        Lab(batch).get("k")


@pytest.mark.parametrize(
    "use",
    [operated, slept, swapped, batched, opened],
)
def test_without_asyncio_the_client_says_that_it_needs_it(proxy: WireProxy, use: Any) -> None:
    # As under trio: the coroutine runs, but no loop of asyncio does.
    client = octavo.connect_async(proxy.url)
    with pytest.raises(RuntimeError, match="needs asyncio"):
        use(client).send(None)


def test_under_trio_the_client_says_that_it_needs_asyncio(proxy: WireProxy) -> None:
    trio = pytest.importorskip("trio", reason="pip install trio")
    client = octavo.connect_async(proxy.url)
    with pytest.raises(RuntimeError, match="needs asyncio"):
        trio.run(Lab(client).get, "k")


async def test_a_blocking_command_does_not_stall_the_others(proxy: WireProxy, prefix: str) -> None:
    async with async_lab(proxy.url, prefix) as lab:
        blocked = [asyncio.create_task(lab.take(f"list-{i}", 10.0)) for i in range(3)]
        await eventually(lambda: proxy.commands["BLPOP"] == 3, "they wait")
        with took(0, 5):
            await asyncio.gather(*(say(lab, str(i)) for i in range(200)))
        assert not any(task.done() for task in blocked)
        for i, task in enumerate(blocked):
            await lab.send(command("RPUSH", lab.key(f"list-{i}"), i))
            assert await task == [lab.key(f"list-{i}"), b"%d" % i]
    assert proxy.accepted == 4


async def test_a_blocking_command_may_outlast_the_timeout(proxy: WireProxy, prefix: str) -> None:
    async with async_lab(proxy.url, prefix, timeout=0.5) as lab:
        with took(1, 4):
            assert await lab.take("nothing", 1) is None


async def test_connections_of_blocking_commands_are_used_again(
    proxy: WireProxy, prefix: str
) -> None:
    async with async_lab(proxy.url, prefix) as lab:
        for _ in range(5):
            await lab.take("nothing", 0.01)
        assert proxy.accepted == 2


async def test_a_cancelled_blocking_command_takes_nothing_from_the_next(
    proxy: WireProxy, prefix: str
) -> None:
    async with async_lab(proxy.url, prefix) as lab:
        task = asyncio.create_task(lab.take("list", 10.0))
        await eventually(lambda: proxy.commands["BLPOP"] == 1, "it waits")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await eventually(lambda: proxy.connections == 1, "its connection is closed")
        await lab.send(command("RPUSH", lab.key("list"), "x"))
        assert await lab.take("list", 1.0) == [lab.key("list"), b"x"]


async def test_closing_tells_whoever_still_waits(proxy: WireProxy, prefix: str) -> None:
    async with async_lab(proxy.url, prefix, max_in_flight=2) as lab:
        blocked = asyncio.create_task(lab.take("nothing", 10.0))
        await eventually(lambda: proxy.commands["BLPOP"] == 1, "it waits")
        proxy.hold()
        asked = [asyncio.create_task(lab.add("n")) for _ in range(5)]
        await asyncio.sleep(0.02)
    with took(0, 4):
        outcomes = await gathered(*(asyncio.wait_for(task, 5) for task in (blocked, *asked)))
    assert outcomes["ConnectionLost unknown"] == 3
    assert outcomes["RuntimeError"] + outcomes["ConnectionLost not_sent"] == 3
    proxy.release()
    await eventually(lambda: proxy.connections == 0, "no connection is left")


async def test_closing_while_a_caller_connects_does_not_cancel_it(
    proxy: WireProxy, prefix: str
) -> None:
    client = octavo.connect_async(proxy.url, prefix=prefix)
    proxy.hold()
    task = asyncio.create_task(Lab(client).get("k"))
    await asyncio.sleep(0.05)
    await client.aclose()
    with took(0, 4), pytest.raises((octavo.ConnectionLost, RuntimeError)):
        await task


async def test_a_closed_client_says_so(proxy: WireProxy) -> None:
    client = octavo.connect_async(proxy.url)
    lab = Lab(client)
    await lab.get("k")
    await client.aclose()
    await client.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await lab.get("k")
    with pytest.raises(RuntimeError, match="closed"):
        await batched(client)
    await eventually(lambda: proxy.connections == 0, "no connection is left")


async def test_pushed_messages_are_never_taken_for_replies(
    standalone: Standalone, prefix: str
) -> None:
    async with async_lab(standalone.url, prefix) as lab:
        await lab.send(command("CLIENT", None, "TRACKING", "ON", "BCAST"))
        channel = channel_of(lab)
        cast("Any", channel)._transport.write(pack((b"SUBSCRIBE", b"channel")))
        for i in range(50):
            asking = [asyncio.create_task(say(lab, f"{i}-{j}")) for j in range(5)]
            await asyncio.sleep(0)
            await lab.send(command("SET", lab.key("k"), i))
            await lab.send(command("PUBLISH", None, "channel", i))
            assert await asyncio.gather(*asking) == [b"%d-%d" % (i, j) for j in range(5)]
        assert channel_of(lab) is channel


async def test_a_reply_nobody_asked_for_replaces_the_connection(
    standalone: Standalone, prefix: str
) -> None:
    async with async_lab(standalone.url, prefix) as lab:
        channel: Any = channel_of(lab)
        channel._transport.write(pack((b"ECHO", b"stray")))
        await eventually(lambda: channel.closed, "the connection was given up")
        assert await say(lab, "mine") == b"mine"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_leaves_its_parents_connections_alone(standalone: Standalone) -> None:
    client = octavo.connect_async(standalone.url)
    lab = Lab(client)

    async def number() -> int:
        return cast("int", await lab.send(command("CLIENT", None, "ID")))

    with asyncio.Runner() as runner:
        ours = runner.run(number())
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = int(asyncio.new_event_loop().run_until_complete(number()) == ours)
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert runner.run(number()) == ours
        runner.run(client.aclose())


async def test_other_threads_loops_do_not_hear_of_this_ones_close(standalone: Standalone) -> None:
    client = octavo.connect_async(standalone.url)
    failed: list[BaseException] = []
    started, closed = threading.Event(), threading.Event()

    async def elsewhere() -> None:
        lab = Lab(client)
        await say(lab, "before")
        started.set()
        await asyncio.to_thread(closed.wait)
        try:
            await say(lab, "after")
        except RuntimeError as error:
            failed.append(error)

    thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
    thread.start()
    await asyncio.to_thread(started.wait)
    await client.aclose()
    closed.set()
    await asyncio.to_thread(thread.join)
    assert [str(error) for error in failed] == ["this client is closed"]

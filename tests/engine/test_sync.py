"""The engine for threads."""

from __future__ import annotations

import inspect
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.engine.wire import pack
from octavo.testing.waiting import wait_until
from tests.engine.lab import Lab, command, took
from tests.engine.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from octavo import Octavo, Pending, Sync
    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Standalone

IDEMPOTENT = pytest.mark.parametrize("idempotent", [True, False], ids=["idempotent", "not"])
FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def connection_of(lab: Lab[Sync]) -> int:
    """Return the number of the connection that is used next, and now."""
    number: int = lab.send(command("CLIENT", None, "ID"))
    return number


def say(lab: Lab[Sync], text: str) -> bytes:
    reply: bytes = lab.send(command("ECHO", None, text))
    return reply


def test_connecting_sends_nothing_until_the_first_operation(proxy: WireProxy) -> None:
    client = octavo.connect(proxy.url)
    Lab(client)
    assert proxy.accepted == 0
    Lab(client).get("nothing")
    assert proxy.accepted == 1
    client.close()


def test_entering_a_client_connects(proxy: WireProxy) -> None:
    with octavo.connect(proxy.url):
        assert proxy.accepted == 1


def test_the_defaults_are_those_of_the_documentation() -> None:
    of = {name: p.default for name, p in inspect.signature(octavo.connect_async).parameters.items()}
    assert (of["timeout"], of["connect_timeout"], of["max_in_flight"]) == (5.0, 2.0, 10_000)
    of = {name: p.default for name, p in inspect.signature(octavo.connect).parameters.items()}
    assert (of["timeout"], of["connect_timeout"], of["prefix"]) == (5.0, 2.0, "octavo")


def test_sixty_four_threads_get_their_own_replies_over_no_more_connections(
    client: Octavo[Sync], proxy: WireProxy
) -> None:
    lab = Lab(client)
    together = threading.Barrier(64)

    def work(number: int) -> int:
        together.wait()
        for i in range(25):
            assert say(lab, f"{number}-{i}") == f"{number}-{i}".encode()
            assert lab.add(f"n-{number}") == i + 1
        return 25

    with ThreadPoolExecutor(64) as pool:
        assert sum(pool.map(work, range(64))) == 64 * 25
    assert proxy.accepted <= 64
    before = proxy.accepted
    for i in range(100):
        say(lab, str(i))
    assert proxy.accepted == before


@pytest.mark.parametrize("last", [0, 1], ids=["first", "second"])
def test_the_connection_used_last_is_used_next(
    standalone: Standalone, prefix: str, last: int
) -> None:
    with octavo.connect(standalone.url, prefix=prefix) as client:
        lab = Lab(client)
        numbers = [connection_of(lab)]
        threads = [threading.Thread(target=lab.take, args=(f"list-{i}", 10)) for i in range(2)]
        for i, thread in enumerate(threads):
            thread.start()
            wait_until(partial(waiting, standalone, i + 1), "the thread waits")
        numbers = sorted(
            int(line.partition("id=")[2].split()[0])
            for line in standalone.cli("CLIENT", "LIST").splitlines()
            if "cmd=blpop" in line
        )
        for i in (1 - last, last):
            standalone.cli("RPUSH", lab.key(f"list-{i}"), "x")
            threads[i].join()
        assert connection_of(lab) == numbers[last]


def waiting(server: Standalone, count: int) -> bool:
    return int(server.cli("INFO", "clients")["blocked_clients"]) == count


def test_a_connection_idle_for_a_second_is_checked_so_a_restart_goes_unseen(
    standalone: Standalone, prefix: str
) -> None:
    with octavo.connect(standalone.url, prefix=prefix) as client:
        lab = Lab(client)
        assert lab.add("n") == 1
        idle_since = time.monotonic()
        standalone.restart()
        wait_until(lambda: time.monotonic() > idle_since + 1.1, "it has been idle for a second")
        assert lab.add("n") == 1


def test_an_interrupt_between_send_and_read_discards_the_connection(
    client: Octavo[Sync], proxy: WireProxy
) -> None:
    lab = Lab(client)
    for i in range(5):
        proxy.reset()
        proxy.delay(reply=0.2)

        def interrupt() -> None:
            wait_until(lambda: proxy.commands["ECHO"], "the command has left")
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            say(lab, f"interrupted-{i}")
        thread.join()
        proxy.delay()
        assert say(lab, f"next-{i}") == f"next-{i}".encode()
        assert proxy.accepted == 1
    wait_until(lambda: proxy.connections == 1, "the others are closed")


class TimeLimit(BaseException):
    """What a worker raises from a signal handler when a job's time is over."""


@contextmanager
def time_limit() -> Generator[Callable[[float], None]]:
    """Yield what arms a timer that raises `TimeLimit` in the main thread."""

    def over(*_: object) -> None:
        raise TimeLimit

    def arm(seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)

    before = signal.signal(signal.SIGALRM, over)
    try:
        yield arm
    finally:
        arm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_time_limit_at_any_moment_never_shifts_a_reply(standalone: Standalone) -> None:
    interrupted = answered = 0
    with octavo.connect(standalone.url) as client, time_limit() as arm:
        lab = Lab(client)
        for i in range(1500):
            try:
                arm(random.uniform(1e-5, 4e-4))
                reply = say(lab, str(i))
                arm(0)
            except TimeLimit:
                interrupted += 1
                connection_of(lab)  # while redis-py logs in, an interrupt may crash hiredis
                continue
            assert reply == b"%d" % i
            answered += 1
    assert interrupted > 20
    assert answered > 100


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_time_limit_in_a_batch_never_shifts_a_reply(standalone: Standalone) -> None:
    interrupted = answered = 0
    with octavo.connect(standalone.url) as client, time_limit() as arm:
        for i in range(2000):
            try:
                arm(random.uniform(1e-5, 2e-3))
                with client.batch() as batch:
                    said = [Lab(batch).send(command("ECHO", None, f"{i}-{j}")) for j in range(20)]
                arm(0)
            except TimeLimit:
                interrupted += 1
                connection_of(Lab(client))
                continue
            assert [one.result() for one in said] == [b"%d-%d" % (i, j) for j in range(20)]
            answered += 1
    assert interrupted > 5
    assert answered > 30


PACKING = """
import signal
from octavo.engine.wire import pack
from tests.engine.lab import BUMP

class TimeLimit(BaseException):
    pass

def over(*_):
    raise TimeLimit

signal.signal(signal.SIGALRM, over)
numbers = [*range(50), *(i / 7 for i in range(50))]
interrupted = 0
for _ in range(1000):
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-4)
        while True:
            pack(BUMP((b"key",), numbers, int).words)
    except TimeLimit:
        interrupted += 1
print(interrupted)
"""


def test_an_interrupt_while_numbers_are_packed_does_not_crash_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PACKING], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "1000\n"), done.stderr


def in_a_child(work: Callable[[], None]) -> int:
    """Fork, work in the child, and return its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@FORKS
def test_a_forked_child_leaves_its_parents_connections_alone(standalone: Standalone) -> None:
    with octavo.connect(standalone.url) as client:
        lab = Lab(client)
        ours = connection_of(lab)

        def work() -> None:
            assert connection_of(lab) != ours
            client.close()

        assert in_a_child(work) == 0
        assert connection_of(lab) == ours


@FORKS
def test_a_fork_while_threads_use_the_client_disturbs_neither_side(standalone: Standalone) -> None:
    stop = threading.Event()
    done = [0] * 4
    with octavo.connect(standalone.url) as client:
        lab = Lab(client)

        def hammer(number: int) -> None:
            while not stop.is_set():
                text = f"parent-{number}-{done[number]}"
                assert say(lab, text) == text.encode()
                done[number] += 1

        def work() -> None:
            for i in range(50):
                assert say(lab, f"child-{i}") == f"child-{i}".encode()

        with ThreadPoolExecutor(4) as pool:
            hammering = [pool.submit(hammer, number) for number in range(4)]
            statuses = [in_a_child(work) for _ in range(10)]
            before = list(done)
            wait_until(
                lambda: all(now > then for now, then in zip(done, before, strict=True)),
                "every thread goes on",
            )
            stop.set()
            for one in hammering:
                one.result()
    assert statuses == [0] * 10


@IDEMPOTENT
def test_a_hung_server_ends_in_an_error_at_the_deadline(
    proxy: WireProxy, prefix: str, idempotent: bool
) -> None:
    with octavo.connect(proxy.url, prefix=prefix, timeout=1.0) as client:
        proxy.hold()
        with took(0.9, 1.9), pytest.raises(octavo.DeadlineExceeded) as caught:
            Lab(client).send(command("GET", b"k", idempotent=idempotent))
        assert caught.value.outcome == "unknown"
        proxy.release()


def test_a_hung_server_ends_a_batch_at_the_deadline(proxy: WireProxy, prefix: str) -> None:
    with octavo.connect(proxy.url, prefix=prefix, timeout=1.0) as client:
        proxy.hold()
        with took(0.9, 1.9), client.batch(raise_on_error=False) as batch:
            pending: list[Pending[Any]] = [Lab(batch).get("a"), Lab(batch).add("n")]
        for one in pending:
            assert isinstance(one.exception(), octavo.DeadlineExceeded)
        proxy.release()


def test_time_spent_connecting_counts_towards_the_deadline(proxy: WireProxy, prefix: str) -> None:
    client = octavo.connect(proxy.url, prefix=prefix, timeout=1.8, connect_timeout=1.5)
    proxy.delay(reply=1.05)
    with took(1.5, 2.7), pytest.raises(octavo.DeadlineExceeded):
        Lab(client).add("n")
    proxy.calm()
    client.close()


def test_a_server_that_does_not_read_ends_in_an_error_at_the_deadline(
    standalone: Standalone,
) -> None:
    with octavo.connect(standalone.url, timeout=1.0) as client:
        standalone.pause()
        with took(0.9, 3), pytest.raises(octavo.DeadlineExceeded):
            Lab(client).put("big", b"x" * 20_000_000)
        standalone.resume()


def test_a_dripping_server_cannot_extend_the_deadline_much(proxy: WireProxy, prefix: str) -> None:
    with (
        Relay(proxy.url.removeprefix("redis://")) as relay,
        octavo.connect(relay.url, prefix=prefix, timeout=1.0) as client,
    ):
        lab = Lab(client)
        lab.put("long", "x" * 1000)
        relay.drip = 0.1
        with took(0.9, 2.5), pytest.raises(octavo.DeadlineExceeded):
            lab.get("long")
        relay.drip = 0
        lab.get("nothing")
        relay.drip = 0.1
        with took(0.9, 2.5), client.batch(raise_on_error=False) as batch:
            pending = Lab(batch).get("long")
        assert isinstance(pending.exception(), octavo.DeadlineExceeded)


@pytest.mark.xfail(
    strict=True, reason="the kernel's timeout starts anew after a handler: engine/README.md, Limits"
)
def test_signals_do_not_extend_the_deadline(proxy: WireProxy, prefix: str) -> None:
    seen: list[int] = []

    def note(number: int, _: object) -> None:
        seen.append(number)

    before = signal.signal(signal.SIGALRM, note)
    with octavo.connect(proxy.url, prefix=prefix, timeout=0.4) as client:
        proxy.hold()
        thread = threading.Timer(3, proxy.release)
        thread.start()
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        try:
            with took(0.35, 1.0), pytest.raises(octavo.DeadlineExceeded):
                Lab(client).add("n")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            thread.cancel()
            proxy.release()
    assert len(seen) > 4


def test_the_python_path_of_timeouts_keeps_the_deadline_too(
    tls_server: Standalone, prefix: str
) -> None:
    with octavo.connect(tls_server.url, prefix=prefix, timeout=1.0) as client:
        lab = Lab(client)
        with took(1.5, 4):
            lab.take("nothing", 1.5)
        tls_server.pause()
        with took(0.9, 1.9), pytest.raises(octavo.DeadlineExceeded) as caught:
            lab.add("n")
        tls_server.resume()
    assert caught.value.outcome == "unknown"


def test_nothing_that_listens_is_not_sent_within_the_timeout() -> None:
    client = octavo.connect("redis://127.0.0.1:1", timeout=1.0)
    with took(0, 1.9), pytest.raises(octavo.ConnectionLost) as caught:
        Lab(client).add("n")
    assert caught.value.outcome == "not_sent"


def test_pushed_messages_are_never_taken_for_replies(standalone: Standalone, prefix: str) -> None:
    with octavo.connect(standalone.url, prefix=prefix) as client:
        lab = Lab(client)
        lab.send(command("CLIENT", None, "TRACKING", "ON", "BCAST"))
        number = connection_of(lab)
        send_by_hand(client, pack((b"SUBSCRIBE", b"channel")))
        for i in range(50):
            standalone.cli("SET", f"other-{i}", i)
            standalone.cli("PUBLISH", "channel", i)
            assert say(lab, str(i)) == b"%d" % i
        assert connection_of(lab) == number


def send_by_hand(client: Octavo[Sync], data: bytes) -> None:
    engine: Any = client._engine  # pyright: ignore[reportPrivateUsage]
    (node,) = engine._nodes.values()
    node._idle[-1]._sock.sendall(data)


def test_what_nobody_asked_for_discards_an_idle_connection(
    standalone: Standalone, prefix: str
) -> None:
    with octavo.connect(standalone.url, prefix=prefix) as client:
        lab = Lab(client)
        number = connection_of(lab)
        send_by_hand(client, pack((b"ECHO", b"stray")))
        idle_since = time.monotonic()
        wait_until(lambda: time.monotonic() > idle_since + 1.1, "it has been idle for a second")
        assert say(lab, "mine") == b"mine"
        assert connection_of(lab) != number


def test_a_closed_client_says_so_and_leaves_no_connection(proxy: WireProxy) -> None:
    client = octavo.connect(proxy.url)
    lab = Lab(client)
    lab.get("nothing")
    client.close()
    client.close()
    wait_until(lambda: proxy.connections == 0, "the connection is closed")
    with pytest.raises(RuntimeError, match="closed"):
        lab.get("nothing")
    with pytest.raises(RuntimeError, match="closed"), client.batch() as batch:
        Lab(batch).get("nothing")


def test_a_connection_in_use_at_the_close_is_closed_afterwards(proxy: WireProxy) -> None:
    client = octavo.connect(proxy.url)
    thread = threading.Thread(target=Lab(client).take, args=("list", 0.3))
    thread.start()
    wait_until(lambda: proxy.commands["BLPOP"], "the thread waits")
    client.close()
    thread.join()
    wait_until(lambda: proxy.connections == 0, "the connection is closed")

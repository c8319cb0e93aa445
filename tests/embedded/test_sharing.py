from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from octavo.embedded import Embedded
from tests.embedded.processes import (
    GRACE,
    ask,
    eventually,
    info,
    keeper_pid,
    lives_on,
    nothing_runs,
    server_pid,
    stop,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from tests.embedded.processes import User


def test_the_first_user_starts_a_server_and_the_second_attaches(
    server: Embedded, directory: Path
) -> None:
    ask(server.ensure(), "INCR n")

    other = Embedded(directory)

    assert other.ensure() == server.socket == str(directory / "server.sock")
    assert ask(other.socket, "INCR n") == ":2"
    other.release()


def test_eight_processes_that_start_at_once_share_one_server(
    users: Callable[..., User], directory: Path
) -> None:
    crowd = [users(directory) for _ in range(8)]

    for user in crowd:
        user.send("server.ensure()")
    (address,) = {str(user.receive()) for user in crowd}

    assert ask(address, "PING") == "+PONG"
    assert was_started_once(directory)


def test_eight_threads_that_start_at_once_share_one_server(
    server: Embedded, directory: Path
) -> None:
    with ThreadPoolExecutor(8) as pool:
        addresses = {call.result() for call in [pool.submit(server.ensure) for _ in range(8)]}

    assert addresses == {server.socket}
    assert was_started_once(directory)


def test_the_last_one_out_stops_the_server_after_the_grace(
    users: Callable[..., User], server: Embedded, directory: Path
) -> None:
    user = users(directory)
    user.ensure()
    pid = server_pid(server.ensure())

    server.release()
    lived_on = lives_on(pid, GRACE + 0.7)
    user.do("server.release()")
    released = time.monotonic()

    assert lived_on
    assert eventually(lambda: nothing_runs(directory), within=GRACE + 2)
    assert time.monotonic() - released >= GRACE
    assert "bye bye" in (directory / "server.log").read_text(encoding="utf-8")


def test_a_newcomer_during_the_grace_keeps_the_server(server: Embedded) -> None:
    pid = server_pid(server.ensure())
    server.release()

    assert lives_on(pid, GRACE / 2)
    assert server_pid(server.ensure()) == pid
    assert lives_on(pid, GRACE + 0.5)


def test_a_newcomer_during_the_shutdown_gets_the_next_server(
    server: Embedded, directory: Path
) -> None:
    ask(server.ensure(), "INCR n")

    os.kill(keeper_pid(directory), signal.SIGTERM)
    assert eventually(lambda: not (directory / "server.sock").exists())

    assert ask(server.ensure(), "INCR n") == ":2"


def test_data_survives_a_stop(server: Embedded, directory: Path) -> None:
    ask(server.ensure(), "INCRBY n 41")
    server.release()
    stop(directory)

    assert ask(server.ensure(), "INCR n") == ":42"


def test_releasing_twice_and_using_again_is_fine(server: Embedded) -> None:
    server.release()
    server.ensure()
    server.release()
    server.release()

    assert ask(server.ensure(), "PING") == "+PONG"


def test_the_server_goes_on_when_the_thread_that_started_it_ends(server: Embedded) -> None:
    thread = threading.Thread(target=server.ensure)
    thread.start()
    thread.join()

    assert lives_on(server_pid(server.socket), 0.6)


def test_a_forked_child_keeps_the_server_when_its_parent_lets_go(
    users: Callable[..., User], directory: Path
) -> None:
    parent = users(directory)
    pid = server_pid(parent.ensure())
    child = int(str(parent.do("fork()")))

    parent.do("server.release()")
    lived_on = lives_on(pid, GRACE + 0.7)
    os.kill(child, signal.SIGKILL)

    assert lived_on
    assert eventually(lambda: nothing_runs(directory), within=GRACE + 2)


def test_a_forked_child_that_lets_go_leaves_its_parent_the_server(
    users: Callable[..., User], directory: Path
) -> None:
    parent = users(directory)
    pid = server_pid(parent.ensure())

    child = int(str(parent.do("fork('server.release()')")))

    assert lives_on(pid, GRACE + 0.7)
    os.kill(child, signal.SIGKILL)


def test_a_fork_while_another_thread_starts_the_server_inherits_no_half_taken_lock(
    users: Callable[..., User], directory: Path
) -> None:
    parent = users(directory)
    child = int(str(parent.do("fork_while_another_thread_starts()")))
    try:
        stop(directory)  # waits until nobody holds the server's lock
    finally:
        os.kill(child, signal.SIGKILL)


def test_the_caller_gets_neither_child_nor_zombie(
    users: Callable[..., User], directory: Path
) -> None:
    user = users(directory)
    user.ensure()

    assert user.do("has_children()") is False


def test_ctrl_c_in_the_callers_terminal_does_not_reach_the_server(
    users: Callable[..., User], directory: Path
) -> None:
    user = users(directory)
    pid = server_pid(user.ensure())

    os.killpg(user.pid, signal.SIGINT)
    user.process.wait()

    assert lives_on(pid, 0.5)


def test_the_server_keeps_none_of_the_callers_files_open(server: Embedded) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)

    server.ensure()
    os.close(writer)

    os.set_blocking(reader, False)
    assert os.read(reader, 1) == b"", "nobody else has the other end open"
    os.close(reader)


def test_signals_that_the_caller_blocks_still_stop_the_server(
    server: Embedded, directory: Path
) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    try:
        server.ensure()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    stop(directory)


def test_only_this_user_can_reach_the_server_and_its_data(
    server: Embedded, directory: Path
) -> None:
    address = server.ensure()

    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "server.sock").stat().st_mode & 0o777 == 0o600
    assert info(address, "tcp_port") == "0"


def test_data_stays_out_of_version_control(server: Embedded, directory: Path) -> None:
    server.ensure()

    assert (directory / ".gitignore").read_text(encoding="utf-8") == "*\n"


def test_without_a_path_the_directory_is_octavo_where_the_process_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server = Embedded()
    monkeypatch.chdir("/")

    assert server.ensure() == str(tmp_path / ".octavo" / "server.sock")

    server.release()
    stop(tmp_path / ".octavo")


def was_started_once(directory: Path) -> bool:
    log = (directory / "server.log").read_text(encoding="utf-8")
    return log.count("eady to accept") == 1 and not (directory / "server.log.1").exists()

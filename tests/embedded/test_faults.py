"""Whatever dies, in whatever order: the others go on, the data stays, no server is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

import pytest

from octavo.embedded import Embedded, launch
from octavo.errors import EmbeddedError
from tests.embedded.processes import (
    GRACE,
    ask,
    eventually,
    is_alive,
    keeper_pid,
    lives_on,
    nothing_runs,
    server_and_sentry,
    server_pid,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.embedded.processes import User


def test_when_its_starter_is_killed_the_server_goes_on_for_the_others(
    users: Callable[..., User], server: Embedded, directory: Path
) -> None:
    starter = users(directory)
    pid = server_pid(starter.ensure())
    server.ensure()
    ask(server.socket, "INCRBY n 7")

    starter.kill()

    assert lives_on(pid, GRACE + 0.7)
    assert ask(server.socket, "INCRBY n 0") == ":7"


def test_when_all_its_users_are_killed_the_server_stops_and_keeps_the_data(
    users: Callable[..., User], server: Embedded, directory: Path
) -> None:
    crowd = [users(directory) for _ in range(2)]
    address = {user.ensure() for user in crowd}.pop()
    ask(address, "INCRBY n 7")

    for user in crowd:
        user.kill()

    assert eventually(lambda: nothing_runs(directory), within=GRACE + 2)
    assert ask(server.ensure(), "INCRBY n 0") == ":7"


def test_a_killed_server_loses_at_most_the_last_second(server: Embedded, directory: Path) -> None:
    ask(server.ensure(), "INCRBY n 7")
    time.sleep(1.1)  # what is older than this second must survive
    before = server_pid(server.socket)

    os.kill(before, signal.SIGKILL)

    assert ask(server.ensure(), "INCRBY n 0") == ":7"
    assert server_pid(server.socket) != before
    assert (directory / "server.log.1").exists(), "the log of the server that died is kept"


def test_a_server_killed_while_its_child_saves_is_replaced_at_once(server: Embedded) -> None:
    address = server.ensure()
    ask(address, "INCR n")
    ask(address, "CONFIG SET rdb-key-save-delay 20000000")
    assert ask(address, "BGREWRITEAOF").startswith("+")

    os.kill(server_pid(address), signal.SIGKILL)
    killed = time.monotonic()

    assert ask(server.ensure(), "INCR n") == ":2"
    assert time.monotonic() - killed < 5, "the saving child kept the lock"


def test_when_the_keeper_is_killed_the_server_stops_cleanly_and_the_next_caller_restarts_it(
    server: Embedded, directory: Path
) -> None:
    ask(server.ensure(), "INCR n")
    pid = server_pid(server.socket)

    os.kill(keeper_pid(directory), signal.SIGKILL)

    assert eventually(lambda: not is_alive(pid), within=2)
    assert ask(server.ensure(), "INCR n") == ":2"
    assert "bye bye" in (directory / "server.log.1").read_text(encoding="utf-8")


def test_when_the_keeper_is_killed_the_sentry_alone_stops_the_server(
    server: Embedded, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf_to_its_parent = tmp_path / "keeper.py"
    deaf_to_its_parent.write_text(
        f"import sys; sys.path.insert(0, {str(launch.KEEPER.parent)!r})\n"
        "import keeper; keeper.end_with_parent = lambda _: None; keeper.main()\n"
    )
    monkeypatch.setattr(launch, "KEEPER", deaf_to_its_parent)
    server.ensure()
    pid, sentry = server_and_sentry(directory)

    os.kill(keeper_pid(directory), signal.SIGKILL)

    assert eventually(lambda: not is_alive(pid), within=2)
    assert eventually(lambda: not is_alive(sentry), within=2)
    assert "bye bye" in (directory / "server.log").read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_when_all_but_the_server_are_killed_at_once_it_stops(
    users: Callable[..., User], directory: Path
) -> None:
    user = users(directory)
    user.ensure()
    pid, sentry = server_and_sentry(directory)
    doomed = [keeper_pid(directory), sentry, user.pid]

    for process in doomed:
        os.kill(process, signal.SIGSTOP)  # so that none can act on the death of another
    for process in doomed:
        os.kill(process, signal.SIGKILL)

    assert eventually(lambda: not is_alive(pid), within=2)


def test_two_servers_never_share_a_directory(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = tmp_path / "server"
    deaf.write_text("#!/bin/sh\ntrap '' TERM\nexec sleep 60\n")
    deaf.chmod(0o755)
    server = Embedded(directory, start_timeout=0.4)
    with monkeypatch.context() as patch:
        patch.setenv("OCTAVO_SERVER", str(deaf))
        with pytest.raises(EmbeddedError, match="did not answer"):
            server.ensure()
    pid, sentry = server_and_sentry(directory)
    for process in (keeper_pid(directory), sentry):
        os.kill(process, signal.SIGSTOP)
        os.kill(process, signal.SIGKILL)

    with pytest.raises(EmbeddedError, match="did not answer"):
        server.ensure()

    os.kill(pid, signal.SIGKILL)
    assert ask(server.ensure(), "PING") == "+PONG"
    server.release()


def test_when_the_sentry_is_killed_the_server_is_started_anew_with_another(
    server: Embedded, directory: Path
) -> None:
    ask(server.ensure(), "INCR n")
    pid, sentry = server_and_sentry(directory)

    os.kill(sentry, signal.SIGKILL)

    assert eventually(lambda: not is_alive(pid), within=2)
    assert ask(server.ensure(), "INCR n") == ":2"
    assert all(is_alive(process) for process in server_and_sentry(directory))


def test_a_server_that_does_not_stop_is_killed(
    server: Embedded, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = tmp_path / "keeper.py"
    impatient.write_text(
        f"import sys; sys.path.insert(0, {str(launch.KEEPER.parent)!r})\n"
        "import keeper; keeper.STOP_TIMEOUT = 0.5; keeper.main()\n"
    )
    monkeypatch.setattr(launch, "KEEPER", impatient)
    pid = server_pid(server.ensure())

    os.kill(pid, signal.SIGSTOP)
    os.kill(keeper_pid(directory), signal.SIGTERM)

    assert eventually(lambda: not is_alive(pid), within=3)


def test_a_server_without_its_socket_is_replaced(server: Embedded, directory: Path) -> None:
    ask(server.ensure(), "INCR n")
    assert lives_on(server_pid(server.socket), 0.2)  # the keeper has seen it by then

    (directory / "server.sock").unlink()

    assert ask(server.ensure(), "INCR n") == ":2"


def test_a_removed_directory_stops_its_server_and_gets_a_new_one(
    server: Embedded, directory: Path
) -> None:
    pid = server_pid(server.ensure())
    ask(server.socket, "INCR n")
    assert lives_on(pid, 0.2)  # the keeper has seen it by then

    shutil.rmtree(directory)

    assert ask(server.ensure(), "INCR n") == ":1"
    assert eventually(lambda: not is_alive(pid), within=2)
    assert lives_on(server_pid(server.socket), GRACE + 0.7), "the lock is the new directory's"


def test_a_stale_socket_is_cleaned_up(server: Embedded, directory: Path) -> None:
    directory.mkdir()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(directory / "server.sock"))

    assert ask(server.ensure(), "PING") == "+PONG"


def test_an_append_only_file_that_a_crash_cut_short_loads(
    server: Embedded, directory: Path
) -> None:
    for _ in range(2):
        ask(server.ensure(), "INCR n")
    os.kill(server_pid(server.socket), signal.SIGKILL)
    (log,) = (directory / "appendonlydir").glob("*.incr.aof")
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 3)

    assert ask(server.ensure(), "INCRBY n 0") == ":1"

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from octavo.embedded import Embedded, serve
from tests.embedded.processes import (
    SOURCE,
    ask,
    eventually,
    is_alive,
    lives_on,
    nothing_runs,
    server_pid,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

COMMAND = """
import pathlib, sys
from octavo.cli.server import server
port, directory = sys.argv[1:]
server(int(port) if port != "-" else None, pathlib.Path(directory))
"""


@pytest.fixture
def run(directory: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `octavo server` on the directory; it is ended afterwards."""
    with ExitStack() as stack:

        def start(port: object = "-") -> subprocess.Popen[str]:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", COMMAND, str(port), str(directory)],
                    env={**os.environ, "PYTHONPATH": str(SOURCE)},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture
def port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number: int = listener.getsockname()[1]
        return number


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def errors(process: subprocess.Popen[str]) -> str:
    _, text = process.communicate(timeout=10)
    assert process.returncode != 0
    return text


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as client:
            client.sendall(b"PING\r\n")
            return client.recv(7) == b"+PONG\r\n"
    except OSError:
        return False


def test_it_prints_where_it_can_be_reached_and_answers_there(
    run: Callable[..., subprocess.Popen[str]], directory: Path, port: int
) -> None:
    line = first_line(run(port))

    address = directory / "server.sock"
    assert line.split()[-3:] == [
        f"embedded://{directory}",
        f"unix://{address}",
        f"redis://127.0.0.1:{port}",
    ]
    assert ask(str(address), "PING") == "+PONG"
    assert answers(port)


def test_without_a_port_it_opens_none(
    run: Callable[..., subprocess.Popen[str]], server: Embedded
) -> None:
    assert "redis://" not in first_line(run())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_and_the_server_at_once(
    run: Callable[..., subprocess.Popen[str]], directory: Path, number: signal.Signals
) -> None:
    process = run()
    first_line(process)
    pid = server_pid(str(directory / "server.sock"))

    process.send_signal(number)

    assert process.wait(5) == 0
    assert not is_alive(pid), "the server had stopped before the command ended"
    assert "bye bye" in (directory / "server.log").read_text(encoding="utf-8")


def test_what_others_use_goes_on_without_its_port(
    run: Callable[..., subprocess.Popen[str]], server: Embedded, port: int
) -> None:
    process = run(port)
    first_line(process)
    pid = server_pid(server.ensure())

    process.send_signal(signal.SIGINT)

    assert process.wait(5) == 0
    assert lives_on(pid, 0.5)
    assert not answers(port)


def test_it_opens_the_port_of_a_server_that_runs_already(
    run: Callable[..., subprocess.Popen[str]], server: Embedded, port: int
) -> None:
    pid = server_pid(server.ensure())

    first_line(run(port))

    assert answers(port)
    assert server_pid(server.ensure()) == pid


def test_a_second_one_on_the_same_directory_is_an_error(
    run: Callable[..., subprocess.Popen[str]], directory: Path
) -> None:
    first = run()
    first_line(first)

    assert re.search(f"already runs in {directory}: .*--dir", errors(run()))
    assert ask(str(directory / "server.sock"), "PING") == "+PONG"


def test_a_port_that_is_taken_is_an_error(
    run: Callable[..., subprocess.Popen[str]], directory: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        assert re.search(rf"cannot listen on 127.0.0.1:{port}.*another port", errors(run(port)))
    assert eventually(lambda: nothing_runs(directory))


def test_it_restarts_a_server_that_died_and_opens_its_port_again(
    run: Callable[..., subprocess.Popen[str]], directory: Path, port: int
) -> None:
    first_line(run(port))

    os.kill(server_pid(str(directory / "server.sock")), signal.SIGKILL)

    assert eventually(lambda: answers(port))


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_is_none_is_named(port: int) -> None:
    with pytest.raises(ValueError, match=f"port is {port}"):
        serve(port=port)


@pytest.mark.parametrize("host", ["", "one two"])
def test_a_host_that_is_none_is_named(host: str) -> None:
    with pytest.raises(ValueError, match=f"host is '{host}'"):
        serve(host=host)

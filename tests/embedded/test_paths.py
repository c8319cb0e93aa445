"""A socket's address is short, a directory's path need not be."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from octavo.embedded import Embedded
from octavo.errors import EmbeddedError
from tests.embedded.processes import ask, server_pid, stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.embedded.processes import User


@pytest.fixture
def short() -> Iterator[Path]:
    """A temporary directory with a short path."""
    with tempfile.TemporaryDirectory(prefix="o") as path:
        yield Path(path)


@pytest.fixture(autouse=True)
def runtime(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short))


@pytest.fixture
def long(tmp_path: Path) -> Iterator[Path]:
    """A data directory whose socket would have too long a path."""
    directory = tmp_path / ("long" * 30)
    yield directory
    stop(directory)


def test_a_long_path_has_its_socket_in_the_runtime_directory(short: Path, long: Path) -> None:
    server = Embedded(long)

    address = Path(server.ensure())

    assert ask(str(address), "PING") == "+PONG"
    assert address.parent.parent == short
    assert address.parent.stat().st_mode & 0o777 == 0o700
    assert address.stat().st_mode & 0o777 == 0o600
    server.release()


def test_processes_with_other_temporary_directories_find_it(
    users: Callable[..., User], long: Path, tmp_path: Path
) -> None:
    server = Embedded(long)
    address = server.ensure()

    other = users(long, XDG_RUNTIME_DIR="", TMPDIR=str(tmp_path))

    assert other.ensure() == address
    server.release()


@pytest.mark.parametrize("short_first", [False, True])
def test_a_long_and_a_short_name_of_one_directory_mean_one_server(
    short: Path, long: Path, short_first: bool
) -> None:
    long.mkdir()
    (short / "link").symlink_to(long)
    one, other = Embedded(long), Embedded(short / "link")
    if short_first:
        one, other = other, one

    assert server_pid(one.ensure()) == server_pid(other.ensure())
    one.release()
    other.release()


def test_two_long_paths_have_two_servers(tmp_path: Path, long: Path) -> None:
    another = tmp_path / ("long" * 31)
    first, second = Embedded(long), Embedded(another)

    assert first.ensure() != second.ensure()

    first.release()
    second.release()
    stop(another)


def test_a_directory_that_others_may_enter_gets_no_socket(short: Path, long: Path) -> None:
    mine = short / Path(Embedded(long).ensure()).parent.name
    stop(long)
    mine.chmod(0o755)
    server = Embedded(long)

    assert Path(server.ensure()).parent != mine

    server.release()


def test_no_place_for_a_socket_is_an_error(
    short: Path, long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("octavo.embedded.home._LONGEST_ADDRESS", 10)

    with pytest.raises(EmbeddedError, match=r"no place for its socket.*XDG_RUNTIME_DIR"):
        Embedded(long).ensure()

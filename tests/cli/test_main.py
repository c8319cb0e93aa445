from __future__ import annotations

import subprocess
import sys

import octavo

START = "from octavo.cli.main import main; main()"


def run(*arguments: str, program: str = START) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )


def test_the_version_is_the_package_s() -> None:
    assert run("--version").stdout == f"octavo {octavo.__version__}\n"


def test_help_names_every_command() -> None:
    shown = run("--help").stdout

    assert all(f" {command} " in shown for command in ("demo", "server", "doctor", "locks"))


def test_without_typer_one_line_says_what_to_install() -> None:
    done = run(program=f"import sys; sys.modules['typer'] = None; {START}")

    assert (done.returncode, done.stderr) == (
        1,
        "the octavo command needs typer: pip install 'octavo[cli]'\n",
    )


def test_a_url_that_no_server_has_is_one_line() -> None:
    done = run("doctor", "--url", "http://127.0.0.1")

    assert done.returncode == 1
    assert done.stderr.startswith("octavo: url must begin with one of redis://")
    assert done.stderr.count("\n") == 1


def test_a_server_that_cannot_be_reached_is_one_line() -> None:
    done = run("doctor", "--url", "unix:///nowhere/socket")

    assert done.returncode == 1
    assert done.stderr.startswith("octavo: cannot connect to /nowhere/socket")
    assert done.stderr.count("\n") == 1

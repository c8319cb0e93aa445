from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

import octavo
from octavo.cli.app import app
from octavo.testing.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.fix_servers import Servers

COMMAND = [sys.executable, "-c", "from octavo.cli.main import main; main()", "demo"]
ONE_DAY = ["--from", "2013-07-09", "--until", "2013-07-10"]


@pytest.fixture
def url(servers: Servers) -> str:
    return servers.get("embedded").url


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the demo in a directory and a process group of its own."""
    started: list[subprocess.Popen[str]] = []
    environment = {name: value for name, value in os.environ.items() if name != "OCTAVO_URL"}

    def start_demo(*arguments: str, stream: int = subprocess.PIPE) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=tmp_path,
            env={**environment, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"},
            text=True,
            start_new_session=True,
            stdin=stream,
            stdout=stream,
            stderr=stream,
        )
        started.append(process)
        return process

    yield start_demo
    for process in started:
        if process.poll() is None:
            process.kill()
        with process:
            process.wait()


def interrupt(process: subprocess.Popen[str]) -> None:
    """Send what Ctrl-C sends: SIGINT to the whole foreground group."""
    os.killpg(process.pid, signal.SIGINT)


def complaint(*arguments: str) -> str:
    """Run the demo with bad arguments and return its error as one line."""
    result = CliRunner().invoke(app, ["demo", *arguments])
    assert result.exit_code == 2
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", result.stderr).split())


def before_the_page(output: str) -> str:
    """Cut off the airport's page and what its cache and the API did, by the real clock."""
    head, title, _ = output.partition("\nAirport page: ")
    assert title
    return head


@pytest.mark.parametrize("value", ["fast", "0", "-1", "nan", "inf", ""])
def test_a_speed_that_is_none_is_refused_by_name(value: str) -> None:
    text = complaint("--speed", value)

    assert "'--speed'" in text
    assert repr(value) in text


@pytest.mark.parametrize("flag", ["--from", "--until"])
@pytest.mark.parametrize("value", ["yesterday", "2013-02-30", "12:00"])
def test_a_time_that_is_none_is_refused_by_name(flag: str, value: str) -> None:
    text = complaint(flag, value)

    assert f"'{flag}'" in text
    assert repr(value) in text


@pytest.mark.parametrize(
    "window",
    [
        ["--from", "2014-01-01"],
        ["--until", "2013-07-07"],
        ["--from", "2013-07-10", "--until", "2013-07-10"],
    ],
    ids=str,
)
def test_a_window_without_flights_is_refused_and_told_what_there_is(window: list[str]) -> None:
    text = complaint(*window)

    assert "'--from' / '--until'" in text
    assert "7 to 13 July 2013" in text


def test_a_malformed_url_is_refused_by_name() -> None:
    assert "'--url'" in complaint("--url", "http://example.com")


def test_a_server_that_is_not_there_is_an_error_without_a_traceback(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["demo", "--url", f"unix://{tmp_path}/none.sock"])

    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("octavo demo: ")


def test_plain_output_is_the_same_each_time(url: str) -> None:
    outputs = [
        CliRunner().invoke(app, ["demo", "--plain", "--speed", speed, "--url", url, *ONE_DAY])
        for speed in ("max", "max", "1000000")
    ]

    assert {output.exit_code for output in outputs} == {0}
    assert len({before_the_page(output.stdout) for output in outputs}) == 1
    assert len({output.stdout.rpartition("\n\n")[2] for output in outputs}) == 1


def test_plain_output_has_a_line_every_six_hours_and_then_the_boards(url: str) -> None:
    result = CliRunner().invoke(app, ["demo", "--plain", "--speed", "max", "--url", url, *ONE_DAY])

    head, *updates = result.stdout.split("\n\n")[0].splitlines()
    assert head.count("|") == 8
    assert {line.count("|") for line in updates} == {8}
    assert [line.partition(" | ")[0][-5:] for line in updates[:3]] == ["10:00", "16:00", "22:00"]
    assert "-" in updates[0].split(" | ")
    assert all(re.search(r" \| \d+ of 127, \d+ wait$", line) for line in updates)
    assert re.search(
        r" \| (\w{3}-\w{3}: \d+ \| ){3}\w{3}-\w{3} up \d+ to no. [123] \| ", updates[1]
    )
    assert "Routes this hour" not in result.stdout  # in which none has left
    for title in ("Busiest routes", "Routes this week"):
        assert re.search(
            rf"^{title} \(departures\)\n   1  \w{{3}}-\w{{3}}  ", result.stdout, re.MULTILINE
        )
    assert re.search(r"^ *=\d+  \w{3}-\w{3}  .* \d+$", result.stdout, re.MULTILINE)
    assert result.stdout.endswith("round trips\n")


def test_plain_output_ends_with_an_airports_page_and_what_its_cache_did(url: str) -> None:
    result = CliRunner().invoke(app, ["demo", "--plain", "--speed", "max", "--url", url, *ONE_DAY])

    page = result.stdout.partition("\nAirport page: ")[2]
    assert re.match(r"[A-Z]{3}  .* \(\d+\.\d\d N, \d+\.\d\d W\)\n  left   \d+ today, ", page)
    cache = re.search(
        r"^  cache  (\d+) requests, [\d.]+% hits: (\d+) local, (\d+) server, (\d+) stale\n"
        r"  time   [\d,]+ us on a hit, [\d,]+ us on a miss; (\d+) pages made\n",
        page,
        re.MULTILINE,
    )
    assert cache
    requests, local, *_ = map(int, cache.groups())
    assert requests % 50 == 1
    assert local > requests / 2


def test_plain_output_ends_with_what_happened_at_the_gates(url: str) -> None:
    result = CliRunner().invoke(app, ["demo", "--plain", "--speed", "max", "--url", url, *ONE_DAY])

    gates = result.stdout.partition("\nGates (a fair lock and a fence each)\n")[2]
    assert re.match(
        r"  taken  0 of 127, 0 wait\n"
        r"  queue  \n"
        r"  turns  974 aircraft, \d+ hand-overs; longest \w+ \d+ min for \w{3} \w{2} \d+\n"
        r"  fence  the newest is \d{16}, of \w+ at \w{3} \w{2} \d+\n"
        r"  stale  1 refused; the last was \d{16}, of \w+ at \w{3} \w{2} \d+\n",
        gates,
    )


def test_plain_output_ends_with_what_the_api_answered(url: str) -> None:
    result = CliRunner().invoke(app, ["demo", "--plain", "--speed", "max", "--url", url, *ONE_DAY])

    _, title, api = result.stdout.partition(
        "\nAPI of the boards (customer, address and route in one check)\n"
    )
    assert title
    assert re.match(
        r"  free   \d+ of \d+ passed; promised: at most \d+ in \d+\.\d s\n"
        r"  pro    \d+ of \d+ passed; promised: at most \d+ in \d+\.\d s\n"
        r"  login  5 of \d+ passed; promised: at most \d+ in \d+\.\d s; banned for \d+ s\n"
        r'  429    RateLimit-Policy: "plan";q=10;w=60, "ip";q=200;w=1, "route";q=900;w=1\n'
        r'         RateLimit: "plan";r=0;t=\d, "ip";r=\d+(;t=1)?, "route";r=\d+(;t=1)?\n'
        r"         Retry-After: \d\n",
        api,
    )


def test_a_replay_takes_the_gates_from_one_that_was_killed(
    start: Callable[..., subprocess.Popen[str]], url: str
) -> None:
    killed = start("--plain", "--speed", "1500", "--url", url, "--from", "2013-07-09")
    with octavo.connect(url, prefix="octavo-demo") as db:
        wait_until(lambda: any(info.waiting for info in db.locks.list()), "somebody waits")
    killed.kill()
    killed.wait()

    began = time.monotonic()
    output, _ = start("--plain", "--speed", "max", "--url", url, *ONE_DAY).communicate(timeout=30)

    assert time.monotonic() - began < 10
    assert "  turns  974 aircraft, " in output


def test_the_whole_week_ends_by_itself_on_a_server_that_started_by_itself(
    start: Callable[..., subprocess.Popen[str]],
) -> None:
    process = start("--plain", "--speed", "max")

    output, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    assert "\n   1  JFK-LAX  Los Angeles Intl                               225\n" in output
    # The other aircraft with 778 minutes is the eleventh, which is not shown.
    assert "\n =10  N184JB  JetBlue Airways                   778\n\n" in output
    assert "\n  turns  6,430 aircraft, 531 hand-overs; longest " in output
    assert "\n  stale  11 refused; " in output
    assert "\n6,430 departures and 6,352 arrivals in " in output


def test_without_a_terminal_the_output_is_plain(url: str) -> None:
    arguments = ["demo", "--speed", "max", "--url", url, *ONE_DAY]

    assert before_the_page(CliRunner().invoke(app, arguments).stdout) == before_the_page(
        CliRunner().invoke(app, [*arguments, "--plain"]).stdout
    )


def test_plain_needs_no_rich() -> None:
    code = "import sys, octavo.demo.plain, octavo.demo.view; sys.exit('rich' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ctrl_c_ends_plain_output_and_lets_go_of_the_embedded_server(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = start("--plain", "--speed", "60")
    assert process.stdout
    assert process.stdout.readline().startswith("time |")

    interrupt(process)
    _, errors = process.communicate(timeout=15)

    assert process.returncode == 130
    assert errors.splitlines() == ["6,430 flights, ranked on <Octavo embedded>"]
    wait_until(lambda: is_free(tmp_path / ".octavo" / "server.lock"), "the server stops")


def is_free(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_ctrl_c_gives_the_terminal_back(
    start: Callable[..., subprocess.Popen[str]], url: str
) -> None:
    master, slave = pty.openpty()
    process = start("--url", url, stream=slave)
    os.close(slave)
    screen = bytearray()

    def seen(text: str) -> bool:
        screen.extend(os.read(master, 65536))
        return text.encode() in screen

    wait_until(lambda: seen("Busiest routes"), "the boards are drawn")
    interrupt(process)
    with suppress(OSError):  # Linux says EIO when nobody has the other end any more
        while not seen("the end"):
            pass
    os.close(master)

    assert process.wait(timeout=15) == 130
    live, _, left = bytes(screen).rpartition(b"\x1b[?1049l")
    assert b"\x1b[?1049h" in live
    assert live.rfind(b"\x1b[?25h") > live.rfind(b"\x1b[?25l")
    assert b"Busiest routes" in left
    assert b"Traceback" not in screen

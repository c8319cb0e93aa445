from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import octavo
from octavo.testing import faults
from octavo.testing.faults import Crew
from octavo.testing.waiting import wait_until
from tests.fix_servers import redis_py

if TYPE_CHECKING:
    from octavo.testing.faults import Line
    from octavo.testing.servers import Standalone


def add(line: Line, one: int, *, other: int) -> dict[str, int]:
    return {"pid": os.getpid(), "sum": one + other}


def echo(line: Line) -> None:
    while (heard := line.hear()) != "enough":
        line.say(heard)


def count(line: Line, url: str, key: str) -> int:
    """Count up until stopped."""
    told = 0
    with redis_py(url) as client:
        line.meet()
        while not line.stopped:
            line.say(client.incr(key))
            told += 1
    return told


def fail(line: Line) -> None:
    line.say("here")
    raise ValueError("on purpose")


def leave(line: Line) -> None:
    sys.exit(3)


def wait(line: Line) -> None:
    line.say(os.getpid())
    line.hear()


def submit(line: Line, url: str, prefix: str, member: str) -> float:
    with octavo.connect(url, prefix=prefix) as db:
        line.meet()
        return db.leaderboard("x").submit(member, 10).score


def test_workers_return_json_each_from_its_own_process() -> None:
    with Crew() as crew:
        for one in range(3):
            crew.spawn(add, one, other=10)
        results = crew.results()
    assert [result["sum"] for result in results] == [10, 11, 12]
    assert len({os.getpid(), *(result["pid"] for result in results)}) == 4


def test_a_test_and_its_worker_talk() -> None:
    with Crew() as crew:
        worker = crew.spawn(echo)
        for value in ({"a": [1, None]}, "ä", None):
            worker.tell(value)
            assert worker.heard() == value
        worker.tell("enough")
        assert worker.result() is None
        with pytest.raises(RuntimeError, match="exit code 0"):
            worker.heard()


def test_workers_use_octavo(standalone: Standalone, prefix: str) -> None:
    with Crew() as crew:
        for member in "ab":
            crew.spawn(submit, standalone.url, prefix, member)
        crew.meet()
        assert crew.results() == [10.0, 10.0]


def test_workers_that_meet_go_on_together(standalone: Standalone, prefix: str) -> None:
    with Crew() as crew:
        for _ in range(3):
            crew.spawn(count, standalone.url, prefix)
        wait_until(lambda: all(worker.meets() for worker in crew.workers), "they wait")
        with pytest.raises(TimeoutError):
            crew.workers[0].heard(timeout=0.2)
        crew.meet()
        assert all(worker.heard() for worker in crew.workers)
        crew.stop()
        assert sum(crew.results()) == int(standalone.cli("GET", prefix))


def test_a_paused_worker_does_nothing_until_it_goes_on(standalone: Standalone, prefix: str) -> None:
    with Crew() as crew:
        worker = crew.spawn(count, standalone.url, prefix)
        crew.meet()
        assert worker.heard() == 1
        with faults.pause(worker):
            worker.said()
            counted = int(standalone.cli("GET", prefix))
            with pytest.raises(TimeoutError):
                worker.heard(timeout=0.2)
            assert int(standalone.cli("GET", prefix)) <= counted + 1
        assert worker.heard()


def test_what_a_killed_worker_has_said_is_there(standalone: Standalone, prefix: str) -> None:
    with Crew() as crew:
        worker, other = (crew.spawn(count, standalone.url, f"{prefix}{i}") for i in range(2))
        crew.meet()
        wait_until(lambda: int(standalone.cli("GET", f"{prefix}0") or 0) > 10, "it counts")
        worker.kill()
        said = worker.said()
        assert said == list(range(1, len(said) + 1))
        assert int(standalone.cli("GET", f"{prefix}0")) - len(said) in {0, 1}
        assert worker.exit_code == -9
        with pytest.raises(RuntimeError, match="exit code -9"):
            worker.result()
        crew.stop()
        assert crew.results() == [other.result()]


def test_a_worker_whose_death_is_healed_starts_over(standalone: Standalone, prefix: str) -> None:
    with Crew() as crew:
        worker = crew.spawn(count, standalone.url, prefix)
        crew.meet()
        assert worker.heard() == 1
        with faults.kill(worker):
            assert not worker.alive
            worker.said()
        assert worker.heard()
        crew.stop()
        (told,) = crew.results()
        assert told < int(standalone.cli("GET", prefix))


def test_a_worker_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="ValueError: on purpose"), Crew() as crew:
        crew.spawn(fail).result()


def test_a_failure_that_nobody_asks_about_is_an_error_at_the_end() -> None:
    with pytest.raises(RuntimeError, match="ValueError: on purpose"), Crew() as crew:  # noqa: PT012
        worker = crew.spawn(fail)
        wait_until(lambda: not worker.alive, "it has failed")


def test_nobody_waits_for_workers_who_have_ended() -> None:
    with pytest.raises(RuntimeError, match="exit code 3"), Crew() as crew:  # noqa: PT012
        crew.spawn(leave)
        crew.meet()


def test_who_works_too_long_is_not_waited_for_and_ended() -> None:
    with Crew() as crew:
        workers = [crew.spawn(wait) for _ in range(2)]
        pids = [worker.heard() for worker in workers]
        assert pids == [worker.pid for worker in workers]
        workers[0].pause()
        with pytest.raises(TimeoutError, match=r"<worker .*:wait> has ended"):
            crew.results(timeout=0.1)
    assert all(map(gone, pids))
    assert not any(worker.home.exists() for worker in workers)


TEST = """
import time
from octavo.testing.faults import Crew
from tests.testing.test_faults_crew import wait
with Crew() as crew:
    worker = crew.spawn(wait)
    print(worker.heard(), worker.home, flush=True)
    time.sleep(60)
"""


def test_workers_go_with_a_test_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", TEST], stdout=subprocess.PIPE, text=True) as test:
        assert test.stdout
        pid, home = test.stdout.readline().split()
        assert not gone(int(pid))
        test.kill()
    wait_until(lambda: gone(int(pid)), "the worker has gone")
    wait_until(lambda: not Path(home).exists(), "its directory has gone")


def test_a_function_that_no_process_could_find_is_refused() -> None:
    def inner(line: Line) -> None: ...

    with Crew() as crew, pytest.raises(ValueError, match="function must be found by its name"):
        crew.spawn(inner)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False

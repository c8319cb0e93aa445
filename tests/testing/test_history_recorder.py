from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from octavo.errors import ConnectionLost
from octavo.testing.histories import Counter, Recorder, check, load

if TYPE_CHECKING:
    from pathlib import Path

INCREMENTS = """
import sys
import octavo
from octavo.testing.histories import Recorder

directory, process, url = sys.argv[1:]
with octavo.connect(url) as db, Recorder(directory, process) as recorder:
    board = db.leaderboard("shared", keep="sum")
    board.count()
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(300):
        with recorder.operation("add", 1, key="ada") as attempt:
            attempt.result = board.increment("ada").score
"""

STUCK = """
import sys, time
from octavo.testing.histories import Recorder

recorder = Recorder(sys.argv[1], "victim")
with recorder.operation("add", 1) as attempt:
    attempt.result = 1
with recorder.operation("add", 2):
    print("inside", flush=True)
    time.sleep(60)
"""


def start(script: str, *args: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_what_several_processes_did_to_a_real_server_is_one_history(
    tmp_path: Path, octavo_server: str
) -> None:
    workers = [start(INCREMENTS, tmp_path, f"w{n}", octavo_server) for n in range(3)]
    assert [said(worker) for worker in workers] == ["ready"] * 3
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate(timeout=30)
    history = load(tmp_path)
    history.require(ok=1)
    assert {each.process for each in history} == {"w0", "w1", "w2"}
    assert [each.t_call for each in history] == sorted(each.t_call for each in history)
    verdict = check(Counter(), history)
    assert verdict, verdict.explanation
    assert max(each.result for each in history) == len(history) == 900


def test_an_operation_cut_short_by_a_kill_is_of_unknown_outcome(tmp_path: Path) -> None:
    with start(STUCK, tmp_path) as victim:
        assert said(victim) == "inside"
        victim.kill()
    done, pending = load(tmp_path)
    assert (done.args, done.outcome, done.result) == ((1,), "ok", 1)
    assert (pending.args, pending.outcome, pending.t_return) == ((2,), "unknown", None)


def test_an_operation_lasts_from_before_its_first_step_to_after_its_last(tmp_path: Path) -> None:
    with Recorder(tmp_path, "w") as recorder, recorder.operation("read"):
        first, last = time.monotonic(), time.monotonic()
    (operation,) = load(tmp_path)
    assert operation.t_call <= first
    assert operation.t_return is not None
    assert last <= operation.t_return <= time.monotonic()


def test_a_call_can_be_read_before_its_operation_begins(tmp_path: Path) -> None:
    with Recorder(tmp_path, "w") as recorder, recorder.operation("write", 1):
        (pending,) = load(tmp_path)
    assert pending.outcome == "unknown"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ConnectionLost("no reply", outcome="unknown"), "unknown"),
        (ConnectionLost("not connected", outcome="not_sent"), "failed"),
        (TimeoutError("too late"), "unknown"),
        (LookupError("refused"), "failed"),
        (KeyError("a kind of refusal"), "failed"),
        (KeyboardInterrupt(), "unknown"),
    ],
    ids=repr,
)
def test_an_error_passes_through_and_says_whether_there_was_an_effect(
    tmp_path: Path, error: BaseException, outcome: str
) -> None:
    def fail(recorder: Recorder) -> None:
        with recorder.operation("write", 1) as attempt:
            attempt.result = "not to be recorded"
            raise error

    with (
        Recorder(tmp_path, "w", failed_on=(LookupError,)) as recorder,
        pytest.raises(type(error)),
    ):
        fail(recorder)
    (operation,) = load(tmp_path)
    assert (operation.outcome, operation.result) == (outcome, None)
    assert operation.t_return is not None


def test_a_cancelled_task_leaves_an_unknown_outcome(tmp_path: Path) -> None:
    async def wait_in_vain() -> None:
        with Recorder(tmp_path, "task") as recorder, recorder.operation("acquire", "a"):
            await asyncio.Event().wait()

    with suppress(TimeoutError):
        asyncio.run(asyncio.wait_for(wait_in_vain(), timeout=0.01))
    (operation,) = load(tmp_path)
    assert operation.outcome == "unknown"


def test_arguments_and_results_are_read_as_values_that_can_be_hashed(tmp_path: Path) -> None:
    with (
        Recorder(tmp_path, "w") as recorder,
        recorder.operation("enqueue", ("a", [1, None]), key="jobs") as attempt,
    ):
        attempt.result = [True, [2.5]]
    (operation,) = load(tmp_path)
    assert operation.key == "jobs"
    assert operation.args == (("a", (1, None)),)
    assert operation.result == (True, (2.5,))


@pytest.mark.parametrize(("cut", "operations"), [("call", 1), ("return", 2)])
def test_a_last_line_cut_short_is_left_out(tmp_path: Path, cut: str, operations: int) -> None:
    with Recorder(tmp_path, "w") as recorder:
        for value in (1, 2):
            with recorder.operation("write", value):
                pass
    path = tmp_path / "w.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    whole, torn = (lines[:2], lines[2]) if cut == "call" else (lines[:3], lines[3])
    path.write_text("".join([*whole, torn[: len(torn) // 2]]))
    outcomes = [each.outcome for each in load(tmp_path)]
    assert outcomes == ["ok", "unknown"][:operations]


def test_a_line_that_no_recorder_wrote_is_named(tmp_path: Path) -> None:
    (tmp_path / "w.jsonl").write_text(
        '{"event": "return", "id": 1, "t": 1.0, "outcome": "ok"}\n?\n'
    )
    with pytest.raises(ValueError, match=r"w\.jsonl:2 is not a line of a recorder"):
        load(tmp_path)


def test_a_process_that_starts_again_needs_a_new_name(tmp_path: Path) -> None:
    Recorder(tmp_path, "w").close()
    with pytest.raises(FileExistsError):
        Recorder(tmp_path, "w")


def test_histories_need_no_other_checker() -> None:
    hide = "import sys; sys.modules['detangle'] = None; import octavo.testing.histories"
    subprocess.run([sys.executable, "-c", hide], check=True, timeout=30)

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from octavo.testing import faults
from octavo.testing.faults import Nemesis

if TYPE_CHECKING:
    from collections.abc import Generator

    from octavo.testing.faults import Fault
    from octavo.testing.servers import Standalone


@faults.fault
def nothing(number: int = 0) -> Generator[int]:
    yield number


@faults.fault
def fails() -> Generator[int]:
    raise OSError("on purpose")
    yield 0


def quick(*members: Fault[int], seed: int | None = 1) -> Nemesis:
    return Nemesis(members, seed=seed, calm=(0.0, 0.01), lasting=(0.0, 0.01))


def test_a_schedule_depends_on_the_seed_alone() -> None:
    members = [nothing(number) for number in range(5)]
    assert quick(*members).schedule(50) == quick(*members).schedule(50)
    assert quick(*members).schedule(50) != quick(*members, seed=2).schedule(50)


def test_each_fault_strikes_before_any_strikes_again() -> None:
    members = [nothing(number) for number in range(5)]
    steps = quick(*members).schedule(20)
    for i in range(0, 20, 5):
        assert {id(step.fault) for step in steps[i : i + 5]} == set(map(id, members))
    assert len({tuple(id(step.fault) for step in steps[i : i + 5]) for i in range(0, 20, 5)}) > 1


def test_times_are_between_their_limits() -> None:
    for step in Nemesis([nothing()], seed=1, calm=(1, 2), lasting=(3, 4)).schedule(100):
        assert 1 <= step.calm <= 2
        assert 3 <= step.lasting <= 4


def test_what_strikes_is_what_the_schedule_says(standalone: Standalone) -> None:
    members = [faults.pause(standalone), faults.script_flush(standalone)]
    nemesis = Nemesis(members, seed=5, calm=(0, 0.02), lasting=(0.01, 0.03))
    planned = nemesis.schedule(8)
    with nemesis:
        nemesis.wait(8)
    assert standalone.cli("PING")
    assert [s.name for s in nemesis.strikes[:8]] == [step.fault.name for step in planned]
    for strike, step in zip(nemesis.strikes, planned, strict=False):
        assert strike.t1 - strike.t0 >= step.lasting
    for earlier, later, step in zip(
        nemesis.strikes, nemesis.strikes[1:], planned[1:], strict=False
    ):
        assert later.t0 - earlier.t1 >= step.calm


def test_spans_are_those_of_the_strikes() -> None:
    before = time.monotonic()
    with quick(nothing()) as nemesis:
        nemesis.wait(3)
    assert nemesis.spans == [(strike.t0, strike.t1) for strike in nemesis.strikes]
    assert all(before <= t0 <= t1 <= time.monotonic() for t0, t1 in nemesis.spans)


def test_at_the_end_the_last_fault_is_healed_at_once(standalone: Standalone) -> None:
    began = time.monotonic()
    with Nemesis([faults.pause(standalone)], seed=1, calm=(0, 0), lasting=(60, 60)):
        while standalone.responsive:
            time.sleep(0.001)
    assert standalone.cli("PING")
    assert time.monotonic() - began < 10


def test_a_nemesis_that_never_struck_is_an_error() -> None:
    with (
        pytest.raises(AssertionError, match="never struck"),
        Nemesis([nothing()], seed=1, calm=(60, 60)),
    ):
        pass


def test_a_fault_that_fails_is_an_error_at_the_end_and_while_one_waits() -> None:
    with pytest.raises(OSError, match="on purpose"), quick(fails()) as nemesis:
        nemesis._thread.join()
    with pytest.raises(OSError, match="on purpose"), quick(fails()) as nemesis:
        nemesis.wait(1)


def test_an_error_of_the_workload_comes_first_and_is_told_of_the_fault() -> None:
    with pytest.raises(KeyError) as raised, quick(fails()) as nemesis:  # noqa: PT012 - in between
        nemesis._thread.join()
        raise KeyError
    assert raised.value.__notes__ == ["before that a fault failed: OSError('on purpose')"]


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="faults must not be empty"):
        Nemesis([])
    with pytest.raises(ValueError, match=r"calm .* not \(2, 1\)"):
        Nemesis([nothing()], calm=(2, 1))
    with pytest.raises(ValueError, match=r"lasting .* not \(-1, 1\)"):
        Nemesis([nothing()], lasting=(-1, 1))


SEEDS = "from octavo.testing.faults import run_seed; run_seed(); run_seed()"


def seeds_of_a_run(given: str) -> tuple[list[str], str]:
    done = subprocess.run(
        [sys.executable, "-c", SEEDS],
        env=os.environ | {"OCTAVO_SEED": given},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.split(), done.stderr


def test_a_run_has_one_seed_which_is_printed_and_may_be_given() -> None:
    assert seeds_of_a_run("42")[0] == ["OCTAVO_SEED=42"] * 2
    (first, second), _ = seeds_of_a_run("")
    assert first == second
    assert first != seeds_of_a_run("")[0][0]
    assert "OCTAVO_SEED must be a whole number, not 'x'" in seeds_of_a_run("x")[1]


def test_a_nemesis_takes_the_seed_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert capsys.readouterr().out == ""
    nemesis = quick(nothing(), seed=None)
    assert capsys.readouterr().out == f"OCTAVO_SEED={nemesis.seed}\n"
    assert nemesis.seed == faults.run_seed()

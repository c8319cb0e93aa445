"""Acts that happen every so often while a thread is busy."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from octavo.engine import beats as module
from octavo.engine.beats import Beats
from octavo.testing.waiting import wait_until

if TYPE_CHECKING:
    import pytest


def beating() -> int:
    return sum(thread.name == "octavo-beats" for thread in threading.enumerate())


def test_an_act_is_repeated_until_the_block_ends() -> None:
    beats, times = Beats(), list[float]()
    with beats.every(0.02, lambda: times.append(time.monotonic())):
        wait_until(lambda: len(times) >= 4, "it beats")
    count = len(times)
    time.sleep(0.06)  # time for beats that must not come
    assert len(times) <= count + 1
    assert all(later - earlier >= 0.02 for earlier, later in pairwise(times))


def test_nothing_acts_before_its_time_is_up() -> None:
    acts: list[int] = []
    with Beats().every(5, lambda: acts.append(1)):
        time.sleep(0.05)  # time for a beat that must not come
    assert not acts


def test_all_acts_share_one_thread_and_keep_their_own_times() -> None:
    beats, counts = Beats(), {0.01: 0, 0.1: 0}

    def count(seconds: float) -> None:
        counts[seconds] += 1

    before = beating()
    with ExitStack() as stack:
        for seconds in counts:
            stack.enter_context(beats.every(seconds, partial(count, seconds)))
        wait_until(lambda: counts[0.1] >= 3, "the slower one beats")
        assert beating() == before + 1
    assert counts[0.01] >= 2 * counts[0.1]


def test_one_that_is_sooner_is_not_held_up_by_one_that_is_later() -> None:
    beats, acted = Beats(), threading.Event()
    with beats.every(60, acted.clear):
        wait_until(
            lambda: beats._wakes,  # pyright: ignore[reportPrivateUsage]
            "the thread waits for the later one",
        )
        with beats.every(0.01, acted.set):
            assert acted.wait(5)


def test_an_error_is_logged_and_the_next_beat_comes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "octavo")
    acts: list[int] = []

    def act() -> None:
        acts.append(1)
        raise LookupError("out of tune")

    with Beats().every(0.01, act):
        wait_until(lambda: len(acts) >= 3, "it beats again")
    assert "LookupError('out of tune')" in caplog.text


def test_the_block_ends_although_an_act_hangs() -> None:
    beats, hanging, release = Beats(), threading.Event(), threading.Event()

    def hang() -> None:
        hanging.set()
        release.wait(10)

    with beats.every(0.01, hang):
        assert hanging.wait(5)
    release.set()


def test_the_thread_ends_when_nothing_beats_and_another_comes_when_something_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_LINGER", 0.05)
    beats, acted = Beats(), threading.Event()
    before = beating()
    for _ in range(2):
        acted.clear()
        with beats.every(0.01, acted.set):
            assert acted.wait(5)
        wait_until(lambda: beating() <= before, "the thread ends")


def test_a_thread_that_lingers_serves_what_comes_next() -> None:
    beats, acted = Beats(), threading.Event()
    with beats.every(0.01, acted.set):
        assert acted.wait(5)
    acted.clear()
    count = beating()
    with beats.every(0.01, acted.set):
        assert acted.wait(5)
        assert beating() == count


def test_hundreds_of_blocks_at_once_all_beat() -> None:
    beats, seen = Beats(), set[int]()

    def work(number: int) -> None:
        with beats.every(0.02, lambda: seen.add(number)):
            wait_until(lambda: number in seen, f"{number} beats")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 200

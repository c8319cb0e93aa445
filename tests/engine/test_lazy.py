"""Properties that are made once: without a lock that a fork could leave held."""

from __future__ import annotations

import os
import threading

from octavo.engine.fork import lazy


class Slow:
    """An object with a property that takes its time, in the thread that asks first."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.made = 0

    @lazy
    def value(self) -> int:
        """What is made."""
        self.made += 1
        if threading.current_thread() is not threading.main_thread():
            self.begun.set()
            self.go_on.wait()
        return 7


def test_it_is_made_once_and_kept() -> None:
    slow = Slow()
    assert (slow.value, slow.value, slow.made) == (7, 7, 1)
    assert Slow.value.__doc__ == "What is made."


def test_a_child_forked_while_it_is_made_makes_it_too() -> None:
    slow = Slow()
    thread = threading.Thread(target=lambda: slow.value)
    thread.start()
    slow.begun.wait()
    child = os.fork()
    if not child:
        os._exit(slow.value)
    slow.go_on.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7

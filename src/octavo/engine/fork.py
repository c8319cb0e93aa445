"""What a forked child does with the engines it inherits."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Inherited(Protocol):
    """Anything with connections that a child must not share with its parent."""

    def after_fork(self) -> None:
        """Let go of the parent's connections, without a word to the server."""


_inherited: weakref.WeakSet[Inherited] = weakref.WeakSet()


def mind_forks(engine: Inherited) -> None:
    """Have `after_fork` called in every child, for as long as the engine lives."""
    _inherited.add(engine)


def _after_fork() -> None:
    for engine in list(_inherited):
        engine.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

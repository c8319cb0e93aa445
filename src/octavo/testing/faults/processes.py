"""Servers and workers that die or hang."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from octavo.testing.faults.base import fault, now

if TYPE_CHECKING:
    from collections.abc import Generator

    from octavo.testing.faults.base import Now
    from octavo.testing.servers.group import Group
    from octavo.testing.servers.process import Process

__all__ = ["kill", "pause"]

P = TypeVar("P", bound="Process")


@fault
def kill(victim: Now[P], *, group: Group | None = None) -> Generator[P]:
    """Kill a server or a worker (`kill -9`), and start it again.

    Args:
        victim: the process.
        group: the cluster or the Sentinels it belongs to, which has healed when the fault has.
    """
    process = now(victim)
    if not process.alive:
        raise RuntimeError(f"{process} does not run")
    process.kill()
    yield process
    (group or process).heal()


@fault
def pause(victim: Now[P], *, group: Group | None = None) -> Generator[P]:
    """Stop a server or a worker in its tracks (SIGSTOP), and let it go on.

    Args:
        victim: the process.
        group: the cluster or the Sentinels it belongs to, which has healed when the fault has.
    """
    process = now(victim)
    process.pause()
    yield process
    (group or process).heal()

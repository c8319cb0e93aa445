"""Servers that forget: scripts, data, connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octavo.testing.faults.base import fault
from octavo.testing.servers import Sentinels, Standalone

if TYPE_CHECKING:
    from collections.abc import Generator

    from octavo.testing.servers.group import Group

__all__ = ["client_kill", "flush_all", "script_flush", "standing"]


def standing(servers: Standalone | Group) -> list[Standalone]:
    """Return the servers with data that run and are not paused."""
    match servers:
        case Standalone():
            nodes = [servers]
        case Sentinels():
            nodes = servers.servers
        case _:
            nodes = servers.nodes
    return [node for node in nodes if node.responsive]


@fault
def script_flush(servers: Standalone | Group) -> Generator[list[Standalone]]:
    """Have every server forget all scripts; clients load them again."""
    nodes = standing(servers)
    for node in nodes:
        node.cli("SCRIPT", "FLUSH", "SYNC")
    yield nodes


@fault
def flush_all(servers: Standalone | Group) -> Generator[list[Standalone]]:
    """Delete all data, for good."""
    nodes = [servers] if isinstance(servers, Standalone) else servers.primaries
    for node in nodes:
        node.cli("FLUSHALL", "SYNC")
    yield nodes


@fault
def client_kill(servers: Standalone | Group, kind: str = "normal") -> Generator[int]:
    """Close connections from the server's side, and tell how many.

    Args:
        servers: all of these do it.
        kind: what `CLIENT KILL TYPE` takes: `"normal"`; `"pubsub"`, those that subscribe.
    """
    yield sum(int(node.cli("CLIENT", "KILL", "TYPE", kind)) for node in standing(servers))

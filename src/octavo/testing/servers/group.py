"""What a cluster and a set of Sentinels have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from octavo.testing.servers.process import Startable
from octavo.testing.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers.standalone import Standalone

__all__ = ["Group", "linked", "start_all"]


class Group(Startable):
    """Several servers that belong together."""

    nodes: list[Standalone]
    proxies: list[WireProxy]

    @property
    @abstractmethod
    def primaries(self) -> list[Standalone]:
        """The nodes that take writes now."""

    @abstractmethod
    def node_of(self, key: str) -> Standalone:
        """Return the primary that serves a key."""

    @abstractmethod
    def replicas_of(self, primary: Standalone) -> list[Standalone]:
        """Return the replicas of a node."""

    @abstractmethod
    def healthy(self) -> bool:
        """Whether every node is up, agrees who is who, and replicates."""

    def proxy_of(self, node: Standalone) -> WireProxy:
        """Return the proxy in front of a node."""
        if not self.proxies:
            raise ValueError("this group was made with proxied=False")
        return self.proxies[self.nodes.index(node)]

    def heal(self) -> None:
        """Undo faults: start what was killed, resume what was paused, wait until healthy."""
        for node in self.nodes:
            node.heal()
        wait_until(self.healthy, "the group has healed", timeout=30)

    def kill(self, node: Standalone) -> None:
        """Kill one node; the others notice in their own time."""
        node.kill()

    def flush(self) -> None:
        """Delete all data."""
        for node in self.primaries:
            node.cli("FLUSHALL", "SYNC")

    def close(self) -> None:
        """Stop all servers and proxies and remove their directories."""
        for node in self.nodes:
            node.kill()
            node.close()
        for proxy in self.proxies:
            proxy.close()


def start_all(nodes: Sequence[Standalone]) -> None:
    """Start servers side by side and wait until all serve."""
    for node in nodes:
        node.launch()
    for node in nodes:
        node.wait_ready()


def linked(node: Standalone) -> bool:
    """Whether a node is a primary, or a replica connected to its primary."""
    replication: dict[str, str] = node.cli("INFO", "replication")
    return replication["role"] == "master" or replication["master_link_status"] == "up"

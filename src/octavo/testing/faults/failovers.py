"""Primaries that are replaced."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from octavo.testing.faults.base import fault
from octavo.testing.faults.network import unreplicated
from octavo.testing.faults.processes import kill
from octavo.testing.servers import Cluster, Sentinels
from octavo.testing.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Generator

    from octavo.testing.servers import Standalone
    from octavo.testing.servers.group import Group

__all__ = ["failover", "lossy_failover", "takeover"]


@fault
def failover(group: Cluster | Sentinels, key: str = "") -> Generator[Standalone]:
    """Have a replica promoted, and tell which; a cluster loses nothing.

    Args:
        group: Sentinels, or a cluster.
        key: whose primary is replaced; Sentinels have but one.
    """
    if isinstance(group, Sentinels):
        yield group.failover()
    else:
        yield group.failover(group.node_of(key))


@fault
def takeover(cluster: Cluster, key: str) -> Generator[Standalone]:
    """Have the replica of a key's primary take over, asking nobody, and tell which it is."""
    yield cluster.failover(cluster.node_of(key), forced=True)


@fault
def lossy_failover(group: Group, key: str = "", *, lag: float = 0.2) -> Generator[Standalone]:
    """Kill a primary that is ahead of its replicas, and tell which of them has taken over.

    What the primary acknowledges in its last `lag` seconds is lost. A primary that is merely
    killed loses nothing on one machine: what it has sent still arrives.

    Args:
        group: made with `proxied=True`.
        key: whose primary it is; Sentinels have but one.
        lag: how long the primary goes on without its replicas.
    """
    primary = group.node_of(key)
    with unreplicated(group, primary):
        time.sleep(lag)
        with kill(primary, group=group):
            wait_until(lambda: group.node_of(key) is not primary, "a replica took over", timeout=30)
            yield group.node_of(key)

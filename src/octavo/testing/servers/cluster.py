"""A cluster."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from redis.crc import key_slot

from octavo.testing.proxy import WireProxy
from octavo.testing.servers.group import Group, linked, start_all
from octavo.testing.servers.process import free_port
from octavo.testing.servers.standalone import Standalone
from octavo.testing.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

__all__ = ["Cluster"]

_SLOTS = 16384


class _Member(NamedTuple):
    """What one node knows about another: a line of `CLUSTER NODES`."""

    primary: str
    slots: tuple[tuple[int, int], ...]
    troubled: bool


class Cluster(Group):
    """A cluster of primaries and replicas on loopback ports.

    Args:
        binary: the program, one of `binaries()`.
        options: more words for every node's command line.
        primaries: how many nodes hold slots.
        replicas: how many replicas each of them has.
        proxied: announce a `WireProxy` in front of each node, through which clients, and
            replicas of the node, then go; `proxies` has them in the order of `nodes`.
        env: environment variables of the nodes, besides those of this process.
    """

    def __init__(
        self,
        binary: Path,
        *options: str,
        primaries: int = 3,
        replicas: int = 1,
        proxied: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.nodes = []
        self.proxies = []
        self._primary_count = primaries
        self._ids: dict[str, Standalone] = {}
        for _ in range(primaries * (1 + replicas)):
            port, bus = free_port(), str(free_port())
            words = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]
            words += ["--cluster-port", bus, "--repl-diskless-sync-delay", "0"]
            words += ["--cluster-allow-replica-migration", "no"]
            if proxied:
                self.proxies.append(WireProxy(f"127.0.0.1:{port}"))
                words += ["--cluster-announce-port", str(self.proxies[-1].port)]
                words += ["--cluster-announce-bus-port", bus]
            self.nodes.append(Standalone(binary, *words, *options, port=port, env=env))

    @property
    def url(self) -> str:
        """The URL of the cluster, through the proxies if there are any."""
        return "redis+cluster://" + ",".join(end.address for end in self.proxies or self.nodes)

    @property
    def primaries(self) -> list[Standalone]:
        """The nodes that hold slots now."""
        return [self._ids[name] for name, member in self._view().items() if member.slots]

    def node_of(self, key: str | bytes | int) -> Standalone:
        """Return the primary that serves a key, or a slot by its number."""
        slot = (
            key if isinstance(key, int) else key_slot(key.encode() if isinstance(key, str) else key)
        )
        for name, member in self._view().items():
            if any(first <= slot <= last for first, last in member.slots):
                return self._ids[name]
        raise LookupError(f"no node serves slot {slot}")

    def replicas_of(self, primary: Standalone) -> list[Standalone]:
        """Return the replicas of a node."""
        return [
            self._ids[name]
            for name, member in self._view().items()
            if member.primary and self._ids[member.primary] is primary
        ]

    def start(self) -> None:
        """Start the nodes, join them and wait until the cluster is healthy."""
        start_all(self.nodes)
        self._join()
        wait_until(self.healthy, "the cluster has formed", timeout=30)

    def failover(self, primary: Standalone, *, forced: bool = False) -> Standalone:
        """Hand a primary's slots to its replica and return the new primary.

        Nothing is lost, unless the replica is `forced` to take over what it has, asking nobody.
        """
        heir = self.replicas_of(primary)[0]
        heir.cli("CLUSTER", "FAILOVER", *(["TAKEOVER"] if forced else []))
        # In this order: all agreed before the failover, too.
        wait_until(
            lambda: heir in self.primaries and self.healthy(), f"{heir} has taken over", timeout=30
        )
        return heir

    @contextmanager
    def migrating(self, slot: int, target: Standalone) -> Generator[Callable[..., None]]:
        """Hold a slot half moved: keys that have gone are answered with ASK.

        Yields a function that moves the keys given to it. At the end all keys have moved.
        """
        source = self.node_of(slot)
        ids = {node: name for name, node in self._ids.items()}

        def move(*keys: str) -> None:
            source.cli("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)

        target.cli("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        source.cli("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        try:
            yield move
        finally:
            while keys := source.cli("CLUSTER", "GETKEYSINSLOT", slot, 1000):
                move(*keys)
            others = [node for node in self.primaries if node not in (source, target)]
            for node in (target, source, *others):
                node.cli("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
            wait_until(
                lambda: self.node_of(slot) is target and self.healthy(), f"{target} has slot {slot}"
            )

    def migrate(self, slot: int, target: Standalone) -> None:
        """Move a slot and its keys to another primary."""
        with self.migrating(slot, target):
            pass

    def healthy(self) -> bool:
        """Whether all slots are served, all nodes agree, and every replica is linked."""
        views = [self._view(node) for node in self.nodes]
        return (
            all(view == views[0] for view in views)
            and len(views[0]) == len(self.nodes)
            and not any(member.troubled for member in views[0].values())
            and all("cluster_state:ok" in node.cli("CLUSTER", "INFO") for node in self.nodes)
            and all(linked(node) for node in self.nodes)
        )

    def _join(self) -> None:
        self._ids = {node.cli("CLUSTER", "MYID"): node for node in self.nodes}
        names = list(self._ids)
        count = self._primary_count
        for i, node in enumerate(self.nodes):
            node.cli("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
            if i < count:
                first, end = _SLOTS * i // count, _SLOTS * (i + 1) // count
                node.cli("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
            for other in self.nodes[:i]:
                self._introduce(node, other)
        for i, node in enumerate(self.nodes[count:]):
            self._replicate(node, names[i % count])

    def _replicate(self, node: Standalone, primary: str) -> None:
        wait_until(lambda: primary in self._view(node), f"{node} knows its primary")
        node.cli("CLUSTER", "REPLICATE", primary)

    def _introduce(self, node: Standalone, other: Standalone) -> None:
        bus = other.cli("CONFIG", "GET", "cluster-port")["cluster-port"]
        node.cli("CLUSTER", "MEET", "127.0.0.1", other.port, bus)

    def _view(self, node: Standalone | None = None) -> dict[str, _Member]:
        """Return what a node, else any that answers, knows about all of them."""
        node = node or next(node for node in self.nodes if node.responsive)
        view: dict[str, _Member] = {}
        for line in node.cli("CLUSTER", "NODES").splitlines():
            name, _, flags, primary, _, _, _, _, *slots = line.split()
            ranges = [slot.split("-") for slot in slots if not slot.startswith("[")]
            view[name] = _Member(
                primary="" if primary == "-" else primary,
                slots=tuple((int(one[0]), int(one[-1])) for one in ranges),
                troubled=bool({"fail", "fail?", "handshake", "noaddr"} & {*flags.split(",")}),
            )
        return view

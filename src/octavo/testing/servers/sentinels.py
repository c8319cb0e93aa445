"""A primary with replicas that Sentinels watch."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from redis.exceptions import ResponseError

from octavo.testing.proxy import WireProxy
from octavo.testing.servers.group import Group, linked, start_all
from octavo.testing.servers.process import free_port
from octavo.testing.servers.standalone import Standalone
from octavo.testing.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Sentinels"]

_SERVICE = "octavo"
_DOWN_AFTER_MS = 500


class Sentinels(Group):
    """A primary with replicas, watched by Sentinels that promote one when it fails.

    Args:
        binary: the program, one of `binaries()`.
        options: more words for the command line of the primary and the replicas.
        sentinels: how many Sentinels watch; more than half of them must agree.
        replicas: how many replicas the primary has.
        proxied: put a `WireProxy` in front of each server, through which clients, Sentinels, and
            replicas of the server, then go; `proxies` has them in the order of `servers`.
        env: environment variables of the servers, besides those of this process.
    """

    def __init__(
        self,
        binary: Path,
        *options: str,
        sentinels: int = 3,
        replicas: int = 2,
        proxied: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.servers: list[Standalone] = []
        self.proxies = []
        for _ in range(1 + replicas):
            port = free_port()
            words = ["--repl-diskless-sync-delay", "0"]
            if proxied:
                self.proxies.append(WireProxy(f"127.0.0.1:{port}"))
                words += ["--replica-announce-port", str(self.proxies[-1].port)]
            self.servers.append(Standalone(binary, *words, *options, port=port, env=env))
        first = self._port_of(self.servers[0])
        self.sentinels = [
            _Sentinel(binary, first, quorum=sentinels // 2 + 1) for _ in range(sentinels)
        ]
        self.nodes = [*self.servers, *self.sentinels]

    @property
    def url(self) -> str:
        """The URL of the service."""
        return f"redis+sentinel://{','.join(one.address for one in self.sentinels)}/{_SERVICE}/0"

    @property
    def primary(self) -> Standalone:
        """The primary, as the first Sentinel that answers names it."""
        sentinel = next(one for one in self.sentinels if one.responsive)
        return self._named_by(sentinel)

    @property
    def primaries(self) -> list[Standalone]:
        """The one primary."""
        return [self.primary]

    def node_of(self, key: str) -> Standalone:
        """Return the primary, which serves all keys."""
        return self.primary

    def replicas_of(self, primary: Standalone) -> list[Standalone]:
        """Return all servers but this one."""
        return [node for node in self.servers if node is not primary]

    def start(self) -> None:
        """Start the servers, then those who watch them, and wait until all know of all."""
        start_all(self.servers)
        for node in self.servers[1:]:
            self._replicate(node, self.servers[0])
        start_all(self.sentinels)
        for sentinel in self.sentinels:
            # They look at the servers every 10 s, and tell each other every 2 s, otherwise.
            sentinel.cli(
                "SENTINEL", "DEBUG", "INFO-PERIOD", 200, "PUBLISH-PERIOD", 200, "PING-PERIOD", 100
            )
        wait_until(self.healthy, "the Sentinels have met", timeout=30)

    def failover(self) -> Standalone:
        """Have the Sentinels promote a replica, and return the new primary."""
        former = self.primary

        def promoted() -> bool:
            if self.primary is former:
                # A Sentinel gives up after its failover-timeout; while it tries, it refuses.
                with suppress(ResponseError):
                    self.sentinels[0].cli("SENTINEL", "FAILOVER", _SERVICE)
            return self.primary is not former and self.healthy()

        wait_until(promoted, "a replica took over", timeout=30)
        return self.primary

    def kill_primary(self) -> Standalone:
        """Kill the primary and return it; the Sentinels promote another in about a second."""
        primary = self.primary
        primary.kill()
        return primary

    def heal(self) -> None:
        """Undo faults: start what was killed, resume what was paused, wait until healthy."""
        dead = [node for node in self.servers if not node.alive]
        if dead:
            wait_until(lambda: self.primary not in dead, "a replica took over", timeout=30)
        for node in dead:
            node.start()
            # The Sentinels would do it, but only after watching it be a primary for 8 s.
            self._replicate(node, self.primary)
        super().heal()

    def healthy(self) -> bool:
        """Whether the Sentinels know all nodes and each other, and every replica is linked."""
        primary = self.primary
        return all(
            self._knows_all(one) and self._named_by(one) is primary for one in self.sentinels
        ) and all(
            linked(node) and (node is primary) == (node.cli("INFO")["role"] == "master")
            for node in self.servers
        )

    def _replicate(self, node: Standalone, primary: Standalone) -> None:
        node.cli("REPLICAOF", "127.0.0.1", self._port_of(primary))

    def _port_of(self, node: Standalone) -> int:
        """Return the port under which others know a server."""
        return self.proxies[self.servers.index(node)].port if self.proxies else node.port

    def _named_by(self, sentinel: Standalone) -> Standalone:
        _, port = sentinel.cli("SENTINEL", "GET-MASTER-ADDR-BY-NAME", _SERVICE)
        return next(node for node in self.servers if self._port_of(node) == int(port))

    def _knows_all(self, sentinel: Standalone) -> bool:
        known = _pairs(sentinel.cli("SENTINEL", "MASTER", _SERVICE))
        replicas = [_pairs(one) for one in sentinel.cli("SENTINEL", "REPLICAS", _SERVICE)]
        return (
            known["flags"] == "master"
            and int(known["num-other-sentinels"]) == len(self.sentinels) - 1
            and len(replicas) == len(self.servers) - 1
            and all(one["flags"] == "slave" for one in replicas)
            and all(one["master-link-status"] == "ok" for one in replicas)
        )


class _Sentinel(Standalone):
    """A Sentinel: the server in another mode, which keeps what it learns in its config file."""

    def __init__(self, binary: Path, primary: int, *, quorum: int) -> None:
        super().__init__(binary)
        (self.home / "sentinel.conf").write_text(
            f"bind 127.0.0.1\nport {self.port}\ndir {self.home}\nunixsocket {self._socket}\n"
            f"sentinel monitor {_SERVICE} 127.0.0.1 {primary} {quorum}\n"
            f"sentinel down-after-milliseconds {_SERVICE} {_DOWN_AFTER_MS}\n"
            # Also the pause before the next attempt, and before the next failover (twice this).
            f"sentinel failover-timeout {_SERVICE} 1000\n"
        )

    def _command(self) -> list[str]:
        return [str(self.binary), "sentinel.conf", "--sentinel"]


def _pairs(reply: Any) -> dict[str, str]:
    # RESP3 sends a map, RESP2 a flat list.
    if isinstance(reply, dict):
        return cast("dict[str, str]", reply)
    return dict(zip(reply[::2], reply[1::2], strict=True))

"""Where commands go: one server, a Sentinel's primary, a cluster's slots, the embedded server.

redis-py opens the connections (TLS, credentials, HELLO, SELECT) and keeps the cluster's slot
table; what is asked of it blocks, so the async engine asks in a thread.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import redis.asyncio.connection as redis_async
import redis.connection as redis_sync
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, NodesManager
from redis.exceptions import (
    AuthenticationError,
    MovedError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from octavo.engine.keys import slot
from octavo.engine.retry import Lost
from octavo.errors import AccessDenied, ServerError

if TYPE_CHECKING:
    from octavo.engine.url import Target

_LEAST_TO_ASK = 0.25
"""Seconds that a node of a cluster is given at least to answer a discovery."""


class Endpoint:
    """One node: where it listens and how to connect to it."""

    __slots__ = ("_kind", "_options", "address")

    def __init__(self, address: str, options: dict[str, Any], *, tls: bool) -> None:
        self.address = address
        self._kind = "UnixDomainSocket" if "path" in options else "SSL" if tls else ""
        self._options = options

    def connect(self, timeout: float) -> redis_sync.AbstractConnection:
        """Open a connection, ready for commands."""
        kind = getattr(redis_sync, f"{self._kind}Connection")
        connection: redis_sync.AbstractConnection = kind(**self._with(timeout))
        try:
            connection.connect()
        except Exception as error:
            raise _not_connected(error, self.address) from error
        return connection

    async def connect_async(self, timeout: float) -> redis_async.AbstractConnection:
        """Open a connection on the running event loop, ready for commands."""
        kind = getattr(redis_async, f"{self._kind}Connection")
        connection: redis_async.AbstractConnection = kind(**self._with(timeout))
        try:
            await connection.connect()
        except asyncio.CancelledError:
            # redis-py leaves open what it was about to open.
            await connection.disconnect(nowait=True)
            raise
        except Exception as error:
            raise _not_connected(error, self.address) from error
        return connection

    def _with(self, timeout: float) -> dict[str, Any]:
        # SETINFO would cost two more round trips on every new connection.
        return self._options | {
            "protocol": 3,
            "driver_info": None,
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
        }

    def __repr__(self) -> str:
        """Show the address, never the credentials."""
        return f"<Endpoint {self.address}>"


def _not_connected(error: Exception, address: str) -> Exception:
    # redis-py keeps errors in variables of the frames that their tracebacks hold.
    chain: BaseException | None = error
    while chain is not None:
        chain.__traceback__ = None
        chain = chain.__cause__ or chain.__context__
    if isinstance(error, AuthenticationError | NoPermissionError):
        return AccessDenied(f"{error.status_code or 'WRONGPASS'} {error} at {address}")
    if isinstance(error, ResponseError):
        return ServerError(f"{error.status_code or 'ERR'} {error} at {address}")
    return Lost(f"cannot connect to {address}: {error}", sent=False)


class Topology(ABC):
    """Knows which node a command goes to.

    Attributes:
        generation: grows with each discovery, so that a crowd of callers discovers once.
    """

    def __init__(self, target: Target, options: dict[str, Any], connect_timeout: float) -> None:
        self.target = target
        self.generation = 0
        self._options = target.options | options
        self._connect_timeout = connect_timeout
        self._doubted: set[Endpoint] = set()
        self._lock = threading.Lock()
        self._endpoints: dict[str, Endpoint] = {}

    def endpoint(self, keys: tuple[bytes, ...], at: Endpoint | None = None) -> Endpoint | None:
        """Return the node for these keys, or None while it has to be discovered. Does no I/O.

        Args:
            keys: what decides, by the first.
            at: the node, if it is known already; it has to be discovered if it is in doubt.
        """
        found = self._find(keys) if at is None else at
        return None if self._doubted and found in self._doubted else found

    def node_of(self, keys: tuple[bytes, ...]) -> Endpoint | None:
        """Return the node that had these keys when it was last heard of. Does no I/O."""
        return self._find(keys)

    def primaries(self) -> list[Endpoint]:
        """Return every node that takes writes, as far as they are known. Does no I/O."""
        only = self._find(())
        return [] if only is None else [only]

    def doubt(self, node: Endpoint) -> None:
        """Have this node discovered anew before it is used again: a connection to it was lost."""
        self._doubted.add(node)

    def refresh(self, seen: int, timeout: float) -> None:
        """Discover the nodes, unless another caller has since `seen`. Blocks, up to `timeout`.

        Raises:
            Lost: nobody answered.
            OctavoError: asking again would not help.
        """
        with self._lock:
            if self.generation == seen:
                self._discover(max(timeout, 0.001))
                self._doubted.clear()
                self.generation += 1

    @abstractmethod
    def _find(self, keys: tuple[bytes, ...]) -> Endpoint | None:
        """Return the node for these keys as far as it is known."""

    @abstractmethod
    def _discover(self, timeout: float) -> None:
        """Find the nodes; blocks, up to `timeout` seconds."""

    def moved(self, where: str, node: Endpoint) -> None:
        """Note what `MOVED slot host:port` said."""
        raise ServerError(
            f"MOVED {where}: {node.address} is a node of a cluster; connect with redis+cluster://"
        )

    def asked(self, where: str, node: Endpoint) -> Endpoint:
        """Return the node that `ASK` named; an empty host is the one that answered."""
        host, _, port = where.rpartition(":")
        return self._at(host or node.address.rpartition(":")[0], int(port))

    def after_fork(self) -> None:
        """Replace what another thread of the parent may have held at the fork."""
        self._lock = threading.Lock()

    def close(self) -> None:  # noqa: B027 - most hold nothing open
        """Let go of what is held open."""

    def _to_ask(self, timeout: float) -> dict[str, Any]:
        """Return the options of a client that discovers."""
        timeout = min(self._connect_timeout, timeout)
        options = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
        return options | ({"ssl": True} if self.target.tls else {})

    def _at(self, host: str, port: int) -> Endpoint:
        return self._endpoint(f"{host}:{port}", host=host, port=port)

    def _endpoint(self, address: str, **where: Any) -> Endpoint:
        if address not in self._endpoints:
            self._endpoints[address] = Endpoint(address, self._options | where, tls=self.target.tls)
        return self._endpoints[address]


class Standalone(Topology):
    """One server, known from the start."""

    def __init__(self, target: Target, options: dict[str, Any], connect_timeout: float) -> None:
        super().__init__(target, options, connect_timeout)
        self._only = (
            self._endpoint(target.path, path=target.path)
            if target.path
            else self._at(*target.nodes[0])
        )

    def doubt(self, node: Endpoint) -> None:
        """Do nothing: there is no other."""

    def _find(self, keys: tuple[bytes, ...]) -> Endpoint:
        return self._only

    def _discover(self, timeout: float) -> None:
        pass


class Shipped(Topology):
    """The embedded server: discovering it starts it."""

    def __init__(self, target: Target, options: dict[str, Any], connect_timeout: float) -> None:
        # Imported here: only those who use the embedded server pay for it.
        from octavo.embedded import Embedded  # noqa: PLC0415

        super().__init__(target, options, connect_timeout)
        self._server = Embedded(target.path, ephemeral=target.ephemeral)
        self._only: Endpoint | None = None

    def _find(self, keys: tuple[bytes, ...]) -> Endpoint | None:
        return self._only

    def _discover(self, timeout: float) -> None:
        path = self._server.ensure()
        self._only = self._endpoint(path, path=path)

    def close(self) -> None:
        """Stop using the server, which stops when nobody does."""
        self._server.release()
        self._only = None


class Sentinels(Topology):
    """The primary that the Sentinels agree on."""

    def __init__(self, target: Target, options: dict[str, Any], connect_timeout: float) -> None:
        super().__init__(target, options, connect_timeout)
        self._sentinels = list(target.nodes)
        self._primary: Endpoint | None = None

    def _find(self, keys: tuple[bytes, ...]) -> Endpoint | None:
        return self._primary

    def _discover(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        tls = {name: value for name, value in self._options.items() if name.startswith("ssl_")}
        said = "no time was left to ask"
        for node in tuple(self._sentinels):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            options = tls | self.target.sentinel_options | self._to_ask(remaining)
            once = {"retry": Retry(NoBackoff(), 0)}
            sentinel: Any = Sentinel([node], sentinel_kwargs=options | once)
            try:
                self._primary = self._at(*sentinel.discover_master(self.target.service))
            except (RedisError, OSError) as error:
                said = (
                    "it knows no primary" if isinstance(error, MasterNotFoundError) else str(error)
                )
                # The others are asked first from now on.
                self._sentinels.remove(node)
                self._sentinels.append(node)
            else:
                return
            finally:
                sentinel.sentinels[0].close()
        raise Lost(f"no answer from {self.target}; the last one asked: {said}", sent=False)


class Cluster(Topology):
    """The nodes of a cluster, by slot."""

    def __init__(self, target: Target, options: dict[str, Any], connect_timeout: float) -> None:
        super().__init__(target, options, connect_timeout)
        self._manager: NodesManager | None = None
        self._by_slot: dict[int, Endpoint] = {}

    def _find(self, keys: tuple[bytes, ...]) -> Endpoint | None:
        number = slot(keys[0]) if keys else 0
        known = self._by_slot.get(number)
        if known is None and self._manager is not None:
            try:
                node: Any = self._manager.get_node_from_slot(number)
            except RedisClusterException:
                return None
            known = self._by_slot[number] = self._at(node.host, node.port)
        return known

    def primaries(self) -> list[Endpoint]:
        """Return every node that takes writes, as far as they are known. Does no I/O."""
        if self._manager is None:
            return []
        nodes: list[Any] = self._manager.get_nodes_by_server_type("primary")
        return [self._at(node.host, node.port) for node in nodes]

    def moved(self, where: str, node: Endpoint) -> None:
        """Give the slot to the node named."""
        number, _, address = where.partition(" ")
        target = self.asked(address, node)
        if self._manager is not None:
            self._manager.move_slot(MovedError(f"{number} {target.address}"))
        self._by_slot[int(number)] = target

    def after_fork(self) -> None:
        """Discover anew: the parent's slot table may be locked by a thread that is not here."""
        super().after_fork()
        self._manager = None
        self._by_slot = {}

    def _discover(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        nodes = set(self.target.nodes)
        if self._manager is not None:
            known: Any = self._manager.nodes_cache.values()
            nodes |= {(node.host, node.port) for node in known}
        failure: Exception = Lost(f"no time was left to ask {self.target}", sent=False)
        for asked, (host, port) in enumerate(random.sample(sorted(nodes), len(nodes))):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            # One that hangs must leave time for the others.
            share = min(remaining, max(remaining / (len(nodes) - asked), _LEAST_TO_ASK))
            try:
                self._manager = NodesManager(
                    [ClusterNode(host, port)],
                    require_full_coverage=False,
                    **(self._options | self._to_ask(share)),
                )
            except (RedisError, RedisClusterException, OSError) as error:
                failure = _not_connected(error, str(self.target))
            else:
                self._by_slot = {}
                return
        try:
            raise failure
        finally:
            del failure


_KINDS: dict[str, type[Topology]] = {
    "standalone": Standalone,
    "embedded": Shipped,
    "sentinel": Sentinels,
    "cluster": Cluster,
}


def make_topology(target: Target, options: dict[str, Any], connect_timeout: float) -> Topology:
    """Return the topology of a URL. Does no I/O."""
    return _KINDS[target.kind](target, options, connect_timeout)

"""Two clients of one server, a look from outside, and the passing of time without waiting."""

from __future__ import annotations

import inspect
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import redis

from octavo.cache import Local
from octavo.testing.servers import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

    from octavo import Octavo, Sync
    from octavo.cache import Cache
    from octavo.testing.servers import Standalone
    from tests.fix_faces import LoopThread
    from tests.fix_servers import Server


def soon(condition: Callable[[], object], what: str) -> None:
    """Poll, more often than `wait_until` does, since this is waited for after every step."""
    deadline = time.monotonic() + 15
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within 15 s: {what}")
        time.sleep(0.0001)


def _nobody() -> int:
    raise LookupError("a sentinel has gone")


class Outside:
    """Redis as others see it: writes of theirs, and time that passes for what octavo wrote."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._clients: dict[str, Any] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def node(self, key: str) -> Standalone:
        """Return the node that has a key."""
        return self._server.node_of(key)

    def client(self, key: str) -> Any:
        """Return a client of the node that has a key."""
        node = self.node(key)
        if node.url not in self._clients:
            make: Any = redis.Redis
            self._clients[node.url] = self._stack.enter_context(make.from_url(node.url))
        return self._clients[node.url]

    def pass_time(self, cache: Cache[Sync, Any], keys: Iterable[str], seconds: float) -> None:
        """Bring the ends of some values nearer, as so many seconds would."""
        for key in keys:
            name = cache.info(key).key
            client = self.client(name)
            stays = client.pttl(name)
            if stays >= 0:
                client.pexpire(name, max(stays - round(seconds * 1000), 0))

    def forget_failure(self, cache: Cache[Sync, Any], key: str) -> None:
        """End the pause that follows a refresh that failed."""
        name = cache.info(key).key + ":l"
        self.client(name).delete(name)


class Pair:
    """Two clients; before either goes on, it can have heard what the other has done.

    Args:
        server: what both are connected to.
        outside: a look at it.
        dbs: the clients.
        loop: where the coroutines of the async face run.
    """

    def __init__(
        self, server: Server, outside: Outside, dbs: list[Octavo[Sync]], loop: LoopThread
    ) -> None:
        self.dbs = dbs
        self.outside = outside
        self._loop = loop
        self._sent = 0
        self._caches: list[Cache[Sync, Any]] = [
            db.cache("sentinels", ttl=3600, local=Local()) for db in dbs
        ]
        nodes = server.nodes.primaries if isinstance(server.nodes, Cluster) else [None]
        # One on each node, since each has a link of its own.
        self._sentinels: dict[str, str] = {}
        covered: set[str] = set()
        for number in range(1000):
            name = self._caches[0].info(str(number)).key
            if outside.node(name).url not in covered:
                covered.add(outside.node(name).url)
                self._sentinels[str(number)] = name
        assert len(covered) == len(nodes)

    def settle(self) -> None:
        """Return when both have heard of all that has changed.

        A node tells of changes in their order; what was written last, and is heard of, comes after
        everything else.
        """
        self._sent += 1
        for name in self._sentinels.values():
            self.outside.client(name).set(name, self._sent, px=3_600_000)
        for cache in self._caches:
            for key in self._sentinels:
                # A batch asks the server in any case; this is no operation, so it is not batched.
                look = partial(cache.fetch_or_create, key, _nobody)
                soon(lambda: look().value == self._sent, "a change is heard of")  # noqa: B023
                soon(lambda: look().outcome == "local", "the link is up")  # noqa: B023

    def done(self, value: Any) -> Any:
        """Return what a call gave, once it is there."""
        return self._loop.run(value) if inspect.iscoroutine(value) else value

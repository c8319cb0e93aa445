"""Several independent servers, and a Redlock of clients of any face."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.testing.waiting import wait_until
from tests.fix_faces import Uniform
from tests.fix_servers import redis_py
from tests.locks.cases import Outside

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from octavo import Async, Octavo
    from octavo.testing.servers import Standalone

THREE_AND_FIVE = pytest.mark.parametrize("rack", [3, 5], indirect=True)


class Rack:
    """Servers of which none knows of the others, and what they hold, as seen from outside."""

    def __init__(self, servers: list[Standalone], prefix: str) -> None:
        self.servers = servers
        self._prefix = prefix
        self._base = f"{prefix}:lock:{{x}}"
        clients = [redis_py(server.unix_url) for server in servers]
        self.outside = [Outside(client, prefix, self._base) for client in clients]

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self.servers]

    @property
    def owners(self) -> list[list[str]]:
        """Who holds the lock on each server."""
        return [list(outside.leases) for outside in self.outside]

    @property
    def fences(self) -> list[int]:
        """The last fence that each server knows."""
        key = f"{self._base}:who"
        return [int(each.client.hget(key, "fence") or 0) for each in self.outside]

    def all_know(self, fence: int) -> bool:
        """Whether every server knows a fence, or a greater one."""
        return min(self.fences) >= fence

    def all_last(self, owner: str, seconds: object) -> bool:
        """Whether the lease lasts so long on every server."""
        return all(each.leases[owner] == seconds for each in self.outside)

    def set_fence(self, number: int, ahead: float) -> None:
        """Have a server know a fence so many seconds ahead of the time."""
        fence = round((time.time() + ahead) * 1e6)
        self.outside[number].client.hset(f"{self._base}:who", "fence", fence)

    def forget(self, number: int) -> None:
        """Have a server know nothing."""
        self.outside[number].client.flushall()

    def wait_until_idle(self) -> None:
        """Wait until no server has anything but the last fence."""
        wait_until(
            lambda: all(each.keys == set() or each.idle for each in self.outside),
            "nothing is left behind",
        )

    def heal(self) -> None:
        for server in self.servers:
            if not server.responsive:
                server.heal()

    def close(self) -> None:
        for outside in self.outside:
            outside.client.close()


def redlock(clients: list[Any], name: str = "x", **options: Any) -> Any:
    """Return a Redlock of clients of any face, as it would be on the sync one."""
    if not isinstance(clients[0], Uniform):
        return octavo.Redlock(clients, name, **options)
    own = [client._own for client in clients]
    return Uniform(clients[0]._face, lambda _: octavo.Redlock(own, name, **options))


@asynccontextmanager
async def async_clients(urls: list[str], prefix: str) -> AsyncGenerator[list[Octavo[Async]]]:
    """Connect async clients on this event loop."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(octavo.connect_async(url, prefix=prefix, timeout=1))
            for url in urls
        ]


def granting(lease: Any) -> int:
    """Return how many servers grant a lease, as far as its holder knows."""
    return len(lease._own.grant._counted if isinstance(lease, Uniform) else lease.grant._counted)


def grants_all(lease: Any) -> bool:
    """Whether all three servers grant a lease."""
    return granting(lease) == 3


@contextmanager
def taken(clients: list[Any], numbers: tuple[int, ...]) -> Generator[None]:
    """Have others hold the lock of some servers."""
    leases = [clients[number].lock("x").acquire(wait=5) for number in numbers]
    yield
    for lease in leases:
        lease.release()

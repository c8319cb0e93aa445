"""What tests of kept reads have in common."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.cache import Local
from octavo.engine.topology import Endpoint
from octavo.testing.proxy import WireProxy
from octavo.testing.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from octavo.testing.servers import Standalone


def cache_of(client: Any, **options: Any) -> Any:
    """Return a cache with a tier in the process."""
    return client.cache("c", ttl=100, **{"local": Local()} | options)


def kept(cache: Any, key: str = "k") -> bool:
    """Return whether a read of a key is answered in this process."""
    return bool(cache.fetch(key).outcome == "local")


def keep(cache: Any, key: str = "k") -> None:
    """Read a key until it is kept."""
    wait_until(lambda: kept(cache, key), f"{key} is kept")


def becomes(cache: Any, value: object, key: str = "k") -> None:
    """Wait until a key has a value."""
    wait_until(lambda: cache.get(key) == value, f"{key} is {value!r}")


@contextmanager
def outsider(url: str, prefix: str) -> Generator[Any]:
    """Another client of the same cache, which keeps nothing."""
    with octavo.connect(url, prefix=prefix) as client:
        yield cache_of(client, local=None)


@pytest.fixture
def pushes(standalone: Standalone, monkeypatch: pytest.MonkeyPatch) -> Iterator[WireProxy]:
    """A proxy before `standalone` that sync clients' links alone go through."""
    connect = Endpoint.connect
    with WireProxy(standalone.address) as proxy:
        options = {"host": "127.0.0.1", "port": proxy.port}
        through = Endpoint(proxy.address, options, tls=False)

        def by_thread(endpoint: Endpoint, timeout: float) -> Any:
            is_link = threading.current_thread().name == "octavo-link"
            return connect(through if is_link else endpoint, timeout)

        monkeypatch.setattr(Endpoint, "connect", by_thread)
        yield proxy

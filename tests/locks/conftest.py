from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import octavo
from tests.engine.lab import run_async_test
from tests.fix_servers import redis_py
from tests.locks.cases import Outside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from octavo import Octavo, Sync
    from tests.fix_servers import Server


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    return run_async_test(pyfuncitem)


@pytest.fixture
def outside(server: Server, prefix: str) -> Iterator[Callable[..., Outside]]:
    """Makes what sees the keys of one lock, or of anything else that can be held."""
    opened: list[Outside] = []

    def outside(job: str = "lock", name: str = "x") -> Outside:
        base = f"{prefix}:{job}:{{{name}}}"
        client = redis_py(server.node_of(base).unix_url)
        opened.append(Outside(client, prefix, base))
        return opened[-1]

    yield outside
    for each in opened:
        each.client.close()


@pytest.fixture
def client(server: Server, prefix: str) -> Iterator[Octavo[Sync]]:
    """A sync client."""
    with octavo.connect(server.url, prefix=prefix) as client:
        yield client


@pytest.fixture
def other(server: Server, prefix: str) -> Iterator[Octavo[Sync]]:
    """Another client of the same server: a sync one, with no proxy before it."""
    with octavo.connect(server.url, prefix=prefix) as client:
        yield client

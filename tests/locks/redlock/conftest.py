from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.locks import redlock as module
from octavo.testing.proxy import WireProxy
from octavo.testing.servers import Standalone
from tests.fix_servers import require
from tests.locks.redlock.rack import Rack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fix_faces import Connect


@pytest.fixture(scope="module")
def five() -> Iterator[list[Standalone]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Standalone(require("valkey"))) for _ in range(5)]


@pytest.fixture(params=[3])
def rack(five: list[Standalone], prefix: str, request: pytest.FixtureRequest) -> Iterator[Rack]:
    """Three servers, or as many as the parameter says."""
    rack = Rack(five[: request.param], prefix)
    yield rack
    rack.heal()
    rack.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that are slow are waited for, up to 3 s with the usual `ttl`."""
    monkeypatch.setattr(module, "_PATIENCE", 10.0)


@pytest.fixture
def clients(connect: Connect, rack: Rack) -> list[Any]:
    """A client of each server, on the face."""
    return [connect(url, timeout=1) for url in rack.urls]


@pytest.fixture
def others(rack: Rack, prefix: str) -> Iterator[list[Any]]:
    """Other clients of the servers: sync ones."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(octavo.connect(url, prefix=prefix, timeout=1)) for url in rack.urls
        ]


@pytest.fixture
def proxies(rack: Rack) -> Iterator[list[WireProxy]]:
    """A proxy before each server."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(WireProxy(server.address, record=True)) for server in rack.servers
        ]

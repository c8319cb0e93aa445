"""Where sharded boards are tested: on one server, and on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fix_servers import Server, Servers


@pytest.fixture(params=["embedded", "cluster"])
def server(request: pytest.FixtureRequest, servers: Servers) -> Server:
    """A server that others use too: leave it as it was."""
    return servers.get(request.param)

"""Limiters that wait for a busy machine, and what is looked at from beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo import Octavo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo import Sync
    from tests.fix_servers import Servers


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no call end for its deadline that does not ask for one."""
    method: Any = Octavo.limiter
    monkeypatch.setitem(method.__kwdefaults__, "deadline", None)


@pytest.fixture
def other(servers: Servers, prefix: str) -> Iterator[Octavo[Sync]]:
    """A client beside the proxy, and beside those that take ahead."""
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as other:
        yield other

"""Limiters that wait for a busy machine, and a server whose clock stands still."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from octavo import Octavo
from octavo.testing import faults
from octavo.testing.servers import Standalone
from tests.fix_servers import require

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no call end for its deadline that does not ask for one."""
    method: Any = Octavo.limiter
    monkeypatch.setitem(method.__kwdefaults__, "deadline", None)


@pytest.fixture
def still() -> Iterator[Standalone]:
    """A server whose clock stands still when it is told to."""
    try:
        env = faults.movable_clock() | {"TZ": "UTC"}
    except LookupError as error:
        pytest.skip(str(error))
    with Standalone(require("redis-8"), env=env) as server:
        yield server

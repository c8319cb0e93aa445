"""Fixtures for the tests of programs that use octavo; pytest finds them by itself.

def test_the_winner_is_first(octavo_db):
    octavo_db.leaderboard("season").submit("ada", 10)
"""

from __future__ import annotations

import uuid
from functools import partial
from typing import TYPE_CHECKING

import pytest

import octavo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from octavo import Async, Octavo, Sync

__all__ = ["octavo_db", "octavo_db_async", "octavo_server"]


@pytest.fixture(scope="session")
def octavo_server() -> Iterator[str]:
    """The URL of an embedded server that starts empty and is gone after the run.

    Under pytest-xdist each worker has its own.
    """
    from octavo.embedded import Embedded  # noqa: PLC0415 - this file is loaded in every run

    server = Embedded(ephemeral=True)
    yield f"unix://{server.ensure()}"
    server.release()


@pytest.fixture
def octavo_db(octavo_server: str, _octavo_prefix: str) -> Iterator[Octavo[Sync]]:
    """A client that sees nothing of what other tests stored."""
    with octavo.connect(octavo_server, prefix=_octavo_prefix) as db:
        yield db


@pytest.fixture
def octavo_db_async(octavo_server: str, _octavo_prefix: str) -> Callable[[], Octavo[Async]]:
    """Make async clients; call it in an `async with`.

    All of a test see the same data, which is also what `octavo_db` sees.
    """
    return partial(octavo.connect_async, octavo_server, prefix=_octavo_prefix)


@pytest.fixture
def _octavo_prefix() -> str:
    return f"test-{uuid.uuid4().hex}"

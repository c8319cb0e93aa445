from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from octavo.embedded import Embedded, launch
from tests.embedded.processes import GRACE, User, stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "GRACE", GRACE)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A data directory that does not exist yet; nothing runs in it afterwards."""
    path = tmp_path / "data"
    yield path
    stop(path)


@pytest.fixture
def server(directory: Path) -> Iterator[Embedded]:
    """A shared server in that directory, not started."""
    embedded = Embedded(directory)
    yield embedded
    embedded.release()


@pytest.fixture
def ephemeral() -> Iterator[Embedded]:
    """An ephemeral server, not started."""
    embedded = Embedded(ephemeral=True)
    yield embedded
    embedded.release()


@pytest.fixture
def users() -> Iterator[Callable[..., User]]:
    """Start other processes that use a server; they are killed afterwards."""
    with ExitStack() as stack:

        def start(where: Path | str, **environment: str) -> User:
            return stack.enter_context(closing(User(where, **environment)))

        yield start

"""Commands, run on what a test has on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest
from typer.testing import CliRunner

import octavo
from octavo.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo import Octavo, Sync
    from tests.fix_servers import Servers


class Run(Protocol):
    """What the fixture `run_octavo` is."""

    def __call__(self, *words: str, answer: str | None = None, ends: int = 0) -> list[str]: ...


@pytest.fixture
def db(servers: Servers, prefix: str) -> Iterator[Octavo[Sync]]:
    """A client of an embedded server."""
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        yield db


@pytest.fixture
def run_octavo(servers: Servers, prefix: str) -> Run:
    """Runs a command on what is the test's own; returns the lines it prints."""

    def run(*words: str, answer: str | None = None, ends: int = 0) -> list[str]:
        where = ["--url", servers.get("embedded").url, "--prefix", prefix]
        done = CliRunner().invoke(app, [*words, *where], input=answer)
        assert done.exit_code == ends, done.output
        return done.output.splitlines()

    return run

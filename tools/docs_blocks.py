"""A pytest plugin that runs the Python blocks of every Markdown file it is given.

The blocks of a file run in order and share their names, in an empty directory: there is where
`octavo.connect()` starts its server. `<!-- skip: next -->` before a block leaves it out.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

import octavo

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def own_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run a file's blocks in a directory of its own, and close the clients they leave open."""
    connect = octavo.connect
    clients = ExitStack()

    def connect_and_note(*args: Any, **options: Any) -> octavo.Octavo[octavo.Sync]:
        return clients.enter_context(closing(connect(*args, **options)))

    with clients, pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("docs"))
        patch.delenv("OCTAVO_URL", raising=False)
        patch.setattr(octavo, "connect", connect_and_note)
        # A limiter's tenth of a second is too little on a busy machine.
        limiter = vars(octavo.Octavo)["limiter"]
        patch.setitem(limiter.__kwdefaults__, "deadline", None)
        yield


pytest_collect_file: Any = Sybil(
    path=str(ROOT),
    patterns=["*.md"],
    parsers=[PythonCodeBlockParser(), SkipParser()],
    fixtures=["own_directory"],
).pytest()

"""A pytest plugin that runs the Python blocks of every Markdown file.

The blocks of a file run in order and share their names. Each file has an embedded server of its
own, which `octavo.connect()` finds without a URL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def own_server() -> Iterator[None]:
    """Let a file's `octavo.connect()` start a server that is gone with the last client."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OCTAVO_URL", "embedded://?ephemeral")
        yield


pytest_collect_file: Any = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["*.md"], fixtures=["own_server"]
).pytest()

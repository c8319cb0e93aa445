from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.check_imports import SOURCE, violations

if TYPE_CHECKING:
    from pathlib import Path


def found(source: Path, importer: str, line: str) -> list[str]:
    for name in ("__init__", "client", "errors", "cache/cache", "locks/layout", "demo/replay"):
        (source / f"octavo/{name}.py").parent.mkdir(parents=True, exist_ok=True)
        (source / f"octavo/{name}.py").touch()
    for package in ("engine", "embedded", "testing"):
        (source / "octavo" / package).mkdir()
        (source / f"octavo/{package}/inside.py").touch()
    (source / "octavo" / importer).write_text(line)
    return list(violations(source))


def test_octavo_keeps_its_own_rules() -> None:
    assert list(violations(SOURCE)) == []


@pytest.mark.parametrize(
    ("importer", "line"),
    [
        ("cache/cache.py", "from octavo.locks import Lock"),
        ("cache/cache.py", "from octavo import locks"),
        ("cache/cache.py", "from ..locks.layout import Layout"),
        ("cache/cache.py", "import octavo.locks"),
        ("cache/cache.py", "def f():\n    from octavo.locks import Lock"),
        ("cache/cache.py", "if TYPE_CHECKING:\n    from octavo.locks import Lock"),
        ("cache/cache.py", "import octavo"),
        ("cache/cache.py", "from octavo.embedded import Embedded"),
        ("engine/inside.py", "from octavo.cache import Cache"),
        ("engine/inside.py", "from octavo.client import Octavo"),
        ("embedded/inside.py", "from octavo.engine.inside import x"),
        ("errors.py", "from octavo.embedded import x"),
        ("demo/replay.py", "from octavo.engine.inside import x"),
        ("demo/replay.py", "from octavo import engine"),
        ("demo/replay.py", "from octavo.locks.layout import Layout"),
        ("testing/inside.py", "from octavo.embedded.inside import x"),
    ],
)
def test_an_import_against_the_rules_is_reported(tmp_path: Path, importer: str, line: str) -> None:
    (violation,) = found(tmp_path, importer, line)

    assert f"octavo/{importer}:" in violation


@pytest.mark.parametrize(
    ("importer", "line"),
    [
        ("cache/cache.py", "from octavo.engine.inside import x\nfrom octavo import errors"),
        ("cache/cache.py", "from octavo.cache.layout import Layout\nimport redis, octavo_other"),
        ("engine/inside.py", "from octavo.embedded import Embedded"),
        ("embedded/inside.py", "from octavo.errors import EmbeddedError"),
        ("client.py", "from octavo.cache.cache import Cache\nfrom octavo.engine.inside import x"),
        ("__init__.py", "from octavo.client import Octavo"),
        (
            "demo/replay.py",
            "import octavo\nfrom octavo.locks import Lock",
        ),
        (
            "demo/replay.py",
            "from octavo import errors\nfrom octavo.testing.inside import x",
        ),
    ],
)
def test_an_import_within_the_rules_passes(tmp_path: Path, importer: str, line: str) -> None:
    assert found(tmp_path, importer, line) == []

"""Check who may know whom inside octavo: `python tools/check_imports.py`.

What is not named here is a job: it knows the engine and the errors, and never another job. What
stands on top uses public names only: those of `octavo` and of its packages, but not the engine's.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(__file__).parents[1] / "src"

ON_TOP = {"cli", "demo", "integrations", "learn", "studio", "testing"}
MAY_KNOW = {
    "errors": set[str](),
    "embedded": {"errors"},
    "engine": {"embedded", "errors"},
}
A_JOB_MAY_KNOW = {"engine", "errors"}


def main() -> int:
    """Print every import that breaks the rules and return 1 if there is one."""
    broken = list(violations(SOURCE))
    print(*broken, sep="\n")
    return 1 if broken else 0


def violations(source: Path) -> Iterator[str]:
    """Yield one line per import that breaks the rules in the package `octavo` below `source`."""
    for path in sorted((source / "octavo").rglob("*.py")):
        for line, module in imports(path, source):
            if complaint := judge(path.relative_to(source), module):
                yield f"{path.relative_to(source.parent)}:{line}: {complaint}"


def imports(path: Path, source: Path) -> Iterator[tuple[int, str]]:
    """Yield the modules of octavo that a file imports, also those for type checkers only."""
    package = path.parent.relative_to(source).parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *filter(None, [node.module])))
            # `from octavo import errors` knows the module of that name, if there is one.
            names = [f"{base}.{alias.name}" for alias in node.names]
            modules = [name if is_module(name, source) else base for name in names]
        else:
            continue
        for module in dict.fromkeys(modules):
            if module.split(".")[0] == "octavo":
                yield node.lineno, module


def is_module(name: str, source: Path) -> bool:
    """Whether a dotted name is a module or a package, rather than a name in one."""
    path = source.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def judge(importer: Path, module: str) -> str | None:
    """Say what is wrong with an import, or None."""
    knower = importer.with_suffix("").parts[1]
    known, *inside = module.split(".")[1:] or [""]
    if knower in {"__init__", "__main__", "client", known}:
        return None
    if knower in ON_TOP:
        private = known == "engine" or (inside and known not in ON_TOP)
        return f"{knower} uses public names only, not {module}" if private else None
    allowed = MAY_KNOW.get(knower, A_JOB_MAY_KNOW)
    if known in allowed:
        return None
    return f"{knower} may know {' and '.join(sorted(allowed)) or 'nothing'}, not {module}"


if __name__ == "__main__":
    sys.exit(main())

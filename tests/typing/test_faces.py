"""Every public operation has its type on every face asserted in `examples/`."""

from __future__ import annotations

import ast
import importlib
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from octavo.engine.command import Job
from tools.check_imports import MAY_KNOW, ON_TOP, SOURCE

FACES = {"operation": ("Sync", "Async", "Batch"), "flow": ("Sync", "Async")}
ASSERTION = re.compile(r"assert_type\((\w+)\.(\w+)\(")
FACE = re.compile(r"(\w+\[\w+).*")  # the face is the first of a class's parameters
EXAMPLES = Path(__file__).with_name("examples")


def jobs() -> list[type[Job[Any]]]:
    """Return every job class of octavo."""
    for package in sorted((SOURCE / "octavo").glob("*/__init__.py")):
        if package.parent.name not in ON_TOP | MAY_KNOW.keys():
            importlib.import_module(f"octavo.{package.parent.name}")
    found: list[type[Job[Any]]] = []
    waiting: list[type[Job[Any]]] = [Job]
    while waiting:
        subclasses = waiting.pop().__subclasses__()
        waiting += subclasses
        found += [job for job in subclasses if job.__module__.startswith("octavo.")]
    return list(dict.fromkeys(found))


def wanted() -> list[tuple[str, str]]:
    """Return class with face, and operation, of every assertion that there must be."""
    return [
        (f"{job.__name__}[{face}]", name)
        for job in jobs()
        for name, method in vars(job).items()
        if not name.startswith("_")
        for face in FACES.get(getattr(method, "__octavo__", ""), ())
    ]


@cache
def asserted() -> set[tuple[str, str]]:
    """Return class with face, and operation, of every assertion in the examples."""
    found: set[tuple[str, str]] = set()
    for path in EXAMPLES.glob("*.py"):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef):
                types = {arg.arg: ast.unparse(arg.annotation or arg) for arg in function.args.args}
                for parameter, operation in ASSERTION.findall(ast.unparse(function)):
                    found.add((FACE.sub(r"\1]", types.get(parameter, "")), operation))
    return found


def test_leaderboards_are_among_the_jobs() -> None:
    assert "Leaderboard" in [job.__name__ for job in jobs()]


@pytest.mark.parametrize(("face", "operation"), wanted())
def test_an_operation_has_its_type_asserted(face: str, operation: str) -> None:
    assert (face, operation) in asserted(), f"no assert_type of {operation} on a {face}"

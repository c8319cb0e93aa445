"""What decorators share: names made from a call's arguments, and the functions they take."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from octavo.engine.templates import check_function, naming

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def plain(number: int, *parts: str, day: str = "today", **rest: str) -> None: ...


async def task() -> None: ...


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("template", "args", "kwargs", "name"),
    [
        ("job:{number}", (7,), {}, "job:7"),
        ("job:{number}", (), {"number": 7}, "job:7"),
        ("{day}", (7,), {}, "today"),
        ("{number.real:03d}.{parts[0]}.{rest[x]}.{{}}", (7, "a"), {"x": "z"}, "007.a.z.{}"),
        ("fixed {{}}", (), {}, "fixed {}"),
    ],
)
def test_a_name_is_made_of_arguments_however_they_are_given(
    template: str, args: tuple[Any, ...], kwargs: dict[str, Any], name: str
) -> None:
    assert naming(template, plain)(args, kwargs) == name


@pytest.mark.parametrize("template", ["{nobody}", "{nobody.name}", "{nobody[0]}", "{}", "{0}"])
def test_a_template_of_what_the_function_does_not_take_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"names '.*', which <function plain .* does not take"):
        naming(template, plain)


def test_a_call_that_the_function_would_refuse_is_refused() -> None:
    with pytest.raises(TypeError, match="number"):
        naming("{number}", plain)((), {})


@pytest.mark.parametrize("tasks", [False, True], ids=["sync", "async"])
def test_a_client_decorates_functions_of_its_own_kind(tasks: bool) -> None:
    own, foreign = (task, plain) if tasks else (plain, task)
    check_function(own, tasks=tasks)
    check_function(functools.partial(own), tasks=tasks)
    with pytest.raises(TypeError, match="this client decorates"):
        check_function(foreign, tasks=tasks)
    for function in (generator, async_generator):
        with pytest.raises(TypeError, match="yields"):
            check_function(function, tasks=tasks)

"""What decorators of functions share: names made from arguments, and which functions they take."""

from __future__ import annotations

import inspect
from string import Formatter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def check_function(function: Callable[..., Any], *, tasks: bool) -> None:
    """Check that a function can be called while a decorator holds something for it.

    Args:
        function: what is decorated.
        tasks: whether the client is an async one.

    Raises:
        TypeError: it yields, or is for code of the other kind.
    """
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{function!r} yields: use a `with` block inside of it instead")
    if inspect.iscoroutinefunction(function) is not tasks:
        kind = "a coroutine function" if tasks else "a plain function"
        raise TypeError(f"this client decorates {kind}, which {function!r} is not")


def naming(
    template: str, function: Callable[..., Any]
) -> Callable[[tuple[Any, ...], dict[str, Any]], str]:
    """Return what makes a name of a call's arguments: `"job:{id}"` takes the argument `id`.

    Raises:
        ValueError: the template names what the function does not take.
    """
    signature = inspect.signature(function)
    fields = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
    for field in fields:
        parameter = field.partition(".")[0].partition("[")[0]
        if parameter not in signature.parameters:
            raise ValueError(f"{template!r} names {parameter!r}, which {function!r} does not take")
    if not fields:
        name = template.format()
        return lambda args, kwargs: name  # noqa: ARG005

    def name_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return template.format(**bound.arguments)

    return name_of

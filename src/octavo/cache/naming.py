"""How a decorated function makes cache keys of its calls.

A key reads like the call, with every parameter by name and every default filled in, so that it
does not matter how arguments were passed: `shop.prices.quote@2(item='tea', amount=3)`. Values are
spelled so that equal text means the same value of the same type, in every process and every
version of Python: 1, 1.0, True and '1' differ, and so do `(1, 2)` and `[1, 2]`.

| value | text |
|---|---|
| None, bool, int, float, complex, str, bytes, date, timedelta, timezone, UUID, paths | `ascii()` |
| tuple, list, dict, set, frozenset | their items; unordered ones are sorted by text |
| Decimal, datetime, time, ZoneInfo | all that tells two of them apart |
| Enum; Flag | class and name; class and bits, as combinations need not have a name |
| NamedTuple, dataclass, msgspec.Struct | class and fields |
| any with a method `__cache_key__() -> str` | class and what the method returns |

Everything else is refused by name, and so are subclasses of these types that do not say their own
key: their text would have to come from `repr()` or `hash()`, which may hold an address.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import pathlib
import string
import sys
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import lru_cache
from inspect import Parameter, Signature
from keyword import iskeyword
from types import ModuleType, NoneType
from typing import Any, cast
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from octavo.engine.keys import check_name

__all__ = ["CallKeys"]

_Function = Callable[..., Any]
_KeyOf = Callable[..., str]


class CallKeys:
    """Makes the cache key of a call from the function's normalised signature.

    Args:
        function: the function whose calls are cached.
        key: makes the whole key instead: a template such as `"user:{user.id}"` of parameters and
            their attributes, in which 1 and "1" look alike, or a callable that gets the arguments
            of the call and returns the key.
        name: what keys begin with instead of the module and the qualified name.
        ignore: parameters that the result does not depend on.
        version: to be changed whenever the function returns something else for the same arguments.

    Raises:
        TypeError: the function has no result to store, or its name and parameters do not tell its
            calls apart, or a default has no stable text.
        ValueError: `key` or `ignore` name no parameter, or contradict each other.
    """

    __slots__ = ("_key_of", "name")

    name: str

    def __init__(
        self,
        function: _Function,
        *,
        key: str | _KeyOf | None = None,
        name: str | None = None,
        ignore: str | Iterable[str] = (),
        version: str | int | None = None,
    ) -> None:
        if not callable(function):
            raise TypeError(f"function must be callable, not {function!r}")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{_called(function)} is a generator, which has no result to store")
        self.name = _name_of(function, name, needed=key is None)
        if key is None:
            ignored = {ignore} if isinstance(ignore, str) else set(ignore)
            self._key_of = _from_arguments(function, self.name + _suffix(version), ignored)
        elif ignore or version is not None:
            raise ValueError("ignore and version do not go with key, which makes the whole key")
        elif isinstance(key, str):
            self._key_of = _checked(_from_template(function, check_name("key", key)))
        elif callable(key):
            self._key_of = _checked(key)
        else:
            raise TypeError(f"key must be a str or callable, not {key!r}")

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return the key of a call, or fail as the function would if it cannot be called so."""
        return self._key_of(*args, **kwargs)


def _name_of(function: _Function, name: str | None, *, needed: bool) -> str:
    if name is not None:
        return check_name("name", name)
    # A decorator's wrapper bears the name of what it wraps, and is told apart by it.
    inner = inspect.unwrap(function)
    code = getattr(inner, "__code__", None)
    free = {*getattr(code, "co_freevars", ())} - {"__class__"}  # which super() asks for
    qualname = getattr(inner, "__qualname__", type(inner).__qualname__)
    if not hasattr(inner, "__qualname__"):
        problem = "an object without a name"
    elif getattr(inner, "__name__", None) == "<lambda>":
        problem = "a lambda, like others of that name"
    elif free:
        problem = f"a closure over {', '.join(sorted(free))}, which its name does not tell"
    elif not isinstance(getattr(inner, "__self__", None), NoneType | ModuleType):
        problem = "bound to an object, which its name does not tell"
    else:
        problem = None
    if needed and problem:
        raise TypeError(f"{qualname} is {problem}; give it one of its own by name= or key=")
    return f"{inner.__module__}.{qualname}"


def _suffix(version: object) -> str:
    if version is None:
        return ""
    if isinstance(version, bool) or not isinstance(version, str | int):
        raise TypeError(f"version must be a str or an int, not {version!r}")
    return f"@{check_name('version', str(version))}"


def _checked(key_of: _KeyOf) -> _KeyOf:
    def checked(*args: Any, **kwargs: Any) -> str:
        return check_name("what key= makes", key_of(*args, **kwargs))

    return checked


# ------------------------------------------------------------------- keys of the whole signature


def _from_arguments(function: _Function, prefix: str, ignored: set[str]) -> _KeyOf:
    """Return a function that makes a key of every argument that is not ignored."""
    parameters = _parameters(function)
    names = [parameter.name for parameter in parameters]
    if unknown := sorted(ignored.difference(names)):
        raise ValueError(f"ignore={unknown[0]!r} is no parameter of {_called(function)}")
    if names and names[0] in {"self", "cls"} and names[0] not in ignored and _in_class(function):
        raise TypeError(
            f"{_called(function)} is a method, and {names[0]} has no key: say what tells its "
            f"objects apart, as in key='...{{{names[0]}.id}}...', or ignore={names[0]!r}"
        )
    for parameter in parameters:
        if parameter.default is not Parameter.empty and parameter.name not in ignored:
            _argument(parameter.name, parameter.default)
    mark = _mark(names)
    fields = [
        f"{name}={{{mark}ascii({name}) if {mark}type({name}) in {mark}literals"
        f' else {mark}argument("{name}", {name})}}'
        for name in names
        if name not in ignored
    ]
    body = f"f'{{{mark}prefix}}({', '.join(fields)})'"
    helpers = {
        "ascii": ascii,
        "type": type,
        "literals": _LITERALS,
        "argument": _argument,
        "prefix": prefix,
    }
    return _compiled(function, parameters, body, {mark + name: helpers[name] for name in helpers})


def _in_class(function: _Function) -> bool:
    scope = _called(function).rpartition(".")[0]
    return bool(scope) and not scope.endswith("<locals>")


def _argument(parameter: str, value: object) -> str:
    """Return the text of an argument, or refuse it by the parameter's name."""
    try:
        return _text(value)
    except (TypeError, RecursionError) as error:
        raise TypeError(f"{parameter} cannot be part of a cache key: {error}") from error


# --------------------------------------------------------------------------- keys of a template


def _from_template(function: _Function, template: str) -> _KeyOf:
    """Return a function that fills a template with what its fields name."""
    parameters = _parameters(function)
    known = {p.name for p in parameters if p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}}
    mark = _mark(parameter.name for parameter in parameters)
    pieces: list[str] = []
    values: list[str] = []
    for literal, field, spec, conversion in string.Formatter().parse(template):
        pieces.append(literal.replace("{", "{{").replace("}", "}}"))
        if field is None:
            continue
        path = field.split(".")
        if path[0] not in known:
            raise ValueError(
                f"key={template!r}: {field!r} names no parameter of {_called(function)}"
            )
        if conversion or "{" in (spec or "") or not all(map(_is_name, path)):
            raise ValueError(f"key={template!r}: a field is a parameter or attributes of one")
        pieces.append(f"{{:{spec}}}")
        values.append(f'{mark}plain("{field}", {field})')
    body = f"{mark}fill({', '.join(values)})"
    helpers = {f"{mark}fill": "".join(pieces).format, f"{mark}plain": _plain}
    return _compiled(function, parameters, body, helpers)


def _is_name(part: str) -> bool:
    return part.isidentifier() and not iskeyword(part)


def _plain(field: str, value: object) -> object:
    """Return what a template shows of a value, or refuse one whose text may hold an address."""
    cls = type(value)
    if cls in _LITERALS:
        return value
    if hasattr(cls, "__cache_key__"):
        return _own_key(value)
    if isinstance(value, _PLAIN):
        return value
    raise TypeError(
        f"{{{field}}} of the key is of type {_label(cls)}, which has no text of its own; "
        f"name an attribute, as in {{{field}.id}}"
    )


# ------------------------------------------------------------------------- binding the arguments


def _parameters(function: _Function) -> list[Parameter]:
    try:
        return list(_signature(function).parameters.values())
    except ValueError as error:
        raise TypeError(
            f"{_called(function)} tells no signature; give a callable that makes its keys as key="
        ) from error


def _signature(function: _Function) -> Signature:
    if sys.version_info >= (3, 14):  # where annotations may name what only type checkers import
        from annotationlib import Format  # noqa: PLC0415 - absent before

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)


def _mark(names: Iterable[str]) -> str:
    """Return a prefix that makes names longer than any of these, so that none hides them."""
    return "_" * (1 + max(map(len, names), default=0))


def _compiled(
    function: _Function, parameters: list[Parameter], body: str, helpers: dict[str, Any]
) -> _KeyOf:
    """Return a function with the parameters of another and an expression for a body.

    The interpreter binds its arguments: at full speed, and with its own errors.
    """
    blank = [
        p.replace(annotation=p.empty, default=p.empty if p.default is p.empty else None)
        for p in parameters
    ]
    source = f"lambda {str(Signature(blank))[1:-1]}: {body}"
    made: Any = eval(source, helpers)  # noqa: S307 - of identifiers and text of this module only
    given = [p for p in parameters if p.default is not p.empty]
    made.__defaults__ = tuple(p.default for p in given if p.kind is not p.KEYWORD_ONLY)
    made.__kwdefaults__ = {p.name: p.default for p in given if p.kind is p.KEYWORD_ONLY}
    made.__qualname__ = _called(function)
    return cast("_KeyOf", made)


def _called(function: _Function) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)


# ------------------------------------------------------------------------------ the text of values

_LITERALS = frozenset({
    NoneType, bool, int, float, complex, str, bytes, date, timedelta, timezone, UUID,
    pathlib.PosixPath, pathlib.PurePosixPath, pathlib.WindowsPath, pathlib.PureWindowsPath,
})  # fmt: skip
"""Types whose `ascii()` tells all of a value; `repr()` would depend on the version's Unicode."""

_PLAIN = (str, int, float, Decimal, date, time, timedelta, UUID, pathlib.PurePath, enum.Enum)
"""Types whose objects, and those of subclasses, have a stable text when formatted."""


def _text(value: object) -> str:
    cls: Any = type(value)
    return ascii(value) if cls in _LITERALS else _texter(cls)(value)


def _items(values: Iterable[object]) -> str:
    return ", ".join(map(_text, values))


def _unordered(values: Iterable[object]) -> str:
    return ", ".join(sorted(map(_text, values)))


def _dict(value: dict[object, object]) -> str:
    items = sorted((_text(key), _text(item)) for key, item in value.items())
    return f"{{{', '.join(f'{key}: {item}' for key, item in items)}}}"


def _moment(value: datetime | time) -> str:
    # Not in one, as the repr of a time zone may hold an address.
    return f"{value.replace(tzinfo=None)!r}@{_text(value.tzinfo)}"


def _zone(value: ZoneInfo) -> str:
    if value.key is None:  # pyright: ignore[reportUnnecessaryComparison] - as from_file() makes it
        raise TypeError("a ZoneInfo without a key has no stable text")
    return f"ZoneInfo({value.key!a})"


_TEXTERS: dict[type, Callable[[Any], str]] = {
    tuple: lambda value: f"({_items(value)})",
    list: lambda value: f"[{_items(value)}]",
    set: lambda value: f"set({_unordered(value)})",
    frozenset: lambda value: f"frozenset({_unordered(value)})",
    dict: _dict,
    Decimal: lambda value: f"Decimal({str(value).upper()})",  # the context may want a small "e"
    datetime: _moment,
    time: _moment,
    ZoneInfo: _zone,
}


@lru_cache(maxsize=256)
def _texter(cls: type) -> Callable[[Any], str]:
    """Return what makes the text of the objects of a type that is not literal."""
    if cls in _TEXTERS:
        return _TEXTERS[cls]
    label = _label(cls)
    if hasattr(cls, "__cache_key__"):
        return lambda value: f"{label}({_own_key(value)!a})"
    if issubclass(cls, enum.Flag):
        return lambda value: f"{label}({value.value})"
    if issubclass(cls, enum.Enum):
        return lambda value: f"{label}.{value.name}"
    names = _fields(cls)
    if names is None:
        raise TypeError(
            f"{label} has no stable text; give the class a method __cache_key__() -> str, or leave "
            "the parameter out by key= or ignore="
        )
    return lambda value: (
        f"{label}({', '.join(f'{name}={_text(getattr(value, name))}' for name in names)})"
    )


def _own_key(value: object) -> str:
    return check_name(f"{_label(type(value))}.__cache_key__()", cast("Any", value).__cache_key__())


def _fields(cls: Any) -> tuple[str, ...] | None:
    """Return the names of the fields that are all there is to an object, where that is known."""
    names: tuple[str, ...] | None = None
    if issubclass(cls, msgspec.Struct):
        names = cls.__struct_fields__
    elif issubclass(cls, tuple):
        names = getattr(cast("Any", cls), "_fields", None)
    # A plain subclass of a dataclass may hold more than its fields, and so may one of a builtin.
    elif "__dataclass_fields__" in vars(cls) and not issubclass(cls, (*_LITERALS, *_TEXTERS)):
        names = tuple(field.name for field in dataclasses.fields(cls))
    return names


def _label(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"

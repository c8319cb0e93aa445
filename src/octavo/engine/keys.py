"""How keys are spelled: `{prefix}:{job}:{{tag}}...`, and which slot they hash to.

The hash tag of a key is the smallest thing that must be atomic. By default that is the object's
own name; objects that share a `tag=` share a slot, so that an atomic batch may span them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from redis.crc import key_slot

__all__ = [
    "KeyParts", "check_name", "check_prefix", "key_base", "name_bytes", "name_part", "parse_key",
    "slot",
]  # fmt: skip

_BRACES = str.maketrans({"%": "%25", "{": "%7B", "}": "%7D"})
_BRACES_AND_COLON = str.maketrans({"%": "%25", "{": "%7B", "}": "%7D", ":": "%3A"})

_KEY = re.compile(r"(\w+):\{([^{}]+)\}(?:\.([^:]+))?:(.+)", re.DOTALL)

slot = lru_cache(maxsize=65_536)(key_slot)
"""The cluster slot of a key."""


def name_bytes(parameter: str, value: object) -> bytes:
    """Return the bytes of a name, or refuse it by the parameter's name."""
    if not isinstance(value, str):
        raise TypeError(f"{parameter} must be a str, not {value!r}")
    if not value:
        raise ValueError(f"{parameter} must not be empty")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{parameter} is not valid Unicode text: {value!r}") from None


def check_name(parameter: str, value: str) -> str:
    """Return a name, or refuse it by the parameter's name."""
    name_bytes(parameter, value)
    return value


def check_prefix(value: str) -> str:
    """Return a key prefix, or refuse one that would break the hash tags behind it."""
    prefix = check_name("prefix", value)
    if "{" in prefix or "}" in prefix:
        raise ValueError(f"prefix must not contain a brace, which marks the hash tag: {prefix!r}")
    return prefix


def key_base(prefix: str, job: str, name: str, tag: str | None) -> str:
    """Return what all keys of an object begin with.

    Braces and percent signs in names are percent-encoded. So is a colon in the name of a tagged
    object, which stands outside the braces, where parts are told apart by colons.
    """
    if tag is None:
        return f"{prefix}:{job}:{{{check_name('name', name).translate(_BRACES)}}}"
    return f"{prefix}:{job}:{{{check_name('tag', tag).translate(_BRACES)}}}.{name_part(name)}"


def name_part(name: str) -> str:
    """Return a name as it stands outside the braces, where a colon ends it."""
    return check_name("name", name).translate(_BRACES_AND_COLON)


class KeyParts(NamedTuple):
    """What a key says: which job's object it belongs to, and what of that it holds."""

    job: str
    name: str
    tag: str | None
    field: str


def parse_key(prefix: str, key: bytes) -> KeyParts | None:
    """Return what a key says that begins as `key_base` has it, or None for any other key."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return None
    head = f"{prefix}:"
    found = _KEY.fullmatch(text, len(head)) if text.startswith(head) else None
    if found is None:
        return None
    job, braced, name, field = found.groups()
    if name is None:
        return KeyParts(job, unquote(braced), None, field)
    return KeyParts(job, unquote(name), unquote(braced), field)

"""How values become bytes: msgpack by msgspec, with one leading byte that names the format.

The tag lets a later version write another format and still read this one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from octavo.errors import DecodeError

_MSGPACK = b"\x01"


@lru_cache(maxsize=256)
def _decoder(type_: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(type_)


def encode(parameter: str, value: object) -> bytes:
    """Return the bytes of a value, or refuse it by the parameter's name."""
    try:
        return _MSGPACK + msgspec.msgpack.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise TypeError(f"{parameter} cannot be stored: {error}") from error


def decode(data: bytes, type_: Any = Any) -> Any:
    """Return the value of such bytes, as `type_` where one is given.

    Raises:
        DecodeError: the bytes have another format, or do not fit the type.
    """
    if data[:1] != _MSGPACK:
        raise DecodeError(f"stored bytes begin with {data[:1]!r}, a format unknown to this version")
    try:
        return _decoder(type_).decode(memoryview(data)[1:])
    except msgspec.DecodeError as error:
        raise DecodeError(f"stored bytes do not fit {type_!r}: {error}") from error

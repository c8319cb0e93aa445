"""How an entry is written: one string, whose first byte says what it is.

| first byte | what it is |
|---|---|
| a digit or `-` | an integer in plain digits, as INCR and other clients write it |
| 0x00 | a lease: 8 random bytes, then who holds it |
| 0x01 | in the place of a refresh's lease only: nobody is to try for a while |
| 0x02 | an entry without grace and tags: the head, the payload |
| 0x03 | an entry with grace or tags: the head, 2 bytes of length, the tags, the payload |

The head has 31 bytes, numbers big-endian: first byte, coding of the payload, how it came to be, 8
random bytes that no other entry has, ttl, grace (8 bytes each) and the time its factory took (4
bytes), all in milliseconds. The tags are a msgpack map from each name to the nonce that it had.
"""

from __future__ import annotations

import os
import struct
from typing import Any, NamedTuple

import msgspec

from octavo.cache.records import WRITTEN, Written
from octavo.engine.codec import Coder, unpack
from octavo.errors import DecodeError

LEASE, ENTRY, EXTENDED = 0x00, 0x02, 0x03
HEAD = struct.Struct(">BBB8sQQI")
SIZE = HEAD.size
MARK = 11
"""The first bytes of an entry, by which it is told from any other."""
_LENGTH = struct.Struct(">H")
_LONGEST_COST = 2**32 - 1

Tags = dict[str, bytes]

_plain = Coder()
_read_tags = msgspec.msgpack.Decoder(Tags).decode
_write_tags = msgspec.msgpack.Encoder().encode


class Frame(NamedTuple):
    """An entry that was read.

    Attributes:
        mark: its first bytes, by which it is told from any other.
        coding: how the payload is written.
        written: how it came to be.
        ttl: milliseconds.
        grace: milliseconds.
        cost: milliseconds.
        tags: the nonces of its tags.
        payload: the value.
    """

    mark: bytes
    coding: int
    written: Written
    ttl: int
    grace: int
    cost: int
    tags: Tags
    payload: memoryview


def stamp() -> bytes:
    """Return eight bytes that no other entry has."""
    return os.urandom(8)


def write(
    coding: int,
    payload: bytes,
    *,
    written: Written,
    mark: bytes,
    ttl: int,
    grace: int = 0,
    cost: int = 0,
    tags: Tags | None = None,
) -> bytes:
    """Return the bytes of an entry; times are in milliseconds."""
    how = WRITTEN.index(written)
    cost = min(cost, _LONGEST_COST)
    if not (tags or grace):
        return HEAD.pack(ENTRY, coding, how, mark, ttl, 0, cost) + payload
    block = _write_tags(tags or {})
    if len(block) > 0xFFFF:
        raise ValueError(f"tags are too long together: {list(tags or ())!r}")
    head = HEAD.pack(EXTENDED, coding, how, mark, ttl, grace, cost)
    return b"".join((head, _LENGTH.pack(len(block)), block, payload))


def read(data: bytes) -> Frame:
    """Return the entry that these bytes are.

    Raises:
        DecodeError: they are none.
    """
    try:
        head: tuple[int, int, int, bytes, int, int, int] = HEAD.unpack_from(data)
        kind, coding, how, _, ttl, grace, cost = head
        tags: Tags = {}
        end = SIZE
        if kind == EXTENDED:
            (length,) = _LENGTH.unpack_from(data, SIZE)
            end = SIZE + _LENGTH.size + length
            if len(data) < end:
                raise DecodeError("stored bytes are an entry cut short")
            tags = _read_tags(memoryview(data)[SIZE + _LENGTH.size : end])
        elif kind != ENTRY:
            raise DecodeError(f"stored bytes begin with {data[:1]!r}, unknown to this version")
        written: Written = WRITTEN[how]
    except (struct.error, IndexError, msgspec.DecodeError) as error:
        raise DecodeError(f"stored bytes are no entry: {error}") from error
    return Frame(data[:MARK], coding, written, ttl, grace, cost, tags, memoryview(data)[end:])


def lease(mark: bytes, owner: str) -> bytes:
    """Return the bytes of a lease."""
    return bytes((LEASE,)) + mark + owner.encode()


def owner(data: bytes) -> str:
    """Return who holds a lease."""
    return data[9:].decode(errors="replace")


def plain(value: Any) -> bytes:
    """Return a text, bytes or a number as other programs read them; the digits of an integer."""
    return _plain.encode("value", value)[1]


def payload_of(frame: Frame | None, value: Any) -> bytes:
    """Return the bytes that a value's codec has written; of a number or a text, what it says."""
    if frame is None or type(value) in (str, bytes, int, float):
        return plain(value)
    return unpack(frame.coding, frame.payload)


def is_integer(data: bytes) -> bool:
    """Whether stored bytes are an integer in plain digits."""
    return data[:1] == b"-" or data[:1].isdigit()

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

import octavo
from octavo.engine.codec import decode, encode


@dataclass
class Person:
    name: str
    born: datetime


class Point(msgspec.Struct):
    x: float
    y: float


ADA = Person("Ada", datetime(1815, 12, 10, tzinfo=UTC))


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -(2**63), 2**63, 0.1, "é", b"\0\xff", [1, [2]], {"a": {"b": []}}],
    ids=repr,
)
def test_a_value_comes_back_as_it_went(value: Any) -> None:
    assert decode(encode("data", value)) == value


@pytest.mark.parametrize("value", [ADA, Point(1.5, -0.0)], ids=lambda value: type(value).__name__)
def test_a_typed_value_comes_back_typed(value: Any) -> None:
    assert decode(encode("data", value), type(value)) == value


def test_bytes_of_an_unknown_format_are_a_decode_error() -> None:
    for data in (b"", b"\x00", b"\x80\x04N.", b'{"a":1}'):
        with pytest.raises(octavo.DecodeError, match="unknown to this version"):
            decode(data)


def test_bytes_that_do_not_fit_the_type_are_a_decode_error() -> None:
    with pytest.raises(octavo.DecodeError, match="do not fit"):
        decode(encode("data", {"x": "one"}), Point)
    with pytest.raises(octavo.DecodeError):
        decode(encode("data", "text")[:-1])


def test_what_cannot_be_stored_is_refused_by_the_parameters_name() -> None:
    for value in (object(), {1: object()}, lambda: 1, 2**70):
        with pytest.raises(TypeError, match="data cannot be stored"):
            encode("data", value)


def test_a_payload_names_its_format_in_its_first_byte() -> None:
    assert encode("data", [1]) == b"\x01\x91\x01"

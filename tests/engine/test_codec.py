from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import octavo
from octavo.engine import codec
from octavo.engine.codec import Codec, Coder, Compression, SignedPickle, decode, encode

Method = Literal["zlib", "lzma", "zstd", "lz4"]
METHODS: tuple[Method, ...] = ("zlib", "lzma", "zstd", "lz4")
KEY, OLD_KEY = b"a key of 16 bytes", b"a key from before"


@dataclass
class Person:
    name: str
    born: datetime


class Point(msgspec.Struct):
    x: float
    y: float


class Suit(Enum):
    HEARTS = "h"
    SPADES = "s"


class Row(TypedDict):
    id: int
    tags: set[str]


class Pair(NamedTuple):
    left: int
    right: str


@attrs.define
class Place:
    name: str


@dataclass
class Picky:
    """Its own check raises what no decoder expects."""

    n: int

    def __post_init__(self) -> None:
        if self.n < 0:
            raise KeyError(self.n)


class User(pydantic.BaseModel):
    id: UUID
    email: str = pydantic.Field(validation_alias="mail", serialization_alias="e-mail")


class Guest(pydantic.BaseModel, strict=True):
    model_config = pydantic.ConfigDict(extra="forbid")
    since: date
    nights: int = pydantic.Field(ge=1)

    @pydantic.computed_field
    def long(self) -> bool:
        return self.nights > 7


@pydantic.dataclasses.dataclass
class Age:
    years: int = pydantic.Field(ge=0)


@dataclass
class Booking:
    guest: Guest
    next: Booking | None = None


SPRUNG: list[str] = []


def spring(where: str) -> None:
    SPRUNG.append(where)


class Trap:
    """Unpickling it is seen."""

    def __reduce__(self) -> tuple[Any, ...]:
        return spring, ("here",)


class Shouting:
    """A codec of the user's, with a fault."""

    def dumps(self, value: Any) -> bytes:
        return str(value).upper().encode()

    def loads(self, data: bytes) -> Any:
        return data.decode().lower()


ADA = Person("Ada", datetime(1815, 12, 10, tzinfo=UTC))
ID = UUID(int=7)
NOON = datetime(2026, 1, 1, 12)  # noqa: DTZ001 - a datetime without a zone
GUEST = Guest(since=date(2026, 1, 1), nights=9)

scalars = st.text() | st.binary() | st.integers() | st.integers().map(lambda n: n**99) | st.floats()
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)


def trees(leaf: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaf, lambda tree: st.lists(tree) | st.dictionaries(st.text(), tree), max_leaves=20
    )


def same(left: object, right: object) -> bool:
    """Whether two values are equal, of one type, with nan equal to itself and 0.0 not to -0.0."""
    return type(left) is type(right) and repr(left) == repr(right)


def through(coder: Coder, value: object, reader: Coder | None = None) -> Any:
    """Return what a value is after it was stored and read, as a client reads it."""
    coding, payload = coder.encode("value", value)
    return (reader or coder).decode(coding, memoryview(b"frame" + payload)[5:])


# Round trips


@given(
    value=scalars | trees(leaves | st.binary() | st.floats()),
    compress=st.sampled_from((None, *METHODS)),
)
def test_builtins_come_back_as_they_went_by_msgpack(value: Any, compress: Method | None) -> None:
    compression = compress and Compression(compress, threshold=0)
    assert same(through(Coder(compress=compression), value), value)


@given(scalars | trees(leaves))
def test_builtins_come_back_as_they_went_by_json(value: Any) -> None:
    assert same(through(Coder(codec="json"), value), value)


@pytest.mark.parametrize("digits", [4299, 4300, 4301, 50_000])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_int_of_any_size_comes_back(digits: int, sign: int) -> None:
    value = sign * (10**digits - 7)
    assert through(Coder(), value) == value
    assert through(Coder(int), value) == value


TYPED = [
    (Person, ADA),
    (Point, Point(1.5, -0.0)),
    (Suit, Suit.SPADES),
    (Row, Row(id=1, tags={"a"})),
    (Pair, Pair(1, "a")),
    (Place, Place("Paris")),
    (list[Person], [ADA, ADA]),
    (dict[int, Point], {1: Point(1, 2)}),
    (tuple[int, ...], (1, 2)),
    (set[str], {"a"}),
    (frozenset[int], frozenset({1})),
    (datetime, NOON),
    (datetime, NOON.replace(tzinfo=timezone(timedelta(hours=2)))),
    (date, date(2026, 1, 1)),
    (timedelta, timedelta(days=1, microseconds=1)),
    (Decimal, Decimal("1.10")),
    (UUID, ID),
    (bytearray, bytearray(b"x")),
    (Literal["on", "off"], "on"),
    (int | str | None, "text"),
    (int | str | None, None),
    (float, 5),
    (bytes, b"hi"),
    (User, User(id=ID, mail="a@b")),  # type: ignore[call-arg]
    (Guest, GUEST),
    (Age, Age(3)),
    (list[Guest], [GUEST]),
    (Guest | Age | None, Age(3)),
    (dict[str, Guest | int], {"a": GUEST, "b": 2}),
    (Guest | int, 2),
    (Booking, Booking(GUEST, Booking(GUEST))),
    (pydantic.HttpUrl, pydantic.HttpUrl("http://a/")),
]


@pytest.mark.parametrize(("type_", "value"), TYPED, ids=repr)
@pytest.mark.parametrize("name", ["msgpack", "json"])
def test_a_typed_value_comes_back_equal_and_of_its_type(
    type_: Any, value: Any, name: Literal["msgpack", "json"]
) -> None:
    coder = Coder(type_, codec=name)
    found = through(coder, value)
    assert found == value
    assert type(found) is (float if type_ is float else type(value))


@pytest.mark.parametrize(
    ("value", "by_msgpack", "by_json"),
    [
        ((1, (2,)), [1, [2]], [1, [2]]),
        ({1}, [1], [1]),
        (frozenset({1}), [1], [1]),
        (ID, str(ID), str(ID)),
        (Decimal("1.10"), "1.10", "1.10"),
        (date(2026, 1, 2), "2026-01-02", "2026-01-02"),
        (NOON, "2026-01-01T12:00:00", "2026-01-01T12:00:00"),
        (ADA.born, ADA.born, "1815-12-10T00:00:00Z"),
        (timedelta(seconds=1), "PT1S", "PT1S"),
        (Suit.HEARTS, "h", "h"),
        (Point(1.0, 2.0), {"x": 1.0, "y": 2.0}, {"x": 1.0, "y": 2.0}),
        (Place("Paris"), {"name": "Paris"}, {"name": "Paris"}),
        (bytearray(b"x"), b"x", "eA=="),
        ([b"x"], [b"x"], ["eA=="]),
        ({1: "a"}, {1: "a"}, {"1": "a"}),
        ([math.nan], [math.nan], [None]),
        (True, True, True),
    ],
    ids=repr,
)
def test_an_untyped_value_comes_back_as_its_nearest_builtins(
    value: Any, by_msgpack: Any, by_json: Any
) -> None:
    assert same(through(Coder(), value), by_msgpack)
    assert same(through(Coder(codec="json"), value), by_json)


# How payloads look, and which settings read them


@pytest.mark.parametrize("type_", [Any, int | str, Guest | int])
def test_scalars_are_written_as_other_programs_read_them(type_: Any) -> None:
    for name in ("msgpack", "json"):
        coder = Coder(type_, codec=name)
        assert coder.encode("value", 12) == (codec.INT, b"12")
        assert coder.encode("value", "é") == (codec.TEXT, "é".encode())
    assert Coder().encode("value", b"\0") == (codec.RAW, b"\0")
    assert Coder().encode("value", -math.inf) == (codec.FLOAT, b"-inf")
    assert Coder().encode("value", True) == (codec.MSGPACK, b"\xc3")
    assert Coder(codec="json").encode("value", [True]) == (codec.JSON, b"[true]")


@pytest.mark.parametrize("value", [["a" * 2000], "a" * 2000, b"a" * 2000], ids=type)
@pytest.mark.parametrize("reader", [Coder(), Coder(compress="zlib"), Coder(codec=Shouting())])
def test_a_payload_is_read_whatever_the_settings_are_now(reader: Coder, value: Any) -> None:
    for name in ("msgpack", "json"):
        for compress in (None, *METHODS):
            writer = Coder(codec=name, compress=compress)
            assert through(writer, value, reader) == value


def test_what_was_written_without_a_type_is_read_with_one() -> None:
    for name in ("msgpack", "json"):
        untyped = Coder(codec=name)
        assert through(untyped, {"x": 1, "y": 2}, Coder(Point)) == Point(1, 2)
        assert through(untyped, {"years": 2}, Coder(Age)) == Age(2)
        assert through(untyped, "h", Coder(Suit)) is Suit.HEARTS
        assert same(through(untyped, 5, Coder(float)), 5.0)


@pytest.mark.parametrize("compress", METHODS)
def test_only_payloads_that_are_long_and_shrink_are_compressed(compress: Method) -> None:
    coder = Coder(compress=Compression(compress, level=1, threshold=100))
    number = METHODS.index(compress) + 1
    assert coder.encode("value", "a" * 99)[0] == codec.TEXT
    assert coder.encode("value", "a" * 100)[0] == number << 4 | codec.TEXT
    noise = bytes(range(256))
    assert coder.encode("value", noise) == (codec.RAW, noise)


@pytest.mark.parametrize("compress", METHODS)
def test_a_compressed_value_of_megabytes_comes_back(compress: Method) -> None:
    value = bytes(5_000_000)
    assert through(Coder(compress=compress), value) == value


@pytest.mark.parametrize("compress", METHODS)
def test_a_bomb_is_a_decode_error(compress: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    coding, payload = Coder(compress=compress).encode("value", bytes(5_000_000))
    monkeypatch.setattr(codec, "_UNPACKED_LIMITS", (1 << 10, 4_999_999))
    with pytest.raises(octavo.DecodeError, match="cut short, or unpack to more"):
        Coder().decode(coding, payload)


# Codecs of the user's


def test_a_codec_of_the_users_gets_every_value() -> None:
    coder = Coder(codec=Shouting())
    assert coder.encode("value", "text") == (codec.CUSTOM, b"TEXT")
    assert coder.encode("value", 5) == (codec.CUSTOM, b"5")
    assert through(coder, "text") == "text"
    assert isinstance(Shouting(), Codec)


def test_what_only_another_codec_reads_is_a_decode_error() -> None:
    signing = Coder(codec=SignedPickle(KEY))
    with pytest.raises(octavo.DecodeError, match="0x0f, which only the codec that wrote it"):
        through(Coder(codec=Shouting()), "text", signing)
    with pytest.raises(octavo.DecodeError, match="0x1f, which only the codec that wrote it"):
        through(Coder(codec=Shouting(), compress="zlib"), "text" * 999, signing)
    with pytest.raises(octavo.DecodeError, match="0x07, which only SignedPickle"):
        through(signing, {1}, Coder())


def test_a_codec_that_fails_is_a_type_error_or_a_decode_error() -> None:
    with pytest.raises(TypeError, match="score cannot be stored: the codec's dumps returned str"):
        Coder(codec=json).encode("score", [1])  # type: ignore[arg-type]
    with pytest.raises(octavo.DecodeError, match="do not fit"):
        Coder(codec=Shouting()).decode(codec.CUSTOM, b"\xff")


class Anything:
    """Nothing but pickle writes it."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Anything)

    __hash__ = None  # type: ignore[assignment]


def test_a_signed_pickle_holds_what_no_other_codec_does() -> None:
    value = [Anything(), {1, 2}, (1,), 1j]
    assert through(Coder(codec=SignedPickle(KEY)), value) == value


def test_any_of_the_keys_verifies_and_the_first_one_signs() -> None:
    old, new = Coder(codec=SignedPickle(OLD_KEY)), Coder(codec=SignedPickle([KEY]))
    both = Coder(codec=SignedPickle([KEY, OLD_KEY]))
    assert through(old, {1}, both) == {1}
    assert through(both, {1}, new) == {1}
    with pytest.raises(
        octavo.DecodeError, match=r"^stored bytes are a pickle that none of the keys"
    ):
        through(both, {1}, old)


def test_what_is_not_signed_is_never_unpickled() -> None:
    coder = Coder(codec=SignedPickle(KEY))
    bait = pickle.dumps(Trap())
    coding, signed = coder.encode("value", Trap())
    forged = [
        bait,
        bytes(32) + bait,
        signed[:32] + bait,
        SignedPickle(OLD_KEY).dumps(Trap()),
        *(signed[:at] + bytes((signed[at] ^ 1,)) + signed[at + 1 :] for at in range(len(signed))),
        *(signed[:length] for length in range(len(signed))),
    ]
    for payload in forged:
        with pytest.raises(
            octavo.DecodeError, match=r"^stored bytes are a pickle that none of the keys"
        ):
            coder.decode(coding, payload)
    assert SPRUNG == []
    coder.decode(coding, signed)
    assert SPRUNG.pop() == "here"


# Damage


FUZZED = {
    "untyped": (Coder(), {"a": [1, 2.5, None, b"x"], "b": ADA.born}),
    "struct": (Coder(list[Point]), [Point(1, 2)]),
    "json": (Coder(Person, codec="json"), ADA),
    "picky": (Coder(Picky), Picky(1)),
    "pydantic": (Coder(list[Guest]), [GUEST]),
    "signed": (Coder(codec=SignedPickle(KEY)), {1: "a"}),
    "custom": (Coder(codec=Shouting()), "text"),
    "int": (Coder(), 10**5000),
} | {method: (Coder(compress=Compression(method, threshold=0)), "ab" * 50) for method in METHODS}


@pytest.mark.parametrize("name", FUZZED)
@given(
    coding=st.none() | st.integers(0, 255),
    cut=st.integers(0, 100),
    patch=st.binary(max_size=60),
    keep=st.booleans(),
)
def test_whatever_bytes_are_stored_nothing_but_a_decode_error_is_raised(
    name: str, coding: int | None, cut: int, patch: bytes, keep: bool
) -> None:
    coder, value = FUZZED[name]
    written, payload = coder.encode("value", value)
    damaged = payload[:cut] + patch + (payload[cut + len(patch) :] if keep else b"")
    with suppress(octavo.DecodeError):
        coder.decode(written if coding is None else coding, memoryview(damaged))


@given(st.integers(0, 255), st.binary(max_size=100))
@example(codec.INT, b"1" * 5000 + b"x")
@example(codec.INT, b"1e999999999")
@example(codec.INT, b"--" + b"1" * 5000)
@example(codec.MSGPACK, b"\x91" * 100_000)
@example(codec.JSON, b"[" * 100_000)
@example(codec.MSGPACK, b"\xdd\xff\xff\xff\xff")
@example(codec.MSGPACK, b"\x81\x80\x01")
def test_garbage_raises_nothing_but_a_decode_error(coding: int, payload: bytes) -> None:
    for coder, _ in FUZZED.values():
        with suppress(octavo.DecodeError):
            coder.decode(coding, payload)


@pytest.mark.parametrize("compress", METHODS)
def test_a_payload_cut_short_is_a_decode_error(compress: Method) -> None:
    coder = Coder(compress=compress)
    coding, payload = coder.encode("value", "ab" * 1000)
    for length in range(len(payload)):
        with pytest.raises(octavo.DecodeError):
            coder.decode(coding, payload[:length])


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (Point, {"x": "one", "y": 2}),
        (Point, "text"),
        (Person, {"name": "Ada"}),
        (int, "12"),
        (str, b"text"),
        (bytes, "dGV4dA=="),
        (bool, 1),
        (list[int], ["a"]),
        (Suit, "clubs"),
        (Literal["on"], "off"),
        (Picky, {"n": -1}),
        (Guest, {"since": "2026-01-01", "nights": 0}),
        (Guest, 5),
        (Age, {"years": -1}),
        (list[Guest], [5]),
    ],
    ids=repr,
)
def test_a_value_of_the_wrong_shape_is_a_decode_error(type_: Any, value: Any) -> None:
    for name in ("msgpack", "json"):
        with pytest.raises(octavo.DecodeError, match="do not fit"):
            through(Coder(codec=name), value, Coder(type_))


# What is refused


@pytest.mark.parametrize(
    ("coder", "value"),
    [
        (Coder(), object()),
        (Coder(), {1: object()}),
        (Coder(), lambda: 1),
        (Coder(), [2**70]),
        (Coder(), "\ud800"),
        (Coder(), GUEST),
        (Coder(Guest), {"since": 1}),
        (Coder(list[Guest]), [5]),
        (Coder(codec=SignedPickle(KEY)), lambda: 1),
    ],
)
def test_what_cannot_be_stored_is_refused_by_the_parameters_name(coder: Coder, value: Any) -> None:
    with pytest.raises(TypeError, match="score cannot be stored"):
        coder.encode("score", value)


class Opaque:
    pass


@dataclass
class Holder:
    things: dict[str, list[Opaque | None]]


@dataclass
class Unresolved:
    field: Missing  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    "type_",
    [Opaque, object, deque, Holder, Unresolved, Person | Picky, 5, "Point", Guest | Opaque],
    ids=repr,
)
def test_a_type_that_cannot_be_read_is_refused_when_the_coder_is_made(type_: Any) -> None:
    with pytest.raises(TypeError, match=r"^type .* cannot be read: "):
        Coder(type_)


def test_settings_that_mean_nothing_are_refused_by_name() -> None:
    wrong: Any
    for wrong, error in (("yaml", ValueError), (object(), TypeError), (pickle, ValueError)):
        with pytest.raises(error, match=r"^codec "):
            Coder(codec=wrong)
    for wrong, error in (("gzip", ValueError), (9, TypeError)):
        with pytest.raises(error, match=r"^compress must be"):
            Coder(compress=wrong)
    for wrong in (-1, 1.5):
        with pytest.raises(ValueError, match=r"^threshold must be"):
            Compression("zlib", threshold=wrong)
    for method in METHODS:
        with pytest.raises(ValueError, match=f"^level of {method} is 'high'"):
            Compression(method, level="high")  # type: ignore[arg-type]


def test_keys_that_do_not_protect_are_refused_without_being_shown() -> None:
    wrong: Any
    for wrong, error in (
        (b"short", ValueError),
        ([KEY, b"short"], ValueError),
        ([], ValueError),
        ("a text of 16 char", TypeError),
        ([KEY, "short"], TypeError),
    ):
        with pytest.raises(error, match=r"^key must") as caught:
            SignedPickle(wrong)
        assert "short" not in str(caught.value)
    assert "key" not in repr(SignedPickle(KEY))


@pytest.mark.parametrize("compress", ["zstd", "lz4"])
def test_a_package_that_is_missing_is_named_by_the_extra_that_has_it(
    compress: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    coding, payload = Coder(compress=compress).encode("value", "a" * 2000)
    monkeypatch.setitem(sys.modules, codec._METHODS[compress].module, None)
    with pytest.raises(ImportError, match=r"octavo\[compress\]"):
        Coder(compress=compress)
    with pytest.raises(octavo.DecodeError):
        Coder().decode(coding, payload)


def test_packages_are_imported_by_those_who_use_them_only() -> None:
    program = (
        "import sys; from octavo.engine.codec import Coder; Coder(list[int]);"
        "assert not {'pydantic', 'backports.zstd', 'lz4'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


# The short form, coding and payload in one


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -(2**63), 2**63, 2**70, 0.1, "é", b"\0\xff", [1, [2]], {"a": {"b": []}}],
    ids=repr,
)
def test_a_value_in_the_short_form_comes_back_as_it_went(value: Any) -> None:
    assert decode(encode("data", value)) == value


def test_a_typed_value_in_the_short_form_comes_back_typed() -> None:
    assert decode(encode("data", ADA), Person) == ADA


def test_bytes_of_an_unknown_coding_are_a_decode_error() -> None:
    for data in (b"\x00", b"\x80\x04N.", b'{"a":1}', b"\x08", b"\x51x"):
        with pytest.raises(octavo.DecodeError, match="this version does not know"):
            decode(data)
    with pytest.raises(octavo.DecodeError, match="empty"):
        decode(b"")


def test_the_short_form_begins_with_the_coding() -> None:
    assert encode("data", [1]) == b"\x01\x91\x01"
    with pytest.raises(TypeError, match="data cannot be stored"):
        encode("data", object())

"""What a cache keeps: every kind of value, however it is written, and how it is read."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from octavo.cache import Compression, Local, SignedPickle

if TYPE_CHECKING:
    from octavo import Octavo, Sync

SCALARS: tuple[Any, ...] = (
    *(None, 0, "", b"", False, True, 1.5, -0.0, "ü\0", b"\xff\0", [], {}, "123", b"-5"),
    *(-1, 2**63 - 1, -(2**63), 2**100, 10**5000, -(10**5000)),
    "x" * 3000,
)
VALUES: tuple[Any, ...] = (
    *SCALARS,
    [1, [None, "a", b"b", {"c": [0.5]}]],
    {"a": {1: 2}, "b": datetime(2026, 1, 2, tzinfo=UTC)},
)
OPTIONS: dict[str, Any] = {
    "msgpack": {},
    "json": {"codec": "json"},
    "compressed": {"compress": "zlib"},
    "with grace": {"grace": 60},
    "local": {"local": Local(1000)},
    "pickled": {"codec": SignedPickle(b"a secret of 16 b")},
}


class Point(msgspec.Struct):
    x: int
    tags: tuple[str, ...] = ()


@dataclasses.dataclass
class Person:
    name: str
    born: datetime | None = None


class Anything:
    """What only pickle can write."""

    def __init__(self, inside: object) -> None:
        self.inside = inside

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Anything) and other.inside == self.inside

    __hash__ = None  # type: ignore[assignment]


def same(found: object, expected: object) -> bool:
    if isinstance(expected, float):
        return repr(found) == repr(expected)
    return found == expected and type(found) is type(expected)


@pytest.mark.parametrize("how", OPTIONS)
def test_values_come_back_as_they_were(how: str, db: Octavo[Sync]) -> None:
    cache = db.cache("x", ttl=60, **OPTIONS[how])
    kept = SCALARS if how == "json" else VALUES
    for number, value in enumerate(kept):
        cache.set(f"k{number}", value)
    for _ in range(2):
        for number, value in enumerate(kept):
            assert same(cache.get(f"k{number}", default="none"), value)
            entry = cache.fetch(f"k{number}")
            assert same(entry.value, value)
            assert entry.found
    many = cache.get_many([f"k{number}" for number in range(len(kept))])
    assert all(same(many[f"k{number}"], value) for number, value in enumerate(kept))


@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize("compress", [None, Compression("lzma", threshold=0)], ids=str)
def test_a_type_is_what_values_are_read_as(codec: Any, compress: Any, db: Octavo[Sync]) -> None:
    pydantic = pytest.importorskip("pydantic")
    model: Any = pydantic.create_model("Model", price=(Decimal, ...), names=(set[str], set()))
    born = datetime(1815, 12, 10, tzinfo=UTC)
    typed: list[tuple[Any, Any]] = [
        (Point, Point(1, ("a", "b"))),
        (Person, Person("ada", born)),
        (Person | None, None),
        (list[Point], [Point(1), Point(2)]),
        (model, model(price=Decimal("0.10"), names={"a", "b"})),
        (dict[str, model], {"a": model(price=Decimal(1))}),
        (int, 2**100),
        (str, "12"),
        (bytes, b"12"),
    ]
    for number, (type_, value) in enumerate(typed):
        cache = db.cache(f"x{number}", ttl=60, type=type_, codec=codec, compress=compress)
        cache.set("k", value)
        assert same(cache.get("k"), value)
        assert same(cache.get_many(["k"])["k"], value)


def test_a_signed_pickle_holds_anything_and_only_for_those_with_the_key(db: Octavo[Sync]) -> None:
    key = b"a secret of 16 b"
    db.cache("x", ttl=60, codec=SignedPickle(key)).set("k", Anything({1, 2}))
    for reader in (SignedPickle(key), SignedPickle([b"another of 16 by", key])):
        assert db.cache("x", ttl=60, codec=reader).get("k") == Anything({1, 2})
    assert db.cache("x", ttl=60, codec=SignedPickle(b"another of 16 by")).get("k") is None
    assert db.cache("x", ttl=60).get("k", default="none") == "none"


def test_a_value_that_cannot_be_stored_is_refused_by_name(db: Octavo[Sync]) -> None:
    cache = db.cache("x", ttl=60)
    cache.set("k", "old")
    for write in (cache.set, cache.add):
        with pytest.raises(TypeError, match="value"):
            write("k", object())
    with pytest.raises(TypeError, match="value"):
        cache.set_many({"other": 1, "k": object()})
    assert cache.get_many(["k", "other"]) == {"k": "old"}


def test_a_function_gets_the_bytes_and_is_not_called_on_a_miss(db: Octavo[Sync]) -> None:
    def never(data: bytes) -> object:
        raise AssertionError(data)

    cache = db.cache("x", ttl=60)
    assert cache.get("k", never) is None
    assert cache.get("k", never, default="d") == "d"
    cache.set_many({"text": "bar", "bytes": b"bar", "int": 123, "float": 1.5})
    found = {key: cache.get(key, bytes) for key in ("text", "bytes", "int", "float")}
    assert found == {"text": b"bar", "bytes": b"bar", "int": b"123", "float": b"1.5"}
    assert cache.get("text", lambda data: data.decode("utf-8")) == "bar"
    assert cache.get("int", int) == 123
    cache.set("text", "none")
    assert cache.get("text", lambda _: None, default="d") is None


@pytest.mark.parametrize("how", OPTIONS)
def test_each_type_has_a_reader_of_its_own(how: str, db: Octavo[Sync]) -> None:
    cache = db.cache("x", ttl=60, **OPTIONS[how])
    for reader in (cache.get_str, cache.get_int, cache.get_float, cache.get_bytes):
        assert reader("missing") is None
    keys = {value: cache.store(value) for value in ("bar", b"\xff", 42, 1.25, 10**5000)}
    for _ in range(2):
        assert cache.get_str(keys["bar"]) == "bar"
        assert cache.get_bytes(keys[b"\xff"]) == b"\xff"
        assert cache.get_int(keys[42]) == 42
        assert cache.get_float(keys[1.25]) == 1.25
        assert cache.get_float(keys[42]) == 42.0
        assert cache.get_str(keys[42]) == "42"
        assert cache.get_int(keys[10**5000]) == 10**5000
    with pytest.raises(ValueError, match="bar"):
        cache.get_int(keys["bar"])


@pytest.mark.parametrize("compress", [None, Compression("zlib", threshold=0)], ids=str)
def test_the_bytes_of_a_value_are_those_its_codec_wrote(compress: Any, db: Octavo[Sync]) -> None:
    pydantic = pytest.importorskip("pydantic")
    model: Any = pydantic.create_model("Model", names=(list[str], ...))
    names = ["ada"] * 50
    msgpack = db.cache("m", ttl=60, compress=compress)
    msgpack.set("k", {"a": names})
    assert msgspec.msgpack.decode(msgpack.get_bytes("k") or b"") == {"a": names}
    json = db.cache("j", ttl=60, codec="json", compress=compress)
    json.set("k", {"a": names})
    assert msgspec.json.decode(json.get_bytes("k") or b"") == {"a": names}
    typed = db.cache("p", ttl=60, type=model, compress=compress)
    typed.set("k", model(names=names))
    assert msgspec.json.decode(typed.get_bytes("k") or b"") == {"names": names}
    signed = SignedPickle(b"a secret of 16 b")
    pickled = db.cache("s", ttl=60, codec=signed, compress=compress)
    pickled.set("k", Anything(names))
    assert signed.loads(pickled.get_bytes("k") or b"") == Anything(names)


def test_what_is_stored_gets_a_key_of_its_own(db: Octavo[Sync]) -> None:
    cache = db.cache("x", ttl=60)
    keys = [cache.store(value, ttl=30) for value in ("foo", "foo", b"", 0)]
    assert len(set(keys)) == 4
    assert min(map(len, keys)) >= 22
    assert [cache.get(key) for key in keys] == ["foo", "foo", b"", 0]
    ttl = cache.fetch(keys[0]).ttl
    assert ttl is not None
    assert 20 < ttl <= 30


def test_a_value_is_made_once_and_then_found(db: Octavo[Sync]) -> None:
    cache = db.cache("x", ttl=60)
    made = iter(VALUES)
    for number, value in enumerate(VALUES):
        for _ in range(2):
            assert same(cache.get_or_create(f"k{number}", lambda: next(made)), value)
    assert cache.stats().created == len(VALUES)

"""How values become bytes, and which bytes become values again.

Every payload is told apart by a coding byte, so that settings can change while what was stored
stays readable. The low four bits say how the value is written, the high four how it is compressed:

| low | written as | high | compressed by |
| --- | --- | --- | --- |
| 1 | msgpack | 0 | nothing |
| 2 | JSON | 1 | zlib |
| 3 | the bytes themselves | 2 | lzma |
| 4 | UTF-8 text | 3 | zstd |
| 5 | an int in decimal digits | 4 | lz4 |
| 6 | a float as Python writes it | | |
| 7 | a signed pickle | | |
| 15 | a codec of the user's | | |
"""

from __future__ import annotations

import hmac
import pickle
import sys
from decimal import Decimal
from functools import lru_cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, get_args, runtime_checkable

import msgspec
from msgspec.inspect import CustomType, Field, Type, type_info

from octavo.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Buffer = bytes | memoryview
    Read = Callable[[Any], Any]
    Write = Callable[[Any], bytes]

MSGPACK, JSON, RAW, TEXT, INT, FLOAT, PICKLE, CUSTOM = 1, 2, 3, 4, 5, 6, 7, 15
_WHO_READS = {PICKLE: "only SignedPickle reads", CUSTOM: "only the codec that wrote it reads"}


class _Method(NamedTuple):
    """A way to compress, by the names that its module has for things."""

    number: int
    module: str
    level: str
    decompressor: str


_ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
_METHODS = {
    "zlib": _Method(1, "zlib", "level", "decompressobj"),
    "lzma": _Method(2, "lzma", "preset", "LZMADecompressor"),
    "zstd": _Method(3, _ZSTD, "level", "ZstdDecompressor"),
    "lz4": _Method(4, "lz4.frame", "compression_level", "LZ4FrameDecompressor"),
}
_DECOMPRESSORS = {method.number: method for method in _METHODS.values()}

# A server's strings have 512 MiB at most, so nothing longer was stored: it is a bomb. Room for
# the limit is taken in advance by some methods, so a smaller one is tried first.
_UNPACKED_LIMITS = (1 << 20, 512 << 20)


class Compression(msgspec.Struct, frozen=True):
    """How payloads are compressed.

    Attributes:
        method: zstd is the best choice for most; zlib and lzma need no package, lz4 is fastest.
        level: the method's own scale; None takes its default.
        threshold: payloads of fewer bytes stay as they are, and so do those that would not shrink.

    Raises:
        ValueError: the method or the level does not exist, or the threshold is below 0.
        ImportError: the method needs a package; `pip install 'octavo[compress]'`.
    """

    method: Literal["zlib", "lzma", "zstd", "lz4"]
    level: int | None = None
    threshold: int = 1024

    def __post_init__(self) -> None:
        """Try the settings, so that no write is the first to find them wrong."""
        if self.method not in _METHODS:
            raise ValueError(f"compress must be one of {', '.join(_METHODS)}, not {self.method!r}")
        if not isinstance(self.threshold, int) or self.threshold < 0:
            raise ValueError(f"threshold must be an int of at least 0, not {self.threshold!r}")
        try:
            self.pack(b"")
        except ImportError as error:
            raise ImportError(
                f"compress={self.method!r} needs a package: pip install 'octavo[compress]'"
            ) from error
        except Exception as error:
            raise ValueError(f"level of {self.method} is {self.level!r}: {error}") from error

    def pack(self, payload: bytes) -> bytes:
        """Return the payload compressed, however short it is."""
        method = _METHODS[self.method]
        options = {} if self.level is None else {method.level: self.level}
        packed: bytes = import_module(method.module).compress(payload, **options)
        return packed


def unpack(coding: int, payload: Buffer) -> bytes:
    """Return a payload as it was before it was compressed."""
    if not coding >> 4:
        return bytes(payload)
    method = _DECOMPRESSORS[coding >> 4]
    start = getattr(import_module(method.module), method.decompressor)
    for limit in _UNPACKED_LIMITS:
        decompressor = start()
        unpacked: bytes = decompressor.decompress(payload, limit)
        if decompressor.eof:
            return unpacked
    raise EOFError("the compressed data are cut short, or unpack to more than 512 MiB")


@runtime_checkable
class Codec(Protocol):
    """What users may bring to write values their own way; a module such as `cbor2` will do."""

    def dumps(self, value: Any, /) -> bytes:
        """Return the bytes of a value."""
        ...

    def loads(self, data: bytes, /) -> Any:
        """Return the value of such bytes."""
        ...


class SignedPickle:
    """Pickle, for values that nothing else can write, behind an HMAC-SHA256 of a secret key.

    Who can write to the server but lacks the key cannot make a reader unpickle anything: the
    signature is verified first. It vouches for the payload only, not for the place it was stored
    at: such a person can still copy a signed payload from one key to another.

    Args:
        key: the secret, of at least 16 random bytes, or several secrets to rotate them: the
            first one signs, any of them verifies.

    Raises:
        TypeError: the key is not bytes.
        ValueError: there is no key, or it is too short.
    """

    def __init__(self, key: bytes | Sequence[bytes]) -> None:
        self._keys = (key,) if isinstance(key, bytes) else tuple(key)
        if not all(isinstance(each, bytes) for each in self._keys):
            raise TypeError("key must be bytes, or a sequence of them")
        if not self._keys or min(map(len, self._keys)) < 16:
            raise ValueError("key must have at least 16 bytes")

    def __eq__(self, other: object) -> bool:
        """Whether it has the same secrets."""
        return isinstance(other, SignedPickle) and self._keys == other._keys

    def __hash__(self) -> int:
        """Agree with equality."""
        return hash(self._keys)

    def dumps(self, value: Any) -> bytes:
        """Return the pickle of a value behind its signature."""
        data = pickle.dumps(value, protocol=5)
        return _signature(self._keys[0], data) + data

    def loads(self, data: bytes) -> Any:
        """Return the value, once the signature is verified.

        Raises:
            DecodeError: none of the keys made the signature.
        """
        signature, data = data[:32], data[32:]
        if not any(hmac.compare_digest(_signature(key, data), signature) for key in self._keys):
            raise DecodeError("stored bytes are a pickle that none of the keys has signed")
        return pickle.loads(data)  # noqa: S301 - signed


def _signature(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


class Coder:
    """Turns values into payloads and back.

    Values of exactly the types str, bytes, int and float are written as what they are, whatever
    the codec and the type: other programs can read them, and ints are of any size. All others go
    through the codec; with pydantic in the type it is pydantic's JSON, by the names of the fields.
    A codec of the user's gets every value, and `type_` is then for type checkers only.

    Without a type, values come back as their nearest builtins: tuples, sets and frozensets as
    lists, bytearrays as bytes, dataclasses and Structs as dicts, Enums as their values, and UUID,
    Decimal, date, time, timedelta and datetimes without a zone as str. msgpack gives datetimes
    with a zone back as datetimes in UTC, and keeps keys that are not str. JSON gives datetimes and
    keys back as str, bytes within a value as base64, and nan and infinity within one as None.
    With a type, values come back as that type and equal (JSON's nan is refused by a float).

    Decoding goes by the coding byte, so what other settings wrote is read too. Only signed
    pickles and payloads of the user's codec need that codec.

    Args:
        type_: what values are read as, checked by msgspec or, where it holds a pydantic type,
            by pydantic.
        codec: how values are written; an object with `dumps` and `loads` is asked to do it.
        compress: how payloads are compressed; the name of a method means its defaults.

    Raises:
        TypeError: neither msgspec nor pydantic can read the type, or an argument is no setting.
        ValueError: the codec or the compression does not exist.
        ImportError: the compression needs a package; `pip install 'octavo[compress]'`.
    """

    def __init__(
        self,
        type_: Any = Any,
        codec: Literal["msgpack", "json"] | Codec = "msgpack",
        compress: Literal["zlib", "lzma", "zstd", "lz4"] | Compression | None = None,
    ) -> None:
        if isinstance(compress, str):
            compress = Compression(compress)
        if not isinstance(compress, Compression | None):
            raise TypeError(f"compress must be a name or a Compression, not {compress!r}")
        self._compression = compress
        self._type = type_
        self._writers = _SCALAR_WRITERS
        self._readers = _READERS
        self._other: tuple[int, Write]
        if isinstance(codec, str):
            if codec not in _WRITERS:
                raise ValueError(f"codec must be 'msgpack', 'json' or a Codec, not {codec!r}")
            self._other = _WRITERS[codec]
            if type_ is not Any:
                self._other, self._readers = _typed(type_, self._other)
        elif codec is pickle:
            raise ValueError("codec is pickle, which runs what it reads: use SignedPickle(key)")
        elif isinstance(codec, Codec):
            self._of_codec(codec)
        else:
            raise TypeError(f"codec must be 'msgpack', 'json' or a Codec, not {codec!r}")

    def _of_codec(self, codec: Codec) -> None:
        def dumps(value: object) -> bytes:
            data = codec.dumps(value)
            if not isinstance(data, bytes):
                raise TypeError(f"the codec's dumps returned {type(data).__name__}, not bytes")
            return data

        def loads(payload: Buffer) -> Any:
            return codec.loads(bytes(payload))

        kind = PICKLE if isinstance(codec, SignedPickle) else CUSTOM
        self._writers = {}
        self._other = kind, dumps
        self._readers = _READERS | {kind: loads}

    def encode(self, parameter: str, value: object) -> tuple[int, bytes]:
        """Return the coding byte and the payload of a value.

        Raises:
            TypeError: the value cannot be stored; the message names the parameter.
        """
        try:
            kind, write = self._writers.get(type(value), self._other)
            payload = write(value)
        except Exception as error:  # a codec, or a method of the value's, may raise anything
            raise TypeError(f"{parameter} cannot be stored: {error}") from error
        by = self._compression
        if by is not None and by.threshold <= len(payload) <= _UNPACKED_LIMITS[-1]:
            packed = by.pack(payload)
            if len(packed) < len(payload):
                return _METHODS[by.method].number << 4 | kind, packed
        return kind, payload

    def decode(self, coding: int, payload: Buffer) -> Any:
        """Return the value of a payload.

        Raises:
            DecodeError: the payload is damaged, does not fit the type, or needs another codec.
        """
        read = self._readers.get(coding)
        try:
            if read is None:
                read = self._reader_of_packed(coding)
                payload = unpack(coding, payload)
            return read(payload)
        except DecodeError:
            raise
        except Exception as error:  # a codec, or a method of the type's, may raise anything
            raise DecodeError(f"stored bytes do not fit {self._type!r}: {error}") from error

    def _reader_of_packed(self, coding: int) -> Read:
        kind = coding & 15
        if kind in self._readers and coding >> 4 in _DECOMPRESSORS:
            return self._readers[kind]
        who = _WHO_READS.get(kind, "this version does not know")
        raise DecodeError(f"stored bytes have the coding 0x{coding:02x}, which {who}")


def _write_int(value: int) -> bytes:
    try:
        return b"%d" % value
    except ValueError:
        # Python refuses to write more than 4,300 digits, since it needs quadratic time.
        return str(Decimal(value)).encode()


def read_int(payload: Buffer) -> int:
    """Return the int of decimal digits, however many; ValueError for anything else."""
    try:
        return int(payload)
    except ValueError:
        digits = str(payload, "ascii")
        if not digits.removeprefix("-").isdigit():
            raise
        return int(Decimal(digits))


def _write_float(value: float) -> bytes:
    return repr(value).encode()


def _read_text(payload: Buffer) -> str:
    return str(payload, "utf-8")


class _Scalar(NamedTuple):
    type: type
    write: Write
    read: Read


_SCALARS = {
    RAW: _Scalar(bytes, bytes, bytes),
    TEXT: _Scalar(str, str.encode, _read_text),
    INT: _Scalar(int, _write_int, read_int),
    FLOAT: _Scalar(float, _write_float, float),
}
_SCALAR_WRITERS: dict[type, tuple[int, Write]] = {
    scalar.type: (kind, scalar.write) for kind, scalar in _SCALARS.items()
}
_WRITERS: dict[str, tuple[int, Write]] = {
    "msgpack": (MSGPACK, msgspec.msgpack.Encoder().encode),
    "json": (JSON, msgspec.json.Encoder().encode),
}
_READERS: dict[int, Read] = {
    MSGPACK: msgspec.msgpack.Decoder().decode,
    JSON: msgspec.json.Decoder().decode,
    **{kind: scalar.read for kind, scalar in _SCALARS.items()},
}


def _then(read: Read, fit: Read) -> Read:
    return lambda payload: fit(read(payload))


def _typed(type_: Any, other: tuple[int, Write]) -> tuple[tuple[int, Write], dict[int, Read]]:
    """Return how values of a type are written, unless they are scalars, and how all are read."""
    try:
        foreign = _foreign(type_)
        if any(map(_is_pydantic, foreign)):
            return _by_pydantic(type_)
        readers = _by_msgspec(type_)
    except Exception as error:
        raise TypeError(f"type {type_!r} cannot be read: {error}") from error
    if foreign:
        raise TypeError(f"type {type_!r} cannot be read: msgspec does not know {foreign.pop()!r}")
    return other, readers


def _by_msgspec(type_: Any) -> dict[int, Read]:
    # Said to be builtin, bytes are not made of text, as if it were base64.
    fit = partial(msgspec.convert, type=type_, builtin_types=(bytes,))
    return {
        MSGPACK: msgspec.msgpack.Decoder(type_).decode,
        JSON: msgspec.json.Decoder(type_).decode,
    } | {
        kind: scalar.read if scalar.type is type_ else _then(scalar.read, fit)
        for kind, scalar in _SCALARS.items()
    }


def _by_pydantic(type_: Any) -> tuple[tuple[int, Write], dict[int, Read]]:
    from pydantic import TypeAdapter  # noqa: PLC0415 - only its users have it

    adapter: TypeAdapter[Any] = TypeAdapter(type_)
    # Aliases for reading and for writing may differ; names cannot.
    write = partial(adapter.dump_json, by_alias=False, round_trip=True, warnings="error")
    fit = partial(adapter.validate_python, by_alias=False, by_name=True)
    fit_json = partial(adapter.validate_json, by_alias=False, by_name=True)
    readers = {kind: _then(read, fit) for kind, read in _READERS.items()}
    return (JSON, write), readers | {JSON: _then(bytes, fit_json)}


def _is_pydantic(cls: type) -> bool:
    return hasattr(cls, "__pydantic_validator__") or hasattr(cls, "__get_pydantic_core_schema__")


def _foreign(type_: Any) -> set[type]:
    """Return the classes in a type that msgspec leaves to others."""
    try:
        pending: list[object] = [type_info(type_)]
    except TypeError:  # two pydantic models in a union are one too many for msgspec
        return set[type]().union(*map(_foreign, get_args(type_)))
    classes: set[type] = set()
    seen: set[int] = set()  # types may contain themselves
    while pending:
        node = pending.pop()
        if isinstance(node, tuple):
            pending += node
        elif isinstance(node, Type | Field) and id(node) not in seen:
            seen.add(id(node))
            cls: type | None = getattr(node, "cls", None)
            if cls and (isinstance(node, CustomType) or _is_pydantic(cls)):
                classes.add(cls)
            pending += (getattr(node, name) for name in node.__struct_fields__)
    return classes


@lru_cache(maxsize=256)
def _coder(type_: Any) -> Coder:
    return Coder(type_)


def encode(parameter: str, value: object) -> bytes:
    """Return the bytes of a value, its coding first, or refuse it by the parameter's name."""
    coding, payload = _coder(Any).encode(parameter, value)
    return bytes((coding,)) + payload


def decode(data: bytes, type_: Any = Any) -> Any:
    """Return the value of such bytes, as `type_` where one is given.

    Raises:
        DecodeError: the bytes have another format, or do not fit the type.
    """
    if not data:
        raise DecodeError("stored bytes are empty, without a coding")
    return _coder(type_).decode(data[0], memoryview(data)[1:])

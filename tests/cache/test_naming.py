"""Keys of calls: which calls share one, which never do, and what is refused, when and how."""

from __future__ import annotations

import functools
import io
import math
import os
import struct
import subprocess
import sys
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal, localcontext
from enum import Enum, Flag, IntEnum, IntFlag, StrEnum
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octavo.cache.naming import CallKeys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator


class Color(Enum):
    RED = 1
    ROT = 1  # noqa: PIE796 - an alias
    BLUE = 2


class Light(Enum):
    RED = 1


class Size(IntEnum):
    SMALL = 1


class Unit(StrEnum):
    KILO = "kg"


class Access(Flag):
    READ = 1
    WRITE = 2


class Mode(IntFlag):
    FAST = 1


@dataclass
class Point:
    x: object
    y: object = field(default=0, compare=False)


@dataclass
class Spot:
    x: object
    y: object = 0


class Named(Point):
    """Has more than the fields of its base tell."""


@dataclass
class Crate(list[int]):
    label: str


class Pair(NamedTuple):
    x: object
    y: object


class Record(msgspec.Struct):
    x: object
    y: object


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class User:
    def __init__(self, id: object) -> None:  # noqa: A002 - as users name it
        self.id = id


class Keyed(User):
    def __cache_key__(self) -> Any:
        return self.id


def zone(key: str | None) -> ZoneInfo:
    """Return a zone one hour east, by any name, without the files of a system."""
    header = b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 0, 1, 4)
    return ZoneInfo.from_file(io.BytesIO(header + struct.pack(">lbb", 3600, 0, 0) + b"CET\0"), key)


def call(keys: CallKeys, *args: object, **kwargs: object) -> str:
    return keys(args, kwargs)


def one(value: object) -> None: ...


def text(value: object) -> str:
    """Return the key of a call with this one argument."""
    return call(CallKeys(one, name="one"), value)


# ------------------------------------------------------------------------------- whole signatures


def plain(a: object, b: object = 2, *, c: object = 3) -> None: ...


def every(a: object, /, b: object, *rest: object, c: object = 1, **more: object) -> None: ...


def test_the_key_reads_like_the_call() -> None:
    assert call(CallKeys(plain), 1, "x") == f"{__name__}.plain(a=1, b='x', c=3)"


def test_a_name_and_a_version_of_ones_own_stand_in_the_key() -> None:
    keys = CallKeys(plain, name="it's {odd}\\", version=2)
    assert keys.name == "it's {odd}\\"
    assert call(keys, 1) == "it's {odd}\\@2(a=1, b=2, c=3)"


@given(a=st.integers(), b=st.text(), c=st.booleans())
def test_it_does_not_matter_how_arguments_are_passed(a: int, b: str, c: bool) -> None:
    keys = CallKeys(plain)
    forms = {call(keys, a, b, c=c), call(keys, a, c=c, b=b), call(keys, c=c, b=b, a=a)}
    assert len(forms) == 1


def test_defaults_are_filled_in() -> None:
    keys = CallKeys(plain)
    assert call(keys, 1) == call(keys, 1, 2) == call(keys, c=3, a=1)
    assert call(keys, 1) != call(keys, 1, 3)


def test_every_kind_of_parameter_is_told_apart() -> None:
    keys = CallKeys(every)
    calls = [
        call(keys, 1, 2),
        call(keys, 1, 2, 1),
        call(keys, 1, 2, c=2),
        call(keys, 1, 2, a=1),
        call(keys, 1, 2, d=1),
        call(keys, 1, 2, more={"d": 1}),
    ]
    assert len(set(calls)) == len(calls)
    assert call(keys, 1, 2, e=1, d=2) == call(keys, 1, b=2, d=2, e=1)


def test_what_is_ignored_is_not_in_the_key() -> None:
    keys = CallKeys(every, ignore=["b", "rest"])
    assert call(keys, 1, object(), object()) == call(keys, 1, None)
    assert "b=" not in call(keys, 1, 2)


def test_parameters_may_bear_the_names_of_the_builtins_a_key_is_made_with() -> None:
    def tricky(type: object, _ascii: object, _prefix: object, __type: object) -> None: ...  # noqa: A002

    key = call(CallKeys(tricky, name="f"), 1, [2], "3", None)
    assert key == "f(type=1, _ascii=[2], _prefix='3', __type=None)"


WRONG: list[tuple[tuple[object, ...], dict[str, object]]] = [
    ((), {}),
    ((1, 2, 3), {}),
    ((1,), {"a": 2}),
    ((1,), {"d": 2}),
]


@pytest.mark.parametrize("key", [None, "user:{a}"])
@pytest.mark.parametrize(("args", "kwargs"), WRONG)
def test_a_wrong_call_fails_as_the_function_itself_would(
    args: tuple[object, ...], kwargs: dict[str, object], key: str | None
) -> None:
    function: Callable[..., object] = plain
    with pytest.raises(TypeError) as own:
        function(*args, **kwargs)
    with pytest.raises(TypeError) as keyed:
        CallKeys(plain, key=key)(args, kwargs)
    assert str(keyed.value) == str(own.value)


def test_a_decorated_function_keeps_the_name_and_signature_of_what_it_wraps() -> None:
    def decorated(function: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(function)
        def wrapper(*args: object, **kwargs: object) -> object:
            return function(*args, **kwargs)

        return wrapper

    assert call(CallKeys(decorated(plain)), 1) == call(CallKeys(plain), a=1)


def test_a_method_that_ignores_its_object_has_keys() -> None:
    class Shop:
        def price(self, item: str) -> None: ...

        @classmethod
        def open(cls) -> None: ...

    assert call(CallKeys(Shop.price, ignore="self", name="price"), Shop(), "tea") == (
        "price(item='tea')"
    )
    assert call(CallKeys(Shop.__dict__["open"].__func__, ignore="cls", name="o"), Shop) == "o()"


def test_a_local_function_is_no_method_whatever_its_first_parameter_is_called() -> None:
    def shout(self: str) -> None: ...

    assert call(CallKeys(shout), "hey").endswith("<locals>.shout(self='hey')")


@pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are evaluated at once")
def test_annotations_may_name_what_does_not_exist_when_the_program_runs() -> None:
    names: dict[str, Any] = {"__name__": "names"}
    exec("def function(a: Missing): ...", names)
    assert call(CallKeys(names["function"]), 1) == "names.function(a=1)"


# ------------------------------------------------------------------------------------- the values

ZONES = [None, UTC, timezone(timedelta(hours=1)), zone("Europe/Paris"), zone("Europe/Berlin")]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.integers(),
    st.floats(),
    st.sampled_from([0.0, -0.0, 1.0, 2.0, math.nan, math.inf]),
    st.complex_numbers(),
    st.sampled_from([complex(1), complex(0.0, -0.0), complex(-0.0, 0.0)]),
    st.text(),
    st.sampled_from(["1", "1.0", "None", "'1'", "1, 2", "', '", ")", "\\", "\ud800", "é", "\\xe9"]),
    st.binary(max_size=3),
    st.decimals().filter(lambda number: not number.is_snan()),  # which has no hash
    st.sampled_from([Decimal(1), Decimal("1.0"), Decimal("1E+1"), Decimal("-0")]),
    st.dates(),
    st.datetimes(timezones=st.sampled_from(ZONES), allow_imaginary=False),
    st.times(timezones=st.sampled_from(ZONES)),
    st.timedeltas(),
    st.uuids(),
    st.sampled_from([Color.RED, Color.BLUE, Size.SMALL, Unit.KILO, "kg", Access(0), Access(3)]),
    st.sampled_from([Path("a"), PurePosixPath("a"), PureWindowsPath("a"), Path("a/b"), Path("a ")]),
)


def containers(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    hashable = st.one_of(SCALARS, st.tuples(SCALARS, SCALARS))
    return st.one_of(
        st.lists(items, max_size=3),
        st.lists(items, max_size=3).map(tuple),
        st.lists(st.dictionaries(hashable, items, max_size=3), max_size=1),
        st.dictionaries(hashable, items, max_size=3),
        st.sets(hashable, max_size=3),
        st.frozensets(hashable, max_size=3),
        *(st.builds(cls, items, items) for cls in (Point, Spot, Pair, Record)),
        st.builds(Keyed, st.text(min_size=1, max_size=2).filter(str.isascii)),
    )


VALUES = st.recursive(SCALARS, containers, max_leaves=5)


def essence(value: Any) -> object:
    """Return all that a function may see of a value, such that equal means the same."""
    content: object = value
    match value:
        case float():
            content = value.hex()
        case complex():
            content = value.real.hex(), value.imag.hex()
        case Decimal():
            content = value.as_tuple()
        case datetime() | time():
            zone = value.tzinfo
            content = value.replace(tzinfo=None), value.fold, type(zone), str(zone)
        case tuple() | list():
            content = tuple(map(essence, value))
        case dict():
            content = unordered(value.items())
        case set() | frozenset():
            content = unordered(value)
        case Point() | Spot() | Record():
            content = essence(value.x), essence(value.y)
        case Keyed():
            content = value.id
    return type(value), content


def unordered(values: Iterable[object]) -> object:
    return frozenset(Counter(map(essence, values)).items())  # NaN may be there twice


@given(VALUES, VALUES)
def test_two_values_share_a_key_exactly_if_they_are_the_same(left: object, right: object) -> None:
    assert (text(left) == text(right)) is (essence(left) == essence(right))


@given(VALUES)
def test_a_rebuilt_value_has_the_same_key(value: object) -> None:
    def rebuilt(old: Any) -> Any:
        match old:
            case Pair():
                return Pair(*map(rebuilt, old))
            case tuple() | list():
                return type(old)(map(rebuilt, old))
            case dict():
                return {rebuilt(key): rebuilt(old[key]) for key in reversed(old)}
            case set() | frozenset():
                return type(old)(reversed(list(old)))
        return old

    assert text(rebuilt(value)) == text(value)


@given(VALUES)
def test_a_key_is_of_ascii_and_so_fits_any_encoding(value: object) -> None:
    assert text(value).isascii()


LOOKALIKES: list[list[object]] = [
    [1, 1.0, True, "1", Decimal(1), complex(1), b"1", Size.SMALL, (1,), [1], {1}, frozenset({1})],
    [0, 0.0, -0.0, False, None, "", b"", (), [], {}, set(), frozenset(), Access(0)],
    [(1, 2), [1, 2], Pair(1, 2), Point(1, 2), Spot(1, 2), Record(1, 2), "(1, 2)"],
    ["a", Path("a"), PurePosixPath("a"), PureWindowsPath("a"), b"a", Keyed("a")],
    [Point(1, 2), Point(1, 3), Point(1)],
    [{1: 2}, {1: 2.0}, {True: 2}, {1: "2"}, {"1": 2}],
    ["kg", Unit.KILO],
    [Color.RED, Color.BLUE, Light.RED, Access.READ, Access(3), Mode(4), Mode(8), Mode(12)],
    [date(2024, 1, 1), datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC)],  # noqa: DTZ001
    [
        datetime(2024, 1, 1, tzinfo=zone("Europe/Paris")),
        datetime(2024, 1, 1, tzinfo=zone("Europe/Berlin")),
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1), "CET")),
    ],
    [datetime(2024, 10, 27, 2, 30, tzinfo=zone("Europe/Paris"), fold=fold) for fold in (0, 1)],
    ["1, b=2", "1', b='2"],
]


@pytest.mark.parametrize("values", LOOKALIKES)
def test_lookalikes_have_keys_of_their_own(values: list[object]) -> None:
    assert len({text(value) for value in values}) == len(values)


def test_not_a_number_is_one_value() -> None:
    assert text(math.nan) == text(-math.nan) == "one(value=nan)"


def test_an_alias_of_an_enum_member_has_the_key_of_the_member() -> None:
    assert text(Color.ROT) == text(Color.RED)


def test_the_decimal_context_does_not_change_keys() -> None:
    before = text(Decimal("1E+9"))
    with localcontext() as context:
        context.capitals = 0
        assert text(Decimal("1E+9")) == before


def test_an_object_says_its_own_key() -> None:
    assert text(Keyed("ada")) == f"one(value={__name__}.Keyed('ada'))"


SCRIPT = """
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from uuid import UUID

from octavo.cache.naming import CallKeys

@dataclass
class Order:
    tags: set
    lines: dict

class Color(Enum):
    RED = object()

def find(*args, **kwargs): ...

words = [f"word {i}" for i in range(50)]
args = (
    1, -0.0, "\\u00e9 \\U0001fae9 \\U0001f680", None, b"x", Decimal("1.50"),
    datetime(2024, 1, 1, tzinfo=UTC), UUID(int=5), Path("a//b"), Color.RED,
    set(words), frozenset(words), dict.fromkeys(set(words)),
    Order(set(words), {(word, 1): [word] for word in set(words)}),
)
print(CallKeys(find)(args, dict.fromkeys(set(words))))
"""


def test_every_process_makes_the_same_key_of_the_same_call() -> None:
    keys = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert keys[0].startswith("__main__.find(")
    assert keys[0] == keys[1]


def recursive() -> list[object]:
    value: list[object] = []
    value.append(value)
    return value


REFUSED: list[tuple[object, str]] = [
    (object(), "builtins.object"),
    (User(1), f"{__name__}.User"),
    (User, "builtins.type"),
    (one, "builtins.function"),
    (Text("a"), f"{__name__}.Text"),
    (Number(1), f"{__name__}.Number"),
    (bytearray(b"a"), "builtins.bytearray"),
    (OrderedDict[int, int](), "collections.OrderedDict"),
    (Named(1), f"{__name__}.Named"),
    (Crate("a"), f"{__name__}.Crate"),
    ([{"a": (1, User(1))}], f"{__name__}.User"),
    (Point(User(1)), f"{__name__}.User"),
    (Keyed(5), "must be a str, not 5"),
    (recursive(), "recursion"),
]


@pytest.mark.parametrize(("value", "reason"), REFUSED)
def test_a_value_without_a_stable_text_is_refused_by_parameter_and_type(
    value: object, reason: str
) -> None:
    with pytest.raises(TypeError, match=r"^value cannot be part of a cache key: ") as refusal:
        text(value)
    assert reason in str(refusal.value)
    assert " at 0x" not in str(refusal.value)


def test_a_time_zone_read_from_a_file_is_refused() -> None:
    nameless = zone(None)
    for value in (nameless, datetime(2024, 1, 1, tzinfo=nameless), time(1, tzinfo=nameless)):
        with pytest.raises(TypeError, match=r"^value .*ZoneInfo without a key"):
            text(value)


# ------------------------------------------------------------------------------ keys of one's own


def greet(user: User, lang: object = "en", *more: object) -> None: ...


def test_a_template_is_filled_with_parameters_and_their_attributes() -> None:
    keys = CallKeys(greet, key="{{user}}:{user.id:>3}:{lang}")
    assert call(keys, User(7)) == "{user}:  7:en"
    assert call(keys, lang="fr", user=User("ada")) == "{user}:ada:fr"


def test_a_template_shows_values_that_have_a_text() -> None:
    shown = {
        "5": 5,
        "ada": Text("ada"),
        "kg": Unit.KILO,
        "Color.RED": Color.RED,
        "None": None,
        "1.50": Decimal("1.50"),
        "2024-01-01": date(2024, 1, 1),
        "00000000-0000-0000-0000-000000000005": UUID(int=5),
        "a/b": Path("a/b"),
        "own": Keyed("own"),
    }
    keys = CallKeys(one, key="{value}")
    assert [call(keys, value) for value in shown.values()] == list(shown)


@pytest.mark.parametrize("value", [User(1), (1, 2), [User(1)], {"a": 1}, User, one])
def test_a_template_refuses_values_whose_text_may_hold_an_address(value: object) -> None:
    with pytest.raises(TypeError, match=r"\{value\} of the key is of type .*\{value\.id\}") as no:
        call(CallKeys(one, key="v:{value}"), value)
    assert " at 0x" not in str(no.value)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{other}", "'other' names no parameter of greet"),
        ("{}", "'' names no parameter of greet"),
        ("{0}", "'0' names no parameter of greet"),
        ("{more}", "'more' names no parameter of greet"),
        ("{user[id]}", "'user[id]' names no parameter of greet"),
        ("{user.a[0]}", "a field is a parameter or attributes of one"),
        ("{user.}", "a field is a parameter or attributes of one"),
        ("{user.id!r}", "a field is a parameter or attributes of one"),
        ("{user.id:{lang}}", "a field is a parameter or attributes of one"),
        ("{user", "expected '}'"),
        ("", "key must not be empty"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused_at_decoration(
    template: str, reason: str
) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - compared below
        CallKeys(greet, key=template)
    assert reason in str(refusal.value)


def test_a_callable_gets_the_arguments_of_the_call_and_returns_the_key() -> None:
    keys = CallKeys(greet, key=lambda user, lang="en": f"{user.id}/{lang}")
    assert call(keys, User(1), lang="fr") == "1/fr"


@pytest.mark.parametrize(
    ("made", "error"), [("", ValueError), (5, TypeError), (None, TypeError), (b"a", TypeError)]
)
def test_a_key_made_by_a_callable_must_be_text(made: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^what key= makes must"):
        call(CallKeys(one, key=lambda _: made), 1)


def test_an_empty_key_made_by_a_template_is_refused() -> None:
    with pytest.raises(ValueError, match="what key= makes must not be empty"):
        call(CallKeys(one, key="{value}"), "")


# ------------------------------------------------------------------- what is refused at decoration


class Shop:
    def price(self, item: str) -> None: ...

    @classmethod
    def open(cls) -> None: ...

    def total(self) -> object:
        return super().__str__  # makes __class__ a free variable


def closure() -> Callable[..., object]:
    first, second = 1, 2

    def inner() -> int:
        return first + second

    return inner


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


def with_sentinel(value: object = object()) -> None: ...


Options = dict[str, Any]
BAD: list[tuple[Any, Options, type[Exception], str]] = [
    (5, {}, TypeError, "function must be callable, not 5"),
    (lambda: 1, {}, TypeError, "is a lambda, .*name= or key="),
    (closure(), {}, TypeError, "is a closure over first, second, .*name= or key="),
    (functools.partial(one, 1), {}, TypeError, "partial is an object without a name.*name= or key"),
    (Shop().price, {}, TypeError, r"Shop\.price is bound to an object.*name= or key="),
    (Shop.price, {}, TypeError, r"Shop\.price is a method.*key=.*self\.id.*ignore='self'"),
    (Shop.price, {"name": "price"}, TypeError, r"Shop\.price is a method"),
    (Shop.price, {"ignore": "item"}, TypeError, r"Shop\.price is a method"),
    (Shop.open.__func__, {}, TypeError, r"Shop\.open is a method.*ignore='cls'"),  # type: ignore[attr-defined]
    (Shop.total, {}, TypeError, r"Shop\.total is a method"),
    (generator, {}, TypeError, "generator is a generator, which has no result to store"),
    (async_generator, {"key": "k"}, TypeError, "async_generator is a generator"),
    (print, {"ignore": "other"}, ValueError, "ignore='other' is no parameter of print"),
    (max, {}, TypeError, "max tells no signature"),
    (max, {"key": "{a}"}, TypeError, "max tells no signature"),
    (with_sentinel, {}, TypeError, r"^value cannot be part of a cache key: builtins\.object"),
    (one, {"ignore": "valu"}, ValueError, "ignore='valu' is no parameter of one"),
    (one, {"ignore": ["value", ""]}, ValueError, "ignore='' is no parameter of one"),
    (one, {"key": "k", "ignore": "value"}, ValueError, "ignore and version do not go with key"),
    (one, {"key": "k", "version": 0}, ValueError, "ignore and version do not go with key"),
    (one, {"key": 5}, TypeError, "key must be a str or callable, not 5"),
    (one, {"name": ""}, ValueError, "name must not be empty"),
    (one, {"name": 5}, TypeError, "name must be a str, not 5"),
    (one, {"version": ""}, ValueError, "version must not be empty"),
    (one, {"version": 1.5}, TypeError, r"version must be a str or an int, not 1\.5"),
    (one, {"version": True}, TypeError, "version must be a str or an int, not True"),
]


@pytest.mark.parametrize(("function", "options", "error", "reason"), BAD)
def test_what_cannot_have_keys_is_refused_at_decoration(
    function: Any, options: Options, error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        CallKeys(function, **options)


@pytest.mark.parametrize(
    ("function", "options", "key"),
    [
        (lambda: 1, {"name": "f"}, "f()"),
        (lambda: 1, {"key": "k"}, "k"),
        (closure(), {"name": "f"}, "f()"),
        (functools.partial(plain, 1), {"name": "f"}, "f(b=2, c=3)"),
        (Shop.total, {"key": "k"}, None),
        (Shop().total, {"name": "total"}, "total()"),
        (with_sentinel, {"ignore": "value", "name": "f"}, "f()"),
        (max, {"key": lambda *_: "k"}, "k"),
    ],
)
def test_what_is_refused_passes_with_what_the_message_asks_for(
    function: Any, options: Options, key: str | None
) -> None:
    keys = CallKeys(function, **options)
    assert key is None or call(keys) == key


def test_a_name_is_known_whatever_makes_the_key() -> None:
    assert CallKeys(plain, key="k").name == f"{__name__}.plain"
    assert CallKeys(plain, key="k", name="n").name == "n"

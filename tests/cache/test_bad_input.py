"""Bad input is refused by name before anything is sent."""

from __future__ import annotations

import inspect
import math
import pickle
from collections.abc import Callable, Sequence
from datetime import timedelta
from operator import methodcaller as call
from typing import TYPE_CHECKING, Any

import pytest

from octavo import ConnectionLost
from octavo.cache import Cache, Compression, Local, SignedPickle, replay
from tests.cache.cases import CALLS, OPERATIONS, counted

if TYPE_CHECKING:
    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect, FaceName

Values = Sequence[tuple[Any, type[Exception]]]

LONE = "\ud800"  # half of a surrogate pair, which no encoding has
NAMES: Values = [
    ("", ValueError),
    (LONE, ValueError),
    (None, TypeError),
    (5, TypeError),
    (b"x", TypeError),
    (["x"], TypeError),
]
KEYS: Values = [("", ValueError), (b"", ValueError), (LONE, ValueError)] + [
    (bad, TypeError) for bad in (None, 5, 1.5, True, ["k"], ("k",), bytearray(b"k"))
]
SEVERAL: Values = [(bad, TypeError) for bad in ("key", b"key", 5, None, [["k"]])] + [
    (["good", bad], error) for bad, error in KEYS if not isinstance(bad, list | bytearray)
]
NO_NUMBERS: Values = [(bad, TypeError) for bad in (True, False, "5", b"5", [5], 1j)]
NOT_FINITE: Values = [(bad, ValueError) for bad in (math.nan, math.inf, -math.inf)]
NEGATIVE: Values = [(-1, ValueError), (-0.001, ValueError), (timedelta(-1), ValueError)]
GRACES: Values = [*NO_NUMBERS, *NOT_FINITE, *NEGATIVE, (10**11, ValueError)]
TTLS: Values = [*GRACES, (0, ValueError), (0.0, ValueError), (timedelta(0), ValueError)]
TAGS: Values = [(bad, TypeError) for bad in ("tag", b"tag", 5)] + [
    (["good", bad], error) for bad, error in NAMES if not isinstance(bad, list)
]
UNSTORABLE: Values = [(object(), TypeError), ({1: lambda: 0}, TypeError), (LONE, TypeError)]
COUNTS: Values = [(bad, TypeError) for bad in (True, 1.0, "1", None, b"1")] + [
    (bad, ValueError) for bad in (2**63, -(2**63) - 1, 10**400)
]
FUNCTIONS: Values = [(bad, TypeError) for bad in (5, "f", None)]
SHARES: Values = [*NO_NUMBERS, *NOT_FINITE, (-0.1, ValueError), (1, ValueError), (1.5, ValueError)]
BETAS: Values = [*NO_NUMBERS, *NOT_FINITE, (-0.1, ValueError)]
NOT_NONE: Values = [(None, TypeError)]

Make = Callable[[Any], Callable[[Any], Any]]


def key(name: str, *args: Any) -> dict[tuple[str, str], tuple[Make, Values]]:
    return {(name, "key"): (lambda bad: call(name, bad, *args), KEYS)}


# For each parameter of each operation: a call with the value in its place, and bad values.
BAD: dict[tuple[str, str], tuple[Make, Values]] = {
    **key("get"),
    ("get", "fn"): (lambda bad: call("get", "k", bad), [(5, TypeError), ("int", TypeError)]),
    **key("fetch"),
    **key("get_str"),
    **key("get_int"),
    **key("get_float"),
    **key("get_bytes"),
    ("get_many", "keys"): (lambda bad: call("get_many", bad), SEVERAL),
    **key("set", 1),
    ("set", "value"): (lambda bad: call("set", "k", bad), UNSTORABLE),
    ("set", "ttl"): (lambda bad: call("set", "k", 1, ttl=bad), TTLS),
    ("set", "grace"): (lambda bad: call("set", "k", 1, grace=bad), GRACES),
    ("set", "tags"): (lambda bad: call("set", "k", 1, tags=bad), TAGS),
    ("set_many", "values"): (
        lambda bad: call("set_many", bad),
        [
            *((bad, TypeError) for bad in (5, None, "ab", [("k", 1)])),
            *(({"good": 1, "k": bad}, error) for bad, error in UNSTORABLE),
        ],
    ),
    ("set_many", "key"): (
        lambda bad: call("set_many", {"good": 1, bad: 1}),
        [one for one in KEYS if not isinstance(one[0], list | bytearray)],
    ),
    ("set_many", "ttl"): (lambda bad: call("set_many", {"k": 1}, ttl=bad), TTLS),
    ("set_many", "tags"): (lambda bad: call("set_many", {"k": 1}, tags=bad), TAGS),
    **key("add", 1),
    ("add", "value"): (lambda bad: call("add", "k", bad), UNSTORABLE),
    ("add", "ttl"): (lambda bad: call("add", "k", 1, ttl=bad), TTLS),
    ("add", "tags"): (lambda bad: call("add", "k", 1, tags=bad), TAGS),
    **key("delete"),
    ("delete_many", "keys"): (lambda bad: call("delete_many", bad), SEVERAL),
    **key("touch"),
    ("touch", "ttl"): (lambda bad: call("touch", "k", bad), TTLS),
    **key("incr"),
    ("incr", "n"): (lambda bad: call("incr", "k", bad), COUNTS),
    ("incr", "ttl"): (lambda bad: call("incr", "k", ttl=bad), TTLS),
    **key("decr"),
    ("decr", "n"): (lambda bad: call("decr", "k", bad), COUNTS),
    ("decr", "ttl"): (lambda bad: call("decr", "k", ttl=bad), TTLS),
    ("store", "data"): (lambda bad: call("store", bad), UNSTORABLE),
    ("store", "ttl"): (lambda bad: call("store", 1, ttl=bad), TTLS),
    ("invalidate_tags", "tags"): (lambda bad: call("invalidate_tags", "good", bad), NAMES),
    **key("info"),
    ("calls", "function"): (lambda bad: call("calls", bad), FUNCTIONS),
    ("history", "function"): (lambda bad: call("history", bad), FUNCTIONS),
    # Flows
    **key("get_or_create", counted),
    **key("fetch_or_create", counted),
    ("get_or_create", "factory"): (lambda bad: call("get_or_create", "k", bad), FUNCTIONS),
    ("fetch_or_create", "factory"): (lambda bad: call("fetch_or_create", "k", bad), FUNCTIONS),
    ("create_many", "keys"): (lambda bad: call("create_many", bad, counted), SEVERAL),
    ("create_many", "factory"): (lambda bad: call("create_many", ["k"], bad), FUNCTIONS),
    ("create_many", "ttl"): (lambda bad: call("create_many", ["k"], counted, ttl=bad), TTLS),
    ("create_many", "tags"): (lambda bad: call("create_many", ["k"], counted, tags=bad), TAGS),
}
# `default` may be anything, and `Cache.set_many` names the key of a pair.
ANYTHING = {("get", "default")}
EXTRA = {("set_many", "key")}
FLOWS = ("get_or_create", "fetch_or_create", "create_many")

CHOICES: dict[str, Values] = {
    "ttl": TTLS,
    "grace": GRACES,
    "tags": TAGS,
    "jitter": SHARES,
    "beta": BETAS,
    "timeout": GRACES,
    "soft_timeout": GRACES,
    "lease": TTLS,
    "stale_on_error": [],  # a flag: any value is true or false
    "colour": [(1, TypeError)],  # no option
}

OPTIONS: dict[str, Values] = {
    "name": NAMES,
    "tag": [one for one in NAMES if one[0] is not None],
    "ttl": [*TTLS, *NOT_NONE],
    "grace": [*GRACES, *NOT_NONE],
    "jitter": [*SHARES, *NOT_NONE],
    "beta": [*BETAS, *NOT_NONE],
    "type": [(5, TypeError), (object(), TypeError), (pickle.Pickler, TypeError)],
    "codec": [("xml", ValueError), (5, TypeError), (None, TypeError), (pickle, ValueError)],
    "compress": [("zip", ValueError), ("", ValueError), (5, TypeError), (True, TypeError)],
    "local": [(5, TypeError), (True, TypeError), ({"max_entries": 5}, TypeError)],
    "lease": [*TTLS, *NOT_NONE],
    "on_error": [("ignore", ValueError), (None, ValueError), (True, ValueError)],
}


@pytest.fixture
def cache(connect: Connect, proxy: WireProxy) -> Any:
    """A cache of a client that has sent nothing yet."""
    return connect(proxy.url).cache("x", ttl=60)


def refused(make: Callable[[], object], error: type[Exception], parameter: str, bad: Any) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - its type is what is tested
        make()
    assert type(raised.value) is error, f"{bad!r} gave {raised.value!r}"
    assert parameter.removesuffix("s") in str(raised.value), f"{bad!r} gave {raised.value!r}"


def test_every_parameter_of_every_operation_has_bad_values() -> None:
    parameters = {
        (name, parameter)
        for name in (*OPERATIONS, *FLOWS)
        for parameter in [*inspect.signature(getattr(Cache, name)).parameters][1:]
        if parameter != "options"
    }
    assert BAD.keys() - EXTRA == parameters - ANYTHING


@pytest.mark.parametrize(("name", "parameter"), BAD)
def test_a_bad_argument_is_refused_by_name_and_nothing_is_sent(
    name: str, parameter: str, cache: Any, proxy: WireProxy
) -> None:
    make, values = BAD[name, parameter]
    for bad, error in values:
        refused(lambda: make(bad)(cache), error, parameter, bad)  # noqa: B023
    assert proxy.accepted == 0


@pytest.mark.parametrize("name", ["get_or_create", "fetch_or_create", "cached"])
@pytest.mark.parametrize("option", CHOICES)
def test_a_bad_choice_for_one_value_is_refused_by_name_and_nothing_is_sent(
    option: str, name: str, cache: Any, proxy: WireProxy
) -> None:
    args = () if name == "cached" else ("k", counted)
    for bad, error in CHOICES[option]:
        refused(lambda: getattr(cache, name)(*args, **{option: bad}), error, option, bad)  # noqa: B023
    assert proxy.accepted == 0


@pytest.mark.parametrize("option", OPTIONS)
def test_a_bad_option_is_refused_by_name_and_nothing_is_sent(
    option: str, connect: Connect, proxy: WireProxy
) -> None:
    db: Any = connect(proxy.url)
    for bad, error in OPTIONS[option]:
        options = {"name": "x", "ttl": 60} | {option: bad}
        name = options.pop("name")
        refused(lambda: db.cache(name, **options), error, option, bad)  # noqa: B023
    with pytest.raises(TypeError, match="colour"):
        db.cache("x", ttl=60, colour=1)
    assert proxy.accepted == 0


def test_every_option_has_bad_values() -> None:
    parameters = {*inspect.signature(Cache).parameters} - {"engine", "layout"}
    assert OPTIONS.keys() == parameters | {"name", "tag"}


@pytest.mark.parametrize("name", sorted(CALLS.keys() - {"stats"}))
def test_a_good_argument_needs_the_server(name: str, connect: Connect, proxy: WireProxy) -> None:
    proxy.refuse()
    cache = connect(proxy.url, timeout=0.05).cache("x", ttl=60, on_error="raise")
    with pytest.raises(ConnectionLost) as raised:
        CALLS[name](cache)
    assert raised.value.outcome == "not_sent"
    assert raised.value.operation == f"cache.{name}"


def test_an_async_factory_is_refused_in_sync_code(
    connect: Connect, proxy: WireProxy, face: FaceName
) -> None:
    async def make(*_: object) -> dict[str, str]:
        return {}

    class Maker:
        async def __call__(self) -> str:
            return "made"

    if face == "async":
        return
    cache: Any = connect(proxy.url).cache("x", ttl=60)
    for factory in (make, Maker()):
        for flow in ("get_or_create", "fetch_or_create"):
            refused(lambda: getattr(cache, flow)("k", factory), TypeError, "async", factory)  # noqa: B023
        refused(lambda: cache.create_many(["k"], factory), TypeError, "async", factory)  # noqa: B023
    refused(lambda: cache.cached()(make), TypeError, "async", make)
    refused(lambda: cache.count_calls(make), TypeError, "connect_async", make)
    refused(lambda: cache.call_history()(make), TypeError, "connect_async", make)
    assert proxy.accepted == 0


@pytest.mark.parametrize(
    ("maxlen", "error"),
    [(0, ValueError), (-1, ValueError), (True, TypeError), (1.5, TypeError), (None, TypeError)],
)
def test_a_bad_maxlen_is_refused(
    maxlen: Any, error: type[Exception], cache: Any, face: FaceName
) -> None:
    async def soon() -> None: ...

    function = soon if face == "async" else counted
    refused(lambda: cache.call_history(maxlen)(function), error, "maxlen", maxlen)
    refused(lambda: cache.call_history(maxlen=maxlen)(function), error, "maxlen", maxlen)


def test_replay_refuses_what_has_no_history() -> None:
    for bad in (counted, 5, None, "f"):
        refused(lambda: replay(bad), TypeError, "history", bad)  # type: ignore[arg-type]  # noqa: B023


def test_bounds_that_hold_nothing_are_refused() -> None:
    for parameter in ("max_entries", "max_bytes"):
        for bad, error in ((0, ValueError), (-1, ValueError), (True, TypeError), (1.5, TypeError)):
            refused(lambda: Local(**{parameter: bad}), error, parameter, bad)  # type: ignore[arg-type]  # noqa: B023


def test_two_caches_of_a_name_have_one_tier(connect: Connect, proxy: WireProxy) -> None:
    db: Any = connect(proxy.url)
    db.cache("x", ttl=60, local=Local(10))
    db.cache("x", ttl=60, local=Local(10))
    db.cache("x", ttl=60)
    refused(lambda: db.cache("x", ttl=60, local=Local(20)), ValueError, "local", 20)


def test_settings_of_values_are_refused_by_name() -> None:
    refused(lambda: Compression("zlib", level=99), ValueError, "level", 99)
    refused(lambda: Compression("zlib", threshold=-1), ValueError, "threshold", -1)
    refused(lambda: SignedPickle(b"short"), ValueError, "key", b"short")
    refused(lambda: SignedPickle([]), ValueError, "key", [])
    refused(lambda: SignedPickle("text"), TypeError, "key", "text")  # type: ignore[arg-type]

"""Bad input is refused by name before anything is sent."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from octavo import Octavo
from octavo.ratelimit import Ban, Concurrency, Limit, Limiter, Quota

if TYPE_CHECKING:
    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect

Values = Sequence[tuple[Any, type[Exception]]]
Refuse = Callable[[Any, Any], object]

FLOWS = pytest.mark.parametrize("face", ["sync", "async"])

LONE = "\ud800"  # half of a surrogate pair, which no encoding has
NO_NUMBERS: list[Any] = [True, False, "5", b"5", [5], 1j]
NO_FLAGS: list[Any] = [None, 0, 1, "yes", "", []]
NAMES: Values = [
    *(("", ValueError), (LONE, ValueError)),
    *((bad, TypeError) for bad in (None, 5, b"x", ["x"], True)),
]
NO_SECONDS: Values = [
    *((bad, TypeError) for bad in NO_NUMBERS),
    *((bad, ValueError) for bad in (math.nan, math.inf, -math.inf, 10**12)),
    *((bad, ValueError) for bad in (-1, -0.001, timedelta(-1), timedelta(microseconds=-1))),
]
SPANS: Values = [*NO_SECONDS, (0, ValueError), (0.0, ValueError), (timedelta(0), ValueError)]
NO_INTS: Values = [(bad, TypeError) for bad in (*NO_NUMBERS, None, 1.0, math.nan)]
NO_UNITS: Values = [*NO_INTS, *((bad, ValueError) for bad in (-1, 2**40, 10**30))]
UNITS: Values = [*NO_UNITS, (0, ValueError)]
NO_LIMITS: list[Any] = [{"nobody": 1}, {5: 1}, {Limit("1/s"): 1}, {"": 1}]


def by_name(values: Values) -> Values:
    """Return values with the same of one limit, and of limits that there are none of."""
    named = [({"per-hour": bad}, error) for bad, error in values]
    return [*values, *named, *((bad, ValueError) for bad in NO_LIMITS)]


COSTS, ACTUALS = by_name(UNITS), by_name(NO_UNITS)
RULES: Values = [
    *((bad, TypeError) for bad in (None, 5, "100/minute", ["1/s"], Limit, Ban(1, 1, 1))),
    *((bad, ValueError) for bad in (Limit("2/hour"), Limit("5/s", name="per-hour"))),
]
ABOUT: Values = [
    *((bad, TypeError) for bad in (None, "ada", 5, ["per-hour"], {"per-hour", "ada"})),
    *((bad, TypeError) for bad in ({5: "ada"}, {None: "ada"})),
    *((bad, ValueError) for bad in ({}, {"nobody": "ada"}, {"": "ada"})),
]
NO_DECISIONS: list[Any] = [None, True, "ada", 5, {}, Limit("1/s")]
DECISIONS: Values = [(bad, TypeError) for bad in NO_DECISIONS]

# How a limiter is made with each argument.
OPTIONS: dict[str, Values] = {
    "name": NAMES,
    "limits": RULES,
    "on_error": [(bad, ValueError) for bad in (None, "", "ignore", "RAISE", True, 5)],
    "deadline": [(bad, error) for bad, error in SPANS if bad is not None],
    "ban": [(bad, TypeError) for bad in (5, True, "1/s", (1, 60, 60), Limit("1/s"), Ban)],
    "deny_cache": [(bad, TypeError) for bad in NO_FLAGS],
    "prefetch": NO_UNITS,
    "prefetch_for": [*SPANS, (None, TypeError)],
    "partition": [(bad, TypeError) for bad in (5, True, "t")],
    "tag": [(bad, error) for bad, error in NAMES if bad is not None],
}


def made(db: Any, option: str, bad: Any) -> Any:
    if option == "name":
        return db.limiter(bad, Limit("1/hour"))
    if option == "limits":
        return db.limiter("api", Limit("1/hour"), bad)
    also = {"prefetch": 5} if option == "prefetch_for" else {}
    return db.limiter("api", Limit("1/hour"), **{option: bad}, **also)


# For each parameter of each method: a call with the value in its place, and bad values.
BAD: dict[tuple[str, str], tuple[Refuse, Values]] = {
    ("hit", "subject"): (lambda limiter, bad: limiter.hit(bad), NAMES),
    ("hit", "cost"): (lambda limiter, bad: limiter.hit("ada", bad), COSTS),
    ("check", "subjects"): (lambda limiter, bad: limiter.check(bad), ABOUT),
    ("check", "cost"): (lambda limiter, bad: limiter.check({"per-hour": "ada"}, bad), COSTS),
    ("peek", "subject"): (lambda limiter, bad: limiter.peek(bad), NAMES),
    ("peek", "cost"): (lambda limiter, bad: limiter.peek("ada", bad), COSTS),
    ("reserve", "subject"): (lambda limiter, bad: limiter.reserve(bad), NAMES),
    ("reserve", "cost"): (lambda limiter, bad: limiter.reserve("ada", bad), COSTS),
    ("reserve", "wait"): (lambda limiter, bad: limiter.reserve("ada", wait=bad), NO_SECONDS),
    ("take_up_to", "subject"): (lambda limiter, bad: limiter.take_up_to(bad, 1), NAMES),
    ("take_up_to", "n"): (lambda limiter, bad: limiter.take_up_to("ada", bad), UNITS),
    ("acquire", "subject"): (lambda limiter, bad: limiter.acquire(bad), NAMES),
    ("acquire", "cost"): (lambda limiter, bad: limiter.acquire("ada", bad), COSTS),
    ("acquire", "wait"): (lambda limiter, bad: limiter.acquire("ada", wait=bad), NO_SECONDS),
    ("refund", "decision"): (lambda limiter, bad: limiter.refund(bad), DECISIONS),
    ("settle", "decision"): (lambda limiter, bad: limiter.settle(bad, 1), DECISIONS),
    ("release", "decision"): (lambda limiter, bad: limiter.release(bad), DECISIONS),
    ("renew", "decision"): (lambda limiter, bad: limiter.renew(bad), DECISIONS),
    ("reset", "subject"): (lambda limiter, bad: limiter.reset(bad), NAMES),
    ("ban", "subject"): (lambda limiter, bad: limiter.ban(bad), NAMES),
    ("ban", "lasts"): (
        lambda limiter, bad: limiter.ban("ada", bad),
        [*SPANS, (None, TypeError)],
    ),
    ("unban", "subject"): (lambda limiter, bad: limiter.unban(bad), NAMES),
}
ELSEWHERE = {("settle", "actual")}  # below, as it needs a decision


def refuses(call: Callable[[Any], object], parameter: str, values: Values) -> None:
    """Call it with each value, and have each refused by the parameter's name."""
    for bad, error in values:
        with pytest.raises(Exception) as raised:  # noqa: PT011 - its type is what is tested
            call(bad)
        assert type(raised.value) is error, f"{bad!r} gave {raised.value!r}"
        assert parameter in str(raised.value), f"{bad!r} gave {raised.value!r}"


def test_every_parameter_of_every_method_has_bad_values() -> None:
    parameters = {
        (name, parameter)
        for name, method in vars(Limiter).items()
        if hasattr(method, "__octavo__")
        for parameter in [*inspect.signature(method).parameters][1:]
    }
    assert BAD.keys() | ELSEWHERE == parameters


def test_every_option_has_bad_values() -> None:
    assert OPTIONS.keys() == {*inspect.signature(Octavo.limiter).parameters} - {"self"}


@pytest.mark.parametrize("option", OPTIONS)
def test_a_bad_option_is_refused_by_name_and_nothing_is_sent(
    option: str, connect: Connect, proxy: WireProxy
) -> None:
    db = connect(proxy.url)
    refuses(lambda bad: made(db, option, bad), option, OPTIONS[option])
    for unknown in ("limit", "wait", "timeout", "shadow"):
        refuses(lambda bad: made(db, bad, 1), unknown, [(unknown, TypeError)])
    assert proxy.accepted == 0


@pytest.mark.parametrize(("method", "parameter"), BAD, ids=map("-".join, BAD))
def test_a_bad_argument_is_refused_by_name_and_nothing_is_sent(
    method: str, parameter: str, connect: Connect, proxy: WireProxy
) -> None:
    limiter = connect(proxy.url).limiter("api", Limit("1/hour"))
    call, values = BAD[method, parameter]
    refuses(lambda bad: call(limiter, bad), parameter, values)
    assert proxy.accepted == 0


def test_each_subject_of_a_check_is_a_subject(connect: Connect, proxy: WireProxy) -> None:
    limiter = connect(proxy.url).limiter("api", Limit("1/hour"))
    of_one = [({"per-hour": bad}, error) for bad, error in NAMES]
    refuses(limiter.check, "subject", of_one)
    refuses(
        limiter.peek, "subject", [*of_one, *((bad, e) for bad, e in ABOUT if type(bad) is dict)]
    )
    assert proxy.accepted == 0


def test_what_was_used_is_refused_by_name_and_nothing_is_sent(
    connect: Connect, proxy: WireProxy
) -> None:
    limiter = connect(proxy.url).limiter("api", Limit("9/hour"))
    decision = limiter.hit("ada", 5)
    proxy.reset()
    refuses(lambda bad: limiter.settle(decision, bad), "actual", ACTUALS)
    assert proxy.commands == {}
    assert limiter.settle(decision, 2) is True, "what was refused has settled it"
    assert limiter.peek("ada").remaining == 7


def test_what_a_partition_returns_is_a_name(connect: Connect, proxy: WireProxy) -> None:
    db: Any = connect(proxy.url)

    def hit(bad: Any) -> None:
        db.limiter("api", Limit("1/hour"), partition=lambda _: bad).hit("ada")

    refuses(hit, "partition", NAMES)
    refuses(lambda tag: db.limiter("api", partition=str, tag=tag), "partition", [("t", TypeError)])
    assert proxy.accepted == 0


def test_what_a_limiter_has_no_limit_for_is_refused(connect: Connect, proxy: WireProxy) -> None:
    limiter = connect(proxy.url).limiter("api")
    for call in (limiter.hit, limiter.peek, limiter.reserve, lambda _: limiter.take_up_to("x", 1)):
        refuses(call, "check()", [("ada", ValueError)])
    assert proxy.accepted == 0


def test_a_call_takes_no_more_places_or_limits_than_a_script_can_bear(
    connect: Connect, proxy: WireProxy
) -> None:
    db = connect(proxy.url)
    places = db.limiter("jobs", Concurrency(10_000), Quota("1/day"))
    many = [Limit("1/hour", name=f"n{number}") for number in range(65)]
    twice: dict[Any, str] = {"concurrency": "ada", Concurrency(5): "bob"}
    too_much: Values = [(1001, ValueError), ({"concurrency": 1001}, ValueError)]
    refuses(lambda bad: places.hit("ada", bad), "cost", too_much)
    refuses(lambda bad: db.limiter("api", *bad), "limits", [(many, ValueError)])
    refuses(places.check, "limits", [(dict.fromkeys(many, "ada"), ValueError), (twice, ValueError)])
    assert proxy.accepted == 0


def test_units_are_not_taken_ahead_where_the_server_has_to_be_asked(
    connect: Connect, proxy: WireProxy
) -> None:
    db = connect(proxy.url)
    places = [Concurrency(5), Limit("1/hour")]
    refuses(lambda n: db.limiter("jobs", *places, prefetch=n), "prefetch", [(5, ValueError)])
    ban = Ban(1, 60, 60)
    refuses(lambda n: db.limiter("api", ban=ban, prefetch=n), "prefetch", [(5, ValueError)])


@FLOWS
def test_a_bad_option_of_a_block_is_refused_and_nothing_is_sent(
    connect: Connect, proxy: WireProxy
) -> None:
    limiter = connect(proxy.url).limiter("api", Limit("1/hour"))
    refuses(lambda bad: limiter.limit("ada", wait=bad), "wait", NO_SECONDS)
    assert proxy.accepted == 0

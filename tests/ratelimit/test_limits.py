"""What defines a limit: how it may be spelled, what is refused, and what scripts are told."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from fractions import Fraction
from math import gcd
from typing import Any, get_args

import hypothesis.strategies as st
import pytest
from hypothesis import assume, given

from octavo.engine import calendars
from octavo.ratelimit.limits import Algorithm, Ban, Concurrency, Limit, Quota, Rule

SECOND = 1_000_000
DAY = 86_400 * SECOND

RULES = [
    Limit("100/minute"),
    Limit("100/minute", burst=20),
    Limit("100/minute", algorithm="segmented", segments=60),
    Limit("7/90 seconds", algorithm="sliding", name='odd "name"', shadow=True),
    Limit("5/10 seconds", algorithm="log", carry="reset"),
    Limit("0/day", algorithm="fixed", carry="proportional"),
    Concurrency(5),
    Concurrency(5, lease=0.25, name="jobs", shadow=True),
    Quota("10000/month"),
    Quota("10000/month", tz="Europe/Paris", name="plan", shadow=True, carry="reset"),
]

counts = st.integers(1, 2**40)
windows = st.integers(1, 400 * 86_400_000)


@pytest.mark.parametrize(
    ("spelled", "limit", "window", "name"),
    [
        ("100/minute", 100, 60, "per-minute"),
        ("100 per minute", 100, 60, "per-minute"),
        ("5/10 seconds", 5, 10, "per-10-seconds"),
        ("1 per 3 hours", 1, 3 * 3600, "per-3-hours"),
        ("10/s", 10, 1, "per-second"),
        ("10/sec", 10, 1, "per-second"),
        ("10 / 2 secs", 10, 2, "per-2-seconds"),
        ("10/m", 10, 60, "per-minute"),
        ("10/min", 10, 60, "per-minute"),
        ("10/h", 10, 3600, "per-hour"),
        ("10/hr", 10, 3600, "per-hour"),
        ("10/d", 10, 86_400, "per-day"),
        ("10/30 days", 10, 30 * 86_400, "per-30-days"),
        ("10/w", 10, 7 * 86_400, "per-week"),
        ("10/2weeks", 10, 14 * 86_400, "per-2-weeks"),
        ("10/250ms", 10, 0.25, "per-250-ms"),
        ("10/ms", 10, 0.001, "per-ms"),
        ("  1_000 PER Hour ", 1000, 3600, "per-hour"),
        ("0/second", 0, 1, "per-second"),
        ("10/90 seconds", 10, 90, "per-90-seconds"),
        ("10/60 seconds", 10, 60, "per-minute"),
    ],
)
def test_a_rate_may_be_spelled_in_many_ways(
    spelled: str, limit: int, window: float, name: str
) -> None:
    found = Limit(spelled)
    assert (found.limit, found.window, found.name) == (limit, window, name)
    assert found == Limit.per(limit, window)


@pytest.mark.parametrize(
    ("rate", "says"),
    [
        ("", "such as '100/minute'"),
        ("100", "such as '100/minute'"),
        ("minute", "such as '100/minute'"),
        ("-1/minute", "such as '100/minute'"),
        ("1.5/minute", "such as '100/minute'"),
        ("1/-3 seconds", "such as '100/minute'"),
        ("100/minute please", "such as '100/minute'"),
        ("10/s;100/min", "each is a limit of its own"),
        ("10 per second, 100 per minute", "each is a limit of its own"),
        ("1/millenium", "per ms, second, minute, hour, day, week"),
        ("1/month", "which a Quota counts"),
        ("1/2 years", "which a Quota counts"),
        ("1/0 seconds", "a window of 1 ms to 400 days"),
        ("1/401 days", "a window of 1 ms to 400 days"),
        (f"{2**40 + 1}/day", "at most 1,099,511,627,776 units"),
    ],
)
def test_a_rate_that_cannot_be_meant_is_refused(rate: str, says: str) -> None:
    with pytest.raises(ValueError, match="rate must") as refused:
        Limit(rate)
    assert says in str(refused.value)
    assert repr(rate) in str(refused.value)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"rate": 100}, TypeError, "rate must be a str .* not 100"),
        ({"algorithm": "leaky"}, ValueError, "algorithm must be one of .* not 'leaky'"),
        ({"algorithm": ["gcra"]}, ValueError, "algorithm must be one of"),
        ({"carry": "maybe"}, ValueError, "carry must be one of .* not 'maybe'"),
        ({"carry": "proportional", "algorithm": "log"}, ValueError, "carry must not be"),
        ({"burst": 0}, ValueError, "burst must be at least 1, not 0"),
        ({"burst": 2**40 + 1}, ValueError, "burst must be at most"),
        ({"burst": True}, TypeError, "burst must be an int, not True"),
        ({"burst": 1.5}, TypeError, "burst must be an int, not 1.5"),
        ({"burst": 5, "algorithm": "fixed"}, ValueError, "burst is for algorithm 'gcra'"),
        ({"burst": 5, "rate": "0/minute"}, ValueError, "burst must be at most 0, not 5"),
        ({"segments": 6}, ValueError, "segments is for algorithm 'segmented', not for 'gcra'"),
        ({"segments": 1, "algorithm": "segmented"}, ValueError, "segments must be at least 2"),
        ({"segments": 61, "algorithm": "segmented"}, ValueError, "segments must be at most 60"),
        ({"segments": "6", "algorithm": "segmented"}, TypeError, "segments must be an int"),
        ({"shadow": 1}, TypeError, "shadow must be True or False, not 1"),
        ({"name": ""}, ValueError, "name must be 1 to 64 printable ASCII characters, not ''"),
        ({"name": "x" * 65}, ValueError, "name must be"),
        ({"name": "größe"}, ValueError, "name must be .* not 'größe'"),
        ({"name": "a\nb"}, ValueError, "name must be"),
        ({"name": 7}, TypeError, "name must be a str, not 7"),
        ({"rate": "10001/day", "algorithm": "log"}, ValueError, "10,000 .* 'segmented'"),
        ({"rate": f"{2**32}/day", "algorithm": "segmented"}, ValueError, "rate must .* 'sliding'"),
        ({"rate": "123457/day"}, ValueError, "burst must be at most 52,124 .* not 123457"),
    ],
    ids=repr,
)
def test_options_that_cannot_be_meant_are_refused_by_name(
    options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        Limit(**({"rate": "100/minute"} | options))


@pytest.mark.parametrize(
    ("limit", "window", "error", "says"),
    [
        (-1, 60, ValueError, "limit must be at least 0, not -1"),
        (2**40 + 1, 60, ValueError, "limit must be at most"),
        (1.5, 60, TypeError, "limit must be an int, not 1.5"),
        (100, 0, ValueError, "window must be more than 0, not 0"),
        (100, -1, ValueError, "window must be more than 0, not -1"),
        (100, 401 * 86_400, ValueError, "window must be at most 400 days"),
        (100, "60", TypeError, "window must be a number of seconds or a timedelta, not '60'"),
        (100, float("nan"), ValueError, "window must be"),
    ],
)
def test_numbers_that_make_no_limit_are_refused_by_name(
    limit: Any, window: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        Limit.per(limit, window)


def test_a_window_in_seconds_may_be_a_timedelta_and_is_whole_milliseconds() -> None:
    assert Limit.per(100, timedelta(minutes=1)) == Limit.per(100, 60.0) == Limit("100/minute")
    assert Limit.per(100, 0.0701).window == 0.071
    assert Limit.per(100, 60, burst=5, name="x") == Limit("100/minute", burst=5, name="x")


def test_equal_limits_are_equal_however_they_are_spelled() -> None:
    assert Limit("60/60 s") == Limit("60 per minute", burst=60, name="per-minute")
    assert Limit("60/minute", algorithm="segmented", segments=12) == Limit(
        "60/minute", algorithm="segmented"
    )
    assert Concurrency(5, lease=timedelta(seconds=30)) == Concurrency(5)
    assert Quota("5/day", tz="UTC") == Quota("5 per days")


def test_different_definitions_differ() -> None:
    assert len(set(RULES)) == len(RULES)
    rule: object = Limit("5/hour")
    assert rule != Quota("5/hour")
    assert rule != "5/hour"


def test_a_rule_is_the_key_of_its_subject() -> None:
    subjects = {rule: f"user:{number}" for number, rule in enumerate(RULES)}
    assert subjects[Limit("100 per 60 s", burst=20)] == "user:1"
    assert subjects[Concurrency(5)] == "user:6"


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_what_is_shown_of_a_rule_makes_it(rule: Rule) -> None:
    made = eval(repr(rule))  # what the test is about
    assert made == rule
    assert facts(made) == facts(rule)


def test_a_rule_is_shown_by_the_arguments_that_matter() -> None:
    assert repr(Limit("100 per minute", burst=100)) == "Limit('100/minute')"
    assert repr(RULES[1]) == "Limit('100/minute', burst=20)"
    assert repr(Concurrency(5, lease=60)) == "Concurrency(5, lease=60.0)"
    assert repr(RULES[-2]) == "Quota('10000/month')"


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_rules_can_be_sent_to_other_processes(rule: Rule, protocol: int) -> None:
    sent = pickle.loads(pickle.dumps(rule, protocol))
    assert sent == rule == copy.deepcopy(rule)
    assert hash(sent) == hash(rule)
    assert facts(sent) == facts(rule)


def facts(rule: Rule) -> tuple[object, ...]:
    return (
        *(rule.name, rule.algorithm, rule.limit, rule.most, rule.window, rule.shadow, rule.carry),
        *(rule.numbers(), rule.guarantee()),
        *((rule.unit, rule.tz) if isinstance(rule, Quota) else ()),
    )


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("attribute", ["name", "limit", "_numbers", "tz", "brand_new"])
def test_rules_do_not_change(rule: Rule, attribute: str) -> None:
    with pytest.raises((AttributeError, TypeError)):
        setattr(rule, attribute, 1)


def test_the_most_that_can_pass_is_the_burst_or_the_limit() -> None:
    assert Limit("100/minute", burst=20).most == 20
    assert Limit("100/minute", burst=2000).most == 2000
    assert Limit("100/minute").most == Limit("100/minute", algorithm="log").most == 100
    assert Limit("0/minute").most == Limit("0/minute", burst=0).most == 0
    assert Concurrency(5).most == 5
    assert Quota("7/day").most == 7


@given(counts, windows, st.none() | counts)
def test_a_bucket_refills_at_exactly_the_rate(limit: int, window: int, burst: int | None) -> None:
    token = window * 1000 // gcd(limit, window * 1000)
    if (burst or limit) * token > 2**52:
        with pytest.raises(ValueError, match=f"burst must be at most {2**52 // token:,} "):
            Limit(f"{limit}/{window} ms", burst=burst)
        burst = 2**52 // token
        assume(burst)
    rate, token, cap = Limit(f"{limit}/{window} ms", burst=burst).numbers()
    assert Fraction(rate, token) == Fraction(limit, window * 1000)
    assert gcd(rate, token) == 1
    assert cap == (burst or limit) * token <= 2**52


def test_a_bucket_holds_as_much_as_can_be_counted_exactly() -> None:
    assert Limit("1/day", burst=2**52 // DAY).numbers() == (1, DAY, 2**52 // DAY * DAY)
    with pytest.raises(ValueError, match="burst must be at most 52,124 "):
        Limit("1/day", burst=2**52 // DAY + 1)


def test_a_bucket_of_nothing_holds_nothing() -> None:
    assert Limit("0/minute").numbers() == (0, 1, 0)


@given(st.integers(0, 2**40), windows)
def test_a_fixed_window_is_told_as_it_is(limit: int, window: int) -> None:
    found = Limit(f"{limit}/{window} ms", algorithm="fixed")
    assert found.numbers() == (limit, window * 1000)


@given(st.integers(0, 2**40), windows)
def test_sliding_ticks_are_as_fine_as_exact_products_allow(limit: int, window: int) -> None:
    told, tick, ticks = Limit(f"{limit}/{window} ms", algorithm="sliding").numbers()
    assert told == limit
    assert window * 1000 <= tick * ticks < window * 1000 + tick
    assert 3 * limit * ticks < 2**53
    assert tick == 1 or 4 * limit * (window * 1000) > (tick - 1) * 2**53


@given(st.integers(0, 2**32 - 1), windows, st.integers(2, 60))
def test_segments_cover_the_window(limit: int, window: int, segments: int) -> None:
    found = Limit(f"{limit}/{window} ms", algorithm="segmented", segments=segments)
    told, segment, parts = found.numbers()
    assert (told, parts) == (limit, segments)
    assert window * 1000 <= segment * segments < window * 1000 + segments


def test_a_log_and_places_are_told_as_they_are() -> None:
    assert Limit("10000/day", algorithm="log").numbers() == (10_000, DAY)
    assert Concurrency(5, lease=0.25).numbers() == (5, 250_000)


@given(st.sampled_from(get_args(Algorithm)), st.integers(0, 10_000), windows)
def test_all_numbers_are_exact_in_a_script(algorithm: Any, limit: int, window: int) -> None:
    try:
        found = Limit(f"{limit}/{window} ms", algorithm=algorithm)
    except ValueError:
        assert algorithm == "gcra"
    else:
        assert all(0 <= told < 2**53 for told in found.numbers())
        assert found.window == window / 1000


def test_a_quota_has_the_periods_of_its_zone() -> None:
    quota = Quota("10/day", tz="Asia/Tokyo")
    start, end, next_end = quota.periods(1_800_000_000 * SECOND)
    assert (start + 9 * 3600 * SECOND) % DAY == 0
    assert (end - start, next_end - end) == (DAY, DAY)
    assert quota.numbers() == (10,)
    assert quota.window is None
    assert (quota.unit, quota.tz, quota.name) == ("day", "Asia/Tokyo", "per-day")


@pytest.mark.parametrize("unit", get_args(calendars.Unit))
def test_a_quota_is_per_one_period(unit: str) -> None:
    assert Quota(f"5/{unit}") == Quota(f"5 per 1 {unit}s")
    assert Quota(f"5/{unit}").name == f"per-{unit}"


@pytest.mark.parametrize(
    "rate", ["5/minute", "5/2 days", "5/0 days", "5/day;6/week", "5/fortnight"]
)
def test_a_quota_of_other_periods_is_refused(rate: str) -> None:
    with pytest.raises(ValueError, match=r"rate must .*") as refused:
        Quota(rate)
    assert repr(rate) in str(refused.value)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"tz": "Mars/Olympus"}, ValueError, "tz must be .* not 'Mars/Olympus' .*tzdata"),
        ({"tz": None}, TypeError, "tz must be .* not None"),
        ({"carry": "maybe"}, ValueError, "carry must be one of"),
        ({"name": ""}, ValueError, "name must be"),
        ({"shadow": None}, TypeError, "shadow must be"),
    ],
    ids=repr,
)
def test_a_quotas_options_are_refused_by_name(
    options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        Quota("5/day", **options)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"limit": -1}, ValueError, "limit must be at least 0, not -1"),
        ({"limit": 10_001}, ValueError, "limit must be at most 10,000, not 10001"),
        ({"limit": "5"}, TypeError, "limit must be an int, not '5'"),
        ({"lease": 0}, ValueError, "lease must be more than 0, not 0"),
        ({"lease": 401 * 86_400}, ValueError, "lease must be at most 400 days"),
        ({"lease": None}, TypeError, "lease must be a number of seconds"),
        ({"name": None}, TypeError, "name must be a str, not None"),
        ({"shadow": 0}, TypeError, "shadow must be"),
    ],
    ids=repr,
)
def test_places_that_cannot_be_meant_are_refused_by_name(
    options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        Concurrency(**({"limit": 5} | options))


def test_a_ban_is_told_in_microseconds() -> None:
    assert Ban(5, 60, timedelta(minutes=10)).numbers() == (
        *(5, 60 * SECOND, 600 * SECOND, 1.0, DAY, DAY),
    )
    assert Ban(5, 60, 86_400).numbers()[2] == DAY
    ban = Ban(5, 60, 600, growth=2, longest=3600, forget=0)
    assert ban.numbers() == (5, 60 * SECOND, 600 * SECOND, 2.0, 3600 * SECOND, 0)
    assert ban == eval(repr(ban)) == pickle.loads(pickle.dumps(ban))
    assert hash(ban) == hash(eval(repr(ban)))


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"after": 0}, ValueError, "after must be at least 1, not 0"),
        ({"after": 2.5}, TypeError, "after must be an int, not 2.5"),
        ({"within": 0}, ValueError, "within must be more than 0, not 0"),
        ({"lasts": -1}, ValueError, "lasts must be more than 0, not -1"),
        ({"lasts": "600"}, TypeError, "lasts must be a number of seconds"),
        ({"lasts": 401 * 86_400}, ValueError, "lasts must be at most 400 days"),
        ({"growth": 0.5}, ValueError, "growth must be at least 1, not 0.5"),
        ({"growth": float("inf")}, ValueError, "growth must be .* not inf"),
        ({"growth": "2"}, TypeError, "growth must be a number, not '2'"),
        ({"longest": 599}, ValueError, "longest must be at least lasts, not 599"),
        ({"forget": -1}, ValueError, "forget must be at least 0, not -1"),
    ],
    ids=repr,
)
def test_a_ban_that_cannot_be_meant_is_refused_by_name(
    options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        Ban(**({"after": 5, "within": 60, "lasts": 600} | options))


def test_a_bans_options_are_named() -> None:
    with pytest.raises(TypeError):
        Ban(5, 60, 600, 2.0)  # type: ignore[call-arg]

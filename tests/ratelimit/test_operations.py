"""What each operation says and does, on each face of each kind of server."""

from __future__ import annotations

import itertools
from datetime import timedelta
from fractions import Fraction
from ipaddress import ip_address
from math import ceil
from typing import TYPE_CHECKING, Any

import pytest

from octavo.ratelimit import Concurrency, Limit, Quota
from tests.ratelimit.cases import CALLS, OPERATIONS, RULES, THROTTLES, left, stored

if TYPE_CHECKING:
    from octavo import Octavo, Sync
    from octavo.ratelimit import Decision, Rule
    from tests.fix_servers import Server

HOUR = Limit("10/hour", name="hour")
DAY = Limit("5/day", algorithm="fixed", name="day")
LOG = Limit("7/hour", algorithm="log", name="log")
PLACES = Concurrency(2, lease=3600)

TAGS = pytest.mark.parametrize("tag", [None, "t"])


def test_every_operation_has_a_call() -> None:
    assert CALLS.keys() == OPERATIONS


# Hits.


def test_a_hit_is_charged_to_every_limit_and_says_what_is_left(db: Octavo[Sync]) -> None:
    found = db.limiter("api", HOUR, DAY).hit("ada", 2)
    assert found
    assert (found.allowed, found.cost, found.violated, found.retry_after) == (True, 2, (), 0.0)
    assert (found.degraded, found.banned, found.delay) == (False, False, 0.0)
    assert (found.limit, found.remaining) == (5, 3)
    assert found.reset_after == 86_400
    hour, day = found.limits.values()
    assert (hour.name, hour.limit, hour.remaining, hour.window) == ("hour", 10, 8, 3600)
    assert (hour.reset_after, hour.refill_after, hour.retry_after) == (720, 360, 0.0)
    assert (day.name, day.limit, day.remaining, day.window) == ("day", 5, 3, 86_400)
    assert db.limiter("api", HOUR, DAY).hit("ada").limits["hour"].remaining == 7
    assert db.limiter("api", HOUR, DAY).hit("bob").limits["hour"].remaining == 9
    assert db.limiter("other", HOUR, DAY).hit("ada").limits["hour"].remaining == 9


def test_what_one_limit_denies_no_limit_is_charged(db: Octavo[Sync], server: Server) -> None:
    for kind, rule in RULES.items():
        limiter = db.limiter(kind, HOUR, rule)
        assert limiter.hit("ada", 3), kind
        before = stored(server, kind)
        denied = limiter.hit("ada")
        assert not denied, kind
        assert (denied.violated, denied.limit, denied.remaining) == (("rule",), 3, 0), kind
        assert (denied.cost, denied.receipts) == (1, ()), kind
        assert denied.limits["hour"].allowed, kind
        assert denied.retry_after is not None, kind
        assert denied.retry_after > 60, kind
        assert denied.retry_after == denied.limits["rule"].retry_after, kind
        assert not limiter.hit("ada", {"hour": 8}), kind
        assert stored(server, kind) == before, kind
        assert left(limiter) == [7, 0], kind


def test_the_limit_to_wait_longest_for_is_the_binding_one(db: Octavo[Sync]) -> None:
    limiter = db.limiter("api", Limit("1/minute"), DAY, Limit("1/hour"))
    assert limiter.hit("ada").limit == 1
    found = limiter.hit("ada", {"per-minute": 1, "per-hour": 1, "day": 2})
    assert found.violated == ("per-minute", "per-hour")
    assert found.retry_after == found.limits["per-hour"].retry_after
    assert found.reset_after == found.limits["per-hour"].reset_after
    never = limiter.hit("ada", {"day": 6})
    assert never.violated == ("per-minute", "day", "per-hour")
    assert (never.limit, never.retry_after) == (5, None)


def test_what_can_never_pass_says_so(db: Octavo[Sync], server: Server, prefix: str) -> None:
    for kind, rule in RULES.items():
        limiter = db.limiter(kind, rule)
        for found in (limiter.hit("ada", 4), limiter.peek("ada", 4)):
            assert (found.allowed, found.retry_after, found.remaining) == (False, None, 3), kind
            assert found.limits["rule"].retry_after is None, kind
        if kind != "concurrency":
            assert limiter.reserve("ada", 4).retry_after is None, kind
    assert not stored(server, prefix)


def test_a_call_costs_each_limit_its_own(db: Octavo[Sync]) -> None:
    limiter = db.limiter("api", HOUR, DAY, LOG, PLACES)
    assert limiter.hit("ada", {"hour": 4, DAY: 3}).cost == 4
    assert left(limiter) == [6, 2, 6, 1]
    assert limiter.hit("ada", {"log": 5})
    assert left(limiter) == [5, 1, 1, 0]


# Checks.


@TAGS
def test_a_check_charges_limits_of_any_kind_each_of_its_subject(
    tag: str | None, db: Octavo[Sync]
) -> None:
    rules = [HOUR, DAY, LOG, Quota("9/year"), PLACES]
    limiter = db.limiter("api", *rules, tag=tag)
    elsewhere = Limit("4/hour", algorithm="segmented", name="elsewhere")
    subjects: dict[Any, Any] = {
        "hour": "user:7",
        DAY: "203.0.113.9",
        LOG: ip_address("2001:db8::1"),
        "per-year": "user:7",
        "concurrency": "route",
        elsewhere: "key",
    }
    found = limiter.check(subjects, {"hour": 2, elsewhere: 3})
    assert found
    remaining = {name: state.remaining for name, state in found.limits.items()}
    names = ["hour", "day", "log", "per-year", "concurrency", "elsewhere"]
    assert remaining == dict(zip(names, [8, 4, 6, 8, 1, 1], strict=True))
    assert (found.limit, found.remaining) in {(2, 1), (4, 1)}
    assert left(limiter, "user:7") == [8, 5, 7, 8, 2]
    assert left(limiter, "203.0.113.9") == [10, 4, 7, 9, 2]
    assert left(limiter, ip_address("2001:db8::ffff")) == [10, 5, 6, 9, 2]
    assert left(limiter, "route") == [10, 5, 7, 9, 1]
    assert left(limiter, {elsewhere: "key"}) == [1]


@TAGS
def test_a_check_that_one_limit_denies_charges_none(tag: str | None, db: Octavo[Sync]) -> None:
    for kind, rule in RULES.items():
        limiter = db.limiter(kind, HOUR, DAY, rule, tag=tag)
        assert limiter.check({rule: "key"}, 3), kind
        found = limiter.check({HOUR: "ada", rule: "key", DAY: "route"})
        assert not found, kind
        assert (found.violated, found.limit, found.remaining) == (("rule",), 3, 0), kind
        assert found.receipts == (), kind
        for subject, most in (("ada", [10, 5, 3]), ("route", [10, 5, 3]), ("key", [10, 5, 0])):
            assert left(limiter, subject) == most, kind


@TAGS
def test_limits_are_told_in_the_order_in_which_they_were_asked(
    tag: str | None, db: Octavo[Sync]
) -> None:
    rules = [Limit("2/hour", name=f"n{number}") for number in range(6)]
    limiter = db.limiter("api", *rules, tag=tag)
    about = {rule: f"subject {number}" for number, rule in enumerate(rules)}
    for about_all in (about, dict(reversed(about.items()))):
        names = [rule.name for rule in about_all]
        assert [*limiter.peek(about_all).limits] == names
        assert [*limiter.check(about_all, 2).limits] == names
        assert limiter.check(about_all, 2).violated == tuple(names)
        for subject in about.values():
            limiter.reset(subject)


def test_one_limit_may_be_checked_for_one_subject_only(db: Octavo[Sync]) -> None:
    limiter = db.limiter("api", HOUR, DAY)
    assert limiter.check({"day": "ada"})
    assert left(limiter) == [10, 4]


def test_a_limiter_without_limits_of_its_own_checks_those_it_is_told(db: Octavo[Sync]) -> None:
    limiter = db.limiter("api", tag="t")
    assert limiter.check({HOUR: "ada", DAY: "bob"}, 5)
    assert limiter.check({HOUR: "ada", DAY: "bob"}).violated == ("day",)
    assert left(limiter, {HOUR: "ada", DAY: "bob"}) == [5, 0]


# Shadows.


def shadow(kind: str) -> Rule:
    """Return a limit of 3 that only reports."""
    if kind == "quota":
        return Quota("3/year", name="shadow", shadow=True)
    if kind == "concurrency":
        return Concurrency(3, lease=3600, name="shadow", shadow=True)
    algorithm: Any = kind
    return Limit("3/hour", algorithm=algorithm, name="shadow", shadow=True)


def test_a_shadow_reports_what_it_would_deny_and_denies_nothing(db: Octavo[Sync]) -> None:
    for kind in RULES:
        limiter = db.limiter(kind, HOUR, shadow(kind))
        found = [limiter.hit("ada", 2) for _ in range(2)]
        assert all(found), kind
        assert [one.limits["shadow"].allowed for one in found] == [True, False], kind
        assert [one.limits["shadow"].remaining for one in found] == [1, 1], kind
        assert all(one.limits["shadow"].shadow for one in found), kind
        # Charged what fits, nothing of what it would have denied, never the binding one.
        assert [(one.limit, one.remaining, one.violated) for one in found] == [
            (10, 8, ()),
            (10, 6, ()),
        ], kind
        assert not limiter.hit("ada", 7), kind
        assert left(limiter) == [6, 1], kind


def test_limits_that_are_all_shadows_let_everything_pass(db: Octavo[Sync]) -> None:
    limiter = db.limiter("api", shadow("gcra"))
    found = [limiter.hit("ada", cost) for cost in (3, 1, 4)]
    assert all(found)
    assert [one.limits["shadow"].allowed for one in found] == [True, False, False]
    assert found[2].limits["shadow"].retry_after is None


# Looks.


def test_a_look_says_what_the_call_would_and_writes_nothing(
    db: Octavo[Sync], server: Server, prefix: str
) -> None:
    rules = [HOUR, DAY, LOG, Quota("9/year"), PLACES]
    limiter = db.limiter("api", *rules, tag="t")
    assert limiter.peek("ada")
    assert not stored(server, prefix)
    limiter.hit("ada", 2)
    before = stored(server, prefix)
    subjects: dict[Any, Any] = {"hour": "ada", DAY: "bob"}
    costs: list[Any] = [1, 5, 100, {"hour": 3}, {"hour": 11}]
    hit: Any = limiter.hit
    check: Any = limiter.check
    for (call, about), cost in itertools.product([(hit, "ada"), (check, subjects)], costs):
        seen = limiter.peek(about, cost)
        assert stored(server, prefix) == before
        assert seen.receipts == ()
        assert limiter.refund(seen) is False
        found = call(about, cost)
        assert (seen.allowed, seen.violated, seen.cost) == (
            *(found.allowed, found.violated, found.cost),
        )
        if not found:
            assert (seen.limit, seen.remaining) == (found.limit, found.remaining)
        limiter.refund(found)
        before = stored(server, prefix)


# Reservations.


def micros(seconds: float | None) -> int:
    assert seconds is not None
    return round(seconds * 1e6)


def due(booked: Decision) -> int:
    """Return the microsecond at which it is time, by the server's clock."""
    return micros(booked.at) + micros(booked.delay)


def test_reservations_are_due_one_after_the_other(db: Octavo[Sync]) -> None:
    """To the microsecond, of an interval that is a fraction of one; twice, as scripts do."""
    for name, others in (("alone", []), ("beside another", [LOG])):
        limiter = db.limiter(name, Limit("7/hour", burst=2, name="odd"), *others)
        full = limiter.reserve("ada", {"odd": 2})
        assert (full.allowed, full.delay) == (True, 0.0), name
        turns = [due(limiter.reserve("ada", wait=None)) for _ in range(3)]
        late = limiter.hit("ada")
        assert not late, name
        turns.append(micros(late.at) + micros(late.retry_after))
        interval = Fraction(3_600_000_000, 7)
        assert turns == [due(full) + ceil(interval * i) for i in (1, 2, 3, 4)], name


def test_what_would_be_due_too_late_is_not_booked(
    db: Octavo[Sync], server: Server, prefix: str
) -> None:
    for kind, rule in THROTTLES.items():
        limiter = db.limiter(kind, rule)
        limiter.hit("ada", 3)
        before = stored(server, prefix)
        for wait in (0, 5, timedelta(minutes=1)):
            found = limiter.reserve("ada", wait=wait)
            assert (found.allowed, found.delay, found.violated) == (False, 0.0, ("rule",)), kind
            assert found.retry_after is not None, kind
            assert found.retry_after > 60, kind
        assert stored(server, prefix) == before, kind
        booked = limiter.reserve("ada")
        assert booked, kind
        assert due(booked) == micros(found.at) + micros(found.retry_after), kind


def test_nobody_overtakes_what_is_booked(db: Octavo[Sync]) -> None:
    for kind, rule in THROTTLES.items():
        limiter = db.limiter(kind, rule)
        limiter.hit("ada", 2)
        booked = limiter.reserve("ada", 3)
        assert booked.delay > 60, kind
        for found in (limiter.hit("ada"), limiter.peek("ada"), limiter.take_up_to("ada", 5)):
            assert not found, kind
            assert found.remaining == 0, kind
            assert found.retry_after is not None, kind
            assert micros(found.at) + micros(found.retry_after) > due(booked), kind


# As much as there is.


def test_as_much_is_taken_as_every_limit_has(db: Octavo[Sync]) -> None:
    limiter = db.limiter("api", HOUR, DAY, LOG, shadow("gcra"))
    first, second, none = (limiter.take_up_to("ada", n) for n in (3, 100, 1))
    assert (first.allowed, first.cost, first.remaining) == (True, 3, 2)
    assert (second.allowed, second.cost, second.remaining) == (True, 2, 0)
    assert (none.allowed, none.cost, none.violated) == (False, 0, ("day",))
    assert none.retry_after is not None
    assert none.retry_after > 60
    assert left(limiter) == [5, 0, 2, 0]
    assert limiter.refund(second)
    assert left(limiter) == [7, 2, 4, 0]


# Afterwards.


def test_a_refund_gives_back_what_was_charged_once(db: Octavo[Sync]) -> None:
    for kind, rule in RULES.items():
        limiter = db.limiter(kind, HOUR, rule)
        limiter.hit("ada")
        found = limiter.hit("ada", {"hour": 4, "rule": 2})
        assert left(limiter) == [5, 0], kind
        assert limiter.refund(found) is True, kind
        assert left(limiter) == [9, 2], kind
        assert limiter.refund(found) is False, kind
        assert limiter.settle(found, 0) is False, kind
        assert left(limiter) == [9, 2], kind


def test_a_refund_of_a_check_goes_to_each_subject(db: Octavo[Sync]) -> None:
    for tag in (None, "t"):
        limiter = db.limiter("api", HOUR, DAY, LOG, tag=tag)
        found = limiter.check({HOUR: "ada", DAY: "bob", "log": "eve"}, 3)
        assert limiter.refund(found) is True
        for subject in ("ada", "bob", "eve"):
            assert left(limiter, subject) == [10, 5, 7]


def test_of_what_was_denied_there_is_nothing_to_give_back(db: Octavo[Sync]) -> None:
    limiter = db.limiter("api", HOUR, PLACES)
    limiter.hit("ada")
    denied = limiter.hit("ada", 11)
    given = [limiter.refund(denied), limiter.settle(denied, 5), limiter.settle(denied, 0)]
    given += [limiter.release(denied), limiter.renew(denied)]
    assert given == [False] * 5
    assert left(limiter) == [9, 1]


def test_a_call_is_charged_what_it_has_used(db: Octavo[Sync]) -> None:
    for kind, rule in THROTTLES.items():
        limiter = db.limiter(kind, HOUR, rule)
        less = limiter.hit("ada", 3)
        assert limiter.settle(less, 1) is True, kind
        assert left(limiter) == [9, 2], kind
        assert limiter.settle(less, 3) is False, kind
        same = limiter.hit("ada")
        assert limiter.settle(same, 1) is True, kind
        assert left(limiter) == [8, 1], kind
        none = limiter.hit("ada")
        assert limiter.settle(none, 0) is True, kind
        assert left(limiter) == [8, 1], kind


# Seconds until one more passes after eight of three: as long as that counts, of a window or two.
OVERDRAWN = {"gcra": 7200, "fixed": 3600, "sliding": 6300, "segmented": 3750, "log": 3600}


def test_what_was_used_beyond_the_limit_is_paid_by_later_calls(db: Octavo[Sync]) -> None:
    for algorithm, seconds in OVERDRAWN.items():
        limiter = db.limiter(algorithm, HOUR, THROTTLES[algorithm])
        found = limiter.hit("ada")
        assert limiter.settle(found, 8) is True, algorithm
        assert left(limiter) == [2, 0], algorithm
        later = limiter.hit("ada")
        assert later.violated == ("rule",), algorithm
        assert later.retry_after == pytest.approx(seconds, abs=160), algorithm


def test_a_call_is_settled_for_each_limit(db: Octavo[Sync]) -> None:
    limiter = db.limiter("llm", HOUR, DAY, LOG)
    found = limiter.hit("ada", {"hour": 4, "log": 5})
    assert limiter.settle(found, {"hour": 6, LOG: 2}) is True
    assert left(limiter) == [4, 4, 5]
    with pytest.raises(ValueError, match="actual names"):
        limiter.settle(limiter.hit("ada"), {"nobody": 1})


def test_a_reset_keeps_later_calls_from_earlier_refunds(db: Octavo[Sync]) -> None:
    for kind, rule in RULES.items():
        limiter = db.limiter(kind, rule)
        first = limiter.hit("ada", 2)
        assert limiter.reset("ada") is True, kind
        limiter.hit("ada", 2)
        limiter.refund(first)
        assert left(limiter) == [1], kind


# Places.


def test_a_place_is_held_until_it_is_released(db: Octavo[Sync]) -> None:
    limiter = db.limiter("jobs", PLACES, HOUR)
    one, two = limiter.hit("ada"), limiter.hit("ada")
    full = limiter.hit("ada")
    assert (full.violated, full.limit) == (("concurrency",), 2)
    assert full.limits["concurrency"].unit == "concurrent-requests"
    assert full.retry_after is not None
    assert 3590 < full.retry_after <= 3600
    assert limiter.release(one) is True
    assert limiter.release(one) is False
    assert left(limiter) == [1, 8]
    assert limiter.hit("ada")
    assert limiter.release(two) is True
    assert left(limiter) == [1, 7]


def test_several_places_are_released_and_renewed_together(db: Octavo[Sync]) -> None:
    limiter = db.limiter("jobs", PLACES, tag="t")
    elsewhere = Concurrency(5, lease=3600, name="elsewhere")
    found = limiter.check({PLACES: "ada", elsewhere: "bob"}, {"concurrency": 2, "elsewhere": 4})
    about: dict[Any, Any] = {PLACES: "ada", elsewhere: "bob"}
    assert left(limiter, about) == [0, 1]
    assert limiter.renew(found) is True
    assert limiter.release(found) is True
    assert left(limiter, about) == [2, 5]
    assert limiter.renew(found) is False
    assert left(limiter, about) == [2, 5]


def test_a_renewed_place_lasts_for_another_lease(db: Octavo[Sync]) -> None:
    limiter = db.limiter("jobs", Concurrency(1, lease=100))
    longer = db.limiter("jobs", Concurrency(1, lease=200))
    found = longer.hit("ada")
    assert longer.renew(found)
    full = limiter.peek("ada").retry_after
    assert full is not None
    assert 190 < full <= 200


def test_without_places_there_is_nothing_to_release_or_renew(db: Octavo[Sync]) -> None:
    limiter = db.limiter("api", HOUR)
    found = limiter.hit("ada")
    assert (limiter.release(found), limiter.renew(found)) == (False, False)
    assert left(limiter) == [9]


def test_what_time_does_not_refill_is_neither_reserved_nor_taken_in_part(db: Octavo[Sync]) -> None:
    limiter = db.limiter("jobs", HOUR, PLACES)
    with pytest.raises(ValueError, match="Concurrency"):
        limiter.reserve("ada")
    with pytest.raises(ValueError, match="Concurrency"):
        limiter.take_up_to("ada", 2)


# Resets.


def test_a_reset_forgets_all_of_a_subject_and_nothing_of_others(
    db: Octavo[Sync], server: Server, prefix: str
) -> None:
    for kind, rule in RULES.items():
        limiter = db.limiter(kind, rule)
        limiter.hit("ada", 3)
        limiter.hit("bob", 2)
        assert limiter.reset("ada") is True, kind
        assert limiter.reset("ada") is False, kind
        assert left(limiter) == [3], kind
        assert left(limiter, "bob") == [1], kind
        assert limiter.reset("bob") is True, kind
    assert not stored(server, prefix)


def test_calls_that_overlap_are_given_back_in_any_order(db: Octavo[Sync]) -> None:
    limiter = db.limiter("api", Limit("9/hour"))
    for order in (slice(None), slice(None, None, -1), slice(None, None, 3)):
        found = [limiter.hit("ada") for _ in range(9)][order]
        for each in found:
            assert limiter.refund(each)
        # Who was charged before others may be given back less, by the time that they took.
        used = limiter.peek("ada").reset_after
        assert (9 - len(found)) * 400 - 60 < used < (9 - len(found)) * 400 + 60
        limiter.reset("ada")


def test_what_is_settled_beyond_all_measure_is_owed_for_long(db: Octavo[Sync]) -> None:
    for rate in ("1/hour", "1/day", "100/day"):
        limiter = db.limiter(rate, Limit(rate))
        assert limiter.settle(limiter.hit("ada"), 2**40 - 1)
        assert not limiter.hit("ada")


def test_a_number_settles_only_what_was_charged_alike(db: Octavo[Sync]) -> None:
    rules = [Limit("60/hour", name="requests"), Limit("900/hour", name="tokens"), Concurrency(3)]
    limiter = db.limiter("api", *rules)
    found = limiter.hit("ada", {"tokens": 500})
    with pytest.raises(ValueError, match="actual must be by name"):
        limiter.settle(found, 700)
    assert limiter.settle(found, {"tokens": 700})
    assert left(limiter)[:2] == [59, 200]

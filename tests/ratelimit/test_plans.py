"""Limits whose numbers change: at once, for all processes, and with what was used kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from octavo.ratelimit import Concurrency, Limit, Quota
from tests.ratelimit.cases import ALGORITHMS, left, stored

if TYPE_CHECKING:
    from octavo import Octavo, Sync
    from octavo.ratelimit import Rule
    from octavo.ratelimit.limits import Carry
    from tests.fix_servers import Server

# The scripts alone know of plans: the oldest server and the newest are enough.
pytestmark = pytest.mark.parametrize("server", ["redis-7", "embedded"], indirect=True)

KINDS = (*ALGORITHMS, "quota")
CARRIES: list[tuple[str, Carry]] = [
    (kind, carry)
    for kind in KINDS
    for carry in ("as_is", "proportional", "reset")
    if (kind, carry) != ("log", "proportional")
]


def plan(kind: Any, units: int, carry: Carry = "as_is", **options: Any) -> Rule:
    """Return the limit of a plan, which has one name in all plans."""
    if kind == "quota":
        return Quota(f"{units}/year", name="plan", carry=carry)
    return Limit(f"{units}/day", algorithm=kind, name="plan", carry=carry, **options)


def test_another_plan_takes_effect_at_once_and_keeps_what_was_used(db: Octavo[Sync]) -> None:
    more = {"as_is": 96, "proportional": 60, "reset": 100}
    less = {"as_is": 0, "proportional": 6, "reset": 10}
    for kind, carry in CARRIES:
        free, paid = (plan(kind, units, carry) for units in (10, 100))
        name = f"{kind} {carry}"
        db.limiter(name, free).hit("ada", 4)
        assert left(db.limiter(name, paid)) == [more[carry]], name
        db.limiter(name, paid).hit("bob", 40)
        assert left(db.limiter(name, free), "bob") == [less[carry]], name


def test_what_was_full_has_room_and_what_had_room_is_full(db: Octavo[Sync]) -> None:
    for kind in KINDS:
        free, paid = (db.limiter(kind, plan(kind, units)) for units in (3, 9))
        assert [free.hit("ada").allowed for _ in range(4)] == [True, True, True, False], kind
        assert paid.hit("ada", 2).remaining == 4, kind
        denied = free.hit("ada")
        assert (denied.allowed, denied.limit, denied.remaining) == (False, 3, 0), kind
        assert denied.retry_after is not None, kind
        assert denied.retry_after > 60, kind
        assert paid.hit("ada", 4).remaining == 0, kind
        assert free.hit("bob").remaining == 2, kind


def test_plans_by_turns_lose_and_gain_nothing(db: Octavo[Sync]) -> None:
    for kind in KINDS:
        free, paid = (db.limiter(kind, plan(kind, units)) for units in (70, 300))
        for number in range(1, 8):
            assert free.hit("ada").remaining == 70 - 2 * number + 1, kind
            assert paid.hit("ada").remaining == 300 - 2 * number, kind


def test_a_plan_may_be_told_with_each_call(db: Octavo[Sync]) -> None:
    limiter = db.limiter("api", Limit("5/minute"), tag="t")
    for plans, remaining in ((3, 2), (100, 98), (2, None), (4, 1)):
        found = limiter.check({"per-minute": "ada", plan("fixed", plans): "ada"})
        assert found.allowed is (remaining is not None)
        if remaining is not None:
            assert found.limits["plan"].remaining == remaining


def test_another_window_keeps_what_was_used(db: Octavo[Sync]) -> None:
    for algorithm in ALGORITHMS:
        day, week = (
            Limit(f"10/{unit}", algorithm=algorithm, name="plan") for unit in ("day", "week")
        )
        for before, after in ((day, week), (week, day)):
            subject = str(before.window)
            db.limiter(algorithm, before).hit(subject, 4)
            assert db.limiter(algorithm, after).hit(subject).remaining == 5, algorithm


def test_other_options_of_an_algorithm_keep_what_was_used(db: Octavo[Sync]) -> None:
    changes: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("segmented", {"segments": 12}, {"segments": 30}),
        ("gcra", {"burst": 10}, {"burst": 50}),
    ]
    for kind, before, after in changes:
        db.limiter("api", plan(kind, 10, **before)).hit("ada", 4)
        most = after.get("burst", 10)
        assert left(db.limiter("api", plan(kind, 10, **after))) == [most - 4]
        shadow = db.limiter("api", plan(kind, 10, shadow=True, **after))
        assert left(shadow) == [most - 4]


def test_another_algorithm_has_its_own_count_and_leaves_the_others(db: Octavo[Sync]) -> None:
    limiters = [db.limiter("api", plan(kind, 10)) for kind in KINDS]
    for number, limiter in enumerate(limiters):
        assert limiter.hit("ada", number + 1).remaining == 9 - number
    assert [left(limiter) for limiter in limiters] == [[9 - i] for i in range(len(KINDS))]


def test_more_or_fewer_places_keep_those_taken(db: Octavo[Sync]) -> None:
    two, five, one = (db.limiter("jobs", Concurrency(n, lease=60)) for n in (2, 5, 1))
    held = [two.hit("ada") for _ in range(2)]
    assert not two.hit("ada")
    assert five.hit("ada").remaining == 2
    assert not one.hit("ada")
    assert [one.release(each) for each in held] == [True, True]
    assert left(two) == [1]
    assert not one.hit("ada")


def test_looking_under_another_plan_writes_nothing_and_a_denial_charges_nothing(
    db: Octavo[Sync], server: Server, prefix: str
) -> None:
    for kind, carry in CARRIES:
        name = f"{kind} {carry}"
        db.limiter(name, plan(kind, 10, carry)).hit("ada", 4)
        before = stored(server, prefix)
        other = db.limiter(name, plan(kind, 5, carry))
        room = left(other)
        assert stored(server, prefix) == before, name
        assert not other.hit("ada", 6), name
        assert left(other) == room, name


def test_nobody_overtakes_what_was_booked_under_another_plan(db: Octavo[Sync]) -> None:
    for kind in KINDS:
        free = db.limiter(kind, plan(kind, 10))
        free.hit("ada", 10)
        booked = free.reserve("ada")
        assert booked.delay > 60, kind
        # A larger bucket has room for more than what is booked.
        paid = db.limiter(kind, plan(kind, 11 if kind == "gcra" else 1000))
        found = paid.hit("ada") if kind != "gcra" else paid.hit("ada", 11)
        assert not found, kind
        assert found.retry_after is not None, kind
        assert found.retry_after > 60, kind


def test_a_refund_of_an_older_plan_forgives_nothing_of_the_newer(db: Octavo[Sync]) -> None:
    for kind, carry in CARRIES:
        name = f"{kind} {carry}"
        free, paid = (db.limiter(name, plan(kind, units, carry)) for units in (10, 100))
        first = free.hit("ada", 4)
        paid.hit("ada", 30)
        most = left(paid)[0] + {"as_is": 4, "proportional": 40, "reset": 0}[carry]
        assert paid.refund(first) is True, name
        assert left(paid)[0] <= most, name
        if carry == "as_is" and kind in {"gcra", "fixed", "log", "quota"}:
            assert left(paid) == [70], name


@pytest.mark.parametrize("carry", ["as_is", "proportional", "reset"])
def test_what_is_settled_under_another_plan_is_charged_in_full(
    carry: Carry, db: Octavo[Sync]
) -> None:
    for kind in KINDS:
        if (kind, carry) == ("log", "proportional"):
            continue
        free, paid = (db.limiter(kind, plan(kind, units, carry)) for units in (10, 100))
        first = free.hit("ada", 2)
        paid.hit("ada", 30)
        before = left(paid)[0]
        assert paid.settle(first, 7) is True, kind
        assert left(paid) == [before - 5], kind


def test_what_is_given_back_of_another_plan_is_its_share(db: Octavo[Sync]) -> None:
    for kind in (kind for kind in KINDS if kind not in {"log", "segmented"}):
        old = db.limiter(kind, plan(kind, 100, "proportional"))
        found = [old.hit("ada", 10) for _ in range(5)]
        new = db.limiter(kind, plan(kind, 10, "proportional"))
        assert new.hit("ada")
        assert left(new) == [4], kind
        old.refund(found[0])
        assert left(new) == [5], kind

"""Who is banned, for what, and for how long."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from octavo.ratelimit import Ban, Concurrency, Decision, Limit
from octavo.testing.waiting import wait_until
from tests.ratelimit.cases import RULES, THROTTLES, left, stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Octavo, Sync
    from tests.fix_servers import Server

EMBEDDED = pytest.mark.parametrize("server", ["embedded"], indirect=True)
HOUR = Limit("3/hour", name="rule")


def micros(seconds: float) -> int:
    return round(seconds * 1e6)


# For what.


def test_whoever_is_denied_too_often_is_banned(db: Octavo[Sync]) -> None:
    for kind, rule in RULES.items():
        limiter = db.limiter(kind, rule, ban=Ban(3, 60, 1000))
        assert limiter.hit("ada", 2), kind
        denied = [limiter.hit("ada", 2) for _ in range(4)]
        assert not any(denied), kind
        assert [one.banned for one in denied] == [False, False, True, True], kind
        assert [one.violated for one in denied[1:3]] == [("rule",), ("ban", "rule")], kind
        banned = limiter.hit("ada")  # which the limit would let pass
        assert (banned.allowed, banned.violated) == (False, ("ban",)), kind
        assert banned.retry_after is not None, kind
        assert 990 < banned.retry_after <= 1000, kind
        assert left(limiter) == [1], kind
        assert limiter.hit("bob").banned is False, kind


def test_every_way_to_be_denied_counts_but_looking_does_not(db: Octavo[Sync]) -> None:
    ways: list[Callable[[Any], Decision]] = [
        lambda limiter: limiter.hit("ada"),
        lambda limiter: limiter.check({"rule": "ada"}),
        lambda limiter: limiter.reserve("ada", wait=1),
        lambda limiter: limiter.take_up_to("ada", 5),
        lambda limiter: limiter.hit("ada", 4),
    ]
    limiter = db.limiter("api", HOUR, ban=Ban(len(ways), 60, 60))
    limiter.hit("ada", 3)
    for number, way in enumerate(ways, 1):
        for _ in ways:
            assert limiter.peek("ada").banned is False
        assert way(limiter).banned is (number == len(ways))
    assert limiter.peek("ada").violated == ("ban", "rule")


def test_a_shadow_bans_nobody(db: Octavo[Sync]) -> None:
    shadow = Limit("1/hour", shadow=True)
    limiter = db.limiter("api", shadow, HOUR, ban=Ban(1, 60, 60))
    assert all(limiter.hit("ada") for _ in range(3))
    denied = limiter.check({shadow: "ada", HOUR: "bob"}, {"rule": 4})
    assert (denied.banned, limiter.peek("bob").banned) == (True, True)
    assert limiter.peek("ada").banned is False
    assert limiter.hit("ada").banned


def test_of_a_check_only_those_are_banned_whose_limit_denies_it(db: Octavo[Sync]) -> None:
    full, free = Limit("1/hour", name="full"), Limit("9/hour", name="free")
    for tag in (None, "t"):
        limiter = db.limiter("api", full, free, ban=Ban(1, 60, 60), tag=tag)
        limiter.check({full: "ada"})
        found = limiter.check({full: "ada", free: "bob"})
        assert (found.banned, found.violated) == (True, ("ban", "full"))
        assert [limiter.peek(subject).banned for subject in ("ada", "bob")] == [True, False]
        again = limiter.check({full: "bob", free: "ada"})
        assert (again.allowed, again.violated) == (False, ("ban",))
        assert left(limiter, "bob") == [1, 9]


@EMBEDDED
def test_only_denials_close_to_each_other_count(db: Octavo[Sync]) -> None:
    limiter = db.limiter("api", HOUR, ban=Ban(2, 0.04, 60))
    limiter.hit("ada", 3)
    for _ in range(3):
        first = limiter.hit("ada")
        assert not first.banned
        wait_until(lambda: limiter.peek("ada").at > first.at + 0.04, "it is long ago")  # noqa: B023
    patient = db.limiter("api", HOUR, ban=Ban(2, 40, 60))
    assert [patient.hit("bob", 4).banned for _ in range(2)] == [False, True]


# For how long.


def lasts(limiter: Any, seconds: float) -> Decision:
    """Have a subject banned; return what is said as soon as it no longer is."""
    banned = limiter.hit("ada", 4)
    assert banned.banned
    end = micros(banned.at) + micros(seconds)
    while (seen := limiter.peek("ada")).banned:
        assert micros(seen.at) < end, "the ban lasts longer"
    assert micros(seen.at) >= end, "the ban is shorter"
    found: Decision = seen
    return found


@EMBEDDED
def test_each_ban_in_a_row_is_longer_up_to_the_longest(db: Octavo[Sync]) -> None:
    limiter = db.limiter("api", HOUR, ban=Ban(1, 60, 0.02, growth=2, longest=0.07, forget=60))
    for seconds in (0.02, 0.04, 0.07, 0.07):
        lasts(limiter, seconds)


@EMBEDDED
def test_bans_are_forgotten_some_time_after_the_last_has_ended(db: Octavo[Sync]) -> None:
    policy = Ban(1, 0.001, 0.02, growth=100, longest=2, forget=0.05)
    limiter = db.limiter("api", HOUR, ban=policy)
    for _ in range(2):
        ended = lasts(limiter, 0.02)
        wait_until(lambda: limiter.peek("ada").at > ended.at + 0.05, "it is forgotten")  # noqa: B023
    limiter.hit("bob", 4)
    keeps = db.limiter("api", HOUR, ban=Ban(1, 0.001, 0.02, growth=100, longest=0.2, forget=9))
    lasts(keeps, 0.02)
    lasts(keeps, 0.2)


@EMBEDDED
def test_whoever_waits_as_long_as_told_is_no_longer_banned(db: Octavo[Sync]) -> None:
    limiter = db.limiter("api", Limit("1/100 ms"), ban=Ban(2, 60, 0.05))
    told = None
    while not (found := limiter.hit("ada")) or told is None:
        if found.banned:
            told = micros(found.at) + micros(found.retry_after or 0)
            assert micros(found.at) < told
    assert micros(found.at) >= told


# By hand.


def test_a_subject_is_banned_and_no_longer_banned_by_hand(
    db: Octavo[Sync], server: Server, prefix: str
) -> None:
    limiter = db.limiter("api", HOUR)
    limiter.hit("ada", 2)
    before = stored(server, prefix)
    assert limiter.ban("ada") is False
    found = limiter.hit("ada")
    assert (found.allowed, found.banned, found.violated) == (False, True, ("ban",))
    assert found.retry_after == pytest.approx(3600, abs=10)
    assert limiter.ban("ada", timedelta(seconds=50)) is True
    found = limiter.peek("ada")
    assert found.retry_after == pytest.approx(50, abs=10)
    assert left(limiter) == [1]
    assert limiter.hit("bob")
    limiter.reset("bob")
    assert limiter.unban("ada") is True
    assert stored(server, prefix) == before
    assert limiter.unban("ada") is False
    assert limiter.hit("ada").remaining == 0


def test_a_ban_holds_for_all_limits_of_the_name(db: Octavo[Sync]) -> None:
    db.limiter("api").ban("ada")
    for rule in RULES.values():
        assert db.limiter("api", rule).hit("ada").violated == ("ban",)
    assert db.limiter("other", HOUR).hit("ada")
    for rule in THROTTLES.values():
        assert db.limiter("api", rule).reserve("ada", wait=None).banned
        assert db.limiter("api", rule).take_up_to("ada", 3).cost == 0


def test_a_reset_and_an_end_of_a_ban_forget_earlier_ones(db: Octavo[Sync]) -> None:
    limiter = db.limiter("api", HOUR, ban=Ban(2, 60, 100, growth=5, longest=2500))
    seconds = list[float]()
    for forget in (limiter.unban, limiter.reset):
        for _ in range(2):
            assert not limiter.hit("ada", 4).banned, "one denial is not enough"
            assert limiter.hit("ada", 4).banned
            seconds.append(limiter.peek("ada").retry_after or 0)
            assert forget("ada") is True
    assert seconds == pytest.approx([100] * 4, abs=20)


def test_places_can_be_given_back_during_a_ban(db: Octavo[Sync]) -> None:
    limiter = db.limiter("jobs", Concurrency(2, lease=60), HOUR)
    held, hit = limiter.hit("ada"), limiter.hit("ada")
    limiter.ban("ada", 60)
    assert limiter.renew(held) is True
    assert limiter.release(held) is True
    assert limiter.refund(hit) is True
    assert limiter.hit("ada").violated == ("ban",)
    assert left(limiter) == [2, 2]

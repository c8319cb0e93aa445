"""Looking at what subjects have used, and having it forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo import Ban, Concurrency, Limit, Octavo, Quota, Sync
from octavo.testing import faults
from octavo.testing.proxy import WireProxy
from octavo.testing.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo.ratelimit import Limiter, Usage
    from octavo.testing.servers import Standalone
    from tests.fix_faces import Connect
    from tests.fix_servers import Server

NASTY = ["a:b", "{x}", "100%", "%7B", "a.b", "é", "*?[", "line\nfeed", "a}b:{c", "x:log:y"]

APART = [Limit("9/hour", algorithm="log", name="log"), Concurrency(9, lease=3600, name="at: once")]
RULES = [
    Limit("9/hour", burst=12, name="bucket"),
    Limit("9/hour", algorithm="fixed", name="fixed"),
    Limit("9/hour", algorithm="sliding", name="sliding"),
    Limit("9/hour", algorithm="segmented", name="segmented", shadow=True),
    Limit("0/hour", name="none", shadow=True),
    Quota("9/month", name="quota"),
    *APART,
]


@pytest.fixture
def limits(db: Octavo[Sync]) -> Any:
    """What is looked at, on each face."""
    return db.limits


@pytest.fixture
def user(server: Server, prefix: str) -> Iterator[Octavo[Sync]]:
    """A client that has limiters, of the same server and prefix."""
    with octavo.connect(server.url, prefix=prefix) as client:
        yield client


def whose(usages: list[Usage]) -> list[tuple[str, str, str | None]]:
    return [(usage.limiter, usage.subject, usage.tag) for usage in usages]


def keys_of(server: Server, prefix: str, subject: str = "ada") -> list[str]:
    """Return the keys that an untagged limiter called api has of a subject."""
    base = f"{prefix}:limit:{{api:{subject}}}"
    found: list[str] = server.node_of(base).cli("KEYS", base + "*")
    return found


def agree(usage: Usage, limiter: Limiter[Sync]) -> None:
    """Have what is shown of a subject be what a limiter says of it, some moments apart."""
    states = limiter.peek(usage.subject).limits
    assert [rule.name for rule in usage.rules] == [*states]
    for rule in usage.rules:
        state = states[rule.name]
        assert (rule.remaining, rule.shadow) == (state.remaining, state.shadow), rule
        assert rule.reset_after == pytest.approx(state.reset_after, abs=10), rule


def test_what_is_used_of_each_limit_is_listed(limits: Any, user: Octavo[Sync]) -> None:
    limiter = user.limiter("api", *RULES)
    assert limiter.hit("ada", 2)
    assert limiter.hit("ada", 3)
    (usage,) = limits.list()
    assert whose([usage]) == [("api", "ada", None)]
    assert [(rule.name, rule.algorithm, rule.most) for rule in usage.rules] == [
        (rule.name, rule.algorithm, rule.most) for rule in RULES
    ]
    agree(usage, limiter)
    assert {rule.remaining for rule in usage.rules} == {7, 4, 0}
    assert usage.ban is None
    longest = max(rule.reset_after for rule in usage.rules)
    assert usage.ttl == pytest.approx(longest, abs=1)


def test_what_is_shown_is_what_is_listed(limits: Any, user: Octavo[Sync]) -> None:
    user.limiter("api", *RULES).hit("ada")
    user.limiter("api", *RULES, tag="t").hit("ada", 4)
    for listed in limits.list():
        shown = limits.show("api", "ada", tag=listed.tag)
        assert whose([shown]) == whose([listed])
        assert [rule.remaining for rule in shown.rules] == [rule.remaining for rule in listed.rules]


def test_a_limit_that_has_refilled_is_shown_as_full_beside_one_that_has_not(
    limits: Any, user: Octavo[Sync]
) -> None:
    soon = [
        Limit("5/10 ms", algorithm=algorithm, name=algorithm)
        for algorithm in ("gcra", "fixed", "sliding", "segmented", "log")
    ]
    user.limiter("api", *soon, Limit("5/hour"), Concurrency(5, lease=0.01)).hit("ada")

    def left() -> dict[str, int]:
        return {rule.name: rule.remaining for rule in limits.show("api", "ada").rules}

    wait_until(lambda: [*left().values()].count(5) == 6, "all but one have refilled")
    assert left()["per-hour"] == 4
    assert [rule.reset_after > 0 for rule in limits.show("api", "ada").rules].count(True) == 1


@pytest.mark.parametrize("algorithm", ["gcra", "fixed", "sliding", "segmented", "log"])
def test_while_units_are_booked_nothing_is_left(
    algorithm: Any, limits: Any, user: Octavo[Sync]
) -> None:
    limiter = user.limiter("api", Limit("2/hour", algorithm=algorithm))
    limiter.hit("ada", 2)
    assert limiter.reserve("ada").delay > 0
    usage = limits.show("api", "ada")
    agree(usage, limiter)
    assert usage.rules[0].remaining == 0


def test_names_subjects_and_tags_are_listed_as_they_were_given(
    limits: Any, user: Octavo[Sync]
) -> None:
    given = {(name, subject, tag) for name in NASTY for subject in NASTY for tag in (None, "a:b}")}
    with user.batch() as batch:
        for name, subject, tag in given:
            batch.limiter(name, Limit("5/hour"), tag=tag).hit(subject)
    listed = limits.list()
    assert set(whose(listed)) == given
    assert whose(listed) == sorted(whose(listed), key=lambda each: (*each[:2], each[2] or ""))
    for name, subject, tag in [*given][::20]:
        assert whose([limits.show(name, subject, tag=tag)]) == [(name, subject, tag)]


def test_a_partition_is_listed_as_a_tag(limits: Any, user: Octavo[Sync]) -> None:
    user.limiter("api", Limit("5/hour"), partition=lambda subject: subject[:4]).hit("acme:ada")
    assert whose(limits.list()) == [("api", "acme:ada", "acme")]
    assert limits.reset("api", "acme:ada", tag="acme") is True
    assert limits.list() == []


@pytest.mark.parametrize("tag", [None, "t"])
def test_a_long_subject_is_found_by_its_text_and_by_what_is_listed(
    tag: str | None, limits: Any, user: Octavo[Sync]
) -> None:
    long = "é%{" * 100
    user.limiter("api", Limit("5/hour"), tag=tag).hit(long)
    (usage,) = limits.list()
    assert usage.subject.startswith("é%{é%{")
    assert len(usage.subject.encode()) <= 128
    assert limits.show("api", long, tag=tag).subject == usage.subject
    assert limits.show("api", usage.subject, tag=tag).subject == usage.subject


def test_an_address_is_found_as_the_limiter_counts_it(limits: Any, user: Octavo[Sync]) -> None:
    limiter = user.limiter("api", Limit("5/hour"))
    limiter.hit(IPv6Address("2001:db8::1"))
    limiter.hit(IPv4Address("192.0.2.1"))
    assert limits.show("api", IPv6Address("2001:db8::2")).subject == "2001:db8::/64"
    assert limits.show("api", "192.0.2.1").subject == "192.0.2.1"


def test_what_is_listed_may_be_narrowed_to_what_begins_so(limits: Any, user: Octavo[Sync]) -> None:
    for name, subject in [("api", "ada"), ("api", "bob"), ("api-2", "ada"), ("a*", "x")]:
        user.limiter(name, Limit("5/hour")).hit(subject)
    assert len(limits.list("a")) == 4
    assert whose(limits.list("api:")) == [("api", "ada", None), ("api", "bob", None)]
    assert whose(limits.list("api:b")) == [("api", "bob", None)]
    assert whose(limits.list("a*")) == [("a*", "x", None)]


def test_who_has_used_nothing_is_not_listed(limits: Any, user: Octavo[Sync]) -> None:
    limiter = user.limiter("api", *RULES)
    limiter.peek("ada")
    limiter.refund(limiter.hit("bob"))
    assert whose(limits.list()) in ([], [("api", "bob", None)])  # its windows may go on
    assert limits.show("api", "ada") is None
    assert limits.list("api:ada") == []


def test_other_prefixes_and_other_keys_are_left_out(
    limits: Any, user: Octavo[Sync], server: Server, prefix: str
) -> None:
    with octavo.connect(server.url, prefix=f"{prefix}-2") as other:
        other.limiter("api", Limit("5/hour")).hit("ada")
    for key in ("limit:{x}", "limit:{x:y}z", "limit:{x}.y", "limit:{x}y:z", "limited:{x:y}"):
        server.node_of(f"{prefix}:{key}").cli("SET", f"{prefix}:{key}", "text")
    server.node_of(f"{prefix}:limit:{{x:y}}").cli("RPUSH", f"{prefix}:limit:{{x:y}}", "text")
    assert limits.list() == []
    # A settled decision leaves a key behind, which remembers that for a minute.
    limiter = user.limiter("api", Limit("5/hour"), tag="t")
    limiter.settle(limiter.hit("ada"), 3)
    assert whose(limits.list()) == [("api", "ada", "t")]


def test_what_another_version_stored_is_an_error_that_says_so(
    limits: Any, server: Server, prefix: str
) -> None:
    key = f"{prefix}:limit:{{api:ada}}"
    server.node_of(key).cli("SET", key, b"\xff\x01")
    with pytest.raises(octavo.ServerError, match="another version of octavo"):
        limits.show("api", "ada")
    assert limits.reset("api", "ada") is True
    assert limits.show("api", "ada") is None


def test_looking_changes_nothing(connect: Connect, standalone: Standalone, prefix: str) -> None:
    limits = connect(standalone.url).limits
    with octavo.connect(standalone.url, prefix=prefix) as user:
        user.limiter("api", *RULES).hit("ada")
    before = standalone.cli("DEBUG", "DIGEST")
    assert len(limits.list()) == 1
    assert limits.show("api", "ada") is not None
    assert limits.show("api", "bob") is None
    assert standalone.cli("DEBUG", "DIGEST") == before


def test_a_clock_that_was_put_back_is_reckoned_with_and_nothing_is_written(
    clocked: Standalone,
) -> None:
    with octavo.connect(clocked.url) as db:
        limiter = db.limiter("api", *RULES)
        limiter.hit("ada", 2)
        limiter.ban("ada", 600)
        with faults.move_clock(clocked, by=-1800):
            before = clocked.cli("DEBUG", "DIGEST")
            usage = db.limits.show("api", "ada")
            assert usage is not None
            agree(usage, limiter)
            assert usage.ban is not None
            assert usage.ban.until is not None
            left = usage.ban.until - datetime.now(UTC) - timedelta(seconds=faults.clock_of(clocked))
            assert timedelta(seconds=500) < left <= timedelta(seconds=601)
            assert clocked.cli("DEBUG", "DIGEST") == before


# Bans


def test_a_ban_is_listed_with_its_end(limits: Any, user: Octavo[Sync]) -> None:
    user.limiter("api", Limit("5/hour")).ban("ada", 600)
    (usage,) = limits.list()
    assert usage.rules == ()
    assert 500 < usage.ttl <= 601
    assert usage.ban.row == 0
    assert timedelta(seconds=500) < usage.ban.until - datetime.now(UTC) < timedelta(seconds=610)


def test_bans_in_a_row_are_counted_and_remembered_after_their_end(
    limits: Any, user: Octavo[Sync]
) -> None:
    ban = Ban(after=1, within=60, lasts=0.1, growth=6000, longest=600, forget=3600)
    limiter = user.limiter("api", Limit("1/hour"), ban=ban)
    limiter.hit("ada")
    assert not limiter.hit("ada")
    assert limits.show("api", "ada").ban.row == 1
    wait_until(lambda: limits.show("api", "ada").ban.until is None, "the ban has ended")
    assert limits.show("api", "ada").ban.row == 1
    assert not limiter.hit("ada")
    again = limits.show("api", "ada").ban
    assert again.row == 2
    assert again.until > datetime.now(UTC) + timedelta(seconds=500)


def test_denials_that_led_to_no_ban_are_not_told(limits: Any, user: Octavo[Sync]) -> None:
    limiter = user.limiter("api", Limit("0/hour"), ban=Ban(after=5, within=60, lasts=600))
    assert not limiter.hit("ada")
    assert limits.show("api", "ada") is None
    assert limits.list() == []


@pytest.mark.parametrize("tag", [None, "t"])
def test_a_subject_is_banned_and_pardoned(tag: Any, limits: Any, user: Octavo[Sync]) -> None:
    limiter = user.limiter("api", *RULES, tag=tag)
    limiter.hit("ada", 2)
    assert limits.ban("api", "ada", timedelta(minutes=10), tag=tag) is False
    assert limits.ban("api", "ada", tag=tag) is True
    assert limiter.hit("ada").violated == ("ban",)
    assert limits.show("api", "ada", tag=tag).ban.until is not None
    assert limits.unban("api", "ada", tag=tag) is True
    assert limits.unban("api", "ada", tag=tag) is False
    usage = limits.show("api", "ada", tag=tag)
    assert usage.ban is None
    assert usage.rules[0].remaining == 10
    assert limiter.hit("ada")


# Forgetting


@pytest.mark.parametrize("tag", [None, "t"])
def test_what_is_forgotten_can_be_used_again(tag: Any, limits: Any, user: Octavo[Sync]) -> None:
    limiter = user.limiter("api", *RULES, ban=Ban(1, 60, 600), tag=tag)
    for subject in ("ada", "bob"):
        assert limiter.hit(subject, 9)
        assert not limiter.hit(subject, 9)
    assert limits.reset("api", "ada", tag=tag) is True
    assert limits.reset("api", "ada", tag=tag) is False
    assert limits.show("api", "ada", tag=tag) is None
    assert limiter.hit("ada", 9)
    assert limiter.hit("bob").banned


def test_logs_and_places_are_forgotten_of_whatever_limits_they_are(
    limits: Any, user: Octavo[Sync], server: Server, prefix: str
) -> None:
    user.limiter("api", *APART).hit("ada", 9)
    user.limiter("api", Limit("2/hour", algorithm="log"), *RULES[:2]).hit("ada")
    user.limiter("api", *APART).hit("bob")
    assert len(keys_of(server, prefix)) == 4
    assert limits.reset("api", "ada") is True
    assert keys_of(server, prefix) == []
    assert len(keys_of(server, prefix, "bob")) == 3


def test_another_limiter_tag_or_subject_is_not_forgotten(limits: Any, user: Octavo[Sync]) -> None:
    for name, tag in [("api", None), ("api", "t"), ("web", None)]:
        user.limiter(name, *RULES, tag=tag).hit("ada")
    user.limiter("api", *RULES).hit("ada2")
    assert limits.reset("api", "ada") is True
    assert whose(limits.list()) == [
        ("api", "ada", "t"),
        ("api", "ada2", None),
        ("web", "ada", None),
    ]


# Cost and bad input


@pytest.mark.usefixtures("quiet_links")
@pytest.mark.parametrize("server", ["embedded"], indirect=True)
def test_each_operation_is_one_round_trip_and_lists_of_their_own_are_another(
    connect: Connect, proxy: WireProxy, user: Octavo[Sync]
) -> None:
    limits: Any = connect(proxy.url).limits
    plain, apart = user.limiter("api", *RULES[:6]), user.limiter("api", *RULES)

    def trips(method: str, subject: str) -> int:
        proxy.reset()
        assert getattr(limits, method)("api", subject) is not None
        return proxy.round_trips

    for _ in range(2):  # at first it connects
        plain.hit("ada")
        apart.hit("bob")
        counted = {
            (method, subject): trips(method, subject)
            for method in ("show", "ban", "unban", "reset")
            for subject in ("ada", "bob")
        }
    more = {("show", "bob"), ("reset", "bob")}
    assert counted == {each: 2 if each in more else 1 for each in counted}


def test_five_hundred_subjects_are_looked_at_in_two_round_trips(
    connect: Connect, standalone: Standalone, prefix: str
) -> None:
    with octavo.connect(standalone.url, prefix=prefix) as user, user.batch() as batch:
        for i in range(1200):
            batch.limiter("api", *APART, Limit("9/hour")).hit(f"user:{i}")
    with WireProxy(standalone.address) as proxy:
        limits = connect(proxy.url).limits
        limits.show("api", "user:0")
        proxy.reset()
        usages = limits.list()
        assert len(usages) == 1200
        assert all(len(usage.rules) == 3 for usage in usages)
        # 3,600 keys are gone through, then 1,200 subjects looked at.
        assert proxy.round_trips <= 12


@pytest.mark.parametrize("method", ["show", "reset", "ban", "unban"])
def test_what_cannot_be_a_name_is_refused(connect: Connect, method: str) -> None:
    call = getattr(connect("redis://127.0.0.1:1").limits, method)
    with pytest.raises(ValueError, match="limiter must not be empty"):
        call("", "ada")
    with pytest.raises(TypeError, match="limiter must be a str, not 5"):
        call(5, "ada")
    with pytest.raises(ValueError, match="subject must not be empty"):
        call("api", "")
    with pytest.raises(TypeError, match="subject must be a str, not 5"):
        call("api", 5)
    with pytest.raises(ValueError, match="tag must not be empty"):
        call("api", "ada", tag="")


def test_a_ban_that_lasts_no_time_is_refused(connect: Connect) -> None:
    limits = connect("redis://127.0.0.1:1").limits
    with pytest.raises(ValueError, match="lasts must be more than 0, not 0"):
        limits.ban("api", "ada", 0)
    wrong: Any = "1h"
    with pytest.raises(TypeError, match="lasts must be a number of seconds or a timedelta"):
        limits.ban("api", "ada", wrong)


def test_a_prefix_that_is_no_text_is_refused(connect: Connect) -> None:
    wrong: Any = b"x"
    with pytest.raises(TypeError, match="prefix must be a str, not b'x'"):
        connect("redis://127.0.0.1:1").limits.list(wrong)

"""What is stored of a subject, under which keys, and for how long."""

from __future__ import annotations

from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from octavo.ratelimit import Ban, Concurrency, Limit, Quota
from octavo.ratelimit.layout import Layout
from octavo.testing.waiting import wait_until
from tests.fix_servers import redis_py
from tests.ratelimit.cases import ALGORITHMS, RULES, left, stored, ttls

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Octavo, Sync
    from tests.fix_servers import Server

EMBEDDED = pytest.mark.parametrize("server", ["embedded"], indirect=True)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=300)
LOG, PLACES = Limit("9/hour", algorithm="log", name="log"), Concurrency(9, lease=60)


# Which.


def test_all_limits_of_a_subject_are_one_key_but_for_lists_of_times_and_places(
    db: Octavo[Sync], server: Server, prefix: str
) -> None:
    packed = [Limit("9/hour", algorithm=each, name=each) for each in ALGORITHMS if each != "log"]
    db.limiter("api", *packed, Quota("9/year"), ban=Ban(1, 60, 60)).hit("ada")
    assert stored(server, prefix).keys() == {"limit:{api:ada}"}
    db.limiter("api", LOG, PLACES).hit("ada")
    assert stored(server, prefix).keys() == {
        "limit:{api:ada}",
        "limit:{api:ada}:log:log",
        "limit:{api:ada}:leases:concurrency",
    }
    assert db.limiter("api", LOG, PLACES).reset("ada")
    db.limiter("api", *packed, tag="t").hit("ada")
    db.limiter("api", *packed, partition=lambda subject: subject[:1]).hit("bob")
    assert stored(server, prefix).keys() == {"limit:{t}.api:ada", "limit:{b}.api:bob"}


def test_what_is_stored_is_small(db: Octavo[Sync], server: Server, prefix: str) -> None:
    rules = [Limit(f"9/{n} hours") for n in (1, 2, 3, 4)]
    for number, most in ((1, 80), (4, 230)):
        db.limiter("api", *rules[:number]).hit("ada")
        node = server.node_of(f"{prefix}:limit:{{api:ada}}")
        assert node.cli("STRLEN", f"{prefix}:limit:{{api:ada}}") <= most
        db.limiter("api").reset("ada")


@given(NAMES, NAMES, st.sampled_from([None, "t"]))
def test_different_subjects_have_different_keys(one: str, other: str, tag: str | None) -> None:
    assume(one != other)
    layout = Layout("octavo", "api", tag, None)
    assert layout.key(one) != layout.key(other)


@EMBEDDED
@pytest.mark.parametrize("how", ["plain", "tag", "partition"])
def test_no_subject_has_a_key_of_another_ones(how: str, db: Octavo[Sync]) -> None:
    options: dict[str, Any] = {"tag": {"tag": "t"}, "partition": {"partition": lambda _: "p"}}
    limiter = db.limiter("api", LOG, PLACES, **options.get(how, {}))
    long = "x" * 200
    digest = blake2b(long.encode(), digest_size=16).hexdigest()
    looks_like = ["ada:log:log", "ada:leases:concurrency", f"{long[:32]}~{digest}"]
    looks_like += ["{", "%7B", "}", "%7D", "a:b", "a%3Ab", "%", "%25"]
    for subject in ("ada", long, *looks_like):
        assert [state.remaining for state in limiter.hit(subject).limits.values()] == [8, 8]


def test_long_subjects_are_counted_apart_under_short_keys(
    db: Octavo[Sync], server: Server, prefix: str
) -> None:
    limiter = db.limiter("api", Limit("9/hour"))
    subjects = ["x" * 128, "x" * 129, "x" * 130, "x" * 100_000, "é" * 64, "é" * 65]
    for subject in subjects:
        assert limiter.hit(subject, 2).remaining == 7
    assert [left(limiter, subject) for subject in subjects] == [[7]] * 6
    assert max(map(len, stored(server, prefix))) < 150


def test_addresses_are_counted_by_what_one_client_has(db: Octavo[Sync]) -> None:
    limiter = db.limiter("api", Limit("9/hour"))
    same: list[list[Any]] = [
        [IPv6Address("2001:db8::1"), IPv6Address("2001:db8::ffff:1"), "2001:db8::/64"],
        [IPv4Address("203.0.113.9"), ip_address("::ffff:203.0.113.9"), "203.0.113.9"],
        [IPv6Address("2001:db8:0:1::1")],
        [IPv4Address("203.0.113.10")],
    ]
    for subjects in same:
        for number, subject in enumerate(subjects):
            assert limiter.hit(subject).remaining == 8 - number


def test_any_text_is_a_subject(db: Octavo[Sync]) -> None:
    for name in ("api", "a{b}c", "per%user"):
        limiter = db.limiter(name, Limit("9/hour"), LOG)
        for subject in ("{", "}", "{}", "{x}y", "%7B", "a:b", "a b\r\n", "日本", "\0", "log:log"):
            assert limiter.hit(subject, 3)
            assert left(limiter, subject) == [6, 6]
            assert limiter.reset(subject)


# For how long.


def ends(server: Server, key: str) -> float:
    """Return from when on a key is gone, by the server's clock, in seconds."""
    with redis_py(server.node_of(key).unix_url) as client:
        # It is still there in the millisecond in which it ends.
        return float(client.pexpiretime(key) + 1) / 1000


def test_a_key_lasts_until_nothing_counts_any_more_and_no_longer(
    db: Octavo[Sync], server: Server, prefix: str
) -> None:
    for kind, rule in (RULES | {"odd": Limit("7/100003 ms", name="rule")}).items():
        limiter, key = db.limiter(kind, rule), f"{prefix}:limit:{{{kind}:ada}}"
        for number in range(4):
            found = limiter.hit("ada")
            assert found.allowed == (number < 3 or kind == "odd"), kind
            late = ends(server, key) - found.at - found.reset_after
            assert 0 <= late < 0.003, kind
            for own in stored(server, prefix):
                if own.startswith(f"limit:{{{kind}:ada}}:"):
                    assert ends(server, f"{prefix}:{own}") == ends(server, key), kind


def test_a_key_lasts_as_long_as_the_longest_of_its_limits(
    db: Octavo[Sync], server: Server, prefix: str
) -> None:
    both = db.limiter("api", Limit("9/day"), Limit("9/minute"), tag="t")
    key = f"{prefix}:limit:{{t}}.api:ada"
    found = both.hit("ada")
    end = found.at + found.limits["per-day"].reset_after
    for _ in range(2):
        assert 0 <= ends(server, key) - end < 0.003
        both.check({"per-minute": "ada"})
    assert not both.hit("ada", 9)
    assert 0 <= ends(server, key) - end < 0.003
    both.ban("ada", 10 * 86_400)
    assert ends(server, key) - end > 8 * 86_400


def book(limiter: Any) -> None:
    limiter.reserve("joe", 3)
    limiter.reserve("joe", 3)


WRITES: list[Callable[[Any], object]] = [
    lambda limiter: limiter.hit("ada", 3),
    lambda limiter: limiter.settle(limiter.hit("bob"), 9),
    lambda limiter: limiter.refund(limiter.hit("bob", 2)),
    lambda limiter: limiter.renew(limiter.hit("eve")),
    lambda limiter: limiter.ban("kim"),
    *[lambda limiter: limiter.hit("ada")] * 3,
    book,
]


def test_everything_that_is_written_has_an_end(
    db: Octavo[Sync], server: Server, prefix: str
) -> None:
    for kind, rule in RULES.items():
        limiter = db.limiter(kind, rule, ban=Ban(2, 60, 60))
        for call in WRITES:
            if kind != "concurrency" or call is not book:
                call(limiter)
                assert min(ttls(server, prefix).values()) > 0, kind


def test_keys_of_whoever_is_idle_vanish(db: Octavo[Sync], server: Server, prefix: str) -> None:
    rules = [Limit("3/60 ms", algorithm=each, name=each) for each in ALGORITHMS]
    limiter = db.limiter("api", *rules, Concurrency(3, lease=0.06))
    limiter.hit("ada", 3)
    db.limiter("banned", ban=None).ban("ada", 0.1)
    wait_until(lambda: not stored(server, prefix), "all keys are gone")


def test_what_was_given_back_leaves_nothing(db: Octavo[Sync], server: Server, prefix: str) -> None:
    for kind, rule in RULES.items():
        limiter = db.limiter(kind, rule)
        limiter.refund(limiter.hit("ada", 2))
        if kind != "concurrency":
            limiter.settle(limiter.hit("ada", 2), 0)
    db.limiter("api").ban("ada")
    db.limiter("api").unban("ada")
    assert {key for key in stored(server, prefix) if ":once:" not in key} == set()


def test_a_partition_is_of_what_one_client_has(db: Octavo[Sync]) -> None:
    seen = set[str]()

    def partition(subject: str) -> str:
        seen.add(subject)
        return "p"

    limiter = db.limiter("api", Limit("9/hour"), partition=partition)
    for host in range(3):
        limiter.hit(IPv6Address(f"2001:db8::{host}"))
    assert seen == {"2001:db8::/64"}

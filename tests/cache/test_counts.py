"""Integers in a cache: plain digits that are counted up and down, by anyone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from octavo import PrecisionLost, WrongType
from tests.cache.cases import pttl, raw

if TYPE_CHECKING:
    from octavo import Octavo, Sync
    from tests.fix_servers import Server


def test_integers_are_plain_digits_that_others_read_and_write(
    db: Octavo[Sync], server: Server
) -> None:
    cache = db.cache("x", ttl=60)
    cache.set("k", -41)
    key = cache.info("k").key
    with raw(server, key) as client:
        assert client.get(key) == b"-41"
        client.incrby(key, 83)
    assert cache.get("k") == 42
    assert cache.incr("k") == 43
    cache.set("big", 2**100)
    with raw(server, cache.info("big").key) as client:
        assert client.get(cache.info("big").key) == str(2**100).encode()


@pytest.mark.parametrize("n", [1, 0, -1, 5, -(2**62), 2**63 - 1, -(2**63) + 1])
def test_whoever_creates_a_count_gives_it_its_ttl_and_nobody_changes_it(
    n: int, db: Octavo[Sync], server: Server
) -> None:
    cache = db.cache("x", ttl=60)
    assert cache.incr("k", n, ttl=30) == n
    key = cache.info("k").key
    assert 20_000 < pttl(server, key) <= 30_000
    assert cache.decr("k", n, ttl=1000) == 0
    assert cache.incr("k", 0, ttl=1000) == 0
    assert 20_000 < pttl(server, key) <= 30_000


def test_counts_follow_what_was_set(db: Octavo[Sync]) -> None:
    cache = db.cache("x", ttl=60)
    cache.set("k", 5)
    assert (cache.incr("k"), cache.incr("k", 10), cache.decr("k"), cache.decr("k", 20)) == (
        *(6, 16, 15, -5),
    )
    assert cache.get("k") == cache.get_int("k") == -5


def test_a_count_that_does_not_fit_stays_as_it_is(db: Octavo[Sync]) -> None:
    cache = db.cache("x", ttl=60)
    cache.set_many({"k": 2**63 - 1, "big": 2**100, "text": "5", "tagged": 5})
    cache.set("tagged", 5, tags=["t"])
    for key, n in (("k", 1), ("big", 1)):
        with pytest.raises(PrecisionLost) as raised:
            cache.incr(key, n)
        assert raised.value.operation == "cache.incr"
    for key in ("text", "tagged"):
        with pytest.raises(WrongType, match=r"cache\.decr"):
            cache.decr(key)
    assert cache.get_many(["k", "big", "text", "tagged"]) == {
        "k": 2**63 - 1,
        "big": 2**100,
        "text": "5",
        "tagged": 5,
    }


def test_a_count_begins_anew_where_a_tag_was_invalidated(db: Octavo[Sync], server: Server) -> None:
    cache = db.cache("x", ttl=60)
    cache.set("k", "text", tags=["t"])
    cache.invalidate_tags("t")
    assert cache.incr("k", 3, ttl=30) == 3
    assert 20_000 < pttl(server, cache.info("k").key) <= 30_000

"""Caches in batches, alone and beside other jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from octavo import BatchError, WrongType
from tests.cache.cases import warm

if TYPE_CHECKING:
    from octavo import Octavo, Sync


@pytest.mark.parametrize("is_warm", [False, True])
@pytest.mark.parametrize("atomic", [False, True])
def test_a_batch_mixes_caches_and_leaderboards(
    is_warm: bool, atomic: bool, db: Octavo[Sync]
) -> None:
    options: Any = {"ttl": 60, "tag": "t" if atomic else None}
    if is_warm:
        warm(db.cache("x", **options))
    with db.batch(atomic=atomic) as batch:
        cache, other = batch.cache("x", **options), batch.cache("y", **options)
        stored = cache.set("k", [1], tags=["red"])
        read = cache.get("k")
        rank = batch.leaderboard("b", tag=options["tag"]).submit("ada", 5)
        count = other.incr("n", 3)
        added = other.add("n", 5)
        many = other.set_many({"a": 1, "b": "two"}, tags=["red", "blue"])
    assert (stored.result(), many.result(), count.result(), rank.result().rank) == (
        *(None, None, 3, 1),
    )
    if atomic:
        assert (read.result(), added.result()) == ([1], False)
    assert db.cache("x", **options).get("k") == [1]
    assert db.cache("y", **options).get_many(["n", "a", "b"]) == {"n": 3, "a": 1, "b": "two"}
    with db.batch(atomic=atomic) as batch:
        deleted = batch.cache("x", **options).delete("k")
        batch.cache("y", **options).clear()
    assert deleted.result() is True
    assert db.cache("y", **options).get_many(["n", "a", "b"]) == {}


def test_an_atomic_batch_sees_its_own_invalidations(db: Octavo[Sync]) -> None:
    warm(db.cache("x", ttl=60, tag="t"))
    with db.batch(atomic=True) as batch:
        cache = batch.cache("x", ttl=60, tag="t")
        cache.set("k", "v", tags=["red"])
        cache.invalidate_tags("red")
        last = cache.set("after", "v")
    assert last.result() is None
    assert db.cache("x", ttl=60, tag="t").get_many(["k", "after"]) == {"after": "v"}


def test_keys_of_different_slots_are_refused_in_an_atomic_batch(db: Octavo[Sync]) -> None:
    scope = db.batch(atomic=True)
    batch = scope.__enter__()
    for key in "abcdefgh":
        batch.cache("x", ttl=60).set(key, 1)
    with pytest.raises(ValueError, match="tag="):
        scope.__exit__(None, None, None)
    assert db.cache("x", ttl=60).get_many([*"abcdefgh"]) == {}


def test_a_batch_reports_each_failure(db: Octavo[Sync]) -> None:
    db.cache("x", ttl=60).set("text", "v")
    scope = db.batch()
    batch = scope.__enter__()
    cache = batch.cache("x", ttl=60)
    results: list[Any] = [cache.incr("text"), cache.incr("n"), cache.get("text")]
    with pytest.raises(BatchError) as raised:
        scope.__exit__(None, None, None)
    assert len(raised.value.exceptions) == 1
    assert isinstance(results[0].exception(), WrongType)
    assert [result.result() for result in results[1:]] == [1, "v"]

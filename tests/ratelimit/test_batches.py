"""Limits in batches, alone and beside other jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from octavo import BatchError, WrongType
from octavo.ratelimit import Ban, Concurrency, Limit, Quota
from tests.ratelimit.cases import AFTERWARDS, CALLS, left

if TYPE_CHECKING:
    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect
    from tests.fix_servers import Server

SYNC = pytest.mark.parametrize("face", ["sync"])
ATOMIC = pytest.mark.parametrize("atomic", [False, True])
RULES = [Limit("9/hour", name="rule"), Quota("9/year"), Limit("9/day", algorithm="log")]


@ATOMIC
def test_a_batch_mixes_limits_and_other_jobs(atomic: bool, db: Octavo[Sync]) -> None:
    options: Any = {"tag": "t"} if atomic else {}
    with db.batch(atomic=atomic) as batch:
        limiter = batch.limiter("api", *RULES, Concurrency(9), **options)
        rank = batch.leaderboard("b", **options).submit("ada", 5)
        hit = limiter.hit("ada", 2)
        stored = batch.cache("c", ttl=60, **options).set("k", "v")
        check = limiter.check({"rule": "ada", "per-year": "bob"})
        seen = limiter.peek("eve")
    assert (rank.result().rank, stored.result()) == (1, None)
    assert (hit.result().cost, hit.result().allowed) == (2, True)
    assert check.result().allowed
    assert seen.result().remaining == 9
    now = db.limiter("api", *RULES, **options)
    assert (left(now, "ada"), left(now, "bob")) == ([6, 7, 7], [9, 8, 9])


@ATOMIC
def test_calls_of_a_batch_are_charged_one_after_the_other(atomic: bool, db: Octavo[Sync]) -> None:
    with db.batch(atomic=atomic) as batch:
        limiter = batch.limiter("api", Limit("3/hour", name="rule"), ban=Ban(2, 60, 60))
        hits = [limiter.hit("ada") for _ in range(6)]
    found = [hit.result() for hit in hits]
    assert [one.allowed for one in found] == [True] * 3 + [False] * 3
    assert [one.remaining for one in found] == [2, 1, 0, 0, 0, 0]
    assert [one.banned for one in found] == [False] * 4 + [True] * 2


@ATOMIC
@SYNC
def test_every_operation_of_a_batch_is_in_its_one_round_trip(
    atomic: bool, connect: Connect, proxy: WireProxy, quiet_links: None
) -> None:
    db: Any = connect(proxy.url)
    limiter = db.limiter("api", Limit("99/hour", name="rule"), tag="t")
    places = db.limiter("api", Concurrency(99), tag="t")
    decisions = [limiter.hit("ada") for _ in CALLS]
    held = [places.hit("bob") for _ in range(2)]
    proxy.reset()
    with db._face.client.batch(atomic=atomic) as batch:
        limiter = batch.limiter("api", Limit("99/hour", name="rule"), tag="t")
        results = {
            name: call(limiter, held.pop() if name in {"release", "renew"} else decisions.pop())
            for name, call in CALLS.items()
        }
    assert {name: bool(result.result()) for name, result in results.items()} == (
        dict.fromkeys(CALLS, True) | {"ban": False}
    )
    assert proxy.round_trips == 1
    scripts = proxy.commands["EVALSHA"] + proxy.commands["EVAL"]
    assert scripts == len(CALLS) - 1
    assert proxy.commands["ZREM"] == 1
    assert proxy.commands["MULTI"] == atomic


def test_what_was_granted_before_a_batch_is_given_back_in_it(db: Octavo[Sync]) -> None:
    limiter = db.limiter("api", Limit("9/hour"), Concurrency(9, lease=60))
    decisions = {name: limiter.hit("ada", 2) for name in AFTERWARDS}
    with db.batch() as batch:
        inside = batch.limiter("api", Limit("9/hour"), Concurrency(9, lease=60))
        given = [call(inside, decisions[name]) for name, call in AFTERWARDS.items()]
        twice = inside.refund(decisions["refund"])
    assert [each.result() for each in given] == [True] * 4
    assert twice.result() is False
    assert left(limiter) == [3, 5]


def test_what_fails_in_a_batch_fails_alone(db: Octavo[Sync], server: Server, prefix: str) -> None:
    key = f"{prefix}:limit:{{api:ada}}"
    server.node_of(key).cli("HSET", key, "field", "value")
    scope = db.batch()
    batch = scope.__enter__()
    limiter = batch.limiter("api", *RULES)
    results: list[Any] = [limiter.hit("ada"), limiter.hit("bob"), limiter.peek("ada")]
    with pytest.raises(BatchError) as raised:
        scope.__exit__(None, None, None)
    assert [type(error) for error in raised.value.exceptions] == [WrongType] * 2
    assert isinstance(results[0].exception(), WrongType)
    assert results[1].result().remaining == 8


@SYNC
def test_a_denial_in_a_batch_stops_nothing(db: Octavo[Sync]) -> None:
    with db.batch(atomic=True) as batch:
        denied = batch.limiter("api", Limit("0/hour"), tag="t").hit("ada")
        rank = batch.leaderboard("b", tag="t").submit("ada", 5)
    assert denied.result().allowed is False
    assert rank.result().rank == 1


@SYNC
def test_subjects_of_several_slots_have_no_atomic_batch(db: Octavo[Sync]) -> None:
    limiter = db.limiter("api", *RULES)
    scope = db.batch(atomic=True)
    batch = scope.__enter__()
    for subject in ("ada", "bob", "eve"):
        batch.limiter("api", *RULES).hit(subject)
    with pytest.raises(ValueError, match="tag="):
        scope.__exit__(None, None, None)
    assert left(limiter, "bob") == [9, 9, 9]


@SYNC
def test_a_batch_does_not_wait(db: Any) -> None:
    with db._face.client.batch() as batch:
        limiter = batch.limiter("api", *RULES)
        booked = limiter.reserve("ada", 9)
        later = limiter.reserve("ada", 9)
        with pytest.raises(TypeError, match="several steps"):
            limiter.acquire("ada")
    assert booked.result().delay == 0
    assert later.result().delay > 60

"""What octavo did not write under a subject's keys, or wrote in another version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from octavo.errors import ServerError, WrongType
from octavo.ratelimit import Concurrency, Limit
from tests.ratelimit.cases import AFTERWARDS, CALLS, RULES, left

if TYPE_CHECKING:
    from octavo import Octavo, Sync
    from tests.fix_servers import Server

EMBEDDED = pytest.mark.parametrize("server", ["embedded", "redis-7"], indirect=True)
STRING = sorted(CALLS.keys() - {"release", "renew", "reset"})


def hold(db: Octavo[Sync], server: Server, prefix: str, value: bytes) -> tuple[Any, Any]:
    """Have something else be stored of a subject; return its limiter, and how to look at it."""
    key = f"{prefix}:limit:{{api:ada}}"
    node = server.node_of(key)
    node.cli("SET", key, value)
    limiter = db.limiter("api", Limit("9/hour", name="rule"))
    return limiter, lambda: node.cli("GET", key)


@EMBEDDED
@pytest.mark.parametrize("name", STRING)
def test_what_another_version_has_stored_is_refused_and_kept(
    name: str, db: Octavo[Sync], server: Server, prefix: str
) -> None:
    decision = db.limiter("api", Limit("9/hour", name="rule")).hit("ada")
    limiter, look = hold(db, server, prefix, b"\x02\x01 what a later one may mean")
    before = look()
    with pytest.raises(ServerError, match="stored by another version of octavo") as raised:
        CALLS[name](limiter, decision)
    assert f"{prefix}:limit:{{api:ada}}" in str(raised.value)
    assert look() == before
    assert limiter.reset("ada") is True
    assert limiter.hit("ada").remaining == 8


@EMBEDDED
def test_every_limit_refuses_what_another_version_has_stored(
    db: Octavo[Sync], server: Server, prefix: str
) -> None:
    _, look = hold(db, server, prefix, b"\x00")
    for kind, rule in RULES.items():
        with pytest.raises(ServerError, match="another version"):
            db.limiter("api", rule).hit("ada")
        assert look() == "\0", kind


@EMBEDDED
@pytest.mark.parametrize("value", [b"\x01", b"\x01\x01", b"\x01\x05short", b"\x01\xff" * 9])
def test_what_is_cut_off_is_refused_and_kept(
    value: bytes, db: Octavo[Sync], server: Server, prefix: str
) -> None:
    limiter, look = hold(db, server, prefix, value)
    before = look()
    for call in (limiter.hit, limiter.peek, limiter.ban):
        with pytest.raises(ServerError):
            call("ada")
    assert look() == before
    assert limiter.reset("ada") is True


@EMBEDDED
def test_a_key_of_another_type_is_named(db: Octavo[Sync], server: Server, prefix: str) -> None:
    rules = [Limit("9/hour", algorithm="log", name="log"), Concurrency(9), Limit("9/day")]
    limiter, base = db.limiter("api", *rules), f"{prefix}:limit:{{api:ada}}"
    node = server.node_of(base)
    for key in (base, f"{base}:log:log", f"{base}:leases:concurrency"):
        node.cli("HSET", key, "field", "value")
        for call in (limiter.hit, limiter.peek):
            with pytest.raises(WrongType, match="limiter"):
                call("ada")
        assert limiter.reset("ada") is True
        assert limiter.hit("ada")
        limiter.reset("ada")


@EMBEDDED
def test_a_key_that_was_lost_costs_what_it_held_and_nothing_else(
    db: Octavo[Sync], server: Server, prefix: str
) -> None:
    rules = [Limit("9/hour", algorithm="log", name="log"), Concurrency(9), Limit("9/day")]
    limiter, base = db.limiter("api", *rules), f"{prefix}:limit:{{api:ada}}"
    node = server.node_of(base)
    lost: dict[str, list[int | None]] = {
        f"{base}:log:log": [9, 6, 6],
        f"{base}:leases:concurrency": [6, 9, 6],
        base: [None, 6, 9],  # the log's times may count without it, or not
    }
    for key, remaining in lost.items():
        decision = limiter.hit("ada", 3)
        node.cli("DEL", key)
        found = zip(left(limiter), remaining, strict=True)
        assert all(expected in {None, room} for room, expected in found)
        for name, call in AFTERWARDS.items():
            if name != "settle":
                call(limiter, decision)
        assert all(room <= 9 for room in left(limiter))
        limiter.reset("ada")

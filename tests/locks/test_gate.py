"""The gate: a fence passes unless a newer one has."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.engine.guard import Guard
from octavo.errors import ConnectionLost, StaleFence, WrongType
from octavo.testing.faults import Crew
from octavo.testing.waiting import wait_until
from tests.fix_servers import redis_py
from tests.locks import meeting_workers as workers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect
    from tests.fix_servers import Server, Servers

LARGEST = 2**63 - 1
FLOWS = pytest.mark.parametrize("face", ["sync", "async"])


@pytest.fixture
def direct(servers: Servers, prefix: str) -> Iterator[Octavo[Sync]]:
    """A client beside the proxy."""
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as client:
        yield client


@pytest.fixture
def raw(servers: Servers) -> Iterator[Any]:
    with redis_py(servers.get("embedded").nodes.unix_url) as client:  # type: ignore[union-attr]
        yield client


# Admitting.


def test_a_fence_is_admitted_unless_a_newer_one_was(db: Octavo[Sync]) -> None:
    door = db.fence("x")
    assert door.newest() is None
    for fence in (5, 5, 6, 60, 60):
        assert door.admit(fence) is None
        assert door.newest() == fence
    for fence in (59, 7, 1):
        with pytest.raises(StaleFence) as raised:
            door.admit(fence)
        assert (raised.value.fence, raised.value.newest) == (fence, 60)
        assert raised.value.operation == "gate.admit"
        assert door.newest() == 60


def test_whole_numbers_of_63_bits_are_told_apart(db: Octavo[Sync]) -> None:
    door = db.fence("x")
    for older, newer in [(2**53, 2**53 + 1), (LARGEST - 1, LARGEST)]:
        door.admit(older)
        door.admit(newer)
        assert door.newest() == newer
        with pytest.raises(StaleFence):
            door.admit(older)


def test_any_order_of_fences_leaves_the_newest(direct: Octavo[Sync]) -> None:
    dice = random.Random(1)
    door, newest = direct.fence("x"), 0
    for _ in range(300):
        fence = dice.randrange(1, 10 ** dice.randrange(1, 19))
        if fence < newest:
            with pytest.raises(StaleFence):
                door.admit(fence)
        else:
            door.admit(fence)
            newest = fence
        assert door.newest() == newest


def test_gates_of_other_names_and_prefixes_are_others(
    connect: Connect, server: Server, db: Octavo[Sync]
) -> None:
    db.fence("x").admit(5)
    assert db.fence("y").newest() is None
    assert db.fence("x", tag="t").newest() is None
    assert connect(server.url, prefix="other").fence("x").newest() is None


def test_a_gate_remembers_for_as_long_as_it_was_made_to(
    direct: Octavo[Sync], raw: Any, prefix: str
) -> None:
    key = f"{prefix}:fence:{{x}}:newest"
    direct.fence("x").admit(5)
    assert raw.ttl(key) == -1
    for ttl in (100, timedelta(seconds=100)):
        direct.fence("x", ttl=ttl).admit(5)
        assert raw.ttl(key) == pytest.approx(100, abs=2)
        raw.expire(key, 50)
    with pytest.raises(StaleFence):
        direct.fence("x", ttl=100).admit(4)
    assert raw.ttl(key) <= 50
    short = direct.fence("y", ttl=0.05)
    short.admit(5)
    wait_until(lambda: short.newest() is None, "it has forgotten")
    short.admit(4)


def test_a_key_of_the_wrong_type_is_named_and_nothing_changes(
    db: Octavo[Sync], server: Server
) -> None:
    key = f"{db._prefix}:fence:{{x}}:newest"
    with redis_py(server.node_of(key).unix_url) as raw:
        raw.rpush(key, "a list")
    with pytest.raises(WrongType, match=r"operation=gate.admit key=.*:newest"):
        db.fence("x").admit(5)
    with pytest.raises(WrongType, match=r"operation=gate.newest key=.*:newest"):
        db.fence("x").newest()


@pytest.mark.parametrize("newer", [False, True])
def test_a_fence_whose_reply_is_lost_is_admitted_once_more(
    newer: bool, connect: Connect, proxy: WireProxy, direct: Octavo[Sync]
) -> None:
    door = connect(proxy.url).fence("x")
    runs = 0

    def decide(words: list[bytes]) -> Any:
        nonlocal runs
        if not words[0].startswith(b"EVAL"):
            return "forward"
        runs += 1
        if runs == 1:
            return "drop"
        if newer:  # meanwhile
            direct.fence("x").admit(6)
        return "forward"

    proxy.script(decide)
    if newer:
        with pytest.raises(StaleFence):
            door.admit(5)
    else:
        door.admit(5)
    assert runs == 2
    assert door.newest() == 5 + newer


def test_an_operation_is_one_round_trip(connect: Connect, proxy: WireProxy) -> None:
    door = connect(proxy.url).fence("x")
    door.newest()
    for call in (lambda: door.admit(5), lambda: door.admit(6), door.newest):
        proxy.reset()
        call()
        assert proxy.round_trips == 1


# Bad input.


@pytest.mark.parametrize("fence", [0, -1, 2**63, True, 1.0, "1", b"1", None], ids=repr)
@pytest.mark.parametrize("call", ["admit", "guard"])
def test_a_bad_fence_is_refused_by_name_before_anything_is_sent(
    call: str, fence: Any, connect: Connect, proxy: WireProxy
) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^fence must be "):
        getattr(connect(proxy.url).fence("x"), call)(fence)
    assert proxy.accepted == 0


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), True, "1"], ids=repr)
def test_a_bad_ttl_is_refused_by_name(ttl: Any, connect: Connect, proxy: WireProxy) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^ttl must be "):
        connect(proxy.url).fence("x", ttl=ttl)


# Guarding a batch.


@FLOWS
def test_a_batch_runs_if_its_fence_is_admitted(db: Octavo[Sync]) -> None:
    board, door = db.leaderboard("b", tag="t"), db.fence("x", tag="t")
    for fence in (5, 5, 7):
        with db.batch(guard=door.guard(fence)) as batch:
            pending = batch.leaderboard("b", tag="t", keep="sum").submit("ada", fence)
        assert pending.result().accepted
        assert door.newest() == fence
    with pytest.raises(StaleFence) as raised, db.batch(guard=door.guard(6)) as batch:
        refused = batch.leaderboard("b", tag="t", keep="sum").submit("ada", 100)
    assert (raised.value.fence, raised.value.newest) == (6, 7)
    assert isinstance(refused.exception(), StaleFence)
    assert board.score("ada") == 17
    assert door.newest() == 7


def test_a_passage_is_a_guard(direct: Octavo[Sync]) -> None:
    passage = direct.fence("x").guard(5)
    assert isinstance(passage, Guard)
    assert repr(passage) == "<Passage 5>"


def test_a_batch_in_another_slot_is_refused_before_anything_is_sent(direct: Octavo[Sync]) -> None:
    door = direct.fence("x", tag="t")
    with pytest.raises(ValueError, match="one slot"), direct.batch(guard=door.guard(5)) as batch:
        batch.leaderboard("b", tag="u").submit("ada", 1)
    assert door.newest() is None


@pytest.mark.parametrize("newer", [False, True])
def test_a_guarded_batch_whose_reply_is_lost_has_an_unknown_outcome(
    newer: bool, proxy: WireProxy, direct: Octavo[Sync], prefix: str
) -> None:
    door = direct.fence("x", tag="t")
    with octavo.connect(proxy.url, prefix=prefix) as db:
        proxy.drop_replies(1)
        with (
            pytest.raises((ConnectionLost, ExceptionGroup)),
            db.batch(guard=db.fence("x", tag="t").guard(5)) as batch,
        ):
            batch.leaderboard("b", tag="t", keep="sum").submit("ada", 1)
    assert door.newest() == 5
    assert direct.leaderboard("b", tag="t").score("ada") == 1


# Several processes.


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["embedded", "redis-7", "cluster"])
def test_what_is_written_through_a_gate_never_gets_older(
    kind: Any, servers: Servers, prefix: str
) -> None:
    url = servers.get(kind).url
    with Crew() as crew, octavo.connect(url, prefix=prefix) as db:
        for number in range(4):
            crew.spawn(workers.write_fences, url, prefix, number, 200)
        crew.meet()
        written = [one for each in crew.results() for one in each]
        last = db.leaderboard("b", tag="t").score("ada")
        newest = db.fence("x", tag="t").newest()
    assert last == newest == max(fence for fence, _ in written)
    assert all(before is None or before <= fence for fence, before in written)
    assert 0 < len(written) < 4 * 200, "nothing was admitted, or nothing refused"

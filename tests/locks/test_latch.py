"""The latch: counting it down, and waiting until it is open."""

from __future__ import annotations

import asyncio
import math
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo import ConfigMismatch, ConnectionLost, WrongType
from octavo.engine.tracking import Tracker
from octavo.locks import watching
from octavo.testing.faults import Crew
from octavo.testing.waiting import wait_until
from tests.calls import Call
from tests.engine.lab import eventually, took
from tests.fix_servers import redis_py
from tests.locks import meeting_workers as workers
from tests.locks.meeting import wait_for_waiters, waiters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Cluster, Standalone
    from tests.fix_faces import Connect, FaceName, LoopThread
    from tests.fix_servers import Server, Servers

FLOWS = pytest.mark.parametrize("face", ["sync", "async"])
LONE = "\ud800"  # half of a surrogate pair, which no encoding has


@pytest.fixture
def other(server: Server, prefix: str) -> Iterator[Octavo[Sync]]:
    """Another client of the same server."""
    with octavo.connect(server.url, prefix=prefix) as client:
        yield client


@pytest.fixture
def direct(servers: Servers, prefix: str) -> Iterator[Octavo[Sync]]:
    """A client beside the proxy."""
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as client:
        yield client


@pytest.fixture
def raw(servers: Servers) -> Iterator[Any]:
    with redis_py(servers.get("embedded").nodes.unix_url) as client:  # type: ignore[union-attr]
        yield client


# Counting.


def test_it_opens_when_all_have_been_counted_and_stays_open(db: Octavo[Sync]) -> None:
    shards = db.latch("x", 3)
    assert shards.count() == 3
    assert [shards.count_down() for _ in range(3)] == [2, 1, 0]
    assert shards.count_down() == 0
    assert shards.count() == 0
    assert shards.wait() is True


def test_an_id_counts_once_whoever_counts_it(db: Octavo[Sync], other: Octavo[Sync]) -> None:
    assert db.latch("x", 3).count_down("a") == 2
    assert other.latch("x", 3).count_down("a") == 2
    assert other.latch("x", 3).count_down("b") == 1
    assert db.latch("x", 3).count_down("a") == 1
    assert db.latch("x", 3).count_down("ä\n ") == 0


def test_another_count_is_refused_while_it_exists(db: Octavo[Sync]) -> None:
    db.latch("x", 2).count_down()
    for _ in ("while it is closed", "when it is open"):
        for call in ("count_down", "count", "wait"):
            with pytest.raises(ConfigMismatch, match="count=2, not with count=3"):
                getattr(db.latch("x", 3), call)()
        db.latch("x", 2).count_down()
    db.latch("x", 3).reset()
    assert db.latch("x", 3).count_down() == 2


def test_latches_of_other_names_and_prefixes_are_others(
    connect: Connect, server: Server, db: Octavo[Sync]
) -> None:
    db.latch("{a}:b", 1).count_down()
    assert db.latch("{a}", 1).count() == 1
    assert connect(server.url, prefix="other").latch("{a}:b", 1).count() == 1


def test_a_reset_latch_is_closed_and_counts_from_the_start(db: Octavo[Sync]) -> None:
    shards = db.latch("x", 2)
    assert shards.reset() is None
    shards.count_down("a")
    shards.reset()
    assert [shards.count_down("a"), shards.count_down("b")] == [1, 0]
    shards.reset()
    assert shards.count() == 2
    assert shards.wait(0) is False
    assert [shards.count_down("a"), shards.count_down("b")] == [1, 0]
    assert shards.wait() is True


def test_counting_has_a_batch_face_and_waiting_has_not(direct: Octavo[Sync]) -> None:
    with direct.batch() as batch:
        shards: Any = batch.latch("x", 3)
        pending = [shards.count_down("a"), shards.count_down(), shards.count(), shards.reset()]
        with pytest.raises(TypeError, match="several steps"):
            shards.wait()
    assert [one.result() for one in pending] == [2, 1, 1, None]


# What is left behind.


def test_its_keys_go_a_day_after_the_last_count(
    direct: Octavo[Sync], raw: Any, prefix: str
) -> None:
    keys = [f"{prefix}:latch:{{x}}:{part}" for part in ("counted", "opened")]
    day = pytest.approx(86_400, abs=5)
    none = -2
    shards = direct.latch("x", 2)
    for left, lives in ((1, [day, none]), (0, [day, day]), (0, [day, day])):
        for key in keys:
            raw.expire(key, 100)
        assert shards.count_down() == left
        assert [raw.ttl(key) for key in keys] == lives
    shards.reset()
    assert [raw.ttl(key) for key in keys] == [none, day]


def test_an_open_latch_does_not_remember_who_was_counted(
    direct: Octavo[Sync], raw: Any, prefix: str
) -> None:
    for number in range(100):
        direct.latch("x", 100).count_down(f"shard {number}")
    assert raw.hgetall(f"{prefix}:latch:{{x}}:counted") == {"": "100"}


@pytest.mark.parametrize("part", ["counted", "opened"])
@pytest.mark.parametrize("call", ["count_down", "count", "wait"])
def test_a_key_of_the_wrong_type_is_named_and_nothing_changes(
    call: str, part: str, direct: Octavo[Sync], raw: Any, prefix: str
) -> None:
    key = f"{prefix}:latch:{{x}}:{part}"
    raw.rpush(key, "a list")
    with pytest.raises(WrongType) as raised:
        getattr(direct.latch("x", 1), call)()
    assert key in str(raised.value)
    assert raised.value.operation == f"latch.{call}"
    assert raw.keys(f"{prefix}:*") == [key]


# Waiting.


@FLOWS
def test_who_waits_goes_on_when_another_client_opens_it(
    db: Octavo[Sync], other: Octavo[Sync]
) -> None:
    waits = Call(db.latch("x", 2).wait)
    wait_for_waiters(db)
    assert other.latch("x", 2).count_down() == 1
    assert db.latch("x", 2).wait(0.1) is False
    assert not waits.over
    with took(0, 4):  # at the latest by a poll, every 5 s
        assert other.latch("x", 2).count_down() == 0
        assert waits.result() is True


@FLOWS
def test_a_wait_of_limited_time_says_whether_it_is_open(
    db: Octavo[Sync], other: Octavo[Sync]
) -> None:
    shards = db.latch("x", 1)
    with took(0.5, 4):
        assert shards.wait(0.3) is False
        assert shards.wait(timedelta(seconds=0.2)) is False
    assert shards.wait(0) is False
    other.latch("x", 1).count_down()
    assert [shards.wait(0), shards.wait(5), shards.wait()] == [True, True, True]


@FLOWS
def test_who_was_too_late_to_see_it_open_goes_on_too(db: Octavo[Sync], other: Octavo[Sync]) -> None:
    for _ in range(3):
        waits = Call(db.latch("x", 1).wait)
        wait_for_waiters(db)
        with other.batch(atomic=True) as batch:  # in one moment
            batch.latch("x", 1).count_down()
            batch.latch("x", 1).reset()
        assert waits.result() is True
        assert db.latch("x", 1).wait(0.05) is False


@FLOWS
def test_a_reset_keeps_waiting_who_waits(db: Octavo[Sync], other: Octavo[Sync]) -> None:
    waits = Call(db.latch("x", 2).wait)
    wait_for_waiters(db)
    other.latch("x", 2).count_down("a")
    other.latch("x", 2).reset()
    other.latch("x", 2).count_down("a")
    assert not waits.over
    other.latch("x", 2).count_down("b")
    assert waits.result() is True


@FLOWS
def test_who_waits_is_told_of_another_count(db: Octavo[Sync], other: Octavo[Sync]) -> None:
    waits = Call(db.latch("x", 2).wait)
    right = Call(db.latch("x", 1).wait)
    wait_for_waiters(db, 2)
    other.latch("x", 1).count_down()
    assert isinstance(waits.error(), ConfigMismatch)
    assert right.result() is True


@FLOWS
def test_waiting_asks_nothing_while_nothing_happens(
    connect: Connect, proxy: WireProxy, direct: Octavo[Sync]
) -> None:
    db = connect(proxy.url)
    waits = [Call(db.latch("x", 1).wait) for _ in range(3)]
    wait_for_waiters(db, 3)

    def quiet() -> bool:
        proxy.reset()
        wait_until(lambda: proxy.commands["ROLE"] >= 2, "two seconds have passed")
        assert proxy.commands.keys() <= {"ROLE", "GET", "HGET", "CLIENT"}
        return proxy.commands["GET"] <= 1  # the look that is due every five seconds

    # At first, until there is a link on which it is told.
    wait_until(quiet, "nothing is asked")
    direct.latch("x", 1).count_down()
    assert [one.result() for one in waits] == [True] * 3


def test_thousands_who_wait_are_told_by_one_read(
    proxy: WireProxy, direct: Octavo[Sync], prefix: str
) -> None:
    async def main() -> None:
        async with octavo.connect_async(proxy.url, prefix=prefix) as db:
            waits = [asyncio.create_task(db.latch("x", 1).wait()) for _ in range(2000)]
            await eventually(lambda: waiters(db) == 2000, "they wait")
            await eventually(lambda: db._common.tracker.links, "the link is up")
            await eventually(lambda: proxy.commands["CLIENT"] >= 2, "it was read on it")
            proxy.reset()
            await asyncio.to_thread(direct.latch("x", 1).count_down)
            assert set(await asyncio.gather(*waits)) == {True}
            assert proxy.commands["GET"] <= 3
            assert waiters(db) == 0
            assert not db._common.tracker._waiting

    asyncio.run(main())


def test_when_who_looks_for_all_is_cancelled_another_does(
    direct: Octavo[Sync], servers: Servers, prefix: str
) -> None:
    async def main() -> None:
        async with octavo.connect_async(servers.get("embedded").url, prefix=prefix) as db:
            waits: list[asyncio.Task[bool]] = []
            for _ in range(3):
                waits.append(asyncio.create_task(db.latch("x", 1).wait()))
                await eventually(lambda: waiters(db) == len(waits), "it waits")
            for wait in waits[:2]:
                wait.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await wait
            await asyncio.to_thread(direct.latch("x", 1).count_down)
            async with asyncio.timeout(4):
                assert await waits[2]
            assert waiters(db) == 0
            assert not db._common.tracker._waiting

    asyncio.run(main())


def test_when_the_time_of_who_looks_for_all_is_over_another_looks(direct: Octavo[Sync]) -> None:
    short = Call(direct.latch("x", 1).wait, 0.3)
    wait_for_waiters(direct)
    long = Call(direct.latch("x", 1).wait)
    assert short.result() is False
    direct.latch("x", 1).count_down()
    assert long.result() is True
    assert waiters(direct) == 0


def test_who_does_not_look_for_all_does_not_tell_them_either(direct: Octavo[Sync]) -> None:
    watches = watching.Watches.of(direct._common)
    first, second, third = (watches.join(b"k") for _ in range(3))
    watches.tell(first, "new")
    watches.tell(second, "old")
    assert [second.told(), third.told()] == ["new", "new"]


@FLOWS
def test_who_comes_looks_for_itself(
    connect: Connect, proxy: WireProxy, direct: Octavo[Sync], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tracker, "changed", lambda *_: None)
    shards = connect(proxy.url).latch("x", 1)
    waits = Call(shards.wait)
    wait_until(lambda: proxy.commands["CLIENT"] >= 2, "it is read on the link")
    direct.latch("x", 1).count_down()
    with took(0, 4):  # who came first does, every 5 s
        assert shards.wait() is True
    assert waits.result() is True


# Faults.


@FLOWS
def test_a_lost_wake_up_costs_time_only(
    db: Octavo[Sync], other: Octavo[Sync], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tracker, "changed", lambda *_: None)
    monkeypatch.setattr(watching, "_LONGEST_WAIT", 0.5)
    waits = [Call(db.latch("x", 1).wait) for _ in range(3)]
    wait_for_waiters(db, 3)
    other.latch("x", 1).count_down()
    assert [one.result() for one in waits] == [True] * 3


@FLOWS
def test_without_a_link_it_asks_again_and_again(
    db: Octavo[Sync], other: Octavo[Sync], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tracker, "link", lambda *_: None)
    waits = [Call(db.latch("x", 1).wait) for _ in range(3)]
    wait_for_waiters(db, 3)
    with took(0, 4):
        other.latch("x", 1).count_down()
        assert [one.result() for one in waits] == [True] * 3


@FLOWS
def test_without_a_link_it_asks_less_and_less_often_but_often_enough(
    connect: Connect, proxy: WireProxy, direct: Octavo[Sync], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tracker, "link", lambda *_: None)
    with took(1, 10):
        waits = Call(connect(proxy.url).latch("x", 1).wait)
        wait_until(lambda: proxy.commands["GET"] >= 15, "it has asked 15 times")
    direct.latch("x", 1).count_down()
    assert waits.result() is True


@FLOWS
def test_connections_that_are_cut_end_no_wait(
    connect: Connect, proxy: WireProxy, direct: Octavo[Sync]
) -> None:
    db = connect(proxy.url)
    waits = [Call(db.latch("x", 1).wait) for _ in range(3)]
    wait_for_waiters(db, 3)
    for _ in range(3):
        proxy.reset()
        proxy.cut()
        wait_until(lambda: proxy.commands["CLIENT"] >= 2, "it is read on a new link")
    assert not any(one.over for one in waits)
    direct.latch("x", 1).count_down()
    assert [one.result() for one in waits] == [True] * 3


@FLOWS
def test_who_waits_goes_on_though_the_server_was_away(
    connect: Connect, standalone: Standalone
) -> None:
    db = connect(standalone.url)
    db.latch("x", 2).count_down("a")
    waits = Call(db.latch("x", 2).wait)
    wait_for_waiters(db)
    standalone.kill()
    standalone.start()
    db.latch("x", 2).count_down("a")
    db.latch("x", 2).count_down("b")
    assert waits.result() is True


@FLOWS
def test_who_waits_goes_on_after_a_failover(connect: Connect, cluster: Cluster) -> None:
    db = connect(cluster.url)
    waits = Call(db.latch("x", 1).wait)
    wait_for_waiters(db)
    cluster.failover(cluster.node_of(f"{db._prefix}:latch:{{x}}:opened"))
    assert not waits.over
    db.latch("x", 1).count_down()
    with took(0, 4):
        assert waits.result() is True


@FLOWS
def test_all_who_wait_are_told_that_the_server_is_gone(
    connect: Connect, standalone: Standalone
) -> None:
    db = connect(standalone.url, timeout=1)
    waits = [Call(db.latch("x", 1).wait) for _ in range(8)]
    wait_for_waiters(db, 8)
    standalone.kill()
    with took(0, 6):  # and not one after the other
        assert all(isinstance(one.error(), ConnectionLost) for one in waits)


def test_a_count_whose_reply_is_lost_counts_once(
    connect: Connect, proxy: WireProxy, direct: Octavo[Sync]
) -> None:
    shards = connect(proxy.url).latch("x", 3)
    shards.count()
    for left in (2, 1, 0, 0):
        proxy.reset()
        proxy.drop_replies(1)
        assert shards.count_down() == left
        assert proxy.commands["EVAL"] + proxy.commands["EVALSHA"] == 2, "nothing was sent again"
        assert direct.latch("x", 3).count() == left


def test_a_reset_whose_reply_is_lost_happens_once(
    connect: Connect, proxy: WireProxy, direct: Octavo[Sync]
) -> None:
    shards = connect(proxy.url).latch("x", 3)
    shards.count_down()
    first = True

    def decide(words: list[bytes]) -> Any:
        nonlocal first
        if not words[0].startswith(b"EVAL"):
            return "forward"
        if first:
            first = False
            return "drop"
        direct.latch("x", 3).count_down()  # before it is sent again
        return "forward"

    proxy.script(decide)
    shards.reset()
    assert direct.latch("x", 3).count() == 2


@pytest.mark.parametrize("call", ["count_down", "count", "reset", "wait"])
def test_an_operation_is_one_round_trip(call: str, connect: Connect, proxy: WireProxy) -> None:
    shards = connect(proxy.url).latch("x", 1)
    shards.count_down()
    wait_until(lambda: (shards.wait(), proxy.commands["CLIENT"] > 1)[1], "it is read on the link")
    for scripts_known in (False, True):
        if call == "wait" or not scripts_known:
            shards.count_down()
        proxy.reset()
        getattr(shards, call)()
        # The link asks for a sign of life now and then, which is none of its business.
        assert proxy.round_trips <= 1 + proxy.commands["ROLE"]
        assert sum(proxy.commands[name] for name in ("EVAL", "EVALSHA", "GET")) == 1


# Bad input.

NO_WHOLE: list[Any] = [True, 1.0, "1", None, b"1", [1]]


@pytest.mark.parametrize("count", [*NO_WHOLE, 0, -1, 2**53 + 1], ids=repr)
def test_a_bad_count_is_refused_by_name(count: Any, connect: Connect, proxy: WireProxy) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^count must be "):
        connect(proxy.url).latch("x", count)


@pytest.mark.parametrize("id", ["", LONE, 5, b"x", ["x"], True], ids=ascii)
def test_a_bad_id_is_refused_by_name_before_anything_is_sent(
    id: Any,  # noqa: A002
    connect: Connect,
    proxy: WireProxy,
) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^id "):
        connect(proxy.url).latch("x", 1).count_down(id)
    assert proxy.accepted == 0


@FLOWS
@pytest.mark.parametrize(
    "timeout", [-1, -0.001, math.nan, math.inf, True, "1", timedelta(-1)], ids=repr
)
def test_a_bad_timeout_is_refused_by_name_before_anything_is_sent(
    timeout: Any, connect: Connect, proxy: WireProxy
) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^timeout must be "):
        connect(proxy.url).latch("x", 1).wait(timeout)
    assert proxy.accepted == 0


# A process that forks.


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_waits_by_itself(direct: Octavo[Sync]) -> None:
    waits = Call(direct.latch("x", 1).wait)
    wait_for_waiters(direct)
    theirs, ours = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            child_waits = Call(direct.latch("x", 1).wait)
            wait_for_waiters(direct)
            os.write(ours, b"waits")
            os._exit(0 if child_waits.result() else 1)
        finally:
            os._exit(2)
    assert os.read(theirs, 5) == b"waits"
    direct.latch("x", 1).count_down()
    with took(0, 4):
        assert os.waitpid(pid, 0)[1] == 0
    assert waits.result() is True
    os.close(theirs)
    os.close(ours)


# Several processes.


@pytest.fixture(params=["embedded", "redis-7", "cluster"])
def arena(request: pytest.FixtureRequest, servers: Servers, prefix: str) -> tuple[str, str]:
    return servers.get(request.param).url, prefix


@pytest.mark.slow
def test_of_many_processes_exactly_one_opens_it(arena: tuple[str, str]) -> None:
    with Crew() as crew:
        for _ in range(4):
            crew.spawn(workers.count_down, *arena, 400)
        crew.meet()
        counts = [count for counts in crew.results() for count in counts]
    assert sorted(counts) == list(range(400))


@pytest.mark.slow
@FLOWS
def test_who_waits_goes_on_though_others_who_wait_are_killed(
    face: FaceName, arena: tuple[str, str], loop_thread: LoopThread
) -> None:
    url, prefix = arena
    with Crew() as crew, octavo.connect(url, prefix=prefix) as db:
        waits = [crew.spawn(workers.wait_for_latch, url, prefix, face) for _ in range(4)]
        crew.meet()
        for worker in waits:
            assert worker.heard() == "waits"
        for worker in waits[:2]:
            worker.kill()
        db.latch("x", 1).count_down()
        assert crew.results() == [True, True]

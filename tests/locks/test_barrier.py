"""The barrier: all go on together, or it breaks for all."""

from __future__ import annotations

import asyncio
import math
import signal
import threading
import time
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import BrokenBarrier, ConfigMismatch, ConnectionLost, WrongType
from octavo.locks import barrier as module
from octavo.locks.barrier import Arrival
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
    from octavo.testing.servers import Standalone
    from tests.fix_faces import Connect, FaceName
    from tests.fix_servers import Server, Servers

FLOWS = pytest.mark.parametrize("face", ["sync", "async"])
TTL = 1.5
"""Seconds after which a party is dead, where a test waits for that."""


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


@pytest.fixture
def short_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parties that are not heard of are soon dead."""
    monkeypatch.setattr(module, "_TTL", TTL)


def arrive(client: Any, parties: int, count: int = 1, timeout: float | None = None) -> list[Any]:
    """Have some arrive, one after another, who then wait; return their calls."""
    before = client.barrier("x", parties).n_waiting()
    calls: list[Any] = []
    while len(calls) < count:
        calls.append(Call(client.barrier("x", parties).wait, timeout))
        wait_until(
            lambda: client.barrier("x", parties).n_waiting() == before + len(calls), "it waits"
        )
    return calls


# Arriving.


@FLOWS
def test_all_go_on_when_the_last_one_arrives(db: Octavo[Sync], other: Octavo[Sync]) -> None:
    for generation in range(3):
        calls = arrive(db, 4) + arrive(other, 4) + arrive(db, 4)
        assert not any(call.over for call in calls)
        with took(0, 4):  # at the latest by a poll, every 5 s
            assert other.barrier("x", 4).wait() == Arrival(3, generation)
            assert [call.result() for call in calls] == [Arrival(i, generation) for i in range(3)]
        assert db.barrier("x", 4).n_waiting() == 0


@FLOWS
def test_a_party_of_one_waits_for_nobody(db: Octavo[Sync]) -> None:
    alone = db.barrier("x", 1)
    assert [alone.wait(), alone.wait(0), alone.wait(timedelta(1))] == [
        Arrival(0, generation) for generation in range(3)
    ]


@FLOWS
def test_barriers_of_other_names_are_others(db: Octavo[Sync]) -> None:
    (waits,) = arrive(db, 2)
    assert db.barrier("y", 2).n_waiting() == 0
    assert db.barrier("y", 1).wait() == Arrival(0, 0)
    assert not waits.over
    db.barrier("x", 2).wait()
    assert waits.result() == Arrival(0, 0)


@FLOWS
def test_another_number_of_parties_is_refused_until_a_reset(db: Octavo[Sync]) -> None:
    (waits,) = arrive(db, 2)
    for call in ("wait", "abort"):
        with pytest.raises(ConfigMismatch, match="parties=2, not with parties=3"):
            getattr(db.barrier("x", 3), call)()
    assert db.barrier("x", 3).n_waiting() == 1
    assert not waits.over
    db.barrier("x", 2).wait()
    waits.result()
    db.barrier("x", 3).reset()
    db.barrier("x", 1).wait()


def test_waiting_has_no_batch_face_and_all_else_has(direct: Octavo[Sync]) -> None:
    with direct.batch() as batch:
        one: Any = batch.barrier("x", 3)
        pending = [one.n_waiting(), one.abort(), one.broken(), one.reset(), one.broken()]
        with pytest.raises(TypeError, match="several steps"):
            one.wait()
    assert [each.result() for each in pending] == [0, None, True, None, False]


# Breaking.


@FLOWS
def test_it_breaks_for_all_when_the_time_of_one_is_over(
    db: Octavo[Sync], other: Octavo[Sync]
) -> None:
    calls = arrive(db, 4) + arrive(other, 4)
    with took(0.3, 4):
        with pytest.raises(BrokenBarrier) as raised:
            db.barrier("x", 4).wait(0.3)
        assert all(isinstance(call.error(), BrokenBarrier) for call in calls)
    assert raised.value.operation == "barrier.wait"


@FLOWS
def test_who_has_no_time_to_wait_goes_on_only_as_the_last_one(db: Octavo[Sync]) -> None:
    arrive(db, 2)
    assert db.barrier("x", 2).wait(0).index == 1
    with pytest.raises(BrokenBarrier):
        db.barrier("x", 2).wait(0)


@FLOWS
def test_a_broken_barrier_stays_so_until_a_reset(db: Octavo[Sync], other: Octavo[Sync]) -> None:
    with pytest.raises(BrokenBarrier):
        db.barrier("x", 2).wait(0.01)
    for client in (db, other):
        assert client.barrier("x", 2).broken() is True
        with pytest.raises(BrokenBarrier, match="the barrier is broken"):
            client.barrier("x", 2).wait()
        assert client.barrier("x", 2).n_waiting() == 0
    assert db.barrier("x", 2).reset() is None
    assert other.barrier("x", 2).broken() is False
    (waits,) = arrive(db, 2)
    assert other.barrier("x", 2).wait() == Arrival(1, 1)
    assert waits.result() == Arrival(0, 1)


@FLOWS
def test_abort_breaks_it_for_who_waits_and_who_comes(db: Octavo[Sync], other: Octavo[Sync]) -> None:
    calls = arrive(db, 4, 2)
    assert other.barrier("x", 4).abort() is None
    assert all(isinstance(call.error(), BrokenBarrier) for call in calls)
    with pytest.raises(BrokenBarrier):
        db.barrier("x", 4).wait()
    other.barrier("x", 4).abort()
    other.barrier("x", 4).reset()
    assert db.barrier("x", 4).broken() is False
    calls = arrive(db, 4, 3)
    assert db.barrier("x", 4).wait() == Arrival(3, 1)


def test_a_barrier_can_be_broken_before_anybody_has_come(db: Octavo[Sync]) -> None:
    assert db.barrier("x", 4).broken() is False
    db.barrier("x", 4).abort()
    assert db.barrier("x", 4).broken() is True
    db.barrier("x", 4).reset()
    assert db.barrier("x", 4).broken() is False


@FLOWS
def test_a_reset_breaks_it_once_for_who_waits(db: Octavo[Sync], other: Octavo[Sync]) -> None:
    calls = arrive(db, 3, 2)
    other.barrier("x", 3).reset()
    assert all(isinstance(call.error(), BrokenBarrier) for call in calls)
    assert db.barrier("x", 3).broken() is False
    calls = arrive(db, 3, 2)
    assert other.barrier("x", 3).wait().index == 2
    assert [call.result().index for call in calls] == [0, 1]


def test_a_reset_of_one_that_nobody_waits_at_changes_nothing(
    direct: Octavo[Sync], raw: Any, prefix: str
) -> None:
    direct.barrier("x", 1).reset()
    assert not raw.keys(f"{prefix}:barrier:{{x}}:state")
    for generation in range(3):
        assert direct.barrier("x", 1).wait().generation == generation
        direct.barrier("x", 1).reset()


def test_it_breaks_for_all_when_one_is_cancelled(
    direct: Octavo[Sync], servers: Servers, prefix: str
) -> None:
    async def main() -> None:
        async with octavo.connect_async(servers.get("embedded").url, prefix=prefix) as db:
            waits = [asyncio.create_task(db.barrier("x", 5).wait()) for _ in range(3)]
            await eventually(lambda: waiters(db) == 3, "they wait")
            waits[0].cancel()
            for wait in waits:
                with pytest.raises((asyncio.CancelledError, BrokenBarrier)):
                    await wait
            assert waits[0].cancelled()
            assert waiters(db) == 0
            assert not db._common.tracker._waiting

    calls = arrive(direct, 5)
    asyncio.run(main())
    assert isinstance(calls[0].error(), BrokenBarrier)
    assert direct.barrier("x", 5).broken()


def test_it_breaks_for_all_when_a_thread_is_interrupted(direct: Octavo[Sync]) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def strike() -> None:
        wait_for_waiters(direct, 2)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    calls = arrive(direct, 5)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        strikes = Call(strike)
        with pytest.raises(KeyboardInterrupt):
            direct.barrier("x", 5).wait()
        strikes.result()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert isinstance(calls[0].error(), BrokenBarrier)
    assert waiters(direct) == 0


def test_one_who_is_cancelled_while_it_arrives_is_not_waited_for_in_vain(
    direct: Octavo[Sync], proxy: WireProxy, prefix: str
) -> None:
    async def main() -> None:
        async with octavo.connect_async(proxy.url, prefix=prefix) as db:
            proxy.delay(reply=0.2)
            wait = asyncio.create_task(db.barrier("x", 3).wait())
            await asyncio.to_thread(
                wait_until, lambda: direct.barrier("x", 3).n_waiting() == 2, "it has arrived"
            )
            wait.cancel()
            with pytest.raises(asyncio.CancelledError):
                await wait

    calls = arrive(direct, 3)
    asyncio.run(main())
    assert isinstance(calls[0].error(), BrokenBarrier)


@FLOWS
def test_who_is_late_to_look_learns_how_its_own_generation_ended(
    connect: Connect, proxy: WireProxy, direct: Octavo[Sync]
) -> None:
    db = connect(proxy.url)
    for breaks in (False, True):
        direct.barrier("x", 2).reset()
        direct.barrier("x", 1).wait()
        direct.barrier("x", 2).reset()
        (late,) = arrive(db, 2)
        wait_for_waiters(db)
        proxy.hold()
        if breaks:
            direct.barrier("x", 2).abort()
            direct.barrier("x", 2).reset()
        else:
            direct.barrier("x", 2).wait()
        for _ in range(3):  # generations that end otherwise
            if breaks:
                (one,) = arrive(direct, 2)
                direct.barrier("x", 2).wait()
                one.result()
            else:
                direct.barrier("x", 2).abort()
                direct.barrier("x", 2).reset()
        proxy.release()
        assert isinstance(late.error(), BrokenBarrier) is breaks


def test_of_a_generation_too_long_ago_nobody_says_that_all_had_arrived() -> None:
    assert module._end(b"2 105 " + b"t" * 100, 5) == b"t"
    assert module._end(b"2 105 " + b"t" * 100, 4) == b"?"
    assert module._end(b"2 7 tbr", 4) == b"t"
    assert module._end(b"2 7 tbr", 5) == b"b"
    assert [module._end(state, 7) for state in (None, b"", b"2 7 tbr", b"2 6 t")] == [None] * 4


# Parties that die.


@FLOWS
@pytest.mark.usefixtures("short_lives")
def test_who_waits_for_long_is_not_dead(
    connect: Connect, direct: Octavo[Sync], servers: Servers
) -> None:
    calls = arrive(connect(servers.get("embedded").url), 3) + arrive(direct, 3)
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 1.5 * TTL, "their first leases have run out")
    assert direct.barrier("x", 3).n_waiting() == 2
    assert direct.barrier("x", 3).wait() == Arrival(2, 0)
    assert [call.result().index for call in calls] == [0, 1]


def worker_waits(crew: Crew, client: Octavo[Sync], url: str, parties: int, face: str) -> Any:
    """Start a process that waits at the barrier."""
    before = client.barrier("x", parties).n_waiting()
    prefix: str = client._prefix
    worker = crew.spawn(workers.wait_at_barrier, url, prefix, parties, face, TTL)
    assert worker.heard() == "waits"
    assert client.barrier("x", parties).n_waiting() == before + 1
    return worker


@FLOWS
@pytest.mark.slow
@pytest.mark.usefixtures("short_lives")
def test_it_breaks_for_all_when_one_is_killed(
    face: FaceName, servers: Servers, direct: Octavo[Sync]
) -> None:
    url = servers.get("embedded").url
    with Crew() as crew:
        calls = arrive(direct, 4)
        survives, dies = (worker_waits(crew, direct, url, 4, face) for _ in range(2))
        dies.kill()
        with took(0, TTL + TTL / 3 + 3):
            assert isinstance(calls[0].error(), BrokenBarrier)
            assert survives.result() == "broken"
        assert direct.barrier("x", 4).broken()


@pytest.mark.slow
@pytest.mark.usefixtures("short_lives")
def test_a_party_that_died_is_not_counted_when_the_last_one_comes(
    servers: Servers, direct: Octavo[Sync]
) -> None:
    with Crew() as crew:
        dies = worker_waits(crew, direct, servers.get("embedded").url, 2, "sync")
        dies.kill()
        wait_until(lambda: direct.barrier("x", 2).n_waiting() == 0, "its lease has run out")
        # Nobody is left who could be told: it begins anew.
        (waits,) = arrive(direct, 2)
        assert not waits.over
        assert not direct.barrier("x", 2).broken()
        assert direct.barrier("x", 2).wait() == Arrival(1, 1)
        assert waits.result() == Arrival(0, 1)


@FLOWS
@pytest.mark.slow
@pytest.mark.usefixtures("short_lives")
def test_a_party_that_was_stopped_for_too_long_learns_that_it_broke(
    face: FaceName, servers: Servers, direct: Octavo[Sync]
) -> None:
    with Crew() as crew:
        stopped = worker_waits(crew, direct, servers.get("embedded").url, 3, face)
        stopped.pause()
        calls = arrive(direct, 3)
        assert isinstance(calls[0].error(), BrokenBarrier)
        direct.barrier("x", 3).reset()
        calls = arrive(direct, 3, 2)
        direct.barrier("x", 3).wait()
        stopped.resume()
        assert stopped.result() == "broken"
        assert [call.result().index for call in calls] == [0, 1]


# Faults of servers and networks.


@FLOWS
@pytest.mark.usefixtures("short_lives")
def test_who_waits_at_a_barrier_that_the_server_has_lost_is_told(
    connect: Connect, standalone: Standalone
) -> None:
    db = connect(standalone.url)
    for lose in ("FLUSHALL", "FLUSHALL and one arrives", "DEL"):
        calls = arrive(db, 4, 2)
        if lose == "DEL":
            standalone.cli("DEL", f"{db._prefix}:barrier:{{x}}:leases")
        else:
            standalone.cli("FLUSHALL")
        if lose == "FLUSHALL and one arrives":
            calls += arrive(db, 4)
        assert all(isinstance(call.error(), BrokenBarrier) for call in calls)
        db.barrier("x", 4).reset()


@FLOWS
def test_connections_that_are_cut_break_no_barrier(
    connect: Connect, proxy: WireProxy, direct: Octavo[Sync]
) -> None:
    db = connect(proxy.url)
    calls = arrive(db, 4, 3)
    wait_for_waiters(db, 3)
    for _ in range(3):
        proxy.reset()
        proxy.cut()
        wait_until(lambda: proxy.commands["CLIENT"] >= 2, "it is read on a new link")
    assert direct.barrier("x", 4).wait().index == 3
    assert [call.result().index for call in calls] == [0, 1, 2]


@FLOWS
def test_who_waits_is_told_that_the_server_is_gone(
    connect: Connect, standalone: Standalone
) -> None:
    db = connect(standalone.url, timeout=1)
    calls = arrive(db, 4, 3)
    standalone.kill()
    assert all(isinstance(call.error(), ConnectionLost) for call in calls)


@FLOWS
def test_an_arrival_whose_reply_is_lost_counts_once(
    connect: Connect, proxy: WireProxy, direct: Octavo[Sync]
) -> None:
    db = connect(proxy.url)
    for index in range(3):
        first = arrive(direct, 3, index)
        proxy.script(lose_the_reply_to_a_script())
        waits = Call(db.barrier("x", 3).wait)
        if index < 2:
            wait_until(lambda: direct.barrier("x", 3).n_waiting() == index + 1, "it has arrived")  # noqa: B023
            wait_for_waiters(db)
            assert direct.barrier("x", 3).n_waiting() == index + 1
            last = [*arrive(direct, 3, 1 - index), Call(direct.barrier("x", 3).wait)]
        else:
            last = []
        assert waits.result() == Arrival(index, index)
        assert sorted(call.result().index for call in first + last) == sorted({0, 1, 2} - {index})
        assert direct.barrier("x", 3).n_waiting() == 0


def lose_the_reply_to_a_script() -> Any:
    """Have the next script run and its reply dropped."""
    lost: list[bytes] = []

    def decide(words: list[bytes]) -> Any:
        if lost or not words[0].startswith(b"EVAL"):
            return "forward"
        lost.append(words[0])
        return "drop"

    return decide


@FLOWS
@pytest.mark.parametrize("call", ["wait", "abort", "reset"])
def test_what_breaks_it_does_so_once_though_the_reply_is_lost(
    call: str, connect: Connect, proxy: WireProxy, direct: Octavo[Sync]
) -> None:
    one = connect(proxy.url).barrier("x", 2)
    runs = 0

    def decide(words: list[bytes]) -> Any:
        nonlocal runs
        if not words[0].startswith(b"EVAL"):
            return "forward"
        runs += 1
        if runs == 1 + (call == "wait"):
            return "drop"
        if runs == 2 + (call == "wait"):  # before it is sent again
            direct.barrier("x", 2).reset()
        return "forward"

    proxy.script(decide)
    if call == "wait":
        with pytest.raises(BrokenBarrier):
            one.wait(0)
    else:
        getattr(one, call)()
    assert runs == 2 + (call == "wait")
    assert direct.barrier("x", 2).broken() is False


# What is left behind, and what is sent.


def test_its_keys_go_a_day_after_their_last_use(
    direct: Octavo[Sync], raw: Any, prefix: str
) -> None:
    state, leases = (f"{prefix}:barrier:{{x}}:{part}" for part in ("state", "leases"))
    day = pytest.approx(86_400, abs=5)
    (waits,) = arrive(direct, 3)
    assert [raw.ttl(state), raw.ttl(leases)] == [day, day]
    raw.expire(state, 40_000)
    raw.expire(leases, 40_000)
    (another,) = arrive(direct, 3)
    assert [raw.ttl(state), raw.ttl(leases)] == [day, day]
    direct.barrier("x", 3).wait()
    assert [raw.ttl(state), raw.ttl(leases)] == [day, -2]
    assert [waits.result().index, another.result().index] == [0, 1]


@pytest.mark.parametrize("part", ["state", "leases"])
@pytest.mark.parametrize("call", ["wait", "abort", "reset", "n_waiting", "broken"])
def test_a_key_of_the_wrong_type_is_named_and_nothing_changes(
    call: str, part: str, direct: Octavo[Sync], raw: Any, prefix: str
) -> None:
    looks_at = {"n_waiting": "leases", "broken": "state"}
    key = f"{prefix}:barrier:{{x}}:{part}"
    raw.rpush(key, "a list")
    if looks_at.get(call, part) == part and (call, part) != ("abort", "leases"):
        with pytest.raises(WrongType) as raised:
            getattr(direct.barrier("x", 1), call)()
        assert key in str(raised.value)
        assert raised.value.operation == f"barrier.{call}"
        assert [key for key in raw.keys(f"{prefix}:*") if ":once:" not in key] == [key]
    else:
        getattr(direct.barrier("x", 1), call)()


@pytest.mark.parametrize("call", ["wait", "abort", "reset", "n_waiting", "broken"])
def test_an_operation_is_one_round_trip(call: str, connect: Connect, proxy: WireProxy) -> None:
    one = connect(proxy.url).barrier("x", 1)
    one.wait()
    for _ in ("the script's first use", "later"):
        proxy.reset()
        getattr(one, call)()
        assert proxy.round_trips == 1
        one.reset()


@FLOWS
def test_waiting_is_an_arrival_and_a_look_and_another_at_the_end(
    connect: Connect, proxy: WireProxy, direct: Octavo[Sync]
) -> None:
    db = connect(proxy.url)
    (first,) = arrive(db, 2)
    wait_until(lambda: proxy.commands["CLIENT"] >= 2, "it is read on the link")
    direct.barrier("x", 2).wait()
    first.result()
    proxy.reset()
    waits = Call(db.barrier("x", 2).wait)
    wait_for_waiters(db)
    direct.barrier("x", 2).wait()
    waits.result()
    scripts = proxy.commands["EVALSHA"] + proxy.commands["EVAL"]
    assert (scripts, proxy.commands["GET"]) == (1, 2)


# Bad input.

NO_WHOLE: list[Any] = [True, 1.0, "1", None, b"1", [1]]


@pytest.mark.parametrize("parties", [*NO_WHOLE, 0, -1, 2**31 + 1], ids=repr)
def test_a_bad_number_of_parties_is_refused_by_name(
    parties: Any, connect: Connect, proxy: WireProxy
) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^parties must be "):
        connect(proxy.url).barrier("x", parties)


@FLOWS
@pytest.mark.parametrize(
    "timeout", [-1, -0.001, math.nan, math.inf, True, "1", timedelta(-1)], ids=repr
)
def test_a_bad_timeout_is_refused_by_name_before_anything_is_sent(
    timeout: Any, connect: Connect, proxy: WireProxy
) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^timeout must be "):
        connect(proxy.url).barrier("x", 2).wait(timeout)
    assert proxy.accepted == 0


# Several processes.


@pytest.mark.slow
@FLOWS
@pytest.mark.parametrize("kind", ["embedded", "redis-7", "cluster"])
def test_nobody_goes_on_before_all_have_arrived(
    face: FaceName, kind: Any, servers: Servers, prefix: str
) -> None:
    parties, generations = 4, 60
    with Crew() as crew:
        for _ in range(parties):
            crew.spawn(
                workers.meet_again, servers.get(kind).url, prefix, parties, face, generations
            )
        crew.meet()
        passages = sorted(one for worker in crew.results() for one in worker)
    seen = 0
    for generation, together in groupby(passages, key=lambda passage: passage[0]):
        every = list(together)
        assert generation == seen
        assert [index for _, index, _, _ in every] == list(range(parties))
        assert max(came for _, _, came, _ in every) <= min(went for _, _, _, went in every)
        seen += 1
    assert seen == generations

"""Who waits as long as told passes; who acquires waits, and may give up its turn."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import RateLimited
from octavo.ratelimit import Concurrency, Decision, Limit, Quota
from octavo.testing import faults
from tests.calls import Call
from tests.engine.lab import eventually
from tests.ratelimit.cases import ALGORITHMS, THROTTLES, left, stored

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from octavo import Octavo, Sync
    from octavo.ratelimit import Rule
    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Standalone
    from tests.fix_faces import Connect
    from tests.fix_servers import Server

FLOWS = pytest.mark.parametrize("face", ["sync", "async"])
EMBEDDED = pytest.mark.parametrize("server", ["embedded"], indirect=True)

SHORT: dict[str, Rule] = {
    **{algorithm: Limit("3/60 ms", algorithm=algorithm) for algorithm in ALGORITHMS},
    "a slow drip": Limit("7/90 ms", burst=2),
    "a fraction of a millisecond": Limit("7000/3 s", burst=3),
    "concurrency": Concurrency(3, lease=0.06),
}


def micros(seconds: float | None) -> int:
    assert seconds is not None
    return round(seconds * 1e6)


def due(booked: Decision) -> int:
    """Return the microsecond at which it is time, by the server's clock."""
    return micros(booked.at) + micros(booked.delay)


def passes_as_told(limiter: Any) -> Iterator[None]:
    """Ask until a call that was denied passes, and compare when that is with what was told."""
    told = None
    while True:
        found = limiter.hit("ada", 2)
        if not found:
            again = micros(found.at) + micros(found.retry_after)
            assert told in {None, again}, "it tells another time"
            assert micros(found.at) < again, "it does not pass in time"
            told = again
        elif told is not None:
            assert micros(found.at) >= told, "it passes too soon"
            return
        yield


def test_whoever_waits_as_long_as_told_passes_and_nobody_sooner(db: Octavo[Sync]) -> None:
    waiting = {kind: passes_as_told(db.limiter(kind, rule)) for kind, rule in SHORT.items()}
    deadline = time.monotonic() + 20
    while waiting and time.monotonic() < deadline:
        waiting = {kind: asks for kind, asks in waiting.items() if next(asks, 0) is None}
    assert not waiting


def test_a_quota_passes_again_when_its_period_is_over(clocked: Standalone, prefix: str) -> None:
    with octavo.connect(clocked.unix_url, prefix=prefix) as db:
        for zone in ("UTC", "Asia/Kathmandu"):
            limiter = db.limiter(zone, Quota("3/hour", tz=zone))
            end = 3600 * (time.time() // 3600 + 24) + (900 if "/" in zone else 0)
            faults.move_clock(clocked, by=end - time.time() - 0.2).strike()
            for _ in passes_as_told(limiter):
                assert time.time() < end
            found = limiter.peek("ada")
            assert (found.remaining, found.at // 900) == (1, end // 900)


# Acquiring.


@FLOWS
def test_acquiring_returns_when_it_is_time(db: Octavo[Sync]) -> None:
    for algorithm in ALGORITHMS:
        limiter = db.limiter(algorithm, Limit("2/50 ms", algorithm=algorithm))
        dues = list[int]()
        for _ in range(3):
            found = limiter.acquire("ada", wait=10)
            assert micros(limiter.peek("ada").at) >= due(found), algorithm
            dues.append(due(found))
        assert dues == sorted(dues), algorithm
        assert dues[-1] - dues[0] >= 25_000, algorithm


@FLOWS
@EMBEDDED
def test_what_is_not_to_be_had_in_time_is_refused_at_once_and_not_charged(
    db: Octavo[Sync],
) -> None:
    for kind, rule in THROTTLES.items():
        limiter = db.limiter(kind, Limit("10/day"), rule)
        limiter.hit("ada", 3)
        for wait, cost in ((0, 1), (50, 1), (None, 4), (None, {"rule": 4})):
            with pytest.raises(RateLimited, match="'ada' is over its limit: rule") as raised:
                limiter.acquire("ada", cost, wait=wait)
            decision = raised.value.decision
            assert (decision.allowed, decision.violated) == (False, ("rule",)), kind
            never = cost != 1
            assert (decision.retry_after is None) == never, kind
        assert left(limiter) == [7, 0], kind


@FLOWS
@EMBEDDED
def test_what_is_free_is_acquired_at_once(db: Octavo[Sync]) -> None:
    limiter = db.limiter("api", Limit("100/minute"), Limit("10/hour", algorithm="log"))
    for wait in (None, 0, 5):
        found = limiter.acquire("ada", {"per-hour": 2}, wait=wait)
        assert (found.allowed, found.delay, found.cost) == (True, 0.0, 2)
    assert limiter.refund(found) is True
    assert left(limiter)[1] == 6


# Places.


@FLOWS
def test_a_place_is_waited_for_until_one_is_released(
    connect: Connect, server: Server, prefix: str
) -> None:
    places = Concurrency(2, lease=60)
    limiter = connect(server.url).limiter("jobs", places, Limit("9/hour"))
    with octavo.connect(server.url, prefix=prefix) as other:
        holds = other.limiter("jobs", places).hit("ada", 2)
        waits = Call(limiter.acquire, "ada", wait=20)
        done = Call(limiter.acquire, "ada")
        for _ in range(20):
            assert not limiter.hit("ada")
        assert not waits.over
        assert other.limiter("jobs", places).release(holds)
    granted = [waits.result(), done.result()]
    assert all(granted)
    assert left(limiter) == [0, 7]
    assert [limiter.release(each) for each in granted] == [True, True]


@FLOWS
@EMBEDDED
def test_a_place_whose_lease_ends_is_had_then(db: Octavo[Sync]) -> None:
    limiter = db.limiter("jobs", Concurrency(1, lease=0.3))
    first = limiter.hit("ada")
    second = limiter.acquire("ada", wait=20)
    assert second.at >= first.at + 0.3
    assert limiter.release(first) is False
    assert limiter.release(second) is True


@FLOWS
@EMBEDDED
def test_a_place_that_is_not_free_in_time_is_refused(db: Octavo[Sync]) -> None:
    limiter = db.limiter("jobs", Concurrency(2, lease=60), Limit("9/hour"))
    limiter.hit("ada", {"concurrency": 2})
    for wait, cost in ((0, 1), (0.05, 1), (None, {"concurrency": 3})):
        with pytest.raises(RateLimited, match="concurrency"):
            limiter.acquire("ada", cost, wait=wait)
    assert left(limiter) == [0, 8]


# Giving up.


@EMBEDDED
@pytest.mark.parametrize("kind", THROTTLES)
def test_whoever_is_cancelled_while_it_waits_gives_its_turn_back(
    kind: str, server: Server, prefix: str
) -> None:
    async def cancel() -> None:
        async with octavo.connect_async(server.url, prefix=prefix) as db:
            limiter = db.limiter("api", THROTTLES[kind])
            await limiter.hit("ada", 2)
            turn = await limiter.peek("ada", 3)
            before = stored(server, prefix)
            waits = asyncio.create_task(limiter.acquire("ada", 3))
            await eventually(lambda: stored(server, prefix) != before, "it is booked")
            waits.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits
            again = await limiter.reserve("ada", 3)
            assert due(again) == micros(turn.at) + micros(turn.retry_after)

    asyncio.run(cancel())


@EMBEDDED
@pytest.mark.timeout(60, method="thread")  # the other method needs the signal
def test_whoever_is_interrupted_while_it_waits_gives_its_turn_back(
    server: Server, prefix: str
) -> None:
    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    with octavo.connect(server.url, prefix=prefix) as db:
        limiter = db.limiter("api", Limit("3/hour"))
        limiter.hit("ada", 2)
        turn = limiter.peek("ada", 3)
        before = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        try:
            with pytest.raises(KeyboardInterrupt):
                limiter.acquire("ada", 3)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert due(limiter.reserve("ada", 3)) == micros(turn.at) + micros(turn.retry_after)


@EMBEDDED
def test_whoever_is_cancelled_before_it_hears_of_its_place_holds_none(
    server: Server, proxy: WireProxy, prefix: str
) -> None:
    places = Concurrency(1, lease=600)

    def taken() -> bool:
        return any(":leases:" in key for key in stored(server, prefix))

    async def work(limiter: Any) -> None:
        async with limiter.limit("ada"):
            raise AssertionError("it has not heard of it")

    async def cancel() -> None:
        async with octavo.connect_async(proxy.url, prefix=prefix) as db:
            limiter = db.limiter("jobs", places)
            await limiter.peek("ada")
            proxy.delay(reply=0.5)
            works = asyncio.create_task(work(limiter))
            await eventually(taken, "the place is taken")
            works.cancel()
            with pytest.raises(asyncio.CancelledError):
                await works
            proxy.calm()
            await eventually(lambda: not taken(), "it is given back")

    asyncio.run(cancel())


@EMBEDDED
def test_places_that_there_never_are_are_refused_at_once(server: Server, prefix: str) -> None:
    async def wait() -> None:
        async with octavo.connect_async(server.url, prefix=prefix) as db:
            limiter = db.limiter("jobs", Concurrency(2, lease=60))
            held = await limiter.acquire("ada", 2)
            others = [asyncio.create_task(limiter.acquire("ada")) for _ in range(3)]
            with pytest.raises(RateLimited, match="never passes"):
                await limiter.acquire("ada", 3)
            assert await limiter.release(held)
            for number in (0, 1):
                assert await others[number]
            others[2].cancel()

    asyncio.run(wait())


@EMBEDDED
def test_whoever_is_cancelled_before_it_hears_of_its_turn_has_none(
    server: Server, prefix: str, proxy: WireProxy
) -> None:
    async def cancel() -> None:
        async with octavo.connect_async(proxy.url, prefix=prefix) as db:
            limiter = db.limiter("api", Limit("3/hour"))
            await limiter.hit("ada", 3)
            turn = await limiter.peek("ada")
            proxy.delay(reply=0.3)
            waits = asyncio.create_task(limiter.acquire("ada"))
            asked = proxy.commands["EVALSHA"]
            await eventually(lambda: proxy.commands["EVALSHA"] > asked, "it asks")
            waits.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits
            again = await limiter.reserve("ada")
            assert due(again) == micros(turn.at) + micros(turn.retry_after)

    asyncio.run(cancel())

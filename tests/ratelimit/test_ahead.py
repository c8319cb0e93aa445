"""`prefetch`: units taken ahead and handed out here, never more than the server has granted."""

from __future__ import annotations

import asyncio
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import ConnectionLost
from octavo.ratelimit import Limit
from octavo.testing.waiting import wait_until
from tests.ratelimit.cases import ALGORITHMS, THROTTLES, left
from tests.ratelimit.test_round_trips import NOTHING, ONE, Sent

if TYPE_CHECKING:
    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Standalone
    from tests.fix_faces import Connect
    from tests.fix_servers import Server

pytestmark = pytest.mark.usefixtures("quiet_links")

EMBEDDED = pytest.mark.parametrize("server", ["embedded"], indirect=True)
LONG: dict[str, Any] = {"prefetch_for": 600}


def test_many_hits_are_one_question(proxy: WireProxy, connect: Connect) -> None:
    limiter = connect(proxy.url).limiter("api", Limit("1000/hour"), prefetch=50, **LONG)
    limiter.hit("eve")
    sent = Sent(proxy)
    found = [limiter.hit("ada") for _ in range(200)]
    commands, trips = sent()
    assert (commands, trips) == ({"script": 4}, 4)
    assert all(found)
    assert [one.remaining for one in found] == [*range(999, 799, -1)]
    assert {one.cost for one in found} == {1}
    assert limiter.peek("ada").remaining == 800


@EMBEDDED
def test_no_more_pass_than_there_are(connect: Connect, server: Server) -> None:
    for kind, rule in THROTTLES.items():
        one, two = (connect(server.url).limiter(kind, rule, prefetch=2, **LONG) for _ in range(2))
        passed = [limiter.hit("ada").allowed for limiter in (one, two, one, two, one, two)]
        assert passed == [True, True, True, False, False, False], kind
        denied = one.hit("ada")
        assert (denied.violated, denied.remaining, denied.limit) == (("rule",), 0, 3), kind
        assert denied.retry_after is not None, kind
        assert one.hit("bob"), kind


def test_every_limit_is_charged_and_the_scarcest_says_how_much_there_is(
    proxy: WireProxy, connect: Connect, other: Octavo[Sync]
) -> None:
    rules = [Limit("100/hour"), Limit("7/day", algorithm="log")]
    limiter = connect(proxy.url).limiter("api", *rules, prefetch=50, **LONG)
    passed = [limiter.hit("ada").allowed for _ in range(9)]
    assert passed == [True] * 7 + [False] * 2
    assert left(other.limiter("api", *rules)) == [93, 0]


def test_threads_share_what_was_taken(proxy: WireProxy, prefix: str, other: Octavo[Sync]) -> None:
    with (
        octavo.connect(proxy.url, prefix=prefix) as first,
        octavo.connect(proxy.url, prefix=prefix) as second,
        ThreadPoolExecutor(8) as threads,
    ):
        both = [
            each.limiter("api", Limit("300/hour"), prefetch=20, **LONG) for each in (first, second)
        ]

        def hit(number: int) -> bool:
            return bool(both[number % 2].hit("ada"))

        passed = sum(threads.map(hit, range(1000)))
    assert passed == 300
    assert other.limiter("api", Limit("300/hour")).peek("ada").remaining == 0


@EMBEDDED
def test_what_was_not_handed_out_is_given_back_at_the_end(
    server: Server, prefix: str, other: Octavo[Sync]
) -> None:
    rules = [Limit("100/hour"), Limit("100/day", algorithm="log")]
    plain = other.limiter("api", *rules)

    async def tasks() -> None:
        async with octavo.connect_async(server.url, prefix=prefix) as db:
            limiter = db.limiter("api", *rules, prefetch=30, **LONG)
            for subject in ("ada", "bob"):
                assert await limiter.hit(subject)
            assert left(plain) == [70, 70]

    asyncio.run(tasks())
    assert (left(plain), left(plain, "bob")) == ([99, 99], [99, 99])
    with octavo.connect(server.url, prefix=prefix) as db:
        limiter = db.limiter("api", *rules, prefetch=30, **LONG)
        assert all(limiter.hit("ada") for _ in range(4))
        assert left(plain) == [69, 69]
    assert left(plain) == [95, 95]


def test_what_was_taken_too_long_ago_is_given_back_with_the_next_question(
    proxy: WireProxy, connect: Connect, other: Octavo[Sync]
) -> None:
    rule = Limit("100/hour", algorithm="log")
    limiter = connect(proxy.url).limiter("api", rule, prefetch=30, prefetch_for=0.05)
    limiter.hit("ada")
    began = time.monotonic()
    wait_until(lambda: time.monotonic() > began + 0.06, "it is too old")
    sent = Sent(proxy)
    assert limiter.hit("ada")
    assert sent()[0] == {"script": 2}
    assert left(other.limiter("api", rule)) == [69]


def test_a_refund_has_a_unit_be_handed_out_again(
    proxy: WireProxy, connect: Connect, other: Octavo[Sync]
) -> None:
    limiter = connect(proxy.url).limiter("api", Limit("10/hour"), prefetch=10, **LONG)
    found = [limiter.hit("ada") for _ in range(10)]
    assert not limiter.hit("ada")
    assert limiter.refund(found[0]) is True
    assert limiter.refund(found[0]) is False
    assert limiter.settle(found[1], 0) is True
    assert [limiter.hit("ada").allowed for _ in range(3)] == [True, True, False]
    assert limiter.settle(found[2], 5) is True
    plain = other.limiter("api", Limit("10/hour"))
    assert (plain.peek("ada").retry_after or 0) > 4 * 360


def test_what_needs_the_servers_word_asks_for_itself(proxy: WireProxy, connect: Connect) -> None:
    limiter = connect(proxy.url).limiter("api", Limit("100/hour", name="rule"), prefetch=5, **LONG)
    limiter.hit("ada")
    limiter.reset("eve")
    sent = Sent(proxy)
    assert limiter.hit("ada", 6).remaining == 89
    assert sent() == ONE
    assert limiter.hit("ada", {"rule": 2}).remaining == 87
    assert sent() == ONE
    for call in (limiter.peek, limiter.reserve, lambda subject: limiter.check({"rule": subject})):
        assert call("ada")
        assert sent() == ONE
    assert limiter.hit("ada", 4)
    assert sent() == NOTHING


def test_another_plan_asks_anew(proxy: WireProxy, connect: Connect) -> None:
    db = connect(proxy.url)
    free, paid = (db.limiter("api", Limit(f"{n}/hour", name="rule"), prefetch=5) for n in (10, 50))
    free.hit("ada")
    sent = Sent(proxy)
    assert paid.hit("ada").limit == 50
    assert sent()[0]["script"] >= 1


def test_a_client_that_can_give_nothing_back_closes_all_the_same(
    standalone: Standalone, prefix: str
) -> None:
    with octavo.connect(standalone.url, prefix=prefix) as db:
        limiter = db.limiter("api", Limit("100/hour"), prefetch=30, **LONG)
        assert limiter.hit("ada")
        standalone.kill()
        assert [limiter.hit("ada").allowed for _ in range(29)] == [True] * 29
        with pytest.raises(ConnectionLost):
            limiter.hit("ada")
        standalone.start()
        wait_until(lambda: limiter.peek("ada").remaining == 100, "it is back, and has forgotten")
        assert limiter.hit("ada")
        standalone.kill()


@EMBEDDED
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_in_any_window_no_more_pass_than_is_promised_with_what_was_taken_ahead(
    algorithm: Any, server: Server, prefix: str
) -> None:
    window, held, units = 0.05, 0.02, 5
    rule = Limit.per(20, window, algorithm=algorithm)
    passed: list[list[float]] = [[], []]

    def work(number: int) -> None:
        with octavo.connect(server.url, prefix=prefix) as db:
            limiter = db.limiter("api", rule, prefetch=units, prefetch_for=held)
            until = time.monotonic() + 0.4
            while (asked := time.monotonic()) < until:
                if limiter.hit("ada") and time.monotonic() - asked < 0.001:
                    passed[number].append(asked)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(work, range(2)))
    times = sorted(passed[0] + passed[1])
    assert times
    # What was asked within a window less 1 ms has passed within the window.
    most = max(sum(start <= at < start + window - 0.001 for at in times) for start in times)
    later, sooner = rule.guarantee(window + held).most, rule.guarantee(window).most
    assert later is not None
    assert sooner is not None
    assert most <= later
    assert most <= sooner + 2 * units


@EMBEDDED
def test_who_comes_while_another_asks_has_a_share_of_what_there_is(
    server: Server, prefix: str
) -> None:
    async def crowd() -> list[bool]:
        async with octavo.connect_async(server.url, prefix=prefix) as db:
            limiter = db.limiter("api", Limit("100/hour"), prefetch=100, **LONG)
            return [
                bool(one) for one in await asyncio.gather(*(limiter.hit("x") for _ in range(120)))
            ]

    assert sum(asyncio.run(crowd())) == 100


@EMBEDDED
def test_what_is_settled_when_its_lot_is_over_is_settled_by_the_server(
    connect: Connect, server: Server, other: Octavo[Sync]
) -> None:
    rules = [Limit("100/hour", algorithm="fixed", name="x"), Limit("100/day", name="y")]
    limiter = connect(server.url).limiter("api", *rules, prefetch=10, **LONG)
    found = [limiter.hit("ada") for _ in range(11)]  # the last one of a second lot
    assert left(other.limiter("api", *rules)) == [80, 80]
    assert limiter.settle(found[0], 0)
    assert limiter.settle(found[1], {"x": 0})
    assert left(other.limiter("api", *rules)) == [82, 81]
    assert limiter.settle(found[10], {"x": 0})
    assert left(other.limiter("api", *rules)) == [83, 81]


@EMBEDDED
def test_a_ban_or_a_reset_ends_what_was_taken(connect: Connect, server: Server) -> None:
    limiter = connect(server.url).limiter("api", Limit("100/hour"), prefetch=10, **LONG)
    assert limiter.hit("ada")
    limiter.ban("ada")
    assert not limiter.hit("ada")
    limiter.reset("ada")
    assert limiter.hit("ada")
    limiter.reset("ada")
    assert left(limiter) == [100]


@EMBEDDED
def test_a_decision_is_settled_by_another_process(connect: Connect, server: Server) -> None:
    for prefetch in (0, 5):
        limiter: Any = connect(server.url).limiter(
            f"api {prefetch}", Limit("9/hour"), prefetch=prefetch
        )
        found = limiter.hit("ada", 3)
        copy = pickle.loads(pickle.dumps(found))
        assert (bool(copy), dict(copy.limits)) == (True, dict(found.limits))
        before = left(limiter)
        assert limiter.settle(copy, 1)
        assert left(limiter) == [before[0] + 2]

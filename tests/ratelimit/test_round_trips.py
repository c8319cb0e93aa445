"""What each operation sends: one script, in one round trip."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.ratelimit import Ban, Concurrency, Limit, Quota
from octavo.testing.waiting import wait_until
from tests.calls import Call
from tests.ratelimit.cases import CALLS, OPERATIONS

if TYPE_CHECKING:
    from octavo.ratelimit import Rule
    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Cluster
    from tests.fix_faces import Connect
    from tests.fix_servers import Servers

pytestmark = pytest.mark.usefixtures("quiet_links")

FLOWS = pytest.mark.parametrize("face", ["sync", "async"])
SCRIPTS = ("EVAL", "EVALSHA")
ASIDE = {"HELLO", "CLIENT", "PING", "ROLE"}  # what the links and the making of connections say

ONE = ({"script": 1}, 1)
NOTHING: tuple[dict[str, int], int] = ({}, 0)

# What a limiter may have that could have more sent. Each has a limit "rule" for `check`.
LIMITERS: dict[str, tuple[list[Rule], dict[str, Any]]] = {
    "one": ([Limit("9/hour", name="rule")], {}),
    "four": (
        [
            Limit("9/hour", name="rule"),
            Limit("9/hour", algorithm="log"),
            Limit("9/day", algorithm="segmented"),
            Quota("9/year"),
        ],
        {},
    ),
    "banning": ([Limit("9/hour", name="rule", algorithm="fixed")], {"ban": Ban(3, 60, 60)}),
    "degrading": ([Limit("9/hour", name="rule")], {"on_error": "local", "deadline": 9}),
    "places": ([Limit("9/hour", name="rule"), Concurrency(9, lease=60)], {}),
}
WAITS = {"reserve", "take_up_to"}
PLACES = {"release", "renew"}


class Sent:
    """What is sent through proxies from its making on, without what the links say."""

    def __init__(self, *proxies: WireProxy) -> None:
        self._proxies = proxies
        self()

    def __call__(self) -> tuple[dict[str, int], int]:
        """Return what was sent since, and in how many round trips to a server; begin anew."""
        sent = Counter[str]()
        trips = 0
        for proxy in self._proxies:
            commands = {name: n for name, n in proxy.commands.items() if name not in ASIDE}
            for name, times in commands.items():
                sent["script" if name in SCRIPTS else name] += times
            # The making of a connection in between is no trip of a command's.
            trips = max(trips, min(proxy.round_trips, sum(commands.values())))
            proxy.reset()
        return dict(sent), trips


def of(sent: str) -> tuple[dict[str, int], int]:
    return {sent: 1}, 1


@pytest.mark.parametrize("how", LIMITERS)
def test_every_operation_is_one_round_trip(how: str, connect: Connect, proxy: WireProxy) -> None:
    rules, options = LIMITERS[how]
    limiter: Any = connect(proxy.url).limiter("api", *rules, **options)
    limiter.hit("ada")
    for name in sorted(OPERATIONS - (WAITS if how == "places" else PLACES)):
        for _ in range(2):  # the first may send the script's text
            decision = limiter.hit("ada")
            sent = Sent(proxy)
            CALLS[name](limiter, decision)
            expected = {"release": of("ZREM")}.get(name, ONE)
            assert sent() == expected, name
            limiter.reset("ada")


def test_a_denial_is_one_round_trip(connect: Connect, proxy: WireProxy) -> None:
    for how, (rules, options) in LIMITERS.items():
        limiter = connect(proxy.url).limiter(how, *rules, **options)
        assert limiter.hit("ada", 9)
        limiter.hit("ada")
        sent = Sent(proxy)
        for _ in range(3):
            assert not limiter.hit("ada")
            assert sent() == ONE, how


def test_what_a_server_need_not_be_asked_is_not_sent(connect: Connect, proxy: WireProxy) -> None:
    limiter = connect(proxy.url).limiter("api", Limit("9/hour"), Concurrency(9))
    decision, denied = limiter.hit("ada"), limiter.hit("ada", 10)
    seen = limiter.peek("ada")
    limiter.refund(decision)
    sent = Sent(proxy)
    for nothing in (denied, seen, decision):
        assert (limiter.refund(nothing), limiter.settle(nothing, 5)) == (False, False)
    for nothing in (denied, seen):
        assert (limiter.release(nothing), limiter.renew(nothing)) == (False, False)
    assert sent() == NOTHING


@FLOWS
def test_acquiring_is_one_round_trip_however_long_it_waits(
    connect: Connect, proxy: WireProxy
) -> None:
    limiter = connect(proxy.url).limiter("api", Limit("10/s", burst=1))
    limiter.acquire("ada")
    sent = Sent(proxy)
    assert limiter.acquire("ada", 1, wait=9).delay > 0
    assert sent() == ONE


@FLOWS
def test_a_block_is_one_round_trip_and_another_for_places(
    connect: Connect, proxy: WireProxy
) -> None:
    db = connect(proxy.url)
    limiter, places = db.limiter("api", Limit("9/hour")), db.limiter("jobs", Concurrency(9))
    for each in (limiter, places):
        with each.limit("ada"):
            pass
    sent = Sent(proxy)
    with limiter.limit("ada"):
        assert sent() == ONE
    assert sent() == NOTHING
    with places.limit("ada"):
        assert sent() == ONE
    assert sent() == of("ZREM")


# Waiters.


def test_thirty_threads_wait_their_turns_with_thirty_scripts(proxy: WireProxy, prefix: str) -> None:
    with octavo.connect(proxy.url, prefix=prefix) as db:
        limiter = db.limiter("api", Limit("100/s", burst=1))
        limiter.acquire("ada")
        sent = Sent(proxy)
        waits = [Call(limiter.acquire, "ada") for _ in range(30)]
        granted = [wait.result() for wait in waits]
        commands, _ = sent()
    assert commands == {"script": 30}
    turns = sorted(one.at + one.delay for one in granted)
    assert all(later - turn > 0.0099 for turn, later in pairwise(turns))


def test_thirty_tasks_have_their_turns_in_the_order_they_came(
    proxy: WireProxy, prefix: str
) -> None:
    async def run() -> list[float]:
        async with octavo.connect_async(proxy.url, prefix=prefix) as db:
            limiter = db.limiter("api", Limit("100/s", burst=1))
            await limiter.acquire("ada")
            sent = Sent(proxy)
            granted = await asyncio.gather(*(limiter.acquire("ada") for _ in range(30)))
            assert sent()[0] == {"script": 30}
            return [one.at + one.delay for one in granted]

    turns = asyncio.run(run())
    assert all(later - turn > 0.0099 for turn, later in pairwise(turns))


@FLOWS
def test_whoever_waits_for_a_place_asks_again_only_when_one_may_be_free(
    connect: Connect, proxy: WireProxy, prefix: str, servers: Servers
) -> None:
    limiter = connect(proxy.url).limiter("jobs", Concurrency(1, lease=60))
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        other = db.limiter("jobs", Concurrency(1, lease=60))
        for _ in range(2):  # the first may have to find out how it is told
            holds = other.hit("ada")
            sent = Sent(proxy)
            waits = Call(limiter.acquire, "ada", wait=20)
            wait_until(lambda: sum(proxy.commands[each] for each in SCRIPTS), "it has asked")
            for _ in range(200):
                assert not other.hit("ada")
            other.release(holds)
            assert limiter.release(waits.result()) is True
        commands, _ = sent()
    assert commands == {"script": 2, "ZREM": 1}


# Clusters.


def apart(cluster: Cluster, prefix: str) -> list[str]:
    """Return subjects of which each primary has one."""
    found: dict[Any, str] = {}
    for number in range(100):
        found.setdefault(cluster.node_of(f"{prefix}:limit:{{api:u{number}}}"), f"u{number}")
    return [*found.values()]


def test_subjects_of_one_slot_are_checked_with_one_script(
    connect: Connect, proxied_cluster: Cluster
) -> None:
    db = connect(proxied_cluster.url)
    for options in ({"tag": "t"}, {"partition": lambda _: "tenant"}):
        limiter = db.limiter("api", Limit("1/hour"), Limit("9/day", algorithm="log"), **options)
        about = {"per-hour": "ada", "per-day": "bob"}
        decision = limiter.check(about)
        limiter.check({"per-hour": "eve", "per-day": "bob"})
        sent = Sent(*proxied_cluster.proxies)
        assert not limiter.check(about)
        assert sent() == ONE
        limiter.refund(decision)
        assert sent() == ONE


def test_subjects_of_several_slots_are_checked_at_once_and_given_back_at_once(
    connect: Connect, proxied_cluster: Cluster, prefix: str
) -> None:
    one, two, three = apart(proxied_cluster, prefix)
    rules = [Limit(f"2/{unit}") for unit in ("hour", "day", "week")]
    limiter = connect(proxied_cluster.url).limiter("api", *rules)
    about = dict(zip(rules, (one, two, three), strict=True))
    for _ in range(2):  # the first may have to find the nodes
        decision = limiter.check(about)
        limiter.refund(decision)
    sent = Sent(*proxied_cluster.proxies)
    decision = limiter.check(about)
    assert sent() == ({"script": 3}, 1)
    limiter.peek(about)
    assert sent() == ({"script": 3}, 1)
    limiter.refund(decision)
    assert sent() == ({"script": 3}, 1)
    limiter.hit(two, 2)
    sent()
    assert not limiter.check(about)
    assert sent() == ({"script": 5}, 2), "the two that have charged it give it back"

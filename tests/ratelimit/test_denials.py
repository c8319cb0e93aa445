"""`deny_cache`: who was denied twice is denied without a server, for as long as by it."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.ratelimit import Ban, Concurrency, Limit, Quota
from octavo.testing import faults
from octavo.testing.waiting import wait_until
from tests.ratelimit.cases import ALGORITHMS, THROTTLES
from tests.ratelimit.test_round_trips import NOTHING, ONE, Sent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from octavo import Octavo, Sync
    from octavo.ratelimit import Decision
    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Cluster
    from tests.fix_faces import Connect

pytestmark = pytest.mark.usefixtures("quiet_links")

RULE = Limit("3/hour", name="rule")


def wait(decision: Decision) -> float:
    assert decision.retry_after is not None
    return decision.retry_after


def remembered(limiter: Any, sent: Sent, cost: Any = 1, subject: str = "ada") -> None:
    """Have a subject be denied until nothing is sent for it."""

    def asks_nobody() -> bool:
        sent()
        assert not limiter.hit(subject, cost)
        return sent() == NOTHING

    wait_until(asks_nobody, "it is remembered")


def test_who_was_denied_twice_is_denied_without_a_server(
    connect: Connect, proxy: WireProxy
) -> None:
    db = connect(proxy.url)
    for kind, rule in THROTTLES.items():
        limiter, sent = db.limiter(kind, Limit("9/hour"), rule, deny_cache=True), Sent(proxy)
        assert limiter.hit("ada", 3), kind
        asked = limiter.hit("ada")
        remembered(limiter, sent)
        found = [limiter.hit("ada") for _ in range(20)]
        assert sent() == NOTHING, kind
        for one in (found[0], found[-1]):
            assert (one.allowed, one.violated, one.limit, one.remaining, one.cost) == (
                *(False, ("rule",), 3, 0, 1),
            ), kind
            assert one.retry_after == pytest.approx(asked.retry_after, abs=20), kind
            assert (one.degraded, one.receipts) == (False, ()), kind
        assert wait(found[-1]) <= wait(found[0]), kind
        assert limiter.refund(found[0]) is False, kind
        assert limiter.hit("bob"), kind
        assert sent() == ONE, kind


def test_without_it_each_denial_is_the_servers(connect: Connect, proxy: WireProxy) -> None:
    limiter = connect(proxy.url).limiter("api", RULE)
    limiter.hit("ada", 3)
    for _ in range(3):
        limiter.hit("ada")
    sent = Sent(proxy)
    for _ in range(3):
        assert not limiter.hit("ada")
        assert sent() == ONE


def test_what_costs_less_or_is_another_limits_is_asked(connect: Connect, proxy: WireProxy) -> None:
    limiter = connect(proxy.url).limiter("api", RULE, Limit("9/hour"), deny_cache=True)
    sent = Sent(proxy)
    limiter.hit("ada", 1)
    remembered(limiter, sent, 3)
    assert limiter.hit("ada", 2)
    assert sent() == ONE
    remembered(limiter, sent)
    assert limiter.check({"per-hour": "ada"})
    assert sent() == ONE


def test_what_costs_more_is_told_its_own_wait(connect: Connect, proxy: WireProxy) -> None:
    limiter = connect(proxy.url).limiter("api", RULE, deny_cache=True)
    limiter.hit("ada", 3)
    remembered(limiter, Sent(proxy))
    for cost, expected in ((1, 1200), (2, 2400), (3, 3600), (4, None)):
        found = limiter.hit("ada", cost)
        assert not found
        assert found.cost == cost
        assert found.retry_after == (expected and pytest.approx(expected, abs=30))


def test_a_limiter_that_is_kept_remembers_the_same(
    proxy: WireProxy, prefix: str, other: Octavo[Sync]
) -> None:
    """It knows of a denial by the subject's key alone; those of other tests are made for a call."""
    rules = [Limit("3/hour", name="rule"), Limit("99/hour")]
    with octavo.connect(proxy.url, prefix=prefix) as db:
        limiter, sent = db.limiter("api", *rules, deny_cache=True), Sent(proxy)
        limiter.hit("ada")
        remembered(limiter, sent, 3)
        never = limiter.hit("ada", 100)
        assert (never.retry_after, never.cost) == (None, 100)
        sent()
        assert limiter.hit("ada", {"per-hour": 3})
        assert sent() == ONE
        remembered(limiter, sent, 2)
        assert limiter.hit("ada")
        assert limiter.hit("bob", 3)
        remembered(limiter, sent)
        first = wait(limiter.hit("ada"))
        wait_until(lambda: wait(limiter.hit("ada")) < first - 0.01, "it counts down")
        assert sent() == NOTHING
        other.limiter("api", *rules).reset("ada")
        wait_until(lambda: limiter.hit("ada", 3), "it passes")
        short = db.limiter("api", Limit("3/200 ms", name="short"), rules[1], deny_cache=True)
        short.hit("eve", 3)
        told = time.monotonic() + 0.07
        while not short.hit("eve"):
            assert time.monotonic() < told + 2


def test_a_check_is_remembered_too(connect: Connect, proxy: WireProxy) -> None:
    limiter = connect(proxy.url).limiter("api", RULE, Limit("9/hour"), deny_cache=True)
    about = {"rule": "ada", "per-hour": "bob"}
    limiter.check(about, 3)
    sent = Sent(proxy)

    def asks_nobody() -> bool:
        sent()
        assert not limiter.check(about)
        return sent() == NOTHING

    wait_until(asks_nobody, "it is remembered")
    assert limiter.check({"rule": "bob", "per-hour": "ada"})
    assert sent() == ONE


FREES: dict[str, Callable[[Any, Any], object]] = {
    "reset": lambda limiter, _: limiter.reset("ada"),
    "refund": lambda limiter, decision: limiter.refund(decision),
    "settle": lambda limiter, decision: limiter.settle(decision, 0),
    "unban": lambda limiter, _: limiter.unban("ada"),
}


@pytest.mark.parametrize("here", [True, False], ids=["here", "elsewhere"])
@pytest.mark.parametrize("name", FREES)
def test_what_frees_a_subject_anywhere_is_heard_of(
    name: str, here: bool, connect: Connect, proxy: WireProxy, other: Octavo[Sync]
) -> None:
    limiter = connect(proxy.url).limiter("api", RULE, deny_cache=True)
    changes = limiter if here else other.limiter("api", RULE)
    decision = None
    for _ in range(2):
        if name == "unban":
            changes.ban("ada")
        else:
            decision = changes.hit("ada", 3)
        remembered(limiter, Sent(proxy))
        FREES[name](changes, decision)
        wait_until(lambda: limiter.hit("ada"), "it passes")
        limiter.reset("ada")
        wait_until(lambda: limiter.peek("ada").remaining == 3, "nothing is used")


def test_another_plan_anywhere_is_heard_of(
    connect: Connect, proxy: WireProxy, other: Octavo[Sync]
) -> None:
    limiter = connect(proxy.url).limiter("api", RULE, deny_cache=True)
    limiter.hit("ada", 3)
    remembered(limiter, Sent(proxy))
    paid = Limit("9/hour", name="rule")
    assert connect(proxy.url).limiter("api", paid, deny_cache=True).hit("ada")
    assert not limiter.hit("ada")
    reset = Limit("3/hour", name="rule", carry="reset", burst=2)
    assert other.limiter("api", reset).hit("ada")
    wait_until(lambda: limiter.hit("ada"), "it passes")


def passes_in_time(limiter: Any) -> Iterator[None]:
    """Ask until a call passes, and compare when that is with what was told."""
    limiter.hit("ada", 3)
    sooner, later = 0.0, math.inf  # it was asked some time before it was told
    while True:
        asked = time.monotonic()
        if found := limiter.hit("ada", 3):
            break
        sooner, later = max(sooner, asked + wait(found)), min(later, time.monotonic() + wait(found))
        assert time.monotonic() < later + 2, "it is denied for longer"
        yield
    assert time.monotonic() > sooner - 0.05, "it was told another time"


def test_nobody_is_denied_for_longer_than_without(connect: Connect, proxy: WireProxy) -> None:
    db = connect(proxy.url)
    # The other limit has the key last, whose end would be heard of.
    waiting = [
        passes_in_time(
            db.limiter(
                algorithm,
                Limit("3/200 ms", algorithm=algorithm, name="rule"),
                Limit("99/hour"),
                deny_cache=True,
            )
        )
        for algorithm in ALGORITHMS
    ]
    while waiting:
        waiting = [asks for asks in waiting if next(asks, 0) is None]


def test_a_denial_is_not_believed_when_its_link_is_gone(
    connect: Connect, proxy: WireProxy, other: Octavo[Sync]
) -> None:
    limiter = connect(proxy.url, timeout=9).limiter("api", RULE, deny_cache=True)
    limiter.hit("ada", 3)
    remembered(limiter, Sent(proxy))
    proxy.cut()
    other.limiter("api", RULE).reset("ada")
    wait_until(lambda: limiter.hit("ada"), "it passes")


def test_each_denial_is_counted_for_a_ban_which_is_remembered(
    connect: Connect, proxy: WireProxy
) -> None:
    limiter = connect(proxy.url).limiter("api", RULE, ban=Ban(9, 60, 600), deny_cache=True)
    limiter.hit("ada", 3)
    found = [limiter.hit("ada").banned for _ in range(9)]
    assert found == [False] * 8 + [True]
    remembered(limiter, Sent(proxy))
    banned = limiter.hit("ada")
    assert (banned.banned, banned.violated[0]) == (True, "ban")


def test_places_are_asked_for_each_time(
    connect: Connect, proxy: WireProxy, other: Octavo[Sync]
) -> None:
    limiter = connect(proxy.url).limiter("jobs", Concurrency(1, lease=60), deny_cache=True)
    for _ in range(3):
        held = other.limiter("jobs", Concurrency(1, lease=60)).hit("ada")
        for _ in range(5):
            assert not limiter.hit("ada")
        assert other.limiter("jobs", Concurrency(1, lease=60)).release(held)
        mine = limiter.hit("ada")
        assert mine, "it was remembered"
        limiter.release(mine)


def test_what_can_never_pass_is_remembered_as_such(connect: Connect, proxy: WireProxy) -> None:
    limiter = connect(proxy.url).limiter("api", RULE, Quota("9/year"), deny_cache=True)
    limiter.hit("ada")
    sent = Sent(proxy)
    remembered(limiter, sent, 4)
    assert limiter.hit("ada", 4).retry_after is None
    assert sent() == NOTHING
    assert limiter.hit("ada", 2)


@pytest.mark.parametrize("face", ["sync", "async"])
def test_on_a_cluster_each_node_tells_of_its_subjects(
    connect: Connect, proxied_cluster: Cluster, prefix: str
) -> None:
    limiter = connect(proxied_cluster.url, timeout=20).limiter("api", RULE, deny_cache=True)
    plain = connect(proxied_cluster.url, timeout=20).limiter("api", RULE)
    sent = Sent(*proxied_cluster.proxies)
    subjects = [f"u{number}" for number in range(6)]
    for subject in subjects:
        limiter.hit(subject, 3)
        remembered(limiter, sent, subject=subject)
    assert not any(limiter.hit(subject) for subject in subjects)
    assert sent() == NOTHING
    for subject in subjects[:5]:
        plain.reset(subject)
        wait_until(lambda: limiter.hit(subject), "it passes")  # noqa: B023
    faults.failover(proxied_cluster, f"{prefix}:limit:{{api:u5}}").strike()
    plain.reset("u5")
    wait_until(lambda: limiter.hit("u5"), "it passes")


def test_a_process_knows_its_own_changes_at_once(connect: Connect, proxy: WireProxy) -> None:
    db = connect(proxy.url)
    limiter, sent = db.limiter("api", RULE, deny_cache=True), Sent(proxy)
    admin = db.limiter("api", RULE)
    changes: list[Callable[[], object]] = [
        lambda: limiter.reset("ada"),
        lambda: admin.reset("ada"),
        lambda: limiter.refund(passed),
        lambda: limiter.settle(passed, 1),
        lambda: db.limits.reset("api", "ada"),
    ]
    for _ in range(5):
        for change in changes:
            limiter.reset("ada")
            passed = limiter.hit("ada", 3)
            remembered(limiter, sent)
            change()
            assert limiter.hit("ada")

"""Calls about subjects on several nodes, and subjects that move from node to node."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from octavo.engine.keys import slot
from octavo.errors import ConnectionLost
from octavo.ratelimit import Concurrency, Limit
from octavo.testing import faults
from tests.calls import Call
from tests.ratelimit.cases import RULES, left

if TYPE_CHECKING:
    from octavo.testing.servers import Cluster, Standalone
    from tests.fix_faces import Connect

FLOWS = pytest.mark.parametrize("face", ["sync", "async"])

USER, KEY, ROUTE = (Limit(f"100/{unit}", name=unit) for unit in ("hour", "day", "week"))
PLACES = Concurrency(9, lease=600)


def apart(cluster: Cluster, prefix: str) -> dict[Standalone, str]:
    """Return a subject on each primary."""
    found: dict[Standalone, str] = {}
    for number in range(100):
        found.setdefault(cluster.node_of(f"{prefix}:limit:{{api:u{number}}}"), f"u{number}")
    return found


def another(cluster: Cluster, node: Standalone) -> Standalone:
    return next(each for each in cluster.primaries if each is not node)


# Several nodes.


def test_subjects_of_a_partition_share_a_slot_whatever_they_are(
    connect: Connect, cluster: Cluster, prefix: str
) -> None:
    def tenant(subject: str) -> str:
        return subject.partition("/")[0]

    limiter = connect(cluster.url).limiter("api", USER, KEY, PLACES, partition=tenant)
    subjects = [f"acme/{n}" for n in range(5)]
    for subject in subjects:
        assert limiter.check({USER: subject, KEY: "acme/key", PLACES: "acme"})
    assert [left(limiter, subject)[0] for subject in subjects] == [99] * 5
    assert (left(limiter, "acme/key")[1], left(limiter, "acme")[2]) == (95, 4)
    keys = [key for node in cluster.primaries for key in node.cli("KEYS", f"{prefix}:*")]
    assert {slot(key.encode()) for key in keys} == {slot(b"{acme}")}


@FLOWS
def test_as_many_pass_as_the_scarcest_limit_has_and_the_others_are_charged_no_more(
    cluster: Cluster, prefix: str, connect: Connect
) -> None:
    one, two, three = apart(cluster, prefix).values()
    scarce = Limit("20/day", name="scarce")
    limiters = [connect(cluster.url).limiter("api", USER, scarce, ROUTE) for _ in range(2)]

    def ask(number: int) -> bool:
        limiter = limiters[number % 2]
        return bool(limiter.check({USER: one, scarce: two, ROUTE: three}))

    with ThreadPoolExecutor(8) as threads:
        allowed = sum(threads.map(ask, range(80)))
    # Those that had to give it back may have kept others out meanwhile, but nobody else.
    assert allowed == 20
    assert left(limiters[0], one) == [80, 20, 100]
    assert left(limiters[0], two) == [100, 0, 100]
    assert left(limiters[0], three) == [100, 20, 80]


@FLOWS
def test_callers_who_compete_for_two_scarce_limits_are_never_too_many(
    cluster: Cluster, prefix: str, connect: Connect
) -> None:
    subjects = [*apart(cluster, prefix).values()]
    rules = [Limit(f"10/{unit}", algorithm="log") for unit in ("hour", "day", "week")]
    limiter = connect(cluster.url).limiter("api", *rules)

    def ask(number: int) -> bool:
        turned = rules[number % 3 :] + rules[: number % 3]
        order = {rule: subjects[rules.index(rule)] for rule in turned}
        return bool(limiter.check(order, {rules[number % 3]: 2}))

    with ThreadPoolExecutor(8) as threads:
        passed = [number for number, ok in enumerate(threads.map(ask, range(60))) if ok]
    assert passed
    for number, (rule, subject) in enumerate(zip(rules, subjects, strict=True)):
        charged = len(passed) + sum(each % 3 == number for each in passed)
        assert charged <= 10
        assert limiter.peek({rule: subject}).remaining == 10 - charged


@FLOWS
def test_what_the_others_were_charged_is_given_back_if_one_denies_for_good(
    connect: Connect, cluster: Cluster, prefix: str
) -> None:
    one, two, three = apart(cluster, prefix).values()
    for kind, rule in RULES.items():
        limiter = connect(cluster.url).limiter(kind, USER, rule, PLACES)
        found = limiter.check({USER: one, rule: two, PLACES: three}, {"rule": 4})
        assert (found.allowed, found.violated, found.retry_after) == (False, ("rule",), None)
        for subject in (one, two, three):
            assert left(limiter, subject) == [100, 3, 9], kind


@pytest.mark.parametrize(("face", "fault"), [("sync", faults.pause), ("async", faults.kill)])
def test_a_call_whose_node_is_down_is_charged_nowhere_else(
    fault: Any, connect: Connect, cluster: Cluster, prefix: str
) -> None:
    subjects = apart(cluster, prefix)
    down, *_ = subjects
    about = dict(zip((USER, KEY, ROUTE), subjects.values(), strict=True))
    limiter = connect(cluster.url).limiter("api", *about, deadline=0.5)
    assert limiter.check(about)
    with fault(down, group=cluster):
        for _ in range(2):
            with pytest.raises(ConnectionLost):
                limiter.check(about)
        for rule in (KEY, ROUTE):
            assert limiter.peek({rule: about[rule]}).remaining == 99
    # What stood still was charged for calls that did not pass; what died has forgotten all.
    found = limiter.peek({USER: about[USER]}).remaining
    assert 97 <= found <= 99 if fault is faults.pause else found >= 99


# Slots that move.


@FLOWS
def test_what_was_used_moves_along_with_its_slot(
    connect: Connect, cluster: Cluster, prefix: str
) -> None:
    limiter = connect(cluster.url).limiter("api", USER, Limit("9/day", algorithm="log"), PLACES)
    decision = limiter.hit("ada", 2)
    number = slot(f"{prefix}:limit:{{api:ada}}".encode())
    source = cluster.node_of(number)
    cluster.migrate(number, another(cluster, source))
    assert [one.remaining for one in limiter.hit("ada").limits.values()] == [97, 6, 6]
    cluster.migrate(number, source)
    assert limiter.refund(decision) is True
    assert left(limiter) == [99, 8, 8]


@FLOWS
def test_a_subject_whose_slot_is_half_moved_is_counted_once(
    connect: Connect, cluster: Cluster, prefix: str
) -> None:
    db = connect(cluster.url)
    limiter, log = db.limiter("api", USER, KEY), db.limiter("log", PLACES)
    key = f"{prefix}:limit:{{api:ada}}"
    number = slot(key.encode())
    limiter.hit("ada")
    with cluster.migrating(number, another(cluster, cluster.node_of(number))) as move:
        assert limiter.hit("ada").remaining == 98
        move(key)
        assert limiter.hit("ada").remaining == 97
        # A script that needs two keys, one here and one there, is asked to try again.
        settles = Call(limiter.settle, limiter.hit("ada"), 5)
    assert settles.result() is True
    assert left(limiter) == [92, 92]
    number = slot(f"{prefix}:limit:{{log:ada}}".encode())
    log.hit("ada")
    with cluster.migrating(number, another(cluster, cluster.node_of(number))) as move:
        move(f"{prefix}:limit:{{log:ada}}:leases:concurrency")
        hits = Call(log.hit, "ada", 2)
    assert hits.result().remaining == 6
    assert left(log) == [6]

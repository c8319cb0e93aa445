"""Makers of values that die, hang and are cut off, and servers that fail under them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from octavo.testing.proxy import WireProxy
from octavo.testing.servers import Cluster
from octavo.testing.waiting import wait_until
from tests.cache import workers
from tests.cache.crew import Crew, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo import Sync
    from octavo.cache import Cache
    from octavo.testing.proxy import Action
    from octavo.testing.servers import Sentinels, Standalone
    from tests.cache.crew import Member
    from tests.fix_faces import FaceName
    from tests.fix_servers import Server, Servers

# One set of processes for all tests of this file.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("races")]

LEASE = 0.6


@pytest.fixture(scope="module")
def processes() -> Iterator[Crew]:
    with Crew(2) as crew:
        yield crew


@pytest.fixture
def crew(processes: Crew) -> Crew:
    return processes.fresh()


@pytest.fixture
def server(servers: Servers) -> Server:
    return servers.get("embedded")  # the tests of a primary that dies meet the others


@pytest.fixture(params=["sync", "async"])
def face(request: pytest.FixtureRequest) -> FaceName:
    face: FaceName = request.param
    return face


@pytest.fixture
def place(server: Server, prefix: str) -> Place:
    return Place(server.url, prefix, cache={"lease": LEASE})


def running(member: Member, place: Place, face: str, **how: Any) -> None:
    """Have a process ask for the key, and wait until its factory runs."""
    member.do(workers.ask, place, "k", face, how)
    assert member.heard() == "running"


def waiting(member: Member, place: Place, face: str, **how: Any) -> None:
    """Have a process ask for the key, and wait until it has found that another one makes it."""
    member.do(workers.ask, place, "k", face, {"announce": True} | how)
    assert member.heard() == "asking"
    with place.open() as cache:
        wait_until(lambda: cache.info("k").lease is not None, "the key is leased")


# The maker


def test_a_maker_that_is_killed_is_taken_over_from_within_its_lease(
    crew: Crew, place: Place, face: FaceName
) -> None:
    first, second = crew.members
    running(first, place, face)
    waiting(second, place, face, value="second")
    first.kill()
    killed = time.monotonic()
    assert second.heard() == "running"
    assert time.monotonic() - killed < LEASE + 4.0
    assert second.result().value == "second"
    with place.open() as cache:
        assert cache.get("k") == "second"


def test_a_killed_maker_is_taken_over_from_by_those_whom_the_server_does_not_tell(
    crew: Crew, standalone: Standalone, prefix: str
) -> None:
    # Of a lease that has ended, nobody is told before the server comes by or somebody looks.
    standalone.cli("DEBUG", "SET-ACTIVE-EXPIRE", "0")
    place = Place(standalone.url, prefix, cache={"lease": LEASE})
    first, second = crew.members
    running(first, place, "sync")
    waiting(second, place, "sync", value="second")
    first.kill()
    killed = time.monotonic()
    assert second.heard() == "running"
    assert time.monotonic() - killed < LEASE + 4.0
    assert second.result().value == "second"


def test_a_maker_that_is_killed_at_a_refresh_leaves_the_stale_value_and_another_refreshes(
    crew: Crew, place: Place
) -> None:
    first, second = crew.members
    place = place.with_(lease=2.0)
    with place.open() as cache:
        cache.set("k", "older", ttl=0.001, grace=60)
        wait_until(lambda: cache.fetch("k").outcome == "stale", "it is stale")
        running(first, place, "sync", soft_timeout=None)
        first.kill()
        assert cache.get_or_create("k", lambda: "early bird") == "older"
        wait_until(lambda: cache.info("k").lease is None, "the lease has ended")
        running(second, place, "sync", value="second", soft_timeout=None)
        assert second.result().value == "second"
        assert cache.get("k") == "second"


def test_what_a_maker_brings_who_hung_past_its_lease_is_rejected(
    crew: Crew, place: Place, face: FaceName
) -> None:
    first, second = crew.members
    running(first, place, face)
    waiting(second, place, face, value="newer")
    first.pause()
    assert second.heard() == "running"
    assert second.result().value == "newer"
    first.resume()
    first.tell("older")
    late = first.result()
    assert (late.value, late.rejected) == ("older", 1)
    with place.open() as cache:
        assert cache.get("k") == "newer"


def test_a_slow_maker_renews_its_lease(crew: Crew, place: Place, face: FaceName) -> None:
    place = place.with_(lease=0.9)
    for member in crew.members:
        member.do(workers.nap, place, "k", 2.0, face)
    got = [ended(member) for member in crew.members]
    assert sum(one.runs for one in got) == 1
    assert len({one.value for one in got}) == 1
    assert all(one.rejected == 0 for one in got)


def ended(member: Member) -> Any:
    """Return what came of a call whose factory may have said something or not."""
    try:
        return member.result()
    except AssertionError:  # it said "running"
        return member.result()


def test_a_slow_maker_of_many_values_renews_all_leases(place: Place) -> None:
    runs: list[list[str]] = []

    def factory(missing: list[str]) -> dict[str, str]:
        runs.append(missing)
        time.sleep(2.0)
        return dict.fromkeys(missing, "made")

    with place.with_(lease=0.9).open() as cache, place.with_(lease=0.9).open() as other:
        maker = threading.Thread(target=cache.create_many, args=(["a", "b", "c"], factory))
        maker.start()
        wait_until(lambda: runs, "the factory runs")
        assert other.create_many(["c", "b"], factory) == {"b": "made", "c": "made"}
        maker.join()
    assert [sorted(keys) for keys in runs] == [["a", "b", "c"]]


# The primary


@pytest.mark.parametrize(("kind", "face"), [("cluster", "async"), ("sentinels", "sync")])
def test_a_primary_that_dies_while_a_value_is_made_costs_at_most_another_run(
    kind: str, crew: Crew, request: pytest.FixtureRequest, prefix: str, face: FaceName
) -> None:
    group: Cluster | Sentinels = request.getfixturevalue(kind)
    # A lease that would end meanwhile would have the second one begin before the deletion.
    place = Place(group.url, prefix, {"timeout": 20.0}, {"lease": 30.0})
    first, second = crew.members
    with place.open() as cache:
        running(first, place, face)
        waiting(second, place, face, value="newer")
        victim = holder(group, cache)
        group.kill(victim)
        wait_until(lambda: victim not in group.primaries, "another was promoted", timeout=30)
        cache.delete("k")
        assert second.heard() == "running"
        first.tell("older")
        assert second.result().value == "newer"
        late = first.result()
        assert (late.value, late.rejected) == ("older", 1)
        assert cache.get("k") == "newer"


def holder(group: Cluster | Sentinels, cache: Cache[Sync, Any]) -> Standalone:
    """Return the node that holds the key."""
    key = cache.info("k").key
    return group.node_of(key) if isinstance(group, Cluster) else group.primary


def test_a_lease_that_was_not_replicated_cannot_store_anything(
    crew: Crew, proxied_cluster: Cluster, prefix: str
) -> None:
    place = Place(proxied_cluster.url, prefix, {"timeout": 20.0}, {"lease": 5.0})
    first, second = crew.members
    with place.open() as cache:
        victim = holder(proxied_cluster, cache)
        proxied_cluster.proxy_of(victim).hold("replicas")
        running(first, place, "sync")
        proxied_cluster.kill(victim)
        wait_until(
            lambda: victim not in proxied_cluster.primaries, "its replica took over", timeout=30
        )
        running(second, place, "sync", value="newer")
        assert second.result().value == "newer"
        first.tell("older")
        late = first.result()
        assert (late.value, late.rejected) == ("older", 1)
        assert cache.get("k") == "newer"


# The links


@pytest.fixture
def wired(servers: Servers, prefix: str) -> Iterator[tuple[WireProxy, Place, Place]]:
    """A proxy, the cache through it, and the cache without it."""
    valkey = servers.get("embedded")
    with WireProxy(valkey.url.removeprefix("unix://")) as proxy:
        direct = Place(valkey.url, prefix, {"timeout": 1.5}, {"lease": 8.0})
        yield proxy, direct.on(proxy.url), direct


@pytest.mark.parametrize("fault", ["cut", "drop"])
def test_a_fill_whose_link_is_cut_is_stored_all_the_same(
    fault: Action, crew: Crew, wired: tuple[WireProxy, Place, Place], face: FaceName
) -> None:
    proxy, through, direct = wired
    first, second = crew.members
    faults: list[float] = []

    def decide(words: list[bytes]) -> Action:
        if not faults and any(b"first" in word for word in words):
            faults.append(time.monotonic())
            return fault
        return "forward"

    proxy.script(decide)
    running(first, through, face)
    waiting(second, direct, face, value="second")
    first.tell("first")
    assert first.result().value == "first"
    assert second.result().value == "first"
    assert faults, "nothing was cut"
    assert time.monotonic() - faults[0] < 4.0, "somebody waited for the lease to end"


def test_a_maker_cut_off_for_good_keeps_its_value_and_the_others_take_over(
    crew: Crew, wired: tuple[WireProxy, Place, Place], face: FaceName
) -> None:
    proxy, through, direct = wired
    first, second = crew.members
    through, direct = through.with_(lease=LEASE), direct.with_(lease=LEASE)
    running(first, through, face)
    waiting(second, direct, face, value="second")
    proxy.refuse()
    proxy.cut()
    assert second.heard() == "running"
    first.tell("first")
    assert first.result().value == "first"
    assert second.result().value == "second"


@pytest.mark.parametrize("fault", ["cut once", "no link ever"])
def test_waiters_whose_link_fails_get_the_value_soon(
    fault: str, crew: Crew, wired: tuple[WireProxy, Place, Place], face: FaceName
) -> None:
    proxy, through, direct = wired
    first, second = crew.members
    running(first, direct, face)
    waiting(second, through, face, value="second")
    if fault == "no link ever":
        proxy.script(no_link)
    proxy.cut()
    first.tell("first")
    assert first.result().value == "first"
    stored = time.monotonic()
    got = second.result()
    assert (got.value, got.runs) == ("first", 0)
    assert time.monotonic() - stored < 4.0


def no_link(words: list[bytes]) -> Action:
    """Have no client be told of changes."""
    return "cut" if words[0] == b"ROLE" else "forward"


def test_a_waiter_that_polls_does_so_seldom(
    crew: Crew, wired: tuple[WireProxy, Place, Place]
) -> None:
    proxy, through, direct = wired
    first, second = crew.members
    running(first, direct, "sync")
    waiting(second, through, "sync", value="second")
    proxy.script(no_link)
    proxy.cut()
    proxy.reset()
    began = time.monotonic()
    wait_until(lambda: proxy.commands["PTTL"] >= 8, "it polls")
    assert time.monotonic() - began > 0.25, "it polls all the time"
    first.tell("first")
    assert second.result().value == "first"


# The clocks


@pytest.mark.parametrize("hours", [-30, 30])
def test_nothing_depends_on_the_time_of_day(hours: int, crew: Crew, place: Place) -> None:
    first, second = crew.members
    for member, shift in ((first, hours), (second, -hours)):
        member.do(workers.shift_clock, shift)
        member.result()
    try:
        with place.with_(grace=60, beta=1.0).open() as cache:
            running(first, place, "sync")
            waiting(second, place, "sync", value="second")
            assert second.silent(), "a lease was taken over from one who is alive"
            first.tell("first")
            assert (first.result().rejected, second.result().runs) == (0, 0)
            entry = cache.fetch("k")
            assert (entry.value, entry.outcome) == ("first", "hit")
            assert entry.age is not None
            assert 0 <= entry.age < 20
            second.do(workers.ask, place, "k", "async", {"value": "second"})
            assert second.result().runs == 0
    finally:
        for member in (first, second):
            member.do(workers.shift_clock, 0)
            member.result()

"""Many operations in one write per node; each test runs on the sync and on the async engine."""

# ruff: noqa: PT012 - a batch fails at its end, so all of it must be inside

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, cast

import pytest

import octavo
from octavo import BatchError, Octavo
from octavo.engine.command import answer
from octavo.engine.keys import slot
from tests.engine.lab import Lab, command, lab_of, took
from tests.fix_servers import at_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo import Batch
    from octavo.testing.proxy import Action, WireProxy
    from octavo.testing.servers import Cluster, Standalone
    from tests.fix_faces import Connect
    from tests.fix_servers import Server

pytestmark = pytest.mark.parametrize("face", ["sync", "async"])


@pytest.fixture
def client(connect: Connect, proxy: WireProxy) -> Any:
    """A client behind the proxy, with a connection already there."""
    client = connect(proxy.url, timeout=3.0)
    lab_of(client).get("nothing")
    proxy.reset()
    return client


def wrong_type(lab: Lab[Any], name: str) -> Any:
    return lab.send(command("HGET", lab.key(name), "field"))


def test_a_batch_is_one_round_trip(client: Any, proxy: WireProxy) -> None:
    with client.batch() as batch:
        lab = Lab(batch)
        pending = [(lab.put(f"k-{i}", i), lab.get(f"k-{i}"), lab.add("n")) for i in range(50)]
        bumped = lab.bump("n")
    assert [one.result() for one, _, _ in pending] == [b"OK"] * 50
    assert [one.result() for _, one, _ in pending] == [b"%d" % i for i in range(50)]
    assert [one.result() for _, _, one in pending] == list(range(1, 51))
    assert bumped.result() == 51
    assert proxy.round_trips == 1


def test_operations_of_different_jobs_share_one_round_trip(client: Any, proxy: WireProxy) -> None:
    with client.batch() as batch:
        count = Lab(batch).add("n")
        submitted = batch.leaderboard("board").submit("ada", 10)
        rank = batch.leaderboard("board").rank("ada")
    assert (count.result(), submitted.result().rank, rank.result()) == (1, 1, 1)
    assert proxy.round_trips == 1


@pytest.mark.slow
def test_a_batch_is_one_write_to_each_node_and_the_nodes_work_at_the_same_time(
    connect: Connect, proxied_cluster: Cluster
) -> None:
    client = connect(proxied_cluster.url)
    lab = lab_of(client)
    names = [f"k-{i}" for i in range(60)]
    nodes = {proxied_cluster.node_of(lab.key(name)) for name in names}
    proxies = [proxied_cluster.proxy_of(node) for node in nodes]
    assert len(proxies) == 3
    for name in names:
        lab.put(name, name)
    for proxy in proxies:
        proxy.reset()
    asked = at_once(proxies)
    with client.batch() as batch:
        pending = [Lab(batch).get(name) for name in names]
    assert not asked.broken
    assert [one.result() for one in pending] == [name.encode() for name in names]
    assert [proxy.round_trips for proxy in proxies] == [1, 1, 1]


def test_a_failed_operation_raises_a_group_when_all_are_filled(client: Any) -> None:
    lab_of(client).put("text", "x")
    good: list[Any] = []
    bad: list[Any] = []
    with pytest.raises(BatchError, match="2 of 4 operations failed") as caught, client.batch() as b:
        lab = Lab(b)
        good += lab.add("n"), lab.add("n")
        bad += wrong_type(lab, "text"), wrong_type(lab, "text")
    assert [one.result() for one in good] == [1, 2]
    assert [type(one.exception()) for one in bad] == [octavo.WrongType] * 2
    assert list(caught.value.exceptions) == [one.exception() for one in bad]
    assert isinstance(caught.value, ExceptionGroup)
    matching, rest = caught.value.split(octavo.WrongType)
    assert isinstance(matching, BatchError)
    assert rest is None


def test_a_failed_operation_raises_nothing_when_not_asked_to(client: Any) -> None:
    lab_of(client).put("text", "x")
    with client.batch(raise_on_error=False) as batch:
        bad, good = wrong_type(Lab(batch), "text"), Lab(batch).add("n")
    with pytest.raises(octavo.WrongType):
        bad.result()
    assert good.result() == 1


@pytest.mark.parametrize("atomic", [False, True], ids=["plain", "atomic"])
def test_an_exception_in_the_body_sends_nothing(
    client: Any, proxy: WireProxy, atomic: bool
) -> None:
    labs: list[Lab[Batch]] = []
    pending: list[Any] = []
    with pytest.raises(LookupError), client.batch(atomic=atomic) as batch:
        labs.append(Lab(batch))
        pending.append(labs[0].add("n"))
        raise LookupError
    assert not proxy.commands
    with pytest.raises(RuntimeError, match="its batch has not run"):
        pending[0].result()
    with pytest.raises(RuntimeError, match="open another"):
        labs[0].add("n")


def test_a_result_before_the_end_is_a_runtime_error(client: Any) -> None:
    with client.batch() as batch:
        pending = Lab(batch).add("n")
        with pytest.raises(RuntimeError, match=r"lab\.add has no result: its batch has not run"):
            pending.result()
    assert pending.result() == 1


def test_a_batch_that_has_run_takes_no_more(client: Any) -> None:
    with client.batch() as batch:
        Lab(batch).add("n")
    with pytest.raises(RuntimeError, match=r"lab\.add: this batch has run"):
        Lab(batch).add("n")
    assert lab_of(client).get("n") == b"1"


def test_a_batch_has_no_batches(client: Any) -> None:
    with client.batch() as batch, pytest.raises((TypeError, RuntimeError), match="batch"):
        batch.batch()


@pytest.mark.parametrize("atomic", [False, True], ids=["plain", "atomic"])
def test_an_empty_batch_sends_nothing(client: Any, proxy: WireProxy, atomic: bool) -> None:
    with client.batch(atomic=atomic):
        pass
    assert not proxy.commands


@pytest.mark.parametrize("atomic", [False, True], ids=["plain", "atomic"])
def test_fifty_thousand_operations_are_one_batch(
    connect: Connect, standalone: Standalone, atomic: bool
) -> None:
    client: Any = connect(standalone.url, timeout=30.0)
    with client.batch(atomic=atomic) as batch:
        lab = Lab(batch)
        pending = [lab.send(command("INCR", lab.key("n"))) for _ in range(50_000)]
    assert [one.result() for one in pending] == list(range(1, 50_001))


# Atomic.


def test_an_atomic_batch_is_one_transaction_in_one_round_trip(
    client: Any, proxy: WireProxy
) -> None:
    with client.batch(atomic=True) as batch:
        lab = Lab(batch)
        pending = [lab.add("n"), lab.bump("n"), lab.get("n"), lab.send(answer("local"))]
    assert [one.result() for one in pending] == [1, 2, b"2", "local"]
    assert proxy.round_trips == 1
    assert proxy.commands == {"MULTI": 1, "INCRBY": 1, "EVAL": 1, "GET": 1, "EXEC": 1}


def test_an_atomic_batch_demands_one_slot_on_every_kind_of_server(
    connect: Connect, server: Server, prefix: str
) -> None:
    client: Any = connect(server.url)
    lab = lab_of(client)
    with (
        pytest.raises(ValueError, match=f"{prefix}:b and {prefix}:a are not: .* same tag="),
        client.batch(atomic=True) as batch,
    ):
        Lab(batch).add("a")
        Lab(batch).add("b")
    assert (lab.get("a"), lab.get("b")) == (None, None)
    with client.batch(atomic=True) as batch:
        pending = [Lab(batch).add("{one}a"), Lab(batch).add("{one}b")]
    assert [one.result() for one in pending] == [1, 1]


def test_objects_of_one_tag_share_a_slot_on_every_kind_of_server(
    connect: Connect, server: Server
) -> None:
    client: Any = connect(server.url)
    with pytest.raises(ValueError, match="same tag="), client.batch(atomic=True) as batch:
        batch.leaderboard("a").submit("ada", 1)
        batch.leaderboard("b").submit("ada", 1)
    with client.batch(atomic=True) as batch:
        submitted = [batch.leaderboard(name, tag="both").submit("ada", 1) for name in "ab"]
    assert [one.result().accepted for one in submitted] == [True, True]


@pytest.mark.slow
def test_an_atomic_batch_goes_where_its_keys_are_whatever_comes_first(
    connect: Connect, cluster: Cluster
) -> None:
    client: Any = connect(cluster.url)
    lab = lab_of(client)
    for i in range(10):
        with client.batch(atomic=True) as batch:
            Lab(batch).send(answer("local"))
            Lab(batch).send(command("ECHO", None, "keyless"))
            pending = Lab(batch).add(f"n-{i}")
        assert pending.result() == 1
    assert len({cluster.node_of(lab.key(f"n-{i}")) for i in range(10)}) == 3


def test_every_factory_takes_a_tag(face: str) -> None:
    factories = [
        function
        for name, function in inspect.getmembers(Octavo, inspect.isfunction)
        if not name.startswith("_")
        and "name" in inspect.signature(function).parameters
        # What spreads over the slots cannot be in one.
        and name != "sharded_leaderboard"
    ]
    assert factories
    for factory in factories:
        assert inspect.signature(factory).parameters["tag"].default is None


def test_a_script_in_a_transaction_cannot_meet_noscript(
    client: Any, proxy: WireProxy, standalone: Standalone, prefix: str
) -> None:
    lab = lab_of(client)
    lab.bump("n")
    lab.send(command("SCRIPT", None, "FLUSH"))
    proxy.reset()
    with client.batch(atomic=True) as batch:
        pending = [Lab(batch).bump("n"), Lab(batch).add("n"), Lab(batch).bump("n")]
    assert [one.result() for one in pending] == [2, 3, 4]
    assert proxy.round_trips == 1
    assert (proxy.commands["EVAL"], proxy.commands["EVALSHA"]) == (1, 1)


def test_a_transaction_the_server_refuses_says_why_and_does_nothing(client: Any) -> None:
    with client.batch(atomic=True, raise_on_error=False) as batch:
        lab = Lab(batch)
        pending = [
            lab.add("n"),
            lab.send(command("INCR", lab.key("n"), "too", "many")),
            lab.add("n"),
        ]
    for one in pending:
        error = cast("octavo.ServerError", one.exception())
        assert type(error) is octavo.ServerError
        assert "wrong number of arguments" in str(error)
        assert error.code == "ERR"
    assert lab_of(client).get("n") is None


def test_a_failure_inside_a_transaction_is_that_operations_own(client: Any) -> None:
    lab_of(client).put("{n}text", "x")
    with client.batch(atomic=True, raise_on_error=False) as batch:
        lab = Lab(batch)
        pending = [lab.add("{n}"), wrong_type(lab, "{n}text"), lab.add("{n}")]
    assert (pending[0].result(), pending[2].result()) == (1, 2)
    assert isinstance(pending[1].exception(), octavo.WrongType)


def test_a_transaction_may_have_follow_ups(client: Any, proxy: WireProxy) -> None:
    with client.batch(atomic=True) as batch:
        lab = Lab(batch)
        more = command("INCR", lab.key("n"))
        pending = lab.send(command("INCR", lab.key("n"), then=lambda _: more))
    assert pending.result() == 2
    assert proxy.round_trips == 2


# Lost connections.


def dropping(at: int) -> Callable[[list[bytes]], Action]:
    """Return what swallows the replies from the nth INCRBY on, and cuts the connection."""
    seen = 0

    def decide(words: list[bytes]) -> Action:
        nonlocal seen
        seen += words[0] == b"INCRBY"
        return "drop" if seen == at else "forward"

    return decide


def test_what_was_answered_before_a_cut_keeps_its_result(client: Any, proxy: WireProxy) -> None:
    proxy.script(dropping(4))
    with client.batch(raise_on_error=False) as batch:
        lab = Lab(batch)
        added = [lab.add(f"n-{i}") for i in range(8)]
        read = lab.put("k", "v"), lab.get("k")
        once = lab.bump_once("once")
    assert [one.result() for one in added[:3]] == [1, 1, 1]
    for one in added[3:]:
        error = one.exception()
        assert type(error) is octavo.ConnectionLost
        assert error.outcome == "unknown"
        assert error.operation == "lab.add"
    assert [one.result() for one in read] == [b"OK", b"v"]
    assert once.result() == 1
    assert [lab_of(client).get(f"n-{i}") for i in range(8)] == [b"1"] * 8
    assert lab_of(client).get("once") == b"1"


def test_a_cut_transaction_is_unknown_as_a_whole(client: Any, proxy: WireProxy) -> None:
    proxy.drop_replies()
    with pytest.raises(BatchError) as caught, client.batch(atomic=True) as batch:
        for _ in range(3):
            Lab(batch).add("n")
    assert [cast("Any", error).outcome for error in caught.value.exceptions] == ["unknown"] * 3
    assert lab_of(client).get("n") == b"3"


def test_a_cut_transaction_of_idempotent_operations_is_sent_again(
    client: Any, proxy: WireProxy
) -> None:
    proxy.drop_replies()
    with client.batch(atomic=True) as batch:
        lab = Lab(batch)
        pending = [lab.put("{k}", "v"), lab.get("{k}"), lab.bump_once("{k}n")]
    assert [one.result() for one in pending] == [b"OK", b"v", 1]
    assert lab_of(client).get("{k}n") == b"1"


def test_a_batch_that_nobody_got_is_not_sent(connect: Connect) -> None:
    client: Any = connect("redis://127.0.0.1:1", timeout=0.3)
    with took(0, 2), pytest.raises(BatchError) as caught, client.batch() as batch:
        Lab(batch).add("n")
        Lab(batch).get("k")
    assert {cast("Any", error).outcome for error in caught.value.exceptions} == {"not_sent"}


@pytest.mark.slow
def test_a_node_that_is_lost_fails_its_own_operations_only(
    connect: Connect, proxied_cluster: Cluster
) -> None:
    client: Any = connect(proxied_cluster.url, timeout=5.0)
    lab = lab_of(client)
    names = [f"n-{i}" for i in range(30)]
    for name in names:
        lab.add(name)
    lost = proxied_cluster.node_of(lab.key(names[0]))
    proxied_cluster.proxy_of(lost).drop_replies()
    with client.batch(raise_on_error=False) as batch:
        pending = [Lab(batch).add(name) for name in names]
    for name, one in zip(names, pending, strict=True):
        if proxied_cluster.node_of(lab.key(name)) is lost:
            assert isinstance(one.exception(), octavo.ConnectionLost)
        else:
            assert one.result() == 2
    assert len({slot(lab.key(name)) for name in names}) > 20


def test_the_errors_of_a_batch_name_operation_and_key(client: Any, prefix: str) -> None:
    lab_of(client).put("text", "x")
    with client.batch(raise_on_error=False) as batch:
        pending = wrong_type(Lab(batch), "text")
    assert re.search(rf"\[operation=lab\.send key={prefix}:text\]", str(pending.exception()))

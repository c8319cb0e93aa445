"""Batches that run only while a guard holds, on the sync and on the async engine."""

# ruff: noqa: PT012 - a batch fails at its end, so all of it must be inside

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

import octavo
from octavo import BatchError
from octavo.engine.command import answer
from octavo.engine.guard import Guard
from octavo.engine.keys import slot
from octavo.testing.servers import Standalone
from octavo.testing.waiting import wait_until
from tests.engine.guards import COMES_BACK, FAULT, SILENT, Gone, Holds
from tests.engine.lab import (
    READ,
    REFUSE,
    SHAPES,
    TWICE,
    Lab,
    command,
    lab_of,
    same,
    took,
    whole,
)
from tests.fix_servers import redis_py

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.testing.proxy import Action, WireProxy
    from octavo.testing.servers import Cluster
    from tests.fix_faces import Connect
    from tests.fix_servers import Server, Servers

pytestmark = pytest.mark.parametrize("face", ["sync", "async"])

GUARD = "{g}guard"


@pytest.fixture
def client(connect: Connect, proxy: WireProxy) -> Any:
    """A client behind the proxy, with a connection already there, and a guard that holds."""
    client = connect(proxy.url, timeout=3.0)
    lab_of(client).put(GUARD, "mine")
    proxy.reset()
    return client


@pytest.fixture
def everywhere(connect: Connect, server: Server) -> Any:
    """A client to each kind of server, and a guard that holds."""
    client = connect(server.url)
    lab_of(client).put(GUARD, "mine")
    return client


@pytest.fixture
def own(connect: Connect, standalone: Standalone, proxy_of: Any) -> Any:
    """A client to a server of its own, behind a proxy, and a guard that holds."""
    client = connect(proxy_of(standalone).url, timeout=5.0)
    lab_of(client).put(GUARD, "mine")
    return client


def held(client: Any, name: str = GUARD) -> Holds:
    """Return the guard of a client."""
    return Holds(lab_of(client).key(name))


def keys_of(server: Server | Standalone, prefix: str) -> set[str]:
    """Return what keys there are with a prefix, guards not counted."""
    guard = f"{prefix}:{GUARD}"
    node = server if isinstance(server, Standalone) else server.node_of(guard)
    with redis_py(node.unix_url) as client:
        return {*client.keys(f"*{prefix}*")} - {guard}


def at(nth: int, act: Callable[[], Any], action: Action = "forward") -> Any:
    """Return what does something before the nth script passes a proxy, and then `action`."""
    seen = 0

    def decide(words: list[bytes]) -> Action:
        nonlocal seen
        seen += words[0] in (b"EVAL", b"EVALSHA")
        if seen != nth or words[0] not in (b"EVAL", b"EVALSHA"):
            return "forward"
        act()
        return action

    return decide


# While it holds.


def test_operations_of_every_kind_run_in_order(everywhere: Any) -> None:
    with everywhere.batch(guard=held(everywhere)) as batch:
        lab = Lab(batch)
        pending = [
            lab.bump("{g}n", 5),
            lab.add("{g}n"),
            lab.bump_once("{g}n", 4),
            lab.send(TWICE((lab.key("{g}n"),), (16,), int)),
            lab.get("{g}n"),
            lab.read("{g}n"),
            lab.get("{g}nothing"),
            lab.read("{g}nothing"),
            lab.put("{g}k", "v"),
            lab.send(command("PTTL", lab.key("{g}k"), behind=((b"GET", lab.key("{g}k")),))),
            lab.send(command("MGET", lab.key("{g}nothing"), lab.key("{g}k"), lab.key("{g}no"))),
            lab.send(command("ECHO", None, "keyless")),
            lab.send(answer("local")),
        ]
    assert [one.result() for one in pending] == [
        *(5, 6, 10, 42, b"42", b"42", None, None, b"OK"),
        *([-1, b"v"], [None, b"v", None], b"keyless", "local"),
    ]


def test_a_script_replies_as_it_does_outside(everywhere: Any) -> None:
    lab = lab_of(everywhere)
    alone = lab.send(SHAPES((lab.key("{g}alone"),), (), same))
    with everywhere.batch(guard=held(everywhere)) as batch:
        inside = Lab(batch).send(SHAPES((lab.key("{g}inside"),), (), same))
    assert inside.result() == alone


def test_a_script_that_says_nothing_hides_no_other(everywhere: Any) -> None:
    with everywhere.batch(guard=held(everywhere)) as batch:
        lab = Lab(batch)
        silent = [lab.send(SILENT((lab.key("{g}n"),), (), same)) for _ in range(2)]
        behind = lab.get("{g}n")
    assert [one.result() for one in (*silent, behind)] == [None, None, b"2"]


FAILING: dict[str, Callable[[Any, Any], Any]] = {
    "script": lambda _, lab: lab.bump("{g}list"),
    "once": lambda _, lab: lab.bump_once("{g}list"),
    "plain": lambda _, lab: lab.send(command("HGET", lab.key("{g}text"), "field")),
    "behind": lambda _, lab: lab.send(
        command(
            "PTTL",
            lab.key("{g}text"),
            behind=((b"HGET", lab.key("{g}text"), b"f"),),
            idempotent=True,
        )
    ),
    "refused": lambda _, lab: lab.send(REFUSE((lab.key("{g}n"),), (), same)),
    "fault": lambda _, lab: lab.send(FAULT((lab.key("{g}n"),), (), same)),
    "two keys": lambda _, lab: lab.send(READ((lab.key("{g}list"), lab.key("{g}n")), (), same)),
    "no number": lambda _, lab: lab.send(command("INCRBY", lab.key("{g}text"), 1)),
    "mismatch": lambda db, _: db.leaderboard("x", tag="g", order="asc").submit("ada", 1),
    "precision": lambda db, _: db.leaderboard("x", tag="g").increment("ada", 1e-300),
    "type": lambda db, _: db.cache("x", ttl=60, tag="g").incr("text"),
}


@pytest.mark.parametrize("name", FAILING)
def test_an_error_is_that_of_its_operation_and_the_same_as_outside(
    name: str, everywhere: Any
) -> None:
    lab = lab_of(everywhere)
    lab.send(command("RPUSH", lab.key("{g}list"), "x"))
    lab.put("{g}text", "x")
    everywhere.leaderboard("x", tag="g").submit("ada", 10)
    everywhere.cache("x", ttl=60, tag="g").set("text", "x")
    with pytest.raises(octavo.OctavoError) as alone:
        FAILING[name](everywhere, lab)
    with everywhere.batch(guard=held(everywhere), raise_on_error=False) as batch:
        before = Lab(batch).add("{g}others")
        pending = FAILING[name](batch, Lab(batch))
        behind = Lab(batch).bump("{g}others")
    inside = pending.exception()
    own = re.compile(r"user_script:\d+|:once:\w+")
    assert type(inside) is type(alone.value)
    assert own.sub("", str(inside)) == own.sub("", str(alone.value))
    assert (before.result(), behind.result()) == (1, 2)


def test_failed_operations_raise_a_group(client: Any) -> None:
    lab_of(client).put("{g}text", "x")
    with (
        pytest.raises(BatchError, match="1 of 2 operations failed") as caught,
        client.batch(guard=held(client)) as batch,
    ):
        bad = Lab(batch).send(command("HGET", Lab(batch).key("{g}text"), "field"))
        good = Lab(batch).add("{g}n")
    assert caught.value.exceptions == (bad.exception(),)
    assert good.result() == 1


def test_a_reader_that_fails_fails_its_own_operation(client: Any) -> None:
    def fail(_: object) -> Any:
        raise ArithmeticError

    with client.batch(guard=held(client), raise_on_error=False) as batch:
        lab = Lab(batch)
        bad, good = lab.send(command("GET", lab.key("{g}k"), read=fail)), lab.add("{g}n")
    assert isinstance(bad.exception(), ArithmeticError)
    assert good.result() == 1


def test_it_may_be_called_atomic_too(client: Any, proxy: WireProxy) -> None:
    with client.batch(guard=held(client), atomic=True) as batch:
        pending = Lab(batch).add("{g}n")
    assert pending.result() == 1
    assert proxy.commands == {"EVAL": 1}


def test_a_plain_command_may_be_the_guard(client: Any) -> None:
    class Exists(Holds):
        def guard_command(self) -> Any:
            return command("EXISTS", self.key)

    guard = Exists(lab_of(client).key("{g}there"))
    with pytest.raises(Gone), client.batch(guard=guard) as batch:
        Lab(batch).add("{g}n")
    lab_of(client).put("{g}there", "")
    with client.batch(guard=guard) as batch:
        pending = Lab(batch).add("{g}n")
    assert pending.result() == 1


# When it does not hold.


def test_nothing_is_written_and_its_error_is_raised_as_it_is(
    everywhere: Any, server: Server, prefix: str
) -> None:
    guard = held(everywhere)
    lab_of(everywhere).put(GUARD, "another's")
    pending: list[Any] = []
    with pytest.raises(Gone) as caught, everywhere.batch(guard=guard) as batch:
        lab = Lab(batch)
        pending += [
            lab.bump("{g}n"),
            lab.add("{g}n"),
            lab.bump_once("{g}n"),
            lab.send(whole(command("INCR", lab.key("{g}n")), command("INCR", lab.key("{g}n")))),
            lab.send(command("INCR", lab.key("{g}n"), recover=lambda _: "recovered")),
            lab.send(answer("local")),
            batch.leaderboard("x", tag="g").submit("ada", 1),
            batch.cache("x", ttl=60, tag="g").set("k", "v", tags=["a"]),
            batch.cache("x", ttl=60, tag="g").get("k"),
            batch.cache("x", ttl=60, tag="g").clear(),
        ]
    assert caught.value is guard.error
    assert [one.exception() for one in pending] == [guard.error] * 10
    assert keys_of(server, prefix) == set()
    assert str(caught.value) == f"not mine [operation=batch key={guard.key.decode()}]"


def test_its_error_is_that_of_what_would_not_have_been_sent_or_have_recovered_too(
    client: Any,
) -> None:
    guard = held(client, "{g}nobody's")
    pending: list[Any] = []
    with pytest.raises(Gone), client.batch(guard=guard) as batch:
        lab = Lab(batch)
        pending += [
            lab.add("{g}n"),
            lab.send(command("INCR", lab.key("{g}n"), recover=lambda _: "recovered")),
            lab.send(answer("local")),
        ]
    assert [one.exception() for one in pending] == [guard.error] * 3


def test_its_error_is_raised_whether_those_of_operations_are_or_not(client: Any) -> None:
    guard = held(client, "{g}nobody's")
    with pytest.raises(Gone), client.batch(guard=guard, raise_on_error=False) as batch:
        Lab(batch).add("{g}n")


def test_what_counts_is_whether_it_holds_at_the_end(client: Any) -> None:
    lab, guard = lab_of(client), held(client)
    lab.put(GUARD, "another's")
    with client.batch(guard=guard) as batch:
        pending = Lab(batch).add("{g}n")
        lab.put(GUARD, "mine")
    assert pending.result() == 1
    with pytest.raises(Gone), client.batch(guard=guard) as batch:
        Lab(batch).add("{g}n")
        guard.value = "changed meanwhile"
    with client.batch(guard=guard) as batch:
        Lab(batch).add("{g}n")
        lab.put(GUARD, "changed meanwhile")
    assert lab.get("{g}n") == b"2"


def test_its_error_may_say_what_its_check_has_read(client: Any) -> None:
    class Telling(Holds):
        def guard_command(self) -> Any:
            return command("GET", self.key, read=self.note)

        def note(self, reply: bytes) -> bool:
            self.error = Gone(f"it is {reply.decode()}")
            return False

    with (
        pytest.raises(Gone, match="it is mine"),
        client.batch(guard=Telling(held(client).key)) as batch,
    ):
        Lab(batch).add("{g}n")


def test_an_error_of_its_check_is_everybodys(client: Any, prefix: str) -> None:
    lab, guard = lab_of(client), held(client, "{g}list")
    lab.send(command("RPUSH", guard.key, "x"))
    with client.batch(guard=guard, raise_on_error=False) as batch:
        pending = [Lab(batch).add("{g}n"), Lab(batch).bump("{g}n")]
    for one in pending:
        assert type(one.exception()) is octavo.WrongType
        assert f"key={prefix}:{{g}}list" in str(one.exception())
    assert lab.get("{g}n") is None


# Bad input, and batches that send nothing.


@pytest.mark.parametrize(
    "guard", ["lease", True, object(), Gone], ids=["text", "flag", "object", "class"]
)
def test_what_is_no_guard_is_refused(client: Any, proxy: WireProxy, guard: Any) -> None:
    with pytest.raises(TypeError, match="guard must be a lease, not "):
        client.batch(guard=guard)
    assert not proxy.commands


def test_a_guard_needs_two_methods_and_no_base_class(client: Any) -> None:
    assert isinstance(held(client), Guard)


@pytest.mark.parametrize("there", ["a command", "a cold cache", "a command behind a cold cache"])
def test_keys_in_another_slot_are_refused_before_anything_is_sent(
    client: Any, proxy: WireProxy, there: str
) -> None:
    with (
        pytest.raises(ValueError, match=r"one slot, which .*: give the objects the same tag="),
        client.batch(guard=held(client)) as batch,
    ):
        Lab(batch).add("{g}n")
        if "cache" in there:
            tag = "g" if "behind" in there else None
            batch.cache("x", ttl=60, tag=tag).set("k", "v")
        if "command" in there:
            Lab(batch).bump("{another}n")
    assert not proxy.commands


def test_the_guards_keys_have_to_be_in_the_slot_too(client: Any, proxy: WireProxy) -> None:
    with pytest.raises(ValueError, match="same tag="), client.batch(guard=held(client)) as batch:
        Lab(batch).add("{another}n")
    assert not proxy.commands


def test_a_command_for_one_node_is_refused(client: Any, proxy: WireProxy) -> None:
    lab = lab_of(client)
    pinned = msgspec.structs.replace(
        command("INCR", lab.key("{g}n")), at=client._own._engine.topology.endpoint(())
    )
    with (
        pytest.raises(ValueError, match=r"^INCR cannot be .* node"),
        client.batch(guard=held(client)) as batch,
    ):
        Lab(batch).send(pinned)
    assert not proxy.commands


def test_an_exception_in_the_body_sends_nothing(client: Any, proxy: WireProxy) -> None:
    with pytest.raises(LookupError), client.batch(guard=held(client)) as batch:
        Lab(batch).add("{g}n")
        raise LookupError
    assert not proxy.commands


def test_a_batch_with_nothing_to_send_does_not_ask_the_guard(client: Any, proxy: WireProxy) -> None:
    guard = held(client, "{g}nobody's")
    with client.batch(guard=guard):
        pass
    with client.batch(guard=guard) as batch:
        pending = Lab(batch).send(answer("local"))
    assert pending.result() == "local"
    assert not proxy.commands


# What is sent.


def test_it_is_one_script_in_one_round_trip_cold_and_warm(client: Any, proxy: WireProxy) -> None:
    for sent in ("EVAL", "EVALSHA"):
        with client.batch(guard=held(client)) as batch:
            pending = [Lab(batch).bump("{g}n"), Lab(batch).add("{g}n"), Lab(batch).read("{g}n")]
        assert pending[2].result() == b"%d" % pending[1].result()
        assert (proxy.round_trips, proxy.commands) == (1, {sent: 1})
        proxy.reset()


def test_the_script_depends_on_which_scripts_it_is_made_of_and_on_nothing_else(
    client: Any, proxy: WireProxy
) -> None:
    guard = held(client)
    with client.batch(guard=guard) as batch:
        lab = Lab(batch)
        lab.bump("{g}n")
        lab.bump_once("{g}n")
        lab.read("{g}n")
    proxy.reset()
    with client.batch(guard=guard) as batch:
        lab = Lab(batch)
        results = [lab.put("{g}m", 5), lab.read("{g}m"), lab.bump_once("{g}m", 2)]
        results += [lab.bump("{g}m", 3), lab.bump("{g}m", 4), lab.get("{g}m")]
    assert [one.result() for one in results] == [b"OK", b"5", 7, 10, 14, b"14"]
    assert proxy.commands == {"EVALSHA": 1}


def test_a_script_that_the_server_forgot_is_sent_again(own: Any, standalone: Standalone) -> None:
    for number in (1, 2):
        with own.batch(guard=held(own)) as batch:
            pending = [Lab(batch).bump("{g}n"), Lab(batch).add("{g}m")]
        assert [one.result() for one in pending] == [number, number]
        standalone.cli("SCRIPT", "FLUSH")


def test_five_hundred_operations_are_one_script(client: Any, proxy: WireProxy) -> None:
    with client.batch(guard=held(client)) as batch:
        lab = Lab(batch)
        pending = [
            operate(f"{{g}}{i % 7}")
            for i in range(125)
            for operate in (lab.add, lab.bump, lab.bump_once, lab.get)
        ]
    assert proxy.commands == {"EVAL": 1}
    expected: list[Any] = []
    counts = [0] * 7
    for i in range(125):
        counts[i % 7] += 3
        n = counts[i % 7]
        expected += [n - 2, n - 1, n, b"%d" % n]
    assert [one.result() for one in pending] == expected


def test_a_script_may_have_twenty_thousand_words(everywhere: Any) -> None:
    board = everywhere.leaderboard("x", tag="g")
    members = {f"m-{i}": i for i in range(20_000)}
    with everywhere.batch(guard=held(everywhere)) as batch:
        submitted = batch.leaderboard("x", tag="g").submit_many(members)
        removed = batch.leaderboard("x", tag="g").remove(*members)
    assert len(submitted.result()) == removed.result() == 20_000
    assert board.count() == 0


def test_a_plain_command_may_have_as_many_words_as_lua_hands_on(everywhere: Any) -> None:
    keys = [f"{{g}}{i}".encode() for i in range(7_998)]
    with everywhere.batch(guard=held(everywhere)) as batch:
        pending = Lab(batch).send(command("MGET", *cast("Any", keys)))
    assert pending.result() == [None] * 7_998


@pytest.mark.parametrize("as_part", [False, True])
def test_a_longer_one_is_refused_before_anything_is_sent(
    client: Any, proxy: WireProxy, as_part: bool
) -> None:
    keys = [f"{{g}}{i}".encode() for i in range(20_000)]
    long = command("MGET", *cast("Any", keys))
    with (
        pytest.raises(ValueError, match=r"^MGET cannot be .* 20,001 words, .* 7,999: divide it$"),
        client.batch(guard=held(client)) as batch,
    ):
        Lab(batch).add("{g}n")
        Lab(batch).send(whole(long, long) if as_part else long)
    assert not proxy.commands


@pytest.mark.slow
def test_it_goes_where_its_keys_are(connect: Connect, cluster: Cluster) -> None:
    client: Any = connect(cluster.url)
    lab = lab_of(client)
    for i in range(10):
        tag = f"{{t{i}}}"
        lab.put(f"{tag}guard", "mine")
        with client.batch(guard=held(client, f"{tag}guard")) as batch:
            Lab(batch).send(answer("local"))
            Lab(batch).send(command("ECHO", None, "keyless"))
            pending = Lab(batch).add(f"{tag}n")
        assert pending.result() == 1
    assert len({cluster.node_of(lab.key(f"{{t{i}}}n")) for i in range(10)}) == 3


@pytest.mark.slow
def test_it_goes_through_a_migration(connect: Connect, cluster: Cluster) -> None:
    client: Any = connect(cluster.url, timeout=8.0)
    lab = lab_of(client)
    names = [f"{{g}}{i}" for i in range(6)]
    for name in names:
        lab.bump(name)
    lab.put(GUARD, "mine")
    keys = [lab.key(name).decode() for name in (GUARD, *names)]
    source = cluster.node_of(keys[0])
    target = next(node for node in cluster.primaries if node is not source)

    def bump_all() -> list[int]:
        with client.batch(guard=held(client)) as batch:
            pending = [Lab(batch).bump(name) for name in names]
        return [one.result() for one in pending]

    assert bump_all() == [2] * 6
    with cluster.migrating(slot(keys[0].encode()), target) as move:
        move(*keys)
        assert bump_all() == [3] * 6
    assert bump_all() == [4] * 6


# Follow-ups, parts and openings.


def follow_up(lab: Lab[Any], name: str = "{g}n") -> Any:
    """Return an operation that adds twice to a counter, the second time by a follow-up."""
    more = command("INCR", lab.key(name))
    return lab.send(command("INCR", lab.key("{g}n"), then=lambda _: more))


def test_follow_ups_are_guarded_too_and_go_together(client: Any, proxy: WireProxy) -> None:
    with client.batch(guard=held(client)) as batch:
        pending = [follow_up(Lab(batch)), Lab(batch).bump("{g}n"), follow_up(Lab(batch))]
    assert [one.result() for one in pending] == [4, 2, 5]
    assert proxy.round_trips == 2
    assert proxy.commands.keys() <= {"EVAL", "EVALSHA"}


def test_a_follow_up_does_not_run_once_the_guard_does_not_hold(
    client: Any, proxy: WireProxy, servers: Servers
) -> None:
    guard = held(client)
    node = cast("Standalone", servers.get("embedded").nodes)
    proxy.script(at(2, lambda: node.cli("DEL", guard.key)))
    pending: list[Any] = []
    with pytest.raises(Gone) as caught, client.batch(guard=guard) as batch:
        pending += [follow_up(Lab(batch)), Lab(batch).bump("{g}n"), follow_up(Lab(batch))]
    assert pending[1].result() == 2
    assert [pending[0].exception(), pending[2].exception()] == [caught.value] * 2
    assert lab_of(client).get("{g}n") == b"3"
    assert proxy.commands.keys() <= {"EVAL", "EVALSHA", "GET"}


def test_a_guard_is_asked_again_how_to_check_it_before_follow_ups(client: Any) -> None:
    guard = held(client)

    def then(_: object) -> Any:
        guard.value = "changed meanwhile"
        return command("INCR", lab_of(client).key("{g}n"))

    with pytest.raises(Gone), client.batch(guard=guard) as batch:
        Lab(batch).send(command("INCR", Lab(batch).key("{g}n"), then=then))
    assert lab_of(client).get("{g}n") == b"1"


def test_a_follow_up_in_another_slot_is_refused(client: Any, proxy: WireProxy) -> None:
    pending: list[Any] = []
    with pytest.raises(ValueError, match="same tag="), client.batch(guard=held(client)) as batch:
        pending += [follow_up(Lab(batch), "{another}n"), Lab(batch).add("{g}m")]
    with pytest.raises(ValueError, match="same tag="):
        pending[0].result()
    assert pending[1].result() == 1
    assert proxy.round_trips == 1
    assert lab_of(client).get("{another}n") is None


def test_parts_are_in_it_and_their_follow_ups_behind_it(client: Any, proxy: WireProxy) -> None:
    with client.batch(guard=held(client)) as batch:
        lab = Lab(batch)
        one = command("INCR", lab.key("{g}n"))
        twice = command("INCR", lab.key("{g}n"), then=lambda _: one)
        first, several = lab.add("{g}n"), lab.send(whole(one, whole(twice, one)))
        last = lab.add("{g}n")
    assert (first.result(), several.result(), last.result()) == (1, [2, [6, 4]], 5)
    assert proxy.round_trips == 2
    assert proxy.commands.keys() <= {"EVAL", "EVALSHA"}


def test_what_a_cold_cache_has_to_know_is_found_out_under_the_guard(
    client: Any, proxy: WireProxy, servers: Servers, prefix: str
) -> None:
    options: Any = {"ttl": 60, "tag": "g"}
    guard = held(client)
    lab_of(client).put(GUARD, "another's")
    with pytest.raises(Gone), client.batch(guard=guard) as batch:
        batch.cache("x", **options).set("k", "v", tags=["red"])
    assert keys_of(servers.get("embedded"), prefix) == set()
    lab_of(client).put(GUARD, "mine")
    proxy.reset()
    with client.batch(guard=guard) as batch:
        stored = batch.cache("x", **options).set("k", "v", tags=["red"])
        found = batch.cache("x", **options).get("k")
    assert (stored.result(), found.result()) == (None, "v")
    assert proxy.commands.keys() <= {"EVAL", "EVALSHA", "CLIENT", "HELLO", "ROLE", "PING"}
    assert client.cache("x", **options).get("k") == "v"


def test_what_has_been_found_out_is_not_asked_for_again(client: Any, proxy: WireProxy) -> None:
    cache = client.cache("x", ttl=60, tag="g")

    def trips() -> int:
        before = proxy.commands
        with client.batch(guard=held(client)) as batch:
            batch.cache("x", ttl=60, tag="g").set("k", "v", tags=["red"])
        sent = proxy.commands - before
        return sent["EVAL"] + sent["EVALSHA"]

    assert trips() > 1
    wait_until(lambda: cache.stats().links and trips() == 1, "the nonces are kept")


# Refusals and lost connections.


def test_what_a_script_calls_a_refusal_in_passing_is_its_own_error(
    client: Any, proxy: WireProxy
) -> None:
    codes = ["READONLY", "TRYAGAIN", "CLUSTERDOWN", "BUSY", "MOVED", "ASK", "NOSCRIPT"]
    with client.batch(guard=held(client), raise_on_error=False) as batch:
        lab = Lab(batch)
        before = lab.add("{g}n")
        refused = [lab.send(COMES_BACK((lab.key("{g}n"),), (code,), same)) for code in codes]
        behind = lab.add("{g}n")
    assert (before.result(), behind.result()) == (1, 9)
    for code, one in zip(codes, refused, strict=True):
        assert cast("Any", one.exception()).code == code
    assert proxy.round_trips == 1


def test_a_node_that_takes_no_writes_runs_nothing(
    own: Any, connect: Connect, standalone: Standalone
) -> None:
    client: Any = connect(standalone.url, timeout=0.4)
    standalone.cli("REPLICAOF", "127.0.0.1", "1")
    with took(0.1, 2), client.batch(guard=held(own), raise_on_error=False) as batch:
        pending = [Lab(batch).get(GUARD), Lab(batch).add("{g}n"), Lab(batch).bump("{g}n")]
    for one in pending:
        error = cast("Any", one.exception())
        assert type(error) is octavo.Unavailable
        assert error.code == "READONLY"


def test_a_node_that_takes_no_writes_is_waited_for(
    connect: Connect, standalone: Standalone, proxy_of: Any
) -> None:
    proxy = proxy_of(standalone)
    client: Any = connect(proxy.url, timeout=5.0)
    lab_of(client).put(GUARD, "mine")
    standalone.cli("REPLICAOF", "127.0.0.1", "1")
    proxy.script(at(3, lambda: standalone.cli("REPLICAOF", "NO", "ONE")))
    with client.batch(guard=held(client)) as batch:
        pending = [Lab(batch).get(GUARD), Lab(batch).add("{g}n"), Lab(batch).bump("{g}n")]
    assert [one.result() for one in pending] == [b"mine", 1, 2]
    assert proxy.commands["EVAL"] == 3


def test_a_server_without_memory_runs_nothing(own: Any, standalone: Standalone) -> None:
    guard = held(own)
    standalone.cli("CONFIG", "SET", "maxmemory", 1)
    with own.batch(guard=guard, raise_on_error=False) as batch:
        pending = [Lab(batch).get(GUARD), Lab(batch).add("{g}n")]
    assert [type(one.exception()) for one in pending] == [octavo.OutOfMemory] * 2


def test_a_lost_reply_is_an_unknown_outcome_of_all(client: Any, proxy: WireProxy) -> None:
    proxy.drop_replies()
    with pytest.raises(BatchError) as caught, client.batch(guard=held(client)) as batch:
        Lab(batch).get("{g}n")
        Lab(batch).add("{g}n")
    assert [cast("Any", error).outcome for error in caught.value.exceptions] == ["unknown"] * 2
    assert lab_of(client).get("{g}n") == b"1"


def test_a_lost_reply_is_asked_for_again_if_all_are_idempotent(
    client: Any, proxy: WireProxy
) -> None:
    proxy.drop_replies()
    with client.batch(guard=held(client)) as batch:
        lab = Lab(batch)
        pending = [lab.put("{g}k", "v"), lab.get("{g}k"), lab.bump_once("{g}n")]
    assert [one.result() for one in pending] == [b"OK", b"v", 1]
    assert proxy.commands["EVAL"] == 2
    assert lab_of(client).get("{g}n") == b"1"


def test_a_check_that_is_not_idempotent_is_not_sent_again(client: Any, proxy: WireProxy) -> None:
    class Counting(Holds):
        def guard_command(self) -> Any:
            return command("INCR", self.key)

    proxy.drop_replies()
    guard = Counting(held(client, "{g}count").key)
    with client.batch(guard=guard, raise_on_error=False) as batch:
        pending = Lab(batch).get("{g}k")
    assert cast("Any", pending.exception()).outcome == "unknown"
    assert lab_of(client).get("{g}count") == b"1"


def test_a_guard_lost_with_a_reply_leaves_the_outcome_unknown(
    client: Any, proxy: WireProxy, servers: Servers
) -> None:
    guard = held(client)
    node = cast("Standalone", servers.get("embedded").nodes)
    seen: list[bytes] = []

    def decide(words: list[bytes]) -> Action:
        if words[0] != b"EVAL":
            return "forward"
        seen.append(words[0])
        if len(seen) == 1:
            return "drop"
        node.cli("DEL", guard.key)
        return "forward"

    proxy.script(decide)
    with client.batch(guard=guard, raise_on_error=False) as batch:
        pending = [Lab(batch).put("{g}k", "v"), Lab(batch).get("{g}k")]
    for one in pending:
        error = cast("Any", one.exception())
        assert type(error) is octavo.ConnectionLost
        assert (error.outcome, error.operation) == ("unknown", "batch")
    assert lab_of(client).get("{g}k") == b"v"


def test_a_batch_that_nobody_got_is_not_sent(connect: Connect) -> None:
    client: Any = connect("redis://127.0.0.1:1", timeout=0.3)
    with pytest.raises(BatchError) as caught, client.batch(guard=held(client)) as batch:
        Lab(batch).add("{g}n")
        Lab(batch).get("{g}k")
    assert {cast("Any", error).outcome for error in caught.value.exceptions} == {"not_sent"}

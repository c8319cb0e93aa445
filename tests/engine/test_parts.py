"""Commands of several parts, with more behind them, and openings: alone and in batches."""

# ruff: noqa: PT012 - a batch fails at its end, so all of it must be inside

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Unpack, cast

import pytest

import octavo
from octavo import BatchError
from octavo.engine.command import MISSING, Command, answer
from octavo.engine.keys import slot
from octavo.engine.script import Script
from tests.engine.lab import SCRIPTS, Lab, Steps, command, lab_of, whole
from tests.fix_servers import at_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.testing.proxy import Action, WireProxy
    from octavo.testing.servers import Cluster, Standalone
    from tests.fix_faces import Connect

    Send = Callable[[Command[Any]], Any]

pytestmark = pytest.mark.parametrize("face", ["sync", "async"])
Way = Literal["alone", "plain", "atomic"]
NOT_ATOMIC = pytest.mark.parametrize("way", ["alone", "plain"])


@pytest.fixture(params=["alone", "plain", "atomic"])
def way(request: pytest.FixtureRequest) -> Way:
    """How a command travels: by itself, or in a batch of that kind."""
    return cast("Way", request.param)


@pytest.fixture
def client(connect: Connect, proxy: WireProxy) -> Any:
    """A client behind the proxy, with a connection already there."""
    client = connect(proxy.url, timeout=3.0)
    lab_of(client).get("nothing")
    proxy.reset()
    return client


def sender(client: Any, way: Way) -> Send:
    """Return what carries a command that way, and returns its result or raises its error."""

    def send(one: Command[Any]) -> Any:
        if way == "alone":
            return lab_of(client).send(one)
        with client.batch(atomic=way == "atomic", raise_on_error=False) as batch:
            pending = Lab(batch).send(one)
        return pending.result()

    return send


@pytest.fixture
def lab(client: Any) -> Any:
    return lab_of(client)


@pytest.fixture
def send(client: Any, way: Way) -> Send:
    return sender(client, way)


def incr(lab: Any, name: str, **steps: Unpack[Steps]) -> Command[Any]:
    return command("INCR", lab.key(name), **steps)


def get(lab: Any, name: str, **steps: Unpack[Steps]) -> Command[Any]:
    steps["idempotent"] = True
    return command("GET", lab.key(name), **steps)


def wrong_type(lab: Any, **steps: Unpack[Steps]) -> Command[Any]:
    return command("HGET", lab.key("{x}text"), "field", **steps)


# What comes of the parts.


def test_parts_are_one_write_and_give_a_list(lab: Any, send: Send, proxy: WireProxy) -> None:
    assert send(whole(*(incr(lab, "{x}n") for _ in range(5)))) == [1, 2, 3, 4, 5]
    assert proxy.round_trips == 1


def test_a_whole_reads_the_results_of_its_parts(lab: Any, send: Send) -> None:
    parts = incr(lab, "{x}a"), incr(lab, "{x}a")
    assert send(whole(*parts, read=sum)) == 3
    assert send(whole(*parts, read=sum).map(str)) == "7"


def test_a_mapped_part_gives_what_it_is_mapped_to(lab: Any, send: Send, proxy: WireProxy) -> None:
    parts = [incr(lab, "{x}n").map(partial(divmod, 10)) for _ in range(3)]
    assert send(whole(*parts)) == [(10, 0), (5, 0), (3, 1)]
    assert proxy.round_trips == 1


def test_a_part_with_a_local_answer_is_not_sent(lab: Any, send: Send, proxy: WireProxy) -> None:
    there, absent = get(lab, "{x}k", local=lambda: "here"), get(lab, "{x}k", local=lambda: MISSING)
    assert send(whole(there, absent, answer(7))) == ["here", None, 7]
    assert proxy.commands["GET"] == 1


def test_a_whole_of_local_answers_sends_nothing(lab: Any, send: Send, proxy: WireProxy) -> None:
    assert send(whole(answer(1), whole(answer(2).map(str), answer(3)))) == [1, ["2", 3]]
    assert send(whole(incr(lab, "{x}n"), local=lambda: "here")) == "here"
    assert not proxy.commands


def test_follow_ups_of_parts_travel_together(lab: Any, send: Send, proxy: WireProxy) -> None:
    more = [incr(lab, f"{{x}}{i}") for i in range(3)]
    parts = [incr(lab, "{x}n", then=lambda n: more[int(n) - 1]) for _ in more]
    assert send(whole(*parts, incr(lab, "{x}n"))) == [1, 1, 1, 4]
    assert proxy.round_trips == 2


def test_a_whole_may_have_a_follow_up_which_may_have_parts(
    lab: Any, send: Send, proxy: WireProxy
) -> None:
    seen: list[Any] = []

    def follow(results: list[int]) -> Command[Any] | None:
        seen.append(results)
        return whole(*(incr(lab, "{x}n").map(str) for _ in results)) if results[0] < 3 else None

    assert send(whole(incr(lab, "{x}n"), incr(lab, "{x}n"), then=follow)) == ["3", "4"]
    assert proxy.round_trips == 2
    assert send(whole(incr(lab, "{x}n"), incr(lab, "{x}n"), then=follow)) == [5, 6]
    assert seen == [[1, 2], [5, 6]]


def test_parts_may_have_parts(lab: Any, send: Send, proxy: WireProxy) -> None:
    n = incr(lab, "{x}n")
    deep = whole(n, whole(n.map(str), whole(n, n, read=sum), answer("x")), whole(answer(0)), n)
    assert send(deep) == [1, ["2", 7, "x"], [0], 5]
    assert proxy.round_trips == 1


def test_a_follow_up_deep_in_the_parts_ends_all_of_them(lab: Any, send: Send) -> None:
    n = incr(lab, "{x}n")
    late = incr(lab, "{x}n", then=lambda first: whole(n, answer(first)))
    assert send(whole(whole(whole(late), n), n).map(str)) == "[[[[4, 1]], 2], 3]"


def test_a_script_may_be_a_part(lab: Any, send: Send, proxy: WireProxy) -> None:
    bump = Script(SCRIPTS / "bump.lua")((lab.key("{x}n"),), ("2",), int)
    assert send(whole(bump, bump)) == [2, 4]
    assert proxy.commands["EVAL"] == 1


# Errors.


def test_the_first_error_among_the_parts_is_the_wholes(lab: Any, send: Send) -> None:
    lab.put("{x}text", "x")
    refused = incr(lab, "{x}text")
    with pytest.raises(octavo.WrongType) as caught:
        send(whole(incr(lab, "{x}n"), wrong_type(lab), refused, incr(lab, "{x}n")))
    assert caught.value.operation == "lab.send"
    assert caught.value.key == lab.key("{x}text").decode()
    assert lab.get("{x}n") == b"2"
    with pytest.raises(octavo.ServerError, match="not an integer"):
        send(whole(incr(lab, "{x}n"), refused, wrong_type(lab)))


def test_a_whole_recovers_from_the_error_of_a_part(lab: Any, send: Send) -> None:
    lab.put("{x}text", "x")
    parts = incr(lab, "{x}n"), wrong_type(lab), incr(lab, "{x}n")
    assert send(whole(*parts, recover=lambda error: type(error).__name__)) == "WrongType"
    recovering = whole(*parts, recover=lambda error: error.code).map(str.lower)
    assert send(whole(recovering, incr(lab, "{x}n"))) == ["wrongtype", 5]


def test_a_part_recovers_for_itself(lab: Any, send: Send) -> None:
    lab.put("{x}text", "x")
    recovering = wrong_type(lab, recover=lambda _: "instead")
    more = incr(lab, "{x}m")
    assert send(whole(recovering, incr(lab, "{x}n"))) == ["instead", 1]
    assert send(whole(incr(lab, "{x}n"), recovering.map(str.upper), then=lambda _: more)) == 1


def test_what_the_recovery_of_a_part_raises_is_the_wholes_error(lab: Any, send: Send) -> None:
    def fail(error: Exception) -> None:
        raise LookupError from error

    lab.put("{x}text", "x")
    with pytest.raises(LookupError):
        send(whole(incr(lab, "{x}n"), wrong_type(lab, recover=fail)))


def test_a_fault_of_a_reader_is_not_hidden(lab: Any, send: Send) -> None:
    with pytest.raises(ZeroDivisionError):
        send(whole(incr(lab, "{x}n"), get(lab, "{x}n", read=lambda _: 1 // 0)))
    with pytest.raises(ZeroDivisionError):
        send(whole(incr(lab, "{x}n"), read=lambda _: 1 // 0, recover=lambda _: "hidden"))


def test_recovered_parts_still_lead_to_the_follow_up_when_nobody_can_log_in(
    connect: Connect, standalone: Standalone, way: Way
) -> None:
    standalone.cli("ACL", "SETUSER", "default", ">secret", "resetpass", ">secret")
    client = connect(standalone.url)
    lab = lab_of(client)
    parts = [get(lab, f"{{x}}{i}", recover=type) for i in range(2)]
    follow = get(lab, "{x}more", recover=type)
    seen = sender(client, way)(whole(*parts, then=lambda kinds: follow.map(kinds.count)))
    assert seen == 2  # AccessDenied, as both parts


# Lost connections and clusters.


def dropping(at: int) -> Callable[[list[bytes]], Action]:
    """Return what swallows the replies from the nth GET or INCR on, and cuts the connection."""
    seen = 0

    def decide(words: list[bytes]) -> Action:
        nonlocal seen
        seen += words[0] in (b"GET", b"INCR")
        return "drop" if seen == at else "forward"

    return decide


@NOT_ATOMIC
def test_parts_that_may_be_repeated_are_after_a_cut(lab: Any, send: Send, proxy: WireProxy) -> None:
    lab.put("{x}k", "v")
    proxy.script(dropping(3))
    parts = [incr(lab, "{x}n"), get(lab, "{x}k"), get(lab, "{x}k").map(bytes.upper)]
    assert send(whole(*parts)) == [1, b"v", b"V"]
    assert lab.get("{x}n") == b"1"


def test_a_part_that_may_not_be_repeated_is_unknown_after_a_cut(
    lab: Any, send: Send, proxy: WireProxy
) -> None:
    proxy.script(dropping(1))
    with pytest.raises(octavo.ConnectionLost) as caught:
        send(whole(incr(lab, "{x}n"), get(lab, "{x}k")))
    assert caught.value.outcome == "unknown"
    assert lab.get("{x}n") == b"1"


@pytest.mark.slow
@NOT_ATOMIC
def test_parts_go_to_their_nodes_in_one_write_each_at_the_same_time(
    connect: Connect, proxied_cluster: Cluster, way: Way
) -> None:
    client = connect(proxied_cluster.url)
    lab, send = lab_of(client), sender(client, way)
    names = [f"k-{i}" for i in range(60)]
    for name in names:
        lab.put(name, name)
    for proxy in proxied_cluster.proxies:
        proxy.reset()
    proxies = [proxied_cluster.proxy_of(node) for node in proxied_cluster.primaries]
    asked = at_once(proxies)
    found = send(whole(*(get(lab, name).map(bytes.decode) for name in names)))
    assert found == names
    assert not asked.broken
    assert [proxy.round_trips for proxy in proxies] == [1, 1, 1]


@pytest.mark.slow
@NOT_ATOMIC
def test_a_lost_node_is_asked_again_for_its_parts_only(
    connect: Connect, proxied_cluster: Cluster, way: Way
) -> None:
    client = connect(proxied_cluster.url)
    lab, send = lab_of(client), sender(client, way)
    names = [f"n-{i}" for i in range(30)]
    for name in names:
        lab.put(name, 0)
    lost = proxied_cluster.node_of(lab.key(names[0]))
    proxied_cluster.proxy_of(lost).drop_replies()
    parts = [
        (get if proxied_cluster.node_of(lab.key(name)) is lost else incr)(lab, name, read=int)
        for name in names
    ]
    assert send(whole(*parts)) == [part.words[0] == b"INCR" for part in parts]


@pytest.mark.slow
@NOT_ATOMIC
def test_a_moved_part_is_followed_by_itself(connect: Connect, cluster: Cluster, way: Way) -> None:
    client = connect(cluster.url)
    lab, send = lab_of(client), sender(client, way)
    names = ["{moving}n", *(f"n-{i}" for i in range(9))]
    whole_of = whole(*(incr(lab, name).map(int) for name in names))
    assert send(whole_of) == [1] * 10
    number = slot(lab.key(names[0]))
    former = cluster.node_of(number)
    cluster.migrate(number, next(node for node in cluster.primaries if node is not former))
    assert send(whole_of) == [2] * 10


@pytest.mark.slow
@NOT_ATOMIC
def test_a_part_that_has_gone_ahead_is_asked_for_by_itself(
    connect: Connect, cluster: Cluster, way: Way
) -> None:
    client = connect(cluster.url)
    lab, send = lab_of(client), sender(client, way)
    names = ["{asked}a", "{asked}b", *(f"n-{i}" for i in range(9))]
    whole_of = whole(*(incr(lab, name).map(int) for name in names))
    assert send(whole_of) == [1] * 11
    number = slot(lab.key(names[0]))
    former = cluster.node_of(number)
    target = next(node for node in cluster.primaries if node is not former)
    with cluster.migrating(number, target) as move:
        move(lab.key(names[0]).decode())
        assert send(whole_of) == [2] * 11
    assert send(whole_of) == [3] * 11


def test_parts_of_an_atomic_batch_are_in_its_transaction(
    client: Any, lab: Any, proxy: WireProxy
) -> None:
    with client.batch(atomic=True) as batch:
        first = Lab(batch).add("{x}n")
        several = Lab(batch).send(whole(incr(lab, "{x}n"), incr(lab, "{x}n").map(str)))
        last = Lab(batch).add("{x}n")
    assert (first.result(), several.result(), last.result()) == (1, [2, "3"], 4)
    assert proxy.commands == {"MULTI": 1, "INCRBY": 2, "INCR": 2, "EXEC": 1}


def test_an_atomic_batch_demands_one_slot_of_parts_too(
    client: Any, lab: Any, proxy: WireProxy
) -> None:
    torn = whole(incr(lab, "a"), whole(incr(lab, "b")))
    with pytest.raises(ValueError, match="same tag="), client.batch(atomic=True) as batch:
        Lab(batch).send(torn)
    assert not proxy.commands


def test_parts_of_a_transaction_that_is_refused_all_fail(client: Any, lab: Any) -> None:
    bad = command("INCR", lab.key("{x}n"), "too", "many")
    with pytest.raises(BatchError) as caught, client.batch(atomic=True) as batch:
        Lab(batch).send(whole(incr(lab, "{x}n"), bad))
        Lab(batch).send(whole(incr(lab, "{x}n"), incr(lab, "{x}n")))
    assert [type(error) for error in caught.value.exceptions] == [octavo.ServerError] * 2
    assert lab.get("{x}n") is None


# What is sent right behind.


def both(lab: Any, name: str) -> Command[Any]:
    key = lab.key(name)
    return command("PTTL", key, behind=((b"GET", key),), idempotent=True)


def test_what_is_behind_gives_its_reply_too_in_one_write(
    lab: Any, send: Send, proxy: WireProxy
) -> None:
    lab.put("{x}k", "v")
    proxy.reset()
    assert send(both(lab, "{x}k")) == [-1, b"v"]
    assert proxy.round_trips == 1
    several = whole(both(lab, "{x}k"), incr(lab, "{x}n"), both(lab, "{x}k").map(tuple))
    assert send(several) == [[-1, b"v"], 1, (-1, b"v")]
    assert proxy.round_trips == 2
    key = lab.key("{x}k")
    three = command("GET", key, behind=((b"EXISTS", key), (b"STRLEN", key)), idempotent=True)
    assert send(three) == [b"v", 1, 1]
    assert send(whole(three, both(lab, "{x}k"))) == [[b"v", 1, 1], [-1, b"v"]]
    assert proxy.round_trips == 4


def test_an_error_behind_is_the_error_of_what_may_be_repeated_only(lab: Any, send: Send) -> None:
    lab.put("{x}text", "x")
    refused = (b"HGET", lab.key("{x}text"), b"field")
    with pytest.raises(octavo.WrongType):
        send(command("PTTL", lab.key("{x}k"), behind=(refused,), idempotent=True))
    first, error = send(command("INCR", lab.key("{x}n"), behind=(refused,)))
    assert (first, str(error)[:9]) == (1, "WRONGTYPE")
    with pytest.raises(octavo.WrongType):
        send(wrong_type(lab, behind=((b"GET", lab.key("{x}k")),)))


@NOT_ATOMIC
def test_both_are_repeated_after_a_cut(lab: Any, send: Send, proxy: WireProxy) -> None:
    lab.put("{x}k", "v")
    proxy.script(dropping(1))
    assert send(both(lab, "{x}k")) == [-1, b"v"]
    proxy.script(dropping(2))  # the first reply is there, the one behind it is not
    with pytest.raises(octavo.ConnectionLost):
        send(incr(lab, "{x}n", behind=((b"GET", lab.key("{x}n")),)))
    assert lab.get("{x}n") == b"1"


@pytest.mark.slow
def test_what_is_behind_follows_redirects(connect: Connect, cluster: Cluster, way: Way) -> None:
    client = connect(cluster.url)
    lab, send = lab_of(client), sender(client, way)
    lab.put("{b}k", "v")
    lab.put("{b}stays", "w")
    number = slot(lab.key("{b}k"))
    former = cluster.node_of(number)
    target = next(node for node in cluster.primaries if node is not former)
    with cluster.migrating(number, target) as move:
        move(lab.key("{b}k").decode())
        for _ in range(3):
            assert send(both(lab, "{b}k")) == [-1, b"v"]
            assert send(both(lab, "{b}stays")) == [-1, b"w"]
    for _ in range(2):
        assert send(both(lab, "{b}k")) == [-1, b"v"]


# Openings.


def opening(lab: Any, follow: Callable[[Any], Command[Any] | None]) -> Command[Any]:
    return get(lab, "elsewhere", then=follow, opening=True)


def test_an_opening_goes_first_and_its_follow_up_with_the_others(
    client: Any, lab: Any, proxy: WireProxy
) -> None:
    lab.put("elsewhere", "5")
    proxy.reset()
    with client.batch(atomic=True) as batch:
        one = Lab(batch).add("{x}n")
        both_of = [
            Lab(batch).send(opening(lab, lambda by: command("INCRBY", lab.key("{x}n"), by)))
            for _ in range(2)
        ]
        last = Lab(batch).add("{x}n")
    assert [each.result() for each in (one, *both_of, last)] == [1, 6, 11, 12]
    assert proxy.round_trips == 2
    assert (proxy.commands["MULTI"], proxy.commands["EXEC"], proxy.commands["GET"]) == (1, 1, 2)


def test_an_opening_may_lead_to_an_opening(lab: Any, send: Send, proxy: WireProxy) -> None:
    second = command("PTTL", lab.key("other"), opening=True, then=lambda _: incr(lab, "{x}n"))
    assert send(opening(lab, lambda _: second).map(str)) == "1"
    assert proxy.round_trips == 3


def test_an_opening_may_lead_to_parts_or_to_a_local_answer(lab: Any, send: Send) -> None:
    several = whole(incr(lab, "{x}n").map(str), incr(lab, "{x}n"))
    assert send(opening(lab, lambda _: several)) == ["1", 2]
    assert send(opening(lab, lambda found: answer([found])).map(tuple)) == (None,)


def test_an_opening_that_fails_fails_the_whole_transaction(
    client: Any, lab: Any, proxy: WireProxy
) -> None:
    lab.put("{x}text", "x")
    proxy.reset()
    with client.batch(atomic=True, raise_on_error=False) as batch:
        good = Lab(batch).add("{x}n")
        bad = Lab(batch).send(wrong_type(lab, opening=True, then=lambda _: incr(lab, "{x}n")))
    assert isinstance(bad.exception(), octavo.WrongType)
    assert good.exception() is bad.exception()
    assert proxy.commands["MULTI"] == 0


def test_an_opening_that_recovers_has_its_result_and_lets_the_others_go_on(
    client: Any, lab: Any, proxy: WireProxy
) -> None:
    lab.put("{x}text", "x")
    proxy.reset()
    recovering = wrong_type(
        lab, opening=True, then=lambda _: incr(lab, "{x}n"), recover=lambda _: "instead"
    )
    with client.batch(atomic=True) as batch:
        good, recovered = Lab(batch).add("{x}n"), Lab(batch).send(recovering)
    assert (good.result(), recovered.result()) == (1, "instead")
    assert proxy.commands["HGET"] == 1


def test_the_keys_of_an_opening_may_be_anywhere(client: Any, lab: Any) -> None:
    with client.batch(atomic=True) as batch:
        pending = [
            Lab(batch).send(get(lab, f"k{i}", opening=True, then=lambda _: incr(lab, "{x}n")))
            for i in range(5)
        ]
    assert [one.result() for one in pending] == [1, 2, 3, 4, 5]


@pytest.mark.slow
def test_openings_on_a_cluster_go_to_their_own_nodes(connect: Connect, cluster: Cluster) -> None:
    client = connect(cluster.url)
    lab = lab_of(client)
    with client.batch(atomic=True) as batch:
        pending = [
            Lab(batch).send(get(lab, f"k{i}", opening=True, then=lambda _: incr(lab, "{x}n")))
            for i in range(9)
        ]
    assert [one.result() for one in pending] == list(range(1, 10))


def test_map_changes_the_result_wherever_it_comes_from(lab: Any, send: Send) -> None:
    lab.put("{x}text", "x")
    mapped = [
        answer(1),
        get(lab, "{x}k", local=lambda: MISSING, read=lambda _: 2),
        get(lab, "{x}k", then=lambda _: incr(lab, "{x}n", read=lambda _: 3)),
        wrong_type(lab, recover=lambda _: 4),
        whole(incr(lab, "{x}n"), read=lambda _: 5),
    ]
    assert [send(each.map(str).map(list)) for each in mapped] == [["1"], ["2"], ["3"], ["4"], ["5"]]


def test_a_lost_connection_is_mapped_when_recovered_from(
    lab: Any, send: Send, proxy: WireProxy
) -> None:
    proxy.script(dropping(1))
    lost = incr(lab, "{x}n", recover=lambda error: error.outcome)
    assert send(lost.map(str.upper)) == "UNKNOWN"

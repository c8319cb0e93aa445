"""Commands that are more than, or less than, a round trip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import pytest

import octavo
from octavo.engine.command import MISSING, Command, answer
from tests.engine.lab import Lab, Steps, command, lab_of

if TYPE_CHECKING:
    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Cluster
    from tests.fix_faces import Connect


def reading(lab: Any, name: str, **steps: Unpack[Steps]) -> Command[Any]:
    steps["idempotent"] = True
    return command("GET", lab.key(name), **steps)


def wrong_type(lab: Any, **steps: Unpack[Steps]) -> Command[Any]:
    return command("HGET", lab.key("text"), "field", **steps)


def test_a_local_answer_sends_nothing(lab: Any, proxy: WireProxy) -> None:
    assert lab.send(answer("here")) == "here"
    assert lab.send(reading(lab, "a", local=lambda: None)) is None
    assert not proxy.commands


def test_without_a_local_answer_the_command_is_sent(lab: Any, proxy: WireProxy) -> None:
    lab.put("a", "1")
    assert lab.send(reading(lab, "a", local=lambda: MISSING)) == b"1"
    assert proxy.round_trips == 2


def test_an_error_of_the_server_is_recovered_from(lab: Any) -> None:
    lab.put("text", "x")
    seen: list[Exception] = []

    def recover(error: Exception) -> str:
        seen.append(error)
        return "instead"

    assert lab.send(wrong_type(lab, recover=recover)) == "instead"
    assert isinstance(seen[0], octavo.WrongType)


def test_a_lost_connection_is_recovered_from(lab: Any, proxy: WireProxy) -> None:
    proxy.drop_replies()
    lost = command("INCR", lab.key("n"), recover=lambda error: error.outcome)
    assert lab.send(lost) == "unknown"


def test_nothing_listening_is_recovered_from(connect: Connect) -> None:
    lab = lab_of(connect("redis://127.0.0.1:1", timeout=0.1))
    lost = command("INCR", lab.key("n"), recover=lambda error: error.outcome)
    assert lab.send(lost) == "not_sent"


def test_an_error_of_the_reader_is_recovered_from(lab: Any) -> None:
    def read(_: object) -> None:
        raise octavo.DecodeError("unreadable")

    assert lab.send(reading(lab, "a", read=read, recover=lambda _: "instead")) == "instead"


def test_what_recover_raises_is_the_error(lab: Any) -> None:
    def recover(error: Exception) -> None:
        raise KeyError("no fallback") from error

    lab.put("text", "x")
    with pytest.raises(KeyError, match="no fallback"):
        lab.send(wrong_type(lab, recover=recover))


def test_a_success_needs_no_recovery(lab: Any) -> None:
    lab.put("a", "1")
    assert lab.send(reading(lab, "a", recover=lambda _: "instead")) == b"1"


def test_a_fault_of_the_reader_is_not_hidden(lab: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        lab.send(reading(lab, "a", read=lambda _: 1 // 0, recover=lambda _: "instead"))


def test_a_follow_up_gives_the_result_in_a_second_round_trip(lab: Any, proxy: WireProxy) -> None:
    lab.put("pointer", "a")
    lab.put("a", "found")
    proxy.reset()
    followed = reading(lab, "pointer", then=lambda name: reading(lab, name.decode()))
    assert lab.send(followed) == b"found"
    assert (proxy.round_trips, proxy.commands) == (2, {"GET": 2})


def test_no_follow_up_is_no_second_round_trip(lab: Any, proxy: WireProxy) -> None:
    lab.put("a", "1")
    proxy.reset()
    assert lab.send(reading(lab, "a", then=lambda _: None)) == b"1"
    assert proxy.round_trips == 1


def test_follow_ups_may_follow_each_other(lab: Any, proxy: WireProxy) -> None:
    def count(reply: int) -> Command[int] | None:
        return None if reply == 4 else command("INCR", lab.key("n"), then=count)

    assert lab.send(command("INCR", lab.key("n"), then=count)) == 4
    assert proxy.round_trips == 4


def test_a_follow_up_may_be_answered_locally(lab: Any, proxy: WireProxy) -> None:
    assert lab.send(reading(lab, "a", then=lambda _: answer("known"))) == "known"
    assert proxy.round_trips == 1


def test_a_follow_up_recovers_by_its_own_means(lab: Any) -> None:
    lab.put("text", "x")
    failing = wrong_type(lab, recover=lambda _: "its own")
    followed = reading(lab, "text", then=lambda _: failing, recover=lambda _: "the first's")
    assert lab.send(followed) == "its own"


def test_a_follow_up_that_fails_is_the_error_although_the_first_could_recover(lab: Any) -> None:
    lab.put("text", "x")
    followed = reading(lab, "text", then=lambda _: wrong_type(lab), recover=lambda _: "instead")
    with pytest.raises(octavo.WrongType):
        lab.send(followed)


def test_the_follow_ups_of_a_batch_travel_together(client: Octavo[Sync], proxy: WireProxy) -> None:
    lab = Lab(client)
    for i in range(20):
        lab.put(f"pointer-{i}", f"value-{i}")
        lab.put(f"value-{i}", i)
    proxy.reset()
    with client.batch() as batch:
        pending = [
            Lab(batch).send(
                reading(lab, f"pointer-{i}", then=lambda name: reading(lab, name.decode()))
            )
            for i in range(20)
        ]
        alone = Lab(batch).get("value-3")
    assert [one.result() for one in pending] == [b"%d" % i for i in range(20)]
    assert alone.result() == b"3"
    assert (proxy.round_trips, proxy.commands["GET"]) == (2, 41)


def test_a_batch_of_local_answers_sends_nothing(client: Octavo[Sync], proxy: WireProxy) -> None:
    with client.batch() as batch:
        pending = [Lab(batch).send(answer(i)) for i in range(3)]
    assert [one.result() for one in pending] == [0, 1, 2]
    assert not proxy.commands


@pytest.mark.slow
def test_a_follow_up_may_go_to_another_node(connect: Connect, cluster: Cluster) -> None:
    lab = lab_of(connect(cluster.url))
    names = [f"step-{i}" for i in range(12)]
    for name, value in zip(names, [*names[1:], "end"], strict=True):
        lab.put(name, value)

    def follow(reply: bytes) -> Command[bytes] | None:
        return None if reply == b"end" else reading(lab, reply.decode(), then=follow)

    assert len({cluster.node_of(lab.key(name)) for name in names}) == 3
    assert lab.send(command("GET", lab.key(names[0]), then=follow)) == b"end"

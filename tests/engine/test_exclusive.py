"""Commands that need a connection of their own, on the sync and on the async engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.testing.proxy import WireProxy
from octavo.testing.waiting import wait_until
from tests.engine.lab import command, lab_of, took
from tests.engine.relay import Relay

if TYPE_CHECKING:
    from octavo.testing.servers import Sentinels, Standalone
    from tests.fix_faces import Connect

pytestmark = pytest.mark.parametrize("face", ["sync", "async"])


@pytest.mark.slow
def test_a_wait_right_behind_a_write_answers_for_that_write(
    connect: Connect, sentinels: Sentinels
) -> None:
    lab = lab_of(connect(sentinels.url))
    for i in range(20):
        reply, replicas = lab.send(
            command("INCR", lab.key("n"), behind=(("WAIT", "2", "2000"),), block=2.0)
        )
        assert (reply, replicas) == (i + 1, 2)
    replicas = [node for node in sentinels.servers if node is not sentinels.primary]
    assert [node.cli("GET", lab.key("n")) for node in replicas] == ["20", "20"]


def test_a_write_and_its_wait_leave_in_one_write(connect: Connect, standalone: Standalone) -> None:
    with WireProxy(standalone.address, record=True) as proxy:
        lab = lab_of(connect(proxy.url))
        lab.get("nothing")
        proxy.reset()
        assert lab.send(command("INCR", lab.key("n"), behind=(("WAIT", "0", "10"),))) == [1, 0]
        assert proxy.round_trips == 1 + (proxy.accepted > 0)  # a connection of its own says HELLO
        assert [words[0] for words in proxy.requests][-2:] == [b"INCR", b"WAIT"]


def test_a_write_that_is_refused_raises_whatever_came_behind(lab: Any) -> None:
    lab.put("text", "x")
    with pytest.raises(octavo.ServerError, match="not an integer"):
        lab.send(command("INCR", lab.key("text"), behind=(("WAIT", "0", "10"),)))
    assert lab.send(command("INCR", lab.key("n"), behind=(("WAIT", "0", "10"),))) == [1, 0]


def test_a_write_that_may_have_arrived_without_what_comes_behind_is_not_sent_again(
    connect: Connect, standalone: Standalone
) -> None:
    with Relay(standalone.address) as relay:
        lab = lab_of(connect(relay.url, timeout=2.0))
        lab.send(command("INCR", lab.key("n"), behind=(("WAIT", "0", "10"),)))
        relay.cut_after = len(f"*2\r\n$4\r\nINCR\r\n${len(lab.key('n'))}\r\n\r\n") + len(
            lab.key("n")
        )
        with pytest.raises(octavo.ConnectionLost) as caught:
            lab.send(command("INCR", lab.key("n"), behind=(("ECHO", "x" * 20_000_000),)))
        assert caught.value.outcome == "unknown"
        wait_until(lambda: standalone.cli("GET", lab.key("n")) == "2", "it arrived")
        assert lab.send(command("INCR", lab.key("n"))) == 3


def test_a_blocking_command_may_outlast_the_timeout(connect: Connect, proxy: WireProxy) -> None:
    lab = lab_of(connect(proxy.url, timeout=0.5))
    with took(1, 4):
        assert lab.take("nothing", 1) is None


def test_a_blocking_command_ends_at_its_own_deadline(connect: Connect, proxy: WireProxy) -> None:
    lab = lab_of(connect(proxy.url, timeout=0.6))
    lab.take("nothing", 0.01)
    proxy.hold()
    with took(0.8, 1.8), pytest.raises(octavo.DeadlineExceeded):
        lab.take("nothing", 0.3)
    proxy.release()

"""What jobs have done before their client is closed: `Common.at_close`."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from tests.engine.lab import Lab, command, lab_of, took
from tests.fix_servers import redis_py

if TYPE_CHECKING:
    from octavo.engine.command import Command
    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Cluster
    from tests.fix_faces import Connect

FACES = pytest.mark.parametrize("face", ["sync", "async"])
FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class Holder:
    """Something that gives back what it holds when its client is closed."""

    def __init__(self, client: Any, key: str, *held: str) -> None:
        self._key = key
        self._held = held
        self._common = client._common
        self.register()

    def register(self) -> None:
        self._common.at_close(self.give_back)

    def give_back(self) -> Command[Any] | None:
        if not self._held:
            return None
        return command("RPUSH", self._key.encode(), *self._held)


def close(client: Any) -> None:
    """Close a client of either face, which its fixture closes once more."""
    client._face.close()


@FACES
def test_last_commands_are_carried_in_one_round_trip_before_the_client_is_closed(
    connect: Connect, proxy: WireProxy, prefix: str
) -> None:
    client = connect(proxy.url)
    holders = [Holder(client, f"{prefix}:given", "a"), Holder(client, f"{prefix}:given", "b", "c")]
    holders.append(Holder(client, f"{prefix}:nothing"))
    lab_of(client).get("k")
    proxy.reset()
    close(client)
    assert (proxy.round_trips, proxy.commands) == (1, {"RPUSH": 2})
    close(client)
    assert proxy.commands == {"RPUSH": 2}
    with redis_py(proxy.url) as outside:
        assert sorted(outside.lrange(f"{prefix}:given", 0, -1)) == ["a", "b", "c"]


@FACES
def test_each_node_of_a_cluster_gets_its_own(
    connect: Connect, cluster: Cluster, prefix: str
) -> None:
    client = connect(cluster.url)
    keys = [f"{prefix}:{i}" for i in range(12)]
    holders = [Holder(client, key, "x") for key in keys]
    close(client)
    assert len(holders) == sum(int(cluster.node_of(key).cli("LLEN", key)) for key in keys)


@FACES
def test_a_server_that_does_not_answer_holds_a_close_up_for_a_second(
    connect: Connect, proxy: WireProxy, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect(proxy.url, timeout=20.0)
    holder = Holder(client, f"{prefix}:given", "a")
    proxy.hold()
    with took(0.8, 3.0), caplog.at_level(logging.INFO, logger="octavo"):
        close(client)
    assert "DeadlineExceeded" in caplog.text
    caplog.clear()
    with took(0, 0.5), caplog.at_level(logging.INFO, logger="octavo"):
        close(client)
    assert not caplog.text
    proxy.release()
    del holder


@FACES
def test_an_error_is_logged_and_the_client_closed_all_the_same(
    connect: Connect, proxy: WireProxy, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect(proxy.url)
    lab = lab_of(client)
    lab.put("k", "no list")
    holders = [Holder(client, f"{prefix}:k", "a"), Holder(client, f"{prefix}:given", "b")]
    with caplog.at_level(logging.INFO, logger="octavo"):
        close(client)
    assert "WrongType" in caplog.text
    with pytest.raises(RuntimeError, match="closed"):
        lab.get("k")
    with redis_py(proxy.url) as outside:
        assert outside.llen(f"{prefix}:given") == 1
    del holders


async def test_a_cancelled_close_closes_all_the_same(proxy: WireProxy, prefix: str) -> None:
    client: Any = octavo.connect_async(proxy.url)
    await Lab(client).get("k")
    holder = Holder(client, f"{prefix}:given", "a")
    proxy.hold()
    closing = asyncio.create_task(client.aclose())
    await asyncio.sleep(0.05)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    with pytest.raises(RuntimeError, match="closed"):
        await Lab(client).get("k")
    proxy.release()
    del holder


def test_who_has_gone_has_nothing_done_and_is_not_kept(proxy: WireProxy, prefix: str) -> None:
    client: Any = octavo.connect(proxy.url)
    holder = Holder(client, f"{prefix}:given", "a")
    gone = weakref.ref(holder)
    gc.disable()
    try:
        del holder
        assert gone() is None
    finally:
        gc.enable()
    client.close()
    assert not proxy.commands["RPUSH"]


@FORKS
@pytest.mark.parametrize("again", [False, True], ids=["inherited", "again"])
def test_a_forked_child_does_only_what_it_was_given_itself(
    proxy: WireProxy, prefix: str, again: bool
) -> None:
    client: Any = octavo.connect(proxy.url)
    holder = Holder(client, f"{prefix}:given", "a")
    pid = os.fork()
    if pid == 0:
        if again:
            holder.register()
        client.close()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert proxy.commands["RPUSH"] == again
    client.close()
    assert proxy.commands["RPUSH"] == again + 1

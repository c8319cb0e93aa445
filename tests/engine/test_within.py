"""Commands that end sooner than the client's timeout: `Command.within`."""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import octavo
from octavo.engine.script import Script
from octavo.testing.waiting import wait_until
from tests.engine.lab import SCRIPTS, Lab, async_lab, command, eventually, lab_of, took, whole
from tests.engine.test_aio import channel_of, gathered

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from octavo.engine.command import Command
    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Cluster, Sentinels, Standalone
    from tests.fix_faces import Connect

FACES = pytest.mark.parametrize("face", ["sync", "async"])
SYNC = pytest.mark.parametrize("face", ["sync"])
IDEMPOTENT = pytest.mark.parametrize("idempotent", [True, False], ids=["idempotent", "not"])

SOON = 0.15


def hurried(one: Command[Any], within: float = SOON) -> Command[Any]:
    """Return the same command with little time."""
    return msgspec.structs.replace(one, within=within)


def echo(text: str, within: float = SOON) -> Command[Any]:
    return hurried(command("ECHO", None, text), within)


@contextmanager
def gives_up(outcome: str) -> Generator[None]:
    """Check that a command ends in good time, and says what became of it."""
    with took(SOON * 0.8, SOON + 0.7), pytest.raises(octavo.DeadlineExceeded) as caught:
        yield
    assert caught.value.outcome == outcome


# Who gives up, and when.


@FACES
@IDEMPOTENT
def test_a_command_to_a_stopped_server_ends_when_it_says(
    connect: Connect, standalone: Standalone, prefix: str, idempotent: bool
) -> None:
    lab = lab_of(connect(standalone.url, timeout=20.0))
    lab.get("k")
    standalone.pause()
    key = f"{prefix}:k".encode()
    for _ in range(2):  # the second one has to connect first, in sync code
        with took(SOON * 0.8, SOON + 0.7), pytest.raises(octavo.DeadlineExceeded):
            lab.send(hurried(command("INCR", key, idempotent=idempotent)))
    standalone.resume()
    assert lab.get("k") in (b"1", b"2")


@FACES
def test_a_lost_reply_is_of_unknown_outcome(connect: Connect, proxy: WireProxy) -> None:
    lab = lab_of(connect(proxy.url, timeout=20.0))
    lab.get("k")
    proxy.hold()
    with gives_up("unknown"):
        lab.send(echo("x"))


@pytest.fixture(params=["silent", "full"])
def black_hole(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that answers nobody, or does not even let anybody connect."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address: tuple[str, int] = listener.getsockname()
        listener.listen(128 if request.param == "silent" else 0)
        waiting = [socket.socket() for _ in range(0 if request.param == "silent" else 3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        yield f"127.0.0.1:{address[1]}"
        for one in waiting:
            one.close()


@FACES
@pytest.mark.parametrize("scheme", ["redis", "redis+cluster"])
def test_connecting_and_discovering_are_part_of_the_time(
    connect: Connect, black_hole: str, scheme: str
) -> None:
    lab = lab_of(connect(f"{scheme}://{black_hole}", timeout=3.0))
    for _ in range(2):
        with gives_up("not_sent"):
            lab.send(echo("x"))


@FACES
def test_waiting_for_sentinels_is_part_of_the_time(connect: Connect, sentinels: Sentinels) -> None:
    for one in sentinels.sentinels:
        one.pause()
    lab = lab_of(connect(sentinels.url, timeout=3.0))
    with gives_up("not_sent"):
        lab.send(echo("x"))


@FACES
def test_trying_again_is_part_of_the_time(connect: Connect, proxy: WireProxy, prefix: str) -> None:
    lab = lab_of(connect(proxy.url, timeout=20.0))
    always = Script(SCRIPTS / "comes_back.lua")((f"{prefix}:tries".encode(),), ("BUSY",), int)
    with took(0, SOON + 0.5), pytest.raises(octavo.Unavailable):
        lab.send(hurried(always))
    assert int(lab.get("tries")) > 1


@FACES
def test_when_nothing_listens_a_command_ends_when_it_says(connect: Connect) -> None:
    lab = lab_of(connect("redis://127.0.0.1:1", timeout=20.0))
    with took(0, SOON + 0.5), pytest.raises(octavo.DeadlineExceeded) as caught:
        lab.send(echo("x"))
    assert caught.value.outcome == "not_sent"


@FACES
def test_the_clients_timeout_rules_if_it_is_sooner(connect: Connect, proxy: WireProxy) -> None:
    lab = lab_of(connect(proxy.url, timeout=SOON))
    lab.get("k")
    proxy.hold()
    with gives_up("unknown"):
        lab.send(echo("x", within=20.0))


@FACES
def test_a_blocking_command_ends_when_it_says(connect: Connect, proxy: WireProxy) -> None:
    lab = lab_of(connect(proxy.url, timeout=1.0))
    lab.get("k")
    with gives_up("unknown"):
        lab.send(hurried(command("BLPOP", b"list", 10, block=10.0)))
    # Later than the timeout, sooner than the block.
    with took(1.5, 2.5), pytest.raises(octavo.DeadlineExceeded):
        lab.send(hurried(command("BLPOP", b"list", 10, block=10.0), within=1.6))


@FACES
def test_time_enough_changes_nothing(connect: Connect, proxy: WireProxy) -> None:
    lab = lab_of(connect(proxy.url))
    for i in range(50):
        assert lab.send(echo(f"{i}", within=5.0)) == b"%d" % i
    assert proxy.accepted == 1


# What takes longer than anybody waits.


@FACES
def test_a_connection_that_takes_longer_than_any_caller_waits_is_made_all_the_same(
    connect: Connect, proxy: WireProxy
) -> None:
    lab = lab_of(connect(proxy.url, timeout=20.0))
    proxy.delay(reply=SOON * 2)
    with gives_up("not_sent"):
        lab.send(echo("x"))
    wait_until(lambda: not errands(), "nobody is connecting any more")
    assert lab.send(echo("x", within=5.0)) == b"x"
    assert proxy.accepted == 1


def errands() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "octavo-errand"]


@FACES
def test_a_discovery_that_takes_longer_than_any_caller_waits_is_made_all_the_same(
    connect: Connect, proxied_cluster: Cluster
) -> None:
    client: Any = connect(proxied_cluster.url, timeout=20.0)
    lab = lab_of(client)
    for proxy in proxied_cluster.proxies:
        proxy.delay(reply=SOON * 2)
    with gives_up("not_sent"):
        lab.send(hurried(command("GET", b"k")))
    assert not client._common.topology.primaries()
    wait_until(client._common.topology.primaries, "the nodes are known")


@FACES
def test_a_patient_discovery_holds_up_nobody_in_a_hurry(connect: Connect, black_hole: str) -> None:
    lab = lab_of(connect(f"redis+cluster://{black_hole}", timeout=2.0))
    with ThreadPoolExecutor(1) as pool:
        patient = pool.submit(lab.get, "k")
        with gives_up("not_sent"):
            lab.send(echo("x"))
        assert not patient.done()
        assert isinstance(patient.exception(), octavo.DeadlineExceeded)


@FACES
def test_what_is_wrong_with_a_connection_is_told_to_those_in_a_hurry(
    connect: Connect, standalone: Standalone
) -> None:
    standalone.cli("ACL", "SETUSER", "me", "on", ">right", "~*", "+@all")
    lab = lab_of(connect(f"redis://me:wrong@{standalone.address}"))
    for _ in range(2):
        with pytest.raises(octavo.AccessDenied):
            lab.send(echo("x", within=1.9))


@SYNC
def test_a_crowd_in_a_hurry_opens_few_connections_to_who_does_not_answer(
    connect: Connect, proxy: WireProxy
) -> None:
    lab = lab_of(connect(proxy.url, timeout=20.0))
    proxy.hold()

    def ask(_: int) -> str:
        with pytest.raises(octavo.DeadlineExceeded) as caught:
            lab.send(echo("x"))
        return caught.value.outcome

    with ThreadPoolExecutor(30) as pool:
        assert set(pool.map(ask, range(90))) == {"not_sent"}
    assert 1 <= proxy.accepted <= 30
    proxy.release()


# Of what it is the time.


@FACES
def test_parts_end_when_the_whole_says(connect: Connect, proxy: WireProxy) -> None:
    lab = lab_of(connect(proxy.url, timeout=20.0))
    lab.get("k")
    proxy.hold()
    parts = [echo("a", within=10.0), command("ECHO", None, "b")]
    with gives_up("unknown"):
        lab.send(hurried(whole(*parts)))


@FACES
def test_parts_wait_for_discovery_no_longer_than_the_whole_says(
    connect: Connect, black_hole: str
) -> None:
    lab = lab_of(connect(f"redis+cluster://{black_hole}", timeout=3.0))
    with gives_up("not_sent"):
        lab.send(hurried(whole(command("ECHO", None, "a"))))


@FACES
def test_a_follow_up_has_a_time_of_its_own(connect: Connect, proxy: WireProxy) -> None:
    lab = lab_of(connect(proxy.url, timeout=20.0))
    lab.get("k")
    proxy.delay(reply=0.3)
    second = command("ECHO", None, "second")
    assert lab.send(command("ECHO", None, "1", within=0.4, then=lambda _: second)) == b"second"
    with pytest.raises(octavo.DeadlineExceeded):
        lab.send(command("ECHO", None, "first", then=lambda _: echo("second")))


@FACES
@pytest.mark.parametrize("atomic", [False, True], ids=["plain", "atomic"])
def test_in_a_batch_the_batchs_timeout_stands(
    connect: Connect, proxy: WireProxy, atomic: bool
) -> None:
    client = connect(proxy.url)
    lab_of(client).get("k")
    proxy.delay(reply=SOON * 2)
    with client.batch(atomic=atomic) as batch:
        said = [Lab(batch).send(echo("x")), Lab(batch).send(whole(echo("y")))]
    assert [one.result() for one in said] == [b"x", [b"y"]]


@FACES
def test_an_error_of_giving_up_can_be_recovered(connect: Connect, proxy: WireProxy) -> None:
    lab = lab_of(connect(proxy.url, timeout=20.0))
    lab.get("k")
    proxy.hold()
    one = command("ECHO", None, "x", recover=lambda error: type(error).__name__)
    assert lab.send(hurried(one)) == "DeadlineExceeded"


# Threads.


@SYNC
def test_a_late_reply_is_not_the_next_threads(connect: Connect, proxy: WireProxy) -> None:
    lab = lab_of(connect(proxy.url))
    for i in range(5):
        proxy.delay(reply=0.1)
        with pytest.raises(octavo.DeadlineExceeded):
            lab.send(echo(f"late-{i}", within=0.03))
        proxy.delay()
        assert lab.send(command("ECHO", None, f"next-{i}")) == b"next-%d" % i
    wait_until(lambda: proxy.connections == 1, "the others are closed")


@SYNC
def test_a_connection_has_each_commands_time_in_turn(connect: Connect, proxy: WireProxy) -> None:
    lab = lab_of(connect(proxy.url))
    for _ in range(2):
        proxy.delay()
        assert lab.send(echo("quick")) == b"quick"
        proxy.delay(reply=SOON * 2)
        assert lab.send(command("ECHO", None, "slow")) == b"slow"
        assert proxy.accepted == 1
    with gives_up("unknown"):
        lab.send(echo("slow"))


# Tasks, which share a connection.


@pytest.mark.parametrize(
    "hurrying",
    [
        [echo("a"), echo("b")],
        [hurried(whole(echo("a"), echo("b")))],
        [hurried(command("ECHO", None, "a", behind=((b"PING",),)))],
    ],
    ids=["plain", "whole", "behind"],
)
async def test_those_who_share_the_connection_do_not_notice(
    proxy: WireProxy, prefix: str, hurrying: list[Command[Any]]
) -> None:
    async with async_lab(proxy.url, prefix, timeout=20.0) as lab:
        await lab.get("k")
        channel = channel_of(lab)
        proxy.hold()
        both = asyncio.gather(*(asyncio.create_task(lab.send(one)) for one in hurrying))
        await asyncio.sleep(0)
        others = [asyncio.create_task(lab.send(command("ECHO", None, f"{i}"))) for i in range(5)]
        with gives_up("unknown"):
            await both
        proxy.release()
        assert await asyncio.gather(*others) == [b"%d" % i for i in range(5)]
        assert await lab.send(echo("mine", within=5.0)) == b"mine"
        assert channel_of(lab) is channel
    assert proxy.accepted == 1


async def test_a_caller_who_gives_up_in_line_is_not_sent(proxy: WireProxy, prefix: str) -> None:
    async with async_lab(proxy.url, prefix, max_in_flight=1, timeout=20.0) as lab:
        proxy.hold()
        first = asyncio.create_task(lab.get("k"))
        await asyncio.sleep(0)
        with gives_up("not_sent"):
            await lab.send(hurried(command("INCR", lab.key("n"))))
        proxy.release()
        await first
        assert await lab.get("n") is None
    assert proxy.accepted == 1


@pytest.mark.parametrize(
    "hurrying", [echo("x", 0.45), hurried(whole(echo("x")), 0.45)], ids=["plain", "whole"]
)
async def test_the_first_on_a_connection_does_not_end_it_for_others(
    proxy: WireProxy, prefix: str, hurrying: Command[Any]
) -> None:
    client = octavo.connect_async(proxy.url, prefix=prefix, timeout=20.0)
    lab = Lab(client)
    proxy.delay(reply=0.3)
    first = asyncio.create_task(lab.send(hurrying))
    await asyncio.sleep(0)
    other = asyncio.create_task(lab.get("k"))
    with pytest.raises(octavo.DeadlineExceeded):
        await first
    assert await other is None
    await client.aclose()
    assert proxy.accepted == 1


async def test_a_caller_who_gives_up_connecting_leaves_it_to_the_others(
    proxy: WireProxy, prefix: str
) -> None:
    client = octavo.connect_async(proxy.url, prefix=prefix, timeout=20.0, connect_timeout=10.0)
    lab = Lab(client)
    proxy.hold()
    hurrying = asyncio.create_task(lab.send(hurried(command("INCR", lab.key("n")))))
    await asyncio.sleep(0)
    patient = asyncio.create_task(lab.get("n"))
    with gives_up("not_sent"):
        await hurrying
    proxy.release()
    assert await patient is None
    await client.aclose()
    assert proxy.accepted == 1


async def test_callers_who_give_up_at_any_moment_never_shift_a_reply(
    proxy: WireProxy, prefix: str
) -> None:
    outcomes: list[str] = []
    async with async_lab(proxy.url, prefix, timeout=20.0) as lab:
        await lab.get("k")
        channel: Any = channel_of(lab)
        proxy.delay(reply=0.01)

        async def ask(text: str) -> None:
            within = random.choice((None, 0.005, 0.01, 0.011, random.uniform(0, 0.03)))
            one = command("ECHO", None, text)
            try:
                reply = await lab.send(one if within is None else hurried(one, within))
            except octavo.DeadlineExceeded:
                assert within is not None
                outcomes.append("late")
            else:
                assert reply == text.encode()
                outcomes.append("answered")

        for i in range(30):
            await asyncio.gather(*(ask(f"{i}-{j}") for j in range(50)))
        assert channel_of(lab) is channel
        await eventually(lambda: not channel._in_flight, "every reply has come")
        await eventually(lambda: not channel._hurried, "nobody is waited with any more")
    assert min(outcomes.count("late"), outcomes.count("answered")) > 100


async def test_a_connection_that_answers_nobody_is_replaced_at_the_timeout(
    standalone: Standalone, proxy_of: Any, prefix: str
) -> None:
    proxy = proxy_of(standalone)
    async with async_lab(proxy.url, prefix, timeout=1.0, connect_timeout=1.0) as lab:
        await lab.get("k")
        channel = channel_of(lab)
        proxy.hold()
        assert await gathered(*(lab.send(echo(f"{i}")) for i in range(20))) == {
            "DeadlineExceeded unknown": 20
        }
        assert not channel.closed
        await eventually(lambda: channel.closed, "it was given up")
        proxy.release()
        assert await lab.send(echo("x", within=5.0)) == b"x"


async def test_one_who_gives_up_has_no_node_discovered_anew(proxied_cluster: Cluster) -> None:
    async with octavo.connect_async(proxied_cluster.url) as client:
        lab = Lab(client)
        await lab.get("k")
        for proxy in proxied_cluster.proxies:
            proxy.reset()
            proxy.delay(reply=0.2)
        with pytest.raises(octavo.DeadlineExceeded):
            await lab.send(hurried(command("GET", lab.key("k")), within=0.05))
        with pytest.raises(octavo.DeadlineExceeded):
            await lab.send(hurried(whole(command("GET", lab.key("k"))), within=0.05))
        for proxy in proxied_cluster.proxies:
            proxy.delay()
        await lab.get("k")
        assert not any(proxy.commands["CLUSTER"] for proxy in proxied_cluster.proxies)


async def test_a_node_to_which_nobody_connects_is_doubted_though_nobody_waits(
    proxied_cluster: Cluster,
) -> None:
    client: Any = octavo.connect_async(proxied_cluster.url, connect_timeout=0.5)
    key = b"k"
    async with client.batch() as batch:  # which discovers the nodes, and connects to one
        Lab(batch).send(command("GET", b"another"))
    for proxy in proxied_cluster.proxies:
        proxy.hold()
    with gives_up("not_sent"):
        await Lab(client).send(hurried(command("GET", key)))
    topology = client._engine.topology
    assert topology.endpoint((key,)) is not None
    await eventually(lambda: topology.endpoint((key,)) is None, "it is to be discovered anew")
    await client.aclose()


@FACES
def test_those_who_give_up_find_the_new_primary_all_the_same(
    connect: Connect, sentinels: Sentinels
) -> None:
    lab = lab_of(connect(sentinels.url, timeout=1.0, connect_timeout=1.0))
    lab.put("k", "v")
    old = sentinels.primary
    old.pause()

    def writes() -> bool:
        try:
            lab.send(hurried(command("SET", b"k", "w")))
        except octavo.OctavoError:
            time.sleep(0.02)
            return False
        return True

    wait_until(writes, "somebody takes writes", timeout=30)
    old.resume()


# Links.


@FACES
def test_a_link_outlives_those_who_give_up_on_it(
    connect: Connect, standalone: Standalone, prefix: str
) -> None:
    client: Any = connect(standalone.url, timeout=20.0)
    lab = lab_of(client)
    tracker = client._common.tracker

    def tracked(within: float) -> Any:
        ticket = tracker.ticket()
        key = f"{prefix}:k".encode()
        reply = lab.send(hurried(command("GET", key, tracked=(ticket,)), within))
        return ticket.link, reply

    wait_until(lambda: tracked(5.0)[0] is not None, "the link is up")
    lab.put("k", "v")
    link, reply = tracked(5.0)
    assert reply == b"v"
    standalone.pause()
    with gives_up("unknown"):
        tracked(SOON)
    standalone.resume()
    lab.put("k", "w")
    assert tracked(5.0) == (link, b"w")


# What is left.


LEAVING = """
import asyncio, gc, socket, sys, threading
import msgspec, octavo
from tests.engine.lab import Lab, command, whole

hurried = msgspec.structs.replace(command("ECHO", None, "x"), within=0.05)
several = msgspec.structs.replace(whole(hurried, hurried), within=0.05)

def give_up(url):
    with octavo.connect(url) as db:  # which connects
        hold()
        for one in (hurried, several, hurried):
            try:
                Lab(db).send(one)
                raise SystemExit("there was an answer")
            except octavo.DeadlineExceeded:
                pass
    fresh = octavo.connect(url)
    try:
        Lab(fresh).send(hurried)
        raise SystemExit("there was an answer")
    except octavo.DeadlineExceeded:
        pass
    fresh.close()
    release()
    while any(one.name == "octavo-errand" for one in threading.enumerate()):
        pass

async def give_up_async(url):
    async with octavo.connect_async(url) as db:
        hold()
        work = [Lab(db).send(one) for one in (hurried, several) * 5]
        for outcome in await asyncio.gather(*work, return_exceptions=True):
            assert type(outcome) is octavo.DeadlineExceeded, outcome
    fresh = octavo.connect_async(url)
    outcomes = await asyncio.gather(Lab(fresh).send(hurried), return_exceptions=True)
    assert type(outcomes[0]) is octavo.DeadlineExceeded, outcomes
    await fresh.aclose()
    release()

def hold():
    sys.stdout.write("hold\\n"), sys.stdout.flush(), sys.stdin.readline()

def release():
    sys.stdout.write("release\\n"), sys.stdout.flush(), sys.stdin.readline()

give_up(sys.argv[1])
asyncio.run(give_up_async(sys.argv[1]))
gc.collect()
"""


def test_those_who_give_up_leave_nothing_to_warn_of(proxy: WireProxy) -> None:
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", LEAVING, proxy.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            {"hold": proxy.hold, "release": proxy.release}[line.strip()]()
            process.stdin.write("\n")
            process.stdin.flush()
        said = process.stderr.read()
    assert process.returncode == 0, said
    assert "Warning" not in said, said
    wait_until(lambda: proxy.connections == 0, "no connection is left")

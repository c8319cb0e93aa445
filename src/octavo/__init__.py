"""Eight jobs people give Redis, as one typed library.

    import octavo

    with octavo.connect() as db:
        board = db.leaderboard("season-1")
        board.submit("ada", 120)
        board.top(3)

`connect()` without a URL uses `OCTAVO_URL`, or else an embedded server that starts by itself.
"""

from __future__ import annotations

import logging
import math
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from octavo.client import Octavo
from octavo.engine.aio import AsyncEngine
from octavo.engine.command import Async, Batch, Pending, Sync
from octavo.engine.keys import check_prefix
from octavo.engine.script import ONCE_TTL
from octavo.engine.sync import SyncEngine
from octavo.engine.telemetry import OpenTelemetry
from octavo.engine.topology import make_topology
from octavo.engine.url import parse_url
from octavo.errors import (
    AccessDenied,
    BatchError,
    BrokenBarrier,
    ConfigMismatch,
    ConnectionLost,
    DeadlineExceeded,
    DecodeError,
    EmbeddedError,
    FactoryTimeout,
    LockLost,
    LockTimeout,
    NotReplicated,
    OctavoError,
    OutOfMemory,
    PrecisionLost,
    RateLimited,
    SeasonClosed,
    SeasonNotFound,
    ServerError,
    StaleFence,
    SubmissionRefused,
    Unavailable,
    WouldDeadlock,
    WriteRefused,
    WrongType,
)

if TYPE_CHECKING:
    from redis.credentials import CredentialProvider

    from octavo.cache import Local
    from octavo.engine.telemetry import Telemetry
    from octavo.engine.topology import Topology
    from octavo.leaderboards import Events, Period, Rules, Tiers, Window
    from octavo.locks import Redlock
    from octavo.ratelimit import Ban, Concurrency, Limit, Quota

__all__ = [
    "AccessDenied",
    "Async",
    "Ban",
    "Batch",
    "BatchError",
    "BrokenBarrier",
    "Concurrency",
    "ConfigMismatch",
    "ConnectionLost",
    "DeadlineExceeded",
    "DecodeError",
    "EmbeddedError",
    "Events",
    "FactoryTimeout",
    "Limit",
    "Local",
    "LockLost",
    "LockTimeout",
    "NotReplicated",
    "Octavo",
    "OctavoError",
    "OpenTelemetry",
    "OutOfMemory",
    "Pending",
    "Period",
    "PrecisionLost",
    "Quota",
    "RateLimited",
    "Redlock",
    "Rules",
    "SeasonClosed",
    "SeasonNotFound",
    "ServerError",
    "StaleFence",
    "SubmissionRefused",
    "Sync",
    "Tiers",
    "Unavailable",
    "Window",
    "WouldDeadlock",
    "WriteRefused",
    "WrongType",
    "__version__",
    "connect",
    "connect_async",
]

__version__ = "0.1.0"

log = logging.getLogger("octavo")
log.addHandler(logging.NullHandler())


_VALUES = {
    "Local": "octavo.cache",
    "Redlock": "octavo.locks",
    **dict.fromkeys(("Ban", "Concurrency", "Limit", "Quota"), "octavo.ratelimit"),
    **dict.fromkeys(("Events", "Period", "Rules", "Tiers", "Window"), "octavo.leaderboards"),
}


def __getattr__(name: str) -> Any:
    # Jobs load at first use, and so do the values that configure them.
    if (job := _VALUES.get(name)) is not None:
        return getattr(import_module(job), name)
    raise AttributeError(f"module 'octavo' has no attribute {name!r}")


def connect(
    url: str | None = None,
    *,
    prefix: str = "octavo",
    timeout: float = 5.0,
    connect_timeout: float = 2.0,
    credential_provider: CredentialProvider | None = None,
    telemetry: Telemetry | None = None,
) -> Octavo[Sync]:
    """Return a client for sync code. Starts and sends nothing until the first operation or `with`.

    Args:
        url: `embedded://[directory]`, `embedded://?ephemeral`, `redis://`, `rediss://`,
            `unix://`, `valkey://`, `redis+sentinel://host:port,.../service/db` or
            `redis+cluster://host:port,...`. None takes the environment's `OCTAVO_URL`, and
            without that the embedded server in `./.octavo`.
        prefix: what all keys begin with.
        timeout: seconds that an operation may take, retries included; less than 60.
        connect_timeout: seconds that opening a connection may take.
        credential_provider: a redis-py provider, instead of the URL's user and password.
        telemetry: stands around each operation; `octavo.OpenTelemetry()`.

    Raises:
        ValueError: an argument is malformed; nothing was sent.
    """
    topology = _topology(url, connect_timeout, credential_provider)
    engine = SyncEngine(
        topology,
        timeout=_timeout(timeout),
        connect_timeout=connect_timeout,
        telemetry=telemetry,
    )
    return Octavo(engine, check_prefix(prefix))


def connect_async(
    url: str | None = None,
    *,
    prefix: str = "octavo",
    timeout: float = 5.0,
    connect_timeout: float = 2.0,
    max_in_flight: int = 10_000,
    credential_provider: CredentialProvider | None = None,
    telemetry: Telemetry | None = None,
) -> Octavo[Async]:
    """Return a client for asyncio. Starts and sends nothing until the first operation or `with`.

    One client serves any number of tasks, over one connection per node, and several event loops.

    Args:
        url: as for `connect`.
        prefix: what all keys begin with.
        timeout: seconds that an operation may take, retries included; less than 60.
        connect_timeout: seconds that opening a connection may take.
        max_in_flight: operations a node may have unanswered; further callers wait.
        credential_provider: a redis-py provider, instead of the URL's user and password.
        telemetry: stands around each operation; `octavo.OpenTelemetry()`.

    Raises:
        ValueError: an argument is malformed; nothing was sent.
    """
    if type(max_in_flight) is not int or max_in_flight < 1:
        raise ValueError(f"max_in_flight must be an int of at least 1, not {max_in_flight!r}")
    engine = AsyncEngine(
        _topology(url, connect_timeout, credential_provider),
        timeout=_timeout(timeout),
        connect_timeout=connect_timeout,
        max_in_flight=max_in_flight,
        telemetry=telemetry,
    )
    return Octavo(engine, check_prefix(prefix))


def _topology(
    url: str | None, connect_timeout: float, credentials: CredentialProvider | None
) -> Topology:
    chosen = os.environ.get("OCTAVO_URL") or "embedded://" if url is None else url
    target = parse_url(chosen)
    if credentials is not None and target.options.keys() & {"username", "password"}:
        raise ValueError("credential_provider is given, and the url has credentials too: drop one")
    if url is None:
        log.info("octavo uses %s", target)
    options: dict[str, Any] = {} if credentials is None else {"credential_provider": credentials}
    return make_topology(target, options, _seconds("connect_timeout", connect_timeout))


def _timeout(value: object) -> float:
    seconds = _seconds("timeout", value)
    if seconds >= ONCE_TTL:
        # A retry must find the reply that a once-script has kept.
        raise ValueError(f"timeout must be less than {ONCE_TTL:.0f} seconds, not {value!r}")
    return seconds


def _seconds(parameter: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{parameter} must be a number of seconds, not {value!r}")
    if not 0 < value < math.inf:
        raise ValueError(f"{parameter} must be more than 0 and finite, not {value!r}")
    return float(value)

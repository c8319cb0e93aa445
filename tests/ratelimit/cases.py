"""A limit of each kind, a call of each operation, and what a server has stored of it all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args

from octavo.ratelimit import Concurrency, Limit, Limiter, Quota
from octavo.ratelimit.limits import Algorithm
from octavo.testing.servers import Standalone

if TYPE_CHECKING:
    from octavo.ratelimit import Rule
    from tests.fix_servers import Server

ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)

# Three of each, of which time gives nothing back while a test runs.
THROTTLES: dict[str, Rule] = {
    **{algorithm: Limit("3/hour", algorithm=algorithm, name="rule") for algorithm in ALGORITHMS},
    "quota": Quota("3/year", name="rule"),
}
RULES: dict[str, Rule] = THROTTLES | {"concurrency": Concurrency(3, lease=3600, name="rule")}

OPERATIONS = {
    name
    for name, attribute in vars(Limiter).items()
    if getattr(attribute, "__octavo__", None) == "operation"
}

Operate = Callable[[Any, Any], Any]

# Each is given a limiter, and a decision that it has made.
QUESTIONS: dict[str, Operate] = {
    "hit": lambda limiter, _: limiter.hit("ada"),
    "check": lambda limiter, _: limiter.check({"rule": "ada"}),
    "peek": lambda limiter, _: limiter.peek("ada"),
    "reserve": lambda limiter, _: limiter.reserve("ada", wait=1),
    "take_up_to": lambda limiter, _: limiter.take_up_to("ada", 2),
}
AFTERWARDS: dict[str, Operate] = {
    "refund": lambda limiter, decision: limiter.refund(decision),
    "settle": lambda limiter, decision: limiter.settle(decision, 2),
    "release": lambda limiter, decision: limiter.release(decision),
    "renew": lambda limiter, decision: limiter.renew(decision),
}
SUBJECTS: dict[str, Operate] = {
    "reset": lambda limiter, _: limiter.reset("ada"),
    "ban": lambda limiter, _: limiter.ban("ada", 60),
    "unban": lambda limiter, _: limiter.unban("ada"),
}
CALLS = QUESTIONS | AFTERWARDS | SUBJECTS


def left(limiter: Any, subject: Any = "ada") -> list[int]:
    """Return what a subject has left of each limit."""
    return [state.remaining for state in limiter.peek(subject).limits.values()]


def stored(server: Server, prefix: str) -> dict[str, Any]:
    """Return what is stored under all keys of a test, in a form to compare."""
    return _asked(server, prefix, "DUMP")


def ttls(server: Server, prefix: str) -> dict[str, int]:
    """Return how many milliseconds each key of a test has to live; -1 is for ever."""
    return _asked(server, prefix, "PTTL")


def _asked(server: Server, prefix: str, command: str) -> dict[str, Any]:
    nodes = [server.nodes] if isinstance(server.nodes, Standalone) else server.nodes.primaries
    return {
        key.removeprefix(f"{prefix}:"): node.cli(command, key)
        for node in nodes
        for key in node.cli("KEYS", f"{prefix}:*")
    }

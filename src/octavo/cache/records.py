"""What a cache is given and gives back."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

import msgspec

from octavo.engine.checks import whole

V = TypeVar("V")

Outcome = Literal["hit", "local", "miss", "stale", "created", "refreshed", "bypass"]
Written = Literal["set", "created", "refreshed", "early"]

WRITTEN: tuple[Written, ...] = ("set", "created", "refreshed", "early")


class Local(msgspec.Struct, frozen=True):
    """The bounds of the tier in the process: `db.cache("pages", ttl=60, local=Local(10_000))`.

    Attributes:
        max_entries: entries held; the S3-FIFO policy decides which one goes.
        max_bytes: bytes of payloads held; None is no bound.
        share: give every caller the same object, which none may change. Otherwise each gets one
            of its own; str, bytes, numbers and None are shared in any case.
    """

    max_entries: int = 10_000
    max_bytes: int | None = None
    share: bool = False

    def __post_init__(self) -> None:
        """Refuse bounds that hold nothing."""
        whole("max_entries", self.max_entries)
        if self.max_bytes is not None:
            whole("max_bytes", self.max_bytes)


class Entry(msgspec.Struct, Generic[V], frozen=True):
    """What a cache has under a key.

    Attributes:
        value: the value; None on a miss.
        outcome: "hit"; "local", from the tier in the process; "stale", past its ttl and within its
            grace; "miss"; "bypass", a miss because the server is out of reach. From a factory:
            "created", "refreshed".
        age: seconds since it was stored or touched; None where that is not known, as for plain
            integers.
        ttl: seconds until it is stale; negative by as much as it is; None on a miss.
        tags: its tags.
    """

    value: V | None
    outcome: Outcome
    age: float | None = None
    ttl: float | None = None
    tags: tuple[str, ...] = ()

    @property
    def found(self) -> bool:
        """Whether there is a value, fresh or stale."""
        return self.outcome not in ("miss", "bypass")


class Lease(msgspec.Struct, frozen=True):
    """Who makes a value.

    Attributes:
        owner: the host and the process that hold the lease.
        remaining: seconds until another may take it over, unless it is renewed.
    """

    owner: str
    remaining: float


class Info(msgspec.Struct, frozen=True):
    """What there is to know about a key.

    Attributes:
        key: the key on the server.
        state: "fresh", "stale", "void" (a tag was invalidated, or the bytes cannot be read) or
            "missing".
        age: seconds since it was stored or touched; None for plain integers.
        ttl: seconds until it is stale; negative by as much as it is.
        grace: seconds for which it may be served stale.
        tags: its tags.
        size: bytes of the stored value.
        cost: seconds its factory took; None if it was set.
        written: how it came to be: "set", "created" on a miss, "refreshed" when stale, "early" by
            a refresh ahead of time.
        lease: who makes it or refreshes it now.
    """

    key: str
    state: Literal["fresh", "stale", "void", "missing"]
    age: float | None = None
    ttl: float | None = None
    grace: float | None = None
    tags: tuple[str, ...] = ()
    size: int = 0
    cost: float | None = None
    written: Written | None = None
    lease: Lease | None = None


class Stats(msgspec.Struct, frozen=True):
    """What this client has done with a cache since it was first used; threads may lose a count.

    Attributes:
        hits: values found fresh on the server.
        local: values found in the tier in the process.
        stale: values served stale.
        misses: values not found.
        joined: callers who were given what another one in the process was getting.
        created: factories run to their end.
        rejected: values made that were not stored, because of a delete, a set, an invalidation or
            a clear meanwhile, or because the lease was lost.
        failed: factories that raised.
        bypassed: calls answered without the server, which was out of reach.
        undecodable: stored values that could not be read, which count as misses.
        entries: entries in the tier in the process.
        evicted: entries that its bounds pushed out.
        links: nodes that tell this client what has changed.
        unreachable: nodes taken for out of reach.
    """

    hits: int
    local: int
    stale: int
    misses: int
    joined: int
    created: int
    rejected: int
    failed: int
    bypassed: int
    undecodable: int
    entries: int
    evicted: int
    links: int
    unreachable: tuple[str, ...]

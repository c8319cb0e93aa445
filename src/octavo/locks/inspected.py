"""What there is to see of locks, read-write locks, semaphores and elections."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads it
from typing import Literal

import msgspec

Kind = Literal["lock", "rwlock", "semaphore", "election"]


class Holder(msgspec.Struct, frozen=True):
    """Who holds a place.

    Attributes:
        owner: the random name of the lease, `Lease.owner`.
        fence: its fencing token.
        since: when it was granted, by the server's clock.
        remaining: seconds that are left of it, unless it is renewed.
        weight: how much of the limit it takes: the permits of a semaphore; all for who writes
            under a read-write lock; otherwise 1.
        label: the host and the process, `"host:pid"`; of a leader, what it says of itself.
    """

    owner: str
    fence: int
    since: datetime
    remaining: float
    weight: int
    label: str


class Waiter(msgspec.Struct, frozen=True):
    """Who waits for a place.

    Attributes:
        owner: the random name that its lease will have.
        since: when it came, by the server's clock.
        weight: how much of the limit it wants.
        label: as of a `Holder`.
    """

    owner: str
    since: datetime
    weight: int
    label: str


class LockInfo(msgspec.Struct, frozen=True):
    """What is held, waited for, or kept.

    Attributes:
        kind: "lock", "rwlock", "semaphore" or "election".
        name: its name.
        tag: its tag, if it has one.
        holders: who holds it, the lease that ends first before others.
        waiting: how many wait. One who died is counted until its turn comes, or for 30 seconds.
        limit: the weight that can be held at once.
        kept: seconds for which what nobody holds is kept from everybody, by `min_hold` or
            `lock_delay`.
    """

    kind: Kind
    name: str
    tag: str | None
    holders: tuple[Holder, ...]
    waiting: int
    limit: int
    kept: float

"""What can be held, and how it looks from outside."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from octavo.errors import LockTimeout
from octavo.testing.waiting import wait_until
from tests.calls import Call
from tests.fix_faces import Uniform

if TYPE_CHECKING:
    from collections.abc import Generator

    from octavo.locks.places import Places

FLOWS = pytest.mark.parametrize("face", ["sync", "async"])
SYNC = pytest.mark.parametrize("face", ["sync"])
EMBEDDED = pytest.mark.parametrize("server", ["embedded"], indirect=True)


class Make(Protocol):
    """Makes something that can be held, of a client of any face."""

    def __call__(self, db: Any, **options: Any) -> Any: ...


def lock(db: Any, **options: Any) -> Any:
    return db.lock("x", **options)


def fair_lock(db: Any, **options: Any) -> Any:
    return db.lock("x", fair=True, **options)


def reader(db: Any, **options: Any) -> Any:
    return db.rwlock("x", **options).reader


def writer(db: Any, **options: Any) -> Any:
    return db.rwlock("x", **options).writer


def one_permit(db: Any, **options: Any) -> Any:
    return db.semaphore("x", 1, **options)


# What one holder has at a time, and what its keys are named after.
EXCLUSIVE: dict[str, tuple[Make, str]] = {
    "lock": (lock, "lock"),
    "fair lock": (fair_lock, "lock"),
    "writer": (writer, "rwlock"),
    "semaphore of 1": (one_permit, "semaphore"),
}
EXCLUSIVES = pytest.mark.parametrize(("make", "job"), EXCLUSIVE.values(), ids=EXCLUSIVE)


class Outside:
    """The keys of something that can be held, as the server has them.

    Attributes:
        client: of the node that has them, to change them.
        base: what they begin with.
    """

    def __init__(self, client: Any, prefix: str, base: str) -> None:
        self.client = client
        self.base = base
        self._prefix = prefix

    def key(self, part: str) -> str:
        return f"{self.base}:{part}"

    @property
    def now(self) -> float:
        """The server's time."""
        seconds, micros = self.client.time()
        return float(seconds + micros / 1e6)

    @property
    def leases(self) -> dict[str, float]:
        """Seconds until each place is free, by owner; those that have run out are left out."""
        now = self.now
        scores = self.client.zrange(self.key("leases"), 0, -1, withscores=True)
        return {owner: score / 1e6 - now for owner, score in scores if score / 1e6 > now}

    @property
    def queue(self) -> list[str]:
        """Who waits, in their order."""
        return list(self.client.zrange(self.key("queue"), 0, -1))

    @property
    def length(self) -> int:
        """How many wait."""
        return int(self.client.zcard(self.key("queue")))

    @property
    def keys(self) -> set[str]:
        """The names of all keys of the test on the node, without what ours begin with."""
        names = self.client.keys(f"{self._prefix}:*")
        return {name.removeprefix(f"{self.base}:") for name in names}

    @property
    def owners(self) -> set[str]:
        """Those of whom something is known."""
        return set(self.client.hkeys(self.key("who"))) - {"fence", "limit", "extra", "gone"}

    @property
    def ttls(self) -> dict[str, int]:
        """Milliseconds that each of our keys has to live; -1 for ever."""
        return {part: self.client.pttl(self.key(part)) for part in self.keys}

    @property
    def idle(self) -> bool:
        """Whether nobody holds it, nobody waits, and nothing is known of anybody."""
        extra = int(self.client.hget(self.key("who"), "extra") or 0)
        return self.keys <= {"who"} and not self.owners and extra == 0

    def delete(self, *parts: str) -> None:
        """Delete keys, or all."""
        self.client.delete(*(self.key(part) for part in parts or self.keys))

    def wait_for_queue(self, length: int) -> list[str]:
        """Wait until so many wait; return who."""
        wait_until(lambda: len(self.queue) == length, f"{length} wait")
        return self.queue


def queue_up(outside: Outside, holdable: Any, *args: Any, wait: float = 20.0) -> Call[Any]:
    """Have a thread wait for a lease; return its call once it stands in the queue."""
    before = len(outside.queue)
    call: Call[Any] = Call(holdable.acquire, *args, wait=wait)
    outside.wait_for_queue(before + 1)
    return call


@contextmanager
def waiting(
    outside: Outside, holdable: Any, *args: Any, wait: float = 20.0
) -> Generator[Call[Any]]:
    """Have a thread wait for a lease, which is released at the end if it came."""
    call = queue_up(outside, holdable, *args, wait=wait)
    try:
        yield call
    finally:
        if call.error() is None:
            call.result().release()


def listen(db: Any, holdable: Any) -> None:
    """Have a client wait in vain for what is held, until it hears of its turn."""
    client = db._face.client if isinstance(db, Uniform) else db
    links = client._common.tracker._links
    while not any(link.channel and link.trusted for link in list(links.values())):
        with suppress(LockTimeout):
            holdable.acquire(wait=0.05)


def haunt(holdable: Any, *, weight: int = 1, address: bytes = b"") -> str:
    """Have somebody ask a sync client for a place who is not heard of again; return who.

    Args:
        holdable: what it waits for.
        weight: how much of it.
        address: where it says that it hears of its turn, which it does not.
    """
    owner = os.urandom(16).hex()
    places: Places = holdable._places
    ask = places.asking(owner.encode(), weight, waits=True, address=address)
    holdable._engine.run("ghost", ask)
    return owner

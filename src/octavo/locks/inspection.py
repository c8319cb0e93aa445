"""Looking at what anyone holds, and taking it away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from octavo.engine.command import Command, Job, M, flow, operation
from octavo.engine.keys import key_base, parse_key
from octavo.engine.scan import literal, look, scan
from octavo.engine.script import Script
from octavo.locks.inspected import Holder, Kind, LockInfo, Waiter
from octavo.locks.layout import Keys
from octavo.locks.scripts import BREAK

if TYPE_CHECKING:
    import builtins

    from octavo.engine.command import Engine

INSPECT = Script(Path(__file__).with_name("inspect.lua"), idempotent=True)

_KINDS: tuple[Kind, ...] = get_args(Kind)
_EPOCH = datetime.fromtimestamp(0, UTC)


class Locks(Job[M]):
    """What is held and waited for, by anyone: `db.locks`.

        db.locks.list("import:")
        db.locks.holder("import:users").label
        db.locks.break_("import:users")

    It sees locks, read-write locks, semaphores and elections under the client's prefix: `kind=` and
    `tag=` say which of them is meant.

    Args:
        engine: carries the commands.
        prefix: what all keys of the client begin with.
    """

    def __init__(self, engine: Engine, prefix: str) -> None:
        super().__init__(engine)
        self._prefix = prefix

    @flow
    async def list(self, prefix: str = "") -> builtins.list[LockInfo]:
        """Return whatever is held, waited for or kept, by name. O(keys on the servers).

        A thousand keys of each node a round trip, as with SCAN, then 500 locks a round trip. Each
        is seen at one moment; together they are not.

        Args:
            prefix: only names that begin so.
        """
        if not isinstance(prefix, str):
            raise TypeError(f"prefix must be a str, not {prefix!r}")
        # Leases and queues; a lock may have either without the other.
        pattern = literal(f"{self._prefix}:".encode()) + b"*:[lq]*"
        found = {
            parts._replace(field="")
            for key in await scan(self._common, pattern, b"zset")
            if (parts := parse_key(self._prefix, key))
        }
        looks = [
            self._info(parts.name, parts.job, parts.tag)
            for parts in sorted(found, key=lambda parts: (parts.name, parts.job, parts.tag or ""))
            if parts.job in _KINDS and parts.name.startswith(prefix)
        ]
        infos = await look(looks)
        return [info for info in infos if info.holders or info.waiting or info.kept]

    @operation
    def holder(
        self, name: str, *, kind: Kind = "lock", tag: str | None = None
    ) -> Command[Holder | None]:
        """Return who holds it, if anybody does; of several, whose lease ends first. O(holders)."""
        found = INSPECT(self._keys(name, kind, tag), (b"0",), _holders)
        return found.map(lambda holders: holders[0] if holders else None)

    @operation
    def holders(
        self, name: str, *, kind: Kind = "lock", tag: str | None = None
    ) -> Command[builtins.list[Holder]]:
        """Return who holds it, the lease that ends first before others. O(holders)."""
        return INSPECT(self._keys(name, kind, tag), (b"0",), _holders)

    @operation
    def waiters(
        self, name: str, *, kind: Kind = "lock", tag: str | None = None
    ) -> Command[builtins.list[Waiter]]:
        """Return who waits for it, in the order in which they came. O(holders + waiters).

        One who died is among them until its turn comes, or for 30 seconds.
        """
        return INSPECT(self._keys(name, kind, tag), (b"1",), _waiters)

    @operation
    def break_(self, name: str, *, kind: Kind = "lock", tag: str | None = None) -> Command[int]:
        """Take it from whoever holds it, and return how many leases that has ended. O(holders).

        Whoever is next gets it. A holder that was cut off finds out when it renews its lease, or
        by its fence, which is older than any from now on: break what is held by somebody who is
        stuck or gone, and guard what the lock protects by fences.
        """
        # A queue is served in its order: that is fair to who waits for any kind of lock.
        return BREAK(self._keys(name, kind, tag), (b"1",), int)

    def _keys(self, name: str, kind: Kind, tag: str | None) -> Keys:
        if kind not in _KINDS:
            raise ValueError(f"kind must be one of {', '.join(map(repr, _KINDS))}, not {kind!r}")
        return Keys.of(key_base(self._prefix, kind, name, tag))

    def _info(self, name: str, kind: Kind, tag: str | None) -> Command[LockInfo]:
        def read(reply: Any) -> LockInfo:
            limit, kept, waiting, *_ = reply
            holders = tuple(_holders(reply))
            return LockInfo(kind, name, tag, holders, waiting, limit, kept / 1_000_000)

        return INSPECT(self._keys(name, kind, tag), (b"0",), read)


def _holders(reply: Any) -> list[Holder]:
    return [
        Holder(owner.decode(), fence, _moment(since), left / 1_000_000, weight, _text(label))
        for owner, weight, label, since, fence, left in reply[3]
    ]


def _waiters(reply: Any) -> list[Waiter]:
    return [
        Waiter(owner.decode(), _moment(since), weight, _text(label))
        for owner, weight, label, since in reply[4]
    ]


def _moment(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _text(label: bytes) -> str:
    return label.decode(errors="replace")

"""Every key of what can be held: locks, read-write locks and semaphores.

`{base}` is `{prefix}:lock:{{name}}`, `{prefix}:rwlock:{{name}}` or `{prefix}:semaphore:{{name}}`;
with `tag=` it is `{prefix}:lock:{{tag}}.{name}`.

| key | Redis type | holds |
|---|---|---|
| `{base}:leases` | sorted set | owners of leases, by the microsecond in which their place is free |
| `{base}:queue` | sorted set | owners who wait, in their order |
| `{base}:who` | hash | what is known of each of both, packed; the last `fence`, and the `limit` |

All go 50 hours after they were last written. Of a lock that is free only `who` is there, with the fence; besides it may
hold the `extra` weight of heavy leases, and who is `gone` without having been heard of. What was left by the dead
goes when the next one comes. Times are the server's, in microseconds. What is known of an owner is a msgpack array:
weight, ttl, delay, hold, fence, since, address, label, state, ends.
"""  # noqa: E501 - a table

from __future__ import annotations

from typing import NamedTuple


class Keys(NamedTuple):
    """The keys of one object, in the order in which every script takes them."""

    leases: bytes
    queue: bytes
    who: bytes

    @classmethod
    def of(cls, base: str) -> Keys:
        """Return the keys that begin so."""
        return cls(*(f"{base}:{field}".encode() for field in cls._fields))

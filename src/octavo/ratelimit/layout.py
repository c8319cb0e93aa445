"""Every key of a limiter.

| key | Redis type | holds | TTL |
|---|---|---|---|
| `{base}` = `PREFIX:limit:{NAME:SUBJECT}`, the braces being its hash tag | string | what was used of each rule; a ban | until that is over |
| `{base}:log:{rule}` | list | of an exact log, a time for each unit, the oldest first | as above |
| `{base}:leases:{rule}` | sorted set | of a `Concurrency`, places by the time they end | as above |

With `tag=` or `partition=`, `{base}` is `PREFIX:limit:{TAG}.NAME:SUBJECT`. A subject over 128 bytes is cut to 32
and a BLAKE2b digest. Times are the server's, in microseconds. The string is written by `meters.lua`.
"""  # noqa: E501 - a table

from __future__ import annotations

import re
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from octavo.engine.keys import check_name, key_base, name_part
from octavo.ratelimit.address import address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from octavo.ratelimit.limits import Rule

Subject = str | IPv4Address | IPv6Address

_LONGEST = 128
_KEPT = 32
_ESCAPES = {ord(character): f"%{ord(character):02X}" for character in "%{}~"}
"""Braces make a hash tag, and a tilde stands before a digest."""
_SIMPLE = re.compile(rf"[\w:.@/+=-]{{1,{_LONGEST}}}", re.ASCII).fullmatch
"""Matches most texts that are keys as they are."""
APART = {"log": b"log", "concurrency": b"leases"}
"""The algorithms that have a key besides their subject's, and how it goes on."""


class Layout:
    """The keys of one limiter.

    Args:
        prefix: what every key begins with.
        name: the limiter's.
        tag: the hash tag of all subjects; None for one of their own.
        partition: gives the hash tag of a subject.
    """

    def __init__(
        self, prefix: str, name: str, tag: str | None, partition: Callable[[str], str] | None
    ) -> None:
        if partition is not None and (tag is not None or not callable(partition)):
            raise TypeError(f"partition must be a callable, and without a tag, not {partition!r}")
        self._prefix = prefix
        self._name = check_name("name", name)
        self._partition = partition
        own = f"{prefix}:limit:{{{name_part(name)}:"
        self._head, self._foot = own, "}"
        if tag is not None:
            self._head, self._foot = self._shared(tag), ""
        elif partition is not None:
            self._foot = ""

    def _shared(self, tag: str) -> str:
        return key_base(self._prefix, "limit", self._name, tag) + ":"

    def key(self, subject: Subject) -> bytes:
        """Return the key of a subject, or refuse it."""
        text = subject if type(subject) is str else text_of(subject)
        if _SIMPLE(text) is None:
            text = _plain(text)
        if not self._foot:  # nothing else tells a subject from what stands behind one
            text = text.replace(":", "%3A")
        if self._partition is None:
            return f"{self._head}{text}{self._foot}".encode()
        tag = self._partition(subject if isinstance(subject, str) else text_of(subject))
        return f"{self._shared(check_name('partition', tag))}{text}".encode()


def text_of(subject: object) -> str:
    """Return the text of a subject; an address stands for its network."""
    if isinstance(subject, IPv4Address | IPv6Address):
        return address(subject)
    return check_name("subject", subject)  # type: ignore[arg-type]


def _plain(text: str) -> str:
    check_name("subject", text)
    data = text.encode()
    if len(data) > _LONGEST:
        digest = blake2b(data, digest_size=16).hexdigest()
        return f"{_escaped(data[:_KEPT].decode(errors='ignore'))}~{digest}"
    return _escaped(text)


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)


def own_key(key: bytes, rule: Rule) -> bytes:
    """Return the key that a rule has besides its subject's, which is one of `APART`."""
    return b"%b:%b:%b" % (key, APART[rule.algorithm], rule.name.encode())


def own_keys(key: bytes, rules: Iterable[Rule]) -> list[bytes]:
    """Return the keys that rules have besides their subject's."""
    return [own_key(key, rule) for rule in rules if rule.algorithm in APART]

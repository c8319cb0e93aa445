"""Looking at what subjects have used, and having it forgotten."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from msgspec.structs import replace

from octavo.engine.checks import Seconds, millis
from octavo.engine.command import Command, Job, M, as_it_is, flow, operation
from octavo.engine.keys import check_name
from octavo.engine.scan import literal, look, scan
from octavo.engine.script import Script
from octavo.ratelimit.denials import changing
from octavo.ratelimit.inspected import BanState, RuleUsage, Usage
from octavo.ratelimit.layout import APART, Layout, Subject, own_key
from octavo.ratelimit.rules import KINDS
from octavo.ratelimit.scripts import BAN

if TYPE_CHECKING:
    import builtins
    from collections.abc import Iterable, Sequence

    from octavo.engine.command import Engine
    from octavo.ratelimit.limits import Rule

INSPECT = Script(Path(__file__).with_name("inspect.lua"), idempotent=True)
FORGET = Script(Path(__file__).with_name("forget.lua"), idempotent=True)

_KEY = re.compile(
    r"\{(?P<name>[^{}:]+):(?P<subject>[^{}]+)\}"
    r"|\{(?P<tag>[^{}]+)\}\.(?P<tagged_name>[^{}:]+):(?P<tagged_subject>[^{}]+)"
)
_ONCE = re.compile(rb":once:[0-9a-f]{32}$")
"""Behind a key: what remembers the reply of a script."""

_CUT = re.compile(rb"%7E([0-9a-f]{32}\}?$)")
"""The end of a key, of a subject that reads like one that was cut."""

_EPOCH = datetime.fromtimestamp(0, UTC)


class Limits(Job[M]):
    """What subjects have used of limits, and who is banned: `db.limits`.

        db.limits.list("api:")
        db.limits.show("api", "user:7").rules
        db.limits.reset("api", "user:7")

    It sees every limiter under the client's prefix. `tag=` is the limiter's, or what its
    `partition` makes of the subject.

    Args:
        engine: carries the commands.
        prefix: what all keys of the client begin with.
    """

    def __init__(self, engine: Engine, prefix: str) -> None:
        super().__init__(engine)
        self._prefix = prefix

    @flow
    async def list(self, prefix: str = "") -> builtins.list[Usage]:
        """Return what subjects have used, by limiter and subject. O(keys on the servers).

        A thousand keys of each node a round trip, as with SCAN, then 500 subjects in one or two.
        Each is seen at one moment; together they are not.

        Args:
            prefix: only those whose `limiter:subject` begins so.
        """
        if not isinstance(prefix, str):
            raise TypeError(f"prefix must be a str, not {prefix!r}")
        pattern = literal(f"{self._prefix}:limit:{{".encode()) + b"*"
        found = [
            (whose, key)
            for key in await scan(self._common, pattern, b"string")
            if not _ONCE.search(key)
            and (whose := self._whose(key))
            and f"{whose.limiter}:{whose.subject}".startswith(prefix)
        ]
        found.sort(key=lambda each: (each[0].limiter, each[0].subject, each[0].tag or ""))
        usages = await look([_look(whose, key) for whose, key in found])
        return [usage for usage in usages if usage is not None]

    @operation
    def show(
        self, limiter: str, subject: Subject, *, tag: str | None = None
    ) -> Command[Usage | None]:
        """Return what a subject has used, if there is anything. O(what is stored of it).

        Args:
            limiter: the limiter's name.
            subject: as for the limiter, or as listed.
            tag: the limiter's, or the subject's partition.
        """
        key = self._key(limiter, subject, tag)
        whose = self._whose(key)
        assert whose is not None  # noqa: S101 - for checkers
        return _look(whose, key)

    @operation
    def reset(self, limiter: str, subject: Subject, *, tag: str | None = None) -> Command[bool]:
        """Forget what a subject has used of any limit, and bans; return whether there was any.

        A second round trip is needed if there are logs or places of a `Concurrency`.
        """
        key = self._key(limiter, subject, tag)
        return changing(self._common.tracker, key, forget(key, ()))

    @operation
    def ban(
        self, limiter: str, subject: Subject, lasts: Seconds = 3600, *, tag: str | None = None
    ) -> Command[bool]:
        """Deny whatever a subject asks for, for some time; return whether it was banned already."""
        key = self._key(limiter, subject, tag)
        return changing(
            self._common.tracker, key, BAN((key,), (millis("lasts", lasts) * 1000,), bool)
        )

    @operation
    def unban(self, limiter: str, subject: Subject, *, tag: str | None = None) -> Command[bool]:
        """End a subject's ban, and forget earlier ones; return whether it was banned."""
        key = self._key(limiter, subject, tag)
        return changing(self._common.tracker, key, BAN((key,), (0,), bool))

    def _key(self, limiter: str, subject: Subject, tag: str | None) -> bytes:
        key = Layout(self._prefix, check_name("limiter", limiter), tag, None).key(subject)
        # A long subject may be told by what is listed of it.
        return _CUT.sub(rb"~\1", key) if isinstance(subject, str) else key

    def _whose(self, key: bytes) -> _Whose | None:
        """Return whose key it is that `Layout` has made, or None for any other key."""
        try:
            text = key.decode()
        except UnicodeDecodeError:
            return None
        found = _KEY.fullmatch(text, len(f"{self._prefix}:limit:"))
        if found is None:
            return None
        name, subject, tag, tagged_name, tagged_subject = found.groups()
        if tag is None:
            return _Whose(unquote(name), unquote(subject), None)
        return _Whose(unquote(tagged_name), unquote(tagged_subject), unquote(tag))


def forget(key: bytes, known: Iterable[Rule]) -> Command[bool]:
    """Return the Command that forgets what a subject has used, of whatever rules.

    Args:
        key: the subject's.
        known: rules; of others that have a key of their own it takes a second round trip.
    """
    own = [
        (KINDS.index(rule.algorithm), rule.name.encode())
        for rule in known
        if rule.algorithm in APART
    ]
    return _run(FORGET, key, own).map(lambda reply: reply[1] > 0)


class _Whose(NamedTuple):
    """What a key says."""

    limiter: str
    subject: str
    tag: str | None


class _Own(NamedTuple):
    """A rule that has a list or a sorted set of its own."""

    algorithm: str
    name: str


def _run(script: Script, key: bytes, kinds_and_names: Sequence[Any] = ()) -> Command[Any]:
    """Return the Command that runs a script, again if it asks for more keys.

    A script can read which rules there are, but is not to touch a key that it was not given.
    """
    rules: list[Any] = [_Own(KINDS[kind], name.decode()) for kind, name in kinds_and_names]
    own = [own_key(key, rule) for rule in rules]
    words = [b"%d%b" % (kind, name) for kind, name in kinds_and_names]

    def again(reply: Any) -> Command[Any] | None:
        missing = reply[0]
        return _run(script, key, (*kinds_and_names, *missing)) if missing else None

    return replace(script.run((key, *own), words, as_it_is), then=again)


def _look(whose: _Whose, key: bytes) -> Command[Usage | None]:
    def read(reply: Any) -> Usage | None:
        _, ttl, banned, row, rules = reply
        if not (rules or banned or row):
            return None
        until = _EPOCH + timedelta(microseconds=banned) if banned else None
        ban = BanState(until, row) if banned or row else None
        return Usage(*whose, tuple(_usage(*rule) for rule in rules), ban, ttl / 1000)

    return _run(INSPECT, key).map(read)


def _usage(  # noqa: PLR0917 - private
    kind: int, name: bytes, shadow: int, remaining: int, most: int, reset: int
) -> RuleUsage:
    return RuleUsage(name.decode(), KINDS[kind], remaining, most, reset / 1e6, bool(shadow))

"""Lua scripts: one file each, sent as EVAL once per connection and as EVALSHA from then on."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Any, TypeVar

from octavo.engine.command import Command, Word
from octavo.engine.fork import lazy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")

Argument = Word | int | float

ONCE_TTL = 60.0
"""Seconds for which a once-script remembers its reply: longer than any deadline."""

_INCLUDE = re.compile(r"^-- @include (\S+)\n", re.MULTILINE)

# The body runs inside a function of its own, so that its `return` gives the reply to remember. One
# that begins with AGAIN says that nothing was done, as something else has to be asked. An error is
# for those who ask again at once, not for those who ask hours later.
_ONCE = """\
local key, ttl = table.remove(KEYS), table.remove(ARGV)
local seen = redis.call('GET', key)
if seen then return cmsgpack.unpack(seen) end
local reply = (function()
{body}
end)()
if type(reply) == 'table' and (reply[1] == 'AGAIN' or (reply.err and tonumber(ttl) > {once})) then
  return reply
end
redis.call('SET', key, cmsgpack.pack(reply), 'PX', ttl)
return reply
"""

_TIMED = """\
local reply = (function()
{body}
end)()
if type(reply) == 'table' and reply.err then return reply end
local time = redis.call('TIME')
return {{time[1] * 1000000 + time[2], reply or false}}
"""


class Script:
    """A script of a job. Calling it gives the Command that runs it.

    The file is read and hashed at the first use, not at import. A line `-- @include other.lua`
    stands for the text of that file, `../other.lua` for one a folder above.

    Args:
        path: the `.lua` file.
        idempotent: running it twice does what running it once does, reply included.
    """

    def __init__(self, path: Path, *, idempotent: bool = False) -> None:
        self.path = path
        self.idempotent = idempotent

    @lazy
    def source(self) -> bytes:
        """The text that is sent, includes inlined."""
        return self._text(self.path).encode()

    @lazy
    def sha(self) -> bytes:
        """The name under which the server caches it."""
        return _sha(self.source)

    def __call__(
        self, keys: tuple[bytes, ...], args: Sequence[Argument], read: Callable[[Any], T]
    ) -> Command[T]:
        """Return the Command that runs the script with these keys and arguments.

        A float is sent with every digit that it needs to be read back as the same number.
        """
        words = [arg if isinstance(arg, (str, bytes)) else repr(arg) for arg in args]
        return self.run(keys, words, read)

    def run(
        self, keys: tuple[bytes, ...], words: Sequence[Word], read: Callable[[Any], T]
    ) -> Command[T]:
        """Return the same of arguments that are words already."""
        return Command(
            (b"EVALSHA", self.sha, str(len(keys)), *keys, *words),
            keys,
            read,
            idempotent=self.idempotent,
            script=self,
        )

    @lazy
    def once(self) -> OnceScript:
        """The same script, run at most once per Command however often that is sent.

        Its reply is kept for `ONCE_TTL` under the hash tag of its first key; when the Command is
        sent again, the server answers with the kept reply. One more SET and about 150 bytes for
        a minute, per run.
        """
        return OnceScript(self.path)

    @lazy
    def timed(self) -> TimedScript:
        """The same script, with its reply behind the server's time in microseconds."""
        return TimedScript(self.path, idempotent=self.idempotent)

    def _text(self, path: Path) -> str:
        text = path.read_text(encoding="utf-8")
        return _INCLUDE.sub(lambda found: self._text(path.parent / found[1]), text)

    def __repr__(self) -> str:
        """Show the file's name."""
        return f"<{type(self).__name__} {self.path.name}>"


class OnceScript(Script):
    """A script that gives a repeated Command the reply of its first run."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, idempotent=True)

    @lazy
    def source(self) -> bytes:
        """The text that is sent: the body, wrapped in the memory of its reply."""
        once = int(ONCE_TTL * 1000)
        return _ONCE.format(body=self._text(self.path), once=once).encode()

    def __call__(
        self,
        keys: tuple[bytes, ...],
        args: Sequence[Argument],
        read: Callable[[Any], T],
        *,
        attempt: bytes | None = None,
        ttl: int = int(ONCE_TTL * 1000),
    ) -> Command[T]:
        """Return a Command with an attempt id of its own, or with one that others may repeat.

        Args:
            keys: the keys of the script.
            args: its arguments.
            read: reads its reply.
            attempt: the key under which its reply is kept, in the slot of the others.
            ttl: milliseconds for which it is kept.
        """
        attempt = attempt or keys[0] + b":once:" + os.urandom(16).hex().encode()
        return super().__call__((*keys, attempt), (*args, ttl), read)


class TimedScript(Script):
    """A script that says what time it is, too."""

    @lazy
    def source(self) -> bytes:
        """The text that is sent: the body, with the time before its reply."""
        return _TIMED.format(body=self._text(self.path)).encode()


def _sha(source: bytes) -> bytes:
    return hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()

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

# The body runs inside a function of its own, so that its `return` gives the reply to remember.
_ONCE = """\
local key, ttl = table.remove(KEYS), table.remove(ARGV)
local seen = redis.call('GET', key)
if seen then return cmsgpack.unpack(seen) end
local reply = (function()
{body}
end)()
redis.call('SET', key, cmsgpack.pack(reply), 'PX', ttl)
return reply
"""


class Script:
    """A script of a job. Calling it gives the Command that runs it.

    The file is read and hashed at the first use, not at import. A line `-- @include other.lua`
    stands for the text of a file beside it.

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

    def _text(self, path: Path) -> str:
        text = path.read_text(encoding="utf-8")
        return _INCLUDE.sub(lambda found: self._text(path.with_name(found[1])), text)

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
        return _ONCE.format(body=self._text(self.path)).encode()

    def __call__(
        self, keys: tuple[bytes, ...], args: Sequence[Argument], read: Callable[[Any], T]
    ) -> Command[T]:
        """Return a Command with an attempt id of its own."""
        attempt = keys[0] + b":once:" + os.urandom(16).hex().encode()
        return super().__call__((*keys, attempt), (*args, int(ONCE_TTL * 1000)), read)


def _sha(source: bytes) -> bytes:
    return hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()

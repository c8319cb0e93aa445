"""What the three engines share about bytes: packing commands, parsing replies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hiredis

from octavo.engine.retry import ReplyError

if TYPE_CHECKING:
    from octavo.engine.command import Command, Word

Push = hiredis.PushNotification
ProtocolError = hiredis.ProtocolError

NOTHING = object()
"""What a parser returns while a reply is incomplete."""


if TYPE_CHECKING:

    def pack(words: tuple[Word, ...], /) -> bytes:
        """Return the bytes of a command."""
        ...

else:
    pack = hiredis.pack_command

ASKING = pack((b"ASKING",))


def parser() -> hiredis.Reader:
    """Return a parser that gives replies as bytes, and errors as `ReplyError` values."""
    return hiredis.Reader(replyError=ReplyError, notEnoughData=NOTHING)


def words_for(
    command: Command[Any], scripts: set[bytes], *, plain: bool = False
) -> tuple[Word, ...]:
    """Return the words for a connection that has run these scripts.

    A script's first use on a connection is EVAL, which caches it, and later ones are EVALSHA: one
    round trip either way. Replies come in order, so the script counts as known once it is sent.

    Args:
        command: what to send.
        scripts: the SHAs known on the connection; a first use is added.
        plain: send EVAL in any case, since EVALSHA has just been refused.
    """
    script = command.script
    if script is None or (script.sha in scripts and not plain):
        return command.words
    scripts.add(script.sha)
    return (b"EVAL", script.source, *command.words[2:])

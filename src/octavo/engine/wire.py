"""What the three engines share about bytes: packing commands, parsing replies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hiredis

from octavo.engine.retry import ReplyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octavo.engine.command import Command, Word
    from octavo.engine.links import Link

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
_CACHING = pack((b"CLIENT", b"CACHING", b"YES"))


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


def packed(
    command: Command[Any],
    scripts: set[bytes],
    *,
    plain: bool = False,
    asking: bool = False,
    link: Link | None = None,
) -> tuple[bytes, int]:
    """Return the bytes of a command for a connection, and how many replies they bring.

    Args:
        command: what to send.
        scripts: the SHAs known on the connection; a first use is added.
        plain: see `words_for`.
        asking: the node has to be told that it was named by an ASK.
        link: what a tracked command travels on; None for any other connection.
    """
    first = pack(words_for(command, scripts, plain=plain))
    own = (first, *map(pack, command.behind))
    for ticket in command.tracked:
        ticket.link = link
    if asking:
        return ASKING + ASKING.join(own), 2 * len(own)
    if link is not None:
        own = (*own[:-1], _CACHING, own[-1])
    return b"".join(own), len(own)


def own_reply(command: Command[Any], replies: Sequence[Any]) -> Any:
    """Return a command's own reply among those that `packed` said it would bring."""
    last = replies[-1]
    if len(replies) > 1 and type(replies[-2]) is ReplyError:
        for ticket in command.tracked:
            ticket.link = None
    if not command.behind:
        return last
    own = list(replies)
    if (others := len(own) - len(command.behind) - 1) > 1:
        own = own[1::2]  # each was told that it may be asked
    elif others:
        del own[-2]
    # What has been written must not be written again because of what was asked behind it.
    told = own if command.idempotent else own[:1]
    return next((reply for reply in told if type(reply) is ReplyError), own)

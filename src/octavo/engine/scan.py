"""Going through the keys of every primary, and what is there, as steps of a flow."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from octavo.engine.command import PING, Command, Sleep, as_it_is
from octavo.errors import ConnectionLost, DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octavo.engine.command import Common
    from octavo.engine.topology import Endpoint
    from octavo.errors import OctavoError

T = TypeVar("T")

_START = b"0"
_PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 1.0, 2.0)
"""Seconds before lost nodes are tried again; after the last of them the loss is an error."""
_TOGETHER = 500
"""Keys looked at in one round trip."""


async def scan(common: Common, pattern: bytes, type: bytes | None = None) -> list[bytes]:  # noqa: A002 - as SCAN names it
    """Return the keys that match a glob pattern, of all primaries, each once. O(keys there).

    A thousand keys of each node a round trip. What is there from the beginning to the end is
    found, unless its slot moves meanwhile. A node whose connection is lost is gone through from
    its start again, or else the one that has taken its place.

    Args:
        common: what the caller's job has in common with others.
        pattern: which keys; `literal` makes text stand for itself in it.
        type: only keys of this type, such as `b"zset"`.

    Raises:
        ConnectionLost: a node stayed out of reach for about five seconds.
    """
    filters = (b"MATCH", pattern, b"COUNT", b"1000", *(() if type is None else (b"TYPE", type)))
    found: dict[bytes, None] = {}
    cursors: dict[Endpoint, bytes | None] = {}  # None: that node is done
    pauses = iter(_PAUSES)
    while True:
        if not (nodes := common.topology.primaries()):
            await PING
            continue
        left = {node: at for node in nodes if (at := cursors.get(node, _START)) is not None}
        if not left:
            return list(found)
        parts = tuple(_step(node, cursor, filters) for node, cursor in left.items())
        lost: ConnectionLost | None = None
        together: Command[list[Any]] = Command((), (), list, parts=parts)
        for node, reply in zip(left, await together, strict=True):
            if isinstance(reply, ConnectionLost):
                cursors.pop(node, None)
                lost = reply
            else:
                found.update(dict.fromkeys(reply[1]))
                cursors[node] = None if reply[0] == _START else reply[0]
        if lost is not None:
            if (pause := next(pauses, None)) is None:
                raise lost
            await Sleep(pause)


async def look(looks: Sequence[Command[T]]) -> list[T]:
    """Return what many Commands say, in their order: 500 a round trip."""
    found: list[T] = []
    for start in range(0, len(looks), _TOGETHER):
        some = tuple(looks[start : start + _TOGETHER])
        together: Command[list[T]] = Command((), (), as_it_is, parts=some)
        found += await together
    return found


def _step(node: Endpoint, cursor: bytes, filters: tuple[bytes, ...]) -> Command[Any]:
    return Command((b"SCAN", cursor, *filters), (), as_it_is, recover=_unless_late, at=node)


def _unless_late(error: OctavoError) -> Any:
    """Return the loss of a node that may be back, or replaced, in a moment."""
    if isinstance(error, ConnectionLost) and not isinstance(error, DeadlineExceeded):
        return error
    raise error


def literal(text: bytes) -> bytes:
    """Return a glob pattern that only this text matches."""
    return re.sub(rb"([*?\[\\])", rb"\\\1", text)

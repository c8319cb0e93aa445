"""What other clients have to say to somebody in this process: one channel per process and node.

Whoever waits has a mailbox under a name of its own, and leaves that name and the channel of its
process with what it waits for. A script that has something for it does `SPUBLISH channel "name
what"`: nobody else hears it, and the number of receivers says whether the process still listens.
Channels are sharded, so that in a cluster a message does not go to every node.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from octavo.engine.command import Signal

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class Mailbox:
    """Where one who waits is told something. Listen, then ask the server, then wait.

    It is a context manager: leaving it takes it away.
    """

    __slots__ = ("_boxes", "_letter", "_signal", "name")

    def __init__(self, boxes: dict[bytes, Mailbox], name: bytes) -> None:
        self.name = name
        self._boxes = boxes
        self._letter: bytes | None = None
        self._signal = Signal()

    def __enter__(self) -> Self:
        """Begin to get letters."""
        self._boxes[self.name] = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End."""
        self._boxes.pop(self.name, None)

    def listen(self) -> Signal:
        """Return a signal of the next letter, or of any reason to ask the server again."""
        # In this order: a letter that comes in between sets the new signal.
        self._signal = signal = Signal()
        if self._letter is not None:
            signal.set()
        return signal

    def take(self) -> bytes | None:
        """Return the newest letter, if one has come, and keep it no longer."""
        letter, self._letter = self._letter, None
        return letter

    def put(self, letter: bytes | None) -> None:
        """Wake whoever listens, with a letter or without."""
        if letter is not None:
            self._letter = letter
        self._signal.set()


class Mail:
    """The mailboxes of one client. Safe for threads."""

    def __init__(self) -> None:
        self._boxes: dict[bytes, Mailbox] = {}

    def box(self, name: bytes) -> Mailbox:
        """Return a mailbox of that name, to be entered."""
        return Mailbox(self._boxes, name)

    def deliver(self, message: bytes) -> None:
        """Put a letter into the mailbox that it names, if that is there."""
        name, _, letter = message.partition(b" ")
        if (box := self._boxes.get(name)) is not None:
            box.put(letter)

    def look_up(self) -> None:
        """Have everybody ask the server again: what was said lately may not have been heard."""
        for box in list(self._boxes.values()):
            box.put(None)


def new_channel(near: bytes) -> bytes:
    """Return the name of a new channel, in the slot of a key."""
    start = near.find(b"{")
    end = near.find(b"}", start + 1) if start >= 0 else -1
    tag = near[start + 1 : end] if end > start + 1 else near
    return b"octavo:mail:{%b}:%b" % (tag, os.urandom(8).hex().encode())

"""Just enough RESP to see where a message ends and what a request says."""

from __future__ import annotations

__all__ = ["Splitter", "words_of"]

_BULK = frozenset(b"$!=")
_LIST = frozenset(b"*~>")
_MAP = frozenset(b"%|")
_END = b"\r\n"


class Splitter:
    """Cuts a stream of bytes into whole messages, however they arrive.

    What has been stepped over is not looked at again, so a large message that arrives in many
    pieces costs no more than one that arrives at once.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._seen = 0
        self._parts = 1

    @property
    def unfinished(self) -> bool:
        """Whether a message has begun to arrive."""
        return bool(self._data)

    def feed(self, data: bytes) -> list[bytes]:
        """Add bytes and return the messages that are now whole."""
        self._data += data
        messages: list[bytes] = []
        start = 0
        while self._step():
            if self._parts == 0:
                messages.append(bytes(self._data[start : self._seen]))
                start, self._parts = self._seen, 1
        del self._data[:start]
        self._seen -= start
        return messages

    def _step(self) -> bool:
        """Step over one line, with its bulk if it has one; False when that is not all here."""
        data, seen = self._data, self._seen
        end = data.find(_END, seen) + len(_END)
        if end < len(_END):
            return False
        kind, parts = data[seen], self._parts - 1
        if kind in _BULK:
            size = int(data[seen + 1 : end])
            end += size + len(_END) if size >= 0 else 0
            if end > len(data):
                return False
        elif kind in _LIST:
            parts += max(int(data[seen + 1 : end]), 0)
        elif kind in _MAP:
            # An attribute (|) stands before the value it belongs to and is part of it.
            parts += 2 * int(data[seen + 1 : end]) + (kind == ord("|"))
        self._seen, self._parts = end, parts
        return True


def words_of(message: bytes) -> list[bytes]:
    """Return the words of a request, an array of bulk strings or an inline command."""
    if not message.startswith(b"*"):
        return message.split()
    words: list[bytes] = []
    end = message.index(_END) + len(_END)
    while end < len(message):
        start = message.index(_END, end) + len(_END)
        size = int(message[end + 1 : start])
        words.append(message[start : start + size])
        end = start + size + len(_END)
    return words

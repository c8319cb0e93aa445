from __future__ import annotations

import pytest

from octavo.testing.resp import Splitter, words_of

MESSAGES = [
    b"+OK\r\n",
    b"-ERR no\r\n",
    b":42\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"_\r\n",
    b"$0\r\n\r\n",
    b"$8\r\nab\r\ncd\r\n\r\n",
    b"*0\r\n",
    b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
    b"*2\r\n*1\r\n:1\r\n*2\r\n$2\r\n\r\n\r\n+a\r\n",
    b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n,1.5\r\n",
    b"~1\r\n#t\r\n",
    b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n",
    b"|1\r\n+ttl\r\n:5\r\n$1\r\nv\r\n",
    b"=7\r\ntxt:abc\r\n",
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_messages_come_out_whole_however_they_arrive(size: int) -> None:
    stream = b"".join(MESSAGES)
    splitter = Splitter()
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert [message for piece in pieces for message in splitter.feed(piece)] == MESSAGES
    assert not splitter.unfinished


def test_a_message_that_is_not_all_there_is_unfinished() -> None:
    splitter = Splitter()
    assert splitter.feed(b"+OK\r\n*2\r\n$3\r\nGE") == [b"+OK\r\n"]
    assert splitter.unfinished


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"*2\r\n$3\r\nSET\r\n$4\r\n\r\n*1\r\n", [b"SET", b"\r\n*1"]),
        (b"*1\r\n$0\r\n\r\n", [b""]),
        (b"PING hello\r\n", [b"PING", b"hello"]),
    ],
)
def test_a_request_is_read_as_its_words(message: bytes, words: list[bytes]) -> None:
    assert words_of(message) == words

"""Every key of ratings beside those of their standings, with which they share a hash tag.

| key | Redis type | holds | TTL |
|---|---|---|---|
| `{base}:scores` and others | | the standings: `layout.py`; the data of a player is its rating | |
| `{base}:bans` | hash | player → score and rating; empty field → the rating system | none |
| `{base}:match:{id}` | string | the reply to the first match of that id | `remember=` |
"""

from __future__ import annotations

from typing import NamedTuple

from octavo.leaderboards.layout import Layout


class RatingLayout(NamedTuple):
    """The keys of ratings, in the order in which their scripts take them."""

    entries: bytes
    data: bytes
    bans: bytes
    scores: bytes

    @classmethod
    def of(cls, base: str) -> RatingLayout:
        """Return the keys that begin with `base`."""
        board = Layout.of(base)
        return cls(board.entries, board.data, f"{base}:bans".encode(), board.scores)


def match_key(base: str, match_id: str) -> bytes:
    """Return the key of what a match was answered."""
    return f"{base}:match:{match_id}".encode()

"""Seasons: boards that open and close."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from octavo.engine.command import Command, M, operation
from octavo.engine.script import Script
from octavo.leaderboards.layout import every_key, seasons_key
from octavo.leaderboards.leaderboard import Leaderboard
from octavo.leaderboards.live import is_map
from octavo.leaderboards.periods import micros
from octavo.leaderboards.records import SeasonInfo
from octavo.leaderboards.views import Counted

if TYPE_CHECKING:
    from datetime import datetime

SEASON = Script(Path(__file__).with_name("season.lua"))


class Season(Leaderboard[M], Counted[M]):
    """A board that takes scores while it is open, and does not change from when it is closed.

        spring = db.leaderboard("league").season("spring")
        spring.open()
        spring.submit("ada", 120)
        spring.close()

    Whatever changes standings raises `SeasonClosed` before it opens and after it closes, by the
    server's clock and in the same step; `clear` deletes it whenever that is. Reading it and
    changing it raise `SeasonNotFound` if nobody has opened it.
    """

    _is_season = True

    @operation
    def open(
        self, *, opens: datetime | None = None, closes: datetime | None = None
    ) -> Command[bool]:
        """Open the season; False if that was done before, whatever is said now. O(1).

        Args:
            opens: from when it takes scores; None is now.
            closes: from when it does not any more; None is when `close` is called.
        """
        starts, ends = (
            "-" if at is None else str(micros(name, at))
            for name, at in (("opens", opens), ("closes", closes))
        )
        if opens is not None and closes is not None and closes <= opens:
            raise ValueError(f"closes must be later than opens={opens!r}, not {closes!r}")
        return self._season("open", starts, ends)

    @operation
    def close(self) -> Command[bool]:
        """Close the season now; False if it was closed. O(1).

        What was submitted before is in its standings, what comes later is refused.

        Raises:
            SeasonNotFound: nobody has opened it.
        """
        return self._season("close", "-", "-")

    @operation
    def clear(self) -> Command[bool]:
        """Delete the season, open or closed; return whether there was one. O(1)."""
        base, name = self._named()
        keys = every_key(self._base)
        return Command(
            (b"UNLINK", *keys),
            keys,
            lambda replies: bool(replies[0]),
            behind=((b"HDEL", seasons_key(base), name),),
        )

    def _named(self) -> tuple[str, str]:
        base, _, name = self._base.rpartition(":season:")
        return base, name

    def _season(self, change: str, opens: str, closes: str) -> Command[bool]:
        base, name = self._named()
        script = SEASON.once if self._definition.once else SEASON
        keys = (self._keys.entries, seasons_key(base))
        return script(keys, (self._definition.config, change, name, opens, closes), bool)


def read_seasons(reply: Any) -> list[SeasonInfo]:
    """Read what a board knows of its seasons, the oldest first."""
    pairs: Any = reply if is_map(reply) else zip(reply[::2], reply[1::2], strict=True)
    times_of: dict[bytes, bytes] = dict(pairs)
    found: list[SeasonInfo] = []
    for name, times in times_of.items():
        opens, closes = (None if at == b"-" else int(at) / 1e6 for at in times.split())
        found.append(SeasonInfo(unquote(name.decode()), opens or 0.0, closes))
    return sorted(found, key=lambda season: (season.opens, season.name))

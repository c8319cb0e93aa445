"""Going through a board page by page, on both faces that can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from octavo.engine.command import Async, Job, M, Sync

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from octavo.engine.command import Command, operation
    from octavo.leaderboards.records import Entry, Page


class Scanned(Job[M]):
    """What can be iterated over, since `scan` gives a page and where the next one begins."""

    if TYPE_CHECKING:

        @operation
        def scan(self, cursor: str | None = None, *, limit: int = ...) -> Command[Page]:
            """Return a page of entries."""
            ...

    def __iter__(self: Scanned[Sync]) -> Iterator[Entry]:
        """Go through the board, best first, 500 entries a round trip."""
        page = self.scan()
        yield from page.entries
        while page.cursor is not None:
            page = self.scan(page.cursor)
            yield from page.entries

    async def __aiter__(self: Scanned[Async]) -> AsyncIterator[Entry]:
        """Go through the board, best first, 500 entries a round trip."""
        page = await self.scan()
        for entry in page.entries:
            yield entry
        while page.cursor is not None:
            page = await self.scan(page.cursor)
            for entry in page.entries:
                yield entry

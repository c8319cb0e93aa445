"""What commands that show tables have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence


def plain(text: str) -> str:
    """Return what people wrote, without what a terminal would take for commands."""
    return text if text.isprintable() else repr(text)


def print_columns(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows below their titles, each column as wide as what is in it."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for row in (titles, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        typer.echo("  ".join(cells).rstrip())

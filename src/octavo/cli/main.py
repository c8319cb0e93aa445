"""Where the `octavo` command starts."""

from __future__ import annotations

import sys

from octavo.errors import OctavoError

NEEDED = ("rich", "typer")


def main() -> None:
    """Run the command line; a missing package, bad input and an octavo error are one line each."""
    try:
        from octavo.cli.app import app  # noqa: PLC0415 - what it needs may be missing
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        sys.exit(f"the octavo command needs {error.name}: pip install 'octavo[cli]'")
    try:
        app(prog_name="octavo")
    except (OctavoError, ValueError) as error:
        sys.exit(f"octavo: {error}")

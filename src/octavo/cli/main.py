"""Where the `octavo` command starts."""

from __future__ import annotations

import sys

NEEDED = ("rich", "typer")


def main() -> None:
    """Run the command line, or say what to install for it."""
    try:
        from octavo.cli.app import app  # noqa: PLC0415 - what it needs may be missing
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        sys.exit(f"the octavo command needs {error.name}: pip install 'octavo[cli]'")
    app(prog_name="octavo")

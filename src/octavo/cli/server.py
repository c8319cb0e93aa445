"""`octavo server`: the embedded server in the foreground."""

from __future__ import annotations

from pathlib import Path


def server(port: int | None = None, dir: Path | None = None) -> None:  # noqa: A002 - the option
    """Run the embedded server in the foreground, until Ctrl-C.

    Other programs that use its directory attach to it; with a port, redis-cli and others can too.
    """
    # Imported here: the other commands work where no server can be embedded.
    from octavo.embedded import serve  # noqa: PLC0415

    serve(dir, port=port, ready=lambda urls: print("Ready at", *urls, flush=True))

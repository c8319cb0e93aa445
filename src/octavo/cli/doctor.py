"""`octavo doctor`: is this server fit for octavo?"""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

import octavo

_MARKS = {"ok": "ok     ", "warning": "WARNING", "error": "ERROR  "}


def doctor(
    *,
    url: Annotated[
        str | None, typer.Option(help="The server; by default OCTAVO_URL or an embedded one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check a server, say what to change, and exit with 1 if a promise does not hold on it."""
    with octavo.connect(url) as db:
        report = db.doctor()
    if as_json:
        typer.echo(msgspec.json.encode(report))
    else:
        for finding in report.findings:
            typer.echo(f"{_MARKS[finding.level]}  {finding.check}: {finding.found}")
            if finding.cure is not None:
                typer.echo(f"         -> {finding.cure}")
    raise typer.Exit(0 if report.ok else 1)

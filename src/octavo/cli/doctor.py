"""`octavo doctor`: is this server fit for octavo?"""

from __future__ import annotations

import msgspec
import typer

import octavo
from octavo.cli.options import AsJson, Url

_MARKS = {"ok": "ok     ", "warning": "WARNING", "error": "ERROR  "}


def doctor(*, url: Url = None, as_json: AsJson = False) -> None:
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

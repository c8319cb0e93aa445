"""The commands of `octavo`, each in a module of its own."""

from __future__ import annotations

from typing import Annotated

import typer

import octavo
from octavo.cli.demo import demo
from octavo.cli.doctor import doctor
from octavo.cli.limits import limits
from octavo.cli.locks import locks
from octavo.cli.server import server

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.command()(demo)
app.command()(server)
app.command()(doctor)
app.add_typer(locks, name="locks")
app.add_typer(limits, name="limits")


def _show_version(asked: bool) -> None:  # noqa: FBT001 - typer passes it so
    if asked:
        typer.echo(f"octavo {octavo.__version__}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Eight jobs people give Redis, with a server that starts by itself."""

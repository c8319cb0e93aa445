"""`octavo locks`: who holds what, and who waits for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, get_args

import msgspec
import typer

import octavo
from octavo.cli.options import AsJson, Url, Yes
from octavo.cli.tables import plain, print_columns
from octavo.locks import Holder, Kind, LockInfo, Waiter

locks = typer.Typer()

_MOST = 3
"""Labels shown of who holds something together."""

_Prefix = Annotated[str, typer.Option(help="What the programs that use them gave as `prefix`.")]
_Name = Annotated[str, typer.Argument(help="The name that programs know it by.")]
_Tag = Annotated[str | None, typer.Option(help="What they gave as `tag`.")]


@locks.callback(invoke_without_command=True)
def _list_by_default(context: typer.Context) -> None:
    """Show who holds locks, read-write locks, semaphores and elections; break what is stuck."""
    if context.invoked_subcommand is None:
        list_()


@locks.command("list")
def list_(
    names: Annotated[str, typer.Argument(help="What the names begin with.")] = "",
    *,
    url: Url = None,
    prefix: _Prefix = "octavo",
    as_json: AsJson = False,
) -> None:
    """List what is held, waited for or kept. This goes through all keys of the server."""
    with octavo.connect(url, prefix=prefix) as db:
        infos = db.locks.list(names)
    if as_json:
        typer.echo(msgspec.json.encode(infos))
        return
    rows = [
        (
            plain(info.name),
            info.kind,
            plain(info.tag or ""),
            _held(info),
            _labels(info.holders),
            str(info.waiting),
        )
        for info in infos
    ]
    print_columns(("NAME", "KIND", "TAG", "HELD", "BY", "WAITING"), rows)


@locks.command()
def show(name: _Name, *, tag: _Tag = None, url: Url = None, prefix: _Prefix = "octavo") -> None:
    """Show who holds what is called so, and who waits for it."""
    with octavo.connect(url, prefix=prefix) as db, db.batch(raise_on_error=False) as batch:
        found = [
            (kind, asked)
            for kind in get_args(Kind)
            for asked in (
                batch.locks.holders(name, kind=kind, tag=tag),
                batch.locks.waiters(name, kind=kind, tag=tag),
            )
        ]
    rows = [_row(kind, one) for kind, asked in found for one in asked.result()]
    if rows:
        print_columns(("KIND", "", "BY", "SINCE", "LEFT", "WEIGHT", "FENCE", "OWNER"), rows)
    else:
        typer.echo(f"nobody holds {name!r}, and nobody waits for it")


@locks.command("break")
def break_(
    name: _Name,
    *,
    kind: Annotated[Kind, typer.Option(help="What it is.")] = "lock",
    tag: _Tag = None,
    yes: Yes = False,
    url: Url = None,
    prefix: _Prefix = "octavo",
) -> None:
    """Take it from whoever holds it; whoever is next gets it."""
    with octavo.connect(url, prefix=prefix) as db:
        holders = db.locks.holders(name, kind=kind, tag=tag)
        if holders and not yes:
            typer.confirm(f"{name!r} is held by {_labels(holders)}. Break it?", abort=True)
        ended = db.locks.break_(name, kind=kind, tag=tag)
    typer.echo(f"{ended} lease{'s' * (ended != 1)} of {name!r} ended")


def _row(kind: Kind, one: Holder | Waiter) -> tuple[str, ...]:
    does, left, fence = "waits", "", ""
    if isinstance(one, Holder):
        does, left, fence = "holds", f"{one.remaining:.1f} s", str(one.fence)
    since = f"{one.since:%Y-%m-%d %H:%M:%S} UTC"
    weight = "all" if kind == "rwlock" and one.weight > 1 else str(one.weight)
    return kind, does, plain(one.label), since, left, weight, fence, one.owner


def _held(info: LockInfo) -> str:
    if not info.holders:
        return f"kept {info.kept:.1f} s" if info.kept else "no"
    weight = sum(holder.weight for holder in info.holders)
    match info.kind:
        case "semaphore":
            return f"{weight} of {info.limit}"
        case "rwlock":
            return "to write" if weight == info.limit else "to read"
        case _:
            return "yes"


def _labels(holders: Sequence[Holder]) -> str:
    """Return who holds something, those with the most leases first."""
    counts = Counter(holder.label for holder in holders).most_common()
    named = [plain(label) + (f" x{count}" if count > 1 else "") for label, count in counts[:_MOST]]
    more = len(counts) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")

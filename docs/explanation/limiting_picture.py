"""Draws `limiting.svg`: what each algorithm lets pass of the same calls.

Run `python docs/explanation/limiting_picture.py` where octavo is installed. The algorithms are real
ones, those by which a process decides that has lost its server; the calls and the clock are made
up, so the picture is the same each time.
"""  # noqa: INP001 - a script, beside what it draws

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from octavo.ratelimit import Concurrency, Limit, Quota
from octavo.ratelimit.local import LocalLimiter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from octavo.ratelimit import Rule

PICTURE = Path(__file__).with_name("limiting.svg")

SECOND = 1_000_000
MINUTE = 60 * SECOND
END = 4 * MINUTE
HOUR = 495_813 * 60 * MINUTE
"""When an hour of the calendar begins, which is at 2:00 in the picture."""

LIMIT = 10
RULES: list[Rule] = [
    Limit(f"{LIMIT}/minute"),
    Limit(f"{LIMIT}/minute", burst=1),
    Limit(f"{LIMIT}/minute", algorithm="fixed"),
    Limit(f"{LIMIT}/minute", algorithm="sliding"),
    Limit(f"{LIMIT}/minute", algorithm="segmented"),
    Limit(f"{LIMIT}/minute", algorithm="log"),
    Quota(f"{LIMIT}/hour"),
    Concurrency(2, lease=12),
]

WIDTH, LEFT, RIGHT = 760, 20, 740
HEAD, LANE, FOOT = 56, 88, 24
HEIGHT = HEAD + LANE * len(RULES) + FOOT
GRAPH = 2
"""How high a call is in a graph."""

LEGEND = (
    "Long strokes passed, short ones were denied. The graph: what passed within the last minute; "
    f"the line: {LIMIT}"
)
SHAPE = (
    "text{font:12px system-ui,sans-serif}.end{text-anchor:end}.mid{text-anchor:middle}"
    "path{fill:none}.area{fill-opacity:.2}.edge{stroke-dasharray:3 3}.grid{opacity:.3}"
)
LIGHT = {"page": "#fff", "text": "#1f2328", "dim": "#656d76", "yes": "#0969da", "no": "#bc4c00"}
DARK = {"page": "#0d1117", "text": "#f0f6fc", "dim": "#9198a1", "yes": "#4493f8", "no": "#f0883e"}


def rush(start: int, count: int) -> list[int]:
    """Return the times of calls that come twice a second."""
    return [start + i * SECOND // 2 for i in range(count)]


CALLS = [
    0,
    *rush(50 * SECOND, 20),
    *range(61 * SECOND, 151 * SECOND, SECOND),
    *rush(200 * SECOND, 40),
]


def passed(rule: Rule) -> set[int]:
    """Return the times of the calls that a rule lets pass; a place is held for its whole lease."""
    now = 0

    def clock() -> int:
        return HOUR - 2 * MINUTE + now

    limiter = LocalLimiter(clock=clock, calendar=clock)
    times: set[int] = set()
    for now in CALLS:
        if limiter.decide([(rule, "caller", 1)]):
            times.add(now)
    return times


def in_the_last_minute(times: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield how many of these times are less than a minute ago, whenever that changes."""
    changes = [(at + MINUTE, -1) for at in times] + [(at, 1) for at in times]
    count = 0
    for at, change in sorted(changes):
        count += change
        yield at, count


def drawing() -> str:
    """Return the picture."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>What {len(RULES)} limits let pass of the same calls</title>",
        f"<style>{SHAPE}{style(LIGHT)}@media (prefers-color-scheme: dark){{{style(DARK)}}}</style>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
        text(LEFT, 18, f"{len(CALLS)} calls", "rule"),
        text(RIGHT, 18, LEGEND, "dim end"),
        ticks("dim", CALLS, 26, 10),
    ]
    for minute in range(END // MINUTE + 1):
        at = x(minute * MINUTE)
        lines.append(f'<path class="dim grid" d="M{at} 26V{HEIGHT - FOOT}"/>')
        lines.append(text(at, HEIGHT - 8, f"{minute}:00", "dim mid"))
    for number, rule in enumerate(RULES):
        lines += lane(rule, HEAD + LANE * number)
    return "\n".join([*lines, "</svg>\n"])


def style(colours: dict[str, str]) -> str:
    """Return how the parts are coloured."""
    strokes = "".join(f"path.{name}{{stroke:{colours[name]}}}" for name in ("dim", "yes", "no"))
    return (
        f".page{{fill:{colours['page']}}}.rule{{fill:{colours['text']}}}"
        f"text.dim{{fill:{colours['dim']}}}path.area{{fill:{colours['yes']}}}{strokes}"
    )


def lane(rule: Rule, top: int) -> Iterator[str]:
    """Yield what a rule promises, the graph, and the calls that it lets pass and denies."""
    times = passed(rule)
    counts = [(at, count) for at, count in in_the_last_minute(times) if at < END]
    promise = f"{rule.guarantee(60)}; here {max(count for _, count in counts)}"
    floor = top + 62
    steps = "".join(f"H{x(at)}V{floor - GRAPH * count}" for at, count in counts)
    yield text(LEFT, top + 14, escape(repr(rule), quote=False), "rule")
    yield text(RIGHT, top + 14, promise, "dim end")
    yield f'<path class="yes area" d="M{x(0)} {floor}{steps}H{x(END)}V{floor}"/>'
    yield f'<path class="dim edge" d="M{LEFT} {floor - GRAPH * LIMIT}H{RIGHT}"/>'
    yield ticks("yes", sorted(times), floor + 4, 10)
    yield ticks("no", [at for at in CALLS if at not in times], floor + 4, 5)


def text(left: float, base: int, words: str, kind: str) -> str:
    """Return a line of text."""
    return f'<text class="{kind}" x="{left}" y="{base}">{words}</text>'


def ticks(kind: str, times: Iterable[int], top: int, length: int) -> str:
    """Return a stroke for each of some times."""
    strokes = "".join(f"M{x(at)} {top}v{length}" for at in times)
    return f'<path class="{kind}" d="{strokes}"/>'


def x(at: int) -> float:
    """Return where a time is from left to right."""
    return round(LEFT + (RIGHT - LEFT) * at / END, 1)


if __name__ == "__main__":
    PICTURE.write_text(drawing(), encoding="utf-8")

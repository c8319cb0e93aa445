"""Operations as text, one line each, with a bar for the time each took."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from octavo.testing.histories.operations import Operation

__all__ = ["timeline"]

_WIDTH = 48


def timeline(operations: Sequence[Operation]) -> list[str]:
    """Draw operations on one scale, `[` at the call, `]` at the return or `>` if none is known."""
    if not operations:
        return []
    names = [f"{each.process}: {each}" for each in operations]
    start = min(each.t_call for each in operations)
    end = max(each.last_seen for each in operations)
    scale = (_WIDTH - 1) / (end - start or 1)
    lines: list[str] = []
    for name, each in zip(names, operations, strict=True):
        left = int((each.t_call - start) * scale)
        open_end = math.isinf(each.latest_effect)
        right = max(left + 1, _WIDTH if open_end else int((each.latest_effect - start) * scale))
        bar = " " * left + "[" + "-" * (right - left - 1) + (">" if open_end else "]")
        lines.append(f"  {name:{max(map(len, names))}}  {bar}")
    return lines

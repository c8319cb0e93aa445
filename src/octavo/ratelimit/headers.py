"""What HTTP says of a decision: fields of the response, and the body of one that refuses.

`RateLimit` and `RateLimit-Policy` are those of draft-ietf-httpapi-ratelimit-headers-10, which also
defines the types of problems.
"""

from __future__ import annotations

import math
import time
from base64 import b64encode
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from octavo.ratelimit.decision import Decision, LimitState


class _Kind(NamedTuple):
    type: str
    status: int
    title: str


_EXCEEDED = _Kind(
    "quota-exceeded",
    429,
    "Request cannot be satisfied as assigned quota has been exceeded",
)
_REDUCED = _Kind(
    "temporary-reduced-capacity",
    503,
    "Request cannot be satisfied due to temporary server capacity constraints",
)
_ABNORMAL = _Kind(
    "abnormal-usage-detected",
    429,
    "Request not satisfied due to detection of abnormal request pattern",
)


def fields(
    decision: Decision,
    *,
    legacy: bool = False,
    draft6: bool = False,
    partition: bytes | None = None,
) -> dict[str, str]:
    """Return the fields that tell a client how its limits stand; shadow limits are not told.

    `RateLimit-Policy` and `RateLimit` have an item per limit, and `Retry-After` goes with a denial
    that time can cure. All seconds are rounded up.

    Args:
        decision: what a limiter decided.
        legacy: add `X-RateLimit-Limit`, `-Remaining` and `-Reset` (a Unix time) of the binding
            limit.
        draft6: add `RateLimit-Limit`, `-Remaining` and `-Reset` (seconds) of the binding limit, as
            in the sixth draft.
        partition: whose quota this is, as every client can read it: a keyed hash of a user, say.
    """
    if partition is not None and not isinstance(partition, bytes):
        raise TypeError(f"partition must be bytes, not {partition!r}")
    shown = [state for state in decision.limits.values() if not state.shadow]
    told: dict[str, str] = {}
    if shown:
        of = "" if partition is None else f";pk=:{b64encode(partition).decode()}:"
        told["RateLimit-Policy"] = ", ".join(_policy(state) + of for state in shown)
        told["RateLimit"] = ", ".join(_left(state) + of for state in shown)
    if shown and legacy:
        reset = (decision.at or time.time()) + decision.reset_after
        told |= _binding("X-RateLimit", decision, reset)
    if shown and draft6:
        told |= _binding("RateLimit", decision, decision.reset_after)
    if not decision.allowed and decision.retry_after is not None:
        told["Retry-After"] = str(_wait(decision.retry_after))
    return told


def status(decision: Decision) -> int:
    """Return the status of a response that refuses a call: 429, or 503 if none was decided.

    Raises:
        ValueError: the decision allows it.
    """
    return _kind(decision).status


def problem(decision: Decision, instance: str | None = None) -> dict[str, Any]:
    """Return the body, `application/problem+json` (RFC 9457), of a response that refuses a call.

    Args:
        decision: what a limiter decided.
        instance: a URI of this very refusal.

    Raises:
        ValueError: the decision allows it.
    """
    kind = _kind(decision)
    body: dict[str, Any] = {
        "type": f"https://iana.org/assignments/http-problem-types#{kind.type}",
        "title": kind.title,
        "status": kind.status,
        "detail": _detail(decision.retry_after),
        "violated-policies": list(decision.violated),
    }
    return body if instance is None else {**body, "instance": instance}


def _kind(decision: Decision) -> _Kind:
    if decision.allowed:
        raise ValueError(f"decision must be a denial, not {decision!r}")
    if decision.banned:
        return _ABNORMAL
    # Limits kept in the process are limits too: only a denial without any is not about the client.
    return _REDUCED if decision.degraded and not decision.limits else _EXCEEDED


def _detail(retry_after: float | None) -> str:
    if retry_after is None:
        return "It asks for more than can ever be granted."
    wait = _wait(retry_after)
    return f"Try again in {wait} second{'s' * (wait > 1)}."


def _wait(retry_after: float) -> int:
    return max(1, math.ceil(retry_after))


def _policy(state: LimitState) -> str:
    unit = "" if state.unit == "requests" else f";qu={_string(state.unit)}"
    window = "" if state.window is None else f";w={math.ceil(state.window)}"
    return f"{_string(state.name)};q={state.limit}{unit}{window}"


def _left(state: LimitState) -> str:
    window = f";t={math.ceil(state.refill_after)}" if state.refill_after else ""
    return f"{_string(state.name)};r={max(0, state.remaining)}{window}"


def _string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _binding(prefix: str, decision: Decision, reset: float) -> dict[str, str]:
    return {
        f"{prefix}-Limit": str(decision.limit),
        f"{prefix}-Remaining": str(max(0, decision.remaining)),
        f"{prefix}-Reset": str(math.ceil(reset)),
    }

"""What a limiter says about a call."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from octavo.errors import RateLimited

if TYPE_CHECKING:
    from collections.abc import Mapping

    from octavo.ratelimit.ahead import Lot
    from octavo.ratelimit.rules import RuleSet

Unit = Literal["requests", "concurrent-requests"]


class LimitState(msgspec.Struct, frozen=True, gc=False):
    """What one limit says about a call, and how it stands after it.

    Attributes:
        name: the limit's name.
        allowed: whether the cost fits.
        limit: units per window; for a `Concurrency`, places.
        remaining: units left: the largest cost that would pass now.
        retry_after: seconds until the cost would pass; 0.0 if it fits, None if it never will.
        reset_after: seconds until nothing is left of what was used.
        refill_after: seconds until `remaining` grows; 0.0 if nothing is used.
        window: seconds of its window; None for a `Concurrency`.
        unit: what it counts, as HTTP names it.
        shadow: whether it only reports.
    """

    name: str
    allowed: bool
    limit: int
    remaining: int
    retry_after: float | None
    reset_after: float
    refill_after: float
    window: float | None = None
    unit: Unit = "requests"
    shadow: bool = False


class Receipt(msgspec.Struct, eq=False):
    """What a server was charged for a call.

    Attributes:
        keys: those of the script.
        rules: the rules, packed for it, and how they are called.
        costs: units charged, of each.
        asked: when it was made, in microseconds of the server's clock.
        at: when they count, likewise.
        marks: what their states are told again by.
        holder: names the places taken.
        settled: whether it was used to give something back.
        lot: what it was handed out of, if that was taken ahead.
    """

    keys: tuple[bytes, ...]
    rules: RuleSet
    costs: tuple[int, ...]
    asked: int
    at: int
    marks: tuple[int, ...]
    holder: bytes
    settled: bool = False
    lot: Lot | None = None


class Decision(msgspec.Struct, frozen=True):
    """Whether a call may go ahead, and what the limits have left; true if it may.

    Attributes:
        allowed: whether it may.
        limit: of the binding limit: of those that deny, the one to wait longest for; otherwise the
            one with the least remaining.
        remaining: units that the binding limit has left.
        retry_after: seconds after which the same call will pass, if nobody else comes; 0.0 if it is
            allowed, None if it never will.
        reset_after: seconds until nothing is left of what the binding limit counts.
        violated: the names of the limits that deny it; `"ban"` for a ban.
        degraded: whether it was made without the server, which was out of reach.
        banned: whether a subject is banned.
        delay: seconds to wait before going ahead, of what was reserved.
        cost: units charged, or asked for if it is denied; 0 if `take_up_to` took none.
        at: when it was made, by the server's clock, as a Unix time; 0.0 without a server.
        limits: what each limit says, by name.
        receipts: what `refund`, `settle`, `release` and `renew` have to know; empty if nothing was
            charged on a server.
    """

    allowed: bool
    limit: int
    remaining: int
    retry_after: float | None
    reset_after: float
    violated: tuple[str, ...] = ()
    degraded: bool = False
    banned: bool = False
    delay: float = 0.0
    cost: int = 1
    at: float = 0.0
    limits: Mapping[str, LimitState] = {}
    receipts: tuple[Receipt, ...] = ()

    def __bool__(self) -> bool:
        """Whether the call may go ahead."""
        return self.allowed

    def __repr__(self) -> str:
        """Show what it says, without what it is settled by."""
        fields = ", ".join(
            f"{name}={getattr(self, name)!r}"
            for name in self.__struct_fields__
            if name != "receipts"
        )
        return f"Decision({fields})"

    def headers(
        self, *, legacy: bool = False, draft6: bool = False, partition: bytes | None = None
    ) -> dict[str, str]:
        """Return the fields of an HTTP response. See `octavo.ratelimit.headers`."""
        from octavo.ratelimit.headers import fields  # noqa: PLC0415 - only for the web

        return fields(self, legacy=legacy, draft6=draft6, partition=partition)

    def problem(self, instance: str | None = None) -> dict[str, Any]:
        """Return the body of a response that refuses the call. See `octavo.ratelimit.headers`."""
        from octavo.ratelimit.headers import problem  # noqa: PLC0415 - only for the web

        return problem(self, instance)


def refusal(subject: object, decision: Decision) -> RateLimited:
    """Return the error that tells of a denial."""
    if not decision.violated:
        return RateLimited(f"{subject!r} may not pass without the server", decision=decision)
    wait = decision.retry_after
    when = "this cost never passes"
    if wait is not None:
        when = f"try again in {wait:.1f} s" if wait < 10 else f"try again in {math.ceil(wait):,} s"
    limits = ", ".join(decision.violated)
    return RateLimited(f"{subject!r} is over its limit: {limits}; {when}", decision=decision)

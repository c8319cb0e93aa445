"""Rate limiting: many limits, one atomic decision, and a promise that can be stated."""

from __future__ import annotations

from octavo.ratelimit.address import address, client_address
from octavo.ratelimit.decision import Decision, LimitState, Receipt
from octavo.ratelimit.guarantees import Guarantee
from octavo.ratelimit.limited import Limited
from octavo.ratelimit.limiter import Limiter
from octavo.ratelimit.limits import Ban, Concurrency, Limit, Quota, Rule

__all__ = [
    "Ban",
    "Concurrency",
    "Decision",
    "Guarantee",
    "Limit",
    "LimitState",
    "Limited",
    "Limiter",
    "Quota",
    "Receipt",
    "Rule",
    "address",
    "client_address",
]

"""Rate limiting: many limits, one atomic decision, and a promise that can be stated."""

from __future__ import annotations

from octavo.ratelimit.address import address, client_address
from octavo.ratelimit.deciding import Cost, OnError
from octavo.ratelimit.decision import Decision, LimitState, Receipt
from octavo.ratelimit.guarantees import Guarantee
from octavo.ratelimit.inspected import BanState, RuleUsage, Usage
from octavo.ratelimit.inspection import Limits
from octavo.ratelimit.layout import Subject
from octavo.ratelimit.limited import Limited, OnLimit, RefundOn
from octavo.ratelimit.limiter import Limiter
from octavo.ratelimit.limits import Ban, Concurrency, Limit, Quota, Rule

__all__ = [
    "Ban",
    "BanState",
    "Concurrency",
    "Cost",
    "Decision",
    "Guarantee",
    "Limit",
    "LimitState",
    "Limited",
    "Limiter",
    "Limits",
    "OnError",
    "OnLimit",
    "Quota",
    "Receipt",
    "RefundOn",
    "Rule",
    "RuleUsage",
    "Subject",
    "Usage",
    "address",
    "client_address",
]

"""The three faces of every operation that looks at limits."""

# A coroutine given to `assert_type` is taken for one that nobody awaits.
# mypy: disable-error-code="unused-coroutine"
# pyright: reportUnusedCoroutine=false

from __future__ import annotations

from collections.abc import Coroutine
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from typing import Any, assert_type

import octavo
from octavo import Async, Batch, Pending, Sync
from octavo.ratelimit import BanState, Limits, RuleUsage, Usage


def operations(s: Limits[Sync], a: Limits[Async], b: Limits[Batch]) -> None:
    assert_type(s.list(), list[Usage])
    assert_type(a.list(prefix="api:"), Coroutine[Any, Any, list[Usage]])

    assert_type(s.show("api", "ada"), Usage | None)
    assert_type(a.show("api", subject="ada"), Coroutine[Any, Any, Usage | None])
    assert_type(b.show("api", IPv4Address("192.0.2.1"), tag="t"), Pending[Usage | None])

    assert_type(s.reset("api", "ada"), bool)
    assert_type(a.reset(limiter="api", subject="ada"), Coroutine[Any, Any, bool])
    assert_type(b.reset("api", "ada", tag="t"), Pending[bool])

    assert_type(s.ban("api", "ada", 60), bool)
    assert_type(a.ban("api", "ada", lasts=timedelta(hours=1)), Coroutine[Any, Any, bool])
    assert_type(b.ban("api", "ada", tag="t"), Pending[bool])

    assert_type(s.unban("api", "ada"), bool)
    assert_type(a.unban("api", "ada", tag="t"), Coroutine[Any, Any, bool])
    assert_type(b.unban("api", "ada"), Pending[bool])


def what_is_seen(usage: Usage) -> None:
    assert_type(usage.rules, tuple[RuleUsage, ...])
    assert_type(usage.rules[0].remaining, int)
    assert_type(usage.rules[0].reset_after, float)
    assert_type(usage.ban, BanState | None)
    if usage.ban is not None:
        assert_type(usage.ban.until, datetime | None)


def factories() -> None:
    with octavo.connect() as db:
        assert_type(db.limits, Limits[Sync])
        with db.batch() as batch:
            assert_type(batch.limits, Limits[Batch])


async def async_factories() -> None:
    async with octavo.connect_async() as db:
        assert_type(db.limits, Limits[Async])

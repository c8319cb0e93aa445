"""The faces of limiters."""

# A coroutine given to `assert_type` is taken for one that nobody awaits.
# mypy: disable-error-code="unused-coroutine"
# pyright: reportUnusedCoroutine=false

from __future__ import annotations

from collections.abc import Coroutine
from datetime import timedelta
from ipaddress import IPv6Address
from typing import Any, assert_type

from octavo import Async, Ban, Batch, Concurrency, Limit, Octavo, Pending, Quota, Sync
from octavo.ratelimit import Decision, Limiter, LimitState

SLOW = Limit("100/minute", burst=20)
DAILY = Quota("10000/day", tz="Europe/Paris")


def factories(s: Octavo[Sync], a: Octavo[Async], b: Octavo[Batch]) -> None:
    assert_type(s.limiter("api", SLOW, DAILY, Concurrency(5, lease=30)), Limiter[Sync])
    assert_type(a.limiter("api", SLOW, on_error="local", deadline=None), Limiter[Async])
    assert_type(b.limiter("api", tag="t", ban=Ban(5, 60, lasts=600, growth=2)), Limiter[Batch])
    assert_type(s.limiter("api", partition=lambda subject: subject[:2]), Limiter[Sync])


def decisions(decision: Decision) -> None:
    assert_type(bool(decision), bool)
    assert_type(decision.retry_after, float | None)
    assert_type(decision.limits["per-minute"], LimitState)
    assert_type(decision.headers(), dict[str, str])


def asking(s: Limiter[Sync], a: Limiter[Async], b: Limiter[Batch]) -> None:
    assert_type(s.hit("ada"), Decision)
    assert_type(a.hit(IPv6Address("::1"), cost=5), Coroutine[Any, Any, Decision])
    assert_type(b.hit("ada", {"per-minute": 2, DAILY: 1}), Pending[Decision])
    assert_type(s.check({SLOW: "ada", "per-day": "acme"}), Decision)
    assert_type(a.check({SLOW: "ada"}, cost=2), Coroutine[Any, Any, Decision])
    assert_type(b.check({"per-minute": "ada"}), Pending[Decision])
    assert_type(s.peek("ada"), Decision)
    assert_type(a.peek({SLOW: "ada"}), Coroutine[Any, Any, Decision])
    assert_type(b.peek("ada", 3), Pending[Decision])
    assert_type(s.reserve("ada", wait=timedelta(seconds=5)), Decision)
    assert_type(a.reserve("ada"), Coroutine[Any, Any, Decision])
    assert_type(b.reserve("ada", 2, 0.5), Pending[Decision])
    assert_type(s.take_up_to("ada", 50), Decision)
    assert_type(a.take_up_to("ada", n=50), Coroutine[Any, Any, Decision])
    assert_type(b.take_up_to("ada", 50), Pending[Decision])
    assert_type(s.acquire("ada", wait=None), Decision)
    assert_type(a.acquire("ada", 2, 0.5), Coroutine[Any, Any, Decision])


def afterwards(s: Limiter[Sync], a: Limiter[Async], b: Limiter[Batch], said: Decision) -> None:
    assert_type(s.refund(said), bool)
    assert_type(a.refund(said), Coroutine[Any, Any, bool])
    assert_type(b.refund(said), Pending[bool])
    assert_type(s.settle(said, 120), bool)
    assert_type(a.settle(said, {"tokens": 120}), Coroutine[Any, Any, bool])
    assert_type(b.settle(said, actual=0), Pending[bool])
    assert_type(s.release(said), bool)
    assert_type(a.release(said), Coroutine[Any, Any, bool])
    assert_type(b.release(said), Pending[bool])
    assert_type(s.renew(said), bool)
    assert_type(a.renew(said), Coroutine[Any, Any, bool])
    assert_type(b.renew(said), Pending[bool])


def operating(s: Limiter[Sync], a: Limiter[Async], b: Limiter[Batch]) -> None:
    assert_type(s.reset("ada"), bool)
    assert_type(a.reset("ada"), Coroutine[Any, Any, bool])
    assert_type(b.reset("ada"), Pending[bool])
    assert_type(s.ban("ada", lasts=60), bool)
    assert_type(a.ban("ada", timedelta(hours=1)), Coroutine[Any, Any, bool])
    assert_type(b.ban("ada"), Pending[bool])
    assert_type(s.unban("ada"), bool)
    assert_type(a.unban("ada"), Coroutine[Any, Any, bool])
    assert_type(b.unban("ada"), Pending[bool])

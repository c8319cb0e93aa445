"""What a response says of a decision."""

from __future__ import annotations

import math
import re
import time
from base64 import b64decode, b64encode
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from octavo.ratelimit.decision import Decision, LimitState
from octavo.ratelimit.headers import fields, problem, status

PAIR = re.compile(r';([a-z]+)=("(?:[^"\\]|\\["\\])*"|:[A-Za-z0-9+/=]*:|-?[0-9]+)')
ITEM = re.compile(rf'"((?:[ !#-\[\]-~]|\\["\\])*)"((?:{PAIR.pattern})*)(?:, (?=")|$)')

PERMIN = LimitState("per-minute", True, 100, 40, 0.0, 36.0, 0.6, 60.0)
DAILY = LimitState("daily", True, 1000, 999, 0.0, 3600.0, 3600.0, 86_400.0)
FREE = LimitState("burst", True, 5, 5, 0.0, 0.0, 0.0, 0.5)
PLACES = LimitState("jobs", True, 3, 1, 0.0, 30.0, 12.2, None, "concurrent-requests")


def parsed(field: str) -> list[tuple[str, dict[str, Any]]]:
    """Read a List of Strings with parameters, as RFC 9651 has it."""
    items: list[tuple[str, dict[str, Any]]] = []
    at = 0
    while at < len(field):
        found = ITEM.match(field, at)
        assert found is not None, field[at:]
        name = re.sub(r"\\(.)", r"\1", found[1])
        items.append((name, {key: bare(value) for key, value in PAIR.findall(found[2])}))
        at = found.end()
    return items


def bare(value: str) -> Any:
    if value.startswith(":"):
        return b64decode(value.strip(":"), validate=True)
    return value[1:-1] if value.startswith('"') else int(value)


def decided(*states: LimitState, **facts: Any) -> Decision:
    """Return the decision that follows from what limits say."""
    denying = [state for state in states if not state.allowed and not state.shadow]
    waits = [state.retry_after for state in denying]
    found: dict[str, Any] = {
        "allowed": not denying,
        "limit": states[0].limit if states else 0,
        "remaining": states[0].remaining if states else 0,
        "retry_after": None if None in waits else max([w for w in waits if w], default=0.0),
        "reset_after": max([state.reset_after for state in states], default=0.0),
        "violated": tuple(state.name for state in denying),
        "limits": {state.name: state for state in states},
        "at": 1_800_000_000.25,
    }
    return Decision(**(found | facts))


def denied(state: LimitState, retry_after: float | None, remaining: int = 0) -> LimitState:
    return LimitState(
        state.name,
        False,
        state.limit,
        remaining,
        retry_after,
        state.reset_after,
        state.refill_after,
        state.window,
        state.unit,
        state.shadow,
    )


names = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=64)
seconds = st.just(0.0) | st.integers(1, 10**12).map(lambda us: us / 1_000_000)


@st.composite
def states(draw: st.DrawFn) -> LimitState:
    allowed, refill = draw(st.booleans()), draw(seconds)
    retry = 0.0 if allowed else draw(st.none() | seconds.map(lambda more: refill + more + 1e-6))
    return LimitState(
        draw(names),
        allowed,
        draw(st.integers(0, 2**40)),
        draw(st.integers(-5, 2**40)),
        retry,
        refill + draw(seconds),
        refill,
        draw(st.none() | st.integers(1, 400 * 86_400_000).map(lambda ms: ms / 1000)),
        draw(st.sampled_from(["requests", "concurrent-requests"])),
        draw(st.booleans()),
    )


some_states = st.lists(states(), max_size=4, unique_by=lambda state: state.name)


def test_every_limit_has_an_item_in_both_fields() -> None:
    assert decided(PERMIN, DAILY).headers() == {
        "RateLimit-Policy": '"per-minute";q=100;w=60, "daily";q=1000;w=86400',
        "RateLimit": '"per-minute";r=40;t=1, "daily";r=999;t=3600',
    }


def test_a_limit_of_which_nothing_is_used_has_no_effective_window() -> None:
    assert fields(decided(FREE))["RateLimit"] == '"burst";r=5'


def test_a_window_below_a_second_is_told_as_one() -> None:
    assert fields(decided(FREE))["RateLimit-Policy"] == '"burst";q=5;w=1'


def test_places_are_told_as_concurrent_requests() -> None:
    assert fields(decided(PLACES)) == {
        "RateLimit-Policy": '"jobs";q=3;qu="concurrent-requests"',
        "RateLimit": '"jobs";r=1;t=13',
    }


def test_a_partition_is_told_as_bytes_with_every_item() -> None:
    told = fields(decided(PERMIN, DAILY), partition=b"trial\xff")
    key = b64encode(b"trial\xff").decode()
    assert told["RateLimit"] == (
        f'"per-minute";r=40;t=1;pk=:{key}:, "daily";r=999;t=3600;pk=:{key}:'
    )
    assert told["RateLimit-Policy"].count(f";pk=:{key}:") == 2


@pytest.mark.parametrize("partition", ["user:7", 7, bytearray(b"x")], ids=repr)
def test_a_partition_that_is_not_bytes_is_refused(partition: Any) -> None:
    with pytest.raises(TypeError, match="partition must be bytes"):
        decided(PERMIN).headers(partition=partition)


@given(some_states, st.none() | st.binary(max_size=20))
def test_the_fields_are_structured_and_say_what_the_limits_say(
    found: list[LimitState], partition: bytes | None
) -> None:
    told = fields(decided(*found), partition=partition)
    shown = [state for state in found if not state.shadow]
    assert ("RateLimit" in told) == ("RateLimit-Policy" in told) == bool(shown)
    policies = parsed(told.get("RateLimit-Policy", ""))
    left = parsed(told.get("RateLimit", ""))
    of = {} if partition is None else {"pk": partition}
    assert [name for name, _ in policies] == [name for name, _ in left]
    assert policies == [(state.name, {**policy(state), **of}) for state in shown]
    assert left == [(state.name, {**rest(state), **of}) for state in shown]


def policy(state: LimitState) -> dict[str, Any]:
    unit = {} if state.unit == "requests" else {"qu": state.unit}
    window = {} if state.window is None else {"w": math.ceil(state.window)}
    return {"q": state.limit, **unit, **window}


def rest(state: LimitState) -> dict[str, int]:
    window = {"t": math.ceil(state.refill_after)} if state.refill_after else {}
    return {"r": max(0, state.remaining), **window}


@given(some_states)
def test_waiting_as_told_is_enough_and_no_shorter_than_what_the_denying_limits_tell(
    found: list[LimitState],
) -> None:
    decision = decided(*found)
    told = fields(decision)
    denying = [state for state in found if state.name in decision.violated]
    if decision.allowed or decision.retry_after is None:
        assert "Retry-After" not in told
    else:
        wait = int(told["Retry-After"])
        assert max(1, decision.retry_after) <= wait < decision.retry_after + 1
        assert all(wait >= math.ceil(state.refill_after) for state in denying)


def test_a_denial_that_time_does_not_cure_has_no_time_to_wait() -> None:
    assert "Retry-After" not in fields(decided(denied(PERMIN, None)))


def test_a_denial_never_asks_to_come_back_at_once() -> None:
    assert fields(decided(allowed=False, degraded=True))["Retry-After"] == "1"


def test_what_was_reserved_for_later_has_no_time_to_wait() -> None:
    assert "Retry-After" not in fields(decided(PERMIN, delay=3.0))


def test_shadow_limits_are_not_told() -> None:
    shadow = LimitState("trial", False, 1, 0, 9.0, 9.0, 9.0, 60.0, shadow=True)
    told = fields(decided(PERMIN, shadow), legacy=True, draft6=True)
    assert not any("trial" in field for field in told.values())
    assert fields(decided(shadow), legacy=True, draft6=True) == {}


def test_a_decision_without_limits_tells_of_none() -> None:
    assert fields(decided(degraded=True), legacy=True, draft6=True, partition=b"x") == {}
    assert fields(decided(allowed=False, retry_after=2.5, degraded=True), legacy=True) == {
        "Retry-After": "3"
    }


def test_older_fields_tell_of_the_binding_limit() -> None:
    decision = decided(denied(PERMIN, 30.2, remaining=2))
    told = decision.headers(legacy=True, draft6=True)
    assert {name: told[name] for name in told if name.startswith("X-")} == {
        "X-RateLimit-Limit": "100",
        "X-RateLimit-Remaining": "2",
        "X-RateLimit-Reset": "1800000037",
    }
    assert told["RateLimit-Limit"] == "100"
    assert told["RateLimit-Remaining"] == "2"
    assert told["RateLimit-Reset"] == "36"
    assert told["Retry-After"] == "31"


def test_older_fields_are_left_out_unless_asked_for() -> None:
    decision = decided(PERMIN)
    assert not {"X-RateLimit-Limit", "RateLimit-Limit"} & set(decision.headers())
    assert "RateLimit-Limit" not in decision.headers(legacy=True)
    assert "X-RateLimit-Limit" not in decision.headers(draft6=True)


def test_without_a_server_the_reset_is_by_this_clock() -> None:
    before = time.time()
    told = fields(decided(PERMIN, degraded=True, at=0.0), legacy=True)
    assert before + 36 <= int(told["X-RateLimit-Reset"]) <= time.time() + 37


def test_an_overdraft_leaves_nothing() -> None:
    owing = denied(PERMIN, 30.0, remaining=-7)
    told = fields(decided(owing), legacy=True, draft6=True)
    assert told["RateLimit"] == '"per-minute";r=0;t=1'
    assert told["X-RateLimit-Remaining"] == told["RateLimit-Remaining"] == "0"


def test_an_exceeded_quota_is_a_problem_of_the_client() -> None:
    decision = decided(denied(PERMIN, 0.3), denied(DAILY, 29.5))
    assert decision.problem() == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Request cannot be satisfied as assigned quota has been exceeded",
        "status": 429,
        "detail": "Try again in 30 seconds.",
        "violated-policies": ["per-minute", "daily"],
    }
    assert status(decision) == 429


def test_a_ban_is_a_problem_of_how_the_client_behaves() -> None:
    decision = decided(PERMIN, allowed=False, banned=True, violated=("ban",), retry_after=1.0)
    told = problem(decision)
    assert told["type"].endswith("#abnormal-usage-detected")
    assert told["status"] == status(decision) == 429
    assert told["detail"] == "Try again in 1 second."


def test_a_denial_without_a_server_is_a_problem_of_the_service() -> None:
    decision = decided(allowed=False, degraded=True, retry_after=5.0)
    told = problem(decision)
    assert told["type"].endswith("#temporary-reduced-capacity")
    assert told["status"] == status(decision) == 503
    assert told["violated-policies"] == []


def test_a_denial_by_limits_kept_in_the_process_is_a_problem_of_the_client() -> None:
    decision = decided(denied(PERMIN, 2.0), degraded=True)
    assert status(decision) == 429


def test_a_problem_that_time_does_not_cure_says_so() -> None:
    told = problem(decided(denied(PERMIN, None)))
    assert told["detail"] == "It asks for more than can ever be granted."


def test_a_problem_has_its_instance_if_it_is_named() -> None:
    decision = decided(denied(PERMIN, 2.0))
    assert decision.problem("/refusals/7")["instance"] == "/refusals/7"
    assert "instance" not in decision.problem()


def test_what_is_allowed_is_no_problem() -> None:
    with pytest.raises(ValueError, match="decision must be a denial"):
        problem(decided(PERMIN))
    with pytest.raises(ValueError, match="decision must be a denial"):
        status(decided(PERMIN))

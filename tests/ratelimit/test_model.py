"""The reference itself, by examples worked out by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from octavo.ratelimit import Concurrency, Limit, Quota
from octavo.ratelimit.limits import Algorithm
from tests.ratelimit.model import SECOND, Model, Verdict

if TYPE_CHECKING:
    from octavo.ratelimit.limits import Carry

HOUR = 3600 * SECOND
NOON = 1_780_315_200 * SECOND  # 12:00 UTC on the 1st of June 2026, a Monday


def passed(model: Model, times: list[int], cost: int = 1) -> list[int]:
    """Return at which of some times a call passes."""
    return [at for at in times if model.hit(NOON + at, "x", cost).allowed]


def brief(verdict: Verdict) -> tuple[bool, int, int | None, int]:
    return verdict.allowed, verdict.remaining, verdict.retry, verdict.reset


def test_a_bucket_refills_evenly() -> None:
    model = Model(Limit("2/second"))
    assert passed(model, [0, 0, 0, 499_999, 500_000, 500_001, 1_500_000, 1_500_000]) == [
        *(0, 0, 500_000, 1_500_000, 1_500_000)
    ]


def test_a_bucket_of_a_fractional_rate_loses_nothing() -> None:
    model = Model(Limit("3/second", burst=2))
    times = [0, 0, 333_333, 333_334, 666_666, 666_667, 999_999, 1_000_000]
    assert passed(model, times) == [0, 0, 333_334, 666_667, 1_000_000]


def test_a_bucket_counts_down_and_says_when() -> None:
    model = Model(Limit("1/second", burst=5))
    assert brief(model.hit(NOON, "x", 4)) == (True, 1, 0, 4 * SECOND)
    denied = model.hit(NOON + SECOND // 2, "x", 4)
    assert brief(denied) == (False, 1, 5 * SECOND // 2, 7 * SECOND // 2)
    assert denied.limits["per-second"].refill == SECOND // 2
    assert brief(model.hit(NOON, "x", 6)) == (False, 1, None, 4 * SECOND)


def test_a_refund_to_a_bucket_gives_only_what_time_has_not() -> None:
    model = Model(Limit("1/second", burst=5))
    first = model.hit(NOON, "x", 4)
    assert model.refund(NOON + SECOND, first)
    assert model.peek(NOON + SECOND, "x").remaining == 5
    model = Model(Limit("1/second", burst=5))
    first = model.hit(NOON, "x", 2)
    model.hit(NOON, "x", 3)
    assert model.refund(NOON + SECOND, first)
    assert model.peek(NOON + SECOND, "x").remaining == 2
    assert not model.refund(NOON + SECOND, first)


def test_a_fixed_window_starts_with_its_first_hit() -> None:
    model = Model(Limit("2/second", algorithm="fixed"))
    times = [400_000, 1_399_999, 1_399_999, 1_400_000, 1_400_000, 1_400_000, 3_000_000]
    assert passed(model, times) == [400_000, 1_399_999, 1_400_000, 1_400_000, 3_000_000]


def test_a_sliding_window_fades_the_one_before() -> None:
    model = Model(Limit("10/second", algorithm="sliding"))
    assert passed(model, [0] * 11) == [0] * 10
    denied = model.hit(NOON, "x")
    assert (denied.retry, denied.reset) == (1_100_000, 2_000_000)
    assert passed(model, [1_000_000, 1_099_999, 1_100_000, 1_100_000]) == [1_100_000]
    assert model.peek(NOON + 1_500_000, "x").remaining == 4


def test_a_segmented_window_counts_a_segment_more() -> None:
    model = Model(Limit("3/second", algorithm="segmented", segments=2))
    assert passed(model, [499_999, 499_999, 500_000, 999_999]) == [499_999, 499_999, 500_000]
    denied = model.hit(NOON + 999_999, "x", 2)
    assert brief(denied) == (False, 0, 500_001, 1_000_001)
    assert passed(model, [1_499_999, 1_500_000, 1_500_000, 1_500_000]) == [1_500_000] * 2


def test_a_log_forgets_each_unit_after_its_window() -> None:
    model = Model(Limit("3/second", algorithm="log"))
    assert passed(model, [0, 100, 200, 300]) == [0, 100, 200]
    assert model.hit(NOON + 300, "x", 2).retry == SECOND - 200
    assert passed(model, [999_999, 1_000_000, 1_000_099, 1_000_100]) == [1_000_000, 1_000_100]


def test_a_quota_starts_anew_with_the_calendar() -> None:
    model = Model(Quota("2/day", tz="Asia/Kolkata"))  # where midnight is 18:30 UTC
    assert passed(model, [0, 0, 0]) == [0, 0]
    assert model.peek(NOON, "x").retry == 6 * HOUR + HOUR // 2
    assert passed(model, [6 * HOUR, 6 * HOUR + HOUR // 2]) == [6 * HOUR + HOUR // 2]
    monthly = Model(Quota("1/month", tz="Europe/Paris"))
    assert monthly.hit(NOON, "x").reset == (30 * 24 - 14) * HOUR


def test_places_end_by_themselves() -> None:
    model = Model(Concurrency(2, lease=10))
    first, _ = model.hit(NOON, "x"), model.hit(NOON + SECOND, "x")
    assert brief(model.hit(NOON + 2 * SECOND, "x")) == (False, 0, 8 * SECOND, 9 * SECOND)
    model.refund(NOON + 2 * SECOND, first)
    assert model.hit(NOON + 2 * SECOND, "x").allowed
    assert model.hit(NOON + 11 * SECOND, "x").allowed


def test_what_one_limit_denies_no_limit_is_charged() -> None:
    model = Model(
        Limit("5/minute"), Limit("2/second", algorithm="fixed"), Limit("1/day", shadow=True)
    )
    assert passed(model, [0, 0, 0]) == [0, 0]
    denied = model.hit(NOON, "x")
    assert denied.violated == ("per-second",)
    assert {name: state.remaining for name, state in denied.limits.items()} == {
        "per-minute": 3,
        "per-second": 0,
        "per-day": 0,
    }
    assert not denied.limits["per-day"].allowed


def test_what_is_booked_is_due_when_all_limits_allow_it() -> None:
    model = Model(Limit("1/second", burst=1, name="a"), Limit("2/minute", algorithm="log"))
    delays = [model.reserve(NOON, "x").delay for _ in range(4)]
    assert delays == [0, SECOND, 60 * SECOND, 61 * SECOND]
    assert brief(model.hit(NOON + SECOND, "x"))[:2] == (False, 0)
    late = model.reserve(NOON, "x", wait=60 * SECOND)
    assert (late.allowed, late.violated, late.retry) == (False, ("a", "per-minute"), 120 * SECOND)


def test_a_quota_is_booked_no_further_than_its_next_period() -> None:
    model = Model(Quota("1/hour"))
    assert [model.reserve(NOON, "x").allowed for _ in range(3)] == [True, True, False]
    assert model.reserve(NOON, "x").retry == 2 * HOUR


def test_as_much_is_taken_as_all_limits_have() -> None:
    model = Model(Limit("5/minute"), Limit("3/second", algorithm="segmented"))
    assert [model.take_up_to(NOON, "x", 2).cost for _ in range(3)] == [2, 1, 0]


def test_a_settled_call_pays_the_rest_whatever_the_limit() -> None:
    model = Model(Limit("10/minute"))
    assert model.settle(NOON, model.hit(NOON, "x", 5), 30)
    assert brief(model.hit(NOON, "x")) == (False, 0, 126 * SECOND, 180 * SECOND)


def test_another_plan_keeps_what_was_used() -> None:
    def remaining(carry: Carry) -> list[int]:
        left = []
        for algorithm in set(get_args(Algorithm)) - {"log"}:
            model = Model(Limit("10/minute", algorithm=algorithm, name="a"))
            model.hit(NOON, "x", 4)
            model.change(Limit("100/minute", algorithm=algorithm, name="a", carry=carry))
            left.append(model.peek(NOON, "x").remaining)
        return left

    assert remaining("as_is") == [96] * 4
    assert remaining("proportional") == [60] * 4
    assert remaining("reset") == [100] * 4

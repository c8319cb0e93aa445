"""What others publish of their limiters: reproduced where it is right, and what went wrong there.

Tables and cases are of the public tests and READMEs of the projects that are named beside them. A
number after a name, as in limits#112, is that of an issue or a pull request of the project. What
we know to be wrong elsewhere, or different on purpose here, has a test that shows what ours does.
"""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, get_args

import pytest

import octavo
from octavo import WrongType
from octavo.ratelimit import Concurrency, Limit, Quota
from octavo.ratelimit.limits import Algorithm
from octavo.testing import faults
from tests.fix_servers import movable_clock, redis_py, set_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from octavo import Octavo, Sync
    from octavo.ratelimit import Decision
    from octavo.ratelimit.limits import Rule
    from octavo.testing.servers import Standalone
    from tests.fix_servers import Server, Servers

NEVER = None
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
EACH = pytest.mark.parametrize("algorithm", ALGORITHMS)
CLUSTER = pytest.mark.parametrize("server", ["cluster"], indirect=True)
RULES: dict[str, Rule] = {
    **{algorithm: Limit("5/minute", algorithm=algorithm) for algorithm in ALGORITHMS},
    "quota": Quota("5/day"),
    "concurrency": Concurrency(5),
}
EACH_RULE = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
START = 1_780_272_000_000_000


@pytest.fixture
def here(servers: Servers, prefix: str) -> Iterator[Octavo[Sync]]:
    """A sync client of a server that others use too."""
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        yield db


@pytest.fixture
def keys(servers: Servers, prefix: str) -> Callable[[], dict[str, int]]:
    """What tells the milliseconds that each key of the test has to live; -1 for ever."""
    client = redis_py(servers.get("embedded").url)
    return lambda: {key: client.pttl(key) for key in client.keys(f"{prefix}:*")}


class Timed:
    """A server whose clock stands still, and is set.

    Attributes:
        db: a sync client of it.
    """

    def __init__(self, server: Standalone, db: Octavo[Sync]) -> None:
        self.db = db
        self._move = set_clock(server, START)
        self._at = 0

    def set(self, seconds: float) -> None:
        """Set the clock to so many seconds after the start."""
        at = round(seconds * 1_000_000)
        self._move(at - self._at)
        self._at = at


@pytest.fixture
def timed(still: Standalone) -> Iterator[Timed]:
    """A server of the test's own whose clock is set."""
    with octavo.connect(still.unix_url) as db:
        yield Timed(still, db)


def near(found: float | None, expected: float | None) -> bool:
    """Return whether a time is the expected one, to the microsecond."""
    if found is None or expected is None:
        return found is expected
    return abs(found - expected) <= 0.000_001


# redis-cell: the table of `it_rate_limits` in src/cell/mod.rs, which most ports of GCRA copy, for
# a burst of five and one a second: when, how many; limited, left, reset after, retry after.
REDIS_CELL = [
    (0, 6, True, 5, 0, NEVER),
    (0, 1, False, 4, 1, 0),
    (0, 1, False, 3, 2, 0),
    (0, 1, False, 2, 3, 0),
    (0, 1, False, 1, 4, 0),
    (0, 1, False, 0, 5, 0),
    (0, 1, True, 0, 5, 1),
    (3, 1, False, 2, 3, 0),
    (3.1, 1, False, 1, 3.9, 0),
    (4, 1, False, 1, 4, 0),
    (8, 1, False, 4, 1, 0),
    (9.5, 1, False, 4, 1, 0),
    (9.5, 0, False, 4, 1, 0),
    (9.5, 2, False, 2, 3, 0),
    (9.5, 5, True, 2, 3, 3),
]


def test_the_table_of_redis_cell_holds(timed: Timed) -> None:
    limiter = timed.db.limiter("api", Limit("1/second", burst=5))
    for at, quantity, limited, left, reset, retry in REDIS_CELL:
        timed.set(at)
        # There a quantity of 0 is a look; here a look has a name.
        found = limiter.hit("foo", cost=quantity) if quantity else limiter.peek("foo")
        assert (found.allowed, found.remaining) == (not limited, left), at
        assert near(found.reset_after, reset)
        assert near(found.retry_after, retry)


def test_a_burst_is_all_that_passes_at_once(here: Octavo[Sync]) -> None:
    """redis-cell#12, #38, #70: users take its `max_burst` for the burst, which is one more."""
    limiter = here.limiter("api", Limit("30/minute", burst=15))
    assert sum(limiter.hit("user123").allowed for _ in range(20)) == 15


class TestGcraTcl:
    """tests/unit/gcra.tcl of Redis, redis#14826; its `max_burst` is one less than a burst.

    Its command was held out of the release (redis#15191), its cases are as good as ever.
    """

    @pytest.fixture
    def gcra(self, here: Octavo[Sync]) -> Callable[..., Decision]:
        def gcra(
            key: str, max_burst: int, tokens: int, period: float, *, cost: int = 1
        ) -> Decision:
            limit = Limit.per(tokens, period, burst=max_burst + 1)
            return here.limiter("tcl", limit).hit(key, cost=cost)

        return gcra

    @pytest.mark.parametrize(
        ("max_burst", "tokens", "period", "cost"),
        [
            (-1, 5, 10, 1),
            (10, -1, 10, 1),
            (10, 5, 0, 1),
            (10, 5, -1, 1),
            (10, 5, 10, 0),
            (10, 5, 10, -1),
        ],
    )
    def test_what_is_out_of_range_is_refused(
        self, gcra: Any, max_burst: int, tokens: int, period: float, cost: int
    ) -> None:
        with pytest.raises(ValueError, match=r"\d"):
            gcra("mykey", max_burst, tokens, period, cost=cost)

    @pytest.mark.parametrize("cost", ["notanumber", None, 1.5])
    def test_what_is_not_a_number_is_refused(self, gcra: Any, cost: Any) -> None:
        with pytest.raises(TypeError, match="cost"):
            gcra("mykey", 10, 5, 10, cost=cost)

    def test_a_period_may_be_a_part_of_a_second(self, gcra: Any) -> None:
        assert gcra("mykey", 10, 5, 0.5).limits["per-500-ms"].window == 0.5

    def test_requests_within_the_burst_pass(self, gcra: Any) -> None:
        found = [gcra("mykey", 5, 1, 60) for _ in range(7)]
        assert [one.allowed for one in found] == [True] * 6 + [False]
        assert [one.remaining for one in found] == [5, 4, 3, 2, 1, 0, 0]
        assert found[-1].retry_after is not None
        assert found[-1].retry_after > 0

    def test_a_request_takes_several_tokens(self, gcra: Any) -> None:
        assert gcra("mykey", 5, 1, 60, cost=3).remaining == 3

    def test_the_full_burst_is_back_after_all_was_paid(self, gcra: Any) -> None:
        assert [gcra("mykey", 5, 1, 60) for _ in range(3)][-1].reset_after >= 179
        gcra("other", 5, 1, 60)
        assert gcra("other", 5, 1, 60, cost=4).reset_after >= 299

    def test_keys_are_independent(self, gcra: Any) -> None:
        assert [gcra("key1", 2, 1, 60).allowed for _ in range(4)][-1] is False
        assert gcra("key2", 2, 1, 60).allowed

    def test_without_a_burst_only_the_rate_passes(self, gcra: Any) -> None:
        assert [gcra("mykey", 0, 1, 1).allowed for _ in range(2)] == [True, False]

    def test_a_value_of_another_type_is_an_error(
        self, here: Octavo[Sync], servers: Servers, keys: Any, gcra: Any
    ) -> None:
        gcra("mykey", 5, 1, 60)
        (key,) = keys()
        client = redis_py(servers.get("embedded").url)
        client.delete(key)
        client.lpush(key, "value")
        with pytest.raises(WrongType):
            gcra("mykey", 5, 1, 60)

    def test_what_would_overflow_is_refused(self) -> None:
        with pytest.raises(ValueError, match="burst"):
            Limit.per(1, 86_400, burst=200_000_000)


class TestLimits:
    """Tests/test_strategy.py of limits."""

    def test_a_fixed_window_is_full_until_it_is_over(self, timed: Timed) -> None:
        limiter = timed.db.limiter("api", Limit("10/2 seconds", algorithm="fixed"))
        assert all(limiter.hit("x") for _ in range(10))
        timed.set(1)
        assert not limiter.hit("x")
        assert (limiter.peek("x").remaining, near(limiter.peek("x").reset_after, 1)) == (0, True)
        timed.set(2)
        assert limiter.peek("x").remaining == 10
        assert limiter.hit("x")

    def test_a_moving_window_gives_back_what_is_a_window_old(self, timed: Timed) -> None:
        limiter = timed.db.limiter("api", Limit("10/minute", algorithm="log"))
        for i in range(5):
            timed.set(10 * i)
            assert limiter.hit("x")
            assert limiter.hit("x")
            assert limiter.peek("x").remaining == 10 - (i + 1) * 2
        timed.set(50)
        assert limiter.peek("x").remaining == 0
        assert not limiter.hit("x")
        timed.set(70)
        # Two at 0 s and two at 10 s have left; limits 1 asserted two after 20 s of 60.
        assert limiter.peek("x").remaining == 4
        timed.set(101)
        assert limiter.peek("x").remaining == 10

    @EACH
    def test_a_look_says_what_a_hit_would(self, here: Octavo[Sync], algorithm: Any) -> None:
        limiter = here.limiter("api", Limit("2/minute", algorithm=algorithm))
        for allowed in (True, True, False):
            assert limiter.peek("x").allowed is allowed
            assert limiter.hit("x").allowed is allowed

    @EACH
    def test_what_is_denied_uses_nothing(self, here: Octavo[Sync], algorithm: Any) -> None:
        """Its fixed window counts what it denies, as django-ratelimit#215, envoy#185, go#52584."""
        limiter = here.limiter("api", Limit("10/hour", algorithm=algorithm))
        assert limiter.hit("x", cost=5)
        assert not limiter.hit("x", cost=8)
        assert not limiter.reserve("x", cost=8, wait=0)
        assert limiter.hit("x", cost=5)

    @EACH
    def test_the_cost_does_not_choose_the_counter(self, here: Octavo[Sync], algorithm: Any) -> None:
        """limits#112: hits of another cost were counted apart."""
        limiter = here.limiter("api", Limit("10/hour", algorithm=algorithm))
        assert [limiter.hit("x", cost=cost).remaining for cost in (1, 2, 3, 4)] == [9, 7, 4, 0]

    @EACH
    def test_a_reset_resets(self, here: Octavo[Sync], algorithm: Any) -> None:
        """limits#276: `clear` did nothing."""
        limiter = here.limiter("api", Limit("2/hour", algorithm=algorithm))
        limiter.hit("x", cost=2)
        assert limiter.reset("x")
        assert limiter.hit("x", cost=2)
        assert not limiter.reset("y")

    @pytest.mark.parametrize("cost", [0, -1, -1000])
    def test_a_cost_that_would_add_is_refused(self, here: Octavo[Sync], cost: int) -> None:
        """Its `hit(cost=-1000)` leaves 1,010 of 10."""
        limiter = here.limiter("api", Limit("10/hour"))
        for call in (limiter.hit, limiter.peek, limiter.reserve, limiter.take_up_to):
            with pytest.raises(ValueError, match=str(cost)):
                call("x", cost)

    @pytest.mark.parametrize("rate", ["1/month", "1/year", "1 per millenium", "10/s;100/m", "-1/s"])
    def test_a_rate_that_is_not_one_is_refused(self, rate: str) -> None:
        """Its month has 30 days and its year 360; its strings may have several rates."""
        with pytest.raises(ValueError, match="rate"):
            Limit(rate)

    def test_threads_do_not_race(self, here: Octavo[Sync]) -> None:
        """limits#277, #267 and PyrateLimiter#302."""
        limiter = here.limiter("api", Limit("50/hour", algorithm="log"), Limit("60/day"))
        with ThreadPoolExecutor(8) as pool:
            assert (
                sum(one.allowed for one in pool.map(lambda _: limiter.hit("x"), range(200))) == 50
            )


class TestThrottled:
    """Tests/rate_limiter/parametrizes.py of throttled-py."""

    @EACH
    def test_a_window_of_five(self, here: Octavo[Sync], algorithm: Any) -> None:
        limiter = here.limiter("api", Limit("5/minute", algorithm=algorithm))
        table = [(0, True, 5), (1, True, 4), (4, True, 0), (4, False, 0), (1, False, 0)]
        for cost, allowed, left in table:
            found = limiter.hit("key", cost=cost) if cost else limiter.peek("key")
            assert (found.allowed, found.remaining) == (allowed, left)

    def test_a_bucket_of_ten(self, timed: Timed) -> None:
        limiter = timed.db.limiter("api", Limit("60/minute", burst=10))
        table: list[tuple[float, int, bool, int, float]] = [
            (0, 1, True, 9, 0),
            (0, 10, False, 9, 1),
            (1, 5, True, 5, 0),
            (1, 8, False, 5, 3),
            (1, 5, True, 0, 0),
            (1, 1, False, 0, 1),
        ]
        for at, cost, allowed, left, retry in table:
            timed.set(at)
            found = limiter.hit("key", cost=cost)
            assert (found.allowed, found.remaining) == (allowed, left)
            assert near(found.retry_after, retry)

    @pytest.mark.parametrize("burst", [1, 2])
    def test_a_small_bucket_limits(self, here: Octavo[Sync], burst: int) -> None:
        """Its token bucket of 10 a second with a burst of 1 admits 1,000 of 1,000."""
        limiter = here.limiter("api", Limit("10/second", burst=burst))
        started = time.monotonic()
        admitted = sum(limiter.hit("x").allowed for _ in range(300))
        assert burst <= admitted <= burst + 10 * (time.monotonic() - started)

    def test_windows_shorter_than_the_time_to_live_of_a_key_limit(self, here: Octavo[Sync]) -> None:
        """redis#15093: what is less than a millisecond away was rounded down to a dead key."""
        for algorithm in ALGORITHMS:
            limit = Limit("1/ms", algorithm=algorithm)
            with here.batch(atomic=True) as batch:
                found = [batch.limiter(algorithm, limit).hit("x") for _ in range(5)]
            assert [one.result().allowed for one in found] == [True, False, False, False, False]

    def test_a_cost_above_the_burst_is_never_told_to_wait(self, here: Octavo[Sync]) -> None:
        """It says 0.59 s for a cost of 6 of a burst of 5; redis#15113."""
        limiter = here.limiter("api", Limit("10/second", burst=5))
        found = limiter.hit("x", cost=6)
        assert (found.allowed, found.retry_after, found.remaining) == (False, None, 5)

    def test_parts_of_a_unit_are_not_lost(self, timed: Timed) -> None:
        """Its buckets know whole seconds: 12 hits in 12 s of 30 a minute leave 18 there."""
        limiter = timed.db.limiter("api", Limit("30/minute"))
        left = []
        for second in range(12):
            timed.set(second)
            left.append(limiter.hit("x").remaining)
        assert left[-1] == 30 - 12 + 5

    @EACH_RULE
    def test_no_key_lives_for_ever(
        self, here: Octavo[Sync], keys: Callable[[], dict[str, int]], rule: Rule
    ) -> None:
        """Its leaking bucket, PyrateLimiter#156, #240, limits#14, #15, zuul-ratelimit#162."""
        limiter = here.limiter("api", rule)
        limiter.peek("x")
        assert keys() == {}
        calls: list[Callable[[], Any]] = [
            lambda: limiter.hit("x"),
            lambda: limiter.hit("x", cost=9),
            lambda: limiter.refund(limiter.hit("x")),
            lambda: limiter.settle(limiter.hit("x"), 2),
            lambda: limiter.ban("x", lasts=5),
            lambda: limiter.unban("x"),
        ]
        for call in calls:
            call()
            assert keys()
            assert all(ttl > 0 for ttl in keys().values())

    @EACH
    def test_a_key_lives_until_its_limit_is_reset(
        self, here: Octavo[Sync], keys: Callable[[], dict[str, int]], algorithm: Any
    ) -> None:
        """A state of a fixed life, such as self-limiters' 30 s, is forgotten while it counts."""
        limiter = here.limiter("api", Limit("2/hour", burst=None, algorithm=algorithm))
        for _ in range(5):
            found = limiter.reserve("x", cost=2)
        assert all(ttl >= found.delay * 1000 for ttl in keys().values())
        assert found.delay >= 2 * 3600
        assert max(keys().values()) >= limiter.peek("x").reset_after * 1000 - 1000


class TestPyrateLimiter:
    """Tests/test_bucket_all.py of PyrateLimiter."""

    def test_weights_fill_a_bucket(self, timed: Timed) -> None:
        limiter = timed.db.limiter("api", Limit("20/second", algorithm="log"))
        weights = [(1, True), (10, True), (20, False), (9, True), (1, False)]
        assert [limiter.hit("x", cost=n).allowed for n, _ in weights] == [ok for _, ok in weights]
        timed.set(2)
        assert limiter.hit("x")
        timed.set(4)
        assert limiter.hit("x", cost=30).retry_after is None

    @EACH
    def test_what_waits_as_long_as_told_passes(self, here: Octavo[Sync], algorithm: Any) -> None:
        """redis-cell#56, dragonfly#8288, redis_rate's rounding: told to come too early or late."""
        limiter = here.limiter("api", Limit("5/60 ms", algorithm=algorithm))
        for cost in (3, 1, 5, 2):
            while limiter.hit("x", cost=cost):
                pass
            found = limiter.hit("x", cost=cost)
            if not found:
                assert found.retry_after
                time.sleep(found.retry_after)
                found = limiter.hit("x", cost=cost)
            assert found

    def test_calls_in_the_same_moment_are_all_counted(self, here: Octavo[Sync]) -> None:
        """nostream#467: members of a sorted set named by the millisecond replaced each other."""
        with here.batch(atomic=True) as batch:
            limiter = batch.limiter("api", Limit("5/hour", algorithm="log"))
            found = [limiter.hit("x") for _ in range(8)]
        assert len({one.result().at for one in found}) == 1
        assert [one.result().allowed for one in found] == [True] * 5 + [False] * 3

    def test_a_flush_of_scripts_is_not_noticed(self, standalone: Standalone, prefix: str) -> None:
        """PyrateLimiter#182, fastapi-limiter#19, upstash/ratelimit-js#122, rate-limit-redis#71."""
        with octavo.connect(standalone.unix_url, prefix=prefix) as db:
            limiter = db.limiter("api", *(Limit("9/hour", algorithm=a, name=a) for a in ALGORITHMS))
            for _ in range(3):
                limiter.hit("x")
                faults.script_flush(standalone).strike()
                decision = limiter.hit("x")
                faults.script_flush(standalone).strike()
                assert limiter.settle(decision, 2)
                faults.script_flush(standalone).strike()
                with db.batch() as batch:
                    pending = batch.limiter("b", Limit("9/hour")).hit("x")
                assert pending.result()
            assert limiter.peek("x").remaining == 0

    @EACH
    def test_only_the_servers_clock_counts(
        self, servers: Servers, here: Octavo[Sync], prefix: str, algorithm: Algorithm
    ) -> None:
        """PyrateLimiter admits 15 of 10 from hosts 5 s apart, limits 11 from hosts 61 s apart."""
        library = movable_clock()["LD_PRELOAD"]
        limiter = here.limiter("api", Limit("10/minute", algorithm=algorithm))
        assert sum(limiter.hit("x").allowed for _ in range(6)) == 6
        url = servers.get("embedded").url
        env = {"LD_PRELOAD": library, "FAKETIME": "+61", "DONT_FAKE_MONOTONIC": "1"}
        ahead = subprocess.run(
            [sys.executable, "-c", HITS, url, prefix, algorithm],
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)} | env,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        admitted, ahead_of_us = ahead.stdout.split()
        assert float(ahead_of_us) > time.time() + 30
        assert int(admitted) == 4


HITS = """
import sys, time, octavo
from octavo.ratelimit import Limit
url, prefix, algorithm = sys.argv[1:]
with octavo.connect(url, prefix=prefix) as db:
    limiter = db.limiter("api", Limit("10/minute", algorithm=algorithm))
    print(sum(limiter.hit("x").allowed for _ in range(20)), time.time())
"""


class TestOthers:
    """What was wrong elsewhere."""

    def test_several_limits_are_charged_all_or_none(self, here: Octavo[Sync]) -> None:
        """fastapi-limiter#8, slowapi, flask-limiter, envoy#440, #427, #348."""
        rules = [Limit("3/hour"), Limit("2/minute", algorithm="log"), Limit("5/day")]
        limiter = here.limiter("api", *rules)
        assert [limiter.hit("x").allowed for _ in range(4)] == [True, True, False, False]
        assert [state.remaining for state in limiter.peek("x").limits.values()] == [1, 0, 3]
        mixed = {"per-hour": "y", "per-minute": "x", "per-day": "z"}
        assert limiter.check(mixed).violated == ("per-minute",)
        assert limiter.peek("y").limits["per-hour"].remaining == 3
        assert limiter.peek("z").limits["per-day"].remaining == 5

    @CLUSTER
    def test_no_call_crosses_slots(self, server: Server, prefix: str) -> None:
        """throttled-py's sliding window, PyrateLimiter#126, bottleneck#180, shenyu#2808."""
        rules = [Limit("3/hour", algorithm=a, name=a) for a in ALGORITHMS]
        with octavo.connect(server.url, prefix=prefix) as db:
            limiter = db.limiter("api", *rules, Quota("3/day"), Concurrency(3))
            for subject in ("a", "b", "c", "d"):
                assert [limiter.hit(subject).allowed for _ in range(4)] == [True] * 3 + [False]
            apart = dict(zip((rule.name for rule in rules), "vwxyz", strict=True))
            assert [limiter.check(apart).allowed for _ in range(4)] == [True] * 3 + [False]

    def test_a_lowered_burst_gives_no_credit(self, here: Octavo[Sync]) -> None:
        """redis_rate's `AllowAtMost` takes a negative number then."""
        here.limiter("api", Limit("100/hour", name="a")).hit("x", cost=80)
        lower = here.limiter("api", Limit("10/hour", name="a"))
        for _ in range(2):
            taken = lower.take_up_to("x", 5)
            assert (taken.allowed, taken.cost, taken.remaining) == (False, 0, 0)
        assert here.limiter("api", Limit("100/hour", name="a")).peek("x").remaining == 20

    def test_a_raised_limit_takes_effect_at_once(self, here: Octavo[Sync]) -> None:
        """envoy#185 and #1077: what was denied stayed so until the window's end."""
        free = here.limiter("api", Limit("1/hour", name="plan"))
        assert [free.hit("x").allowed for _ in range(3)] == [True, False, False]
        assert here.limiter("api", Limit("10/hour", name="plan")).hit("x").remaining == 8

    @pytest.mark.parametrize(("subject", "error"), [("", ValueError), (None, TypeError)])
    def test_a_subject_that_is_missing_is_an_error(
        self, here: Octavo[Sync], subject: Any, error: type[Exception]
    ) -> None:
        """slowapi does not limit what has an empty key."""
        with pytest.raises(error, match="subject"):
            here.limiter("api", Limit("1/hour")).hit(subject)

    def test_a_limit_of_zero_lets_nothing_pass(self, here: Octavo[Sync]) -> None:
        """guava#2730: a rate of nothing was one without a limit."""
        for algorithm in ALGORITHMS:
            found = here.limiter("api", Limit("0/second", algorithm=algorithm)).hit("x")
            assert (found.allowed, found.retry_after, found.remaining) == (False, None, 0)

    @EACH
    def test_a_clock_put_back_neither_forgives_nor_locks_out(
        self, timed: Timed, algorithm: Any
    ) -> None:
        """With redis-cell, redis_rate and throttled-py a clock put back locks out for as long."""
        limiter = timed.db.limiter("api", Limit("5/10 seconds", algorithm=algorithm))
        timed.set(1000)
        assert limiter.hit("x", cost=5)
        timed.set(0)
        found = limiter.hit("x")
        assert not found
        assert found.retry_after is not None
        assert found.retry_after <= 20
        timed.set(20)
        assert limiter.hit("x")

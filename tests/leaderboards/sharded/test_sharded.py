"""What a sharded board refuses, sends, repeats and puts right; and where its keys are."""

from __future__ import annotations

import itertools
import math
import random
import struct
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import octavo
from octavo import ConfigMismatch, ConnectionLost, PrecisionLost
from octavo.engine.keys import slot
from octavo.leaderboards import ShardedLeaderboard, even_bounds, sample_bounds
from octavo.leaderboards.sharded.bounds import Sharding
from octavo.leaderboards.sharded.layout import ShardedLayout
from octavo.leaderboards.sharded.moves import Standing
from octavo.leaderboards.sharded.runs import Known
from tests.leaderboards.inside import raw
from tests.leaderboards.sharded.walk import board_of, check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect
    from tests.fix_servers import Servers

CALLS: dict[str, tuple[Callable[[Any], Any], int]] = {
    "submit": (lambda board: board.submit("ada", 35), 3),
    "increment": (lambda board: board.increment("ada", 10), 3),
    "submit_many": (lambda board: board.submit_many({"ada": 1, "dot": 25, "eve": 31}), 3),
    "remove": (lambda board: board.remove("ada", "cyd", "nobody"), 3),
    "clear": (lambda board: board.clear(), 1),
    "repair": (lambda board: board.repair(), 2),
    "rank": (lambda board: board.rank("ada"), 2),
    "score": (lambda board: board.score("ada"), 1),
    "entry": (lambda board: board.entry("ada"), 2),
    "percentile": (lambda board: board.percentile("ada"), 2),
    "ranks_of": (lambda board: board.ranks_of(["ada", "cyd"]), 2),
    "top": (lambda board: board.top(3), 1),
    "page": (lambda board: board.page(2, size=2), 1),
    "around": (lambda board: board.around("ada", 0), 2),
    "between_scores": (lambda board: board.between_scores(5, 25), 1),
    "scan": (lambda board: board.scan(limit=1), 1),
    "count": (lambda board: board.count(), 1),
    "score_at": (lambda board: board.score_at(50), 2),
    "histogram": (lambda board: board.histogram([0, 10, 40]), 1),
    "shards": (lambda board: board.shards(), 1),
}
"""Each operation, and how many round trips it takes on two homes, once the sizes are known."""


def prepare(board: Any) -> None:
    board.submit_many({"ada": 5, "bob": 15, "cyd": 32})


@pytest.fixture
def direct(servers: Servers, prefix: str) -> Iterator[Octavo[Sync]]:
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        yield db


# Round trips, and replies that are lost


def test_every_operation_has_a_call() -> None:
    operations = {
        name
        for name in dir(ShardedLeaderboard)
        if hasattr(getattr(ShardedLeaderboard, name), "__octavo__")
    }
    assert CALLS.keys() == operations


@pytest.mark.parametrize("name", CALLS)
def test_an_operation_takes_the_round_trips_it_says(
    name: str, connect: Connect, proxy: WireProxy, direct: Octavo[Sync]
) -> None:
    prepare(board_of(direct))
    board = board_of(connect(proxy.url))
    board.count()  # opens the connection
    board.page(1)  # tells the sizes
    proxy.reset()
    call, trips = CALLS[name]
    call(board)
    assert proxy.round_trips == trips


@pytest.mark.parametrize("name", ["rank", "entry", "percentile", "around"])
def test_a_member_seen_before_is_asked_about_in_one_round_trip(
    name: str, connect: Connect, proxy: WireProxy, direct: Octavo[Sync]
) -> None:
    prepare(board_of(direct))
    call, _ = CALLS[name]
    board = board_of(connect(proxy.url))
    call(board)
    proxy.reset()
    assert call(board) == call(board_of(direct))
    assert proxy.round_trips == 1
    board_of(direct).submit("ada", 25)  # nobody tells this client
    assert call(board) == call(board_of(direct))
    assert proxy.round_trips == 1 + 2
    board_of(direct).remove("ada")
    assert call(board) == call(board_of(direct))
    assert proxy.round_trips == 1 + 2 + 1


def test_a_member_just_submitted_has_been_seen(
    connect: Connect, proxy: WireProxy, direct: Octavo[Sync]
) -> None:
    board = board_of(connect(proxy.url))
    board.submit("ada", 25)
    proxy.reset()
    assert board.rank("ada") == 1
    assert proxy.round_trips == 1


def test_a_client_remembers_a_bounded_number_of_members() -> None:
    known = Known(2)
    for i in range(12_000):
        known.see(f"m{i}".encode(), Standing(1.0, b"", 0))
    remembered = [known.standing(f"m{i}".encode()) is not None for i in range(12_000)]
    assert remembered == [False] * 2000 + [True] * 10_000


def test_a_score_that_does_not_count_is_two_round_trips(
    connect: Connect, proxy: WireProxy, direct: Octavo[Sync]
) -> None:
    board = connect(proxy.url).sharded_leaderboard("x", bounds=[10, 20], keep="best")
    board.submit("ada", 15)
    proxy.reset()
    assert not board.submit("ada", 12).accepted
    assert proxy.round_trips == 2


def test_a_page_is_right_although_all_sizes_have_changed(
    connect: Connect, proxy: WireProxy, direct: Octavo[Sync]
) -> None:
    board = board_of(connect(proxy.url))
    names = [f"m{i:03}" for i in range(200)]
    board.submit_many({name: 5 + i / 1000 for i, name in enumerate(names)})
    assert [entry.member for entry in board.page(2, size=10)] == names[-11:-21:-1]
    # All but the last go to the best shard, and nobody has told this client.
    board_of(direct).submit_many({name: 50 + i / 1000 for i, name in enumerate(names[1:])})
    assert [entry.member for entry in board.page(3, size=10)] == names[-21:-31:-1]
    assert [entry.member for entry in board.page(20, size=10)] == [*names[9:0:-1], names[0]]
    proxy.reset()
    assert [entry.rank for entry in board.page(20, size=10)] == [*range(191, 201)]
    assert proxy.round_trips == 1


@pytest.mark.parametrize("name", ["submit", "increment", "submit_many", "remove"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_change_whose_reply_is_lost_is_made_once(
    name: str, nth: int, connect: Connect, proxy: WireProxy, direct: Octavo[Sync]
) -> None:
    def board_at(db: Octavo[Sync], name: str) -> ShardedLeaderboard[Sync]:
        return db.sharded_leaderboard(name, bounds=[10, 20, 30], keep="sum", homes=1, once=True)

    call, _ = CALLS[name]
    for twin in ("with a fault", "without"):
        prepare(board_at(direct, twin))
    board = board_at(connect(proxy.url), "with a fault")
    board.count()
    waves = itertools.count(1)
    scripts: set[bytes] = set()

    def decide(words: list[bytes]) -> Any:
        # Of each wave the first script; what belongs to one wave is of one kind.
        if words[0].upper() in (b"EVAL", b"EVALSHA") and words[1] not in scripts:
            scripts.add(words[1])
            return "drop" if next(waves) == nth else "forward"
        return "forward"

    proxy.script(decide)
    found, wanted = call(board), call(board_at(direct, "without"))
    assert len(scripts) >= 3
    assert found == wanted
    assert list(board_at(direct, "with a fault")) == list(board_at(direct, "without"))
    assert board.repair(older_than=0) == 0


def test_a_change_whose_home_does_not_answer_is_of_unknown_outcome(
    connect: Connect, proxy: WireProxy, direct: Octavo[Sync]
) -> None:
    prepare(board_of(direct))
    board = board_of(connect(proxy.url))
    board.count()
    proxy.drop_replies(1)
    with pytest.raises(ConnectionLost) as raised:
        board.submit("ada", 35)
    assert raised.value.outcome == "unknown"
    assert raised.value.operation == "shardedleaderboard.submit"
    assert board.repair(older_than=0) == 1
    check(board_of(direct), ["ada", "bob", "cyd"])


def test_a_change_whose_shards_are_out_of_reach_is_of_unknown_outcome(
    connect: Connect, proxy: WireProxy, direct: Octavo[Sync]
) -> None:
    prepare(board_of(direct))
    board = board_of(connect(proxy.url, timeout=0.3))
    board.count()
    first = iter([True])
    proxy.script(lambda _: "forward" if next(first, False) else "cut")
    with pytest.raises(ConnectionLost) as raised:
        board.submit("ada", 35)
    proxy.calm()
    assert raised.value.outcome == "unknown", "its home has taken it"
    assert board_of(direct).score("ada") == 35
    assert board_of(direct).repair(older_than=0) == 1
    check(board_of(direct), ["ada", "bob", "cyd"])


@pytest.mark.parametrize("name", ["submit", "remove", "rank", "page", "count"])
def test_an_atomic_batch_refuses_what_goes_to_several_slots(
    name: str, direct: Octavo[Sync]
) -> None:
    prepare(board_of(direct))
    before = list(board_of(direct))
    with (
        pytest.raises(ValueError, match="an atomic batch needs all keys in one slot"),
        direct.batch(atomic=True) as batch,
    ):
        CALLS[name][0](batch.sharded_leaderboard("x", bounds=[10, 20, 30], keep="last", homes=2))
    assert list(board_of(direct)) == before


# What is stored


def test_a_thorough_repair_puts_right_what_was_lost_on_either_side(
    direct: Octavo[Sync], servers: Servers
) -> None:
    board = board_of(direct)
    names = [f"m{i}" for i in range(40)]
    board.submit_many({name: i for i, name in enumerate(names)})
    keys = board._index.keys  # pyright: ignore[reportPrivateUsage]
    with raw(servers.get("embedded").node_of("")) as client:
        lost = client.zrange(keys.shards[1].scores, 0, 0)[0]
        client.zrem(keys.shards[1].scores, lost)  # an entry that a shard lost
        client.zadd(keys.shards[2].scores, {b"\1" * 7 + b"m3": -12.0})  # one that came back
        home = board._index.home(b"m30")  # pyright: ignore[reportPrivateUsage]
        client.hdel(home.members, b"m30")  # a member that its home lost
        entry = client.hget(board._index.home(b"m5").members, b"m5")  # pyright: ignore[reportPrivateUsage]
        stale = struct.pack(">d", -25.0) + entry[8:]
        client.hset(board._index.home(b"m5").members, b"m5", stale)  # pyright: ignore[reportPrivateUsage]
    assert board.repair(older_than=0) == 0
    assert board.repair(thorough=True) == 5  # m5 is taken off, and put on
    check(board, names)
    assert board.score("m30") is None
    assert board.score("m5") == 25


@pytest.mark.parametrize(
    "other",
    [
        {"bounds": [10, 20, 31]},
        {"bounds": [10, 20]},
        {"homes": 2, "order": "asc"},
        {"ties": "latest"},
        {"rank": "dense"},
    ],
)
def test_another_configuration_is_refused(other: dict[str, Any], direct: Octavo[Sync]) -> None:
    config: dict[str, Any] = {"bounds": [10, 20, 30], "homes": 2}
    direct.sharded_leaderboard("x", **config).submit("ada", 25)
    board = direct.sharded_leaderboard("x", **(config | other))
    for call in (lambda: board.submit("ada", 5), lambda: board.rank("ada")):
        with pytest.raises(ConfigMismatch, match="the board was made as"):
            call()
    assert direct.sharded_leaderboard("x", **config).score("ada") == 25


def test_a_sum_that_cannot_be_held_changes_nothing(direct: Octavo[Sync]) -> None:
    board = direct.sharded_leaderboard("x", bounds=[10], keep="sum")
    board.submit("ada", 2**53)
    with pytest.raises(PrecisionLost):
        board.submit("ada", 1)
    with pytest.raises(PrecisionLost):
        board.increment("ada", 1e-3)
    assert board.score("ada") == 2**53


def test_submit_many_takes_a_generator_and_members_twice(direct: Octavo[Sync]) -> None:
    board = direct.sharded_leaderboard("x", bounds=[2000, 4000], keep="sum")
    pairs = ((f"m{i % 6000}", 1 + i % 6000) for i in range(12_000))
    assert board.submit_many(pairs) == 12_000
    assert board.count() == 6000
    assert board.score("m99") == 200
    assert [one.count for one in board.shards()] == [999, 1000, 4001]


def test_boards_whose_names_are_alike_do_not_meet(direct: Octavo[Sync]) -> None:
    names = ["a", "a/s0", "a/s0.0", "a/h0.0", "{a}", "a:b"]
    for i, name in enumerate(names):
        direct.sharded_leaderboard(name, bounds=[10]).submit("ada", i)
    scores = [direct.sharded_leaderboard(name, bounds=[10]).score("ada") for name in names]
    assert scores == [*range(6)]


# Homes, shards and bounds


@pytest.mark.parametrize("number", [1, 2, 3, 12, 32, 100])
def test_homes_and_shards_lie_evenly_over_the_slots(number: int) -> None:
    keys = ShardedLayout.of("octavo", "world", number, number)
    for each in (keys.homes, keys.shards):
        slots = [{slot(key) for key in one} for one in each]
        assert all(len(one) == 1 for one in slots), "one script takes keys of several slots"
        assert sorted(one.pop() * number // 16_384 for one in slots) == [*range(number)]
    on_three = Counter(slot(shard.scores) * 3 // 16_384 for shard in keys.shards)
    assert max(on_three.values()) - min(on_three.values()) <= 1 or number < 3


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(
    bounds=st.lists(finite, min_size=1, max_size=5, unique=True).map(sorted),
    score=finite,
    sign=st.sampled_from([1.0, -1.0]),
)
def test_a_score_is_in_the_interval_of_its_shard(
    bounds: list[float], score: float, sign: float
) -> None:
    sharding = Sharding(bounds, sign)
    low, high = sharding.intervals()[sharding.of(score * sign)]
    assert low <= score < high


def test_even_bounds_divide_a_range() -> None:
    assert even_bounds(0, 100, 4) == (25, 50, 75)
    assert even_bounds(-1, 1, 2) == (0,)


def test_sample_bounds_divide_a_sample() -> None:
    dice = random.Random(1)
    sample = [dice.paretovariate(1.2) for _ in range(10_000)]
    bounds = sample_bounds(sample, 8)
    sizes = Counter(Sharding(bounds, 1.0).of(score) for score in sample)
    assert set(sizes.values()) == {1250}
    assert sample_bounds([1, 1, 1, 1, 2, 3], 3) == (2,)


# Bad input


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"bounds": []}, ValueError, "bounds"),
        ({"bounds": [2, 1]}, ValueError, "bounds"),
        ({"bounds": [1, 1]}, ValueError, "bounds"),
        ({"bounds": [0.0, -0.0]}, ValueError, "bounds"),
        ({"bounds": [1, math.inf]}, ValueError, r"bounds\[1\]"),
        ({"bounds": [1, math.nan]}, ValueError, r"bounds\[1\]"),
        ({"bounds": ["1"]}, TypeError, r"bounds\[0\]"),
        ({"bounds": "12"}, TypeError, "bounds"),
        ({"bounds": 5}, TypeError, "bounds"),
        ({"bounds": range(1000)}, ValueError, "bounds"),
        ({"homes": 0}, ValueError, "homes"),
        ({"homes": 1.5}, TypeError, "homes"),
        ({"order": ("desc",)}, ValueError, "order"),
        ({"keep": "worst"}, ValueError, "keep"),
        ({"rank": "best"}, ValueError, "rank"),
        ({"ties": "member"}, ValueError, "ties"),
        ({"page_size": 0}, ValueError, "page_size"),
        ({"once": 1}, TypeError, "once"),
    ],
)
def test_bad_configuration_is_refused(
    options: dict[str, Any], error: type[Exception], named: str
) -> None:
    db = octavo.connect("redis://127.0.0.1:1")
    config: dict[str, Any] = {"bounds": [1]} | options
    with closing(db), pytest.raises(error, match=named):
        db.sharded_leaderboard("x", **config)


BAD_CALLS: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    (lambda board: board.submit("", 1), ValueError, "member"),
    (lambda board: board.submit("ada", math.nan), ValueError, "score"),
    (lambda board: board.submit("ada", "1"), TypeError, "score"),
    (lambda board: board.submit("ada", 2**53 + 1), ValueError, "score"),
    (lambda board: board.increment("ada", math.inf), ValueError, "by"),
    (lambda board: board.submit_many({"ada": True}), TypeError, "scores"),
    (lambda board: board.submit_many({5: 1}), TypeError, "members"),
    (lambda board: board.submit_many(["ada"]), TypeError, "scores"),
    (lambda board: board.submit_many("ada"), TypeError, "scores"),
    (lambda board: board.submit_many(5), TypeError, "scores"),
    (lambda board: board.remove("ada", ""), ValueError, "member"),
    (lambda board: board.repair(older_than=-1), ValueError, "older_than"),
    (lambda board: board.repair(thorough="yes"), TypeError, "thorough"),
    (lambda board: board.rank(5), TypeError, "member"),
    (lambda board: board.score(None), TypeError, "member"),
    (lambda board: board.entry(""), ValueError, "member"),
    (lambda board: board.percentile("ada", kind="best"), ValueError, "kind"),
    (lambda board: board.ranks_of("ada"), TypeError, "members"),
    (lambda board: board.top(0), ValueError, "n"),
    (lambda board: board.page(0), ValueError, "n"),
    (lambda board: board.page(1, size=0), ValueError, "size"),
    (lambda board: board.around("ada", -1), ValueError, "n"),
    (lambda board: board.between_scores(2, 1), ValueError, "high"),
    (lambda board: board.between_scores(1, 2, limit=0), ValueError, "limit"),
    (lambda board: board.count(math.nan, 1), ValueError, "low"),
    (lambda board: board.scan("5"), ValueError, "cursor"),
    (lambda board: board.scan("2:0.0:"), ValueError, "cursor"),
    (lambda board: board.scan(5), TypeError, "cursor"),
    (lambda board: board.scan(limit=0), ValueError, "limit"),
    (lambda board: board.score_at(101), ValueError, "percentile"),
    (lambda board: board.histogram(10), TypeError, "bins"),
    (lambda board: board.histogram([1]), ValueError, "bins"),
    (lambda board: board.histogram([2, 1]), ValueError, "bins"),
    (lambda _: even_bounds(1, 1, 2), ValueError, "high"),
    (lambda _: even_bounds(0, 1, 1), ValueError, "shards"),
    (lambda _: sample_bounds([], 2), ValueError, "sample"),
    (lambda _: sample_bounds([1, 1], 2), ValueError, "sample"),
    (lambda _: sample_bounds([1, 2], 1), ValueError, "shards"),
]


@pytest.fixture
def lost(connect: Connect) -> ShardedLeaderboard[Sync]:
    """A board that could not send anything."""
    return connect("redis://127.0.0.1:1", timeout=0.05).sharded_leaderboard("x", bounds=[1])


def test_bad_input_is_refused_before_anything_is_sent(lost: ShardedLeaderboard[Sync]) -> None:
    for call, error, named in BAD_CALLS:
        with pytest.raises(error, match=named):
            call(lost)


def test_what_needs_no_server_asks_none(connect: Connect, proxy: WireProxy) -> None:
    board = board_of(connect(proxy.url))
    assert board.submit_many({}) == 0
    assert board.remove() == 0
    assert board.ranks_of([]) == []
    assert proxy.accepted == 0

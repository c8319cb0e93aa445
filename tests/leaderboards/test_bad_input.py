"""Bad input is refused by name before anything is sent: these clients have no server."""

from __future__ import annotations

import inspect
import math
import socket
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from operator import methodcaller as call
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo import ConnectionLost
from octavo.leaderboards import Leaderboard
from tests.leaderboards.cases import CALLS, OPERATIONS, prepare

if TYPE_CHECKING:
    from octavo import Octavo, Sync
    from tests.fix_faces import Connect


@pytest.fixture(scope="module")
def nowhere() -> Iterator[str]:
    """The URL of a port that nothing listens on, and nothing else can take."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture
def lost(connect: Connect, nowhere: str) -> Any:
    """A client that could not send anything."""
    return connect(nowhere, timeout=0.05)


Values = Sequence[tuple[Any, type[Exception]]]

LONE = "\ud800"  # half of a surrogate pair, which no encoding has
NAMES: Values = [
    ("", ValueError),
    (LONE, ValueError),
    (None, TypeError),
    (5, TypeError),
    (b"ada", TypeError),
    (["ada"], TypeError),
]
NOT_FINITE: Values = [(math.nan, ValueError), (math.inf, ValueError), (-math.inf, ValueError)]
NOT_EXACT: Values = [
    (2**53 + 1, ValueError),
    (-(2**53) - 1, ValueError),
    (10**400, ValueError),
    (Decimal("0.1"), ValueError),
    (Decimal("1e400"), ValueError),
    (Fraction(1, 3), ValueError),
]
NO_NUMBERS: Values = [
    (True, TypeError),
    (False, TypeError),
    ("5", TypeError),
    (b"5", TypeError),
    (None, TypeError),
    ([5], TypeError),
    ((5,), TypeError),
    (1j, TypeError),
    (object(), TypeError),
    (bytearray(b"five"), TypeError),
    (Decimal("sNaN"), TypeError),
]
SCORES: Values = [*NOT_FINITE, *NOT_EXACT, *NO_NUMBERS, (Decimal("NaN"), ValueError)]
BOUNDS: Values = [(math.nan, ValueError), *NOT_EXACT, *NO_NUMBERS]
NOT_WHOLE: Values = [
    (True, TypeError),
    (2.0, TypeError),
    ("2", TypeError),
    (None, TypeError),
    (Decimal(2), TypeError),
]
POSITIVE: Values = [(0, ValueError), (-1, ValueError), *NOT_WHOLE]
LIMITS: Values = [one for one in POSITIVE if one[0] is not None]
NATURAL: Values = [(-1, ValueError), *NOT_WHOLE]
UNSTORABLE: Values = [(object(), TypeError), ({1: lambda: 0}, TypeError), (LONE, TypeError)]
MALFORMED = ("", "5", ":", "x:00", "5:0", "1:2:00", "5:xy", "nan:00", "inf:00", "-inf:00", ":00")
CURSORS: Values = [
    *((cursor, ValueError) for cursor in MALFORMED),
    *((cursor, TypeError) for cursor in (5, b"5:00", ["5:00"])),
]

# For each parameter of each operation: a call with the value in its place, and bad values.
NOT_NONE = [one for one in NAMES if one[0] is not None]
NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - without a time zone
MOMENTS: Values = [
    (NAIVE, ValueError),
    (datetime.min.replace(tzinfo=UTC), ValueError),
    ("2026-01-01", TypeError),
    (1_700_000_000, TypeError),
    (date(2026, 1, 1), TypeError),
]
BOARDS: Values = [("y", TypeError), (None, TypeError)]
AGGREGATES: Values = [("mean", ValueError), ("", ValueError), (None, ValueError)]
WEIGHTS: Values = [([1, 2], ValueError), (5, TypeError), ("1", TypeError)]

BAD: dict[tuple[str, str], tuple[Callable[[Any], Callable[[Any], Any]], Values]] = {
    ("submit", "member"): (lambda bad: call("submit", bad, 1), NAMES),
    ("submit", "score"): (lambda bad: call("submit", "ada", bad), SCORES),
    ("submit", "data"): (lambda bad: call("submit", "ada", 1, data=bad), UNSTORABLE),
    ("submit", "idempotency_key"): (
        lambda bad: call("submit", "ada", 1, idempotency_key=bad),
        NOT_NONE,
    ),
    ("submit", "at"): (lambda bad: call("submit", "ada", 1, at=bad), MOMENTS),
    ("increment", "idempotency_key"): (
        lambda bad: call("increment", "ada", idempotency_key=bad),
        NOT_NONE,
    ),
    ("increment", "at"): (lambda bad: call("increment", "ada", at=bad), MOMENTS),
    ("submit_many", "at"): (lambda bad: call("submit_many", {"ada": 1}, at=bad), MOMENTS),
    ("merge", "others"): (lambda bad: lambda board: board.merge(bad), BOARDS),
    ("merge", "aggregate"): (
        lambda bad: lambda board: board.merge(board, aggregate=bad),
        AGGREGATES,
    ),
    ("merge", "weights"): (lambda bad: lambda board: board.merge(board, weights=bad), WEIGHTS),
    ("intersect", "others"): (lambda bad: lambda board: board.intersect(bad), BOARDS),
    ("intersect", "aggregate"): (
        lambda bad: lambda board: board.intersect(board, aggregate=bad),
        AGGREGATES,
    ),
    ("intersect", "weights"): (
        lambda bad: lambda board: board.intersect(board, weights=bad),
        WEIGHTS,
    ),
    ("expire", "at"): (
        lambda bad: call("expire", bad),
        [
            (-1, ValueError),
            ("1h", TypeError),
            (math.nan, ValueError),
            (NAIVE, ValueError),
        ],
    ),
    ("record", "member"): (lambda bad: call("record", bad, 1), NAMES),
    ("record", "score"): (lambda bad: call("record", "ada", bad), SCORES),
    ("submit_many", "scores"): (
        lambda bad: call("submit_many", bad),
        [(bad, TypeError) for bad in (5, None, [5], "ada", [("ada",)], [("ada", 1, 2)])],
    ),
    ("submit_many", "data"): (
        lambda bad: call("submit_many", {"ada": 1}, data=bad),
        [
            (5, TypeError),
            ([1], TypeError),
            ("ada", TypeError),
            ({"ada": object()}, TypeError),
            ({"bob": 1}, ValueError),
            ({1: 2, "bob": 3}, ValueError),
        ],
    ),
    ("increment", "member"): (lambda bad: call("increment", bad), NAMES),
    ("increment", "by"): (lambda bad: call("increment", "ada", bad), SCORES),
    ("increment", "data"): (lambda bad: call("increment", "ada", data=bad), UNSTORABLE),
    ("annotate", "member"): (lambda bad: call("annotate", bad, 1), NAMES),
    ("annotate", "data"): (lambda bad: call("annotate", "ada", bad), UNSTORABLE),
    ("remove", "members"): (lambda bad: call("remove", "ada", bad), NAMES),
    ("remove_between_scores", "low"): (
        lambda bad: call("remove_between_scores", bad, 1e9),
        BOUNDS,
    ),
    ("remove_between_scores", "high"): (
        lambda bad: call("remove_between_scores", 3, bad),
        [*BOUNDS, (2, ValueError), (-math.inf, ValueError)],
    ),
    ("trim", "keep"): (lambda bad: call("trim", bad), NATURAL),
    ("rank", "member"): (lambda bad: call("rank", bad), NAMES),
    ("score", "member"): (lambda bad: call("score", bad), NAMES),
    ("entry", "member"): (lambda bad: call("entry", bad), NAMES),
    ("percentile", "member"): (lambda bad: call("percentile", bad), NAMES),
    ("percentile", "kind"): (
        lambda bad: call("percentile", "ada", kind=bad),
        [("median", ValueError), (None, ValueError), (1, ValueError), ([], ValueError)],
    ),
    ("ranks_of", "members"): (
        lambda bad: call("ranks_of", bad),
        [
            *((bad, TypeError) for bad in ("ada", 5, None, b"ada")),
            *(([bad], error) for bad, error in NAMES),
        ],
    ),
    ("top", "n"): (lambda bad: call("top", bad), POSITIVE),
    ("page", "n"): (lambda bad: call("page", bad), POSITIVE),
    ("page", "size"): (lambda bad: call("page", 1, size=bad), LIMITS),
    ("page_of", "member"): (lambda bad: call("page_of", bad), NAMES),
    ("page_of", "size"): (lambda bad: call("page_of", "ada", size=bad), LIMITS),
    ("around", "member"): (lambda bad: call("around", bad), NAMES),
    ("around", "n"): (lambda bad: call("around", "ada", bad), NATURAL),
    ("between_ranks", "first"): (lambda bad: call("between_ranks", bad, 9), POSITIVE),
    ("between_ranks", "last"): (
        lambda bad: call("between_ranks", 3, bad),
        [*POSITIVE, (2, ValueError)],
    ),
    ("between_ranks", "limit"): (lambda bad: call("between_ranks", 1, 2, limit=bad), LIMITS),
    ("between_scores", "low"): (lambda bad: call("between_scores", bad, 1e9), BOUNDS),
    ("between_scores", "high"): (
        lambda bad: call("between_scores", 3, bad),
        [*BOUNDS, (2, ValueError), (-math.inf, ValueError)],
    ),
    ("between_scores", "limit"): (lambda bad: call("between_scores", 1, 2, limit=bad), LIMITS),
    ("scan", "cursor"): (lambda bad: call("scan", bad), CURSORS),
    ("scan", "limit"): (lambda bad: call("scan", limit=bad), POSITIVE),
    ("count", "low"): (lambda bad: call("count", bad), BOUNDS),
    ("count", "high"): (lambda bad: call("count", 3, bad), [*BOUNDS, (2, ValueError)]),
    ("score_at", "percentile"): (
        lambda bad: call("score_at", bad),
        [*SCORES, (-1, ValueError), (100.5, ValueError), (5e300, ValueError)],
    ),
    ("histogram", "bins"): (
        lambda bad: call("histogram", bad),
        [
            *((bad, TypeError) for bad in (True, 2.0, None, "ab")),
            *(
                (bad, ValueError)
                for bad in (0, -1, [], [1], [2, 1], [1, 1], [0.0, -0.0], [1, 3, 2])
            ),
            *(([1, bad], error) for bad, error in BOUNDS),
        ],
    ),
}


def test_every_parameter_of_every_operation_has_bad_values() -> None:
    assert BAD.keys() == {
        (name, parameter)
        for name in OPERATIONS
        for parameter in [*inspect.signature(getattr(Leaderboard, name)).parameters][1:]
    }


def refused(make: Callable[[], object], error: type[Exception], parameter: str, bad: Any) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - its type is what is tested
        make()
    assert type(raised.value) is error, f"{bad!r} gave {raised.value!r}"
    assert parameter in str(raised.value)


@pytest.mark.parametrize(("name", "parameter"), BAD)
def test_a_bad_argument_is_refused_by_name(name: str, parameter: str, lost: Any) -> None:
    make, values = BAD[name, parameter]
    for bad, error in values:
        refused(lambda: make(bad)(lost.leaderboard("x")), error, parameter, bad)  # noqa: B023


@pytest.mark.parametrize("name", CALLS)
def test_a_good_argument_needs_the_server(name: str, lost: Any) -> None:
    with pytest.raises(ConnectionLost) as raised:
        CALLS[name](lost.leaderboard("x"))
    assert raised.value.outcome == "not_sent"


OPTIONS: dict[str, Values] = {
    "name": NAMES,
    "tag": [one for one in NAMES if one[0] is not None],
    "order": [
        ("up", ValueError),
        ("", ValueError),
        (("desc", "up"), ValueError),
        ((), TypeError),
        (["desc"], TypeError),
        (None, TypeError),
        (1, TypeError),
    ],
    "keep": [("min", ValueError), ("", ValueError), (None, ValueError), (True, ValueError)],
    "rank": [("1224", ValueError), (None, ValueError), (1, ValueError)],
    "ties": [("random", ValueError), (None, ValueError), (False, ValueError)],
    "page_size": [(0, ValueError), (-5, ValueError), *NOT_WHOLE],
    "tiers": [("gold", TypeError), ({"gold": 1}, TypeError)],
    "periods": [
        ("fortnight", ValueError),
        (["day", "decade"], ValueError),
        (3, TypeError),
        ([None], TypeError),
        (("day", "day"), ValueError),
        ((octavo.Window(3600), octavo.Window(timedelta(hours=1))), ValueError),
    ],
    "half_life": [(0, ValueError), (-1, ValueError), ("1h", TypeError), (math.inf, ValueError)],
    "rules": [({"lowest": 0}, TypeError), ("strict", TypeError)],
    "audit": [(-1, ValueError), (1.5, TypeError), (True, TypeError), ("all", TypeError)],
    "events": [(True, TypeError), ("all", TypeError)],
}


def test_every_option_has_bad_values(lost: Octavo[Sync]) -> None:
    # `once` is a flag: any value is true or false.
    parameters = [*inspect.signature(type(lost._own).leaderboard).parameters][1:]  # type: ignore[attr-defined]
    assert OPTIONS.keys() | {"once"} == {*parameters}


@pytest.mark.parametrize("option", OPTIONS)
def test_a_bad_option_is_refused_by_name(option: str, lost: Any) -> None:
    for bad, error in OPTIONS[option]:
        options = {"name": "x"} | {option: bad}
        name = options.pop("name")
        refused(lambda: lost.leaderboard(name, **options), error, option, bad)  # noqa: B023


@pytest.mark.parametrize(
    ("score", "error"),
    [
        (5, TypeError),
        (None, TypeError),
        ("12", TypeError),
        (b"12", TypeError),
        ((), ValueError),
        ((1,), ValueError),
        ((1, 2, 3), ValueError),
        ({1, 2}, TypeError),
        ((1, "2"), TypeError),
        ((True, 2), TypeError),
        ((1, math.nan), ValueError),
        ((1, 2**53 + 1), ValueError),
    ],
    ids=repr,
)
def test_a_score_of_other_columns_than_the_board_is_refused(
    score: Any, error: type[Exception], lost: Any
) -> None:
    board = lost.leaderboard("x", order=("desc", "asc"))
    refused(lambda: board.submit("ada", score), error, "score", score)
    refused(lambda: board.submit_many({"ada": score}), error, "score", score)
    refused(lambda: board.increment("ada", score), error, "by", score)


def test_numbers_of_numpy_are_numbers_and_its_booleans_and_arrays_are_not(db: Any) -> None:
    numpy = pytest.importorskip("numpy")
    board = db.leaderboard("x", keep="last")
    for score in (
        numpy.float64(0.1),
        numpy.float32(0.1),
        numpy.float16(0.1),
        numpy.int64(-3),
        numpy.uint8(7),
        numpy.uint64(2**53),
    ):
        assert board.submit("ada", score).score == score
    assert board.count(numpy.float64("-inf"), numpy.float64("inf")) == 1
    assert board.score_at(numpy.float64(50)) == 2**53
    assert [one.count for one in board.histogram(numpy.array([0.0, 1.0, 1e300]))] == [0, 1]
    assert len(board.between_scores(numpy.int64(0), numpy.float64("inf"))) == 1
    for bad in (numpy.True_, numpy.array([1.0]), numpy.array(1.0), numpy.str_("1")):
        refused(lambda: board.submit("ada", bad), TypeError, "score", bad)  # noqa: B023
    for bad in (numpy.nan, numpy.float32("inf"), numpy.uint64(2**53 + 1)):
        refused(lambda: board.submit("ada", bad), ValueError, "score", bad)  # noqa: B023


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Metres:
    def __float__(self) -> float:
        return 1.5

    def __eq__(self, other: object) -> bool:
        return other == float(self)

    __hash__ = None  # type: ignore[assignment]


def test_whatever_is_exactly_a_number_is_one(db: Any) -> None:
    board = db.leaderboard("x", keep="last")
    for score in (Fraction(1, 4), Decimal("0.5"), 2**53, -(2**60), Level.HIGH, Metres()):
        assert board.submit("ada", score).score == score
    board.clear()
    prepare(board)
    assert len(board.top(Level.HIGH)) == 2
    assert len(board.around("bob", Level.LOW)) == 3
    assert board.score_at(Decimal(100)) == 20
    assert board.score_at(Fraction(50)) == 10
    assert board.count(Decimal(11), Fraction(99)) == 1


def test_more_than_there_are_is_all_of_them(db: Any) -> None:
    for rank in ("competition", "ordinal"):
        board = db.leaderboard("x", rank=rank)
        prepare(board)
        most = 2**63 - 1
        everything = list(board)
        for many in (most, 10**30):
            assert board.top(many) == everything
            assert board.page(1, size=many) == everything
            assert board.page(many) == board.page(many, size=many) == []
            assert board.around("ada", many) == everything
            assert board.between_ranks(1, many, limit=many) == everything
            assert board.between_ranks(many, many) == []
            assert board.between_scores(0, 1e300, limit=many) == everything
            assert board.scan(limit=many).entries == everything
            assert board.trim(many) == 0

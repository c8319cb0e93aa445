"""Every operation of every job does in a guarded batch what it does outside."""

from __future__ import annotations

from operator import methodcaller as call
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from octavo.cache import Cache, Pages
from octavo.cache.calls import Call, qualified_name
from octavo.leaderboards import Leaderboard
from tests.cache import cases as cache_cases
from tests.engine.guards import Holds
from tests.engine.lab import lab_of
from tests.leaderboards import cases as leaderboard_cases

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.fix_faces import Connect
    from tests.fix_servers import Server

COUNTED = qualified_name(cache_cases.counted)
OWN = {"key", "age", "ttl", "remaining", "cursor"}  # what two of a kind may differ in
URL = "http://127.0.0.1/page"

CALLS: dict[type[Any], Mapping[str, Callable[[Any], Any]]] = {
    Leaderboard: leaderboard_cases.CALLS,
    Cache: cache_cases.CALLS
    | {
        "_count": call("_count", COUNTED),
        "_record": call("_record", 5, COUNTED, Call("(1,)", output="2")),
    },
    Pages: {
        "count": call("count", URL),
        "invalidate": call("invalidate", URL),
        "clear": call("clear"),
    },
}
BOARDS: tuple[dict[str, Any], ...] = (
    {},
    {"once": True, "keep": "sum"},
    {"rank": "dense", "ties": "latest"},
    {"rank": "fractional", "ties": "member", "order": "asc"},
)

pytestmark = pytest.mark.parametrize("face", ["sync", "async"])


@pytest.fixture
def guard(connect: Connect, server: Server) -> Holds:
    """A guard that holds."""
    lab = lab_of(connect(server.url))
    lab.put("{g}guard", "mine")
    return Holds(lab.key("{g}guard"))


def operations(job: type[Any]) -> set[str]:
    if job is Leaderboard:
        return leaderboard_cases.OPERATIONS
    attributes = vars(job).items()
    return {name for name, one in attributes if getattr(one, "__octavo__", "") == "operation"}


def alike(result: Any) -> Any:
    """Return a result without what is its own."""
    if isinstance(result, msgspec.Struct):
        fields = msgspec.structs.asdict(result)
        return type(result), {
            name: type(value) if name in OWN else alike(value) for name, value in fields.items()
        }
    return [alike(one) for one in result] if isinstance(result, list | tuple) else result


@pytest.mark.parametrize("job", CALLS)
def test_every_operation_has_a_call(job: type[Any], face: str) -> None:
    assert CALLS[job].keys() == operations(job)


@pytest.mark.parametrize("name", CALLS[Leaderboard])
def test_an_operation_of_a_leaderboard(
    name: str, connect: Connect, server: Server, guard: Holds
) -> None:
    db: Any = connect(server.url)
    for number, options in enumerate(BOARDS):

        def board(of: Any, twin: str, number: int = number, **options: Any) -> Any:
            return of.leaderboard(f"{twin}-{number}", tag="g", **options)

        for twin in ("inside", "outside"):
            leaderboard_cases.prepare(board(db, twin, **options))
        expected = CALLS[Leaderboard][name](board(db, "outside", **options))
        with db.batch(guard=guard) as batch:
            pending = CALLS[Leaderboard][name](board(batch, "inside", **options))
        assert alike(pending.result()) == alike(expected)
        inside, outside = board(db, "inside", **options), board(db, "outside", **options)
        assert list(inside) == list(outside)


@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("name", CALLS[Cache])
def test_an_operation_of_a_cache(
    name: str, is_warm: bool, connect: Connect, server: Server, guard: Holds
) -> None:
    def cache(of: Any, twin: str) -> Any:
        return of.cache(twin, ttl=60, tag="g")

    db: Any = connect(server.url)
    for twin in ("inside", "outside"):
        cache_cases.prepare(cache(db, twin))
        cache(db, twin)._record(3, COUNTED, Call("()", "{}", error="ValueError()"))
        cache(db, twin)._count(COUNTED)
        if is_warm:
            cache_cases.warm(cache(db, twin))
    db = db if is_warm else connect(server.url)
    expected = CALLS[Cache][name](cache(db, "outside"))
    with db.batch(guard=guard) as batch:
        pending = CALLS[Cache][name](cache(batch, "inside"))
    if name in ("store", "stats"):  # a random key; what this client has done
        assert type(pending.result()) is type(expected)
    else:
        assert alike(pending.result()) == alike(expected)
    left = [
        (
            one.get_many(["text", "list", "count", "added", "tagged"]),
            one.info("text"),
            one.calls(cache_cases.counted),
            one.history(cache_cases.counted),
        )
        for one in (cache(db, "inside"), cache(db, "outside"))
    ]
    assert alike(left[0]) == alike(left[1])


@pytest.mark.parametrize("name", CALLS[Pages])
def test_an_operation_of_pages(name: str, connect: Connect, server: Server, guard: Holds) -> None:
    db: Any = connect(server.url)
    expected = CALLS[Pages][name](db.pages("outside", tag="g"))
    with db.batch(guard=guard) as batch:
        pending = CALLS[Pages][name](batch.pages("inside", tag="g"))
    assert pending.result() == expected

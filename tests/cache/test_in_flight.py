"""Changes while a factory runs: what it makes is stored if, and only if, the model stores it.

A factory waits until it is told to return. Between its start and its return a test does anything to
the key, from the client that runs the factory and from another one.
"""

from __future__ import annotations

import itertools
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import pytest

from octavo.cache import Local, current_fill
from tests.cache.model import Lease, Model
from tests.cache.pair import Outside, Pair, soon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    from octavo.cache import Cache
    from tests.cache.model import Making
    from tests.fix_faces import Connect, LoopThread
    from tests.fix_servers import Server

pytestmark = pytest.mark.timeout(600)

Start = Literal["missing", "void", "stale", "many", "refresh"]
End = Literal["returns", "raises", "keeps", "adds a tag"]
TTL, GRACE = 1000.0, 500.0

OPERATIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Model], Any]]] = {
    "set": (
        lambda cache: cache.set("k", "other"),
        lambda model: model.set("k", "other", TTL, GRACE),
    ),
    "add": (lambda cache: cache.add("k", "more"), lambda model: model.add("k", "more", TTL, GRACE)),
    "delete": (lambda cache: cache.delete("k"), lambda model: model.delete("k")),
    "clear": (lambda cache: cache.clear(), lambda model: model.clear()),
    "invalidate": (
        lambda cache: cache.invalidate_tags("red"),
        lambda model: model.invalidate_tags("red"),
    ),
    "invalidate another": (
        lambda cache: cache.invalidate_tags("blue"),
        lambda model: model.invalidate_tags("blue"),
    ),
    "set tagged": (
        lambda cache: cache.set("k", ["other"], tags=["red"]),
        lambda model: model.set("k", ["other"], TTL, GRACE, ["red"]),
    ),
    "set an integer": (
        lambda cache: cache.set("k", 3),
        lambda model: model.set("k", 3, TTL, GRACE),
    ),
    "set many": (
        lambda cache: cache.set_many({"j": 1, "k": "both"}),
        lambda model: model.set_many(("j", "k"), "both", TTL, GRACE),
    ),
    "delete many": (
        lambda cache: bool(cache.delete_many(["j", "k"])),
        lambda model: bool(model.delete("j") + model.delete("k")),
    ),
    "get": (lambda cache: cache.get("k"), lambda model: model.get("k")),
    "touch": (lambda cache: cache.touch("k", TTL / 2), lambda model: model.touch("k", TTL / 2)),
    "change another": (
        lambda cache: cache.set("other", 1),
        lambda model: model.set("other", 1, TTL, GRACE),
    ),
}
"""By name: what it is for a cache, and for the model."""

CHANGES = ("set", "add", "delete", "clear", "invalidate")


class Flight:
    """A factory that runs until it is told how to end."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.started = threading.Event()
        self.ended = threading.Event()
        self.end: End = "returns"

    def __call__(self) -> Any:
        self.started.set()
        if not self.ended.wait(20):
            raise TimeoutError("nobody ended this factory")
        match self.end:
            case "raises":
                raise LookupError(self.number)
            case "keeps":
                current_fill().store = False
            case "adds a tag":
                current_fill().tags.add("red")
            case "returns":
                pass
        return ["made", self.number]

    def made(self) -> Any:
        """Make the value, as a function that has a name."""
        return self()

    def many(self, keys: list[str]) -> dict[str, Any]:
        """Make several."""
        return dict.fromkeys(keys, self())


class Air:
    """Two caches, the model, and factories that run."""

    def __init__(self, pair: Pair, pool: ThreadPoolExecutor) -> None:
        self.pair = pair
        self.pool = pool
        self.model = Model()
        self.caches: list[Cache[Any, Any]] = [
            db.cache("x", ttl=TTL, grace=GRACE, jitter=0, local=local)
            for db, local in zip(pair.dbs, (Local(), None), strict=True)
        ]
        self.last = 0

    def prepare(self, start: Start) -> None:
        """Put into the cache what the factory will find."""
        self.model = Model()
        self.caches[0].clear()
        match start:
            case "void":
                self.caches[0].set("k", "old", tags=["green"])
                self.caches[0].invalidate_tags("green")
                self.model.set("k", "old", TTL, GRACE, ["green"])
                self.model.invalidate_tags("green")
            case "stale":
                self.caches[0].set("k", "old")
                self.pair.outside.pass_time(self.caches[0], ["k"], TTL + 100)
                self.model.set("k", "old", TTL, GRACE)
                self.model.pass_time(TTL + 100)
            case "refresh":
                self.caches[0].set("k", "old")
                self.model.set("k", "old", TTL, GRACE)
            case "missing" | "many":
                pass
        self.pair.settle()

    def take_off(self, i: int, start: Start, tags: Sequence[str]) -> tuple[Flight, Future[Any]]:
        """Call for the value in another thread, up to the moment when the factory runs."""
        self.last += 1
        flight, cache = Flight(self.last), self.caches[i]
        if start == "many":
            future = self.pool.submit(cache.create_many, ["k"], flight.many, tags=tags)
        elif start == "refresh":
            cached: Any = cache.cached(key="k", tags=tags)(flight.made)
            future = self.pool.submit(lambda: self.pair.done(cached.refresh()))
        else:
            options: dict[str, Any] = {"tags": tags, "soft_timeout": None, "stale_on_error": False}
            future = self.pool.submit(partial(cache.get_or_create, "k", flight, **options))
        soon(lambda: flight.started.is_set() or future.done(), "the factory runs")
        if not flight.started.is_set():
            future.result()
        return flight, future

    def do(self, i: int, name: str) -> None:
        """Do something to the cache, and then have both clients hear of it."""
        operate, expect = OPERATIONS[name]
        found, expected = operate(self.caches[i]), expect(self.model)
        assert found == expected, name
        self.pair.settle()

    def land(self, flight: Flight, future: Future[Any], making: Making, end: End) -> None:
        """End a factory; check what the caller gets."""
        flight.end = end
        flight.ended.set()
        if end == "raises":
            with pytest.raises(LookupError):
                future.result(20)
            self.model.fail(making)
            return
        result = future.result(20)
        assert result in (["made", flight.number], {"k": ["made", flight.number]})
        late = ["red"] if end == "adds a tag" else []
        value = ["made", flight.number]
        self.model.end(making, value, TTL, GRACE, late=late, store=end != "keeps")

    def check(self, *, beside: bool = False) -> None:
        """Compare what is there, as each client sees it.

        Args:
            beside: there may be a lease beside a value, and the pause after a failure.
        """
        expected, state = self.model.value("k"), self.model.state("k")
        leased = isinstance(self.model.slots.get("k"), Lease)
        for cache in self.caches:
            entry, info = cache.fetch("k"), cache.info("k")
            assert entry.value == (expected.value if expected else None)
            assert info.state == state
            if not beside:
                assert (info.lease is not None) == leased
            if expected:
                assert sorted(entry.tags) == sorted(expected.tags)


@contextmanager
def paired(
    connect: Connect, server: Server, loop: LoopThread
) -> Iterator[tuple[Pair, ThreadPoolExecutor]]:
    with Outside(server) as outside, ThreadPoolExecutor(8) as pool:
        yield Pair(server, outside, [connect(server.url), connect(server.url)], loop), pool


def fly(air: Air, start: Start, steps: Sequence[tuple[int, str]], end: End) -> None:
    """Fly one factory of the first client through some steps; it and the model must agree."""
    air.prepare(start)
    flight, future = air.take_off(0, start, ["red"] if end != "adds a tag" else [])
    try:
        if start == "many":
            air.model.delete("k")
        making = air.model.begin(
            "k", ["red"] if end != "adds a tag" else [], renew=start == "refresh"
        )
        for i, name in steps:
            air.do(i, name)
    finally:
        flight.end = end
        flight.ended.set()
    air.land(flight, future, making, end)
    air.pair.settle()
    air.check(beside=start in ("stale", "refresh"))


def each_of(names: Sequence[str], depth: int) -> Iterator[tuple[tuple[int, str], ...]]:
    steps = list(itertools.product((0, 1), names))
    for length in range(depth + 1):
        yield from itertools.product(steps, repeat=length)


def fly_all(
    connect: Connect,
    server: Server,
    loop: LoopThread,
    flights: Iterator[tuple[Start, Sequence[tuple[int, str]], End]],
) -> None:
    with paired(connect, server, loop) as (pair, pool):
        air = Air(pair, pool)
        for start, steps, end in flights:
            try:
                fly(air, start, steps, end)
            except BaseException as error:
                error.add_note(f"{start}; {'; '.join(f'{i}: {step}' for i, step in steps)}; {end}")
                raise


@pytest.mark.parametrize("face", ["sync"], indirect=True)
@pytest.mark.parametrize("server", ["embedded"], indirect=True)
def test_three_changes_in_any_order_while_a_factory_runs(
    connect: Connect, server: Server, loop_thread: LoopThread
) -> None:
    flights: Any = (("missing", steps, "returns") for steps in each_of(CHANGES, 3))
    fly_all(connect, server, loop_thread, flights)


@pytest.mark.parametrize("server", ["embedded"], indirect=True)
@pytest.mark.parametrize("start", ["missing", "void", "stale", "many", "refresh"])
def test_any_change_while_any_factory_runs(
    connect: Connect, server: Server, loop_thread: LoopThread, start: Start
) -> None:
    ends: tuple[End, ...] = ("returns", "raises", "keeps", "adds a tag")
    flights = ((start, steps, end) for steps in each_of(tuple(OPERATIONS), 1) for end in ends)
    fly_all(connect, server, loop_thread, flights)


@pytest.mark.parametrize("server", ["cluster"], indirect=True)
def test_any_change_while_a_factory_runs_on_a_cluster(
    connect: Connect, server: Server, loop_thread: LoopThread
) -> None:
    starts: tuple[Start, ...] = ("missing", "stale")
    flights: Any = (
        (start, steps, "returns") for start in starts for steps in each_of(tuple(OPERATIONS), 1)
    )
    fly_all(connect, server, loop_thread, flights)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("start", ["missing", "void", "stale", "many", "refresh"])
def test_changes_in_any_order_while_any_factory_runs(
    connect: Connect, server: Server, loop_thread: LoopThread, start: Start
) -> None:
    ends: tuple[End, ...] = ("returns", "raises", "keeps", "adds a tag")
    flights = ((start, steps, end) for steps in each_of(tuple(OPERATIONS), 2) for end in ends)
    fly_all(connect, server, loop_thread, flights)


class Traffic:
    """Any number of calls at once: none is given, and nothing is left, that a change has voided.

    A call may be given what was made or set after the last change before it: a factory that began
    before that change has made its value of what was before.
    """

    def __init__(self, air: Air, seed: int) -> None:
        self.air = air
        self.random = random.Random(seed)
        self.step = 0
        self.done: list[str] = []
        self.calls: list[tuple[dict[str, int], Flight, Future[Any]]] = []
        self.voided = {"made": 0, "set": 0}
        self.born: dict[str, int] = {}
        self.air.prepare("missing")

    def run(self, steps: int) -> None:
        """Do so many things at random, and judge what comes of them."""
        try:
            for self.step in range(1, steps + 1):
                self.do(self.step)
        finally:
            for _, flight, _ in self.calls:
                flight.ended.set()
        for voided, _, future in self.calls:
            soon(future.done, "every call ends")
            if future.exception() is None:
                self.judge(future.result(), voided)
            else:
                assert isinstance(future.exception(), LookupError)
        self.air.pair.settle()
        self.look()
        first, second = (cache.fetch("k").value for cache in self.air.caches)
        assert first == second

    def do(self, step: int) -> None:
        flying = [
            (flight, future)
            for _, flight, future in self.calls
            if flight.started.is_set() and not flight.ended.is_set()
        ]
        i, what = self.random.choice((0, 1)), self.random.choice(("call", "land", "change"))
        if what == "land" and flying:
            self.land(*self.random.choice(flying))
        elif what == "change":
            self.change(i, self.random.choice(CHANGES), step)
        elif len(self.calls) < 8:
            self.call(i, step, alone=not flying)

    def call(self, i: int, step: int, *, alone: bool) -> None:
        self.done.append(f"{i}: call {step}")
        flight = Flight(step)

        def factory() -> Any:
            self.born[f"made {step}"] = self.step  # which may be long after the call
            return flight()

        options: dict[str, Any] = {"tags": ["red"], "soft_timeout": None}
        future = self.air.pool.submit(
            partial(self.air.caches[i].get_or_create, "k", factory, **options)
        )
        self.calls.append((dict(self.voided), flight, future))
        if alone:
            started = [each.started for _, each, _ in self.calls if not each.ended.is_set()]
            soon(
                lambda: future.done() or any(each.is_set() for each in started), "somebody makes it"
            )

    def land(self, flight: Flight, future: Future[Any]) -> None:
        flight.end = self.random.choice(("returns", "returns", "raises", "keeps"))
        self.done.append(f"{flight.number} {flight.end}")
        flight.ended.set()
        soon(future.done, "its caller gets it")
        self.air.pair.settle()

    def change(self, i: int, name: str, step: int) -> None:
        self.done.append(f"{i}: {name} {step}")
        value, cache = f"set {step}", self.air.caches[i]
        match name:
            case "set":
                cache.set("k", value)
            case "add":
                if not cache.add("k", value):
                    return
            case _:
                OPERATIONS[name][0](cache)
        self.born[value] = self.voided["made"] = step
        if name != "invalidate":
            self.voided["set"] = step
        self.judge(cache.get("k"), self.voided)
        self.air.pair.settle()
        self.look()

    def look(self) -> None:
        for cache in self.air.caches:
            self.judge(cache.get("k"), self.voided)

    def judge(self, value: Any, voided: dict[str, int]) -> None:
        if value is not None:
            text = value if isinstance(value, str) else " ".join(map(str, value))
            assert self.born[text] >= voided[text.split()[0]], text


def run_traffic(
    connect: Connect, server: Server, loop: LoopThread, histories: int, steps: int
) -> None:
    with paired(connect, server, loop) as (pair, pool):
        air = Air(pair, pool)
        for seed in range(histories):
            traffic = Traffic(air, seed)
            try:
                traffic.run(steps)
            except BaseException as error:
                error.add_note(f"seed {seed}: {'; '.join(traffic.done)}")
                raise


@pytest.mark.parametrize("server", ["embedded", "cluster"], indirect=True)
def test_no_call_gets_what_was_void_before_it(
    connect: Connect, server: Server, loop_thread: LoopThread
) -> None:
    run_traffic(connect, server, loop_thread, histories=25, steps=15)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_no_call_gets_what_was_void_before_it_for_long(
    connect: Connect, server: Server, loop_thread: LoopThread
) -> None:
    run_traffic(connect, server, loop_thread, histories=1000, steps=30)

"""What the processes of the races do, in a module that they can import.

The body of each is written once, as a coroutine that awaits the calls of either face. A process
runs some lines of execution: threads, or tasks.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import random
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

import octavo
from octavo.errors import LockLost, LockTimeout, NotReplicated, OctavoError, StaleFence
from octavo.testing.histories import Recorder
from tests.locks.campaign_records import Resource

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterable

    from octavo.testing.faults import Line
    from octavo.testing.histories import Attempt

    Body = Callable[[Any, str], Coroutine[Any, Any, None]]

T = TypeVar("T")

FACES = "sync", "async"
PATIENCE = 20.0
WRITER = 2**31
"""What a writer weighs; a reader weighs 1."""


async def got(value: Any) -> Any:
    """Return what a call of either face returns."""
    return await value if inspect.isawaitable(value) else value


def drive(steps: Coroutine[Any, Any, T]) -> T:
    """Run what awaits calls of the sync face only, and so never has to wait."""
    try:
        steps.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("a call of the sync face has to be awaited")


def run_lines(
    line: Line, url: str, face: str, names: list[str], body: Body, **options: Any
) -> None:
    """Run `body(client, name)` once for each name: in threads, or as tasks."""
    options = {"timeout": PATIENCE} | options

    async def tasks() -> None:
        async with octavo.connect_async(url, **options) as db:
            line.meet()
            await asyncio.gather(*(body(db, name) for name in names))

    if face == "async":
        asyncio.run(tasks())
        return
    failures: list[BaseException] = []

    def thread(name: str) -> None:
        try:
            drive(body(db, name))
        except BaseException as error:  # noqa: BLE001 - raised where all are awaited
            failures.append(error)

    with octavo.connect(url, **options) as db:
        line.meet()
        threads = [threading.Thread(target=thread, args=(name,)) for name in names]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    if failures:
        raise failures[0]


def names_of(lines: int) -> list[str]:
    """Return a name for each line of execution, different in each life of a process."""
    return [f"{os.getpid()}-{number}" for number in range(lines)]


class Actor:
    """One line of execution, which records all it does under a name of its own.

    Attributes:
        errors: how often it met which error.
    """

    def __init__(self, home: str, name: str, keys: Iterable[str] = ("x",)) -> None:
        self.errors = Counter[str]()
        self._name = name
        self._recorder = Recorder(home, name, failed_on=(LockTimeout, NotReplicated))
        self._resources = {key: Resource(f"{home}/{key}") for key in keys}
        self._attempts = 0
        self._owner = self._key = ""

    async def acquire(
        self, key: str, holdable: Any, *permits: int, weight: int = 1, **how: Any
    ) -> Any:
        """Return a lease, or None if there is none."""
        return await self._attempt(key, lambda: holdable.acquire(*permits, **how), weight)

    async def try_acquire(self, key: str, holdable: Any) -> Any:
        """Return a lease, or None, which is recorded as an answer like any other."""
        return await self._attempt(key, holdable.try_acquire, 1)

    async def _attempt(self, key: str, acquire: Callable[[], Any], weight: int) -> Any:
        self._attempts += 1
        self._owner, self._key = f"{self._name}-{self._attempts}", key
        weights = () if weight == 1 else (weight,)
        lease = None
        with self._noting("acquire", *weights) as attempt:
            lease = await got(acquire())
            attempt.result = lease and lease.fence
        return lease

    async def use(self, lease: Any, seconds: float, *, gate: bool) -> None:
        """Use what is held for some time, beginning at the gate, if the lease says that it is."""
        with self._recorder.operation("use", self._owner, key=self._key) as attempt:
            now = time.monotonic()
            if lease.valid:
                attempt.result = now
                if gate:
                    self._resources[self._key].admit(lease)
            await nap(seconds)

    def increment(self, lease: Any) -> None:
        """Count."""
        self._resources[self._key].increment(lease.fence)

    async def extend(self, lease: Any, ttl: float) -> None:
        """Extend the lease, if it has not ended."""
        with self._tolerating():
            await got(lease.extend(ttl))

    async def release(self, lease: Any) -> None:
        """Release the lease."""
        with self._noting("release") as attempt:
            attempt.result = await got(lease.release())

    @contextmanager
    def _noting(self, name: str, *args: int) -> Generator[Attempt]:
        with (
            self._tolerating(),
            self._recorder.operation(name, self._owner, *args, key=self._key) as attempt,
        ):
            yield attempt

    @contextmanager
    def _tolerating(self) -> Generator[None]:
        try:
            yield
        except (OctavoError, TimeoutError) as error:
            self.errors[type(error).__name__] += 1


def count_up(
    line: Line,
    url: str,
    prefix: str,
    home: str,
    face: str,
    sections: int,
    options: dict[str, Any],
) -> None:
    """Increment under a lock, so many times."""

    async def body(db: Any, name: str) -> None:
        lock = db.lock("x", **options)
        actor = Actor(home, name)
        for _ in range(sections):
            while (lease := await actor.acquire("x", lock)) is None:
                pass
            actor.increment(lease)
            await actor.release(lease)

    run_lines(line, url, face, names_of(1), body, prefix=prefix)


def roam(
    line: Line,
    url: str,
    prefix: str,
    home: str,
    number: int,
    seed: int,
    kinds: dict[str, str],
    options: dict[str, Any],
    hold: float,
) -> dict[str, int]:
    """Hold now this and now that, until stopped; return how often which error came.

    Args:
        line: of the worker.
        url: the server.
        prefix: of the keys.
        home: where to record.
        number: of the worker; every other one has tasks, the rest threads.
        seed: of the dice.
        kinds: what there is to hold, by name: see `pick`.
        options: of what is held.
        hold: the most seconds for which it is held.
    """
    errors = Counter[str]()
    ttl = options["ttl"]

    async def body(db: Any, name: str) -> None:
        dice = random.Random(f"{seed} {number} {name.rpartition('-')[2]}")
        actor = Actor(home, name, kinds)
        while not line.stopped:
            key = dice.choice(list(kinds))
            holdable, permits, weight = pick(db, key, kinds[key], options, dice)
            acquiring = actor.acquire(
                key, holdable, *permits, weight=weight, wait=dice.choice((0, 0.2, 5, None))
            )
            lease = await impatient(acquiring, dice)
            if lease is None:
                continue
            end = time.monotonic() + dice.uniform(0, hold)
            while time.monotonic() < end:
                await actor.use(lease, dice.uniform(0, 0.02), gate=kinds[key] in EXCLUSIVE)
            if dice.random() < 0.1:
                await actor.extend(lease, dice.uniform(ttl, 2 * ttl))
                await actor.use(lease, 0.0, gate=False)
            if dice.random() < 0.95:
                await actor.release(lease)
            else:
                del lease
                gc.collect()  # errors that were overcome are in cycles with the frames they passed
        errors.update(actor.errors)

    run_lines(line, url, FACES[number % 2], names_of(3), body, prefix=prefix)
    return errors


EXCLUSIVE = {"lock", "fair"}


def pick(
    db: Any, key: str, kind: str, options: dict[str, Any], dice: random.Random
) -> tuple[Any, tuple[int, ...], int]:
    """Return what to hold, the arguments of its `acquire`, and what it weighs.

    Args:
        db: the client.
        key: the name.
        kind: "lock", "fair", "rwlock", or the limit of a semaphore.
        options: of what is held.
        dice: decides which side, and how many permits.
    """
    if kind in EXCLUSIVE:
        return db.lock(key, fair=kind == "fair", **options), (), 1
    if kind == "rwlock":
        both = db.rwlock(key, **options)
        return dice.choice([(both.reader, (), 1), (both.reader, (), 1), (both.writer, (), WRITER)])
    permits = dice.randint(1, int(kind))
    return db.semaphore(key, int(kind), **options), (permits,), permits


async def impatient(acquiring: Coroutine[Any, Any, Any], dice: random.Random) -> Any:
    """Await something, or now and then cancel it, if that can be."""
    if dice.random() < 0.9 or not in_task():
        return await acquiring
    try:
        async with asyncio.timeout(dice.uniform(0, 0.05)):
            return await acquiring
    except TimeoutError:
        return None


async def nap(seconds: float) -> None:
    """Sleep as the face does."""
    if in_task():
        await asyncio.sleep(seconds)
    else:
        time.sleep(seconds)  # noqa: ASYNC251 - this is a thread


def in_task() -> bool:
    """Whether a task runs here, and not a thread."""
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False


def try_out(
    line: Line, url: str, prefix: str, home: str, number: int, seed: int, sections: int
) -> None:
    """Wait for locks, or try whether they are free; without faults, both answers can be checked."""

    async def body(db: Any, name: str) -> None:
        dice = random.Random(f"{seed} {number} {name.rpartition('-')[2]}")
        locks = {"a": db.lock("a", ttl=10), "b": db.lock("b", ttl=10, fair=True)}
        actor = Actor(home, name, locks)
        for _ in range(sections):
            key = dice.choice(list(locks))
            asked = actor.try_acquire if dice.random() < 0.5 else actor.acquire
            lease = await asked(key, locks[key])
            if lease is not None:
                actor.increment(lease)
                await nap(dice.uniform(0, 0.001))
                await actor.release(lease)

    run_lines(line, url, FACES[number % 2], names_of(2), body, prefix=prefix)


def write_guarded(
    line: Line, url: str, prefix: str, number: int, seed: int, sections: int
) -> dict[str, int]:
    """Read a score, and write it incremented if the lease still holds; return how often it did."""
    outcomes = Counter[str]()

    async def body(db: Any, name: str) -> None:
        dice = random.Random(f"{seed} {number} {name.rpartition('-')[2]}")
        lock = db.lock("x", ttl=10)
        for _ in range(sections):
            lease = await got(lock.acquire())
            score = await got(db.leaderboard("x", keep="last").score("n"))
            await nap(dice.uniform(0, 0.002))
            try:
                if in_task():
                    async with db.batch(guard=lease) as batch:
                        batch.leaderboard("x", keep="last").submit("n", (score or 0) + 1)
                else:
                    with db.batch(guard=lease) as batch:
                        batch.leaderboard("x", keep="last").submit("n", (score or 0) + 1)
            except LockLost:
                outcomes["refused"] += 1
            else:
                outcomes["written"] += 1
            await got(lease.release())

    run_lines(line, url, FACES[number % 2], names_of(2), body, prefix=prefix)
    return outcomes


def hold_in_thread(line: Line, url: str, prefix: str, ttl: float) -> dict[str, float]:
    """Hold a lock until it is lost; return when that was told, and how, on `time.monotonic()`."""
    told: dict[str, float] = {}

    def note(how: str) -> None:
        told[how] = time.monotonic()

    with octavo.connect(url, prefix=prefix) as db:
        lease = db.lock("x", ttl=ttl, on_lost=lambda _: note("callback")).acquire()

        def wait() -> None:
            assert lease.lost.wait(PATIENCE)
            note("event")

        waits = threading.Thread(target=wait)
        waits.start()
        line.say(lease.fence)
        with suppress(LockLost):
            while True:
                lease.check()
                time.sleep(0.001)
        note("check")
        waits.join()
        with pytest.raises(StaleFence):
            db.fence("x").admit(lease.fence)
        with pytest.raises(LockLost), db.batch(guard=lease) as batch:
            batch.leaderboard("x").submit("stale", 1)
        assert not lease.release()
    return told


def hold_in_task(line: Line, url: str, prefix: str, ttl: float) -> dict[str, float]:
    """Do the same in a task, which is cancelled when the lock is lost."""
    told: dict[str, float] = {}

    def note(how: str) -> None:
        told[how] = time.monotonic()

    async def wait(lease: Any) -> None:
        assert await lease.lost.wait(PATIENCE)
        note("event")

    async def hold(lock: Any, waits: list[asyncio.Task[None]]) -> None:
        async with lock as lease:
            waits.append(asyncio.create_task(wait(lease)))
            line.say(lease.fence)
            try:
                await asyncio.sleep(PATIENCE)
            finally:
                note("cancellation")

    async def main() -> None:
        leases: list[Any] = []

        def lost(lease: Any) -> None:
            note("callback")
            leases.append(lease)

        async with octavo.connect_async(url, prefix=prefix) as db:
            lock = db.lock("x", ttl=ttl, on_lost=lost)
            waits: list[asyncio.Task[None]] = []
            with pytest.raises(LockLost):
                await hold(lock, waits)
            await waits[0]
            with pytest.raises(StaleFence):
                await db.fence("x").admit(leases[0].fence)
            with pytest.raises(LockLost):
                async with db.batch(guard=leases[0]) as batch:
                    batch.leaderboard("x").submit("stale", 1)

    asyncio.run(main())
    return told


def stand_in_queue(
    line: Line,
    url: str,
    prefix: str,
    home: str,
    number: int,
    threads: int,
    ttl: float,
    renew: bool = True,
) -> None:
    """Wait for a fair lock in so many threads, each of which begins when the test says its name."""
    lines = [threading.Event() for _ in range(threads)]

    def stand(db: Any, place: int) -> None:
        assert lines[place].wait(PATIENCE)
        actor = Actor(home, f"{number}-{place}")
        lease = drive(actor.acquire("x", db.lock("x", fair=True, ttl=ttl, renew=renew)))
        drive(actor.release(lease))

    with octavo.connect(url, prefix=prefix, timeout=PATIENCE) as db:
        db.locks.list()  # connects
        line.meet()
        waiters = [threading.Thread(target=stand, args=(db, place)) for place in range(threads)]
        for waiter in waiters:
            waiter.start()
        for _ in range(threads):
            lines[line.hear()].set()
        for waiter in waiters:
            waiter.join()


def hold_permit(line: Line, url: str, prefix: str, limit: int, ttl: float) -> None:
    """Hold a permit until killed."""
    with octavo.connect(url, prefix=prefix) as db:
        lease = db.semaphore("x", limit, ttl=ttl).acquire()
        line.say(lease.fence)
        line.hear()

"""What callers were told, to be held against what the server has stored."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import octavo
from tests.engine.lab import BUMP, Lab, command

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from octavo import Async, Sync
    from octavo.engine.command import Command


class Ledger:
    """Counts acknowledged and unknown increments of each counter, and what else went wrong.

    Attributes:
        acked: how often each counter's increment was acknowledged.
        unknown: how often nobody knows.
        wrong: what must never happen: other errors, and replies of another key.
        overlapped: how many operations were under way when a fault happened.
    """

    def __init__(self) -> None:
        self.acked = Counter[str]()
        self.unknown = Counter[str]()
        self.wrong: list[str] = []
        self.overlapped = 0
        self._faults: list[float] = []
        self._lock = threading.Lock()

    def fault(self) -> None:
        """Note that a fault happens now."""
        self._faults.append(time.monotonic())

    @contextmanager
    def attempt(self, name: str, *, safe: bool) -> Generator[None]:
        """Record what becomes of one operation.

        Args:
            name: the counter, or what else is touched.
            safe: whether it may be sent again, so that no caller should see an error.
        """
        began = time.monotonic()
        outcome = self.acked
        try:
            yield
        except octavo.ConnectionLost as error:
            if safe or error.outcome != "unknown":
                self.wrong.append(f"{name}: {error.outcome}: {error!r}")
            outcome = self.unknown
        except Exception as error:  # noqa: BLE001 - whatever it is, it is wrong
            self.wrong.append(f"{name}: {error!r}")
            outcome = Counter[str]()
        with self._lock:
            outcome[name] += 1
            self.overlapped += any(began < fault for fault in self._faults[-1:])

    def check(self, stored: Callable[[str], int], *, lossless: bool = True) -> None:
        """Check that no increment was lost, none ran twice, and that the run was not idle.

        Args:
            stored: returns what the server holds of a counter.
            lossless: whether the server promises to keep what it acknowledged.
        """
        assert not self.wrong, self.wrong[:5]
        assert self.overlapped, "no operation was under way when a fault happened"
        for name in self.acked | self.unknown:
            if name.startswith("k-"):
                continue
            least, most = self.acked[name], self.acked[name] + self.unknown[name]
            if name.startswith("once-"):
                assert not self.unknown[name]
            assert stored(name) <= most, f"{name} ran twice"
            if lossless or name.startswith("replicated-"):
                assert stored(name) >= least, f"{name} was acknowledged and lost"


class Load:
    """Threads and tasks that use a server until told to stop, and record it in a ledger.

    Args:
        url: the server.
        prefix: what the keys begin with.
        copies: have some increments wait until so many replicas have them. All must: the one
            that is promoted is the one with most data as of its last report, not as of now.
        options: for the clients.
    """

    def __init__(
        self, url: str, prefix: str, *, copies: int = 0, seed: int = 0, **options: Any
    ) -> None:
        self.ledger = Ledger()
        self.sync = octavo.connect(url, prefix=prefix, **options)
        self.key = Lab(self.sync).key
        self._async = octavo.connect_async(url, prefix=prefix, **options)
        self._copies = copies
        self._seed = seed
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._thread, args=(i,)) for i in range(4)]
        self._threads.append(threading.Thread(target=lambda: asyncio.run(self._tasks())))
        self._steps = 0

    def __enter__(self) -> Ledger:
        for thread in self._threads:
            thread.start()
        self.go_on()
        return self.ledger

    def go_on(self, steps: int = 200) -> None:
        """Wait until so many more operations have ended."""
        end, deadline = self._steps + steps, time.monotonic() + 30
        while self._steps < end:
            assert time.monotonic() < deadline, f"the load hangs: {self.ledger.wrong[:3]}"
            time.sleep(0.005)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def stored(self, name: str) -> int:
        """Return what the server holds of a counter."""
        return int(Lab(self.sync).get(name) or 0)

    def close(self) -> None:
        """Close the sync client; the async one is closed by its loop."""
        self.sync.close()

    def _thread(self, number: int) -> None:
        lab: Lab[Sync] = Lab(self.sync)
        rng = random.Random(f"{self._seed}-{number}")
        while not self._stop.is_set():
            name, safe, command = self._choice(rng)
            with self.ledger.attempt(name, safe=safe):
                lab.send(command)
            self._steps += 1

    async def _tasks(self) -> None:
        async with self._async:
            await asyncio.gather(*(self._task(i) for i in range(40)))

    async def _task(self, number: int) -> None:
        lab: Lab[Async] = Lab(self._async)
        rng = random.Random(f"{self._seed}-task-{number}")
        while not self._stop.is_set():
            name, safe, command = self._choice(rng)
            with self.ledger.attempt(name, safe=safe):
                await lab.send(command)
            self._steps += 1
            await asyncio.sleep(0.005)

    def _choice(self, rng: random.Random) -> tuple[str, bool, Command[Any]]:
        kinds = ("k", "n", "script", "once", *(["replicated"] if self._copies else []))
        kind = rng.choice(kinds)
        name = f"{kind}-{{{rng.randrange(12)}}}"
        return name, kind in ("k", "once"), self._command(kind, self.key(name))

    def _command(self, kind: str, key: bytes) -> Command[Any]:
        match kind:
            case "k":
                return command("SET", key, key, idempotent=True, then=lambda _: reading(key))
            case "n":
                return command("INCR", key)
            case "script":
                return BUMP((key,), (1,), int)
            case "once":
                return BUMP.once((key,), (1,), int)
            case _:
                behind = "WAIT", str(self._copies), "1000"
                return command("INCR", key, behind=(behind,), block=1.0, read=self._replicated)

    def _replicated(self, replies: list[int]) -> int:
        if replies[1] < self._copies:
            raise octavo.ConnectionLost("too few replicas have it", outcome="unknown")
        return replies[0]


def reading(key: bytes) -> Command[Any]:
    def check(reply: bytes) -> None:
        assert reply == key, f"asked for {key!r}, got {reply!r}"

    return command("GET", key, idempotent=True, read=check)

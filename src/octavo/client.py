"""`Octavo`: one factory per job, on one of the three faces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, Unpack, cast, overload

from octavo.engine.batch import Collector
from octavo.engine.command import Async, Batch, Job, M, Sync, flow
from octavo.engine.guard import Guard
from octavo.engine.keys import key_base

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from datetime import timedelta
    from types import TracebackType

    from octavo.cache import Cache, Codec, Compression, Local, Pages
    from octavo.cache.fetching import HttpClient
    from octavo.doctor import Report
    from octavo.engine.aio import AsyncEngine
    from octavo.engine.calendars import Unit
    from octavo.engine.checks import Seconds
    from octavo.engine.command import Engine
    from octavo.engine.sync import SyncEngine
    from octavo.engine.topology import Topology
    from octavo.leaderboards import (
        BoardOptions,
        Cohorts,
        Events,
        Keep,
        Leaderboard,
        Order,
        Period,
        RankMethod,
        Ratings,
        RatingSystem,
        Rules,
        Tiers,
        Ties,
        Window,
    )
    from octavo.leaderboards.sharded.sharded import ShardedLeaderboard, ShardedTies
    from octavo.locks import (
        Barrier,
        Election,
        Gate,
        HoldOptions,
        Latch,
        Lock,
        Locks,
        MultiLock,
        RWLock,
        Semaphore,
    )
    from octavo.ratelimit import Ban, Limiter, Limits, Rule
    from octavo.ratelimit.deciding import OnError

    Method = Literal["zlib", "lzma", "zstd", "lz4"]

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V")


class Octavo(Job[M]):
    """A connection to a server, and the factories of all jobs.

    Made by `octavo.connect` and `octavo.connect_async`, and by `batch()`. Factories take the
    configuration of an object and do no I/O; its methods take the data.
    """

    def __init__(self, engine: Engine, prefix: str) -> None:
        super().__init__(engine)
        self._engine = engine
        self._prefix = prefix

    def leaderboard(
        self,
        name: str,
        *,
        order: Order | tuple[Order, ...] = "desc",
        keep: Keep = "best",
        rank: RankMethod = "competition",
        ties: Ties = "earliest",
        page_size: int = 25,
        once: bool = False,
        tiers: Tiers | None = None,
        periods: Unit | Period | Window | Iterable[Unit | Period | Window] = (),
        half_life: Seconds | None = None,
        rules: Rules | None = None,
        audit: int = 0,
        events: Events | None = None,
        tag: str | None = None,
    ) -> Leaderboard[M]:
        """Return the leaderboard of that name. See `octavo.leaderboards.Leaderboard`."""
        from octavo.leaderboards import Leaderboard  # noqa: PLC0415 - jobs load at first use

        return Leaderboard(
            self._engine,
            key_base(self._prefix, "leaderboard", name, tag),
            order=order,
            keep=keep,
            rank=rank,
            ties=ties,
            page_size=page_size,
            once=once,
            tiers=tiers,
            periods=periods,
            half_life=half_life,
            rules=rules,
            audit=audit,
            events=events,
        )

    def cohorts(
        self,
        name: str,
        *,
        size: int = 50,
        tag: str | None = None,
        **options: Unpack[BoardOptions],
    ) -> Cohorts[M]:
        """Return the league of that name, in cohorts. See `octavo.leaderboards.Cohorts`."""
        from octavo.leaderboards import Cohorts  # noqa: PLC0415 - jobs load at first use

        base = key_base(self._prefix, "cohorts", name, tag)
        return Cohorts(self._engine, base, size=size, **options)

    def ratings(
        self,
        name: str,
        *,
        system: RatingSystem,
        remember: float | timedelta = 86_400,
        page_size: int = 25,
        tag: str | None = None,
    ) -> Ratings[M]:
        """Return the ratings of that name. See `octavo.leaderboards.Ratings`."""
        from octavo.leaderboards import Ratings  # noqa: PLC0415 - jobs load at first use

        base = key_base(self._prefix, "ratings", name, tag)
        return Ratings(self._engine, base, system=system, remember=remember, page_size=page_size)

    def sharded_leaderboard(
        self,
        name: str,
        *,
        bounds: Iterable[float],
        order: Order = "desc",
        keep: Keep = "best",
        rank: RankMethod = "competition",
        ties: ShardedTies = "earliest",
        page_size: int = 25,
        homes: int = 32,
        once: bool = False,
    ) -> ShardedLeaderboard[M]:
        """Return the sharded board of that name. See `octavo.leaderboards.ShardedLeaderboard`."""
        from octavo.leaderboards.sharded.sharded import ShardedLeaderboard  # noqa: PLC0415 - as above

        return ShardedLeaderboard(
            self._engine,
            self._prefix,
            name,
            bounds=bounds,
            order=order,
            keep=keep,
            rank=rank,
            ties=ties,
            page_size=page_size,
            homes=homes,
            once=once,
        )

    def lock(
        self,
        name: str,
        *,
        fair: bool = False,
        reentrant: bool = False,
        tag: str | None = None,
        **options: Unpack[HoldOptions],
    ) -> Lock[M]:
        """Return the lock of that name. See `octavo.locks.Lock`."""
        from octavo.locks import Lock  # noqa: PLC0415 - jobs load at first use

        base = key_base(self._prefix, "lock", name, tag)
        return Lock(self._engine, name, base, fair=fair, reentrant=reentrant, **options)

    def rwlock(
        self,
        name: str,
        *,
        reentrant: bool = False,
        tag: str | None = None,
        **options: Unpack[HoldOptions],
    ) -> RWLock[M]:
        """Return the read-write lock of that name. See `octavo.locks.RWLock`."""
        from octavo.locks import RWLock  # noqa: PLC0415 - jobs load at first use

        base = key_base(self._prefix, "rwlock", name, tag)
        return RWLock(self._engine, name, base, reentrant=reentrant, **options)

    def semaphore(
        self, name: str, limit: int, *, tag: str | None = None, **options: Unpack[HoldOptions]
    ) -> Semaphore[M]:
        """Return the semaphore of that name. See `octavo.locks.Semaphore`."""
        from octavo.locks import Semaphore  # noqa: PLC0415 - jobs load at first use

        base = key_base(self._prefix, "semaphore", name, tag)
        return Semaphore(self._engine, name, base, limit, **options)

    def multilock(
        self,
        names: Iterable[str],
        *,
        fair: bool = False,
        tag: str | None = None,
        **options: Unpack[HoldOptions],
    ) -> MultiLock[M]:
        """Return the locks of these names as one. See `octavo.locks.MultiLock`."""
        from octavo.locks import MultiLock  # noqa: PLC0415 - jobs load at first use

        def base(name: str) -> str:
            return key_base(self._prefix, "lock", name, tag)

        return MultiLock(self._engine, names, base, fair=fair, **options)

    def election(
        self, name: str, *, tag: str | None = None, **options: Unpack[HoldOptions]
    ) -> Election[M]:
        """Return the election of that name. See `octavo.locks.Election`."""
        from octavo.locks import Election  # noqa: PLC0415 - jobs load at first use

        base = key_base(self._prefix, "election", name, tag)
        return Election(self._engine, name, base, **options)

    def latch(self, name: str, count: int, *, tag: str | None = None) -> Latch[M]:
        """Return the latch of that name. See `octavo.locks.Latch`."""
        from octavo.locks import Latch  # noqa: PLC0415 - jobs load at first use

        return Latch(self._engine, key_base(self._prefix, "latch", name, tag), count)

    def barrier(self, name: str, parties: int, *, tag: str | None = None) -> Barrier[M]:
        """Return the barrier of that name. See `octavo.locks.Barrier`."""
        from octavo.locks import Barrier  # noqa: PLC0415 - jobs load at first use

        return Barrier(self._engine, key_base(self._prefix, "barrier", name, tag), parties)

    def fence(
        self, name: str, *, ttl: float | timedelta | None = None, tag: str | None = None
    ) -> Gate[M]:
        """Return the gate of that name, which admits fences. See `octavo.locks.Gate`."""
        from octavo.locks import Gate  # noqa: PLC0415 - jobs load at first use

        return Gate(self._engine, key_base(self._prefix, "fence", name, tag), ttl=ttl)

    @overload
    def locked(
        self: Octavo[Sync],
        name: str,
        *,
        wait: float | timedelta | None = ...,
        on_busy: Literal["raise"] = ...,
        fair: bool = ...,
        reentrant: bool = ...,
        tag: str | None = ...,
        **options: Unpack[HoldOptions],
    ) -> Callable[[Callable[P, T]], Callable[P, T]]: ...
    @overload
    def locked(
        self: Octavo[Sync],
        name: str,
        *,
        wait: float | timedelta | None = ...,
        on_busy: Literal["skip"],
        fair: bool = ...,
        reentrant: bool = ...,
        tag: str | None = ...,
        **options: Unpack[HoldOptions],
    ) -> Callable[[Callable[P, T]], Callable[P, T | None]]: ...
    @overload
    def locked(
        self: Octavo[Async],
        name: str,
        *,
        wait: float | timedelta | None = ...,
        on_busy: Literal["raise"] = ...,
        fair: bool = ...,
        reentrant: bool = ...,
        tag: str | None = ...,
        **options: Unpack[HoldOptions],
    ) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], Callable[P, Coroutine[Any, Any, T]]]: ...
    @overload
    def locked(
        self: Octavo[Async],
        name: str,
        *,
        wait: float | timedelta | None = ...,
        on_busy: Literal["skip"],
        fair: bool = ...,
        reentrant: bool = ...,
        tag: str | None = ...,
        **options: Unpack[HoldOptions],
    ) -> Callable[
        [Callable[P, Coroutine[Any, Any, T]]], Callable[P, Coroutine[Any, Any, T | None]]
    ]: ...
    def locked(
        self,
        name: str,
        *,
        wait: float | timedelta | None = None,
        on_busy: Literal["raise", "skip"] = "raise",
        fair: bool = False,
        reentrant: bool = False,
        tag: str | None = None,
        **options: Unpack[HoldOptions],
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Return a decorator of functions that run while they hold a lock.

        Args:
            name: of the lock; `"job:{id}"` takes the function's argument `id`.
            wait: for how many seconds a call waits for the lock; None is as long as it takes.
            on_busy: what a call does that does not get it: raise `LockTimeout`, or return None.
            fair: see `octavo.locks.Lock`.
            reentrant: see `octavo.locks.Lock`.
            tag: see `octavo.engine.keys`.
            options: see `octavo.locks.HoldOptions`.
        """
        from octavo.locks.locked import decorator  # noqa: PLC0415 - jobs load at first use

        def lock_of(lock_name: str) -> Lock[Any]:
            return self.lock(lock_name, fair=fair, reentrant=reentrant, tag=tag, **options)

        return decorator(lock_of, name, wait, on_busy, tasks=self._common.tasks)

    @property
    def locks(self) -> Locks[M]:
        """What is locked, by whom, and who waits. See `octavo.locks.Locks`."""
        from octavo.locks import Locks  # noqa: PLC0415 - jobs load at first use

        return Locks(self._engine, self._prefix)

    def limiter(
        self,
        name: str,
        *limits: Rule,
        on_error: OnError = "raise",
        deadline: float | timedelta | None = 0.1,
        ban: Ban | None = None,
        deny_cache: bool = False,
        prefetch: int = 0,
        prefetch_for: float | timedelta = 1.0,
        partition: Callable[[str], str] | None = None,
        tag: str | None = None,
    ) -> Limiter[M]:
        """Return the limiter of that name. See `octavo.ratelimit.Limiter`."""
        from octavo.ratelimit import Limiter  # noqa: PLC0415 - jobs load at first use

        return Limiter(
            self._engine,
            self._prefix,
            name,
            *limits,
            on_error=on_error,
            deadline=deadline,
            ban=ban,
            deny_cache=deny_cache,
            prefetch=prefetch,
            prefetch_for=prefetch_for,
            partition=partition,
            tag=tag,
        )

    @property
    def limits(self) -> Limits[M]:
        """What subjects have used, and who is banned. See `octavo.ratelimit.Limits`."""
        from octavo.ratelimit import Limits  # noqa: PLC0415 - jobs load at first use

        return Limits(self._engine, self._prefix)

    if TYPE_CHECKING:

        @overload
        def cache(
            self,
            name: str,
            *,
            ttl: float | timedelta,
            type: type[V],
            grace: float | timedelta = ...,
            jitter: float = ...,
            beta: float = ...,
            codec: Literal["msgpack", "json"] | Codec = ...,
            compress: Method | Compression | None = ...,
            local: Local | None = ...,
            lease: float | timedelta = ...,
            on_error: Literal["bypass", "raise"] = ...,
            tag: str | None = ...,
        ) -> Cache[M, V]: ...
        @overload
        def cache(
            self,
            name: str,
            *,
            ttl: float | timedelta,
            type: object = ...,
            grace: float | timedelta = ...,
            jitter: float = ...,
            beta: float = ...,
            codec: Literal["msgpack", "json"] | Codec = ...,
            compress: Method | Compression | None = ...,
            local: Local | None = ...,
            lease: float | timedelta = ...,
            on_error: Literal["bypass", "raise"] = ...,
            tag: str | None = ...,
        ) -> Cache[M, Any]: ...

    def cache(
        self, name: str, *, ttl: float | timedelta, tag: str | None = None, **options: Any
    ) -> Cache[M, Any]:
        """Return the cache of that name. See `octavo.cache.Cache`."""
        from octavo.cache import Cache  # noqa: PLC0415 - jobs load at first use
        from octavo.cache.layout import Layout  # noqa: PLC0415

        return Cache(self._engine, Layout(self._prefix, name, tag), ttl=ttl, **options)

    def pages(
        self,
        name: str,
        *,
        ttl: float | timedelta = 10,
        grace: float | timedelta = 0,
        timeout: float | timedelta = 10,
        max_bytes: int = 10_000_000,
        compress: Method | Compression | None = None,
        client: HttpClient | None = None,
        tag: str | None = None,
    ) -> Pages[M]:
        """Return the cache of web pages of that name. See `octavo.cache.Pages`."""
        from octavo.cache import Pages  # noqa: PLC0415 - jobs load at first use
        from octavo.cache.layout import Layout  # noqa: PLC0415

        return Pages(
            self._engine,
            Layout(f"{self._prefix}:pages", name, tag),
            ttl=ttl,
            grace=grace,
            timeout=timeout,
            max_bytes=max_bytes,
            compress=compress,
            client=client,
        )

    @overload
    def batch(
        self: Octavo[Sync],
        *,
        atomic: bool = ...,
        guard: Guard | None = ...,
        raise_on_error: bool = ...,
    ) -> BatchScope[Sync]: ...
    @overload
    def batch(
        self: Octavo[Async],
        *,
        atomic: bool = ...,
        guard: Guard | None = ...,
        raise_on_error: bool = ...,
    ) -> BatchScope[Async]: ...
    def batch(
        self, *, atomic: bool = False, guard: Guard | None = None, raise_on_error: bool = True
    ) -> BatchScope[Any]:
        """Return a context manager in which operations of any jobs are collected.

        Leaving it sends them all, in one round trip per node; then every `Pending` has its
        result or its error. An exception in the body sends nothing.

        Args:
            atomic: run them as one MULTI/EXEC. All keys must be in one slot, on every kind of
                server: give the objects the same `tag=`.
            guard: a lease: run them only if it still holds, as one script. Otherwise nothing is
                done, and its error (`LockLost`) is raised as it is, whatever `raise_on_error`
                says. The lock's keys must be in the slot too.
            raise_on_error: raise a `BatchError` at the end if any operation failed.
        """
        if isinstance(self._engine, Collector):
            raise TypeError("a batch has no batches of its own")
        if guard is not None and not isinstance(guard, Guard):
            raise TypeError(f"guard must be a lease, not {guard!r}")
        collector = Collector(
            self._common, atomic=atomic, guard=guard, raise_on_error=raise_on_error
        )
        return BatchScope(self._engine, self._prefix, collector)

    @flow
    async def doctor(self) -> Report:
        """Check whether the server is fit for what octavo promises, and say what to change.

        Looks at version, topology, eviction, memory, persistence, RESP3, scripts and clock, in
        four or five round trips; changes nothing. On a cluster it looks at one node.
        """
        from octavo.doctor import examine  # noqa: PLC0415 - few programs ask

        topology: Topology = cast("Any", self._engine).topology
        return await examine(topology.target.kind)

    def close(self: Octavo[Sync]) -> None:
        """Close the connections; the embedded server stops when nobody uses it."""
        self._sync.close()

    async def aclose(self: Octavo[Async]) -> None:
        """Close the connections; the embedded server stops when nobody uses it."""
        await self._async.close()

    def __enter__(self: Octavo[Sync]) -> Octavo[Sync]:
        """Reach the server, starting the embedded one.

        Raises:
            ConnectionLost: it did not answer within the timeout.
        """
        self._sync.open()
        return self

    def __exit__(self: Octavo[Sync], *_: object) -> None:
        """Close."""
        self.close()

    async def __aenter__(self: Octavo[Async]) -> Octavo[Async]:
        """Reach the server, starting the embedded one.

        Raises:
            ConnectionLost: it did not answer within the timeout.
        """
        await self._async.open()
        return self

    async def __aexit__(self: Octavo[Async], *_: object) -> None:
        """Close."""
        await self.aclose()

    @property
    def _sync(self) -> SyncEngine:
        return cast("SyncEngine", self._engine)

    @property
    def _async(self) -> AsyncEngine:
        return cast("AsyncEngine", self._engine)

    def __repr__(self) -> str:
        """Show where the server is, never the credentials."""
        topology = getattr(self._engine, "topology", None)
        return f"<Octavo {topology.target}>" if topology else "<Octavo batch>"


class BatchScope(Generic[M]):
    """What `db.batch()` returns: enter it to get the batch."""

    def __init__(self, engine: Engine, prefix: str, collector: Collector) -> None:
        self._engine: Any = engine
        self._collector = collector
        self._batch: Octavo[Batch] = Octavo(collector, prefix)

    def __enter__(self: BatchScope[Sync]) -> Octavo[Batch]:
        """Begin to collect."""
        return self._batch

    def __exit__(
        self: BatchScope[Sync],
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Send everything, or nothing after an exception."""
        if error is not None:
            self._collector.discard()
            return
        with self._engine.observed("batch"):
            if openings := self._collector.openings():
                self._engine.carry(openings)
            noted, parcels = self._collector.finish()
            self._engine.carry(parcels)
            self._collector.report(noted)

    async def __aenter__(self: BatchScope[Async]) -> Octavo[Batch]:
        """Begin to collect."""
        return self._batch

    async def __aexit__(
        self: BatchScope[Async],
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Send everything, or nothing after an exception."""
        if error is not None:
            self._collector.discard()
            return
        with self._engine.observed("batch"):
            if openings := self._collector.openings():
                await self._engine.carry(openings)
            noted, parcels = self._collector.finish()
            await self._engine.carry(parcels)
            self._collector.report(noted)

"""The cache."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

import msgspec

from octavo.cache import frame as frames
from octavo.cache.cached import Cached, Ways, soon
from octavo.cache.calls import (
    Call,
    Replay,
    count_calls,
    is_async,
    qualified_name,
    read_calls,
    record_calls,
    write_call,
)
from octavo.cache.filling import Filler, Want
from octavo.cache.layout import key_bytes, refresh_key, value_key
from octavo.cache.making import Maker
from octavo.cache.many import ManyFiller
from octavo.cache.naming import CallKeys
from octavo.cache.options import Options, tag_names
from octavo.cache.reading import Found, Reader, entry
from octavo.cache.records import Entry, Info, Lease, Local, Stats
from octavo.cache.scripts import INVALIDATE
from octavo.cache.state import State, fresh_nonce, tag_ttl
from octavo.cache.writing import Key, Scope, Writer
from octavo.engine.batch import Collector
from octavo.engine.checks import Seconds, millis, number, several, share, whole
from octavo.engine.codec import Coder, read_int
from octavo.engine.command import MISSING, Async, Command, Job, M, Sync, answer, flow, operation

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import ParamSpec, Unpack

    from octavo.cache.layout import Layout
    from octavo.cache.options import Choices
    from octavo.engine.codec import Codec, Compression
    from octavo.engine.command import Engine
    from octavo.errors import OctavoError

    P = ParamSpec("P")

T = TypeVar("T")
V = TypeVar("V")
OnError = Literal["bypass", "raise"]


class Cache(Job[M], Generic[M, V]):
    """Values that are costly to get, kept for a while.

        cache = db.cache("pages", ttl=60)
        page = cache.get_or_create("home", render_home)

    Every operation is one round trip (per node of a cluster, for many keys). The first ones of a
    client take one more, until it is told of changes: of the generation that all keys have in
    them, and of the tags it meets. A hit is a plain GET; with grace, `beta` or `local`, PTTL and
    GET in one write.

    Values are str, bytes, int, float, bool, None, and what the codec takes. None and everything
    else that is false are values like any other.

    Args:
        engine: what carries the commands.
        layout: the keys.
        ttl: how long a value is fresh, in seconds or as a timedelta.
        grace: how much longer it may be served stale, while it is refreshed or cannot be.
        jitter: the share of its ttl that a made value may lose at random, so that values that
            were made together do not end together.
        beta: how eagerly values are refreshed before they are stale (XFetch): 0 never, 1 as the
            paper advises. The costlier its factory, the earlier a value is refreshed.
        type: what values are read as: a dataclass, a msgspec.Struct, a pydantic model, list[int].
        codec: "msgpack", "json", or an object with `dumps` and `loads`; `SignedPickle(key)`.
        compress: "zlib", "lzma", "zstd", "lz4" or a `Compression`.
        local: the bounds of a tier in the process, which the server keeps fresh.
        lease: seconds after which another process takes over from one that has died; while a
            factory runs, its lease is renewed.
        on_error: what becomes of reads when the server is out of reach: "bypass" has them miss
            and runs factories, one per key and process; "raise" raises. Writes always raise.

    Raises:
        ValueError: an argument is out of its range.
        TypeError: an argument has the wrong type.
    """

    def __init__(
        self,
        engine: Engine,
        layout: Layout,
        *,
        ttl: Seconds,
        grace: Seconds = 0,
        jitter: float = 0.05,
        beta: float = 0.0,
        type: type[V] | Any = Any,  # noqa: A002 - the word that users look for
        codec: Literal["msgpack", "json"] | Codec = "msgpack",
        compress: Literal["zlib", "lzma", "zstd", "lz4"] | Compression | None = None,
        local: Local | None = None,
        lease: Seconds = 10.0,
        on_error: OnError = "bypass",
    ) -> None:
        super().__init__(engine)
        if on_error not in ("bypass", "raise"):
            raise ValueError(f"on_error must be 'bypass' or 'raise', not {on_error!r}")
        if local is not None and not isinstance(local, Local):
            raise TypeError(f"local must be a Local, not {local!r}")
        self._layout = layout
        self._options = Options(
            ttl=millis("ttl", ttl),
            grace=millis("grace", grace, least=0),
            jitter=share("jitter", jitter),
            beta=number("beta", beta),
            lease=millis("lease", lease) / 1000,
        )
        self._coder = Coder(type, codec, compress)
        self._state = self._common.shared(layout.base, lambda: State(self._common, layout))
        if local is not None:
            self._state.keep_local(local)
        self._bypass = on_error == "bypass"
        batch = isinstance(engine, Collector)
        kind = self._state.kind((type, codec, compress))
        # Operations of a batch are answered in their order, by the server.
        self._reader = Reader(self._state, self._coder, None if batch else local, kind)
        self._scope = Scope(self._state, batch=batch, bypass=self._bypass)
        self._writer = Writer(self._scope, self._reader, self._coder)
        maker = Maker(self._state, self._coder)
        self._filler = Filler(self._state, self._reader, maker, bypass=self._bypass)
        self._many = ManyFiller(self._state, self._reader, maker, self._filler, bypass=self._bypass)
        # Who is near enough to be refreshed early has to be looked at more closely.
        near = local is not None and not batch and not self._options.beta
        self._near = self._reader.near if near else None
        self._batch = batch
        self._timed = bool(self._options.grace or self._options.beta or local is not None)

    # Reading

    @operation
    def get(
        self, key: Key, fn: Callable[[bytes], V] | None = None, *, default: V | None = None
    ) -> Command[V | None]:
        """Return a fresh value; `default` if there is none.

        Args:
            key: of the value; at most 1,024 bytes are kept as they are, longer ones are hashed.
            fn: makes the value of the stored bytes: b"bar" of "bar", b"123" of 123, else what the
                codec has written. It is not called on a miss.
            default: what a miss gives.
        """
        if self._near is not None and fn is None and (value := self._near(key)) is not MISSING:
            return answer(value)
        if fn is not None and not callable(fn):
            raise TypeError(f"fn must be callable, not {fn!r}")
        head = self._state.nonces.head()
        if head is not None and not self._batch:
            return self._get(head, key, fn, default)
        key_bytes(key)
        return self._scope.reading(lambda head: self._get(head, key, fn, default), lambda: default)

    def _get(
        self, head: bytes, key: Key, fn: Callable[[bytes], Any] | None, default: Any
    ) -> Command[Any]:
        name = value_key(head, key)
        state, reader = self._state, self._reader
        if reader.tier is not None:
            reader.remember(key, name, head)
            if (item := reader.glance(name)) is not None:
                state.local_hits += 1
                value = reader.own(item)
                return answer(value if fn is None else fn(frames.payload_of(item.frame, value)))
        if self._bypass and state.circuits.open((name,)):
            state.bypassed += 1
            return answer(default)
        if fn is None and default is None and not (self._timed or state.timed):
            return Command(
                (b"GET", name),
                (name,),
                reader.plain,
                idempotent=True,
                then=lambda value: reader.closer(name, value),
                recover=self._missed if self._bypass else None,
            )

        def restored(found: Found) -> Any:
            value = reader.fresh(found)
            if found.kind != "hit":
                return default
            return value if fn is None else fn(frames.payload_of(found.frame, value))

        timed = self._timed or state.timed
        look = reader.look if timed else reader.glimpse
        return look(name, recover=self._bypass).map(restored)

    def _missed(self, error: OctavoError) -> None:
        self._reader.fresh(self._reader.bypass(error))

    @operation
    def fetch(self, key: Key) -> Command[Entry[V]]:
        """Return a value with its outcome, age, ttl and tags; also one that is stale."""

        def look(head: bytes) -> Command[Entry[V]]:
            name = value_key(head, key)
            item = self._reader.glance(name)
            if item is not None:
                self._state.local_hits += 1
                return answer(entry(self._reader.found(item)))
            return self._reader.look(name, recover=self._bypass).map(self._seen)

        key_bytes(key)
        return self._scope.reading(look, lambda: Entry(None, "bypass"))

    def _seen(self, found: Found) -> Entry[V]:
        if found.kind == "stale":
            self._state.stale += 1
        else:
            self._reader.fresh(found)
        return entry(found)

    @operation
    def get_str(self, key: Key) -> Command[str | None]:
        """Return a value as text; None if there is none."""
        return self._restored(key, bytes.decode)

    @operation
    def get_int(self, key: Key) -> Command[int | None]:
        """Return a value as an integer; None if there is none."""
        return self._restored(key, read_int)

    @operation
    def get_float(self, key: Key) -> Command[float | None]:
        """Return a value as a float; None if there is none."""
        return self._restored(key, float)

    @operation
    def get_bytes(self, key: Key) -> Command[bytes | None]:
        """Return a value as the bytes that `get(key, fn)` gives `fn`; None if there is none."""
        return self._restored(key, bytes)

    def _restored(self, key: Key, fn: Callable[[bytes], Any]) -> Command[Any]:
        key_bytes(key)
        return self._scope.reading(lambda head: self._get(head, key, fn, None), lambda: None)

    @operation
    def get_many(self, keys: Iterable[str]) -> Command[dict[str, V]]:
        """Return the fresh values among those of many keys."""
        wanted = _keys(keys)
        if not wanted:
            return answer({})

        def look(head: bytes) -> Command[dict[str, V]]:
            reader = self._reader
            names = {value_key(head, key): key for key in wanted}
            near = {name: item for name in names if (item := reader.glance(name)) is not None}
            self._state.local_hits += len(near)
            values: dict[str, V] = {names[name]: reader.own(item) for name, item in near.items()}
            far = [name for name in names if name not in near]
            if not far:
                return answer(values)

            def read(found: dict[bytes, Found]) -> dict[str, V]:
                for name, each in found.items():
                    if each.kind == "hit":
                        values[names[name]] = each.value
                    else:
                        reader.fresh(each)
                self._state.hits += len(values) - len(near)
                return {key: values[key] for key in wanted if key in values}

            timed = self._timed or self._state.timed
            return reader.look_many(self._scope.grouped(far), timed=timed).map(read)

        return self._scope.reading(look, dict)

    # Writing

    @operation
    def set(
        self,
        key: Key,
        value: V,
        *,
        ttl: Seconds | None = None,
        grace: Seconds | None = None,
        tags: Iterable[str] = (),
    ) -> Command[None]:
        """Store a value. What a factory is making of the key meanwhile is not stored.

        Integers without tags are stored in plain digits, and end with their ttl.
        """
        return self._writer.set([(key, value)], *self._lasts(ttl, grace), tag_names(tags))

    @operation
    def set_many(
        self, values: Mapping[str, V], *, ttl: Seconds | None = None, tags: Iterable[str] = ()
    ) -> Command[None]:
        """Store many values, one after another: not atomic."""
        if not isinstance(values, Mapping):
            raise TypeError(f"values must be a mapping of keys to values, not {values!r}")
        pairs = list(values.items())
        lasts, names = self._lasts(ttl), tag_names(tags)
        return self._writer.set(pairs, *lasts, names) if pairs else answer(None)

    @operation
    def add(
        self, key: Key, value: V, *, ttl: Seconds | None = None, tags: Iterable[str] = ()
    ) -> Command[bool]:
        """Store a value if there is none, fresh or stale; return whether it was stored."""
        return self._writer.add(key, value, *self._lasts(ttl), tag_names(tags))

    @operation
    def delete(self, key: Key) -> Command[bool]:
        """Delete a value; return whether the key held one, or one was being made.

        What a factory is making of it meanwhile is not stored.
        """
        return self._writer.delete([key]).map(bool)

    @operation
    def delete_many(self, keys: Iterable[str]) -> Command[int]:
        """Delete many values; return how many keys held one, or had one being made."""
        wanted = _keys(keys)
        return self._writer.delete(wanted) if wanted else answer(0)

    @operation
    def touch(self, key: Key, ttl: Seconds | None = None) -> Command[bool]:
        """Give a value another ttl from now on; False if there is none."""
        return self._writer.touch(key, self._lasts(ttl)[0])

    @operation
    def incr(self, key: Key, n: int = 1, *, ttl: Seconds | None = None) -> Command[int]:
        """Add to an integer, which starts at 0, and return the sum.

        Whoever creates it gives it its ttl, which later calls leave as it is.

        Raises:
            WrongType: the value is no plain integer.
            PrecisionLost: the sum does not fit in 64 bits.
        """
        return self._writer.add_to(key, n, self._lasts(ttl)[0])

    @operation
    def decr(self, key: Key, n: int = 1, *, ttl: Seconds | None = None) -> Command[int]:
        """Subtract from an integer, which starts at 0, and return the difference; see `incr`."""
        return self._writer.add_to(key, n, self._lasts(ttl)[0], sign=-1)

    @operation
    def store(self, data: V, *, ttl: Seconds | None = None) -> Command[str]:
        """Store a value under a fresh random key, and return the key."""
        key = str(uuid.uuid4())
        stored = self._writer.set([(key, data)], *self._lasts(ttl), (), parameter="data")
        return stored.map(lambda _: key)

    # All at once

    @operation
    def clear(self) -> Command[None]:
        """Empty this cache, whatever its size, in one command; leave everything else alone.

        What was in it goes with its ttl, out of everyone's reach.
        """
        key = self._layout.generation

        def cleared(_: object = None) -> None:
            self._state.tracker.changed((key,))

        def failed(error: OctavoError) -> None:
            cleared()
            raise error

        return Command((b"SET", key, fresh_nonce()), (key,), cleared, recover=failed)

    @operation
    def invalidate_tags(self, *tags: str) -> Command[None]:
        """Make every value that has one of the tags void, however many there are, in one command.

        What a factory is making of such a value meanwhile is not stored.
        """
        names = tag_names(tags)
        if not names:
            return answer(None)
        keys = (self._layout.changes, *map(self._layout.tag, names))
        needed = self._options.ttl + self._options.grace

        def invalidated(_: object = None) -> None:
            self._state.flights.forget_all()
            self._state.tracker.changed(keys)

        def failed(error: OctavoError) -> None:
            invalidated()
            raise error

        command = INVALIDATE(keys, (fresh_nonce(), tag_ttl(needed)), invalidated)
        return msgspec.structs.replace(command, recover=failed)

    # Looking in

    @operation
    def info(self, key: Key) -> Command[Info]:
        """Return what there is to know about a key: age, ttl, tags, who makes it, at what cost."""

        def ask(head: bytes) -> Command[Info]:
            name = value_key(head, key)
            both = tuple(
                Command((b"PTTL", each), (each,), tuple, idempotent=True, behind=((b"GET", each),))
                for each in (name, refresh_key(name))
            )
            look = self._reader.look(name, recover=False)
            return Command((), (), lambda replies: _info(name, replies), parts=(*both, look))

        key_bytes(key)
        return self._scope.under(ask)

    @operation
    def stats(self) -> Command[Stats]:
        """Return what this client has done with the cache so far. No round trip."""
        state = self._state
        tier = state.tier
        return answer(
            Stats(
                hits=state.hits,
                local=state.local_hits,
                stale=state.stale,
                misses=state.misses,
                joined=state.joined,
                created=state.created,
                rejected=state.rejected,
                failed=state.failed,
                bypassed=state.bypassed,
                undecodable=state.undecodable,
                entries=0 if tier is None else len(tier),
                evicted=0 if tier is None else tier.evicted,
                links=len(state.tracker.links),
                unreachable=state.circuits.unreachable,
            )
        )

    # Making what is missing

    @overload
    def get_or_create(
        self: Cache[Sync, Any], key: Key, factory: Callable[[], T], **options: Unpack[Choices]
    ) -> T: ...
    @overload
    def get_or_create(
        self: Cache[Async, Any],
        key: Key,
        factory: Callable[[], Awaitable[T]],
        **options: Unpack[Choices],
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def get_or_create(
        self: Cache[Async, Any], key: Key, factory: Callable[[], T], **options: Unpack[Choices]
    ) -> Coroutine[Any, Any, T]: ...
    def get_or_create(
        self, key: Key, factory: Callable[[], Any], **options: Unpack[Choices]
    ) -> Any:
        """Return a value, which the factory makes if there is none.

        One factory runs per key across threads, tasks and processes; all who ask meanwhile get
        what it makes. A delete, set, clear or invalidation meanwhile keeps it from being stored.
        What the factory raises is raised here, and to all in this process who wait for it. A hit
        is one round trip; a miss takes one more to get the lease, and one to store the value.

        Sync code runs the factory in this thread, or with `timeout`, or `soft_timeout` other than
        None, in one of the client's. Async code awaits a coroutine function in a task of its own,
        which a cancelled caller leaves running, and runs any other function in a thread.

        Args:
            key: of the value.
            factory: makes the value; see `current_fill` for what it may decide meanwhile.
            options: the cache's own, for this value: `ttl`, `grace`, `jitter`, `beta`, `lease`;
                `tags`: names by which `invalidate_tags` finds it;
                `timeout`: seconds to wait for the factory, which goes on and stores its value;
                `soft_timeout`: seconds to wait for the factory when there is a stale value to be
                had; 0 returns that at once and refreshes it in the background, None waits;
                `stale_on_error`: whether a stale value is returned when the factory fails.

        Raises:
            FactoryTimeout: the factory took longer than `timeout`.
            TypeError: the factory is async and this is sync code, or the value cannot be stored.
        """
        if self._near is not None and not options:
            self._check(factory)
            if (value := self._near(key_bytes(key))) is not MISSING:
                return soon(value) if self._common.tasks else value
        want = self._wanting(key, factory, options)
        return self._drive("cache.get_or_create", self._filler.value, want)

    @overload
    def fetch_or_create(
        self: Cache[Sync, Any], key: Key, factory: Callable[[], T], **options: Unpack[Choices]
    ) -> Entry[T]: ...
    @overload
    def fetch_or_create(
        self: Cache[Async, Any],
        key: Key,
        factory: Callable[[], Awaitable[T]],
        **options: Unpack[Choices],
    ) -> Coroutine[Any, Any, Entry[T]]: ...
    @overload
    def fetch_or_create(
        self: Cache[Async, Any], key: Key, factory: Callable[[], T], **options: Unpack[Choices]
    ) -> Coroutine[Any, Any, Entry[T]]: ...
    def fetch_or_create(
        self, key: Key, factory: Callable[[], Any], **options: Unpack[Choices]
    ) -> Any:
        """Return what `get_or_create` does, as an `Entry` that says how it came about."""
        want = self._wanting(key, factory, options)
        return self._drive("cache.fetch_or_create", self._filler.obtain, want)

    @flow
    async def create_many(
        self,
        keys: Iterable[str],
        factory: Callable[[list[str]], Mapping[str, V] | Awaitable[Mapping[str, V]]],
        *,
        ttl: Seconds | None = None,
        tags: Iterable[str] = (),
    ) -> dict[str, V]:
        """Return the values of many keys, those missing made by one call of the factory.

        Args:
            keys: of the values.
            factory: gets the keys whose values it is to make, and returns them by key; what it
                leaves out is left out here too.
            ttl: of the values made.
            tags: of the values made.
        """
        self._check(factory)
        wanted = {key_bytes(key): key for key in _keys(keys)}

        def some(missing: list[bytes]) -> Any:
            made: Any = factory([wanted[key] for key in missing])
            return _by_bytes_soon(made) if inspect.isawaitable(made) else _by_bytes(made)

        chosen = self._options.but({"ttl": ttl, "tags": tags})
        made = await self._many.obtain(list(wanted), some, chosen)
        return {key: made[name] for name, key in wanted.items() if name in made}

    def cached(
        self,
        ttl: Seconds | None = None,
        *,
        key: str | Callable[..., str] | None = None,
        name: str | None = None,
        ignore: str | Iterable[str] = (),
        version: str | int | None = None,
        **options: Any,
    ) -> Callable[[Callable[P, T]], Cached[P, T]]:
        """Return a decorator that caches what a function returns, by its arguments.

            @cache.cached(ttl=60, tags=["prices"])
            def price(product: int, currency: str = "EUR") -> float: ...

        `price(7)`, `price(product=7)` and `price(7, "EUR")` are one value; 1, 1.0, True and "1" are
        four. The function gets `.key()`, `.get()`, `.set()`, `.refresh()`, `.invalidate()`,
        `.info()` and `.original`.

        Args:
            ttl: seconds; None takes the cache's.
            key: instead of all arguments: a template such as "user:{user.id}", or a function of
                the same arguments.
            name: what keys begin with; None takes the function's module and qualified name.
            ignore: parameters that the value does not depend on.
            version: part of the key; change it when the function's results change their form.
            options: as `get_or_create` takes them.

        Raises:
            TypeError: no stable key can be made of the function's arguments.
        """
        chosen = self._options.but({"ttl": ttl} | options)
        ways = Ways(
            self,
            partial(self._drive, "cache.cached", self._filler.value),
            partial(self._drive, "cache.refresh", self._filler.renew),
            None if chosen.beta else self._near,
            self._common.tasks,
        )

        def decorator(function: Callable[P, T]) -> Cached[P, T]:
            for kind in (staticmethod, classmethod):
                if isinstance(function, kind):
                    raise TypeError(f"cached goes below {kind.__name__}, on the function itself")
            self._check(function)
            keys = CallKeys(function, key=key, name=name, ignore=ignore, version=version)
            return Cached(function, keys, chosen, ways)

        return decorator

    def count_calls(self, function: Callable[P, T]) -> Callable[P, T]:
        """Count the calls of a function under its qualified name: `calls(function)` tells."""
        count = getattr(self, "_count")  # noqa: B009 - checkers know it on a certain face only
        return count_calls(function, count, tasks=self._common.tasks)

    def call_history(self, maxlen: int = 1000) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """Return a decorator that records a function's calls, with what came of each."""
        whole("maxlen", maxlen)
        # Checkers know these on a certain face only.
        write: Callable[..., Any] = getattr(self, "_record")  # noqa: B009
        record: Callable[[str, Call], Any] = partial(write, maxlen)
        history: Callable[..., Any] = getattr(self, "history")  # noqa: B009
        tasks = self._common.tasks
        return lambda function: record_calls(function, record, history, tasks=tasks)

    @operation
    def calls(self, function: Callable[..., Any]) -> Command[int]:
        """Return how often a function with `count_calls` was called, by anyone."""
        key = self._layout.calls(qualified_name(function))
        return Command((b"GET", key), (key,), lambda reply: int(reply or 0), idempotent=True)

    @operation
    def history(self, function: Callable[..., Any]) -> Command[Replay]:
        """Return the recorded calls of a function with `call_history`, oldest first."""
        return read_calls(self._layout, function)

    # Parts of the above

    @operation
    def _count(self, name: str) -> Command[int]:
        key = self._layout.calls(name)
        return Command((b"INCR", key), (key,), int)

    @operation
    def _record(self, maxlen: int, name: str, call: Call) -> Command[None]:
        return write_call(self._layout, name, maxlen, call)

    def _lasts(self, ttl: Seconds | None, grace: Seconds | None = None) -> tuple[int, int]:
        own = self._options
        return (
            own.ttl if ttl is None else millis("ttl", ttl),
            own.grace if grace is None else millis("grace", grace, least=0),
        )

    def _wanting(self, key: Key, factory: Callable[[], Any], options: Choices) -> Want:
        self._check(factory)
        return Want(
            key_bytes(key), factory, self._options.but(options) if options else self._options
        )

    def _check(self, factory: Callable[..., Any]) -> None:
        if not callable(factory):
            raise TypeError(f"factory must be callable, not {factory!r}")
        if not self._common.tasks and is_async(factory):
            raise TypeError(f"factory is async, which needs connect_async(): {factory!r}")


def _keys(keys: Iterable[str]) -> list[str]:
    listed = several("keys", keys)
    for key in listed:
        key_bytes(key, "keys")
    return list(dict.fromkeys(listed))


def _by_bytes(made: Mapping[str, Any]) -> dict[bytes, Any]:
    if not isinstance(made, Mapping):
        raise TypeError(f"the factory must return a mapping of keys to values, not {made!r}")
    return {key_bytes(key): value for key, value in made.items()}


async def _by_bytes_soon(made: Awaitable[Any]) -> dict[bytes, Any]:
    return _by_bytes(await made)


def _info(name: bytes, replies: list[Any]) -> Info:
    (_, _), (lease_stays, lease), found = replies
    key = name.decode(errors="replace")
    size, beside, stays = len(replies[0][1] or b""), lease, lease_stays
    if found.kind == "leased":
        size, beside, stays = 0, found.data, replies[0][0]
    making = None if beside is None else Lease(frames.owner(beside), max(stays, 0) / 1000)
    if found.kind in ("miss", "leased"):
        return Info(key, "missing", lease=making)
    if found.kind == "void":
        return Info(key, "void", size=size, lease=making)
    got, frame = entry(found), found.frame
    state: Literal["fresh", "stale"] = "stale" if found.kind == "stale" else "fresh"
    if frame is None:
        return Info(key, state, ttl=got.ttl, size=size, lease=making)
    return Info(
        key,
        state,
        age=got.age,
        ttl=got.ttl,
        grace=frame.grace / 1000,
        tags=got.tags,
        size=size,
        cost=None if frame.written == "set" else frame.cost / 1000,
        written=frame.written,
        lease=making,
    )

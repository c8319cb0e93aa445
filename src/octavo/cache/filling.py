"""Making values: one factory run per key, whoever asks, and no value stored that is out of date.

The first caller of a process who finds nothing flies a `Flight`, which all others of the process
join. The flight takes the lease of the key: a random mark in the place of the value, which only
one process gets. Whatever changes the key meanwhile (a delete, a set) replaces the mark, and what
the factory returns is stored by a script that looks for it first. This is the lease of Nishtala et
al., "Scaling Memcache at Facebook" (NSDI 2013), with a random mark in the place of a counter.

A value that is stale, or that XFetch (Vattani et al., PVLDB 8(8), 2015) refreshes early, stays in
its place while a second key holds the lease; its head, which no other entry has, is the mark then.
"""

from __future__ import annotations

import logging
import math
import random
from contextvars import ContextVar, copy_context
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from octavo.cache import frame as frames
from octavo.cache.layout import refresh_key, value_key
from octavo.cache.reading import OUT_OF_REACH, Found, entry
from octavo.cache.records import Entry
from octavo.cache.scripts import CLAIM, FILL, LEASE
from octavo.engine.command import CallUser, Command, Signal, Sleep, Spawn, WaitFor
from octavo.errors import FactoryTimeout, OctavoError, OutOfMemory, WriteRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from octavo.cache.reading import Reader
    from octavo.cache.records import Written
    from octavo.cache.state import Flight, State
    from octavo.engine.codec import Coder

log = logging.getLogger("octavo")

_UNABLE = (*OUT_OF_REACH, OutOfMemory, WriteRefused)
"""What keeps a value from being stored, and must not keep it from being made."""

_QUIET = 0.25
"""Seconds for which nobody here tries to refresh what another process is refreshing."""
_AFTER_FAILURE = 1.0
"""Seconds for which nobody anywhere tries to refresh what could not be refreshed."""
_FIRST_POLL, _LONGEST_POLL = 0.01, 0.25
"""Seconds between two looks at another's lease, where its end is not told."""
_LONGEST_WAIT = 5.0
"""Seconds between two looks at another's lease, where its end is told."""


class Options(msgspec.Struct, frozen=True):
    """How a value is made and kept; times in milliseconds, but timeouts and leases in seconds."""

    ttl: int
    grace: int
    tags: tuple[str, ...]
    jitter: float
    beta: float
    timeout: float | None
    soft_timeout: float | None
    stale_on_error: bool
    lease: float


class Fill:
    """What a factory may still decide while it runs: `octavo.cache.current_fill()`.

    Attributes:
        ttl: seconds.
        grace: seconds.
        tags: names; those added here hold only if no tag was invalidated while the factory ran.
        store: False keeps the value from being stored.
    """

    __slots__ = ("grace", "store", "tags", "ttl")

    def __init__(self, options: Options) -> None:
        self.ttl: float = options.ttl / 1000
        self.grace: float = options.grace / 1000
        self.tags: set[str] = set(options.tags)
        self.store = True


_current: ContextVar[Fill] = ContextVar("octavo.cache.fill")


def current_fill() -> Fill:
    """Return what the factory that is running may still decide.

    Raises:
        RuntimeError: no factory is running here.
    """
    try:
        return _current.get()
    except LookupError:
        raise RuntimeError("current_fill() is for factories that a cache runs") from None


class Made(msgspec.Struct):
    """What a factory has made, ready to be stored; no data: it is not to be."""

    value: Any
    data: bytes | None = None
    stays: int = 0
    again: Any = None
    tags: tuple[str, ...] = ()
    ttl: float = 0.0


class Filler:
    """Makes the values of one `Cache`. Its methods are flows' steps."""

    def __init__(self, state: State, reader: Reader, coder: Coder, *, bypass: bool) -> None:
        self._state = state
        self._reader = reader
        self._coder = coder
        self._bypass = bypass

    async def value(self, key: bytes, factory: Callable[[], Any], options: Options) -> Any:
        """Return the value of what `obtain` returns."""
        return (await self.obtain(key, factory, options)).value

    async def renew(self, key: bytes, factory: Callable[[], Any], options: Options) -> Any:
        """Return what the factory makes now, whatever is there."""
        state = self._state
        head: bytes = state.nonces.head() or await state.ask_head()
        name = value_key(head, key)
        found = await self._reader.look(name, recover=self._bypass)
        if found.usable and found.frame is None:
            # An integer has no head of its own by which to tell it from the next one.
            found = Found("void", data=found.data)
        flight, mine = state.join((key, "refresh") if found.usable else key)
        if mine and found.usable:
            await self._refresh(flight, key, name, found, factory, options, "refreshed")
        elif mine:
            await self._make(flight, key, name, found, factory, options)
        landed = await self._landed(flight, options, monotonic())
        return await self.value(key, factory, options) if landed is None else landed.value

    async def obtain(self, key: bytes, factory: Callable[[], Any], options: Options) -> Entry[Any]:
        """Return what is there, or what the factory makes."""
        state = self._state
        began = monotonic()
        while True:
            flight, mine = state.join(key)
            if mine:
                return await self._fly(flight, key, factory, options, began)
            state.joined += 1
            landed = await self._landed(flight, options, began)
            if landed is not None:
                return landed

    async def _fly(
        self,
        flight: Flight,
        key: bytes,
        factory: Callable[[], Any],
        options: Options,
        began: float,
    ) -> Entry[Any]:
        state = self._state
        try:
            name, found = await self._look(key)
            if found.usable:
                found = await self._keep_fresh(key, name, found, factory, options)
                got = entry(found)
                state.land(key, flight, got, again=self._reader.again(found))
                return got
        except BaseException as error:
            state.land(key, flight, error=error if isinstance(error, Exception) else None)
            raise
        step = self._make, flight, key, name, found, factory, options
        if state.common.tasks or options.timeout is not None:
            await Spawn(*step)
        else:
            await self._make(*step[1:])
        landed = await self._landed(flight, options, began)
        return landed if landed is not None else await self.obtain(key, factory, options)

    async def _landed(self, flight: Flight, options: Options, began: float) -> Entry[Any] | None:
        left = None if options.timeout is None else began + options.timeout - monotonic()
        if not flight.over and not await WaitFor(self._state.landing(flight), left):
            raise FactoryTimeout(f"the factory has taken longer than {options.timeout:g} seconds")
        return flight.outcome()

    async def _look(self, key: bytes) -> tuple[bytes, Found]:
        state = self._state
        head = state.nonces.head()
        if head is not None:
            name = value_key(head, key)
            if state.broken and await self._left_alone(name):
                return name, Found("bypass")
            if self._reader.tier is not None:
                self._reader.remember(key, name)
                if (item := self._reader.glance(name)) is not None:
                    state.local_hits += 1
                    return name, self._reader.found(item)
            found = await self._reader.look(name, recover=self._bypass)
        elif state.last is not None:
            # In one wave with the question whether it is still that.
            found, name = Found("miss"), value_key(state.last, key)
            if state.broken and await self._left_alone(name):
                return name, Found("bypass")
            try:
                head, found = await Command(
                    (), (), tuple, parts=(state.ask_head(), self._reader.look(name))
                )
                if value_key(head, key) != name:
                    name = value_key(head, key)
                    found = await self._reader.look(name, recover=self._bypass)
            except OUT_OF_REACH as error:
                found = self._unreached(error)
        else:
            name = b""
            try:
                name = value_key(await state.ask_head(), key)
                found = await self._reader.look(name, recover=self._bypass)
            except OUT_OF_REACH as error:
                found = self._unreached(error)
        self._count(found)
        return name, found

    def _unreached(self, error: OctavoError) -> Found:
        if not self._bypass:
            raise error
        return self._reader.bypass(error)

    def _count(self, found: Found) -> None:
        match found.kind:
            case "hit":
                self._state.hits += 1
            case "stale":
                self._state.stale += 1
            case "bypass":
                self._state.bypassed += 1
            case _:
                self._state.misses += 1

    async def _left_alone(self, name: bytes) -> bool:
        match self._state.leaves((name,)) if self._bypass else "no":
            case "no":
                return False
            case "look":
                # Nobody waits for what may take its time to fail.
                await Spawn(self._probe, name)
        self._state.bypassed += 1
        return True

    async def _probe(self, name: bytes) -> None:
        found = await self._reader.look(name)
        if found.kind != "bypass":
            self._state.reached((name,))

    # A value that is there

    async def _keep_fresh(
        self, key: bytes, name: bytes, found: Found, factory: Callable[[], Any], options: Options
    ) -> Found:
        """Return what is there, or what takes its place if that is worth waiting for."""
        state = self._state
        stale = found.kind == "stale"
        if not stale and not _is_early(found, options):
            return found
        waits = stale and options.soft_timeout != 0
        if not waits and (state.quiet.get(name) or 0.0) > monotonic():
            return found
        flight, mine = state.join((key, "refresh"))
        if mine:
            how: Written = "refreshed" if stale else "early"
            step = self._refresh, flight, key, name, found, factory, options, how
            if state.common.tasks or options.soft_timeout is not None or not waits:
                await Spawn(*step)
            else:
                await self._refresh(*step[1:])
        if not waits:
            return found
        try:
            if await WaitFor(state.landing(flight), options.soft_timeout):
                fresh = flight.outcome()
                if fresh is not None:
                    return Found("hit", fresh.value, fresh=fresh.ttl or 0.0)
        except Exception as error:
            if not options.stale_on_error:
                raise
            log.info("octavo serves a stale value, since its factory failed: %r", error)
        return found

    async def _refresh(
        self,
        flight: Flight,
        key: bytes,
        name: bytes,
        found: Found,
        factory: Callable[[], Any],
        options: Options,
        how: Written,
    ) -> None:
        """Put a new value in the place of one that is there, if nobody else is doing so."""
        state = self._state
        lease = frames.lease(frames.stamp(), state.owner)
        beside = refresh_key(name)
        got: Entry[Any] | None = None
        again: Any = None
        failure: BaseException | None = None
        try:
            if await self._may_refresh(name, found, lease, options):
                made = await self._run(factory, options, beside, lease, how)
                await self._store(name, found.data, lease, made)
                got, again = _made(made, "refreshed"), made.again
        except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
            failure = error
            state.quiet.set(name, monotonic() + _AFTER_FAILURE)
            await self._let_go(beside, lease, _AFTER_FAILURE)
            if flight.landed is None:
                log.warning("octavo could not refresh a value: its factory failed: %r", error)
        self._end(flight, (key, "refresh"), got, again, failure)

    async def _may_refresh(self, name: bytes, found: Found, lease: bytes, options: Options) -> bool:
        """Take the lease of a value that is there, if it is still there and nobody has it."""
        beside = refresh_key(name)
        try:
            taken, head = await Command(
                (b"SET", beside, lease, b"NX", b"PX", _text(options.lease * 1000)),
                (beside, name),
                tuple,
                behind=(b"GETRANGE", name, b"0", _text(frames.SIZE - 1)),
            )
        except _UNABLE as error:
            log.info("octavo could not refresh a value: %s", error)
            return False
        if taken is None:
            self._state.quiet.set(name, monotonic() + _QUIET)
        elif head != found.data:
            await self._let_go(beside, lease, 0)
        return taken is not None and head == found.data

    def _end(
        self,
        flight: Flight,
        name: bytes | tuple[bytes, str],
        got: Entry[Any] | None,
        again: Any,
        failure: BaseException | None,
    ) -> None:
        error = failure if isinstance(failure, Exception) else None
        self._state.land(name, flight, got, error=error, again=again)
        if failure is not error and failure is not None:
            raise failure  # a cancellation, an interrupt: whoever waits starts over

    # A value that is not there

    async def _make(
        self,
        flight: Flight,
        key: bytes,
        name: bytes,
        found: Found,
        factory: Callable[[], Any],
        options: Options,
    ) -> None:
        """Make a value that is not there, or wait for whoever makes it."""
        got: Entry[Any] | None = None
        again: Any = None
        failure: BaseException | None = None
        try:
            other = found
            lease = b""
            if found.kind != "bypass":
                lease, other = await self._claim(name, found, options)
            if other.usable:
                got, again = entry(other), self._reader.again(other)
            else:
                made = await self._run(factory, options, name, lease, "created")
                await self._store(name, lease, lease, made)
                got, again = _made(made, "created" if lease else "bypass"), made.again
        except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
            failure = error
        self._end(flight, key, got, again, failure)

    async def _claim(self, name: bytes, found: Found, options: Options) -> tuple[bytes, Found]:
        """Take the lease of a key; without a lease there is a value, or no server to store it."""
        lease = frames.lease(frames.stamp(), self._state.owner)
        try:
            while True:
                if found.kind == "leased":
                    found = await self._wait_for(name)
                if found.usable:
                    return b"", found
                reply = await _claiming(name, found, lease, options)
                if reply is None or reply == lease:
                    return lease, Found("miss")
                found = await self._reader.look(name, recover=False)
        except _UNABLE as error:
            if not self._bypass:
                raise
            if isinstance(error, OUT_OF_REACH):
                self._state.lost((name,))
            self._state.bypassed += 1
            return b"", Found("bypass")

    async def _wait_for(self, name: bytes) -> Found:
        """Wait until a key holds no lease, of whoever it is; return what it holds then."""
        tracker = self._state.tracker
        pause = _FIRST_POLL
        while True:
            changed, ticket = Signal(), tracker.ticket()
            tracker.wait_for(name, changed)
            try:
                found = await self._reader.watch(name, ticket)
                if found.kind != "leased":
                    return found
                # The end of a lease that nobody renews is not told before somebody looks.
                ends = found.fresh + 0.001
                if ticket.link is not None:
                    await WaitFor(changed, min(ends, _LONGEST_WAIT))
                else:
                    await Sleep(min(ends, random.uniform(pause / 2, pause)))  # noqa: S311 - jitter
                    pause = min(2 * pause, _LONGEST_POLL)
            finally:
                tracker.wait_no_more(name, changed)

    async def _run(
        self,
        factory: Callable[[], Any],
        options: Options,
        leased: bytes,
        lease: bytes,
        how: Written,
    ) -> Made:
        """Run a factory under its lease, which is renewed meanwhile, and given up if it fails."""
        state = self._state
        try:
            before = await self._nonces(options) if lease else {}
            fill = Fill(options)
            context = copy_context()
            context.run(_current.set, fill)
            began = monotonic()
            value = await CallUser(
                factory,
                context=context,
                meanwhile=_renewing(leased, lease, options) if lease else None,
                every=options.lease / 3,
            )
            cost = monotonic() - began
            state.created += 1
            if not fill.store or not lease or before is None:
                await self._let_go(leased, lease, 0)
                return Made(value)
            return await self._framed(value, cost, fill, options, before, lease, how)
        except BaseException:
            state.failed += 1
            if how == "created":
                await self._let_go(leased, lease, 0)
            raise

    async def _let_go(self, leased: bytes, lease: bytes, after: float) -> None:
        if lease:
            try:
                await LEASE((leased,), (lease, math.ceil(after * 1000)), int)
            except OctavoError as error:
                log.info("octavo could not end a lease, which ends by itself: %s", error)

    async def _nonces(self, options: Options) -> dict[bytes, bytes] | None:
        """Return the nonces of tags as they are before the factory runs; None if unreachable."""
        layout = self._state.layout
        keys = (layout.changes, *map(layout.tag, options.tags))
        needed = options.ttl + options.grace
        held = self._state.held(keys, needed)
        if held is not None:
            return held
        try:
            nonces: dict[bytes, bytes] = await self._state.prepare(keys, needed)
        except _UNABLE as error:
            log.info("octavo does not store a value whose tags it cannot read: %s", error)
            return None
        return nonces

    async def _framed(
        self,
        value: Any,
        cost: float,
        fill: Fill,
        options: Options,
        before: dict[bytes, bytes],
        lease: bytes,
        how: Written,
    ) -> Made:
        ttl = millis("ttl", fill.ttl)
        grace = millis("grace", fill.grace, least=0)
        tags = await self._tags(fill, options, before, ttl + grace)
        if tags is None:
            self._state.rejected += 1
            return Made(value)
        ttl = max(1, math.ceil(ttl * (1 - options.jitter * random.random())))  # noqa: S311
        made = Made(value, tags=tuple(fill.tags), ttl=ttl / 1000, stays=ttl + grace)
        if type(value) is int and not (tags or grace or options.beta):
            made.data, made.stays = frames.plain(value), ttl
            return made
        coding, payload = self._coder.encode("value", value)
        made.again = lambda: self._coder.decode(coding, payload)
        made.data = frames.write(
            coding,
            payload,
            written=how,
            mark=lease[1:9],
            ttl=ttl,
            grace=grace,
            cost=math.ceil(cost * 1000),
            tags=tags,
        )
        return made

    async def _tags(
        self, fill: Fill, options: Options, before: dict[bytes, bytes], needed: int
    ) -> frames.Tags | None:
        """Return the nonces that the tags had when the factory began; None if that is not known."""
        layout = self._state.layout
        tags = {name: before[layout.tag(name)] for name in fill.tags if name in options.tags}
        if late := [name for name in fill.tags if name not in tags]:
            # The nonces of tags that were not known when the factory began are good only if no
            # tag was invalidated since.
            keys = (layout.changes, *map(layout.tag, late))
            try:
                now: dict[bytes, bytes] = await self._state.mint(keys, needed)
            except _UNABLE:
                return None
            if now[layout.changes] != before[layout.changes]:
                return None
            tags |= {name: now[layout.tag(name)] for name in late}
        return tags

    async def _store(self, name: bytes, before: bytes, lease: bytes, made: Made) -> None:
        if made.data is None:
            return
        try:
            args = (before, lease, made.data, made.stays)
            stored = await FILL((name, refresh_key(name)), args, bool)
            if self._reader.tier is not None:
                self._state.tracker.changed((name,))
        except _UNABLE as error:
            stored = False
            log.info("octavo could not store a value: %s", error)
        self._state.rejected += not stored

    # Many values

    async def obtain_many(
        self, keys: list[bytes], factory: Callable[[list[bytes]], Any], options: Options
    ) -> dict[bytes, Any]:
        """Return what is there under keys, and what the factory makes of those that are not."""
        state = self._state
        values: dict[bytes, Any] = {}
        missing = keys
        while missing:
            mine: dict[bytes, Flight] = {}
            others: dict[bytes, Flight] = {}
            for key in missing:
                flight, own = state.join(key)
                (mine if own else others)[key] = flight
            try:
                landed = await self._make_many(mine, factory, options)
            except BaseException as error:
                for key, flight in mine.items():
                    state.land(key, flight, error=error if isinstance(error, Exception) else None)
                raise
            values |= landed
            # What the factory left out is missing for good.
            missing = []
            for key, flight in others.items():
                state.joined += 1
                await WaitFor(state.landing(flight))
                got = flight.outcome()
                if got is None:
                    missing.append(key)
                else:
                    values[key] = got.value
        return values

    async def _make_many(
        self,
        mine: dict[bytes, Flight],
        factory: Callable[[list[bytes]], Any],
        options: Options,
    ) -> dict[bytes, Any]:
        state = self._state
        values: dict[bytes, Any] = {}
        left = list(mine)
        while left:
            try:
                names, found = await self._look_many(left)
                for key, each in found.items():
                    if each.kind in ("hit", "local"):
                        values[key] = each.value
                        state.land(key, mine[key], entry(each), again=self._reader.again(each))
                wanted = {key: names[key] for key in left if key not in values}
                leases = await self._claim_many(wanted, found, options)
            except _UNABLE:
                if not self._bypass:
                    raise
                state.bypassed += len(left)
                names, wanted, leases = {}, {}, dict.fromkeys(left, b"")
            if leases:
                made = await self._run_many(leases, names, factory, options)
                for key in leases:
                    got = _made(made[key], "created") if key in made else None
                    again = made[key].again if key in made else None
                    state.land(key, mine[key], got, again=again)
                values |= {key: each.value for key, each in made.items()}
            left = [key for key in wanted if key not in leases]
            if left:
                await self._wait_for(names[left[0]])
        return values

    async def _look_many(self, keys: list[bytes]) -> tuple[dict[bytes, bytes], dict[bytes, Found]]:
        head: bytes = self._state.nonces.head() or await self._state.ask_head()
        names = {key: value_key(head, key) for key in keys}
        looks = tuple(self._reader.look(name, recover=False) for name in names.values())
        found = dict(zip(keys, await Command((), (), list, parts=looks), strict=True))
        for each in found.values():
            self._count(each)
        return names, found

    async def _claim_many(
        self, wanted: dict[bytes, bytes], found: dict[bytes, Found], options: Options
    ) -> dict[bytes, bytes]:
        """Take the leases that are free; return them by key."""
        leases = {
            key: frames.lease(frames.stamp(), self._state.owner)
            for key in wanted
            if found[key].kind != "leased"
        }
        claims = tuple(
            _claiming(wanted[key], found[key], lease, options) for key, lease in leases.items()
        )
        replies = await Command((), (), list, parts=claims) if claims else []
        return {
            key: lease
            for (key, lease), reply in zip(leases.items(), replies, strict=True)
            if reply is None or reply == lease
        }

    async def _run_many(
        self,
        leases: dict[bytes, bytes],
        names: dict[bytes, bytes],
        factory: Callable[[list[bytes]], Any],
        options: Options,
    ) -> dict[bytes, Made]:
        state = self._state
        every = {names[key]: lease for key, lease in leases.items() if lease}
        made: dict[bytes, Made] = {}
        try:
            before = await self._nonces(options) if every else None
            fill = Fill(options)
            context = copy_context()
            context.run(_current.set, fill)
            began = monotonic()
            results: Mapping[bytes, Any] = await CallUser(
                factory,
                list(leases),
                context=context,
                meanwhile=_renewing_all(every, options) if every else None,
                every=options.lease / 3,
            )
            cost = (monotonic() - began) / len(leases)
            for key in leases.keys() & results.keys():
                value = results[key]
                state.created += 1
                made[key] = Made(value)
                if fill.store and before is not None:
                    made[key] = await self._framed(
                        value, cost, fill, options, before, leases[key], "created"
                    )
        except BaseException:
            state.failed += 1
            raise
        finally:
            await self._end_many(leases, names, made)
        return made

    async def _end_many(
        self, leases: dict[bytes, bytes], names: dict[bytes, bytes], made: dict[bytes, Made]
    ) -> None:
        """Store what was made, and give up the leases of what was not."""
        ends: list[Command[int]] = []
        for key, lease in leases.items():
            if not lease:
                return
            name, each = names[key], made.get(key)
            if each is None or each.data is None:
                ends.append(LEASE((name,), (lease, 0), lambda reply: 1))
            else:
                args = (lease, lease, each.data, each.stays)
                ends.append(FILL((name, refresh_key(name)), args, int))
        try:
            stored: list[int] = await Command((), (), list, parts=tuple(ends))
        except _UNABLE as error:
            log.info("octavo could not store values: %s", error)
        else:
            self._state.rejected += stored.count(0)


def _is_early(found: Found, options: Options) -> bool:
    cost = 0.0 if found.frame is None else found.frame.cost / 1000
    if not options.beta or not cost:
        return False
    return -options.beta * cost * math.log(1 - random.random()) >= found.fresh  # noqa: S311


def _claiming(name: bytes, found: Found, lease: bytes, options: Options) -> Command[Any]:
    lasts = math.ceil(options.lease * 1000)
    if found.kind in ("void", "stale"):
        return CLAIM((name,), (found.data, lease, lasts), _as_it_is)
    # A write command on purpose: of all who find nothing, one gets nothing back.
    words = (b"SET", name, lease, b"NX", b"GET", b"PX", _text(lasts))
    return Command(words, (name,), _as_it_is, idempotent=True)


def _renewing(leased: bytes, lease: bytes, options: Options) -> Callable[[], Command[int]]:
    return lambda: LEASE((leased,), (lease, math.ceil(options.lease * 1000)), int)


def _renewing_all(every: dict[bytes, bytes], options: Options) -> Callable[[], Command[list[int]]]:
    renewals = [_renewing(leased, lease, options) for leased, lease in every.items()]
    return lambda: Command((), (), list, parts=tuple(renew() for renew in renewals))


def _made(made: Made, outcome: Any) -> Entry[Any]:
    return Entry(made.value, outcome, 0.0, made.ttl, made.tags)


def _text(number: float) -> bytes:
    return b"%d" % math.ceil(number)


def _as_it_is(reply: Any) -> Any:
    return reply


def millis(parameter: str, value: object, *, least: int = 1) -> int:
    """Return whole milliseconds, rounded up, of seconds or a timedelta; refuse anything else."""
    seconds = value.total_seconds() if hasattr(value, "total_seconds") else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"{parameter} must be a number of seconds or a timedelta, not {value!r}")
    if not math.isfinite(seconds):
        raise ValueError(f"{parameter} must be finite, not {value!r}")
    if seconds < 0 or (seconds == 0 and least):
        raise ValueError(
            f"{parameter} must be {'more than' if least else 'at least'} 0, not {value!r}"
        )
    if seconds > _LONGEST_TTL:
        raise ValueError(f"{parameter} must be at most {_LONGEST_TTL} seconds, not {value!r}")
    return math.ceil(seconds * 1000)


_LONGEST_TTL = 100 * 365 * 86_400

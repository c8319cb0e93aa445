"""Running factories under a lease, and storing what they make."""

from __future__ import annotations

import logging
import math
import random
from contextvars import ContextVar, copy_context
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from octavo.cache import frame as frames
from octavo.cache.layout import refresh_key
from octavo.cache.options import tag_names
from octavo.cache.records import Entry
from octavo.cache.scripts import CLAIM, FILL, LEASE
from octavo.engine.breaker import OUT_OF_REACH
from octavo.engine.checks import millis
from octavo.engine.command import CallUser, Command, as_it_is
from octavo.errors import OctavoError, OutOfMemory, WriteRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.cache.options import Options
    from octavo.cache.reading import Found
    from octavo.cache.records import Outcome, Written
    from octavo.cache.state import State
    from octavo.engine.codec import Coder

log = logging.getLogger("octavo")

UNABLE = (*OUT_OF_REACH, OutOfMemory, WriteRefused)
"""What keeps a value from being stored, and must not keep it from being made."""


PAUSED = b"\x01"
"""What stands in a lease's place for a while after a refresh has failed."""


class Fill:
    """What a factory may still decide while it runs: `octavo.cache.current_fill()`.

    Attributes:
        ttl: seconds, or a timedelta.
        grace: seconds, or a timedelta.
        tags: names; those added here hold only if no tag was invalidated while the factory ran.
        store: False keeps the value from being stored; a stale one whose place it would have
            taken goes all the same.
    """

    __slots__ = ("grace", "store", "tags", "ttl")

    def __init__(self, options: Options) -> None:
        self.ttl: Any = options.ttl / 1000
        self.grace: Any = options.grace / 1000
        self.tags: set[str] = set(options.tags)
        self.store = True


_current: ContextVar[Fill] = ContextVar("octavo.cache.fill")
_making: ContextVar[tuple[Making, ...]] = ContextVar("octavo.cache.making", default=())


class Making:
    """A factory that runs, and the keys it makes values for.

    Attributes:
        over: whether it has ended; what it leaves behind still sees it.
    """

    def __init__(self, state: State, keys: list[bytes]) -> None:
        self._identity = state.identity
        self._keys = frozenset(keys)
        self.over = False

    def makes(self, state: State, key: bytes) -> bool:
        """Whether it is still to say what the value of a key is."""
        return not self.over and key in self._keys and self._identity == state.identity


def current_fill() -> Fill:
    """Return what the factory that is running may still decide.

    Raises:
        RuntimeError: no factory is running here.
    """
    try:
        return _current.get()
    except LookupError:
        raise RuntimeError("current_fill() is for factories that a cache runs") from None


def refuse_to_wait_for_itself(state: State, key: bytes) -> None:
    """Raise if it is the factory of this very key that asks for it, which would wait for ever."""
    if any(making.makes(state, key) for making in _making.get()):
        raise RuntimeError(f"the factory of {key!r} asks for the value that it is making")


class Lease(msgspec.Struct, frozen=True):
    """The right to store a value under a key.

    Attributes:
        name: the value's key.
        place: the key that holds the lease: that of the value, or one beside a value that is there.
        data: what it holds.
        before: the first bytes that the value's key must still hold when it is stored.
        how: what the value is made for.
    """

    name: bytes
    place: bytes
    data: bytes
    before: bytes
    how: Written


class Made(msgspec.Struct):
    """What a factory has made.

    Attributes:
        value: the value.
        data: what to store; None for a value that is not to be stored.
        stays: milliseconds to store it for.
        remove: whether a value that it would have replaced is to go.
        stands: whether nothing has changed its key since its factory began, as far as is known.
        again: gives another caller an object of its own; None where one does for all.
    """

    value: Any
    data: bytes | None = None
    stays: int = 0
    ttl: float = 0.0
    tags: tuple[str, ...] = ()
    remove: bool = False
    stands: bool = True
    again: Callable[[], Any] | None = None

    def entry(self, outcome: Outcome) -> Entry[Any]:
        """Return what users see of it."""
        return Entry(self.value, outcome, 0.0, self.ttl, self.tags)


class Run(msgspec.Struct):
    """What a factory has returned and decided.

    Attributes:
        value: what it returned.
        fill: what it decided.
        cost: its milliseconds.
        before: the nonces of tags from before it ran, if they were to be had.
    """

    value: Any
    fill: Fill
    cost: int
    before: dict[bytes, bytes] | None


class Maker:
    """Makes values for one `Cache`. Its methods are flows' steps."""

    def __init__(self, state: State, coder: Coder) -> None:
        self._state = state
        self._coder = coder

    async def make(
        self, keys: list[bytes], factory: Callable[[], Any], options: Options, lease: Lease | None
    ) -> Made:
        """Run a factory and store what it makes; without a lease nothing is stored."""
        try:
            run = await self.run(keys, factory, options, [lease] if lease else [])
            made = await self.framed(run, options, lease)
            if lease is None:
                return made
        except BaseException:
            if lease is not None and lease.how == "created":
                await self.give_up(lease)
            raise
        if made.data is None:
            made.stands &= await self.give_up(lease)
            if made.remove and lease.how != "created" and made.stands:
                await self._remove(lease)
        else:
            try:
                made.stands = await storing(lease, made) == 1
                self._state.rejected += not made.stands
            except UNABLE as error:
                self._state.circuits.failed((lease.name,), error)
                log.info("octavo could not store a value: %s", error)
            # This process's tier may have been filled with what the value takes the place of.
            self._state.tracker.changed((lease.name,))
        return made

    async def run(
        self,
        keys: list[bytes],
        factory: Callable[..., Any],
        options: Options,
        leases: list[Lease],
    ) -> Run:
        """Run a factory for some keys while its leases are renewed."""
        before = await self._nonces(options) if leases else None
        fill = Fill(options)
        context = copy_context()
        context.run(_current.set, fill)
        making = Making(self._state, keys)
        context.run(_making.set, (*_making.get(), making))
        renewals = [ending(lease, options.lease) for lease in leases]
        renew = Command((), (), list, parts=tuple(renewals))
        began = monotonic()
        try:
            value = await CallUser[Any](
                factory,
                context=context,
                meanwhile=(lambda: renew) if leases else None,
                every=options.lease / 3,
            )
        except BaseException:
            self._state.failed += 1
            raise
        finally:
            making.over = True
        self._state.created += 1
        return Run(value, fill, math.ceil((monotonic() - began) * 1000), before)

    async def give_up(self, lease: Lease, *, paused: float = 0.0) -> bool:
        """End a lease, perhaps so that nobody takes it for a while; return if it was still ours."""
        try:
            return await (pausing(lease, paused) if paused else ending(lease, 0)) == 1
        except OctavoError as error:
            self._state.circuits.failed((lease.place,), error)
            log.info("octavo could not end a lease, which ends by itself: %s", error)
            return True

    async def _remove(self, lease: Lease) -> None:
        """Remove the value that was to be refreshed."""
        try:
            # What takes its place for a millisecond is a lease that nobody holds.
            await CLAIM((lease.name,), (lease.before, lease.data, 1), as_it_is)
        except UNABLE as error:
            self._state.circuits.failed((lease.name,), error)
        self._state.tracker.changed((lease.name,))

    async def _nonces(self, options: Options) -> dict[bytes, bytes] | None:
        layout = self._state.layout
        keys = (layout.changes, *map(layout.tag, options.tags))
        held = self._state.held(keys, options.stays)
        if held is not None:
            return held
        try:
            nonces: dict[bytes, bytes] = await self._state.mint(keys, options.stays)
        except UNABLE as error:
            self._state.circuits.failed(keys, error)
            log.info("octavo does not store a value whose tags it cannot read: %s", error)
            return None
        return nonces

    async def framed(self, run: Run, options: Options, lease: Lease | None) -> Made:
        """Return what a factory has made as it is to be stored, if there is a lease for it."""
        value, fill, before = run.value, run.fill, run.before
        if lease is None or not fill.store or before is None:
            made = self._unstored(value)
            made.remove = not fill.store
            return made
        ttl, grace = millis("ttl", fill.ttl), millis("grace", fill.grace, least=0)
        tags = await self._tags(tag_names(fill.tags), options, before, ttl + grace)
        if tags is None:
            self._state.rejected += 1
            return Made(value, stands=False)
        ttl = max(1, math.ceil(ttl * (1 - options.jitter * random.random())))  # noqa: S311
        coding, payload = self._coder.encode("value", value)
        made = Made(value, ttl=ttl / 1000, tags=tuple(tags))
        if type(value) is int and not (tags or grace or options.beta):
            made.data, made.stays = frames.plain(value), ttl
            return made
        made.again = lambda: self._coder.decode(coding, payload)
        made.stays = ttl + grace
        made.data = frames.write(
            coding,
            payload,
            written=lease.how,
            mark=lease.data[1:9],
            ttl=ttl,
            grace=grace,
            cost=run.cost,
            tags=tags,
        )
        return made

    def _unstored(self, value: Any) -> Made:
        """Return a value that is not stored, and of which all who wait get one of their own."""
        made = Made(value)
        try:
            coding, payload = self._coder.encode("value", value)
        except TypeError:
            return made  # whatever it is, there is only the one
        made.again = lambda: self._coder.decode(coding, payload)
        return made

    async def _tags(
        self, names: tuple[str, ...], options: Options, before: dict[bytes, bytes], stays: int
    ) -> frames.Tags | None:
        """Return the nonces that tags had when the factory began; None if that is not known."""
        layout = self._state.layout
        # Nonces that were to stay for less than the entry does now have to be made to stay.
        known = options.tags if stays <= options.stays else ()
        tags = {name: before[layout.tag(name)] for name in names if name in known}
        late = [name for name in names if name not in tags]
        if not late:
            return tags
        # Nobody knew these tags when the factory began. Their nonces of now were those of then
        # if no tag was invalidated since.
        try:
            now: dict[bytes, bytes] = await self._state.mint(
                (layout.changes, *map(layout.tag, late)), stays
            )
        except UNABLE:
            return None
        if now[layout.changes] != before[layout.changes]:
            return None
        return tags | {name: now[layout.tag(name)] for name in late}


def new_lease(state: State, name: bytes) -> Lease:
    """Return a lease for a value that is not there."""
    data = frames.lease(frames.stamp(), state.owner)
    return Lease(name, name, data, data, "created")


def refresh_lease(state: State, name: bytes, before: bytes, how: Written) -> Lease:
    """Return a lease for a value that takes the place of one that is there."""
    data = frames.lease(frames.stamp(), state.owner)
    return Lease(name, refresh_key(name), data, before, how)


def claiming(lease: Lease, found: Found, seconds: float) -> Command[bytes | None]:
    """Return the Command that takes a lease; None is its success."""
    lasts = math.ceil(seconds * 1000)

    def read(reply: bytes | None) -> bytes | None:
        # The reply to a repeated claim is the lease itself.
        return None if reply == lease.data else reply

    if found.kind in ("void", "stale"):
        return CLAIM((lease.place,), (found.data, lease.data, lasts), read)
    words = (b"SET", lease.place, lease.data, b"NX", b"GET", b"PX", b"%d" % lasts)
    return Command(words, (lease.place,), read, idempotent=True)


def forcing(lease: Lease, seconds: float) -> Command[object]:
    """Return the Command that takes a lease from whoever has it, or a value's place."""
    words = (b"SET", lease.place, lease.data, b"PX", b"%d" % math.ceil(seconds * 1000))
    return Command(words, (lease.place,), bool, idempotent=True)


def ending(lease: Lease, seconds: float) -> Command[int]:
    """Return the Command that gives a lease so many seconds from now on; 0 ends it."""
    return LEASE((lease.place,), (lease.data, math.ceil(seconds * 1000), lease.data), int)


def pausing(lease: Lease, seconds: float) -> Command[int]:
    """Return the Command that leaves something in a lease's place which keeps others from it."""
    return LEASE((lease.place,), (lease.data, math.ceil(seconds * 1000), PAUSED), int)


def storing(lease: Lease, made: Made) -> Command[int]:
    """Return the Command that stores a value, if the lease is still good, and ends the lease."""
    args = (lease.before, lease.data, made.data or b"", made.stays)
    # One key, where that is enough: while a slot moves, two that are not both there have to wait.
    keys = (lease.name,) if lease.place == lease.name else (lease.name, lease.place)
    return FILL(keys, args, int)

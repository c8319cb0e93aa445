"""Reading entries: what the bytes under a key mean now."""

from __future__ import annotations

import math
from itertools import chain
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, cast

import msgspec

from octavo.cache import frame as frames
from octavo.cache.frame import ENTRY, LEASE, MARK, SIZE, Frame
from octavo.cache.records import Entry
from octavo.engine.breaker import OUT_OF_REACH
from octavo.engine.codec import INT
from octavo.engine.command import MISSING, Command, answer, as_it_is
from octavo.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from octavo.cache.records import Local, Outcome
    from octavo.cache.state import State
    from octavo.engine.codec import Coder
    from octavo.engine.links import Link
    from octavo.engine.tracking import Ticket
    from octavo.errors import OctavoError

T = TypeVar("T")

Kind = Literal["hit", "local", "stale", "miss", "leased", "void", "bypass", "unsure"]

_NAMES = 100_000
"""Keys of values remembered for the tier in the process."""

_SHARED = (str, bytes, int, float, bool, type(None))


class Found(msgspec.Struct, gc=False):
    """What a look at a key has found.

    Attributes:
        kind: "unsure": the nonces of its tags are not known yet.
        value: the value, where there is one.
        frame: how it was stored; None for plain integers.
        data: the bytes of a lease, or the first bytes of a void entry.
        fresh: seconds until it is stale; for a lease, until it ends.
    """

    kind: Kind
    value: Any = None
    frame: Frame | None = None
    data: bytes = b""
    fresh: float = math.inf

    @property
    def usable(self) -> bool:
        """Whether there is a value."""
        return self.kind in ("hit", "local", "stale")


class Item(NamedTuple):
    """An entry in the tier in the process.

    Attributes:
        coding: how the payload is written; -1 for a value that all callers share.
        value: the payload, or the shared value.
        until: when it is stale, by `time.monotonic()`.
        link: where its change would be told.
        frame: how it was stored.
        kind: a number for the settings of who has decoded it.
    """

    coding: int
    value: Any
    until: float
    link: Link
    frame: Frame | None
    kind: int


MISS = Found("miss")


class Reader:
    """Looks at keys for one `Cache`."""

    def __init__(self, state: State, coder: Coder, local: Local | None, kind: int) -> None:
        self.state = state
        self.kind = kind
        self.decode: Callable[[int, Any], Any] = coder.decode
        self.tier = None if local is None else state.tier
        self._share = local is not None and local.share

    # The tier in the process

    def near(self, key: str | bytes) -> Any:
        """Return the value that the tier in the process has of a user's key, or `MISSING`.

        It is `glance` and `own` once more, in one: this is where a local hit spends its time.
        """
        held = self.state.nonces.held
        if held is None or self.tier is None:
            return MISSING
        try:
            name = held[2].get(key)
        except TypeError:
            return MISSING  # no key, as will be said where keys are looked at
        item: Item | None = None if name is None else self.tier.get(name)
        if item is None:
            return MISSING
        coding, value, until, link, frame, kind = item
        now = monotonic()
        if now >= until or now >= link.trusted_until or now >= held[1].trusted_until:
            return MISSING
        if kind != self.kind or (frame is not None and frame.tags and not self._valid(frame)):
            return MISSING
        self.state.local_hits += 1
        return value if coding < 0 else self.decode(coding, value)

    def glance(self, name: bytes) -> Item | None:
        """Return what the tier in the process has that is fresh."""
        item: Item | None = None if self.tier is None else self.tier.get(name)
        if item is None:
            return None
        _, _, until, link, frame, kind = item
        now = monotonic()
        if now >= until or now >= link.trusted_until or kind != self.kind:
            return None
        if frame is not None and frame.tags and not self._valid(frame):
            return None
        return item

    def remember(self, key: str | bytes, name: bytes, head: bytes) -> None:
        """Have `near` know the key of a value in the generation of this head."""
        held = self.state.nonces.held
        if held is not None and held[0] == head:
            if len(held[2]) >= _NAMES:
                held[2].clear()
            held[2][key] = name

    def own(self, item: Item) -> Any:
        """Return the value for one caller to keep."""
        return item.value if item.coding < 0 else self.decode(item.coding, item.value)

    def found(self, item: Item) -> Found:
        """Return what the tier has as if it had just been found."""
        head = b"" if item.frame is None else item.frame.mark
        return Found("local", self.own(item), item.frame, head, item.until - monotonic())

    def again(self, found: Found) -> Callable[[], Any] | None:
        """Return what gives another caller an object of its own; None where one does for all."""
        frame = found.frame
        if frame is None or self._share or type(found.value) in _SHARED:
            return None
        return lambda: self.decode(frame.coding, frame.payload)

    # The server

    def plain(self, data: bytes | None) -> Any:
        """Return the value of an entry without grace and tags; a `Found` if it is anything else."""
        found = self._judge_plain(data)
        if found.kind == "unsure" or (found.frame is not None and found.frame.grace):
            return found
        return self.fresh(found)

    def look(self, name: bytes, *, recover: bool = True) -> Command[Found]:
        """Return the Command that looks at a key: one round trip, two if tags are not known.

        With `recover`, a node that is out of reach has nothing, and is left alone.
        """
        if recover and self.state.circuits.open((name,)):
            return answer(Found("bypass"))
        ticket = self.state.tracker.ticket() if self.tier is not None else None
        return self._looking(name, ticket, recover=recover)

    def glimpse(self, name: bytes, *, recover: bool = True) -> Command[Found]:
        """Return the same for keys that are not expected to have grace, by a plain GET."""

        def follow(found: Found) -> Command[Found] | None:
            if found.frame is not None and found.frame.grace:
                self.state.timed = True
                return self.look(name, recover=recover)
            if found.kind != "unsure":
                return None
            return self.ask(found).map(lambda nonces: self._sure(found, nonces))

        return Command(
            (b"GET", name),
            (name,),
            lambda data: self._judge(data, None),
            idempotent=True,
            then=follow,
            recover=self.bypass if recover else None,
        )

    def watch(self, name: bytes, ticket: Ticket) -> Command[Found]:
        """Return the Command that looks at a key and has its next change told."""
        return self._looking(name, ticket, recover=False)

    def _looking(self, name: bytes, ticket: Ticket | None, *, recover: bool) -> Command[Found]:
        asked = monotonic()

        def finish(found: Found, nonces: dict[bytes, bytes | None] | None) -> Found:
            found = self._sure(found, nonces)
            if found.kind == "hit" and ticket is not None and self.tier is not None:
                self._keep(name, found, ticket, asked)
            return found

        def read(reply: list[Any]) -> Found:
            self.state.circuits.succeeded((name,))
            stays, data = reply
            found = self._judge(data, stays)
            return found if found.kind == "unsure" else finish(found, None)

        def follow(found: Found) -> Command[Found] | None:
            if found.kind != "unsure":
                return None
            return self.ask(found).map(lambda nonces: finish(found, nonces))

        return Command(
            (b"PTTL", name),
            (name,),
            read,
            idempotent=True,
            behind=((b"GET", name),),
            tracked=() if ticket is None else (ticket,),
            then=follow,
            recover=self.bypass if recover else None,
        )

    def closer(self, name: bytes, value: Any) -> Command[Any] | None:
        """Return the Command that looks closer at what `plain` did not understand."""
        if type(value) is not Found:
            return None
        if value.frame is not None and value.frame.grace:
            # The next ones are asked for with their time at once.
            self.state.timed = True
            return self.look(name).map(self.fresh)
        return self.ask(value).map(lambda nonces: self.fresh(self._sure(value, nonces)))

    def fresh(self, found: Found) -> Any:
        """Count what was found; return its value if that is fresh, else None."""
        self.state.count("miss" if found.kind == "stale" else found.kind)
        return found.value if found.kind in ("hit", "local") else None

    def bypass(self, error: OctavoError) -> Found:
        """Return what a look has found whose node cannot be reached; raise any other error."""
        if not isinstance(error, OUT_OF_REACH):
            raise error
        self.state.circuits.failed(((error.key or "").encode(),), error)
        return Found("bypass")

    def _judge_plain(self, data: bytes | None) -> Found:
        """Say what bytes are; of an entry without grace and tags, its value alone."""
        if data is None or len(data) < SIZE or data[0] != ENTRY:
            return self._judge(data, None)
        try:
            return Found("hit", self.decode(data[1], memoryview(data)[SIZE:]))
        except DecodeError:
            return self._void(data)

    def _judge(self, data: bytes | None, stays: int | None) -> Found:
        """Say what bytes are; `stays` is their PTTL, where that was asked for."""
        if data is None:
            return MISS
        seconds = math.inf if stays is None or stays == -1 else max(stays, 0) / 1000
        if data[:1] == bytes((LEASE,)):
            return Found("leased", data=data, fresh=seconds)
        try:
            if frames.is_integer(data):
                return Found("hit", self.decode(INT, data), data=data, fresh=seconds)
            frame = frames.read(data)
        except DecodeError:
            return self._void(data)
        if stays == -2:
            # It was stored between the two questions.
            seconds = (frame.ttl + frame.grace) / 1000
        found = Found("unsure", frame=frame, data=frame.mark, fresh=seconds - frame.grace / 1000)
        return found if frame.tags and not self._valid(frame) else self._decoded(found)

    def _sure(self, found: Found, nonces: dict[bytes, bytes | None] | None) -> Found:
        if found.kind != "unsure" or found.frame is None or nonces is None:
            return found
        if self.voided(found.frame, nonces):
            return Found("void", data=found.frame.mark)
        return self._decoded(found)

    def voided(self, frame: Frame, nonces: dict[bytes, bytes | None]) -> bool:
        """Whether one of the entry's tags has another nonce by now."""
        tag = self.state.layout.tag
        return any(nonces[tag(name)] != nonce for name, nonce in frame.tags.items())

    def _decoded(self, found: Found) -> Found:
        frame = found.frame
        assert frame is not None  # noqa: S101 - for checkers
        try:
            found.value = self.decode(frame.coding, frame.payload)
        except DecodeError:
            return self._void(frame.mark)
        found.kind = "hit" if found.fresh > 0 else "stale"
        return found

    def _void(self, data: bytes) -> Found:
        self.state.undecodable += 1
        return Found("void", data=data[:MARK])

    def _valid(self, frame: Frame) -> bool:
        """Whether the tags' nonces are known for certain to be the entry's."""
        held, tag = self.state.nonces.nonce, self.state.layout.tag
        return all(held(tag(name)) == nonce for name, nonce in frame.tags.items())

    def judge(
        self,
        there: bytes,
        valid: Callable[[Frame | None], Command[T]],
        void: Callable[[bytes], Command[T]],
    ) -> Command[T]:
        """Return what is to be done about an entry, given its head and its tags.

        Args:
            there: the head and the tags; empty for what has none.
            valid: what to do if the entry is good, as far as its tags go, given the entry.
            void: what to do if it is not, given its first bytes.
        """
        try:
            frame = frames.read(there) if there else None
        except DecodeError:
            return void(there[:MARK])
        if frame is None or not frame.tags or self._valid(frame):
            return valid(frame)

        def follow(nonces: dict[bytes, bytes | None]) -> Command[T]:
            return void(frame.mark) if self.voided(frame, nonces) else valid(frame)

        asked = self.ask(Found("unsure", frame=frame))
        return msgspec.structs.replace(cast("Any", asked), then=follow)

    def ask(self, found: Found) -> Command[dict[bytes, bytes | None]]:
        """Return the Command that reads the nonces of an entry's tags."""
        tags = () if found.frame is None else found.frame.tags
        return self.state.ask_nonces(tuple(self.state.layout.tag(tag) for tag in tags))

    def _keep(self, name: bytes, found: Found, ticket: Ticket, asked: float) -> None:
        if ticket.link is None or self.tier is None:
            return
        frame = found.frame
        # What was stored between the two questions may end earlier than what was there before.
        fresh = found.fresh if frame is None else min(found.fresh, frame.ttl / 1000)
        if self.again(found) is None or frame is None:
            item = Item(-1, found.value, asked + fresh, ticket.link, frame, self.kind)
        else:
            item = Item(frame.coding, frame.payload, asked + fresh, ticket.link, frame, self.kind)
        size = 0 if frame is None else len(frame.payload)
        self.state.tracker.keep(ticket, name, self.tier, item, size)

    # Many keys

    def look_many(
        self, groups: Sequence[Sequence[bytes]], *, timed: bool
    ) -> Command[dict[bytes, Found]]:
        """Return the Command that looks at keys, given by groups that may go in one command."""
        names = [name for group in groups for name in group]
        circuits = self.state.circuits
        if circuits.broken and any(circuits.open((name,)) for name in names):
            timed = True  # each key for itself
        if timed or self.tier is not None:
            looks = tuple(self.look(name) for name in names)
            return Command(
                (), (), lambda all_found: dict(zip(names, all_found, strict=True)), parts=looks
            )

        def read(replies: list[list[bytes | None]]) -> dict[bytes, Found]:
            data = chain.from_iterable(replies)
            return dict(zip(names, map(self._judge_plain, data), strict=True))

        def follow(found: dict[bytes, Found]) -> Command[dict[bytes, Found]] | None:
            unsure = {name: each for name, each in found.items() if each.kind == "unsure"}
            if any(each.frame is not None and each.frame.grace for each in found.values()):
                self.state.timed = True
                return self.look_many(groups, timed=True)
            if not unsure:
                return None
            tags = {tag for each in unsure.values() if each.frame for tag in each.frame.tags}
            keys = tuple(self.state.layout.tag(tag) for tag in tags)
            return self.state.ask_nonces(keys).map(
                lambda nonces: {name: self._sure(each, nonces) for name, each in found.items()}
            )

        parts = tuple(
            Command((b"MGET", *group), tuple(group), as_it_is, idempotent=True) for group in groups
        )
        return Command(
            (),
            (),
            read,
            parts=parts,
            then=follow,
            recover=lambda error: dict.fromkeys(names, self.bypass(error)),
        )


def entry(found: Found) -> Entry[Any]:
    """Return what users see of what was found."""
    if not found.usable:
        return Entry(None, "bypass" if found.kind == "bypass" else "miss")
    frame = found.frame
    age = None if frame is None else max(0.0, frame.ttl / 1000 - found.fresh)
    tags = () if frame is None else tuple(frame.tags)
    return Entry(found.value, cast("Outcome", found.kind), age, found.fresh, tags)

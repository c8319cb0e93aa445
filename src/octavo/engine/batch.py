"""Many operations in one write per node; in one MULTI/EXEC if atomic; in one script if guarded.

A `Collector` is the engine behind `db.batch()`: calling an operation on it only notes a parcel.
The sync or async engine then carries the parcels, in waves: all of them first, then those that
were refused before executing, together with the follow-ups of `Command.then`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from octavo.engine.command import MISSING, Command, Pending
from octavo.engine.guard import guarded
from octavo.engine.keys import slot
from octavo.engine.retry import Attempt, Lost, ReplyError, comes_back, complete
from octavo.engine.wire import ASKING, own_reply, pack, packed
from octavo.errors import BatchError, ConnectionLost, OctavoError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from octavo.engine.command import Common
    from octavo.engine.guard import Guard
    from octavo.engine.links import Link
    from octavo.engine.topology import Endpoint

_MULTI, _EXEC = pack((b"MULTI",)), pack((b"EXEC",))


class Parcel:
    """One operation of a batch on its way."""

    __slots__ = ("_deadline", "_left", "_parts", "attempt", "command", "name", "pending")

    def __init__(self, name: str, command: Command[Any], pending: Pending[Any]) -> None:
        self.name = name
        self.command = command
        self.pending = pending
        self.attempt: Attempt | None = None
        self._deadline = 0.0

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The keys that route it."""
        return self.command.keys

    @property
    def at(self) -> Endpoint | None:
        """The node it goes to, if not by its keys."""
        return self.command.at

    @property
    def idempotent(self) -> bool:
        """Whether it may be sent again although it may have been executed."""
        return self.command.idempotent

    def start(self, deadline: float) -> Sequence[Parcel]:
        """Begin; return what has to be sent for it."""
        self._deadline = deadline
        try:
            self.build()
        except Exception as error:  # noqa: BLE001 - it is the operation's error now
            self.pending.reject(error)
            return ()
        local = self.command.local
        if local is not None and (value := local()) is not MISSING:
            self.pending.resolve(value)
            return ()
        if not self.command.parts:
            return (self,)
        parts = [Part(self, part) for part in self.command.parts]
        self._left = len(parts)
        self._parts = parts
        return [more for part in parts for more in part.start(deadline)]

    def build(self) -> None:
        """Make the command, if that had to wait until it is sent."""
        while self.command.build is not None:
            self.command = self.command.build()

    @property
    def tracked(self) -> bool:
        """Whether it should travel on a link."""
        return bool(self.command.tracked) and (self.attempt is None or self.attempt.asked is None)

    def pack(self, scripts: set[bytes], link: Link | None) -> tuple[bytes, int]:
        """Return the bytes for a connection, and how many replies they bring."""
        plain = self.attempt is not None and self.attempt.plain
        asking = self.attempt is not None and self.attempt.asked is not None
        return packed(self.command, scripts, plain=plain, asking=asking, link=link)

    def settle(self, replies: Sequence[Any]) -> Sequence[Parcel]:
        """Take the replies; return what has to be sent in the next wave."""
        try:
            return self._settle(replies)
        except OctavoError as error:
            return self.abort(error)
        except Exception as error:  # noqa: BLE001 - a reader's fault fails its own operation only
            self.pending.reject(error)
        return ()

    def settle_with_others(self, replies: Sequence[Any]) -> Sequence[Parcel]:
        """Take replies that came with those of others, without whom it does not go again."""
        reply = own_reply(self.command, replies)
        if isinstance(reply, ReplyError):
            return self.abort(self._attempt().error(str(reply)))
        return self.settle(replies)

    def _settle(self, replies: Sequence[Any]) -> Sequence[Parcel]:
        reply = own_reply(self.command, replies)
        if isinstance(reply, ReplyError):
            self._attempt().refused(reply)
            return (self,)
        return self._replied(reply)

    def _replied(self, reply: Any) -> Sequence[Parcel]:
        value = self.command.read(reply)
        following = self.command.then(value) if self.command.then is not None else None
        if following is None:
            self.pending.resolve(value)
            return ()
        if following.block is not None:
            raise ValueError(f"{self.name} follows up with a command that cannot be in a batch")
        self.command, self.attempt = following, None
        return self.start(self._deadline)

    def lose(self, lost: Lost) -> Sequence[Parcel]:
        """Take a lost connection; return what has to be sent in the next wave."""
        try:
            self._attempt().lost(lost)
        except OctavoError as error:
            return self.abort(error)
        return (self,)

    def abort(self, error: OctavoError) -> Sequence[Parcel]:
        """End with an error, or what `recover` makes of it; return what has to be sent next."""
        complete(error, self.name, self.keys)
        recover = self.command.recover
        if recover is None:
            self.pending.reject(error)
            return ()
        try:
            self.pending.resolve(recover(error))
        except Exception as unrecovered:  # noqa: BLE001 - it is the operation's error now
            self.pending.reject(unrecovered)
        return ()

    def gather(self) -> Sequence[Parcel]:
        """Take note that a part has ended; at the last one, return what has to be sent next."""
        self._left -= 1
        if self._left:
            return ()
        try:
            return self._replied([part.pending.result() for part in self._parts])
        except OctavoError as error:
            return self.abort(error)
        except Exception as error:  # noqa: BLE001 - a reader's fault fails its own operation only
            self.pending.reject(error)
        return ()

    def _attempt(self) -> Attempt:
        if self.attempt is None:
            self.attempt = Attempt(
                self.name,
                self.keys,
                idempotent=self.idempotent,
                deadline=self._deadline,
                pinned=self.at is not None,
            )
        return self.attempt


class Part(Parcel):
    """One command of an operation that has several, in a wave together."""

    __slots__ = ("_told", "_whole")

    def __init__(self, whole: Parcel, command: Command[Any]) -> None:
        super().__init__(whole.name, command, Pending(whole.name))
        self._whole = whole
        self._told = False

    def start(self, deadline: float) -> Sequence[Parcel]:
        """Begin; return what has to be sent for it."""
        return self._then_whole(super().start(deadline))

    def settle(self, replies: Sequence[Any]) -> Sequence[Parcel]:
        """Take the replies; return what has to be sent in the next wave."""
        return self._then_whole(super().settle(replies))

    def lose(self, lost: Lost) -> Sequence[Parcel]:
        """Take a lost connection; return what has to be sent in the next wave."""
        return self._then_whole(super().lose(lost))

    def gather(self) -> Sequence[Parcel]:
        """Take note that a part of this part has ended."""
        return self._then_whole(super().gather())

    def _then_whole(self, more: Sequence[Parcel]) -> Sequence[Parcel]:
        if not self.pending.done or self._told:
            return more
        self._told = True
        return [*more, *self._whole.gather()]

    def abort(self, error: OctavoError) -> Sequence[Parcel]:
        """End with an error, or what `recover` makes of it; return what has to be sent next."""
        return self._then_whole(super().abort(error))


class Transaction(Parcel):
    """All operations of an atomic batch, in one MULTI/EXEC on one node."""

    __slots__ = ("_counts", "_parcels")

    def __init__(self, parcels: list[Parcel]) -> None:
        first = parcels[0]
        super().__init__("batch", first.command, first.pending)
        self._parcels = parcels

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The keys that route it: of the first operation that has any."""
        return next((keys for parcel in self._parcels if (keys := parcel.command.all_keys)), ())

    @property
    def idempotent(self) -> bool:
        """Whether all of it may be sent again although it may have been executed."""
        return all(parcel.idempotent for parcel in self._parcels)

    def start(self, deadline: float) -> Sequence[Parcel]:
        """Begin; return what has to be sent for it."""
        self._deadline = deadline
        self._parcels = [more for parcel in self._parcels for more in parcel.start(deadline)]
        return (self,) if self._parcels else ()

    @property
    def tracked(self) -> bool:
        """A transaction travels with what writes."""
        return False

    def pack(self, scripts: set[bytes], link: Link | None) -> tuple[bytes, int]:
        """Return the bytes for a connection, and how many replies they bring."""
        # NOSCRIPT must not meet half of a transaction: the first use of a script inside it is
        # EVAL whatever the connection knows, and nothing can come between that and the next use.
        inside: set[bytes] = set()
        packs = [packed(parcel.command, inside) for parcel in self._parcels]
        scripts |= inside
        self._counts = [count for _, count in packs]
        data = b"".join((_MULTI, *(data for data, _ in packs), _EXEC))
        if self.attempt is not None and self.attempt.asked is not None:
            return ASKING + data, sum(self._counts) + 3
        return data, sum(self._counts) + 2

    def _settle(self, replies: Sequence[Any]) -> Sequence[Parcel]:
        results = replies[-1]
        if isinstance(results, ReplyError):
            # EXECABORT only says that something was refused; what, stands before it.
            self._attempt().refused(
                next(reply for reply in replies if isinstance(reply, ReplyError))
            )
            return (self,)
        for result in results:
            # A script meets a read-only node inside EXEC. No write took place: all may go again.
            if isinstance(result, ReplyError) and comes_back(result):
                self._attempt().refused(result)
                return (self,)
        return _deal(self._parcels, self._counts, results)

    def abort(self, error: OctavoError) -> Sequence[Parcel]:
        """End every operation with the error; return what has to be sent next."""
        return [more for parcel in self._parcels for more in parcel.abort(error)]


class Guarded(Parcel):
    """All operations of a guarded batch, in one script on one node, wave after wave.

    Its own `Pending` has the error with which the batch ends if the guard does not hold.
    """

    __slots__ = ("_check", "_guard", "_noted", "_parcels")

    def __init__(self, guard: Guard) -> None:
        self._check = guard.guard_command()
        super().__init__("batch", self._check, Pending("batch"))
        self._guard = guard

    def load(self, parcels: Sequence[Parcel], noted: Sequence[Parcel]) -> Guarded:
        """Take what is to be sent, and the operations that depend on it; return itself."""
        self._parcels = parcels
        self._noted = noted
        return self

    def start(self, deadline: float) -> Sequence[Parcel]:
        """Begin; return what has to be sent for it."""
        self._deadline = deadline
        return self._wave([more for parcel in self._parcels for more in parcel.start(deadline)])

    def _wave(self, parcels: Sequence[Parcel]) -> Sequence[Parcel]:
        self._parcels = parcels
        if not parcels:
            return ()
        self._check = self._guard.guard_command()
        self.command = guarded(self._check, [parcel.command for parcel in parcels])
        self.attempt = None
        _check_one_slot(self.command.keys)
        return (self,)

    def _replied(self, reply: Any) -> Sequence[Parcel]:
        held, *replies = reply
        if isinstance(held, ReplyError):
            attempt = Attempt.of(self.name, self._check, self._deadline)
            return self.abort(attempt.error(str(held)))
        if replies:
            counts = [1 + len(parcel.command.behind) for parcel in self._parcels]
            return self._go_on(_deal(self._parcels, counts, replies))
        if self.attempt is not None and self.attempt.sent:
            why = "the reply was lost, and when all was sent again the guard did not hold"
            lost = ConnectionLost(why, outcome="unknown")
            complete(lost, self.name, self._check.keys)
            return self.abort(lost)
        self._check.read(held)
        error = self._guard.guard_error()
        complete(error, self.name, self._check.keys)
        self._end(error)
        return ()

    def _go_on(self, following: Sequence[Parcel]) -> Sequence[Parcel]:
        self._noted = [parcel for parcel in self._noted if not parcel.pending.done]
        try:
            return self._wave(following)
        except Exception as error:  # noqa: BLE001 - it is the error of all that would have followed
            self._end(error)
            return ()

    def _end(self, error: Exception) -> None:
        self.pending.reject(error)
        for parcel in self._noted:
            parcel.pending.reject(error)

    def abort(self, error: OctavoError) -> Sequence[Parcel]:
        """End every operation with the error; return what has to be sent next."""
        return self._go_on([more for parcel in self._parcels for more in parcel.abort(error)])


class Opening(Parcel):
    """What an operation of an atomic batch has to find out before the transaction."""

    __slots__ = ("_noted",)

    def __init__(self, noted: Parcel) -> None:
        super().__init__(noted.name, noted.command, noted.pending)
        self._noted = noted

    def _replied(self, reply: Any) -> Sequence[Parcel]:
        following = self.command.then(self.command.read(reply)) if self.command.then else None
        assert following is not None, "an opening has a follow-up"  # noqa: S101
        self.command, self.attempt = following, None
        if following.opening:
            return self.start(self._deadline)
        self._noted.command = following
        return ()


class Collector:
    """The engine of the batch face: notes operations, to be carried at the end.

    Args:
        common: what its jobs have in common with those of the client.
        atomic: whether they are one transaction.
        guard: what has to hold for them to run; they are then atomic in any case.
        raise_on_error: whether `report` raises the errors of operations.
    """

    def __init__(
        self, common: Common, *, atomic: bool, guard: Guard | None, raise_on_error: bool
    ) -> None:
        self.common = common
        self.atomic = atomic or guard is not None
        self._guard = guard
        self._guarded: Guarded | None = None
        self._raise = raise_on_error
        self._parcels: list[Parcel] | None = []

    def call(
        self, name: str, method: Callable[..., Command[Any]], /, *args: Any, **kwargs: Any
    ) -> Pending[Any]:
        """Note an operation."""
        if self._parcels is None:
            raise RuntimeError(f"{name}: this batch has run; open another")
        command = method(*args, **kwargs)
        if command.block is not None:
            raise ValueError(f"{name} needs a connection of its own and cannot be part of a batch")
        pending: Pending[Any] = Pending(name)
        self._parcels.append(Parcel(name, command, pending))
        return pending

    def drive(self, name: str, *_: object, **__: object) -> NoReturn:
        """Refuse a flow."""
        raise TypeError(f"{name} takes several steps and has no batch form; call it on the client")

    def discard(self) -> None:
        """End without sending anything."""
        self._parcels = None

    def openings(self) -> list[Parcel]:
        """Return what has to be carried before `finish`: in an atomic batch, what goes first.

        Raises:
            ValueError: the batch is guarded and its keys hash to more than one slot.
        """
        noted = self._parcels if self.atomic and self._parcels else []
        for parcel in noted:
            parcel.build()
        openings: list[Parcel] = [Opening(parcel) for parcel in noted if parcel.command.opening]
        if self._guard is None or not noted:
            return openings
        self._guarded = Guarded(self._guard)
        _check_one_slot((*self._guarded.keys, *_all_keys(noted)))
        return [self._guarded.load(openings, noted)]

    def finish(self) -> tuple[list[Parcel], list[Parcel]]:
        """End; return the operations noted, and the parcels to carry for them.

        Raises:
            ValueError: the batch is atomic and its keys hash to more than one slot.
        """
        noted, self._parcels = self._parcels or [], None
        if not self.atomic or not noted:
            return noted, noted
        left = [parcel for parcel in noted if not parcel.pending.done]
        if (failed := _first_error(noted)) is not None:
            for parcel in left:
                parcel.pending.reject(failed)
            return noted, []
        if self._guarded is not None:
            return noted, [self._guarded.load(left, noted)]
        _check_one_slot(_all_keys(left))
        return noted, [Transaction(left)] if left else []

    def report(self, noted: list[Parcel]) -> None:
        """Raise the error of a guard that did not hold; else, if asked to, what failed.

        Raises:
            BatchError: operations failed.
        """
        if self._guarded is not None and (error := self._guarded.pending.exception()) is not None:
            raise error
        failed = [error for parcel in noted if (error := parcel.pending.exception()) is not None]
        if failed and self._raise:
            raise BatchError(f"{len(failed)} of {len(noted)} operations failed", failed)


def _check_one_slot(keys: Iterable[bytes]) -> None:
    first: tuple[int, bytes] | None = None
    for key in keys:
        first = first or (slot(key), key)
        if slot(key) != first[0]:
            raise ValueError(
                f"an atomic batch needs all keys in one slot, which {key.decode()} and "
                f"{first[1].decode()} are not: give the objects the same tag="
            )


def _all_keys(parcels: list[Parcel]) -> Iterator[bytes]:
    return (key for parcel in parcels for key in parcel.command.all_keys)


def _deal(parcels: Sequence[Parcel], counts: Sequence[int], replies: Sequence[Any]) -> list[Parcel]:
    """Give each operation its own of the replies; return what has to be sent in the next wave."""
    following: list[Parcel] = []
    end = 0
    for parcel, count in zip(parcels, counts, strict=True):
        start, end = end, end + count
        following.extend(parcel.settle_with_others(replies[start:end]))
    return following


def _first_error(parcels: list[Parcel]) -> Exception | None:
    return next((error for p in parcels if (error := p.pending.exception()) is not None), None)

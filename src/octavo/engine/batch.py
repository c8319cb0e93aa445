"""Many operations in one write per node; with `atomic=True`, in one MULTI/EXEC.

A `Collector` is the engine behind `db.batch()`: calling an operation on it only notes a parcel.
The sync or async engine then carries the parcels, in waves: all of them first, then those that
were refused before executing, together with the follow-ups of `Command.then`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from octavo.engine.command import MISSING, Command, Pending
from octavo.engine.keys import slot
from octavo.engine.retry import Attempt, Lost, ReplyError, comes_back, complete
from octavo.engine.wire import ASKING, pack, words_for
from octavo.errors import BatchError, OctavoError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MULTI, _EXEC = pack((b"MULTI",)), pack((b"EXEC",))


class Parcel:
    """One operation of a batch on its way."""

    __slots__ = ("_deadline", "attempt", "command", "name", "pending")

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
    def idempotent(self) -> bool:
        """Whether it may be sent again although it may have been executed."""
        return self.command.idempotent

    def start(self, deadline: float) -> bool:
        """Begin; return whether anything has to be sent."""
        self._deadline = deadline
        local = self.command.local
        if local is not None and (value := local()) is not MISSING:
            self.pending.resolve(value)
            return False
        return True

    def pack(self, scripts: set[bytes]) -> tuple[bytes, int]:
        """Return the bytes for a connection, and how many replies they bring."""
        plain = self.attempt is not None and self.attempt.plain
        data, replies = self._pack(scripts, plain=plain)
        if self.attempt is not None and self.attempt.asked is not None:
            return ASKING + data, replies + 1
        return data, replies

    def _pack(self, scripts: set[bytes], *, plain: bool) -> tuple[bytes, int]:
        return pack(words_for(self.command, scripts, plain=plain)), 1

    def settle(self, replies: Sequence[Any]) -> Sequence[Parcel]:
        """Take the replies; return what has to be sent in the next wave."""
        try:
            return self._settle(replies)
        except OctavoError as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001 - a reader's fault fails its own operation only
            self.pending.reject(error)
        return ()

    def _settle(self, replies: Sequence[Any]) -> Sequence[Parcel]:
        reply = replies[-1]
        if isinstance(reply, ReplyError):
            self._attempt().refused(reply)
            return (self,)
        value = self.command.read(reply)
        following = self.command.then(value) if self.command.then is not None else None
        if following is None:
            self.pending.resolve(value)
            return ()
        if following.exclusive:
            raise ValueError(f"{self.name} follows up with a command that cannot be in a batch")
        self.command, self.attempt = following, None
        return (self,) if self.start(self._deadline) else ()

    def lose(self, lost: Lost) -> Sequence[Parcel]:
        """Take a lost connection; return what has to be sent in the next wave."""
        try:
            self._attempt().lost(lost)
        except OctavoError as error:
            self.fail(error)
            return ()
        return (self,)

    def fail(self, error: OctavoError) -> None:
        """End with an error, or with what `recover` makes of it."""
        complete(error, self.name, self.keys)
        recover = self.command.recover
        if recover is None:
            self.pending.reject(error)
            return
        try:
            self.pending.resolve(recover(error))
        except Exception as unrecovered:  # noqa: BLE001 - it is the operation's error now
            self.pending.reject(unrecovered)

    def _attempt(self) -> Attempt:
        if self.attempt is None:
            self.attempt = Attempt(
                self.name, self.keys, idempotent=self.idempotent, deadline=self._deadline
            )
        return self.attempt


class Transaction(Parcel):
    """All operations of an atomic batch, in one MULTI/EXEC on one node."""

    __slots__ = ("_parcels",)

    def __init__(self, parcels: list[Parcel]) -> None:
        first = parcels[0]
        super().__init__("batch", first.command, first.pending)
        self._parcels = parcels

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The keys that route it: of the first operation that has any."""
        return next((parcel.keys for parcel in self._parcels if parcel.keys), ())

    @property
    def idempotent(self) -> bool:
        """Whether all of it may be sent again although it may have been executed."""
        return all(parcel.idempotent for parcel in self._parcels)

    def start(self, deadline: float) -> bool:
        """Begin; return whether anything has to be sent."""
        self._deadline = deadline
        self._parcels = [parcel for parcel in self._parcels if parcel.start(deadline)]
        return bool(self._parcels)

    def _pack(self, scripts: set[bytes], *, plain: bool) -> tuple[bytes, int]:
        # NOSCRIPT must not meet half of a transaction: the first use of a script inside it is
        # EVAL whatever the connection knows, and nothing can come between that and the next use.
        inside: set[bytes] = set()
        data = [pack(words_for(parcel.command, inside)) for parcel in self._parcels]
        scripts |= inside
        return b"".join((_MULTI, *data, _EXEC)), len(data) + 2

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
        return [
            more
            for parcel, result in zip(self._parcels, results, strict=True)
            for more in parcel.settle((result,))
        ]

    def fail(self, error: OctavoError) -> None:
        """End every operation with the error."""
        for parcel in self._parcels:
            parcel.fail(error)


class Collector:
    """The engine of the batch face: notes operations, to be carried at the end."""

    def __init__(self, *, atomic: bool) -> None:
        self._atomic = atomic
        self._parcels: list[Parcel] | None = []

    def call(
        self, name: str, method: Callable[..., Command[Any]], /, *args: Any, **kwargs: Any
    ) -> Pending[Any]:
        """Note an operation."""
        if self._parcels is None:
            raise RuntimeError(f"{name}: this batch has run; open another")
        command = method(*args, **kwargs)
        if command.exclusive:
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

    def finish(self) -> tuple[list[Parcel], list[Parcel]]:
        """End; return the operations noted, and the parcels to carry for them.

        Raises:
            ValueError: the batch is atomic and its keys hash to more than one slot.
        """
        noted, self._parcels = self._parcels or [], None
        if not self._atomic or not noted:
            return noted, noted
        _check_one_slot(noted)
        return noted, [Transaction(noted)]


def _check_one_slot(parcels: list[Parcel]) -> None:
    first: tuple[int, bytes] | None = None
    for parcel in parcels:
        for key in parcel.keys:
            first = first or (slot(key), key)
            if slot(key) != first[0]:
                raise ValueError(
                    f"an atomic batch needs all keys in one slot, which {key.decode()} and "
                    f"{first[1].decode()} are not: give the objects the same tag="
                )


def raise_errors(parcels: list[Parcel]) -> None:
    """Raise what failed in a batch, as one group."""
    failed = [error for parcel in parcels if (error := parcel.pending.exception()) is not None]
    if failed:
        raise BatchError(f"{len(failed)} of {len(parcels)} operations failed", failed)

"""Writing entries, and what every operation on keys has to know before: their generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import msgspec

from octavo.cache import frame as frames
from octavo.cache.layout import key_bytes, value_key
from octavo.cache.scripts import ADD, INCR, TOUCH
from octavo.engine.breaker import OUT_OF_REACH
from octavo.engine.checks import whole
from octavo.engine.command import Command, answer, as_it_is
from octavo.engine.keys import slot
from octavo.errors import OctavoError, WrongType

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.cache.reading import Reader
    from octavo.cache.state import State
    from octavo.engine.codec import Coder

T = TypeVar("T")
Key = str | bytes

_MOST = 2**63 - 1


class Scope:
    """The keys of one `Cache`, as they are spelled now.

    Args:
        state: what the cache shares.
        batch: whether operations are collected: what depends on the generation is then made when
            they are sent.
        bypass: whether reads miss when the server is out of reach.
    """

    def __init__(self, state: State, *, batch: bool, bypass: bool) -> None:
        self.state = state
        self._batch = batch
        self._bypass = bypass
        self._cluster = state.common.topology.target.kind == "cluster"

    def under(self, build: Callable[[bytes], Command[T]]) -> Command[T]:
        """Return what `build` makes of the keys' head in this generation."""
        if self._batch:
            return Command((), (), as_it_is, build=lambda: self._now(build))
        return self._now(build)

    def reading(self, build: Callable[[bytes], Command[T]], missed: Callable[[], T]) -> Command[T]:
        """Return the same for an operation that misses when the server is out of reach."""
        state, generation = self.state, (self.state.layout.generation,)

        def bypassed() -> T:
            state.bypassed += 1
            return missed()

        def lost(error: OctavoError) -> T:
            if not isinstance(error, OUT_OF_REACH):
                raise error
            state.circuits.failed(generation, error)
            return bypassed()

        def read() -> Command[T]:
            if state.nonces.head() is not None or not self._bypass:
                return self._now(build)
            if state.circuits.open(generation):
                return answer(bypassed())
            return msgspec.structs.replace(self._now(build), recover=lost)

        return Command((), (), as_it_is, build=read) if self._batch else read()

    def _now(self, build: Callable[[bytes], Command[T]]) -> Command[T]:
        state = self.state
        head = state.nonces.head()
        if head is not None:
            return build(head)
        last = state.last
        if last is None or self._batch:
            return state.ask_head(build)

        tried = build(last)

        def failed(error: OctavoError) -> Any:
            try:
                return error if tried.recover is None else tried.recover(error)
            except OctavoError as raised:
                return raised

        def same(replies: list[Any]) -> Command[T]:
            if replies[0] != last:
                return build(replies[0])
            if isinstance(replies[1], OctavoError):
                raise replies[1]
            return answer(replies[1])

        # In one wave with the question whether it is still that.
        parts = (state.ask_head(), msgspec.structs.replace(cast("Any", tried), recover=failed))
        return Command((), (), cast("Any", list), parts=parts, then=cast("Any", same))

    def tagging(
        self,
        tags: tuple[str, ...],
        stays: int,
        build: Callable[[bytes, frames.Tags], Command[T]],
    ) -> Command[T]:
        """Return what `build` makes of the keys' head and of nonces that stay long enough."""
        keys = tuple(map(self.state.layout.tag, tags))

        def tagged(head: bytes) -> Command[T]:
            def known(nonces: dict[bytes, bytes]) -> Command[T]:
                return build(head, dict(zip(tags, map(nonces.__getitem__, keys), strict=True)))

            held = self.state.held(keys, stays)
            return known(held) if held is not None else self.state.mint(keys, stays, known)

        return self.under(tagged)

    def grouped(self, names: list[bytes]) -> list[list[bytes]]:
        """Return keys by what may go in one command."""
        if not self._cluster:
            return [names]
        groups: dict[int, list[bytes]] = {}
        for name in names:
            groups.setdefault(slot(name), []).append(name)
        return list(groups.values())

    def changing(self, keys: list[Key], command: Command[T]) -> Command[T]:
        """Return the command with the care that this process then sees no older value."""
        flights, names = [key_bytes(key) for key in keys], command.all_keys

        def changed(result: T) -> T:
            self.state.changed(flights, names)
            return result

        def failed(error: OctavoError) -> Any:
            # It may have been executed all the same.
            self.state.changed(flights, names)
            raise error

        if command.then is not None:
            return msgspec.structs.replace(command.map(changed), recover=failed)

        def read(reply: Any) -> T:
            return changed(command.read(reply))

        return msgspec.structs.replace(command, read=read, recover=failed)


class Writer:
    """Writes the entries of one `Cache`; times are in milliseconds."""

    def __init__(self, scope: Scope, reader: Reader, coder: Coder) -> None:
        self._scope = scope
        self._reader = reader
        self._coder = coder

    def set(
        self,
        pairs: list[tuple[Any, Any]],
        ttl: int,
        grace: int,
        tags: tuple[str, ...],
        *,
        parameter: str = "value",
    ) -> Command[None]:
        """Return the Command that stores values."""
        for key, _ in pairs:
            key_bytes(key)
        framed = [(key, self._framing(value, ttl, grace, parameter)) for key, value in pairs]

        def write(head: bytes, nonces: frames.Tags) -> Command[None]:
            sets: list[Command[None]] = []
            for key, data_for in framed:
                name = value_key(head, key)
                data, stays = data_for(nonces)
                words = (b"SET", name, data, b"PX", b"%d" % stays)
                sets.append(Command(words, (name,), _nothing))
            whole = sets[0] if len(sets) == 1 else Command((), (), _nothing, parts=tuple(sets))
            return self._scope.changing([key for key, _ in pairs], whole)

        return self._scope.tagging(tags, ttl + grace, write)

    def add(
        self, key: Key, value: Any, ttl: int, grace: int, tags: tuple[str, ...]
    ) -> Command[bool]:
        """Return the Command that stores a value if there is none."""
        key_bytes(key)
        data_for = self._framing(value, ttl, grace)
        reader = self._reader

        def write(head: bytes, nonces: frames.Tags) -> Command[bool]:
            name = value_key(head, key)
            data, stays = data_for(nonces)

            def adding(void: bytes) -> Command[bool]:
                def judge(there: bytes | None) -> Command[bool]:
                    if there is None or void:
                        return answer(there is None)
                    return reader.judge(there, lambda _: answer(value=False), adding)

                return _then(ADD((name,), (data, stays, void), as_it_is), judge)

            return self._scope.changing([key], adding(b""))

        return self._scope.tagging(tags, ttl + grace, write)

    def delete(self, keys: list[Any]) -> Command[int]:
        """Return the Command that deletes values; the result is how many keys held anything."""
        for key in keys:
            key_bytes(key)

        def delete(head: bytes) -> Command[int]:
            names = [value_key(head, key) for key in keys]
            # Repeated, it may delete what was stored meanwhile: a miss, and never a stale value.
            parts = [
                Command((b"UNLINK", *group), tuple(group), int, idempotent=True)
                for group in self._scope.grouped(names)
            ]
            whole = parts[0] if len(parts) == 1 else Command((), (), sum, parts=tuple(parts))
            return self._scope.changing(keys, whole)

        return self._scope.under(delete)

    def touch(self, key: Key, ttl: int) -> Command[bool]:
        """Return the Command that gives an entry another ttl."""
        key_bytes(key)

        def touch(head: bytes) -> Command[bool]:
            touched = TOUCH((value_key(head, key),), (ttl,), as_it_is)
            return self._scope.changing([key], _then(touched, judge))

        def judge(there: bytes | None) -> Command[bool]:
            if there is None:
                return _known(value=False)
            # That a void entry goes later than it would have hurts nobody.
            return self._reader.judge(there, kept, lambda _: _known(value=False))

        def kept(frame: frames.Frame | None) -> Command[bool]:
            if frame is None or not frame.tags:
                return _known(value=True)
            # The nonces of its tags have to stay as long as it does.
            tags, stays = tuple(frame.tags), ttl + frame.grace
            return self._scope.tagging(tags, stays, lambda _head, _nonces: _known(value=True))

        return self._scope.under(touch)

    def add_to(self, key: Key, n: int, ttl: int, *, sign: int = 1) -> Command[int]:
        """Return the Command that adds to an integer."""
        if abs(whole("n", n, least=None)) > _MOST:
            raise ValueError(f"n must fit in 64 bits, not {n!r}")

        key_bytes(key)

        def add(head: bytes) -> Command[int]:
            name = value_key(head, key)

            def adding(void: bytes) -> Command[int]:
                def judge(reply: list[Any]) -> Command[int]:
                    added, there = reply
                    if added:
                        return answer(int(there))
                    return self._reader.judge(there, refuse, adding)

                return _then(INCR((name,), (sign * n, ttl, void), as_it_is), judge)

            def refuse(_: object) -> NoReturn:
                raise WrongType("WRONGTYPE the key holds no plain integer")

            return self._scope.changing([key], adding(b""))

        return self._scope.under(add)

    def _framing(
        self, value: Any, ttl: int, grace: int, parameter: str = "value"
    ) -> Callable[[frames.Tags], tuple[bytes, int]]:
        """Return what makes the bytes to store, and for how long, of the tags' nonces."""
        coding, payload = self._coder.encode(parameter, value)

        def data_for(tags: frames.Tags) -> tuple[bytes, int]:
            if type(value) is int and not tags:
                return frames.plain(value), ttl
            mark = frames.stamp()
            data = frames.write(
                coding, payload, written="set", mark=mark, ttl=ttl, grace=grace, tags=tags
            )
            return data, ttl + grace

        return data_for


def _known(*, value: bool) -> Command[bool]:
    return answer(value)


def _then(command: Command[Any], follow: Callable[[Any], Command[T]]) -> Command[T]:
    return msgspec.structs.replace(command, then=cast("Any", follow))


def _nothing(_: object) -> None:
    return None

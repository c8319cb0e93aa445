"""Getting many values at once, those missing made by one call of a factory."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from octavo.cache.flights import Flight
from octavo.cache.layout import value_key
from octavo.cache.making import (
    UNABLE,
    Made,
    claiming,
    ending,
    new_lease,
    refuse_to_wait_for_itself,
    storing,
)
from octavo.cache.reading import Found, entry
from octavo.engine.command import Command, WaitFor

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.cache.filling import Filler

    Factory = Callable[[list[bytes]], Any]
    from octavo.cache.making import Lease, Maker
    from octavo.cache.options import Options
    from octavo.cache.reading import Reader
    from octavo.cache.records import Outcome
    from octavo.cache.state import State

log = logging.getLogger("octavo")


class ManyFiller:
    """Gets many values of one `Cache`. What it makes it stores before it waits for others.

    So two callers who each make what the other waits for do not wait for each other.
    """

    def __init__(
        self, state: State, reader: Reader, maker: Maker, filler: Filler, *, bypass: bool
    ) -> None:
        self._state = state
        self._reader = reader
        self._maker = maker
        self._filler = filler
        self._bypass = bypass

    async def obtain(
        self, keys: list[bytes], factory: Factory, options: Options
    ) -> dict[bytes, Any]:
        """Return what is there under keys, and what the factory makes of those that are not."""
        state = self._state
        values: dict[bytes, Any] = {}
        missing = keys
        while missing:
            mine = {key: Flight(key) for key in missing}
            others: dict[bytes, Flight] = {}
            try:
                for key in missing:
                    refuse_to_wait_for_itself(state, key)
                    other = state.flights.join(self._reader.kind, mine[key])
                    if other is not None:
                        others[key] = other
                        del mine[key]
                values |= await self._fly(mine, factory, options)
            except BaseException as error:
                for flight in mine.values():
                    state.flights.land(flight, error=error)
                raise
            # What the factory left out is missing for good.
            missing = list[bytes]()
            for key, flight in others.items():
                state.joined += 1
                await WaitFor(state.flights.landing(flight))
                got = flight.outcome()
                if got is None:
                    missing.append(key)
                else:
                    values[key] = got.value
        return values

    async def _fly(
        self,
        mine: dict[bytes, Flight],
        factory: Factory,
        options: Options,
    ) -> dict[bytes, Any]:
        state = self._state
        values: dict[bytes, Any] = {}
        left = list(mine)
        waited_for: bytes | None = None
        while left:
            leases: dict[bytes, Lease] = {}
            asked = left
            try:
                if waited_for is not None:
                    await self._filler.wait_for(waited_for)
                found = await self._look(left)
                for key, (_, each) in found.items():
                    if each.kind in ("hit", "local"):
                        values[key] = each.value
                        state.flights.land(mine[key], entry(each), again=self._reader.again(each))
                left = asked = [key for key in left if key not in values]
                leases = await self._claim({key: found[key] for key in left}, options)
                asked = [key for key in left if key in leases or found[key][1].kind == "bypass"]
                waited_for = next((found[key][0] for key in left if key not in asked), None)
            except UNABLE as error:
                if not self._bypass:
                    raise
                state.circuits.failed((waited_for or state.layout.generation,), error)
                state.bypassed += len(asked)
            made = await self._make(asked, leases, factory, options) if asked else {}
            for key in asked:
                self._land(mine[key], made.get(key), "created" if key in leases else "bypass")
            values |= {key: each.value for key, each in made.items() if key in asked}
            left = [key for key in left if key not in asked]
        return values

    def _land(self, flight: Flight, made: Made | None, outcome: Outcome) -> None:
        flights = self._state.flights
        if made is None or not made.stands:
            flights.land(flight)
        else:
            flights.land(flight, made.entry(outcome), again=made.again)

    async def _look(self, keys: list[bytes]) -> dict[bytes, tuple[bytes, Found]]:
        state, reader = self._state, self._reader
        generation = (state.layout.generation,)
        head = state.nonces.head()
        if head is None and self._bypass and state.circuits.open(generation):
            names, all_found = [b""] * len(keys), [Found("bypass")] * len(keys)
        else:
            head = head or await state.ask_head()
            names = [value_key(head, key) for key in keys]
            near = {name: item for name in names if (item := reader.glance(name)) is not None}
            far = [name for name in names if name not in near]
            looks = tuple(reader.look(name, recover=self._bypass) for name in far)
            looked: list[Found] = await Command((), (), list, parts=looks) if looks else []
            there = dict(zip(far, looked, strict=True))
            all_found = [
                reader.found(near[name]) if name in near else there[name] for name in names
            ]
        for each in all_found:
            state.count(each.kind)
        return dict(zip(keys, zip(names, all_found, strict=True), strict=True))

    async def _claim(
        self, wanted: dict[bytes, tuple[bytes, Found]], options: Options
    ) -> dict[bytes, Lease]:
        """Take the leases that are free; return them by key."""
        free = {
            key: (new_lease(self._state, name), found)
            for key, (name, found) in wanted.items()
            if found.kind not in ("leased", "bypass")
        }
        if not free:
            return {}
        claims = tuple(claiming(lease, found, options.lease) for lease, found in free.values())
        try:
            replies: list[bytes | None] = await Command((), (), list, parts=claims)
        except BaseException:
            # Some may have been taken all the same.
            await self._end({key: lease for key, (lease, _) in free.items()}, {})
            raise
        taken = zip(free.items(), replies, strict=True)
        return {key: lease for (key, (lease, _)), reply in taken if reply is None}

    async def _make(
        self,
        keys: list[bytes],
        leases: dict[bytes, Lease],
        factory: Factory,
        options: Options,
    ) -> dict[bytes, Made]:
        """Run the factory, and store what it makes of the keys whose leases there are."""
        made: dict[bytes, Made] = {}
        try:
            step = partial(factory, keys)
            run = await self._maker.run(keys, step, options, list(leases.values()))
            run.cost //= len(keys)
            for key, value in run.value.items():
                one = msgspec.structs.replace(run, value=value)
                made[key] = await self._maker.framed(one, options, leases.get(key))
        finally:
            await self._end(leases, made)
        return made

    async def _end(self, leases: dict[bytes, Lease], made: dict[bytes, Made]) -> None:
        """Store what was made, and give up the leases of what was not."""
        stored = {
            key: each for key, each in made.items() if key in leases and each.data is not None
        }
        stores = [storing(leases[key], each) for key, each in stored.items()]
        ends = [ending(lease, 0) for key, lease in leases.items() if key not in stored]
        if not leases:
            return
        try:
            replies: list[int] = await Command((), (), list, parts=(*stores, *ends))
        except UNABLE as error:
            log.info("octavo could not store values: %s", error)
        else:
            for each, reply in zip(stored.values(), replies, strict=False):
                each.stands = reply == 1
                self._state.rejected += not each.stands

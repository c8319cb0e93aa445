"""The flights the demo replays: a stormy week out of New York in July 2013.

`data/README.md` says where they come from.
"""

from __future__ import annotations

import gzip
from datetime import datetime, timedelta, timezone
from importlib.resources import files

import msgspec

__all__ = ["NEW_YORK", "Airline", "Airport", "Flight", "load", "load_airlines", "load_airports"]

NEW_YORK = timezone(timedelta(hours=-4), "EDT")
"""New York's clock in that week; a fixed offset, so that no time zone database is needed."""

_DATA = files("octavo.demo") / "data"


class Flight(msgspec.Struct, frozen=True):
    """A scheduled flight and what became of it.

    Attributes:
        scheduled: when it should have left the gate.
        departed: when it left; None if it was cancelled.
        arrived: when it reached its destination; None if it was cancelled or diverted.
        arrival_delay: minutes late, negative when early; None if it did not arrive.
        carrier: the airline's code.
        number: the flight number.
        tail: the aircraft's registration; unknown for some cancelled flights.
        origin: the airport's code.
        destination: the airport's code.
        air_time: minutes in the air; None if it did not arrive.
        distance: miles.
    """

    scheduled: datetime
    departed: datetime | None
    arrived: datetime | None
    arrival_delay: int | None
    carrier: str
    number: int
    tail: str | None
    origin: str
    destination: str
    air_time: int | None
    distance: int

    @property
    def route(self) -> str:
        """The pair of airports, such as `JFK-LAX`."""
        return f"{self.origin}-{self.destination}"

    @property
    def departure_delay(self) -> int | None:
        """Minutes late, negative when early; None if it was cancelled."""
        if self.departed is None:
            return None
        return round((self.departed - self.scheduled).total_seconds() / 60)


class Airport(msgspec.Struct, frozen=True):
    """An airport and where it lies, in degrees."""

    code: str
    name: str
    longitude: float
    latitude: float


class Airline(msgspec.Struct, frozen=True):
    """An airline."""

    code: str
    name: str


def load(start: datetime | None = None, until: datetime | None = None) -> list[Flight]:
    """Return the flights scheduled from `start` on and before `until`, in that order.

    Both are aware datetimes; None is the end of the data on that side.
    """
    lines = gzip.decompress((_DATA / "flights.jsonl.gz").read_bytes())
    return [
        flight
        for flight in msgspec.json.Decoder(Flight).decode_lines(lines)
        if (start is None or start <= flight.scheduled)
        and (until is None or flight.scheduled < until)
    ]


def load_airports() -> dict[str, Airport]:
    """Return the airports that the flights touch, by code."""
    lines = (_DATA / "airports.jsonl").read_bytes()
    return {airport.code: airport for airport in msgspec.json.Decoder(Airport).decode_lines(lines)}


def load_airlines() -> dict[str, Airline]:
    """Return the airlines that fly, by code."""
    lines = (_DATA / "airlines.jsonl").read_bytes()
    return {airline.code: airline for airline in msgspec.json.Decoder(Airline).decode_lines(lines)}

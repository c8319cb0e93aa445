"""Scores and places: what users give and what the sorted set holds, without losing a digit."""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Sequence
from typing import Any, Literal

Order = Literal["desc", "asc"]
Score = float | Sequence[float]

_SIGN = 1 << 63
_ALL = (1 << 64) - 1


def exact(parameter: str, value: Any) -> float:
    """Return a number as a float64, or refuse what is none or would be changed.

    Takes what has `__float__` or `__index__`, so NumPy's numbers too. -0.0 becomes 0.0: they are
    one score and one tie.
    """
    if isinstance(value, float):
        number = value
    else:
        # NumPy's booleans are no bools, and would pass for 0 and 1.
        if isinstance(value, str | bytes) or type(value).__name__ in ("bool", "bool_"):
            raise TypeError(f"{parameter} must be a number, not {value!r}")
        try:
            value = operator.index(value) if hasattr(value, "__index__") else value
            number = float(value)
        except (TypeError, ValueError):
            raise TypeError(f"{parameter} must be a number, not {value!r}") from None
        except OverflowError:
            raise ValueError(f"{parameter} is too large for a float64: {value!r}") from None
        if number != value and number == number:  # noqa: PLR0124 - NaN is refused below
            raise ValueError(f"{parameter} would lose digits as a float64: {value!r}")
    if not math.isfinite(number):
        raise ValueError(f"{parameter} must be finite, not {value!r}")
    return float(number) + 0.0


class Scale:
    """How the scores of a board become places, column by column."""

    def __init__(self, order: Order | tuple[Order, ...]) -> None:
        orders = (order,) if isinstance(order, str) else order
        if not isinstance(orders, tuple) or not orders:
            raise TypeError(f"order must be 'desc', 'asc' or a tuple of these, not {order!r}")
        for one in orders:
            if one not in ("desc", "asc"):
                raise ValueError(f"order must be 'desc' or 'asc', not {one!r}")
        self.orders: tuple[Order, ...] = orders
        self.signs = tuple(-1.0 if one == "desc" else 1.0 for one in orders)
        self.width = len(orders)
        self.plain = self.width == 1
        self.decays = False
        self.first = self.signs[0]

    def at(self, now: int) -> Scale:
        """Return the scale as it is at a time in microseconds since 1970: as ever."""
        return self

    def places(self, parameter: str, score: Score) -> tuple[float, ...]:
        """Return the place score of each column."""
        if self.width == 1:
            return (self.place(parameter, score),)
        if isinstance(score, str | bytes) or not isinstance(score, Sequence):
            raise TypeError(f"{parameter} must be {self.width} numbers, not {score!r}")
        if len(score) != self.width:
            raise ValueError(
                f"{parameter} must be {self.width} numbers, not {len(score)}: {score!r}"
            )
        return tuple(
            exact(f"{parameter}[{i}]", value) * sign + 0.0
            for i, (value, sign) in enumerate(zip(score, self.signs, strict=True))
        )

    def place(self, parameter: str, score: Any) -> float:
        """Return the place score of a score of the first column."""
        return exact(parameter, score) * self.first + 0.0

    def score(self, place: bytes) -> float:
        """Return the score of a place score."""
        return float(place) * self.first + 0.0

    def scores(self, place: bytes, key: bytes) -> tuple[float, ...]:
        """Return the scores of all columns; nothing for a board of one."""
        if self.width == 1:
            return ()
        words = struct.unpack_from(f">{self.width - 1}Q", key)
        return (
            self.score(place),
            *(_number(word) * sign + 0.0 for word, sign in zip(words, self.signs[1:], strict=True)),
        )


class DecayingScale(Scale):
    """A scale on which scores lose half of their value in a time.

    Every score decays at the same pace, so the order stays as it is: a place is the negative of
    log2(score) + time / half-life, and nothing is ever written again.

    Attributes:
        half_life: in microseconds.
    """

    def __init__(self, order: Order | tuple[Order, ...], half_life: int, now: int = 0) -> None:
        super().__init__(order)
        if self.orders != ("desc",):
            raise ValueError(f"order must be 'desc' on a board with half_life, not {order!r}")
        self.plain = False
        self.decays = True
        self.half_life = half_life
        self._since = now / half_life

    def at(self, now: int) -> DecayingScale:
        """Return the scale as it is at a time in microseconds since 1970."""
        return DecayingScale("desc", self.half_life, now)

    def places(self, parameter: str, score: Score) -> tuple[float, ...]:
        """Return what the server adds its time to."""
        value = exact(parameter, score)
        if value <= 0:
            raise ValueError(f"{parameter} must be more than 0, since it decays, not {score!r}")
        return (-math.log2(value),)

    def place(self, parameter: str, score: Any) -> float:
        """Refuse a bound: no score stays what it is."""
        raise ValueError(f"{parameter} cannot be used with half_life, as scores change: {score!r}")

    def score(self, place: bytes) -> float:
        """Return what a place is worth now."""
        return float(2.0 ** min(-float(place) - self._since, 1023.0))


def _number(word: int) -> float:
    """Return the float64 of 8 bytes that order like it; `submit.lua` makes them."""
    bits = word ^ (_SIGN if word & _SIGN else _ALL)
    number: float = struct.unpack(">d", bits.to_bytes(8, "big"))[0]
    return number

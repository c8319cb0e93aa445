"""What a board is by definition: how members are ordered, kept, ranked and told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from octavo.engine.checks import Seconds, millis, whole
from octavo.leaderboards.ranking import RANK_METHODS, RankMethod
from octavo.leaderboards.scores import DecayingScale, Order, Scale
from octavo.leaderboards.tiers import Tiers

if TYPE_CHECKING:
    from collections.abc import Sequence


T = TypeVar("T")

Keep = Literal["best", "last", "sum", "first"]
Ties = Literal["earliest", "latest", "member"]

MOST = 2**53
"""No board has as many members, and a script can count this far."""

_STAMP = 7
_COLUMN = 8


class Definition:
    """The configuration that all tables of a board share.

    Attributes:
        scale: how scores become places.
        keep: which score of a member counts.
        method: how equal scores are ranked.
        ties: who comes first among equal scores.
        page_size: entries on a page.
        once: whether a write whose reply is lost is repeated.
        tiers: how members are divided, if they are.
        half_life: in which time scores lose half of their value; None if they do not.
        columns: bytes of a key that hold the columns after the first.
        prefix: bytes of a key before the member: columns, and a stamp unless ties are by member.
        config: what is stored with a table, and must not differ.
    """

    def __init__(
        self,
        *,
        order: Order | tuple[Order, ...],
        keep: Keep,
        rank: RankMethod,
        ties: Ties,
        page_size: int,
        once: bool,
        tiers: Tiers | None = None,
        half_life: Seconds | None = None,
    ) -> None:
        decays = None if half_life is None else millis("half_life", half_life)
        self.scale = Scale(order) if decays is None else DecayingScale(order, 1000 * decays)
        self.keep: Keep = option("keep", keep, get_args(Keep))
        self.method: RankMethod = option("rank", rank, RANK_METHODS)
        self.ties: Ties = option("ties", ties, get_args(Ties))
        self.page_size = counted("page_size", page_size)
        self.once = once
        self.tiers = instance("tiers", tiers, Tiers)
        if tiers is not None:
            tiers.check(self.scale)
        self.half_life = half_life
        self.columns = _COLUMN * (self.scale.width - 1)
        self.prefix = self.columns + (0 if ties == "member" else _STAMP)
        density = "dense" if rank == "dense" else "sparse"
        if decays is not None:
            density += f"~{decays}ms"
        self.config = f"{','.join(self.scale.orders)} {ties} {density}"

    @property
    def options(self) -> dict[str, Any]:
        """The arguments it was made of."""
        orders = self.scale.orders
        return {
            "order": orders[0] if len(orders) == 1 else orders,
            "keep": self.keep,
            "rank": self.method,
            "ties": self.ties,
            "page_size": self.page_size,
            "once": self.once,
            "tiers": self.tiers,
            "half_life": self.half_life,
        }


def option(parameter: str, value: T, known: Sequence[object]) -> T:
    """Return one of the values known, or refuse it by the parameter's name."""
    if value not in known:
        raise ValueError(f"{parameter} must be one of {', '.join(map(repr, known))}, not {value!r}")
    return value


def instance(parameter: str, value: T | None, kind: type[T]) -> T | None:
    """Return an instance of a class, or None, or refuse it by the parameter's name."""
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{parameter} must be {kind.__name__}(...) or None, not {value!r}")
    return value


def counted(parameter: str, value: int, least: int = 1) -> int:
    """Return a number of members or entries, of which no board has more than a script can count."""
    return min(whole(parameter, value, least), MOST)

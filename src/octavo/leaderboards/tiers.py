"""Tiers: the standings divided into leagues, by score, by rank or by share of the members."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from octavo.engine.checks import whole
from octavo.engine.keys import check_name
from octavo.engine.script import Script
from octavo.leaderboards.scores import exact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from octavo.leaderboards.scores import Scale

_MOST = 100

_here = Path(__file__)
TIERS = Script(_here.with_name("tiers.lua"), idempotent=True)
TIER = Script(_here.with_name("tier.lua"), idempotent=True)


class Tier(msgspec.Struct, frozen=True, gc=False):
    """A tier as it is now.

    Attributes:
        name: its name.
        cutoff: the last score, rank or percentage that belongs to it.
        count: how many members it has.
        low: the lowest score of these; None when there are none.
        high: the highest score of these; None when there are none.
    """

    name: str
    cutoff: float
    count: int
    low: float | None
    high: float | None


class TierStanding(msgspec.Struct, frozen=True, gc=False):
    """A member in its tier.

    Attributes:
        member: its name.
        tier: the tier.
        rank: its rank among the members of the tier.
        score: its score; the first one on a board of several columns.
        next: the next better tier; None in the best.
        distance: what is missing to that: a difference of scores where tiers are by score, else
            how many ranks or places to climb; None in the best.
    """

    member: str
    tier: str
    rank: float
    score: float
    next: str | None
    distance: float | None


class Tiers(msgspec.Struct, frozen=True):
    """Named tiers and their cutoffs, best first. The last one has all the rest if it has no limit.

    Equal scores are in one tier, except where ranks divide them too (`rank="ordinal"`).

    Attributes:
        by: what the cutoffs are: scores, ranks or percentages.
        cutoffs: the worst score, the last rank, or the share of the best that each tier reaches to.
    """

    by: Literal["score", "rank", "percent"]
    cutoffs: Mapping[str, float]

    @classmethod
    def by_score(cls, /, **cutoffs: float) -> Tiers:
        """Return tiers by score: `Tiers.by_score(gold=1000, silver=500, bronze=-math.inf)`."""
        return cls("score", cutoffs)

    @classmethod
    def by_rank(cls, /, **cutoffs: float) -> Tiers:
        """Return tiers by rank: `Tiers.by_rank(gold=10, silver=50, bronze=math.inf)`."""
        return cls("rank", cutoffs)

    @classmethod
    def by_percent(cls, /, **cutoffs: float) -> Tiers:
        """Return tiers by share of the members: `Tiers.by_percent(gold=1, silver=10, bronze=100)`.

        The best percent are rounded up: of five members, one is in the best 10 %.
        """
        return cls("percent", cutoffs)

    def __post_init__(self) -> None:
        """Refuse cutoffs that mean nothing, or cross."""
        if self.by not in ("score", "rank", "percent"):
            raise ValueError(f"by must be 'score', 'rank' or 'percent', not {self.by!r}")
        if not 1 <= len(self.cutoffs) <= _MOST:
            raise ValueError(f"cutoffs must be of 1 to {_MOST} tiers, not {len(self.cutoffs)}")
        # Whoever has given a dict may change it.
        msgspec.structs.force_setattr(self, "cutoffs", dict(self.cutoffs))
        for name, cutoff in self.cutoffs.items():
            check_name("cutoffs", name)
            _check(self.by, name, cutoff)
        values = list(self.cutoffs.values())
        if self.by != "score" and sorted(set(values)) != values:
            raise ValueError(f"cutoffs must ascend from the best tier on, not {self.cutoffs!r}")

    def check(self, scale: Scale) -> None:
        """Refuse scores that do not get worse from tier to tier on a board of that order."""
        if self.by == "score" and scale.decays:
            raise ValueError("tiers cannot be by score with half_life, as scores change")
        values = [value * scale.first for value in self.cutoffs.values()]
        if self.by == "score" and sorted(set(values)) != values:
            way = "ascend" if scale.first > 0 else "descend"
            raise ValueError(
                f"tiers must have cutoffs that {way}, from the best tier on, on a board whose "
                f"order is {scale.orders[0]!r}, not {self.cutoffs!r}"
            )

    def places(self, place_of: Callable[[str, float], float]) -> list[float]:
        """Return the cutoffs as a script takes them: lower is better."""
        values = list(self.cutoffs.values())
        return [place_of("tiers", value) for value in values] if self.by == "score" else values

    def bounds(self, parameter: str, tier: str, places: list[float]) -> tuple[float | str, float]:
        """Return the cutoff above a tier, or "" for none, and its own."""
        names = list(self.cutoffs)
        if tier not in names:
            known = ", ".join(map(repr, names))
            raise ValueError(f"{parameter} must be one of {known}, not {tier!r}")
        at = names.index(tier)
        return places[at - 1] if at else "", places[at]

    def now(self, reply: list[Any], scale: Scale) -> list[Tier]:
        """Read what each tier has."""
        _, upto, rows = reply
        bounds = [None if row is None else scale.score(row) for row in rows]
        found: list[Tier] = []
        above = 0
        for at, (name, cutoff) in enumerate(self.cutoffs.items()):
            best, worst = bounds[2 * at : 2 * at + 2]
            low, high = (worst, best) if scale.first < 0 else (best, worst)
            found.append(Tier(name, cutoff, upto[at] - above, low, high))
            above = upto[at]
        return found

    def standing(self, member: str, reply: list[Any] | None, scale: Scale) -> TierStanding | None:
        """Read where a member stands in its tier."""
        if reply is None or reply[4] >= reply[1][-1]:
            return None
        members, upto, place, raw, ahead, before = reply
        rank, score = float(raw) if isinstance(raw, bytes) else raw, scale.score(place)
        at = next(at for at, count in enumerate(upto) if ahead < count)
        names, values = list(self.cutoffs), list(self.cutoffs.values())
        if at == 0:
            return TierStanding(member, names[0], rank, score, None, None)
        above = values[at - 1]
        if self.by == "score":
            distance = abs(above - score)
        elif self.by == "rank":
            distance = rank - above
        else:
            distance = ahead + 1 - math.ceil(members * above / 100 - 1e-9)
        return TierStanding(member, names[at], rank - before, score, names[at - 1], distance)


def _check(by: str, name: str, cutoff: float) -> None:
    parameter = f"cutoffs[{name!r}]"
    if by == "rank" and cutoff != math.inf:
        whole(parameter, cutoff)
    elif by == "score" and not (isinstance(cutoff, float) and math.isinf(cutoff)):
        exact(parameter, cutoff)
    elif by == "percent" and not 0 < exact(parameter, cutoff) <= 100:
        raise ValueError(f"{parameter} must be more than 0 and at most 100, not {cutoff!r}")

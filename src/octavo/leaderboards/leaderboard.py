"""The leaderboard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from octavo.engine.codec import encode
from octavo.engine.command import Command, M, answer, operation
from octavo.engine.keys import name_bytes
from octavo.engine.script import Script
from octavo.leaderboards.definition import Definition, Keep, Ties
from octavo.leaderboards.layout import Layout
from octavo.leaderboards.records import Submission
from octavo.leaderboards.standings import rank_of
from octavo.leaderboards.table import Table

if TYPE_CHECKING:
    from octavo.engine.command import Engine
    from octavo.engine.script import Argument
    from octavo.leaderboards.ranking import RankMethod
    from octavo.leaderboards.scores import Order, Score
    from octavo.leaderboards.tiers import Tiers

T = TypeVar("T")

_here = Path(__file__)
SUBMIT = Script(_here.with_name("submit.lua"))
ANNOTATE = Script(_here.with_name("annotate.lua"))


class Leaderboard(Table[M]):
    """Members ranked by score, best first.

        board = db.leaderboard("season-1")
        board.submit("ada", 120).rank
        board.around("ada", 2)

    Every method is atomic and one round trip. A board takes what one sorted set takes: hundreds
    of millions of members; costs below are for N members, of which M are returned or changed.
    Equal scores are ordered by `ties` and ranked by `rank`.

    Args:
        engine: what carries the commands.
        base: what the board's keys begin with.
        order: "desc": higher is better. A tuple makes a board of several columns, compared one
            after the other: `("desc", "asc")` for points, then time. Scores are then tuples.
        keep: which score of a member counts: its best, its last, the sum of all, its first.
        rank: how equal scores are ranked: competition 1 2 2 4, dense 1 2 2 3, ordinal 1 2 3 4,
            modified 1 3 3 4, fractional 1 2.5 2.5 4.
        ties: who comes first among equal scores: who reached it earliest, by the server's clock
            and exactly, or latest, or by name.
        page_size: entries on a page.
        once: run each write but `clear` at most once although its reply is lost: it is then sent
            again and answered with the first run's reply. Costs one SET and a key of about 150
            bytes for a minute, per write.
        tiers: how members are divided into tiers; not stored, and may change at any time.

    Raises:
        ConfigMismatch: from any operation but `count` and `clear`: the board was made with
            another `order` or `ties`, or one of the two is ranked "dense" and the other is not.
        WrongType: from any operation: a key of the board holds something else.
    """

    def __init__(
        self,
        engine: Engine,
        base: str,
        *,
        order: Order | tuple[Order, ...] = "desc",
        keep: Keep = "best",
        rank: RankMethod = "competition",
        ties: Ties = "earliest",
        page_size: int = 25,
        once: bool = False,
        tiers: Tiers | None = None,
    ) -> None:
        definition = Definition(
            order=order,
            keep=keep,
            rank=rank,
            ties=ties,
            page_size=page_size,
            once=once,
            tiers=tiers,
        )
        super().__init__(engine, Layout.of(base), definition)

    # Writing

    @operation
    def submit(self, member: str, score: Score, *, data: object = None) -> Command[Submission]:
        """Record a score and say where the member now stands. O(log N).

        Args:
            member: who.
            score: a number that a float64 holds exactly; several on a board of several columns.
            data: anything msgpack can hold, stored beside the score if that is accepted.

        Raises:
            PrecisionLost: `keep="sum"`, and a float64 cannot hold the sum; nothing was changed.
        """
        return self._submit(self._definition.keep, [(member, score)], lambda _: data, _only)

    @operation
    def submit_many(
        self,
        scores: Mapping[str, Score] | Iterable[tuple[str, Score]],
        *,
        data: Mapping[str, object] | None = None,
    ) -> Command[list[Submission]]:
        """Record many scores, all or none, as if submitted one after another. O(M log N).

        Args:
            scores: the members and their scores, in order.
            data: for some of the members, what to store beside their scores.
        """
        beside: Mapping[str, object] = {} if data is None else data
        if not isinstance(beside, Mapping):
            raise TypeError(f"data must be a mapping of members, not {data!r}")
        pairs = _pairs(scores)
        command = self._submit(self._definition.keep, pairs, beside.get, list)
        unknown = beside.keys() - {member for member, _ in pairs}
        if unknown:
            raise ValueError(f"data names members without a score: {unknown!r}")
        return command if pairs else answer([])

    @operation
    def increment(self, member: str, by: Score = 1, *, data: object = None) -> Command[Submission]:
        """Add to a member's score, whatever `keep` says; a new member starts at 0. O(log N).

        Raises:
            PrecisionLost: a float64 cannot hold the sum; nothing was changed.
        """
        return self._submit("sum", [(member, by)], lambda _: data, _only, "by")

    @operation
    def annotate(self, member: str, data: object) -> Command[bool]:
        """Replace the data of a member, or forget it with None; False for no member. O(1)."""
        own, keys = self._definition, self._keys
        args = (own.config, own.prefix, name_bytes("member", member), _payload(data))
        script = ANNOTATE.once if own.once else ANNOTATE
        return script((keys.scores, keys.entries, keys.data), args, bool)

    # What the operations share

    def _submit(
        self,
        keep: Keep,
        pairs: Sequence[tuple[str, Score]],
        data_of: Callable[[str], object],
        read: Callable[[list[Submission]], T],
        parameter: str = "score",
    ) -> Command[T]:
        own = self._definition
        args: list[Argument] = [keep, own.method, own.ties, own.scale.width]
        for member, score in pairs:
            name = name_bytes("member", member)
            places = own.scale.places(parameter, score)
            args += (name, *places, _payload(data_of(member)))
        return self._change(
            SUBMIT, args, lambda reply: read([self._submission(*row) for row in reply])
        )

    def _submission(  # noqa: PLR0917 - the columns of a reply
        self,
        accepted: int,
        key: bytes,
        place: bytes,
        rank: Any,
        old_key: bytes | None,
        old_place: bytes | None,
        old_rank: Any,
    ) -> Submission:
        own = self._definition
        scale, columns = own.scale, own.columns
        member = key[own.prefix :].decode()
        if old_key is None or old_place is None:
            score, scores = scale.score(place), scale.scores(place, key)
            return Submission(member, True, score, None, rank_of(rank), None, True, scores)  # noqa: FBT003
        before = (float(old_place), old_key[:columns])
        return Submission(
            member,
            accepted == 1,
            scale.score(place),
            scale.score(old_place),
            rank_of(rank),
            rank_of(old_rank),
            (float(place), key[:columns]) < before,
            scale.scores(place, key),
            scale.scores(old_place, old_key),
        )


def _only(submissions: list[Submission]) -> Submission:
    return submissions[0]


def _payload(data: object) -> bytes:
    return b"" if data is None else encode("data", data)


def _pairs(
    scores: Mapping[str, Score] | Iterable[tuple[str, Score]],
) -> list[tuple[str, Score]]:
    try:
        given: Any = scores
        pairs: Any = cast("Any", given).items() if isinstance(given, Mapping) else given
        return [(member, score) for member, score in pairs]
    except (TypeError, ValueError) as error:
        raise TypeError(f"scores must be pairs of member and score: {error}") from error

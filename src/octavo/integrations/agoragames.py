"""The interface of agoragames' `leaderboard` 3.7.3, on octavo's leaderboards.

    from octavo.integrations.agoragames import TieRankingLeaderboard

    board = TieRankingLeaderboard(octavo.connect(), "highscores", page_size=10)
    board.rank_member("ada", 120, {"level": 3})
    board.around_me("ada", with_member_data=True)

Methods, arguments, options and what they return are the original's. What is deliberately different,
and why, is in the README beside this file. There is a sync face only, as there.
"""

from __future__ import annotations

import functools
import itertools
import math
from datetime import UTC, datetime
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    Literal,
    ParamSpec,
    TypedDict,
    TypeVar,
    overload,
)

from octavo import Batch, Sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Self, Unpack

    from octavo import Octavo, leaderboards
    from octavo.leaderboards import Entry, Order, RankMethod, Ties

    Aggregate = Literal["SUM", "MIN", "MAX"]
    Leader = dict[str, Any]
    Allows = Callable[["Leaderboard", str, float | None, float, object, dict[str, str]], object]

F = TypeVar("F", Sync, Batch)
L = TypeVar("L", bound="Leaderboard")
P = ParamSpec("P")
T = TypeVar("T")


class Options(TypedDict, total=False):
    """What the methods that return leaders take beside their arguments.

    Attributes:
        page_size: leaders on a page; the board's own by default.
        members_only: return nothing but the members.
        with_member_data: return what is stored beside the scores, too.
        include_missing: whether `ranked_in_list` returns who is not on the board; True by default.
        sort_by: "rank" or "score", ascending; who is not on the board stands last.
    """

    page_size: int
    members_only: bool
    with_member_data: bool
    include_missing: bool
    sort_by: str


class _Own(Generic[L, P, T]):
    """The form of a method that asks the leaderboard's own board, and not one named."""

    def __init__(self, named: Callable[Concatenate[L, str, P], T]) -> None:
        self.__doc__ = named.__doc__
        # Looked up by its name, so that a subclass overrides both forms by one.
        self._named = named.__name__

    @overload
    def __get__(self, board: None, owner: type[L]) -> Self: ...
    @overload
    def __get__(self, board: L, owner: type[L]) -> Callable[P, T]: ...
    def __get__(self, board: L | None, owner: type[L]) -> Self | Callable[P, T]:
        if board is None:
            return self
        return functools.partial(getattr(board, self._named), board.leaderboard_name)


class Leaderboard:
    """Members ranked by score; equal scores have different ranks: 1 2 3 4.

    Args:
        db: a client of octavo, as `octavo.connect` returns it.
        leaderboard_name: the board that is asked when a method names none.
        page_size: leaders on a page; anything below 1 is 25.
        order: "desc": the highest score is best; "asc": the lowest is.
        ties: who stands first among equal scores, as in `octavo.leaderboards`.
        tag: boards of one tag share a cluster slot, and can be merged there.
    """

    DEFAULT_PAGE_SIZE = 25
    ASC: Final = "asc"
    DESC: Final = "desc"
    MEMBER_KEY = "member"
    MEMBER_DATA_KEY = "member_data"
    SCORE_KEY = "score"
    RANK_KEY = "rank"

    _rank: RankMethod = "ordinal"

    def __init__(
        self,
        db: Octavo[Sync],
        leaderboard_name: str,
        *,
        page_size: int = DEFAULT_PAGE_SIZE,
        order: Order = DESC,
        ties: Ties = "member",
        tag: str | None = None,
    ) -> None:
        self.leaderboard_name = leaderboard_name
        self.page_size = page_size if page_size >= 1 else self.DEFAULT_PAGE_SIZE
        self._order: Order = order
        self._db = db
        self._ties: Ties = ties
        self._tag = tag
        # Making a board costs as much as a third of a call to it.
        self._board = functools.lru_cache(functools.partial(self._board_of, db))
        self._board(leaderboard_name)  # refuses what is wrong

    @property
    def order(self) -> Order:
        """Which scores are best; a board keeps what it was made with."""
        return self._order

    # Ranking members

    def rank_member_in(
        self, leaderboard_name: str, member: str, score: float, member_data: object = None
    ) -> None:
        """Give a member a score, whatever it had, and data if there are any."""
        self._board(leaderboard_name).submit(member, score, data=member_data)

    rank_member = _Own(rank_member_in)

    def rank_member_across(
        self,
        leaderboards: Iterable[str],
        member: str,
        score: float,
        member_data: object = None,
    ) -> None:
        """Give a member a score on several boards; atomically, if they have a tag."""
        with self._db.batch(atomic=self._tag is not None) as batch:
            for name in leaderboards:
                self._board_of(batch, name).submit(member, score, data=member_data)

    def rank_member_if_in(
        self,
        leaderboard_name: str,
        rank_conditional: Allows,
        member: str,
        score: float,
        member_data: object = None,
    ) -> None:
        """Give a member a score if a function allows it.

        It is called with this object, the member, its score now or None, the new score, the data
        and `{"reverse": order}`. What others submit between the question and the answer is
        overwritten: for a best score, `db.leaderboard(name, keep="best")` is exact.
        """
        now = self.score_for_in(leaderboard_name, member)
        if rank_conditional(self, member, now, score, member_data, {"reverse": self.order}):
            self.rank_member_in(leaderboard_name, member, score, member_data)

    rank_member_if = _Own(rank_member_if_in)

    def rank_members_in(self, leaderboard_name: str, members_and_scores: Sequence[Any]) -> None:
        """Give scores to members, all or none: member, score, member, score, and so on."""
        if len(members_and_scores) % 2:
            raise ValueError(f"members_and_scores has no score for {members_and_scores[-1]!r}")
        pairs = zip(members_and_scores[::2], members_and_scores[1::2], strict=True)
        self._board(leaderboard_name).submit_many(pairs)

    rank_members = _Own(rank_members_in)

    def change_score_for_member_in(
        self, leaderboard_name: str, member: str, delta: float, member_data: object = None
    ) -> None:
        """Add to the score of a member; who is not on the board begins at 0."""
        self._board(leaderboard_name).increment(member, delta, data=member_data)

    change_score_for = _Own(change_score_for_member_in)

    # Data beside the scores

    def member_data_for_in(self, leaderboard_name: str, member: str) -> Any:
        """Return the data of a member, or None."""
        entry = self._board(leaderboard_name).entry(member)
        return None if entry is None else entry.data

    member_data_for = _Own(member_data_for_in)

    def members_data_for_in(self, leaderboard_name: str, members: Sequence[str]) -> list[Any]:
        """Return the data of each of the members, or None."""
        found = self._board(leaderboard_name).ranks_of(members)
        data = {entry.member: entry.data for entry in found}
        return [data.get(member) for member in members]

    members_data_for = _Own(members_data_for_in)

    def update_member_data_in(self, leaderboard_name: str, member: str, member_data: Any) -> None:
        """Replace the data of a member; nothing happens if it is not on the board."""
        self._board(leaderboard_name).annotate(member, member_data)

    update_member_data = _Own(update_member_data_in)

    def remove_member_data_in(self, leaderboard_name: str, member: str) -> None:
        """Forget the data of a member."""
        self._board(leaderboard_name).annotate(member, None)

    remove_member_data = _Own(remove_member_data_in)

    # Removing

    def remove_member_from(self, leaderboard_name: str, member: str) -> None:
        """Take a member off the board, and its data."""
        self._board(leaderboard_name).remove(member)

    remove_member = _Own(remove_member_from)

    def remove_members_in_score_range_in(
        self, leaderboard_name: str, min_score: float, max_score: float
    ) -> None:
        """Take those off the board who score from one bound to the other, and their data."""
        self._board(leaderboard_name).remove_between_scores(min_score, max_score)

    remove_members_in_score_range = _Own(remove_members_in_score_range_in)

    def remove_members_outside_rank_in(self, leaderboard_name: str, rank: int) -> int:
        """Keep the first so many members, and return how many were taken off."""
        return self._board(leaderboard_name).trim(rank)

    remove_members_outside_rank = _Own(remove_members_outside_rank_in)

    def delete_leaderboard_named(self, leaderboard_name: str) -> None:
        """Delete a board."""
        self._board(leaderboard_name).clear()

    delete_leaderboard = _Own(delete_leaderboard_named)

    # One member

    def check_member_in(self, leaderboard_name: str, member: str) -> bool:
        """Return whether a member is on the board."""
        return self.score_for_in(leaderboard_name, member) is not None

    check_member = _Own(check_member_in)

    def rank_for_in(self, leaderboard_name: str, member: str) -> int | None:
        """Return the rank of a member, 1 for the best, or None."""
        rank = self._board(leaderboard_name).rank(member)
        return None if rank is None else int(rank)

    rank_for = _Own(rank_for_in)

    def score_for_in(self, leaderboard_name: str, member: str) -> float | None:
        """Return the score of a member, or None."""
        return self._board(leaderboard_name).score(member)

    score_for = _Own(score_for_in)

    def score_and_rank_for_in(self, leaderboard_name: str, member: str) -> Leader:
        """Return a member with its score and rank, which are None for no member."""
        return _View(self, {}).leader(member, self._board(leaderboard_name).entry(member))

    score_and_rank_for = _Own(score_and_rank_for_in)

    def page_for_in(self, leaderboard_name: str, member: str, page_size: int | None = None) -> int:
        """Return the page that a member is on; 0 for no member."""
        size = _page_size(self, page_size)
        return self._board(leaderboard_name).page_of(member, size=size) or 0

    page_for = _Own(page_for_in)

    def percentile_for_in(self, leaderboard_name: str, member: str) -> int | None:
        """Return the percentage of members who are worse, rounded up; None for no member.

        On an ascending board it is 100 less the percentage of those who are better.
        """
        board = self._board(leaderboard_name)
        if self.order == self.DESC:
            worse = board.percentile(member, kind="strict")
            return None if worse is None else math.ceil(worse)
        no_better = board.percentile(member, kind="weak")
        return None if no_better is None else math.floor(no_better)

    percentile_for = _Own(percentile_for_in)

    # The board as a whole

    def total_members_in(self, leaderboard_name: str) -> int:
        """Return how many members are on the board."""
        return self._board(leaderboard_name).count()

    total_members = _Own(total_members_in)

    def total_pages_in(self, leaderboard_name: str, page_size: int | None = None) -> int:
        """Return how many pages the board has."""
        return math.ceil(self.total_members_in(leaderboard_name) / _page_size(self, page_size))

    total_pages = _Own(total_pages_in)

    def total_members_in_score_range_in(
        self, leaderboard_name: str, min_score: float, max_score: float
    ) -> int:
        """Return how many members score from one bound to the other, both included."""
        return self._board(leaderboard_name).count(min_score, max_score)

    total_members_in_score_range = _Own(total_members_in_score_range_in)

    def total_scores_in(self, leaderboard_name: str) -> float:
        """Return the sum of all scores; all members travel for it."""
        return math.fsum(entry.score for entry in self._board(leaderboard_name))

    total_scores = _Own(total_scores_in)

    def score_for_percentile_in(self, leaderboard_name: str, percentile: float) -> float | None:
        """Return the score below which a percentage of members lies; None outside 0 to 100."""
        if not 0 <= percentile <= 100:
            return None
        return self._board(leaderboard_name).score_at(percentile)

    score_for_percentile = _Own(score_for_percentile_in)

    def expire_leaderboard_for(self, leaderboard_name: str, seconds: float) -> None:
        """Delete a board in so many seconds, with its data."""
        self._board(leaderboard_name).expire(seconds)

    expire_leaderboard = _Own(expire_leaderboard_for)

    def expire_leaderboard_at_for(self, leaderboard_name: str, timestamp: float) -> None:
        """Delete a board at a time in seconds since 1970, with its data."""
        self._board(leaderboard_name).expire(datetime.fromtimestamp(timestamp, UTC))

    expire_leaderboard_at = _Own(expire_leaderboard_at_for)

    # Leaders

    def leaders_in(
        self, leaderboard_name: str, current_page: int, **options: Unpack[Options]
    ) -> list[Leader]:
        """Return a page of leaders; any page before the first is the first."""
        view = _View(self, options)
        entries = self._board(leaderboard_name).page(max(current_page, 1), size=view.page_size)
        return view.leaders(entries)

    leaders = _Own(leaders_in)

    def all_leaders_from(self, leaderboard_name: str, **options: Unpack[Options]) -> list[Leader]:
        """Return all leaders, 500 a round trip."""
        view = _View(self, options)
        return view.leaders(list(self._board(leaderboard_name)))

    all_leaders = _Own(all_leaders_from)

    def members_from_score_range_in(
        self,
        leaderboard_name: str,
        minimum_score: float,
        maximum_score: float,
        **options: Unpack[Options],
    ) -> list[Leader]:
        """Return the leaders who score from one bound to the other, both included."""
        view = _View(self, options)
        entries = self._board(leaderboard_name).between_scores(minimum_score, maximum_score)
        return view.leaders(entries)

    members_from_score_range = _Own(members_from_score_range_in)

    def members_from_rank_range_in(
        self,
        leaderboard_name: str,
        starting_rank: int,
        ending_rank: int,
        **options: Unpack[Options],
    ) -> list[Leader]:
        """Return the leaders from one place to another, both included, as if none were equal."""
        view = _View(self, options)
        first = max(starting_rank, 1)
        entries = self._places(leaderboard_name, first, ending_rank - first + 1)
        return view.leaders(entries)

    members_from_rank_range = _Own(members_from_rank_range_in)

    def top_in(
        self, leaderboard_name: str, number: int, **options: Unpack[Options]
    ) -> list[Leader]:
        """Return the first so many leaders."""
        return self.members_from_rank_range_in(leaderboard_name, 1, number, **options)

    top = _Own(top_in)

    def member_at_in(
        self, leaderboard_name: str, position: int, **options: Unpack[Options]
    ) -> Leader | None:
        """Return the leader at a place, 1 for the best; None where nobody is."""
        view = _View(self, options)
        if position < 1:
            return None
        leaders = view.leaders(self._places(leaderboard_name, position, 1))
        return leaders[0] if leaders else None

    member_at = _Own(member_at_in)

    def around_me_in(
        self, leaderboard_name: str, member: str, **options: Unpack[Options]
    ) -> list[Leader]:
        """Return a page of leaders with a member in its middle; nothing for no member.

        At the top of the board the page keeps its size; at the end it has fewer leaders.
        """
        view = _View(self, options)
        half = view.page_size // 2
        # Octavo's window keeps its size at the end too, and has a middle.
        entries = self._board(leaderboard_name).around(member, half)
        place = next((i for i, entry in enumerate(entries) if entry.member == member), 0)
        first = max(place - half, 0)
        return view.leaders(entries[first : first + view.page_size])

    around_me = _Own(around_me_in)

    def ranked_in_list_in(
        self, leaderboard_name: str, members: Sequence[str], **options: Unpack[Options]
    ) -> list[Leader]:
        """Return the members given, in that order, with their scores and ranks."""
        view = _View(self, options)
        found = self._board(leaderboard_name).ranks_of(members)
        entries = {entry.member: entry for entry in found}
        if not options.get("include_missing", True):
            members = [member for member in members if member in entries]
        return view.sorted([view.leader(member, entries.get(member)) for member in members])

    ranked_in_list = _Own(ranked_in_list_in)

    # Several boards

    def merge_leaderboards(
        self, destination: str, keys: Iterable[str], aggregate: Aggregate = "SUM"
    ) -> None:
        """Make a board of all members of this one and of others."""
        boards = map(self._board, (self.leaderboard_name, *keys))
        self._board(destination).merge(*boards, aggregate=self._which(aggregate))

    def intersect_leaderboards(
        self, destination: str, keys: Iterable[str], aggregate: Aggregate = "SUM"
    ) -> None:
        """Make a board of those members of this one who are on all the others."""
        boards = map(self._board, (self.leaderboard_name, *keys))
        self._board(destination).intersect(*boards, aggregate=self._which(aggregate))

    # What the methods share

    def _board_of(self, db: Octavo[F], name: str) -> leaderboards.Leaderboard[F]:
        return db.leaderboard(
            name,
            order=self.order,
            keep="last",
            rank=self._rank,
            ties=self._ties,
            page_size=self.page_size,
            tag=self._tag,
        )

    def _which(self, aggregate: Aggregate) -> Literal["sum", "best", "worst"]:
        if aggregate not in ("SUM", "MIN", "MAX"):
            raise ValueError(f"aggregate must be 'SUM', 'MIN' or 'MAX', not {aggregate!r}")
        if aggregate == "SUM":
            return "sum"
        return "best" if (aggregate == "MAX") == (self.order == self.DESC) else "worst"

    def _places(self, name: str, first: int, count: int) -> list[Entry]:
        """Return so many entries from a place on, 1 being the first, whatever their ranks."""
        if count < 1:
            return []
        before = first - 1
        # Boards have pages: this is the smallest one that holds all of these places.
        sizes = itertools.count(count if before >= count else before + count)
        size = next(size for size in sizes if before % size + count <= size)
        page = self._board(name).page(before // size + 1, size=size)
        return page[before % size :][:count]


class CompetitionRankingLeaderboard(Leaderboard):
    """Members ranked by score; equal scores have one rank, and a gap behind it: 1 2 2 4."""

    _rank = "competition"


class TieRankingLeaderboard(Leaderboard):
    """Members ranked by score; equal scores have one rank, and no gap behind it: 1 2 2 3."""

    _rank = "dense"


class _View:
    """How leaders are returned: options, once they are found to be right."""

    def __init__(self, board: Leaderboard, options: Options) -> None:
        if unknown := options.keys() - Options.__annotations__.keys():
            raise TypeError(f"there are no options {', '.join(sorted(unknown))}")
        self._board = board
        self._options = options
        self._sort_by = options.get("sort_by")
        if self._sort_by not in (None, board.RANK_KEY, board.SCORE_KEY):
            raise ValueError(
                f"sort_by must be {board.RANK_KEY!r} or {board.SCORE_KEY!r}, not {self._sort_by!r}"
            )
        self.page_size = _page_size(board, options.get("page_size"))

    def leaders(self, entries: Iterable[Entry]) -> list[Leader]:
        """Return entries as leaders."""
        return self.sorted([self.leader(entry.member, entry) for entry in entries])

    def leader(self, member: str, entry: Entry | None) -> Leader:
        """Return an entry as a leader; rank and score are None for no member."""
        leader: Leader = {self._board.MEMBER_KEY: member}
        if self._options.get("members_only"):
            return leader
        leader[self._board.SCORE_KEY] = None if entry is None else entry.score
        leader[self._board.RANK_KEY] = None if entry is None else entry.rank
        if self._options.get("with_member_data"):
            leader[self._board.MEMBER_DATA_KEY] = None if entry is None else entry.data
        return leader

    def sorted(self, leaders: list[Leader]) -> list[Leader]:
        """Return leaders in the order asked for; who is not on the board stands last."""
        key = self._sort_by
        if key is None or self._options.get("members_only"):
            return leaders
        return sorted(leaders, key=lambda leader: (leader[key] is None, leader[key] or 0))


def _page_size(board: Leaderboard, given: int | None) -> int:
    if given is not None and given < 1:
        raise ValueError(f"page_size must be at least 1, not {given!r}")
    return board.page_size if given is None else given

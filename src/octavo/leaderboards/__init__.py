"""Leaderboards: members ranked by score, exactly, in one round trip."""

from octavo.leaderboards.cohorts import BoardOptions, Cohorts
from octavo.leaderboards.definition import Keep, Ties
from octavo.leaderboards.leaderboard import Leaderboard
from octavo.leaderboards.live import EventStream
from octavo.leaderboards.merging import Aggregate
from octavo.leaderboards.periods import Period, Window
from octavo.leaderboards.ranking import RankMethod
from octavo.leaderboards.ratings.ratings import Ratings
from octavo.leaderboards.ratings.records import MatchResult, Rated, Rating
from octavo.leaderboards.ratings.systems import Elo, Glicko2, OpenSkill, RatingSystem
from octavo.leaderboards.records import Bin, Change, Entry, Event, Page, SeasonInfo, Submission
from octavo.leaderboards.rules import Events, Rules
from octavo.leaderboards.scores import Order, Score
from octavo.leaderboards.seasons import Season
from octavo.leaderboards.sharded.bounds import even_bounds, sample_bounds
from octavo.leaderboards.sharded.sharded import ShardedLeaderboard, ShardedTies
from octavo.leaderboards.standings import Percentile, Standings
from octavo.leaderboards.table import Table
from octavo.leaderboards.tiers import Tier, Tiers, TierStanding

__all__ = [
    "Aggregate",
    "Bin",
    "BoardOptions",
    "Change",
    "Cohorts",
    "Elo",
    "Entry",
    "Event",
    "EventStream",
    "Events",
    "Glicko2",
    "Keep",
    "Leaderboard",
    "MatchResult",
    "OpenSkill",
    "Order",
    "Page",
    "Percentile",
    "Period",
    "RankMethod",
    "Rated",
    "Rating",
    "RatingSystem",
    "Ratings",
    "Rules",
    "Score",
    "Season",
    "SeasonInfo",
    "ShardedLeaderboard",
    "ShardedTies",
    "Standings",
    "Submission",
    "Table",
    "Tier",
    "TierStanding",
    "Tiers",
    "Ties",
    "Window",
    "even_bounds",
    "sample_bounds",
]

"""Leaderboards: members ranked by score, exactly, in one round trip."""

from octavo.leaderboards.definition import Keep, Ties
from octavo.leaderboards.leaderboard import Leaderboard
from octavo.leaderboards.ranking import RankMethod
from octavo.leaderboards.records import Bin, Entry, Page, Submission
from octavo.leaderboards.scores import Order, Score
from octavo.leaderboards.standings import Percentile, Standings
from octavo.leaderboards.table import Table

__all__ = [
    "Bin",
    "Entry",
    "Keep",
    "Leaderboard",
    "Order",
    "Page",
    "Percentile",
    "RankMethod",
    "Score",
    "Standings",
    "Submission",
    "Table",
    "Ties",
]

"""Leaderboards: members ranked by score, exactly, in one round trip."""

from octavo.leaderboards.leaderboard import Keep, Leaderboard, Percentile, Ties
from octavo.leaderboards.ranking import RankMethod
from octavo.leaderboards.records import Bin, Entry, Page, Submission
from octavo.leaderboards.scores import Order, Score

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
    "Submission",
    "Ties",
]

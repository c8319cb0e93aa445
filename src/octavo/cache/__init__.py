"""Caching: values that are costly to get, kept for a while."""

from octavo.cache.cache import Cache
from octavo.cache.cached import Cached
from octavo.cache.calls import Call, Replay, replay
from octavo.cache.fetching import Page
from octavo.cache.making import Fill, current_fill
from octavo.cache.pages import Pages
from octavo.cache.records import Entry, Info, Lease, Local, Outcome, Stats
from octavo.engine.codec import Codec, Compression, SignedPickle

__all__ = [
    "Cache",
    "Cached",
    "Call",
    "Codec",
    "Compression",
    "Entry",
    "Fill",
    "Info",
    "Lease",
    "Local",
    "Outcome",
    "Page",
    "Pages",
    "Replay",
    "SignedPickle",
    "Stats",
    "current_fill",
    "replay",
]

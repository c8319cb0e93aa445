"""Ratings: how strong players are, by the matches they play."""

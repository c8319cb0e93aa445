"""Octavo in the shape of other libraries. Each module stands on what users may use, and no more."""

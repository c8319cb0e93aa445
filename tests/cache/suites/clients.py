"""The clients of the back ends, which are made by suites that never close them."""

from __future__ import annotations

from functools import cache

import octavo


@cache
def client(url: str, prefix: str) -> octavo.Octavo[octavo.Sync]:
    """Return the client of a server."""
    return octavo.connect(url, prefix=prefix)

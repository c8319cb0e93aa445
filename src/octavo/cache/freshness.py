"""What HTTP responses say about keeping them: RFC 9111 for a shared cache, and RFC 5861.

| response | what becomes of it |
|---|---|
| `no-store`, `private`, 206 | is not stored |
| `s-maxage`, `max-age`, `Expires` less `Date` | is fresh for that long, less its `Age` |
| none of these | is fresh for `ttl`, if its status (200, 301, 404, ...) or `public` allows that |
| `no-cache` | is stale at once |
| `stale-while-revalidate`, `stale-if-error` | is served stale meanwhile; without them for `grace` |
| `must-revalidate`, `proxy-revalidate`, `no-cache` | is never served stale |
| `s-maxage` | is served stale only for as long as it says itself |
| to an `Authorization` | is stored if it is `public` or has `s-maxage` or `must-revalidate` |
"""

from __future__ import annotations

import re
from email.utils import mktime_tz, parsedate_tz
from time import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_HEURISTIC = {200, 203, 204, 300, 301, 308, 404, 405, 410, 414}
"""Statuses that RFC 9110, 15.1, lets a cache give a lifetime of its own."""
_LONGEST = 2**31

_DIRECTIVE = re.compile(r'([\w!#$%&\'*+.^`|~-]+)(?:\s*=\s*("(?:[^"\\]|\\.)*"|[^,\s]*))?')


class Terms(NamedTuple):
    """For how many seconds a response may be kept.

    Attributes:
        fresh: from now on; negative by as much as it is stale already.
        revalidating: how long after that it may be served while it is refreshed.
        failing: how long after that it may be served while it cannot be.
    """

    fresh: float
    revalidating: float
    failing: float


def terms(
    status: int, headers: Mapping[str, str], *, ttl: float, grace: float, authorized: bool
) -> Terms | None:
    """Return what a response allows; None forbids to store it.

    Args:
        status: of the response.
        headers: of the response, by lower-case names.
        ttl: seconds for which it is fresh if it does not say.
        grace: seconds for which it may be served stale if it does not say.
        authorized: whether the request had credentials.
    """
    said = _directives(headers.get("cache-control", ""))
    if said.keys() & {"no-store", "private"} or status == 206:
        return None
    if authorized and not said.keys() & {"public", "s-maxage", "must-revalidate"}:
        return None
    lifetime = _lifetime(status, headers, said, ttl)
    if lifetime is None:
        return None
    fresh = lifetime - seconds(headers.get("age", "0"))
    if said.keys() & {"no-cache", "must-revalidate", "proxy-revalidate"}:
        return Terms(fresh, 0.0, 0.0)
    unsaid = 0.0 if "s-maxage" in said else grace
    revalidating, failing = (
        seconds(said[name]) if name in said else unsaid
        for name in ("stale-while-revalidate", "stale-if-error")
    )
    return Terms(fresh, revalidating, failing)


def least(every: Iterable[Terms | None]) -> Terms | None:
    """Return what all responses of a chain of redirects allow."""
    found: list[Terms] = []
    for each in every:
        if each is None:
            return None
        found.append(each)
    return Terms(*map(min, zip(*found, strict=True)))


def seconds(text: str) -> float:
    """Return seconds as HTTP writes them; what is none is 0, which keeps nothing too long."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit()):
        return 0.0
    return float(min(int(digits[:10]), _LONGEST)) if len(digits) < 11 else float(_LONGEST)


def _lifetime(
    status: int, headers: Mapping[str, str], said: dict[str, str], ttl: float
) -> float | None:
    if "no-cache" in said:
        return 0.0
    for name in ("s-maxage", "max-age"):
        if name in said:
            return seconds(said[name])
    if "expires" in headers:
        expires, date = _date(headers["expires"]), _date(headers.get("date", ""))
        return 0.0 if expires is None else max(0.0, expires - (time() if date is None else date))
    return ttl if status in _HEURISTIC or "public" in said else None


def _directives(text: str) -> dict[str, str]:
    """Return the directives of a Cache-Control; of two that contradict each other, the first."""
    found: dict[str, str] = {}
    for name, value in _DIRECTIVE.findall(text):
        found.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", value.strip('"')))
    return found


def _date(text: str) -> float | None:
    parts = parsedate_tz(text)
    try:
        return None if parts is None else float(mktime_tz(parts))
    except (ValueError, OverflowError):
        return None

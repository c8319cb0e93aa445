"""Web pages, kept for as long as they say: a shared cache by RFC 9111, with RFC 5861's grace.

`freshness.py` says what a response allows. Besides:

- A stale page with an `ETag` or a `Last-Modified` is asked about, for an hour, and a 304 renews it.
- Of a page that varies, one form is stored, with the headers that were sent for it. Who would send
  others fetches a page of its own each time. `Vary: *` is not stored. Content is stored decoded, so
  it does not vary by `Accept-Encoding`.
- A page that was redirected to is kept for no longer than any response on the way allows.
- `Set-Cookie`, and headers about the transport, are left out.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit, urlunsplit

import msgspec

from octavo.cache.cache import Cache
from octavo.cache.fetching import Fetcher, Kept, Page
from octavo.cache.filling import Filler, Want
from octavo.cache.layout import key_bytes, value_key
from octavo.cache.making import UNABLE, Maker
from octavo.cache.reading import Found, entry
from octavo.engine.checks import Seconds, millis, whole
from octavo.engine.command import CallUser, Command, Job, M, answer, flow, operation
from octavo.engine.keys import name_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from octavo.cache.fetching import HttpClient
    from octavo.cache.layout import Layout
    from octavo.cache.records import Entry
    from octavo.engine.codec import Compression
    from octavo.engine.command import Engine
    from octavo.errors import OctavoError

_CREDENTIALS = re.compile(r"([^/?#]*//)?[^/?#]*@")


class Pages(Job[M]):
    """Web pages that are fetched once and counted at each access.

        pages = db.pages("weather")
        html = pages.get_page("https://example.com/today")
        pages.count("https://example.com/today")

    Pages are as fresh as they say. A hit is one round trip, its count included. A page is fetched
    once at a time, whatever the number of threads, tasks and processes that ask for it.

    Args:
        engine: what carries the commands.
        layout: the keys.
        ttl: seconds for which a page is fresh that does not say.
        grace: seconds for which a page may be served stale that does not say, while it is
            refreshed in the background or cannot be.
        timeout: seconds for each step of a fetch, and for all of the body.
        max_bytes: of a page, decompressed.
        compress: how pages are stored, as for a cache.
        client: an `httpx2.Client`, or on async an `httpx2.AsyncClient`, whose timeouts, redirects,
            cookies and connections are yours to set. None makes one for each fetch, which follows
            up to 5 redirects and leaves no connection behind.

    Raises:
        ValueError: an argument is out of its range.
        TypeError: an argument has the wrong type, or the client is of the other face.
    """

    def __init__(
        self,
        engine: Engine,
        layout: Layout,
        *,
        ttl: Seconds = 10,
        grace: Seconds = 0,
        timeout: Seconds = 10,
        max_bytes: int = 10_000_000,
        compress: Literal["zlib", "lzma", "zstd", "lz4"] | Compression | None = None,
        client: HttpClient | None = None,
    ) -> None:
        super().__init__(engine)
        kind = "httpx2.AsyncClient" if self._common.tasks else "httpx2.Client"
        if client is not None and (
            not hasattr(client, "stream") or hasattr(client, "aclose") != self._common.tasks
        ):
            raise TypeError(f"client must be an {kind} on this face, not {client!r}")
        self._store = _Store(engine, layout, ttl=ttl, grace=grace, type=Kept, compress=compress)
        self._fetcher = Fetcher(
            client,
            tasks=self._common.tasks,
            ttl=millis("ttl", ttl) / 1000,
            grace=millis("grace", grace, least=0) / 1000,
            timeout=millis("timeout", timeout) / 1000,
            max_bytes=whole("max_bytes", max_bytes),
        )

    @flow
    async def get_page(self, url: str) -> str:
        """Return the text of a page, fetching it if there is none that is fresh; see `get`."""
        return (await self._got(url)).text

    @flow
    async def get(self, url: str) -> Page:
        """Return a page, fetching it if there is none that is fresh.

        Raises:
            ImportError: `pip install 'octavo[http]'`.
            httpx2.HTTPError: it could not be fetched, or its status is 500 or above, and there is
                none that may be served stale.
            TimeoutError: its body took longer than `timeout`.
            OctavoError: it has more than `max_bytes`.
        """
        return await self._got(url)

    @operation
    def count(self, url: str) -> Command[int]:
        """Return how often a page was asked for, by anyone.

        What was asked for while the server was out of reach is missing. Counts are kept for good,
        also when pages are cleared.
        """
        counter = self._store.counter(normal(url))
        return Command((b"GET", counter), (counter,), lambda n: int(n or 0), idempotent=True)

    @operation
    def invalidate(self, url: str) -> Command[bool]:
        """Delete a page, so that the next access fetches it; return whether there was one."""
        return cast("Command[bool]", self._store.delete(normal(url)))

    @operation
    def clear(self) -> Command[None]:
        """Delete all pages, in one command."""
        return cast("Command[None]", self._store.clear())

    async def _got(self, url: str) -> Page:
        url, fetch = normal(url), self._fetcher.fetch
        found = await self._store.access(url)
        got, old = entry(found), cast("Kept | None", found.value)
        outcome = got.outcome
        if old is None or not _is_fresh(found):
            late = max(-found.fresh, 0.0)
            got = await self._store.obtain(url, partial(fetch, url, old), old, late)
            outcome = "refreshed" if old and got.outcome in ("hit", "created") else got.outcome
        kept = cast("Kept", got.value)
        if not self._fetcher.fits(url, kept):
            own = await CallUser[Kept](partial(fetch, url, keep=False))
            return own.page
        page = kept.page
        return msgspec.structs.replace(page, outcome=outcome, age=page.age + (got.age or 0.0))


class _Store(Cache[Any, Kept]):
    """The cache below, whose operations return their Commands for those of `Pages` to hand on."""

    def __init__(self, engine: Engine, layout: Layout, **options: Any) -> None:
        super().__init__(engine, layout, jitter=0, **options)
        self._call = _command
        maker = Maker(self._state, self._coder)
        self._strict = _Strict(self._state, self._reader, maker, bypass=True)

    def counter(self, url: str) -> bytes:
        """Return the key of a page's count, in the slot of the page."""
        return value_key(self._layout.head(b"count"), url)

    def access(self, url: str) -> Command[Found]:
        """Return the Command that counts an access and looks at the page, in one round trip."""
        counter, state = self.counter(url), self._state
        broken = state.circuits.broken
        if broken and state.common.topology.node_of((counter,)) in broken:
            return answer(Found("bypass"))
        counting = Command((b"INCR", counter), (counter,), int, recover=_uncounted)
        looking = self._scope.under(lambda head: self._reader.look(value_key(head, url)))
        look = msgspec.structs.replace(looking, recover=self._reader.bypass)
        return Command((), (), _second, parts=(counting, look))

    async def obtain(
        self, url: str, fetch: Callable[[], Any], old: Kept | None, late: float
    ) -> Entry[Kept]:
        """Return a page that is not there, or that has been stale for so many seconds."""
        soft = 0.0 if old and late < old.revalidating else None
        want = Want(key_bytes(url), fetch, self._options.but({"soft_timeout": soft}))
        if old and late < max(old.revalidating, old.failing):
            return await self._filler.obtain(want)
        got = await self._strict.obtain(want)
        # One that is stale at once was made for an access that came after this one.
        return msgspec.structs.replace(got, outcome="hit") if got.outcome == "stale" else got


class _Strict(Filler):
    """Takes what is not fresh for what is not there: nobody is given it meanwhile."""

    async def _look(self, want: Want) -> tuple[bytes, Found]:
        name, found = await super()._look(want)
        stale = found.usable and not _is_fresh(found)
        return name, Found("void", data=found.data) if stale else found


def _is_fresh(found: Found) -> bool:
    """Whether a page is; one that was stale on arrival is stored for a millisecond as fresh."""
    kept: Kept = found.value
    return found.kind == "hit" and kept.fresh is not None and kept.fresh > 0


def normal(url: str) -> str:
    """Return a URL as pages are kept under it, or refuse it."""
    name_bytes("url", url)
    if _CREDENTIALS.match(url):
        raise ValueError("url must not hold credentials, which would be stored: use client=")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise ValueError(f"url is malformed: {url!r}: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"url must begin with http:// or https://, not {url!r}")
    if re.search(r"[\x00-\x20\x7f]", url) or not re.fullmatch(r"[\w.-]+|[\da-f:.]+", host):
        raise ValueError(f"url is malformed: {url!r}")
    host = f"[{host}]" if ":" in host else host
    if port not in (None, 443 if parts.scheme == "https" else 80):
        host = f"{host}:{port}"
    return urlunsplit((parts.scheme, host, parts.path or "/", parts.query, ""))


def _command(_: str, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    return method(*args, **kwargs)


def _second(replies: list[Any]) -> Any:
    return replies[1]


def _uncounted(error: OctavoError) -> int:
    if not isinstance(error, UNABLE):
        raise error
    return 0

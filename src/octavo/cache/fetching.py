"""Fetching web pages, and what is kept of them."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from octavo.cache.freshness import least, seconds, terms
from octavo.cache.making import current_fill
from octavo.cache.records import Outcome  # noqa: TC001 - msgspec reads annotations when it runs
from octavo.errors import OctavoError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

_SENT = {"accept": "*/*", "user-agent": "octavo"}
"""What the client made here sends, so that pages may be shared which vary by it."""
_NOT_STORED = frozenset(
    [
        "age",
        "connection",
        "content-encoding",
        "content-length",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)
_RENEWABLE = 3600.0
"""Seconds for which a stale page stays to be renewed by a 304."""


class Page(msgspec.Struct, frozen=True):
    """A web page.

    Attributes:
        url: where it came from, after redirects.
        status: of the response; 500 and above are errors and no pages.
        headers: of the response, by lower-case names, without those about its transport.
        content: the body, decompressed.
        encoding: how the content's text is written.
        age: seconds since the origin vouched for it.
        outcome: "hit"; "stale", within its grace; "created", fetched; "refreshed", fetched or
            renewed in the place of a stale one; "bypass", fetched since the server is out of reach.
    """

    url: str
    status: int
    headers: dict[str, str]
    content: bytes
    encoding: str
    age: float
    outcome: Outcome = "created"

    @property
    def text(self) -> str:
        """The content as text; what is no text is replaced."""
        try:
            return self.content.decode(self.encoding, errors="replace")
        except (LookupError, UnicodeError):  # a charset that is none of text
            return self.content.decode(errors="replace")


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """What is stored of a page.

    Attributes:
        page: as it came.
        fresh: seconds for which it is; None forbids to store it.
        revalidating: seconds for which it may be served stale while it is refreshed.
        failing: seconds for which it may be served stale while it cannot be.
        vary: what was sent of the headers that it varies by.
        conditions: the headers that ask whether it is still good.
    """

    page: Page
    fresh: float | None = None
    revalidating: float = 0.0
    failing: float = 0.0
    vary: dict[str, str | None] = {}
    conditions: dict[str, str] = {}


class HttpClient(Protocol):
    """What is used of `httpx2.Client` and `httpx2.AsyncClient`; httpx's own are such too."""

    def build_request(self, method: str, url: str) -> Any:
        """Return what would be sent."""

    def stream(self, method: str, url: str, *, headers: dict[str, str]) -> Any:
        """Return a context manager of the response."""


class Fetcher:
    """Fetches pages, as the factory of a cache.

    Args:
        client: the user's; None makes one for each fetch.
        tasks: whether it is an async one.
        ttl: seconds for which a page is fresh that does not say.
        grace: seconds for which a page may be served stale that does not say.
        timeout: seconds.
        max_bytes: of a page, decompressed.
    """

    def __init__(
        self,
        client: HttpClient | None,
        *,
        tasks: bool,
        ttl: float,
        grace: float,
        timeout: float,
        max_bytes: int,
    ) -> None:
        self._client = client
        self._tasks = tasks
        self._ttl = ttl
        self._grace = grace
        self._timeout = timeout
        self._max_bytes = max_bytes
        self.fetch = self._fetch_soon if tasks else self._fetch_now

    def _sent(self, url: str) -> Mapping[str, str]:
        return _SENT if self._client is None else self._client.build_request("GET", url).headers

    def fits(self, url: str, kept: Kept) -> bool:
        """Whether a page is what this client would be sent."""
        sent = self._sent(url) if kept.vary else _SENT
        return all(sent.get(name) == value for name, value in kept.vary.items())

    # Fetching, which runs as the cache's factory

    def _opened(self) -> Any:
        if self._client is not None:
            return nullcontext(self._client)
        make = _httpx().AsyncClient if self._tasks else _httpx().Client
        return make(
            headers=_SENT,
            verify=_tls(),
            timeout=self._timeout,
            follow_redirects=True,
            max_redirects=5,
        )

    def _fetch_now(self, url: str, old: Kept | None = None, *, keep: bool = True) -> Kept:
        asked, content, opened = old.conditions if old else {}, bytearray(), self._opened()
        began = monotonic()
        with opened as client, client.stream("GET", url, headers=asked) as response:
            for chunk in response.iter_bytes():
                content += chunk
                self._check(url, len(content), began)
        kept = self._received(url, response, bytes(content), monotonic() - began, old)
        return _decided(kept) if keep else kept

    async def _fetch_soon(self, url: str, old: Kept | None = None, *, keep: bool = True) -> Kept:
        asked, content, opened = old.conditions if old else {}, bytearray(), self._opened()
        began = monotonic()
        async with opened as client, client.stream("GET", url, headers=asked) as response:
            async for chunk in response.aiter_bytes():
                content += chunk
                self._check(url, len(content), began)
        kept = self._received(url, response, bytes(content), monotonic() - began, old)
        return _decided(kept) if keep else kept

    def _check(self, url: str, size: int, began: float) -> None:
        if size > self._max_bytes:
            raise OctavoError(f"page has more than max_bytes={self._max_bytes} bytes: {url}")
        if monotonic() - began > self._timeout:
            raise TimeoutError(f"page took longer than timeout={self._timeout:g} seconds: {url}")

    def _received(
        self, url: str, response: Any, content: bytes, delay: float, old: Kept | None
    ) -> Kept:
        """Return a page as it is to be kept."""
        hops = [*response.history, response]
        renews = response.status_code == 304
        if response.status_code >= 500 or (
            renews and (old is None or not old.conditions or len(hops) > 1)
        ):
            response.raise_for_status()
        page = _page(response, content, delay, old if renews else None)
        said = [hop.headers for hop in hops]
        if renews:
            said = [page.headers | {"age": response.headers.get("age", "0")}]
        allowed = least(
            terms(
                page.status if hop is response else hop.status_code,
                headers,
                ttl=self._ttl,
                grace=self._grace,
                authorized="authorization" in hop.request.headers,
            )
            for hop, headers in zip(hops, said, strict=True)
        )
        vary = self._vary(url, hops, said)
        if allowed is None or vary is None:
            return Kept(page)
        fresh = allowed.fresh - delay
        late = min(fresh, 0.0)
        return Kept(
            page,
            fresh,
            max(allowed.revalidating + late, 0.0),
            max(allowed.failing + late, 0.0),
            vary,
            _conditions(page.headers) if len(hops) == 1 else {},
        )

    def _vary(self, url: str, hops: list[Any], said: list[Any]) -> dict[str, str | None] | None:
        """Return what was sent that a page varies by; None if nobody can send the same again."""
        names = {name.strip().lower() for each in said for name in each.get("vary", "").split(",")}
        sent = self._sent(url)
        vary = {name: sent.get(name) for name in names - {"", "accept-encoding", "host"}}
        # What the client has not sent by itself, but for a cookie or an `auth`, is not known
        # before a request.
        told = all(hop.request.headers.get(name) == vary[name] for hop in hops for name in vary)
        return vary if told and "*" not in vary else None


def _decided(kept: Kept) -> Kept:
    """Tell the cache for how long to keep a page."""
    fill = current_fill()
    fill.store = False
    if kept.fresh is not None:
        fill.ttl = max(kept.fresh, 0.001)
        fill.grace = max(kept.revalidating, kept.failing, _RENEWABLE if kept.conditions else 0)
        fill.store = kept.fresh > 0 or fill.grace > 0
    return kept


def _page(response: Any, content: bytes, delay: float, old: Kept | None) -> Page:
    """Return the page that a response is, or the old one that it renews."""
    unwanted = {name.strip().lower() for name in response.headers.get("connection", "").split(",")}
    unwanted |= _NOT_STORED
    headers = {name: value for name, value in response.headers.items() if name not in unwanted}
    age = seconds(response.headers.get("age", "0")) + delay
    if old is not None:
        page = old.page
        return msgspec.structs.replace(page, headers=page.headers | headers, age=age)
    url = str(response.url.copy_with(userinfo=b"", fragment=None))
    return Page(url, response.status_code, headers, content, response.encoding, age)


def _conditions(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that ask whether a page is still good."""
    names = {"etag": "if-none-match", "last-modified": "if-modified-since"}
    found = {asks: headers.get(name, "") for name, asks in names.items()}
    return {asks: value for asks, value in found.items() if value and value.isascii()}


def _httpx() -> Any:
    try:
        import httpx2  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ImportError("the HTTP client is missing: pip install 'octavo[http]'") from error
    return httpx2


@cache
def _tls() -> ssl.SSLContext:
    """Return the settings of TLS, which take long to make."""
    context: ssl.SSLContext = _httpx().create_ssl_context()
    return context

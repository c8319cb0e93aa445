from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from octavo import OctavoError
from octavo.testing.waiting import wait_until
from tests.cache.webserver import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from octavo import Octavo, Sync
    from octavo.cache import Pages
    from octavo.testing.proxy import WireProxy
    from tests.cache.webserver import WebServer
    from tests.fix_faces import Connect, FaceName, LoopThread
    from tests.fix_servers import Server, Servers


@pytest.fixture
def server(servers: Servers) -> Server:
    """One is enough to see how pages are fetched."""
    return servers.get("embedded")


@pytest.fixture
def pages(db: Octavo[Sync]) -> Pages[Sync]:
    return db.pages("web")


@pytest.fixture
def client(face: FaceName, loop_thread: LoopThread) -> Iterator[Callable[..., Any]]:
    """Makes an HTTP client for the face."""
    made: list[httpx2.Client | httpx2.AsyncClient] = []

    def make(**options: Any) -> Any:
        made.append((httpx2.AsyncClient if face == "async" else httpx2.Client)(**options))
        return made[-1]

    yield make
    for one in made:
        if isinstance(one, httpx2.AsyncClient):
            loop_thread.run(one.aclose())
        else:
            one.close()


# Redirects


def test_a_redirect_is_followed_and_kept_as_long_as_all_of_it_allow(
    pages: Pages[Sync], web: WebServer
) -> None:
    to = {"Location": "/end"}
    end = web.say("/end", Response(headers={"Cache-Control": "max-age=60", "ETag": '"1"'}))
    moved = web.say("/moved", Response(status=301, headers=to))
    found = web.say("/found", Response(status=302, headers=to))
    pages.get(moved)
    pages.get(found)
    page = pages.get(moved)
    assert (page.url, page.outcome, page.status) == (end, "hit", 200)
    assert pages.get(found).outcome == "created"


def test_a_page_behind_a_redirect_is_not_asked_about_by_the_tag_of_another(
    pages: Pages[Sync], web: WebServer
) -> None:
    web.say("/end", Response(headers={"Cache-Control": "no-cache", "ETag": '"1"'}))
    url = web.say(
        "/",
        Response(status=301, headers={"Location": "/end"}),
        Response(b"here", headers={"ETag": '"1"'}),
    )
    pages.get(url)
    assert pages.get_page(url) == "here"
    assert web.asked("/")[1].headers["If-None-Match"] is None


def test_a_304_behind_a_redirect_is_an_error(pages: Pages[Sync], web: WebServer) -> None:
    url = web.say(
        "/",
        Response(headers={"Cache-Control": "no-cache", "ETag": '"1"'}),
        Response(status=302, headers={"Location": "/end"}),
    )
    web.say("/end", Response(status=304))
    pages.get(url)
    with pytest.raises(httpx2.HTTPStatusError, match="304"):
        pages.get(url)


def test_a_page_that_varies_by_a_cookie_of_its_redirect_is_not_stored(
    pages: Pages[Sync], web: WebServer
) -> None:
    url = web.say("/", Response(status=301, headers={"Location": "/end", "Set-Cookie": "a=1"}))
    web.say("/end", Response(headers={"Vary": "Cookie"}))
    assert [pages.get(url).outcome for _ in range(2)] == ["created", "created"]
    assert web.asked("/end")[0].headers["Cookie"] == "a=1"


def test_a_redirect_without_end_is_an_error(pages: Pages[Sync], web: WebServer) -> None:
    url = web.say("/", Response(status=302, headers={"Location": "/"}))
    with pytest.raises(httpx2.TooManyRedirects):
        pages.get(url)


# Clients


def test_a_client_of_the_users_is_used_and_left_open(
    db: Octavo[Sync], client: Callable[..., Any], web: WebServer
) -> None:
    mine = client(headers={"X-Mine": "1"})
    pages = db.pages("web", client=mine)
    for path in ("/a", "/b"):
        pages.get(web.say(path, Response()))
    assert [each.headers["X-Mine"] for each in web.asked()] == ["1", "1"]
    assert not mine.is_closed


def test_a_page_that_varies_is_served_to_who_sends_the_same(
    db: Octavo[Sync], client: Callable[..., Any], web: WebServer
) -> None:
    url = web.say("/", Response(headers={"Vary": "Accept-Language, X-B"}))
    german, again, french = (
        db.pages("web", client=client(headers={"Accept-Language": tongue}))
        for tongue in ("de", "de", "fr")
    )
    assert german.get(url).outcome == "created"
    assert again.get(url).outcome == "hit"
    assert [french.get(url).outcome for _ in range(2)] == ["created", "created"]
    assert german.get(url).outcome == "hit"
    assert [each.headers["Accept-Language"] for each in web.asked()] == ["de", "fr", "fr"]


def test_a_page_that_varies_is_shared_by_those_without_a_client(
    connect: Connect, server: Server, web: WebServer
) -> None:
    url = web.say("/", Response(headers={"Vary": "Cookie, User-Agent"}))
    assert connect(server.url).pages("web").get(url).outcome == "created"
    assert connect(server.url).pages("web").get(url).outcome == "hit"


@pytest.mark.parametrize(
    ("control", "outcome"), [("max-age=60", "created"), ("public, max-age=60", "hit")]
)
def test_what_a_password_opens_is_kept_only_if_it_is_public(
    control: str, outcome: str, db: Octavo[Sync], client: Callable[..., Any], web: WebServer
) -> None:
    pages = db.pages("web", client=client(auth=("ada", "secret")))
    url = web.say("/", Response(headers={"Cache-Control": control}))
    pages.get(url)
    assert pages.get(url).outcome == outcome


def test_a_client_of_the_other_face_is_refused(db: Octavo[Sync], face: FaceName) -> None:
    wrong: Any = httpx2.Client if face == "async" else httpx2.AsyncClient
    bad: Any
    for bad in (wrong(), "client"):
        with pytest.raises(TypeError, match="client must be an httpx2"):
            db.pages("web", client=bad)


# Bounds


@pytest.mark.parametrize("zipped", [False, True])
def test_a_page_that_is_too_large_is_refused(
    zipped: bool, db: Octavo[Sync], web: WebServer
) -> None:
    pages = db.pages("web", max_bytes=1000)
    body, headers = bytes(1001), {"Content-Encoding": "gzip"} if zipped else {}
    url = web.say("/", Response(gzip.compress(body) if zipped else body, headers=headers))
    with pytest.raises(OctavoError, match="max_bytes=1000"):
        pages.get(url)
    assert len(pages.get(web.say("/", Response(bytes(1000)))).content) == 1000


def test_a_page_that_takes_too_long_is_given_up(db: Octavo[Sync], web: WebServer) -> None:
    pages = db.pages("web", timeout=1)
    with pytest.raises(TimeoutError, match=r"timeout=1"):
        pages.get(web.say("/drip", Response(bytes(1000), drip=0.05)))
    gate = threading.Event()
    with pytest.raises(httpx2.ReadTimeout):
        pages.get(web.say("/", Response(gate=gate)))
    gate.set()


def test_pages_are_fetched_while_the_server_is_out_of_reach(
    connect: Connect, proxy: WireProxy, web: WebServer
) -> None:
    pages = connect(proxy.url, timeout=1).pages("web")
    url = web.say("/", Response())
    pages.get(url)
    proxy.refuse()
    proxy.cut()
    for _ in range(3):
        assert pages.get(url).outcome == "bypass"
    assert len(web.asked()) == 4
    proxy.accept()
    wait_until(lambda: pages.get(url).outcome == "hit", "the server is back")


# Bad input


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "http://",
        "http:///path",
        "http://example.com:99999/",
        "http://example.com:x/",
        "http://[::1/",
        "http://exam ple.com/",
        "http://example.com/a b",
        "http://example.com/\n",
        "http://example.com\\evil/",
        "http://example.com/\ud800",
    ],
)
def test_a_bad_url_is_refused_before_any_io(url: str, connect: Connect, proxy: WireProxy) -> None:
    pages = connect(proxy.url).pages("web")
    for call in (pages.get, pages.get_page, pages.count, pages.invalidate):
        with pytest.raises(ValueError, match="url "):
            call(url)
    assert proxy.accepted == 0


def test_a_url_that_is_no_text_is_refused(pages: Pages[Sync]) -> None:
    with pytest.raises(TypeError, match="url must be a str, not 5"):
        pages.get(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    ["http://ada:secret@x/", "http://secret@x/", "http://ada:secret@[::1", "ada:secret@x"],
)
def test_a_url_with_credentials_is_refused_and_not_shown(url: str, pages: Pages[Sync]) -> None:
    with pytest.raises(ValueError, match="credentials") as caught:
        pages.get(url)
    assert "secret" not in str(caught.value)


def test_urls_of_one_page_are_one(pages: Pages[Sync], web: WebServer) -> None:
    url = web.say("/a%20b?Q=1&@", Response())
    pages.get(url)
    for same in (url + "#part", url.replace("http:", "HTTP:")):
        assert pages.get(same).outcome == "hit"
    web.say("/", Response())
    pages.get(web.url)
    assert pages.count(web.url + "/") == 1
    assert pages.count("http://EXAMPLE.com:80#x") == pages.count("http://example.com/") == 0
    assert pages.count(url) == 3
    web.say("/a%20b?q=1&@", Response())
    assert pages.get(url.replace("Q", "q")).outcome == "created"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"ttl": 0}, ValueError),
        ({"ttl": True}, TypeError),
        ({"grace": -1}, ValueError),
        ({"timeout": 0}, ValueError),
        ({"max_bytes": 0}, ValueError),
        ({"max_bytes": 1.5}, TypeError),
        ({"max_bytes": True}, TypeError),
    ],
)
def test_a_bad_option_is_named(
    options: dict[str, Any], error: type[Exception], connect: Connect, server: Server
) -> None:
    with pytest.raises(error, match=next(iter(options))):
        connect(server.url).pages("web", **options)


# The extra


def test_the_http_client_is_loaded_when_a_page_is_fetched(server: Server) -> None:
    program = """
import sys, octavo, octavo.cache
sys.modules["httpx2"] = None
with octavo.connect(sys.argv[1]) as db:
    db.pages("web").count("http://x/")
    try:
        db.pages("web").get("http://x/")
    except ImportError as error:
        print(error)
"""
    run = subprocess.run(
        [sys.executable, "-c", program, server.url], capture_output=True, text=True, check=True
    )
    assert "pip install 'octavo[http]'" in run.stdout

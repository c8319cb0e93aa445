from __future__ import annotations

import gzip
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx2
import pytest

from octavo.testing.waiting import wait_until
from tests.cache.webserver import Response, WebServer

if TYPE_CHECKING:
    from octavo import Octavo, Sync
    from octavo.cache import Pages
    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect
    from tests.fix_servers import Server, Servers

STALE = {"Cache-Control": "max-age=1", "Age": "2"}
"""A page that was stale when it came."""


def stale(grace: str, **headers: str) -> dict[str, str]:
    return STALE | {"Cache-Control": f"max-age=1, {grace}"} | headers


@pytest.fixture(params=["embedded", "cluster"])
def server(request: pytest.FixtureRequest, servers: Servers) -> Server:
    """Stands for those of one node, and for those of many."""
    return servers.get(request.param)


@pytest.fixture
def pages(db: Octavo[Sync]) -> Pages[Sync]:
    return db.pages("web")


def run_out() -> None:
    """Let pages that were stale when they came be stored no longer than as such."""
    time.sleep(0.005)


# What a page is


def test_a_page_is_fetched_once(pages: Pages[Sync], web: WebServer) -> None:
    url = web.say("/", Response("grüße".encode(), headers={"X-A": "1\n2"}))
    first = pages.get(url)
    assert (first.url, first.status, first.content) == (url, 200, "grüße".encode())
    assert (first.text, first.headers, first.outcome) == ("grüße", {"x-a": "1, 2"}, "created")
    second = pages.get(url)
    assert (second.outcome, second.content, second.headers) == ("hit", first.content, first.headers)
    assert pages.get_page(url) == "grüße"
    assert len(web.asked()) == 1


def test_its_age_is_that_of_other_caches_and_ours(pages: Pages[Sync], web: WebServer) -> None:
    url = web.say("/", Response(headers={"Cache-Control": "max-age=60", "Age": "20"}))
    assert 20 <= pages.get(url).age < 25
    time.sleep(0.05)
    assert 20.04 <= pages.get(url).age < 25


@pytest.mark.parametrize(
    ("charset", "text"),
    [("iso-8859-1", "ü"), ("utf-8", "\ufffd"), ("none-such", "\ufffd"), ("rot13", "\ufffd")],
)
def test_its_text_is_read_as_it_says(
    charset: str, text: str, pages: Pages[Sync], web: WebServer
) -> None:
    headers = {"Content-Type": f"text/html; charset={charset}"}
    assert pages.get_page(web.say("/", Response(b"\xfc", headers=headers))) == text


def test_a_page_is_stored_decompressed_without_what_is_about_its_transport(
    pages: Pages[Sync], web: WebServer
) -> None:
    headers = {
        "Content-Encoding": "gzip",
        "Connection": "x-hop",
        "X-Hop": "1",
        "Set-Cookie": "secret=1",
        "Vary": "Accept-Encoding",
        "X-A": "1",
    }
    url = web.say("/", Response(gzip.compress(b"hello"), headers=headers))
    for outcome in ("created", "hit"):
        page = pages.get(url)
        assert (page.outcome, page.content) == (outcome, b"hello")
        assert page.headers == {"vary": "Accept-Encoding", "x-a": "1"}


# Counts


def test_every_access_counts(pages: Pages[Sync], web: WebServer) -> None:
    url, other = web.say("/", Response()), web.say("/other", Response())
    assert pages.count(url) == 0
    for _ in range(3):
        pages.get(url)
    pages.get_page(url)
    pages.get(other)
    assert (pages.count(url), pages.count(other)) == (4, 1)
    pages.invalidate(url)
    pages.clear()
    assert (pages.count(url), pages.count(other)) == (4, 1)


def test_an_access_that_fails_counts(pages: Pages[Sync], web: WebServer) -> None:
    url = web.say("/", Response(status=500))
    with pytest.raises(httpx2.HTTPStatusError):
        pages.get(url)
    assert pages.count(url) == 1


@pytest.mark.usefixtures("quiet_links")
def test_a_hit_is_one_round_trip_with_its_count(
    connect: Connect, proxy: WireProxy, web: WebServer
) -> None:
    db = connect(proxy.url)
    pages = db.pages("web")
    url = web.say("/", Response(headers={"Cache-Control": "max-age=60"}))
    pages.get(url)
    # Until the link is up that tells of changes, the generation is asked for along with it.
    wait_until(lambda: bool(pages.get(url)) and db.cache("x", ttl=1).stats().links, "a link")
    pages.get(url)
    proxy.reset()
    assert pages.get(url).outcome == "hit"
    assert proxy.commands == {"INCR": 1, "PTTL": 1, "GET": 1}
    assert proxy.round_trips == 1


# Freshness


def test_a_page_that_does_not_say_is_fresh_for_the_ttl(db: Octavo[Sync], web: WebServer) -> None:
    pages = db.pages("web", ttl=1.5)
    url = web.say("/", Response(b"one"), Response(b"two"))
    assert pages.get_page(url) == "one"
    assert pages.get_page(url) == "one"
    wait_until(lambda: pages.get_page(url) == "two", "the ttl is over")


def test_the_time_that_a_fetch_takes_counts(db: Octavo[Sync], web: WebServer) -> None:
    pages = db.pages("web", ttl=0.2)
    url = web.say("/", Response(b"slow", drip=0.1))
    assert [pages.get(url).outcome for _ in range(2)] == ["created", "created"]


def test_a_page_that_says_is_fresh_for_longer_than_the_ttl(
    db: Octavo[Sync], web: WebServer
) -> None:
    pages = db.pages("web", ttl=0.01)
    url = web.say("/", Response(headers={"Cache-Control": "max-age=60"}))
    pages.get(url)
    time.sleep(0.05)
    assert pages.get(url).outcome == "hit"


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {"Cache-Control": "no-store"}),
        (200, {"Cache-Control": "private, max-age=60"}),
        (200, {"Vary": "*", "Cache-Control": "max-age=60"}),
        (200, {"Cache-Control": "max-age=0"}),
        (206, {"Cache-Control": "max-age=60"}),
        (403, {}),
    ],
)
def test_what_must_not_be_kept_is_fetched_each_time(
    status: int, headers: dict[str, str], connect: Connect, servers: Servers, web: WebServer
) -> None:
    pages = connect(servers.get("embedded").url).pages("web")
    url = web.say("/", Response(status=status, headers=headers))
    assert [pages.get(url).outcome for _ in range(3)] == ["created"] * 3
    assert len(web.asked()) == 3
    assert not pages.invalidate(url)


def test_a_page_that_is_not_found_is_a_page(pages: Pages[Sync], web: WebServer) -> None:
    url = web.say("/", Response(b"none", status=404))
    assert [(pages.get(url).status, pages.get_page(url)) for _ in range(2)] == [(404, "none")] * 2
    assert len(web.asked()) == 1


# Asking whether a page is still good


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({"ETag": '"1"'}, {"If-None-Match": '"1"'}),
        ({"ETag": 'W/"1"'}, {"If-None-Match": 'W/"1"'}),
        (
            {"Last-Modified": "Sun, 06 Nov 1994 08:49:37 GMT"},
            {"If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"},
        ),
    ],
)
def test_a_304_renews_a_page(
    given: dict[str, str], asked: dict[str, str], pages: Pages[Sync], web: WebServer
) -> None:
    url = web.say(
        "/",
        Response(b"body", headers=STALE | given | {"X-A": "1", "X-B": "1"}),
        Response(status=304, headers={"Cache-Control": "max-age=60", "X-A": "2"}),
    )
    assert pages.get(url).age >= 2
    renewed = pages.get(url)
    assert (renewed.outcome, renewed.content, renewed.status) == ("refreshed", b"body", 200)
    assert renewed.age < 1
    assert (renewed.headers["x-a"], renewed.headers["x-b"]) == ("2", "1")
    assert [name for name in asked if web.asked()[0].headers[name]] == []
    assert {name: web.asked()[1].headers[name] for name in asked} == asked
    assert pages.get(url).outcome == "hit"


def test_a_page_of_no_cache_is_asked_about_each_time(pages: Pages[Sync], web: WebServer) -> None:
    url = web.say(
        "/",
        Response(headers={"ETag": '"1"', "Cache-Control": "no-cache"}),
        Response(status=304),
    )
    outcomes = [pages.get(url).outcome for _ in range(4)]
    assert outcomes == ["created", "refreshed", "refreshed", "refreshed"]
    assert [each.headers["If-None-Match"] for each in web.asked()] == [None, *['"1"'] * 3]


def test_a_304_that_is_old_itself_renews_nothing(pages: Pages[Sync], web: WebServer) -> None:
    url = web.say(
        "/",
        Response(headers=STALE | {"ETag": '"1"'}),
        Response(status=304, headers={"Age": "5"}),
    )
    assert [pages.get(url).outcome for _ in range(3)] == ["created", "refreshed", "refreshed"]
    assert len(web.asked()) == 3


def test_a_page_that_has_changed_takes_the_place_of_the_stale_one(
    pages: Pages[Sync], web: WebServer
) -> None:
    url = web.say("/", Response(b"one", headers=STALE | {"ETag": '"1"'}), Response(b"two"))
    assert pages.get_page(url) == "one"
    page = pages.get(url)
    assert (page.outcome, page.content) == ("refreshed", b"two")
    assert pages.get(url).outcome == "hit"


def test_a_304_that_nobody_asked_for_is_an_error(pages: Pages[Sync], web: WebServer) -> None:
    with pytest.raises(httpx2.HTTPStatusError, match="304"):
        pages.get(web.say("/", Response(status=304)))


def test_a_stale_page_is_not_served_while_another_client_asks_about_it(
    connect: Connect, server: Server, web: WebServer
) -> None:
    gate = threading.Event()
    url = web.say(
        "/",
        Response(b"one", headers=STALE | {"ETag": '"1"'}),
        Response(b"two", gate=gate),
    )
    one, two = connect(server.url).pages("web"), connect(server.url).pages("web")
    one.get(url)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(one.get_page, url)
        wait_until(lambda: len(web.asked()) == 2, "it is asked about")
        second = pool.submit(two.get_page, url)
        wait_until(lambda: one.count(url) == 3, "both have looked")
        gate.set()
        assert (first.result(), second.result()) == ("two", "two")
    assert len(web.asked()) == 2


# Stale pages


def test_a_stale_page_is_served_while_it_is_refreshed(pages: Pages[Sync], web: WebServer) -> None:
    gate = threading.Event()
    url = web.say(
        "/",
        Response(b"one", headers=stale("stale-while-revalidate=60")),
        Response(b"two", gate=gate),
    )
    pages.get(url)
    run_out()
    for _ in range(3):
        page = pages.get(url)
        assert (page.outcome, page.content) == ("stale", b"one")
    gate.set()
    wait_until(lambda: pages.get_page(url) == "two", "it is refreshed")
    assert len(web.asked()) == 2


@pytest.mark.parametrize("body", [b"oops", None], ids=["error", "cut"])
def test_a_stale_page_is_served_when_the_origin_fails(
    body: bytes | None, pages: Pages[Sync], web: WebServer
) -> None:
    url = web.say(
        "/",
        Response(b"one", headers=stale("stale-if-error=60")),
        Response(body, status=503),
    )
    pages.get(url)
    run_out()
    page = pages.get(url)
    assert (page.outcome, page.content) == ("stale", b"one")
    assert len(web.asked()) == 2


def test_a_stale_page_is_served_while_the_origin_is_down(
    pages: Pages[Sync], web: WebServer
) -> None:
    kept = web.say("/kept", Response(b"one", headers=stale("stale-if-error=60")), Response(b"two"))
    strict = web.say("/strict", Response(headers=stale("must-revalidate", ETag='"1"')))
    pages.get(kept)
    pages.get(strict)
    web.stop()
    assert pages.get(kept).outcome == "stale"
    with pytest.raises(httpx2.ConnectError):
        pages.get(strict)
    web.start()
    assert pages.get(strict).status == 200


def test_an_origin_that_is_down_is_not_waited_for_again(pages: Pages[Sync], web: WebServer) -> None:
    url = web.say("/", Response(b"one", headers=stale("stale-if-error=60")), Response(b"two"))
    pages.get(url)
    web.stop()
    began = time.monotonic()
    assert [pages.get(url).outcome for _ in range(5)] == ["stale"] * 5
    assert time.monotonic() - began < 3
    web.start()
    wait_until(lambda: pages.get_page(url) == "two", "it is asked for again")


def test_a_page_that_does_not_say_has_the_grace(db: Octavo[Sync], web: WebServer) -> None:
    pages = db.pages("web", grace=60)
    url = web.say("/", Response(b"one", headers=STALE), Response(b"two"))
    pages.get(url)
    run_out()
    assert pages.get(url).outcome == "stale"
    wait_until(lambda: pages.get_page(url) == "two", "it is refreshed")


@pytest.mark.parametrize("control", ["must-revalidate, max-age=1", "s-maxage=1", "no-cache"])
def test_a_page_that_must_not_be_stale_has_no_grace(
    control: str, db: Octavo[Sync], web: WebServer
) -> None:
    pages = db.pages("web", grace=60)
    headers = {"Cache-Control": control, "Age": "2", "ETag": '"1"'}
    url = web.say("/", Response(headers=headers), Response(status=500))
    pages.get(url)
    with pytest.raises(httpx2.HTTPStatusError, match="500"):
        pages.get(url)


def test_a_page_past_its_grace_is_not_served(pages: Pages[Sync], web: WebServer) -> None:
    headers = stale("stale-while-revalidate=1, stale-if-error=1", Age="9", ETag='"1"')
    url = web.say("/", Response(headers=headers), Response(status=503))
    pages.get(url)
    run_out()
    with pytest.raises(httpx2.HTTPStatusError, match="503"):
        pages.get(url)


# One fetch


def test_all_who_ask_at_once_share_one_fetch(pages: Pages[Sync], web: WebServer) -> None:
    gate = threading.Event()
    url = web.say("/", Response(gate=gate))
    with ThreadPoolExecutor(20) as pool:
        texts = [pool.submit(pages.get_page, url) for _ in range(50)]
        wait_until(lambda: pages.count(url) >= 20, "they have asked")
        gate.set()
        assert [text.result() for text in texts] == ["hello"] * 50
    assert len(web.asked()) == 1
    assert pages.count(url) == 50


_FETCH = """
import sys, octavo
with octavo.connect(sys.argv[1], prefix=sys.argv[2]) as db:
    print(db.pages("web").get(sys.argv[3]).text)
"""


def test_processes_share_one_fetch(
    db: Octavo[Sync], server: Server, prefix: str, web: WebServer
) -> None:
    gate = threading.Event()
    url = web.say("/", Response(gate=gate))
    command = [sys.executable, "-c", _FETCH, server.url, prefix, url]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    wait_until(lambda: db.pages("web").count(url) == 3, "they have asked", timeout=30)
    gate.set()
    assert [process.communicate(timeout=20)[0] for process in processes] == ["hello\n"] * 3
    assert len(web.asked()) == 1


def test_a_page_that_is_invalidated_while_it_is_fetched_is_not_stored(
    pages: Pages[Sync], web: WebServer
) -> None:
    gate = threading.Event()
    url = web.say("/", Response(b"one", gate=gate), Response(b"two"))
    with ThreadPoolExecutor(1) as pool:
        text = pool.submit(pages.get_page, url)
        wait_until(web.asked, "it is fetched")
        assert pages.invalidate(url)
        gate.set()
        assert text.result() == "one"
    assert pages.get_page(url) == "two"


def test_clear_empties_these_pages_alone(db: Octavo[Sync], web: WebServer) -> None:
    pages, others, cache = db.pages("web"), db.pages("others"), db.cache("web", ttl=60)
    url = web.say("/", Response())
    cache.set(url, "mine")
    pages.get(url)
    others.get(url)
    assert pages.invalidate(url)
    assert not pages.invalidate(url)
    pages.get(url)
    pages.clear()
    assert pages.get(url).outcome == "created"
    assert (others.get(url).outcome, cache.get(url)) == ("hit", "mine")

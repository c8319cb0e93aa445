"""The three faces of every operation of a cache of web pages."""

# A coroutine given to `assert_type` is taken for one that nobody awaits.
# mypy: disable-error-code="unused-coroutine"
# pyright: reportUnusedCoroutine=false

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, assert_type

import httpx2

import octavo
from octavo import Async, Batch, Pending, Sync
from octavo.cache import Page, Pages


def operations(s: Pages[Sync], a: Pages[Async], b: Pages[Batch]) -> None:
    assert_type(s.get_page("http://example.com"), str)
    assert_type(a.get_page("http://example.com"), Coroutine[Any, Any, str])

    assert_type(s.get("http://example.com"), Page)
    assert_type(a.get(url="http://example.com"), Coroutine[Any, Any, Page])

    assert_type(s.count("http://example.com"), int)
    assert_type(a.count("http://example.com"), Coroutine[Any, Any, int])
    assert_type(b.count(url="http://example.com"), Pending[int])

    assert_type(s.invalidate("http://example.com"), bool)
    assert_type(a.invalidate("http://example.com"), Coroutine[Any, Any, bool])
    assert_type(b.invalidate(url="http://example.com"), Pending[bool])

    assert_type(s.clear(), None)
    assert_type(a.clear(), Coroutine[Any, Any, None])
    assert_type(b.clear(), Pending[None])


def factories() -> None:
    with octavo.connect() as db:
        assert_type(db.pages("web"), Pages[Sync])
        assert_type(db.pages("web", ttl=10, client=httpx2.Client()), Pages[Sync])
        with db.batch() as batch:
            assert_type(batch.pages("web", tag="x"), Pages[Batch])
            pending = batch.pages("web").count("http://example.com")
        assert_type(pending.result(), int)


async def async_factories() -> None:
    async with octavo.connect_async() as db:
        pages = db.pages("web", grace=60, compress="zlib", client=httpx2.AsyncClient())
        assert_type(pages, Pages[Async])
        page = await pages.get("http://example.com")
        assert_type(page.text, str)

"""Fixtures of the cache's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cache.webserver import WebServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as web:
        yield web

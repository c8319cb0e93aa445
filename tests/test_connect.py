from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import octavo

if TYPE_CHECKING:
    import pytest


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "octavo"]


def test_connecting_without_a_url_says_once_which_server_was_chosen(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCTAVO_URL", "redis://ada:secret@cache.example:6380/1")
    with caplog.at_level(logging.INFO, logger="octavo"):
        octavo.connect().close()

    assert said(caplog) == ["octavo uses standalone cache.example:6380"]


def test_connecting_with_a_url_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="octavo"):
        octavo.connect("redis://cache.example").close()

    assert said(caplog) == []


def test_without_a_url_and_a_variable_the_embedded_server_is_chosen(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OCTAVO_URL", raising=False)
    with caplog.at_level(logging.INFO, logger="octavo"):
        octavo.connect().close()

    assert said(caplog) == ["octavo uses embedded"]

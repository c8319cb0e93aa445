"""Limiters that wait for a busy machine."""

from __future__ import annotations

from typing import Any

import pytest

from octavo import Octavo


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no call end for its deadline that does not ask for one."""
    method: Any = Octavo.limiter
    monkeypatch.setitem(method.__kwdefaults__, "deadline", None)

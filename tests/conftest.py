"""What every test may use; `README.md` beside this file says how the suite is arranged."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["tests.fix_servers", "tests.fix_faces"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: needs a cluster, Sentinels or many processes")

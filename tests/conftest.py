"""What every test may use; `README.md` beside this file says how the suite is arranged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Generator

pytest_plugins = ["tests.fix_servers", "tests.fix_faces", "tests.fix_selection"]

# Time for a busy machine, but not for an input that takes for ever.
settings.register_profile("busy", deadline=5000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Have three workers for two processors, because many tests wait for something."""
    processors = yield
    return processors + processors // 2

from __future__ import annotations

import os
import random

import pytest

from tests.engine.lab import run_async_test


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    return run_async_test(pyfuncitem)


@pytest.fixture
def seed() -> int:
    """Another seed in each run, printed when the test fails; `SEED=n` repeats a run."""
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    print(f"{seed=}")  # pytest shows it when the test fails
    return seed

"""Which of the collected tests are run, and which of them have a worker to themselves."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest

from tests.fix_servers import KINDS

if TYPE_CHECKING:
    from collections.abc import Generator

# Fixture, or kind of `server`: the worker's group, so that a run has one of each of these.
HEAVY = {
    "cluster": "cluster",
    "proxied_cluster": "proxied-cluster",
    "sentinel": "sentinel",
    "sentinels": "sentinel",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--servers",
        default=",".join(KINDS),
        help="run the tests of these kinds of server only (default: %(default)s)",
    )
    parser.addoption(
        "--all-faces",
        action="store_true",
        help="run each test on all faces of every server, not only of the first",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: needs a cluster, Sentinels or many processes")


@pytest.hookimpl(wrapper=True)  # after it, what is left is what pytest selected by `-k` and `-m`
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None]:
    chosen = set(str(config.getoption("--servers")).split(","))
    if unknown := chosen - set(KINDS):
        raise pytest.UsageError(f"--servers: {', '.join(sorted(unknown))} is none of {KINDS}")
    for item in items:
        for group in _heavy(item):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.xdist_group(group))
    _drop(config, items, [i for i in items if _params(i).get("server") not in {*chosen, None}])
    yield
    if not config.getoption("--all-faces"):
        _drop(config, items, _repetitive(items))


def _drop(config: pytest.Config, items: list[pytest.Item], dropped: list[pytest.Item]) -> None:
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        out = set(dropped)
        items[:] = [item for item in items if item not in out]


def _repetitive(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return all runs of a test but those on its first server, and one on each other server.

    A hash of the test's name and its other parameters tells on which face that one is, which
    changes from one server to the next. So a third of all tests meet any one face of any server.
    """
    tests: defaultdict[str, defaultdict[str, list[pytest.Item]]]
    tests = defaultdict(lambda: defaultdict(list))
    for item in items:
        if {"face", "server"} <= _params(item).keys():
            tests[_test(item)][_params(item)["server"]].append(item)
    found: list[pytest.Item] = []
    for name, on_servers in tests.items():
        for place, runs in enumerate(islice(on_servers.values(), 1, None)):
            del runs[(crc32(name.encode()) + place) % len(runs)]
            found += runs
    return found


def _test(item: pytest.Item) -> str:
    """Return what a test is called on any face of any server."""
    name, _, parameters = item.nodeid.partition("[")
    parameters = f"-{parameters.rpartition(']')[0]}-"
    for own in ("face", "server"):
        parameters = parameters.replace(f"-{_params(item)[own]}-", "-", 1)
    return name + parameters


def _params(item: pytest.Item) -> dict[str, Any]:
    callspec = getattr(item, "callspec", None)
    return callspec.params if callspec else {}


def _heavy(item: pytest.Item) -> set[str]:
    names = {*getattr(item, "fixturenames", ()), _params(item).get("server")}
    return {group for name, group in HEAVY.items() if name in names}

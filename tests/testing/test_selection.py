"""Which runs of a test the suite consists of."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.fix_faces import FACES
from tests.fix_servers import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

pytest_plugins = ["pytester"]

SUITE = """
    import pytest

    def test_body(db): ...

    @pytest.mark.parametrize("case", range(60))
    def test_case(case, db): ...

    def test_face(face): ...

    def test_server(server): ...
"""


@pytest.fixture
def selected(pytester: pytest.Pytester) -> Callable[..., list[str]]:
    """Returns the names of the tests that a run with some arguments consists of."""
    pytester.makepyfile(test_it=SUITE)
    plugins = [f"-ptests.{name}" for name in ("fix_servers", "fix_faces", "fix_selection")]

    def selected(*args: str) -> list[str]:
        result = pytester.runpytest_inprocess("--collect-only", "-q", *plugins, *args)
        return [line.partition("::")[2] for line in result.outlines if "::" in line]

    return selected


def every(name: str) -> set[str]:
    return {f"{name}[{face}-{kind}]" for face in FACES for kind in KINDS}


def test_a_test_meets_all_faces_on_one_server_and_every_other_server_once(
    selected: Callable[..., list[str]],
) -> None:
    runs = selected("-k", "test_body")
    assert set(runs) <= every("test_body")
    assert {f"test_body[{face}-embedded]" for face in FACES} <= set(runs)
    servers = Counter(next(kind for kind in KINDS if f"-{kind}]" in run) for run in runs)
    assert servers == dict.fromkeys(KINDS, 1) | {"embedded": len(FACES)}


def test_all_tests_together_meet_every_face_of_every_server(
    selected: Callable[..., list[str]],
) -> None:
    runs = selected("-k", "test_case")
    assert len(runs) == 60 * 7
    for face in FACES:
        for kind in KINDS[1:]:
            assert sum(f"[{face}-{kind}-" in run for run in runs) >= 10


def test_a_test_may_be_asked_to_meet_every_face_of_every_server(
    selected: Callable[..., list[str]],
) -> None:
    assert set(selected("-k", "test_body", "--all-faces")) == every("test_body")


def test_of_some_kinds_of_server_the_first_is_the_one_that_meets_all_faces(
    selected: Callable[..., list[str]],
) -> None:
    runs = selected("-k", "test_body", "--servers=cluster,redis-7")
    assert Counter(run.partition("-")[2] for run in runs) == {"redis-7]": 3, "cluster]": 1}


def test_a_run_that_is_asked_for_is_not_left_out(selected: Callable[..., list[str]]) -> None:
    for wanted in every("test_body"):
        assert selected(f"test_it.py::{wanted}") == [wanted]
    assert selected("-k", "test_body and async and cluster") == ["test_body[async-cluster]"]


def test_a_test_of_faces_or_of_servers_only_meets_them_all(
    selected: Callable[..., list[str]],
) -> None:
    assert len(selected("-k", "test_face")) == len(FACES)
    assert len(selected("-k", "test_server")) == len(KINDS)


def test_the_same_runs_are_selected_each_time(selected: Callable[..., list[str]]) -> None:
    assert selected() == selected()

"""The fixtures that run one test body on all faces and all servers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import octavo

if TYPE_CHECKING:
    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect, FaceName
    from tests.fix_servers import Server


def test_an_operation_gives_its_result_on_every_face_and_server(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x", order="asc")
    assert board.submit("ada", 10).rank == 1
    assert [entry.member for entry in board.top(3)] == ["ada"]


def test_an_iteration_runs_on_every_face(db: Octavo[Sync]) -> None:
    board = db.leaderboard("x")
    board.submit_many({"ada": 1, "bob": 2})
    assert [entry.member for entry in board] == ["bob", "ada"]


def test_bad_input_is_refused_on_every_face(db: Octavo[Sync]) -> None:
    with pytest.raises(ValueError, match="nan"):
        db.leaderboard("x").submit("ada", float("nan"))


def test_an_error_is_the_operations_own_on_every_face(
    db: Octavo[Sync], server: Server, prefix: str
) -> None:
    board = db.leaderboard("x")
    board.submit("ada", 1)
    keys = server.node_of(f"{prefix}:leaderboard:{{x}}").cli("KEYS", f"{prefix}:*")
    for key in keys:
        server.node_of(key).cli("SET", key, "a string")
    with pytest.raises(octavo.WrongType):
        board.submit("ada", 2)


def test_each_face_sends_an_operation_its_own_way(
    connect: Connect, proxy: WireProxy, face: FaceName, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    for kind, name in (("sync", "SyncEngine"), ("async", "AsyncEngine")):
        engine: Any = getattr(octavo, name)
        monkeypatch.setattr(engine, "call", spy(engine.call, kind, seen))
        monkeypatch.setattr(engine, "carry", spy(engine.carry, "batch", seen))
    connect(proxy.url).leaderboard("x").count()
    assert seen == [face]
    assert proxy.commands["HELLO"] == 1


def spy(function: Any, name: str, seen: list[str]) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        seen.append(name)
        return function(*args, **kwargs)

    return call


def test_a_batch_of_any_operations_is_entered_alike_on_every_face(db: Octavo[Sync]) -> None:
    with db.batch() as batch:
        pending = batch.leaderboard("x").submit("ada", 1)
    assert pending.result().rank == 1


def test_options_of_connect_reach_the_client(connect: Connect, server: Server, prefix: str) -> None:
    connect(server.url, prefix=f"{prefix}-other").leaderboard("x").submit("ada", 1)
    assert server.node_of(f"{prefix}-other:leaderboard:{{x}}").cli("KEYS", f"{prefix}-other:*")

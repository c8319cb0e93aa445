"""What checkers must refuse, on the lines that say so, and nothing else.

`# error` is for all checkers; names behind it are of those that report the line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

import octavo
from octavo import Async, Batch, Sync
from octavo.engine.command import Command, Job, M, Sleep, flow, operation

if TYPE_CHECKING:
    from octavo.leaderboards import Leaderboard


def parameters(s: Leaderboard[Sync], b: Leaderboard[Batch]) -> None:
    s.submit("ada")  # error
    s.submit("ada", "ten")  # error
    s.submit("ada", 10, 11)  # error
    s.submit(name="ada", score=10)  # error
    s.percentile("ada", kind="median")  # error
    b.submit(10, "ada")  # error
    b.no_such_operation("ada")  # error
    assert_type(s.rank("ada"), str)  # error


def options() -> None:
    db = octavo.connect()
    db.leaderboard("season-1", order="descending")  # error
    db.leaderboard("season-1", keep="worst")  # error
    db.leaderboard()  # error


async def forgotten_await(a: Leaderboard[Async]) -> None:
    a.submit("ada", 10)  # error: mypy pyright pyrefly
    a.top()  # error: mypy pyright pyrefly
    await a.submit("ada", "ten")  # error


async def faces(s: Leaderboard[Sync], a: Leaderboard[Async], b: Leaderboard[Batch]) -> None:
    await s.submit("ada", 10)  # error
    assert_type(b.submit("ada", 10).rank, int)  # error
    for _ in a:  # error: mypy pyright ty
        pass
    async for _ in s:  # error: mypy pyright ty
        pass
    for _ in b:  # error: mypy pyright ty
        pass


def contexts() -> None:
    with octavo.connect_async():  # error
        pass
    with octavo.connect_async().batch():  # error
        pass
    with octavo.connect().batch(guard="lease"):  # error
        pass


async def async_contexts() -> None:
    async with octavo.connect():  # error
        pass
    await octavo.connect_async().close()  # error


class Nap(Job[M]):
    @operation
    def length(self) -> Command[int]:
        raise NotImplementedError

    @operation  # error
    def not_a_command(self) -> int:
        return 1

    @flow
    async def take(self, seconds: float) -> int:
        await Sleep(seconds)
        return 1


def flows(s: Nap[Sync], a: Nap[Async], b: Nap[Batch]) -> None:
    assert_type(s.take(1), int)
    a.take(1)  # error: mypy pyright pyrefly
    b.take(1)  # error
    s.take()  # error

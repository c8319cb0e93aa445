"""The three faces of every operation of a cache, and the types of what it decorates."""

# A coroutine given to `assert_type` is taken for one that nobody awaits.
# mypy: disable-error-code="unused-coroutine"
# pyright: reportUnusedCoroutine=false

from __future__ import annotations

from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, assert_type

import msgspec

import octavo
from octavo import Async, Batch, Octavo, Pending, Sync
from octavo.cache import Cache, Compression, Entry, Info, Local, Replay, SignedPickle, Stats


class User(msgspec.Struct):
    name: str


def load() -> User:
    return User("ada")


async def load_soon() -> User:
    return User("ada")


def load_many(keys: list[str]) -> dict[str, User]:
    return {key: User(key) for key in keys}


async def load_many_soon(keys: list[str]) -> dict[str, User]:
    return {key: User(key) for key in keys}


def factories(s: Octavo[Sync], a: Octavo[Async], b: Octavo[Batch]) -> None:
    assert_type(s.cache("x", ttl=60), Cache[Sync, Any])
    assert_type(a.cache("x", ttl=timedelta(minutes=1), grace=5.5), Cache[Async, Any])
    assert_type(b.cache("x", ttl=60, tag="t"), Cache[Batch, Any])
    assert_type(s.cache("x", ttl=60, type=User), Cache[Sync, User])
    assert_type(a.cache("x", ttl=60, type=User, codec="json"), Cache[Async, User])
    assert_type(b.cache("x", ttl=60, type=list[int]), Cache[Batch, list[int]])
    assert_type(s.cache("x", ttl=60, type=str, local=Local(100, share=True)), Cache[Sync, str])
    assert_type(s.cache("x", ttl=60, codec=SignedPickle(b"k" * 16)), Cache[Sync, Any])
    assert_type(s.cache("x", ttl=60, compress=Compression("zstd", level=3)), Cache[Sync, Any])


def reads(s: Cache[Sync, User], a: Cache[Async, User], b: Cache[Batch, User]) -> None:
    assert_type(s.get("k"), User | None)
    assert_type(a.get("k", default=User("none")), Coroutine[Any, Any, User | None])
    assert_type(b.get(b"k"), Pending[User | None])

    assert_type(s.fetch("k"), Entry[User])
    assert_type(a.fetch("k"), Coroutine[Any, Any, Entry[User]])
    assert_type(b.fetch("k"), Pending[Entry[User]])
    assert_type(s.fetch("k").value, User | None)

    assert_type(s.get_str("k"), str | None)
    assert_type(a.get_str("k"), Coroutine[Any, Any, str | None])
    assert_type(b.get_str("k"), Pending[str | None])

    assert_type(s.get_int("k"), int | None)
    assert_type(a.get_int("k"), Coroutine[Any, Any, int | None])
    assert_type(b.get_int("k"), Pending[int | None])

    assert_type(s.get_float("k"), float | None)
    assert_type(a.get_float("k"), Coroutine[Any, Any, float | None])
    assert_type(b.get_float("k"), Pending[float | None])

    assert_type(s.get_bytes("k"), bytes | None)
    assert_type(a.get_bytes("k"), Coroutine[Any, Any, bytes | None])
    assert_type(b.get_bytes("k"), Pending[bytes | None])

    assert_type(s.get_many(["k"]), dict[str, User])
    assert_type(a.get_many({"k": 1}), Coroutine[Any, Any, dict[str, User]])
    assert_type(b.get_many(("k",)), Pending[dict[str, User]])

    assert_type(s.info("k"), Info)
    assert_type(a.info("k"), Coroutine[Any, Any, Info])
    assert_type(b.info("k"), Pending[Info])

    assert_type(s.stats(), Stats)
    assert_type(a.stats(), Coroutine[Any, Any, Stats])
    assert_type(b.stats(), Pending[Stats])

    assert_type(s.calls(load), int)
    assert_type(a.calls(load_soon), Coroutine[Any, Any, int])
    assert_type(b.calls(load), Pending[int])

    assert_type(s.history(load), Replay)
    assert_type(a.history(load_soon), Coroutine[Any, Any, Replay])
    assert_type(b.history(load), Pending[Replay])


def writes(s: Cache[Sync, User], a: Cache[Async, User], b: Cache[Batch, User]) -> None:
    assert_type(s.set("k", User("ada")), None)
    assert_type(a.set("k", User("ada"), ttl=5, grace=timedelta(1)), Coroutine[Any, Any, None])
    assert_type(b.set("k", User("ada"), tags=["red"]), Pending[None])

    assert_type(s.set_many({"k": User("ada")}), None)
    assert_type(a.set_many({"k": User("ada")}, ttl=5), Coroutine[Any, Any, None])
    assert_type(b.set_many({"k": User("ada")}, tags=("red",)), Pending[None])

    assert_type(s.add("k", User("ada")), bool)
    assert_type(a.add("k", User("ada"), ttl=5), Coroutine[Any, Any, bool])
    assert_type(b.add("k", User("ada"), tags={"red"}), Pending[bool])

    assert_type(s.store(User("ada")), str)
    assert_type(a.store(User("ada"), ttl=5), Coroutine[Any, Any, str])
    assert_type(b.store(User("ada")), Pending[str])

    assert_type(s.delete("k"), bool)
    assert_type(a.delete(b"k"), Coroutine[Any, Any, bool])
    assert_type(b.delete("k"), Pending[bool])

    assert_type(s.delete_many(["k"]), int)
    assert_type(a.delete_many({"k"}), Coroutine[Any, Any, int])
    assert_type(b.delete_many(("k",)), Pending[int])

    assert_type(s.touch("k"), bool)
    assert_type(a.touch("k", 5), Coroutine[Any, Any, bool])
    assert_type(b.touch("k", ttl=timedelta(hours=1)), Pending[bool])

    assert_type(s.incr("k"), int)
    assert_type(a.incr("k", 5, ttl=60), Coroutine[Any, Any, int])
    assert_type(b.incr("k", n=-5), Pending[int])

    assert_type(s.decr("k"), int)
    assert_type(a.decr("k", 5, ttl=60), Coroutine[Any, Any, int])
    assert_type(b.decr("k", n=-5), Pending[int])

    assert_type(s.clear(), None)
    assert_type(a.clear(), Coroutine[Any, Any, None])
    assert_type(b.clear(), Pending[None])

    assert_type(s.invalidate_tags("red", "blue"), None)
    assert_type(a.invalidate_tags("red"), Coroutine[Any, Any, None])
    assert_type(b.invalidate_tags(), Pending[None])


def flows(s: Cache[Sync, User], a: Cache[Async, User]) -> None:
    assert_type(s.get_or_create("k", load), User)
    assert_type(s.get_or_create("k", load, ttl=5, tags=["red"], soft_timeout=None), User)
    assert_type(a.get_or_create("k", load_soon), Coroutine[Any, Any, User])
    assert_type(a.get_or_create("k", load, timeout=5), Coroutine[Any, Any, User])
    assert_type(s.fetch_or_create("k", load, ttl=5), Entry[User])
    assert_type(a.fetch_or_create("k", load_soon), Coroutine[Any, Any, Entry[User]])
    assert_type(a.fetch_or_create("k", load, tags=["red"]), Coroutine[Any, Any, Entry[User]])
    s.get_or_create("k", load, tll=5)  # error: mypy pyright pyrefly

    assert_type(s.create_many(["k"], load_many), dict[str, User])
    assert_type(a.create_many(["k"], load_many_soon), Coroutine[Any, Any, dict[str, User]])
    assert_type(a.create_many(["k"], load_many, ttl=5), Coroutine[Any, Any, dict[str, User]])


def decorated() -> None:
    cache = octavo.connect().cache("x", ttl=60)

    @cache.cached(ttl=5, tags=["red"])
    def user(name: str, age: int = 1) -> User:
        return User(name)

    assert_type(user("ada"), User)
    assert_type(user("ada", age=2), User)
    assert_type(user.key("ada"), str)
    assert_type(user.refresh("ada"), User)
    assert_type(user.original("ada"), User)

    @cache.count_calls
    @cache.call_history(maxlen=10)
    def counted(name: str) -> User:
        return User(name)

    assert_type(counted("ada"), User)


async def async_decorated() -> None:
    cache = octavo.connect_async().cache("x", ttl=60)

    @cache.cached(key="user:{name}")
    async def user(name: str) -> User:
        return User(name)

    assert_type(await user("ada"), User)
    assert_type(await user.refresh("ada"), User)
    assert_type(user.key("ada"), str)

    @cache.count_calls
    async def counted(name: str) -> User:
        return User(name)

    assert_type(await counted("ada"), User)


def refused(s: Cache[Sync, User], b: Cache[Batch, User], db: Octavo[Sync]) -> None:
    s.set("k", "ada")  # error
    s.set(5, User("ada"))  # error
    s.set("k", User("ada"), 5)  # error
    s.get_many([5])  # error
    s.incr("k", 1.5)  # error
    b.get_or_create("k", load)  # error
    b.create_many(["k"], load_many)  # error
    db.cache("x")  # error
    db.cache("x", ttl="60")  # error
    db.cache("x", ttl=60, codec="xml")  # error
    db.cache("x", ttl=60, colour="red")  # error

    @s.cached()
    def user(name: str) -> User:
        return User(name)

    user(5)  # error
    user.refresh()  # error
    user.key("ada", "bob")  # error

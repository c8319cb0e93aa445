"""The cache behind the interfaces of others, who have tests of their own for what is behind them.

dogpile.cache ships suites for back ends, which run here. Those of Django are in its source only:
`suites/django_backend.py` says how to run them.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from tests.cache.suites.clients import client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fix_servers import Servers

dogpile: Any = pytest.importorskip("dogpile.testing.fixtures")
pytest.importorskip("tests.cache.suites.dogpile_backend")

ARGUMENTS: dict[str, Any] = {}


@pytest.fixture(scope="module", autouse=True)
def client_of_the_suites(servers: Servers) -> Iterator[None]:
    """What the suites, which know no fixtures, give to the back end."""
    ARGUMENTS.update(url=servers.get("embedded").url, prefix=f"test-{uuid.uuid4().hex[:12]}")
    with client(**ARGUMENTS):
        yield
    client.cache_clear()


class TestDogpileBackend(dogpile._GenericBackendTestSuite):  # type: ignore[misc]
    backend = "octavo"
    config_args: ClassVar[dict[str, Any]] = {"arguments": ARGUMENTS}

    test_threaded_get_multi = pytest.mark.soak(
        dogpile._GenericBackendTestSuite.test_threaded_get_multi
    )


class TestDogpileSerializer(dogpile._GenericSerializerTestSuite, dogpile._GenericBackendFixture):  # type: ignore[misc]
    backend = "octavo"
    config_args: ClassVar[dict[str, Any]] = {"arguments": ARGUMENTS}


class TestDogpileMutex(dogpile._GenericMutexTestSuite):  # type: ignore[misc]
    backend = "octavo"
    config_args: ClassVar[dict[str, Any]] = {"arguments": ARGUMENTS}
    extra_arguments: ClassVar[dict[str, Any]] = {"distributed_lock": True}


class TestDjango:
    @pytest.fixture
    def cache(self, servers: Servers, prefix: str) -> Iterator[Any]:
        settings = pytest.importorskip("django.conf").settings
        if not settings.configured:
            settings.configure(SECRET_KEY="secret of these tests")
        from tests.cache.suites.django_backend import OctavoCache  # noqa: PLC0415

        options = {"TIMEOUT": 100, "OPTIONS": {"prefix": prefix}}
        yield OctavoCache(servers.get("embedded").url, options)
        client(servers.get("embedded").url, prefix).close()

    def test_everything_false_is_a_value(self, cache: Any) -> None:
        falsy: list[Any] = [None, 0, "", b"", False, [], {}]
        for value in falsy:
            cache.set("k", value)
            assert cache.get("k", "default") == value
            assert cache.has_key("k")
        assert cache.get("other", "default") == "default"

    def test_what_only_pickle_writes_is_a_value(self, cache: Any) -> None:
        cache.set_many({"k": {1, 2}, "error": LookupError("x"), "type": dict})
        assert (cache.get("k"), cache.get("type")) == ({1, 2}, dict)
        assert repr(cache.get("error")) == "LookupError('x')"

    def test_only_what_is_missing_is_added(self, cache: Any) -> None:
        assert cache.add("k", 1)
        assert not cache.add("k", 2)
        assert cache.get("k") == 1

    def test_a_timeout_of_none_is_for_ever_and_one_of_zero_is_over(self, cache: Any) -> None:
        cache.set("k", 1, None)
        assert cache.get("k") == 1
        cache.set("k", 2, 0)
        assert cache.get("k") is None
        cache.set("k", 3)
        assert cache.touch("k", -1)
        assert not cache.touch("k")
        assert cache.add("k", 4, 0)
        assert cache.get("k") is None

    def test_an_integer_is_counted_up_and_down(self, cache: Any) -> None:
        cache.set("k", 41)
        assert (cache.incr("k"), cache.decr("k", 10), cache.get("k")) == (42, 32, 32)
        with pytest.raises(ValueError, match="not found"):
            cache.incr("other")

    def test_versions_and_many_keys(self, cache: Any) -> None:
        assert cache.set_many({"a": 1, "b": 2}, version=2) == []
        assert cache.get_many(["a", "b", "c"], version=2) == {"a": 1, "b": 2}
        assert cache.get_many(["a", "b"]) == {}
        assert cache.incr_version("a", version=2) == 3
        assert cache.get("a", version=3) == 1
        cache.delete_many(["a", "b"], version=2)
        assert cache.get("b", version=2) is None

    def test_a_default_is_made_once(self, cache: Any) -> None:
        assert cache.get_or_set("k", lambda: "made") == "made"
        assert cache.get_or_set("k", lambda: "again") == "made"
        cache.clear()
        assert cache.get("k") is None

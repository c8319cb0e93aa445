from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

SUITE = """
    def test_a_client_works(octavo_db):
        assert octavo_db.leaderboard("x").submit("ada", 1).rank == 1

    def test_a_client_sees_nothing_of_other_tests(octavo_db):
        assert octavo_db.leaderboard("x").count() == 0

    def test_sync_and_async_clients_share_the_tests_data(octavo_db, octavo_db_async):
        import asyncio

        async def count():
            async with octavo_db_async() as db:
                return await db.leaderboard("x").count()

        octavo_db.leaderboard("x").submit("ada", 1)
        assert asyncio.run(count()) == 1
"""

pytest_plugins = ["pytester"]


def test_the_fixtures_work_in_a_suite_that_does_nothing_but_ask_for_them(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(SUITE)
    pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=3)


def test_each_xdist_worker_has_a_server_of_its_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_where(octavo_server, tmp_path_factory):
            place = tmp_path_factory.getbasetemp().parent / octavo_server.replace("/", "-")
            place.touch(exist_ok=False)
        """
    )
    pytester.runpytest_subprocess("-n", "2", "--dist", "each").assert_outcomes(passed=2)

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

import octavo
from octavo.demo.api import CLIENTS, Api, Calls
from octavo.demo.view import api_card
from octavo.ratelimit import Decision, LimitState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from tests.fix_servers import Server, Servers

FREE, PRO, LOGIN = CLIENTS


@pytest.fixture
def db(servers: Servers, prefix: str) -> Iterator[Octavo[Sync]]:
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        yield db


def served(db: Octavo[Sync], times: int) -> dict[str, Calls]:
    """Have all clients call so many times, and return what became of their calls."""
    api = Api(db)
    for _ in range(times):
        api.serve()
    return {calls.client.name: calls for calls in api.calls}


# What is answered.


def test_a_client_gets_what_its_plan_promises_and_no_more(db: Octavo[Sync]) -> None:
    calls = served(db, 40)

    for client in (FREE, PRO):
        found = calls[client.name]
        assert found.made == 40 * client.calls > found.passed
        # A window is a millisecond longer than the calls took, in which one more might pass.
        assert found.promised - 1 <= found.passed <= found.promised


def test_the_same_holds_on_every_kind_of_server(server: Server, prefix: str) -> None:
    with octavo.connect(server.url, prefix=prefix) as db:
        calls = served(db, 6)

    assert all(0 < found.passed <= found.promised for found in calls.values())
    assert {name for name, found in calls.items() if found.passed < found.made} >= {"free", "login"}


def test_who_guesses_passwords_is_banned_and_nobody_else(db: Octavo[Sync]) -> None:
    calls = served(db, 3)

    assert calls["login"].passed == 5
    banned = {
        name: found.denial is not None and found.denial.banned for name, found in calls.items()
    }
    assert banned == {"free": False, "pro": False, "login": True}


def test_a_ban_is_of_the_address_and_not_of_the_account(db: Octavo[Sync]) -> None:
    served(db, 3)
    (account, own), (limit, _), (route, login) = LOGIN.subjects.items()

    assert db.limiter("logins", deadline=None).check(
        {account: own, limit: "198.51.100.9", route: login}
    )


def test_what_is_denied_is_not_counted_anywhere(db: Octavo[Sync]) -> None:
    calls = served(db, 10)

    plan, address, route = FREE.subjects
    assert calls["free"].passed < calls["free"].made
    left = (
        db.limiter("api", deadline=None).peek({address: "192.0.2.10", route: "GET /boards"}).limits
    )
    assert left["ip"].remaining >= address.limit - calls["free"].passed
    assert left["route"].remaining >= route.limit - calls["free"].passed - calls["pro"].passed
    assert plan.name not in left


def test_a_denied_client_passes_after_the_time_that_it_was_told(db: Octavo[Sync]) -> None:
    denial = served(db, 15)["pro"].denial
    assert denial is not None
    assert denial.violated == ("plan",)

    time.sleep(denial.retry_after or 0)

    assert db.limiter("api", deadline=None).check(PRO.subjects)


def test_a_call_is_one_round_trip_if_it_is_denied_and_two_if_it_is_answered(
    proxy: WireProxy, prefix: str
) -> None:
    with octavo.connect(proxy.url, prefix=prefix) as db:
        api = Api(db)
        api.serve()
        before = sum(calls.passed for calls in api.calls)
        proxy.reset()
        api.serve()
        passed = sum(calls.passed for calls in api.calls) - before

        assert proxy.round_trips == sum(client.calls for client in CLIENTS) + passed


def test_a_replay_begins_without_the_calls_and_the_bans_of_an_earlier_one(
    db: Octavo[Sync],
) -> None:
    served(db, 3)
    Api(db).clear()

    calls = served(db, 1)
    assert {name: found.passed for name, found in calls.items()} == {
        "free": 5, "pro": 10, "login": 5,
    }  # fmt: skip


# What is shown.


def decided(*, passes: bool, at: float, wait: float = 0.0, banned: bool = False) -> Decision:
    state = LimitState("plan", passes, 10, 0, wait, 60.0, 5.4, 60.0)
    return Decision(passes, 10, 0, wait, 60.0, banned=banned, at=at, limits={"plan": state})


def test_a_card_words_the_calls_and_a_denial() -> None:
    free, login = Calls(FREE), Calls(LOGIN)
    for found in (free, login):
        found.note(decided(passes=True, at=1000.0))
    free.note(decided(passes=False, at=1007.0, wait=5.4))
    login.note(decided(passes=False, at=1012.5, wait=599.6, banned=True))

    card = api_card([free, login])

    assert (card.title, card.subtitle) == (
        "API of the boards",
        "customer, address and route in one check",
    )
    assert card.lines == [
        ("free", "1 of 2 passed; promised: at most 11 in 7.0 s"),
        ("login", "1 of 2 passed; promised: at most 6 in 12.5 s; banned for 600 s"),
        ("429", 'RateLimit-Policy: "plan";q=10;w=60'),
        ("", 'RateLimit: "plan";r=0;t=6'),
        ("", "Retry-After: 6"),
    ]


def test_a_card_is_fit_to_show_before_anybody_has_called_or_was_denied() -> None:
    card = api_card([Calls(client) for client in CLIENTS])

    assert [line for _, line in card.lines] == [
        "0 of 0 passed; promised: at most 10 in 0.0 s",
        "0 of 0 passed; promised: at most 100 in 0.0 s",
        "0 of 0 passed; promised: at most 5 in 0.0 s",
    ]

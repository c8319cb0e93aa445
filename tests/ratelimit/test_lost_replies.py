"""What becomes of a call that the server has counted but whose reply was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.errors import ConnectionLost
from octavo.ratelimit import Concurrency, Limit
from tests.ratelimit.cases import AFTERWARDS, QUESTIONS, SUBJECTS, left

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo.testing.proxy import Action, WireProxy
    from tests.fix_faces import Connect
    from tests.fix_servers import Servers

FLOWS = pytest.mark.parametrize("face", ["sync", "async"])
LOST = pytest.mark.parametrize("how", ["drop", "cut"])
CHARGED = {"hit": 1, "check": 1, "reserve": 1, "take_up_to": 2}


class Loss:
    """Has the next request lost, or executed but not answered, whatever the links say."""

    def __init__(self, proxy: WireProxy, how: Action = "drop") -> None:
        self.lost: list[bytes] = []
        self._how: Action = how
        proxy.script(self._decide)

    def _decide(self, words: list[bytes]) -> Action:
        if self.lost or words[0] in {b"PING", b"ROLE"}:
            return "forward"
        self.lost.append(words[0])
        return self._how


@pytest.fixture
def direct(servers: Servers, prefix: str) -> Iterator[Any]:
    """The limiter of a client beside the proxy."""
    with octavo.connect(servers.get("embedded").url, prefix=prefix) as db:
        yield db.limiter("api", Limit("9/hour", name="rule"), Concurrency(9, lease=60))


def made(connect: Connect, proxy: WireProxy, *rules: Any, **options: Any) -> Any:
    """Return a limiter that is connected."""
    limiter = connect(proxy.url).limiter(
        "api", *(rules or [Limit("9/hour", name="rule")]), **options
    )
    limiter.hit("eve")
    return limiter


@LOST
@pytest.mark.parametrize("name", CHARGED)
def test_a_call_that_is_charged_is_not_asked_again_and_its_outcome_is_unknown(
    name: str, how: Action, connect: Connect, proxy: WireProxy, direct: Any
) -> None:
    limiter = made(connect, proxy)
    loss = Loss(proxy, how)
    with pytest.raises(ConnectionLost) as raised:
        QUESTIONS[name](limiter, None)
    assert loss.lost == [b"EVALSHA"]
    assert raised.value.outcome == "unknown"
    assert raised.value.operation == f"limiter.{name}"
    charged = CHARGED[name] if how == "drop" else 0
    assert left(direct) == [9 - charged, 9]
    assert limiter.hit("ada").remaining == 8 - charged


@LOST
def test_a_look_is_repeated(how: Action, connect: Connect, proxy: WireProxy, direct: Any) -> None:
    limiter = made(connect, proxy)
    direct.hit("ada", 3)
    loss = Loss(proxy, how)
    assert limiter.peek("ada").remaining == 6
    assert loss.lost == [b"EVALSHA"]


@LOST
@pytest.mark.parametrize("name", ["refund", "settle"])
def test_what_is_given_back_is_given_back_once(
    name: str, how: Action, connect: Connect, proxy: WireProxy, direct: Any
) -> None:
    limiter = made(connect, proxy)
    limiter.refund(limiter.hit("ada"))  # the script's first use
    limiter.hit("ada", 3)
    decision = limiter.hit("ada", 4)
    loss = Loss(proxy, how)
    assert AFTERWARDS[name](limiter, decision) is True
    assert loss.lost == [b"EVALSHA"]
    assert left(direct) == [6 if name == "refund" else 4, 9]


@LOST
@pytest.mark.parametrize("name", ["release", "renew", *SUBJECTS])
def test_what_may_be_done_twice_is_repeated(
    name: str, how: Action, connect: Connect, proxy: WireProxy, direct: Any
) -> None:
    limiter = made(connect, proxy, Limit("9/hour", name="rule"), Concurrency(9, lease=60))
    decision = limiter.hit("ada", {"concurrency": 2})
    if name == "unban":
        direct.ban("ada")
    loss = Loss(proxy, how)
    (AFTERWARDS | SUBJECTS)[name](limiter, decision)
    assert len(loss.lost) == 1
    expected = {"release": [8, 9], "reset": [9, 9]}.get(name, [8, 7])
    assert left(direct) == expected
    assert direct.peek("ada").banned is (name == "ban")


@FLOWS
def test_what_was_to_be_acquired_may_be_booked_once(
    connect: Connect, proxy: WireProxy, direct: Any
) -> None:
    limiter = made(connect, proxy)
    loss = Loss(proxy)
    with pytest.raises(ConnectionLost) as raised:
        limiter.acquire("ada", 2)
    assert (raised.value.outcome, len(loss.lost)) == ("unknown", 1)
    assert left(direct) == [7, 9]


@pytest.mark.parametrize("on_error", ["open", "closed", "local"])
def test_what_is_decided_without_the_reply_is_not_asked_again(
    on_error: str, connect: Connect, proxy: WireProxy, direct: Any
) -> None:
    limiter = made(connect, proxy, on_error=on_error)
    loss = Loss(proxy)
    found = limiter.hit("ada")
    assert (found.degraded, found.allowed) == (True, on_error != "closed")
    assert loss.lost == [b"EVALSHA"]
    assert left(direct) == [8, 9]
    assert limiter.refund(found) is False

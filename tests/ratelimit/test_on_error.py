"""What a limiter says when the server is out of reach, or takes no writes: `on_error`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import pytest

from octavo.errors import (
    ConnectionLost,
    DeadlineExceeded,
    OutOfMemory,
    RateLimited,
    WriteRefused,
    WrongType,
)
from octavo.ratelimit import Limit
from octavo.testing.servers import Standalone
from octavo.testing.servers.process import free_port
from octavo.testing.waiting import wait_until
from tests.fix_servers import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from octavo.ratelimit import Decision
    from tests.fix_faces import Connect, FaceName

Outage = Literal["stopped", "killed", "refused"]

FLOWS = pytest.mark.parametrize("face", ["sync", "async"])
OUTAGES = pytest.mark.parametrize(
    ("face", "outage"),
    [
        ("sync", "stopped"),
        ("sync", "killed"),
        ("async", "killed"),
        ("async", "refused"),
        ("batch", "stopped"),
        ("batch", "refused"),
    ],
)
EVERY = ("raise", "open", "closed", "local")
LIMIT = Limit("2/hour")


def start(outage: Outage, standalone: Standalone) -> None:
    """Have the server stopped or killed."""
    if outage == "stopped":
        standalone.pause()
    elif outage == "killed":
        standalone.kill()


@pytest.fixture(scope="module")
def shared() -> Iterator[Standalone]:
    """A server that is stopped and killed by one test after another."""
    with Standalone(require("valkey")) as server:
        yield server


@pytest.fixture
def standalone(shared: Standalone) -> Iterator[Standalone]:
    """The same, up again after the test."""
    yield shared
    shared.heal()


@pytest.fixture
def timeout(face: FaceName) -> float:
    """The client's: longer than a test can wait, but for a batch, which no deadline ends sooner."""
    return 0.3 if face == "batch" else 50.0


def limiter(db: Any, on_error: str, deadline: float | None = 0.25) -> Any:
    """Return a limiter named after what it does without a server."""
    return db.limiter(on_error, LIMIT, on_error=on_error, deadline=deadline)


def warnings(caplog: pytest.LogCaptureFixture, name: str) -> list[str]:
    """Return what was said of a limiter."""
    return [r.getMessage() for r in caplog.records if f"{name!r}" in r.getMessage()]


def degraded(decisions: list[Decision]) -> list[bool]:
    assert all(decision.degraded for decision in decisions)
    return [decision.allowed for decision in decisions]


# What each says.


@OUTAGES
def test_without_a_server_it_raises_admits_denies_or_counts_here(
    connect: Connect, standalone: Standalone, timeout: float, outage: Outage
) -> None:
    gone = f"redis://127.0.0.1:{free_port()}" if outage == "refused" else standalone.url
    db = connect(gone, timeout=timeout)
    if outage != "refused":
        assert not limiter(db, "open").hit("y").degraded
    start(outage, standalone)
    with pytest.raises(ConnectionLost):
        limiter(db, "raise").hit("x")
    opened, closed, local = (limiter(db, each) for each in ("open", "closed", "local"))
    assert degraded([opened.hit("x") for _ in range(3)]) == [True] * 3
    assert degraded([closed.hit("x") for _ in range(3)]) == [False] * 3
    assert degraded([local.hit("x") for _ in range(3)]) == [True, True, False]


def test_every_question_is_answered_without_a_server(
    connect: Connect, standalone: Standalone, timeout: float
) -> None:
    db = connect(standalone.url, timeout=timeout)
    standalone.kill()
    opened, closed, local = (limiter(db, each) for each in ("open", "closed", "local"))
    questions: list[Callable[[Any], Decision]] = [
        lambda of: of.hit("a"),
        lambda of: of.peek("b"),
        lambda of: of.check({LIMIT: "c"}),
        lambda of: of.reserve("d", wait=1),
        lambda of: of.take_up_to("e", 2),
    ]
    for ask in questions:
        assert degraded([ask(each) for each in (opened, closed, local)]) == [True, False, True]
    assert [each.take_up_to("f", 5).cost for each in (opened, closed, local)] == [5, 0, 2]
    assert [local.peek("f").allowed, local.peek("b").remaining] == [False, 2]


def test_what_was_granted_here_is_given_back_to_nobody(
    connect: Connect, standalone: Standalone, timeout: float
) -> None:
    local = limiter(connect(standalone.url, timeout=timeout), "local")
    standalone.kill()
    decision = local.hit("x", 2)
    assert local.refund(decision) is False
    assert not local.hit("x")


@FLOWS
def test_who_would_wait_goes_ahead_or_is_refused_at_once(
    connect: Connect, standalone: Standalone, timeout: float
) -> None:
    db = connect(standalone.url, timeout=timeout)
    standalone.kill()
    assert limiter(db, "open").acquire("x", wait=50).degraded
    with pytest.raises(RateLimited) as caught:
        limiter(db, "closed").acquire("x", wait=50)
    assert caught.value.decision.degraded
    with pytest.raises(ConnectionLost):
        limiter(db, "raise").acquire("x", wait=50)
    local = limiter(db, "local")
    assert [local.acquire("x", wait=1).delay for _ in range(2)] == [0.0, 0.0]
    with pytest.raises(RateLimited):
        local.acquire("x", wait=1)


@pytest.mark.parametrize("face", ["sync"])
def test_blocks_run_or_are_refused_without_a_server(
    connect: Connect, standalone: Standalone, timeout: float
) -> None:
    db = connect(standalone.url, timeout=timeout)
    standalone.kill()
    with limiter(db, "open").limit("x") as decision:
        assert decision.degraded
    with pytest.raises(RateLimited), limiter(db, "closed").limit("x"):
        pass


# How long it takes.


@FLOWS
@pytest.mark.parametrize(("deadline", "timeout"), [(0.1, 50), (0.5, 50), (None, 0.5)])
def test_a_call_takes_no_longer_than_the_deadline(
    connect: Connect, standalone: Standalone, deadline: float | None, timeout: float
) -> None:
    db = connect(standalone.url, timeout=timeout)
    one = limiter(db, "raise", deadline=deadline)
    one.peek("x")  # connects
    standalone.pause()
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        one.hit("x")
    took, due = time.monotonic() - began, timeout if deadline is None else deadline
    assert 0.9 * due <= took < due + 3


@OUTAGES
def test_only_now_and_then_a_call_waits_for_a_server_that_is_out_of_reach(
    connect: Connect, standalone: Standalone, timeout: float, outage: Outage
) -> None:
    gone = f"redis://127.0.0.1:{free_port()}" if outage == "refused" else standalone.url
    one = limiter(connect(gone, timeout=timeout), "open", deadline=0.5)
    start(outage, standalone)
    began = time.monotonic()
    assert degraded([one.hit("x") for _ in range(30)]) == [True] * 30
    assert time.monotonic() - began < 5  # of the 9 to 15 that each one's wait would take


# Its end.


def wait_for(one: Any) -> None:
    """Wait until a limiter asks the server again."""
    wait_until(lambda: not one.peek("x").degraded, "the server is asked again")


@pytest.mark.parametrize("outage", ["stopped", "killed"])
def test_what_was_counted_here_is_forgotten_when_the_server_is_back(
    connect: Connect, standalone: Standalone, timeout: float, outage: Outage
) -> None:
    one = limiter(connect(standalone.url, timeout=timeout), "local")
    assert one.hit("x").remaining == 1
    start(outage, standalone)
    assert degraded([one.hit("y") for _ in range(3)]) == [True, True, False]
    standalone.heal()
    wait_for(one)
    # One that was only stopped does, when it goes on, what it was asked before the client gave up.
    left = 1 if outage == "stopped" else 2
    assert (one.peek("y").remaining, one.peek("x").remaining) == (left, left)


def test_each_outage_is_told_once(
    connect: Connect, standalone: Standalone, timeout: float, caplog: pytest.LogCaptureFixture
) -> None:
    one = limiter(connect(standalone.url, timeout=timeout), "open")
    for number in (1, 2):
        wait_for(one)
        standalone.kill()
        degraded([one.hit("x") for _ in range(5)])
        assert len(warnings(caplog, "open")) == number
        standalone.start()


# Servers that answer.


@pytest.mark.parametrize(
    ("setting", "value", "error"),
    [("maxmemory", "1", OutOfMemory), ("min-replicas-to-write", "1", WriteRefused)],
    ids=["out of memory", "too few replicas"],
)
def test_a_server_that_takes_no_writes_is_as_good_as_gone(
    connect: Connect,
    standalone: Standalone,
    setting: str,
    value: str,
    error: type[Exception],
) -> None:
    db = connect(standalone.url)
    before = limiter(db, "open").hit("x")
    assert not before.degraded
    standalone.cli("CONFIG", "SET", setting, value)
    with pytest.raises(error):
        limiter(db, "raise").hit("x")
    asked = [limiter(db, each).hit("y") for each in ("open", "closed", "local")]
    assert degraded(asked) == [True, False, True]
    standalone.cli("CONFIG", "SET", setting, "0")
    wait_until(lambda: not limiter(db, "open").hit("z").degraded, "it is asked again")


def test_what_is_wrong_with_a_key_is_an_error_whatever_on_error_says(
    connect: Connect, standalone: Standalone, prefix: str
) -> None:
    db = connect(standalone.url)
    for on_error in EVERY:
        one = limiter(db, on_error)
        one.hit("x")
        (key,) = standalone.cli("KEYS", f"{prefix}:limit:{{{on_error}:*")
        standalone.cli("DEL", key)
        standalone.cli("HSET", key, "field", "value")
        with pytest.raises(WrongType):
            one.hit("x")


def test_bad_input_is_an_error_whatever_on_error_says(connect: Connect, timeout: float) -> None:
    db = connect(f"redis://127.0.0.1:{free_port()}", timeout=timeout)
    for on_error in EVERY:
        for subject, cost in (("", 1), ("x", 0), ("x", True), (7, 1)):
            with pytest.raises((TypeError, ValueError), match=r"^(subject|cost) must "):
                limiter(db, on_error).hit(subject, cost)


# In a batch.


@pytest.mark.parametrize("face", ["sync"])
def test_in_a_batch_it_speaks_for_itself_alone(connect: Connect, standalone: Standalone) -> None:
    db: Any = connect(standalone.url, timeout=0.3)
    standalone.kill()
    with db.batch(raise_on_error=False) as batch:
        asked = [limiter(batch, each).hit("x") for each in ("open", "closed", "local")]
        raising = limiter(batch, "raise").hit("x")
        other = batch.leaderboard("b").count()
    assert degraded([each.result() for each in asked]) == [True, False, True]
    for failed in (raising, other):
        assert isinstance(failed.exception(), ConnectionLost)

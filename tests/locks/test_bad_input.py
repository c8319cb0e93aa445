"""Bad input is refused by name before anything is sent."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from octavo.locks import HoldOptions, Lease, Lock, Loss, RWLock, Semaphore, Side
from octavo.locks.options import check_terms
from tests.locks.cases import FLOWS

if TYPE_CHECKING:
    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect, FaceName

Values = Sequence[tuple[Any, type[Exception]]]

LONE = "\ud800"  # half of a surrogate pair, which no encoding has
NONE: Values = [(None, TypeError)]
NAMES: Values = [
    *(("", ValueError), (LONE, ValueError)),
    *((bad, TypeError) for bad in (None, 5, b"x", ["x"], True)),
]
NO_NUMBERS: list[Any] = [True, False, "5", b"5", [5], 1j]
NO_SECONDS: Values = [
    *((bad, TypeError) for bad in NO_NUMBERS),
    *((bad, ValueError) for bad in (math.nan, math.inf, -math.inf)),
    *((bad, ValueError) for bad in (-1, -0.001, timedelta(-1), timedelta(microseconds=-1))),
]
DAY = 86_400
TTLS: Values = [
    *NO_SECONDS,
    *((bad, ValueError) for bad in (0, 0.0, timedelta(0), 0.009, timedelta(milliseconds=9))),
    *((bad, ValueError) for bad in (DAY + 0.001, timedelta(days=30), 10**12)),
]
PAUSES: Values = [*NO_SECONDS, *NONE, (DAY + 0.001, ValueError), (10**12, ValueError)]
WAITS: Values = [*NO_SECONDS, (10**12, ValueError)]
NO_FLAGS: list[Any] = [None, 0, 1, "yes", "", []]
FLAGS: Values = [(bad, TypeError) for bad in NO_FLAGS]
NO_INTS: Values = [(bad, TypeError) for bad in (*NO_NUMBERS, 1.0, math.nan)]

OPTIONS: dict[str, Values] = {
    "ttl": [*TTLS, *NONE],
    "renew": FLAGS,
    "max_hold": [*NO_SECONDS, (0, ValueError), (29.999, ValueError), (timedelta(0), ValueError)],
    "min_hold": PAUSES,
    "lock_delay": PAUSES,
    "sync": [*NO_INTS, *((bad, ValueError) for bad in (0, -1, 101, 10**30))],
    "sync_timeout": [*NO_SECONDS, *NONE, (0, ValueError)],
    "on_lost": [(5, TypeError), ("print", TypeError), ([], TypeError), (True, TypeError)],
}
OF_LOCKS: dict[str, Values] = {"fair": FLAGS, "reentrant": FLAGS}
LIMITS: Values = [
    *NO_INTS,
    *NONE,
    *((bad, ValueError) for bad in (0, -1, 1_000_001, 2**31, 10**30)),
]
PERMITS: Values = [*NO_INTS, *NONE, *((bad, ValueError) for bad in (0, -1, 6, 2**63))]

Refuse = Callable[[Any, Any], object]

# For each job: how it is made with one option, and what options it has.
JOBS: dict[str, tuple[Callable[..., Any], dict[str, Values]]] = {
    "lock": (lambda db, name="x", **o: db.lock(name, **o), OPTIONS | OF_LOCKS),
    "rwlock": (
        lambda db, name="x", **o: db.rwlock(name, **o),
        OPTIONS | {"reentrant": FLAGS},
    ),
    "semaphore": (
        lambda db, name="x", limit=5, **o: db.semaphore(name, limit, **o),
        OPTIONS | {"limit": LIMITS},
    ),
}

# For each parameter of each method: a call with the value in its place, and bad values.
BAD: dict[tuple[type[Any], str, str], tuple[Refuse, Values]] = {
    (Lock, "acquire", "wait"): (lambda db, bad: db.lock("x").acquire(wait=bad), WAITS),
    (Side, "acquire", "wait"): (lambda db, bad: db.rwlock("x").reader.acquire(bad), WAITS),
    (Semaphore, "acquire", "permits"): (lambda db, bad: db.semaphore("x", 5).acquire(bad), PERMITS),
    (Semaphore, "acquire", "wait"): (
        lambda db, bad: db.semaphore("x", 5).acquire(wait=bad),
        WAITS,
    ),
    (Semaphore, "try_acquire", "permits"): (
        lambda db, bad: db.semaphore("x", 5).try_acquire(bad),
        PERMITS,
    ),
}
OF_LEASES: dict[tuple[type[Any], str, str], tuple[Refuse, Values]] = {
    (Lease, "extend", "ttl"): (lambda lease, bad: lease.extend(bad), TTLS),
    (Loss, "wait", "timeout"): (lambda lease, bad: lease.lost.wait(bad), WAITS),
}


def refused(make: Callable[[], object], error: type[Exception], parameter: str, bad: Any) -> None:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - its type is what is tested
        make()
    assert type(raised.value) is error, f"{bad!r} gave {raised.value!r}"
    assert parameter in str(raised.value), f"{bad!r} gave {raised.value!r}"


def test_every_option_has_bad_values() -> None:
    assert OPTIONS.keys() == inspect.signature(check_terms).parameters.keys()
    assert OPTIONS.keys() == HoldOptions.__annotations__.keys()
    own = {"engine", "options", "name", "base", "limit"}
    assert OF_LOCKS.keys() == inspect.signature(Lock).parameters.keys() - own


def test_every_parameter_of_every_method_has_bad_values() -> None:
    parameters = {
        (job, name, parameter)
        for job in (Lock, Side, RWLock, Semaphore, Lease, Loss)
        for name, method in vars(job).items()
        if hasattr(method, "__octavo__")
        for parameter in [*inspect.signature(method).parameters][1:]
    }
    assert BAD.keys() | OF_LEASES.keys() == parameters - {(RWLock, "downgrade", "lease")}


@pytest.mark.parametrize(
    ("job", "option"), [(job, option) for job in JOBS for option in JOBS[job][1]]
)
def test_a_bad_option_is_refused_by_name_and_nothing_is_sent(
    job: str, option: str, connect: Connect, proxy: WireProxy
) -> None:
    db: Any = connect(proxy.url)
    make, options = JOBS[job]
    for bad, error in options[option]:
        refused(lambda: make(db, **{option: bad}), error, option, bad)  # noqa: B023
    assert proxy.accepted == 0


@pytest.mark.parametrize("job", JOBS)
def test_a_bad_name_is_refused_and_nothing_is_sent(
    job: str, connect: Connect, proxy: WireProxy
) -> None:
    db: Any = connect(proxy.url)
    make, _ = JOBS[job]
    for bad, error in NAMES:
        refused(lambda: make(db, name=bad), error, "name", bad)  # noqa: B023
        if bad is not None:
            refused(lambda: make(db, tag=bad), error, "tag", bad)  # noqa: B023
    for unknown in ("colour", "timeout", "wait", "blocking", "TTL", *({"fair"} - {*JOBS[job][1]})):
        refused(lambda: make(db, **{unknown: 1}), TypeError, unknown, 1)  # noqa: B023
    assert proxy.accepted == 0


@pytest.mark.parametrize("job", JOBS)
def test_max_hold_is_no_shorter_than_ttl(job: str, connect: Connect, proxy: WireProxy) -> None:
    db: Any = connect(proxy.url)
    make, _ = JOBS[job]
    refused(lambda: make(db, ttl=5, max_hold=4.999), ValueError, "max_hold", 4.999)
    refused(lambda: make(db, ttl=timedelta(1), max_hold=30), ValueError, "max_hold", 30)
    make(db, ttl=5, max_hold=5)
    make(db, ttl=0.01, max_hold=timedelta(milliseconds=10), min_hold=0, lock_delay=DAY, sync=100)
    make(db, ttl=DAY, max_hold=None, sync=None, on_lost=None, sync_timeout=0.001)


@FLOWS
@pytest.mark.parametrize(
    ("job", "name", "parameter"), BAD, ids=[f"{job.__name__}.{name}-{p}" for job, name, p in BAD]
)
def test_a_bad_argument_is_refused_by_name_and_nothing_is_sent(
    job: type[Any], name: str, parameter: str, connect: Connect, proxy: WireProxy
) -> None:
    db = connect(proxy.url)
    call, values = BAD[job, name, parameter]
    for bad, error in values:
        refused(lambda: call(db, bad), error, parameter, bad)  # noqa: B023
    assert proxy.accepted == 0


@FLOWS
@pytest.mark.parametrize(
    ("job", "name", "parameter"),
    OF_LEASES,
    ids=[f"{job.__name__}.{name}-{p}" for job, name, p in OF_LEASES],
)
def test_a_bad_argument_to_a_lease_is_refused_by_name_and_nothing_is_sent(
    job: type[Any], name: str, parameter: str, connect: Connect, proxy: WireProxy
) -> None:
    lease = connect(proxy.url).lock("x", ttl=300).acquire()
    proxy.reset()
    call, values = OF_LEASES[job, name, parameter]
    for bad, error in values:
        refused(lambda: call(lease, bad), error, parameter, bad)  # noqa: B023
    assert proxy.commands == {}
    assert lease.valid
    assert 290 < lease.remaining() < 300
    assert lease.release() is True


@FLOWS
def test_what_is_no_lease_is_not_made_lighter(connect: Connect, proxy: WireProxy) -> None:
    rw: Any = connect(proxy.url).rwlock("x")
    for bad in (None, "lease", 5):
        refused(lambda: rw.downgrade(bad), TypeError, "lease", bad)  # noqa: B023
    assert proxy.accepted == 0


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("face", ["sync"])
def test_a_coroutine_function_to_call_is_refused_in_sync_code(
    job: str, connect: Connect, proxy: WireProxy, face: FaceName
) -> None:
    async def tell(_: object) -> None: ...

    db: Any = connect(proxy.url)
    refused(lambda: JOBS[job][0](db, on_lost=tell), TypeError, "on_lost", tell)


@pytest.mark.parametrize("face", ["sync"])
def test_what_takes_several_steps_has_no_batch_face(connect: Connect, proxy: WireProxy) -> None:
    db: Any = connect(proxy.url)
    client = db._face.client
    with client.batch() as batch:
        rw, semaphore = batch.rwlock("x"), batch.semaphore("x", 5)
        for holdable in (batch.lock("x"), rw.reader, rw.writer, semaphore):
            for call in (holdable.acquire, holdable.try_acquire):
                with pytest.raises(TypeError, match="several steps"):
                    call()
    assert proxy.accepted == 0

from __future__ import annotations

import json
import re
import threading
from functools import partial
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

import octavo
from octavo.cli.app import app
from octavo.testing.waiting import wait_until
from tests.fix_servers import redis_py

if TYPE_CHECKING:
    from octavo import Octavo, Sync
    from tests.cli.conftest import Run
    from tests.fix_servers import Servers


@pytest.fixture
def run(run_octavo: Run) -> Run:
    return partial(run_octavo, "locks")


def cells(line: str) -> list[str]:
    return re.split(r" {2,}", line)


def test_what_is_held_is_listed_in_columns(db: Octavo[Sync], run: Run) -> None:
    held = [
        db.lock("import").acquire(),
        db.rwlock("pages", tag="web").reader.acquire(),
        db.semaphore("slots", 5).acquire(2),
        db.semaphore("slots", 5).acquire(1),
        db.rwlock("table").writer.acquire(),
        db.election("zeus").campaign("me"),
    ]
    label = db.locks.list()[0].holders[0].label
    lines = run("list")
    assert [cells(line) for line in lines] == [
        ["NAME", "KIND", "TAG", "HELD", "BY", "WAITING"],
        ["import", "lock", "yes", label, "0"],
        ["pages", "rwlock", "web", "to read", label, "0"],
        ["slots", "semaphore", "3 of 5", f"{label} x2", "0"],
        ["table", "rwlock", "to write", label, "0"],
        ["zeus", "election", "yes", "me", "0"],
    ]
    assert {line.rindex("0") for line in lines[1:]} == {lines[0].index("WAITING")}
    assert len(held) == 6


def test_without_a_command_everything_is_listed(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCTAVO_URL", servers.get("embedded").url)
    done = CliRunner().invoke(app, ["locks"])
    assert done.exit_code == 0
    assert done.output.startswith("NAME")


def test_the_list_may_be_narrowed_and_printed_as_json(db: Octavo[Sync], run: Run) -> None:
    held = [db.lock(name).acquire() for name in ("import:a", "import:b", "export")]
    (line,) = run("list", "import:", "--json")
    assert [info["name"] for info in json.loads(line)] == ["import:a", "import:b"]
    assert json.loads(line)[0]["holders"][0]["fence"] == held[0].fence


def test_what_is_kept_and_what_is_not_text_is_listed_so(db: Octavo[Sync], run: Run) -> None:
    db.lock("\x1b[2J", min_hold=60).acquire().release()
    _, row = run("list")
    name, kind, held, waiting = cells(row)
    assert (name, kind, waiting) == (r"'\x1b[2J'", "lock", "0")
    assert re.fullmatch(r"kept (60\.0|59\.\d) s", held)


def test_many_who_hold_a_semaphore_are_summed_up(
    db: Octavo[Sync], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[object] = []
    for label in (b"a", b"b", b"b", b"c", b"d", b"e"):
        monkeypatch.setattr("octavo.locks.places.process_label", lambda label=label: label)
        held.append(db.semaphore("s", 9).acquire())
    _, row = run("list")
    assert cells(row)[2:] == ["6 of 9", "b x2, a, c and 2 more", "0"]


def test_who_reads_and_who_writes_is_shown(db: Octavo[Sync], run: Run) -> None:
    reader = db.rwlock("r").reader.acquire()
    writer = db.rwlock("w").writer.acquire()
    shown = [cells(run("show", name)[1]) for name in "rw"]
    assert [(row[0], row[5], row[6]) for row in shown] == [
        ("rwlock", "1", str(reader.fence)),
        ("rwlock", "all", str(writer.fence)),
    ]


def test_a_lock_in_a_wrong_state_is_an_error(servers: Servers, prefix: str) -> None:
    redis_py(servers.get("embedded").url).set(f"{prefix}:lock:{{x}}:leases", "text")
    done = CliRunner().invoke(
        app, ["locks", "show", "x", "--url", servers.get("embedded").url, "--prefix", prefix]
    )
    assert isinstance(done.exception, octavo.WrongType)


def test_a_lock_is_shown_with_who_holds_it_and_who_waits(db: Octavo[Sync], run: Run) -> None:
    lease = db.lock("x").acquire()
    waiter = threading.Thread(target=lambda: db.lock("x").acquire(wait=10).release())
    waiter.start()
    wait_until(lambda: db.locks.waiters("x"), "it waits")
    titles, holds, waits = run("show", "x")
    lease.release()
    waiter.join()
    assert cells(titles)[0] == "KIND"
    assert cells(holds)[:2] == ["lock", "holds"]
    assert cells(holds)[-2:] == [str(lease.fence), lease.owner]
    assert cells(waits)[:3] == ["lock", "waits", cells(holds)[2]]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", cells(waits)[3])


def test_what_nobody_holds_is_shown_as_such(run: Run) -> None:
    assert run("show", "x", "--tag", "t") == ["nobody holds 'x', and nobody waits for it"]


def test_a_lock_is_broken_after_a_yes(db: Octavo[Sync], run: Run) -> None:
    lease = db.rwlock("x", tag="t").writer.acquire()
    words = ("break", "x", "--kind", "rwlock", "--tag", "t")
    asked, *_ = run(*words, answer="n\n", ends=1)
    assert asked.startswith(f"'x' is held by {db.locks.list()[0].holders[0].label}. Break it?")
    run(*words, answer="", ends=1)
    assert db.locks.holder("x", kind="rwlock", tag="t") is not None
    assert run(*words, answer="y\n")[-1] == "1 lease of 'x' ended"
    assert lease.release() is False


def test_a_lock_is_broken_unasked_with_yes(db: Octavo[Sync], run: Run) -> None:
    held = [db.semaphore("s", 3, tag="t").acquire() for _ in range(2)]
    words = ("break", "s", "--kind", "semaphore", "--tag", "t", "--yes")
    assert run(*words) == ["2 leases of 's' ended"]
    assert run(*words) == ["0 leases of 's' ended"]
    assert [lease.release() for lease in held] == [False, False]


def test_another_kind_is_refused(run: Run) -> None:
    assert any("semaphore" in line for line in run("break", "x", "--kind", "latch", ends=2))

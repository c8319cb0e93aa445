from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.doctor import Finding, Report, _clock, _persistence, _topology, _version
from octavo.testing.servers import Standalone
from tests.fix_servers import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from octavo import Octavo, Sync


@pytest.fixture
def patient() -> Iterator[Standalone]:
    with Standalone(require("valkey")) as started:
        yield started


def finding(report: Report, check: str) -> Finding:
    return next(found for found in report.findings if found.check == check)


def examine(server: Standalone, url: str | None = None) -> Report:
    with octavo.connect(url or server.url) as db:
        return db.doctor()


def test_every_kind_of_server_is_found_fit(db: Octavo[Sync]) -> None:
    report = db.doctor()

    assert report.ok
    assert [found.check for found in report.findings] == [
        "version",
        "topology",
        "eviction",
        "memory",
        "persistence",
        "RESP3",
        "scripts",
        "clock",
    ]


@pytest.mark.parametrize(
    ("policy", "level"),
    [("noeviction", "ok"), ("volatile-ttl", "warning"), ("allkeys-lru", "error")],
)
def test_a_policy_that_evicts_is_reported_with_its_cure(
    patient: Standalone, policy: str, level: str
) -> None:
    patient.cli("CONFIG", "SET", "maxmemory", "100mb")
    patient.cli("CONFIG", "SET", "maxmemory-policy", policy)

    found = finding(examine(patient), "eviction")

    assert found.level == level
    assert policy in found.found
    assert (found.cure is None) == (level == "ok")


def test_an_evicting_policy_without_a_limit_evicts_nothing(patient: Standalone) -> None:
    patient.cli("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")

    assert finding(examine(patient), "eviction").level == "ok"


def test_memory_without_a_limit_and_nearly_full_memory_are_warnings(patient: Standalone) -> None:
    unlimited = finding(examine(patient), "memory")
    patient.cli("CONFIG", "SET", "maxmemory", "1mb")
    full = finding(examine(patient), "memory")
    patient.cli("CONFIG", "SET", "maxmemory", "1gb")
    roomy = finding(examine(patient), "memory")

    assert [found.level for found in (unlimited, full, roomy)] == ["warning", "warning", "ok"]


def test_a_server_that_keeps_nothing_is_a_warning(patient: Standalone) -> None:
    patient.cli("CONFIG", "SET", "appendonly", "no")
    lossy = finding(examine(patient), "persistence")
    patient.cli("CONFIG", "SET", "appendonly", "yes")

    assert lossy.level == "warning"
    assert finding(examine(patient), "persistence").level == "ok"


def test_a_failed_save_is_an_error() -> None:
    (found,) = _persistence({"aof_enabled": "1", "aof_last_write_status": "err"})

    assert found.level == "error"
    assert "aof_last_write_status" in found.found


def test_a_replica_is_an_error(patient: Standalone) -> None:
    with Standalone(require("valkey")) as primary:
        patient.cli("REPLICAOF", "127.0.0.1", str(primary.port))

        assert finding(examine(patient), "topology").level == "error"


@pytest.mark.slow
def test_a_node_of_a_cluster_addressed_alone_is_an_error(cluster: Any) -> None:
    report = examine(cluster.primaries[0])

    assert finding(report, "topology").cure == "connect with redis+cluster://"


def test_a_cluster_that_lacks_slots_is_an_error() -> None:
    info = {"cluster_state": "fail", "role": "master"}

    assert _topology(info, clustered=True, kind="cluster").level == "error"


def test_a_user_who_may_not_ask_is_told_what_to_allow(patient: Standalone) -> None:
    patient.cli("ACL", "SETUSER", "guest", "on", ">secret", "+ping", "+hello")

    report = examine(patient, f"redis://guest:secret@127.0.0.1:{patient.port}")

    assert not report.ok
    assert report.findings[0].cure == "let this user run INFO"


def test_a_user_who_may_not_run_scripts_is_told_so(patient: Standalone) -> None:
    patient.cli("ACL", "SETUSER", "guest", "on", ">secret", "+@all", "-eval", "~*")

    report = examine(patient, f"redis://guest:secret@127.0.0.1:{patient.port}")

    assert finding(report, "scripts").level == "error"
    assert finding(report, "clock").level == "ok"


@pytest.mark.parametrize(
    ("info", "level"),
    [
        ({"redis_version": "6.2.14"}, "error"),
        ({"redis_version": "7.0.0"}, "ok"),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.0"}, "ok"),
        ({"redis_version": "10.0.0-rc1"}, "ok"),
    ],
)
def test_a_server_that_is_too_old_is_an_error(info: dict[str, str], level: str) -> None:
    assert _version(info).level == level


@pytest.mark.parametrize(("seconds", "level"), [(0, "ok"), (30, "warning"), (-30, "warning")])
def test_a_clock_that_differs_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, seconds: float, level: str
) -> None:
    monkeypatch.setattr("octavo.doctor.time.time", lambda: 1_000_000_000.0)
    flow = _clock()

    flow.send(None)
    with pytest.raises(StopIteration) as done:
        flow.send([b"%d" % (1_000_000_000 + seconds), b"0"])

    assert done.value.value.level == level


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = "from octavo.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, "doctor", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_prints_findings_and_cures_and_fails_on_an_error(patient: Standalone) -> None:
    fit = run("--url", patient.url)
    patient.cli("CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru")
    unfit = run("--url", patient.url)

    assert (fit.returncode, unfit.returncode) == (0, 1)
    assert "ERROR    eviction: allkeys-lru" in unfit.stdout
    assert "-> CONFIG SET maxmemory-policy noeviction" in unfit.stdout


def test_the_command_speaks_json(patient: Standalone) -> None:
    findings = json.loads(run("--url", patient.url, "--json").stdout)["findings"]

    assert {found["check"] for found in findings} >= {"version", "eviction", "clock"}

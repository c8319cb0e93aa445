"""Scripts, on all faces."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo.engine.script import ONCE_TTL, Script
from tests.engine.lab import BUMP, REFUSE, SCRIPTS, SHAPES, TWICE, Lab, command, lab_of, same

if TYPE_CHECKING:
    from pathlib import Path

    from octavo import Octavo, Sync
    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Standalone
    from tests.fix_faces import Connect
    from tests.fix_servers import Server


@pytest.fixture
def own(connect: Connect, standalone: Standalone, proxy_of: Any) -> Any:
    """A lab on each face to a server of its own, whose script cache nobody else fills."""
    lab = lab_of(connect(proxy_of(standalone).url, timeout=5.0))
    lab.get("nothing")
    return lab


def run(lab: Any, script: Script, name: str, *args: Any) -> Any:
    return lab.send(script((lab.key(name),), args, same))


def flush(lab: Any) -> None:
    lab.send(command("SCRIPT", None, "FLUSH"))


def test_a_script_is_one_round_trip_cold_and_warm(lab: Any, proxy: WireProxy) -> None:
    assert lab.bump("n") == 1
    assert (proxy.round_trips, proxy.commands) == (1, {"EVAL": 1})
    assert lab.bump("n") == 2
    assert (proxy.round_trips, proxy.commands) == (2, {"EVAL": 1, "EVALSHA": 1})


def test_the_first_use_on_each_connection_carries_the_script(
    client: Octavo[Sync], proxy: WireProxy
) -> None:
    Lab(client).bump("n")
    proxy.cut()
    proxy.reset()
    Lab(client).bump("n")
    assert (proxy.commands["EVAL"], proxy.commands["EVALSHA"]) == (1, 0)


def test_the_sha_is_computed_locally() -> None:
    source = (SCRIPTS / "bump.lua").read_bytes()
    assert BUMP.source == source
    assert BUMP.sha == hashlib.sha1(source).hexdigest().encode()


def test_an_include_stands_for_the_file_beside_it(lab: Any) -> None:
    assert b"local function twice" in TWICE.source
    assert b"@include" not in TWICE.source
    assert TWICE.sha == hashlib.sha1(TWICE.source).hexdigest().encode()
    assert run(lab, TWICE, "n", 4) == 8


def test_a_script_is_read_at_its_first_use(tmp_path: Path, lab: Any) -> None:
    path = tmp_path / "late.lua"
    script = Script(path)
    path.write_text("return redis.call('STRLEN', KEYS[1])")
    assert run(lab, script, "n") == 0
    assert repr(script) == "<Script late.lua>"


def test_a_script_survives_a_flush_of_the_script_cache(lab: Any, proxy: WireProxy) -> None:
    lab.bump("n")
    flush(lab)
    proxy.reset()
    assert lab.bump("n") == 2
    assert proxy.commands == {"EVALSHA": 1, "EVAL": 1}
    assert lab.bump("n") == 3
    assert proxy.commands["EVALSHA"] == 2


def test_in_a_batch_only_what_met_noscript_is_sent_again_behind_the_others(
    client: Octavo[Sync], proxy: WireProxy
) -> None:
    lab = Lab(client)
    lab.bump("n", 0)
    flush(lab)
    proxy.reset()
    with client.batch() as batch:
        pending = [Lab(batch).add("n"), Lab(batch).bump("n", 10), Lab(batch).add("n")]
    assert [one.result() for one in pending] == [1, 12, 2]
    assert proxy.commands == {"INCRBY": 2, "EVALSHA": 1, "EVAL": 1}


def test_a_flush_in_a_loop_goes_unseen_under_load(own: Any, standalone: Standalone) -> None:
    stop = threading.Event()

    def flush_again_and_again() -> None:
        while not stop.is_set():
            standalone.cli("SCRIPT", "FLUSH")

    thread = threading.Thread(target=flush_again_and_again)
    thread.start()
    try:
        assert [own.bump("n") for _ in range(300)] == list(range(1, 301))
    finally:
        stop.set()
        thread.join()
    stats = standalone.cli("INFO", "errorstats")
    assert int(stats["errorstat_NOSCRIPT"]["count"]) > 10


def test_a_script_that_was_refused_counts_as_unknown_to_the_server(
    own: Any, standalone: Standalone
) -> None:
    own.put("n", 1)
    standalone.cli("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(octavo.OutOfMemory):
        own.bump("n")
    standalone.cli("CONFIG", "SET", "maxmemory", 0)
    flush(own)
    assert own.bump("n") == 2


def test_scripts_run_on_every_kind_of_server(connect: Connect, server: Server) -> None:
    lab = lab_of(connect(server.url))
    assert [lab.bump(f"{{n-{i}}}") for i in range(20)] == [1] * 20
    assert [lab.bump_once(f"{{n-{i}}}") for i in range(20)] == [2] * 20


# A reply that got lost.


def test_a_plain_script_whose_reply_is_lost_is_not_run_again(lab: Any, proxy: WireProxy) -> None:
    lab.bump("n")
    proxy.drop_replies()
    with pytest.raises(octavo.ConnectionLost) as caught:
        lab.bump("n")
    assert caught.value.outcome == "unknown"
    assert lab.get("n") == b"2"


def test_an_idempotent_script_whose_reply_is_lost_is_run_again(lab: Any, proxy: WireProxy) -> None:
    lab.put("k", "v")
    proxy.reset()
    proxy.drop_replies()
    assert lab.read("k") == b"v"
    assert proxy.commands["EVAL"] == 2


@pytest.mark.parametrize("lost", [1, 3])
def test_a_once_script_whose_reply_is_lost_gives_that_reply_and_runs_once(
    lab: Any, proxy: WireProxy, lost: int
) -> None:
    lab.bump_once("n")
    proxy.reset()
    proxy.drop_replies(lost)
    assert lab.bump_once("n", 10) == 11
    assert proxy.commands["EVALSHA"] + proxy.commands["EVAL"] == 1 + lost
    assert lab.get("n") == b"11"


def test_a_once_script_runs_each_time_it_is_called(lab: Any) -> None:
    assert [lab.bump_once("n") for _ in range(3)] == [1, 2, 3]


def test_a_kept_reply_has_the_shape_of_the_first(lab: Any, proxy: WireProxy) -> None:
    plain = run(lab, SHAPES, "a")
    first = run(lab, SHAPES.once, "b")
    proxy.drop_replies()
    repeated = run(lab, SHAPES.once, "c")
    assert plain == first == repeated
    assert lab.get("c") == b"1"


def test_a_kept_error_is_the_first_ones(lab: Any, proxy: WireProxy) -> None:
    proxy.drop_replies()
    with pytest.raises(octavo.ServerError, match="REFUSED as always") as caught:
        run(lab, REFUSE.once, "n")
    assert caught.value.code == "REFUSED"
    assert lab.get("n") == b"1"


def test_a_reply_is_kept_for_a_minute_in_the_slot_of_the_key(
    own: Any, standalone: Standalone
) -> None:
    own.bump_once("{tag}n")
    (kept,) = [key for key in standalone.cli("KEYS", "*") if ":once:" in key]
    assert kept.startswith(own.key("{tag}n").decode())
    assert ONCE_TTL == 60.0
    assert 55_000 < standalone.cli("PTTL", kept) <= 60_000


def test_a_timeout_may_not_outlast_the_kept_reply() -> None:
    for connect in (octavo.connect, octavo.connect_async):
        with pytest.raises(ValueError, match="timeout must be"):
            connect("redis://localhost", timeout=ONCE_TTL)


def test_a_once_script_in_a_batch_is_sent_again(client: Octavo[Sync], proxy: WireProxy) -> None:
    proxy.drop_replies()
    with client.batch() as batch:
        pending = [Lab(batch).bump_once("n") for _ in range(5)]
    assert [one.result() for one in pending] == [1, 2, 3, 4, 5]
    assert Lab(client).get("n") == b"5"


def test_a_once_script_in_an_atomic_batch_is_sent_again(
    client: Octavo[Sync], proxy: WireProxy
) -> None:
    proxy.drop_replies()
    with client.batch(atomic=True) as batch:
        pending = [Lab(batch).bump_once("{n}") for _ in range(5)]
    assert [one.result() for one in pending] == [1, 2, 3, 4, 5]
    assert Lab(client).get("{n}") == b"5"

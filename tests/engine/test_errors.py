from __future__ import annotations

import copy
import inspect
import logging
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis.exceptions

import octavo
from octavo import errors
from octavo.engine.command import Command
from octavo.engine.retry import Lost
from octavo.testing.waiting import wait_until
from tests.engine.lab import command, lab_of

if TYPE_CHECKING:
    from octavo.testing.proxy import WireProxy
    from octavo.testing.servers import Standalone
    from tests.fix_faces import Connect

EXAMPLES = [
    errors.OctavoError("message", operation="job.do", key="k"),
    errors.ConnectionLost("message", outcome="unknown", operation="job.do", key="k"),
    errors.DeadlineExceeded("message", outcome="not_sent"),
    errors.WrongType("WRONGTYPE message", operation="job.do", key="k"),
    errors.OutOfMemory("OOM message"),
    errors.PrecisionLost("message"),
]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn: dict[int, str] = {}
    found: list[tuple[str, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        name = line.replace("│", " ").replace("├──", "   ").replace("└──", "   ").split()[:1]
        if not name or not name[0].endswith(tuple(errors.__all__)):
            continue
        depth = line.index(name[0])
        drawn[depth] = name[0]
        parents = [drawn[at] for at in sorted(drawn) if at < depth]
        if parents:
            found.append((name[0], parents[-1]))
    assert dict(found).keys() | {"OctavoError"} == set(errors.__all__)
    for child, parent in found:
        if child != "BatchError":
            assert issubclass(getattr(errors, child), getattr(errors, parent)), child


def test_every_error_is_exported() -> None:
    kinds = [
        name
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, Exception)
    ]
    assert sorted(kinds) == sorted(errors.__all__)
    assert all(getattr(octavo, name) is getattr(errors, name) for name in errors.__all__)


def test_a_deadline_is_a_timeout_and_a_lost_precision_is_arithmetic() -> None:
    assert issubclass(octavo.DeadlineExceeded, TimeoutError)
    assert issubclass(octavo.PrecisionLost, ArithmeticError)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling_and_copying(error: errors.OctavoError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_a_group_of_a_batch_survives_pickling() -> None:
    group = octavo.BatchError("2 of 3 operations failed", EXAMPLES[:2])
    again = pickle.loads(pickle.dumps(group))
    assert type(again) is octavo.BatchError
    assert [str(one) for one in again.exceptions] == [str(one) for one in group.exceptions]


def test_errors_of_redis_py_are_translated_in_one_place() -> None:
    source = Path(octavo.__file__).parent
    knowing = [path.name for path in source.glob("engine/*.py") if "RedisError" in path.read_text()]
    assert knowing == ["topology.py"]


def test_an_error_shows_operation_and_key_where_they_are_known() -> None:
    assert str(EXAMPLES[0]) == "message [operation=job.do key=k]"
    assert str(EXAMPLES[2]) == "message"


# What a server answers.


@pytest.fixture
def lab(connect: Connect, standalone: Standalone) -> Any:
    """A lab on each face, to a server of its own."""
    return lab_of(connect(standalone.url))


def test_a_key_of_another_type_is_a_wrong_type_that_names_it(lab: Any) -> None:
    lab.put("text", "x")
    key = lab.key("text")
    script = "return redis.call('HGET', KEYS[1], 'field')"
    for words in (b"HGET", key, "field"), (b"EVAL", script, "1", key):
        with pytest.raises(octavo.WrongType) as caught:
            lab.send(Command(words, (key,), bytes))
        error = caught.value
        assert (error.code, error.operation) == ("WRONGTYPE", "lab.send")
        assert error.key == key.decode()
        assert f"key={key.decode()}" in str(error)
        assert "script:" not in str(error)


def test_a_wrong_type_among_several_keys_names_them_all(lab: Any) -> None:
    lab.put("{s}text", "x")
    keys = lab.key("{s}list"), lab.key("{s}text")
    both = Command((b"RPOPLPUSH", *keys), keys, bytes)
    lab.send(command("RPUSH", keys[0], "x"))
    with pytest.raises(octavo.WrongType) as caught:
        lab.send(both)
    assert all(key.decode() in str(caught.value) for key in keys)


def test_a_full_server_is_out_of_memory(lab: Any, standalone: Standalone) -> None:
    standalone.cli("CONFIG", "SET", "maxmemory", 1)
    for write in (lab.add, lab.bump):
        with pytest.raises(octavo.OutOfMemory) as caught:
            write("n")
        assert caught.value.code == "OOM"
        assert caught.value.key == lab.key("n").decode()
    assert lab.get("n") is None


def test_a_server_that_cannot_save_refuses_writes(lab: Any, standalone: Standalone) -> None:
    standalone.cli("CONFIG", "SET", "min-replicas-to-write", 1)
    for write in (lab.add, lab.bump):
        with pytest.raises(octavo.WriteRefused) as caught:
            write("n")
        assert caught.value.code == "NOREPLICAS"


def test_a_refusal_of_our_own_scripts_is_no_server_error(lab: Any) -> None:
    for code, kind in (("MISMATCH", octavo.ConfigMismatch), ("PRECISION", octavo.PrecisionLost)):
        script = f"return redis.error_reply('{code} this and that')"
        with pytest.raises(kind) as caught:
            lab.send(command("EVAL", None, script, "0"))
        assert str(caught.value) == "this and that [operation=lab.send]"


def test_any_other_error_is_a_server_error_with_its_code(lab: Any) -> None:
    with pytest.raises(octavo.ServerError, match="unknown command") as caught:
        lab.send(command("NONSENSE"))
    assert (type(caught.value), caught.value.code) == (octavo.ServerError, "ERR")


def test_an_error_carries_its_cause(lab: Any, connect: Connect) -> None:
    with pytest.raises(octavo.ServerError) as refused:
        lab.send(command("NONSENSE"))
    assert refused.value.__cause__ is not None
    nowhere = lab_of(connect("redis://127.0.0.1:1", timeout=0.2))

    def refusal() -> BaseException | None:
        with pytest.raises(octavo.ConnectionLost) as lost:
            nowhere.get("k")
        cause = lost.value.__cause__
        assert isinstance(cause, Lost)
        return cause.__cause__

    # On a busy machine the last try may be late before it is refused.
    cause = wait_until(refusal, "the last try was refused")
    assert isinstance(cause, redis.exceptions.ConnectionError)
    assert isinstance(cause.__context__, OSError)


@pytest.mark.slow
@pytest.mark.parametrize(
    "url", ["redis+cluster://127.0.0.1:1", "redis+sentinel://127.0.0.1:1/main"]
)
def test_no_error_of_redis_py_comes_through(connect: Connect, url: str) -> None:
    lab = lab_of(connect(url, timeout=0.4))
    with pytest.raises(octavo.ConnectionLost) as caught:
        lab.add("n")
    error = caught.value
    assert (error.outcome, error.operation, error.key) == (
        "not_sent",
        "lab.add",
        lab.key("n").decode(),
    )
    assert len(str(error)) < 400


def test_a_cluster_url_to_no_cluster_is_a_clear_error(
    connect: Connect, standalone: Standalone
) -> None:
    lab = lab_of(connect(standalone.url.replace("redis://", "redis+cluster://"), timeout=2))
    with pytest.raises(octavo.OctavoError, match=r"(?i)cluster"):
        lab.get("k")


def test_a_sentinel_that_does_not_know_the_service_is_a_clear_error(
    connect: Connect, sentinels: Any
) -> None:
    lab = lab_of(connect(sentinels.url.replace("/octavo/", "/unheard/"), timeout=2))
    with pytest.raises(octavo.OctavoError, match="unheard"):
        lab.get("k")


def test_the_library_logs_nothing_unless_asked(
    capfd: pytest.CaptureFixture[str], proxy: WireProxy
) -> None:
    logger = logging.getLogger("octavo")
    assert any(isinstance(handler, logging.NullHandler) for handler in logger.handlers)
    with octavo.connect(proxy.url):
        pass
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")

from __future__ import annotations

import builtins
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from tests.engine.lab import Lab, command, lab_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from octavo.testing.proxy import WireProxy
    from tests.fix_faces import Connect

FLOWS = pytest.mark.parametrize("face", ["sync", "async"])


class Telling:
    """What OpenTelemetry was told."""

    def __init__(self) -> None:
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - may be absent
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import (  # noqa: PLC0415
            InMemorySpanExporter,
        )

        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self._tracers = TracerProvider()
        self._tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._meters = MeterProvider(metric_readers=[self._reader])
        self.telemetry = octavo.OpenTelemetry(self._tracers, self._meters)

    @property
    def spans(self) -> list[Any]:
        return list(self._exporter.get_finished_spans())

    @property
    def measured(self) -> dict[tuple[str, str | None], int]:
        """How often a duration was recorded, by operation and type of error."""
        data: Any = self._reader.get_metrics_data()
        (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
        assert (metric.name, metric.unit) == ("db.client.operation.duration", "s")
        return {
            (point.attributes["db.operation.name"], point.attributes.get("error.type")): point.count
            for point in metric.data.data_points
        }

    def span(self, name: str) -> Any:
        return self._tracers.get_tracer("test").start_as_current_span(name)

    def close(self) -> None:
        self._tracers.shutdown()
        self._meters.shutdown()


@pytest.fixture
def telling() -> Iterator[Telling]:
    pytest.importorskip("opentelemetry.sdk", reason="pip install opentelemetry-sdk")
    telling = Telling()
    yield telling
    telling.close()


@pytest.fixture
def lab(connect: Connect, proxy: WireProxy, telling: Telling) -> Any:
    """A lab on each face that tells."""
    return lab_of(connect(proxy.url, timeout=2.0, telemetry=telling.telemetry))


@FLOWS
def test_an_operation_is_a_span_and_a_duration(lab: Any, telling: Telling) -> None:
    lab.add("n")
    lab.add("n")
    first, second = telling.spans
    assert first.name == second.name == "lab.add"
    assert first.kind.name == "CLIENT"
    assert dict(first.attributes) == {"db.system.name": "redis", "db.operation.name": "lab.add"}
    assert first.status.is_unset
    assert telling.measured == {("lab.add", None): 2}


@FLOWS
def test_an_error_is_told_by_its_type_alone(lab: Any, telling: Telling) -> None:
    lab.put("text", "secret")
    with pytest.raises(octavo.WrongType):
        lab.send(command("HGET", lab.key("text"), "field"))
    span = telling.spans[-1]
    assert span.attributes["error.type"] == "WrongType"
    assert not span.status.is_ok
    assert not span.status.is_unset
    assert telling.measured["lab.send", "WrongType"] == 1


def test_keys_and_values_are_never_told(lab: Any, telling: Telling, prefix: str) -> None:
    lab.put("name", "value")
    with pytest.raises(octavo.OctavoError):
        lab.send(command("HGET", lab.key("name"), "field"))
    for span in telling.spans:
        told = span.to_json()
        assert prefix not in told
        assert "value" not in told.replace('"value"', "")
        assert "field" not in told
        assert not span.events


@FLOWS
def test_a_flow_is_one_span(lab: Any, telling: Telling) -> None:
    lab.put("a", "1")
    lab.put("b", "2")
    lab.swap("a", "b")
    assert [span.name for span in telling.spans] == ["lab.put", "lab.put", "lab.swap"]
    with pytest.raises(ZeroDivisionError):
        lab.ask(divmod, 1, 0)
    assert telling.spans[-1].attributes["error.type"] == "ZeroDivisionError"


@FLOWS
def test_a_batch_is_one_span(connect: Connect, proxy: WireProxy, telling: Telling) -> None:
    client: Any = connect(proxy.url, telemetry=telling.telemetry)
    with client.batch() as batch:
        Lab(batch).put("text", "x")
        Lab(batch).add("n")
    assert [span.name for span in telling.spans] == ["batch"]
    with pytest.raises(octavo.BatchError), client.batch() as batch:
        Lab(batch).send(command("HGET", Lab(batch).key("text"), "field"))
    assert telling.spans[-1].attributes["error.type"] == "BatchError"


@pytest.mark.parametrize("face", ["sync"])  # the loop of the other one is in another thread
def test_spans_of_an_operation_belong_to_the_callers_span(lab: Any, telling: Telling) -> None:
    with telling.span("request"):
        lab.add("n")
    operation, request = telling.spans
    assert operation.parent.span_id == request.context.span_id


def test_nothing_is_told_unless_asked(
    connect: Connect, proxy: WireProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        assert not name.startswith("opentelemetry")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert lab_of(connect(proxy.url)).add("n") == 1


def test_without_opentelemetry_asking_for_it_names_the_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ImportError, match=r"pip install 'octavo\[otel\]'"):
        octavo.OpenTelemetry()


def test_anything_may_stand_around_operations(connect: Connect, proxy: WireProxy) -> None:
    seen: list[str] = []

    @contextmanager
    def telemetry(operation: str) -> Generator[None]:
        seen.append(operation)
        yield
        seen.append(f"/{operation}")

    lab_of(connect(proxy.url, telemetry=telemetry)).add("n")
    assert seen in (["lab.add", "/lab.add"], ["batch", "/batch"])

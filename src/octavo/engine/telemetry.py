"""What an operation tells about itself: nothing, unless asked.

redis-py reports commands and connections; octavo reports its own operations and batches, so that
nothing is counted twice. Keys and values never appear.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager


class Telemetry(Protocol):
    """Anything that wants to stand around each operation."""

    def __call__(self, operation: str, /) -> AbstractContextManager[object]:
        """Return the context manager that an operation (`leaderboard.submit`) runs in."""
        ...


class OpenTelemetry:
    """A span and a duration per operation, by OpenTelemetry: `connect(telemetry=OpenTelemetry())`.

    Spans are named by the operation and carry `db.system.name`, `db.operation.name` and, after
    an error, `error.type`. The histogram is `db.client.operation.duration`, in seconds.

    Args:
        tracer_provider: None takes the global one.
        meter_provider: None takes the global one.

    Raises:
        ImportError: OpenTelemetry is not installed; `pip install 'octavo[otel]'`.
    """

    def __init__(self, tracer_provider: Any = None, meter_provider: Any = None) -> None:
        try:
            from opentelemetry import metrics, trace  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise ImportError("OpenTelemetry is missing: pip install 'octavo[otel]'") from error
        self._tracer = trace.get_tracer("octavo", tracer_provider=tracer_provider)
        self._duration = metrics.get_meter(
            "octavo", meter_provider=meter_provider
        ).create_histogram(
            "db.client.operation.duration", unit="s", description="Duration of octavo operations."
        )
        self._kind = trace.SpanKind.CLIENT
        self._error = trace.StatusCode.ERROR

    @contextmanager
    def __call__(self, operation: str, /) -> Generator[None]:
        """Stand around one operation."""
        attributes = {"db.system.name": "redis", "db.operation.name": operation}
        started = time.perf_counter()
        with self._tracer.start_as_current_span(
            operation,
            kind=self._kind,
            attributes=attributes,
            # The message of an error holds the key.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as error:
                attributes["error.type"] = type(error).__qualname__
                span.set_attribute("error.type", attributes["error.type"])
                span.set_status(self._error)
                raise
            finally:
                self._duration.record(time.perf_counter() - started, attributes)

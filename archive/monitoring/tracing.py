"""Sends spans to an OpenTelemetry collector (OTLP over HTTP); must not hold up the work they are about.

Spans are sent by a thread of the library, in batches; what a collector does not take in time is dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from archive.services.tracing import Span, Value

_PATH: Final = "/v1/traces"
_SEND_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class OtelSpan:
    """A span of the library."""

    span: trace.Span

    def note(self, name: str, value: Value) -> None:
        """Add an attribute."""
        self.span.set_attribute(name, value)

    def end(self, error: str = "") -> None:
        """End it; after the first time nothing happens."""
        if not self.span.is_recording():
            return
        if error:
            self.span.set_attribute("error.type", error)
            self.span.set_status(trace.StatusCode.ERROR)
        self.span.end()

    def entered(self) -> AbstractContextManager[object]:
        """Let what begins within be a part of it; what is raised within is told by ``end``, by its kind alone."""
        return trace.use_span(self.span, record_exception=False, set_status_on_exception=False)


@dataclass(frozen=True, slots=True)
class OtelTraces:
    """Where spans go."""

    tracer: trace.Tracer

    def begin(self, name: str, **attributes: Value) -> Span:
        """Begin a span."""
        return OtelSpan(self.tracer.start_span(name, attributes=attributes))


@contextmanager
def open_traces(endpoint: str, percent: float, archive: str) -> Iterator[OtelTraces]:
    """Lend what sends so many percent of traces to a collector, in the archive's name; send the rest at the end."""
    # The library tells of a collector that is away on its own logger, each time.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    exporter = OTLPSpanExporter(endpoint.rstrip("/") + _PATH, timeout=_SEND_SECONDS)
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(percent / 100)),
        resource=Resource({"service.name": "drimbox-archive", "service.instance.id": archive}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield OtelTraces(provider.get_tracer("drimbox"))
    finally:
        provider.shutdown()

"""A collector of spans: takes OTLP over HTTP and decodes its protobuf; must not import the archive."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

Value = str | int | float | bool


@dataclass
class Received:
    """One span as it came over the wire."""

    name: str
    span_id: str
    parent_id: str
    seconds: float
    is_error: bool
    attributes: dict[str, Value]
    resource: dict[str, Value]


@dataclass
class Collector:
    """What came; ``port`` is where it listens."""

    port: int = 0
    paths: set[str] = field(default_factory=set)
    spans: list[Received] = field(default_factory=list)

    def named(self, name: str) -> list[Received]:
        """Return the spans of one name."""
        return [span for span in self.spans if span.name == name]

    def take(self, raw: bytes) -> None:
        """Decode a request."""
        request = ExportTraceServiceRequest.FromString(raw)
        for group in request.resource_spans:
            resource = {each.key: _value(each.value) for each in group.resource.attributes}
            for scope in group.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        Received(
                            *(span.name, span.span_id.hex(), span.parent_span_id.hex()),
                            (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                            span.status.code == 2,
                            {each.key: _value(each.value) for each in span.attributes},
                            resource,
                        )
                    )


def _value(value: AnyValue) -> Value:
    kind = value.WhichOneof("value")
    found: Value = getattr(value, kind or "string_value")
    return found


@contextmanager
def collector() -> Iterator[Collector]:
    """Run a collector."""
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            found.paths.add(self.path)
            found.take(gzip.decompress(raw) if self.headers["Content-Encoding"] == "gzip" else raw)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield found
        server.shutdown()
        thread.join()

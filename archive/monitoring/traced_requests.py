"""HTTP requests, each in a span; must not say which study or whose images a path is about."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from archive.services.tracing import Traces


@dataclass(frozen=True, slots=True)
class TracedRequests:
    """Stands before the application of the port; ``routes`` are the first parts of its paths, with their slash."""

    application: ASGIApp
    traces: Traces
    routes: frozenset[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        first = "/" + scope["path"].lstrip("/").partition("/")[0]
        # Anything else somebody may have typed, a patient's name too.
        route = first if first in self.routes else ""
        attributes = {"http.request.method": scope["method"], "http.route": route}
        span = self.traces.begin("HTTP request", **attributes)

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                span.note("http.response.status_code", message["status"])
            await send(message)

        try:
            with span.entered():
                await self.application(scope, receive, noting)
        except BaseException as exc:
            span.end(type(exc).__name__)
            raise
        span.end()

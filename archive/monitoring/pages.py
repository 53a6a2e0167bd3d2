"""``/metrics``, ``/healthz`` and ``/readyz``; must not say whose images the archive holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from archive.errors import MethodNotOffered, NoSuchResource
from archive.http.access import person_of
from archive.http.surfaces import Surface
from archive.monitoring.exposition import CONTENT_TYPE
from archive.services.people import Permission

_METHODS: Final = ("GET", "HEAD")
Answer = Callable[[Request], Response]


@dataclass(frozen=True, slots=True)
class Page:
    """An ASGI application with one path; ``answer`` runs in a thread."""

    answer: Answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer GET and HEAD; raises what the guard tells the client."""
        request = Request(scope, receive)
        if scope["path"].rstrip("/") != scope.get("root_path", ""):
            raise NoSuchResource(reason="no such path")
        if request.method not in _METHODS:
            raise MethodNotOffered(reason="it can only be read")
        response = await run_in_threadpool(self.answer, request)
        await response(scope, receive, send)


def pages(metrics: Callable[[], bytes], problems: Callable[[], Sequence[str]]) -> Sequence[Surface]:
    """Return the surfaces. Metrics are for who may operate the archive, the other two for everybody who gets here."""
    return (
        Surface("/metrics", Page(lambda request: _metrics(request, metrics))),
        Surface("/healthz", Page(lambda _request: JSONResponse({"status": "alive"})), is_public=True),
        Surface("/readyz", Page(lambda _request: _ready(problems())), is_public=True),
    )


def _metrics(request: Request, metrics: Callable[[], bytes]) -> Response:
    person_of(request).require(Permission.OPERATE)
    return Response(metrics(), media_type=CONTENT_TYPE)


def _ready(problems: Sequence[str]) -> Response:
    status = 503 if problems else 200
    return JSONResponse({"status": "not ready" if problems else "ready", "problems": list(problems)}, status)

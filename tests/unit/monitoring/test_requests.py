"""The pages that watch, and requests in spans, as an ASGI server calls them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from archive.errors import MethodNotOffered, NoSuchResource, NotAllowed, NotAuthenticated
from archive.http.access import set_person
from archive.http.surfaces import Surface
from archive.monitoring.pages import pages
from archive.monitoring.traced_requests import TracedRequests
from archive.services.people import Person
from archive.services.tracing import Span, Value

OPERATOR = Person("olga", "Olga", frozenset({"operator"}))
READER = Person("rene", "René", frozenset({"radiologist"}))


def call(application: ASGIApp, path: str, **more: Any) -> tuple[int, bytes]:
    """Call an application once; return status and body."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "method": "GET", "headers": [], "query_string": b"", "path": path, **more}
    asyncio.run(application(scope, receive, send))  # type: ignore[arg-type]
    body = b"".join(message.get("body", b"") for message in sent)
    return next(message["status"] for message in sent if message["type"] == "http.response.start"), body


def page(path: str, problems: Callable[[], list[str]] = list) -> Surface:
    """Return the surface at a path."""
    return next(each for each in pages(lambda: b"drimbox_info 1\n", problems) if each.path == path)


def ask(path: str, *, by: Person | None = None, method: str = "GET", below: str = "") -> tuple[int, bytes]:
    """Ask for a page as the guard does."""
    scope: Scope = {"root_path": path, "method": method}
    set_person(scope, by)
    return call(page(path).application, path + below, **scope)


def test_an_operator_reads_metrics() -> None:
    """With or without a slash at the end."""
    assert ask("/metrics", by=OPERATOR) == (200, b"drimbox_info 1\n")
    assert ask("/metrics", by=OPERATOR, below="/")[0] == 200
    assert not page("/metrics").is_public


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"by": READER}, NotAllowed),
        ({}, NotAuthenticated),
        ({"by": OPERATOR, "method": "DELETE"}, MethodNotOffered),
        ({"by": OPERATOR, "below": "/../x"}, NoSuchResource),
    ],
)
def test_others_do_not(arguments: dict[str, Any], error: type[Exception]) -> None:
    """The guard makes a problem of it."""
    with pytest.raises(error):
        ask("/metrics", **arguments)


def test_health_is_for_everybody() -> None:
    """Nobody has to say who they are."""
    assert json.loads(ask("/healthz")[1]) == {"status": "alive"}
    assert page("/healthz").is_public and page("/readyz").is_public
    status, body = call(page("/readyz", lambda: ["index: away"]).application, "/readyz", root_path="/readyz")
    assert (status, json.loads(body)) == (503, {"status": "not ready", "problems": ["index: away"]})


# ---- spans ---------------------------------------------------------------------------------------------------------


@dataclass
class Noted:
    """A span that remembers."""

    attributes: dict[str, Value]
    ended: list[str] = field(default_factory=list)

    def note(self, name: str, value: Value) -> None:
        self.attributes[name] = value

    def end(self, error: str = "") -> None:
        self.ended.append(error)

    def entered(self) -> AbstractContextManager[object]:
        return nullcontext()


@dataclass
class Noting:
    """Traces that remember."""

    spans: list[Noted] = field(default_factory=list)

    def begin(self, name: str, **attributes: Value) -> Span:
        self.spans.append(Noted({"name": name, **attributes}))
        return self.spans[-1]


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    """Fail."""
    raise RuntimeError("DUPONT^JEAN")


def test_a_request_is_a_span_without_its_path() -> None:
    """The first part alone, when it is one that is offered."""
    traces = Noting()
    traced = TracedRequests(PlainTextResponse("fine", 201), traces, frozenset({"/dicom-web"}))
    for path in ("/dicom-web/studies/1.2.3", "/dupont", "/"):
        assert call(traced, path)[0] == 201
    assert [span.attributes["http.route"] for span in traces.spans] == ["/dicom-web", "", ""]
    assert traces.spans[0].attributes == {
        "name": "HTTP request",
        "http.request.method": "GET",
        "http.route": "/dicom-web",
        "http.response.status_code": 201,
    }
    assert [span.ended for span in traces.spans] == [[""], [""], [""]]


def test_a_request_that_fails_ends_its_span_by_kind() -> None:
    """What failed goes on to the server, its words stay out of the span."""
    traces = Noting()
    with pytest.raises(RuntimeError):
        call(TracedRequests(failing, traces, frozenset()), "/x")
    assert traces.spans[0].ended == ["RuntimeError"]
    assert "DUPONT" not in repr(traces)


def test_what_is_no_request_passes() -> None:
    """A server's own messages are none."""
    traces = Noting()
    with pytest.raises(RuntimeError):
        call(TracedRequests(failing, traces, frozenset()), "/x", type="lifespan")
    assert traces.spans == []

"""The door of the HTTP port: who asks, what it may cost, what is logged, how errors are told; must not know the pages.

Pure ASGI: nothing of a body or an answer is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import RedirectResponse, Response
from starlette.types import Message, Receive, Scope, Send

from archive import logs
from archive.clock import monotonic
from archive.errors import (
    ArchiveError,
    NoSuchResource,
    NotAuthenticated,
    TooManyConnections,
    TooManyRequests,
    Unavailable,
)
from archive.http.access import Authenticator, address_of, set_person
from archive.http.direct import direct_of
from archive.http.limits import BoundedAnswer, BoundedBody, is_crowded
from archive.http.problems import problem_of
from archive.http.proxies import ForwardedAddress
from archive.http.surfaces import Surface, find_surface
from archive.services.people import Person

_log = logs.get(__name__)
_SECRETS: Final = (b"cookie", b"authorization")
_NOWHERE: Final = Surface("", Response())


@dataclass(frozen=True, slots=True)
class Bounds:
    """What requests may cost: how many at once, and how long (seconds) a body or a reader may stand still."""

    max_requests: int
    body_seconds: float
    send_seconds: float


@dataclass(slots=True)
class Guard:
    """The ASGI application of the port: ``authenticators`` are asked in turn, the first that knows somebody decides."""

    surfaces: Sequence[Surface]
    authenticators: Sequence[Authenticator]
    bounds: Bounds
    forwarded: ForwardedAddress = field(default_factory=ForwardedAddress)
    running: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; never raises what a requester can cause."""
        if scope["type"] != "http":
            return
        self.running += 1
        try:
            await _Exchange(self, scope, receive, send).run()
        finally:
            self.running -= 1

    def person(self, scope: Scope) -> Person | None:
        """Return who sends a request, or None; raises NotAuthenticated, NotAllowed."""
        found = (authenticate(scope) for authenticate in self.authenticators)
        return next((person for person in found if person is not None), None)


def _shows_something(scope: Scope) -> bool:
    """Tell whether there is a secret to be looked up or asked about: that may block, and goes to a thread."""
    return any(name in _SECRETS for name, _ in scope["headers"])


class _Exchange:
    """One request and its answer."""

    def __init__(self, guard: Guard, scope: Scope, receive: Receive, send: Send) -> None:
        self._guard = guard
        self._scope = guard.forwarded.applied(scope)
        self._scope["app"] = guard  # what makes a Starlette router raise rather than answer in its own words
        self._started = monotonic()
        self._surface = find_surface(guard.surfaces, scope["path"]) or _NOWHERE
        self._person: Person | None = None
        self._body = BoundedBody(receive, self._surface.max_body_bytes, guard.bounds.body_seconds)
        self._answer = BoundedAnswer(send, guard.bounds.send_seconds)

    async def run(self) -> None:
        """Let the request in, have it answered, tell what went wrong, log it."""
        error: Exception | None = None
        try:
            await self._let_in()
        except asyncio.CancelledError:  # the archive stops, and this took longer than its grace
            error = Unavailable(reason="the archive stops")
            self._body.is_complete = True  # nothing more of it is waited for
            await self._tell(error)
        except Exception as exc:
            error = exc
            await self._tell(exc)
        finally:
            self._log(error)

    async def _let_in(self) -> None:
        guard, surface, scope = self._guard, self._surface, self._scope
        if is_crowded(scope):
            raise TooManyConnections(reason="too many connections")
        if guard.running > guard.bounds.max_requests:
            raise TooManyRequests(reason="too many requests")
        if surface is _NOWHERE:
            raise NoSuchResource(reason="no such path")
        self._person = await run_in_threadpool(guard.person, scope) if _shows_something(scope) else guard.person(scope)
        if self._person is None and not surface.is_public:
            await self._refuse_unknown()
            return
        set_person(scope, self._person)
        below = {**scope, "root_path": scope.get("root_path", "") + surface.path.rstrip("/")}
        await surface.application(below, self._body, self._send)

    async def _refuse_unknown(self) -> None:
        """Send a person to sign in, and from there to where they were going; tell a program."""
        login, scope = self._surface.login, self._scope
        is_person = scope["method"] in ("GET", "HEAD") or "text/html" in Headers(scope=scope).get("accept", "")
        if login is None or not is_person:
            raise NotAuthenticated(reason="sign in, or use an address or a token the archive knows")
        query = scope.get("query_string", b"").decode("latin_1")
        to = quote(scope["path"]) + (f"?{query}" if query and scope["method"] != "POST" else "")
        await self._respond_early(RedirectResponse(f"{login}?to={quote(to, safe='/')}", status_code=303))

    async def _tell(self, error: Exception) -> None:
        """Answer with the problem, if it is not too late; else end the connection, so that nobody takes a part."""
        if self._answer.status:
            if not self._answer.is_over:
                raise error
            return
        await self._respond_early(problem_of(error).response())

    async def _respond_early(self, response: Response) -> None:
        """Answer though a body may not have been read."""
        if not self._body.is_complete and "expect" not in Headers(scope=self._scope):
            await self._body.drain()
        if not self._body.is_complete or is_crowded(self._scope):
            response.headers["connection"] = "close"
        await self._respond(response)

    async def _respond(self, response: Response) -> None:
        await response(self._scope, self._body, self._send)

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", []))
            names = {name.lower() for name, _ in given}
            ours = self._surface.protecting(is_encrypted=self._scope["scheme"] == "https")
            message["headers"] = given + [(name, value) for name, value in ours if name not in names]
        await self._answer(message)

    def _log(self, error: Exception | None) -> None:
        status, direct = self._answer.status, direct_of(self._scope)
        told = {
            "method": self._scope["method"],
            # Only a path that meant something is told: in any other, anybody may have written a patient's name.
            "path": self._scope["path"] if status < 400 else self._surface.path,
            "status": status,
            "person": self._person.name if self._person else "",
            "peer_address": address_of(self._scope),
            "bytes_in": self._body.received,
            "bytes_out": self._answer.sent + (0 if direct is None else direct.sent_bytes),
            "elapsed_ms": round((monotonic() - self._started) * 1000, 1),
        }
        if error is None or isinstance(error, HTTPException):
            _log.info("request_answered", **told)
        elif isinstance(error, ArchiveError | ClientDisconnect):
            _log.warning("request_refused", reason=type(error).__name__, **told)
        else:
            _log.error("request_failed", exc_info=error, **told)

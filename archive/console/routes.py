"""Everything below /console: its pages, its own files, compressed; must not answer a request itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from archive.console.desk import Desk
from archive.console.rendering import STATIC, address_of
from archive.services.people import Permission

_FOR_EVER: Final = b"private, max-age=31536000, immutable"
_LEAST_COMPRESSED: Final = 500


class Pages(Protocol):
    """Some pages of the console."""

    def routes(self) -> Iterable[Route]:
        """Return their routes."""


def application(desk: Desk, pages: Iterable[Pages]) -> ASGIApp:
    """Return the console: an ASGI application that sees what follows its path."""
    routes: list[BaseRoute] = [Mount("/static", _Kept(StaticFiles(directory=STATIC)))]
    routes.append(desk.act("/language", Permission.VIEW_CONSOLE, desk.choose_language, of="/"))
    for each in pages:
        routes += each.routes()
    routes.append(desk.page("/{path:path}", Permission.VIEW_CONSOLE, desk.elsewhere))
    home = RedirectResponse(address_of("/"), status_code=308)
    return GZipMiddleware(Router(routes, redirect_slashes=False, default=home), minimum_size=_LEAST_COMPRESSED)


class _Kept:
    """Static files that browsers may keep for ever: their addresses change with their bytes."""

    def __init__(self, files: ASGIApp) -> None:
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def kept(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                given = [pair for pair in message["headers"] if pair[0].lower() != b"cache-control"]
                message["headers"] = [*given, (b"cache-control", _FOR_EVER)]
            await send(message)

        await self._files(scope, receive, kept)

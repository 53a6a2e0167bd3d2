"""Runs an ASGI application on a port, in a thread of its own; must not know what the application does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from archive import logs, tcp
from archive.clock import monotonic
from archive.config import HttpSettings
from archive.errors import ConfigError
from archive.http.protocol import Connection
from archive.http.tls import server_context

_log = logs.get(__name__)
_BACKLOG: Final = 512
_START_SECONDS: Final = 30.0
_CUT_SECONDS: Final = 2.0
_KIB: Final = 1024

AtEnd = Callable[[], None]


class HttpServer:
    """The HTTP port. ``start`` it, ``stop`` it; ``at_end`` is called when no request is answered any more."""

    def __init__(self, settings: HttpSettings, application: ASGIApp, *, at_end: Sequence[AtEnd] = ()) -> None:
        self._settings = settings
        self._application = application
        self._at_end = at_end
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> tuple[str, int] | None:
        """Open the port and return where it is; None when none is set. Raises ConfigError."""
        if self._settings.port is None:
            return None
        context = server_context(self._settings)
        listener = _listen(self._settings.host, self._settings.port)
        self._server = uvicorn.Server(_config(self._settings, self._application))
        self._server.config.load()
        self._server.config.ssl = context
        self._thread = threading.Thread(target=self._run, args=(self._server, listener), name="http", daemon=True)
        self._thread.start()
        deadline = monotonic() + _START_SECONDS
        while not self._server.started and self._thread.is_alive() and monotonic() < deadline:
            self._thread.join(0.01)
        if not self._server.started:
            raise ConfigError(name="http.port", reason="the HTTP server did not start; the log says why")
        bound: tuple[str, int] = listener.getsockname()[:2]
        return bound

    def _run(self, server: uvicorn.Server, listener: socket.socket) -> None:
        try:
            server.run([listener])
        except Exception as exc:
            _log.error("http_stopped", exc_info=exc)

    def begin_stop(self, *, grace_seconds: float) -> None:
        """Close the port and return; requests under way are answered within the grace, then cut."""
        if self._server is not None:
            self._server.config.timeout_graceful_shutdown = max(1, int(grace_seconds))
            self._server.should_exit = True

    def stop(self, *, grace_seconds: float) -> None:
        """Close the port and wait for its requests to end, or to be cut."""
        self.begin_stop(grace_seconds=grace_seconds)
        if self._thread is not None:
            self._thread.join(grace_seconds + _CUT_SECONDS)
        for end in self._at_end:
            end()


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tcp.prepare(listener)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as exc:
        listener.close()
        raise ConfigError(name="http.port", reason=f"{host}:{port} cannot be opened ({exc.strerror})") from exc
    return listener


def _config(settings: HttpSettings, application: ASGIApp) -> uvicorn.Config:
    bounds = {
        "max_connections": settings.max_connections,  # uvicorn's own limit would answer in its own words
        "max_header_bytes": settings.max_header_kib * _KIB,
        "header_seconds": settings.header_seconds,
        "send_seconds": settings.send_seconds,
    }
    return uvicorn.Config(
        application,
        loop="asyncio",
        http=type("BoundedConnection", (Connection,), bounds),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",  # the guard tells what happens to a request, once
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.idle_seconds,
    )

"""One HTTP connection: uvicorn's protocol with bounds on headers and the client's certificate; must not see a body."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from archive import tcp
from archive.errors import BadRequest, HeadersTooLong, RequestError, TooSlow
from archive.http.direct import EXTENSION, Direct
from archive.http.limits import CROWDED
from archive.http.problems import problem_of


class Connection(HttpToolsProtocol):
    """A connection that has to send its headers in time and in bounds (RFC 6585 section 5, RFC 9110 section 15.5.9).

    The scope's ``extensions["tls"]`` is that of the ASGI TLS extension, as far as Python tells; without TLS there is
    a way round the event loop for long bodies instead. ``extensions["drimbox.crowded"]`` is there when there are more
    than ``max_connections``: whoever answers refuses then.
    """

    max_connections: ClassVar[int] = 512
    max_header_bytes: ClassVar[int] = 64 * 1024
    header_seconds: ClassVar[float] = 10.0
    send_seconds: ClassVar[float] = 60.0
    _deadline: asyncio.TimerHandle | None = None
    _header_bytes = 0
    _in_headers = True
    _is_refused = False
    _tls: dict[object, object] | None = None
    _direct: Direct

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of the first request."""
        super().connection_made(transport)
        tcp.set_up(transport.get_extra_info("socket"))
        secured: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if secured is not None:
            self._tls = _told_of(secured)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before the headers are complete."""
        if self._is_refused:
            return
        if self._in_headers:
            if self._deadline is None:
                self._await_headers()
            self._header_bytes += len(data)
            if self._header_bytes > self.max_header_bytes + _READ_AT_ONCE:
                self._refuse(self._too_long())
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._in_headers = True
        if self._deadline is None:  # it came behind another one in the same piece
            self._await_headers()
        self._direct = Direct(self.transport, self.send_seconds)
        offered: dict[str, Any] = {EXTENSION: self._direct} if self._tls is None else {"tls": self._tls}
        self.scope["extensions"] = offered

    def on_headers_complete(self) -> None:
        """Stop the clock and hand the request on, unless its headers are too long altogether."""
        self._stop_clock()
        self._in_headers = False
        self._header_bytes = 0
        length = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if length > self.max_header_bytes:
            self._refuse(self._too_long())
            return
        if len(self.connections) > self.max_connections:
            self.scope["extensions"][CROWDED] = {}
        super().on_headers_complete()
        self._direct.cycle = self.cycle

    def on_message_complete(self) -> None:
        """Wait for the next request's headers, without a clock until they begin."""
        if not self._is_refused:
            super().on_message_complete()
        self._in_headers = True

    def on_body(self, body: bytes) -> None:
        """Pass a body on, unless its request was refused."""
        if not self._is_refused:
            super().on_body(body)

    def _await_headers(self) -> None:
        self._stop_clock()
        self._deadline = self.loop.call_later(self.header_seconds, self._refuse_late)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(BadRequest(reason="this is not HTTP/1.1"))

    def _refuse_late(self) -> None:
        self._refuse(TooSlow(seconds=self.header_seconds, reason="the headers do not come"))

    def _too_long(self) -> HeadersTooLong:
        return HeadersTooLong(limit_bytes=self.max_header_bytes, reason="too long")

    def _refuse(self, why: RequestError) -> None:
        """Tell why and end the connection.

        Nothing is told in the middle of an answer, whose reader would take it for a part of it: one to an earlier
        request is given to its end first, one to this request is broken off.
        """
        self._stop_clock()
        self._is_refused = True
        cycle: RequestResponseCycle | None = self.cycle
        if self.transport.is_closing():
            return
        if cycle is not None and not cycle.response_complete:
            if self._in_headers:
                cycle.keep_alive = False
                return
            if cycle.response_started:
                self.transport.close()
                return
        answer = problem_of(why).response()
        headers = [*answer.raw_headers, (b"connection", b"close")]
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[answer.status_code] + lines + b"\r\n" + bytes(answer.body))
        self.transport.close()


_READ_AT_ONCE: Final = 256 * 1024
"""What asyncio reads at most in one go: the end of the headers may come with much of a body behind it."""


def _told_of(secured: ssl.SSLObject) -> dict[object, object]:
    raw = secured.getpeercert(binary_form=True)
    version, cipher = secured.version(), secured.cipher()
    return {
        "server_cert": None,
        "client_cert_chain": [ssl.DER_cert_to_PEM_cert(raw)] if raw else [],
        "client_cert_name": None,
        "client_cert_error": None,
        "tls_version": version,
        "cipher_suite": cipher[0] if cipher else None,
    }

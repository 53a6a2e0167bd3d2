"""A small HTTP proxy before an object store's gateway that makes chosen requests go wrong; it has no test."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(slots=True)
class Answer:
    """One answer on its way back; ``cut_bytes``: the connection ends after so many bytes of the body."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    cut_bytes: int | None = None


Relay = Callable[[Request], Answer]
Fault = Callable[[Request, Relay], Answer | None]
"""What happens to a request in place of being relayed; None: the connection ends without an answer."""


@dataclass(slots=True)
class FaultProxy:
    """Relays to a port on this machine; ``faults`` wait each for the next request that its pattern finds."""

    upstream_port: int
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    faults: list[tuple[re.Pattern[str], Fault]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def endpoint_url(self) -> str:
        """Return where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def inject(self, pattern: str, *faults: Fault) -> None:
        """Have the next requests that the pattern finds in ``METHOD /path?query`` go wrong, one after the other."""
        self.faults += [(re.compile(pattern), fault) for fault in faults]

    def handle(self, request: Request) -> Answer | None:
        """Answer one request."""
        with self._lock:
            self.requests.append(request)
            waiting = [entry for entry in self.faults if entry[0].search(str(request))]
            if waiting:
                self.faults.remove(waiting[0])
        return waiting[0][1](request, self.relay) if waiting else self.relay(request)

    def relay(self, request: Request) -> Answer:
        """Send a request on as it is, its signed headers included. Raises OSError when the gateway is not there."""
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream_port, timeout=30)
        try:
            connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.endheaders(request.body)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    # ---- faults ------------------------------------------------------------------------------------------------------

    def relay_only(self, request: Request, relay: Relay) -> Answer | None:
        """Let one request pass."""
        return relay(request)

    def lose(self, request: Request, relay: Relay) -> Answer | None:
        """Have the gateway do it, and keep the answer back."""
        relay(request)
        return None

    def drop(self, _request: Request, _relay: Relay) -> Answer | None:
        """End the connection at once."""
        return None

    def stall(self, _request: Request, _relay: Relay) -> Answer | None:
        """Say nothing for as long as the test goes on."""
        self.released.wait(30)
        return None


def refuse(status: int, code: str) -> Fault:
    """Return a fault: the answer is an error of S3, and the gateway is not asked."""
    body = f"<Error><Code>{code}</Code><Message>as asked</Message></Error>".encode()
    return lambda _request, _relay: Answer(status, {"Content-Type": "application/xml"}, body)


def change(alter: Callable[[Answer], Any]) -> Fault:
    """Return a fault: the gateway answers, and the answer is altered on its way."""

    def fault(request: Request, relay: Relay) -> Answer:
        answer = relay(request)
        alter(answer)
        return answer

    return fault


def spoil(request: Request, relay: Relay) -> Answer:
    """Alter one byte of what is sent."""
    body = request.body[:-1] + bytes([request.body[-1] ^ 1])
    return relay(Request(request.method, request.path, request.headers, body))


def flip(answer: Answer) -> None:
    """Alter one byte of what is read."""
    answer.body = answer.body[:-1] + bytes([answer.body[-1] ^ 1])


def cut(answer: Answer) -> None:
    """End the connection in the middle of what is read."""
    answer.cut_bytes = len(answer.body) // 2


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultProxy

    def _relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            answer = self.proxy.handle(Request(self.command, self.path, dict(self.headers.items()), body))
        except OSError:
            answer = None
        if answer is None:
            self.close_connection = True
        else:
            self._give(answer)

    def _give(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        length = answer.headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(answer.body))
        for name, value in answer.headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[: answer.cut_bytes])
        self.close_connection = self.close_connection or answer.cut_bytes is not None

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _relay

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


@contextmanager
def new_proxy(upstream_port: int) -> Iterator[FaultProxy]:
    """Lend a proxy."""
    proxy = FaultProxy(upstream_port)
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    with _Server(("127.0.0.1", 0), handler) as server:
        proxy.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.released.set()
            server.shutdown()
            thread.join()

"""HTTP as bare as a socket: what a reader of DICOMweb waits for, without what a client library adds; must not judge.

Bodies are thrown away as they come, unless they are asked for.
"""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from typing import Any, Final

from archive.clock import monotonic
from benchmarks.peers import Endpoint

_BUFFER_BYTES: Final = 1 << 20
_SLOW_BYTES: Final = 256 * 1024
_HEAD_BYTES: Final = 64 * 1024
ROOT: Final = "/dicom-web"
OBJECTS: Final = 'multipart/related; type="application/dicom"'
AS_STORED: Final = OBJECTS + "; transfer-syntax=*"
JSON: Final = "application/dicom+json"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: its status, the bytes of its body, how long all of it took; ``body`` where it was to be kept."""

    status: int
    size_bytes: int
    seconds: float
    body: bytes = b""


def get(server: Endpoint, path: str, accept: str, *, keep: bool = False, bytes_a_second: int = 0) -> Answer:
    """Get ``path`` over a connection of its own and read it to its end, no faster than is said. Raises OSError."""
    started = monotonic()
    with socket.create_connection((server.host, server.http_port), timeout=120) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host = f"{server.host}:{server.http_port}"
        lines = (f"GET {ROOT}{path} HTTP/1.1", f"Host: {host}", f"Accept: {accept}", "Connection: close", "", "")
        connection.sendall("\r\n".join(lines).encode())
        head, rest = _head(connection)
        kept, size = _drained(connection, rest, keep=keep, bytes_a_second=bytes_a_second)
    body = _unchunked(kept) if keep and b"transfer-encoding: chunked" in head.lower() else kept
    return Answer(int(head.split(b" ", 2)[1]), size, monotonic() - started, body)


def _head(connection: socket.socket) -> tuple[bytes, bytes]:
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(_HEAD_BYTES)
        if not more:
            raise ConnectionError("the connection ended in the headers")
        head += more
    before, _, behind = head.partition(b"\r\n\r\n")
    return before, behind


def _drained(connection: socket.socket, rest: bytes, *, keep: bool, bytes_a_second: int) -> tuple[bytes, int]:
    buffer = memoryview(bytearray(_SLOW_BYTES if bytes_a_second else _BUFFER_BYTES))
    kept, size = bytearray(rest) if keep else bytearray(), len(rest)
    while count := connection.recv_into(buffer):
        size += count
        if keep:
            kept += buffer[:count]
        if bytes_a_second:
            time.sleep(count / bytes_a_second)
    return bytes(kept), size


def _unchunked(data: bytes) -> bytes:
    """Take chunked coding (RFC 9112 section 7.1) off a body."""
    found, position = bytearray(), 0
    while True:
        end = data.index(b"\r\n", position)
        size = int(data[position:end].partition(b";")[0], 16)
        if size == 0:
            return bytes(found)
        found += data[end + 2 : end + 2 + size]
        position = end + size + 4


def get_json(server: Endpoint, path: str) -> Any:
    """Return what a path tells as JSON. Raises OSError, ValueError."""
    return json.loads(get(server, path, JSON, keep=True).body)


def uids_of(server: Endpoint, study: str) -> tuple[str, list[str]]:
    """Return the first series of a study and its instances."""
    series = get_json(server, f"/studies/{study}/series")[0]["0020000E"]["Value"][0]
    told = get_json(server, f"/studies/{study}/series/{series}/instances")
    return series, [each["00080018"]["Value"][0] for each in told]

"""Bodies written straight to a connection, files by the kernel (``sendfile``); must not know what is in them.

What goes through the event loop is handed from thread to thread and copied twice, each object of a study anew. Without
TLS nothing has to touch the bytes: a thread writes what the connection takes, and waits nowhere for a slow reader.
"""

from __future__ import annotations

import asyncio
import select
import socket
from asyncio.trsock import TransportSocket
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from starlette.types import Scope

from archive.clock import monotonic
from archive.errors import TooSlow

EXTENSION: Final = "drimbox.direct"
_LINGER_MS: Final = 20
_TURN_SECONDS: Final = 0.05
_AT_ONCE_BYTES: Final = 8 << 20


class FileBytes(Protocol):
    """Bytes of a file: ``size_bytes`` of them."""

    size_bytes: int

    def send_to(self, connection: socket.socket, position: int, count: int) -> int:
        """Send at most ``count`` bytes from ``position`` and return how many; raises BlockingIOError, and others."""

    def read_into(self, view: memoryview, position: int) -> None:
        """Fill ``view`` with the bytes from ``position``."""


@dataclass(frozen=True, slots=True)
class FilePiece:
    """A piece of a body: ``head``, then the bytes of a file, which stays open until the next piece is asked for."""

    head: bytes
    content: FileBytes


Piece = bytes | memoryview | FilePiece


class Direct:
    """The way round the event loop that a connection offers with each request, in the scope's extensions."""

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self.sent_bytes = 0
        self.seconds = seconds
        self.cycle: Any = None
        """uvicorn's account of the answer, which it checks when the answer is over."""
        self._transport = transport

    def borrow(self) -> socket.socket | None:
        """Return a second handle of the socket once the headers are out, or None: TLS, or the line is full already."""
        transport = self._transport
        if transport.is_closing() or transport.get_write_buffer_size() or transport.get_extra_info("ssl_object"):
            return None
        own: TransportSocket = transport.get_extra_info("socket")
        return own.dup()

    @property
    def is_chunked(self) -> bool:
        """Tell whether the body goes in chunks (RFC 9112 section 7.1), because no length was told."""
        return bool(self.cycle.chunked_encoding)

    def account(self, sent_bytes: int) -> None:
        """Have uvicorn know what it has not seen."""
        self.sent_bytes += sent_bytes
        if not self.is_chunked:
            self.cycle.expected_content_length -= sent_bytes


def direct_of(scope: Scope) -> Direct | None:
    """Return what the connection of a request offers, if it does."""
    found: Direct | None = scope.get("extensions", {}).get(EXTENSION)
    return found


class Writer:
    """Writes pieces to a connection. ``step`` it in a thread, one at a time; wait for it to be ``writable`` between."""

    def __init__(self, connection: socket.socket, pieces: Iterator[Piece], *, is_chunked: bool) -> None:
        self._connection = connection
        self._pieces = pieces
        self._is_chunked = is_chunked
        self._waiting: deque[_Bytes | _File] = deque()
        self._poll = select.poll()
        self._poll.register(connection, select.POLLOUT)
        self.sent_bytes = 0

    def step(self) -> bool:
        """Write until all is written (True), or the reader is behind or others have waited for long (False).

        Raises ConnectionError when the reader is gone, and whatever making or reading a piece raises.
        """
        until = monotonic() + _TURN_SECONDS
        while monotonic() < until:
            if not self._waiting:
                if not self._make():
                    return True
                continue
            try:
                sent = self._waiting[0].send(self._connection)
            except BlockingIOError:
                if not self._poll.poll(_LINGER_MS):
                    return False
                continue
            self.sent_bytes += sent
            if self._waiting[0].is_over:
                self._waiting.popleft()
        return False

    def _make(self) -> bool:
        """Have the next piece sent as far as the connection takes it at once; False when there is none."""
        piece = next(self._pieces, None)
        if piece is None:
            return False
        head, content = (piece.head, piece.content) if isinstance(piece, FilePiece) else (piece, None)
        size = len(head) + (0 if content is None else content.size_bytes)
        if not size:
            return True
        before, behind = (b"%x\r\n" % size, b"\r\n") if self._is_chunked else (b"", b"")
        flags = socket.MSG_MORE if content is not None or behind else 0
        if before or head:
            self._begin(_Bytes(memoryview(before + head if before else head), flags))
        if content is not None and content.size_bytes:
            self._begin(_File(content))
        if behind:
            self._begin(_Bytes(memoryview(behind), 0))
        return True

    def _begin(self, item: _Bytes | _File) -> None:
        """Send what goes at once, which is mostly all of it, unless something waits already; the rest waits."""
        if not self._waiting:
            with suppress(BlockingIOError):
                self.sent_bytes += item.send(self._connection)
            if item.is_over:
                return
        self._waiting.append(item)

    async def writable(self, seconds: float) -> None:
        """Return when the connection takes more; raise TooSlow when it takes nothing for that long."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_writer(self._connection, ready.set)
        try:
            async with asyncio.timeout(seconds):
                await ready.wait()
        except TimeoutError as exc:
            raise TooSlow(seconds=seconds, reason="the answer is not read") from exc
        finally:
            loop.remove_writer(self._connection)

    def cut(self) -> None:
        """End the connection, whoever writes or waits at this moment."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the handle back; the connection stays as it is."""
        self._connection.close()


@dataclass(slots=True)
class _Bytes:
    rest: memoryview
    flags: int

    def send(self, connection: socket.socket) -> int:
        sent = connection.send(self.rest, self.flags)
        self.rest = self.rest[sent:]
        return sent

    @property
    def is_over(self) -> bool:
        return not self.rest


@dataclass(slots=True)
class _File:
    content: FileBytes
    position: int = 0

    def send(self, connection: socket.socket) -> int:
        left = self.content.size_bytes - self.position
        sent = self.content.send_to(connection, self.position, min(left, _AT_ONCE_BYTES))
        self.position += sent
        return sent

    @property
    def is_over(self) -> bool:
        return self.position >= self.content.size_bytes

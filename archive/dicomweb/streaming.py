"""Answers that are made while they are read, in a thread, one piece ahead; must not know what is in them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from socket import socket
from typing import Any, Final

import numpy as np
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from archive.http.direct import Direct, FilePiece, Piece, Writer, direct_of
from archive.http.turns import Turn, turn_of

SMALL_BYTES: Final = 1 << 20
"""What is made before the first byte is sent."""
SMALL_CHUNKS: Final = 1 << 16
"""So many chunks of it at most; fewer where each takes long to make."""
WINDOW_BYTES: Final = 1 << 20
"""What is read of files at a time where the kernel cannot send them itself."""
Chunk = bytes | memoryview
Chunks = Iterator[Chunk]
Pieces = Iterator[Piece]


@dataclass(frozen=True, slots=True)
class Threads:
    """The threads of the service: ``making`` make the chunks of answers, a thread an answer; ``preparing`` open and
    convert what comes next, and never wait for one of the others.
    """

    making: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(64, "wado"))
    preparing: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4, "wado-ahead"))

    def stop(self) -> None:
        """Return when nothing is being prepared any more."""
        for each in (self.making, self.preparing):
            each.shutdown(cancel_futures=True)


class Streamed(Response):
    """An answer whose body is an iterator that may block; it is closed however the answer ends.

    Whoever reads slowly has one piece made ahead and no more. When the reader goes away nothing more is made. An error
    of the iterator ends the connection: what has been sent cannot be taken back, and must not look complete.
    """

    def __init__(
        self, pieces: Pieces, pool: ThreadPoolExecutor, *, media_type: str, status: int, headers: Mapping[str, str]
    ) -> None:
        self._pieces = pieces
        self._pool = pool
        self._work: Future[Any] = Future()
        self._work.set_result(None)
        self.status_code = status
        self.media_type = media_type
        self.background = None
        self.body = b""
        self.init_headers(headers)
        if "content-length" not in {name.lower() for name in headers}:
            del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        gone = asyncio.ensure_future(_reader_gone(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if scope.get("method") == "HEAD":
                await send({"type": "http.response.body"})
                return
            direct, turn = direct_of(scope), turn_of(scope)
            connection = None if direct is None else direct.borrow()
            if direct is None or connection is None:
                await self._relay(send, gone, turn)
            elif not await self._write(direct, connection, gone, turn):
                return
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()
            self._work.cancel()
            self._work.add_done_callback(self._close)

    async def _relay(self, send: Send, gone: asyncio.Future[None], turn: Turn) -> None:
        """Send chunk after chunk through the event loop."""
        chunks = chunks_of(self._pieces)
        coming = self._work = self._pool.submit(next, chunks, None)
        while (chunk := await asyncio.wrap_future(coming)) is not None and not gone.done():
            await turn.again()
            coming = self._work = self._pool.submit(next, chunks, None)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _write(self, direct: Direct, connection: socket, gone: asyncio.Future[None], turn: Turn) -> bool:
        """Write all of it to the connection itself; return False when the reader has gone away."""
        writer = Writer(connection, self._pieces, is_chunked=direct.is_chunked)

        def cut(_: object) -> None:
            writer.cut()

        gone.add_done_callback(cut)
        try:
            while not await self._step(writer, direct):
                turn.over()
                await writer.writable(direct.seconds)
                await turn.take()
        except ConnectionError:
            return False
        except BaseException:
            writer.cut()
            raise
        finally:
            gone.remove_done_callback(cut)
            self._work.add_done_callback(lambda _: writer.close())
        return True

    async def _step(self, writer: Writer, direct: Direct) -> bool:
        before = writer.sent_bytes
        step = self._work = self._pool.submit(writer.step)
        try:
            return await asyncio.wrap_future(step)
        finally:
            direct.account(writer.sent_bytes - before)

    def _close(self, _: object) -> None:
        close: Callable[[], None] | None = getattr(self._pieces, "close", None)
        if close is not None:
            with suppress(RuntimeError):  # the threads are stopped: so is everything that could be open
                self._pool.submit(close)


def chunks_of(pieces: Pieces) -> Chunks:
    """Yield the bytes of pieces, ``WINDOW_BYTES`` of a file at a time and what goes before it."""
    for piece in pieces:
        if not isinstance(piece, FilePiece):
            yield piece
            continue
        head, position, size = piece.head, 0, piece.content.size_bytes
        while head or position < size:
            window = min(WINDOW_BYTES, size - position)
            chunk = np.empty(len(head) + window, "u1").data  # not zeroed: all of it is filled
            chunk[: len(head)] = head
            piece.content.read_into(chunk[len(head) :], position)
            head, position = b"", position + window
            yield chunk


async def _reader_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Begun:
    """The chunks of an answer, the first of them made before anything is sent: what goes wrong until then is told.

    ``is_complete``: there are no others. Whoever iterates gets all of them; close it.
    """

    def __init__(self, chunks: Chunks) -> None:
        self.first: list[Chunk] = []
        self.is_complete = False
        self._rest = chunks

    def begin(self, most: int = SMALL_CHUNKS) -> Begun:
        """Make the first ``SMALL_BYTES``, in so many chunks at ``most``.

        Raises what making them raises, and keeps what was made until then.
        """
        size = 0
        while size < SMALL_BYTES and len(self.first) < most and not self.is_complete:
            chunk = next(self._rest, None)
            if chunk is None:
                self.is_complete = True
            else:
                self.first.append(chunk)
                size += len(chunk)
        return self

    def __iter__(self) -> Chunks:
        return self

    def __next__(self) -> Chunk:
        return self.first.pop(0) if self.first else next(self._rest)

    def close(self) -> None:
        """Close what makes the chunks."""
        close = getattr(self._rest, "close", None)
        if close is not None:
            close()


def answer(
    begun: Begun, pool: ThreadPoolExecutor, *, media_type: str, status: int = 200, headers: Mapping[str, str]
) -> Response:
    """Return an answer: at once where all of it is made already, else streamed."""
    if not begun.is_complete:
        return Streamed(begun, pool, media_type=media_type, status=status, headers=headers)
    others = {name: value for name, value in headers.items() if name != "content-length"}
    return Response(b"".join(begun.first), status, headers=others, media_type=media_type)


class Multipart:
    """The frame of a multipart/related body (RFC 2046 section 5.1.1) with a boundary of its own."""

    def __init__(self, inner: str) -> None:
        self._boundary = secrets.token_hex(16)
        self._inner = inner
        self._is_first = True

    @property
    def is_empty(self) -> bool:
        """Tell whether there is no part yet."""
        return self._is_first

    @property
    def media_type(self) -> str:
        """Return the Content-Type of the whole."""
        return f'multipart/related; type="{self._inner}"; boundary={self._boundary}'

    def head(self, media_type: str, **headers: str) -> bytes:
        """Return what comes before a part; ``headers`` by names with underscores."""
        told = "".join(f"{name.replace('_', '-').title()}: {value}\r\n" for name, value in headers.items())
        before = "" if self._is_first else "\r\n"
        self._is_first = False
        return f"{before}--{self._boundary}\r\nContent-Type: {media_type}\r\n{told}\r\n".encode("latin_1")

    def overhead(self, parts: int) -> int:
        """Return the length of all heads and the end, the media types in the heads left out."""
        head = Multipart(self._inner).head("")
        return parts * (len(head) + 2) - 2 + len(self.end())

    def end(self) -> bytes:
        """Return what comes behind the last part."""
        return f"\r\n--{self._boundary}--\r\n".encode("latin_1")

"""Answers made while they are read: how far ahead, what is closed, and that half an answer never looks whole."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes
from types import SimpleNamespace

import pytest
from starlette.responses import Response
from starlette.types import Message

from archive.dicomweb import streaming
from archive.dicomweb.streaming import Begun, Chunks, Multipart, Streamed, Threads, answer as answer_of, chunks_of
from archive.http.direct import Direct, FilePiece


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Give a thread."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


class Making:
    """Makes numbered chunks and remembers how many; fails at ``fails_at``."""

    def __init__(self, count: int, fails_at: int = -1) -> None:
        self.made = 0
        self.closed = threading.Event()
        self._count, self._fails_at = count, fails_at

    def chunks(self) -> Chunks:
        """Yield the chunks."""
        try:
            for number in range(self._count):
                if number == self._fails_at:
                    raise OSError("the disk failed")
                self.made += 1
                yield b"%d;" % number
        finally:
            self.closed.set()


class Reader:
    """The other end: takes what is sent; goes away after so many messages."""

    def __init__(self, stays: int = 1000) -> None:
        self.sent: list[Message] = []
        self.ahead: list[int] = []
        self._gone = asyncio.Event()
        self._stays = stays

    async def receive(self) -> Message:
        """Say when it goes away."""
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take a message."""
        self.sent.append(message)
        if len(self.sent) >= self._stays:
            self._gone.set()
        await asyncio.sleep(0.002)

    @property
    def body(self) -> bytes:
        """Return what came."""
        return b"".join(message.get("body", b"") for message in self.sent)


def answer(making: Making, pool: ThreadPoolExecutor, **headers: str) -> Streamed:
    """Return an answer."""
    return Streamed(making.chunks(), pool, media_type="text/plain", status=206, headers=headers)


async def run(response: Streamed, reader: Reader) -> None:
    """Send an answer to a reader."""
    await response({"type": "http"}, reader.receive, reader.send)


def test_all_of_it_is_sent_and_closed(pool: ThreadPoolExecutor) -> None:
    """Status, headers, chunks in order, the end; without a length unless one is told."""
    making, reader = Making(4), Reader()
    asyncio.run(run(answer(making, pool, x="y"), reader))
    assert (reader.sent[0]["status"], reader.body) == (206, b"0;1;2;3;")
    assert dict(reader.sent[0]["headers"]) == {b"x": b"y", b"content-type": b"text/plain; charset=utf-8"}
    assert reader.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert making.closed.is_set()
    sized = Reader()
    asyncio.run(run(answer(Making(1), pool, **{"content-length": "2"}), sized))
    assert dict(sized.sent[0]["headers"])[b"content-length"] == b"2"


def test_one_chunk_is_made_ahead_and_no_more(pool: ThreadPoolExecutor) -> None:
    """However slowly it is read."""
    making = Making(20)

    class Slow(Reader):
        async def send(self, message: Message) -> None:
            await super().send(message)
            self.ahead.append(making.made - len(self.sent))

    reader = Slow()
    asyncio.run(run(answer(making, pool), reader))
    assert max(reader.ahead) <= 1


def test_nothing_is_made_for_who_went_away(pool: ThreadPoolExecutor) -> None:
    """A reader that is gone ends it, and what was open is closed."""
    making = Making(1000)
    asyncio.run(run(answer(making, pool), Reader(stays=3)))
    assert making.closed.wait(5)
    assert making.made < 20


def test_an_error_never_looks_like_the_end(pool: ThreadPoolExecutor) -> None:
    """What fails in the middle leaves as an error, without a last message, and is closed."""
    making, reader = Making(9, fails_at=3), Reader()
    with pytest.raises(OSError, match="disk"):
        asyncio.run(run(answer(making, pool), reader))
    assert reader.body == b"0;1;2;"
    assert all(message.get("more_body", True) for message in reader.sent)
    assert making.closed.wait(5)


def test_a_cancelled_answer_is_closed(pool: ThreadPoolExecutor) -> None:
    """Whoever stops the server leaves no file open."""
    making = Making(1000)

    async def cancelled() -> None:
        task = asyncio.create_task(run(answer(making, pool), Reader()))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert making.closed.wait(5)


def test_the_beginning_is_made_before_anything_is_sent() -> None:
    """What goes wrong in it is an error of its own, and what was made until then is there; closing closes all of it."""
    begun = Begun(Making(3, fails_at=2).chunks())
    with pytest.raises(OSError):
        begun.begin()
    assert begun.first == [b"0;", b"1;"]
    making = Making(3)
    begun = Begun(making.chunks()).begin()
    assert (begun.is_complete, list(begun)) == (True, [b"0;", b"1;", b"2;"])
    begun.close()
    Begun(iter([b"a"])).close()


def test_no_more_than_the_beginning_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long answer goes on where its beginning ended."""
    monkeypatch.setattr(streaming, "SMALL_BYTES", 4)
    making = Making(9)
    begun = Begun(making.chunks()).begin()
    assert (making.made, begun.is_complete) == (2, False)
    assert len(list(begun)) == 9
    other = Making(9)
    begun = Begun(other.chunks()).begin()
    begun.close()
    assert other.closed.is_set()


def test_a_beginning_may_be_so_many_chunks() -> None:
    """Where each takes long to make, nobody waits until they are enough bytes."""
    making = Making(9)
    begun = Begun(making.chunks()).begin(3)
    assert (making.made, begun.is_complete) == (3, False)
    assert b"".join(begun) == b"0;1;2;3;4;5;6;7;8;"
    assert Begun(Making(2).chunks()).begin(3).is_complete


def test_what_is_short_is_answered_at_once(pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its true length, whatever was expected; what is long is streamed."""
    short = answer_of(
        Begun(Making(2).chunks()).begin(), pool, media_type="a/b", headers={"content-length": "99", "x": "y"}
    )
    assert (type(short), short.body, short.headers["content-length"], short.headers["x"]) == (
        Response,
        b"0;1;",
        "4",
        "y",
    )
    monkeypatch.setattr(streaming, "SMALL_BYTES", 1)
    long = answer_of(Begun(Making(2).chunks()).begin(), pool, media_type="a/b", headers={"content-length": "4"})
    assert (type(long), long.headers["content-length"]) == (Streamed, "4")


class Stored:
    """Bytes of a file."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size_bytes = len(data)
        self.reads: list[int] = []

    def read_into(self, view: memoryview, position: int) -> None:
        """Fill a view."""
        self.reads.append(len(view))
        view[:] = self.data[position : position + len(view)]

    def send_to(self, connection: socket.socket, position: int, count: int) -> int:
        """Send nothing: nobody asks for it here."""
        raise AssertionError(connection, position, count)


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 35])
def test_files_go_through_the_loop_a_window_at_a_time(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel cannot send them itself: heads before them, other pieces between, no more than a window read."""
    monkeypatch.setattr(streaming, "WINDOW_BYTES", 10)
    files = [Stored(bytes(range(size))), Stored(b"x" * size)]
    chunks = list(chunks_of(iter([FilePiece(b"head", files[0]), b"between", FilePiece(b"", files[1])])))
    assert b"".join(chunks) == b"head" + files[0].data + b"between" + files[1].data
    assert max((*files[0].reads, 0)) <= 10
    assert all(len(chunk) <= 14 for chunk in chunks)


class Transport:
    """As much of a connection as is asked whether it can be written to."""

    def __init__(self, *, unsent: int = 0, is_closing: bool = False, tls: object = None) -> None:
        self._told = {"ssl_object": tls, "socket": self}
        self.get_write_buffer_size = lambda: unsent
        self.is_closing = lambda: is_closing

    def get_extra_info(self, name: str) -> object:
        """Tell something."""
        return self._told[name]

    def dup(self) -> str:
        """Return a second handle."""
        return "handle"


@pytest.mark.parametrize(
    ("transport", "borrowed"),
    [
        (Transport(), "handle"),
        (Transport(unsent=1), None),
        (Transport(is_closing=True), None),
        (Transport(tls=object()), None),
    ],
)
def test_a_connection_is_lent_when_bytes_can_go_straight(transport: Transport, borrowed: str | None) -> None:
    """Not over TLS, not with bytes unsent that would come later, not when it ends."""
    assert Direct(transport, 60.0).borrow() == borrowed  # type: ignore[arg-type, comparison-overlap]


@pytest.mark.parametrize(("is_chunked", "left"), [(False, 93), (True, 100)])
def test_the_server_knows_what_it_has_not_seen(is_chunked: bool, left: int) -> None:
    """Of a length that was told what was sent is taken off; in chunks there is none."""
    direct = Direct(Transport(), 60.0)  # type: ignore[arg-type]
    direct.cycle = SimpleNamespace(chunked_encoding=is_chunked, expected_content_length=100)
    direct.account(3)
    direct.account(4)
    assert (direct.sent_bytes, direct.cycle.expected_content_length) == (7, left)


def test_a_message_knows_whether_it_has_parts() -> None:
    """Who has put none into it can still answer otherwise."""
    empty, other = Multipart("a/b"), Multipart("a/b")
    other.head("a/b")
    assert (empty.is_empty, other.is_empty) == (True, False)


def test_parts_are_a_message_that_others_can_read() -> None:
    """Python's own reader of messages finds every part with its headers; the overhead is known beforehand."""
    frame = Multipart("application/dicom")
    bodies = [b"one", b"\r\n--two\r\n", b""]
    kinds = ["application/dicom", "image/jls; transfer-syntax=1.2", "text/plain"]
    data = b""
    for kind, body in zip(kinds, bodies, strict=True):
        data += frame.head(kind, content_location="/a/b") + body
    data += frame.end()
    assert Multipart("application/dicom").overhead(3) > len(data) - sum(map(len, (*bodies, *kinds))) - 3 * 30
    message = message_from_bytes(b"Content-Type: " + frame.media_type.encode() + b"\r\n\r\n" + data)
    assert message.get_param("type") == "application/dicom"
    parts = message.get_payload()
    assert isinstance(parts, list)
    assert [part["Content-Location"] for part in parts] == ["/a/b"] * 3  # type: ignore[index]
    assert [part.get_content_type() for part in parts] == ["application/dicom", "image/jls", "text/plain"]  # type: ignore[union-attr]


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_the_overhead_is_exact(parts: int) -> None:
    """All heads and the end, without the media types."""
    frame = Multipart("x/y")
    length = sum(len(frame.head("a/b")) for _ in range(parts)) + len(frame.end())
    assert frame.overhead(parts) == length - 3 * parts


def test_threads_are_stopped() -> None:
    """When the archive ends nothing goes on."""
    threads = Threads()
    assert threads.making.submit(lambda: 1).result() == 1
    threads.stop()
    with pytest.raises(RuntimeError):
        threads.preparing.submit(print)

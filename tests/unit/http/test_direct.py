"""Bodies written straight to a connection: every byte once and in order, slow readers, readers that are gone."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.errors import FixityError, TooSlow
from archive.http.direct import FilePiece, Piece, Writer, direct_of
from archive.services.retrieve import ObjectBytes

_MIB = 1 << 20


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection: ours, which does not wait, and the reader's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reader = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    with ours, reader:
        yield ours, reader


def content(folder: Path, data: bytes, *, told: int | None = None) -> ObjectBytes:
    """Return data in the middle of a file; ``told``: how long they are said to be."""
    path = folder / os.urandom(4).hex()
    path.write_bytes(b"before" + data)
    return ObjectBytes(path.open("rb"), key="k", offset=6, size_bytes=len(data) if told is None else told)


class Reading(threading.Thread):
    """Reads a connection to its end."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self.data = b""
        self._connection = connection
        self.start()

    def run(self) -> None:
        """Read."""
        while more := self._connection.recv(_MIB):
            self.data += more


def written(line: tuple[socket.socket, socket.socket], pieces: list[Piece], *, is_chunked: bool = False) -> bytes:
    """Write pieces while somebody reads; return what came, once the account of it is right."""
    ours, reader = line
    reading = Reading(reader)
    writer = Writer(ours, iter(pieces), is_chunked=is_chunked)
    while not writer.step():
        pass
    writer.cut()
    reading.join()
    assert writer.sent_bytes == len(reading.data)
    return reading.data


def test_bytes_and_files_come_in_order(line: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    """More of each than a connection holds, heads before files, files of no length, pieces of no length."""
    long, other = os.urandom(9 * _MIB), os.urandom(700_001)
    pieces: list[Piece] = [
        FilePiece(b"head", content(tmp_path, long)),
        b"",
        memoryview(other),
        FilePiece(b"empty", content(tmp_path, b"")),
        FilePiece(b"", content(tmp_path, other)),
        b"end",
    ]
    assert written(line, pieces) == b"head" + long + other + b"empty" + other + b"end"


class FullAtFirst:
    """A connection that takes nothing the first time, and has room a moment later."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._is_full = True

    def __getattr__(self, name: str) -> object:
        """Be the connection in everything else."""
        return getattr(self._connection, name)

    def fileno(self) -> int:
        """Return its handle."""
        return self._connection.fileno()

    def send(self, data: memoryview, flags: int) -> int:
        """Send, the first time nothing."""
        if self._is_full:
            self._is_full = False
            raise BlockingIOError
        return self._connection.send(data, flags)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_nothing_overtakes_a_head_that_waits(
    line: tuple[socket.socket, socket.socket], tmp_path: Path, is_chunked: bool
) -> None:
    """Room for the file when there was none for its head is no reason to send it first."""
    ours, reader = line
    full: socket.socket = FullAtFirst(ours)  # type: ignore[assignment]
    pieces: list[Piece] = [FilePiece(b"head", content(tmp_path, b"data")), b"end"]
    expected = b"8\r\nheaddata\r\n3\r\nend\r\n" if is_chunked else b"headdataend"
    assert written((full, reader), pieces, is_chunked=is_chunked) == expected


def test_what_has_no_length_goes_in_chunks(line: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    """Each piece is a chunk, its head included; one of no length would be the end, and is none."""
    pieces: list[Piece] = [FilePiece(b"head", content(tmp_path, b"data")), b"", b"x" * 17]
    assert written(line, pieces, is_chunked=True) == b"8\r\nheaddata\r\n11\r\n" + b"x" * 17 + b"\r\n"


def test_a_reader_who_is_behind_holds_no_thread(line: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    """The step ends when the line is full, and nothing further is asked for; it goes on once the reader has read."""
    asked: list[int] = []

    def pieces() -> Iterator[Piece]:
        for number in range(40):
            asked.append(number)
            yield FilePiece(b"", content(tmp_path, bytes(_MIB)))

    ours, reader = line
    writer = Writer(ours, pieces(), is_chunked=False)
    assert not writer.step()
    assert len(asked) < 40
    with pytest.raises(TooSlow):
        asyncio.run(writer.writable(0.05))
    reading = Reading(reader)
    asyncio.run(writer.writable(5))
    while not writer.step():
        asyncio.run(writer.writable(5))
    writer.cut()
    reading.join()
    assert (len(reading.data), len(asked)) == (40 * _MIB, 40)


def test_who_is_gone_ends_it(line: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    """The writer hears of it as an error of the connection, and so does one that is cut off."""
    ours, reader = line
    reader.close()
    writer = Writer(ours, iter([b"x"] * 1000), is_chunked=False)
    with pytest.raises(ConnectionError):
        for _ in range(1000):
            writer.step()
    writer.close()
    writer.cut()


def test_a_file_that_is_too_short_is_no_end(line: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    """It fails, whatever was sent of it."""
    writer = Writer(line[0], iter([FilePiece(b"", content(tmp_path, b"abc", told=4))]), is_chunked=False)
    with pytest.raises(FixityError, match=r"."):
        writer.step()
    assert writer.sent_bytes == 3


def test_a_file_that_cannot_be_read_is_no_reader_who_left(
    line: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    """An error of the disk is told apart from one of the connection."""
    unreadable = content(tmp_path, b"abcd")
    unreadable._file = open(tmp_path / "for writing", "wb")  # noqa: SIM115  closed with the object
    writer = Writer(line[0], iter([FilePiece(b"", unreadable)]), is_chunked=False)
    with pytest.raises(FixityError):
        writer.step()


def test_only_a_connection_that_offers_it_is_written_to() -> None:
    """A scope without the extension has none."""
    assert direct_of({"type": "http"}) is None
    assert direct_of({"extensions": {"tls": {}}}) is None

"""Takes a multipart body apart as it comes (RFC 2046 section 5.1), in bounded memory; must not read a part."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from archive.errors import BadRequest

_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_HEADER_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LONGEST_PREAMBLE: Final = 64 * 1024
_LONGEST_HEADERS: Final = 16 * 1024
_LONGEST_PADDING: Final = 64
_CRLF: Final = b"\r\n"


@dataclass(frozen=True, slots=True)
class PartBegun:
    """A part begins; ``headers`` by lower-case name."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartData:
    """The next bytes of the part; read them before asking for more."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PartEnded:
    """The part is whole."""


Event = PartBegun | PartData | PartEnded


class _State(Enum):
    PREAMBLE = "preamble"
    DELIMITER = "delimiter"
    HEADERS = "headers"
    BODY = "body"
    EPILOGUE = "epilogue"


class MultipartReader:
    """Reads one body: ``feed`` it, then ``close`` it. Memory: what is fed at once, and a delimiter more."""

    def __init__(self, boundary: str, *, most_parts: int) -> None:
        if not _BOUNDARY.fullmatch(boundary):
            raise BadRequest(reason="the boundary of the body is missing or not one (RFC 2046 section 5.1.1)")
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._most_parts = most_parts
        self._parts = 0
        self._buffer = bytearray(_CRLF)  # the first delimiter may stand at the very beginning
        self._state = _State.PREAMBLE

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield what ``data`` brings; raise BadRequest for what is no multipart body."""
        if self._state is _State.EPILOGUE:
            return
        self._buffer += data
        steps = {
            _State.PREAMBLE: self._preamble,
            _State.DELIMITER: self._after_delimiter,
            _State.HEADERS: self._headers,
            _State.BODY: self._body,
        }
        before = None
        while self._state in steps and (self._state, len(self._buffer)) != before:
            before = (self._state, len(self._buffer))
            yield from steps[self._state]()

    def close(self) -> None:
        """Raise BadRequest unless the body came to its end."""
        if self._state is not _State.EPILOGUE:
            raise BadRequest(reason="the body ends before its last boundary")

    def _preamble(self) -> Iterator[Event]:
        found = self._buffer.find(self._delimiter)
        if max(found, len(self._buffer) if found < 0 else 0) > _LONGEST_PREAMBLE:
            raise BadRequest(reason="the boundary of the Content-Type is not that of the body")
        if found < 0:
            return
        self._drop(found + len(self._delimiter))
        self._state = _State.DELIMITER
        yield from ()

    def _after_delimiter(self) -> Iterator[Event]:
        """Read what follows a delimiter: the end of the body, or of the line, which blanks may pad."""
        buffer = self._buffer
        if buffer[:2] == b"--":
            buffer.clear()
            self._state = _State.EPILOGUE
            return
        line = buffer.find(_CRLF)
        padding = bytes(buffer[: line if line >= 0 else len(buffer)])
        if padding.strip(b" \t") not in (b"", b"-", b"\r") or len(padding) > _LONGEST_PADDING:
            raise BadRequest(reason="something stands behind a boundary in its line")
        if line < 0:
            return
        # The CRLF stays: with it an empty header block is CRLF CRLF like any other.
        self._drop(line)
        self._state = _State.HEADERS
        yield from ()

    def _headers(self) -> Iterator[Event]:
        end = self._buffer.find(_CRLF * 2)
        if end > _LONGEST_HEADERS or (end < 0 and len(self._buffer) > _LONGEST_HEADERS):
            raise BadRequest(reason=f"the headers of a part are longer than {_LONGEST_HEADERS} bytes")
        if end < 0:
            return
        self._parts += 1
        if self._parts > self._most_parts:
            raise BadRequest(reason=f"more than {self._most_parts} parts: send them in several requests")
        block = bytes(self._buffer[len(_CRLF) : end])
        # The second CRLF may be the beginning of the next delimiter: a part may be empty.
        self._drop(end + len(_CRLF))
        self._state = _State.BODY
        self._is_at_start = True
        yield PartBegun(_read_headers(block))

    _is_at_start = False

    def _body(self) -> Iterator[Event]:
        buffer, found = self._buffer, self._buffer.find(self._delimiter)
        end = found if found >= 0 else max(0, len(buffer) - len(self._delimiter))
        start = len(_CRLF) if self._is_at_start else 0
        if end > start or found >= 0:
            self._is_at_start = False
            if end > start:
                yield PartData(bytes(memoryview(buffer)[start:end]))
            self._drop(end if found < 0 else found + len(self._delimiter))
        if found >= 0:
            self._state = _State.DELIMITER
            yield PartEnded()

    def _drop(self, count: int) -> None:
        del self._buffer[:count]


def _read_headers(block: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in block.split(_CRLF) if block else ():
        name, colon, value = line.partition(b":")
        if not colon or not _HEADER_NAME.fullmatch(name):
            raise BadRequest(reason="a header of a part is not written as name: value")
        headers[name.decode("ascii").lower()] = value.decode("latin_1").strip(" \t")
    return headers
